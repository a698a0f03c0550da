//! Accounts, as the database has them.

use std::collections::HashSet;

use super::{Database, DbError};
use crate::rules::username;

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
    pub const FLAGS: [&str; 12] = [
        "MOD",
        "HOST",
        "ADMIN",
        "ADMINMOD",
        "ADMINREAD",
        "GHOST",
        "BANEXEMPT",
        "WEB",
        "WEBHOST",
        "WEBSESSION",
        "PERSIST",
        "TRUSTED",
    ];

    /// Parses flags as they are stored: separated by commas.
    pub fn parse_flags(text: &str) -> Vec<String> {
        text.split(',').map(str::trim).filter(|f| !f.is_empty()).map(str::to_owned).collect()
    }
}

/// Skeletons of all account names, cached for one version of the database.
#[derive(Debug, Default)]
pub(super) struct Skeletons {
    version: Option<i64>,
    names: HashSet<String>,
}

impl Database {
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
}
