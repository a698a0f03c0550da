//! The configuration database: settings, accounts, bans, white list, log. Source: docs/spec/config.md#database.
//!
//! [`Database`] is a handle on a `Backend`, of which `sqlite` is the only one. All calls block, so none
//! may be made on an actor's thread. People edit the database by hand while the server runs: values of any type are
//! accepted if they can be converted.

mod admin;
pub mod log;
mod sqlite;

pub use admin::{BanKind, BanRow, LogQuery};
pub use sqlite::files::{check_file, copy_file};

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::rules::username;

/// Batches of log rows that are buffered per subscriber of [`Database::follow_log`]; a slower one misses the oldest.
const MAX_UNREAD_BATCHES: usize = 64;
/// Log rows that are measured or deleted per transaction, so that other calls are not blocked for long.
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

/// A row of the accounts table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Account {
    /// Row id, part of the account id (`internal:<id>`).
    pub id: i64,
    /// User name, case-sensitive.
    pub name: String,
    /// Password hash, empty for no password.
    pub hash: String,
    /// Nobody can log in to a locked account.
    pub locked: bool,
    pub flags: Vec<String>,
}

/// Identifies an account.
#[derive(Debug, Clone, Copy)]
pub enum AccountKey<'a> {
    /// By row id, which does not change.
    Id(i64),
    /// By user name, case-sensitive.
    Name(&'a str),
}

impl std::fmt::Display for AccountKey<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl Account {
    /// Flags with a meaning to the server. Others are group names of an auth server, or misspelt.
    pub const FLAGS: [&str; 10] =
        ["MOD", "HOST", "ADMIN", "GHOST", "BANEXEMPT", "WEB", "WEBHOST", "WEBSESSION", "PERSIST", "TRUSTED"];

    /// Parses flags as they are stored: separated by commas.
    pub fn parse_flags(text: &str) -> Vec<String> {
        text.split(',').map(str::trim).filter(|f| !f.is_empty()).map(str::to_owned).collect()
    }
}

/// A ban of an address range that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpBan {
    /// Address as it was entered.
    pub ip: String,
    /// Prefix length in bits, 0 for the single address.
    pub subnet: i64,
    /// UTC, `yyyy-MM-dd HH:mm:ss`.
    pub expires: String,
}

/// A ban of a system id or ext-auth user that is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct SubjectBan {
    pub subject: String,
    /// Name of the action.
    pub reaction: String,
    /// UTC, `yyyy-MM-dd HH:mm:ss`.
    pub expires: String,
    /// Shown to the banned user.
    pub reason: String,
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
trait Backend: Send + Sync {
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
    fn purge_log(&self, before: &str) -> Result<usize, DbError>;
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
    path: Arc<PathBuf>,
    appended: broadcast::Sender<Arc<[LogRow]>>,
    skeletons: Arc<Mutex<Skeletons>>,
}

/// Skeletons of all account names, cached for one version of the database.
#[derive(Debug, Default)]
struct Skeletons {
    version: Option<i64>,
    names: HashSet<String>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("path", &self.path).finish_non_exhaustive()
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
        Ok(Self::with(sqlite::Sqlite::open(path)?, path))
    }

    /// Copies everything but the log of a database to memory, for checks. The file is not changed, and nothing is
    /// written beside it; a server may be using it. Reads the whole file.
    ///
    /// # Errors
    /// When the file cannot be opened, is not a database, or was changed by a later version of this program.
    pub fn copy_of(path: &Path) -> Result<(Database, DatabaseState), DbError> {
        let (backend, state) = sqlite::Sqlite::copy_of(path)?;
        Ok((Self::with(backend, path), state))
    }

    fn with(backend: sqlite::Sqlite, path: &Path) -> Database {
        let (appended, _) = broadcast::channel(MAX_UNREAD_BATCHES);
        Database {
            backend: Arc::new(backend),
            path: Arc::new(path.to_owned()),
            appended,
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
        self.path.as_os_str() == IN_MEMORY
    }

    /// Path of the file; empty for a database in memory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of the file; `None` for an in-memory database.
    pub fn directory(&self) -> Option<PathBuf> {
        let directory = self.path.parent().filter(|_| !self.is_in_memory())?;
        Some(if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory.to_owned() })
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

    /// Whether an account's name looks the same as `name` ([`username::skeleton`]). Names are cached until the
    /// database changes.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn has_account_like(&self, name: &str) -> Result<bool, DbError> {
        let version = Some(self.version()?);
        // A panic leaves the old version number, so the names are read again.
        let mut cached = self.skeletons.lock();
        if cached.version != version {
            cached.names = self.accounts()?.iter().map(|account| username::skeleton(&account.name)).collect();
            cached.version = version;
        }
        Ok(cached.names.contains(&username::skeleton(name)))
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

    /// Deletes log rows that are older than `days`. Returns their number.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn purge_log(&self, days: u32, utc_ms: i64) -> Result<usize, DbError> {
        let before = utc_ms - i64::from(days) * 86_400_000;
        self.backend.purge_log(&crate::rules::time::iso_of(before))
    }
}

#[cfg(test)]
mod tests;
