//! Connecting to PostgreSQL, and its migrations.

use std::error::Error;
use std::time::Duration;

use diesel::migration::MigrationSource;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};
use rustls::ClientConfig;
use tokio_postgres::config::SslMode as ClientSslMode;
use tokio_postgres::{Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::blocking::{Background, ParkThread, block_on};
use super::{CONNECT_TIMEOUT, NO_ANSWER, RULES_LOCK, STATEMENT_TIMEOUT};
use crate::db::DbError;
use crate::db::cluster_url::{ClusterUrl, SslMode};
use crate::db::schema::first_unknown;
use crate::db::sql::Number;

mod tls;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// A connection for calls that block.
type BlockingConnection = AsyncConnectionWrapper<AsyncPgConnection, ParkThread>;

/// What a connection needs.
pub(super) struct Connector {
    config: Config,
    /// What lines of the log have in the column `node`.
    node: String,
    /// `None`: connections are not encrypted.
    tls: Option<ClientConfig>,
}

impl Connector {
    pub(super) fn new(url: &ClusterUrl) -> Result<Connector, String> {
        let mut config: Config = url.secret().parse().map_err(|error| full_text(&error))?;
        config.connect_timeout(CONNECT_TIMEOUT).tcp_user_timeout(STATEMENT_TIMEOUT);
        let node = url.node_name();
        if config.get_application_name().is_none() {
            config.application_name(format!("drawhall {node}"));
        }
        config.ssl_mode(match url.ssl_mode() {
            SslMode::Disable => ClientSslMode::Disable,
            SslMode::Prefer => ClientSslMode::Prefer,
            SslMode::Require | SslMode::VerifyFull => ClientSslMode::Require,
        });
        Ok(Connector { config, node, tls: tls::client_config(url)? })
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// `None`: connections are not encrypted.
    pub(super) fn tls(&self) -> Option<&ClientConfig> {
        self.tls.as_ref()
    }

    pub(super) async fn connect(&self) -> ConnectionResult<AsyncPgConnection> {
        let failed = |error: tokio_postgres::Error| ConnectionError::BadConnection(full_text(&error));
        let mut connection = match &self.tls {
            None => {
                let (client, connection) = self.config.connect(NoTls).await.map_err(failed)?;
                AsyncPgConnection::try_from_client_and_connection(client, connection).await?
            }
            Some(tls) => {
                let tls = MakeRustlsConnect::new(tls.clone());
                let (client, connection) = self.config.connect(tls).await.map_err(failed)?;
                AsyncPgConnection::try_from_client_and_connection(client, connection).await?
            }
        };
        let node = self.node.replace('\'', "''");
        let set = format!("{}; SET drawhall.node = '{node}'", set_limits(STATEMENT_TIMEOUT));
        connection.batch_execute(&set).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
        Ok(connection)
    }
}

/// Statements with which the database ends what takes too long, a little earlier than this program does.
pub(super) fn set_limits(limit: Duration) -> String {
    let limit = limit.as_millis() * 3 / 4;
    format!(
        "SET statement_timeout = {limit}; SET lock_timeout = {limit}; \
         SET idle_in_transaction_session_timeout = {limit}"
    )
}

/// An error with those that it comes from.
pub(super) fn full_text(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

/// What a database had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schema {
    /// None of our tables.
    WasEmpty,
    Existed,
}

/// Why migrations were not run.
pub(super) enum MigrationError {
    /// A later version of this program has run this one.
    Newer(String),
    Other(String),
}

impl MigrationError {
    pub(super) fn of(self, url: &ClusterUrl) -> DbError {
        let server = url.to_string();
        match self {
            MigrationError::Newer(version) => DbError::NewerCluster { server, version },
            MigrationError::Other(reason) => DbError::Connect { server, reason },
        }
    }
}

/// Runs the migrations that are missing, one server at a time, and gives an empty database these settings. Without
/// `settings` nothing is written.
pub(super) fn migrate(
    background: &Background,
    connector: &Connector,
    settings: Option<&[(&str, &str)]>,
) -> Result<Schema, MigrationError> {
    let connected =
        block_on(background, async { tokio::time::timeout(CONNECT_TIMEOUT, connector.connect()).await });
    let connection = match connected {
        Ok(connected) => connected.map_err(|error| MigrationError::Other(full_text(&error)))?,
        Err(_) => return Err(MigrationError::Other(NO_ANSWER.into())),
    };
    background.enter(|| {
        let mut connection = BlockingConnection::from(connection);
        // Closing the connection releases the lock.
        migrate_locked(&mut connection, settings)
    })
}

fn migrate_locked(
    connection: &mut BlockingConnection,
    settings: Option<&[(&str, &str)]>,
) -> Result<Schema, MigrationError> {
    fn failed(error: impl ToString) -> MigrationError {
        MigrationError::Other(error.to_string())
    }
    let lock = format!("SELECT pg_advisory_lock({RULES_LOCK})");
    // Only the wait for another server is limited: what is behind it may be an index over a large table.
    for statement in [&*lock, "SET statement_timeout = 0; SET lock_timeout = 0"] {
        diesel::connection::SimpleConnection::batch_execute(connection, statement).map_err(failed)?;
    }
    let table = "SELECT COUNT(*) AS n FROM pg_tables WHERE schemaname = current_schema() \
                 AND tablename = '__diesel_schema_migrations'";
    let table: Number = diesel::sql_query(table).get_result(connection).map_err(failed)?;
    if table.n == 0 && settings.is_none() {
        return Ok(Schema::WasEmpty);
    }
    let known = MigrationSource::<Pg>::migrations(&MIGRATIONS).map_err(failed)?;
    let applied = connection.applied_migrations().map_err(failed)?;
    let applied: Vec<String> = applied.iter().map(ToString::to_string).collect();
    if let Some(newer) = first_unknown(&known, &applied) {
        return Err(MigrationError::Newer(newer));
    }
    let schema = if applied.is_empty() { Schema::WasEmpty } else { Schema::Existed };
    match (settings, schema) {
        (Some(settings), Schema::WasEmpty) => {
            connection.transaction(|connection| fill(connection, settings)).map_err(failed)?;
        }
        (Some(_), Schema::Existed) => drop(connection.run_pending_migrations(MIGRATIONS).map_err(failed)?),
        (None, Schema::Existed) if applied.len() < known.len() => {
            return Err(failed(
                "its tables are of an earlier version of drawhall; the start of a server updates them",
            ));
        }
        (None, _) => {}
    }
    Ok(schema)
}

/// Gives an empty database its tables and settings. In one transaction, so that a start that fails leaves it empty: the
/// next one would take the settings for changed.
fn fill(
    connection: &mut BlockingConnection,
    settings: &[(&str, &str)],
) -> Result<(), Box<dyn Error + Send + Sync>> {
    connection.run_pending_migrations(MIGRATIONS)?;
    for (key, value) in settings {
        diesel::sql_query("INSERT INTO settings (key, value) VALUES ($1, $2)")
            .bind::<Text, _>(key)
            .bind::<Text, _>(value)
            .execute(connection)?;
    }
    Ok(())
}
