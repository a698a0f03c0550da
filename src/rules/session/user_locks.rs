//! The locks of users (`UserACL`), which operators set and clients enforce. The server sets them for those who may not
//! draw ([`super::restrictions`]), so it follows those of operators: each list replaces the one before. A client
//! unlocks whoever leaves.

use std::collections::BTreeSet;

use drawhall_protocol::Frame;
use drawhall_protocol::frame::frames;
use drawhall_protocol::message::{Layout, UserACL};

use super::{Cx, SessionMachine};
use crate::rules::undo::permissions::Permissions;
use crate::rules::undo::restored_image::RestoredImage;

/// The locks of users in the history, as far as they were set while the session was loaded. Nobody is locked by what
/// was set before: all have left since.
#[derive(Debug, Default)]
pub(super) struct UserLocks {
    /// What clients know.
    locked: BTreeSet<u8>,
    /// Those that operators have locked themselves.
    by_operators: BTreeSet<u8>,
    /// Those that are locked by a restriction.
    by_server: BTreeSet<u8>,
    /// First part of the history index under which restrictions were sent.
    start_id: i64,
    /// Number of lists so far, of operators and of the server.
    lists: u64,
    /// Newcomers are sent other locks than members know: the list is to be sent again.
    differs_for_newcomers: bool,
}

/// The locks at the fork of a streamed reset.
#[derive(Debug, Clone)]
pub(super) struct LocksAtFork {
    locked: BTreeSet<u8>,
    lists: u64,
}

/// Who is locked at the end of a history.
pub(super) fn locked_in(history: &[u8], layout: Layout) -> BTreeSet<u8> {
    let mut permissions = Permissions::default();
    frames(history)
        .filter(|frame| Permissions::concerns(frame.header.kind))
        .for_each(|frame| permissions.update(frame, layout));
    permissions.locked().collect()
}

impl UserLocks {
    /// A list of an operator. Their client repeats the locks of the server, which are not theirs.
    fn note(&mut self, users: &[u8]) {
        self.lists += 1;
        self.locked = users.iter().copied().collect();
        let is_theirs = |id: &&u8| !self.by_server.contains(id) || self.by_operators.contains(id);
        self.by_operators = self.locked.iter().filter(is_theirs).copied().collect();
    }

    /// Whether an operator does not let this user draw.
    pub(super) fn is_locked_by_operator(&self, id: u8) -> bool {
        self.by_operators.contains(&id)
    }

    /// An operator did not let this user draw when the session was at another server; clients know it.
    pub(super) fn lock_by_operator(&mut self, id: u8) {
        self.locked.insert(id);
        self.by_operators.insert(id);
    }

    /// Somebody has left: clients do not know the lock any more.
    pub(super) fn forget(&mut self, id: u8) {
        for locks in [&mut self.locked, &mut self.by_operators, &mut self.by_server] {
            locks.remove(&id);
        }
    }

    /// An uploaded image has replaced the history: the locks are those of the image. The client that made it knew
    /// those of the server.
    pub(super) fn reset_to(&mut self, image: BTreeSet<u8>) {
        let of_server: BTreeSet<u8> = self.by_server.difference(&self.by_operators).copied().collect();
        self.by_operators = image.difference(&of_server).copied().collect();
        self.locked = image;
        self.lists += 1;
    }

    /// The locks where a streamed reset forks.
    pub(super) fn at_fork(&self) -> LocksAtFork {
        LocksAtFork { locked: self.locked.clone(), lists: self.lists }
    }

    /// A streamed reset has replaced what was before its fork. For members nothing changes; newcomers begin with the
    /// locks of the image, up to the next list.
    pub(super) fn stream_applied(&mut self, fork: &LocksAtFork, image: &BTreeSet<u8>) {
        self.differs_for_newcomers |= self.lists == fork.lists && *image != fork.locked;
    }
}

impl SessionMachine {
    /// An operator, or the host that uploads the content, has replaced the list of locked users.
    pub(super) fn note_user_locks(&mut self, users: &[u8]) {
        self.locks.note(users);
    }

    /// The list of locked users that makes of an image's locks those of now, if it has others: an earlier history has
    /// the locks of its time.
    pub(super) fn locks_of_now(&self, image: &mut RestoredImage) -> Option<Frame> {
        let now = self.locked_now();
        if now == image.locked(self.properties.protocol().layout()) {
            return None;
        }
        let list: Vec<u8> = now.into_iter().collect();
        Frame::new(UserACL::TYPE, 0, &list).ok()
    }

    /// Who is locked of those who are here.
    fn locked_now(&self) -> BTreeSet<u8> {
        let is_here = |id: &&u8| self.member_by_id(**id).is_some();
        self.locks.locked.iter().filter(is_here).copied().collect()
    }

    /// A history with [`Self::locks_of_now`] is in place.
    pub(super) fn locks_are_of_now(&mut self) {
        self.locks.locked = self.locked_now();
        self.locks.start_id = self.resets.start_ids().current();
        self.locks.lists += 1;
    }

    /// Locks those who may not draw, and unlocks those who may again. A list of locks replaces the one before, and a
    /// reset replaces all of them. Those that operators have set stay.
    pub(super) fn enforce_locks(&mut self, cx: &mut Cx<'_>) {
        if !self.resets.is_running() {
            return;
        }
        let no_drawing = self.members.iter().filter(|m| m.restricted.no_drawing).map(|m| m.id);
        let wanted: BTreeSet<u8> = no_drawing.collect();
        let start_id = self.resets.start_ids().current();
        let is_of_history = self.locks.start_id == start_id || wanted.is_empty();
        let is_sent = is_of_history && !self.locks.differs_for_newcomers;
        if is_sent && wanted == self.locks.by_server && wanted.is_subset(&self.locks.locked) {
            return;
        }
        // Whoever comes next under the id of somebody who has left is somebody else.
        let is_here = |id: &&u8| self.member_by_id(**id).is_some();
        let of_operators = self.locks.by_operators.iter().filter(is_here);
        let users: BTreeSet<u8> = of_operators.chain(&wanted).copied().collect();
        let is_known = is_sent && users == self.locks.locked;
        let list: Vec<u8> = users.iter().copied().collect();
        let frame = Frame::new(UserACL::TYPE, 0, &list).ok().filter(|_| !is_known);
        // Without space it is tried again later.
        if is_known || frame.is_some_and(|frame| self.add_to_history(frame.as_bytes(), cx)) {
            let locks = &mut self.locks;
            locks.lists += u64::from(!is_known);
            (locks.locked, locks.by_server, locks.start_id) = (users, wanted, start_id);
            locks.differs_for_newcomers = false;
        }
    }

    /// Whether restrictions hold locks at present.
    pub(super) fn holds_locks(&self) -> bool {
        !self.locks.by_server.is_empty()
    }
}
