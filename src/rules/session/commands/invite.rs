//! `invite-create`, `invite-remove`.

use drawhall_protocol::reply::{InviteCreated, ServerReply};

use super::{CommandResult, Effects, MemberKey, SessionMachine};
use crate::log::{Level, Topic};
use crate::rules::session::broadcasts::List;
use crate::rules::session::invites;
use crate::rules::time::Timestamp;

impl SessionMachine {
    pub(super) fn invite_create(
        &mut self,
        key: MemberKey,
        max_uses: i64,
        trust: bool,
        op: bool,
        now: Timestamp,
        effects: &mut Effects,
    ) -> CommandResult {
        let member = self.sender(key)?;
        let (conn, user, creator) = (member.conn(), member.log_user(), member.name().to_owned());
        if !member.is_moderator() && !self.flags.invites {
            return Err("You're not allowed to create invite codes in this session".into());
        }
        // Only operators get here, so neither role is above their own.
        let secret = self
            .invites
            .create(&creator, max_uses, trust, op, &mut self.rng, now)
            .ok_or("Too many invite codes")?;
        let text = invites::creation_text(max_uses, trust, op);
        self.note_about(user, Level::Info, Topic::Invite, text, now, effects);
        self.send_list(List::Invites, now, effects);
        self.reply_to(conn, &ServerReply::InviteCreated(InviteCreated { secret }), effects);
        Ok(())
    }

    pub(super) fn invite_remove(
        &mut self,
        key: MemberKey,
        secret: &str,
        now: Timestamp,
        effects: &mut Effects,
    ) -> CommandResult {
        let member = self.sender(key)?;
        let user = member.log_user();
        if !member.is_moderator() && !self.flags.invites {
            return Err("You're not allowed to remove invite codes in this session".into());
        }
        if !self.invites.remove(secret) {
            return Err("Invite code to remove not found".into());
        }
        self.note_about(user, Level::Info, Topic::Invite, format!("Removed invite {secret}"), now, effects);
        self.send_list(List::Invites, now, effects);
        Ok(())
    }
}
