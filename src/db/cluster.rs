//! Databases on PostgreSQL, which several servers share.

use std::path::Path;
use std::sync::Arc;

use super::{ClusterUrl, Database, DbError};
#[cfg(feature = "cluster")]
use super::{
    Location,
    postgres::Postgres,
    sql::{Engine as _, Pair, Sql as _},
    sqlite::Sqlite,
};
use crate::metrics::Metrics;
use crate::storage::shared::SharedSessions;

#[cfg(feature = "cluster")]
mod import;

/// Rows that were copied, by table.
pub type ImportedRows = Vec<(&'static str, usize)>;

/// A database on PostgreSQL, and who is connected to it.
#[derive(Debug, Clone)]
pub struct ClusterStatus {
    /// Version of PostgreSQL.
    pub version: String,
    /// Names and addresses of the servers, as PostgreSQL sees them; the address is empty for those on its machine.
    pub servers: Vec<(String, String)>,
    /// The content; `None` if it is empty.
    pub database: Option<Database>,
}

#[cfg(feature = "cluster")]
impl Database {
    /// Connects to a database and runs migrations as needed. An empty one is given its tables and these settings. Blocks.
    ///
    /// # Errors
    /// When it cannot be reached or used, or was changed by a later version of this program.
    pub fn connect(url: &ClusterUrl, settings: &[(&str, &str)]) -> Result<Database, DbError> {
        let backend = Postgres::open(url, settings)?;
        Ok(Self::with(backend, Location::Server(url.to_string())))
    }

    /// Connects to a database for reading, without migrations; `None` if it is empty. Blocks.
    ///
    /// # Errors
    /// When it cannot be reached, or has the tables of another version of this program.
    pub fn connect_unchanged(url: &ClusterUrl) -> Result<Option<Database>, DbError> {
        let backend = Postgres::open_unchanged(url)?;
        Ok(backend.map(|backend| Self::with(backend, Location::Server(url.to_string()))))
    }

    /// The sessions in this database that servers share; `owner` is the incarnation of this server, empty for
    /// one that owns none. Connects later.
    ///
    /// # Errors
    /// When the address cannot be used.
    pub fn shared_sessions(
        url: &ClusterUrl,
        owner: &str,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<dyn SharedSessions>, DbError> {
        Ok(Arc::new(Postgres::sessions(url, owner, metrics)?))
    }

    /// Copies a file of SQLite, which is not changed, to an empty database: everything but the log and the records of
    /// people. Blocks.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read, or the database cannot be written, or has rows already.
    pub fn import(url: &ClusterUrl, file: &Path) -> Result<ImportedRows, DbError> {
        let (source, state) = Sqlite::copy_of(file)?;
        if let Some(damage) = state.damage {
            return Err(DbError::Damaged(format!("{} is damaged: {damage}", file.display())));
        }
        let target = Postgres::open(url, &[])?;
        import::import(&source, &target)?.ok_or_else(|| DbError::NotEmpty(url.to_string()))
    }

    /// The state of a database on PostgreSQL; changes nothing. Blocks.
    ///
    /// # Errors
    /// When it cannot be reached, or has the tables of another version of this program.
    pub fn cluster_status(url: &ClusterUrl) -> Result<ClusterStatus, DbError> {
        let Some(backend) = Postgres::open_unchanged(url)? else {
            return Ok(ClusterStatus { version: String::new(), servers: Vec::new(), database: None });
        };
        let (version, servers) = backend.autocommit(|connection| {
            let version: Pair =
                connection.row("SELECT CURRENT_SETTING('server_version') AS a, '' AS b", &[])?;
            let servers: Vec<Pair> = connection.rows(
                "SELECT application_name AS a, COALESCE(HOST(client_addr), '') AS b FROM pg_stat_activity \
                 WHERE datname = CURRENT_DATABASE() AND query = 'LISTEN drawhall_rules' ORDER BY a, b",
                &[],
            )?;
            Ok((version.a, servers.into_iter().map(|pair| (pair.a, pair.b)).collect()))
        })?;
        let database = Some(Self::with(backend, Location::Server(url.to_string())));
        Ok(ClusterStatus { version, servers, database })
    }
}

#[cfg(not(feature = "cluster"))]
impl Database {
    /// Connects to a database on PostgreSQL.
    ///
    /// # Errors
    /// Always: this program was built without the feature `cluster`.
    pub fn connect(url: &ClusterUrl, _: &[(&str, &str)]) -> Result<Database, DbError> {
        Err(unsupported(url))
    }

    /// Connects to a database on PostgreSQL for reading.
    ///
    /// # Errors
    /// Always: this program was built without the feature `cluster`.
    pub fn connect_unchanged(url: &ClusterUrl) -> Result<Option<Database>, DbError> {
        Err(unsupported(url))
    }

    /// The sessions in a database on PostgreSQL that servers share.
    ///
    /// # Errors
    /// Always: this program was built without the feature `cluster`.
    pub fn shared_sessions(
        url: &ClusterUrl,
        _: &str,
        _: Arc<Metrics>,
    ) -> Result<Arc<dyn SharedSessions>, DbError> {
        Err(unsupported(url))
    }

    /// Copies a file of SQLite to PostgreSQL.
    ///
    /// # Errors
    /// Always: this program was built without the feature `cluster`.
    pub fn import(url: &ClusterUrl, _: &Path) -> Result<ImportedRows, DbError> {
        Err(unsupported(url))
    }

    /// The state of a database on PostgreSQL.
    ///
    /// # Errors
    /// Always: this program was built without the feature `cluster`.
    pub fn cluster_status(url: &ClusterUrl) -> Result<ClusterStatus, DbError> {
        Err(unsupported(url))
    }
}

#[cfg(not(feature = "cluster"))]
fn unsupported(url: &ClusterUrl) -> DbError {
    let reason = "this program was built without the feature cluster".to_owned();
    DbError::Connect { server: url.to_string(), reason }
}
