//! A session that is closed to newcomers for a time.

use super::super::admin::answer::SessionAnswer;
use super::super::admin::{ADMINISTRATOR, AdminError};
use super::super::{Cx, SessionMachine};
use super::{MAX_SECONDS, Restrictions, in_words};
use crate::log::{Level, Topic};
use crate::rules::identity::Identity;
use crate::rules::journal::Entry;
use crate::rules::stored_restrictions::RestrictionChange;
use crate::rules::time::Timestamp;

impl Restrictions {
    /// Opens the session when the time for which it was closed is over. Returns whether it is opened now.
    pub(super) fn open_when_over(&mut self, now_ms: u64) -> bool {
        let is_over = self.closed_until > 0 && self.closed_for(now_ms) == 0;
        if is_over {
            (self.closed_until, self.closed_until_utc_ms) = (0, 0);
        }
        is_over
    }

    /// How long the session is still closed to newcomers, in milliseconds.
    pub(in crate::rules::session) fn closed_for(&self, now_ms: u64) -> u64 {
        self.closed_until.saturating_sub(now_ms)
    }
}

impl SessionMachine {
    /// Closes the session to newcomers for a time, or opens it again with 0 seconds.
    ///
    /// # Errors
    /// When the time is too long.
    pub(in crate::rules::session) fn close_to_newcomers(
        &mut self,
        seconds: u64,
        cx: &mut Cx<'_>,
    ) -> SessionAnswer {
        if seconds > MAX_SECONDS {
            return Err(AdminError::NotPossible(format!("the time must be 0 to {MAX_SECONDS} seconds")));
        }
        if seconds > 0 {
            self.note_known();
        }
        let was_closed = self.restrictions.closed_for(cx.now.monotonic_ms) > 0;
        let (until, until_utc_ms) = match seconds {
            0 => (0, 0),
            _ => (cx.now.monotonic_ms + seconds * 1000, cx.now.utc_ms + seconds as i64 * 1000),
        };
        (self.restrictions.closed_until, self.restrictions.closed_until_utc_ms) = (until, until_utc_ms);
        if seconds > 0 || was_closed {
            self.persistence.push(Entry::Restriction(RestrictionChange::Closed(until_utc_ms)));
        }
        let text = if seconds > 0 {
            format!("Closed to newcomers by {ADMINISTRATOR} for {}", in_words(seconds))
        } else {
            format!("Opened to newcomers by {ADMINISTRATOR}")
        };
        if seconds > 0 || was_closed {
            self.note(Level::Info, Topic::Status, text, cx);
        }
        Ok(self.list_restrictions(cx.now))
    }

    /// Whether somebody is kept out because the session is closed to newcomers; for how long, in words.
    pub(in crate::rules::session) fn is_closed_to(
        &self,
        person: &Identity,
        now: Timestamp,
    ) -> Option<String> {
        let left = self.restrictions.closed_for(now.monotonic_ms);
        let is_known = || self.was_here(person) || self.restrictions.knows(person);
        (left > 0 && !is_known()).then(|| in_words(left.div_ceil(1000)))
    }
}
