//! The databases that tests run with: one of each engine.

use crate::db::{ClusterUrl, Database};
use crate::postgres::PostgresDatabase;

/// An empty database in memory, and one on PostgreSQL where there is one.
pub(crate) fn databases() -> Vec<Database> {
    [Database::in_memory().unwrap()].into_iter().chain(on_postgres().map(|(database, _)| database)).collect()
}

/// An empty database on PostgreSQL, and what changes it by hand.
pub(crate) fn on_postgres() -> Option<(Database, PostgresDatabase)> {
    let postgres = PostgresDatabase::create()?;
    let url: ClusterUrl = postgres.url().parse().unwrap();
    Some((Database::connect(&url, &[]).unwrap(), postgres))
}
