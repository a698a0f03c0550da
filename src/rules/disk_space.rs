//! When a disk will be full, at the rate at which it was filled lately.

use std::collections::VecDeque;

/// How far the rate looks back, in milliseconds: a day.
const WINDOW_MS: u64 = 24 * 3_600_000;
/// Minimum interval of samples that are kept, in milliseconds.
const INTERVAL_MS: u64 = 5 * 60_000;
/// No rate is known before this time has been observed, in milliseconds.
const MIN_OBSERVED_MS: u64 = 60_000;
/// Beyond this the disk does not count as filling up, in seconds: a year.
const MAX_SECONDS: u64 = 365 * 86_400;

/// Free space of a disk over the last day. Bounded: one sample in five minutes.
#[derive(Debug, Default)]
pub struct SpaceTrend {
    /// Monotonic milliseconds, and free bytes then; oldest first.
    samples: VecDeque<(u64, u64)>,
}

impl SpaceTrend {
    /// Adds what is free now. When much was freed, what came before says nothing about the future and is forgotten.
    pub fn add(&mut self, now_ms: u64, free: u64) {
        if self.samples.back().is_some_and(|(_, last)| free > last.saturating_add(last / 10)) {
            self.samples.clear();
        }
        if self.samples.back().is_none_or(|(at, _)| now_ms >= at + INTERVAL_MS) {
            self.samples.push_back((now_ms, free));
        }
        while self.samples.front().is_some_and(|(at, _)| now_ms > at + WINDOW_MS) {
            self.samples.pop_front();
        }
    }

    /// Seconds until the disk is full at the rate of the last day; `None` if that is not known, or it does not fill
    /// up.
    pub fn seconds_left(&self, now_ms: u64, free: u64) -> Option<u64> {
        let (since, before) = self.samples.front()?;
        let elapsed_ms = now_ms.saturating_sub(*since);
        let used = before.saturating_sub(free);
        if elapsed_ms < MIN_OBSERVED_MS || used == 0 {
            return None;
        }
        let seconds = u128::from(free) * u128::from(elapsed_ms) / u128::from(used) / 1000;
        u64::try_from(seconds).ok().filter(|seconds| *seconds <= MAX_SECONDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;
    const HOUR: u64 = 60 * MINUTE;

    /// A disk that loses so many bytes a minute.
    fn filled(trend: &mut SpaceTrend, from: u64, minutes: u64, free: u64, a_minute: u64) -> u64 {
        (0..=minutes).for_each(|n| trend.add(from + n * MINUTE, free - n * a_minute));
        free - minutes * a_minute
    }

    #[test]
    fn the_time_left_follows_the_rate_of_the_last_day() {
        let mut trend = SpaceTrend::default();
        let free = filled(&mut trend, 0, 120, 10_000_000, 1000);
        assert_eq!(trend.seconds_left(2 * HOUR, free), Some(free / 1000 * 60));
        let later = filled(&mut trend, 2 * HOUR, 48 * 60, free, 100);
        let left = trend.seconds_left(50 * HOUR, later).unwrap();
        assert_eq!(left / 600, later / 100 * 60 / 600, "what was two days ago does not count");
        assert!(trend.samples.len() <= 290);
    }

    #[test]
    fn no_time_is_named_before_a_rate_is_known_or_when_the_disk_does_not_fill_up() {
        let mut trend = SpaceTrend::default();
        assert_eq!(trend.seconds_left(0, 5), None);
        trend.add(0, 1000);
        assert_eq!(trend.seconds_left(MIN_OBSERVED_MS - 1, 900), None);
        assert_eq!(trend.seconds_left(MIN_OBSERVED_MS, 900), Some(540));
        assert_eq!(trend.seconds_left(HOUR, 1000), None);
        assert_eq!(trend.seconds_left(24 * HOUR, 999), None, "in years");
    }

    #[test]
    fn after_something_was_deleted_the_rate_begins_anew() {
        let mut trend = SpaceTrend::default();
        let free = filled(&mut trend, 0, 60, 10_000_000, 100_000);
        trend.add(HOUR, free + 5_000_000);
        assert_eq!(
            trend.seconds_left(HOUR + MINUTE, free + 5_000_000 - 1000),
            Some((free + 5_000_000 - 1000) / 1000 * 60)
        );
    }
}
