//! People: who was in which session, and notes about them.

mod limit;

use std::collections::{BTreeMap, HashSet, VecDeque};

use diesel::deserialize::QueryableByName;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Text};

use super::chunks::in_chunks;
use super::sightings::record;
use super::{Engine, Number, Sql, Writes, escape_like, int, text};
use crate::db::people::{Note, PeopleQuery, PeopleStore, Person, PersonKey, SeenQuery, SeenRow};
use crate::db::{Database, DbError};
use crate::rules::sighting::Sighting;

/// Columns of a [`SeenLine`].
const COLUMNS: &str = "id, device, account, name, address, session, title, first_ms, last_ms, visits";

#[derive(QueryableByName)]
struct SeenLine {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    device: String,
    #[diesel(sql_type = Text)]
    account: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    address: String,
    #[diesel(sql_type = Text)]
    session: String,
    #[diesel(sql_type = Text)]
    title: String,
    #[diesel(sql_type = BigInt)]
    first_ms: i64,
    #[diesel(sql_type = BigInt)]
    last_ms: i64,
    #[diesel(sql_type = BigInt)]
    visits: i64,
}

impl From<SeenLine> for SeenRow {
    fn from(line: SeenLine) -> SeenRow {
        let SeenLine { id: _, device, account, name, address, session, title, first_ms, last_ms, visits } =
            line;
        SeenRow { device, account, name, address, session, title, first_ms, last_ms, visits }
    }
}

#[derive(QueryableByName)]
struct NoteLine {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    at: String,
    #[diesel(sql_type = Text)]
    author: String,
    #[diesel(sql_type = Text)]
    note: String,
}

fn rows(lines: Vec<SeenLine>) -> Vec<SeenRow> {
    lines.into_iter().map(SeenRow::from).collect()
}

/// Rows with a value in a column, newest first.
fn rows_with(connection: &mut impl Sql, column: &str, value: &str) -> QueryResult<Vec<SeenRow>> {
    // The column is one of our own.
    let sql = format!(
        "SELECT {COLUMNS} FROM drawhall_sightings WHERE {column} = ?1 ORDER BY last_ms DESC, id DESC LIMIT ?2"
    );
    let lines: Vec<SeenLine> =
        connection.rows(&sql, &[text(value), int(Database::MAX_ROWS_OF_PERSON as i64)])?;
    Ok(rows(lines))
}

fn rows_of_guest(connection: &mut impl Sql, address: &str, name: &str) -> QueryResult<Vec<SeenRow>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM drawhall_sightings WHERE address = ?1 AND name = ?2 AND device = '' AND account = '' \
         ORDER BY last_ms DESC LIMIT ?3"
    );
    let lines: Vec<SeenLine> =
        connection.rows(&sql, &[text(address), text(name), int(Database::MAX_ROWS_OF_PERSON as i64)])?;
    Ok(rows(lines))
}

/// Rows that fulfil a condition on `?1` and `?2`, newest first.
fn lines_where(
    connection: &mut impl Sql,
    condition: &str,
    values: [&str; 2],
    since_ms: i64,
) -> QueryResult<Vec<SeenLine>> {
    // `?1 = ?1`: engines refuse values of parameters that a statement does not use, and a condition may use one only.
    // With `+` the index of the times is not used: that of the condition is much narrower.
    let sql = format!(
        "SELECT {COLUMNS} FROM drawhall_sightings WHERE {condition} AND ?1 = ?1 AND ?2 = ?2 AND +last_ms >= ?3 \
         ORDER BY +last_ms DESC, id DESC LIMIT ?4"
    );
    connection.rows(&sql, &[text(values[0]), text(values[1]), int(since_ms), int(Database::MAX_ROWS_SEEN)])
}

/// The first text behind all that begin with this one. The character is one of addresses.
fn behind(prefix: &str) -> String {
    let mut text = prefix.to_owned();
    let last = text.pop().map_or(char::MAX, |last| char::from_u32(u32::from(last) + 1).unwrap_or(char::MAX));
    text.push(last);
    text
}

