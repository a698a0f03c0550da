//! Rate limits: token buckets, the limit of drawing by rank, and the limit of failed logins per address.

mod by_address;
mod drawing;

use std::collections::HashMap;
use std::net::IpAddr;

use crate::rules::network::networks;
pub use by_address::{AddressBuckets, REPORTS_A_MINUTE};
pub use drawing::{AddressDrawLimiter, DrawCharge, DrawLimiter, DrawRate, Rank};

/// Rate limit of failed logins: those of one address within [`FAILED_LOGIN_WINDOW_MS`] after which more are refused.
const MAX_FAILED_LOGINS: u32 = 20;
const FAILED_LOGIN_WINDOW_MS: u64 = 60_000;
/// Addresses that [`FailedLoginLimiter`] remembers.
const MAX_ADDRESSES: usize = 10_000;

/// A token bucket of a rate limit. It stores the tokens used, so that the default is a full bucket and the [`Rate`]
/// may change at any time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bucket {
    used: f64,
    /// When `used` was last updated: monotonic clock, milliseconds.
    updated_at: u64,
}

/// A rate limit: how fast a [`Bucket`] refills, and how much it holds.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Tokens that are refilled per second; must be positive.
    pub per_second: f64,
    /// Capacity of the bucket: tokens that can be used at once.
    pub burst: f64,
}

impl Rate {
    /// A rate limit of `count` per minute, all of which may be used at once.
    pub fn per_minute(count: u32) -> Rate {
        Rate { per_second: f64::from(count) / 60.0, burst: f64::from(count) }
    }

    /// A rate limit of `count` per second, with a burst of `seconds` seconds.
    pub fn per_second(count: u32, seconds: u32) -> Rate {
        Rate { per_second: f64::from(count), burst: f64::from(count) * f64::from(seconds) }
    }

    /// This rate limit, multiplied.
    pub fn times(self, factor: f64) -> Rate {
        Rate { per_second: self.per_second * factor, burst: self.burst * factor }
    }
}

impl Bucket {
    fn refill(&mut self, rate: Rate, now_ms: u64) {
        let elapsed = now_ms.saturating_sub(self.updated_at) as f64 / 1000.0;
        self.used = (self.used - elapsed * rate.per_second).max(0.0);
        self.updated_at = now_ms;
    }

    /// Uses one token; false if the rate limit is reached.
    pub fn take(&mut self, rate: Rate, now_ms: u64) -> bool {
        self.refill(rate, now_ms);
        let available = self.used + 1.0 <= rate.burst;
        if available {
            self.used += 1.0;
        }
        available
    }

    /// Uses `count` tokens even if there are fewer. Returns the milliseconds until the debt is refilled.
    pub fn overdraw(&mut self, rate: Rate, now_ms: u64, count: u64) -> u64 {
        self.refill(rate, now_ms);
        self.used += count as f64;
        ((self.used - rate.burst).max(0.0) / rate.per_second * 1000.0) as u64
    }

    /// Milliseconds until `count` tokens are available, 0 if they are now; uses none. A `count` above the burst waits
    /// for a full bucket.
    pub fn wait_for(&mut self, rate: Rate, now_ms: u64, count: u64) -> u64 {
        self.refill(rate, now_ms);
        let missing = self.used + (count as f64).min(rate.burst) - rate.burst;
        (missing.max(0.0) / rate.per_second * 1000.0).ceil() as u64
    }

    /// Forgives what is owed beyond the burst.
    pub fn forgive(&mut self, rate: Rate) {
        self.used = self.used.min(rate.burst);
    }

    /// Whether all tokens are refilled.
    pub fn is_full(&mut self, rate: Rate, now_ms: u64) -> bool {
        self.refill(rate, now_ms);
        self.used == 0.0
    }
}

/// Rate limit of failed logins per address and per network around it ([`networks`]). Maps a network to the start of
/// its window (monotonic milliseconds) and the attempts since.
#[derive(Debug, Default)]
pub struct FailedLoginLimiter(HashMap<IpAddr, (u64, u32)>);

