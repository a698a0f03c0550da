//! `reset-session`: an operator replaces the history by an image that it uploads.

use super::{CommandResult, Effects, MemberKey, SessionMachine};
use crate::rules::session::SessionState;
use crate::rules::time::Timestamp;

impl SessionMachine {
    pub(super) fn reset_session(
        &mut self,
        key: MemberKey,
        kind: &str,
        now: Timestamp,
        effects: &mut Effects,
    ) -> CommandResult {
        if self.sender(key)?.oldv {
            return Err("Incompatible client".into());
        }
        if self.state != SessionState::Running {
            return Err("Unable to reset in this state".into());
        }
        self.begin_reset(key, kind, now, effects);
        Ok(())
    }
}
