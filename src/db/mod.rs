//! The configuration database: settings, accounts, bans, white list, log. Source: docs/spec/config.md#database.
//!
//! [`Database`] is a handle on a `Backend`: SQLite, or PostgreSQL, which several servers share. `sql` has the queries,
//! which both have in common. All calls block, so none may be made on an actor's thread. People edit the database by hand
//! while the server runs: values of any type are accepted if they can be converted.

mod account;
mod admin;
mod bans;
mod cluster;
mod cluster_url;
pub mod invitations;
pub mod log;
pub mod nodes;
pub mod people;
#[cfg(feature = "cluster")]
mod postgres;
pub mod reports;
mod schema;
mod sql;
mod sqlite;

use account::Skeletons;
pub use account::{Account, AccountKey};
pub use admin::{BanKind, BanRow, LogQuery};
pub use bans::{
    AddedBan, BanChange, BanEdit, BanKey, BanPart, BanTarget, EditedBan, IpBan, NewPersonBan, PersonBan,
    SubjectBan,
};
pub use cluster::{ClusterStatus, ImportedRows};
pub use cluster_url::{ClusterUrl, SslMode};
pub use sqlite::files::{check_file, copy_file};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::broadcast;

/// Batches of log rows that are buffered per subscriber of [`Database::follow_log`]; a slower one misses the oldest.
const MAX_UNREAD_BATCHES: usize = 64;
/// The same for reports and [`Database::follow_reports`].
const MAX_UNREAD_REPORTS: usize = 64;
/// Log rows that are read, measured or deleted per transaction, so that other calls are not blocked for long.
const LOG_CHUNK: i64 = 2000;
/// SQLite's path of an in-memory database.
const IN_MEMORY: &str = ":memory:";

/// A database error.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the names say it")]
pub enum DbError {
    #[error("cannot open the database {path}: {reason}")]
    Open { path: PathBuf, reason: String },
    #[error(
        "the database {path} was changed by a later version of drawhall (migration {version}); update drawhall, or \
         restore a backup from before the update"
    )]
    Newer { path: PathBuf, version: String },
    #[error("cannot use the database {server}: {reason}")]
    Connect { server: String, reason: String },
    #[error(
        "the database {server} was changed by a later version of drawhall (migration {version}); update drawhall"
    )]
    NewerCluster { server: String, version: String },
    #[error("the database {0} is not empty; import into one that no server has used yet")]
    NotEmpty(String),
    /// A query failed, in the words of the engine.
    #[error("database: {0}")]
    Query(String),
    /// A copy could not be made, in the words of the engine.
    #[error("{0}")]
    Copy(String),
    /// A file is damaged, in the words of the engine.
    #[error("{0}")]
    Damaged(String),
    #[error("there is an account '{0}' already")]
    AccountExists(String),
    #[error("there is no account '{0}'")]
    NoAccount(String),
}

/// Everything in the database that decides about connections, read in one transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Snapshot {
    /// Keys and values.
    pub settings: Vec<(String, String)>,
    pub ip_bans: Vec<IpBan>,
    pub system_bans: Vec<SubjectBan>,
    pub user_bans: Vec<SubjectBan>,
    pub account_bans: Vec<SubjectBan>,
    /// White list of list servers: regular expressions.
    pub listing_servers: Vec<String>,
    /// Ids of disabled external bans.
    pub disabled_ext_bans: Vec<i64>,
    pub account_names: Vec<String>,
    /// When the next ban expires: UTC, `yyyy-MM-dd HH:mm:ss`.
    pub next_expiry: Option<String>,
}

/// What a look at a database that is not changed has found.
#[derive(Debug, Clone, Default)]
pub struct DatabaseState {
    /// The first damage that SQLite finds.
    pub damage: Option<String>,
    /// Time of the newest line of the log, as it is stored.
    pub newest_log: Option<String>,
}

/// A row of the event log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct LogRow {
    /// ISO 8601, UTC.
    pub timestamp: String,
    /// 0 error, 1 warning, 2 info, 3 debug.
    pub level: i32,
    pub topic: String,
    /// `id;address;name`, or empty.
    pub user: String,
    /// Session id, or empty.
    pub session: String,
    pub message: String,
}

