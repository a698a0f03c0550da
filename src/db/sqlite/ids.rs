//! Row ids that are never reused, because sessions refer to accounts by id, and scripts to bans.

use diesel::prelude::*;
use diesel::sql_types::Text;

use super::schema::drawhall_ids;

/// Records the highest row id of a table. To be called before rows are deleted.
pub(super) fn record_highest(connection: &mut SqliteConnection, table: &str) -> QueryResult<()> {
    diesel::insert_or_ignore_into(drawhall_ids::table)
        .values((drawhall_ids::name.eq(table), drawhall_ids::last.eq(0)))
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
    let last: i64 = drawhall_ids::table.find(table).select(drawhall_ids::last).get_result(connection)?;
    Ok(last + 1)
}
