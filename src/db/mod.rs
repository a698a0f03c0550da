//! The configuration database: settings, accounts, bans, white list, log. Source: docs/spec/config.md#database.
//!
//! [`Database`] is what others see; behind it is a `Backend`, of which there is one, `sqlite`. Every call blocks,
//! so none is made on an actor's thread. People edit the database by hand while the server runs: what is read counts
//! whatever type it has, as far as it makes sense.

mod admin;
pub mod log;
mod sqlite;

pub use admin::{BanKind, BanRow, LogQuery};

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use crate::username;

/// Batches of log lines that wait for a follower; one who is slower misses the oldest.
const MAX_FOLLOWED: usize = 64;
/// Lines of the log that are looked at or deleted at a time; others have their turn in between.
const LOG_CHUNK: i64 = 2000;
/// Name of a database that is in no file.
const IN_MEMORY: &str = ":memory:";

/// A database that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// It cannot be opened.
    #[error("cannot open the database {path}: {reason}")]
    Open {
        /// The database.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Something cannot be read or written.
    #[error("database: {0}")]
    Query(#[from] diesel::result::Error),
    /// There is an account of that name.
    #[error("there is an account '{0}' already")]
    AccountExists(String),
    /// There is no account of that name.
    #[error("there is no account '{0}'")]
    NoAccount(String),
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its number, part of the account id.
    pub id: i64,
    /// User name, case-sensitive.
    pub name: String,
    /// Password hash, empty for no password.
    pub hash: String,
    /// Nobody can log in.
    pub locked: bool,
    /// Account flags.
    pub flags: Vec<String>,
}

/// Which account is meant.
#[derive(Debug, Clone, Copy)]
pub enum AccountKey<'a> {
    /// That of this number, which stays the same.
    Id(i64),
    /// That of this name, case-sensitive.
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
    /// Flags that the server knows. Others are names of groups, or misspelt.
    pub const FLAGS: [&str; 10] =
        ["MOD", "HOST", "ADMIN", "GHOST", "BANEXEMPT", "WEB", "WEBHOST", "WEBSESSION", "PERSIST", "TRUSTED"];

    /// Flags as they stand in a database: separated by commas.
    pub fn parse_flags(text: &str) -> Vec<String> {
        text.split(',').map(str::trim).filter(|f| !f.is_empty()).map(str::to_owned).collect()
    }
}

/// A ban of an address range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpBan {
    /// Address as it was entered.
    pub ip: String,
    /// Length of the common prefix in bits, 0 for the one address.
    pub subnet: i64,
    /// When it ends, as the database writes it.
    pub expires: String,
}

/// A ban of a system id or an ext-auth user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectBan {
    /// Who is banned.
    pub subject: String,
    /// Name of the reaction.
    pub reaction: String,
    /// When it ends, as the database writes it.
    pub expires: String,
    /// For who is banned.
    pub reason: String,
}

/// What decides about connections, as the database has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Settings by key.
    pub settings: Vec<(String, String)>,
    /// Address bans that are in force.
    pub ip_bans: Vec<IpBan>,
    /// System bans that are in force.
    pub system_bans: Vec<SubjectBan>,
    /// User bans that are in force.
    pub user_bans: Vec<SubjectBan>,
    /// White list of list servers: regular expressions.
    pub listing_servers: Vec<String>,
    /// Numbers of external bans that are switched off.
    pub disabled_ext_bans: Vec<i64>,
    /// Names of the accounts.
    pub account_names: Vec<String>,
    /// When the next ban ends, as the database writes it.
    pub next_expiry: Option<String>,
}

/// A line of the log, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    /// ISO 8601, UTC.
    pub timestamp: String,
    /// 0 error to 3 debug.
    pub level: i32,
    /// Topic.
    pub topic: String,
    /// `id;address;name`, or empty.
    pub user: String,
    /// Session id, or empty.
    pub session: String,
    /// The text.
    pub message: String,
}

