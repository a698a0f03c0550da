//! Tests of `people`.

use super::*;
use crate::db::tests::databases::databases;
use crate::rules::lookalike::folded;

fn seen(device: &str, account: &str, name: &str, address: &str, at_ms: i64) -> Sighting {
    Sighting {
        device: device.into(),
        account: account.into(),
        name: name.into(),
        address: address.into(),
        session: "s1".into(),
        title: "Pixel art".into(),
        at_ms,
        joined: true,
    }
}

fn seen_in(rows: &[Sighting]) -> Vec<Database> {
    let databases = databases();
    databases.iter().for_each(|database| database.record_sightings(rows).unwrap());
    databases
}

fn device(text: &str) -> PersonKey {
    PersonKey::Device(text.into())
}

#[test]
fn a_person_is_joined_by_device_and_account_but_not_by_address() {
    for database in seen_in(&[
        seen("d1", "", "PixelKing", "192.0.2.1", 1),
        seen("d1", "internal:5", "king", "192.0.2.2", 2),
        seen("d2", "internal:5", "king", "192.0.2.2", 3),
        seen("d3", "", "Marmalade", "192.0.2.1", 4),
    ]) {
        let person = database.person(&device("d1")).unwrap();
        assert_eq!(
            (&person.devices[..], &person.accounts[..]),
            (&["d2".into(), "d1".into()][..], &["internal:5".into()][..])
        );
        assert_eq!(person.rows.len(), 3);
        for key in [device("d2"), PersonKey::Account("internal:5".into())] {
            assert_eq!(database.person(&key).unwrap(), person);
        }
        let others = database.others_at_addresses_of(&person).unwrap();
        assert_eq!(others.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["Marmalade"]);
        assert!(database.person(&device("d9")).unwrap().rows.is_empty());
    }
}

#[test]
fn coming_again_is_counted_and_leaving_is_the_last_time() {
    let first = seen("d1", "", "A", "192.0.2.1", 1000);
    let again = Sighting { at_ms: 2000, ..first.clone() };
    let left = Sighting { at_ms: 3000, joined: false, ..first.clone() };
    for database in seen_in(&[first, again, left]) {
        let rows = database.person(&device("d1")).unwrap().rows;
        assert_eq!((rows[0].first_ms, rows[0].last_ms, rows[0].visits, rows.len()), (1000, 3000, 2, 1));
    }
}

#[test]
fn people_are_found_by_lookalike_names_and_not_by_titles() {
    for database in seen_in(&[
        seen("d1", "", "PixelKing", "192.0.2.1", 1),
        seen("d2", "", "PixeIKing", "192.0.2.9", 2),
        seen("d3", "", "pixel_king_", "2001:db8::1", 3),
        seen("d4", "", "Marmalade", "192.0.2.9", 4),
    ]) {
        let find = |folded: String, prefix: &str| {
            let rows = database
                .find_seen(&PeopleQuery { folded, prefix: prefix.into(), since_ms: 0, rows: 10 })
                .unwrap();
            rows.into_iter().map(|row| row.device).collect::<Vec<_>>()
        };
        assert_eq!(find(folded("pixelking"), ""), ["d3", "d2", "d1"]);
        assert_eq!(find(folded("pixel art"), "pixel art"), [""; 0]);
        assert_eq!(find(folded("192.0.2.9"), "192.0.2.9"), ["d4", "d2"]);
        assert_eq!(find(String::new(), ""), ["d4", "d3", "d2", "d1"]);
        let new = PeopleQuery { since_ms: 3, rows: 10, ..PeopleQuery::default() };
        assert_eq!(database.find_seen(&new).unwrap().len(), 2);
    }
}

#[test]
fn rows_are_bounded_and_purged() {
    let rows: Vec<_> =
        (0..30).map(|n| seen(&format!("d{n}"), "", "A", "192.0.2.1", n * 86_400_000)).collect();
    for database in databases() {
        database.backend.record_sightings(&rows, 20).unwrap();
        let all = || database.find_seen(&PeopleQuery { rows: 99, ..PeopleQuery::default() }).unwrap();
        assert!(all().len() <= 20 && all()[0].device == "d29", "the oldest made room");
        let before = all().len();
        let purged = database.purge_sightings(10, 29 * 86_400_000).unwrap();
        assert_eq!((all().len(), purged), (11, before - 11));
        let erased = database.erase_person(&device("d29")).unwrap();
        assert_eq!((erased, all().len()), (1, 10));
    }
}

#[test]
fn rows_are_found_by_device_account_and_beginning_of_the_address() {
    for database in seen_in(&[
        seen("d1", "", "A", "192.0.2.1", 1),
        seen("d2", "internal:5", "B", "192.0.20.1", 2),
        seen("d3", "https://auth.example/:7", "C", "2001:db8::1", 3),
        seen("d4", "https://auth.example/:17", "D", "2001:db9::1", 4),
    ]) {
        let found = |query: SeenQuery| {
            let rows = database.seen_by(&query).unwrap();
            rows.into_iter().map(|row| row.device).collect::<Vec<_>>().join(" ")
        };
        let list = |text: &str| vec![text.to_owned()];
        let none = SeenQuery::default();
        assert_eq!(found(none.clone()), "");
        assert_eq!(
            found(SeenQuery { devices: list("d1"), accounts: list("internal:5"), ..none.clone() }),
            "d2 d1"
        );
        assert_eq!(found(SeenQuery { users: list("7"), ..none.clone() }), "d3");
        assert_eq!(
            found(SeenQuery { addresses: list("192.0.2.1"), devices: list("d1"), ..none.clone() }),
            "d1"
        );
        for (prefix, devices) in
            [("192.0.2.", "d1"), ("2001:db8:", "d3"), ("2001:", "d4 d3"), ("", "d4 d3 d2 d1")]
        {
            assert_eq!(
                found(SeenQuery { address_prefixes: list(prefix), ..none.clone() }),
                devices,
                "{prefix}"
            );
        }
        assert_eq!(found(SeenQuery { address_prefixes: list(""), since_ms: 4, ..none }), "d4");
    }
}

#[test]
fn notes_are_about_a_person_and_bounded() {
    for database in seen_in(&[
        seen("d1", "internal:5", "A", "192.0.2.1", 1),
        seen("d2", "internal:5", "A", "192.0.2.1", 1),
    ]) {
        let note = database.add_note(&device("d1"), "rowan", "warned", 0).unwrap().unwrap();
        assert_eq!((note.at.as_str(), note.author.as_str()), ("1970-01-01 00:00:00", "rowan"));
        assert_eq!(
            database.person(&device("d2")).unwrap().notes,
            std::slice::from_ref(&note),
            "it is the same person"
        );
        assert!(database.remove_note(note.id).unwrap() && !database.remove_note(note.id).unwrap());
        for n in 0..Database::MAX_NOTES {
            assert!(database.add_note(&device("d1"), "rowan", &n.to_string(), 0).unwrap().is_some());
        }
        assert!(database.add_note(&device("d1"), "rowan", "one more", 0).unwrap().is_none());
    }
}
