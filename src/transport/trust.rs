//! Trusted proxies: the one place that decides the client address of a connection or request, for all ports.
//!
//! A trusted proxy names the client by X-Real-IP, X-Forwarded-For, Forwarded or the PROXY protocol ([`ProxyHeader`]).
//! Headers of other peers are ignored. A request is refused when the headers of a trusted proxy are unreadable or
//! contradict each other: falling back to any address would let a client choose its own or become the proxy.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::forwarded::{ForwardedHeaders, ProxyHeader};
use crate::config::ip_range::IpRange;
use crate::rules::time::Timestamp;

/// Networks of proxies that are trusted by default: loopback.
pub const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1"];

/// How often refused requests are logged, in milliseconds.
const LOG_INTERVAL: u64 = 60_000;

/// Networks of trusted proxies, and which headers of them are believed. Clones share one state.
#[derive(Debug, Clone)]
pub struct Trusted(Arc<Rules>);

#[derive(Debug, Default)]
struct Rules {
    networks: Vec<IpRange>,
    headers: Vec<ProxyHeader>,
    /// When an [`AmbiguousClientAddr`] was last logged: monotonic clock, milliseconds; 0 is never.
    ambiguous_logged: AtomicU64,
    /// The warning about a proxy that is not trusted was logged.
    untrusted_logged: AtomicBool,
}

/// Who is at the other end of a connection or has sent a request: whom limits, bans and the log mean. Only [`Trusted`]
/// makes one, for all ports, and so does another server of the cluster for a client that it relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddr {
    ip: IpAddr,
    is_direct: bool,
    is_trusted_proxy: bool,
    is_at_shared_port: bool,
}

impl ClientAddr {
    /// A client whose address another server of the cluster has found out.
    pub(crate) fn relayed(ip: IpAddr) -> ClientAddr {
        ClientAddr { ip, is_direct: true, is_trusted_proxy: false, is_at_shared_port: false }
    }

    /// The client's address; that of the proxy if it names no client that is believed.
    pub fn ip(self) -> IpAddr {
        self.ip
    }

    /// Whether the peer itself is the client: nothing says that there is a proxy in between.
    pub fn is_direct(self) -> bool {
        self.is_direct
    }

    /// The same, of a connection at a port that strangers reach as well as programs on this machine.
    #[must_use]
    pub fn at_shared_port(self) -> ClientAddr {
        ClientAddr { is_at_shared_port: true, ..self }
    }

    /// Whether it looks like a program on this machine, but may be a stranger: behind a local proxy that names no
    /// client, or a tunnel to a port that strangers reach.
    pub fn may_be_stranger(self) -> bool {
        self.ip.is_loopback() && (!self.is_direct || self.is_at_shared_port)
    }

    /// Whether the address is that of a trusted proxy, which has named no client. Limits of one address do not apply
    /// to it, or one proxy would lock everybody out.
    pub fn is_trusted_proxy(self) -> bool {
        self.is_trusted_proxy
    }
}

/// The client address cannot be determined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.reason())]
pub enum AmbiguousClientAddr {
    /// A trusted proxy names the client by something that is not an address.
    Unreadable,
    /// A trusted proxy names different clients, such as in X-Real-IP and X-Forwarded-For.
    Differs,
}

impl AmbiguousClientAddr {
    /// The text for the log and the answer.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Unreadable => "the proxy in front of this server names a client that is not an address",
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
    /// Trusts these networks, and all kinds of headers.
    pub fn new(networks: &[IpRange]) -> Self {
        Self::with_headers(networks, &[])
    }

    /// Trusts these networks, but only the given kinds of headers; all if there are none.
    pub fn with_headers(networks: &[IpRange], headers: &[ProxyHeader]) -> Self {
        let headers = if headers.is_empty() { &ProxyHeader::ALL } else { headers };
        Self(Arc::new(Rules { networks: networks.to_vec(), headers: headers.to_vec(), ..Rules::default() }))
    }

