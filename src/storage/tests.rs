//! Stored sessions as a whole: what is written is loaded again, also after a crash or with damaged files.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use drawhall_protocol::frame::frames;
use drawhall_protocol::{Frame, ProtocolVersion};
use proptest::prelude::*;

use super::session_dir::{LoadError, LoadedSession, SessionDir};
use super::session_files::SessionFiles;
use crate::history::Chunk;
use crate::history::{Cursor, History, Read};
use crate::rules::journal::Entry;
use crate::rules::metadata::Metadata;
use crate::rules::session::persistence::StoredSession;
use crate::rules::session::{FileDisposition, KeepGenerations, WriteBatch};
use crate::rules::undo::times::{MarksWrite, TimeMark};

fn open(path: &Path) -> Arc<SessionDir> {
    SessionDir::open(path, Duration::from_secs(3600)).unwrap()
}

/// What there is as soon as a thread has done something; fails after half a minute.
pub(super) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::yield_now();
    }
}

fn message(n: u32, len: usize) -> Vec<u8> {
    let payload: Vec<u8> = n.to_be_bytes().iter().copied().cycle().take(len.max(4)).collect();
    Frame::new(148, 1, &payload).unwrap().as_bytes().to_vec()
}

fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    frames(bytes).map(|f| f.bytes.to_vec()).collect()
}

/// A session with its files, and a plain list of its messages to compare with.
struct Model {
    history: History,
    store: SessionFiles,
    list: Vec<Vec<u8>>,
    journal: Vec<Entry>,
    /// All entries of the journal.
    written: Vec<Entry>,
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
        1 => (1usize..5, 0usize..5).prop_map(|(staged, since)| Step::Fork(staged, since)),
        4 => Just(Step::Flush),
        1 => Just(Step::Reload),
    ]
}