/// Operations of a database engine. Times are UTC, `yyyy-MM-dd HH:mm:ss`; ids of rows grow with their age.
///
/// Each call is one transaction. It blocks, and calls may come from several threads at once: an engine of one
/// connection locks it, one with more has a pool.
trait Backend:
    bans::BanStore
    + invitations::InvitationStore
    + nodes::NodeStore
    + people::PeopleStore
    + reports::ReportStore
    + Send
    + Sync
{
    /// Whether [`Self::version`] may have changed since it was last read. That of a file is always looked at.
    fn may_have_changed(&self) -> bool;
    /// A number that changes with every commit, also one of another program.
    fn version(&self) -> Result<i64, DbError>;
    fn snapshot(&self, now: &str) -> Result<Snapshot, DbError>;
    fn accounts(&self) -> Result<Vec<Account>, DbError>;
    fn account(&self, key: AccountKey<'_>) -> Result<Option<Account>, DbError>;
    fn add_account(&self, account: &Account) -> Result<Account, DbError>;
    fn change_account(
        &self,
        key: AccountKey<'_>,
        change: &mut dyn FnMut(&mut Account),
    ) -> Result<Account, DbError>;
    fn remove_account(&self, key: AccountKey<'_>) -> Result<(), DbError>;
    fn append_log(&self, rows: &[LogRow]) -> Result<(), DbError>;
    /// Deletes rows before a time among the `count` rows after row id `after`; returns the last row id and how many were
    /// deleted, `None` at the end.
    fn purge_log(&self, after: i64, before: &str, count: i64) -> Result<Option<(i64, usize)>, DbError>;
    /// Shortens addresses in rows after this row id and before a time, a chunk of rows; returns the last row id and how
    /// many were changed, `None` at the end.
    fn shorten_log(&self, after: i64, before: &str, count: i64) -> Result<Option<(i64, usize)>, DbError>;
    fn key(&self, name: &str, fresh: &[u8]) -> Result<Vec<u8>, DbError>;
    /// Sets settings; those without a value are removed.
    fn change_settings(&self, settings: &[(&str, Option<&str>)]) -> Result<(), DbError>;
    fn replace_settings(
        &self,
        only_while: (&str, &str),
        remove: &[&str],
        set: &[(&str, &str)],
    ) -> Result<bool, DbError>;
    fn ban_rows(&self, kind: BanKind) -> Result<Vec<BanRow>, DbError>;
    fn add_ban(&self, kind: BanKind, ban: &BanRow) -> Result<BanRow, DbError>;
    fn remove_ban(&self, kind: BanKind, id: i64) -> Result<bool, DbError>;
    fn set_listing_servers(&self, patterns: &[String]) -> Result<(), DbError>;
    fn switch_ext_ban(&self, id: i64, enabled: bool) -> Result<(), DbError>;
    fn keep_newest_log(&self, count: i64) -> Result<(), DbError>;
    /// Size in bytes of up to `count` log rows after row id `after`, and the last row id; `None` if there are no
    /// more.
    fn log_size(&self, after: i64, count: i64) -> Result<Option<(u64, i64)>, DbError>;
    /// Deletes the oldest rows until `bytes` are freed, `count` rows at most. Returns the bytes freed.
    fn delete_oldest_log(&self, bytes: u64, count: i64) -> Result<u64, DbError>;
    fn log(&self, query: &LogQuery) -> Result<Vec<LogRow>, DbError>;
}

/// A handle on an open database. Clones share its connections.
#[derive(Clone)]
pub struct Database {
    backend: Arc<dyn Backend>,
    location: Arc<Location>,
    appended: broadcast::Sender<Arc<[LogRow]>>,
    reported: broadcast::Sender<reports::StoredReport>,
    skeletons: Arc<Mutex<Skeletons>>,
}

/// Where a database is.
#[derive(Debug)]
enum Location {
    File(PathBuf),
    /// Address of a server, without its password.
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "only that has servers"))]
    Server(String),
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("location", &self.location).finish_non_exhaustive()
    }
}

