//! `kill-session`: a moderator ends the session.

use drawhall_protocol::command::KillSession;

use super::{CommandResult, Cx, MemberKey, Perform, Right, SessionMachine};

impl Perform for KillSession {
    const RIGHT: Right = Right::Moderator;

    fn perform(self, session: &mut SessionMachine, sender: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        session.kill_session(sender, &self.reason, cx)
    }
}

impl SessionMachine {
    pub(super) fn kill_session(&mut self, key: MemberKey, reason: &str, cx: &mut Cx<'_>) -> CommandResult {
        let by = self.sender(key)?.name().to_owned();
        let text = format!("Session shut down by moderator ({by})");
        let told = if reason.is_empty() {
            self.notice(true, "terminatesession", text, &[("by", &by)], "", cx)
        } else {
            let params = [("by", by.as_str()), ("reason", reason)];
            self.notice(true, "terminatesessionreason", format!("{text}: {reason}"), &params, "", cx)
        };
        if !told {
            return Err("Reason too long".into());
        }
        self.end("Session terminated by moderator", cx);
        Ok(())
    }
}
