//! How large the log is, and making it smaller.

use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::Sqlite;
use crate::db::DbError;
use crate::db::log::LINE_COST;

/// A line: where it is, and what it counts.
#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
}

/// So many lines behind one, oldest first.
fn lines() -> String {
    let length = |column: &str| format!("COALESCE(LENGTH(CAST({column} AS BLOB)), 0)");
    let [user, session, message] = ["user", "session", "message"].map(length);
    format!(
        "SELECT rowid AS id, {LINE_COST} + {user} + {session} + {message} AS bytes FROM serverlog \
         WHERE rowid > ? ORDER BY rowid LIMIT ?"
    )
}

impl Sqlite {
    /// Size of so many lines behind one, and the last of them; `None` if there are none.
    pub(super) fn size_of_log(&mut self, after: i64, count: i64) -> Result<Option<(u64, i64)>, DbError> {
        let sql =
            format!("SELECT COALESCE(MAX(id), 0) AS id, COALESCE(SUM(bytes), 0) AS bytes FROM ({})", lines());
        let sum: Line = diesel::sql_query(sql)
            .bind::<BigInt, _>(after)
            .bind::<BigInt, _>(count)
            .get_result(&mut self.connection)?;
        Ok((sum.bytes > 0).then_some((sum.bytes.unsigned_abs(), sum.id)))
    }

    /// Deletes the oldest lines, so many that they have as many bytes together, but not more than `count` of them.
    /// Returns their bytes.
    pub(super) fn delete_from_log(&mut self, bytes: u64, count: i64) -> Result<u64, DbError> {
        let oldest: Vec<Line> = diesel::sql_query(lines())
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
            diesel::sql_query("DELETE FROM serverlog WHERE rowid <= ?")
                .bind::<BigInt, _>(last)
                .execute(&mut self.connection)?;
        }
        Ok(deleted)
    }
}