/// Formats milliseconds since 1970 as the database stores times: UTC, `yyyy-MM-dd HH:mm:ss`.
pub fn time_text(utc_ms: i64) -> String {
    let (first, last) = (jiff::Timestamp::MIN.as_millisecond(), jiff::Timestamp::MAX.as_millisecond());
    let time = jiff::Timestamp::from_millisecond(utc_ms.clamp(first, last)).unwrap_or_default();
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

impl Database {
    /// Opens a database. Creates the file and runs migrations as needed.
    ///
    /// # Errors
    /// When the file cannot be opened or is not a database.
    pub fn open(path: &Path) -> Result<Database, DbError> {
        Ok(Self::with(sqlite::Sqlite::open(path)?, Location::File(path.to_owned())))
    }

    /// Copies everything but the log of a database to memory, for checks. The file is not changed, and nothing is
    /// written beside it; a server may be using it. Reads the whole file.
    ///
    /// # Errors
    /// When the file cannot be opened, is not a database, or was changed by a later version of this program.
    pub fn copy_of(path: &Path) -> Result<(Database, DatabaseState), DbError> {
        let (backend, state) = sqlite::Sqlite::copy_of(path)?;
        Ok((Self::with(backend, Location::File(path.to_owned())), state))
    }

    fn with(backend: impl Backend + 'static, location: Location) -> Database {
        let (appended, _) = broadcast::channel(MAX_UNREAD_BATCHES);
        Database {
            backend: Arc::new(backend),
            location: Arc::new(location),
            appended,
            reported: broadcast::channel(MAX_UNREAD_REPORTS).0,
            skeletons: Arc::default(),
        }
    }

    /// Opens a database. A file that does not exist yet is created with these settings.
    ///
    /// # Errors
    /// When the file cannot be opened or is not a database.
    pub fn open_or_create(path: &Path, settings: &[(&str, &str)]) -> Result<Database, DbError> {
        let is_new = !path.exists();
        let database = Self::open(path)?;
        if is_new {
            database.set_settings(settings)?;
        }
        Ok(database)
    }

    /// Opens an in-memory database, which is dropped with its last handle.
    ///
    /// # Errors
    /// When it cannot be allocated.
    pub fn in_memory() -> Result<Database, DbError> {
        Self::open(Path::new(IN_MEMORY))
    }

    /// Whether it is lost at the end of the process.
    pub fn is_in_memory(&self) -> bool {
        self.path().is_some_and(|path| path.as_os_str() == IN_MEMORY)
    }

    /// Whether other servers may change it, which only a look at it tells.
    pub fn is_shared(&self) -> bool {
        matches!(*self.location, Location::Server(_))
    }

    /// Path of the file, `:memory:` for a database in memory; `None` for one on PostgreSQL.
    pub fn path(&self) -> Option<&Path> {
        match &*self.location {
            Location::File(path) => Some(path),
            Location::Server(_) => None,
        }
    }

    /// Where it is, for people: path of the file, or address of the server without its password.
    pub fn location(&self) -> String {
        match &*self.location {
            Location::File(path) => path.display().to_string(),
            Location::Server(address) => address.clone(),
        }
    }

    /// The directory of the file; `None` for a database in memory or on PostgreSQL.
    pub fn directory(&self) -> Option<PathBuf> {
        let directory = self.path().filter(|_| !self.is_in_memory())?.parent()?;
        Some(if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory.to_owned() })
    }

    /// Whether it is worth reading [`Self::version`]: always for a file; for a database on PostgreSQL when it has told of
    /// a change, and each second.
    pub fn may_have_changed(&self) -> bool {
        self.backend.may_have_changed()
    }

    /// A number that changes with every commit, also one of another program.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn version(&self) -> Result<i64, DbError> {
        self.backend.version()
    }

    /// Everything that decides about connections. `utc_ms` is the current time; expired bans are left out.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn snapshot(&self, utc_ms: i64) -> Result<Snapshot, DbError> {
        self.backend.snapshot(&time_text(utc_ms))
    }

    /// All accounts, in the order of their ids.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn accounts(&self) -> Result<Vec<Account>, DbError> {
        self.backend.accounts()
    }

    /// The account of a user name (case-sensitive).
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn account(&self, name: &str) -> Result<Option<Account>, DbError> {
        self.backend.account(AccountKey::Name(name))
    }

    /// Adds an account and returns it with its assigned id.
    ///
    /// # Errors
    /// When the name is taken, or looks the same as a taken one, or the database cannot be written.
    pub fn add_account(&self, account: &Account) -> Result<Account, DbError> {
        self.backend.add_account(account)
    }

    /// Changes an account and returns it as stored.
    ///
    /// # Errors
    /// When the account does not exist, its new name is taken or looks the same as a taken one, or the database
    /// cannot be written.
    pub fn change_account(
        &self,
        key: AccountKey<'_>,
        change: impl FnOnce(&mut Account),
    ) -> Result<Account, DbError> {
        let mut change = Some(change);
        self.backend.change_account(key, &mut |account| {
            if let Some(change) = change.take() {
                change(account);
            }
        })
    }

    /// Removes an account. Its id is not used again.
    ///
    /// # Errors
    /// When the account does not exist, or the database cannot be written.
    pub fn remove_account(&self, key: AccountKey<'_>) -> Result<(), DbError> {
        self.backend.remove_account(key)
    }

    /// Appends rows to the log and sends them to the subscribers.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn append_log(&self, rows: &[LogRow]) -> Result<(), DbError> {
        self.backend.append_log(rows)?;
        // Fails if there are no subscribers.
        let _ = self.appended.send(rows.into());
        Ok(())
    }

    /// Size of the log in bytes: the texts, plus 64 bytes per row.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn log_size(&self) -> Result<u64, DbError> {
        let (mut size, mut after) = (0, i64::MIN);
        loop {
            let chunk = self.backend.log_size(after, LOG_CHUNK)?;
            let Some((bytes, last)) = chunk else { return Ok(size) };
            size += bytes;
            after = last;
        }
    }

    /// Deletes the oldest log rows until `bytes` are freed. Returns the bytes freed.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn delete_oldest_log(&self, bytes: u64) -> Result<u64, DbError> {
        let mut deleted = 0;
        while deleted < bytes {
            match self.backend.delete_oldest_log(bytes - deleted, LOG_CHUNK)? {
                0 => break,
                more => deleted += more,
            }
        }
        Ok(deleted)
    }

    /// Subscribes to the rows that are appended to the log.
    pub fn follow_log(&self) -> broadcast::Receiver<Arc<[LogRow]>> {
        self.appended.subscribe()
    }

    /// Returns the secret key of this name. If there is none, stores `fresh` as the key.
    ///
    /// # Errors
    /// When the database cannot be read or written.
    pub fn key(&self, name: &str, fresh: &[u8]) -> Result<Vec<u8>, DbError> {
        self.backend.key(name, fresh)
    }
}

#[cfg(test)]
mod tests;
