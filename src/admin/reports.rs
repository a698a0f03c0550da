//! Endpoints `reports`: the inbox of abuse reports.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::endpoint::{Api, Call, Json, Nothing};
use super::error::{ApiError, bad, not_found};
use super::request::audit_sentence;
use super::value::{Number, Text, parsed};
use super::{AdminState, query_db};
use crate::db::reports::{ReportQuery, ReportState, StoredReport};
use crate::log::Topic;
use crate::rules::received_report::ReportedUser;
use crate::rules::time::Timestamp;

/// Reports per page.
const PAGE: i64 = 50;
/// Maximum length of an outcome in characters.
const MAX_OUTCOME: usize = 500;

pub(super) fn endpoints(api: &mut Api) {
    api.get("reports", "Abuse reports, newest first, 50 a page.", AdminState::list_reports);
    api.get("reports/{report}", "An abuse report.", AdminState::one_report);
    api.put("reports/{report}", "Takes a report, handles it, or opens it again.", AdminState::change_report);
}

/// Which reports.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Filter {
    /// open (default; those that somebody has taken included), handled or all.
    #[schemars(extend("enum" = ["open", "handled", "all", "", null]))]
    state: Text,
    /// Which page, from 0.
    page: Number<0, 1_000_000>,
}

/// The path of a report.
#[derive(Debug, Deserialize, JsonSchema)]
struct ReportPath {
    /// Id of the report.
    #[serde(deserialize_with = "parsed")]
    report: i64,
}

/// What becomes of a report.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["state"]))]
struct Handling {
    /// open, taken or handled.
    #[schemars(with = "String", extend("enum" = ["open", "taken", "handled"]))]
    state: Text,
    /// What was done, at most 500 characters; without it this stays as it is.
    outcome: Option<Text>,
}

/// Somebody in a report, as they were then.
#[derive(Debug, Serialize, JsonSchema)]
struct UserThen {
    /// User id in the session, 0 outside.
    id: u8,
    /// User name.
    name: String,
    /// Address; empty if it is unknown.
    ip: String,
    /// System id; empty if it is unknown.
    device: String,
    /// Account id; empty without an account.
    account: String,
    /// Operator of the session.
    operator: bool,
}

impl From<ReportedUser> for UserThen {
    fn from(user: ReportedUser) -> UserThen {
        let ReportedUser { id, name, address, device, account, operator } = user;
        UserThen { id, name, ip: address, device, account, operator }
    }
}

/// An abuse report.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AbuseReport")]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// Id.
    id: i64,
    /// When it came, UTC.
    at: String,
    /// Session id.
    session: String,
    /// Title of the session then.
    title: String,
    /// What is wrong, in the reporter's words.
    reason: String,
    reporter: UserThen,
    /// Whom it is about; null for the session.
    about: Option<UserThen>,
    /// Who was there.
    users: Vec<UserThen>,
    /// open, taken or handled.
    state: &'static str,
    /// Who has taken or handled it; empty for nobody.
    by: String,
    /// When that was, UTC; empty if not.
    handled_at: String,
    /// What was done.
    outcome: String,
}

impl From<StoredReport> for Report {
    fn from(report: StoredReport) -> Report {
        Report {
            id: report.id,
            at: report.at,
            session: report.session,
            title: report.title,
            reason: report.reason,
            reporter: report.reporter.into(),
            about: report.about.map(UserThen::from),
            users: report.users.into_iter().map(UserThen::from).collect(),
            state: report.state.name(),
            by: report.handler,
            handled_at: report.handled_at,
            outcome: report.outcome,
        }
    }
}

/// A page of reports.
#[derive(Debug, Serialize, JsonSchema)]
struct ReportList {
    reports: Vec<Report>,
    /// Number of reports on all pages.
    total: i64,
    /// Number of reports that are not handled.
    open: i64,
}

/// What a report is about, in words.
fn in_words(report: &StoredReport) -> String {
    match &report.about {
        Some(about) => format!("the report of {} about {}", report.reporter.name, about.name),
        None => format!("the report of {} about {}", report.reporter.name, report.title),
    }
}

impl AdminState {
    async fn list_reports(
        self: Arc<Self>,
        call: Call<Nothing, Filter>,
    ) -> Result<Json<ReportList>, ApiError> {
        let handled = match &*call.query.state {
            "" | "open" => Some(false),
            "handled" => Some(true),
            "all" => None,
            _ => return Err(bad("state: open, handled or all")),
        };
        let skip = call.query.page.or("page", 0)? * PAGE;
        let found = query_db(&self.log, move |db| {
            let not_handled = ReportQuery { handled: Some(false), skip: 0, count: 0 };
            let (_, open) = db.reports(not_handled)?;
            Ok((db.reports(ReportQuery { handled, skip, count: PAGE })?, open))
        });
        let ((reports, total), open) = found.await?;
        Ok(Json(ReportList { reports: reports.into_iter().map(Report::from).collect(), total, open }))
    }

    async fn one_report(self: Arc<Self>, call: Call<ReportPath>) -> Result<Json<Report>, ApiError> {
        let id = call.path.report;
        let report = query_db(&self.log, move |db| db.report(id)).await?;
        Ok(Json(report.ok_or_else(not_found)?.into()))
    }

    async fn change_report(
        self: Arc<Self>,
        call: Call<ReportPath, Nothing, Handling>,
    ) -> Result<Json<Report>, ApiError> {
        let Handling { state, outcome } = call.body;
        let state = ReportState::parse(&state).ok_or_else(|| bad("state: open, taken or handled"))?;
        let outcome = outcome.map(|outcome| outcome.at_most("outcome", MAX_OUTCOME)).transpose()?;
        let (id, author, now) = (call.path.report, call.who.author().to_owned(), Timestamp::now().utc_ms);
        let changed =
            query_db(&self.log, move |db| db.change_report(id, state, (&author, outcome.as_deref()), now));
        let changed = changed.await?.ok_or_else(not_found)?;
        let did = match state {
            ReportState::Open => "opened",
            ReportState::Taken => "took",
            ReportState::Handled => "handled",
        };
        let outcome =
            if changed.outcome.is_empty() { String::new() } else { format!(": {}", changed.outcome) };
        let text = format!("{} {did} {}{outcome}", call.who.author(), in_words(&changed));
        audit_sentence(Topic::Report, &text);
        let report = Report::from(changed);
        self.publish("reports", "report", &report);
        Ok(Json(report))
    }
}
