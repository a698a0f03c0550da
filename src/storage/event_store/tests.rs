//! Tests of `event_store`.

use super::budget::{MAX_CHAT, MAX_ROUTINE, MAX_SENDER_BYTES, MAX_SENDER_IN_SESSION, MAX_SESSION_BYTES};
use std::fs::File;

use super::*;

fn event(at: i64, session: &str, name: &str, text: &str) -> SessionEvent {
    SessionEvent {
        at,
        session: session.into(),
        topic: "Chat".into(),
        name: name.into(),
        sid: format!("sid-{name}"),
        text: text.into(),
        ..SessionEvent::default()
    }
}

fn all() -> EventQuery {
    EventQuery { to_ms: i64::MAX, count: 1000, ..EventQuery::default() }
}

/// A store with events of three hours that are written.
fn filled() -> (tempfile::TempDir, EventStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = EventStore::open(folder.path()).unwrap();
    for hour in 0..3 {
        store.keep(event(hour * HOUR_MS, "one", "PixelKing", &format!("hello {hour}")));
        store.keep(event(hour * HOUR_MS + 5, "two", "Marmalade", "hi"));
    }
    store.stop();
    (folder, store)
}

fn texts(store: &EventStore, query: &EventQuery) -> Vec<String> {
    store.find(query).unwrap().events.into_iter().map(|event| event.text).collect()
}

#[test]
fn events_are_found_by_time_session_and_person() {
    let (_folder, store) = filled();
    assert_eq!(store.find(&all()).unwrap().events.len(), 6);
    let one = EventQuery { session: "one".into(), ..all() };
    assert_eq!(texts(&store, &one), ["hello 0", "hello 1", "hello 2"]);
    let hour = EventQuery { from_ms: HOUR_MS, to_ms: 2 * HOUR_MS, ..one.clone() };
    assert_eq!(texts(&store, &hour), ["hello 1"]);
    for person in ["PixelKing", "PixeIKing", "pixel_king_", "sid-PixelKing"] {
        let query = EventQuery { person: person.into(), ..all() };
        assert_eq!(texts(&store, &query), ["hello 0", "hello 1", "hello 2"], "{person}");
    }
    for (topics, count) in [(vec!["Kick"], 0), (vec!["Kick", "Chat"], 3)] {
        let topics = topics.into_iter().map(str::to_owned).collect();
        assert_eq!(texts(&store, &EventQuery { topics, ..one.clone() }).len(), count);
    }
    let ids = vec!["sid-Marmalade".to_owned(), "sid-nobody".to_owned()];
    assert_eq!(texts(&store, &EventQuery { ids, ..all() }), ["hi", "hi", "hi"]);
    let guest = EventQuery { person: "Marmalade".into(), guest_address: "192.0.2.1".into(), ..all() };
    assert!(texts(&store, &guest).is_empty(), "they have a device");
}

/// All pages of an answer.
fn pages(store: &EventStore, query: &EventQuery) -> Vec<Vec<String>> {
    let (mut query, mut pages) = (query.clone(), Vec::new());
    loop {
        let found = store.find(&query).unwrap();
        pages.push(found.events.into_iter().map(|event| event.text).collect());
        if !found.more {
            return pages;
        }
        // It goes to a client and comes back.
        query.after = Some(found.next.to_string().parse().unwrap());
    }
}

#[test]
fn each_page_follows_the_one_before_it() {
    let (_folder, store) = filled();
    let one = EventQuery { session: "one".into(), ..all() };
    assert_eq!(
        pages(&store, &EventQuery { count: 2, ..one.clone() }),
        [vec!["hello 0", "hello 1"], vec!["hello 2"]]
    );
    let single = pages(&store, &EventQuery { count: 1, ..all() });
    assert_eq!(single.concat(), ["hello 0", "hi", "hello 1", "hi", "hello 2", "hi"]);
    for wrong in ["", "1", "1.2.3", "1.2.3.4.5", "1.2.3.x", "-1.2.3.4", "99999999999999999999.1.1.1"] {
        assert!(wrong.parse::<EventPosition>().is_err(), "{wrong}");
    }
}

#[test]
fn the_newest_are_found_and_then_what_is_written_since() {
    let (folder, store) = filled();
    let newest = EventQuery { newest: true, count: 2, session: "one".into(), ..all() };
    let found = store.find(&newest).unwrap();
    assert!(found.more && found.events.iter().map(|e| &*e.text).eq(["hello 1", "hello 2"]));
    let since = EventQuery { after: Some(found.next), ..newest };
    let found = store.find(&since).unwrap();
    assert!(!found.more && found.events.is_empty());
    // A line that is still being written is for the next time.
    append(folder.path(), 2, b"{\"at\":7200006,\"session\":\"one\",\"topic\":\"Chat\",\"te").unwrap();
    let since = EventQuery { after: Some(found.next), ..since };
    let found = store.find(&since).unwrap();
    assert!(found.events.is_empty());
    let path = path_of(folder.path(), 2);
    OpenOptions::new().append(true).open(path).unwrap().write_all(b"xt\":\"later\"}\n").unwrap();
    write_batch(
        &[event(3 * HOUR_MS, "one", "A", "next hour")],
        folder.path(),
        &mut HourBudget::default(),
        &Mutex::default(),
    )
    .unwrap();
    let since = EventQuery { after: Some(found.next), newest: false, ..since };
    assert_eq!(texts(&store, &since), ["later", "next hour"]);
    assert_eq!(texts(&store, &EventQuery { newest: true, ..since }), ["later", "next hour"]);
}

