//! The SQLite backend. Columns of drawpile-srv's tables have no types and are edited by hand, so every value is cast
//! when it is read: a number that was entered as text is accepted, and so is text that was stored as a blob.

use std::path::Path;

use diesel::connection::SimpleConnection as _;
use diesel::migration::MigrationSource;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};
use diesel::sqlite::SqliteConnection;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};
use parking_lot::{Mutex, MutexGuard};

use schema::{drawhall_keys, serverlog, settings};

use super::{
    Account, AccountKey, Backend, BanKind, BanRow, DbError, IpBan, LogQuery, LogRow, Snapshot, SubjectBan,
};

mod accounts;
mod admin;
mod copy;
pub(super) mod files;
mod ids;
mod log;
mod schema;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// How long a statement waits for locks of other programs, in milliseconds.
const BUSY_MS: u32 = 5000;

/// A database in a file or in memory, with one connection.
pub(super) struct Sqlite(Mutex<SqliteState>);

struct SqliteState {
    connection: SqliteConnection,
    /// Number of changes by this connection: `data_version` does not count these.
    own_changes: i64,
}

impl From<diesel::result::Error> for DbError {
    fn from(error: diesel::result::Error) -> DbError {
        DbError::Query(error.to_string())
    }
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(QueryableByName)]
struct Pair {
    #[diesel(sql_type = Text)]
    a: String,
    #[diesel(sql_type = Text)]
    b: String,
}

#[derive(QueryableByName)]
struct Range {
    #[diesel(sql_type = Text)]
    ip: String,
    #[diesel(sql_type = BigInt)]
    subnet: i64,
    #[diesel(sql_type = Text)]
    expires: String,
}

#[derive(QueryableByName)]
struct Subject {
    #[diesel(sql_type = Text)]
    subject: String,
    #[diesel(sql_type = Text)]
    reaction: String,
    #[diesel(sql_type = Text)]
    expires: String,
    #[diesel(sql_type = Text)]
    reason: String,
}

impl From<Subject> for SubjectBan {
    fn from(row: Subject) -> SubjectBan {
        let Subject { subject, reaction, expires, reason } = row;
        SubjectBan { subject, reaction, expires, reason }
    }
}

#[derive(QueryableByName)]
struct User {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    hash: String,
    #[diesel(sql_type = Bool)]
    locked: bool,
    #[diesel(sql_type = Text)]
    flags: String,
}

impl From<User> for Account {
    fn from(user: User) -> Account {
        let User { id, name, hash, locked, flags } = user;
        Account { id, name, hash, locked, flags: Account::parse_flags(&flags) }
    }
}

const USERS: &str = "SELECT rowid AS id, CAST(username AS TEXT) AS name, \
    COALESCE(CAST(password AS TEXT), '') AS hash, COALESCE(CAST(locked AS INTEGER), 0) <> 0 AS locked, \
    COALESCE(CAST(flags AS TEXT), '') AS flags FROM users WHERE username IS NOT NULL";

/// Refuses a database that a later version of this program has migrated: what its tables mean is not known here.
fn refuse_newer(connection: &mut SqliteConnection, schema: &str, path: &Path) -> Result<(), DbError> {
    let failed = |reason: String| DbError::Open { path: path.to_owned(), reason };
    let known = MigrationSource::<diesel::sqlite::Sqlite>::migrations(&MIGRATIONS);
    let known = known.map_err(|e| failed(e.to_string()))?;
    let known: Vec<String> = known.iter().map(|migration| migration.name().version().to_string()).collect();
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
    match applied.into_iter().map(|row| row.a).find(|version| !known.contains(version)) {
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
        Ok(Sqlite(Mutex::new(SqliteState { connection, own_changes: 0 })))
    }

    /// Locks the connection. After a panic of its last user the statement was rolled back, so it is still good.
    fn lock(&self) -> MutexGuard<'_, SqliteState> {
        self.0.lock()
    }
}

/// Sets a setting within a transaction.
fn write_setting(connection: &mut SqliteConnection, key: &str, value: &str) -> QueryResult<usize> {
    diesel::replace_into(settings::table)
        .values((settings::key.eq(key), settings::value.eq(value)))
        .execute(connection)
}

