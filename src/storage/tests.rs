//! Stored sessions as a whole: what is written is read back, whatever happens to the files in between.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use drawhall_protocol::frame::frames;
use drawhall_protocol::{Frame, ProtocolVersion};
use proptest::prelude::*;

use super::journal::Entry;
use super::metadata::Metadata;
use super::session_dir::{LoadError, LoadedSession, SessionDir};
use super::session_files::{Chunk, FileDisposition, SessionFiles, WriteBatch};
use crate::history::{Cursor, History, Read};

fn open(path: &Path) -> Arc<SessionDir> {
    SessionDir::open(path, Duration::from_secs(3600)).unwrap()
}

fn message(n: u32, len: usize) -> Vec<u8> {
    let payload: Vec<u8> = n.to_be_bytes().iter().copied().cycle().take(len.max(4)).collect();
    Frame::new(148, 1, &payload).unwrap().as_bytes().to_vec()
}

fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    frames(bytes).map(|f| f.bytes.to_vec()).collect()
}

/// A session with its files, and a plain list of what is in it.
struct Model {
    history: History,
    store: SessionFiles,
    list: Vec<Vec<u8>>,
    journal: Vec<Entry>,
    /// All that has entered the journal.
    said: Vec<Entry>,
    next: u32,
}

#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Title(String),
    Reset(usize),
    Fork(usize, usize),
    Flush,
    Reload,
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![3 => 4usize..200, 1 => 1000usize..65_000];
    prop_oneof![
        8 => len.prop_map(Step::Append),
        2 => "[a-zA-Z]{1,9}".prop_map(Step::Title),
        1 => (0usize..20).prop_map(Step::Reset),
        1 => (1usize..5, 0usize..5).prop_map(|(side, since)| Step::Fork(side, since)),
        4 => Just(Step::Flush),
        1 => Just(Step::Reload),
    ]
}

impl Model {
    fn new(folder: &Arc<SessionDir>) -> Model {
        let mut history = History::default();
        history.store();
        history.set_publishing(true);
        let store = folder.create("id", ProtocolVersion::dp(4, 24, 0)).unwrap();
        let mut model =
            Model { history, store, list: Vec::new(), journal: Vec::new(), said: Vec::new(), next: 0 };
        model.append(4);
        model.flush();
        model
    }

    fn append(&mut self, len: usize) {
        self.next += 1;
        let bytes = message(self.next, len);
        self.history.append(&bytes, 1).unwrap();
        self.list.push(bytes);
    }

    fn flush(&mut self) {
        let journal = std::mem::take(&mut self.journal);
        self.said.extend(journal.clone());
        let mut work = WriteBatch { journal, history: self.history.unstored(), ..WriteBatch::default() };
        work.snapshot = self.store.wants_snapshot(&work).then(|| self.said.clone());
        let outcome = self.store.perform(work);
        assert!(outcome.error.is_none(), "{:?}", outcome.error);
        outcome.stored.into_iter().for_each(|stored| self.history.stored(stored));
        self.history.publish();
    }

    fn fresh(&mut self, count: usize) -> Vec<Vec<u8>> {
        (0..count)
            .map(|_| {
                self.next += 1;
                message(self.next, 40)
            })
            .collect()
    }

    fn apply(mut self, step: &Step, folder: &Arc<SessionDir>) -> Model {
        match step {
            Step::Append(len) => self.append(*len),
            Step::Title(title) => self.journal.push(Entry::Title(title.clone())),
            Step::Reset(count) => {
                self.list = self.fresh(count + 1);
                self.history.reset(&self.list.concat(), *count as u64 + 1).unwrap();
            }
            Step::Fork(side, since) => {
                let fork = self.history.mark();
                let at = self.list.len();
                (0..*since).for_each(|_| self.append(50));
                let side = self.fresh(*side);
                self.history.fork(fork, *since as u64, &side.concat(), side.len() as u64).unwrap();
                self.list = [side, self.list.split_off(at)].concat();
            }
            Step::Flush => self.flush(),
            Step::Reload => {
                self.flush();
                let Model { store, list, said, next, .. } = self;
                store.finish(FileDisposition::Keep).unwrap();
                let LoadedSession { contents, history, store, .. } = folder.load("id").unwrap();
                let history = History::restored(&history, &contents.pieces, 0);
                return Model { history, store, list, journal: Vec::new(), said, next };
            }
        }
        self
    }
}

