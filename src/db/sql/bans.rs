//! Bans of persons.

mod read;

use std::net::IpAddr;

use diesel::result::QueryResult;
use ipnet::IpNet;

use super::admin::{bans_of, delete_ban_row, next_id, table, write_ban};
use super::{Engine, Number, Sql, Writes, int, text};
use crate::db::bans::BanStore;
use crate::db::{
    AddedBan, BanChange, BanEdit, BanKey, BanKind, BanPart, BanRow, BanTarget, Database, DbError, EditedBan,
    NewPersonBan, PersonBan,
};
use read::{changes_of, kind_name, load_all, load_one, part_of};

/// The network of an address ban.
fn network(subject: &str, subnet: i64) -> Option<IpNet> {
    let ip: IpAddr = subject.trim().parse().ok()?;
    let all = if ip.is_ipv4() { 32 } else { 128 };
    // Prefix length 0 means the single address.
    let prefix = u8::try_from(subnet).ok().filter(|prefix| (1..all).contains(prefix)).unwrap_or(all);
    IpNet::new(ip, prefix).ok()
}

/// Whether a row bans all of a target.
fn covers(row: &BanRow, target: &BanTarget) -> bool {
    if target.kind != BanKind::Address {
        return row.subject == target.subject;
    }
    let networks = network(&row.subject, row.subnet).zip(network(&target.subject, target.subnet));
    networks.is_some_and(|(wide, narrow)| wide.contains(&narrow))
}

/// The row in force that bans all of a target; of several, the one that ends last.
fn covering_row<'a>(rows: &'a [(BanKind, BanRow)], target: &BanTarget, now: &str) -> Option<&'a BanRow> {
    let of_kind = rows.iter().filter(|(kind, _)| *kind == target.kind).map(|(_, row)| row);
    of_kind
        .filter(|row| row.expires.as_str() > now && covers(row, target))
        .max_by(|a, b| a.expires.cmp(&b.expires))
}

fn all_rows(connection: &mut impl Sql) -> QueryResult<Vec<(BanKind, BanRow)>> {
    let mut rows = Vec::new();
    for kind in BanKind::ALL {
        rows.extend(bans_of(connection, kind)?.into_iter().map(|row| (kind, row)));
    }
    Ok(rows)
}

/// The ban that a row belongs to.
fn key_of(connection: &mut impl Sql, kind: BanKind, row: i64) -> QueryResult<BanKey> {
    let lines: Vec<Number> = connection.rows(
        "SELECT ban AS n FROM drawhall_ban_parts WHERE kind = ?1 AND row_id = ?2",
        &[text(kind_name(kind)), int(row)],
    )?;
    Ok(lines.first().map_or(BanKey::Row(kind, row), |line| BanKey::Person(line.n)))
}

fn insert_head(connection: &mut impl Sql, ban: &NewPersonBan, created: &str) -> QueryResult<i64> {
    let id: Number = connection.row("INSERT INTO drawhall_bans (name, reason, note, author, created, expires) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         RETURNING id AS n", &[text(&ban.name), text(&ban.reason), text(&ban.note), text(&ban.author), text(created), text(&ban.expires)])?;
    Ok(id.n)
}

fn insert_part(connection: &mut impl Sql, ban: i64, kind: BanKind, row: &BanRow) -> QueryResult<()> {
    connection.execute(
        "INSERT INTO drawhall_ban_parts (kind, row_id, subject, subnet, ban) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (kind, row_id) DO UPDATE SET subject = excluded.subject, subnet = excluded.subnet, \
         ban = excluded.ban",
        &[text(kind_name(kind)), int(row.id), text(&row.subject), int(row.subnet), int(ban)],
    )?;
    Ok(())
}

/// What the column for comments says, which frontends of drawpile-srv show.
fn comment(name: &str, note: &str) -> String {
    let texts = [name, note].into_iter().filter(|text| !text.is_empty());
    texts.collect::<Vec<_>>().join(": ")
}

/// Deletes the rows of a ban that are over.
fn delete_rows_over(connection: &mut impl Sql, ban: i64, now: &str) -> QueryResult<()> {
    let Some(ban) = load_one(connection, BanKey::Person(ban))? else { return Ok(()) };
    for part in ban.parts.iter().filter(|part| part.expires.as_str() <= now) {
        if let Some(row) = part.row {
            delete_ban_row(connection, part.kind, row)?;
        }
    }
    Ok(())
}