    /// Whether an address is that of a trusted proxy.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.networks.iter().any(|network| network.contains(address))
    }

    /// Whether this kind of header is believed.
    pub fn believes(&self, header: ProxyHeader) -> bool {
        self.0.headers.contains(&header)
    }

    /// The client of a connection, before a proxy has named one.
    pub fn peer(&self, peer: IpAddr) -> ClientAddr {
        self.client_addr(peer, true)
    }

    /// The client of a connection behind its PROXY protocol header: the one that it names, else as before.
    pub fn after_proxy_header(&self, peer: ClientAddr, named: Option<IpAddr>) -> ClientAddr {
        self.client_addr(named.unwrap_or(peer.ip), false)
    }

    /// The client of a request: from the headers if the peer is a trusted proxy, else the peer.
    ///
    /// # Errors
    /// When the headers of a trusted proxy are unreadable or contradict each other.
    pub fn resolve(
        &self,
        peer: ClientAddr,
        forwarded: &ForwardedHeaders,
    ) -> Result<ClientAddr, AmbiguousClientAddr> {
        let is_direct = peer.is_direct() && !forwarded.names_proxy();
        if !peer.is_trusted_proxy() {
            self.warn_of_untrusted_proxy(peer.ip, forwarded);
            return Ok(ClientAddr { is_direct, ..peer });
        }
        let named =
            self.named(forwarded).inspect_err(|ambiguous| self.log(peer.ip, *ambiguous, forwarded))?;
        let client = self.client_addr(named.unwrap_or(peer.ip), is_direct);
        Ok(ClientAddr { is_at_shared_port: peer.is_at_shared_port, ..client })
    }

    fn client_addr(&self, ip: IpAddr, is_direct: bool) -> ClientAddr {
        let ip = ip.to_canonical();
        ClientAddr { ip, is_direct, is_trusted_proxy: self.contains(ip), is_at_shared_port: false }
    }

    /// Whether the peer is a trusted proxy that says that the client's connection to it is encrypted.
    pub fn is_https(&self, peer: ClientAddr, forwarded: &ForwardedHeaders) -> bool {
        let http = self.0.headers.iter().any(|header| *header != ProxyHeader::ProxyProtocol);
        let only_forwarded = self.0.headers == [ProxyHeader::Forwarded];
        let says = if only_forwarded { forwarded.forwarded_says_https() } else { forwarded.says_https() };
        http && says && peer.is_trusted_proxy()
    }

    /// The host that the client requested, if the peer is a trusted proxy that says so.
    pub fn requested_host<'a>(&self, peer: ClientAddr, forwarded: &'a ForwardedHeaders) -> Option<&'a str> {
        forwarded.host().filter(|_| peer.is_trusted_proxy())
    }

    /// The client that all headers name. They must agree, except that a header may name a trusted proxy where another
    /// names the client.
    fn named(&self, forwarded: &ForwardedHeaders) -> Result<Option<IpAddr>, AmbiguousClientAddr> {
        let (mut client, mut proxy) = (None, None);
        for header in &self.0.headers {
            let Some(address) = self.named_by(*header, forwarded)? else { continue };
            if self.contains(address) {
                proxy = proxy.or(Some(address));
            } else if client.is_some_and(|other| other != address) {
                return Err(AmbiguousClientAddr::Differs);
            } else {
                client = Some(address);
            }
        }
        Ok(client.or(proxy))
    }

    /// The client in one header: of its hops, the nearest one that is not a trusted proxy, else the farthest.
    fn named_by(
        &self,
        header: ProxyHeader,
        forwarded: &ForwardedHeaders,
    ) -> Result<Option<IpAddr>, AmbiguousClientAddr> {
        let hops = forwarded.named_by(header);
        if header == ProxyHeader::RealIp && hops.iter().any(|hop| *hop != hops[0]) {
            // X-Real-IP is one address: further ones come from another sender.
            return Err(AmbiguousClientAddr::Differs);
        }
        let mut named = None;
        for hop in hops {
            let address = hop.map_err(|_| AmbiguousClientAddr::Unreadable)?;
            named = Some(address);
            if !self.contains(address) {
                break;
            }
        }
        Ok(named)
    }

    fn log(&self, peer: IpAddr, ambiguous: AmbiguousClientAddr, forwarded: &ForwardedHeaders) {
        // Zero means never.
        let (logged, now) = (&self.0.ambiguous_logged, Timestamp::now().monotonic_ms.max(1));
        let last = logged.load(Ordering::Relaxed);
        if last == 0 || now >= last + LOG_INTERVAL {
            logged.store(now, Ordering::Relaxed);
            tracing::warn!(
                "refused a request of the proxy {peer}: {ambiguous} ({}); logged once a minute",
                forwarded.summary()
            );
        }
    }

    /// A peer with a private address that sends proxy headers is most likely a proxy missing in `--trusted-proxy`.
    fn warn_of_untrusted_proxy(&self, peer: IpAddr, forwarded: &ForwardedHeaders) {
        let Some(network) = private_network(peer) else { return };
        let names = [ProxyHeader::RealIp, ProxyHeader::ForwardedFor, ProxyHeader::Forwarded];
        let says = names.iter().any(|header| !forwarded.named_by(*header).is_empty());
        if says && !self.0.untrusted_logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "{peer} sends proxy headers ({}) but is not a trusted proxy: to bans, limits and the log all clients behind \
                 it are one; if it is your reverse proxy, give --trusted-proxy 127.0.0.0/8,::1,{network}",
                forwarded.summary()
            );
        }
    }
}

