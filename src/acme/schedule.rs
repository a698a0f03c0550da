//! When to renew a certificate, and when to try again after a failure. Pure functions: time and randomness are given.

use std::time::Duration;

/// Pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// Longest pause between attempts.
const MAX_PAUSE: Duration = Duration::from_secs(6 * 3600);

/// From when until when a certificate is valid, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: u64,
    pub(super) not_after: u64,
}

/// When to renew a certificate, in seconds since 1970: when a third of its life is left, and earlier by up to a
/// thirtieth of it, by chance (`random`), so that servers that began together do not ask together.
pub(super) fn renew_at(validity: Validity, random: u32) -> u64 {
    let life = validity.not_after.saturating_sub(validity.not_before);
    let spread = (u128::from(life / 30) * u128::from(random)) >> 32;
    validity.not_after.saturating_sub(life / 3).saturating_sub(spread as u64)
}

/// Pause after this many failures in a row: one minute, doubled each time, six hours at most, longer or shorter by up
/// to a quarter by chance (`random`). Certificate authorities limit failures, usually to five an hour for each name.
pub(super) fn pause_after(failures: u32, random: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let pause = doubled.min(MAX_PAUSE);
    // From 3/4 to 5/4.
    pause * 3 / 4 + pause.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    #[test]
    fn a_certificate_is_renewed_when_a_third_of_its_life_is_left() {
        for (days, earliest, latest) in [(90, 57, 60), (6, 3, 4), (3, 1, 2)] {
            let validity = Validity { not_before: 1000, not_after: 1000 + days * DAY };
            assert_eq!(renew_at(validity, 0), 1000 + latest * DAY, "{days} days");
            let first = renew_at(validity, u32::MAX);
            assert!((1000 + earliest * DAY..1000 + latest * DAY).contains(&first), "{days} days: {first}");
        }
    }

    #[test]
    fn a_certificate_with_impossible_dates_is_renewed_at_its_end() {
        assert_eq!(renew_at(Validity { not_before: 50, not_after: 20 }, u32::MAX), 20);
        assert_eq!(renew_at(Validity { not_before: 0, not_after: 0 }, 7), 0);
    }

    #[test]
    fn pauses_between_attempts_double_up_to_six_hours() {
        let middle = u32::MAX / 2;
        for (failures, minutes) in [(1, 1), (2, 2), (3, 4), (5, 16), (9, 256), (10, 360), (1000, 360)] {
            let pause = pause_after(failures, middle);
            assert_eq!((pause.as_secs_f64() / 60.0).round() as u64, minutes, "{failures} failures");
        }
        assert_eq!(pause_after(1, 0), Duration::from_secs(45));
        assert_eq!(pause_after(1, u32::MAX), Duration::from_secs(75));
    }
}
