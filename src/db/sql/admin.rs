//! Settings, rows of the tables of bans, and the white list.

use std::net::IpAddr;

use diesel::deserialize::QueryableByName;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Text};

use super::{Pair, Sql, ids, int, text};
use crate::db::{BanKind, BanRow};

#[derive(QueryableByName)]
struct Ban {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    subject: String,
    #[diesel(sql_type = BigInt)]
    subnet: i64,
    #[diesel(sql_type = Text)]
    reaction: String,
    #[diesel(sql_type = Text)]
    expires: String,
    #[diesel(sql_type = Text)]
    comment: String,
    #[diesel(sql_type = Text)]
    reason: String,
    #[diesel(sql_type = Text)]
    added: String,
}

/// A table of bans.
pub(super) struct BanTable {
    pub(super) name: &'static str,
    /// Column that identifies a row; `None` for that of the dialect.
    id: Option<&'static str>,
    /// Column of what is banned.
    subject: &'static str,
}

pub(super) fn table(kind: BanKind) -> BanTable {
    let (name, id, subject) = match kind {
        BanKind::Address => ("ipbans", None, "ip"),
        BanKind::System => ("systembans", Some("id"), "sid"),
        BanKind::User => ("userbans", Some("id"), "userid"),
        BanKind::Account => ("drawhall_accountbans", Some("id"), "account"),
    };
    BanTable { name, id, subject }
}

impl BanTable {
    pub(super) fn id(&self, connection: &impl Sql) -> &'static str {
        self.id.unwrap_or(connection.dialect().row_id)
    }
}

/// Whether two bans have the same subject.
fn same_subject(kind: BanKind, a: &BanRow, b: &BanRow) -> bool {
    if kind != BanKind::Address {
        return a.subject == b.subject;
    }
    // Prefix length 0 and the full length both mean the single address.
    let range = |ban: &BanRow| {
        let ip: IpAddr = ban.subject.trim().parse().ok()?;
        let all = if ip.is_ipv4() { 32 } else { 128 };
        Some((ip, if (1..all).contains(&ban.subnet) { ban.subnet } else { all }))
    };
    range(a).is_some_and(|r| Some(r) == range(b))
}

impl From<Ban> for BanRow {
    fn from(ban: Ban) -> BanRow {
        let Ban { id, subject, subnet, reaction, expires, comment, reason, added } = ban;
        BanRow { id, subject, subnet, reaction, expires, comment, reason, added }
    }
}

/// The statement that reads bans of a kind, up to its conditions.
fn select_bans(connection: &impl Sql, kind: BanKind) -> String {
    let table = table(kind);
    let (name, id, subject) = (table.name, table.id(connection), table.subject);
    // Only addresses have a prefix length, and only the others have an action and a reason.
    let [subnet, reaction, reason] = match kind {
        BanKind::Address => ["COALESCE(CAST(subnet AS BIGINT), 0)", "''", "''"],
        _ => [
            "CAST(0 AS BIGINT)",
            "COALESCE(CAST(reaction AS TEXT), '')",
            "COALESCE(CAST(reason AS TEXT), '')",
        ],
    };
    format!(
        "SELECT {id} AS id, CAST({subject} AS TEXT) AS subject, {subnet} AS subnet, {reaction} AS reaction, \
         {reason} AS reason, COALESCE(CAST(expires AS TEXT), '') AS expires, \
         COALESCE(CAST(comment AS TEXT), '') AS comment, COALESCE(CAST(added AS TEXT), '') AS added \
         FROM {name} WHERE {subject} IS NOT NULL"
    )
}

pub(super) fn bans_of(connection: &mut impl Sql, kind: BanKind) -> QueryResult<Vec<BanRow>> {
    let sql = format!("{} ORDER BY {}", select_bans(connection, kind), table(kind).id(connection));
    let rows: Vec<Ban> = connection.rows(&sql, &[])?;
    Ok(rows.into_iter().map(BanRow::from).collect())
}

pub(super) fn ban_row(connection: &mut impl Sql, kind: BanKind, id: i64) -> QueryResult<Option<BanRow>> {
    let sql = format!("{} AND {} = ?1", select_bans(connection, kind), table(kind).id(connection));
    let rows: Vec<Ban> = connection.rows(&sql, &[int(id)])?;
    Ok(rows.into_iter().next().map(BanRow::from))
}

