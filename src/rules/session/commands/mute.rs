//! `mute`: mutes or unmutes a user's chat.

use drawhall_protocol::command::{Mute, UserRef};

use super::{CommandResult, Cx, MemberKey, Perform, Right, SessionMachine};
use crate::log::{Level, Topic};
use crate::rules::session::broadcasts::List;

impl Perform for Mute {
    const RIGHT: Right = Right::Operator;

    fn perform(self, session: &mut SessionMachine, sender: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        session.mute(sender, &self.user, self.muted, cx)
    }
}

impl SessionMachine {
    pub(super) fn mute(
        &mut self,
        key: MemberKey,
        user: &UserRef,
        muted: bool,
        cx: &mut Cx<'_>,
    ) -> CommandResult {
        let target = self.named_user(user)?;
        let by = self.sender(key)?.name().to_owned();
        let Some(member) = self.members.get_mut(target) else { return Ok(()) };
        if muted && member.is_moderator() {
            return Err("cannot mute moderators".into());
        }
        if !muted && member.restricted.muted {
            return Err("muted by the server for a time".into());
        }
        if std::mem::replace(&mut member.muted, muted) == muted {
            return Ok(());
        }
        let user = member.log_user();
        self.send_list(List::Muted, cx);
        let (topic, verb) = if muted { (Topic::Mute, "Muted") } else { (Topic::Unmute, "Unmuted") };
        self.note_about(user, Level::Info, topic, format!("{verb} by {by}"), cx);
        Ok(())
    }
}
