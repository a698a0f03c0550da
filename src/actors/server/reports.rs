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
use crate::rules::time::Timestamp;

/// Rate limit of reports from everybody.
const ALL_REPORTS_A_MINUTE: u32 = 60;
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
}

impl Default for Reports {
    fn default() -> Self {
        Self { http: Http::new(false, LIMITS), outside: Default::default(), sent: Default::default() }
    }
}

/// Whether another report is within the limits.
fn take((of_address, of_all): &mut (AddressBuckets, Bucket), address: Option<IpAddr>) -> bool {
    let now = Timestamp::now().monotonic_ms;
    of_address.take(address, Rate::per_minute(REPORTS_A_MINUTE), now)
        && of_all.take(Rate::per_minute(ALL_REPORTS_A_MINUTE), now)
}

impl Reports {
    /// Whether a client outside of the session may report it, which may load the session.
    pub(super) fn may_come_in(&mut self, address: Option<IpAddr>, metrics: &Metrics) -> bool {
        let may = take(&mut self.outside, address);
        if !may {
            metrics.limits_hit.count("reports");
        }
        may
    }
}

/// Class of an error for moderators; details go to the log.
fn class_of(error: &HttpError) -> &'static str {
    match error {
        HttpError::Timeout => "no answer",
        HttpError::Busy => "too many reports",
        _ => "connection failed",
    }
}

impl Server {
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
        if !take(&mut self.reports.sent, address) {
            self.parts.metrics.limits_hit.count("reports");
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
