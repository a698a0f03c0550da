//! Opening a configuration source.

use std::io;
use std::path::PathBuf;

use super::{OpenSource, RuleSource};
use crate::db::{Database, DatabaseState, DbError};

/// A source that cannot be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the names say it")]
pub enum SourceError {
    #[error("--config: cannot read {path}: {source}; specify another file, or create it")]
    Config { path: PathBuf, source: io::Error },
    #[error("--cluster: {0}")]
    Cluster(DbError),
    #[error("--database: {0}; this user must be able to read and write the file and its directory")]
    Database(#[from] DbError),
}

impl RuleSource {
    /// Opens the source.
    ///
    /// # Errors
    /// When the database cannot be opened.
    pub fn open(&self) -> Result<OpenSource, SourceError> {
        let database = match (&self.cluster, &self.database) {
            (Some(url), _) => {
                let connected = Database::connect(url, self.initial_settings);
                Some(connected.map_err(SourceError::Cluster)?)
            }
            (None, Some(path)) => Some(Database::open_or_create(path, self.initial_settings)?),
            (None, None) => None,
        };
        Ok(self.opened(database))
    }

    /// Opens a copy of the source, for checks: nothing is written. A database that does not exist is empty. One on
    /// PostgreSQL is read, not copied.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn open_copy(&self) -> Result<(OpenSource, DatabaseState), SourceError> {
        let (database, state) = match (&self.cluster, &self.database) {
            (Some(url), _) => {
                let connected = Database::connect_unchanged(url).map_err(SourceError::Cluster)?;
                let database = connected.map_or_else(Database::in_memory, Ok)?;
                (Some(database), DatabaseState::default())
            }
            (None, Some(path)) if path.exists() => {
                let (database, state) = Database::copy_of(path)?;
                (Some(database), state)
            }
            (None, Some(_)) => (Some(Database::in_memory()?), DatabaseState::default()),
            (None, None) => (None, DatabaseState::default()),
        };
        Ok((self.opened(database), state))
    }

    fn opened(&self, database: Option<Database>) -> OpenSource {
        OpenSource {
            source: self.clone(),
            database,
            file_stamp: None,
            is_missing: false,
            version: 0,
            next_expiry: None,
            logged_errors: Vec::new(),
            fetched: None,
            runtime_settings: Vec::new(),
            reload_requested: false,
        }
    }
}
