//! Reads the clocks, and makes timers.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::time::{Interval, MissedTickBehavior};

use crate::rules::time::Timestamp;

/// Value of the monotonic clock at process start, in milliseconds: a hundred years, so that earlier moments (such as
/// the last use of a stored session) do not underflow.
const MONOTONIC_START_MS: u64 = 100 * 365 * 24 * 3600 * 1000;

impl Timestamp {
    /// The present moment.
    pub fn now() -> Timestamp {
        let utc = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
        Timestamp { monotonic_ms: MONOTONIC_START_MS + elapsed().as_millis() as u64, utc_ms: utc }
    }

    /// The monotonic clock in microseconds since the process started, for intervals that are shorter than those of a
    /// timestamp.
    pub fn monotonic_us() -> u64 {
        elapsed().as_micros() as u64
    }
}

/// Time since the process has asked for the first time.
fn elapsed() -> Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// A timer with a fixed period that skips missed ticks: after the process was paused (a virtual machine that was
/// migrated, `docker pause`) it ticks once.
pub fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    interval
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn the_monotonic_clock_never_goes_backwards() {
        let first = Timestamp::now();
        assert!(Timestamp::now() >= first);
    }
}
