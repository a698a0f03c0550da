//! Writing who was in a session.

use std::collections::BTreeMap;

use diesel::result::QueryResult;

use super::{Sql, int, text};
use crate::rules::lookalike::folded;
use crate::rules::sighting::Sighting;

/// A row of `drawhall_sightings`, inserted or added to the one with the same key.
struct Row<'a> {
    title: &'a str,
    first_ms: i64,
    last_ms: i64,
    visits: i64,
}

const UPSERT: &str = "INSERT INTO drawhall_sightings \
    (device, account, name, folded, address, session, title, first_ms, last_ms, visits) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
    ON CONFLICT (device, account, name, address, session) DO UPDATE SET \
    last_ms = CASE WHEN drawhall_sightings.last_ms > excluded.last_ms THEN drawhall_sightings.last_ms \
    ELSE excluded.last_ms END, title = excluded.title, visits = drawhall_sightings.visits + ?11";

/// Writes what was seen: one row for all that have the same key.
pub(super) fn record(connection: &mut impl Sql, seen: &[Sighting]) -> QueryResult<()> {
    let mut rows = BTreeMap::new();
    for one in seen {
        let key = (&one.device, &one.account, &one.name, &one.address, &one.session);
        let row = rows.entry(key).or_insert_with(|| Row {
            title: "",
            first_ms: one.at_ms,
            last_ms: one.at_ms,
            visits: 0,
        });
        row.title = &one.title;
        row.first_ms = row.first_ms.min(one.at_ms);
        row.last_ms = row.last_ms.max(one.at_ms);
        row.visits += i64::from(one.joined);
    }
    for ((device, account, name, address, session), row) in rows {
        let values = [
            text(device),
            text(account),
            text(name),
            text(folded(name)),
            text(address),
            text(session),
            text(row.title),
            int(row.first_ms),
            int(row.last_ms),
            int(row.visits.max(1)),
            int(row.visits),
        ];
        connection.execute(UPSERT, &values)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Database;
    use crate::db::people::{PersonKey, SeenRow};
    use crate::db::tests::databases::databases;

    fn sighting(at_ms: i64, joined: bool, title: &str) -> Sighting {
        Sighting {
            device: "d1".into(),
            account: String::new(),
            name: "Ann".into(),
            address: "192.0.2.1".into(),
            session: "s1".into(),
            title: title.into(),
            at_ms,
            joined,
        }
    }

    fn row(database: &Database) -> SeenRow {
        let mut rows = database.person(&PersonKey::Device("d1".into())).unwrap().rows;
        assert_eq!(rows.len(), 1);
        rows.remove(0)
    }

    #[test]
    fn what_is_seen_together_makes_one_row_and_later_sightings_are_added_to_it() {
        for database in databases() {
            let batch = [sighting(20, true, "a"), sighting(30, false, "b"), sighting(40, true, "c")];
            database.record_sightings(&batch).unwrap();
            let seen = row(&database);
            assert_eq!((seen.first_ms, seen.last_ms, seen.visits, &*seen.title), (20, 40, 2, "c"));

            database.record_sightings(&[sighting(50, false, "c"), sighting(35, false, "d")]).unwrap();
            let seen = row(&database);
            assert_eq!((seen.first_ms, seen.last_ms, seen.visits, &*seen.title), (20, 50, 2, "d"));
        }
    }

    #[test]
    fn somebody_of_whom_only_the_end_is_seen_was_there_once() {
        for database in databases() {
            database.record_sightings(&[sighting(20, false, "a")]).unwrap();
            assert_eq!(row(&database).visits, 1);
        }
    }
}
