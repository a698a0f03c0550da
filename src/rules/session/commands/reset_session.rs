//! `reset-session`: an operator replaces the history by an image that it uploads.

use drawhall_protocol::command::ResetSession;

use super::{CommandResult, Cx, MemberKey, Perform, Right, SessionMachine};

impl Perform for ResetSession {
    const RIGHT: Right = Right::Operator;

    fn perform(self, session: &mut SessionMachine, sender: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        session.reset_session(sender, &self.kind, cx)
    }
}

impl SessionMachine {
    pub(super) fn reset_session(&mut self, key: MemberKey, kind: &str, cx: &mut Cx<'_>) -> CommandResult {
        if self.sender(key)?.oldv {
            return Err("Incompatible client".into());
        }
        if !self.resets.is_running() {
            return Err("Unable to reset in this state".into());
        }
        self.begin_reset(key, kind, cx);
        Ok(())
    }
}
