//! `report`: an abuse report, logged for moderators and administrators.

use drawhall_protocol::command::Report;
use drawhall_protocol::reply::{Notice, ServerReply};

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{CommandResult, Cx, Effect, MemberKey, Perform, Right, SessionMachine};
use crate::log::{Level, LogUser, Topic};
use crate::rules::limits::{AddressBuckets, Bucket, REPORTS_A_MINUTE, Rate};
use crate::rules::received_report::{MAX_USERS, ReceivedReport, ReportedUser};
use crate::rules::session::Member;
use crate::rules::session::bans::Identity;
use crate::rules::sighting::recorded_title;
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

fn address_text(address: Option<IpAddr>) -> String {
    address.map_or_else(String::new, |address| address.to_canonical().to_string())
}

/// Somebody as a report has them.
fn reported(id: u8, identity: &Identity) -> ReportedUser {
    ReportedUser {
        id,
        name: identity.name.clone(),
        address: address_text(identity.address),
        device: identity.sid.clone(),
        account: identity.auth_id.clone(),
        operator: false,
    }
}

fn reported_member(member: &Member) -> ReportedUser {
    ReportedUser { operator: member.is_operator(), ..reported(member.id, &member.client.identity) }
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
        let sender = self.sender(key)?;
        let user = sender.log_user();
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
        let reason: String = reason.chars().take(MAX_REASON).collect();
        let settings = &self.shared.settings;
        let is_forwarded = self.shared.report_url.is_some() && settings.abuse_report;
        // With neither setting reports are off: a client that sends one nevertheless leaves a line in the log only.
        if settings.report_inbox || is_forwarded {
            let received = self.received_report(&user, about, &reason, cx.now);
            cx.push(Effect::Reported(Box::new(received)));
        }
        if is_forwarded {
            let (address, report) = (user.address, self.report_body(&user, about, &reason));
            cx.push(Effect::ForwardReport { address, report });
        }
    }

    /// Thanks the reporter for a report that is kept for moderators, or says that it is not.
    pub(in crate::rules::session) fn report_stored(
        &self,
        user: u8,
        name: &str,
        stored: bool,
        cx: &mut Cx<'_>,
    ) {
        let settings = &self.shared.settings;
        let reporter = self.member_by_id(user).filter(|member| member.name() == name);
        let (Some(reporter), true) = (reporter, settings.report_inbox) else { return };
        let thanks = settings.report_thanks.trim();
        let message = if stored { thanks } else { "Too many reports, try again in a minute" };
        if !message.is_empty() {
            let notice = Notice { message: message.to_owned(), ..Notice::default() };
            self.reply_to(reporter.conn(), &ServerReply::Msg(notice), cx);
        }
    }

    /// The report with everybody as they are now.
    fn received_report(&self, user: &LogUser, about: i64, reason: &str, now: Timestamp) -> ReceivedReport {
        let reporter = match self.members.iter().find(|m| m.id == user.id && m.name() == user.name) {
            Some(member) => reported_member(member),
            None => ReportedUser {
                id: user.id,
                name: user.name.clone(),
                address: address_text(user.address),
                ..ReportedUser::default()
            },
        };
        let about = u8::try_from(about).ok().filter(|id| *id > 0).and_then(|id| {
            let past = || self.members.past_user(id).map(|past| reported(id, &past.identity));
            self.member_by_id(id).map(reported_member).or_else(past)
        });
        ReceivedReport {
            at_ms: now.utc_ms,
            session: self.properties.id().to_owned(),
            title: recorded_title(self.properties.title()),
            reason: reason.to_owned(),
            reporter,
            about,
            users: self.members.iter().take(MAX_USERS).map(reported_member).collect(),
        }
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
