//! Token buckets by address.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{Bucket, Rate};
use crate::transport::network::narrowest;

/// Abuse reports of one address in a minute.
pub const REPORTS_A_MINUTE: u32 = 5;
/// Addresses that have a bucket of their own.
const MAX_BUCKETS: usize = 1000;

/// A bucket for each address (IPv6: a network of 64 bits), of a bounded number of them.
#[derive(Debug, Default)]
pub struct AddressBuckets(HashMap<Option<IpAddr>, Bucket>);

impl AddressBuckets {
    /// Uses one of an address, if there is one left; who has no address shares a bucket with all others without.
    pub fn take(&mut self, address: Option<IpAddr>, rate: Rate, now_ms: u64) -> bool {
        if self.0.len() >= MAX_BUCKETS {
            self.0.retain(|_, bucket| !bucket.is_full(rate, now_ms));
        }
        if self.0.len() >= MAX_BUCKETS {
            self.0.clear();
        }
        let place = address.map(narrowest);
        self.0.entry(place).or_default().take(rate, now_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn each_address_has_a_bucket_and_many_do_not_take_memory_for_ever() {
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