#[test]
fn a_page_goes_on_after_somebody_was_erased() {
    let (_folder, store) = filled();
    let query = EventQuery { count: 3, session: String::new(), ..all() };
    let found = store.find(&query).unwrap();
    assert_eq!(store.erase("sid-PixelKing").unwrap(), 3);
    let rest = EventQuery { after: Some(found.next), ..query };
    assert_eq!(texts(&store, &rest), ["hi", "hi"], "nothing is left out");
}

#[test]
fn old_events_are_purged() {
    let (folder, store) = filled();
    store.purge(HOUR_MS as u64, 2 * HOUR_MS + 10).unwrap();
    assert_eq!(store.find(&all()).unwrap().events.len(), 4);
    store.purge(0, 2 * HOUR_MS + 10).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "none are kept");
}

#[test]
fn everything_about_a_person_is_erased_and_nothing_else() {
    let (_folder, store) = filled();
    assert_eq!(store.erase("sid-PixelKing").unwrap(), 3);
    assert_eq!(texts(&store, &all()), ["hi", "hi", "hi"]);
    assert_eq!(store.erase("sid-PixelKing").unwrap(), 0);
}

#[test]
fn a_line_that_is_not_whole_is_left_out_and_takes_no_other_with_it() {
    let (folder, store) = filled();
    append(folder.path(), 2, b"{\"at\":7200").unwrap();
    assert_eq!(store.find(&all()).unwrap().events.len(), 6);
    let next = event(2 * HOUR_MS + 9, "one", "PixelKing", "after the torn line");
    write_batch(&[next], folder.path(), &mut HourBudget::default(), &Mutex::default()).unwrap();
    let store = EventStore::open(folder.path()).unwrap();
    assert_eq!(texts(&store, &all()).last().unwrap(), "after the torn line");
}

#[test]
fn files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let (folder, _store) = filled();
    for entry in fs::read_dir(folder.path()).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o77, 0);
    }
}

/// Writes a file of an hour that takes no space on the disk.
fn write_sparse(folder: &tempfile::TempDir, hour: i64, len: u64) {
    File::create(path_of(folder.path(), hour)).unwrap().set_len(len).unwrap();
}

#[test]
fn too_many_bytes_cost_the_oldest_files_and_never_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let store = EventStore::open(folder.path()).unwrap();
    let left = |store: &EventStore| -> Vec<i64> { store.hours().unwrap().into_keys().collect() };
    for hour in 0..4 {
        write_sparse(&folder, hour, MAX_BYTES / 3);
    }
    store.purge(u64::MAX, 4 * HOUR_MS).unwrap();
    assert_eq!(left(&store), [1, 2, 3]);
    write_sparse(&folder, 3, MAX_BYTES + 1);
    store.purge(u64::MAX, 4 * HOUR_MS).unwrap();
    assert_eq!(left(&store), [3]);
}

/// Writes events of the first hours, and tells what was dropped.
struct Writer {
    folder: tempfile::TempDir,
    budget: HourBudget,
    dropped: Mutex<Dropped>,
}

impl Writer {
    fn new() -> Writer {
        Writer {
            folder: tempfile::tempdir().unwrap(),
            budget: HourBudget::default(),
            dropped: Mutex::default(),
        }
    }

    fn write(&mut self, batch: &[SessionEvent]) {
        write_batch(batch, self.folder.path(), &mut self.budget, &self.dropped).unwrap();
    }

    fn len(&self) -> u64 {
        fs::metadata(path_of(self.folder.path(), 0)).unwrap().len()
    }

    fn texts(&self, session: &str) -> Vec<String> {
        let store = EventStore::open(self.folder.path()).unwrap();
        texts(&store, &EventQuery { session: session.into(), count: usize::MAX, ..all() })
    }

    fn has_dropped(&self, session: &str) -> bool {
        self.dropped.lock().is_noted(0, session)
    }
}

/// Chat of one address in a session: JSON makes six bytes of each character.
fn flood(session: &str, ip: &str) -> Vec<SessionEvent> {
    vec![SessionEvent { ip: ip.into(), ..event(0, session, "Troll", &"\u{1}".repeat(MAX_TEXT)) }; 30]
}

