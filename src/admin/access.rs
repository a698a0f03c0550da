//! Who may ask the admin API, and from where.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderMap,
    HeaderName, HeaderValue, ORIGIN, REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use actix_web::{HttpRequest, HttpResponse};
use drawhall_protocol::qt_base64;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::call::refuse;
use super::login::Logins;
use crate::clock::Now;
use crate::config::ini::IpRange;
use crate::limits::Attempts;
use crate::session::admin::AdminError;

/// User and password, both of which must fit.
#[derive(Debug, Clone)]
pub struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// Reads `user:password`, neither of them empty.
    ///
    /// # Errors
    /// When it is not of this form.
    pub fn parse(text: &str) -> Result<Credentials, String> {
        match text.split_once(':') {
            Some((user, password)) if !user.is_empty() && !password.is_empty() => {
                Ok(Credentials { user: user.to_owned(), password: password.to_owned() })
            }
            _ => Err("expected USER:PASSWORD".to_owned()),
        }
    }

    /// Takes the same time wherever it differs.
    fn fits(&self, user: &str, password: &str) -> bool {
        let same = |a: &str, b: &str| Sha256::digest(a).ct_eq(&Sha256::digest(b));
        (same(&self.user, user) & same(&self.password, password)).into()
    }
}

/// Who may ask.
#[derive(Debug, Clone, Default)]
pub struct AccessRules {
    /// User and password, if they are needed.
    pub credentials: Option<Credentials>,
    /// From where, besides the machine itself.
    pub networks: Vec<IpRange>,
    /// Origin of pages of another server that may ask.
    pub allowed_origin: Option<String>,
    /// Even without user and password, whoever asks has to log in, with an account.
    pub login_required: bool,
    /// Name of this server, besides `localhost`.
    pub host: String,
}

/// Decides about requests.
pub(super) struct Access {
    rules: AccessRules,
    attempts: Mutex<Attempts>,
    /// Those who have logged in on the page.
    pub(super) logins: Logins,
}

impl Access {
    pub(super) fn new(rules: AccessRules) -> Self {
        Self { rules, attempts: Mutex::default(), logins: Logins::default() }
    }

    /// The address that a request comes from, if requests may come from there; else its answer.
    pub(super) fn peer_of(&self, request: &HttpRequest) -> Result<IpAddr, Box<HttpResponse>> {
        let peer = request.peer_addr().map(|a| a.ip().to_canonical());
        let Some(peer) = peer.filter(|peer| self.may_ask(*peer)) else {
            return Err(denied(StatusCode::FORBIDDEN, "Access denied"));
        };
        if self.is_addressed(request, peer) {
            Ok(peer)
        } else {
            Err(denied(StatusCode::FORBIDDEN, "Access denied for pages of other origins"))
        }
    }

    /// Whether a request may be answered without a login on the page: as whom, for the log; else its answer.
    pub(super) fn admit(&self, request: &HttpRequest, peer: IpAddr) -> Result<String, Box<HttpResponse>> {
        if self.rules.credentials.is_none() && !self.rules.login_required {
            return Ok(peer.to_string());
        }
        let given = request.headers().get(AUTHORIZATION).and_then(|v| v.to_str().ok());
        let given =
            given.and_then(|text| text.split_once(' ')).filter(|(k, _)| k.eq_ignore_ascii_case("basic"));
        let given = given.and_then(|(_, text)| String::from_utf8(qt_base64::decode(text)).ok());
        let Some((user, password)) = given.as_deref().and_then(|text| text.split_once(':')) else {
            return Err(self.challenge(request));
        };
        let now = Now::get().ms;
        if let Err(error) = self.attempt(peer, now) {
            return Err(Box::new(refuse(&error)));
        }
        if self.fits(user, password) {
            return Ok(format!("{user}@{peer}"));
        }
        self.failed(peer, now);
        Err(self.challenge(request))
    }

    /// Whether an address may try a password.
    pub(super) fn attempt(&self, peer: IpAddr, now: u64) -> Result<(), AdminError> {
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if attempts.too_many(peer, now) {
            return Err(AdminError::new(429, "Too many wrong passwords, try again in a minute"));
        }
        Ok(())
    }

