//! Restrictions, warnings, and the time for which a session is closed to newcomers, as the journal has them: in comments,
//! which drawpile-srv ignores. Source: docs/spec/storage.md#restrictions.
//!
//! Each line ends with a full stop of its own, so that a line of which only a part was written is ignored.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules::identity::Identity;
use crate::rules::journal::{decode, encode};

/// Restrictions of one session at most.
pub const MAX_RESTRICTIONS: usize = 200;
/// People of one session whose warnings are counted; the first ones are forgotten.
pub const MAX_WARNED: usize = 200;
/// Guests in one restriction who have come later. With so many it holds for all guests of the person's network.
pub const MAX_FOLLOWERS: usize = 20;
/// People of one session of whom it is stored that they were there before; further ones are not known.
pub const MAX_KNOWN: usize = 300;
/// Longest line that is read, in bytes.
const MAX_LINE: usize = 8 << 10;
/// Ends each line.
const END: &str = ".";

/// What somebody may not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RestrictionKind {
    /// Chat.
    Mute,
    /// Draw: the person may look.
    Nodraw,
    /// Draw fast.
    Slow,
}

impl RestrictionKind {
    /// All of them.
    pub const ALL: [RestrictionKind; 3] = [Self::Mute, Self::Nodraw, Self::Slow];

    /// The name, in the admin API and in the journal.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mute => "mute",
            Self::Nodraw => "nodraw",
            Self::Slow => "slow",
        }
    }
}

/// A change, which is a line of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestrictionChange {
    /// Somebody is restricted.
    Added(StoredRestriction),
    /// A guest has come for whom it holds as well.
    Followed {
        /// Id of the restriction.
        id: u64,
        /// The guest.
        guest: Identity,
    },
    /// It has ended, by this id.
    Ended(u64),
    /// Somebody was warned so often.
    Warned {
        /// Who it was.
        person: Identity,
        /// The number of warnings so far.
        count: u32,
    },
    /// Closed to newcomers until this time, in milliseconds since 1970; 0 if it is open again.
    Closed(i64),
    /// Somebody was there before others were restricted or the session was closed.
    Known(Identity),
}

/// A restriction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRestriction {
    /// Unique in the session.
    pub id: u64,
    /// What they may not do.
    pub kind: RestrictionKind,
    /// For whom it is.
    pub person: Identity,
    /// Guests who have come later, for whom it holds as well.
    pub followers: Vec<Identity>,
    /// When it ends, in milliseconds since 1970.
    pub ends_ms: i64,
    /// May be empty.
    pub reason: String,
}

/// What the changes add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRestrictions {
    /// In the order in which they were made.
    pub list: Vec<StoredRestriction>,
    /// The highest id so far.
    pub last_id: u64,
    /// Who was warned how often.
    pub warned: Vec<(Identity, u32)>,
    /// Closed to newcomers until this time, in milliseconds since 1970; 0 if it is open.
    pub closed_until_ms: i64,
    /// Who was there before: by device or account, and by name and address if they have neither.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<Identity>,
}

/// Adds a guest who has come later. Returns false if there are too many: the first ones stay.
pub fn add_follower(followers: &mut Vec<Identity>, guest: Identity) -> bool {
    let has_room = followers.len() < MAX_FOLLOWERS;
    if has_room {
        followers.push(guest);
    }
    has_room
}

/// Adds somebody who was there before. Returns false if it is known already, or there are too many.
pub fn add_known(known: &mut Vec<Identity>, person: &Identity) -> bool {
    let is_new = known.len() < MAX_KNOWN && !known.iter().any(|other| other.is_same_person(person));
    if is_new {
        known.push(person.clone());
    }
    is_new
}

/// Sets how often somebody was warned; who was warned first is forgotten if there are too many.
pub fn set_warnings(warned: &mut Vec<(Identity, u32)>, person: Identity, count: u32) {
    if let Some((_, known)) = warned.iter_mut().find(|(known, _)| known.is_same_person(&person)) {
        *known = count;
        return;
    }
    if warned.len() >= MAX_WARNED {
        warned.remove(0);
    }
    warned.push((person, count));
}