impl Model {
    fn new(session_dir: &Arc<SessionDir>) -> Model {
        let mut history = History::default();
        history.store();
        history.set_publishing(true);
        let store = session_dir.create("id", ProtocolVersion::dp(4, 24, 0)).unwrap();
        let mut model =
            Model { history, store, list: Vec::new(), journal: Vec::new(), written: Vec::new(), next: 0 };
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
        self.written.extend(journal.clone());
        let mut batch = WriteBatch { journal, history: self.history.unstored(), ..WriteBatch::default() };
        batch.snapshot = self.store.wants_snapshot(&batch).then(|| self.written.clone());
        let result = self.store.perform(batch);
        assert!(result.error.is_none(), "{:?}", result.error);
        result.stored.into_iter().for_each(|stored| self.history.stored(stored));
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

    fn apply(mut self, step: &Step, session_dir: &Arc<SessionDir>) -> Model {
        match step {
            Step::Append(len) => self.append(*len),
            Step::Title(title) => self.journal.push(Entry::Title(title.clone())),
            Step::Reset(count) => {
                self.list = self.fresh(count + 1);
                self.history.reset(&self.list.concat(), *count as u64 + 1).unwrap();
            }
            Step::Fork(staged, since) => {
                let fork = self.history.seal_at_fork();
                let fork_index = self.list.len();
                (0..*since).for_each(|_| self.append(50));
                let staged = self.fresh(*staged);
                self.history
                    .replace_prefix(fork, *since as u64, &staged.concat(), staged.len() as u64)
                    .unwrap();
                self.list = [staged, self.list.split_off(fork_index)].concat();
            }
            Step::Flush => self.flush(),
            Step::Reload => {
                self.flush();
                let Model { store, list, written, next, .. } = self;
                store.finish(FileDisposition::Keep).unwrap();
                let LoadedSession { session: StoredSession { contents, history, .. }, store } =
                    session_dir.load("id").unwrap();
                let history = History::restored(&history, &contents.index, 0);
                return Model { history, store, list, journal: Vec::new(), written, next };
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

/// 64 cases, or `PROPTEST_CASES`.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn memory_files_and_a_plain_list_agree_after_any_steps(steps in prop::collection::vec(step(), 0..40)) {
        let directory = tempfile::tempdir().unwrap();
        let session_dir = open(directory.path());
        let mut model = Model::new(&session_dir);
        for step in &steps {
            model = model.apply(step, &session_dir);
            prop_assert_eq!(split(&model.history.to_bytes()), model.list.clone());
            prop_assert_eq!(model.history.size() as usize, model.list.concat().len());
        }
        model.flush();
        prop_assert_eq!(read_all(&mut model.history.cursor(i64::MIN)), model.list.concat());
        for (n, index) in (model.history.first_index()..=model.history.last_index()).enumerate() {
            let offset = model.history.offset_after(index).unwrap() - model.history.start();
            prop_assert_eq!(offset as usize, model.list[..=n].concat().len());
        }
        let list = model.list.clone();
        model.store.finish(FileDisposition::Keep).unwrap();
        let loaded = session_dir.load("id").unwrap();
        prop_assert!(loaded.session.warnings.is_empty());
        let mut again = History::restored(&loaded.session.history, &loaded.session.contents.index, 0);
        prop_assert_eq!(again.bytes_in_memory(), 0);
        prop_assert_eq!(split(&again.to_bytes()), list);
    }

    #[test]
    fn whole_messages_before_a_cut_are_loaded(
        steps in prop::collection::vec(step(), 0..30),
        history_cut in 0.0..1.0f64,
        journal_cut in 0.0..1.0f64,
        garbage in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let session_dir = open(directory.path());
        let mut model = Model::new(&session_dir);
        for step in &steps {
            model = model.apply(step, &session_dir);
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
        // Too short for a message header.
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
        match session_dir.load("id") {
            Ok(loaded) => {
                prop_assert_eq!(loaded.session.metadata.file.as_ref(), Some(&name));
                prop_assert_eq!(&loaded.session.metadata, &Metadata::replay(kept.as_bytes()).metadata);
                let mut history = History::restored(&loaded.session.history, &loaded.session.contents.index, 0);
                let loaded = split(&history.to_bytes());
                prop_assert!(!loaded.is_empty());
                // The garbage may complete the message that was cut.
                prop_assert!(loaded.starts_with(&whole), "{} of {}", loaded.len(), whole.len());
                prop_assert!(loaded.len() <= whole.len() + 1);
            }
            Err(LoadError::NoFile) => prop_assert_eq!(file_entries(&kept), 0),
            Err(error) => {
                // The cut journal names a file that was removed, or there is no whole message before the cut.
                let other = Metadata::replay(kept.as_bytes()).metadata.file != Some(name);
                prop_assert!(other || whole.is_empty(), "{}", error);
            }
        }
    }
}

/// Opens a directory with these files, as a crash leaves them. Returns the sessions and the files after the cleanup.
fn after_a_crash(files: &[(&str, &[u8])]) -> (Vec<String>, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
    }
    let session_dir = open(directory.path());
    let mut sessions = Vec::new();
    session_dir
        .list(false, KeepGenerations::default(), |s| {
            sessions.push(format!("{} {}", s.id, s.metadata.file.unwrap_or_default()))
        })
        .unwrap();
    let mut left: Vec<String> =
        super::session_dir::file_names(directory.path()).unwrap().into_iter().collect();
    left.retain(|name| name != super::file_names::LOCK);
    (sessions, left)
}

#[test]
fn a_crash_at_any_step_leaves_the_old_state_or_the_new_one() {
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
fn the_cleanup_keeps_files_of_other_sessions() {
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
fn a_session_that_cannot_be_loaded_keeps_all_its_files() {
    let files: [(&str, &[u8]); 3] =
        [("a.session", b"FILE a_r3.dprec\n"), ("a.dprec", b"x"), ("a_r2.dprec", b"y")];
    assert_eq!(after_a_crash(&files).1, ["a.dprec", "a.session", "a_r2.dprec"]);
}

#[test]
fn a_torn_journal_continues_on_a_new_line() {
    let directory = tempfile::tempdir().unwrap();
    let whole = [b"DPREC\0\0\x17{\"version\":\"dp:4.24.0\"}", &message(1, 4)[..]].concat();
    fs::write(directory.path().join("a.dprec"), &whole).unwrap();
    fs::write(directory.path().join("a.session"), "FILE a.dprec\nFLAGS per").unwrap();
    let session_dir = open(directory.path());
    let mut store = session_dir.load("a").unwrap().store;
    store.perform(WriteBatch { journal: vec![Entry::Title("T".into())], ..WriteBatch::default() });
    let journal = fs::read_to_string(directory.path().join("a.session")).unwrap();
    assert_eq!(journal, "FILE a.dprec\nFLAGS per\nTITLE T\n");
}

#[test]
fn a_torn_file_entry_stays_without_effect() {
    let directory = tempfile::tempdir().unwrap();
    let whole = [b"DPREC\0\0\x17{\"version\":\"dp:4.24.0\"}", &message(1, 4)[..]].concat();
    fs::write(directory.path().join("a.dprec"), &whole).unwrap();
    fs::write(directory.path().join("a.session"), "FILE a.dprec\nFILE a_r2.dp").unwrap();
    let session_dir = open(directory.path());
    for title in ["1", "2"] {
        let mut loaded = session_dir.load("a").unwrap();
        assert_eq!(loaded.session.metadata.file.as_deref(), Some("a.dprec"));
        loaded
            .store
            .perform(WriteBatch { journal: vec![Entry::Title(title.into())], ..WriteBatch::default() });
    }
}

#[test]
fn a_session_is_loaded_only_once_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let session_dir = open(directory.path());
    let model = Model::new(&session_dir);
    assert!(session_dir.create("id", ProtocolVersion::dp(4, 24, 0)).is_none());
    let loading = std::thread::spawn({
        let session_dir = session_dir.clone();
        move || session_dir.load("id").map(|loaded| loaded.session.contents.messages())
    });
    model.store.finish(FileDisposition::Keep).unwrap();
    assert_eq!(loading.join().unwrap().unwrap(), 1, "loading waits for the lock");
}

#[test]
fn a_long_stored_history_is_evicted_from_memory() {
    let directory = tempfile::tempdir().unwrap();
    let session_dir = open(directory.path());
    let mut model = Model::new(&session_dir);
    for _ in 0..200 {
        model.append(60_000);
        model.flush();
    }
    assert!(model.history.size() > 12_000_000);
    assert!(model.history.bytes_in_memory() < 2 << 20, "{}", model.history.bytes_in_memory());
    let chunks = model.history.chunks();
    assert!(chunks.iter().filter(|p| matches!(p, Chunk::File { .. })).count() > 30);
    let all = model.list.concat();
    let behind = model.list[..90].iter().map(|message| message.len()).sum::<usize>();
    // A cursor inside a message starts at the beginning.
    for (position, from) in [(i64::MIN, 0), (behind as i64, behind), (behind as i64 + 1, 0)] {
        assert!(read_all(&mut model.history.cursor(position)) == all[from..], "at {position}");
    }
}

#[test]
fn a_thumbnail_is_stored_replaced_and_removed_with_its_session() {
    let directory = tempfile::tempdir().unwrap();
    let session_dir = open(directory.path());
    let mut model = Model::new(&session_dir);
    for picture in ["first", "second"] {
        let batch = WriteBatch { picture: Some(Some(picture.into())), ..WriteBatch::default() };
        assert!(model.store.perform(batch).error.is_none());
    }
    model.store.finish(FileDisposition::Keep).unwrap();
    let mut loaded = session_dir.load("id").unwrap();
    let (bytes, modified_ms) = loaded.session.picture.take().unwrap();
    assert_eq!(&bytes[..], b"second");
    assert!(modified_ms > 1_700_000_000_000);
    loaded.store.perform(WriteBatch { picture: Some(None), ..WriteBatch::default() });
    drop(loaded);
    assert!(session_dir.load("id").unwrap().session.picture.is_none());
}

#[test]
fn removing_an_unloaded_session_follows_its_archive_setting() {
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

/// A directory with a session `a` whose journal has these lines after its `FILE` entry.
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
fn a_long_journal_is_compacted() {
    let directory = with_journal("PASSWORD plain;p\nFUTURE entry\nOPWORD plain;o\n# a comment\nnonsense\n");
    let session_dir = open(directory.path());
    let mut loaded = session_dir.load("a").unwrap();
    let store = &mut loaded.store;
    let journal = directory.path().join("a.session");
    let snapshot = || Some(vec![Entry::Founder("F".into()), Entry::Title("last".into())]);
    assert!(!store.wants_snapshot(&WriteBatch::default()));
    store.perform(WriteBatch { journal: titles(20_000), ..WriteBatch::default() });
    assert!(fs::metadata(&journal).unwrap().len() > 1 << 20);
    assert!(store.wants_snapshot(&WriteBatch::default()) && store.has_backlog());
    let result = store.perform(WriteBatch { snapshot: snapshot(), ..WriteBatch::default() });
    assert!(result.error.is_none(), "{:?}", result.error);
    let expected =
        "FILE a.dprec\nFOUNDER F\nTITLE last\nPASSWORD plain;p\nOPWORD plain;o\nFUTURE entry\nnonsense\n";
    assert_eq!(fs::read_to_string(&journal).unwrap(), expected);
    assert!(!store.wants_snapshot(&WriteBatch::default()) && !store.has_backlog());
    store.perform(WriteBatch { journal: vec![Entry::Title("later".into())], ..WriteBatch::default() });
    assert_eq!(fs::read_to_string(&journal).unwrap(), format!("{expected}TITLE later\n"));
}

#[test]
fn the_backlog_is_bounded_while_writing_fails() {
    let directory = with_journal("");
    let session_dir = open(directory.path());
    let mut loaded = session_dir.load("a").unwrap();
    // A directory of the same name makes writing the new journal fail.
    let blocked = directory.path().join("a.session.new");
    fs::create_dir(&blocked).unwrap();
    let batch = WriteBatch { snapshot: Some(titles(1)), ..WriteBatch::default() };
    assert!(loaded.store.perform(batch).error.is_some());
    assert!(
        loaded.store.has_backlog() && loaded.store.wants_snapshot(&WriteBatch::default()),
        "it is tried again"
    );
    fs::remove_dir(&blocked).unwrap();
    let batch = WriteBatch { snapshot: Some(titles(1)), incomplete: true, ..WriteBatch::default() };
    assert!(loaded.store.perform(batch).error.is_none());
    assert!(!loaded.store.has_backlog());
    assert_eq!(
        Metadata::replay(&fs::read(directory.path().join("a.session")).unwrap()).metadata.title.len(),
        92
    );
}

#[test]
fn drawpile_srv_never_reuses_the_name_of_the_current_history_file() {
    let directory = tempfile::tempdir().unwrap();
    let session_dir = open(directory.path());
    let mut model = Model::new(&session_dir);
    for _ in 0..120 {
        model = model.apply(&Step::Reset(1), &session_dir);
        model.flush();
        let metadata = Metadata::replay(&fs::read(directory.path().join("id.session")).unwrap()).metadata;
        let next = super::file_names::history("id", metadata.files + 1);
        assert_ne!(metadata.file, Some(next));
        assert!(metadata.files <= 101);
    }
}

#[test]
fn the_cleanup_of_an_irregular_journal_name_removes_no_other_file() {
    let directory = with_journal("");
    fs::rename(directory.path().join("a.session"), directory.path().join("a.old.session")).unwrap();
    fs::write(directory.path().join("a.old.session.new"), "FILE a.dprec\nTITLE half").unwrap();
    let session_dir = open(directory.path());
    let mut found = 0;
    session_dir.list(false, KeepGenerations::default(), |_| found += 1).unwrap();
    let left = super::session_dir::file_names(directory.path()).unwrap();
    assert_eq!((found, left.contains("a.dprec")), (1, true));
    assert!(!left.contains("a.old.session.new"));
}

#[test]
fn a_journal_that_is_too_long_is_refused_and_not_changed() {
    let directory = with_journal("");
    let path = directory.path().join("a.session");
    let len = (256 << 20) + 1;
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(len).unwrap();
    let session_dir = open(directory.path());
    assert!(matches!(session_dir.load("a"), Err(LoadError::JournalTooLong)));
    let mut found = 0;
    session_dir.list(false, KeepGenerations::default(), |_| found += 1).unwrap();
    assert_eq!((found, fs::metadata(&path).unwrap().len()), (0, len));
}

/// However full the disk is, also after restarts.
#[test]
fn the_history_before_a_reset_stays_until_somebody_has_joined() {
    let folder = tempfile::tempdir().unwrap();
    let full = KeepGenerations { count: 3, min_free: u64::MAX, needs_newest: false };
    let kept = |session_dir: &Arc<SessionDir>| {
        session_dir.list(false, full, |_| {}).unwrap();
        session_dir.generations("id").unwrap().len()
    };
    {
        let session_dir = open(folder.path());
        let mut model = Model::new(&session_dir).apply(&Step::Reset(3), &session_dir);
        let keep = KeepGenerations { needs_newest: true, ..full };
        let marks = MarksWrite { marks: vec![TimeMark::default()], ..MarksWrite::default() };
        let mut batch =
            WriteBatch { history: model.history.unstored(), keep, marks, ..WriteBatch::default() };
        batch.snapshot = model.store.wants_snapshot(&batch).then(|| model.written.clone());
        assert!(model.store.perform(batch).error.is_none());
        session_dir.close();
    }
    {
        let session_dir = open(folder.path());
        assert_eq!(kept(&session_dir), 1);
        let LoadedSession { session, mut store } = session_dir.load("id").unwrap();
        assert!(session.awaits_join);
        let batch = WriteBatch { prunes: true, keep: full, ..WriteBatch::default() };
        assert!(store.perform(batch).error.is_none());
        assert_eq!(session_dir.generations("id").unwrap().len(), 0);
        session_dir.close();
    }
    let session_dir = open(folder.path());
    assert!(!session_dir.load("id").unwrap().session.awaits_join);
}
