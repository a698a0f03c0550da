//! Abuse reports: the inbox of the moderators.

use super::people::Person;
use super::{Database, DbError, time_text};
use crate::rules::received_report::{ReceivedReport, ReportedUser};
use crate::rules::time::DAY_MS;

/// How far a report is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportState {
    /// Nobody has looked at it.
    Open,
    /// Somebody is looking at it.
    Taken,
    /// It is done.
    Handled,
}

impl ReportState {
    /// The name in the database and the API.
    pub fn name(self) -> &'static str {
        match self {
            ReportState::Open => "open",
            ReportState::Taken => "taken",
            ReportState::Handled => "handled",
        }
    }

    /// The state with this name.
    pub fn parse(name: &str) -> Option<ReportState> {
        [ReportState::Open, ReportState::Taken, ReportState::Handled]
            .into_iter()
            .find(|state| state.name() == name)
    }
}

/// A report in the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct StoredReport {
    pub id: i64,
    /// UTC, `yyyy-MM-dd HH:mm:ss`.
    pub at: String,
    /// Session id.
    pub session: String,
    pub title: String,
    pub reason: String,
    pub reporter: ReportedUser,
    /// Whom it is about; `None`: the session.
    pub about: Option<ReportedUser>,
    /// Who was there.
    pub users: Vec<ReportedUser>,
    pub state: ReportState,
    /// Who has changed the state last; empty for nobody.
    pub handler: String,
    /// When that was: UTC, `yyyy-MM-dd HH:mm:ss`, or empty.
    pub handled_at: String,
    /// What was done, in the handler's words.
    pub outcome: String,
}

/// Which reports.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ReportQuery {
    /// Only those that are handled, or only those that are not.
    pub handled: Option<bool>,
    pub skip: i64,
    pub count: i64,
}

/// Reports in a database engine.
pub(super) trait ReportStore {
    fn add_report(&self, report: &ReceivedReport, at: &str, most: i64) -> Result<StoredReport, DbError>;
    /// Newest first, with the number of all that fit.
    fn reports(&self, query: ReportQuery) -> Result<(Vec<StoredReport>, i64), DbError>;
    fn report(&self, id: i64) -> Result<Option<StoredReport>, DbError>;
    fn change_report(&self, report: &StoredReport) -> Result<bool, DbError>;
    fn reports_with(&self, person: &Person, count: i64) -> Result<Vec<StoredReport>, DbError>;
    /// Deletes reports that were handled, and reports that were made, before a time: UTC, `yyyy-MM-dd HH:mm:ss`.
    fn purge_reports(&self, handled_before: &str, made_before: &str) -> Result<usize, DbError>;
}

impl Database {
    /// Maximum number of reports. Handled ones make room first, then those from the address with the most reports.
    pub const MAX_REPORTS: i64 = 5000;
    /// Reports that nobody handles are kept this many times as long as handled ones.
    pub const OPEN_REPORT_FACTOR: i64 = 4;

