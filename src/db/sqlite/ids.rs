//! Numbers of rows, each of which is given once. Sessions know accounts by their numbers, scripts know bans by theirs.

use diesel::prelude::*;
use diesel::sql_types::Text;

use super::Number;

/// Keeps in mind the greatest number that there is in a table; before rows of it are removed.
pub(super) fn keep(connection: &mut SqliteConnection, table: &str) -> QueryResult<()> {
    diesel::sql_query("INSERT OR IGNORE INTO drawhall_ids (name, last) VALUES (?, 0)")
        .bind::<Text, _>(table)
        .execute(connection)?;
    // Rows that drawpile-srv has made count as well.
    let sql = format!(
        "UPDATE drawhall_ids SET last = MAX(last, (SELECT COALESCE(MAX(rowid), 0) FROM {table})) WHERE name = ?"
    );
    diesel::sql_query(sql).bind::<Text, _>(table).execute(connection)?;
    Ok(())
}

/// The number for a new row of a table.
pub(super) fn next(connection: &mut SqliteConnection, table: &str) -> QueryResult<i64> {
    keep(connection, table)?;
    let last: Number = diesel::sql_query("SELECT last AS n FROM drawhall_ids WHERE name = ?")
        .bind::<Text, _>(table)
        .get_result(connection)?;
    Ok(last.n + 1)
}
