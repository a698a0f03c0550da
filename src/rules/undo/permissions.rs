//! Whose commands clients ignore: the part of their permission checks that depends on users, not on layers.
//!
//! Clients check permissions themselves and drop what is not allowed. For undo only this part matters: undo points
//! are dropped when the canvas or the user is locked, `Undo` also when the user's tier may not undo.

use drawhall_protocol::frame::{FIRST_COMMAND, FrameRef};
use drawhall_protocol::message::{
    FeatureAccessLevels, Join, LayerACL, Layout, Leave, Message, SessionOwner, TrustedUsers, Undo, UserACL,
};

/// Flag of `LayerACL`: locked for everybody.
pub const LOCKED: u8 = 0x80;
/// Index of the undo feature in `FeatureAccessLevels`.
const UNDO_FEATURE: usize = 8;
/// A tier of `FeatureAccessLevels` that leaves the feature as it is.
const KEEP_TIER: u8 = 255;
/// Access tiers: the lower, the more rights.
const OPERATOR: u8 = 0;
const TRUSTED: u8 = 1;
const AUTHENTICATED: u8 = 2;
const GUEST: u8 = 3;

/// A set of user ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct UserSet([u64; 4]);

impl UserSet {
    fn of(users: &[u8]) -> UserSet {
        let mut set = UserSet::default();
        users.iter().for_each(|user| set.insert(*user));
        set
    }

    fn place(user: u8) -> (usize, u64) {
        (usize::from(user >> 6), 1 << (user & 63))
    }

    fn iter(self) -> impl Iterator<Item = u8> {
        (0..=u8::MAX).filter(move |user| self.contains(*user))
    }

    pub(super) fn contains(&self, user: u8) -> bool {
        let (word, bit) = Self::place(user);
        self.0[word] & bit != 0
    }

    pub(super) fn insert(&mut self, user: u8) {
        let (word, bit) = Self::place(user);
        self.0[word] |= bit;
    }

    /// Returns whether it was in the set.
    pub(super) fn remove(&mut self, user: u8) -> bool {
        let (word, bit) = Self::place(user);
        let was = self.0[word] & bit != 0;
        self.0[word] &= !bit;
        was
    }
}

/// What a client knows about users at some place in a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    operators: UserSet,
    trusted: UserSet,
    authenticated: UserSet,
    locked: UserSet,
    canvas_locked: bool,
    /// The least tier that may undo.
    undo_tier: u8,
}

impl Default for Permissions {
    fn default() -> Self {
        Self {
            operators: UserSet::default(),
            trusted: UserSet::default(),
            authenticated: UserSet::default(),
            locked: UserSet::default(),
            canvas_locked: false,
            undo_tier: GUEST,
        }
    }
}

impl Permissions {
    /// Whether the canvas is locked for everybody, the server included.
    pub fn canvas_locked(&self) -> bool {
        self.canvas_locked
    }

    /// Whether clients take this user for an operator. The server (0) always is one.
    pub fn is_operator(&self, user: u8) -> bool {
        user == 0 || self.operators.contains(user)
    }

    /// Who is locked, by user ids in order.
    pub fn locked(&self) -> impl Iterator<Item = u8> {
        self.locked.iter()
    }

    fn tier(&self, user: u8) -> u8 {
        if self.is_operator(user) {
            OPERATOR
        } else if self.trusted.contains(user) {
            TRUSTED
        } else if self.authenticated.contains(user) {
            AUTHENTICATED
        } else {
            GUEST
        }
    }

    /// Whether clients execute a command (type 128 and up) of a user, as far as that depends on the user.
    pub fn allows_command(&self, kind: u8, user: u8) -> bool {
        debug_assert!(kind >= FIRST_COMMAND);
        !self.canvas_locked
            && (user == 0 || !self.locked.contains(user))
            && (kind != Undo::TYPE || self.tier(user) <= self.undo_tier)
    }

    /// Whether messages of this type are of interest to [`Self::update`].
    pub fn concerns(kind: u8) -> bool {
        matches!(
            kind,
            Join::TYPE
                | Leave::TYPE
                | SessionOwner::TYPE
                | TrustedUsers::TYPE
                | UserACL::TYPE
                | LayerACL::TYPE
                | FeatureAccessLevels::TYPE
        )
    }

    /// Takes note of a message. Clients ignore those that do not decode, and changes by users that are no operators.
    pub fn update(&mut self, frame: FrameRef<'_>, layout: Layout) {
        let user = frame.header.user;
        match Message::from_frame(frame, layout) {
            Ok(Message::Join(join)) if join.flags & Join::FLAGS_AUTH != 0 => self.authenticated.insert(user),
            Ok(Message::Leave(_)) => {
                for set in [&mut self.operators, &mut self.trusted, &mut self.authenticated, &mut self.locked]
                {
                    set.remove(user);
                }
            }
            Ok(Message::SessionOwner(owners)) => self.operators = UserSet::of(&owners.users),
            Ok(Message::TrustedUsers(trusted)) => self.trusted = UserSet::of(&trusted.users),
            Ok(Message::UserACL(acl)) if self.is_operator(user) => self.locked = UserSet::of(&acl.users),
            Ok(Message::LayerACL(acl)) if acl.id == 0 && self.is_operator(user) => {
                self.canvas_locked = acl.flags & LOCKED != 0;
            }
            Ok(Message::FeatureAccessLevels(levels)) if self.is_operator(user) => {
                let tier = levels.feature_tiers.get(UNDO_FEATURE).filter(|tier| **tier != KEEP_TIER);
                self.undo_tier = tier.map_or(self.undo_tier, |tier| (*tier).min(GUEST));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
