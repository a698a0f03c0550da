//! Parses the headers of reverse proxies: X-Real-IP, X-Forwarded-For, Forwarded. Whether they are believed is decided
//! in [`trust`](super::trust).

use std::net::{IpAddr, SocketAddrV4};

/// Ways in which a proxy names the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Real-IP`: one address.
    RealIp,
    /// `X-Forwarded-For`: a list to which each proxy appends the address that it was connected from.
    ForwardedFor,
    /// `Forwarded`, RFC 7239: such a list with more parameters.
    Forwarded,
    /// The PROXY protocol, before all other bytes of the connection.
    ProxyProtocol,
}

impl ProxyHeader {
    pub const ALL: [ProxyHeader; 4] =
        [Self::ForwardedFor, Self::Forwarded, Self::RealIp, Self::ProxyProtocol];

    /// The name that `--proxy-header` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::RealIp => "x-real-ip",
            Self::ForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
            Self::ProxyProtocol => "proxy-protocol",
        }
    }

    /// Parses a name of `--proxy-header`.
    ///
    /// # Errors
    /// When there is no such header; the text lists them.
    pub fn parse(name: &str) -> Result<ProxyHeader, String> {
        let found = Self::ALL.into_iter().find(|header| header.name().eq_ignore_ascii_case(name.trim()));
        found.ok_or_else(|| format!("expected one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// A proxy named a client by something that is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

/// The proxy headers of a request. Values of repeated headers are joined by commas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForwardedHeaders {
    real_ip: String,
    forwarded_for: String,
    forwarded: String,
    proto: String,
    host: String,
    names_proxy: bool,
}

/// Headers that only proxies add, besides `x-forwarded-*`.
const PROXY_HEADERS: [&str; 11] = [
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "x-envoy-external-address",
    "true-client-ip",
    "fastly-client-ip",
    "cf-connecting-ip",
    "cdn-loop",
];

impl ForwardedHeaders {
    /// Collects them from all headers of a request.
    pub fn of<'a>(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> ForwardedHeaders {
        let mut forwarded = ForwardedHeaders::default();
        for (name, value) in headers {
            let name = name.to_ascii_lowercase();
            forwarded.names_proxy |=
                name.starts_with("x-forwarded-") || PROXY_HEADERS.contains(&name.as_str());
            let list = match name.as_str() {
                "x-real-ip" => &mut forwarded.real_ip,
                "x-forwarded-for" => &mut forwarded.forwarded_for,
                "forwarded" => &mut forwarded.forwarded,
                "x-forwarded-proto" => &mut forwarded.proto,
                "x-forwarded-host" => &mut forwarded.host,
                _ => continue,
            };
            if !list.is_empty() {
                list.push(',');
            }
            // Invalid UTF-8 is kept and makes the entry unreadable; leaving it out would change the list.
            list.push_str(&String::from_utf8_lossy(value));
        }
        forwarded
    }

    /// Whether there is any header that only proxies add.
    pub fn names_proxy(&self) -> bool {
        self.names_proxy
    }

    /// The addresses in a header, the nearest hop first.
    pub(super) fn named_by(&self, header: ProxyHeader) -> Vec<Result<IpAddr, Unreadable>> {
        match header {
            ProxyHeader::ProxyProtocol => Vec::new(),
            ProxyHeader::RealIp => list(&self.real_ip).rev().map(address).collect(),
            ProxyHeader::ForwardedFor => list(&self.forwarded_for).rev().map(address).collect(),
            ProxyHeader::Forwarded => {
                let named = |element: &&str| parameter(element, "for").map_or(Err(Unreadable), address);
                elements(&self.forwarded).iter().rev().map(named).collect()
            }
        }
    }

    /// Whether `X-Forwarded-Proto` says https for all hops.
    pub(super) fn says_https(&self) -> bool {
        let mut protos = list(&self.proto).peekable();
        protos.peek().is_some() && protos.all(|proto| proto.eq_ignore_ascii_case("https"))
    }

    /// Whether `Forwarded` says `proto=https` for all hops.
    pub(super) fn forwarded_says_https(&self) -> bool {
        let elements = elements(&self.forwarded);
        let https =
            |element: &&str| parameter(element, "proto").is_some_and(|p| p.eq_ignore_ascii_case("https"));
        !elements.is_empty() && elements.iter().all(https)
    }

    /// The last entry of `X-Forwarded-Host`: the host that the client requested, by the nearest proxy.
    pub(super) fn host(&self) -> Option<&str> {
        list(&self.host).next_back()
    }

    /// The headers that name clients, shortened, for the log.
    pub(super) fn summary(&self) -> String {
        let headers = [
            ("X-Forwarded-For", &self.forwarded_for),
            ("Forwarded", &self.forwarded),
            ("X-Real-IP", &self.real_ip),
        ];
        let headers = headers.iter().filter(|(_, value)| !value.is_empty());
        let headers =
            headers.map(|(name, value)| format!("{name}: {:?}", value.chars().take(100).collect::<String>()));
        headers.collect::<Vec<_>>().join(", ")
    }
}

/// The non-empty entries of a comma-separated list.
fn list(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// The elements of a `Forwarded` header.
fn elements(text: &str) -> Vec<&str> {
    split_outside_quotes(text, ',').into_iter().map(str::trim).filter(|e| !e.is_empty()).collect()
}

/// A parameter of a `Forwarded` element, unquoted.
fn parameter<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let pairs = split_outside_quotes(element, ';').into_iter().filter_map(|pair| pair.split_once('='));
    let mut found = pairs.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| unquoted(value.trim()))
}