fn read_all(cursor: &mut Cursor) -> Vec<u8> {
    let (mut out, mut held) = (Vec::new(), Vec::new());
    loop {
        match cursor.read(10_000, &mut out) {
            Read::Nothing => return out.concat(),
            Read::Some => {}
            Read::Lost => panic!("no message begins where the reader is"),
            Read::Fetch(fetch) => {
                let buffer = fetch.buffer();
                let fetched = fetch.run(buffer).unwrap();
                cursor.fetched(&fetched);
                held.push(fetched);
            }
        }
    }
}

fn file_entries(journal: &str) -> usize {
    journal.lines().filter(|l| l.starts_with("FILE ")).count()
}

/// Few in CI; `PROPTEST_CASES` asks for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn memory_files_and_a_plain_list_agree_after_anything(steps in prop::collection::vec(step(), 0..40)) {
        let directory = tempfile::tempdir().unwrap();
        let folder = open(directory.path());
        let mut model = Model::new(&folder);
        for step in &steps {
            model = model.apply(step, &folder);
            prop_assert_eq!(split(&model.history.to_bytes()), model.list.clone());
            prop_assert_eq!(model.history.size() as usize, model.list.concat().len());
        }
        model.flush();
        prop_assert_eq!(read_all(&mut model.history.cursor(i64::MIN)), model.list.concat());
        for (at, index) in (model.history.first_index()..=model.history.last_index()).enumerate() {
            let offset = model.history.offset_after(index).unwrap() - model.history.start();
            prop_assert_eq!(offset as usize, model.list[..=at].concat().len());
        }
        let list = model.list.clone();
        model.store.finish(FileDisposition::Keep).unwrap();
        let loaded = folder.load("id").unwrap();
        prop_assert!(loaded.warnings.is_empty());
        let mut again = History::restored(&loaded.history, &loaded.contents.pieces, 0);
        prop_assert_eq!(again.bytes_in_memory(), 0);
        prop_assert_eq!(split(&again.to_bytes()), list);
    }

    #[test]
    fn whatever_is_cut_off_what_was_before_the_cut_is_loaded(
        steps in prop::collection::vec(step(), 0..30),
        history_cut in 0.0..1.0f64,
        journal_cut in 0.0..1.0f64,
        garbage in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let folder = open(directory.path());
        let mut model = Model::new(&folder);
        for step in &steps {
            model = model.apply(step, &folder);
        }
        model.flush();
        let Model { store, list, .. } = model;
        store.finish(FileDisposition::Keep).unwrap();
        let journal_path = directory.path().join("id.session");
        let journal = fs::read_to_string(&journal_path).unwrap();
        let name = Metadata::replay(journal.as_bytes()).metadata.file.unwrap();
        let history_path = directory.path().join(&name);
        let history = fs::read(&history_path).unwrap();
        let header = history.len() - list.concat().len();
        let keep = (history.len() as f64 * history_cut) as usize;
        // Too short for a message header, so that it is none.
        fs::write(&history_path, [&history[..keep], &garbage[..garbage.len().min(3)]].concat()).unwrap();
        let lines: Vec<&str> = journal.split_inclusive('\n').collect();
        let kept: String = lines[..(lines.len() as f64 * journal_cut) as usize].concat();
        fs::write(&journal_path, &kept).unwrap();

        let mut whole: Vec<Vec<u8>> = Vec::new();
        for message in &list {
            if header + whole.concat().len() + message.len() > keep {
                break;
            }
            whole.push(message.clone());
        }
        match folder.load("id") {
            Ok(loaded) => {
                prop_assert_eq!(loaded.metadata.file.as_ref(), Some(&name));
                prop_assert_eq!(&loaded.metadata, &Metadata::replay(kept.as_bytes()).metadata);
                let mut history = History::restored(&loaded.history, &loaded.contents.pieces, 0);
                let loaded = split(&history.to_bytes());
                prop_assert!(!loaded.is_empty());
                // With garbage behind it, the beginning of a message may have become a whole one.
                prop_assert!(loaded.starts_with(&whole), "{} of {}", loaded.len(), whole.len());
                prop_assert!(loaded.len() <= whole.len() + 1);
            }
            Err(LoadError::NoFile) => prop_assert_eq!(file_entries(&kept), 0),
            Err(error) => {
                // The file that counted then is gone, or there is no message before the cut.
                let other = Metadata::replay(kept.as_bytes()).metadata.file != Some(name);
                prop_assert!(other || whole.is_empty(), "{}", error);
            }
        }
    }
}

