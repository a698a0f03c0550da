//! The ban list of a session. Source: `session.md`, Session bans.

use std::net::{IpAddr, Ipv6Addr};

use drawhall_protocol::reply::BanEntry;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::storage::journal::Entry;
use crate::storage::metadata::{Metadata, StoredBan};
use crate::username;

/// Greatest number of bans in a session.
pub const MAX_BANS: usize = 1000;

/// Who is banned, or who bans: whatever is known of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Name; compared ignoring case.
    pub name: String,
    /// Address.
    pub address: Option<IpAddr>,
    /// Account id, empty without.
    pub auth_id: String,
    /// System id, empty without.
    pub sid: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Ban {
    id: u32,
    name: String,
    address: Option<Ipv6Addr>,
    auth_id: String,
    sid: String,
    banned_by: String,
}

/// The bans of a session.
#[derive(Debug, Default)]
pub struct BanList {
    bans: Vec<Ban>,
    last_id: u32,
    /// Changes for the journal.
    changes: Vec<Entry>,
}

fn to_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// Whether people cannot tell two names apart.
fn same_name(a: &str, b: &str) -> bool {
    username::same(a, b)
}

impl BanList {
    /// Adds a ban by `banner`, whose own properties are left out of it, as are loopback addresses.
    ///
    /// Returns whether there is a new entry: an empty one or one that says nothing new is refused, and there are
    /// [`MAX_BANS`] at most.
    pub fn add(&mut self, target: &Person, banned_by: &str, banner: &Person) -> bool {
        let unless_own = |value: &str, own: &str| if value == own { String::new() } else { value.to_owned() };
        let address = target.address.filter(|a| !a.to_canonical().is_loopback()).map(to_v6);
        let ban = Ban {
            id: self.last_id.saturating_add(1),
            name: if same_name(&target.name, &banner.name) { String::new() } else { target.name.clone() },
            address: address.filter(|a| Some(*a) != banner.address.map(to_v6)),
            auth_id: unless_own(&target.auth_id, &banner.auth_id),
            sid: unless_own(&target.sid, &banner.sid),
            banned_by: banned_by.to_owned(),
        };
        let empty =
            ban.name.is_empty() && ban.address.is_none() && ban.auth_id.is_empty() && ban.sid.is_empty();
        if empty || self.bans.len() >= MAX_BANS || self.bans.iter().any(|b| b.covers(&ban)) {
            return false;
        }
        self.last_id = ban.id;
        self.changes.push(Entry::Ban(ban.to_stored()));
        self.bans.push(ban);
        true
    }

    /// The bans of a journal.
    pub fn restored(stored: &Metadata) -> BanList {
        let mut list = BanList::default();
        for ban in &stored.bans {
            let StoredBan { id, name, address, auth_id, banned_by, sid } = ban.clone();
            list.last_id = id.saturating_sub(1);
            list.add(&Person { name, address, auth_id, sid }, &banned_by, &Person::default());
        }
        list.last_id = stored.last_ban;
        list.changes.clear();
        list
    }

    /// What has changed since the last call, for the journal.
    pub fn take_changes(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.changes)
    }

    /// Removes a ban and returns whom it was against.
    pub fn remove(&mut self, id: i64) -> Option<String> {
        let at = self.bans.iter().position(|b| i64::from(b.id) == id)?;
        self.changes.push(Entry::Unban(self.bans[at].id));
        Some(self.bans.remove(at).name)
    }

    /// The id of the first ban that matches.
    pub fn matches(&self, person: &Person) -> Option<u32> {
        let address = person.address.map(to_v6);
        let hit = |ban: &Ban| {
            (!ban.name.is_empty() && same_name(&ban.name, &person.name))
                || (!ban.auth_id.is_empty() && ban.auth_id == person.auth_id)
                || (!ban.sid.is_empty() && ban.sid == person.sid)
                || (ban.address.is_some() && ban.address == address)
        };
        self.bans.iter().find(|b| hit(b)).map(|b| b.id)
    }

    /// The list as operators see it, with everything that identifies people if `sensitive`.
    pub fn entries(&self, sensitive: bool) -> Vec<BanEntry> {
        let entry = |b: &Ban| BanEntry {
            id: b.id,
            username: b.name.clone(),
            banned_by: b.banned_by.clone(),
            ip: sensitive.then(|| b.address.map_or(String::new(), |a| a.to_string())),
            auth_id: sensitive.then(|| b.auth_id.clone()),
            s: sensitive.then(|| b.sid.clone()),
        };
        self.bans.iter().map(entry).collect()
    }

    /// The list for exporting.
    pub fn export(&self) -> Value {
        let entry = |b: &Ban| {
            let address = b.address.map_or(String::new(), |a| a.to_string());
            let members =
                [("u", &b.name), ("i", &address), ("a", &b.auth_id), ("s", &b.sid), ("b", &b.banned_by)];
            let given = members.into_iter().filter(|(_, v)| !v.is_empty());
            Value::from(given.map(|(k, v)| (k.to_owned(), v.as_str().into())).collect::<Map<_, _>>())
        };
        json!({"v": 1, "l": self.bans.iter().map(entry).collect::<Vec<_>>()})
    }

    /// Adds exported bans. Returns how many were added, of how many; `None` if it is no exported list.
    pub fn import(&mut self, data: &Value, banner: &Person) -> Option<(u32, u32)> {
        if data["v"] != 1 {
            return None;
        }
        let (mut imported, mut total) = (0, 0);
        for entry in data["l"].as_array()?.iter().filter(|e| e.is_object()) {
            let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            let person = Person {
                name: text("u"),
                address: text("i").parse().ok(),
                auth_id: text("a"),
                sid: text("s"),
            };
            if person != Person::default() {
                total += 1;
                imported += u32::from(self.add(&person, &text("b"), banner));
            }
        }
        Some((imported, total))
    }
}