fn split_outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let mut quoted = false;
    let at_separator = |c: char| {
        quoted ^= c == '"';
        c == separator && !quoted
    };
    text.split(at_separator).collect()
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text)
}

/// Parses an address as proxies write it: with or without quotes, brackets, a port, a zone id.
fn address(text: &str) -> Result<IpAddr, Unreadable> {
    let text = unquoted(text).trim();
    let without_port = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inside, "")) => inside,
        Some((inside, rest)) => {
            let port = rest.strip_prefix(':').ok_or(Unreadable)?;
            port.parse::<u16>().map_err(|_| Unreadable)?;
            inside
        }
        None => text,
    };
    let plain = without_port.split_once('%').map_or(without_port, |(address, _)| address);
    let with_port = || without_port.parse::<SocketAddrV4>().map(|a| IpAddr::from(*a.ip()));
    let read = plain.parse::<IpAddr>().or_else(|_| with_port()).map_err(|_| Unreadable)?;
    if read.is_unspecified() { Err(Unreadable) } else { Ok(read.to_canonical()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_parsed_as_proxies_write_them() {
        for (text, expected) in [
            ("203.0.113.66", Some("203.0.113.66")),
            ("203.0.113.66:54321", Some("203.0.113.66")),
            ("\"203.0.113.66:54321\"", Some("203.0.113.66")),
            ("2001:db8::7", Some("2001:db8::7")),
            ("[2001:db8::7]", Some("2001:db8::7")),
            ("[2001:db8::7]:443", Some("2001:db8::7")),
            ("\"[::1]:80\"", Some("::1")),
            ("::ffff:192.0.2.4", Some("192.0.2.4")),
            ("[::ffff:192.0.2.4]:1", Some("192.0.2.4")),
            ("fe80::1%eth0", Some("fe80::1")),
            ("unknown", None),
            ("_hidden", None),
            ("0.0.0.0", None),
            ("203.0.113.66:", None),
            ("203.0.113.66:x", None),
            ("203.0.113.66:99999", None),
            ("[2001:db8::7", None),
            ("[2001:db8::7]443", None),
            ("2001:db8::7]:443", None),
            ("example.org", None),
            ("203.0.113", None),
            ("203.0.113.066", None),
            ("", None),
        ] {
            assert_eq!(address(text).ok(), expected.map(|e| e.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn repeated_headers_are_joined_and_the_last_entry_is_the_nearest_hop() {
        let forwarded = ForwardedHeaders::of([
            ("X-Forwarded-For", &b"203.0.113.5, ,192.0.2.9:80"[..]),
            ("x-forwarded-for", b"10.0.0.3"),
            ("Forwarded", b"for=192.0.2.60;proto=https, For=\"[2001:db8::1]:4711\""),
            ("forwarded", b"by=192.0.2.1"),
        ]);
        let named = |header| {
            let named = forwarded.named_by(header).into_iter();
            named.map(|n| n.map_or("?".into(), |a| a.to_string())).collect::<Vec<_>>()
        };
        assert_eq!(named(ProxyHeader::ForwardedFor), ["10.0.0.3", "192.0.2.9", "203.0.113.5"]);
        assert_eq!(named(ProxyHeader::Forwarded), ["?", "2001:db8::1", "192.0.2.60"]);
        assert!(named(ProxyHeader::RealIp).is_empty());
        let unreadable = ForwardedHeaders::of([("X-Forwarded-For", &b"\xff"[..])]);
        assert_eq!(unreadable.named_by(ProxyHeader::ForwardedFor), [Err(Unreadable)], "not left out");
    }

    #[test]
    fn https_needs_every_hop_to_say_https() {
        let https = |value: &'static str| {
            ForwardedHeaders::of([("x-forwarded-proto", value.as_bytes())]).says_https()
        };
        assert!(https("https") && https("HTTPS, https"));
        assert!(!https("") && !https("http") && !https("https, http") && !https("http,https"));
        let forwarded = |value: &'static str| {
            ForwardedHeaders::of([("forwarded", value.as_bytes())]).forwarded_says_https()
        };
        assert!(forwarded("for=192.0.2.1;proto=https") && !forwarded("for=192.0.2.1") && !forwarded(""));
    }

    proptest! {
        #[test]
        fn arbitrary_headers_do_not_panic(name in 0usize..5, value in prop::collection::vec(any::<u8>(), 0..60)) {
            let name = ["x-real-ip", "x-forwarded-for", "forwarded", "x-forwarded-proto", "x-forwarded-host"][name];
            let forwarded = ForwardedHeaders::of([(name, value.as_slice())]);
            for header in ProxyHeader::ALL {
                forwarded.named_by(header);
            }
            forwarded.host();
            forwarded.forwarded_says_https();
            forwarded.summary();
        }
    }
}
