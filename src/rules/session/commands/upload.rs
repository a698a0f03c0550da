//! `init-begin`, `init-complete`, `init-cancel`: upload by the host or resetter.

use super::{CommandResult, Effects, MemberKey, SessionMachine};
use crate::log::{Level, Topic};
use crate::rules::session::Member;
use crate::rules::time::Timestamp;

impl SessionMachine {
    /// Whether the member is uploading; logs if not.
    fn uploads(&mut self, key: MemberKey, command: &str, now: Timestamp, effects: &mut Effects) -> bool {
        let Some(user) = self.members.get(key).map(Member::log_user) else { return false };
        if self.is_uploader(key) {
            self.note_about(user, Level::Debug, Topic::Status, command, now, effects);
            return true;
        }
        let text = format!("Sent {command}, but init user is #{}", self.uploader.map_or(-1, i32::from));
        self.rule_break(key, text, now, effects);
        false
    }

    pub(super) fn init_begin(
        &mut self,
        key: MemberKey,
        now: Timestamp,
        effects: &mut Effects,
    ) -> CommandResult {
        if self.uploads(key, "init-begin", now, effects) {
            let dropped = self.clear_image();
            if dropped > 0 {
                let text = format!("{dropped} extra messages cleared by init-begin");
                self.note(Level::Debug, Topic::Status, text, now, effects);
            }
        }
        Ok(())
    }

    pub(super) fn init_complete(
        &mut self,
        key: MemberKey,
        now: Timestamp,
        effects: &mut Effects,
    ) -> CommandResult {
        if self.uploads(key, "init-complete", now, effects) {
            self.complete_upload(now, effects);
        }
        Ok(())
    }

    pub(super) fn init_cancel(
        &mut self,
        key: MemberKey,
        now: Timestamp,
        effects: &mut Effects,
    ) -> CommandResult {
        if !self.uploads(key, "init-cancel", now, effects) {
            return Ok(());
        }
        self.abort_upload(now, effects);
        Ok(())
    }
}
