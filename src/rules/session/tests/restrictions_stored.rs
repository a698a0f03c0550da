//! Restrictions when the server is started again.

use std::sync::Arc;
use std::time::Duration;

use super::restrictions::with_sid;
use super::*;
use crate::rules::metadata::Metadata;
use crate::rules::session::admin::AdminRequest;
use crate::rules::session::admin::answer::Answered;
use crate::rules::session::hand_over::StayingMembers;
use crate::rules::session::persistence::Suspended;
use crate::rules::session::restrictions::RestrictionKind;
use crate::storage::session_dir::SessionDir;
use crate::storage::session_files::SessionFiles;

/// A stored session with A, B and C in it.
pub(super) struct Stored {
    pub(super) table: Table,
    dir: Arc<SessionDir>,
    files: Option<SessionFiles>,
    folder: tempfile::TempDir,
}

impl Stored {
    pub(super) fn of_three() -> Stored {
        let folder = tempfile::tempdir().unwrap();
        let mut table = Table::of_three();
        table.machine.store();
        let dir = SessionDir::open(folder.path(), Duration::from_secs(1)).unwrap();
        let files = dir.create("id", ProtocolVersion::dp(4, 24, 0)).unwrap();
        Stored { table, dir, files: Some(files), folder }
    }

    fn write(&mut self) {
        let work = self.table.machine.drain_writes();
        self.perform(work);
    }

    fn perform(&mut self, work: WriteBatch) {
        let written = self.files.as_mut().unwrap().perform(work);
        assert!(written.error.is_none(), "{:?}", written.error);
        if let Some(stored) = written.stored {
            self.table.machine.history().stored(stored);
        }
    }

    /// The server stops, and starts again after some seconds.
    fn restart(&mut self, seconds: u64) {
        self.move_with(seconds, StayingMembers::default());
    }

    /// The same, at another server, where these members stay.
    pub(super) fn move_with(&mut self, seconds: u64, staying: StayingMembers) {
        self.write();
        self.files = None;
        let table = &mut self.table;
        table.now.monotonic_ms = 5_000;
        table.now.utc_ms += seconds as i64 * 1000;
        let loaded = self.dir.load("id").unwrap();
        let rest = Suspended::at_start(table.now, table.now.utc_ms, table.now.utc_ms, [0, 0]);
        let rest = rest.with_staying(staying);
        let mut cx = Cx::new(table.now, &mut table.rng);
        let shared = ServerSettings::default();
        table.machine = SessionMachine::restored(shared, loaded.session, Some(rest), &mut cx);
        table.seats.clear();
        self.files = Some(loaded.store);
    }

    fn journal(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("id.session")).unwrap()
    }
}

#[test]
fn restrictions_and_warnings_hold_when_the_server_is_started_again() {
    let mut session = Stored::of_three();
    let table = &mut session.table;
    table.restrict(B, RestrictionKind::Mute, 600);
    table.restrict(B, RestrictionKind::Nodraw, 600);
    table.restrict(C, RestrictionKind::Slow, 600);
    let user = table.seat(B).user;
    table.administer(AdminRequest::Warn { user, message: "Please".into() }).unwrap();
    let known = table.restrictions().restrictions;
    session.restart(60);
    let table = &mut session.table;
    let left = table.restrictions().restrictions;
    let seen = |r: &crate::rules::session::admin::answer::RestrictionDetails| {
        (r.id, r.kind, r.until.clone(), r.reason.clone())
    };
    assert_eq!(left.iter().map(seen).collect::<Vec<_>>(), known.iter().map(seen).collect::<Vec<_>>());
    table.come_again(B, "Somebody else");
    table.come_again(C, "C");
    assert!(table.member(B).is_muted() && !table.member(C).is_muted());
    assert_eq!(table.seat(C).draw_rate.messages, 10);
    let user = table.seat(B).user;
    assert_eq!(table.locked(), [user]);
    match table.administer(AdminRequest::Warn { user, message: "Again".into() }) {
        Ok(Answered::Warned(count)) => assert_eq!(count.warnings, 2),
        other => panic!("{other:?}"),
    }
    let next = table.restrict(C, RestrictionKind::Mute, 60).id;
    assert!(known.iter().all(|r| r.id < next), "ids are not used twice");
    session.restart(540);
    let left = session.table.restrictions().restrictions;
    assert!(left.is_empty(), "they have ended meanwhile: {left:?}");
}

#[test]
fn what_was_lifted_is_not_there_again() {
    let mut session = Stored::of_three();
    let table = &mut session.table;
    let lifted = table.restrict(B, RestrictionKind::Mute, 600).id;
    table.restrict(C, RestrictionKind::Mute, 600);
    table.restrict(C, RestrictionKind::Mute, 900);
    table.administer(AdminRequest::LiftRestriction(lifted)).unwrap();
    session.restart(0);
    let left = session.table.restrictions().restrictions;
    assert_eq!(left.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["C"]);
    assert_eq!(left[0].kind, RestrictionKind::Mute);
}

