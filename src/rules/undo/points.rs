//! Undo points: where each action of each user begins, and whether it is done.

use std::collections::VecDeque;

use super::permissions::UserSet;

/// Undo depth of clients after a reset, until an `UndoDepth` message.
pub const DEFAULT_DEPTH: u8 = 30;
/// Minimum undo depth.
pub const MIN_DEPTH: u8 = 3;

/// The person of points that nobody made.
pub const NOBODY: i64 = i64::MIN;

/// Number of an undo point: they count up over the whole history, barriers included.
pub type PointNumber = u64;

/// State of an entry of the canvas history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryState {
    /// It is on the canvas.
    Done,
    /// It was undone and can be redone.
    Undone,
    /// It was undone, and the user went on drawing: it never comes back.
    Gone,
}

/// An undo point: the beginning of one action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// Its number.
    pub number: PointNumber,
    /// User id of whoever made it; 0 for the beginning and after a barrier.
    pub user: u8,
    /// The person who had that id then, see [`super::people`], or [`NOBODY`].
    pub person: i64,
    /// Its state.
    pub state: EntryState,
}

/// The undo points that an `Undo` can reach.
///
/// **Invariants**
///
/// * The points are in order of their numbers, which are contiguous.
/// * There are at most [`Self::depth`] + 1 of them, at least one: after a barrier, the state there counts as a point
///   of user 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Points {
    points: VecDeque<Point>,
    depth: u8,
    next: PointNumber,
    /// Whether the user may have undone points since the barrier.
    may_have_undone: UserSet,
}

impl Default for Points {
    fn default() -> Self {
        let may_have_undone = UserSet::default();
        let mut points = Points { points: VecDeque::new(), depth: DEFAULT_DEPTH, next: 0, may_have_undone };
        points.barrier(None);
        points
    }
}

impl Points {
    /// How many of the newest undo points of all users together an `Undo` can reach.
    pub fn depth(&self) -> u8 {
        self.depth
    }

    /// Oldest to newest.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Point> {
        self.points.iter()
    }

    /// The points within the undo depth, newest first.
    pub fn reachable(&self) -> impl Iterator<Item = &Point> {
        self.points.iter().rev().take(usize::from(self.depth))
    }

    /// Nothing before this can be undone any more. `depth` is the depth of an `UndoDepth` message.
    pub fn barrier(&mut self, depth: Option<u8>) {
        self.depth = depth.map_or(self.depth, |depth| depth.max(MIN_DEPTH));
        self.points.clear();
        self.may_have_undone = UserSet::default();
        self.push(0, NOBODY, EntryState::Done);
    }

    fn push(&mut self, user: u8, person: i64, state: EntryState) -> PointNumber {
        let number = self.next;
        self.next += 1;
        self.points.push_back(Point { number, user, person, state });
        if self.points.len() > usize::from(self.depth) + 1 {
            self.points.pop_front();
        }
        number
    }

    /// A user begins an action. What it has undone before is gone, as far back as undo reaches. Returns the oldest
    /// point within that reach.
    pub fn begin(&mut self, user: u8, person: i64) -> PointNumber {
        let number = self.push(user, person, EntryState::Done);
        // Most have undone nothing, and most messages of a flood may be points.
        if self.may_have_undone.remove(user) {
            for point in self.points.iter_mut().rev().take(usize::from(self.depth)) {
                if point.user == user && point.state == EntryState::Undone {
                    point.state = EntryState::Gone;
                }
            }
        }
        let reach = self.points.len().min(usize::from(self.depth));
        self.points.get(self.points.len() - reach).map_or(number, |oldest| oldest.number)
    }

    /// Appends a point that is undone from the beginning, as recordings have them.
    pub fn push_undone(&mut self, user: u8, person: i64) {
        self.may_have_undone.insert(user);
        self.push(user, person, EntryState::Undone);
    }

    /// The point that an `Undo` for this user would undo: its newest one that is done, if it is within the depth.
    pub fn undo_target(&self, user: u8) -> Option<&Point> {
        self.reachable().find(|point| point.user == user && point.state == EntryState::Done)
    }

    /// The point that a redo for this user would redo: its oldest undone one after its newest done one. None if the
    /// search passes the depth without meeting one that is done.
    pub fn redo_target(&self, user: u8) -> Option<&Point> {
        let mut oldest = None;
        for (passed, point) in self.points.iter().rev().enumerate() {
            if passed >= usize::from(self.depth) {
                return None;
            }
            match point.state {
                EntryState::Undone if point.user == user => oldest = Some(point),
                EntryState::Done if point.user == user => break,
                _ => {}
            }
        }
        oldest
    }

    /// Performs an `Undo` for a user. Returns the point that it undid.
    pub fn undo(&mut self, user: u8) -> Option<Point> {
        let number = self.undo_target(user)?.number;
        self.may_have_undone.insert(user);
        // Later points of the user are undone or gone already.
        self.set(number, EntryState::Undone)
    }

    /// Performs a redo for a user. Returns the point that it redid.
    pub fn redo(&mut self, user: u8) -> Option<Point> {
        let number = self.redo_target(user)?.number;
        self.set(number, EntryState::Done)
    }

    fn set(&mut self, number: PointNumber, state: EntryState) -> Option<Point> {
        let first = self.points.front()?.number;
        let point = self.points.get_mut(usize::try_from(number.checked_sub(first)?).ok()?)?;
        point.state = state;
        Some(*point)
    }
}