fn seen_by(connection: &mut impl Sql, query: &SeenQuery) -> QueryResult<Vec<SeenRow>> {
    let mut lines = Vec::new();
    for (column, values) in
        [("device", &query.devices), ("account", &query.accounts), ("address", &query.addresses)]
    {
        for value in values {
            lines.extend(lines_where(connection, &format!("{column} = ?1"), [value, ""], query.since_ms)?);
        }
    }
    for user in &query.users {
        // Of few rows only: most people have no account.
        let like = connection.dialect().like;
        let condition = format!("account > '' AND account {like} '%:' || ?1 ESCAPE '\\'");
        lines.extend(lines_where(connection, &condition, [&escape_like(user), ""], query.since_ms)?);
    }
    for prefix in &query.address_prefixes {
        let range = [prefix.as_str(), &behind(prefix)];
        lines.extend(lines_where(connection, "address >= ?1 AND address < ?2", range, query.since_ms)?);
    }
    let newest_first = |line: SeenLine| (std::cmp::Reverse((line.last_ms, line.id)), SeenRow::from(line));
    let found: BTreeMap<_, _> = lines.into_iter().map(newest_first).collect();
    Ok(found.into_values().collect())
}

/// Follows the links between devices and accounts, breadth first.
fn linked(connection: &mut impl Sql, key: &PersonKey) -> QueryResult<Person> {
    let mut person = Person::default();
    if let PersonKey::Guest { address, name } = key {
        person.rows = rows_of_guest(connection, address, name)?;
        return Ok(person);
    }
    let mut known: HashSet<PersonKey> = HashSet::from([key.clone()]);
    let mut waiting = VecDeque::from([key.clone()]);
    let (mut devices, mut accounts) = (0, 0);
    while let Some(next) = waiting.pop_front() {
        let (column, value, count) = match &next {
            PersonKey::Device(device) => ("device", device, &mut devices),
            PersonKey::Account(account) => ("account", account, &mut accounts),
            PersonKey::Guest { .. } => continue,
        };
        *count += 1;
        if *count > Database::MAX_LINKED {
            continue;
        }
        for row in rows_with(connection, column, value)? {
            for link in row.keys() {
                if known.insert(link.clone()) {
                    waiting.push_back(link);
                }
            }
            if !person.rows.contains(&row) && person.rows.len() < Database::MAX_ROWS_OF_PERSON {
                person.rows.push(row);
            }
        }
    }
    person.rows.sort_by(|a, b| b.last_ms.cmp(&a.last_ms).then_with(|| b.device.cmp(&a.device)));
    for row in &person.rows {
        for (list, value) in [(&mut person.devices, &row.device), (&mut person.accounts, &row.account)] {
            if !value.is_empty() && !list.contains(value) {
                list.push(value.clone());
            }
        }
    }
    // Notes about somebody whose rows were purged are still found.
    if person.rows.is_empty() {
        match key {
            PersonKey::Device(device) => person.devices.push(device.clone()),
            PersonKey::Account(account) => person.accounts.push(account.clone()),
            PersonKey::Guest { .. } => {}
        }
    }
    Ok(person)
}

fn notes_of(connection: &mut impl Sql, person: &Person) -> QueryResult<Vec<Note>> {
    let mut notes: Vec<Note> = Vec::new();
    for (column, value) in person.columns() {
        let sql = format!("SELECT id, at, author, note FROM drawhall_notes WHERE {column} = ?1");
        let lines: Vec<NoteLine> = connection.rows(&sql, &[text(value)])?;
        for NoteLine { id, at, author, note } in lines {
            if !notes.iter().any(|known| known.id == id) {
                notes.push(Note { id, at, author, note });
            }
        }
    }
    notes.sort_by_key(|note| std::cmp::Reverse(note.id));
    Ok(notes)
}

fn load(connection: &mut impl Sql, key: &PersonKey) -> QueryResult<Person> {
    let mut person = linked(connection, key)?;
    person.notes = notes_of(connection, &person)?;
    Ok(person)
}

/// Device and account of a key, as notes have them.
fn columns_of(key: &PersonKey) -> (&str, &str) {
    match key {
        PersonKey::Device(device) => (device, ""),
        PersonKey::Account(account) => ("", account),
        PersonKey::Guest { .. } => ("", ""),
    }
}

fn erase(connection: &mut impl Sql, key: &PersonKey) -> QueryResult<usize> {
    if let PersonKey::Guest { address, name } = key {
        return connection.execute("DELETE FROM drawhall_sightings WHERE address = ?1 AND name = ?2 AND device = '' AND account = ''", &[text(address), text(name)]);
    }
    let person = linked(connection, key)?;
    let mut erased = 0;
    for (column, value) in person.columns() {
        for table in ["drawhall_sightings", "drawhall_notes"] {
            let sql = format!("DELETE FROM {table} WHERE {column} = ?1");
            erased += connection.execute(&sql, &[text(value)])?;
        }
    }
    Ok(erased)
}

