//! The SQLite engine: a file or memory, with one connection.

use std::path::Path;

use diesel::connection::SimpleConnection as _;
use diesel::migration::MigrationSource;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};
use parking_lot::{Mutex, MutexGuard};

use super::DbError;
use super::schema::first_unknown;
use super::sql::{Dialect, Engine, Line, Number, Pair, Sql, Statement, Value, Writes};

mod copy;
pub(super) mod files;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

static DIALECT: Dialect = Dialect {
    row_id: "rowid",
    like: "LIKE",
    // A number, as far as the text is one.
    user_id: "CAST(?2 AS INTEGER)",
    reporter_address: "CASE WHEN json_valid(reporter) THEN json_extract(reporter, '$.address') END",
};

/// How long a statement waits for locks of other programs, in milliseconds.
const BUSY_MS: u32 = 5000;

/// A database in a file or in memory, with one connection.
pub(super) struct Sqlite {
    state: Mutex<SqliteState>,
    /// See [`Engine::counted_sightings`].
    sightings: Mutex<Option<i64>>,
}

struct SqliteState {
    connection: SqliteConnection,
    /// Number of changes by this connection: `data_version` does not count these.
    own_changes: i64,
}

/// Refuses a database that a later version of this program has migrated: what its tables mean is not known here.
fn refuse_newer(connection: &mut SqliteConnection, schema: &str, path: &Path) -> Result<(), DbError> {
    let failed = |reason: String| DbError::Open { path: path.to_owned(), reason };
    let known = MigrationSource::<diesel::sqlite::Sqlite>::migrations(&MIGRATIONS);
    let known = known.map_err(|e| failed(e.to_string()))?;
    let table: Vec<Number> = diesel::sql_query(format!(
        "SELECT 1 AS n FROM {schema}.sqlite_master WHERE name = '__diesel_schema_migrations'"
    ))
    .load(connection)
    .map_err(|e| failed(e.to_string()))?;
    if table.is_empty() {
        return Ok(());
    }
    let applied: Vec<Pair> = diesel::sql_query(format!(
        "SELECT CAST(version AS TEXT) AS a, '' AS b FROM {schema}.__diesel_schema_migrations ORDER BY version"
    ))
    .load(connection)
    .map_err(|e| failed(e.to_string()))?;
    let applied: Vec<String> = applied.into_iter().map(|row| row.a).collect();
    match first_unknown(&known, &applied) {
        None => Ok(()),
        Some(version) => Err(DbError::Newer { path: path.to_owned(), version }),
    }
}

impl Sqlite {
    pub(super) fn open(path: &Path) -> Result<Sqlite, DbError> {
        let failed = |reason: String| DbError::Open { path: path.to_owned(), reason };
        let name = path.to_str().ok_or_else(|| failed("its name is no Unicode text".into()))?;
        let mut connection = SqliteConnection::establish(name).map_err(|e| failed(e.to_string()))?;
        connection
            .batch_execute(&format!("PRAGMA busy_timeout = {BUSY_MS}"))
            .map_err(|e| failed(e.to_string()))?;
        // Before anything is changed.
        refuse_newer(&mut connection, "main", path)?;
        let pragmas = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = OFF;";
        connection.batch_execute(pragmas).map_err(|e| failed(e.to_string()))?;
        connection.run_pending_migrations(MIGRATIONS).map_err(|e| failed(e.to_string()))?;
        // Fail at start, not at the first change, if the database is read-only.
        connection
            .batch_execute("BEGIN IMMEDIATE; CREATE TABLE drawhall_is_writable (x); ROLLBACK;")
            .map_err(|e| failed(e.to_string()))?;
        Ok(Sqlite {
            state: Mutex::new(SqliteState { connection, own_changes: 0 }),
            sightings: Mutex::default(),
        })
    }

    /// Locks the connection. After a panic of its last user the statement was rolled back, so it is still good.
    fn lock(&self) -> MutexGuard<'_, SqliteState> {
        self.state.lock()
    }
}

impl Sql for SqliteConnection {
    fn dialect(&self) -> &'static Dialect {
        &DIALECT
    }

    fn rows<T: Line>(&mut self, sql: &str, values: &[Value<'_>]) -> QueryResult<Vec<T>> {
        Statement::new(sql, values).load(self)
    }

    fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> QueryResult<usize> {
        diesel::RunQueryDsl::execute(Statement::new(sql, values), self)
    }
}

impl Engine for Sqlite {
    type Connection = SqliteConnection;

    fn change_count(&self) -> Result<i64, DbError> {
        // `data_version` changes when another connection commits.
        let mut state = self.lock();
        let version: Vec<Number> =
            state.connection.rows("SELECT data_version AS n FROM pragma_data_version", &[])?;
        Ok(version.first().map_or(0, |version| version.n) + state.own_changes)
    }

    fn counted_sightings(&self) -> Option<&Mutex<Option<i64>>> {
        Some(&self.sightings)
    }

    fn autocommit<R>(
        &self,
        work: impl FnOnce(&mut SqliteConnection) -> Result<R, DbError>,
    ) -> Result<R, DbError> {
        work(&mut self.lock().connection)
    }

    fn read_consistent<R>(
        &self,
        work: impl FnOnce(&mut SqliteConnection) -> Result<R, DbError>,
    ) -> Result<R, DbError> {
        self.lock().connection.transaction(work)
    }

    fn write<R>(
        &self,
        writes: Writes,
        work: impl FnOnce(&mut SqliteConnection) -> Result<R, DbError>,
    ) -> Result<R, DbError> {
        let mut state = self.lock();
        state.own_changes += i64::from(writes == Writes::Rules);
        state.connection.immediate_transaction(work)
    }
}
