//! Rate limits by address: a token bucket for each.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{Bucket, Rate};
use crate::rules::network::narrowest;

/// Abuse reports of one address per minute.
pub const REPORTS_A_MINUTE: u32 = 5;
/// Buckets that are kept. Beyond, the full ones are dropped; if none is full, all.
const MAX_BUCKETS: usize = 1000;

/// A token bucket for each address (IPv6: each /64 network). Bounded.
#[derive(Debug, Default)]
pub struct AddressBuckets(HashMap<Option<IpAddr>, Bucket>);

impl AddressBuckets {
    /// Uses one token of an address; false if its rate limit is reached. All clients without an address share one
    /// bucket.
    pub fn take(&mut self, address: Option<IpAddr>, rate: Rate, now_ms: u64) -> bool {
        if self.0.len() >= MAX_BUCKETS {
            self.0.retain(|_, bucket| !bucket.is_full(rate, now_ms));
        }
        if self.0.len() >= MAX_BUCKETS {
            self.0.clear();
        }
        let key = address.map(narrowest);
        self.0.entry(key).or_default().take(rate, now_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn each_address_has_a_rate_limit_and_the_number_of_buckets_is_bounded() {
        let (mut buckets, rate) = (AddressBuckets::default(), Rate::per_minute(1));
        let mut take = |text: &str, now| buckets.take(text.parse().ok(), rate, now);
        assert!(take("192.0.2.1", 0) && !take("::ffff:192.0.2.1", 0) && take("192.0.2.2", 0));
        assert!(take("2001:db8::1", 0) && !take("2001:db8::ffff:2", 0) && take("2001:db8:0:1::1", 0));
        assert!(take("192.0.2.1", 60_000));
        for n in 0..3 * MAX_BUCKETS as u128 {
            let address = Ipv6Addr::from_bits(0x2001 << 112 | n << 64);
            buckets.take(Some(address.into()), rate, 60_000);
        }
        assert!(buckets.0.len() <= MAX_BUCKETS);
    }
}