impl StoredRestrictions {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        *self == StoredRestrictions::default()
    }

    /// Applies a change.
    pub fn apply(&mut self, change: RestrictionChange) {
        match change {
            RestrictionChange::Added(added) => {
                self.last_id = self.last_id.max(added.id);
                self.list.retain(|known| known.id != added.id);
                self.list.push(added);
                if self.list.len() > MAX_RESTRICTIONS {
                    self.remove_first_to_end();
                }
            }
            RestrictionChange::Followed { id, guest } => {
                if let Some(restriction) = self.list.iter_mut().find(|r| r.id == id) {
                    add_follower(&mut restriction.followers, guest);
                }
            }
            RestrictionChange::Ended(id) => {
                self.last_id = self.last_id.max(id);
                self.list.retain(|known| known.id != id);
            }
            RestrictionChange::Warned { person, count } => set_warnings(&mut self.warned, person, count),
            RestrictionChange::Closed(until_ms) => self.closed_until_ms = until_ms,
            RestrictionChange::Known(person) => {
                add_known(&mut self.known, &person);
            }
        }
    }

    /// Removes the restriction that ends first. The end of some may have been lost in a crash.
    fn remove_first_to_end(&mut self) {
        let first = self.list.iter().enumerate().min_by_key(|(_, restriction)| restriction.ends_ms);
        if let Some(at) = first.map(|(at, _)| at) {
            self.list.remove(at);
        }
    }

    /// Changes that add up to this.
    pub fn changes(&self) -> Vec<RestrictionChange> {
        let mut changes = Vec::new();
        // An id is not used again: somebody may still have the page with the old one open.
        if self.list.iter().all(|restriction| restriction.id < self.last_id) {
            changes.push(RestrictionChange::Ended(self.last_id));
        }
        for restriction in &self.list {
            let (id, followers) = (restriction.id, &restriction.followers);
            let added = StoredRestriction { followers: Vec::new(), ..restriction.clone() };
            changes.push(RestrictionChange::Added(added));
            changes.extend(
                followers.iter().map(|guest| RestrictionChange::Followed { id, guest: guest.clone() }),
            );
        }
        let warned = self.warned.iter().cloned();
        changes.extend(warned.map(|(person, count)| RestrictionChange::Warned { person, count }));
        if self.closed_until_ms > 0 {
            changes.push(RestrictionChange::Closed(self.closed_until_ms));
        }
        changes.extend(self.known.iter().cloned().map(RestrictionChange::Known));
        changes
    }
}

impl RestrictionChange {
    /// The text behind the comment's name.
    pub fn to_text(&self) -> String {
        let text = match self {
            Self::Added(StoredRestriction { id, kind, person, ends_ms, reason, .. }) => {
                format!("add {id} {} {ends_ms} {} {}", kind.name(), encode(reason), person_text(person))
            }
            Self::Followed { id, guest } => format!("follow {id} {}", person_text(guest)),
            Self::Ended(id) => format!("end {id}"),
            Self::Warned { person, count } => format!("warned {count} {}", person_text(person)),
            Self::Closed(until_ms) => format!("closed {until_ms}"),
            Self::Known(person) => format!("known {}", person_text(person)),
        };
        format!("{text} {END}")
    }

    /// Parses the text of [`Self::to_text`].
    pub fn parse(text: &str) -> Option<RestrictionChange> {
        if text.len() > MAX_LINE {
            return None;
        }
        let fields: Vec<&str> = text.split(' ').collect();
        let fields = fields.strip_suffix(&[END])?;
        Some(match fields {
            ["add", id, kind, ends_ms, reason, person @ ..] => Self::Added(StoredRestriction {
                id: id.parse().ok()?,
                kind: RestrictionKind::ALL.into_iter().find(|known| known.name() == *kind)?,
                person: person_of(person)?,
                followers: Vec::new(),
                ends_ms: ends_ms.parse().ok()?,
                reason: decode(reason),
            }),
            ["follow", id, guest @ ..] => Self::Followed { id: id.parse().ok()?, guest: person_of(guest)? },
            ["end", id] => Self::Ended(id.parse().ok()?),
            ["warned", count, person @ ..] => {
                Self::Warned { count: count.parse().ok()?, person: person_of(person)? }
            }
            ["closed", until_ms] => Self::Closed(until_ms.parse().ok()?),
            ["known", person @ ..] => Self::Known(person_of(person)?),
            _ => return None,
        })
    }
}

/// `<name> <address> <authid> <sid>`; what is not known is empty.
fn person_text(person: &Identity) -> String {
    let Identity { name, address, auth_id, sid } = person;
    let address = address.map_or(String::new(), |address| address.to_string());
    format!("{} {address} {} {}", encode(name), encode(auth_id), encode(sid))
}

