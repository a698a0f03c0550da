//! What happens when: session expiry (when an empty or idle session ends), when one may be unloaded, and when members
//! are next reminded of something.

use serde::{Deserialize, Serialize};

use crate::config::Settings;
use crate::rules::time::Timestamp;

/// How long a session stays that was emptied because the server disconnected members, in milliseconds.
pub(super) const ACCIDENT_LINGER_MS: u64 = 60_000;
/// Maximum time for which the idle limit spares a session that was found at a start: files from another server or a
/// backup may have been unused for long, and an operator may not want to lose them at once.
const MAX_GRACE_MS: u64 = 3_600_000;

/// Minimum interval of status updates and of warnings about space, in milliseconds.
pub(super) const REMINDER_MS: u64 = 10_000;

/// Why a session expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    /// Empty for longer than `emptySessionLingerTime`.
    Empty,
    /// Unused for longer than `idleTimeLimit`.
    Idle,
}

/// How long before its end the user of an idle session is warned, in milliseconds; half of the limit if that is less.
const LONE_WARNING_MS: u64 = 5 * 60_000;

/// What is due in a session in which one user does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoneStep {
    /// Nothing, for now.
    Wait,
    /// The user is to be warned: it ends in so many milliseconds.
    Warn { left_ms: u64 },
    /// It ends.
    End,
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

/// When a session was used and left, and when reminders are due.
#[derive(Debug)]
pub(super) struct Timers {
    expiry: Expiry,
    /// The server is shutting down: an empty session does not end.
    stopping: bool,
    /// When the last member left.
    emptied: Timestamp,
    /// When the server last disconnected a member, monotonic milliseconds.
    accident: Option<u64>,
    /// When the members are next told the size, monotonic milliseconds.
    status_due: u64,
    /// When they are next warned that there is no space, monotonic milliseconds.
    space_warning_due: u64,
    /// When the only user was warned that the session will end, monotonic milliseconds.
    lone_warned: Option<u64>,
}

impl Timers {
    /// Of a session that begins with its host.
    pub(super) fn new(now: Timestamp) -> Timers {
        Timers {
            expiry: Expiry { last_event: now, visited: true, stays_until: None, empty_since: 0 },
            stopping: false,
            emptied: now,
            accident: None,
            status_due: now.monotonic_ms + REMINDER_MS,
            space_warning_due: 0,
            lone_warned: None,
        }
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

    /// What is due in a session in which only one user is, with this limit in milliseconds.
    pub(super) fn lone_step(&mut self, limit_ms: u64, now: Timestamp) -> LoneStep {
        let idle = now.monotonic_ms.saturating_sub(self.expiry.last_event.monotonic_ms);
        let lead = LONE_WARNING_MS.min(limit_ms / 2);
        if idle < limit_ms - lead {
            self.lone_warned = None;
            return LoneStep::Wait;
        }
        match self.lone_warned {
            None => {
                self.lone_warned = Some(now.monotonic_ms);
                LoneStep::Warn { left_ms: lead }
            }
            Some(warned) if now.monotonic_ms >= warned + lead => LoneStep::End,
            Some(_) => LoneStep::Wait,
        }
    }

    /// The session is not idle with one user any more.
    pub(super) fn forget_lone_warning(&mut self) {
        self.lone_warned = None;
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

    /// Whether the members are to be told the size again.
    pub(super) fn status_is_due(&self, now: Timestamp) -> bool {
        now.monotonic_ms >= self.status_due
    }

    /// The members have been told the size.
    pub(super) fn status_sent(&mut self, now: Timestamp) {
        self.status_due = now.monotonic_ms + REMINDER_MS;
    }

    /// Whether the members are to be warned again that there is no space.
    pub(super) fn space_warning_is_due(&self, now: Timestamp) -> bool {
        now.monotonic_ms >= self.space_warning_due
    }

    /// The members have been warned that there is no space.
    pub(super) fn space_warning_sent(&mut self, now: Timestamp) {
        self.space_warning_due = now.monotonic_ms + REMINDER_MS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(monotonic_ms: u64) -> Timestamp {
        Timestamp { monotonic_ms, utc_ms: 0 }
    }

    #[test]
    fn reminders_come_ten_seconds_after_the_last() {
        let mut timers = Timers::new(at(5));
        assert!(!timers.status_is_due(at(5)), "a new session tells its size without it");
        assert!(timers.status_is_due(at(5 + REMINDER_MS)));
        assert!(timers.space_warning_is_due(at(5)));
        timers.status_sent(at(20_000));
        timers.space_warning_sent(at(20_000));
        for (now, due) in [(29_999, false), (30_000, true)] {
            assert_eq!((timers.status_is_due(at(now)), timers.space_warning_is_due(at(now))), (due, due));
        }
    }

    #[test]
    fn a_session_that_an_accident_has_emptied_stays_for_a_minute() {
        let settings = Settings::default();
        let mut timers = Timers::new(at(0));
        assert!(!timers.last_user_left(at(1)));
        timers.accident(at(10));
        assert!(!timers.last_user_left(at(11 + ACCIDENT_LINGER_MS)), "that was long ago");
        assert!(timers.last_user_left(at(20)));
        let verdict = |now| timers.expiry().verdict(&settings, Occupancy::EmptyAndTemporary, false, at(now));
        assert_eq!(verdict(19 + ACCIDENT_LINGER_MS), None);
        assert_eq!(verdict(20 + ACCIDENT_LINGER_MS), Some(Expired::Empty));
    }

    #[test]
    fn a_session_that_begins_empty_waits_for_its_first_visitor() {
        let settings = Settings::default();
        let mut timers = Timers::new(at(0));
        timers.begin_empty();
        let verdict = |timers: &Timers| {
            timers.expiry().verdict(&settings, Occupancy::EmptyAndTemporary, false, at(1_000))
        };
        assert_eq!(verdict(&timers), None);
        timers.visited();
        assert_eq!(verdict(&timers), Some(Expired::Empty));
    }
}
