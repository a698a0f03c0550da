//! Reading bans of persons, and the rows of the tables of bans that belong to them.

use std::collections::HashMap;

use diesel::deserialize::QueryableByName;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Text};

use super::super::admin::{ban_row, bans_of};
use super::super::{Sql, int, text};
use crate::db::{BanChange, BanKey, BanKind, BanPart, BanRow, PersonBan};

#[derive(QueryableByName)]
struct BanLine {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    reason: String,
    #[diesel(sql_type = Text)]
    note: String,
    #[diesel(sql_type = Text)]
    author: String,
    #[diesel(sql_type = Text)]
    created: String,
    #[diesel(sql_type = Text)]
    expires: String,
    #[diesel(sql_type = Text)]
    ended: String,
    #[diesel(sql_type = Text)]
    ended_by: String,
}

#[derive(QueryableByName)]
struct PartLine {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = BigInt)]
    row_id: i64,
    #[diesel(sql_type = Text)]
    subject: String,
    #[diesel(sql_type = BigInt)]
    subnet: i64,
    #[diesel(sql_type = BigInt)]
    ban: i64,
}

#[derive(QueryableByName)]
struct ChangeLine {
    #[diesel(sql_type = Text)]
    at: String,
    #[diesel(sql_type = Text)]
    author: String,
    #[diesel(sql_type = Text)]
    field: String,
    #[diesel(sql_type = Text)]
    before: String,
    #[diesel(sql_type = Text)]
    after: String,
}

/// Name of a kind of bans in the database.
pub(super) fn kind_name(kind: BanKind) -> &'static str {
    match kind {
        BanKind::Address => "address",
        BanKind::System => "system",
        BanKind::User => "user",
        BanKind::Account => "account",
    }
}

/// Rows of the tables of bans.
struct BanRows(HashMap<(&'static str, i64), (BanKind, BanRow)>);

impl BanRows {
    /// The rows that parts name.
    fn of(connection: &mut impl Sql, parts: &[PartLine]) -> QueryResult<BanRows> {
        let mut rows = HashMap::new();
        for part in parts {
            let Some(kind) = BanKind::ALL.into_iter().find(|kind| kind_name(*kind) == part.kind) else {
                continue;
            };
            if let Some(row) = ban_row(connection, kind, part.row_id)? {
                rows.insert((kind_name(kind), row.id), (kind, row));
            }
        }
        Ok(BanRows(rows))
    }

    fn load_all(connection: &mut impl Sql) -> QueryResult<BanRows> {
        let mut rows = HashMap::new();
        for kind in BanKind::ALL {
            for row in bans_of(connection, kind)? {
                rows.insert((kind_name(kind), row.id), (kind, row));
            }
        }
        Ok(BanRows(rows))
    }

    /// The part of a ban; its row is taken out.
    fn take(&mut self, line: PartLine) -> Option<BanPart> {
        let kind = BanKind::ALL.into_iter().find(|kind| kind_name(*kind) == line.kind)?;
        let key = (kind_name(kind), line.row_id);
        let is_same = |(_, row): &(BanKind, BanRow)| row.subject == line.subject && row.subnet == line.subnet;
        let row = if self.0.get(&key).is_some_and(is_same) { self.0.remove(&key) } else { None };
        let expires = row.as_ref().map(|(_, row)| row.expires.clone()).unwrap_or_default();
        let PartLine { subject, subnet, .. } = line;
        Some(BanPart { kind, row: row.map(|(_, row)| row.id), subject, subnet, expires })
    }
}

pub(super) fn part_of(kind: BanKind, row: &BanRow) -> BanPart {
    let BanRow { id, subject, subnet, expires, .. } = row.clone();
    BanPart { kind, row: Some(id), subject, subnet, expires }
}

/// A row that is part of no ban of a person.
fn lone_ban(kind: BanKind, row: BanRow) -> PersonBan {
    let parts = vec![part_of(kind, &row)];
    let BanRow { id, reason, comment, added, expires, .. } = row;
    PersonBan {
        key: BanKey::Row(kind, id),
        name: String::new(),
        reason,
        note: comment,
        author: String::new(),
        created: added,
        expires,
        ended: None,
        parts,
        changes: Vec::new(),
    }
}

impl BanLine {
    fn ban(self, parts: Vec<BanPart>, changes: Vec<BanChange>) -> PersonBan {
        let BanLine { id, name, reason, note, author, created, expires, ended, ended_by } = self;
        PersonBan {
            key: BanKey::Person(id),
            name,
            reason,
            note,
            author,
            created,
            expires,
            ended: (!ended.is_empty()).then_some((ended, ended_by)),
            parts,
            changes,
        }
    }
}

/// All bans, newest first, without their changes.
pub(super) fn load_all(connection: &mut impl Sql) -> QueryResult<Vec<PersonBan>> {
    let mut rows = BanRows::load_all(connection)?;
    let mut parts: HashMap<i64, Vec<BanPart>> = HashMap::new();
    let lines: Vec<PartLine> =
        connection.rows("SELECT * FROM drawhall_ban_parts ORDER BY kind DESC, row_id", &[])?;
    for line in lines {
        let ban = line.ban;
        parts.entry(ban).or_default().extend(rows.take(line));
    }
    let lines: Vec<BanLine> = connection.rows("SELECT * FROM drawhall_bans", &[])?;
    let of_line = |line: BanLine| {
        let parts = parts.remove(&line.id).unwrap_or_default();
        line.ban(parts, Vec::new())
    };
    let mut bans: Vec<PersonBan> = lines.into_iter().map(of_line).collect();
    bans.extend(rows.0.into_values().map(|(kind, row)| lone_ban(kind, row)));
    let order = |key: &BanKey| match *key {
        BanKey::Person(id) => (3, id),
        BanKey::Row(kind, id) => (BanKind::ALL.iter().position(|k| *k == kind).unwrap_or(0), id),
    };
    bans.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| order(&b.key).cmp(&order(&a.key))));
    Ok(bans)
}

