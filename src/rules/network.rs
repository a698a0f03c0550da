//! Which networks around an address limits count for.
//!
//! A customer of a provider has at least a /64 network of IPv6 addresses, often a /56 or /48. So limits count for the
//! /64 network, and a multiple of them for the wider ones: who has a /48 cannot use the full limits of each /64 in
//! it.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};

/// Prefix lengths, and the factor by which limits are multiplied for such networks.
const PREFIXES: [(u8, u32); 3] = [(64, 1), (56, 4), (48, 16)];

/// A network that limits count for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Unique among all networks: a wider one has its prefix length in the low half.
    pub key: IpAddr,
    /// Limits of one address are multiplied by this.
    pub factor: u32,
}

/// The first address of the network with this prefix length, at most 128.
fn first_address(address: Ipv6Addr, prefix_len: u8) -> Ipv6Addr {
    Ipv6Net::new_assert(address, prefix_len).network()
}

/// The networks around an address, the narrowest first. An IPv4 address has itself only.
pub fn networks(address: IpAddr) -> impl Iterator<Item = Network> {
    let (v4, v6) = match address.to_canonical() {
        IpAddr::V4(v4) => (Some(v4), None),
        IpAddr::V6(v6) => (None, Some(v6)),
    };
    let one = v4.map(|v4| Network { key: v4.into(), factor: 1 });
    let wider = v6.into_iter().flat_map(|v6| {
        PREFIXES.map(|(bits, factor)| {
            // The low half is not part of any prefix here. The prefix length in it makes the keys of wider networks
            // unique.
            let prefix_len = if bits == 64 { 0 } else { u128::from(bits) };
            Network {
                key: Ipv6Addr::from_bits(first_address(v6, bits).to_bits() | prefix_len).into(),
                factor,
            }
        })
    });
    one.into_iter().chain(wider)
}

/// The network that counts as one address: an IPv4 address, or an IPv6 /64 network.
pub fn narrowest(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => first_address(v6, 64).into(),
        v4 => v4,
    }
}

/// The widest network around an address: an IPv4 address, or an IPv6 /48 network.
pub fn widest(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => first_address(v6, 48).into(),
        v4 => v4,
    }
}

/// Prefix lengths of a [`neighbourhood`], of IPv4 and IPv6. The page has them, too.
pub const NEIGHBOURHOOD_BITS: (u8, u8) = (24, 48);

/// The network that one person or machine may well have several addresses of: 256 addresses of IPv4, which a provider of
/// servers gives out in a row and a home gets one after the other; of IPv6 the [`widest`] network.
pub fn neighbourhood(address: IpAddr) -> IpNet {
    let address = address.to_canonical();
    let bits = if address.is_ipv4() { NEIGHBOURHOOD_BITS.0 } else { NEIGHBOURHOOD_BITS.1 };
    IpNet::new_assert(address, bits).trunc()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_ipv4_address_is_its_own_network_in_both_notations() {
        for text in ["192.0.2.7", "::ffff:192.0.2.7"] {
            let all: Vec<Network> = networks(ip(text)).collect();
            assert_eq!(all, [Network { key: ip("192.0.2.7"), factor: 1 }]);
            assert_eq!((narrowest(ip(text)), widest(ip(text))), (ip("192.0.2.7"), ip("192.0.2.7")));
        }
    }

    #[test]
    fn an_ipv6_address_has_three_distinct_networks() {
        let keys = |text: &str| networks(ip(text)).map(|n| n.key).collect::<Vec<_>>();
        let all = keys("2001:db8:1:203::5");
        assert_eq!(all, [ip("2001:db8:1:203::"), ip("2001:db8:1:200::38"), ip("2001:db8:1::30")]);
        assert_eq!(keys("2001:db8:1:203:ffff::"), all);
        assert_eq!(keys("2001:db8:1:2ff::")[1..], all[1..]);
        assert_eq!(keys("2001:db8:1:ffff::")[2..], all[2..]);
        assert_ne!(keys("2001:db8:2::")[2], all[2]);
        // The first /64 of a /48 has the address of the wider ones, and is still another.
        let first = keys("2001:db8:1::1");
        assert!(first[0] != first[1] && first[1] != first[2] && first[0] != first[2]);
        assert_eq!(
            (narrowest(ip("2001:db8:1:203::5")), widest(ip("2001:db8:1:203::5"))),
            (all[0], ip("2001:db8:1::"))
        );
    }
}
