//! The actor that asks a database, on a thread of its own.

use actix::prelude::*;

use crate::db::{Database, DbError};

/// Asks a database.
pub(super) struct Registry {
    database: Database,
}

impl Registry {
    pub(super) fn start(database: Database) -> Addr<Registry> {
        SyncArbiter::start(1, move || Registry { database: database.clone() })
    }
}

impl Actor for Registry {
    type Context = SyncContext<Self>;
}

type Question<T> = Box<dyn FnOnce(&Database) -> Result<T, DbError> + Send>;

/// A question to the database.
pub(super) struct Query<T>(Question<T>);

impl<T> Query<T> {
    pub(super) fn new(question: impl FnOnce(&Database) -> Result<T, DbError> + Send + 'static) -> Self {
        Self(Box::new(question))
    }
}

impl<T: 'static> Message for Query<T> {
    type Result = Result<T, DbError>;
}

impl<T: Send + 'static> Handler<Query<T>> for Registry {
    type Result = Result<T, DbError>;

    fn handle(&mut self, Query(question): Query<T>, _: &mut Self::Context) -> Self::Result {
        question(&self.database)
    }
}