impl FailedLoginLimiter {
    /// Counts a login attempt; false if the rate limit is reached. To be called before the password is checked:
    /// attempts in parallel all count.
    pub fn take(&mut self, address: IpAddr, now_ms: u64) -> bool {
        if self.0.len() >= MAX_ADDRESSES {
            self.0.retain(|_, (since, _)| now_ms < *since + FAILED_LOGIN_WINDOW_MS);
        }
        if self.0.len() >= MAX_ADDRESSES {
            self.0.clear();
        }
        let limit = |factor: u32| MAX_FAILED_LOGINS.saturating_mul(factor);
        let is_limited = |(since, count): &(u64, u32), factor| {
            *count >= limit(factor) && now_ms < since + FAILED_LOGIN_WINDOW_MS
        };
        if networks(address).any(|n| self.0.get(&n.key).is_some_and(|entry| is_limited(entry, n.factor))) {
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

    /// Uncounts an attempt: the password was right.
    pub fn refund(&mut self, address: IpAddr) {
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
    fn the_rate_limit_allows_a_burst_and_then_what_is_refilled() {
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
    fn an_overdrawn_bucket_returns_the_time_to_refill() {
        let (mut bucket, rate) = (Bucket::default(), Rate::per_second(100, 2));
        assert_eq!(bucket.overdraw(rate, 0, 200), 0);
        assert_eq!(bucket.overdraw(rate, 0, 50), 500);
        assert_eq!(bucket.overdraw(rate, 500, 0), 0);
        assert_eq!(bucket.overdraw(rate, 400, 0), 0, "a clock that goes back changes nothing");
    }

    #[test]
    fn wait_for_returns_the_time_to_refill_and_takes_nothing() {
        let (mut bucket, rate) = (Bucket::default(), Rate::per_second(10, 5));
        assert_eq!(bucket.wait_for(rate, 0, 50), 0);
        assert_eq!(bucket.overdraw(rate, 0, 50), 0);
        assert_eq!(bucket.wait_for(rate, 0, 1), 100);
        assert_eq!(bucket.wait_for(rate, 0, 1), 100, "asking uses nothing");
        assert_eq!(bucket.wait_for(rate, 100, 1), 0);
        assert_eq!(bucket.wait_for(rate, 0, 1000), 5000 - 100, "more than the burst waits for a full bucket");
        assert_eq!(bucket.wait_for(rate.times(2.0), 100, 50), 0);
    }

    #[test]
    fn failed_logins_are_rate_limited_per_address() {
        let (mut limiter, address) = (FailedLoginLimiter::default(), "192.0.2.1".parse().unwrap());
        assert!((0..MAX_FAILED_LOGINS).all(|_| limiter.take(address, 1000)));
        assert!(!limiter.take(address, 2000));
        limiter.refund(address);
        assert!(limiter.take(address, 2000) && !limiter.take(address, 2000));
        assert!(limiter.take("192.0.2.2".parse().unwrap(), 2000));
        assert!(limiter.take(address, 1000 + FAILED_LOGIN_WINDOW_MS));
    }

    #[test]
    fn failed_logins_of_an_ipv6_network_count_together() {
        let mut limiter = FailedLoginLimiter::default();
        let address = |n: u32| format!("2001:db8::{n:x}").parse().unwrap();
        assert!((0..MAX_FAILED_LOGINS).all(|n| limiter.take(address(n), 1000)));
        assert!(!limiter.take(address(9999), 2000));
        assert!(limiter.take("2001:db8:0:1::".parse().unwrap(), 2000));
        let wider = |n: u32| format!("2001:db8:0:{n:x}::1").parse().unwrap();
        let admitted = (0..1000).filter(|n| limiter.take(wider(*n), 2000)).count();
        assert!(admitted < 20 * MAX_FAILED_LOGINS as usize, "{admitted}");
    }
}
