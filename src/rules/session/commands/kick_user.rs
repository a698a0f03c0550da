//! `kick-user`: kicks a user, or bans a present or past one.

use drawhall_protocol::command::{KickUser, UserRef};

use super::{CommandResult, Cx, MemberKey, Perform, Right, SessionMachine};
use crate::log::{Level, LogUser, Topic};
use crate::rules::session::DisconnectReason;
use crate::rules::session::broadcasts::List;

impl Perform for KickUser {
    const RIGHT: Right = Right::Deputy;

    fn perform(self, session: &mut SessionMachine, sender: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        session.kick_user(sender, &self.user, self.ban, cx)
    }
}

impl SessionMachine {
    pub(super) fn kick_user(
        &mut self,
        key: MemberKey,
        user: &UserRef,
        ban: bool,
        cx: &mut Cx<'_>,
    ) -> CommandResult {
        if let UserRef::Id(id) = user
            && ban
            && let Ok(id) = u8::try_from(*id)
            && self.members.past_user(id).is_some()
        {
            return self.ban_past_user(key, id, cx);
        }
        let target = self.named_user(user)?;
        let (kicker, victim) = (self.sender(key)?, self.sender(target)?);
        if target == key {
            return Err("cannot kick self".into());
        } else if victim.is_moderator() {
            return Err("cannot kick moderators".into());
        } else if self.is_deputy(kicker) && victim.is_operator() {
            return Err("cannot kick operators".into());
        } else if self.is_deputy(kicker) && victim.trusted {
            return Err("cannot kick trusted users".into());
        }
        let (by, banner) = (kicker.name().to_owned(), kicker.client.identity.clone());
        let (identity, user, id) = (victim.client.identity.clone(), victim.log_user(), victim.id);
        let known = ban && self.moderation.bans.matches(&identity).is_some();
        let banned = ban && !known && self.moderation.bans.add(&identity, &by, &banner);
        if banned {
            self.note_about(user, Level::Info, Topic::Ban, format!("Banned by {by}"), cx);
            self.send_list(List::Bans, cx);
            self.announce_removal("ban", &identity.name, &by, cx);
        }
        self.disconnect(target, DisconnectReason::Kick, &by, "", cx);
        if !ban || known {
            self.announce_removal("kick", &identity.name, &by, cx);
        }
        self.offer_undo(id, cx);
        match (known, ban && !banned) {
            (true, _) => Err(format!("{} is already banned.", identity.name).into()),
            (false, true) => Err(format!("Error banning {}.", identity.name).into()),
            (false, false) => Ok(()),
        }
    }

    fn ban_past_user(&mut self, key: MemberKey, id: u8, cx: &mut Cx<'_>) -> CommandResult {
        let member = self.sender(key)?;
        let (by, banner) = (member.name().to_owned(), member.client.identity.clone());
        let Some(past) = self.members.past_user(id) else { return Err("user not found".into()) };
        let (identity, bannable) = (past.identity.clone(), past.bannable);
        let name = &identity.name;
        if self.moderation.bans.matches(&identity).is_some() {
            return Err(format!("{name} is already banned.").into());
        } else if !bannable {
            return Err(format!("{name} cannot be banned.").into());
        } else if !self.moderation.bans.add(&identity, &by, &banner) {
            return Err(format!("Error banning {name}.").into());
        }
        let user = LogUser { id, address: identity.address, name: name.clone() };
        self.note_about(user, Level::Info, Topic::Ban, format!("Banned by {by}"), cx);
        self.send_list(List::Bans, cx);
        self.announce_removal("ban", name, &by, cx);
        self.offer_undo(id, cx);
        Ok(())
    }

    fn announce_removal(&self, key: &str, name: &str, by: &str, cx: &mut Cx<'_>) {
        let verb = if key == "ban" { "banned" } else { "kicked" };
        self.notice(false, key, format!("{name} {verb} by {by}"), &[("target", name), ("by", by)], "", cx);
    }
}
