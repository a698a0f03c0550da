//! Compaction that the server begins by itself: an external program makes an image of the canvas when the history is past
//! its autoreset threshold and no client has reduced it. Source: docs/spec/session.md#compacting.

use crate::log::{Level, Topic};
use crate::rules::session::thumbnail::{BUSY_MS, Rendered};
use crate::rules::session::{Cx, Effect, SessionMachine};
use crate::rules::time::Timestamp;

/// Delay after the first failure in milliseconds; each further one doubles it.
const RETRY_MS: u64 = 60_000;
/// Maximum delay after a failure in milliseconds.
const MAX_RETRY_MS: u64 = 3_600_000;

/// Attempts for which a session stays loaded with nobody there.
const MAX_KEPT_LOADED: u32 = 3;

/// State of the server's own compaction.
#[derive(Debug, Default)]
pub(super) struct Compaction {
    is_running: bool,
    /// Failures since the last success.
    failures: u32,
    /// The last attempt found the disk full.
    lacks_space: bool,
    /// After a failure, or when the program was busy or the disk full: time of the next attempt, monotonic milliseconds.
    retry_at: Option<u64>,
}

impl Compaction {
    pub(super) fn is_running(&self) -> bool {
        self.is_running
    }

    /// Time of the next attempt, monotonic milliseconds.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.retry_at
    }

    fn may_begin(&self, now: Timestamp) -> bool {
        !self.is_running && self.retry_at.is_none_or(|due| now.monotonic_ms >= due)
    }

    fn begin(&mut self) {
        self.is_running = true;
        self.retry_at = None;
    }

    fn succeeded(&mut self) {
        *self = Compaction::default();
    }

    /// Returns the delay before the next attempt, in milliseconds.
    fn failed(&mut self, now: Timestamp) -> u64 {
        let delay = (RETRY_MS << self.failures).min(MAX_RETRY_MS);
        self.failures = (self.failures + 1).min(16);
        self.retry_after(now, delay);
        delay
    }

    fn retry_after(&mut self, now: Timestamp, delay: u64) {
        self.is_running = false;
        self.retry_at = Some(now.monotonic_ms + delay);
    }
}

impl SessionMachine {
    pub(super) fn is_past_threshold(&self) -> bool {
        let threshold = self.effective_threshold();
        threshold > 0 && self.history.size() > threshold
    }

    /// Whether the history will soon be compacted, which the session should stay loaded for.
    pub fn awaits_compaction(&self) -> bool {
        let compaction = &self.resets.compaction;
        let is_soon = compaction.retry_at.is_some() && !compaction.lacks_space;
        is_soon && compaction.failures <= MAX_KEPT_LOADED && self.is_past_threshold()
    }

    /// Has the server reduce the history, if it is past the threshold and no client is at it.
    pub(in crate::rules::session) fn begin_compaction(&mut self, cx: &mut Cx<'_>) {
        let resets = &self.resets;
        let is_free = resets.is_running() && resets.autoreset.is_idle() && resets.staged.is_none();
        let may_begin = self.shared.settings.compact_at_threshold && resets.compaction.may_begin(cx.now);
        if !is_free || !may_begin || self.timers.is_stopping() || !self.is_past_threshold() {
            return;
        }
        self.resets.compaction.begin();
        cx.push(Effect::Compact);
    }

    /// The server's own compaction has ended.
    pub(in crate::rules::session) fn compaction_done(&mut self, outcome: Rendered<()>, cx: &mut Cx<'_>) {
        self.resets.compaction.lacks_space = matches!(outcome, Rendered::NoSpace);
        let error = match outcome {
            // An image that is not smaller is no reason to begin again at once.
            Rendered::Made(()) if self.is_past_threshold() => {
                "the image is larger than the autoreset threshold".to_owned()
            }
            Rendered::Made(()) => return self.resets.compaction.succeeded(),
            Rendered::Busy | Rendered::NoSpace => return self.resets.compaction.retry_after(cx.now, BUSY_MS),
            Rendered::Failed(error) => error,
        };
        let minutes = self.resets.compaction.failed(cx.now) / 60_000;
        let text = format!("Compacting the history failed: {error}. The next attempt is in {minutes} min.");
        self.note(Level::Warn, Topic::Status, text, cx);
    }

    /// Begins the next attempt when it is due, if the history is still past the threshold.
    pub(in crate::rules::session) fn compaction_tick(&mut self, cx: &mut Cx<'_>) {
        if self.resets.compaction.retry_at.take_if(|due| cx.now.monotonic_ms >= *due).is_some() {
            self.begin_compaction(cx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_doubles_the_delay_up_to_an_hour() {
        let now = Timestamp { monotonic_ms: 5_000, utc_ms: 0 };
        let mut compaction = Compaction::default();
        let mut delays = Vec::new();
        for _ in 0..100 {
            delays.push(compaction.failed(now) / 60_000);
        }
        assert_eq!(delays[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(delays[99], 60);
        assert!(!compaction.may_begin(now));
        assert!(compaction.may_begin(Timestamp { monotonic_ms: 5_000 + MAX_RETRY_MS, utc_ms: 0 }));
        compaction.begin();
        assert!(!compaction.may_begin(now), "one at a time");
        compaction.succeeded();
        assert_eq!(compaction.failed(now), RETRY_MS);
    }
}