fn person_of(fields: &[&str]) -> Option<Identity> {
    let [name, address, auth_id, sid] = fields else { return None };
    let address = if address.is_empty() { None } else { Some(address.parse().ok()?) };
    let person = Identity { name: decode(name), address, auth_id: decode(auth_id), sid: decode(sid) };
    (person != Identity::default()).then_some(person)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(name: &str, sid: &str) -> Identity {
        let address = "2001:db8::1".parse().ok();
        Identity { name: name.into(), address, auth_id: "a:ü 1".into(), sid: sid.into() }
    }

    fn added(id: u64) -> RestrictionChange {
        RestrictionChange::Added(StoredRestriction {
            id,
            kind: RestrictionKind::Nodraw,
            person: person("B b", "s"),
            followers: Vec::new(),
            ends_ms: 1_795_241_572_000,
            reason: "two\nlines .".into(),
        })
    }

    fn all() -> Vec<RestrictionChange> {
        vec![
            added(1),
            RestrictionChange::Followed { id: 1, guest: Identity { sid: "x".into(), ..Identity::default() } },
            RestrictionChange::Ended(12),
            RestrictionChange::Warned { person: person("C", ""), count: 3 },
            RestrictionChange::Closed(1_795_241_572_000),
            RestrictionChange::Known(Identity { sid: "k".into(), ..Identity::default() }),
        ]
    }

    #[test]
    fn a_line_is_parsed_back_and_no_part_of_it_is() {
        for change in all() {
            let text = change.to_text();
            assert!(!text.contains(['\n', '#']), "{text}");
            assert_eq!(RestrictionChange::parse(&text), Some(change));
            let cut = (0..text.len()).find(|end| RestrictionChange::parse(&text[..*end]).is_some());
            assert_eq!(cut, None, "{text}");
        }
    }

    #[test]
    fn a_line_that_nobody_wrote_is_no_change() {
        let long = format!("warned 1 {}    .", "x".repeat(MAX_LINE));
        for bad in ["", ".", "end x .", "end 1 2 .", "add 1 lock 2  n    .", "warned 1     .", &long] {
            assert_eq!(RestrictionChange::parse(bad), None, "{bad}");
        }
        let known = |text| RestrictionChange::parse(text).is_some();
        assert!(known("warned 1 n    .") && !known("warned 1 n   .") && !known("warned 1 n     ."));
    }

    #[test]
    fn changes_add_up_and_are_written_anew() {
        let mut stored = StoredRestrictions::default();
        all().into_iter().for_each(|change| stored.apply(change));
        assert_eq!((stored.list.len(), stored.list[0].followers.len(), stored.last_id), (1, 1, 12));
        let mut again = StoredRestrictions::default();
        stored.changes().into_iter().for_each(|change| again.apply(change));
        assert_eq!(again, stored, "the highest id as well");
        for change in [
            RestrictionChange::Ended(1),
            RestrictionChange::Closed(0),
            RestrictionChange::Warned { person: person("C", ""), count: 4 },
        ] {
            stored.apply(change);
        }
        assert!(stored.list.is_empty() && stored.closed_until_ms == 0);
        assert_eq!(stored.warned, [(person("C", ""), 4)]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut stored = StoredRestrictions::default();
        for id in 0..2 * MAX_RESTRICTIONS as u64 {
            let RestrictionChange::Added(mut restriction) = added(id) else { unreachable!() };
            restriction.ends_ms += if id == 0 { 1_000_000 } else { id.cast_signed() };
            stored.apply(RestrictionChange::Added(restriction));
            let guest = person("", &id.to_string());
            stored.apply(RestrictionChange::Followed { id: 0, guest: guest.clone() });
            let person = Identity { auth_id: String::new(), ..guest };
            stored.apply(RestrictionChange::Known(person.clone()));
            stored.apply(RestrictionChange::Warned { person, count: 1 });
        }
        assert_eq!((stored.list.len(), stored.warned.len()), (MAX_RESTRICTIONS, MAX_WARNED));
        assert_eq!(stored.known.len(), MAX_KNOWN);
        assert_eq!(stored.list[0].followers.len(), MAX_FOLLOWERS);
        assert_eq!(stored.list[0].followers[0].sid, "0", "the first ones stay");
    }

    #[test]
    fn the_restriction_that_ends_first_makes_room_for_a_new_one() {
        let mut stored = StoredRestrictions::default();
        for id in 1..=MAX_RESTRICTIONS as u64 + 1 {
            let RestrictionChange::Added(mut restriction) = added(id) else { unreachable!() };
            restriction.ends_ms += if id == 3 { 0 } else { id.cast_signed() };
            stored.apply(RestrictionChange::Added(restriction));
        }
        let ids: Vec<u64> = stored.list.iter().map(|restriction| restriction.id).collect();
        assert_eq!((ids.len(), &ids[..3]), (MAX_RESTRICTIONS, &[1, 2, 4][..]));
        assert_eq!(ids.last(), Some(&(MAX_RESTRICTIONS as u64 + 1)), "the newest holds");
    }
}
