//! The ban list of a session, and ban matching. Source: docs/spec/session.md#session-bans.
//!
//! Ban matching goes through an index of names, networks, accounts and system ids, so its cost does not grow with the
//! number of bans.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use drawhall_protocol::reply::BanEntry;

pub use crate::rules::identity::Identity;
use crate::rules::journal::Entry;
use crate::rules::metadata::{Metadata, StoredBan};
use crate::rules::network::narrowest;
use crate::rules::username;

/// Maximum number of bans in a session.
pub const MAX_BANS: usize = 1000;
/// Journal placeholder for a ban that was lifted long ago, so that its id is not reused.
const LIFTED: &str = "lifted";

/// One property by which a ban matches.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum BanMark {
    /// Skeleton of a name.
    Name(String),
    /// An IPv4 address, or an IPv6 /64 network, whose holder has all of its addresses.
    Network(IpAddr),
    Account(String),
    System(String),
}

impl Identity {
    /// Whether a ban of the other one would match: the same account, device or network, or a name that looks alike.
    pub(super) fn shares_mark(&self, other: &Identity) -> bool {
        let marks = other.marks();
        self.marks().iter().any(|mark| marks.contains(mark))
    }

    /// Whether both are in the same network.
    pub(super) fn shares_network(&self, other: &Identity) -> bool {
        self.network().is_some() && self.network() == other.network()
    }

    /// Network of the address. A loopback address is none: everybody behind a local proxy has it.
    fn network(&self) -> Option<IpAddr> {
        self.address.map(|a| a.to_canonical()).filter(|a| !a.is_loopback()).map(narrowest)
    }