/// Files of a session as an interrupted step leaves them, and what is loaded then.
fn after_a_crash(files: &[(&str, &[u8])]) -> (Vec<String>, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
    }
    let folder = open(directory.path());
    let mut sessions = Vec::new();
    folder
        .list(false, |s| sessions.push(format!("{} {}", s.id, s.metadata.file.unwrap_or_default())))
        .unwrap();
    let mut left: Vec<String> =
        super::session_dir::file_names(directory.path()).unwrap().into_iter().collect();
    left.retain(|name| name != super::names::LOCK);
    (sessions, left)
}

#[test]
fn every_interrupted_step_leaves_the_old_state_or_the_new_one() {
    let whole = [b"DPREC\0\0\x17{\"version\":\"dp:4.24.0\"}", &message(1, 4)[..]].concat();
    let (whole, header) = (&whole[..], b"DPREC\0\0\x17{\"version\":\"dp:4.24.0\"}".as_slice());
    type Files<'a> = &'a [(&'a str, &'a [u8])];
    let cases: [(&str, Files<'_>, &[&str], &[&str]); 11] = [
        ("made: journal not complete", &[("a.session.new", b"FI")], &[], &[]),
        (
            "made: history not complete",
            &[("a.session.new", b"FILE a.dprec\n"), ("a.dprec", b"DPR")],
            &[],
            &[],
        ),
        ("made: not named yet", &[("a.session.new", b"FILE a.dprec\n"), ("a.dprec", whole)], &[], &[]),
        (
            "reset: new history not complete",
            &[("a.session", b"FILE a.dprec\n"), ("a.dprec", whole), ("a_r2.dprec", header)],
            &["a a.dprec"],
            &["a.dprec", "a.session"],
        ),
        (
            "reset: no entry yet",
            &[("a.session", b"FILE a.dprec\n"), ("a.dprec", whole), ("a_r2.dprec", whole)],
            &["a a.dprec"],
            &["a.dprec", "a.session"],
        ),
        (
            "reset: entry torn",
            &[("a.session", b"FILE a.dprec\nFILE a_r2.dp"), ("a.dprec", whole), ("a_r2.dprec", whole)],
            &["a a.dprec"],
            &["a.dprec", "a.session"],
        ),
        (
            "reset: old history still there",
            &[("a.session", b"FILE a.dprec\nFILE a_r2.dprec\n"), ("a.dprec", whole), ("a_r2.dprec", whole)],
            &["a a_r2.dprec"],
            &["a.session", "a_r2.dprec"],
        ),
        (
            "delete: marked",
            &[("a.session.deleted", b"FILE a.dprec\n"), ("a.dprec", whole), ("a.thumbnail", b"x")],
            &[],
            &[],
        ),
        (
            "archive: journal archived",
            &[("a.session.archived", b"FILE a.dprec\n"), ("a.dprec", whole), ("a.thumbnail", b"x")],
            &[],
            &["a.dprec.archived", "a.session.archived", "a.thumbnail.archived"],
        ),
        (
            "picture not complete",
            &[("a.session", b"FILE a.dprec\n"), ("a.dprec", whole), ("a.thumbnail.new", b"x")],
            &["a a.dprec"],
            &["a.dprec", "a.session"],
        ),
        (
            "journal written anew",
            &[("a.session", b"FILE a.dprec\n"), ("a.session.new", b"FI"), ("a.dprec", whole)],
            &["a a.dprec"],
            &["a.dprec", "a.session"],
        ),
    ];
    for (what, files, sessions, left) in cases {
        let expected = (
            sessions.iter().map(|s| (*s).to_owned()).collect(),
            left.iter().map(|s| (*s).to_owned()).collect(),
        );
        assert_eq!(after_a_crash(files), expected, "{what}");
    }
}

#[test]
fn files_of_other_sessions_are_never_left_over() {
    let whole = [b"DPREC\0\0\x17{\"version\":\"dp:4.24.0\"}", &message(1, 4)[..]].concat();
    let files: [(&str, &[u8]); 5] = [
        ("a.session", b"FILE a.dprec\n"),
        ("a.dprec", &whole),
        ("a_r2.session", b"FILE a_r2.dprec\n"),
        ("a_r2.dprec", &whole),
        ("unknown.dprec", &whole),
    ];
    let (sessions, left) = after_a_crash(&files);
    assert_eq!((sessions.len(), left.len()), (2, 5), "{left:?}");
}

#[test]
fn a_refused_session_keeps_all_its_files() {
    let files: [(&str, &[u8]); 3] =
        [("a.session", b"FILE a_r3.dprec\n"), ("a.dprec", b"x"), ("a_r2.dprec", b"y")];
    assert_eq!(after_a_crash(&files).1, ["a.dprec", "a.session", "a_r2.dprec"]);
}

#[test]
fn a_torn_journal_goes_on_with_a_line_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let whole = [b"DPREC\0\0\x17{\"version\":\"dp:4.24.0\"}", &message(1, 4)[..]].concat();
    fs::write(directory.path().join("a.dprec"), &whole).unwrap();
    fs::write(directory.path().join("a.session"), "FILE a.dprec\nFLAGS per").unwrap();
    let folder = open(directory.path());
    let mut store = folder.load("a").unwrap().store;
    store.perform(WriteBatch { journal: vec![Entry::Title("T".into())], ..WriteBatch::default() });
    let journal = fs::read_to_string(directory.path().join("a.session")).unwrap();
    assert_eq!(journal, "FILE a.dprec\nFLAGS per\nTITLE T\n");
}

