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
    ELSE excluded.last_ms END, title = excluded.title, visits = drawhall_sightings.visits + excluded.visits";

/// Adds the end of a visit.
const LEFT: &str = "UPDATE drawhall_sightings SET title = ?6, \
    last_ms = CASE WHEN last_ms > ?7 THEN last_ms ELSE ?7 END \
    WHERE device = ?1 AND account = ?2 AND name = ?3 AND address = ?4 AND session = ?5";

/// Writes what was seen: one row for all that have the same key. Whoever only left, and of whom there is no row, was
/// erased meanwhile (or joined when nobody was recorded): that makes no row.
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
        let [device, account, key_name] = [device, account, name].map(text);
        let [address, session, title, last_ms] =
            [text(address), text(session), text(row.title), int(row.last_ms)];
        if row.visits == 0 {
            connection.execute(LEFT, &[device, account, key_name, address, session, title, last_ms])?;
            continue;
        }
        let (folded, first_ms, visits) = (text(folded(name)), int(row.first_ms), int(row.visits));
        let values = [device, account, key_name, folded, address, session, title, first_ms, last_ms, visits];
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
    fn somebody_who_was_erased_and_then_leaves_is_not_recorded_again() {
        for database in databases() {
            let key = PersonKey::Device("d1".into());
            database.record_sightings(&[sighting(20, true, "a")]).unwrap();
            assert_eq!(database.erase_person(&key).unwrap(), 1);
            database.record_sightings(&[sighting(30, false, "a")]).unwrap();
            assert_eq!(database.person(&key).unwrap().rows, []);

            database.record_sightings(&[sighting(40, true, "b")]).unwrap();
            assert_eq!((row(&database).first_ms, row(&database).visits), (40, 1), "who joins again is");
        }
    }
}
