//! Who is in a session, in the order of joining.

use super::effects::ConnId;
use super::member::Member;

/// Names a member for as long as it is in the session.
///
/// Connections are never numbered again, so the key of somebody who has left names nobody: what comes behind a removal
/// cannot hit somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemberKey(ConnId);

/// The members of a session. Whoever needs one again later keeps its [`MemberKey`], never its place.
#[derive(Debug, Default)]
pub(super) struct Roster(Vec<Member>);

impl Member {
    /// The key of this member.
    pub(super) fn key(&self) -> MemberKey {
        MemberKey(self.conn())
    }
}

impl Roster {
    /// The key of who is connected over `conn`.
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

    /// Takes everybody out.
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
