//! Cross-origin protection: a page of another origin must not send requests on behalf of its visitor.
//!
//! Browsers send `Sec-Fetch-Site`, which pages cannot forge, or at least `Origin` with requests that change
//! something. Other programs send neither. By DNS rebinding a page could make its own host name resolve to this
//! machine and so be of the same origin; therefore the `Host` of a request must be a known name.

use std::net::IpAddr;

use actix_web::http::Method;
use actix_web::http::header::{HOST, HeaderName, HeaderValue, ORIGIN};
use actix_web::{HttpRequest, HttpResponse};

use crate::transport::origin::{self, RefusedOrigins};
use crate::transport::trust::Trusted;
use crate::web::{forwarded_headers, peer_of};

/// Suffixes of names that nobody can register on the internet.
const LOCAL_SUFFIXES: [&str; 4] = [".localhost", ".local", ".internal", ".home.arpa"];
/// Maximum length of a foreign name in errors and log, in characters.
const MAX_SHOWN: usize = 100;

/// Checks host name and origin of requests.
pub(super) struct Pages<'a> {
    /// Host names of this server, besides `localhost`.
    pub(super) hosts: &'a [String],
    /// Allowed origins of other servers.
    pub(super) allowed: &'a [String],
    /// Proxies whose `X-Forwarded-Host` is believed.
    pub(super) trusted: &'a Trusted,
    pub(super) refused_origins: &'a RefusedOrigins,
}

/// A host name, and a port if there is one.
type Authority<'a> = (&'a str, Option<u16>);

impl Pages<'_> {
    /// Why a request is refused; `None` if it is not.
    pub(super) fn denial_reason(&self, request: &HttpRequest) -> Option<String> {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        // Every browser sends `Host`; other programs may not.
        let named = request.headers().get(HOST).map(|value| value.to_str().unwrap_or_default());
        let host = named.and_then(authority);
        if let Some(named) = named.filter(|_| !host.is_some_and(|(name, _)| self.is_known_host(name))) {
            let name = shown(host.map_or(named, |(name, _)| name));
            return Some(format!(
                "Access denied: the name '{name}' is not known here; give it with --web-admin-host"
            ));
        }
        let origin = request.headers().get(ORIGIN).map(|value| value.to_str().unwrap_or_default());
        if origin.is_some_and(|origin| origin::is_allowed(self.allowed, origin)) {
            return None;
        }
        let site = header("sec-fetch-site").map(|site| site.trim().to_ascii_lowercase());
        let is_allowed = match (site.as_deref(), origin) {
            (Some("same-origin" | "none"), _) | (None, None) => true,
            // A link or an image: the page cannot read the response.
            (Some(_), None) => [Method::GET, Method::HEAD].contains(request.method()),
            (Some(_), Some(_)) => false,
            (None, Some(origin)) => self.is_same_origin(origin, host, request),
        };
        if is_allowed {
            return None;
        }
        if let Some(origin) = origin {
            self.refused_origins.log(origin, "--web-admin-allowed-origin");
        }
        let whose = origin.map_or_else(String::new, |origin| format!(" ('{}')", shown(origin)));
        Some(format!(
            "Access denied for pages of other origins{whose}; --web-admin-allowed-origin lets one ask"
        ))
    }

    /// Whether a host name cannot be that of an attacker: an address, a local name or a configured one.
    fn is_known_host(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let is_address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        // Names without a dot, such as of containers, are resolved on the machine or its network.
        let is_local = !name.contains('.') || LOCAL_SUFFIXES.iter().any(|end| name.ends_with(end));
        is_address || is_local || self.is_configured_host(&name)
    }

    fn is_configured_host(&self, name: &str) -> bool {
        self.hosts.iter().any(|host| !host.is_empty() && host.eq_ignore_ascii_case(name))
    }

    /// Whether an origin is that of this server, or of a proxy in front of it.
    fn is_same_origin(&self, origin: &str, host: Option<Authority<'_>>, request: &HttpRequest) -> bool {
        let Some((scheme, rest)) = origin.split_once("://") else { return false };
        let default = match scheme.to_ascii_lowercase().as_str() {
            "http" => 80,
            "https" => 443,
            _ => return false,
        };
        let Some((name, port)) = authority(rest) else { return false };
        let port = port.unwrap_or(default);
        let is_same = |(other, other_port): Authority<'_>| {
            other.eq_ignore_ascii_case(name) && other_port.unwrap_or(default) == port
        };
        let forwarded = forwarded_headers(request);
        let proxied_host = peer_of(request, self.trusted)
            .and_then(|peer| self.trusted.requested_host(peer, &forwarded))
            .and_then(authority);
        let named_port = host.and_then(|(_, port)| port).unwrap_or(default);
        let is_configured = self.is_configured_host(name) && [default, named_port].contains(&port);
        host.is_some_and(is_same) || proxied_host.is_some_and(is_same) || is_configured
    }
}

