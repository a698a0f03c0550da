//! Histories of any messages: the undo machine stays within its bounds, and what it says can be undone is undone.
#![no_main]

use arbitrary::Arbitrary;
use drawhall::rules::undo::{EntryState, NOBODY, Scan, Step};
use drawhall_protocol::Frame;
use drawhall_protocol::frame::frames;
use drawhall_protocol::message::{Layout, UndoPoint};
use libfuzzer_sys::fuzz_target;

/// Types that mean something to the machine, and some others.
const KINDS: &[u8] =
    &[32, 33, 34, 36, 37, 68, 69, 70, 74, 128, 128, 128, 140, 148, 177, 200, 255, 255, 0, 35];

#[derive(Debug, Arbitrary)]
struct Message {
    kind: u8,
    user: u8,
    payload: Vec<u8>,
}

fn frame(kind: u8, user: u8, payload: &[u8]) -> Vec<u8> {
    Frame::new(kind, user, payload).map_or_else(|_| Vec::new(), |frame| frame.as_bytes().to_vec())
}

fuzz_target!(|input: (bool, Vec<Message>)| {
    let (older, messages) = input;
    let mut scan = Scan::new(if older { Layout::V4_24 } else { Layout::V4_25 }, 0);
    for message in &messages {
        let kind = KINDS[usize::from(message.kind) % KINDS.len()];
        // Few users, so that they meet each other.
        let bytes = frame(kind, message.user % 6, &message.payload);
        frames(&bytes).for_each(|frame| {
            scan.feed(frame);
        });
        let machine = scan.machine();
        assert!(machine.points().iter().count() <= usize::from(machine.points().depth()) + 1);
    }
    let done = |scan: &Scan, user: u8| {
        let of_user = scan.entries().iter().filter(|e| e.user == user && e.kind == UndoPoint::TYPE);
        of_user.filter(|e| e.state == EntryState::Done).count()
    };
    let people: Vec<(i64, u8)> = scan.machine().people().iter().map(|p| (p.index, p.user)).collect();
    for (person, user) in people {
        assert!(person != NOBODY && user != 0);
        let count = scan.machine().undoable(person).unwrap_or(0);
        if scan.machine().permissions().canvas_locked() {
            return;
        }
        let mut copy = scan.clone();
        let before = done(&copy, user);
        for _ in 0..count {
            for undo in frames(&frame(255, 0, &[user, 0])) {
                assert!(matches!(copy.feed(undo), Step::Undone(point) if point.person == person));
            }
        }
        assert_eq!(before - done(&copy, user), count);
    }
});
