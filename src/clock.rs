//! Time as it is given to the rules: they never look at a clock themselves.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};
use tokio::time::{Interval, MissedTickBehavior};

/// Where the monotonic clock stands when the process starts, in milliseconds: a hundred years, so that moments before
/// that (the last use of a stored session) have a value, too.
const MONOTONIC_START_MS: u64 = 100 * 365 * 24 * 3600 * 1000;

/// A moment, on two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp {
    /// Milliseconds on the monotonic clock.
    #[serde(alias = "ms")]
    pub monotonic_ms: u64,
    /// Milliseconds since 1970, UTC.
    pub utc_ms: i64,
}

impl Timestamp {
    /// The present moment.
    pub fn now() -> Timestamp {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        let start = *START.get_or_init(Instant::now);
        let utc = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
        Timestamp { monotonic_ms: MONOTONIC_START_MS + start.elapsed().as_millis() as u64, utc_ms: utc }
    }

    /// An earlier moment that only the wall clock knows, milliseconds since 1970. What lies in the future, as after the
    /// clock was set back, counts as this moment.
    pub fn earlier(self, utc_ms: i64) -> Timestamp {
        let passed_ms = u64::try_from(self.utc_ms.saturating_sub(utc_ms)).unwrap_or(0);
        let monotonic_ms = self.monotonic_ms.saturating_sub(passed_ms);
        Timestamp { monotonic_ms, utc_ms: self.utc_ms.min(utc_ms) }
    }

    /// This moment in ISO 8601, UTC, whole seconds.
    pub fn iso(self) -> String {
        iso_of(self.utc_ms)
    }
}

/// A timer that ticks every so often. What it has missed it does not make up for: after the process was paused (a virtual
/// machine that moved, `docker pause`) it ticks once.
pub fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    interval
}

/// Milliseconds since 1970 in ISO 8601, UTC, whole seconds.
pub fn iso_of(utc_ms: i64) -> String {
    let (first, last) = (jiff::Timestamp::MIN.as_second(), jiff::Timestamp::MAX.as_second());
    let time = jiff::Timestamp::from_second(utc_ms.div_euclid(1000).clamp(first, last)).unwrap_or_default();
    time.to_string()
}

/// Reads a time in ISO 8601 with a zone, as UTC. Also the end of time, 9999-12-31, with which lists of bans mean for ever:
/// instants end a day before.
pub fn utc_of(text: &str) -> Option<DateTime> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(time.to_zoned_datetime(jiff::tz::TimeZone::UTC).datetime());
    }
    let utc = ["Z", "z", "+00:00"].iter().find_map(|zone| text.strip_suffix(zone))?;
    utc.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_whole_seconds_of_utc() {
        assert_eq!(iso_of(1_795_241_572_999), "2026-11-21T06:12:52Z");
    }

    #[actix_rt::test]
    async fn after_a_pause_a_timer_ticks_once() {
        let mut timer = every(Duration::from_millis(20));
        timer.tick().await;
        // As if the process was paused: nothing else runs on this thread.
        std::thread::sleep(Duration::from_millis(200));
        timer.tick().await;
        let ready = |timer: &mut Interval| {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            timer.poll_tick(&mut context).is_ready()
        };
        let ticks = (0..10).take_while(|_| ready(&mut timer)).count();
        assert!(ticks <= 1, "{ticks} ticks more, of ten that were missed");
    }

    #[test]
    fn times_are_read_up_to_their_end() {
        for (text, expected) in [
            ("2026-11-21T06:12:52Z", Some("2026-11-21T06:12:52")),
            ("2026-11-21T06:12:52+01:00", Some("2026-11-21T05:12:52")),
            ("9999-12-31T23:59:59Z", Some("9999-12-31T23:59:59")),
            ("9999-12-31T23:59:59+00:00", Some("9999-12-31T23:59:59")),
            ("9999-12-31T23:59:59", None),
            ("soon", None),
        ] {
            assert_eq!(utc_of(text).map(|t| t.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_forward_clock_goes_forward() {
        let first = Timestamp::now();
        assert!(Timestamp::now() >= first);
    }
}
