//! How often something may be done: token buckets, and wrong passwords of an address.

mod by_address;

use std::collections::HashMap;
use std::net::IpAddr;

use crate::transport::network::networks;
pub use by_address::{AddressBuckets, REPORTS_A_MINUTE};

/// Wrong passwords from one address in [`FAILED_LOGIN_WINDOW_MS`] after which it has to wait.
const MAX_FAILED_LOGINS: u32 = 20;
/// See [`MAX_FAILED_LOGINS`], in milliseconds.
const FAILED_LOGIN_WINDOW_MS: u64 = 60_000;
/// Addresses that are remembered for that.
const MAX_ADDRESSES: usize = 10_000;

/// What was used of something that comes back over time: a token bucket, kept the other way round.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bucket {
    used: f64,
    /// When that was, on the forward clock in milliseconds.
    at: u64,
}

/// How much of something may be used.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// What comes back in a second.
    pub per_second: f64,
    /// What can be used at once.
    pub burst: f64,
}

impl Rate {
    /// So many a minute, which may come all at once.
    pub fn per_minute(count: u32) -> Rate {
        Rate { per_second: f64::from(count) / 60.0, burst: f64::from(count) }
    }

    /// So many a second, of which those of so many seconds may come at once.
    pub fn per_second(count: u32, seconds: u32) -> Rate {
        Rate { per_second: f64::from(count), burst: f64::from(count) * f64::from(seconds) }
    }

    /// So many times as much.
    pub fn times(self, factor: f64) -> Rate {
        Rate { per_second: self.per_second * factor, burst: self.burst * factor }
    }
}

impl Bucket {
    fn drain(&mut self, rate: Rate, now_ms: u64) {
        let elapsed = now_ms.saturating_sub(self.at) as f64 / 1000.0;
        self.used = (self.used - elapsed * rate.per_second).max(0.0);
        self.at = now_ms;
    }

    /// Uses one, if there is one left.
    pub fn take(&mut self, rate: Rate, now_ms: u64) -> bool {
        self.drain(rate, now_ms);
        let left = self.used + 1.0 <= rate.burst;
        if left {
            self.used += 1.0;
        }
        left
    }

    /// Uses some, whether or not they are left; returns after how many milliseconds they would have been.
    pub fn overdraw(&mut self, rate: Rate, now_ms: u64, count: u64) -> u64 {
        self.drain(rate, now_ms);
        self.used += count as f64;
        ((self.used - rate.burst).max(0.0) / rate.per_second * 1000.0) as u64
    }

    /// After how many milliseconds so much is left, 0 if it is now; uses nothing. What is more than can ever be left at
    /// once needs all of it.
    pub fn wait_for(&mut self, rate: Rate, now_ms: u64, count: u64) -> u64 {
        self.drain(rate, now_ms);
        let missing = self.used + (count as f64).min(rate.burst) - rate.burst;
        (missing.max(0.0) / rate.per_second * 1000.0).ceil() as u64
    }

    /// Whether everything has come back.
    pub fn is_full(&mut self, rate: Rate, now_ms: u64) -> bool {
        self.drain(rate, now_ms);
        self.used == 0.0
    }
}

/// Passwords that were tried and not right, by address: after too many in a minute an address waits for its end.
#[derive(Debug, Default)]
pub struct FailedLoginLimiter(HashMap<IpAddr, (u64, u32)>);

impl FailedLoginLimiter {
    /// A password is tried, unless the address has to wait. Counted before it is checked: who asks at once gains nothing.
    pub fn take(&mut self, address: IpAddr, now_ms: u64) -> bool {
        if self.0.len() >= MAX_ADDRESSES {
            self.0.retain(|_, (since, _)| now_ms < *since + FAILED_LOGIN_WINDOW_MS);
        }
        if self.0.len() >= MAX_ADDRESSES {
            self.0.clear();
        }
        let many = |factor: u32| MAX_FAILED_LOGINS.saturating_mul(factor);
        let waits = |(since, count): &(u64, u32), factor| {
            *count >= many(factor) && now_ms < since + FAILED_LOGIN_WINDOW_MS
        };
        if networks(address).any(|n| self.0.get(&n.key).is_some_and(|entry| waits(entry, n.factor))) {
            return false;
        }
        for network in networks(address) {
            let entry = self.0.entry(network.key).or_insert((now_ms, 0));
            if now_ms >= entry.0 + FAILED_LOGIN_WINDOW_MS {
                *entry = (now_ms, 0);
            }
            entry.1 += 1;
        }
        true
    }