/// The private network that contains an address.
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

    /// The client address of a request, `?` if it is ambiguous.
    fn from(trusted: &Trusted, peer: &str, headers: &[(&str, &str)]) -> String {
        let forwarded = ForwardedHeaders::of(headers.iter().map(|(name, value)| (*name, value.as_bytes())));
        let source = trusted.resolve(trusted.peer(peer.parse().unwrap()), &forwarded);
        source.map_or("?".into(), |source| source.ip().to_string())
    }

    #[test]
    fn networks_and_single_addresses_are_matched() {
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
    fn client_addresses_of_trusted_proxies_are_used_and_ambiguous_ones_refused() {
        let trusted = Trusted::new(&ranges(&["127.0.0.0/8", "::1", "10.0.0.0/8"]));
        let (real, many, rfc) = ("X-Real-IP", "X-Forwarded-For", "Forwarded");
        for (headers, expected) in [
            (&[][..], "127.0.0.1"),
            (&[(real, "192.0.2.1")][..], "192.0.2.1"),
            (&[(real, "::ffff:192.0.2.4")], "192.0.2.4"),
            (&[(many, "192.0.2.1")], "192.0.2.1"),
            (&[(rfc, "for=192.0.2.1")], "192.0.2.1"),
            (&[(rfc, "for=\"[2001:db8::7]:443\"")], "2001:db8::7"),
            // Entries that the client sent stand to the left of those of proxies.
            (&[(many, "203.0.113.5, 192.0.2.9"), (many, "10.0.0.3")], "192.0.2.9"),
            (&[(many, "rubbish, 192.0.2.9, 10.0.0.3")], "192.0.2.9"),
            (&[(many, "203.0.113.66:54321")], "203.0.113.66"),
            (&[(many, "[2001:db8:bad::7]:443")], "2001:db8:bad::7"),
            // Two headers that agree.
            (&[(real, "192.0.2.9"), (many, "203.0.113.5, 192.0.2.9")], "192.0.2.9"),
            // A trusted proxy is not the client, also not in front of another one.
            (&[(real, "127.0.0.1"), (many, "203.0.113.66, 127.0.0.1")], "203.0.113.66"),
            (&[(real, "203.0.113.66"), (many, "127.0.0.1")], "203.0.113.66"),
            (&[(real, "10.0.0.9")], "10.0.0.9"),
            (&[(many, "10.0.0.1, 10.0.0.9")], "10.0.0.1"),
            // Two clients: one is forged.
            (&[(real, "8.8.8.8"), (many, "203.0.113.66")], "?"),
            (&[(real, "203.0.113.66"), (many, "8.8.8.8")], "?"),
            (&[(rfc, "for=8.8.8.8"), (many, "203.0.113.66")], "?"),
            (&[(real, "8.8.8.8"), (real, "203.0.113.66")], "?"),
            (&[(real, "8.8.8.8, 127.0.0.1")], "?"),
            // Unreadable.
            (&[(real, "nonsense")], "?"),
            (&[(many, "unknown")], "?"),
            (&[(many, "192.0.2.1, unknown")], "?"),
            (&[(many, "192.0.2.1, unknown, 10.0.0.3")], "?"),
            (&[(rfc, "for=unknown")], "?"),
            (&[(rfc, "for=_gate")], "?"),
            (&[(rfc, "proto=https")], "?"),
            (&[(real, "unknown"), (many, "192.0.2.1")], "?"),
            // Empty headers.
            (&[(real, ""), (many, " , ")], "127.0.0.1"),
        ] {
            assert_eq!(from(&trusted, "127.0.0.1", headers), expected, "{headers:?}");
            assert_eq!(from(&trusted, "198.51.100.1", headers), "198.51.100.1", "{headers:?} of a stranger");
        }
    }

    #[test]
    fn a_proxy_protocol_header_names_the_client_or_a_further_proxy() {
        let trusted = Trusted::new(&ranges(&["127.0.0.0/8", "10.0.0.0/8"]));
        let peer = trusted.peer("127.0.0.1".parse().unwrap());
        assert!(peer.is_direct() && peer.is_trusted_proxy());
        for (named, ip, is_trusted_proxy) in [
            (Some("192.0.2.1"), "192.0.2.1", false),
            (Some("::ffff:192.0.2.1"), "192.0.2.1", false),
            (Some("10.0.0.1"), "10.0.0.1", true),
            (None, "127.0.0.1", true),
        ] {
            let client = trusted.after_proxy_header(peer, named.map(|ip| ip.parse().unwrap()));
            assert_eq!(client.ip().to_string(), ip);
            assert_eq!(
                (client.is_direct(), client.is_trusted_proxy()),
                (false, is_trusted_proxy),
                "{named:?}"
            );
            // The headers of a request are believed from a further proxy only.
            let forwarded = ForwardedHeaders::of([("X-Real-IP", &b"203.0.113.5"[..])]);
            let behind = trusted.resolve(client, &forwarded).unwrap();
            assert_eq!(behind.ip().to_string(), if is_trusted_proxy { "203.0.113.5" } else { ip });
            let without = trusted.resolve(client, &ForwardedHeaders::default()).unwrap();
            assert_eq!(without, client, "a proxy stays a proxy");
        }
    }

    #[test]
    fn only_the_configured_headers_are_used() {
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
    fn a_request_with_proxy_headers_is_not_direct() {
        let trusted = Trusted::default();
        let peer = trusted.peer("127.0.0.1".parse().unwrap());
        for name in ["Via", "X-Forwarded-Proto", "X-Forwarded-Server", "X-Real-IP", "Forwarded", "CDN-Loop"] {
            let forwarded = ForwardedHeaders::of([(name, &b""[..])]);
            assert!(!trusted.resolve(peer, &forwarded).unwrap().is_direct(), "{name}");
        }
        let forwarded = ForwardedHeaders::of([("Host", &b"localhost"[..]), ("Origin", b"http://localhost")]);
        assert!(trusted.resolve(peer, &forwarded).unwrap().is_direct());
    }

    #[test]
    fn a_private_peer_with_proxy_headers_is_warned_about_once() {
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
        let warned = |peer: &str, header: &str| {
            from(&trusted, peer, &[(header, "203.0.113.5")]);
            trusted.0.untrusted_logged.load(Ordering::Relaxed)
        };
        assert!(!warned("203.0.113.9", "X-Real-IP"), "anybody on the internet can send that");
        assert!(!warned("127.0.0.1", "X-Real-IP"), "a proxy that is believed");
        assert!(!warned("172.18.0.3", "X-Other"));
        assert!(warned("172.18.0.3", "X-Real-IP"));
    }

    #[test]
    fn https_is_believed_from_trusted_proxies_only() {
        let forwarded = ForwardedHeaders::of([("x-forwarded-proto", &b"https"[..])]);
        let trusted = Trusted::default();
        let (here, there) =
            (trusted.peer("127.0.0.1".parse().unwrap()), trusted.peer("192.0.2.1".parse().unwrap()));
        assert!(trusted.is_https(here, &forwarded));
        assert!(!trusted.is_https(there, &forwarded));
        let tcp = Trusted::with_headers(&ranges(&["127.0.0.1"]), &[ProxyHeader::ProxyProtocol]);
        assert!(!tcp.is_https(here, &forwarded), "the client wrote that");
    }
}