#[test]
fn a_position_behind_the_end_of_a_file_is_not_used() {
    let (_folder, store) = filled();
    let all_of_it = store.find(&all()).unwrap();
    let position = store.find(&EventQuery { count: 1, ..all() }).unwrap().next.to_string();
    let [hour, inode, ..] = position.split('.').collect::<Vec<_>>()[..] else { panic!("{position}") };
    for offset in [1 << 40, u64::MAX] {
        let after = Some(format!("{hour}.{inode}.{offset}.0").parse().unwrap());
        let found = store.find(&EventQuery { after, ..all() }).unwrap();
        assert_eq!(found.events, all_of_it.events, "{offset}");
    }
}

#[test]
fn a_session_that_floods_fills_only_its_own_part_of_an_hour() {
    let mut writer = Writer::new();
    for n in 0..9 {
        writer.write(&flood("flood", &format!("192.0.2.{n}")));
    }
    let kick = SessionEvent { topic: "Kick".into(), ..event(1, "flood", "Troll", "kicked") };
    writer.write(&[event(1, "other", "Host", "stop it"), kick]);
    let len = writer.len();
    assert!((MAX_SESSION_BYTES * 9 / 10..MAX_SESSION_BYTES + 1000).contains(&len), "{len}");
    assert_eq!(writer.texts("other"), ["stop it"]);
    assert_eq!(writer.texts("flood").last().unwrap(), "kicked");
    assert!(writer.has_dropped("flood") && !writer.has_dropped("other"));
    assert!(writer.has_dropped(""), "who is looked up in all sessions may have been in that one");
    assert!(!Writer::new().has_dropped(""));
}

#[test]
fn an_address_fills_neither_the_hour_nor_the_session_of_another() {
    let mut writer = Writer::new();
    writer.write(&flood("victim", "192.0.2.1"));
    assert!(writer.len() <= MAX_SENDER_IN_SESSION, "{}", writer.len());
    writer.write(&[SessionEvent { ip: "192.0.2.9".into(), ..event(1, "victim", "Ann", "help") }]);
    assert_eq!(writer.texts("victim").last().unwrap(), "help");
    for n in 0..40 {
        writer.write(&flood(&format!("s{n}"), "192.0.2.1"));
    }
    assert!(writer.len() <= MAX_SENDER_BYTES + 1000, "{}", writer.len());
    // Who has a /48 network has sixteen times as much, not 65,536 times.
    for n in 0..40 {
        writer.write(&flood(&format!("v6-{n}"), &format!("2001:db8:0:{n:x}::1")));
        writer.write(&flood(&format!("v6-{n}"), &format!("2001:db8:0:1{n:02x}::1")));
    }
    assert!(writer.len() <= 17 * MAX_SENDER_BYTES + 2000, "{}", writer.len());
}

#[test]
fn many_addresses_in_many_sessions_leave_room_for_small_sessions_and_for_moderation() {
    let mut writer = Writer::new();
    for n in 0..200 {
        writer.write(&flood(&format!("s{}", n / 4), &format!("198.51.100.{n}")));
    }
    assert!((MAX_CHAT..MAX_ROUTINE).contains(&writer.len()), "{}", writer.len());
    writer.write(&[SessionEvent { ip: "192.0.2.9".into(), ..event(1, "innocent", "Ann", "an insult") }]);
    assert_eq!(writer.texts("innocent"), ["an insult"]);
    assert!(writer.has_dropped("innocent"), "it is said that the hour is full");
    write_sparse(&writer.folder, 0, MAX_ROUTINE);
    writer.budget = HourBudget::default();
    let report = SessionEvent { topic: "Report".into(), ..event(2, "innocent", "Ann", "a report") };
    let (before, chat) = (writer.len(), event(2, "innocent", "Ann", "not kept"));
    writer.write(&[report]);
    let with_report = writer.len();
    writer.write(&[chat]);
    assert!(before < with_report && writer.len() == with_report);
}

#[test]
fn an_hour_has_a_limit_also_after_a_restart() {
    let mut writer = Writer::new();
    write_sparse(&writer.folder, 0, MAX_HOUR_BYTES);
    writer.write(&[event(1, "one", "Host", "x")]);
    assert_eq!(writer.len(), MAX_HOUR_BYTES);
    assert!(writer.has_dropped("") && !writer.dropped.lock().is_noted(1, ""));
    writer.write(&[event(HOUR_MS, "one", "Host", "x")]);
    assert!(path_of(writer.folder.path(), 1).exists(), "the next hour has room");
}

#[test]
fn nothing_is_left_of_a_file_that_could_not_be_rewritten() {
    let (folder, store) = filled();
    let new = folder.path().join("0.new");
    // What a crash has left.
    fs::write(&new, "chat of everybody").unwrap();
    store.purge(u64::MAX, 3 * HOUR_MS).unwrap();
    assert!(!new.exists());
    assert_eq!(store.find(&all()).unwrap().events.len(), 6);
    if Path::new("/dev/full").exists() {
        std::os::unix::fs::symlink("/dev/full", &new).unwrap();
        assert_eq!(store.erase("sid-PixelKing").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(fs::symlink_metadata(&new).is_err());
        assert_eq!(store.find(&all()).unwrap().events.len(), 6, "nothing is lost");
    }
}
