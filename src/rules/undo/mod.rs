//! The undo machine: which actions of a canvas history are done, and what an `Undo` would reach.
//!
//! Every client runs the same machine over the same messages, so a server that runs it too knows what each of them
//! would do. It looks at headers, and at the payload of `Undo`, `UndoDepth`, `Join` and the messages of
//! [`Permissions`]. Source: docs/spec/session.md#undo.
//!
//! * [`UndoMachine`] follows the undo points. Its memory is bounded by the undo depth (255) and the number of ids.
//! * [`Scan`] also keeps the state of each command, to rebuild a history.

pub mod across_reset;
pub mod cut;
pub mod everybody;
pub mod on_canvas;
pub mod outline;
pub mod people;
pub mod permissions;
pub mod points;
pub mod rebuild;
pub mod restored_image;
mod scan;
mod since;
mod targets;
#[cfg(test)]
mod tests;
pub mod times;

use drawhall_protocol::frame::{FIRST_COMMAND, FrameRef};
use drawhall_protocol::message::{Join, Layout, Leave, Message, SoftReset, Undo, UndoDepth, UndoPoint};

pub use people::{People, Person};
pub use permissions::Permissions;
pub use points::{EntryState, NOBODY, Point, PointNumber, Points};
pub use scan::{Scan, ScannedMessage};

/// What a message did to the canvas history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is no command, an `Undo` that reached nothing, or one that clients ignore because its sender may
    /// not send it.
    Nothing,
    /// Everything before is final.
    Barrier,
    /// A command was appended in this state.
    Entry(EntryState),
    /// A new action began; undone entries of the user from the oldest point within the depth on are gone.
    Begun {
        /// The new point.
        point: PointNumber,
        /// The oldest point within the depth.
        oldest: PointNumber,
    },
    /// A point was appended that is undone from the beginning.
    BegunUndone(PointNumber),
    /// The done entries of the point's user from the point on are undone.
    Undone(Point),
    /// The undone entries of the point's user from the point to the next that is not gone are done.
    Redone(Point),
}

/// Why actions of a person cannot be undone or redone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// Nobody was there under that index, or nothing is known of them any more.
    #[error("nothing that this person drew can be reached any more")]
    NoSuchPerson,
    /// The id has another holder who has drawn.
    #[error("their user id now belongs to {name}, who has drawn since: an undo would hit the wrong person")]
    TakenOver {
        /// Name of the present holder.
        name: String,
    },
    /// There is no action within the depth that is done.
    #[error("none of their actions is among the newest {depth} of everybody that can still be undone")]
    NothingToUndo {
        /// The undo depth.
        depth: u8,
    },
    /// There is no undone action within the depth, or the user has drawn since.
    #[error("none of their actions can be redone: they have drawn since, or too much was drawn since")]
    NothingToRedo,
}

/// Follows a canvas history message by message.
#[derive(Debug, Clone)]
pub struct UndoMachine {
    layout: Layout,
    permissions: Permissions,
    points: Points,
    people: People,
    /// The next command is appended as undone: recordings have an `Undo` of user 0 for user 0 before it.
    next_is_undone: bool,
}

impl UndoMachine {
    /// The machine at the beginning of a history whose payloads have this layout.
    pub fn new(layout: Layout) -> UndoMachine {
        UndoMachine {
            layout,
            permissions: Permissions::default(),
            points: Points::default(),
            people: People::default(),
            next_is_undone: false,
        }
    }

    /// Forgets nobody who has left, for a history that is read as a whole: memory is not bounded then.
    pub fn remember_everybody(&mut self) {
        self.people.remember_everybody();
    }

    /// Layout of payloads.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Who may do what at this place.
    pub fn permissions(&self) -> &Permissions {
        &self.permissions
    }

    /// The undo points that are remembered.
    pub fn points(&self) -> &Points {
        &self.points
    }

    /// The people that are present, or have left and own a point that is remembered.
    pub fn people(&self) -> &People {
        &self.people
    }

