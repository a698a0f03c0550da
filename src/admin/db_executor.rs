//! The actor that asks a database, on a thread of its own.

use actix::prelude::*;

use crate::db::{Database, DbError};

/// Asks a database.
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

/// A question to the database.
pub(super) struct RunQuery<T>(DbJob<T>);

impl<T> RunQuery<T> {
    pub(super) fn new(question: impl FnOnce(&Database) -> Result<T, DbError> + Send + 'static) -> Self {
        Self(Box::new(question))
    }
}

impl<T: 'static> Message for RunQuery<T> {
    type Result = Result<T, DbError>;
}

impl<T: Send + 'static> Handler<RunQuery<T>> for DbExecutor {
    type Result = Result<T, DbError>;

    fn handle(&mut self, RunQuery(question): RunQuery<T>, _: &mut Self::Context) -> Self::Result {
        question(&self.database)
    }
}