#[test]
fn a_torn_entry_for_a_history_file_never_counts_later() {
    let directory = tempfile::tempdir().unwrap();
    let whole = [b"DPREC\0\0\x17{\"version\":\"dp:4.24.0\"}", &message(1, 4)[..]].concat();
    fs::write(directory.path().join("a.dprec"), &whole).unwrap();
    fs::write(directory.path().join("a.session"), "FILE a.dprec\nFILE a_r2.dp").unwrap();
    let folder = open(directory.path());
    for title in ["1", "2"] {
        let mut loaded = folder.load("a").unwrap();
        assert_eq!(loaded.metadata.file.as_deref(), Some("a.dprec"));
        loaded
            .store
            .perform(WriteBatch { journal: vec![Entry::Title(title.into())], ..WriteBatch::default() });
    }
}

#[test]
fn a_session_is_loaded_once_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let folder = open(directory.path());
    let model = Model::new(&folder);
    assert!(folder.create("id", ProtocolVersion::dp(4, 24, 0)).is_none());
    let loading = std::thread::spawn({
        let folder = folder.clone();
        move || folder.load("id").map(|loaded| loaded.contents.messages())
    });
    model.store.finish(FileDisposition::Keep).unwrap();
    assert_eq!(loading.join().unwrap().unwrap(), 1, "it waits for the first user to end");
}

