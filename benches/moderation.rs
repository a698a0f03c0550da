//! How long a moderator waits: searches of people, bans, reports and the log in a database of a busy server (50,000 lines
//! of the log, 2,000 bans, 5,000 reports, and 50,000 records of who was in a session), and of a day's chat and events
//! (100,000 of them).
//!
//! `cargo bench --bench moderation` prints one line per search: milliseconds, the best and the worst of several rounds, and
//! a mark if the worst is beyond 100 ms.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on stops")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use drawhall::db::people::{PeopleQuery, PersonKey, SeenQuery};
use drawhall::db::reports::ReportQuery;
use drawhall::db::{BanKey, BanKind, BanTarget, Database, LogQuery, LogRow, NewPersonBan};
use drawhall::rules::lookalike::folded;
use drawhall::rules::received_report::{ReceivedReport, ReportedUser};
use drawhall::rules::sighting::Sighting;
use drawhall::rules::time::DAY_MS;
use drawhall::storage::event_store::{EventQuery, EventStore, SessionEvent};

const ROUNDS: usize = 20;
const LOG_LINES: usize = 50_000;
const SIGHTINGS: usize = 50_000;
const BANS: usize = 2_000;
const REPORTS: usize = 5_000;
const EVENTS: usize = 100_000;
/// What a moderator waits for at most, in milliseconds.
const MAX_MS: f64 = 100.0;
/// 2026-11-27 12:00:00
const NOW: i64 = 1_795_780_800_000;

fn device(n: usize) -> String {
    format!("{:032x}", n % 5000)
}

fn name(n: usize) -> String {
    format!("painter {}", n % 7000)
}

fn address(n: usize) -> String {
    format!("198.{}.{}.{}", 18 + n % 2, n / 250 % 250, n % 250)
}

fn fill(database: &Database) {
    let seen: Vec<Sighting> = (0..SIGHTINGS)
        .map(|n| Sighting {
            device: device(n),
            account: if n % 10 == 0 { format!("internal:{}", n % 500) } else { String::new() },
            name: name(n),
            address: address(n),
            session: format!("session{}", n % 300),
            title: "Friday Night Doodles".into(),
            at_ms: NOW - n as i64 * 50_000,
            joined: true,
        })
        .collect();
    seen.chunks(5000).for_each(|chunk| database.record_sightings(chunk).unwrap());
    let line = |n: usize| LogRow {
        timestamp: format!("2026-11-{:02}T12:00:00Z", 1 + n % 27),
        level: 2,
        topic: "Join".into(),
        user: format!("{};{};{}", n % 200, address(n), name(n)),
        session: format!("session{}", n % 300),
        message: "Joined session".into(),
    };
    let lines: Vec<LogRow> = (0..LOG_LINES).map(line).collect();
    lines.chunks(5000).for_each(|chunk| database.append_log(chunk).unwrap());
    for n in 0..BANS {
        let target = |kind, subject| BanTarget { kind, subject, subnet: 0 };
        let ban = NewPersonBan {
            name: name(n),
            reason: "scribbling".into(),
            author: "rowan".into(),
            expires: "2027-01-01 00:00:00".into(),
            targets: vec![target(BanKind::System, format!("{n:032x}")), target(BanKind::Address, address(n))],
            ..NewPersonBan::default()
        };
        database.add_person_ban(&ban, NOW).unwrap();
    }
}

fn fill_reports(database: &Database) {
    let user = |n: usize| ReportedUser {
        id: 1,
        name: name(n),
        address: address(n),
        device: device(n),
        ..ReportedUser::default()
    };
    for n in 0..REPORTS {
        let report = ReceivedReport {
            at_ms: NOW - n as i64 * 60_000,
            session: format!("session{}", n % 300),
            title: "Friday Night Doodles".into(),
            reason: "draws over others".into(),
            reporter: user(n),
            about: Some(user(n + 1)),
            users: (n..n + 10).map(user).collect(),
        };
        database.add_report(&report).unwrap();
    }
}

/// A day of chat and events, in the files of the store.
fn fill_events(dir: &Path) -> EventStore {
    let store = EventStore::open(dir).unwrap();
    let mut hours: BTreeMap<i64, Vec<u8>> = BTreeMap::new();
    for n in 0..EVENTS {
        let at = NOW - DAY_MS + (n as i64) * (DAY_MS / EVENTS as i64);
        let event = SessionEvent {
            at,
            session: format!("01ARZ3NDEKTSV4RRFFQ69G5{:03}", n % 300),
            topic: ["Chat", "Chat", "Chat", "Join", "Leave", "Kick"][n % 6].into(),
            name: name(n),
            account: String::new(),
            sid: device(n),
            ip: address(n),
            text: "a line of chat as people write them, neither short nor long".into(),
        };
        let file = hours.entry(at / 3_600_000).or_default();
        serde_json::to_writer(&mut *file, &event).unwrap();
        file.push(b'\n');
    }
    for (hour, lines) in hours {
        std::fs::write(dir.join(format!("{hour}.jsonl")), lines).unwrap();
    }
    store
}

