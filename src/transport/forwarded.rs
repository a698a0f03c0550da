//! What the headers of a request say about proxies on its way, and whom they speak for. Whether that is believed is
//! decided in `trust`.

use std::net::{IpAddr, SocketAddrV4};

/// Where a proxy says whom it speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Real-IP`: one address.
    RealIp,
    /// `X-Forwarded-For`: each proxy adds whom it speaks for.
    ForwardedFor,
    /// `Forwarded`, RFC 7239: the same in a form that says more.
    Forwarded,
    /// The PROXY protocol, before everything else on the connection.
    ProxyProtocol,
}

impl ProxyHeader {
    /// All of them.
    pub const ALL: [ProxyHeader; 4] =
        [Self::ForwardedFor, Self::Forwarded, Self::RealIp, Self::ProxyProtocol];

    /// Its name, as `--proxy-header` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RealIp => "x-real-ip",
            Self::ForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
            Self::ProxyProtocol => "proxy-protocol",
        }
    }

    /// The one of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn parse(name: &str) -> Result<ProxyHeader, String> {
        let found = Self::ALL.into_iter().find(|header| header.name().eq_ignore_ascii_case(name.trim()));
        found.ok_or_else(|| format!("expected one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// What names an address, and is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

/// What a request says about proxies. Several headers of one name are one list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForwardedHeaders {
    real_ip: String,
    forwarded_for: String,
    forwarded: String,
    proto: String,
    host: String,
    names_proxy: bool,
}

/// Headers that only proxies make, besides those that begin with `x-forwarded-`.
const MARKS: [&str; 11] = [
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
    /// Those of a request with these headers.
    pub fn of<'a>(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> ForwardedHeaders {
        let mut claims = ForwardedHeaders::default();
        for (name, value) in headers {
            let name = name.to_ascii_lowercase();
            claims.names_proxy |= name.starts_with("x-forwarded-") || MARKS.contains(&name.as_str());
            let list = match name.as_str() {
                "x-real-ip" => &mut claims.real_ip,
                "x-forwarded-for" => &mut claims.forwarded_for,
                "forwarded" => &mut claims.forwarded,
                "x-forwarded-proto" => &mut claims.proto,
                "x-forwarded-host" => &mut claims.host,
                _ => continue,
            };
            if !list.is_empty() {
                list.push(',');
            }
            // What is no text is kept as what can be read even less, not left out.
            list.push_str(&String::from_utf8_lossy(value));
        }
        claims
    }

    /// Whether a proxy has left a mark.
    pub fn names_proxy(&self) -> bool {
        self.names_proxy
    }

    /// The clients that a header names, the nearest one first.
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

    /// Whether the way to the proxies was encrypted, by what all of them say.
    pub(super) fn says_https(&self) -> bool {
        let mut protos = list(&self.proto).peekable();
        protos.peek().is_some() && protos.all(|proto| proto.eq_ignore_ascii_case("https"))
    }

    /// The same by `Forwarded`.
    pub(super) fn forwarded_says_https(&self) -> bool {
        let elements = elements(&self.forwarded);
        let https =
            |element: &&str| parameter(element, "proto").is_some_and(|p| p.eq_ignore_ascii_case("https"));
        !elements.is_empty() && elements.iter().all(https)
    }

    /// The name that the client has asked for, by what the nearest proxy says.
    pub(super) fn host(&self) -> Option<&str> {
        list(&self.host).next_back()
    }

    /// What is said about the client, for the log.
    pub(super) fn summary(&self) -> String {
        let said = [
            ("X-Forwarded-For", &self.forwarded_for),
            ("Forwarded", &self.forwarded),
            ("X-Real-IP", &self.real_ip),
        ];
        let said = said.iter().filter(|(_, value)| !value.is_empty());
        let said =
            said.map(|(name, value)| format!("{name}: {:?}", value.chars().take(100).collect::<String>()));
        said.collect::<Vec<_>>().join(", ")
    }
}

/// The entries of a list, of which empty ones mean nothing.
fn list(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// The elements of `Forwarded`.
fn elements(text: &str) -> Vec<&str> {
    split_outside_quotes(text, ',').into_iter().map(str::trim).filter(|e| !e.is_empty()).collect()
}

/// A parameter of an element of `Forwarded`, without its quotes.
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

/// Reads an address as proxies write it: with or without quotes, brackets, a port, the interface of a link.
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
    fn addresses_are_read_as_proxies_write_them() {
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
    fn headers_of_one_name_are_one_list_and_the_last_entry_is_the_nearest() {
        let claims = ForwardedHeaders::of([
            ("X-Forwarded-For", &b"203.0.113.5, ,192.0.2.9:80"[..]),
            ("x-forwarded-for", b"10.0.0.3"),
            ("Forwarded", b"for=192.0.2.60;proto=https, For=\"[2001:db8::1]:4711\""),
            ("forwarded", b"by=192.0.2.1"),
        ]);
        let named = |header| {
            let named = claims.named_by(header).into_iter();
            named.map(|n| n.map_or("?".into(), |a| a.to_string())).collect::<Vec<_>>()
        };
        assert_eq!(named(ProxyHeader::ForwardedFor), ["10.0.0.3", "192.0.2.9", "203.0.113.5"]);
        assert_eq!(named(ProxyHeader::Forwarded), ["?", "2001:db8::1", "192.0.2.60"]);
        assert!(named(ProxyHeader::RealIp).is_empty());
        let odd = ForwardedHeaders::of([("X-Forwarded-For", &b"\xff"[..])]);
        assert_eq!(odd.named_by(ProxyHeader::ForwardedFor), [Err(Unreadable)], "not left out");
    }

    #[test]
    fn what_all_proxies_say_is_encrypted_is_encrypted() {
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
        fn no_header_makes_it_panic(name in 0usize..5, value in prop::collection::vec(any::<u8>(), 0..60)) {
            let name = ["x-real-ip", "x-forwarded-for", "forwarded", "x-forwarded-proto", "x-forwarded-host"][name];
            let claims = ForwardedHeaders::of([(name, value.as_slice())]);
            for header in ProxyHeader::ALL {
                claims.named_by(header);
            }
            claims.host();
            claims.forwarded_says_https();
            claims.summary();
        }
    }
}
