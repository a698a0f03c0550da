//! Rate limits by address: a token bucket for each.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{Bucket, Rate};
use crate::rules::network::networks;

/// Abuse reports of one address per minute.
pub const REPORTS_A_MINUTE: u32 = 5;
/// Buckets that are kept. Beyond, the full ones are dropped; if none is full, all.
const MAX_BUCKETS: usize = 1000;

/// A token bucket for each address and, of IPv6, for each network around it ([`networks`]). Bounded.
#[derive(Debug, Default)]
pub struct AddressBuckets(HashMap<Option<IpAddr>, Bucket>);

impl AddressBuckets {
    /// Uses one token of an address and of the networks around it; false if the rate limit of one of them is reached.
    /// All clients without an address share one bucket.
    pub fn take(&mut self, address: Option<IpAddr>, rate: Rate, now_ms: u64) -> bool {
        if self.0.len() >= MAX_BUCKETS {
            self.0.retain(|_, bucket| !bucket.is_full(rate, now_ms));
        }
        if self.0.len() >= MAX_BUCKETS {
            self.0.clear();
        }
        let around: Vec<(Option<IpAddr>, Rate)> = match address {
            Some(address) => {
                networks(address).map(|n| (Some(n.key), rate.times(f64::from(n.factor)))).collect()
            }
            None => vec![(None, rate)],
        };
        let is_used_up = |(key, rate): &(Option<IpAddr>, Rate)| {
            self.0.get_mut(key).is_some_and(|bucket| bucket.wait_for(*rate, now_ms, 1) > 0)
        };
        if around.iter().any(is_used_up) {
            return false;
        }
        around.into_iter().all(|(key, rate)| self.0.entry(key).or_default().take(rate, now_ms))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn each_address_has_a_rate_limit_and_the_number_of_buckets_is_bounded() {
        let (mut buckets, rate) = (AddressBuckets::default(), Rate::per_minute(1));
        let wide = |n: u128| Some(Ipv6Addr::from_bits(0x2001_0db9 << 96 | n << 64).into());
        let of_network = (0..1000).filter(|n| buckets.take(wide(*n), rate, 0)).count();
        assert_eq!(of_network, 16, "a /48 network has sixteen times the limit");
        buckets.0.clear();
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