    /// The properties that identify this user.
    fn marks(&self) -> Vec<BanMark> {
        let given = |text: &String| (!text.is_empty()).then(|| text.clone());
        let marks = [
            given(&self.name).map(|name| BanMark::Name(username::skeleton(&name))),
            self.network().map(BanMark::Network),
            given(&self.auth_id).map(BanMark::Account),
            given(&self.sid).map(BanMark::System),
        ];
        marks.into_iter().flatten().collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Ban {
    identity: Identity,
    banned_by: String,
}

/// The bans of a session.
#[derive(Debug, Default)]
pub struct BanList {
    /// By ban id.
    bans: BTreeMap<u32, Ban>,
    /// Index: ids of the bans with a property.
    by_mark: HashMap<BanMark, BTreeSet<u32>>,
    last_id: u32,
    /// Changes to be written to the journal.
    changes: Vec<Entry>,
    /// Number of bans compared so far when looking for duplicates (for tests of the cost).
    #[cfg(test)]
    compared: usize,
}

impl BanList {
    /// Adds a ban. Properties that the banner shares with the target are left out (a ban must not match its own
    /// banner), as are loopback addresses.
    ///
    /// Returns whether a ban was added: empty bans, duplicates, and more than [`MAX_BANS`] are refused.
    pub fn add(&mut self, target: &Identity, banned_by: &str, banner: &Identity) -> bool {
        let own = banner.marks();
        let mut identity = target.clone();
        for mark in target.marks() {
            if own.contains(&mark) {
                identity.forget(&mark);
            }
        }
        identity.address = identity.address.filter(|a| !a.to_canonical().is_loopback());
        let Some(id) = self.last_id.checked_add(1) else { return false };
        let added = self.insert(id, Ban { identity, banned_by: banned_by.to_owned() });
        if added {
            self.last_id = id;
            self.changes.extend(self.stored(id).map(Entry::Ban));
        }
        added
    }

    fn insert(&mut self, id: u32, ban: Ban) -> bool {
        let marks = ban.identity.marks();
        if marks.is_empty() || self.bans.len() >= MAX_BANS || self.knows_all(&marks) {
            return false;
        }
        for mark in marks {
            self.by_mark.entry(mark).or_default().insert(id);
        }
        self.bans.insert(id, ban);
        true
    }

    /// Whether one ban has all these properties. Compares only the bans with the rarest one.
    fn knows_all(&mut self, marks: &[BanMark]) -> bool {
        let sets: Option<Vec<&BTreeSet<u32>>> = marks.iter().map(|mark| self.by_mark.get(mark)).collect();
        let Some(sets) = sets else { return false };
        let Some(rarest) = sets.iter().min_by_key(|ids| ids.len()) else { return false };
        #[cfg(test)]
        {
            self.compared += rarest.len();
        }
        rarest.iter().any(|id| sets.iter().all(|ids| ids.contains(id)))
    }

    /// The bans of a journal.
    pub fn restored(stored: &Metadata) -> BanList {
        let mut list = BanList::default();
        for ban in &stored.bans {
            let StoredBan { id, name, address, auth_id, banned_by, sid } = ban.clone();
            let address = address.filter(|a| !a.to_canonical().is_loopback());
            list.insert(id, Ban { identity: Identity { name, address, auth_id, sid }, banned_by });
        }
        list.last_id = stored.last_ban;
        list
    }

    /// Drains the changes to be written to the journal.
    pub fn take_changes(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.changes)
    }

    /// Number of changes to be written to the journal.
    pub(super) fn waiting(&self) -> usize {
        self.changes.len()
    }

    /// All entries, for a compacted journal. Ids of lifted bans stay reserved.
    pub(super) fn snapshot(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.to_stored().into_iter().map(Entry::Ban).collect();
        if self.bans.last_key_value().map_or(0, |(id, _)| *id) < self.last_id {
            let [name, banned_by, sid] = [LIFTED; 3].map(str::to_owned);
            let lifted = StoredBan { id: self.last_id, name, banned_by, sid, ..StoredBan::default() };
            entries.extend([Entry::Ban(lifted), Entry::Unban(self.last_id)]);
        }
        entries
    }

    /// Removes a ban and returns the banned name.
    pub fn remove(&mut self, id: i64) -> Option<String> {
        let id = u32::try_from(id).ok()?;
        let ban = self.bans.remove(&id)?;
        for mark in ban.identity.marks() {
            if let Some(ids) = self.by_mark.get_mut(&mark) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_mark.remove(&mark);
                }
            }
        }
        self.changes.push(Entry::Unban(id));
        Some(ban.identity.name)
    }

    /// Ban matching: the id of the first ban that matches.
    pub fn matches(&self, identity: &Identity) -> Option<u32> {
        let marks = identity.marks();
        marks.iter().filter_map(|mark| self.by_mark.get(mark)?.first().copied()).min()
    }

    /// The list for operators; `sensitive` includes addresses and ids.
    pub fn entries(&self, sensitive: bool) -> Vec<BanEntry> {
        let entry = |(id, Ban { identity, banned_by }): (&u32, &Ban)| BanEntry {
            id: *id,
            username: identity.name.clone(),
            banned_by: banned_by.clone(),
            ip: sensitive.then(|| address_text(identity.address)),
            auth_id: sensitive.then(|| identity.auth_id.clone()),
            s: sensitive.then(|| identity.sid.clone()),
        };
        self.bans.iter().map(entry).collect()
    }

    /// The list as it is stored and exported.
    pub fn to_stored(&self) -> Vec<StoredBan> {
        self.bans.keys().filter_map(|id| self.stored(*id)).collect()
    }

    /// A ban in force, with IPv4 addresses in their own form.
    fn stored(&self, id: u32) -> Option<StoredBan> {
        let Ban { identity, banned_by } = self.bans.get(&id)?.clone();
        let Identity { name, address, auth_id, sid } = identity;
        let address = address.map(|a| a.to_canonical());
        Some(StoredBan { id, name, address, auth_id, banned_by, sid })
    }

    /// Imports bans. Returns how many were added, and of how many.
    pub fn import(&mut self, list: Vec<StoredBan>, banner: &Identity) -> (u32, u32) {
        let total = list.len() as u32;
        let added = |ban: StoredBan| {
            let StoredBan { name, address, auth_id, banned_by, sid, .. } = ban;
            self.add(&Identity { name, address, auth_id, sid }, &banned_by, banner)
        };
        (list.into_iter().map(added).filter(|added| *added).count() as u32, total)
    }
}