/// Makes room for another ban. Returns whether there is some.
fn make_room(connection: &mut impl Sql, now: &str) -> QueryResult<bool> {
    let count: Number = connection.row("SELECT COUNT(*) AS n FROM drawhall_bans", &[])?;
    if count.n < Database::MAX_PERSON_BANS as i64 {
        return Ok(true);
    }
    let oldest: Vec<Number> = connection.rows(
        "SELECT id AS n FROM drawhall_bans WHERE ended <> '' OR expires <= ?1 \
         ORDER BY CASE ended WHEN '' THEN expires ELSE ended END LIMIT 1",
        &[text(now)],
    )?;
    let Some(oldest) = oldest.first() else { return Ok(false) };
    delete_rows_over(connection, oldest.n, now)?;
    for sql in [
        "DELETE FROM drawhall_ban_parts WHERE ban = ?1",
        "DELETE FROM drawhall_ban_changes WHERE ban = ?1",
        "DELETE FROM drawhall_bans WHERE id = ?1",
    ] {
        connection.execute(sql, &[int(oldest.n)])?;
    }
    Ok(true)
}

/// Makes a row that was made by other means the ban of a person.
fn adopt(connection: &mut impl Sql, kind: BanKind, lone: &PersonBan) -> QueryResult<i64> {
    let head = NewPersonBan {
        reason: lone.reason.clone(),
        note: lone.note.clone(),
        expires: lone.expires.clone(),
        ..NewPersonBan::default()
    };
    let ban = insert_head(connection, &head, &lone.created)?;
    for part in &lone.parts {
        let row = BanRow {
            id: part.row.unwrap_or_default(),
            subject: part.subject.clone(),
            subnet: part.subnet,
            ..BanRow::default()
        };
        insert_part(connection, ban, kind, &row)?;
    }
    Ok(ban)
}

/// The ban with this key, unless it was ended. One that was made by other means becomes the ban of a person.
fn to_change(connection: &mut impl Sql, key: BanKey) -> QueryResult<Option<(PersonBan, i64)>> {
    let Some(before) = load_one(connection, key)?.filter(|ban| ban.ended.is_none()) else { return Ok(None) };
    let id = match key {
        BanKey::Person(id) => id,
        BanKey::Row(kind, _) => adopt(connection, kind, &before)?,
    };
    Ok(Some((before, id)))
}

fn record_change(
    connection: &mut impl Sql,
    ban: i64,
    (author, now): (&str, &str),
    (field, before, after): (&str, &str, &str),
) -> QueryResult<()> {
    connection.execute("INSERT INTO drawhall_ban_changes (ban, at, author, field, before, after) VALUES (?1, ?2, ?3, ?4, ?5, ?6)", &[int(ban), text(now), text(author), text(field), text(before), text(after)])?;
    connection.execute(
        "DELETE FROM drawhall_ban_changes WHERE ban = ?1 AND id NOT IN \
         (SELECT id FROM drawhall_ban_changes WHERE ban = ?1 ORDER BY id DESC LIMIT ?2)",
        &[int(ban), int(Database::MAX_BAN_CHANGES as i64)],
    )?;
    Ok(())
}

/// Writes the texts and the end of a ban into its rows.
fn update_rows(connection: &mut impl Sql, ban: &PersonBan, expires: bool) -> QueryResult<()> {
    for part in &ban.parts {
        let Some(row) = part.row else { continue };
        let table = table(part.kind);
        let (name, id) = (table.name, table.id(connection));
        let end = if expires { &ban.expires } else { &part.expires };
        let mut values = vec![text(end), text(comment(&ban.name, &ban.note)), int(row)];
        let mut reason = "";
        if part.kind != BanKind::Address {
            reason = ", reason = ?4";
            values.push(text(&ban.reason));
        }
        let sql = format!("UPDATE {name} SET expires = ?1, comment = ?2{reason} WHERE {id} = ?3");
        connection.execute(&sql, &values)?;
    }
    Ok(())
}

fn add(connection: &mut impl Sql, ban: &NewPersonBan, now: &str) -> QueryResult<AddedBan> {
    let rows = all_rows(connection)?;
    let mut already = Vec::new();
    let mut missing: Vec<&BanTarget> = Vec::new();
    // Bans that end sooner are to be extended, unless something else is banned with them.
    let (mut sooner, mut is_new) = (None, false);
    for target in &ban.targets {
        match covering_row(&rows, target, now) {
            Some(row) if row.expires >= ban.expires => already.push(part_of(target.kind, row)),
            covered => {
                sooner = sooner.or(covered.map(|row| part_of(target.kind, row)));
                is_new |= covered.is_none();
                missing.push(target);
            }
        }
    }
    if let (false, Some(first)) = (is_new, sooner.as_ref().or(already.first())) {
        let key = key_of(connection, first.kind, first.row.unwrap_or_default())?;
        if let Some(exists) = load_one(connection, key)? {
            return Ok(AddedBan::Exists(Box::new(exists)));
        }
    }
    if !make_room(connection, now)? {
        return Ok(AddedBan::TooMany);
    }
    let id = insert_head(connection, ban, now)?;
    for target in missing {
        let BanTarget { kind, subject, subnet } = target.clone();
        let row = BanRow {
            id: next_id(connection, kind)?,
            subject,
            subnet,
            reaction: if kind == BanKind::Address { String::new() } else { "normal".into() },
            expires: ban.expires.clone(),
            comment: comment(&ban.name, &ban.note),
            reason: ban.reason.clone(),
            added: now.to_owned(),
        };
        write_ban(connection, kind, row.id, &row)?;
        insert_part(connection, id, kind, &row)?;
    }
    let added = load_one(connection, BanKey::Person(id))?.ok_or(diesel::result::Error::NotFound)?;
    Ok(AddedBan::Added(Box::new(added), already))
}