fn measure_events(store: &EventStore) {
    let all = EventQuery { to_ms: NOW + 1, count: 500, ..EventQuery::default() };
    let session = EventQuery { session: "01ARZ3NDEKTSV4RRFFQ69G5007".into(), ..all.clone() };
    measure("timeline: a session's newest chat", || {
        let query = EventQuery { topics: vec!["Chat".into()], newest: true, count: 200, ..session.clone() };
        assert!(!store.find(&query).unwrap().events.is_empty());
    });
    let newest = store.find(&EventQuery { newest: true, ..session.clone() }).unwrap();
    measure("timeline: what has been written since", || {
        let query = EventQuery { after: Some(newest.next), ..session.clone() };
        assert!(store.find(&query).unwrap().events.is_empty());
    });
    measure("timeline: a person by name, all of the day", || {
        let query = EventQuery { person: name(6999), ..all.clone() };
        assert!(!store.find(&query).unwrap().events.is_empty());
    });
    measure("timeline: what was done about a device", || {
        let topics = ["Kick", "Ban", "Mute"].map(str::to_owned).to_vec();
        let query = EventQuery { topics, ids: vec![device(5)], newest: true, count: 100, ..all.clone() };
        store.find(&query).unwrap();
    });
}

fn measure(name: &str, mut search: impl FnMut()) {
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            search();
            begin.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let mark = if times[ROUNDS - 1] > MAX_MS { "  too slow" } else { "" };
    println!("{name:<40} {:>8.2} ms {:>8.2} ms{mark}", times[0], times[ROUNDS - 1]);
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&folder.path().join("config.db")).unwrap();
    fill(&database);
    fill_reports(&database);
    let events = fill_events(&folder.path().join("events"));
    let find = |text: &str| {
        let query = PeopleQuery { folded: folded(text), prefix: text.to_owned(), since_ms: 0, rows: 5000 };
        database.find_seen(&query).unwrap()
    };
    measure("people: part of a name", || assert!(!find("painter 6").is_empty()));
    measure("people: nobody has this name", || assert!(find("vandal").is_empty()));
    measure("people: an address", || assert!(!find("198.18.7").is_empty()));
    measure("a page of 50 people, linked", || {
        for row in find("painter 6").iter().take(50) {
            database.person(&PersonKey::of(row)).unwrap();
        }
    });
    let mut wanted = SeenQuery { since_ms: NOW - 30 * DAY_MS, ..SeenQuery::default() };
    wanted.devices.push(device(7));
    wanted.addresses.push(address(7));
    measure("whom a ban would have hit (preview)", || {
        assert!(!database.seen_by(&wanted).unwrap().is_empty());
    });
    wanted.address_prefixes.push("198.18.".into());
    measure("the same, with half of all addresses", || {
        assert!(database.seen_by(&wanted).unwrap().len() >= 5000);
    });
    measure("all bans", || assert_eq!(database.person_bans().unwrap().len(), BANS));
    measure("all bans in force, and changes of a page", || {
        let mut bans = database.person_bans().unwrap();
        database.read_ban_changes(&mut bans[..100]).unwrap();
    });
    measure("one ban", || assert!(database.person_ban(BanKey::Person(7)).unwrap().is_some()));
    measure("a page of reports", || {
        let query = ReportQuery { handled: Some(false), skip: 1000, count: 50 };
        assert_eq!(database.reports(query).unwrap().0.len(), 50);
    });
    measure("reports about or by a person", || {
        let person = database.person(&PersonKey::Device(device(7))).unwrap();
        assert!(!database.reports_with(&person, 50).unwrap().is_empty());
    });
    measure_events(&events);
    let log = |query: LogQuery| database.log(&LogQuery { count: 100, ..query }).unwrap();
    measure("log: a user", || {
        assert!(!log(LogQuery { user: "painter 6999".into(), ..LogQuery::default() }).is_empty())
    });
    measure("log: a text that is nowhere", || {
        assert!(log(LogQuery { contains: "vandal".into(), ..LogQuery::default() }).is_empty())
    });
}
