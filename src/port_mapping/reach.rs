//! What the router's outer address says about being reached from the internet, and when mappings are renewed. Pure
//! functions.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::http::is_global;

/// Shared address space of providers, RFC 6598: 100.64.0.0/10.
const SHARED: (u32, u32) = (0x6440_0000, 0xffc0_0000);
/// Shortest time between two renewals.
const MIN_RENEWAL: Duration = Duration::from_secs(5);
/// Longest time between two renewals: a router that was restarted has forgotten its mappings.
const MAX_RENEWAL: Duration = Duration::from_secs(20 * 60);

/// Whether the internet reaches the router at its outer address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Public(IpAddr),
    /// The provider has given the router an address that many customers share.
    Shared(IpAddr),
    /// The router is behind another one.
    Private(IpAddr),
    /// The router has no address at all, or none that it would tell.
    None,
    /// The router has not said.
    Unknown,
}

impl Reach {
    /// What an outer address means.
    pub(super) fn of(outer: Option<IpAddr>) -> Reach {
        match outer.map(|address| address.to_canonical()) {
            None => Reach::Unknown,
            Some(IpAddr::V4(v4)) if v4 == Ipv4Addr::UNSPECIFIED => Reach::Unknown,
            Some(address @ IpAddr::V4(v4)) if v4.to_bits() & SHARED.1 == SHARED.0 => Reach::Shared(address),
            Some(address) if is_global(address) => Reach::Public(address),
            Some(address) => Reach::Private(address),
        }
    }

    /// Why the internet does not reach the router, and what can be done.
    pub(super) fn problem(self) -> Option<String> {
        let behind = "it is behind another router, where the port must be forwarded as well, or the provider shares one \
                      public address among its customers (CGNAT)";
        let why = match self {
            Reach::Public(_) | Reach::Unknown => return None,
            Reach::Shared(address) => format!(
                "the internet does not reach the router's address {address}: the provider shares one public address \
                 among its customers (CGNAT)"
            ),
            Reach::Private(address) => {
                format!("the internet does not reach the router's address {address}: {behind}")
            }
            Reach::None => format!("the router has no public address: {behind}"),
        };
        Some(format!(
            "{why}. Ask the provider for a public IPv4 address, let people connect by IPv6, or run the server elsewhere"
        ))
    }
}

/// When to renew a mapping that the router keeps for so many seconds, 0 for ever: after half of that.
pub(super) fn renew_after(lifetime_s: u32) -> Duration {
    match lifetime_s {
        0 => MAX_RENEWAL,
        seconds => (Duration::from_secs(seconds.into()) / 2).clamp(MIN_RENEWAL, MAX_RENEWAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(outer: &str) -> Reach {
        Reach::of(outer.parse().ok())
    }

    #[test]
    fn addresses_that_the_internet_does_not_reach_are_told_apart() {
        for shared in ["100.64.0.1", "100.127.255.254", "::ffff:100.64.0.1"] {
            assert!(matches!(reach(shared), Reach::Shared(_)), "{shared}");
        }
        for private in ["10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.1.1", "198.18.0.1", "fd00::1"] {
            assert!(matches!(reach(private), Reach::Private(_)), "{private}");
        }
        for public in ["100.63.255.255", "100.128.0.1", "8.8.8.8", "2606:4700::1"] {
            assert!(matches!(reach(public), Reach::Public(_)), "{public}");
        }
        for unknown in ["0.0.0.0", "nothing"] {
            assert_eq!(reach(unknown), Reach::Unknown, "{unknown}");
        }
    }

    #[test]
    fn where_nobody_can_connect_the_text_says_why_and_what_to_do() {
        for outer in ["100.64.0.1", "192.168.0.2"] {
            let text = reach(outer).problem().unwrap();
            assert!(
                text.contains(outer) && text.contains("CGNAT") && text.contains("Ask the provider"),
                "{text}"
            );
        }
        assert!(Reach::None.problem().is_some_and(|text| text.contains("CGNAT")));
        assert_eq!(reach("8.8.8.8").problem(), None);
        assert_eq!(Reach::Unknown.problem(), None);
    }

    #[test]
    fn mappings_are_renewed_after_half_of_their_lifetime() {
        for (lifetime, expected) in [(0, 1200), (1, 5), (12, 6), (120, 60), (3600, 1200), (u32::MAX, 1200)] {
            assert_eq!(renew_after(lifetime), Duration::from_secs(expected), "{lifetime}");
        }
    }
}
