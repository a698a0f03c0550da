//! IP address ranges in CIDR notation, for bans and trusted proxies.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, PrefixLenError};
use serde::{Deserialize, Serialize};

/// An address range. Keeps the address that it was given with, which may be any of the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct IpRange(IpNet);

/// The form of an [`IpRange`] in traces.
#[derive(Serialize, Deserialize)]
struct Fields {
    from: IpAddr,
    prefix: u8,
}

impl TryFrom<Fields> for IpRange {
    type Error = PrefixLenError;

    fn try_from(Fields { from, prefix }: Fields) -> Result<IpRange, PrefixLenError> {
        IpNet::new(from, prefix).map(IpRange)
    }
}

impl From<IpRange> for Fields {
    fn from(IpRange(net): IpRange) -> Fields {
        Fields { from: net.addr(), prefix: net.prefix_len() }
    }
}

impl IpRange {
    /// Parses `address` or `address/prefix`. Without a prefix the range is the single address.
    pub fn parse(text: &str) -> Option<IpRange> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.trim().parse().ok()?;
        match prefix {
            Some(prefix) => IpNet::new(address, prefix.trim().parse().ok()?).ok().map(IpRange),
            None => Some(IpRange(address.into())),
        }
    }

    /// Parses the range of a ban, as drawpile-srv does: a prefix length of 0, or one that is not a number, means the
    /// single address. The flag says whether such a prefix was ignored.
    pub fn parse_ban(text: &str) -> Option<(IpRange, bool)> {
        let Some((address, prefix)) = text.split_once('/') else {
            return Some((IpRange::parse(text)?, false));
        };
        match prefix.trim().parse::<u32>() {
            Ok(0) | Err(_) => Some((IpRange::parse(address)?, true)),
            Ok(_) => Some((IpRange::parse(text)?, false)),
        }
    }

    /// The address that the range was given with.
    pub fn address(&self) -> IpAddr {
        self.0.addr()
    }

    /// Number of host bits (bits that are not part of the prefix).
    pub fn free_bits(&self) -> u32 {
        u32::from(self.0.max_prefix_len() - self.0.prefix_len())
    }

    /// First and last address of the range.
    pub fn ends(&self) -> (IpAddr, IpAddr) {
        (self.0.network(), self.0.broadcast())
    }

    /// Whether the range contains all addresses (prefix length 0).
    pub fn is_everything(&self) -> bool {
        self.0.prefix_len() == 0
    }

    /// Whether the range contains an address. IPv4-mapped IPv6 addresses match IPv4 ranges, and vice versa.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.canonical().contains(&address.to_canonical())
    }

    /// The range of IPv4 addresses that a range of IPv4-mapped addresses stands for; others as they are.
    fn canonical(&self) -> IpNet {
        let prefix = self.0.prefix_len().saturating_sub(96);
        match (self.0, self.0.addr().to_canonical()) {
            (IpNet::V6(_), IpAddr::V4(mapped)) => Ipv4Net::new(mapped, prefix).map_or(self.0, IpNet::V4),
            _ => self.0,
        }
    }
}

/// As [`IpRange::parse`] reads it.
impl std::fmt::Display for IpRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> IpRange {
        IpRange::parse(text).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ranges_of_mapped_addresses_are_those_of_ipv4() {
        for (text, inside, outside) in [
            ("192.0.2.128/25", ["192.0.2.255", "::ffff:192.0.2.128"], ["192.0.2.127", "::ffff:192.0.2.127"]),
            ("::ffff:192.0.2.128/121", ["192.0.2.255", "::ffff:192.0.2.128"], ["192.0.2.127", "2001:db8::1"]),
            ("::ffff:0.0.0.0/90", ["8.8.8.8", "::ffff:9.9.9.9"], ["::1", "2001:db8::1"]),
            ("2001:db8::7/32", ["2001:db8::", "2001:db8:ffff::1"], ["2001:db9::", "32.1.13.184"]),
            ("192.0.2.7", ["192.0.2.7", "::ffff:192.0.2.7"], ["192.0.2.6", "::1"]),
        ] {
            assert!(inside.iter().all(|address| range(text).contains(ip(address))), "{text}");
            assert!(!outside.iter().any(|address| range(text).contains(ip(address))), "{text}");
        }
        assert!(!range("::/0").contains(ip("192.0.2.1")), "each of its own kind");
    }

    #[test]
    fn a_range_keeps_its_address_in_texts_and_traces() {
        for (text, json, ends, free) in [
            ("192.0.2.9/24", r#"{"from":"192.0.2.9","prefix":24}"#, ("192.0.2.0", "192.0.2.255"), 8),
            (
                "::ffff:192.0.2.9/120",
                r#"{"from":"::ffff:192.0.2.9","prefix":120}"#,
                ("::ffff:192.0.2.0", "::ffff:192.0.2.255"),
                8,
            ),
            ("10.1.2.3/0", r#"{"from":"10.1.2.3","prefix":0}"#, ("0.0.0.0", "255.255.255.255"), 32),
            (
                "2001:db8::1/0",
                r#"{"from":"2001:db8::1","prefix":0}"#,
                ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
                128,
            ),
        ] {
            assert_eq!(range(text).to_string(), text);
            assert_eq!(serde_json::to_string(&range(text)).unwrap(), json);
            assert_eq!(serde_json::from_str::<IpRange>(json).unwrap(), range(text));
            assert_eq!(range(text).ends(), (ip(ends.0), ip(ends.1)));
            assert_eq!(range(text).free_bits(), free);
        }
        assert_eq!(range("192.0.2.1").to_string(), "192.0.2.1/32");
        assert!(serde_json::from_str::<IpRange>(r#"{"from":"192.0.2.9","prefix":33}"#).is_err());
    }
}