pub(super) fn write_ban(
    connection: &mut impl Sql,
    kind: BanKind,
    id: i64,
    ban: &BanRow,
) -> QueryResult<usize> {
    let table = table(kind);
    let (name, id_column, subject) = (table.name, table.id(connection), table.subject);
    let value = if kind == BanKind::User { connection.dialect().user_id } else { "?2" };
    let mut values =
        vec![int(id), text(&ban.subject), text(&ban.expires), text(&ban.comment), text(&ban.added)];
    let sql = if kind == BanKind::Address {
        values.push(int(ban.subnet));
        format!(
            "INSERT INTO {name} ({id_column}, {subject}, expires, comment, added, subnet) \
             VALUES (?1, {value}, ?3, ?4, ?5, ?6)"
        )
    } else {
        values.extend([text(&ban.reaction), text(&ban.reason)]);
        format!(
            "INSERT INTO {name} ({id_column}, {subject}, expires, comment, added, reaction, reason) \
             VALUES (?1, {value}, ?3, ?4, ?5, ?6, ?7)"
        )
    };
    connection.execute(&sql, &values)
}

/// Id for a new row of a table of bans.
pub(super) fn next_id(connection: &mut impl Sql, kind: BanKind) -> QueryResult<i64> {
    let table = table(kind);
    let id_column = table.id(connection);
    ids::next(connection, table.name, id_column)
}

/// Deletes a row of a table of bans, whose id is not used again. Returns whether it existed.
pub(super) fn delete_ban_row(connection: &mut impl Sql, kind: BanKind, id: i64) -> QueryResult<bool> {
    let table = table(kind);
    let (name, id_column) = (table.name, table.id(connection));
    ids::record_highest(connection, name, id_column)?;
    let sql = format!("DELETE FROM {name} WHERE {id_column} = ?1");
    Ok(connection.execute(&sql, &[int(id)])? > 0)
}

/// Adds a ban, unless its subject has one in force, which is returned.
pub(super) fn insert_ban(connection: &mut impl Sql, kind: BanKind, ban: &BanRow) -> QueryResult<BanRow> {
    let existing = bans_of(connection, kind)?;
    let same = |b: &BanRow| b.expires > ban.added && same_subject(kind, b, ban);
    if let Some(same) = existing.into_iter().find(same) {
        return Ok(same);
    }
    let id = next_id(connection, kind)?;
    write_ban(connection, kind, id, ban)?;
    Ok(BanRow { id, ..ban.clone() })
}

/// Removes a setting.
fn remove_setting(connection: &mut impl Sql, key: &str) -> QueryResult<usize> {
    connection.execute("DELETE FROM settings WHERE CAST(key AS TEXT) = ?1", &[text(key)])
}

/// Sets a setting. It becomes the last row: of several spellings of a key the last counts.
fn write_setting(connection: &mut impl Sql, key: &str, value: &str) -> QueryResult<usize> {
    remove_setting(connection, key)?;
    connection.execute("INSERT INTO settings (key, value) VALUES (?1, ?2)", &[text(key), text(value)])
}

pub(super) fn change_settings(
    connection: &mut impl Sql,
    settings: &[(&str, Option<&str>)],
) -> QueryResult<()> {
    for (key, value) in settings {
        match value {
            Some(value) => write_setting(connection, key, value)?,
            None => remove_setting(connection, key)?,
        };
    }
    Ok(())
}

/// See [`Database::replace_settings`](crate::db::Database::replace_settings).
pub(super) fn exchange_settings(
    connection: &mut impl Sql,
    (key, expected): (&str, &str),
    remove: &[&str],
    set: &[(&str, &str)],
) -> QueryResult<bool> {
    let sql =
        "SELECT COALESCE(CAST(value AS TEXT), '') AS a, '' AS b FROM settings WHERE CAST(key AS TEXT) = ?1";
    let current: Vec<Pair> = connection.rows(sql, &[text(key)])?;
    if current.first().map_or("", |pair| pair.a.as_str()) != expected {
        return Ok(false);
    }
    for key in remove {
        remove_setting(connection, key)?;
    }
    for (key, value) in set {
        write_setting(connection, key, value)?;
    }
    Ok(true)
}

pub(super) fn replace_listing_servers(connection: &mut impl Sql, patterns: &[String]) -> QueryResult<()> {
    connection.execute("DELETE FROM listingservers", &[])?;
    for pattern in patterns {
        connection.execute("INSERT INTO listingservers (url) VALUES (?1)", &[text(pattern)])?;
    }
    Ok(())
}
