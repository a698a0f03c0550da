//! Passing abuse reports on. Source: docs/spec/services.md#forwarding-a-report.

use std::net::IpAddr;

use actix::prelude::*;
use reqwest::Method;
use serde_json::Value;

use super::Server;
use crate::clock::Timestamp;
use crate::http::{Http, HttpError, RequestLimits};
use crate::limits::{AddressBuckets, Bucket, REPORTS_A_MINUTE, Rate};
use crate::metrics::METRICS;
use crate::session::actor::ReportSent;

/// Reports of everybody in a minute.
const ALL_REPORTS_A_MINUTE: u32 = 60;
/// Requests to the server that takes reports.
const LIMITS: RequestLimits = RequestLimits { parallel: 4, per_host: 4, queued: 60, response_bytes: 1 << 16 };

/// Reports that come and go.
#[derive(Debug)]
pub(super) struct Reports {
    http: Http,
    /// From people who are not in the session, by address and in all.
    outside: (AddressBuckets, Bucket),
    /// Passed on.
    sent: (AddressBuckets, Bucket),
}

impl Default for Reports {
    fn default() -> Self {
        Self { http: Http::new(false, LIMITS), outside: Default::default(), sent: Default::default() }
    }
}

/// Whether there may be one more from an address.
fn take((of_address, of_all): &mut (AddressBuckets, Bucket), address: Option<IpAddr>) -> bool {
    let now = Timestamp::now().monotonic_ms;
    of_address.take(address, Rate::per_minute(REPORTS_A_MINUTE), now)
        && of_all.take(Rate::per_minute(ALL_REPORTS_A_MINUTE), now)
}

impl Reports {
    /// Whether somebody who is not in the session may report it: that may mean loading it.
    pub(super) fn may_come_in(&mut self, address: Option<IpAddr>) -> bool {
        let may = take(&mut self.outside, address);
        if !may {
            METRICS.limits_hit.count("reports");
        }
        may
    }
}

/// An abuse report is to be passed on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SendReport {
    /// The session.
    pub id: String,
    /// Who reports.
    pub address: Option<IpAddr>,
    /// What is told.
    pub report: Value,
}

/// For moderators of the session; what went wrong is for the log.
fn class_of(error: &HttpError) -> &'static str {
    match error {
        HttpError::Timeout => "no answer",
        HttpError::Busy => "too many reports",
        _ => "connection failed",
    }
}

impl Handler<SendReport> for Server {
    type Result = ();

    fn handle(&mut self, SendReport { id, address, report }: SendReport, ctx: &mut Self::Context) {
        let Some(url) = self.rules.shared.report_url.clone() else { return };
        if !take(&mut self.reports.sent, address) {
            METRICS.limits_hit.count("reports");
            return self.report_sent(&id, Some("too many reports".to_owned()));
        }
        let http = self.reports.http.clone();
        let token = &self.rules.settings().report_token;
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

impl Server {
    fn report_sent(&self, session: &str, error: Option<String>) {
        if let Some(address) = self.directory.find(session).and_then(super::Entry::address) {
            address.do_send(ReportSent { error });
        }
    }
}
