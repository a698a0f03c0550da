//! Time as an input: the state machines get a [`Timestamp`] and never read a clock themselves.

use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;

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
    fn a_wall_clock_time_is_mapped_to_the_monotonic_clock() {
        let now = Timestamp { monotonic_ms: 10_000, utc_ms: 1_000_000 };
        for (utc_ms, monotonic_ms, wall) in [
            (1_000_000, 10_000, 1_000_000),
            (997_000, 7_000, 997_000),
            // Before the monotonic clock began.
            (0, 0, 0),
            // The wall clock was set back since: monotonic time never lies ahead.
            (1_000_001, 10_000, 1_000_000),
            (i64::MIN, 0, i64::MIN),
            (i64::MAX, 10_000, 1_000_000),
        ] {
            assert_eq!(now.earlier(utc_ms), Timestamp { monotonic_ms, utc_ms: wall }, "{utc_ms}");
        }
    }

    #[test]
    fn timestamps_are_ordered_by_the_monotonic_clock() {
        let first = Timestamp { monotonic_ms: 1, utc_ms: 5000 };
        let second = Timestamp { monotonic_ms: 2, utc_ms: 0 };
        assert!(first < second, "also when the wall clock was set back");
    }

    #[test]
    fn times_are_written_in_whole_seconds_of_utc() {
        assert_eq!(iso_of(1_795_241_572_999), "2026-11-21T06:12:52Z");
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
}
