//! `reset-session`: an operator replaces the history by an image that it uploads.

use super::{CommandResult, Effects, MemberKey, SessionMachine};
use crate::clock::Now;
use crate::session::State;

impl SessionMachine {
    pub(super) fn reset_session(
        &mut self,
        key: MemberKey,
        kind: &str,
        now: Now,
        fx: &mut Effects,
    ) -> CommandResult {
        if self.sender(key)?.oldv {
            return Err("Incompatible client".into());
        }
        if self.state != State::Running {
            return Err("Unable to reset in this state".into());
        }
        self.begin_reset(key, kind, now, fx);
        Ok(())
    }
}
