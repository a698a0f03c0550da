//! IP address ranges in CIDR notation, for bans and trusted proxies.

use std::net::IpAddr;

use ipnet::{IpNet, IpSubnets, Ipv4Net, Ipv4Subnets, Ipv6Subnets, PrefixLenError};
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

    /// Parses `address`, `address/prefix` or `first-last`, of which the last may need several ranges. All are
    /// [`canonical`](Self::canonical).
    ///
    /// # Errors
    /// When it has another form, or needs more than `most` ranges.
    pub fn parse_span(text: &str, most: usize) -> Result<Vec<IpRange>, String> {
        let fault = || format!("'{text}' is no address, ADDRESS/PREFIX or FIRST-LAST");
        let Some((first, last)) = text.split_once('-') else {
            let range = IpRange::parse(text).ok_or_else(fault)?;
            return Ok(vec![IpRange(range.canonical().0.trunc())]);
        };
        let address = |text: &str| text.trim().parse::<IpAddr>().map(|ip| ip.to_canonical());
        let (first, last) = (address(first).map_err(|_| fault())?, address(last).map_err(|_| fault())?);
        let subnets = match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
                IpSubnets::from(Ipv4Subnets::new(first, last, 0))
            }
            (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
                IpSubnets::from(Ipv6Subnets::new(first, last, 0))
            }
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                return Err(format!("'{text}' ends before it begins"));
            }
            _ => return Err(fault()),
        };
        let ranges: Vec<IpRange> = subnets.take(most + 1).map(IpRange).collect();
        if ranges.len() > most {
            return Err(format!("'{text}' needs more than {most} ranges; use ADDRESS/PREFIX"));
        }
        Ok(ranges)
    }

    /// Length of the prefix in bits.
    pub fn prefix(&self) -> u8 {
        self.0.prefix_len()
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
        self.canonical().0.contains(&address.to_canonical())
    }

    /// The range of IPv4 addresses that a range of IPv4-mapped addresses stands for; others as they are.
    pub fn canonical(&self) -> IpRange {
        let prefix = self.0.prefix_len().saturating_sub(96);
        IpRange(match (self.0, self.0.addr().to_canonical()) {
            (IpNet::V6(_), IpAddr::V4(mapped)) => Ipv4Net::new(mapped, prefix).map_or(self.0, IpNet::V4),
            _ => self.0,
        })
    }

    /// A text with which all addresses of the range begin, as they are written; others may begin with it, too.
    pub fn text_prefix(&self) -> String {
        let IpRange(net) = self.canonical();
        match net {
            IpNet::V4(net) => {
                let whole = usize::from(net.prefix_len() / 8);
                net.network().octets().iter().take(whole).map(|octet| format!("{octet}.")).collect()
            }
            // Groups from the first that is zero on may be written as `::`.
            IpNet::V6(net) => {
                let whole = usize::from(net.prefix_len() / 16);
                let groups = net.network().segments();
                let groups = groups.iter().take(whole).take_while(|group| **group != 0);
                groups.map(|group| format!("{group:x}:")).collect()
            }
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

    #[test]
    fn addresses_of_a_range_begin_with_its_text() {
        for (text, prefix, inside) in [
            ("192.0.2.0/24", "192.0.2.", "192.0.2.255"),
            ("192.0.0.0/10", "192.", "192.63.0.1"),
            ("10.0.0.0/7", "", "11.0.0.1"),
            ("::ffff:192.0.2.0/120", "192.0.2.", "192.0.2.1"),
            ("2001:db8::/32", "2001:db8:", "2001:db8::1"),
            ("2001:db8:0:5::/64", "2001:db8:", "2001:db8:0:5::1"),
            ("2001:db8:1:2:3::/72", "2001:db8:1:2:", "2001:db8:1:2:3::1"),
            ("::1/120", "", "::2"),
        ] {
            assert_eq!(range(text).text_prefix(), prefix, "{text}");
            assert!(range(text).contains(ip(inside)) && ip(inside).to_string().starts_with(prefix), "{text}");
        }
    }

    #[test]
    fn spans_of_addresses_become_ranges() {
        let parsed = |text: &str| {
            IpRange::parse_span(text, 8)
                .map(|ranges| ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        for (text, ranges) in [
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("192.0.2.0 - 192.0.2.255", "192.0.2.0/24"),
            ("192.0.2.5-192.0.2.9", "192.0.2.5/32 192.0.2.6/31 192.0.2.8/31"),
            ("192.0.2.5-192.0.2.5", "192.0.2.5/32"),
            ("2001:db8::-2001:db8::ffff", "2001:db8::/112"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:0:0/90", "0.0.0.0/0"),
            ("0.0.0.0-255.255.255.255", "0.0.0.0/0"),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(ranges), "{text}");
        }
        for (text, fault) in [
            ("192.0.2.9-192.0.2.5", "ends before"),
            ("192.0.2.1-2001:db8::1", "is no address"),
            ("somewhere", "is no address"),
            ("192.0.2.0/33", "is no address"),
            ("0.0.0.1-255.255.255.254", "more than 8"),
        ] {
            assert!(parsed(text).unwrap_err().contains(fault), "{text}");
        }
    }
}