    /// Takes the next message. `index` is its index in the history.
    pub fn feed(&mut self, frame: FrameRef<'_>, index: i64) -> Step {
        let header = frame.header;
        match header.kind {
            UndoPoint::TYPE => self.point(frame, index),
            kind if kind >= FIRST_COMMAND => self.command(frame),
            SoftReset::TYPE => self.barrier(None),
            UndoDepth::TYPE => match Message::from_frame(frame, self.layout) {
                Ok(Message::UndoDepth(UndoDepth { depth })) if self.permissions.is_operator(header.user) => {
                    self.barrier(Some(depth))
                }
                _ => Step::Nothing,
            },
            kind => {
                match kind {
                    Join::TYPE => self.people.joined(frame, index, self.layout),
                    Leave::TYPE => self.people.left(header.user, index),
                    _ => {}
                }
                if Permissions::concerns(kind) {
                    self.permissions.update(frame, self.layout);
                }
                Step::Nothing
            }
        }
    }

    fn barrier(&mut self, depth: Option<u8>) -> Step {
        for point in self.points.iter() {
            self.people.point_forgotten(point.person);
        }
        self.points.barrier(depth);
        self.next_is_undone = false;
        Step::Barrier
    }

    fn point(&mut self, frame: FrameRef<'_>, index: i64) -> Step {
        let user = frame.header.user;
        // A payload that does not decode is ignored; this one is empty.
        if frame.header.len != 0 || !self.permissions.allows_command(UndoPoint::TYPE, user) {
            return Step::Nothing;
        }
        let person = if user == 0 { NOBODY } else { self.people.begins(user, index) };
        let first = self.points.iter().next().copied();
        let undone = std::mem::take(&mut self.next_is_undone);
        let oldest = if undone {
            self.points.push_undone(user, person);
            None
        } else {
            Some(self.points.begin(user, person))
        };
        if let Some(first) = first
            && self.points.iter().next().is_some_and(|now| now.number != first.number)
        {
            self.people.point_forgotten(first.person);
        }
        let point = self.points.iter().next_back().map_or(0, |point| point.number);
        oldest.map_or(Step::BegunUndone(point), |oldest| Step::Begun { point, oldest })
    }

    fn command(&mut self, frame: FrameRef<'_>) -> Step {
        let header = frame.header;
        if !self.permissions.allows_command(header.kind, header.user) {
            return Step::Nothing;
        }
        if header.kind != Undo::TYPE {
            let undone = std::mem::take(&mut self.next_is_undone);
            return Step::Entry(if undone { EntryState::Undone } else { EntryState::Done });
        }
        let Ok(Message::Undo(Undo { override_user, redo })) = Message::from_frame(frame, self.layout) else {
            return Step::Nothing;
        };
        let user = if override_user == 0 { header.user } else { override_user };
        if user == 0 {
            self.next_is_undone = true;
            return Step::Nothing;
        }
        let point = if redo { self.points.redo(user) } else { self.points.undo(user) };
        let step = if redo { Step::Redone } else { Step::Undone };
        point.map_or(Step::Nothing, step)
    }

    /// How many actions of a person an `Undo` by the server can reach, one after the other.
    ///
    /// # Errors
    /// When there is none; the reason is for people.
    pub fn undoable(&self, person: i64) -> Result<usize, Unreachable> {
        let found = self.people.get(person).ok_or(Unreachable::NoSuchPerson)?;
        let done = self.points.reachable().filter(|p| p.user == found.user && p.state == EntryState::Done);
        let mut count = 0;
        for point in done {
            if point.person != person {
                if count == 0 {
                    let name = self.people.get(point.person).map_or(String::new(), |p| p.name.clone());
                    return Err(Unreachable::TakenOver { name });
                }
                break;
            }
            count += 1;
        }
        if count == 0 { Err(Unreachable::NothingToUndo { depth: self.points.depth() }) } else { Ok(count) }
    }

    /// How many undone actions of a person a redo by the server can reach, one after the other.
    ///
    /// # Errors
    /// When there is none; the reason is for people.
    pub fn redoable(&self, person: i64) -> Result<usize, Unreachable> {
        let user = self.people.get(person).ok_or(Unreachable::NoSuchPerson)?.user;
        let mut points = self.points.clone();
        let mut count = 0;
        while points.redo_target(user).is_some_and(|point| point.person == person) {
            points.redo(user);
            count += 1;
        }
        if count == 0 { Err(Unreachable::NothingToRedo) } else { Ok(count) }
    }
}
