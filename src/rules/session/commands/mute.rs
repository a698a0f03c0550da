//! `mute`: mutes or unmutes a user's chat.

use drawhall_protocol::command::UserRef;

use super::{CommandResult, Effects, MemberKey, SessionMachine};
use crate::log::{Level, Topic};
use crate::rules::session::broadcasts::List;
use crate::rules::time::Timestamp;

impl SessionMachine {
    pub(super) fn mute(
        &mut self,
        key: MemberKey,
        user: &UserRef,
        muted: bool,
        now: Timestamp,
        effects: &mut Effects,
    ) -> CommandResult {
        let target = self.named_user(user)?;
        let by = self.sender(key)?.name().to_owned();
        let Some(member) = self.members.get_mut(target) else { return Ok(()) };
        if muted && member.is_moderator() {
            return Err("cannot mute moderators".into());
        }
        if std::mem::replace(&mut member.muted, muted) == muted {
            return Ok(());
        }
        let user = member.log_user();
        self.send_list(List::Muted, now, effects);
        let (topic, verb) = if muted { (Topic::Mute, "Muted") } else { (Topic::Unmute, "Unmuted") };
        self.note_about(user, Level::Info, topic, format!("{verb} by {by}"), now, effects);
        Ok(())
    }
}
