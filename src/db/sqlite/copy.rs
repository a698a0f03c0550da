//! A copy in memory of a database that must not be changed, for checks.

use std::path::Path;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;

use super::{Pair, Sqlite, refuse_newer};
use crate::db::{DatabaseState, DbError, IN_MEMORY};

/// Tables that are not copied: the log and who was in a session may be large, and migrations have run on the copy.
const NOT_COPIED: &str = "'serverlog', 'drawhall_sightings', '__diesel_schema_migrations'";

impl Sqlite {
    /// Copies everything but the log to a database in memory. Nothing is written to the file or beside it.
    pub(in crate::db) fn copy_of(path: &Path) -> Result<(Sqlite, DatabaseState), DbError> {
        let failed = |reason: String| DbError::Open { path: path.to_owned(), reason };
        let source = read_only_uri(path).map_err(|e| failed(e.to_string()))?;
        let copy = Sqlite::open(Path::new(IN_MEMORY))?;
        let mut locked = copy.lock();
        let connection = &mut locked.connection;
        diesel::sql_query("ATTACH ? AS source")
            .bind::<Text, _>(source)
            .execute(connection)
            .map_err(|e| failed(e.to_string()))?;
        refuse_newer(connection, "source", path)?;
        let state = state_of(connection);
        if state.damage.is_none() {
            connection.transaction(copy_tables).map_err(|e: diesel::result::Error| failed(e.to_string()))?;
        }
        connection.batch_execute("DETACH source").map_err(|e| failed(e.to_string()))?;
        drop(locked);
        Ok((copy, state))
    }
}

/// The address of a file that SQLite opens for reading only.
fn read_only_uri(path: &Path) -> std::io::Result<String> {
    let path = std::path::absolute(path)?;
    // SQLite would say no more than that it cannot open it. The file is not opened to find out: closing it would release
    // the locks that SQLite has on it in this process.
    rustix::fs::access(&path, rustix::fs::Access::READ_OK)?;
    let mut uri = url::Url::from_file_path(&path).map_err(|()| std::io::ErrorKind::InvalidInput)?;
    let mut log = path.into_os_string();
    log.push("-wal");
    // Without a write-ahead log nobody is writing, and SQLite would create one to read.
    let in_use = Path::new(&log).exists();
    uri.set_query(Some(if in_use { "mode=ro" } else { "mode=ro&immutable=1" }));
    Ok(uri.into())
}

#[derive(QueryableByName)]
struct Checked {
    #[diesel(sql_type = Text)]
    quick_check: String,
}

/// What SQLite says about the attached database.
fn state_of(connection: &mut SqliteConnection) -> DatabaseState {
    let checked: QueryResult<Vec<Checked>> =
        diesel::sql_query("PRAGMA source.quick_check(1)").load(connection);
    let damage = match checked {
        Ok(lines) => lines.into_iter().map(|line| line.quick_check).find(|line| line != "ok"),
        // Some damage is not found by looking for it.
        Err(error) => Some(error.to_string()),
    };
    let newest_log = if damage.is_none() { newest_log(connection).ok().flatten() } else { None };
    DatabaseState { damage, newest_log }
}

/// Time of the newest line of the log, if there is a log.
fn newest_log(connection: &mut SqliteConnection) -> QueryResult<Option<String>> {
    let newest: Vec<Pair> = diesel::sql_query(
        "SELECT CAST(timestamp AS TEXT) AS a, '' AS b FROM source.serverlog \
         WHERE timestamp IS NOT NULL ORDER BY rowid DESC LIMIT 1",
    )
    .load(connection)?;
    Ok(newest.into_iter().map(|line| line.a).next())
}

/// Copies the columns that both databases have.
fn copy_tables(connection: &mut SqliteConnection) -> QueryResult<()> {
    let tables: Vec<Pair> = diesel::sql_query(format!(
        "SELECT name AS a, '' AS b FROM source.sqlite_master WHERE type = 'table' AND name NOT IN ({NOT_COPIED}) \
         AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND name IN (SELECT name FROM main.sqlite_master)"
    ))
    .load(connection)?;
    for Pair { a: table, .. } in tables {
        let columns: Vec<Pair> = diesel::sql_query(
            "SELECT name AS a, '' AS b FROM pragma_table_info(?1, 'source') \
             WHERE name IN (SELECT name FROM pragma_table_info(?1, 'main'))",
        )
        .bind::<Text, _>(&table)
        .load(connection)?;
        let columns: Vec<String> = columns.iter().map(|column| format!("\"{}\"", column.a)).collect();
        let columns = columns.join(", ");
        // Both names are those of our own tables.
        connection.batch_execute(&format!(
            "INSERT OR REPLACE INTO main.\"{table}\" (rowid, {columns}) SELECT rowid, {columns} FROM source.\"{table}\""
        ))?;
    }
    Ok(())
}
