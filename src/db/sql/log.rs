//! The event log: appending, search, size limit, and shortening of addresses.

use std::sync::LazyLock;

use diesel::deserialize::QueryableByName;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Integer, Text};

use super::{Number, Sql, Value, int, text};
use crate::db::log::{ROW_COST, shortened};
use crate::db::{LogQuery, LogRow};

/// Statements that insert rows, each with the number of its rows: few different ones, which stay prepared.
static INSERTS: LazyLock<[(usize, String); 4]> =
    LazyLock::new(|| [64, 16, 4, 1].map(|count| (count, insert_sql(count))));

#[derive(QueryableByName)]
struct LogLine {
    #[diesel(sql_type = Text)]
    timestamp: String,
    #[diesel(sql_type = Integer)]
    level: i32,
    #[diesel(sql_type = Text)]
    topic: String,
    #[diesel(sql_type = Text)]
    user_text: String,
    #[diesel(sql_type = Text)]
    session: String,
    #[diesel(sql_type = Text)]
    message: String,
}

/// Row id and size of a log row.
#[derive(QueryableByName)]
struct RowSize {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
}

/// A log row with what may have an address.
#[derive(QueryableByName)]
struct UserRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    user_text: String,
    #[diesel(sql_type = Text)]
    message: String,
}

/// SQL for a number of log rows after a row id, oldest first.
fn rows_sql(connection: &impl Sql) -> String {
    let id = connection.dialect().row_id;
    let length = |column: &str| format!("COALESCE(OCTET_LENGTH(CAST({column} AS TEXT)), 0)");
    let [user, session, message] = ["\"user\"", "session", "message"].map(length);
    format!(
        "SELECT {id} AS id, CAST({ROW_COST} + {user} + {session} + {message} AS BIGINT) AS bytes FROM serverlog \
         WHERE {id} > ?1 ORDER BY {id} LIMIT ?2"
    )
}

/// SQL that inserts so many rows.
fn insert_sql(count: usize) -> String {
    let places = (0..count).map(|row| {
        let numbers: Vec<String> = (1..=6).map(|column| format!("?{}", row * 6 + column)).collect();
        format!("({})", numbers.join(", "))
    });
    let places: Vec<String> = places.collect();
    format!(
        "INSERT INTO serverlog (timestamp, level, topic, \"user\", session, message) VALUES {}",
        places.join(", ")
    )
}

fn values_of(row: &LogRow) -> [Value<'_>; 6] {
    [
        text(&row.timestamp),
        Value::Int32(row.level),
        text(&row.topic),
        text(&row.user),
        text(&row.session),
        text(&row.message),
    ]
}

pub(super) fn append(connection: &mut impl Sql, mut rows: &[LogRow]) -> QueryResult<()> {
    for (count, sql) in &*INSERTS {
        while let Some((first, rest)) = rows.split_at_checked(*count) {
            let values: Vec<Value<'_>> = first.iter().flat_map(values_of).collect();
            connection.execute(sql, &values)?;
            rows = rest;
        }
    }
    Ok(())
}

/// See [`Backend::shorten_log`](crate::db::Backend::shorten_log).
pub(super) fn shorten_addresses(
    connection: &mut impl Sql,
    after: i64,
    before: &str,
    count: i64,
) -> QueryResult<Option<(i64, usize)>> {
    let id = connection.dialect().row_id;
    let sql = format!(
        "SELECT {id} AS id, COALESCE(CAST(\"user\" AS TEXT), '') AS user_text, \
         COALESCE(CAST(message AS TEXT), '') AS message FROM serverlog \
         WHERE {id} > ?1 AND CAST(timestamp AS TEXT) < ?2 ORDER BY {id} LIMIT ?3"
    );
    let rows: Vec<UserRow> = connection.rows(&sql, &[int(after), text(before), int(count)])?;
    let Some(last) = rows.last().map(|row| row.id) else { return Ok(None) };
    let update = format!("UPDATE serverlog SET \"user\" = ?1, message = ?2 WHERE {id} = ?3");
    let mut changed = 0;
    for row in rows {
        let Some((user, address, short)) = shortened(&row.user_text) else { continue };
        let message = row.message.replace(&address, &short);
        changed += connection.execute(&update, &[text(user), text(message), int(row.id)])?;
    }
    Ok(Some((last, changed)))
}

