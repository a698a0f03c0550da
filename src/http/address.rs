//! Addresses that requests may go to. Source: IANA's special-purpose address registries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 networks that are not globally routable or cannot hold a public server: address and prefix length.
const NOT_GLOBAL_V4: [([u8; 4], u32); 15] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

/// The same for IPv6, inside 2000::/3, which holds all global unicast addresses: protocol assignments with Teredo,
/// documentation, 6to4, documentation.
const NOT_GLOBAL_V6: [(u128, u32); 4] =
    [(0x2001 << 112, 23), (0x2001_0db8 << 96, 32), (0x2002 << 112, 16), (0x3fff << 112, 20)];
/// 64:ff9b::/96: an IPv4 address behind a NAT64.
const NAT64: u128 = 0x0064_ff9b << 96;

fn is_in(bits: u128, network: u128, length: u32, width: u32) -> bool {
    (bits ^ network) >> (width - length) == 0
}

fn is_global_v4(address: Ipv4Addr) -> bool {
    let bits = |a: Ipv4Addr| u128::from(a.to_bits());
    !NOT_GLOBAL_V4.iter().any(|(net, length)| is_in(bits(address), bits((*net).into()), *length, 32))
}

fn is_global_v6(address: Ipv6Addr) -> bool {
    let bits = address.to_bits();
    if is_in(bits, NAT64, 96, 128) {
        return is_global_v4(Ipv4Addr::from_bits(bits as u32));
    }
    is_in(bits, 0x2000 << 112, 3, 128)
        && !NOT_GLOBAL_V6.iter().any(|(net, length)| is_in(bits, *net, *length, 128))
}

/// Whether an address is globally routable, so that URLs of clients may lead there.
pub fn is_global(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_global_v4(v4),
        IpAddr::V6(v6) => is_global_v6(v6),
    }
}

/// Whether an address can be that of a service, for URLs of the operator: not unspecified, multicast, broadcast or
/// link-local (cloud metadata services, which hold secrets).
pub(super) fn is_usable(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            !(v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast() || v4.is_link_local())
        }
        IpAddr::V6(v6) => !(v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn is_global_accepts_globally_routable_addresses_only() {
        let bad = "0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.255.0.9 169.254.169.254 \
            172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.170 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255 \
            198.51.100.7 203.0.113.9 224.0.0.1 239.1.2.3 240.0.0.1 255.255.255.255 :: ::1 ::127.0.0.1 ::8.8.8.8 \
            ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:192.168.0.1 ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::10.1.2.3 \
            64:ff9b:1::1 64:ff9b:1:2::8.8.8.8 100::1 100:0:0:1::1 2001::1 2001:0:7f00:1::1 2001:2::1 2001:10::1 2001:20::1 \
            2001:db8::1 2002:7f00:1::1 2002:a00:1::1 3fff::1 3fff:fff::1 5f00::1 fc00::1 fd12:3456::1 fe80::1 febf::1 \
            fec0::1 ff02::1 ff0e::1 4000::1 1::1";
        for text in bad.split_whitespace() {
            assert!(!is_global(ip(text)), "{text}");
        }
        let good = "1.1.1.1 8.8.8.8 100.63.255.255 100.128.0.1 172.15.0.1 172.32.0.1 192.0.1.1 192.0.3.1 198.17.0.1 \
            198.20.0.1 223.255.255.255 2606:4700::1111 2a01:4f8::1 2001:200::1 2001:4860:4860::8888 2003::1 3ffe::1 \
            64:ff9b::8.8.8.8 ::ffff:8.8.8.8";
        for text in good.split_whitespace() {
            assert!(is_global(ip(text)), "{text}");
        }
    }

    #[test]
    fn is_usable_accepts_private_addresses_but_no_link_local_ones() {
        for text in ["127.0.0.1", "192.168.1.5", "10.0.0.1", "::1", "fd00::1", "8.8.8.8"] {
            assert!(is_usable(ip(text)), "{text}");
        }
        for text in ["0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "169.254.169.254", "fe80::1", "ff02::1"]
        {
            assert!(!is_usable(ip(text)), "{text}");
        }
        assert!(!is_usable(ip("::ffff:169.254.169.254")));
    }
}
