//! `kick-user`: sends a user away, or bans one who is or was here.

use drawhall_protocol::command::UserRef;

use super::{CommandResult, Effects, MemberKey, SessionMachine};
use crate::clock::Now;
use crate::log::{Level, LogUser, Topic};
use crate::session::DisconnectReason;
use crate::session::lists::List;

impl SessionMachine {
    pub(super) fn kick_user(
        &mut self,
        key: MemberKey,
        user: &UserRef,
        ban: bool,
        now: Now,
        fx: &mut Effects,
    ) -> CommandResult {
        if let UserRef::Id(id) = user
            && ban
            && let Ok(id) = u8::try_from(*id)
            && self.past_users.contains_key(&id)
        {
            return self.ban_past_user(key, id, now, fx);
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
        let (by, banner) = (kicker.name().to_owned(), kicker.visitor.person.clone());
        let (person, user) = (victim.visitor.person.clone(), victim.log_user());
        let known = ban && self.bans.matches(&person).is_some();
        let banned = ban && !known && self.bans.add(&person, &by, &banner);
        if banned {
            self.note_about(user, Level::Info, Topic::Ban, format!("Banned by {by}"), now, fx);
            self.send_list(List::Bans, now, fx);
            self.announce_removal("ban", &person.name, &by, fx);
        }
        self.disconnect(target, DisconnectReason::Kick, &by, "", now, fx);
        if !ban || known {
            self.announce_removal("kick", &person.name, &by, fx);
        }
        match (known, ban && !banned) {
            (true, _) => Err(format!("{} is already banned.", person.name).into()),
            (false, true) => Err(format!("Error banning {}.", person.name).into()),
            (false, false) => Ok(()),
        }
    }

    fn ban_past_user(&mut self, key: MemberKey, id: u8, now: Now, fx: &mut Effects) -> CommandResult {
        let member = self.sender(key)?;
        let (by, banner) = (member.name().to_owned(), member.visitor.person.clone());
        let Some(past) = self.past_users.get(&id) else { return Err("user not found".into()) };
        let (person, bannable) = (past.person.clone(), past.bannable);
        let name = &person.name;
        if self.bans.matches(&person).is_some() {
            return Err(format!("{name} is already banned.").into());
        } else if !bannable {
            return Err(format!("{name} cannot be banned.").into());
        } else if !self.bans.add(&person, &by, &banner) {
            return Err(format!("Error banning {name}.").into());
        }
        let user = LogUser { id, address: person.address, name: name.clone() };
        self.note_about(user, Level::Info, Topic::Ban, format!("Banned by {by}"), now, fx);
        self.send_list(List::Bans, now, fx);
        self.announce_removal("ban", name, &by, fx);
        Ok(())
    }

    fn announce_removal(&self, key: &str, name: &str, by: &str, fx: &mut Effects) {
        let verb = if key == "ban" { "banned" } else { "kicked" };
        self.notice(false, key, format!("{name} {verb} by {by}"), &[("target", name), ("by", by)], "", fx);
    }
}