    /// An address has tried a wrong password.
    pub(super) fn failed(&self, peer: IpAddr, now: u64) {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).failed(peer, now);
    }

    /// Whether these are user and password of Basic authentication.
    pub(super) fn fits(&self, user: &str, password: &str) -> bool {
        self.rules.credentials.as_ref().is_some_and(|c| c.fits(user, password))
    }

    fn may_ask(&self, peer: IpAddr) -> bool {
        // A network of no bits is everybody, whatever their addresses are like.
        let among = |network: &IpRange| network.is_everything() || network.contains(peer);
        peer.is_loopback() || self.rules.networks.iter().any(among)
    }

    /// Whether a request means this server: a page of another origin may not ask, also not under a name that it has
    /// made to mean this machine.
    fn is_addressed(&self, request: &HttpRequest, peer: IpAddr) -> bool {
        let header = |name| request.headers().get(name).and_then(|v: &HeaderValue| v.to_str().ok());
        let host = header(HOST).unwrap_or_default();
        if let Some(origin) = header(ORIGIN) {
            let own = origin.split_once("://").is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(host));
            if !own && self.rules.allowed_origin.as_deref() != Some(origin) {
                return false;
            }
        }
        if !peer.is_loopback() {
            return true;
        }
        let name = host
            .rsplit_once(':')
            .map_or(host, |(name, port)| if port.bytes().all(|b| b.is_ascii_digit()) { name } else { host });
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let own = !self.rules.host.is_empty() && name.eq_ignore_ascii_case(&self.rules.host);
        own || name.eq_ignore_ascii_case("localhost") || address.is_ok()
    }

    /// Asks for user and password. Pages that ask by themselves do not want the browser to show its own box.
    fn challenge(&self, request: &HttpRequest) -> Box<HttpResponse> {
        let mut response = denied(StatusCode::UNAUTHORIZED, "User and password are needed");
        let by_page = request.headers().get("x-requested-with").is_some_and(|v| v == "XMLHttpRequest");
        if !by_page && self.rules.credentials.is_some() {
            let realm = HeaderValue::from_static("Basic realm=\"drawhall\", charset=\"UTF-8\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, realm);
        }
        response
    }

    /// Headers of every answer.
    pub(super) fn add_headers(&self, headers: &mut HeaderMap) {
        let fixed = [
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
            (REFERRER_POLICY, "no-referrer"),
            (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
            (CACHE_CONTROL, "no-store"),
        ];
        // The page has its own for some.
        for (name, value) in fixed {
            if !headers.contains_key(&name) {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
        if let Some(origin) = self.rules.allowed_origin.as_deref().and_then(|o| HeaderValue::from_str(o).ok())
        {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
    }
}

fn denied(status: StatusCode, message: &str) -> Box<HttpResponse> {
    Box::new(HttpResponse::build(status).json(json!({"status": "error", "message": message})))
}

/// The answer to a browser that asks whether it may ask.
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
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;

    use super::*;

    fn access(rules: AccessRules) -> Access {
        Access::new(rules)
    }

    fn status(access: &Access, request: TestRequest) -> u16 {
        let request = request.to_http_request();
        let admitted = access.peer_of(&request).and_then(|peer| access.admit(&request, peer));
        admitted.map_or_else(|response| response.status().as_u16(), |_| 200)
    }

    fn from(peer: &str, host: &str) -> TestRequest {
        TestRequest::get().peer_addr(peer.parse().unwrap()).insert_header(("host", host.to_owned()))
    }

    #[test]
    fn only_the_machine_itself_and_named_networks_may_ask() {
        let here = access(AccessRules::default());
        assert_eq!(status(&here, from("127.0.0.1:5", "localhost:80")), 200);
        assert_eq!(status(&here, from("192.0.2.1:5", "x")), 403);
        let wider = access(AccessRules {
            networks: vec![IpRange::parse("192.0.2.0/24").unwrap()],
            ..AccessRules::default()
        });
        assert_eq!(status(&wider, from("192.0.2.1:5", "x")), 200);
        assert_eq!(status(&wider, from("198.51.100.1:5", "x")), 403);
    }

    #[test]
    fn pages_of_other_origins_may_not_ask() {
        let access = access(AccessRules {
            allowed_origin: Some("https://admin.example".into()),
            host: "draw.example".into(),
            ..AccessRules::default()
        });
        let local = |host: &str| from("127.0.0.1:5", host);
        for host in ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "draw.example:1"] {
            assert_eq!(status(&access, local(host)), 200, "{host}");
        }
        assert_eq!(
            status(&access, local("evil.example:8080")),
            403,
            "a name that was made to mean this machine"
        );
        let origin = |origin: &'static str| local("localhost:8080").insert_header(("origin", origin));
        assert_eq!(status(&access, origin("http://localhost:8080")), 200);
        assert_eq!(status(&access, origin("https://admin.example")), 200);
        assert_eq!(status(&access, origin("https://evil.example")), 403);
        assert_eq!(status(&access, origin("null")), 403);
    }

    #[test]
    fn passwords_are_asked_for_and_cannot_be_tried_for_ever() {
        let credentials = Credentials::parse("admin:se:cret").ok();
        let access = access(AccessRules { credentials, ..AccessRules::default() });
        let with = |text: &str| {
            let header = format!("Basic {}", BASE64.encode(text));
            from("127.0.0.1:5", "localhost").insert_header(("authorization", header))
        };
        assert_eq!(status(&access, from("127.0.0.1:5", "localhost")), 401);
        assert_eq!(status(&access, with("admin:se:cret")), 200);
        for _ in 0..20 {
            assert_eq!(status(&access, with("admin:wrong")), 401);
        }
        assert_eq!(status(&access, with("admin:se:cret")), 429);
        let other = from("127.0.0.2:5", "localhost")
            .insert_header(("authorization", format!("Basic {}", BASE64.encode("admin:se:cret"))));
        assert_eq!(status(&access, other), 200);
    }

    #[test]
    fn credentials_have_two_parts() {
        for bad in ["", "x", ":x", "x:"] {
            assert!(Credentials::parse(bad).is_err(), "{bad}");
        }
    }
}
