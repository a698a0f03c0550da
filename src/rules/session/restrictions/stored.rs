//! Restrictions in the journal, and what is left of them when the session is loaded.

use super::super::SessionMachine;
use super::{MAX_SECONDS, Restriction, Restrictions};
use crate::rules::identity::Identity;
use crate::rules::journal::Entry;
use crate::rules::stored_restrictions::{
    RestrictionChange, StoredRestriction, StoredRestrictions, add_known,
};
use crate::rules::time::Timestamp;

/// The entry for a restriction that has ended.
pub(super) fn ended(id: u64) -> Entry {
    Entry::Restriction(RestrictionChange::Ended(id))
}

/// A time in the future by the monotonic clock; `None` if it is over. If the clock was set back, nothing lasts longer
/// than it could when it began.
fn monotonic_of(utc_ms: i64, now: Timestamp) -> Option<u64> {
    let left = u64::try_from(utc_ms.saturating_sub(now.utc_ms)).ok().filter(|left| *left > 0)?;
    Some(now.monotonic_ms + left.min(MAX_SECONDS * 1000))
}

impl Restriction {
    /// Its entries for the journal.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let stored = StoredRestrictions { list: vec![self.to_stored()], ..StoredRestrictions::default() };
        stored.changes().into_iter().map(Entry::Restriction).collect()
    }

    fn to_stored(&self) -> StoredRestriction {
        let Restriction { id, kind, person, followers, ends_utc_ms, reason, .. } = self.clone();
        StoredRestriction { id, kind, person, followers, ends_ms: ends_utc_ms, reason }
    }

    fn restored(stored: StoredRestriction, now: Timestamp) -> Option<Restriction> {
        let StoredRestriction { id, kind, person, followers, ends_ms, reason } = stored;
        let ends = monotonic_of(ends_ms, now)?;
        Some(Restriction { id, kind, person, followers, ends, ends_utc_ms: ends_ms, reason })
    }
}

impl Restrictions {
    /// What the journal of a session that is loaded has, but for what is over by now.
    pub(in crate::rules::session) fn restored(stored: StoredRestrictions, now: Timestamp) -> Restrictions {
        let StoredRestrictions { list, last_id, warned, closed_until_ms, known } = stored;
        let closed_until = monotonic_of(closed_until_ms, now);
        Restrictions {
            list: list.into_iter().filter_map(|stored| Restriction::restored(stored, now)).collect(),
            last_id,
            warned,
            closed_until: closed_until.unwrap_or(0),
            closed_until_utc_ms: closed_until.map_or(0, |_| closed_until_ms),
            known,
        }
    }

    /// Whether nobody is restricted, and the session is not closed.
    fn holds_nothing(&self) -> bool {
        self.list.is_empty() && self.closed_until == 0
    }

    /// Whether somebody was there before others were restricted or the session was closed, by device or account.
    pub(super) fn knows(&self, person: &Identity) -> bool {
        self.known.iter().any(|known| known.is_same_person(person))
    }

    /// The entries of the present state, for a journal that is rewritten.
    pub(in crate::rules::session) fn snapshot(&self) -> Vec<Entry> {
        let stored = StoredRestrictions {
            list: self.list.iter().map(Restriction::to_stored).collect(),
            last_id: self.last_id,
            warned: self.warned.clone(),
            closed_until_ms: self.closed_until_utc_ms,
            // Without restrictions nothing is kept of anybody.
            known: if self.holds_nothing() { Vec::new() } else { self.known.clone() },
        };
        stored.changes().into_iter().map(Entry::Restriction).collect()
    }
}

impl SessionMachine {
    /// Stores who is or was there, so that a restart makes them no newcomers.
    pub(super) fn note_known(&mut self) {
        if self.restrictions.holds_nothing() {
            self.restrictions.known.clear();
        }
        let present = self.members.iter().map(|member| &member.client.identity);
        for person in present.chain(self.members.past_identities()).map(Identity::only_ids) {
            if person != Identity::default() && add_known(&mut self.restrictions.known, &person) {
                self.persistence.push(Entry::Restriction(RestrictionChange::Known(person)));
            }
        }
    }
}
