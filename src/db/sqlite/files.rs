//! Copies of a database file, and whether one is damaged.

use std::fs;
use std::path::Path;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;

use super::BUSY_MS;
use crate::db::DbError;

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    quick_check: String,
}

fn name(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| "its name is no Unicode text".into())
}

fn connect(path: &Path) -> Result<SqliteConnection, String> {
    let mut connection = SqliteConnection::establish(name(path)?).map_err(|e| e.to_string())?;
    connection.batch_execute(&format!("PRAGMA busy_timeout = {BUSY_MS}")).map_err(|e| e.to_string())?;
    Ok(connection)
}

/// Copies a database that may be in use into a new file; blocks. Its schema does not matter.
///
/// # Errors
/// When it cannot be read, or the copy cannot be written.
pub fn copy_file(database: &Path, copy: &Path) -> Result<(), DbError> {
    let copied = || {
        // SQLite would create a missing one.
        fs::metadata(database).map_err(|e| e.to_string())?;
        let query = diesel::sql_query("VACUUM INTO ?").bind::<Text, _>(name(copy)?);
        query.execute(&mut connect(database)?).map_err(|e| e.to_string())
    };
    copied().map(drop).map_err(DbError::Copy)
}

/// Checks the structure of a database file; blocks.
///
/// # Errors
/// When it is damaged, or cannot be read.
pub fn check_file(path: &Path) -> Result<(), DbError> {
    let checked = || {
        let lines = diesel::sql_query("PRAGMA quick_check").load::<Line>(&mut connect(path)?);
        let lines = lines.map_err(|e| e.to_string())?;
        lines.into_iter().find(|line| line.quick_check != "ok").map_or(Ok(()), |line| Err(line.quick_check))
    };
    checked().map_err(DbError::Damaged)
}
