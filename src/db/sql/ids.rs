//! Row ids that are never reused, because sessions refer to accounts by id, and scripts to bans.

use diesel::result::QueryResult;

use super::{Number, Sql, text};

/// Records the highest row id of a table with this column of ids. To be called before rows are deleted.
pub(super) fn record_highest(connection: &mut impl Sql, table: &str, id: &str) -> QueryResult<()> {
    connection.execute(
        "INSERT INTO drawhall_ids (name, last) VALUES (?1, 0) ON CONFLICT (name) DO NOTHING",
        &[text(table)],
    )?;
    // Include rows that other programs have inserted.
    let highest = format!("(SELECT COALESCE(MAX({id}), 0) FROM {table})");
    let sql = format!("UPDATE drawhall_ids SET last = {highest} WHERE name = ?1 AND last < {highest}");
    connection.execute(&sql, &[text(table)])?;
    Ok(())
}

/// Id for a new row of a table with this column of ids.
pub(super) fn next(connection: &mut impl Sql, table: &str, id: &str) -> QueryResult<i64> {
    record_highest(connection, table, id)?;
    let last: Number =
        connection.row("SELECT last AS n FROM drawhall_ids WHERE name = ?1", &[text(table)])?;
    Ok(last.n + 1)
}