/// What a database must be able to do. Times are UTC, `yyyy-MM-dd HH:mm:ss`.
trait Backend: Send {
    /// Changes whenever anybody, also another program, has changed something.
    fn version(&mut self) -> Result<i64, DbError>;
    fn snapshot(&mut self, now: &str) -> Result<Snapshot, DbError>;
    fn accounts(&mut self) -> Result<Vec<Account>, DbError>;
    fn account(&mut self, key: AccountKey<'_>) -> Result<Option<Account>, DbError>;
    fn add_account(&mut self, account: &Account) -> Result<Account, DbError>;
    fn change_account(
        &mut self,
        key: AccountKey<'_>,
        change: &mut dyn FnMut(&mut Account),
    ) -> Result<Account, DbError>;
    fn remove_account(&mut self, key: AccountKey<'_>) -> Result<(), DbError>;
    fn append_log(&mut self, rows: &[LogRow]) -> Result<(), DbError>;
    fn purge_log(&mut self, before: &str) -> Result<usize, DbError>;
    fn key(&mut self, name: &str, fresh: &[u8]) -> Result<Vec<u8>, DbError>;
    fn set_settings(&mut self, settings: &[(&str, &str)]) -> Result<(), DbError>;
    fn replace_settings(
        &mut self,
        only_while: (&str, &str),
        remove: &[&str],
        set: &[(&str, &str)],
    ) -> Result<bool, DbError>;
    fn ban_rows(&mut self, kind: BanKind) -> Result<Vec<BanRow>, DbError>;
    fn add_ban(&mut self, kind: BanKind, ban: &BanRow) -> Result<BanRow, DbError>;
    fn remove_ban(&mut self, kind: BanKind, id: i64) -> Result<bool, DbError>;
    fn set_listing_servers(&mut self, patterns: &[String]) -> Result<(), DbError>;
    fn switch_ext_ban(&mut self, id: i64, enabled: bool) -> Result<(), DbError>;
    fn keep_newest_log(&mut self, count: i64) -> Result<(), DbError>;
    /// Size of so many lines behind one, and the last of them; `None` if there are none.
    fn log_size(&mut self, after: i64, count: i64) -> Result<Option<(u64, i64)>, DbError>;
    /// Deletes the oldest lines that have so many bytes together, not more than `count`; returns their bytes.
    fn delete_oldest_log(&mut self, bytes: u64, count: i64) -> Result<u64, DbError>;
    fn log(&mut self, query: &LogQuery) -> Result<Vec<LogRow>, DbError>;
}

/// A database that is open.
#[derive(Clone)]
pub struct Database {
    backend: Arc<Mutex<Box<dyn Backend>>>,
    path: Arc<PathBuf>,
    appended: broadcast::Sender<Arc<[LogRow]>>,
    skeletons: Arc<Mutex<Skeletons>>,
}

/// Skeletons of the names of accounts, as of a version of the database.
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

/// Milliseconds since 1970 as the database writes times.
pub fn time_text(utc_ms: i64) -> String {
    let (first, last) = (jiff::Timestamp::MIN.as_millisecond(), jiff::Timestamp::MAX.as_millisecond());
    let time = jiff::Timestamp::from_millisecond(utc_ms.clamp(first, last)).unwrap_or_default();
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

impl Database {
    /// Opens a database, makes it where it is missing, and makes the tables that are missing.
    ///
    /// # Errors
    /// When it cannot be opened, or is none.
    pub fn open(path: &Path) -> Result<Database, DbError> {
        let backend = sqlite::Sqlite::open(path)?;
        let (appended, _) = broadcast::channel(MAX_FOLLOWED);
        Ok(Database {
            backend: Arc::new(Mutex::new(Box::new(backend))),
            path: Arc::new(path.to_owned()),
            appended,
            skeletons: Arc::default(),
        })
    }

    /// A database that is gone with the last who holds it.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn in_memory() -> Result<Database, DbError> {
        Self::open(Path::new(IN_MEMORY))
    }

    /// Whether it is gone with the last who holds it.
    pub fn is_in_memory(&self) -> bool {
        self.path.as_os_str() == IN_MEMORY
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that it is in, if it is in one.
    pub fn folder(&self) -> Option<PathBuf> {
        let folder = self.path.parent().filter(|_| !self.is_in_memory())?;
        Some(if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() })
    }

    fn backend(&self) -> MutexGuard<'_, Box<dyn Backend>> {
        // A statement that panicked was rolled back.
        self.backend.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes whenever anybody, also another program, has changed something.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn version(&self) -> Result<i64, DbError> {
        self.backend().version()
    }

    /// What decides about connections at this time, milliseconds since 1970.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn snapshot(&self, utc_ms: i64) -> Result<Snapshot, DbError> {
        self.backend().snapshot(&time_text(utc_ms))
    }

    /// All accounts.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn accounts(&self) -> Result<Vec<Account>, DbError> {
        self.backend().accounts()
    }