/// Parses `name` or `name:port`; IPv6 addresses have brackets.
fn authority(text: &str) -> Option<Authority<'_>> {
    let text = text.trim();
    if text.is_empty() || text.contains('/') || text.contains('@') {
        return None;
    }
    match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => Some((name, Some(port.parse().ok()?))),
        _ => Some((text, None)),
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect()
}

/// The response to a CORS preflight request.
pub(super) fn preflight() -> HttpResponse {
    let mut response = HttpResponse::NoContent().finish();
    for (name, value) in [
        ("access-control-allow-methods", "HEAD, GET, POST, PUT, DELETE"),
        ("access-control-allow-headers", "Authorization, Content-Type"),
        ("access-control-max-age", "86400"),
    ] {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn denial(hosts: &[&str], method: &str, peer: &str, headers: &[(&'static str, &str)]) -> Option<String> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let trusted = Trusted::default();
        let allowed = ["https://Admin.example/".to_owned()];
        let refused_origins = &RefusedOrigins::default();
        let pages = Pages { hosts: &hosts, allowed: &allowed, trusted: &trusted, refused_origins };
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = TestRequest::default().method(method).peer_addr(format!("{peer}:5").parse().unwrap());
        let with = |request: TestRequest, (name, value): &(&'static str, &str)| {
            request.append_header((*name, (*value).to_owned()))
        };
        pages.denial_reason(&headers.iter().fold(request, with).to_http_request())
    }

    #[test]
    fn the_host_header_must_be_a_known_name() {
        for (host, known) in [
            ("localhost", true),
            ("LocalHost:8080", true),
            ("localhost.:8080", true),
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("192.0.2.7", true),
            ("draw.example.org:1", true),
            ("DRAW.example.org", true),
            ("drawpile-srv:27780", true),
            ("server.home.arpa", true),
            ("evil.example:8080", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("draw.example.org.evil.example", false),
            ("internal.example", false),
            ("evil.example:", false),
            ("evil.example:x", false),
            ("localhost@evil.example", false),
            ("", false),
        ] {
            for peer in ["127.0.0.1", "192.0.2.1"] {
                for method in ["GET", "PUT"] {
                    let denial = denial(&["draw.example.org"], method, peer, &[("host", host)]);
                    assert_eq!(denial.is_none(), known, "{method} {host} from {peer}");
                    let says = denial.is_none_or(|text| text.contains("--web-admin-host"));
                    assert!(says, "{host}");
                }
            }
        }
    }

    #[test]
    fn cross_origin_requests_are_denied() {
        let (own, evil) = ("https://draw.example.org", "https://evil.example");
        let (origin, site, host) = ("origin", "sec-fetch-site", ("host", "drawpile-srv:27780"));
        // Headers, whether changes are allowed, whether reads are.
        for (headers, change, read) in [
            (&[][..], true, true),
            (&[(site, "same-origin"), (origin, own)][..], true, true),
            (&[(site, "same-origin")], true, true),
            (&[(site, "none")], true, true),
            (&[(site, "same-site"), (origin, own)], false, false),
            (&[(site, "cross-site"), (origin, own)], false, false),
            (&[(site, "cross-site"), (origin, evil)], false, false),
            (&[(site, "cross-site")], false, true),
            (&[(site, "same-site")], false, true),
            (&[(site, "rubbish")], false, true),
            (&[(site, "cross-site"), (origin, "https://admin.example")], true, true),
            // Browsers without Sec-Fetch-Site.
            (&[(origin, own)], true, true),
            (&[(origin, "https://draw.example.org:443")], true, true),
            (&[(origin, "http://DRAW.example.org:27780")], true, true),
            (&[(origin, "https://draw.example.org:444")], false, false),
            (&[(origin, "http://drawpile-srv:27780")], true, true),
            (&[(origin, "http://drawpile-srv")], false, false),
            (&[(origin, evil)], false, false),
            (&[(origin, "null")], false, false),
            (&[(origin, "")], false, false),
            (&[(origin, "file://draw.example.org")], false, false),
            (&[(origin, "https://other.example"), ("x-forwarded-host", "other.example")], true, true),
            (&[(origin, evil), ("x-forwarded-host", "other.example")], false, false),
            (&[(origin, "https://admin.example")], true, true),
        ] {
            for (method, expected) in
                [("PUT", change), ("POST", change), ("DELETE", change), ("PATCH", change), ("GET", read)]
            {
                let denial = denial(&["draw.example.org"], method, "127.0.0.1", &[headers, &[host]].concat());
                assert_eq!(denial.is_none(), expected, "{method} {headers:?}: {denial:?}");
                assert!(denial.is_none_or(|text| text.contains("--web-admin-allowed-origin")));
            }
        }
        let forged = [(origin, "https://other.example"), ("x-forwarded-host", "other.example"), host];
        assert!(denial(&[], "PUT", "192.0.2.1", &forged).is_some(), "not a trusted proxy");
    }
}
