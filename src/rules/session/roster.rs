//! The members of a session, in the order of joining.

use super::effects::ConnId;
use super::member::Member;

/// Key of a member.
///
/// **Invariant:** connection numbers are never reused, so the key of a member that has left finds nobody, and an
/// operation after a removal cannot hit another member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemberKey(ConnId);

/// The members. Keep a [`MemberKey`] to find a member again, never a position.
#[derive(Debug, Default)]
pub(super) struct Roster(Vec<Member>);

impl Member {
    pub(super) fn key(&self) -> MemberKey {
        MemberKey(self.conn())
    }
}

impl Roster {
    /// Key of the member with this connection.
    pub(super) fn key_of(&self, conn: ConnId) -> Option<MemberKey> {
        self.get(MemberKey(conn)).map(Member::key)
    }

    pub(super) fn get(&self, key: MemberKey) -> Option<&Member> {
        self.0.iter().find(|m| m.key() == key)
    }

    pub(super) fn get_mut(&mut self, key: MemberKey) -> Option<&mut Member> {
        self.0.iter_mut().find(|m| m.key() == key)
    }

    pub(super) fn contains(&self, key: MemberKey) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn push(&mut self, member: Member) -> MemberKey {
        let key = member.key();
        self.0.push(member);
        key
    }

    pub(super) fn remove(&mut self, key: MemberKey) -> Option<Member> {
        let at = self.0.iter().position(|m| m.key() == key)?;
        Some(self.0.remove(at))
    }

    /// Removes and returns all members.
    pub(super) fn take(&mut self) -> Vec<Member> {
        std::mem::take(&mut self.0)
    }

    pub(super) fn as_slice(&self) -> &[Member] {
        &self.0
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Member> {
        self.0.iter()
    }

    pub(super) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Member> {
        self.0.iter_mut()
    }
}

impl<'a> IntoIterator for &'a Roster {
    type Item = &'a Member;
    type IntoIter = std::slice::Iter<'a, Member>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut Roster {
    type Item = &'a mut Member;
    type IntoIter = std::slice::IterMut<'a, Member>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}
