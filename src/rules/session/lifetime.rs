//! Session expiry: when an empty or idle session ends, and when one may be unloaded.

use serde::{Deserialize, Serialize};

use crate::config::Settings;
use crate::rules::time::Timestamp;

/// How long a session stays that was emptied because the server disconnected members, in milliseconds.
pub(super) const ACCIDENT_LINGER_MS: u64 = 60_000;
/// Maximum time for which the idle limit spares a session that was found at a start: files from another server or a
/// backup may have been unused for long, and an operator may not want to lose them at once.
const MAX_GRACE_MS: u64 = 3_600_000;

/// Why a session expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    /// Empty for longer than `emptySessionLingerTime`.
    Empty,
    /// Unused for longer than `idleTimeLimit`.
    Idle,
}

/// What session expiry depends on, also while the session is unloaded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Expiry {
    last_event: Timestamp,
    /// There was a member since the session was loaded.
    visited: bool,
    /// Emptied by a disconnect of the server: kept until then, monotonic milliseconds.
    #[serde(default)]
    stays_until: Option<u64>,
    /// Earliest moment from which it counts as empty, monotonic milliseconds: a stored session waits for its users
    /// from the start of the server on, however long it has been unused.
    #[serde(default)]
    empty_since: u64,
}

impl Expiry {
    /// Of a session that was found at a start of the server, and last used at `last_use`.
    pub(super) fn found(now: Timestamp, last_use: Timestamp) -> Expiry {
        Expiry { last_event: last_use, visited: false, stays_until: None, empty_since: now.monotonic_ms }
    }

    /// After a crash of the session's actor: it stays for the users who were in it.
    pub(super) fn after_accident(self, now: Timestamp) -> Expiry {
        Expiry { stays_until: Some(now.monotonic_ms + ACCIDENT_LINGER_MS), ..self }
    }

    /// Whether it has expired, and why. `idle_override`: its flag.
    pub(super) fn verdict(
        &self,
        settings: &Settings,
        occupancy: Occupancy,
        idle_override: bool,
        now: Timestamp,
    ) -> Option<Expired> {
        let since = |ms: u64| now.monotonic_ms.saturating_sub(ms);
        let last_event = self.last_event.monotonic_ms;
        let linger = settings.empty_session_linger_time.millis();
        let quiet = since(last_event.max(self.empty_since));
        let stays = self.stays_until.is_some_and(|until| now.monotonic_ms < until);
        // A loaded session waits for its users, forever if empty sessions do not linger otherwise.
        let is_left = quiet > linger && (linger > 0 || self.visited) && !stays;
        if occupancy == Occupancy::EmptyAndTemporary && is_left {
            return Some(Expired::Empty);
        }
        let limit = settings.idle_time_limit.millis();
        let exempt = settings.allow_idle_override && idle_override;
        // After a start of the server a tenth of the limit must pass first.
        let grace = (limit / 10).min(MAX_GRACE_MS);
        let is_idle = limit > 0 && since(last_event) > limit && since(self.empty_since) >= grace && !exempt;
        is_idle.then_some(Expired::Idle)
    }
}

/// What matters of who is in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occupancy {
    /// Nobody is, and it ends when it is empty.
    EmptyAndTemporary,
    /// Somebody is, or it is persistent.
    Other,
}

impl Occupancy {
    pub(super) fn of(empty: bool, persistent: bool) -> Occupancy {
        if empty && !persistent { Occupancy::EmptyAndTemporary } else { Occupancy::Other }
    }
}

/// When a session was used and left.
#[derive(Debug)]
pub(super) struct Lifetime {
    expiry: Expiry,
    /// The server is shutting down: an empty session does not end.
    stopping: bool,
    /// When the last member left.
    emptied: Timestamp,
    /// When the server last disconnected a member, monotonic milliseconds.
    accident: Option<u64>,
}

impl Lifetime {
    /// Of a session that begins with its host.
    pub(super) fn new(now: Timestamp) -> Lifetime {
        let expiry = Expiry { last_event: now, visited: true, stays_until: None, empty_since: 0 };
        Lifetime { expiry, stopping: false, emptied: now, accident: None }
    }

    /// It begins without members, and waits for the first.
    pub(super) fn begin_empty(&mut self) {
        self.expiry.visited = false;
    }

    /// It goes on where it was unloaded.
    pub(super) fn go_on(&mut self, expiry: Expiry) {
        self.expiry = expiry;
    }

    /// What is to be kept while it is unloaded.
    pub(super) fn expiry(&self) -> &Expiry {
        &self.expiry
    }

    /// Something happened in it.
    pub(super) fn used(&mut self, now: Timestamp) {
        self.expiry.last_event = now;
    }

    /// A member has joined that is no ghost.
    pub(super) fn visited(&mut self) {
        self.expiry.visited = true;
    }

    /// Whether a member that is no ghost has joined since it was loaded.
    #[cfg(test)]
    pub(super) fn was_visited(&self) -> bool {
        self.expiry.visited
    }

    /// A member was disconnected against its will. If that empties the session, it is kept for a while.
    pub(super) fn accident(&mut self, now: Timestamp) {
        self.accident = Some(now.monotonic_ms);
    }

    /// The server shuts down.
    pub(super) fn stop(&mut self) {
        self.stopping = true;
    }

    /// Whether the server shuts down.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// It has become empty.
    pub(super) fn emptied(&mut self, now: Timestamp) {
        self.emptied = now;
    }

    /// The last user has left; whether it stays for a while because a member was disconnected by the server shortly
    /// before. Otherwise whoever can make the server disconnect others could end it.
    pub(super) fn last_user_left(&mut self, now: Timestamp) -> bool {
        let accident =
            self.accident.is_some_and(|at| now.monotonic_ms.saturating_sub(at) <= ACCIDENT_LINGER_MS);
        self.expiry.stays_until = accident.then(|| now.monotonic_ms + ACCIDENT_LINGER_MS);
        accident
    }

    /// When it may be unloaded if it stays empty, monotonic milliseconds.
    pub(super) fn unload_at(&self, settings: &Settings) -> u64 {
        self.emptied.monotonic_ms + settings.session_unload_time.millis()
    }
}
