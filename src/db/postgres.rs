//! The PostgreSQL engine: a pool of connections to one database that several servers share.
//!
//! Calls block, as those of the other engines; what is asynchronous runs on a thread of its own. Transactions that write
//! hold an advisory lock, so that one writes at a time, on all servers.

mod blocking;
mod client;
mod connect;
mod notices;
mod outage;
mod sessions;

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool::managed::PoolError;
use diesel::result::QueryResult;
use diesel_async::pooled_connection::deadpool::{Object, Pool};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection as _};

use super::DbError;
use super::cluster_url::ClusterUrl;
use super::sql::{Dialect, Engine, Line, Number, Sql, Statement, Value, Writes};
use crate::metrics::Metrics;
use blocking::{Background, block_on};
use connect::{Connector, Schema};
use notices::Notices;
use outage::Outage;

/// Connections at most. Each call takes one.
const MAX_CONNECTIONS: usize = 8;
/// How long a call waits for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a statement may take. The database ends it a little earlier, if it can.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// Advisory lock of transactions that change the rules, and of the migrations.
const RULES_LOCK: i64 = 0x6472_6177_6861;
/// Advisory lock of transactions that write anything else.
const RECORDS_LOCK: i64 = RULES_LOCK + 1;

/// Why a call has failed that took too long.
const NO_ANSWER: &str = "no answer";

static DIALECT: Dialect = Dialect {
    row_id: "id",
    like: "ILIKE",
    user_id: "?2",
    reporter_address: "SUBSTRING(reporter FROM '\"address\":\"([^\"]*)\"')",
};

/// A database on PostgreSQL.
pub(super) struct Postgres {
    /// Before the thread that its connections need.
    pool: Pool<AsyncPgConnection>,
    background: Background,
    url: ClusterUrl,
    outage: Arc<Outage>,
    notices: Notices,
}

impl Postgres {
    /// Connects and runs migrations as needed. An empty database is given its tables and these settings. Blocks.
    pub(super) fn open(url: &ClusterUrl, settings: &[(&str, &str)]) -> Result<Postgres, DbError> {
        let (background, connector) = Self::prepare(url)?;
        connect::migrate(&background, &connector, Some(settings)).map_err(|error| error.of(url))?;
        Self::with(url, background, connector)
    }

    /// Connects if the database has the tables of this version; `None` if it is empty. Blocks.
    pub(super) fn open_unchanged(url: &ClusterUrl) -> Result<Option<Postgres>, DbError> {
        let (background, connector) = Self::prepare(url)?;
        match connect::migrate(&background, &connector, None).map_err(|error| error.of(url))? {
            Schema::WasEmpty => Ok(None),
            Schema::Existed => Self::with(url, background, connector).map(Some),
        }
    }

    /// The sessions that this server shares with others; `owner` is its incarnation.
    pub(super) fn sessions(
        url: &ClusterUrl,
        owner: &str,
        metrics: Arc<Metrics>,
    ) -> Result<sessions::PgSessions, DbError> {
        let (background, connector) = Self::prepare(url)?;
        Ok(sessions::PgSessions::start(background, connector, owner, metrics))
    }

    fn prepare(url: &ClusterUrl) -> Result<(Background, Arc<Connector>), DbError> {
        let failed = |reason: String| DbError::Connect { server: url.to_string(), reason };
        let background = Background::start().map_err(|error| failed(error.to_string()))?;
        Ok((background, Arc::new(Connector::new(url).map_err(failed)?)))
    }

    fn with(
        url: &ClusterUrl,
        background: Background,
        connector: Arc<Connector>,
    ) -> Result<Postgres, DbError> {
        let notices = Notices::new(background.clone(), connector.clone());
        let mut config = ManagerConfig::default();
        // A connection that was closed is noticed without a query.
        config.recycling_method = RecyclingMethod::Fast;
        config.custom_setup = Box::new(move |_| {
            let connector = connector.clone();
            Box::pin(async move { connector.connect().await })
        });
        let manager = AsyncDieselConnectionManager::new_with_config(url.to_string(), config);
        let pool = Pool::builder(manager).max_size(MAX_CONNECTIONS).build();
        let pool =
            pool.map_err(|error| DbError::Connect { server: url.to_string(), reason: error.to_string() })?;
        Ok(Postgres { pool, background, url: url.clone(), outage: Arc::default(), notices })
    }

    fn away(&self, reason: String) -> DbError {
        DbError::Connect { server: self.url.to_string(), reason }
    }

    /// A connection. Fails at once for a while after a failure.
    fn connection(&self) -> Result<PgConnection, DbError> {
        if let Some(reason) = self.outage.reason(Instant::now()) {
            return Err(self.away(reason));
        }
        let got = block_on(&self.background, async {
            tokio::time::timeout(CONNECT_TIMEOUT, self.pool.get()).await
        });
        let reason = match got {
            Ok(Ok(object)) => {
                // One of the pool may be as dead as the others: only an answer ends the outage.
                return Ok(PgConnection {
                    object: Some(object),
                    background: self.background.clone(),
                    outage: self.outage.clone(),
                    is_sound: true,
                });
            }
            Ok(Err(PoolError::Backend(error))) => connect::full_text(&error),
            Ok(Err(error)) => error.to_string(),
            Err(_) if self.pool.status().size >= MAX_CONNECTIONS => {
                return Err(DbError::Query("all connections to the database are in use".into()));
            }
            Err(_) => NO_ANSWER.to_owned(),
        };
        self.outage.begin(Instant::now(), &reason);
        Err(self.away(reason))
    }

