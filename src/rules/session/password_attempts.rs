//! Rate limit for operator password attempts, by address and for the session as a whole.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::rules::limits::{Bucket, Rate};
use crate::rules::network::narrowest;

/// Limit for all addresses together, as a multiple of that for one.
const ALL_FACTOR: u32 = 4;
/// Maximum number of tracked addresses.
const MAX_ADDRESSES: usize = 1000;

/// Attempts of the last minute.
#[derive(Debug, Default)]
pub(super) struct PasswordAttempts {
    all: Bucket,
    by_address: BTreeMap<Option<IpAddr>, Bucket>,
}

impl PasswordAttempts {
    /// Counts an attempt; returns whether it is allowed. `limit`: attempts per minute and address, 0 for none.
    pub(super) fn take(&mut self, address: Option<IpAddr>, limit: u32, now_ms: u64) -> bool {
        if limit == 0 {
            return true;
        }
        let rate = Rate::per_minute(limit);
        if self.by_address.len() >= MAX_ADDRESSES {
            self.by_address.retain(|_, bucket| !bucket.is_full(rate, now_ms));
        }
        let address = address.map(narrowest);
        if self.by_address.len() >= MAX_ADDRESSES && !self.by_address.contains_key(&address) {
            return false;
        }
        self.by_address.entry(address).or_default().take(rate, now_ms)
            && self.all.take(Rate::per_minute(limit.saturating_mul(ALL_FACTOR)), now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> Option<IpAddr> {
        Some(std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into())
    }

    #[test]
    fn password_attempts_are_limited_by_address_and_session() {
        let mut password_attempts = PasswordAttempts::default();
        let mut allowed = |n, now_ms| (0..9).filter(|_| password_attempts.take(ip(n), 3, now_ms)).count();
        assert_eq!([1, 1, 2, 3].map(|n| allowed(n, 0)), [3, 0, 3, 3]);
        assert_eq!([4, 5].map(|n| allowed(n, 0)), [3, 0], "12 together");
        assert_eq!(allowed(5, 60_000), 3);
    }

    #[test]
    fn tracked_addresses_are_bounded() {
        let mut password_attempts = PasswordAttempts::default();
        let let_in = (0..5000).filter(|n| password_attempts.take(ip(*n), 10_000, 0)).count();
        assert_eq!((let_in, password_attempts.by_address.len()), (MAX_ADDRESSES, MAX_ADDRESSES));
        assert!(password_attempts.take(ip(9999), 10_000, 1000), "they are forgotten again");
    }
}
