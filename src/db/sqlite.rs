//! SQLite. The tables of drawpile-srv have columns without types, so values are cast as they are read: a number that
//! somebody typed as text counts, and so does text that was stored as bytes.

use std::path::Path;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Bool, Integer, Text};
use diesel::sqlite::SqliteConnection;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};

use super::{Account, Backend, BanKind, BanRow, DbError, IpBan, LogQuery, LogRow, Snapshot, SubjectBan};

mod admin;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// How long a statement waits for other programs, in milliseconds.
const BUSY_MS: u32 = 5000;

pub(super) struct Sqlite {
    connection: SqliteConnection,
    /// Counts what this connection has changed: the database tells only of others.
    own_changes: i64,
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
}

#[derive(QueryableByName)]
struct Secret {
    #[diesel(sql_type = Binary)]
    secret: Vec<u8>,
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

impl Sqlite {
    pub(super) fn open(path: &Path) -> Result<Sqlite, DbError> {
        let failed = |reason: String| DbError::Open { path: path.to_owned(), reason };
        let name = path.to_str().ok_or_else(|| failed("its name is no Unicode text".into()))?;
        let mut connection = SqliteConnection::establish(name).map_err(|e| failed(e.to_string()))?;
        let pragmas = format!(
            "PRAGMA busy_timeout = {BUSY_MS}; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; \
             PRAGMA foreign_keys = OFF;"
        );
        connection.batch_execute(&pragmas).map_err(|e| failed(e.to_string()))?;
        connection.run_pending_migrations(MIGRATIONS).map_err(|e| failed(e.to_string()))?;
        // One that cannot be written would fail at the first change only, long after the start.
        connection
            .batch_execute("BEGIN IMMEDIATE; CREATE TABLE drawhall_is_writable (x); ROLLBACK;")
            .map_err(|e| failed(e.to_string()))?;
        Ok(Sqlite { connection, own_changes: 0 })
    }

    fn pairs(&mut self, sql: &str) -> Result<Vec<Pair>, DbError> {
        Ok(diesel::sql_query(sql).load(&mut self.connection)?)
    }

    /// Bans of a table that are in force, and when the next of them ends.
    fn bans(&mut self, table: &str, subject: &str, now: &str) -> Result<Vec<SubjectBan>, DbError> {
        let sql = format!(
            "SELECT CAST({subject} AS TEXT) AS a, CAST(reaction AS TEXT) AS b FROM {table} \
             WHERE CAST(expires AS TEXT) > ? AND {subject} IS NOT NULL AND reaction IS NOT NULL ORDER BY rowid"
        );
        let rows: Vec<Pair> = diesel::sql_query(sql).bind::<Text, _>(now).load(&mut self.connection)?;
        Ok(rows.into_iter().map(|r| SubjectBan { subject: r.a, reaction: r.b }).collect())
    }

    fn read(&mut self, now: &str) -> Result<Snapshot, DbError> {
        let settings = self.pairs(
            "SELECT CAST(key AS TEXT) AS a, COALESCE(CAST(value AS TEXT), '') AS b FROM settings \
             WHERE key IS NOT NULL ORDER BY rowid",
        )?;
        let sql = "SELECT CAST(ip AS TEXT) AS ip, COALESCE(CAST(subnet AS INTEGER), 0) AS subnet FROM ipbans \
            WHERE CAST(expires AS TEXT) > ? AND ip IS NOT NULL ORDER BY rowid";
        let ranges: Vec<Range> = diesel::sql_query(sql).bind::<Text, _>(now).load(&mut self.connection)?;
        let servers =
            self.pairs("SELECT CAST(url AS TEXT) AS a, '' AS b FROM listingservers WHERE url IS NOT NULL")?;
        let disabled: Vec<Number> =
            diesel::sql_query("SELECT id AS n FROM disabledextbans").load(&mut self.connection)?;
        let accounts: Vec<Number> =
            diesel::sql_query("SELECT EXISTS (SELECT 1 FROM users) AS n").load(&mut self.connection)?;
        let sql = "SELECT COALESCE(MIN(e), '') AS a, '' AS b FROM (SELECT CAST(expires AS TEXT) AS e FROM ipbans \
            UNION ALL SELECT expires FROM systembans UNION ALL SELECT expires FROM userbans) WHERE e > ?";
        let next: Vec<Pair> = diesel::sql_query(sql).bind::<Text, _>(now).load(&mut self.connection)?;
        Ok(Snapshot {
            settings: settings.into_iter().map(|p| (p.a, p.b)).collect(),
            ip_bans: ranges.into_iter().map(|r| IpBan { ip: r.ip, subnet: r.subnet }).collect(),
            system_bans: self.bans("systembans", "sid", now)?,
            user_bans: self.bans("userbans", "userid", now)?,
            listing_servers: servers.into_iter().map(|p| p.a).collect(),
            disabled_ext_bans: disabled.into_iter().map(|n| n.n).collect(),
            has_accounts: accounts.iter().any(|n| n.n != 0),
            next_expiry: next.into_iter().map(|p| p.a).find(|e| !e.is_empty()),
        })
    }
}

impl Backend for Sqlite {
    fn version(&mut self) -> Result<i64, DbError> {
        // The number that the pragma gives changes when another connection has committed something.
        let rows: Vec<Number> = diesel::sql_query("SELECT data_version AS n FROM pragma_data_version")
            .load(&mut self.connection)?;
        Ok(rows.first().map_or(0, |r| r.n) + self.own_changes)
    }

