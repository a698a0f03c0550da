//! Who is asking: the one place where it is decided whose connection or request it is, for all ports.
//!
//! A proxy that is trusted says whom it speaks for, in one of the ways of [`ProxyHeader`]. What cannot be read, or is
//! said in two ways that differ, is refused: nobody becomes somebody else by it, and nobody becomes the proxy itself.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::forwarded::{ForwardedHeaders, ProxyHeader};
use crate::clock::Timestamp;
use crate::config::ip_range::IpRange;

/// Networks of proxies that are believed, by default: the machine itself.
pub const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1"];

/// How often the same trouble with what proxies say is logged, in milliseconds.
const LOG_INTERVAL: u64 = 60_000;

/// Networks of proxies that are believed, and what of what they say.
#[derive(Debug, Clone)]
pub struct Trusted(Arc<Rules>);

#[derive(Debug, Default)]
struct Rules {
    networks: Vec<IpRange>,
    headers: Vec<ProxyHeader>,
    /// When it was logged that nobody knows who asks, on the monotonic clock.
    unclear_logged: AtomicU64,
    /// It was said that somebody looks like a proxy and is none that is trusted.
    stranger_logged: AtomicBool,
}

/// Whose request it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The client's address; a trusted proxy's own if it does not say whom it speaks for.
    pub address: IpAddr,
    /// No proxy has left a mark: who has connected asks.
    pub direct: bool,
}

/// Nobody knows whose request it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.reason())]
pub enum AmbiguousSource {
    /// A trusted proxy names what is no address.
    Unreadable,
    /// It names two clients.
    Differs,
}

impl AmbiguousSource {
    /// For people.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Unreadable => {
                "the proxy in front of this server says that it speaks for what is no address"
            }
            Self::Differs => {
                "X-Forwarded-For, Forwarded and X-Real-IP name different clients; \
                 the server's option --proxy-header says which one the proxy sets"
            }
        }
    }
}

impl Default for Trusted {
    fn default() -> Self {
        let networks: Vec<IpRange> = LOOPBACK.iter().filter_map(|text| IpRange::parse(text)).collect();
        Self::new(&networks)
    }
}

impl Trusted {
    /// These networks.
    pub fn new(networks: &[IpRange]) -> Self {
        Self::with_headers(networks, &[])
    }

    /// These networks, of which only this is believed; everything without.
    pub fn with_headers(networks: &[IpRange], headers: &[ProxyHeader]) -> Self {
        let headers = if headers.is_empty() { &ProxyHeader::ALL } else { headers };
        Self(Arc::new(Rules { networks: networks.to_vec(), headers: headers.to_vec(), ..Rules::default() }))
    }

    /// Whether a proxy of this address is believed.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.networks.iter().any(|network| network.contains(address))
    }

    /// Whether what proxies say in this way is believed.
    pub fn believes(&self, header: ProxyHeader) -> bool {
        self.0.headers.contains(&header)
    }

    /// Whose request it is that a peer has sent.
    ///
    /// # Errors
    /// When a trusted proxy says what makes no sense.
    pub fn resolve(&self, peer: IpAddr, claims: &ForwardedHeaders) -> Result<Source, AmbiguousSource> {
        let (peer, direct) = (peer.to_canonical(), !claims.names_proxy());
        if !self.contains(peer) {
            self.warn_of_stranger(peer, claims);
            return Ok(Source { address: peer, direct });
        }
        let named = self.named(claims).inspect_err(|unclear| self.log(peer, *unclear, claims))?;
        Ok(Source { address: named.unwrap_or(peer), direct })
    }

    /// Whether the way from the client to a proxy was encrypted, as far as the peer is believed.
    pub fn is_https(&self, peer: IpAddr, claims: &ForwardedHeaders) -> bool {
        let http = self.0.headers.iter().any(|header| *header != ProxyHeader::ProxyProtocol);
        let forwarded = self.0.headers == [ProxyHeader::Forwarded];
        let says = if forwarded { claims.forwarded_says_https() } else { claims.says_https() };
        http && says && self.contains(peer)
    }

    /// The name that the client has asked a proxy for, as far as the peer is believed.
    pub fn asked_host<'a>(&self, peer: IpAddr, claims: &'a ForwardedHeaders) -> Option<&'a str> {
        claims.host().filter(|_| self.contains(peer))
    }

    /// Whom a trusted proxy speaks for. What is said in several ways has to be the same; a trusted proxy is nobody that
    /// it would speak for if there is somebody else.
    fn named(&self, claims: &ForwardedHeaders) -> Result<Option<IpAddr>, AmbiguousSource> {
        let (mut client, mut proxy) = (None, None);
        for header in &self.0.headers {
            let Some(address) = self.named_by(*header, claims)? else { continue };
            if self.contains(address) {
                proxy = proxy.or(Some(address));
            } else if client.is_some_and(|other| other != address) {
                return Err(AmbiguousSource::Differs);
            } else {
                client = Some(address);
            }
        }
        Ok(client.or(proxy))
    }

    /// Whom one header names: each proxy adds whom it speaks for, so it is the last that is no proxy of ours.
    fn named_by(
        &self,
        header: ProxyHeader,
        claims: &ForwardedHeaders,
    ) -> Result<Option<IpAddr>, AmbiguousSource> {
        let hops = claims.named_by(header);
        if header == ProxyHeader::RealIp && hops.iter().any(|hop| *hop != hops[0]) {
            // It is one address; the others are those of whoever has added a line.
            return Err(AmbiguousSource::Differs);
        }
        let mut named = None;
        for hop in hops {
            let address = hop.map_err(|_| AmbiguousSource::Unreadable)?;
            named = Some(address);
            if !self.contains(address) {
                break;
            }
        }
        Ok(named)
    }

    fn log(&self, peer: IpAddr, unclear: AmbiguousSource, claims: &ForwardedHeaders) {
        // Zero stands for never.
        let (logged, now) = (&self.0.unclear_logged, Timestamp::now().monotonic_ms.max(1));
        let last = logged.load(Ordering::Relaxed);
        if last == 0 || now >= last + LOG_INTERVAL {
            logged.store(now, Ordering::Relaxed);
            tracing::warn!(
                "refused a request of the proxy {peer}: {unclear} ({}); told once a minute",
                claims.summary()
            );
        }
    }

    /// A private address that sends what only proxies send is most likely a proxy that was forgotten.
    fn warn_of_stranger(&self, peer: IpAddr, claims: &ForwardedHeaders) {
        let Some(network) = private_network(peer) else { return };
        let names = [ProxyHeader::RealIp, ProxyHeader::ForwardedFor, ProxyHeader::Forwarded];
        let says = names.iter().any(|header| !claims.named_by(*header).is_empty());
        if says && !self.0.stranger_logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "{peer} sends headers of a proxy ({}) but is none that is trusted: bans, limits and the log take all that \
                 comes through it for one client; if it is a proxy of yours, give --trusted-proxy 127.0.0.0/8,::1,{network}",
                claims.summary()
            );
        }
    }
}

