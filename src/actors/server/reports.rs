//! Forwards abuse reports. Source: docs/spec/services.md#forwarding-a-report.

use std::net::IpAddr;

use actix::prelude::*;
use reqwest::Method;
use serde_json::Value;

use super::Server;
use crate::actors::messages::ToSession;
use crate::http::{Http, HttpError, RequestLimits};
use crate::metrics::Metrics;
use crate::rules::limits::{AddressBuckets, Bucket, REPORTS_A_MINUTE, Rate};
use crate::rules::network::widest;
use crate::rules::received_report::ReceivedReport;
use crate::rules::sighting::ModerationRecord;
use crate::rules::time::Timestamp;

/// Rate limit of reports from everybody.
const ALL_REPORTS_A_MINUTE: u32 = 60;
/// How many of them are for addresses that have not reported anything for a minute.
const FIRST_REPORTS: u32 = ALL_REPORTS_A_MINUTE / 3;
/// Limits of requests to the report server.
const LIMITS: RequestLimits = RequestLimits { parallel: 4, per_host: 4, queued: 60, response_bytes: 1 << 16 };

/// Rate limits of reports.
#[derive(Debug)]
pub(super) struct Reports {
    http: Http,
    /// Reports from outside of a session: by address, and in all.
    outside: (AddressBuckets, Bucket),
    /// Forwarded reports: by address, and in all.
    sent: (AddressBuckets, Bucket),
    /// Stored reports from all sessions: by address, and in all.
    stored: (AddressBuckets, Bucket),
    /// The first report of an address, or IPv6 /48 network, in a minute.
    first: AddressBuckets,
}

impl Default for Reports {
    fn default() -> Self {
        let http = Http::new(false, LIMITS);
        let first = AddressBuckets::default();
        Self {
            http,
            outside: Default::default(),
            sent: Default::default(),
            stored: Default::default(),
            first,
        }
    }
}

/// Whether another report is within the limits.
fn take((of_address, of_all): &mut (AddressBuckets, Bucket), address: Option<IpAddr>, now_ms: u64) -> bool {
    of_address.take(address, Rate::per_minute(REPORTS_A_MINUTE), now_ms)
        && of_all.take(Rate::per_minute(ALL_REPORTS_A_MINUTE), now_ms)
}

impl Reports {
    /// Whether a client outside of the session may report it, which may load the session.
    pub(super) fn may_come_in(&mut self, address: Option<IpAddr>, metrics: &Metrics) -> bool {
        let may = take(&mut self.outside, address, Timestamp::now().monotonic_ms);
        if !may {
            metrics.limits_hit.count("reports");
        }
        may
    }

    /// Whether a report may be stored. Sessions limit reports, too, but each by itself.
    fn may_be_stored(&mut self, address: Option<IpAddr>, now_ms: u64, metrics: &Metrics) -> bool {
        let in_all = Rate::per_minute(ALL_REPORTS_A_MINUTE);
        let is_first = self.first.take(address.map(widest), Rate::per_minute(1), now_ms);
        let needed = if is_first { 1 } else { 1 + u64::from(FIRST_REPORTS) };
        let may =
            self.stored.1.wait_for(in_all, now_ms, needed) == 0 && take(&mut self.stored, address, now_ms);
        if !may {
            metrics.limits_hit.count("reports");
        }
        may
    }
}

/// Class of an error for moderators; details go to the log.
fn class_of(error: &HttpError) -> &'static str {
    match error {
        HttpError::Timeout(_) => "no answer",
        HttpError::Busy => "too many reports",
        _ => "connection failed",
    }
}

impl Server {
    /// Queues a report for the inbox of the moderators, and tells the session whether that could be done.
    pub(super) fn record_report(&mut self, report: Box<ReceivedReport>) {
        let address = report.reporter.address.parse().ok();
        let (session, user, name) =
            (report.session.clone(), report.reporter.id, report.reporter.name.clone());
        let may = self.reports.may_be_stored(address, Timestamp::now().monotonic_ms, &self.parts.metrics);
        let stored = may && self.store_report(report);
        if let Some(address) = self.directory.find(&session).and_then(super::SessionEntry::address) {
            address.tell(ToSession::ReportStored { user, name, stored });
        }
    }

    /// Returns whether it was queued: when the queue is full it is lost.
    fn store_report(&self, report: Box<ReceivedReport>) -> bool {
        let Some(records) = &self.parts.records else { return false };
        let record = ModerationRecord::Reported(report);
        let size = record.size();
        let is_queued = records.try_push(record, size).is_ok();
        if !is_queued {
            tracing::warn!(topic = %"Report", "an abuse report was not stored: too much waits to be written");
        }
        is_queued
    }

    fn report_sent(&self, session: &str, error: Option<String>) {
        if let Some(address) = self.directory.find(session).and_then(super::SessionEntry::address) {
            address.tell(ToSession::ReportSent { error });
        }
    }
}

impl Server {
    /// Forwards an abuse report.
    pub(super) fn send_report(
        &mut self,
        id: String,
        address: Option<IpAddr>,
        report: Value,
        ctx: &mut Context<Self>,
    ) {
        let Some(url) = self.rules.shared.report_url.clone() else { return };
        if !take(&mut self.reports.sent, address, Timestamp::now().monotonic_ms) {
            self.parts.metrics.limits_hit.count("reports");
            return self.report_sent(&id, Some("too many reports".to_owned()));
        }
        let http = self.reports.http.clone();
        let token = &self.rules.settings().report_token.0;
        let headers =
            if token.is_empty() { Vec::new() } else { vec![("authorization", format!("Token {token}"))] };
        let sent = async move {
            let answer = http.request(Method::POST, &url, &headers, Some(&report)).await;
            match answer {
                Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
                Ok(answer) => Err(format!("HTTP status {}", answer.status)),
                Err(error) => {
                    tracing::warn!(topic = %"Report", "abuse report: {error}");
                    Err(class_of(&error).to_owned())
                }
            }
        };
        ctx.spawn(sent.into_actor(self).map(move |sent, server, _| server.report_sent(&id, sent.err())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_reports_are_limited_by_address_and_in_all() {
        let (mut reports, metrics) = (Reports::default(), Metrics::default());
        let mut stored = |number: u32| {
            let address = Some(IpAddr::from([192, 0, 2, number as u8]));
            (0..2 * REPORTS_A_MINUTE).filter(|_| reports.may_be_stored(address, 0, &metrics)).count() as u32
        };
        assert_eq!(stored(0), REPORTS_A_MINUTE, "in whichever sessions they are");
        let all: u32 = (1..=ALL_REPORTS_A_MINUTE).map(&mut stored).sum();
        // Each address has its first report, and no more of the reserve.
        assert_eq!(all, ALL_REPORTS_A_MINUTE - REPORTS_A_MINUTE);
    }

    #[test]
    fn who_floods_with_reports_leaves_some_for_those_who_have_not_reported() {
        let (mut reports, metrics) = (Reports::default(), Metrics::default());
        let mut may = |address: IpAddr| reports.may_be_stored(Some(address), 0, &metrics);
        for n in 0..14 {
            for _ in 0..5 {
                may(IpAddr::from([192, 0, 2, n]));
            }
        }
        assert!(may(IpAddr::from([198, 51, 100, 1])), "the first report of somebody else");
        // 65,536 networks of one customer are not as many people.
        for n in 0..1000_u16 {
            may(IpAddr::from([0x2001, 0xdb8, 0, n, 0, 0, 0, 1]));
        }
        assert!(may(IpAddr::from([198, 51, 100, 2])));
    }
}
