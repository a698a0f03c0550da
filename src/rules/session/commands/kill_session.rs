//! `kill-session`: a moderator ends the session.

use super::{CommandResult, Effects, MemberKey, SessionMachine};
use crate::rules::time::Timestamp;

impl SessionMachine {
    pub(super) fn kill_session(
        &mut self,
        key: MemberKey,
        reason: &str,
        now: Timestamp,
        effects: &mut Effects,
    ) -> CommandResult {
        let by = self.sender(key)?.name().to_owned();
        let text = format!("Session shut down by moderator ({by})");
        let told = if reason.is_empty() {
            self.notice(true, "terminatesession", text, &[("by", &by)], "", effects)
        } else {
            let params = [("by", by.as_str()), ("reason", reason)];
            self.notice(true, "terminatesessionreason", format!("{text}: {reason}"), &params, "", effects)
        };
        if !told {
            return Err("Reason too long".into());
        }
        self.end("Session terminated by moderator", now, effects);
        Ok(())
    }
}