/// The ban with this key, with its changes.
pub(super) fn load_one(connection: &mut impl Sql, key: BanKey) -> QueryResult<Option<PersonBan>> {
    match key {
        BanKey::Person(id) => load_person(connection, id),
        BanKey::Row(kind, id) => load_lone(connection, kind, id),
    }
}

fn load_person(connection: &mut impl Sql, id: i64) -> QueryResult<Option<PersonBan>> {
    let lines: Vec<BanLine> = connection.rows("SELECT * FROM drawhall_bans WHERE id = ?1", &[int(id)])?;
    let Some(line) = lines.into_iter().next() else { return Ok(None) };
    let parts: Vec<PartLine> = connection
        .rows("SELECT * FROM drawhall_ban_parts WHERE ban = ?1 ORDER BY kind DESC, row_id", &[int(id)])?;
    let mut rows = BanRows::of(connection, &parts)?;
    let parts = parts.into_iter().filter_map(|part| rows.take(part)).collect();
    Ok(Some(line.ban(parts, changes_of(connection, id)?)))
}

/// A row that is part of no ban of a person.
fn load_lone(connection: &mut impl Sql, kind: BanKind, id: i64) -> QueryResult<Option<PersonBan>> {
    let Some(row) = ban_row(connection, kind, id)? else { return Ok(None) };
    let parts: Vec<PartLine> = connection.rows(
        "SELECT * FROM drawhall_ban_parts WHERE kind = ?1 AND row_id = ?2",
        &[text(kind_name(kind)), int(id)],
    )?;
    let is_part = parts.iter().any(|part| part.subject == row.subject && part.subnet == row.subnet);
    Ok((!is_part).then(|| lone_ban(kind, row)))
}

/// What was changed of the ban of a person, oldest first.
pub(super) fn changes_of(connection: &mut impl Sql, ban: i64) -> QueryResult<Vec<BanChange>> {
    let lines: Vec<ChangeLine> =
        connection.rows("SELECT * FROM drawhall_ban_changes WHERE ban = ?1 ORDER BY id", &[int(ban)])?;
    let change = |line: ChangeLine| {
        let ChangeLine { at, author, field, before, after } = line;
        BanChange { at, author, field, before, after }
    };
    Ok(lines.into_iter().map(change).collect())
}