#[test]
fn of_a_long_history_little_stays_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let folder = open(directory.path());
    let mut model = Model::new(&folder);
    for _ in 0..200 {
        model.append(60_000);
        model.flush();
    }
    assert!(model.history.size() > 12_000_000);
    assert!(model.history.bytes_in_memory() < 2 << 20, "{}", model.history.bytes_in_memory());
    let parts = model.history.parts();
    assert!(parts.iter().filter(|p| matches!(p, Chunk::File { .. })).count() > 30);
    let all = model.list.concat();
    let behind = model.list[..90].iter().map(|message| message.len()).sum::<usize>();
    // No message begins in the middle of one: there it is read from the beginning.
    for (at, from) in [(i64::MIN, 0), (behind as i64, behind), (behind as i64 + 1, 0)] {
        assert!(read_all(&mut model.history.cursor(at)) == all[from..], "at {at}");
    }
}

#[test]
fn a_picture_is_stored_replaced_and_removed_with_its_session() {
    let directory = tempfile::tempdir().unwrap();
    let folder = open(directory.path());
    let mut model = Model::new(&folder);
    for picture in ["first", "second"] {
        let work = WriteBatch { picture: Some(Some(picture.into())), ..WriteBatch::default() };
        assert!(model.store.perform(work).error.is_none());
    }
    model.store.finish(FileDisposition::Keep).unwrap();
    let mut loaded = folder.load("id").unwrap();
    let (bytes, made) = loaded.picture.take().unwrap();
    assert_eq!(&bytes[..], b"second");
    assert!(made > 1_700_000_000_000);
    loaded.store.perform(WriteBatch { picture: Some(None), ..WriteBatch::default() });
    drop(loaded);
    assert!(folder.load("id").unwrap().picture.is_none());
}

#[test]
fn a_session_that_is_not_loaded_is_removed_as_its_journal_says() {
    for (journal, expected) in [("", 0), ("ARCHIVE 1\n", 2)] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.session"), format!("FILE a.dprec\n{journal}")).unwrap();
        fs::write(directory.path().join("a.dprec"), "x").unwrap();
        fs::write(directory.path().join("b.dprec"), "not of this session").unwrap();
        open(directory.path()).remove_unloaded("a", false).unwrap();
        let left = super::session_dir::file_names(directory.path()).unwrap();
        assert_eq!(left.iter().filter(|n| n.ends_with(".archived")).count(), expected);
        assert!(!left.contains("a.session") && !left.contains("a.dprec") && left.contains("b.dprec"));
    }
}

/// A directory with a session `a` that has this journal, behind its `FILE` entry.
fn with_journal(journal: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let whole = [b"DPREC\0\0\x17{\"version\":\"dp:4.24.0\"}", &message(1, 4)[..]].concat();
    fs::write(directory.path().join("a.dprec"), &whole).unwrap();
    fs::write(directory.path().join("a.session"), format!("FILE a.dprec\n{journal}")).unwrap();
    directory
}

fn titles(count: usize) -> Vec<Entry> {
    (0..count).map(|n| Entry::Title(format!("{n} {}", "x".repeat(90)))).collect()
}

