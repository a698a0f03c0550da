//! IP address ranges in CIDR notation, for bans and trusted proxies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// An address range. `from` may be any address of the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpRange {
    pub from: IpAddr,
    /// Prefix length in bits, 0 to 32 for IPv4 and 0 to 128 for IPv6.
    pub prefix: u8,
}

impl IpRange {
    /// Parses `address` or `address/prefix`. Without a prefix the range is the single address.
    pub fn parse(text: &str) -> Option<IpRange> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let from: IpAddr = address.trim().parse().ok()?;
        let bits = if from.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(bits), |p| p.trim().parse().ok())?;
        (prefix <= bits).then_some(IpRange { from, prefix })
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

    /// Number of host bits (bits that are not part of the prefix).
    pub fn free_bits(&self) -> u32 {
        let bits = if self.from.is_ipv4() { 32 } else { 128 };
        bits - u32::from(self.prefix).min(bits)
    }

    /// First and last address of the range.
    pub fn ends(&self) -> (IpAddr, IpAddr) {
        let free = self.free_bits();
        match self.from {
            IpAddr::V4(from) => {
                let mask = u32::MAX.checked_shl(free).unwrap_or(0);
                let first = u32::from(from) & mask;
                (Ipv4Addr::from(first).into(), Ipv4Addr::from(first | !mask).into())
            }
            IpAddr::V6(from) => {
                let mask = u128::MAX.checked_shl(free).unwrap_or(0);
                let first = u128::from(from) & mask;
                (Ipv6Addr::from(first).into(), Ipv6Addr::from(first | !mask).into())
            }
        }
    }

    /// Whether the range contains all addresses (prefix length 0).
    pub fn is_everything(&self) -> bool {
        self.prefix == 0
    }

    /// Whether the range contains an address. IPv4-mapped IPv6 addresses match IPv4 ranges, and vice versa.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.from.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let prefix = if self.from.is_ipv4() { self.prefix } else { self.prefix.saturating_sub(96) };
                same_prefix(u128::from(u32::from(a)) << 96, u128::from(u32::from(b)) << 96, prefix)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => same_prefix(a.into(), b.into(), self.prefix),
            _ => false,
        }
    }
}

/// As [`IpRange::parse`] reads it.
impl std::fmt::Display for IpRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.from, self.prefix)
    }
}

fn same_prefix(a: u128, b: u128, prefix: u8) -> bool {
    prefix == 0 || (a ^ b) >> (128 - u32::from(prefix)) == 0
}
