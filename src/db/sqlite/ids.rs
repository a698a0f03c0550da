//! Row ids that are never reused, because sessions refer to accounts by id, and scripts to bans.

use diesel::prelude::*;
use diesel::sql_types::Text;

use super::Number;

/// Records the highest row id of a table. To be called before rows are deleted.
pub(super) fn record_highest(connection: &mut SqliteConnection, table: &str) -> QueryResult<()> {
    diesel::sql_query("INSERT OR IGNORE INTO drawhall_ids (name, last) VALUES (?, 0)")
        .bind::<Text, _>(table)
        .execute(connection)?;
    // Include rows that drawpile-srv has inserted.
    let sql = format!(
        "UPDATE drawhall_ids SET last = MAX(last, (SELECT COALESCE(MAX(rowid), 0) FROM {table})) WHERE name = ?"
    );
    diesel::sql_query(sql).bind::<Text, _>(table).execute(connection)?;
    Ok(())
}

/// Id for a new row of a table.
pub(super) fn next(connection: &mut SqliteConnection, table: &str) -> QueryResult<i64> {
    record_highest(connection, table)?;
    let last: Number = diesel::sql_query("SELECT last AS n FROM drawhall_ids WHERE name = ?")
        .bind::<Text, _>(table)
        .get_result(connection)?;
    Ok(last.n + 1)
}