fn edit(connection: &mut impl Sql, key: BanKey, edit: &BanEdit, now: &str) -> QueryResult<Option<EditedBan>> {
    let Some((before, id)) = to_change(connection, key)? else { return Ok(None) };
    let mut after = before.clone();
    let mut changed = Vec::new();
    let fields = [
        ("name", &edit.name, &mut after.name),
        ("reason", &edit.reason, &mut after.reason),
        ("note", &edit.note, &mut after.note),
        ("expires", &edit.expires, &mut after.expires),
    ];
    for (field, new, value) in fields {
        if let Some(new) = new.as_ref().filter(|new| *new != value) {
            changed.push((field, std::mem::replace(value, new.clone()), new.clone()));
        }
    }
    connection.execute(
        "UPDATE drawhall_bans SET name = ?1, reason = ?2, note = ?3, expires = ?4 WHERE id = ?5",
        &[text(&after.name), text(&after.reason), text(&after.note), text(&after.expires), int(id)],
    )?;
    update_rows(connection, &after, edit.expires.is_some())?;
    for (field, old, new) in &changed {
        record_change(connection, id, (&edit.author, now), (field, old, new))?;
    }
    let after = load_one(connection, BanKey::Person(id))?.ok_or(diesel::result::Error::NotFound)?;
    Ok(Some(EditedBan { before, after }))
}

fn end(connection: &mut impl Sql, key: BanKey, author: &str, now: &str) -> QueryResult<Option<PersonBan>> {
    let Some((before, id)) = to_change(connection, key)? else { return Ok(None) };
    for part in &before.parts {
        if let Some(row) = part.row {
            delete_ban_row(connection, part.kind, row)?;
        }
    }
    connection.execute(
        "UPDATE drawhall_bans SET ended = ?1, ended_by = ?2 WHERE id = ?3",
        &[text(now), text(author), int(id)],
    )?;
    load_one(connection, BanKey::Person(id))
}

impl<E: Engine> BanStore for E {
    fn person_bans(&self) -> Result<Vec<PersonBan>, DbError> {
        self.read_consistent(|connection| Ok(load_all(connection)?))
    }

    fn person_ban(&self, key: BanKey) -> Result<Option<PersonBan>, DbError> {
        self.read_consistent(|connection| Ok(load_one(connection, key)?))
    }

    fn changes_of_ban(&self, ban: i64) -> Result<Vec<BanChange>, DbError> {
        self.autocommit(|connection| Ok(changes_of(connection, ban)?))
    }

    fn ban_of_row(&self, kind: BanKind, row: i64) -> Result<BanKey, DbError> {
        self.autocommit(|connection| Ok(key_of(connection, kind, row)?))
    }

    fn covering_bans(&self, targets: &[BanTarget], now: &str) -> Result<Vec<(BanPart, BanKey)>, DbError> {
        self.read_consistent(|connection| {
            let rows = all_rows(connection)?;
            let mut found = Vec::new();
            for target in targets {
                if let Some(row) = covering_row(&rows, target, now) {
                    let key = key_of(connection, target.kind, row.id)?;
                    found.push((part_of(target.kind, row), key));
                }
            }
            Ok(found)
        })
    }

    fn add_person_ban(&self, ban: &NewPersonBan, now: &str) -> Result<AddedBan, DbError> {
        self.write(Writes::Rules, |connection| Ok(add(connection, ban, now)?))
    }

    fn edit_ban(&self, key: BanKey, change: &BanEdit, now: &str) -> Result<Option<EditedBan>, DbError> {
        self.write(Writes::Rules, |connection| Ok(edit(connection, key, change, now)?))
    }

    fn end_ban(&self, key: BanKey, author: &str, now: &str) -> Result<Option<PersonBan>, DbError> {
        self.write(Writes::Rules, |connection| Ok(end(connection, key, author, now)?))
    }
}
