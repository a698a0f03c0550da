//! `mute`: drops a user's chat, or lets it through again.

use drawhall_protocol::command::UserRef;

use super::{CommandResult, Effects, SessionMachine};
use crate::clock::Now;
use crate::log::{Level, Topic};
use crate::session::lists::List;

impl SessionMachine {
    pub(super) fn mute(
        &mut self,
        at: usize,
        user: &UserRef,
        muted: bool,
        now: Now,
        fx: &mut Effects,
    ) -> CommandResult {
        let target = self.named_user(user)?;
        if muted && self.members[target].is_moderator() {
            return Err("cannot mute moderators".into());
        }
        if self.members[target].muted == muted {
            return Ok(());
        }
        self.members[target].muted = muted;
        self.send_list(List::Muted, now, fx);
        let (user, by) = (self.members[target].log_user(), self.members[at].name().to_owned());
        let (topic, verb) = if muted { (Topic::Mute, "Muted") } else { (Topic::Unmute, "Unmuted") };
        self.note_about(user, Level::Info, topic, format!("{verb} by {by}"), now, fx);
        Ok(())
    }
}