impl Ban {
    /// The ban as it is in force. Addresses are written as they were before they became IPv6.
    fn to_stored(&self) -> StoredBan {
        let Ban { id, name, address, auth_id, sid, banned_by } = self.clone();
        let address = address.map(|a| IpAddr::V6(a).to_canonical());
        StoredBan { id, name, address, auth_id, banned_by, sid }
    }

    /// Whether this ban already says everything that `other` says.
    fn covers(&self, other: &Ban) -> bool {
        (other.name.is_empty() || same_name(&self.name, &other.name))
            && (other.address.is_none() || other.address == self.address)
            && (other.auth_id.is_empty() || other.auth_id == self.auth_id)
            && (other.sid.is_empty() || other.sid == self.sid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(name: &str, address: &str, auth_id: &str, sid: &str) -> Person {
        Person { name: name.into(), address: address.parse().ok(), auth_id: auth_id.into(), sid: sid.into() }
    }

    fn list() -> BanList {
        let mut list = BanList::default();
        let banner = person("Op", "192.0.2.9", "acc:1", "op-sid");
        assert!(list.add(&person("Troll", "192.0.2.1", "acc:2", "sid"), "Op", &banner));
        list
    }

    #[test]
    fn any_property_that_matches_bans() {
        let list = list();
        for name in ["TROLL", "ｔｒｏｌｌ", "tr\u{200b}oll\u{202c}"] {
            assert_eq!(list.matches(&person(name, "", "", "")), Some(1), "{name}");
        }
        assert_eq!(list.matches(&person("x", "::ffff:192.0.2.1", "", "")), Some(1));
        assert_eq!(list.matches(&person("x", "192.0.2.2", "acc:2", "")), Some(1));
        assert_eq!(list.matches(&person("x", "", "", "sid")), Some(1));
        assert_eq!(list.matches(&person("x", "192.0.2.2", "acc:3", "other")), None);
    }

    #[test]
    fn what_would_match_the_banner_is_left_out() {
        let mut list = BanList::default();
        let banner = person("Op", "192.0.2.9", "acc:1", "shared");
        assert!(list.add(&person("Troll", "192.0.2.9", "acc:1", "shared"), "Op", &banner));
        assert_eq!(list.matches(&banner), None);
        assert!(!list.add(&banner, "Op", &banner), "nothing is left of it");
    }

    #[test]
    fn loopback_addresses_are_never_banned() {
        let mut list = BanList::default();
        for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(!list.add(&person("", address, "", ""), "Op", &Person::default()), "{address}");
        }
    }

    #[test]
    fn a_ban_that_says_nothing_new_is_refused() {
        let mut list = list();
        let banner = Person::default();
        assert!(!list.add(&person("troll", "", "", "sid"), "Op", &banner));
        assert!(list.add(&person("troll", "", "", "other"), "Op", &banner));
        assert_eq!(list.remove(1).as_deref(), Some("Troll"));
        assert_eq!(list.remove(1), None);
        assert_eq!(list.entries(false)[0].id, 2);
    }

    #[test]
    fn bans_come_back_from_their_journal_as_they_were_in_force() {
        let mut list = list();
        list.add(&person("", "2001:db8::5", "", ""), "Op", &Person::default());
        list.add(&person("gone", "", "", ""), "Op", &Person::default());
        list.remove(3);
        let mut text = String::new();
        list.take_changes().iter().for_each(|entry| entry.write(&mut text));
        assert_eq!(text.lines().next(), Some("BAN 1 Troll 192.0.2.1 acc%3A2 Op sid"));
        let mut restored = BanList::restored(&Metadata::replay(text.as_bytes()).metadata);
        assert_eq!(restored.bans, list.bans);
        assert!(restored.take_changes().is_empty());
        restored.add(&person("next", "", "", ""), "Op", &Person::default());
        assert_eq!(restored.bans.last().map(|b| b.id), Some(4), "ids are not used again");
    }

    #[test]
    fn at_most_1000_bans_are_kept() {
        let mut list = BanList::default();
        let added =
            (0..1002).filter(|n| list.add(&person(&n.to_string(), "", "", ""), "", &Person::default()));
        assert_eq!(added.count(), MAX_BANS);
    }

    #[test]
    fn exported_lists_are_imported_without_what_is_there() {
        let mut other = list();
        other.add(&person("Second", "2001:db8::1", "", ""), "Op", &Person::default());
        let mut list = list();
        assert_eq!(list.import(&other.export(), &Person::default()), Some((1, 2)));
        assert_eq!(list.export(), other.export());
        for bad in [json!({}), json!({"v": 2, "l": []}), json!({"v": 1, "l": 5}), json!([])] {
            assert_eq!(list.import(&bad, &Person::default()), None);
        }
        assert_eq!(list.import(&json!({"v": 1, "l": [5, {}, {"u": 7}]}), &Person::default()), Some((0, 0)));
    }
}
