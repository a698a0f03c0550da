//! `invite-create`, `invite-remove`.

use drawhall_protocol::command::{InviteCreate, InviteRemove};

use drawhall_protocol::reply::{InviteCreated, ServerReply};

use super::{CommandResult, Cx, MemberKey, Perform, Right, SessionMachine};
use crate::log::{Level, Topic};
use crate::rules::session::broadcasts::List;
use crate::rules::session::invites;

impl Perform for InviteCreate {
    const RIGHT: Right = Right::Operator;

    fn perform(self, session: &mut SessionMachine, sender: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        session.invite_create(sender, &self, cx)
    }
}

impl Perform for InviteRemove {
    const RIGHT: Right = Right::Operator;

    fn perform(self, session: &mut SessionMachine, sender: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        session.invite_remove(sender, &self.secret, cx)
    }
}

impl SessionMachine {
    pub(super) fn invite_create(
        &mut self,
        key: MemberKey,
        wanted: &InviteCreate,
        cx: &mut Cx<'_>,
    ) -> CommandResult {
        let member = self.sender(key)?;
        let (conn, user, creator) = (member.conn(), member.log_user(), member.name().to_owned());
        if !member.is_moderator() && !self.properties.flags().invites {
            return Err("You're not allowed to create invite codes in this session".into());
        }
        // Only operators get here, so neither role is above their own.
        let secret = self
            .moderation
            .invites
            .create(&creator, wanted, cx.rng, cx.now)
            .ok_or("Too many invite codes")?;
        let text = invites::creation_text(wanted);
        self.note_about(user, Level::Info, Topic::Invite, text, cx);
        self.send_list(List::Invites, cx);
        self.reply_to(conn, &ServerReply::InviteCreated(InviteCreated { secret }), cx);
        Ok(())
    }

    pub(super) fn invite_remove(&mut self, key: MemberKey, secret: &str, cx: &mut Cx<'_>) -> CommandResult {
        let member = self.sender(key)?;
        let user = member.log_user();
        if !member.is_moderator() && !self.properties.flags().invites {
            return Err("You're not allowed to remove invite codes in this session".into());
        }
        if !self.moderation.invites.remove(secret) {
            return Err("Invite code to remove not found".into());
        }
        self.note_about(user, Level::Info, Topic::Invite, format!("Removed invite {secret}"), cx);
        self.send_list(List::Invites, cx);
        Ok(())
    }
}
