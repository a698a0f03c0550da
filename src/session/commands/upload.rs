//! `init-begin`, `init-complete`, `init-cancel`: from the host or resetter while it uploads.

use super::{CommandResult, Effects, SessionMachine};
use crate::clock::Now;
use crate::log::{Level, Topic};
use crate::session::State;

impl SessionMachine {
    /// Whether the member uploads; says so in the log if not.
    fn uploads(&mut self, at: usize, command: &str, now: Now, fx: &mut Effects) -> bool {
        let user = self.members[at].log_user();
        if self.is_uploader(at) {
            self.note_about(user, Level::Debug, Topic::Status, command, now, fx);
            return true;
        }
        let text = format!("Sent {command}, but init user is #{}", self.uploader.map_or(-1, i32::from));
        self.rule_break(user, text, now, fx);
        false
    }

    pub(super) fn init_begin(&mut self, at: usize, now: Now, fx: &mut Effects) -> CommandResult {
        if self.uploads(at, "init-begin", now, fx) {
            let dropped = self.clear_image();
            if dropped > 0 {
                let text = format!("{dropped} extra messages cleared by init-begin");
                self.note(Level::Debug, Topic::Status, text, now, fx);
            }
        }
        Ok(())
    }

    pub(super) fn init_complete(&mut self, at: usize, now: Now, fx: &mut Effects) -> CommandResult {
        if self.uploads(at, "init-complete", now, fx) {
            self.complete_upload(now, fx);
        }
        Ok(())
    }

    pub(super) fn init_cancel(&mut self, at: usize, now: Now, fx: &mut Effects) -> CommandResult {
        if !self.uploads(at, "init-cancel", now, fx) {
            return Ok(());
        }
        if self.state == State::Initialization {
            // There is nothing to go back to: what was uploaded is the content.
            self.complete_upload(now, fx);
        } else {
            self.abort_reset(now, fx);
        }
        Ok(())
    }
}
