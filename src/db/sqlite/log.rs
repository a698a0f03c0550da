//! Size limit of the event log.

use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::SqliteState;
use super::schema::serverlog;
use crate::db::DbError;
use crate::db::log::ROW_COST;

/// Row id and size of a log row.
#[derive(QueryableByName)]
struct RowSize {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
}

/// SQL for a number of log rows after a row id, oldest first.
fn rows_sql() -> String {
    let length = |column: &str| format!("COALESCE(LENGTH(CAST({column} AS BLOB)), 0)");
    let [user, session, message] = ["user", "session", "message"].map(length);
    format!(
        "SELECT rowid AS id, {ROW_COST} + {user} + {session} + {message} AS bytes FROM serverlog \
         WHERE rowid > ? ORDER BY rowid LIMIT ?"
    )
}

impl SqliteState {
    /// See [`Backend::log_size`](super::Backend::log_size).
    pub(super) fn size_of_log(&mut self, after: i64, count: i64) -> Result<Option<(u64, i64)>, DbError> {
        let sql = format!(
            "SELECT COALESCE(MAX(id), 0) AS id, COALESCE(SUM(bytes), 0) AS bytes FROM ({})",
            rows_sql()
        );
        let sum: RowSize = diesel::sql_query(sql)
            .bind::<BigInt, _>(after)
            .bind::<BigInt, _>(count)
            .get_result(&mut self.connection)?;
        Ok((sum.bytes > 0).then_some((sum.bytes.unsigned_abs(), sum.id)))
    }

    /// See [`Backend::delete_oldest_log`](super::Backend::delete_oldest_log).
    pub(super) fn delete_from_log(&mut self, bytes: u64, count: i64) -> Result<u64, DbError> {
        let oldest: Vec<RowSize> = diesel::sql_query(rows_sql())
            .bind::<BigInt, _>(i64::MIN)
            .bind::<BigInt, _>(count)
            .load(&mut self.connection)?;
        let (mut deleted, mut last) = (0, None);
        for line in &oldest {
            if deleted >= bytes {
                break;
            }
            deleted += line.bytes.unsigned_abs();
            last = Some(line.id);
        }
        if let Some(last) = last {
            diesel::delete(serverlog::table.filter(serverlog::rowid.le(last)))
                .execute(&mut self.connection)?;
        }
        Ok(deleted)
    }
}
