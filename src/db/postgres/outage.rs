//! A circuit breaker: calls fail at once for a while after the database did not answer, so that threads are not held up.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long calls fail at once after the first failure.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest of these times: each failure after it doubles it.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// Whether the database answers.
#[derive(Debug, Default)]
pub(super) struct Outage(Mutex<Option<OpenBreaker>>);

/// Calls fail at once.
#[derive(Debug)]
struct OpenBreaker {
    until: Instant,
    wait: Duration,
    reason: String,
    /// One call tries again, and the others still fail.
    is_half_open: bool,
}

impl Outage {
    /// Why a call fails at once; `None` if it is to be tried. When the time is over one call is, and the others go on
    /// failing until that has ended, or [`MAX_WAIT`] has passed.
    pub(super) fn reason(&self, now: Instant) -> Option<String> {
        let mut state = self.0.lock();
        let state = state.as_mut()?;
        if now < state.until {
            return Some(state.reason.clone());
        }
        (state.until, state.is_half_open) = (now + MAX_WAIT, true);
        None
    }

    /// The database did not answer. Calls that were tried at the same moment count once.
    pub(super) fn begin(&self, now: Instant, reason: &str) {
        let mut state = self.0.lock();
        if state.as_ref().is_some_and(|state| now < state.until && !state.is_half_open) {
            return;
        }
        let wait = state.as_ref().map_or(FIRST_WAIT, |state| (state.wait * 2).min(MAX_WAIT));
        *state =
            Some(OpenBreaker { until: now + wait, wait, reason: reason.to_owned(), is_half_open: false });
    }

    /// It has answered.
    pub(super) fn end(&self) {
        *self.0.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_tried_again_after_longer_and_longer_times() {
        let outage = Outage::default();
        let start = Instant::now();
        assert_eq!(outage.reason(start), None);
        let mut now = start;
        for wait in [250, 500, 1000, 2000, 4000, 5000, 5000] {
            for _ in 0..8 {
                outage.begin(now, "refused");
            }
            let wait = Duration::from_millis(wait);
            assert_eq!(outage.reason(now + wait - Duration::from_millis(1)).as_deref(), Some("refused"));
            now += wait;
            assert_eq!(outage.reason(now), None, "it is tried");
            assert_eq!(outage.reason(now).as_deref(), Some("refused"), "by one");
        }
        outage.end();
        outage.begin(now, "refused");
        assert_eq!(outage.reason(now + FIRST_WAIT), None, "from the beginning");
    }
}
