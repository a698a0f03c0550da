//! Time as an input: the state machines get a [`Timestamp`] and never read a clock themselves.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};
use tokio::time::{Interval, MissedTickBehavior};

/// Value of the monotonic clock at process start, in milliseconds: a hundred years, so that earlier moments (such as
/// the last use of a stored session) do not underflow.
const MONOTONIC_START_MS: u64 = 100 * 365 * 24 * 3600 * 1000;

/// A moment, by the monotonic clock and by the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp {
    /// Milliseconds by the monotonic clock, which never goes backwards. Used for time-outs, rate limits and
    /// intervals; has no meaning outside this process.
    #[serde(alias = "ms")]
    pub monotonic_ms: u64,
    /// Milliseconds since 1970, UTC, by the wall clock, which may be set back. Used for what is shown or stored.
    pub utc_ms: i64,
}

impl Timestamp {
    pub fn now() -> Timestamp {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        let start = *START.get_or_init(Instant::now);
        let utc = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
        Timestamp { monotonic_ms: MONOTONIC_START_MS + start.elapsed().as_millis() as u64, utc_ms: utc }
    }

    /// Maps a wall-clock time (milliseconds since 1970) to a timestamp with both clocks. A time in the future, as
    /// after the clock was set back, becomes this moment.
    pub fn earlier(self, utc_ms: i64) -> Timestamp {
        let elapsed_ms = u64::try_from(self.utc_ms.saturating_sub(utc_ms)).unwrap_or(0);
        let monotonic_ms = self.monotonic_ms.saturating_sub(elapsed_ms);
        Timestamp { monotonic_ms, utc_ms: self.utc_ms.min(utc_ms) }
    }

    /// ISO 8601 in UTC, whole seconds.
    pub fn iso(self) -> String {
        iso_of(self.utc_ms)
    }
}

/// A timer with a fixed period that skips missed ticks: after the process was paused (a virtual machine that was
/// migrated, `docker pause`) it ticks once.
pub fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    interval
}

/// Milliseconds since 1970 as ISO 8601 in UTC, whole seconds.
pub fn iso_of(utc_ms: i64) -> String {
    let (first, last) = (jiff::Timestamp::MIN.as_second(), jiff::Timestamp::MAX.as_second());
    let time = jiff::Timestamp::from_second(utc_ms.div_euclid(1000).clamp(first, last)).unwrap_or_default();
    time.to_string()
}

/// Parses an ISO 8601 time with a time zone; returns UTC. Accepts 9999-12-31 too, which ban lists use for "for ever"
/// and which `jiff::Timestamp` cannot hold.
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
    async fn a_timer_skips_missed_ticks() {
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
        assert!(ticks <= 1, "{ticks} more ticks, of ten that were missed");
    }

    #[test]
    fn iso_8601_times_are_parsed_up_to_9999() {
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
    fn the_monotonic_clock_never_goes_backwards() {
        let first = Timestamp::now();
        assert!(Timestamp::now() >= first);
    }
}
