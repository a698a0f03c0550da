//! Proxies that are believed when they say whom they speak for.

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::ini::IpRange;

/// Networks of proxies that are believed, by default: the machine itself.
pub const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1"];

/// Networks of proxies that are believed.
#[derive(Debug, Clone)]
pub struct Trusted(Arc<[IpRange]>);

impl Default for Trusted {
    fn default() -> Self {
        Self(LOOPBACK.iter().filter_map(|text| IpRange::parse(text)).collect())
    }
}

impl Trusted {
    /// These networks.
    pub fn new(networks: &[IpRange]) -> Self {
        Self(networks.into())
    }

    /// Whether a proxy of this address is believed.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_single_addresses_are_read() {
        let trusted = Trusted::new(&["10.0.0.0/8", "::1", "192.0.2.1"].map(|n| IpRange::parse(n).unwrap()));
        for (address, expected) in [
            ("10.9.9.9", true),
            ("::ffff:10.1.1.1", true),
            ("::1", true),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
        ] {
            assert_eq!(trusted.contains(address.parse().unwrap()), expected, "{address}");
        }
        assert!(!Trusted::new(&[]).contains("127.0.0.1".parse().unwrap()));
        for local in ["127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(Trusted::default().contains(local.parse().unwrap()));
        }
    }
}