    /// Stores a report, and sends it to those who follow reports.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn add_report(&self, report: &ReceivedReport) -> Result<StoredReport, DbError> {
        let stored = self.backend.add_report(report, &time_text(report.at_ms), Self::MAX_REPORTS)?;
        // Fails if nobody follows.
        let _ = self.reported.send(stored.clone());
        Ok(stored)
    }

    /// Subscribes to reports that are stored.
    pub fn follow_reports(&self) -> tokio::sync::broadcast::Receiver<StoredReport> {
        self.reported.subscribe()
    }

    /// Reports that fit, newest first, and their number.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn reports(&self, query: ReportQuery) -> Result<(Vec<StoredReport>, i64), DbError> {
        self.backend.reports(query)
    }

    /// A report.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn report(&self, id: i64) -> Result<Option<StoredReport>, DbError> {
        self.backend.report(id)
    }

    /// Changes the state of a report. `None` if there is no such report.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn change_report(
        &self,
        id: i64,
        state: ReportState,
        (author, outcome): (&str, Option<&str>),
        utc_ms: i64,
    ) -> Result<Option<StoredReport>, DbError> {
        let Some(mut report) = self.backend.report(id)? else { return Ok(None) };
        let is_open = state == ReportState::Open;
        report.state = state;
        report.handler = if is_open { String::new() } else { author.to_owned() };
        report.handled_at = if is_open { String::new() } else { time_text(utc_ms) };
        if let Some(outcome) = outcome {
            outcome.clone_into(&mut report.outcome);
        }
        Ok(self.backend.change_report(&report)?.then_some(report))
    }

    /// The newest reports about or by a person.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn reports_with(&self, person: &Person, count: i64) -> Result<Vec<StoredReport>, DbError> {
        self.backend.reports_with(person, count)
    }

    /// Deletes reports that were handled more than `days` ago, and all that are older than
    /// [`Database::OPEN_REPORT_FACTOR`] times that. Returns their number.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn purge_reports(&self, days: u32, utc_ms: i64) -> Result<usize, DbError> {
        let before = |factor: i64| time_text(utc_ms - factor * i64::from(days) * DAY_MS);
        self.backend.purge_reports(&before(1), &before(Self::OPEN_REPORT_FACTOR))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::tests::databases::databases;

    fn user(name: &str, device: &str) -> ReportedUser {
        ReportedUser { id: 1, name: name.into(), device: device.into(), ..ReportedUser::default() }
    }

    fn report(reason: &str, at_ms: i64) -> ReceivedReport {
        ReceivedReport {
            at_ms,
            session: "s".into(),
            title: "Doodles".into(),
            reason: reason.into(),
            reporter: user("Bao", "d1"),
            about: Some(user("inkfox", "d2")),
            users: vec![user("Bao", "d1"), user("inkfox", "d2")],
        }
    }

    #[test]
    fn reports_are_stored_and_followed_and_handled_by_somebody() {
        for database in databases() {
            let mut followed = database.follow_reports();
            let stored = database.add_report(&report("scribbles", 0)).unwrap();
            assert_eq!(followed.try_recv().unwrap(), stored);
            assert_eq!((stored.state, stored.at.as_str()), (ReportState::Open, "1970-01-01 00:00:00"));
            assert_eq!(database.report(stored.id).unwrap(), Some(stored.clone()));
            let handled = database
                .change_report(stored.id, ReportState::Handled, ("rowan", Some("kicked")), 1000)
                .unwrap();
            let handled = handled.unwrap();
            assert_eq!(
                (handled.handler.as_str(), handled.outcome.as_str(), handled.handled_at.as_str()),
                ("rowan", "kicked", "1970-01-01 00:00:01")
            );
            let count = |handled| {
                let query = ReportQuery { handled: Some(handled), skip: 0, count: 9 };
                database.reports(query).unwrap().1
            };
            assert_eq!((count(true), count(false)), (1, 0));
            database.change_report(stored.id, ReportState::Open, ("rowan", None), 2000).unwrap();
            assert_eq!((count(true), count(false)), (0, 1), "it is open again");
            assert!(database.change_report(9, ReportState::Open, ("rowan", None), 0).unwrap().is_none());
        }
    }

    #[test]
    fn reports_are_bounded_and_found_by_person() {
        for database in databases() {
            let ids: Vec<i64> = (0..4)
                .map(|n| {
                    database
                        .backend
                        .add_report(&report(&n.to_string(), 0), "2026-01-01 00:00:00", 3)
                        .unwrap()
                        .id
                })
                .collect();
            let all = ReportQuery { count: 9, ..ReportQuery::default() };
            let left: Vec<_> = database.reports(all).unwrap().0.into_iter().map(|r| r.id).collect();
            assert_eq!(left, [ids[3], ids[2], ids[1]], "the oldest made room");
            let person = |device: &str| Person { devices: vec![device.into()], ..Person::default() };
            for device in ["d1", "d2"] {
                assert_eq!(database.reports_with(&person(device), 2).unwrap().len(), 2);
            }
            assert!(database.reports_with(&person("d3"), 9).unwrap().is_empty());
        }
    }

    #[test]
    fn open_reports_are_kept_longer_than_handled_ones_but_not_for_ever() {
        const DAY: i64 = 86_400_000;
        for database in databases() {
            let handled = database.add_report(&report("handled", 0)).unwrap();
            database.add_report(&report("open", 0)).unwrap();
            database.change_report(handled.id, ReportState::Handled, ("rowan", None), 0).unwrap();
            for (day, purged) in [(30, 0), (31, 1), (120, 0), (121, 1)] {
                assert_eq!(database.purge_reports(30, day * DAY).unwrap(), purged, "on day {day}");
            }
        }
    }

    #[test]
    fn whoever_reports_most_makes_room() {
        for database in databases() {
            let add = |reason: &str, address: &str| {
                let mut report = report(reason, 0);
                report.reporter.address = address.into();
                database.backend.add_report(&report, "2026-01-01 00:00:00", 4).unwrap().id
            };
            let first = add("oldest of all", "192.0.2.1");
            add("done", "192.0.2.1");
            database.change_report(2, ReportState::Handled, ("rowan", None), 0).unwrap();
            for n in 0..9 {
                add(&format!("flood {n}"), "192.0.2.9");
            }
            let all = ReportQuery { count: 9, ..ReportQuery::default() };
            let left = database.reports(all).unwrap().0;
            let reasons: Vec<_> = left.iter().map(|report| report.reason.as_str()).collect();
            assert_eq!(reasons, ["flood 8", "flood 7", "flood 6", "oldest of all"]);
            assert_eq!(left[3].id, first);
        }
    }
}
