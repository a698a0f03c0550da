//! `report`: an abuse report, logged for moderators and administrators.

use drawhall_protocol::command::Report;

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{CommandResult, Cx, Effect, MemberKey, Perform, Right, SessionMachine};
use crate::log::{Level, LogUser, Topic};
use crate::rules::limits::{AddressBuckets, Bucket, REPORTS_A_MINUTE, Rate};
use crate::rules::session::Member;
use crate::rules::time::Timestamp;

/// Rate limit of reports about one session, from everybody.
const SESSION_REPORTS_A_MINUTE: u32 = 30;
/// Maximum length of a reason in characters.
const MAX_REASON: usize = 2000;
/// Maximum length of a logged reason in bytes.
const MAX_LOGGED: usize = 900;

/// Rate limits of reports: by address, and for the session.
#[derive(Debug, Default)]
pub(in crate::rules::session) struct Reports {
    of_address: AddressBuckets,
    of_all: Bucket,
}

impl Reports {
    fn take(&mut self, address: Option<IpAddr>, now: Timestamp) -> bool {
        self.of_address.take(address, Rate::per_minute(REPORTS_A_MINUTE), now.monotonic_ms)
            && self.of_all.take(Rate::per_minute(SESSION_REPORTS_A_MINUTE), now.monotonic_ms)
    }
}

impl Perform for Report {
    const RIGHT: Right = Right::Anybody;

    fn perform(self, session: &mut SessionMachine, sender: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        session.report(sender, self.user, &self.reason, cx)
    }
}

impl SessionMachine {
    pub(super) fn report(
        &mut self,
        key: MemberKey,
        about: i64,
        reason: &str,
        cx: &mut Cx<'_>,
    ) -> CommandResult {
        let user = self.sender(key)?.log_user();
        if !self.moderation.reports.take(user.address, cx.now) {
            return Err("Too many reports, try again in a minute".into());
        }
        self.log_report(user, about, reason, cx);
        Ok(())
    }

    /// A report from a client that has logged in but not joined.
    pub fn outside_report(&mut self, user: LogUser, reason: &str, cx: &mut Cx<'_>) {
        if self.moderation.reports.take(user.address, cx.now) {
            self.log_report(user, 0, reason, cx);
        }
    }

    fn log_report(&mut self, user: LogUser, about: i64, reason: &str, cx: &mut Cx<'_>) {
        let shown = &reason[..reason.floor_char_boundary(MAX_LOGGED)];
        let text = format!("Abuse report about user {about} received: {shown}");
        self.note_about(user.clone(), Level::Info, Topic::Report, text, cx);
        if self.shared.report_url.is_none() {
            let text = "Cannot send abuse report: server URL not configured!";
            return self.note(Level::Warn, Topic::Report, text, cx);
        }
        if !self.shared.settings.abuse_report {
            return self.note(Level::Warn, Topic::Report, "Cannot send abuse report: not enabled!", cx);
        }
        let reason: String = reason.chars().take(MAX_REASON).collect();
        let (address, report) = (user.address, self.report_body(&user, about, &reason));
        cx.push(Effect::ForwardReport { address, report });
    }

    fn report_body(&self, user: &LogUser, about: i64, reason: &str) -> Value {
        let address = |a: Option<IpAddr>| a.map_or_else(String::new, |a| a.to_string());
        let users = self.members.iter().map(|m| {
            json!({
                "name": m.name(),
                "auth": m.is_authenticated(),
                "op": m.is_operator(),
                "ip": address(m.client.identity.address),
                "id": m.id,
            })
        });
        let reporter = self.members.iter().find(|m| m.id == user.id);
        let mut body = json!({
            "session": self.properties.id(),
            "sessionTitle": self.properties.title(),
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

    /// Result of forwarding a report. The session learns only that there was one.
    pub fn report_sent(&mut self, error: Option<String>, cx: &mut Cx<'_>) {
        match error {
            None => self.note(Level::Info, Topic::Status, "Session was reported.", cx),
            Some(error) => {
                let text = format!("Unable to send abuse report: {error}");
                self.note(Level::Warn, Topic::Report, text, cx);
            }
        }
    }
}