    /// The account of this name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn account(&self, name: &str) -> Result<Option<Account>, DbError> {
        self.backend().account(AccountKey::Name(name))
    }

    /// Adds an account; its number is given to it.
    ///
    /// # Errors
    /// When there is one of that name or one that people cannot tell from it, or it cannot be written.
    pub fn add_account(&self, account: &Account) -> Result<Account, DbError> {
        self.backend().add_account(account)
    }

    /// Whether people cannot tell this name from that of an account. All names are read when they may have changed only.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn has_account_like(&self, name: &str) -> Result<bool, DbError> {
        let version = Some(self.version()?);
        // What panicked while it held the lock has not noted the version.
        let mut known = self.skeletons.lock().unwrap_or_else(PoisonError::into_inner);
        if known.version != version {
            known.names = self.accounts()?.iter().map(|account| username::skeleton(&account.name)).collect();
            known.version = version;
        }
        Ok(known.names.contains(&username::skeleton(name)))
    }

    /// Changes an account, and returns what has become of it.
    ///
    /// # Errors
    /// When there is none, or another one of its new name or one that people cannot tell from it, or it cannot be written.
    pub fn change_account(
        &self,
        key: AccountKey<'_>,
        change: impl FnOnce(&mut Account),
    ) -> Result<Account, DbError> {
        let mut change = Some(change);
        self.backend().change_account(key, &mut |account| {
            if let Some(change) = change.take() {
                change(account);
            }
        })
    }

    /// Removes an account.
    ///
    /// # Errors
    /// When there is none, or it cannot be written.
    pub fn remove_account(&self, key: AccountKey<'_>) -> Result<(), DbError> {
        self.backend().remove_account(key)
    }

    /// Appends to the log.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append_log(&self, rows: &[LogRow]) -> Result<(), DbError> {
        self.backend().append_log(rows)?;
        // Often nobody follows.
        let _ = self.appended.send(rows.into());
        Ok(())
    }

    /// Size of the log in bytes: its texts, and 64 bytes for each line.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn log_size(&self) -> Result<u64, DbError> {
        let (mut size, mut after) = (0, i64::MIN);
        loop {
            let chunk = self.backend().log_size(after, LOG_CHUNK)?;
            let Some((bytes, last)) = chunk else { return Ok(size) };
            size += bytes;
            after = last;
        }
    }

    /// Deletes the oldest lines of the log, as many as have so many bytes together. Returns their bytes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn delete_oldest_log(&self, bytes: u64) -> Result<u64, DbError> {
        let mut deleted = 0;
        while deleted < bytes {
            match self.backend().delete_oldest_log(bytes - deleted, LOG_CHUNK)? {
                0 => break,
                more => deleted += more,
            }
        }
        Ok(deleted)
    }

    /// What is appended to the log from now on.
    pub fn follow_log(&self) -> broadcast::Receiver<Arc<[LogRow]>> {
        self.appended.subscribe()
    }

    /// Sets some settings.
    ///
    /// # Errors
    /// When they cannot be written; none is set then.
    pub fn set_settings(&self, settings: &[(&str, &str)]) -> Result<(), DbError> {
        self.backend().set_settings(settings)
    }

    /// A secret key of this name; if there is none yet, `fresh` is kept as it.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn key(&self, name: &str, fresh: &[u8]) -> Result<Vec<u8>, DbError> {
        self.backend().key(name, fresh)
    }

    /// Deletes what in the log is older than so many days. Returns how many lines that was.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn purge_log(&self, days: u32, utc_ms: i64) -> Result<usize, DbError> {
        let before = utc_ms - i64::from(days) * 86_400_000;
        self.backend().purge_log(&crate::clock::iso_of(before))
    }
}

#[cfg(test)]
mod tests;
