//! The state of every command of a history, to tell what is on the canvas.

use std::collections::VecDeque;

use drawhall_protocol::frame::FrameRef;
use drawhall_protocol::message::{Layout, SyncSelectionTile, UndoPoint};

use super::{EntryState, PointNumber, Step, UndoMachine};

/// Entries that undo and redo may pass over in all, before a history counts as made to be expensive. It takes less than
/// a second.
const MAX_WORK: u64 = if cfg!(test) { 1_000_000 } else { 500_000_000 };

/// A command that clients have executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScannedMessage {
    /// Number of the message in what was scanned, from 0.
    pub message: u32,
    /// User id of the sender.
    pub user: u8,
    /// Message type.
    pub kind: u8,
    /// Its state.
    pub state: EntryState,
}

/// A history that is read from its beginning, with the state of each command.
///
/// Eight bytes a command. `Undo` is no entry.
#[derive(Debug, Clone)]
pub struct Scan {
    machine: UndoMachine,
    entries: Vec<ScannedMessage>,
    /// Position in `entries` of each point that is remembered.
    points: VecDeque<(PointNumber, usize)>,
    /// Whether the user may have undone entries since the barrier.
    may_have_undone: [bool; 256],
    messages: u32,
    first_index: i64,
    /// Entries that undo and redo have passed over.
    work: u64,
}

impl Scan {
    /// At the beginning of a history, whose first message has this index.
    pub fn new(layout: Layout, first_index: i64) -> Scan {
        Scan {
            machine: UndoMachine::new(layout),
            entries: Vec::new(),
            points: VecDeque::from([(0, 0)]),
            may_have_undone: [false; 256],
            messages: 0,
            first_index,
            work: 0,
        }
    }

    /// The machine behind it.
    pub fn machine(&self) -> &UndoMachine {
        &self.machine
    }

    /// Whether undo and redo have cost so much that reading on is not worth it: somebody has made it so.
    pub fn is_overworked(&self) -> bool {
        self.work > MAX_WORK
    }

    /// Number of messages read.
    pub fn messages(&self) -> u32 {
        self.messages
    }

    /// The commands, in order.
    pub fn entries(&self) -> &[ScannedMessage] {
        &self.entries
    }

    /// Passes over the next message as if it had not been sent.
    pub fn skip(&mut self) {
        self.messages = self.messages.saturating_add(1);
    }

    /// Takes the next message.
    pub fn feed(&mut self, frame: FrameRef<'_>) -> Step {
        let (message, header) = (self.messages, frame.header);
        self.messages = self.messages.saturating_add(1);
        let step = self.machine.feed(frame, self.first_index + i64::from(message));
        let entry = |state| ScannedMessage { message, user: header.user, kind: header.kind, state };
        match step {
            Step::Nothing => {}
            Step::Barrier => {
                self.points.clear();
                let newest = self.machine.points().iter().next_back();
                self.points.extend(newest.map(|point| (point.number, self.entries.len())));
                self.may_have_undone = [false; 256];
            }
            Step::Entry(state) => {
                self.may_have_undone[usize::from(header.user)] |= state == EntryState::Undone;
                self.entries.push(entry(state));
            }
            Step::BegunUndone(point) => {
                self.may_have_undone[usize::from(header.user)] = true;
                self.begin(point, entry(EntryState::Undone));
            }
            Step::Begun { point, oldest } => {
                let undone = std::mem::take(&mut self.may_have_undone[usize::from(header.user)]);
                if undone {
                    self.mark_gone(oldest, header.user);
                }
                self.begin(point, entry(EntryState::Done));
            }
            Step::Undone(point) => self.mark_undone(point.number, point.user),
            Step::Redone(point) => self.mark_redone(point.number, point.user),
        }
        step
    }

    fn begin(&mut self, point: PointNumber, entry: ScannedMessage) {
        self.points.push_back((point, self.entries.len()));
        self.entries.push(entry);
        let oldest = self.machine.points().iter().next().map_or(point, |oldest| oldest.number);
        while self.points.front().is_some_and(|(number, _)| *number < oldest) {
            self.points.pop_front();
        }
    }

    /// The entries from a point on.
    fn entries_from(&mut self, point: PointNumber) -> &mut [ScannedMessage] {
        let found = self.points.binary_search_by_key(&point, |(number, _)| *number);
        let from =
            found.ok().and_then(|at| self.points.get(at)).map_or(self.entries.len(), |(_, from)| *from);
        self.work += (self.entries.len() - from) as u64;
        &mut self.entries[from..]
    }

    fn mark_gone(&mut self, oldest: PointNumber, user: u8) {
        for entry in self.entries_from(oldest) {
            if entry.user == user && entry.state == EntryState::Undone {
                entry.state = EntryState::Gone;
            }
        }
    }

    fn mark_undone(&mut self, point: PointNumber, user: u8) {
        self.may_have_undone[usize::from(user)] = true;
        for entry in self.entries_from(point) {
            if entry.user == user && entry.state == EntryState::Done && entry.kind != SyncSelectionTile::TYPE
            {
                entry.state = EntryState::Undone;
            }
        }
    }

    fn mark_redone(&mut self, point: PointNumber, user: u8) {
        for (at, entry) in self.entries_from(point).iter_mut().enumerate() {
            if entry.user != user {
                continue;
            }
            if at > 0 && entry.kind == UndoPoint::TYPE && entry.state != EntryState::Gone {
                break;
            }
            if entry.state == EntryState::Undone {
                entry.state = EntryState::Done;
            }
        }
    }
}