#[test]
fn after_a_restart_a_closed_session_is_open_to_those_who_were_there() {
    let mut session = Stored::of_three();
    session.table.administer(AdminRequest::CloseToNewcomers(600)).unwrap();
    session.restart(60);
    let table = &mut session.table;
    assert_eq!(table.join(client(B, "B")), None);
    assert!(matches!(table.join(client(4, "D")), Some(Refusal::Error { code: "closed", .. })));
    let namesake = table.join(with_sid(5, "C", "another device"));
    assert!(matches!(namesake, Some(Refusal::Error { code: "closed", .. })), "anybody can take a name");
    table.administer(AdminRequest::CloseToNewcomers(0)).unwrap();
    session.restart(0);
    assert_eq!(session.table.join(client(4, "D")), None);
}

#[test]
fn a_restart_restricts_nobody_behind_the_same_address_who_was_there() {
    let mut session = Stored::of_three();
    session.table.restrict(B, RestrictionKind::Mute, 600);
    // Another device in the same network, which has come later.
    session.table.act(|machine, cx| machine.leave(B, cx));
    session.table.join(with_sid(4, "D", "another"));
    assert!(session.table.member(4).is_muted());
    session.restart(1);
    let table = &mut session.table;
    table.join(client(C, "C"));
    assert!(!table.member(C).is_muted());
    let mut elsewhere = with_sid(4, "E", "another");
    elsewhere.identity.address = "198.51.100.7".parse().ok();
    table.join(elsewhere);
    assert!(table.member(4).is_muted(), "the device is known");
    table.join(with_sid(5, "F", "a third"));
    assert!(table.member(5).is_muted(), "who comes for the first time may be the same person");
    table.leave(C);
    table.join(with_sid(6, "C", "a fourth"));
    assert!(table.member(6).is_muted(), "also under a name that was there");
}

#[test]
fn a_rewritten_journal_has_all_restrictions() {
    let mut session = Stored::of_three();
    let table = &mut session.table;
    table.restrict(B, RestrictionKind::Mute, 600);
    table.leave(B);
    table.join(with_sid(4, "D", "another"));
    table.administer(AdminRequest::CloseToNewcomers(600)).unwrap();
    session.write();
    let before = Metadata::replay(&session.journal()).metadata.restrictions;
    let mut work = session.table.machine.drain_writes();
    session.table.machine.compact_journal(&mut work);
    session.perform(work);
    let after = Metadata::replay(&session.journal()).metadata.restrictions;
    assert_eq!(after, before);
    assert_eq!((after.list.len(), after.list[0].followers.len()), (1, 1));
    assert!(after.known.len() >= 3 && after.known.iter().all(|known| known.address.is_none()), "{after:?}");
}

#[test]
fn of_those_who_were_there_nothing_is_kept_when_a_session_is_open_again() {
    let mut session = Stored::of_three();
    session.table.administer(AdminRequest::CloseToNewcomers(0)).unwrap();
    session.write();
    let stored = Metadata::replay(&session.journal()).metadata.restrictions;
    assert!(stored.is_empty(), "it was open: {stored:?}");
    session.table.administer(AdminRequest::CloseToNewcomers(600)).unwrap();
    session.write();
    let stored = Metadata::replay(&session.journal()).metadata.restrictions;
    assert!(stored.closed_until_ms > 0 && stored.known.len() >= 3, "{stored:?}");
    session.table.pass(600);
    session.write();
    assert_eq!(Metadata::replay(&session.journal()).metadata.restrictions.closed_until_ms, 0);
    let mut work = session.table.machine.drain_writes();
    session.table.machine.compact_journal(&mut work);
    session.perform(work);
    let stored = Metadata::replay(&session.journal()).metadata.restrictions;
    assert!(stored.is_empty(), "{stored:?}");
}

#[test]
fn a_journal_that_ends_anywhere_has_the_restrictions_up_to_there() {
    let mut session = Stored::of_three();
    session.table.restrict(B, RestrictionKind::Mute, 600);
    session.write();
    let begin = session.journal().len();
    let lifted = session.table.restrict(C, RestrictionKind::Nodraw, 600).id;
    session.write();
    session.table.administer(AdminRequest::LiftRestriction(lifted)).unwrap();
    session.table.administer(AdminRequest::CloseToNewcomers(600)).unwrap();
    session.write();
    let journal = session.journal();
    let mut seen = Vec::new();
    for end in begin..=journal.len() {
        let stored = Metadata::replay(&journal[..end]).metadata.restrictions;
        let ids: Vec<u64> = stored.list.iter().map(|r| r.id).collect();
        let state = (ids, stored.closed_until_ms > 0);
        if seen.last() != Some(&state) {
            seen.push(state);
        }
    }
    assert_eq!(seen, [(vec![1], false), (vec![1, 2], false), (vec![1], false), (vec![1], true)]);
    // A lost line end takes a line or two with it, and nothing else.
    let text = String::from_utf8(journal).unwrap();
    for (at, _) in text.match_indices('\n') {
        let glued = format!("{}{}", &text[..at], &text[at + 1..]);
        let stored = Metadata::replay(glued.as_bytes()).metadata.restrictions;
        assert!(stored.list.len() <= 2 && stored.list.iter().all(|r| [1, 2].contains(&r.id)));
    }
}