fn insert_note(connection: &mut impl Sql, key: &PersonKey, note: &Note) -> QueryResult<Option<Note>> {
    let (device, account) = columns_of(key);
    let count: Number = connection.row(
        "SELECT COUNT(*) AS n FROM drawhall_notes WHERE device = ?1 AND account = ?2",
        &[text(device), text(account)],
    )?;
    if count.n >= Database::MAX_NOTES as i64 {
        return Ok(None);
    }
    let id: Number = connection.row(
        "INSERT INTO drawhall_notes (device, account, at, author, note) VALUES (?1, ?2, ?3, ?4, ?5) \
         RETURNING id AS n",
        &[text(device), text(account), text(&note.at), text(&note.author), text(&note.note)],
    )?;
    Ok(Some(Note { id: id.n, ..note.clone() }))
}

fn find_seen(connection: &mut impl Sql, query: &PeopleQuery) -> QueryResult<Vec<SeenRow>> {
    let like = connection.dialect().like;
    let prefix = |column: &str| format!("(?2 <> '' AND {column} {like} ?2 || '%' ESCAPE '\\')");
    let sql = format!(
        "SELECT {COLUMNS} FROM drawhall_sightings WHERE first_ms >= ?4 AND ((?1 = '' AND ?2 = '') \
         OR (?1 <> '' AND folded {like} '%' || ?1 || '%' ESCAPE '\\') OR {} OR {} OR {}) \
         ORDER BY last_ms DESC, id DESC LIMIT ?3",
        prefix("address"),
        prefix("device"),
        prefix("account"),
    );
    let values = [
        text(escape_like(&query.folded)),
        text(escape_like(&query.prefix)),
        int(query.rows),
        int(query.since_ms),
    ];
    Ok(rows(connection.rows(&sql, &values)?))
}

impl<E: Engine> PeopleStore for E {
    fn record_sightings(&self, seen: &[Sighting], most: i64) -> Result<(), DbError> {
        // No more than there are: some of them only change rows. They are counted only when that could be too many.
        let counted = self.counted_sightings();
        let bound = counted.and_then(|counted| *counted.lock()).map(|rows| rows + seen.len() as i64);
        let rows = self.write(Writes::Records, |connection| {
            record(connection, seen)?;
            let within = bound.filter(|rows| *rows <= most);
            Ok(within.map_or_else(|| limit::keep_within(connection, most), Ok)?)
        })?;
        if let Some(counted) = counted {
            *counted.lock() = Some(rows);
        }
        Ok(())
    }

    fn find_seen(&self, query: &PeopleQuery) -> Result<Vec<SeenRow>, DbError> {
        self.autocommit(|connection| Ok(find_seen(connection, query)?))
    }

    fn person(&self, key: &PersonKey) -> Result<Person, DbError> {
        self.read_consistent(|connection| Ok(load(connection, key)?))
    }

    fn seen_at(&self, addresses: &[String], not: &Person) -> Result<Vec<SeenRow>, DbError> {
        let mut others = Vec::new();
        self.autocommit(|connection| {
            for address in addresses {
                let found = rows_with(connection, "address", address)?;
                others.extend(found.into_iter().filter(|row| !not.rows.contains(row)));
            }
            Ok(())
        })?;
        others.sort_by_key(|row| std::cmp::Reverse(row.last_ms));
        others.truncate(Database::MAX_ROWS_OF_PERSON);
        Ok(others)
    }

    fn seen_by(&self, query: &SeenQuery) -> Result<Vec<SeenRow>, DbError> {
        self.autocommit(|connection| Ok(seen_by(connection, query)?))
    }

    fn add_note(&self, key: &PersonKey, note: &Note) -> Result<Option<Note>, DbError> {
        self.write(Writes::Records, |connection| Ok(insert_note(connection, key, note)?))
    }

    fn remove_note(&self, id: i64) -> Result<bool, DbError> {
        let sql = "DELETE FROM drawhall_notes WHERE id = ?1";
        self.autocommit(|connection| Ok(connection.execute(sql, &[int(id)])? > 0))
    }

    fn erase_person(&self, key: &PersonKey) -> Result<usize, DbError> {
        self.write(Writes::Records, |connection| Ok(erase(connection, key)?))
    }

    fn purge_sightings(&self, before_ms: i64) -> Result<usize, DbError> {
        let sql = "DELETE FROM drawhall_sightings WHERE id IN \
                   (SELECT id FROM drawhall_sightings WHERE last_ms < ?1 LIMIT ?2)";
        in_chunks(|count| {
            self.autocommit(|connection| Ok(connection.execute(sql, &[int(before_ms), int(count)])?))
        })
    }
}
