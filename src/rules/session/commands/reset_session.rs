//! `reset-session`: an operator replaces the history by an image that it uploads.

use super::{CommandResult, Cx, MemberKey, SessionMachine};
use crate::rules::session::SessionState;

impl SessionMachine {
    pub(super) fn reset_session(&mut self, key: MemberKey, kind: &str, cx: &mut Cx<'_>) -> CommandResult {
        if self.sender(key)?.oldv {
            return Err("Incompatible client".into());
        }
        if self.state != SessionState::Running {
            return Err("Unable to reset in this state".into());
        }
        self.begin_reset(key, kind, cx);
        Ok(())
    }
}
