//! Time as it is given to the rules: they never look at a clock themselves.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Now {
    /// Milliseconds on a clock that only goes forward.
    pub ms: u64,
    /// Milliseconds since 1970, UTC.
    pub utc_ms: i64,
}

impl Now {
    /// The present moment. The forward clock starts with the process.
    pub fn get() -> Now {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        let start = *START.get_or_init(Instant::now);
        let utc = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
        Now { ms: start.elapsed().as_millis() as u64, utc_ms: utc }
    }

    /// This moment in ISO 8601, UTC, whole seconds.
    pub fn iso(self) -> String {
        iso_of(self.utc_ms)
    }
}

/// Milliseconds since 1970 in ISO 8601, UTC, whole seconds.
pub fn iso_of(utc_ms: i64) -> String {
    let time = jiff::Timestamp::from_second(utc_ms.div_euclid(1000)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_whole_seconds_of_utc() {
        assert_eq!(iso_of(1_795_241_572_999), "2026-11-21T06:12:52Z");
    }

    #[test]
    fn the_forward_clock_goes_forward() {
        let first = Now::get();
        assert!(Now::get() >= first);
    }
}