#[test]
fn a_journal_that_has_grown_is_written_anew_with_what_counts() {
    let directory = with_journal("PASSWORD plain;p\nFUTURE entry\nOPWORD plain;o\n# a comment\nnonsense\n");
    let folder = open(directory.path());
    let mut loaded = folder.load("a").unwrap();
    let store = &mut loaded.store;
    let journal = directory.path().join("a.session");
    let snapshot = || Some(vec![Entry::Founder("F".into()), Entry::Title("last".into())]);
    assert!(!store.wants_snapshot(&WriteBatch::default()));
    store.perform(WriteBatch { journal: titles(20_000), ..WriteBatch::default() });
    assert!(fs::metadata(&journal).unwrap().len() > 1 << 20);
    assert!(store.wants_snapshot(&WriteBatch::default()) && store.has_backlog());
    let outcome = store.perform(WriteBatch { snapshot: snapshot(), ..WriteBatch::default() });
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    let expected =
        "FILE a.dprec\nFOUNDER F\nTITLE last\nPASSWORD plain;p\nOPWORD plain;o\nFUTURE entry\nnonsense\n";
    assert_eq!(fs::read_to_string(&journal).unwrap(), expected);
    assert!(!store.wants_snapshot(&WriteBatch::default()) && !store.has_backlog());
    store.perform(WriteBatch { journal: vec![Entry::Title("later".into())], ..WriteBatch::default() });
    assert_eq!(fs::read_to_string(&journal).unwrap(), format!("{expected}TITLE later\n"));
}

#[test]
fn what_cannot_be_written_waits_as_little_as_it_can() {
    let directory = with_journal("");
    let folder = open(directory.path());
    let mut loaded = folder.load("a").unwrap();
    // A directory in the way of the new journal makes writing it fail.
    let blocked = directory.path().join("a.session.new");
    fs::create_dir(&blocked).unwrap();
    let work = WriteBatch { snapshot: Some(titles(1)), ..WriteBatch::default() };
    assert!(loaded.store.perform(work).error.is_some());
    assert!(
        loaded.store.has_backlog() && loaded.store.wants_snapshot(&WriteBatch::default()),
        "it is tried again"
    );
    fs::remove_dir(&blocked).unwrap();
    let work = WriteBatch { snapshot: Some(titles(1)), incomplete: true, ..WriteBatch::default() };
    assert!(loaded.store.perform(work).error.is_none());
    assert!(!loaded.store.has_backlog());
    assert_eq!(
        Metadata::replay(&fs::read(directory.path().join("a.session")).unwrap()).metadata.title.len(),
        92
    );
}

#[test]
fn drawpile_srv_never_numbers_a_history_file_like_the_present_one() {
    let directory = tempfile::tempdir().unwrap();
    let folder = open(directory.path());
    let mut model = Model::new(&folder);
    for _ in 0..120 {
        model = model.apply(&Step::Reset(1), &folder);
        model.flush();
        let metadata = Metadata::replay(&fs::read(directory.path().join("id.session")).unwrap()).metadata;
        let next = super::names::history("id", metadata.files + 1);
        assert_ne!(metadata.file, Some(next));
        assert!(metadata.files <= 101);
    }
}

#[test]
fn a_journal_of_another_name_that_was_being_written_anew_takes_nothing_with_it() {
    let directory = with_journal("");
    fs::rename(directory.path().join("a.session"), directory.path().join("a.old.session")).unwrap();
    fs::write(directory.path().join("a.old.session.new"), "FILE a.dprec\nTITLE half").unwrap();
    let folder = open(directory.path());
    let mut found = 0;
    folder.list(false, |_| found += 1).unwrap();
    let left = super::session_dir::file_names(directory.path()).unwrap();
    assert_eq!((found, left.contains("a.dprec")), (1, true));
    assert!(!left.contains("a.old.session.new"));
}

#[test]
fn a_journal_that_is_too_long_is_not_loaded_and_stays_as_it_is() {
    let directory = with_journal("");
    let path = directory.path().join("a.session");
    let len = (256 << 20) + 1;
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(len).unwrap();
    let folder = open(directory.path());
    assert!(matches!(folder.load("a"), Err(LoadError::JournalTooLong)));
    let mut found = 0;
    folder.list(false, |_| found += 1).unwrap();
    assert_eq!((found, fs::metadata(&path).unwrap().len()), (0, len));
}
