//! Who is in a session, who was, and which user ids they have.

use std::collections::BTreeMap;

use super::effects::ConnId;
use super::ids::IdQueue;
use super::member::{Member, PastUser};
use crate::rules::identity::Identity;
use crate::rules::stored_restrictions::add_known;
use crate::rules::username;

/// Key of a member.
///
/// **Invariant:** connection numbers are never reused, so the key of a member that has left finds nobody, and an
/// operation after a removal cannot hit another member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemberKey(ConnId);

/// The members in the order of joining, and the users who have left. Keep a [`MemberKey`] to find a member again, never
/// a position.
#[derive(Debug, Default)]
pub(super) struct Roster {
    members: Vec<Member>,
    /// By user id; kept until the id is used again.
    past: BTreeMap<u8, PastUser>,
    /// Users who have left and whose id somebody else has used since, by taking their name or because all ids were
    /// used. Only accounts and devices, at most `MAX_KNOWN`; further ones are not known.
    displaced: Vec<Identity>,
    ids: IdQueue,
}

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
        self.members.iter().find(|m| m.key() == key)
    }

    pub(super) fn get_mut(&mut self, key: MemberKey) -> Option<&mut Member> {
        self.members.iter_mut().find(|m| m.key() == key)
    }

    pub(super) fn contains(&self, key: MemberKey) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn push(&mut self, member: Member) -> MemberKey {
        let key = member.key();
        self.members.push(member);
        key
    }

    pub(super) fn remove(&mut self, key: MemberKey) -> Option<Member> {
        let at = self.members.iter().position(|m| m.key() == key)?;
        Some(self.members.remove(at))
    }

    /// Removes and returns all members.
    pub(super) fn take(&mut self) -> Vec<Member> {
        std::mem::take(&mut self.members)
    }

    pub(super) fn as_slice(&self) -> &[Member] {
        &self.members
    }

    /// The member with this user id.
    pub(super) fn by_id(&self, id: u8) -> Option<&Member> {
        self.members.iter().find(|m| m.id == id)
    }

    pub(super) fn by_id_mut(&mut self, id: u8) -> Option<&mut Member> {
        self.members.iter_mut().find(|m| m.id == id)
    }

    /// The member with this name, or one that looks like it.
    pub(super) fn by_name(&self, name: &str) -> Option<&Member> {
        let skeleton = username::skeleton(name);
        self.members.iter().find(|m| m.skeleton == skeleton)
    }

    /// A free user id for somebody of this name; `None` when all are taken.
    pub(super) fn assign_id(&mut self, name: &str) -> Option<u8> {
        let Roster { members, ids, .. } = self;
        ids.assign(name, |id| members.iter().any(|m| m.id == id))
    }

    /// Remembers the user id of a name. Returns whether this is new.
    pub(super) fn remember_id(&mut self, name: &str, id: u8) -> bool {
        let Roster { members, ids, .. } = self;
        ids.remember(name, id, |id| members.iter().any(|m| m.id == id))
    }

    /// Marks a user id as the most recently used.
    pub(super) fn touch_id(&mut self, id: u8) {
        self.ids.touch(id);
    }

    /// User ids and names in the order of their last use.
    pub(super) fn remembered_ids(&self) -> impl Iterator<Item = (u8, &str)> {
        self.ids.remembered()
    }

    /// The user who had this id last, and has left.
    pub(super) fn past_user(&self, id: u8) -> Option<&PastUser> {
        self.past.get(&id)
    }

    /// Users who have left, by their user ids, unless somebody else has the id by now.
    pub(super) fn past_users(&self) -> impl Iterator<Item = (u8, &PastUser)> {
        self.past.iter().map(|(id, past)| (*id, past)).filter(|(id, _)| self.by_id(*id).is_none())
    }

    /// A member has left.
    pub(super) fn add_past_user(&mut self, id: u8, past: PastUser) {
        self.past.insert(id, past);
    }

    /// Everybody who has left.
    pub(super) fn past_identities(&self) -> impl Iterator<Item = &Identity> {
        self.past.values().map(|past| &past.identity).chain(&self.displaced)
    }

    /// A user id is used again, by this person. Somebody else who had it is still known to have been here.
    pub(super) fn replace_past_user(&mut self, id: u8, person: &Identity) {
        let past = self.past.remove(&id).filter(|past| !past.identity.is_same_person(person));
        if let Some(past) = past {
            add_known(&mut self.displaced, &past.identity.only_ids());
        }
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Member> {
        self.members.iter()
    }

    pub(super) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Member> {
        self.members.iter_mut()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::session::member::AuthenticatedClient;

    fn member(conn: ConnId, name: &str, id: u8) -> Member {
        let identity = Identity { name: name.into(), ..Identity::default() };
        Member::new(AuthenticatedClient { conn, identity, ..AuthenticatedClient::default() }, id)
    }

    #[test]
    fn the_key_of_a_member_that_has_left_finds_nobody() {
        let mut roster = Roster::default();
        let first = roster.push(member(1, "A", 1));
        let second = roster.push(member(2, "B", 2));
        assert!(roster.remove(first).is_some() && roster.remove(first).is_none());
        assert_eq!(roster.get(second).map(|m| m.id), Some(2));
        assert_eq!((roster.key_of(1), roster.key_of(2)), (None, Some(second)));
    }

    #[test]
    fn an_id_is_assigned_that_no_member_has() {
        let mut roster = Roster::default();
        roster.push(member(1, "A", 1));
        assert!(roster.remember_id("A", 1));
        assert_eq!(roster.assign_id("B"), Some(2));
        assert_eq!(roster.assign_id("A"), Some(3), "somebody called A is here");
        let key = roster.key_of(1).unwrap();
        roster.remove(key);
        assert_eq!(roster.assign_id("A"), Some(1));
    }

    #[test]
    fn who_has_left_is_past_until_the_id_is_used_again() {
        let mut roster = Roster::default();
        let past = || PastUser { identity: Identity::default(), bannable: true, drew: true };
        roster.add_past_user(1, past());
        roster.add_past_user(2, past());
        roster.push(member(1, "A", 1));
        assert!(roster.past_user(1).is_some(), "until it is forgotten");
        assert_eq!(roster.past_users().map(|(id, _)| id).collect::<Vec<_>>(), [2]);
        roster.replace_past_user(1, &Identity::default());
        assert!(roster.past_user(1).is_none());
    }

    #[test]
    fn whose_id_somebody_else_uses_is_still_known_to_have_been_here() {
        let mut roster = Roster::default();
        let with_sid = |sid: &str| Identity { name: "A".into(), sid: sid.into(), ..Identity::default() };
        let leave = |roster: &mut Roster, sid: &str| {
            roster.add_past_user(1, PastUser { identity: with_sid(sid), bannable: true, drew: true });
        };
        for sid in ["hers", "hers", "another's"] {
            roster.replace_past_user(1, &with_sid(sid));
            leave(&mut roster, sid);
        }
        assert_eq!(roster.past_user(1).map(|past| past.identity.sid.as_str()), Some("another's"));
        let sids: Vec<&str> = roster.past_identities().map(|past| past.sid.as_str()).collect();
        assert_eq!(sids, ["another's", "hers"]);
        assert!(roster.displaced[0].name.is_empty(), "no more than the device");
    }

    #[test]
    fn a_member_is_found_by_a_name_that_looks_the_same() {
        let mut roster = Roster::default();
        roster.push(member(1, "A", 7));
        assert_eq!(roster.by_name("a\u{200b}").map(|m| m.id), Some(7));
        assert!(roster.by_name("B").is_none() && roster.by_id(1).is_none() && roster.by_id(7).is_some());
    }
}