    /// Runs a transaction.
    fn transaction<R>(
        &self,
        begin: &str,
        lock: Option<i64>,
        work: impl FnOnce(&mut PgConnection) -> Result<R, DbError>,
    ) -> Result<R, DbError> {
        let mut connection = self.connection()?;
        connection.run(begin)?;
        // Until the end a connection whose user panics or fails is closed, which rolls back.
        connection.is_sound = false;
        if let Some(lock) = lock {
            connection.run(&format!("SELECT pg_advisory_xact_lock({lock})"))?;
        }
        let done = match work(&mut connection) {
            Ok(done) => done,
            Err(error) => {
                if connection.run("ROLLBACK").is_ok() {
                    connection.is_sound = true;
                }
                return Err(error);
            }
        };
        connection.run("COMMIT")?;
        connection.is_sound = true;
        Ok(done)
    }
}

/// A connection of the pool. It is closed if it is not known to be sound, else given back.
pub(super) struct PgConnection {
    object: Option<Object<AsyncPgConnection>>,
    background: Background,
    outage: Arc<Outage>,
    is_sound: bool,
}

impl PgConnection {
    /// Waits for a query. A connection that does not answer in time is not used again.
    fn wait<T: Send>(
        &mut self,
        start: impl AsyncFnOnce(&mut AsyncPgConnection) -> QueryResult<T>,
    ) -> QueryResult<T> {
        let Some(object) = &mut self.object else { return Err(diesel::result::Error::NotFound) };
        let done = block_on(&self.background, async {
            tokio::time::timeout(STATEMENT_TIMEOUT, start(object)).await
        });
        // An error of the statement is an answer, too.
        let is_answered = match &done {
            Ok(Ok(_)) => true,
            Ok(Err(diesel::result::Error::DatabaseError(kind, _))) => {
                !matches!(kind, diesel::result::DatabaseErrorKind::ClosedConnection)
            }
            _ => false,
        };
        if is_answered {
            self.outage.end();
        }
        done.unwrap_or_else(|_| {
            self.is_sound = false;
            self.outage.begin(Instant::now(), NO_ANSWER);
            Err(diesel::result::Error::QueryBuilderError(NO_ANSWER.into()))
        })
    }

    /// Runs a statement without parameters.
    fn run(&mut self, sql: &str) -> QueryResult<()> {
        self.wait(async |connection| connection.batch_execute(sql).await)
    }
}

impl Drop for PgConnection {
    fn drop(&mut self) {
        if let Some(object) = self.object.take()
            && !self.is_sound
        {
            // The tasks of a connection are on the thread in the background.
            self.background.enter(|| drop(Object::take(object)));
        }
    }
}

impl Sql for PgConnection {
    fn dialect(&self) -> &'static Dialect {
        &DIALECT
    }

    fn rows<T: Line>(&mut self, sql: &str, values: &[Value<'_>]) -> QueryResult<Vec<T>> {
        let values: Vec<Value<'_>> = values.iter().map(Value::without_nul).collect();
        self.wait(async |connection| RunQueryDsl::load(Statement::new(sql, &values), connection).await)
    }

    fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> QueryResult<usize> {
        let values: Vec<Value<'_>> = values.iter().map(Value::without_nul).collect();
        self.wait(async |connection| RunQueryDsl::execute(Statement::new(sql, &values), connection).await)
    }
}

impl Engine for Postgres {
    type Connection = PgConnection;

    fn may_have_changed(&self) -> bool {
        self.notices.may_have_changed()
    }

    fn change_count(&self) -> Result<i64, DbError> {
        let version: Number = self.connection()?.row("SELECT version AS n FROM drawhall_version", &[])?;
        Ok(version.n)
    }

    fn autocommit<R>(
        &self,
        work: impl FnOnce(&mut PgConnection) -> Result<R, DbError>,
    ) -> Result<R, DbError> {
        work(&mut self.connection()?)
    }

    fn read_consistent<R>(
        &self,
        work: impl FnOnce(&mut PgConnection) -> Result<R, DbError>,
    ) -> Result<R, DbError> {
        self.transaction("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", None, work)
    }

    fn write<R>(
        &self,
        writes: Writes,
        work: impl FnOnce(&mut PgConnection) -> Result<R, DbError>,
    ) -> Result<R, DbError> {
        // The version of the rules is counted by triggers, so that changes by hand count as well.
        let lock = match writes {
            Writes::Rules => RULES_LOCK,
            Writes::Records => RECORDS_LOCK,
        };
        self.transaction("BEGIN", Some(lock), work)
    }
}

#[cfg(test)]
mod tests;
