//! The actor that runs database queries on its own thread.

use actix::prelude::*;

use crate::db::{Database, DbError};

/// Runs queries on a database, one at a time.
pub(super) struct DbExecutor {
    database: Database,
}

impl DbExecutor {
    pub(super) fn start(database: Database) -> Addr<DbExecutor> {
        SyncArbiter::start(1, move || DbExecutor { database: database.clone() })
    }
}

impl Actor for DbExecutor {
    type Context = SyncContext<Self>;
}

type DbJob<T> = Box<dyn FnOnce(&Database) -> Result<T, DbError> + Send>;

/// Runs a query.
pub(super) struct RunQuery<T>(DbJob<T>);

impl<T> RunQuery<T> {
    pub(super) fn new(query: impl FnOnce(&Database) -> Result<T, DbError> + Send + 'static) -> Self {
        Self(Box::new(query))
    }
}

impl<T: 'static> Message for RunQuery<T> {
    type Result = Result<T, DbError>;
}

impl<T: Send + 'static> Handler<RunQuery<T>> for DbExecutor {
    type Result = Result<T, DbError>;

    fn handle(&mut self, RunQuery(query): RunQuery<T>, _: &mut Self::Context) -> Self::Result {
        query(&self.database)
    }
}