/// Removes a setting within a transaction.
fn remove_setting(connection: &mut SqliteConnection, key: &str) -> QueryResult<usize> {
    diesel::sql_query("DELETE FROM settings WHERE CAST(key AS TEXT) = ?")
        .bind::<Text, _>(key)
        .execute(connection)
}

impl SqliteState {
    fn pairs(&mut self, sql: &str) -> Result<Vec<Pair>, DbError> {
        Ok(diesel::sql_query(sql).load(&mut self.connection)?)
    }

    /// Bans in force of a table with a subject column.
    fn bans(&mut self, table: &str, subject: &str, now: &str) -> Result<Vec<SubjectBan>, DbError> {
        let sql = format!(
            "SELECT CAST({subject} AS TEXT) AS subject, CAST(reaction AS TEXT) AS reaction, \
             CAST(expires AS TEXT) AS expires, COALESCE(CAST(reason AS TEXT), '') AS reason FROM {table} \
             WHERE CAST(expires AS TEXT) > ? AND {subject} IS NOT NULL AND reaction IS NOT NULL ORDER BY rowid"
        );
        let rows: Vec<Subject> = diesel::sql_query(sql).bind::<Text, _>(now).load(&mut self.connection)?;
        Ok(rows.into_iter().map(SubjectBan::from).collect())
    }

    fn read(&mut self, now: &str) -> Result<Snapshot, DbError> {
        let settings = self.pairs(
            "SELECT CAST(key AS TEXT) AS a, COALESCE(CAST(value AS TEXT), '') AS b FROM settings \
             WHERE key IS NOT NULL ORDER BY rowid",
        )?;
        let sql = "SELECT CAST(ip AS TEXT) AS ip, COALESCE(CAST(subnet AS INTEGER), 0) AS subnet, \
            CAST(expires AS TEXT) AS expires FROM ipbans WHERE CAST(expires AS TEXT) > ? AND ip IS NOT NULL ORDER BY rowid";
        let ranges: Vec<Range> = diesel::sql_query(sql).bind::<Text, _>(now).load(&mut self.connection)?;
        let servers =
            self.pairs("SELECT CAST(url AS TEXT) AS a, '' AS b FROM listingservers WHERE url IS NOT NULL")?;
        let disabled: Vec<Number> =
            diesel::sql_query("SELECT id AS n FROM disabledextbans").load(&mut self.connection)?;
        let accounts =
            self.pairs("SELECT CAST(username AS TEXT) AS a, '' AS b FROM users WHERE username IS NOT NULL")?;
        let sql = "SELECT COALESCE(MIN(e), '') AS a, '' AS b FROM (SELECT CAST(expires AS TEXT) AS e FROM ipbans \
            UNION ALL SELECT expires FROM systembans UNION ALL SELECT expires FROM userbans) WHERE e > ?";
        let next: Vec<Pair> = diesel::sql_query(sql).bind::<Text, _>(now).load(&mut self.connection)?;
        Ok(Snapshot {
            settings: settings.into_iter().map(|p| (p.a, p.b)).collect(),
            ip_bans: ranges
                .into_iter()
                .map(|Range { ip, subnet, expires }| IpBan { ip, subnet, expires })
                .collect(),
            system_bans: self.bans("systembans", "sid", now)?,
            user_bans: self.bans("userbans", "userid", now)?,
            listing_servers: servers.into_iter().map(|p| p.a).collect(),
            disabled_ext_bans: disabled.into_iter().map(|n| n.n).collect(),
            account_names: accounts.into_iter().map(|p| p.a).collect(),
            next_expiry: next.into_iter().map(|p| p.a).find(|e| !e.is_empty()),
        })
    }
}

impl Backend for Sqlite {
    fn version(&self) -> Result<i64, DbError> {
        // `data_version` changes when another connection commits.
        let mut state = self.lock();
        let rows: Vec<Number> = diesel::sql_query("SELECT data_version AS n FROM pragma_data_version")
            .load(&mut state.connection)?;
        Ok(rows.first().map_or(0, |r| r.n) + state.own_changes)
    }

    fn snapshot(&self, now: &str) -> Result<Snapshot, DbError> {
        // One read transaction, for a consistent snapshot.
        let mut state = self.lock();
        state.connection.batch_execute("BEGIN")?;
        let read = state.read(now);
        state.connection.batch_execute("COMMIT")?;
        read
    }

