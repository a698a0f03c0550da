//! `report`: an abuse report. It is logged for moderators and administrators.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{CommandResult, Effects, MemberKey, SessionMachine};
use crate::clock::Now;
use crate::log::{Level, LogUser, Topic};
use crate::session::Member;

impl SessionMachine {
    pub(super) fn report(
        &mut self,
        key: MemberKey,
        about: i64,
        reason: &str,
        now: Now,
        fx: &mut Effects,
    ) -> CommandResult {
        let user = self.sender(key)?.log_user();
        self.log_report(user, about, reason, now, fx);
        Ok(())
    }

    /// A report from somebody who has logged in but is not in the session.
    pub fn outside_report(&mut self, user: LogUser, reason: &str, now: Now, fx: &mut Effects) {
        self.log_report(user, 0, reason, now, fx);
    }

    fn log_report(&mut self, user: LogUser, about: i64, reason: &str, now: Now, fx: &mut Effects) {
        let text = format!("Abuse report about user {about} received: {reason}");
        self.note_about(user.clone(), Level::Info, Topic::Report, text, now, fx);
        if self.shared.report_url.is_none() {
            let text = "Cannot send abuse report: server URL not configured!";
            return self.note(Level::Warn, Topic::Report, text, now, fx);
        }
        if !self.shared.settings.abuse_report {
            return self.note(Level::Warn, Topic::Report, "Cannot send abuse report: not enabled!", now, fx);
        }
        fx.report = Some(self.report_body(&user, about, reason));
    }

    fn report_body(&self, user: &LogUser, about: i64, reason: &str) -> Value {
        let address = |a: Option<IpAddr>| a.map_or_else(String::new, |a| a.to_string());
        let users = self.members.iter().map(|m| {
            json!({
                "name": m.name(),
                "auth": m.is_authenticated(),
                "op": m.is_operator(),
                "ip": address(m.visitor.person.address),
                "id": m.id,
            })
        });
        let reporter = self.members.iter().find(|m| m.id == user.id);
        let mut body = json!({
            "session": self.id,
            "sessionTitle": self.title,
            "user": user.name,
            "auth": reporter.is_some_and(Member::is_authenticated),
            "ip": address(user.address),
            "message": reason,
            "offset": self.history.size(),
            "users": users.collect::<Vec<_>>(),
        });
        if about > 0 {
            body["perp"] = about.into();
        }
        body
    }

    /// A report was passed on, or could not be. The session learns only that there was one.
    pub fn report_sent(&mut self, error: Option<String>, now: Now, fx: &mut Effects) {
        match error {
            None => self.note(Level::Info, Topic::Status, "Session was reported.", now, fx),
            Some(error) => {
                let text = format!("Unable to send abuse report: {error}");
                self.note(Level::Warn, Topic::Report, text, now, fx);
            }
        }
    }
}
