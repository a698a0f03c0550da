//! People: who had a user id from a `Join` to the `Leave`. Ids are used again, so an id alone names nobody.

use std::collections::BTreeMap;

use drawhall_protocol::frame::FrameRef;
use drawhall_protocol::message::{Join, Layout, Message};

/// A person in a history: the holder of a user id from a `Join` to the `Leave`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Index of the `Join` message, or of their first undo point if there was none. It names the person.
    pub index: i64,
    /// User id.
    pub user: u8,
    /// Empty without a `Join`.
    pub name: String,
    /// Whether the `Join` says that it is an account.
    pub account: bool,
    /// Index of the `Leave`; `None` while present.
    pub left: Option<i64>,
    /// Number of undo points since the barrier or the beginning of what was read.
    pub actions: u64,
    /// Points of this person that are still remembered.
    remembered: usize,
}

/// The people that are present, or have left and still own an undo point that is remembered.
#[derive(Debug, Clone, Default)]
pub struct People {
    /// In the order of their indices.
    people: Vec<Person>,
    /// Present holders of ids.
    present: BTreeMap<u8, i64>,
    /// Nobody is forgotten.
    remembers_everybody: bool,
}

impl People {
    /// A person by the index that names it.
    pub fn get(&self, index: i64) -> Option<&Person> {
        self.place(index).ok().map(|at| &self.people[at])
    }

    fn get_mut(&mut self, index: i64) -> Option<&mut Person> {
        self.place(index).ok().map(|at| &mut self.people[at])
    }

    fn place(&self, index: i64) -> Result<usize, usize> {
        self.people.binary_search_by_key(&index, |person| person.index)
    }

    /// In the order of joining.
    pub fn iter(&self) -> impl Iterator<Item = &Person> {
        self.people.iter()
    }

    /// The present holder of an id.
    pub fn holder(&self, user: u8) -> Option<&Person> {
        self.get(*self.present.get(&user)?)
    }

    pub(super) fn joined(&mut self, frame: FrameRef<'_>, index: i64, layout: Layout) {
        let Ok(Message::Join(join)) = Message::from_frame(frame, layout) else { return };
        // Nobody has id 0. An `Undo` for it would mean something else.
        if frame.header.user == 0 {
            return;
        }
        self.add(frame.header.user, index, join.name, join.flags & Join::FLAGS_AUTH != 0);
    }

    fn add(&mut self, user: u8, index: i64, name: String, account: bool) {
        self.left(user, index);
        let person = Person { index, user, name, account, left: None, actions: 0, remembered: 0 };
        // Usually the last place: indices grow.
        match self.place(index) {
            Ok(at) => self.people[at] = person,
            Err(at) => self.people.insert(at, person),
        }
        self.present.insert(user, index);
    }

    pub(super) fn left(&mut self, user: u8, index: i64) {
        let Some(person) = self.present.remove(&user).and_then(|index| self.get_mut(index)) else {
            return;
        };
        person.left = Some(index);
        let person = person.index;
        self.forget_if_unneeded(person);
    }

    /// The holder of an id begins an action. Returns the person's index.
    pub(super) fn begins(&mut self, user: u8, index: i64) -> i64 {
        if !self.present.contains_key(&user) {
            self.add(user, index, String::new(), false);
        }
        let holder = self.present.get(&user).copied().and_then(|person| self.get_mut(person));
        holder.map_or(index, |person| {
            person.actions += 1;
            person.remembered += 1;
            person.index
        })
    }

    /// A point of this person is not remembered any more.
    pub(super) fn point_forgotten(&mut self, person: i64) {
        if let Some(person) = self.get_mut(person) {
            person.remembered -= 1;
        }
        self.forget_if_unneeded(person);
    }

    pub(super) fn remember_everybody(&mut self) {
        self.remembers_everybody = true;
    }

    fn forget_if_unneeded(&mut self, person: i64) {
        if let Ok(at) = self.place(person)
            && !self.remembers_everybody
            && self.people[at].left.is_some()
            && self.people[at].remembered == 0
        {
            self.people.remove(at);
        }
    }
}
