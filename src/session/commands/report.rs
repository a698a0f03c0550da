//! `report`: an abuse report. It is logged for moderators and administrators.

use super::{CommandResult, Effects, SessionMachine};
use crate::clock::Now;
use crate::log::{Level, LogUser, Topic};

impl SessionMachine {
    pub(super) fn report(
        &mut self,
        at: usize,
        about: i64,
        reason: &str,
        now: Now,
        fx: &mut Effects,
    ) -> CommandResult {
        let user = self.members[at].log_user();
        self.log_report(user, about, reason, now, fx);
        Ok(())
    }

    /// A report from somebody who has logged in but is not in the session.
    pub fn outside_report(&mut self, user: LogUser, reason: &str, now: Now, fx: &mut Effects) {
        self.log_report(user, 0, reason, now, fx);
    }

    fn log_report(&mut self, user: LogUser, about: i64, reason: &str, now: Now, fx: &mut Effects) {
        let text = format!("Abuse report about user {about} received: {reason}");
        self.note_about(user, Level::Info, Topic::Report, text, now, fx);
        let text = "Cannot send abuse report: server URL not configured!";
        self.note(Level::Warn, Topic::Report, text, now, fx);
    }
}