    fn accounts(&self) -> Result<Vec<Account>, DbError> {
        let users: Vec<User> =
            diesel::sql_query(format!("{USERS} ORDER BY rowid")).load(&mut self.lock().connection)?;
        Ok(users.into_iter().map(Account::from).collect())
    }

    fn account(&self, key: AccountKey<'_>) -> Result<Option<Account>, DbError> {
        self.lock().find_account(key)
    }

    fn add_account(&self, account: &Account) -> Result<Account, DbError> {
        self.lock().insert_account(account)
    }

    fn change_account(
        &self,
        key: AccountKey<'_>,
        change: &mut dyn FnMut(&mut Account),
    ) -> Result<Account, DbError> {
        self.lock().update_account(key, change)
    }

    fn remove_account(&self, key: AccountKey<'_>) -> Result<(), DbError> {
        self.lock().delete_account(key)
    }

    fn append_log(&self, rows: &[LogRow]) -> Result<(), DbError> {
        self.lock().connection.immediate_transaction(|connection| {
            for row in rows {
                diesel::insert_into(serverlog::table)
                    .values((
                        serverlog::timestamp.eq(&row.timestamp),
                        serverlog::level.eq(row.level),
                        serverlog::topic.eq(&row.topic),
                        serverlog::user.eq(&row.user),
                        serverlog::session.eq(&row.session),
                        serverlog::message.eq(&row.message),
                    ))
                    .execute(connection)?;
            }
            Ok(())
        })
    }

    fn change_settings(&self, settings: &[(&str, Option<&str>)]) -> Result<(), DbError> {
        let mut state = self.lock();
        state.own_changes += 1;
        state.connection.immediate_transaction(|connection| {
            for (key, value) in settings {
                match value {
                    Some(value) => write_setting(connection, key, value)?,
                    None => remove_setting(connection, key)?,
                };
            }
            Ok(())
        })
    }

    fn key(&self, name: &str, fresh: &[u8]) -> Result<Vec<u8>, DbError> {
        let connection = &mut self.lock().connection;
        diesel::insert_or_ignore_into(drawhall_keys::table)
            .values((drawhall_keys::name.eq(name), drawhall_keys::secret.eq(fresh)))
            .execute(connection)?;
        Ok(drawhall_keys::table.find(name).select(drawhall_keys::secret).get_result(connection)?)
    }

    fn purge_log(&self, before: &str) -> Result<usize, DbError> {
        let done = diesel::sql_query("DELETE FROM serverlog WHERE CAST(timestamp AS TEXT) < ?")
            .bind::<Text, _>(before);
        Ok(done.execute(&mut self.lock().connection)?)
    }

    fn replace_settings(
        &self,
        only_while: (&str, &str),
        remove: &[&str],
        set: &[(&str, &str)],
    ) -> Result<bool, DbError> {
        self.lock().exchange_settings(only_while, remove, set)
    }

    fn ban_rows(&self, kind: BanKind) -> Result<Vec<BanRow>, DbError> {
        self.lock().all_bans(kind)
    }

    fn add_ban(&self, kind: BanKind, ban: &BanRow) -> Result<BanRow, DbError> {
        self.lock().insert_ban(kind, ban)
    }

    fn remove_ban(&self, kind: BanKind, id: i64) -> Result<bool, DbError> {
        self.lock().delete_ban(kind, id)
    }

    fn set_listing_servers(&self, patterns: &[String]) -> Result<(), DbError> {
        self.lock().replace_listing_servers(patterns)
    }

    fn switch_ext_ban(&self, id: i64, enabled: bool) -> Result<(), DbError> {
        self.lock().mark_ext_ban(id, enabled)
    }

    fn keep_newest_log(&self, count: i64) -> Result<(), DbError> {
        self.lock().delete_older_log(count)
    }

    fn log_size(&self, after: i64, count: i64) -> Result<Option<(u64, i64)>, DbError> {
        self.lock().size_of_log(after, count)
    }

    fn delete_oldest_log(&self, bytes: u64, count: i64) -> Result<u64, DbError> {
        self.lock().delete_from_log(bytes, count)
    }

    fn log(&self, query: &LogQuery) -> Result<Vec<LogRow>, DbError> {
        self.lock().log_rows(query)
    }
}