    /// The last password of an address was right.
    pub fn give_back(&mut self, address: IpAddr) {
        for network in networks(address) {
            if let Some((_, count)) = self.0.get_mut(&network.key) {
                *count = count.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_only_what_comes_back() {
        let (mut bucket, rate) = (Bucket::default(), Rate::per_minute(60));
        assert!((0..60).all(|_| bucket.take(rate, 0)));
        assert!(!bucket.take(rate, 900));
        assert!(bucket.take(rate, 1000));
        assert!(!bucket.take(rate, 1000));
        assert!((0..60).all(|_| bucket.take(rate, 61_000)));
        assert!(!bucket.is_full(rate, 61_000));
        assert!(bucket.is_full(rate, 121_000));
    }

    #[test]
    fn who_uses_too_much_waits_for_it() {
        let (mut bucket, rate) = (Bucket::default(), Rate::per_second(100, 2));
        assert_eq!(bucket.overdraw(rate, 0, 200), 0);
        assert_eq!(bucket.overdraw(rate, 0, 50), 500);
        assert_eq!(bucket.overdraw(rate, 500, 0), 0);
        assert_eq!(bucket.overdraw(rate, 400, 0), 0, "a clock that goes back changes nothing");
    }

    #[test]
    fn what_is_not_left_is_waited_for_and_not_used() {
        let (mut bucket, rate) = (Bucket::default(), Rate::per_second(10, 5));
        assert_eq!(bucket.wait_for(rate, 0, 50), 0);
        assert_eq!(bucket.overdraw(rate, 0, 50), 0);
        assert_eq!(bucket.wait_for(rate, 0, 1), 100);
        assert_eq!(bucket.wait_for(rate, 0, 1), 100, "asking uses nothing");
        assert_eq!(bucket.wait_for(rate, 100, 1), 0);
        assert_eq!(bucket.wait_for(rate, 0, 1000), 5000 - 100, "more than there ever is waits for all");
        assert_eq!(bucket.wait_for(rate.times(2.0), 100, 50), 0);
    }

    #[test]
    fn who_guesses_has_to_wait() {
        let (mut attempts, address) = (FailedLoginLimiter::default(), "192.0.2.1".parse().unwrap());
        assert!((0..MAX_FAILED_LOGINS).all(|_| attempts.take(address, 1000)));
        assert!(!attempts.take(address, 2000));
        attempts.give_back(address);
        assert!(attempts.take(address, 2000) && !attempts.take(address, 2000));
        assert!(attempts.take("192.0.2.2".parse().unwrap(), 2000));
        assert!(attempts.take(address, 1000 + FAILED_LOGIN_WINDOW_MS));
    }

    #[test]
    fn who_has_many_addresses_guesses_no_more_often() {
        let mut attempts = FailedLoginLimiter::default();
        let address = |n: u32| format!("2001:db8::{n:x}").parse().unwrap();
        assert!((0..MAX_FAILED_LOGINS).all(|n| attempts.take(address(n), 1000)));
        assert!(!attempts.take(address(9999), 2000));
        assert!(attempts.take("2001:db8:0:1::".parse().unwrap(), 2000));
        let wider = |n: u32| format!("2001:db8:0:{n:x}::1").parse().unwrap();
        let let_in = (0..1000).filter(|n| attempts.take(wider(*n), 2000)).count();
        assert!(let_in < 20 * MAX_FAILED_LOGINS as usize, "{let_in}");
    }
}