    fn snapshot(&mut self, now: &str) -> Result<Snapshot, DbError> {
        // All of it as of one moment.
        self.connection.batch_execute("BEGIN")?;
        let read = self.read(now);
        self.connection.batch_execute("COMMIT")?;
        read
    }

    fn accounts(&mut self) -> Result<Vec<Account>, DbError> {
        let users: Vec<User> =
            diesel::sql_query(format!("{USERS} ORDER BY rowid")).load(&mut self.connection)?;
        Ok(users.into_iter().map(Account::from).collect())
    }

    fn account(&mut self, name: &str) -> Result<Option<Account>, DbError> {
        let sql = format!("{USERS} AND CAST(username AS TEXT) = ?");
        let users: Vec<User> = diesel::sql_query(sql).bind::<Text, _>(name).load(&mut self.connection)?;
        Ok(users.into_iter().next().map(Account::from))
    }

    fn add_account(&mut self, account: &Account) -> Result<(), DbError> {
        diesel::sql_query("INSERT INTO users (username, password, locked, flags) VALUES (?, ?, ?, ?)")
            .bind::<Text, _>(&account.name)
            .bind::<Text, _>(&account.hash)
            .bind::<Integer, _>(i32::from(account.locked))
            .bind::<Text, _>(account.flags.join(","))
            .execute(&mut self.connection)?;
        self.own_changes += 1;
        Ok(())
    }

    fn update_account(&mut self, account: &Account) -> Result<(), DbError> {
        diesel::sql_query(
            "UPDATE users SET username = ?, password = ?, locked = ?, flags = ? WHERE rowid = ?",
        )
        .bind::<Text, _>(&account.name)
        .bind::<Text, _>(&account.hash)
        .bind::<Integer, _>(i32::from(account.locked))
        .bind::<Text, _>(account.flags.join(","))
        .bind::<BigInt, _>(account.id)
        .execute(&mut self.connection)?;
        self.own_changes += 1;
        Ok(())
    }

    fn remove_account(&mut self, id: i64) -> Result<(), DbError> {
        diesel::sql_query("DELETE FROM users WHERE rowid = ?")
            .bind::<BigInt, _>(id)
            .execute(&mut self.connection)?;
        self.own_changes += 1;
        Ok(())
    }

    fn append_log(&mut self, rows: &[LogRow]) -> Result<(), DbError> {
        self.connection.immediate_transaction(|connection| {
            for row in rows {
                diesel::sql_query(
                    "INSERT INTO serverlog (timestamp, level, topic, user, session, message) VALUES (?, ?, ?, ?, ?, ?)",
                )
                .bind::<Text, _>(&row.timestamp)
                .bind::<Integer, _>(row.level)
                .bind::<Text, _>(&row.topic)
                .bind::<Text, _>(&row.user)
                .bind::<Text, _>(&row.session)
                .bind::<Text, _>(&row.message)
                .execute(connection)?;
            }
            Ok(())
        })
    }

    fn set_settings(&mut self, settings: &[(&str, &str)]) -> Result<(), DbError> {
        self.own_changes += 1;
        self.connection.immediate_transaction(|connection| {
            for (key, value) in settings {
                diesel::sql_query("INSERT OR REPLACE INTO settings (key, value) VALUES (?, ?)")
                    .bind::<Text, _>(*key)
                    .bind::<Text, _>(*value)
                    .execute(connection)?;
            }
            Ok(())
        })
    }

    fn key(&mut self, name: &str, fresh: &[u8]) -> Result<Vec<u8>, DbError> {
        diesel::sql_query("INSERT OR IGNORE INTO drawhall_keys (name, secret) VALUES (?, ?)")
            .bind::<Text, _>(name)
            .bind::<Binary, _>(fresh)
            .execute(&mut self.connection)?;
        let kept: Secret = diesel::sql_query("SELECT secret FROM drawhall_keys WHERE name = ?")
            .bind::<Text, _>(name)
            .get_result(&mut self.connection)?;
        Ok(kept.secret)
    }

    fn purge_log(&mut self, before: &str) -> Result<usize, DbError> {
        let done = diesel::sql_query("DELETE FROM serverlog WHERE CAST(timestamp AS TEXT) < ?")
            .bind::<Text, _>(before);
        Ok(done.execute(&mut self.connection)?)
    }

    fn remove_settings(&mut self, keys: &[&str]) -> Result<(), DbError> {
        self.delete_settings(keys)
    }

    fn ban_rows(&mut self, kind: BanKind) -> Result<Vec<BanRow>, DbError> {
        self.all_bans(kind)
    }

    fn add_ban(&mut self, kind: BanKind, ban: &BanRow) -> Result<i64, DbError> {
        self.insert_ban(kind, ban)
    }

    fn remove_ban(&mut self, kind: BanKind, id: i64) -> Result<bool, DbError> {
        self.delete_ban(kind, id)
    }

    fn set_listing_servers(&mut self, patterns: &[String]) -> Result<(), DbError> {
        self.replace_listing_servers(patterns)
    }

    fn switch_ext_ban(&mut self, id: i64, enabled: bool) -> Result<(), DbError> {
        self.mark_ext_ban(id, enabled)
    }

    fn keep_newest_log(&mut self, count: i64) -> Result<(), DbError> {
        self.delete_older_log(count)
    }

    fn log(&mut self, query: &LogQuery) -> Result<Vec<LogRow>, DbError> {
        self.log_rows(query)
    }
}