impl Identity {
    fn forget(&mut self, mark: &BanMark) {
        match mark {
            BanMark::Name(_) => self.name.clear(),
            BanMark::Network(_) => self.address = None,
            BanMark::Account(_) => self.auth_id.clear(),
            BanMark::System(_) => self.sid.clear(),
        }
    }
}

/// An address in the form of ban lists, always IPv6.
pub(super) fn address_text(address: Option<IpAddr>) -> String {
    let v6 = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    address.map(v6).map_or(String::new(), |a: Ipv6Addr| a.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: &str, address: &str, auth_id: &str, sid: &str) -> Identity {
        Identity {
            name: name.into(),
            address: address.parse().ok(),
            auth_id: auth_id.into(),
            sid: sid.into(),
        }
    }

    fn list() -> BanList {
        let mut list = BanList::default();
        let banner = identity("Op", "192.0.2.9", "acc:1", "op-sid");
        assert!(list.add(&identity("Troll", "192.0.2.1", "acc:2", "sid"), "Op", &banner));
        list
    }

    #[test]
    fn any_property_that_matches_bans() {
        let list = list();
        for name in ["TROLL", "ｔｒｏｌｌ", "tr\u{200b}oll\u{202c}"] {
            assert_eq!(list.matches(&identity(name, "", "", "")), Some(1), "{name}");
        }
        assert_eq!(list.matches(&identity("x", "::ffff:192.0.2.1", "", "")), Some(1));
        assert_eq!(list.matches(&identity("x", "192.0.2.2", "acc:2", "")), Some(1));
        assert_eq!(list.matches(&identity("x", "", "", "sid")), Some(1));
        assert_eq!(list.matches(&identity("x", "192.0.2.2", "acc:3", "other")), None);
    }

    #[test]
    fn a_ban_leaves_out_what_matches_the_banner() {
        let mut list = BanList::default();
        let banner = identity("Op", "192.0.2.9", "acc:1", "shared");
        assert!(list.add(&identity("Troll", "192.0.2.9", "acc:1", "shared"), "Op", &banner));
        assert_eq!(list.matches(&banner), None);
        assert!(!list.add(&banner, "Op", &banner), "nothing is left of it");
    }

    #[test]
    fn loopback_addresses_are_never_banned() {
        let mut list = BanList::default();
        for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(!list.add(&identity("", address, "", ""), "Op", &Identity::default()), "{address}");
        }
    }

    #[test]
    fn a_duplicate_ban_is_refused() {
        let mut list = list();
        let banner = Identity::default();
        assert!(!list.add(&identity("troll", "", "", "sid"), "Op", &banner));
        assert!(list.add(&identity("troll", "", "", "other"), "Op", &banner));
        assert_eq!(list.remove(1).as_deref(), Some("Troll"));
        assert_eq!(list.remove(1), None);
        assert_eq!(list.entries(false)[0].id, 2);
    }

    #[test]
    fn bans_are_restored_from_the_journal() {
        let mut list = list();
        list.add(&identity("", "2001:db8::5", "", ""), "Op", &Identity::default());
        list.add(&identity("gone", "", "", ""), "Op", &Identity::default());
        list.remove(3);
        let mut text = String::new();
        list.take_changes().iter().for_each(|entry| entry.write(&mut text));
        assert_eq!(text.lines().next(), Some("BAN 1 Troll 192.0.2.1 acc%3A2 Op sid"));
        let mut restored = BanList::restored(&Metadata::replay(text.as_bytes()).metadata);
        assert_eq!(restored.bans, list.bans);
        assert!(restored.take_changes().is_empty());
        restored.add(&identity("next", "", "", ""), "Op", &Identity::default());
        assert_eq!(restored.bans.last_key_value().map(|(id, _)| *id), Some(4), "ids are not used again");
    }

    #[test]
    fn at_most_1000_bans_are_kept() {
        let mut list = BanList::default();
        let added =
            (0..1002).filter(|n| list.add(&identity(&n.to_string(), "", "", ""), "", &Identity::default()));
        assert_eq!(added.count(), MAX_BANS);
    }

    #[test]
    fn exported_lists_are_imported_without_what_is_there() {
        let mut other = list();
        other.add(&identity("Second", "2001:db8::1", "", ""), "Op", &Identity::default());
        let mut list = list();
        assert_eq!(list.import(other.to_stored(), &Identity::default()), (1, 2));
        assert_eq!(list.to_stored(), other.to_stored());
        assert_eq!(list.import(other.to_stored(), &Identity::default()), (0, 2));
    }

    #[test]
    fn a_ban_of_an_ipv6_address_is_for_its_network() {
        let mut list = BanList::default();
        let banner = identity("Op", "2001:db8:1::9", "", "");
        assert!(list.add(&identity("", "2001:db8:2::1", "", ""), "Op", &banner));
        assert_eq!(list.matches(&identity("x", "2001:db8:2::ffff", "", "")), Some(1));
        assert_eq!(list.matches(&identity("x", "2001:db8:2:1::1", "", "")), None);
        assert_eq!(list.entries(true)[0].ip.as_deref(), Some("2001:db8:2::1"), "it is shown as it was");
        assert!(!list.add(&identity("", "2001:db8:2::5", "", ""), "Op", &banner), "it says nothing new");
        assert!(!list.add(&identity("", "2001:db8:1::1", "", ""), "Op", &banner), "the banner's own network");
        assert!(list.add(&identity("", "192.0.2.1", "", ""), "Op", &banner));
        assert_eq!(list.matches(&identity("x", "192.0.2.2", "", "")), None);
        assert!(list.add(&identity("", "::7", "", ""), "Op", &banner));
        assert_eq!(list.matches(&identity("x", "::1", "", "")), None, "loopback addresses say nothing");
    }

    #[test]
    fn a_compacted_journal_has_the_same_bans_and_the_last_id() {
        let mut list = list();
        list.add(&identity("gone", "", "", ""), "Op", &Identity::default());
        list.remove(2);
        let mut text = String::new();
        list.snapshot().iter().for_each(|entry| entry.write(&mut text));
        let replay = Metadata::replay(text.as_bytes());
        assert!(replay.warnings.is_empty());
        let restored = BanList::restored(&replay.metadata);
        assert_eq!((restored.to_stored(), restored.last_id), (list.to_stored(), 2));
    }

    /// Lists that made each new ban be compared with nearly all others.
    #[test]
    fn no_list_of_bans_takes_more_than_linear_work() {
        let name = |n: usize| identity(&format!("n{n}"), "", "", "");
        let known: Vec<Identity> = (0..MAX_BANS - 1).map(name).collect();
        let again = std::iter::repeat_n(name(MAX_BANS - 2), 80_000);
        let crossed = |n: usize| identity(&format!("n{}", n % 22), "", "", &format!("s{}", n / 22));
        let lists: [Vec<Identity>; 3] = [
            known.into_iter().chain(again).collect(),
            (0..MAX_BANS).map(|n| identity("same", "", "", &format!("s{n}"))).collect(),
            (0..22 * 22).map(crossed).collect(),
        ];
        for persons in lists {
            let mut list = BanList::default();
            for identity in &persons {
                list.add(identity, "Op", &Identity::default());
            }
            assert!(list.compared <= 12 * persons.len(), "{} for {}", list.compared, persons.len());
        }
    }
}
