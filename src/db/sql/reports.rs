//! Abuse reports.

use diesel::deserialize::QueryableByName;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Text};
use serde::Serialize;

use super::chunks::in_chunks;
use super::{Engine, Number, Sql, Writes, int, text};
use crate::db::DbError;
use crate::db::people::Person;
use crate::db::reports::{ReportQuery, ReportState, ReportStore, StoredReport};
use crate::rules::received_report::{ReceivedReport, ReportedUser};

#[derive(QueryableByName)]
struct ReportLine {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    at: String,
    #[diesel(sql_type = Text)]
    session: String,
    #[diesel(sql_type = Text)]
    title: String,
    #[diesel(sql_type = Text)]
    reason: String,
    #[diesel(sql_type = Text)]
    reporter: String,
    #[diesel(sql_type = Text)]
    about: String,
    #[diesel(sql_type = Text)]
    users: String,
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = Text)]
    handler: String,
    #[diesel(sql_type = Text)]
    handled_at: String,
    #[diesel(sql_type = Text)]
    outcome: String,
}

impl From<ReportLine> for StoredReport {
    /// People edit the database by hand: what is no JSON any more counts as empty.
    fn from(line: ReportLine) -> StoredReport {
        StoredReport {
            id: line.id,
            at: line.at,
            session: line.session,
            title: line.title,
            reason: line.reason,
            reporter: serde_json::from_str(&line.reporter).unwrap_or_default(),
            about: serde_json::from_str(&line.about).unwrap_or_default(),
            users: serde_json::from_str(&line.users).unwrap_or_default(),
            state: ReportState::parse(&line.state).unwrap_or(ReportState::Open),
            handler: line.handler,
            handled_at: line.handled_at,
            outcome: line.outcome,
        }
    }
}

const COLUMNS: &str =
    "id, at, session, title, reason, reporter, about, users, state, handler, handled_at, outcome";

fn json(value: &impl Serialize) -> String {
    // Users have nothing that cannot be JSON.
    serde_json::to_string(value).unwrap_or_default()
}

fn find(connection: &mut impl Sql, id: i64) -> QueryResult<Option<StoredReport>> {
    let sql = format!("SELECT {COLUMNS} FROM drawhall_reports WHERE id = ?1");
    let lines: Vec<ReportLine> = connection.rows(&sql, &[int(id)])?;
    Ok(lines.into_iter().next().map(StoredReport::from))
}

fn insert(connection: &mut impl Sql, report: &ReceivedReport, at: &str) -> QueryResult<i64> {
    let nobody = ReportedUser::default();
    let about = report.about.as_ref().unwrap_or(&nobody);
    let id: Number = connection.row("INSERT INTO drawhall_reports (at, session, title, reason, reporter, about, users, reporter_device, \
         reporter_account, about_device, about_account) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) RETURNING id AS n", &[text(at), text(&report.session), text(&report.title), text(&report.reason), text(json(&report.reporter)), text(json(&report.about)), text(json(&report.users)), text(&report.reporter.device), text(&report.reporter.account), text(&about.device), text(&about.account)])?;
    Ok(id.n)
}

/// Deletes reports beyond `most`: handled ones first, then those from the address with the most reports, so that nobody
/// can drive out what others report. The oldest of each first.
fn keep_newest(connection: &mut impl Sql, most: i64) -> QueryResult<()> {
    let count: Number = connection.row("SELECT COUNT(*) AS n FROM drawhall_reports", &[])?;
    if count.n > most {
        let address = connection.dialect().reporter_address;
        let sql = format!(
            "DELETE FROM drawhall_reports WHERE id IN (SELECT id FROM \
             (SELECT id, state = 'handled' AS handled, \
              COUNT(*) OVER (PARTITION BY state = 'handled', {address}) AS number \
              FROM drawhall_reports) AS counted \
             ORDER BY handled DESC, CASE WHEN handled THEN 0 ELSE number END DESC, id LIMIT ?1)"
        );
        connection.execute(&sql, &[int(count.n - most)])?;
    }
    Ok(())
}

/// Reports with a person, by one of its devices or accounts.
fn with(
    connection: &mut impl Sql,
    (column, value): (&str, &str),
    count: i64,
) -> QueryResult<Vec<StoredReport>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM drawhall_reports WHERE about_{column} = ?1 OR reporter_{column} = ?1 \
         ORDER BY id DESC LIMIT ?2"
    );
    let lines: Vec<ReportLine> = connection.rows(&sql, &[text(value), int(count)])?;
    Ok(lines.into_iter().map(StoredReport::from).collect())
}

impl<E: Engine> ReportStore for E {
    fn add_report(&self, report: &ReceivedReport, at: &str, most: i64) -> Result<StoredReport, DbError> {
        self.write(Writes::Records, |connection| {
            let id = insert(connection, report, at)?;
            keep_newest(connection, most)?;
            Ok(find(connection, id)?.ok_or(diesel::result::Error::NotFound)?)
        })
    }

    fn reports(&self, query: ReportQuery) -> Result<(Vec<StoredReport>, i64), DbError> {
        let fits = match query.handled {
            None => "1 = 1",
            Some(true) => "state = 'handled'",
            Some(false) => "state <> 'handled'",
        };
        self.read_consistent(|connection| {
            let count: Number =
                connection.row(&format!("SELECT COUNT(*) AS n FROM drawhall_reports WHERE {fits}"), &[])?;
            let sql = format!(
                "SELECT {COLUMNS} FROM drawhall_reports WHERE {fits} ORDER BY id DESC LIMIT ?1 OFFSET ?2"
            );
            let lines: Vec<ReportLine> = connection.rows(&sql, &[int(query.count), int(query.skip)])?;
            Ok((lines.into_iter().map(StoredReport::from).collect(), count.n))
        })
    }

    fn report(&self, id: i64) -> Result<Option<StoredReport>, DbError> {
        self.autocommit(|connection| Ok(find(connection, id)?))
    }

    fn change_report(&self, report: &StoredReport) -> Result<bool, DbError> {
        let sql = "UPDATE drawhall_reports SET state = ?1, handler = ?2, handled_at = ?3, outcome = ?4 WHERE id = ?5";
        let values = [
            text(report.state.name()),
            text(&report.handler),
            text(&report.handled_at),
            text(&report.outcome),
            int(report.id),
        ];
        self.autocommit(|connection| Ok(connection.execute(sql, &values)? > 0))
    }

    fn reports_with(&self, person: &Person, count: i64) -> Result<Vec<StoredReport>, DbError> {
        let mut found: Vec<StoredReport> = Vec::new();
        self.read_consistent(|connection| {
            for (column, value) in person.columns() {
                for report in with(connection, (column, value), count)? {
                    if !found.iter().any(|known| known.id == report.id) {
                        found.push(report);
                    }
                }
            }
            Ok(())
        })?;
        found.sort_by_key(|report| std::cmp::Reverse(report.id));
        found.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        Ok(found)
    }

    fn purge_reports(&self, handled_before: &str, made_before: &str) -> Result<usize, DbError> {
        let sql = "DELETE FROM drawhall_reports WHERE id IN (SELECT id FROM drawhall_reports \
                   WHERE (state = 'handled' AND handled_at < ?1) OR at < ?2 LIMIT ?3)";
        in_chunks(|count| {
            let values = [text(handled_before), text(made_before), int(count)];
            self.autocommit(|connection| Ok(connection.execute(sql, &values)?))
        })
    }
}