/// See [`Backend::purge_log`](crate::db::Backend::purge_log).
pub(super) fn purge(
    connection: &mut impl Sql,
    after: i64,
    before: &str,
    count: i64,
) -> QueryResult<Option<(i64, usize)>> {
    let id = connection.dialect().row_id;
    let sql = format!("SELECT {id} AS n FROM serverlog WHERE {id} > ?1 ORDER BY {id} LIMIT ?2");
    let rows: Vec<Number> = connection.rows(&sql, &[int(after), int(count)])?;
    let Some(last) = rows.last().map(|row| row.n) else { return Ok(None) };
    let sql =
        format!("DELETE FROM serverlog WHERE {id} > ?1 AND {id} <= ?2 AND CAST(timestamp AS TEXT) < ?3");
    let deleted = connection.execute(&sql, &[int(after), int(last), text(before)])?;
    Ok(Some((last, deleted)))
}

/// See [`Backend::log_size`](crate::db::Backend::log_size).
pub(super) fn size(connection: &mut impl Sql, after: i64, count: i64) -> QueryResult<Option<(u64, i64)>> {
    let sql = format!(
        "SELECT CAST(COALESCE(MAX(id), 0) AS BIGINT) AS id, CAST(COALESCE(SUM(bytes), 0) AS BIGINT) AS bytes \
         FROM ({}) AS sizes",
        rows_sql(connection)
    );
    let sum: RowSize = connection.row(&sql, &[int(after), int(count)])?;
    Ok((sum.bytes > 0).then_some((sum.bytes.unsigned_abs(), sum.id)))
}

/// See [`Backend::delete_oldest_log`](crate::db::Backend::delete_oldest_log).
pub(super) fn delete_oldest(connection: &mut impl Sql, bytes: u64, count: i64) -> QueryResult<u64> {
    let oldest: Vec<RowSize> = connection.rows(&rows_sql(connection), &[int(i64::MIN), int(count)])?;
    let (mut deleted, mut last) = (0, None);
    for line in &oldest {
        if deleted >= bytes {
            break;
        }
        deleted += line.bytes.unsigned_abs();
        last = Some(line.id);
    }
    if let Some(last) = last {
        let sql = format!("DELETE FROM serverlog WHERE {} <= ?1", connection.dialect().row_id);
        connection.execute(&sql, &[int(last)])?;
    }
    Ok(deleted)
}

/// See [`Backend::keep_newest_log`](crate::db::Backend::keep_newest_log).
pub(super) fn delete_older(connection: &mut impl Sql, count: i64) -> QueryResult<()> {
    let id = connection.dialect().row_id;
    let sql = format!("DELETE FROM serverlog WHERE {id} <= (SELECT MAX({id}) FROM serverlog) - ?1");
    connection.execute(&sql, &[int(count)])?;
    Ok(())
}

/// Log rows that match, newest first.
pub(super) fn find(connection: &mut impl Sql, query: &LogQuery) -> QueryResult<Vec<LogRow>> {
    let cast = |column: &str| format!("COALESCE(CAST({column} AS TEXT), '')");
    let [timestamp, topic, user, session, message] =
        ["timestamp", "topic", "\"user\"", "session", "message"].map(cast);
    let dialect = connection.dialect();
    let part = |column: &str, value: &str| {
        format!("({value} = '' OR {column} {} '%' || {value} || '%' ESCAPE '\\')", dialect.like)
    };
    let sql = format!(
        "SELECT {timestamp} AS timestamp, COALESCE(CAST(level AS INTEGER), 0) AS level, {topic} AS topic, \
         {user} AS user_text, {session} AS session, {message} AS message FROM serverlog \
         WHERE (?1 = '' OR {session} = ?1) AND {} AND {} AND (?4 = '' OR {timestamp} > ?4) \
         AND (?7 = '' OR {timestamp} <= ?7) ORDER BY {} DESC LIMIT ?5 OFFSET ?6",
        part(&user, "?2"),
        part(&message, "?3"),
        dialect.row_id,
    );
    let values = [
        text(&query.session),
        text(super::escape_like(&query.user)),
        text(super::escape_like(&query.contains)),
        text(&query.after),
        int(query.count),
        int(query.skip),
        text(&query.before),
    ];
    let lines: Vec<LogLine> = connection.rows(&sql, &values)?;
    let row = |l: LogLine| {
        let LogLine { timestamp, level, topic, user_text, session, message } = l;
        LogRow { timestamp, level, topic, user: user_text, session, message }
    };
    Ok(lines.into_iter().map(row).collect())
}