/// The private network that an address is in.
fn private_network(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            [10, ..] => Some("10.0.0.0/8"),
            [172, 16..=31, ..] => Some("172.16.0.0/12"),
            [192, 168, ..] => Some("192.168.0.0/16"),
            _ => None,
        },
        IpAddr::V6(v6) if v6.is_unique_local() => Some("fc00::/7"),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(networks: &[&str]) -> Vec<IpRange> {
        networks.iter().map(|n| IpRange::parse(n).unwrap()).collect()
    }

    /// Who a request is from, `?` if nobody knows.
    fn from(trusted: &Trusted, peer: &str, headers: &[(&str, &str)]) -> String {
        let claims = ForwardedHeaders::of(headers.iter().map(|(name, value)| (*name, value.as_bytes())));
        let source = trusted.resolve(peer.parse().unwrap(), &claims);
        source.map_or("?".into(), |source| source.address.to_string())
    }

    #[test]
    fn networks_and_single_addresses_are_read() {
        let trusted = Trusted::new(&ranges(&["10.0.0.0/8", "::1", "192.0.2.1"]));
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

    #[test]
    fn whom_trusted_proxies_speak_for_is_believed_and_what_is_unclear_is_not() {
        let trusted = Trusted::new(&ranges(&["127.0.0.0/8", "::1", "10.0.0.0/8"]));
        let (real, many, rfc) = ("X-Real-IP", "X-Forwarded-For", "Forwarded");
        for (headers, expected) in [
            (&[][..], "127.0.0.1"),
            (&[(real, "192.0.2.1")][..], "192.0.2.1"),
            (&[(real, "::ffff:192.0.2.4")], "192.0.2.4"),
            (&[(many, "192.0.2.1")], "192.0.2.1"),
            (&[(rfc, "for=192.0.2.1")], "192.0.2.1"),
            (&[(rfc, "for=\"[2001:db8::7]:443\"")], "2001:db8::7"),
            // What the client says itself stands to the left of what proxies say.
            (&[(many, "203.0.113.5, 192.0.2.9"), (many, "10.0.0.3")], "192.0.2.9"),
            (&[(many, "rubbish, 192.0.2.9, 10.0.0.3")], "192.0.2.9"),
            (&[(many, "203.0.113.66:54321")], "203.0.113.66"),
            (&[(many, "[2001:db8:bad::7]:443")], "2001:db8:bad::7"),
            // The same in two ways.
            (&[(real, "192.0.2.9"), (many, "203.0.113.5, 192.0.2.9")], "192.0.2.9"),
            // A proxy of ours is not the client, also not in front of this one.
            (&[(real, "127.0.0.1"), (many, "203.0.113.66, 127.0.0.1")], "203.0.113.66"),
            (&[(real, "203.0.113.66"), (many, "127.0.0.1")], "203.0.113.66"),
            (&[(real, "10.0.0.9")], "10.0.0.9"),
            (&[(many, "10.0.0.1, 10.0.0.9")], "10.0.0.1"),
            // Two clients: one of them is made up.
            (&[(real, "8.8.8.8"), (many, "203.0.113.66")], "?"),
            (&[(real, "203.0.113.66"), (many, "8.8.8.8")], "?"),
            (&[(rfc, "for=8.8.8.8"), (many, "203.0.113.66")], "?"),
            (&[(real, "8.8.8.8"), (real, "203.0.113.66")], "?"),
            (&[(real, "8.8.8.8, 127.0.0.1")], "?"),
            // What cannot be read.
            (&[(real, "nonsense")], "?"),
            (&[(many, "unknown")], "?"),
            (&[(many, "192.0.2.1, unknown")], "?"),
            (&[(many, "192.0.2.1, unknown, 10.0.0.3")], "?"),
            (&[(rfc, "for=unknown")], "?"),
            (&[(rfc, "for=_gate")], "?"),
            (&[(rfc, "proto=https")], "?"),
            (&[(real, "unknown"), (many, "192.0.2.1")], "?"),
            // Nothing is said.
            (&[(real, ""), (many, " , ")], "127.0.0.1"),
        ] {
            assert_eq!(from(&trusted, "127.0.0.1", headers), expected, "{headers:?}");
            assert_eq!(from(&trusted, "198.51.100.1", headers), "198.51.100.1", "{headers:?} of a stranger");
        }
    }

    #[test]
    fn only_the_headers_that_are_named_count() {
        let both =
            [("X-Real-IP", "8.8.8.8"), ("X-Forwarded-For", "203.0.113.66"), ("Forwarded", "for=unknown")];
        for (header, expected) in [
            (ProxyHeader::RealIp, "8.8.8.8"),
            (ProxyHeader::ForwardedFor, "203.0.113.66"),
            (ProxyHeader::Forwarded, "?"),
            (ProxyHeader::ProxyProtocol, "127.0.0.1"),
        ] {
            let trusted = Trusted::with_headers(&ranges(&["127.0.0.1"]), &[header]);
            assert_eq!(from(&trusted, "127.0.0.1", &both), expected, "{header:?}");
            assert_eq!(trusted.believes(ProxyHeader::ProxyProtocol), header == ProxyHeader::ProxyProtocol);
        }
    }

    #[test]
    fn whoever_comes_by_a_proxy_does_not_come_directly() {
        let trusted = Trusted::default();
        for name in ["Via", "X-Forwarded-Proto", "X-Forwarded-Server", "X-Real-IP", "Forwarded", "CDN-Loop"] {
            let claims = ForwardedHeaders::of([(name, &b""[..])]);
            let source = trusted.resolve("127.0.0.1".parse().unwrap(), &claims).unwrap();
            assert!(!source.direct, "{name}");
        }
        let claims = ForwardedHeaders::of([("Host", &b"localhost"[..]), ("Origin", b"http://localhost")]);
        assert!(trusted.resolve("127.0.0.1".parse().unwrap(), &claims).unwrap().direct);
    }

    #[test]
    fn the_log_says_once_which_network_a_forgotten_proxy_is_in() {
        for (address, network) in [
            ("10.1.2.3", Some("10.0.0.0/8")),
            ("172.18.0.3", Some("172.16.0.0/12")),
            ("172.32.0.1", None),
            ("192.168.1.1", Some("192.168.0.0/16")),
            ("fd00::1", Some("fc00::/7")),
            ("203.0.113.9", None),
            ("2001:db8::1", None),
        ] {
            assert_eq!(private_network(address.parse().unwrap()), network, "{address}");
        }
        let trusted = Trusted::default();
        let told = |peer: &str, header: &str| {
            from(&trusted, peer, &[(header, "203.0.113.5")]);
            trusted.0.stranger_logged.load(Ordering::Relaxed)
        };
        assert!(!told("203.0.113.9", "X-Real-IP"), "anybody on the internet can send that");
        assert!(!told("127.0.0.1", "X-Real-IP"), "a proxy that is believed");
        assert!(!told("172.18.0.3", "X-Other"));
        assert!(told("172.18.0.3", "X-Real-IP"));
    }

    #[test]
    fn encryption_is_believed_from_trusted_proxies_only() {
        let claims = ForwardedHeaders::of([("x-forwarded-proto", &b"https"[..])]);
        let (here, there) = ("127.0.0.1".parse().unwrap(), "192.0.2.1".parse().unwrap());
        assert!(Trusted::default().is_https(here, &claims));
        assert!(!Trusted::default().is_https(there, &claims));
        let tcp = Trusted::with_headers(&ranges(&["127.0.0.1"]), &[ProxyHeader::ProxyProtocol]);
        assert!(!tcp.is_https(here, &claims), "the client wrote that");
    }
}
