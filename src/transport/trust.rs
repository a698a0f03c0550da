//! Proxies that are believed when they say whom they speak for.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

/// Networks of proxies that are believed, by default: the machine itself.
pub const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1"];

/// Networks of proxies that are believed.
#[derive(Debug, Clone)]
pub struct Trusted(Arc<[IpNet]>);

impl Default for Trusted {
    fn default() -> Self {
        Self(LOOPBACK.iter().filter_map(|text| network(text).ok()).collect())
    }
}

impl Trusted {
    /// These networks.
    pub fn new(networks: &[IpNet]) -> Self {
        Self(networks.into())
    }

    /// Whether a proxy of this address is believed.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Reads a network: `address/prefix`, or an address alone.
///
/// # Errors
/// When it is neither.
pub fn network(text: &str) -> Result<IpNet, String> {
    let alone = || text.parse::<IpAddr>().map(IpNet::from).ok();
    text.parse::<IpNet>()
        .ok()
        .or_else(alone)
        .ok_or_else(|| "expected a network such as 10.0.0.0/8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_single_addresses_are_read() {
        let trusted = Trusted::new(&["10.0.0.0/8", "::1", "192.0.2.1"].map(|n| network(n).unwrap()));
        for (address, expected) in [
            ("10.9.9.9", true),
            ("::ffff:10.1.1.1", true),
            ("::1", true),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
        ] {
            assert_eq!(trusted.contains(address.parse().unwrap()), expected, "{address}");
        }
        assert!(network("10.0.0.0/33").is_err());
        assert!(!Trusted::new(&[]).contains("127.0.0.1".parse().unwrap()));
        for local in ["127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(Trusted::default().contains(local.parse().unwrap()));
        }
    }
}
