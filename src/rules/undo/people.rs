//! People: who had a user id from a `Join` to the `Leave`. Ids are used again, so an id alone names nobody.

use std::collections::{BTreeMap, HashMap};

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
    people: BTreeMap<i64, Person>,
    /// Present holders of ids.
    present: HashMap<u8, i64>,
    /// Nobody is forgotten.
    remembers_everybody: bool,
}

impl People {
    /// A person by the index that names it.
    pub fn get(&self, index: i64) -> Option<&Person> {
        self.people.get(&index)
    }

    /// In the order of joining.
    pub fn iter(&self) -> impl Iterator<Item = &Person> {
        self.people.values()
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
        self.people.insert(index, person);
        self.present.insert(user, index);
    }

    pub(super) fn left(&mut self, user: u8, index: i64) {
        let Some(person) = self.present.remove(&user).and_then(|person| self.people.get_mut(&person)) else {
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
        let holder = self.present.get(&user).and_then(|person| self.people.get_mut(person));
        holder.map_or(index, |person| {
            person.actions += 1;
            person.remembered += 1;
            person.index
        })
    }

    /// A point of this person is not remembered any more.
    pub(super) fn point_forgotten(&mut self, person: i64) {
        if let Some(person) = self.people.get_mut(&person) {
            person.remembered -= 1;
        }
        self.forget_if_unneeded(person);
    }

    pub(super) fn remember_everybody(&mut self) {
        self.remembers_everybody = true;
    }

    fn forget_if_unneeded(&mut self, person: i64) {
        if !self.remembers_everybody
            && self.people.get(&person).is_some_and(|p| p.left.is_some() && p.remembered == 0)
        {
            self.people.remove(&person);
        }
    }
}
