//! Who may ask the admin API, and from where.

use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap,
    HeaderName, HeaderValue, REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::http::{StatusCode, Version};
use actix_web::{HttpRequest, HttpResponse};
use drawhall_protocol::qt_base64;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::login::{Logins, Shown};
use super::pages::Pages;
use super::request::refuse;
use crate::auth::password_limiter::{AttemptRefused, HttpPasswordLimiter, PasswordAttempt};
use crate::clock::Timestamp;
use crate::config::ip_range::IpRange;
use crate::session::admin::AdminError;
use crate::transport::origin::ANY;
use crate::transport::trust::{Source, Trusted};
use crate::web::{forwarded_headers, peer_of, source_of};

/// Where it is asked whether the server is there, which nobody needs to log in for.
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

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
    /// Nobody has to log in, whoever asks: something else sees to it.
    pub open: bool,
    /// Names of this server, besides `localhost`.
    pub hosts: Vec<String>,
}

impl AccessRules {
    /// Whether whoever asks has to log in.
    pub fn needs_login(&self) -> bool {
        self.credentials.is_some() || self.login_required
    }

    /// Whether others than the machine itself could ask, and nobody would have to log in, without anybody having said
    /// that this is meant.
    pub fn lets_strangers_in(&self) -> bool {
        let elsewhere = |network: &IpRange| !network.from.to_canonical().is_loopback();
        !self.needs_login() && !self.open && self.networks.iter().any(elsewhere)
    }
}

/// Decides about requests.
pub(super) struct Access {
    rules: AccessRules,
    trusted: Trusted,
    /// Passwords that were tried.
    pub(super) guesses: HttpPasswordLimiter,
    /// Those who have logged in on the page.
    pub(super) logins: Logins,
    /// Accounts that have shown their passwords.
    pub(super) shown: Shown,
}

impl Access {
    pub(super) fn new(rules: AccessRules, trusted: Trusted) -> Self {
        Self {
            rules,
            trusted,
            guesses: HttpPasswordLimiter::default(),
            logins: Logins::default(),
            shown: Shown::default(),
        }
    }

    /// Who has sent a request, if requests may come from there; else its answer. Nothing but its head is looked at.
    pub(super) fn source_of(&self, request: &HttpRequest) -> Result<Source, Box<HttpResponse>> {
        let refuse = |status, message: String| Err(denied(status, &message));
        let source = match source_of(request, &self.trusted) {
            Ok(Some(source)) => source,
            Ok(None) => return refuse(StatusCode::FORBIDDEN, "Access denied".to_owned()),
            Err(unclear) => return refuse(StatusCode::BAD_REQUEST, unclear.reason().to_owned()),
        };
        let fault = self.fault_of(request, source).or_else(|| self.pages().fault_of(request));
        match fault {
            Some(fault) => refuse(StatusCode::FORBIDDEN, fault),
            None => Ok(source),
        }
    }

    /// Why whoever asks may not, if so.
    fn fault_of(&self, request: &HttpRequest, source: Source) -> Option<String> {
        let Source { address, direct } = source;
        let here = direct && address.is_loopback();
        // A network of no bits is everybody, whatever their addresses are like.
        let among = |network: &IpRange| network.is_everything() || network.contains(address);
        if !here && !self.rules.networks.iter().any(among) {
            let by = if direct { "" } else { ", which comes by a proxy" };
            return Some(format!("Access denied for {address}{by}; --web-admin-access says who may"));
        }
        // What speaks HTTP 1.0 today is a proxy that does not say so, or looks whether the server is there.
        let may_be_proxy = !here || request.version() == Version::HTTP_10;
        let only_looks = HEALTH.contains(&request.path());
        if may_be_proxy && !only_looks && !self.rules.needs_login() && !self.rules.open {
            let only = "without a login only programs on this machine are answered, and no proxy";
            return Some(format!(
                "Access denied: {only}; --web-admin-auth or --web-admin-login asks for one, --web-admin-open for none"
            ));
        }
        None
    }

    fn pages(&self) -> Pages<'_> {
        let allowed = self.rules.allowed_origin.as_slice();
        // Without a login any page could do anything in the name of who looks at it.
        let any = allowed.iter().any(|origin| origin == ANY) && !self.rules.needs_login();
        Pages { hosts: &self.rules.hosts, allowed: if any { &[] } else { allowed }, trusted: &self.trusted }
    }

    /// Whether the way from whoever asks was encrypted, by a proxy.
    pub(super) fn is_encrypted(&self, request: &HttpRequest) -> bool {
        peer_of(request).is_some_and(|peer| self.trusted.is_https(peer, &forwarded_headers(request)))
    }

    /// Whether a request may be answered without a login on the page: as whom, for the log, or who perhaps is an account;
    /// else its answer.
    pub(super) fn admit(
        &self,
        request: &HttpRequest,
        source: Source,
    ) -> Result<Admission, Box<HttpResponse>> {
        if !self.rules.needs_login() {
            return Ok(Admission::As(source.address.to_string()));
        }
        let Some((user, password)) = basic_of(request) else { return Err(self.challenge(request)) };
        let guess = self.guesses.quick(source, Timestamp::now().monotonic_ms);
        let guess = guess.map_err(|not_now| Box::new(refuse(&too_many(not_now))))?;
        if self.fits(&user, &password) {
            guess.give_back();
            return Ok(Admission::As(format!("{user}@{}", source.address)));
        }
        Ok(Admission::Perhaps { user, password, guess })
    }

    /// Whether these are user and password of Basic authentication.
    pub(super) fn fits(&self, user: &str, password: &str) -> bool {
        self.rules.credentials.as_ref().is_some_and(|c| c.fits(user, password))
    }

    /// Asks for user and password. Pages that ask by themselves do not want the browser to show its own box.
    pub(super) fn challenge(&self, request: &HttpRequest) -> Box<HttpResponse> {
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

/// What comes of the user and password of a request.
pub(super) enum Admission {
    /// It is answered, for whom the log says.
    As(String),
    /// They are not those of `--web-admin-auth`; perhaps those of an account.
    Perhaps {
        /// Name.
        user: String,
        /// Password.
        password: String,
        /// The attempt that this is.
        guess: PasswordAttempt,
    },
}

/// User and password that a request names by Basic authentication, in UTF-8 or, from old programs, ISO 8859-1.
fn basic_of(request: &HttpRequest) -> Option<(String, String)> {
    let given = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (kind, text) = given.split_once(' ')?;
    let bytes = qt_base64::decode(text);
    let text =
        String::from_utf8(bytes).unwrap_or_else(|e| e.into_bytes().iter().map(|b| char::from(*b)).collect());
    let (user, password) = text.split_once(':').filter(|_| kind.eq_ignore_ascii_case("basic"))?;
    Some((user.to_owned(), password.to_owned()))
}

/// The answer to who has to wait before the next password.
pub(super) fn too_many(not_now: AttemptRefused) -> AdminError {
    AdminError::new(429, not_now.message())
}

/// The answer to who may not ask. What else is sent is not read.
fn denied(status: StatusCode, message: &str) -> Box<HttpResponse> {
    let mut response = HttpResponse::build(status);
    Box::new(response.force_close().json(json!({"status": "error", "message": message})))
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
        Access::new(rules, Trusted::default())
    }

    fn status(access: &Access, request: TestRequest) -> u16 {
        let request = request.to_http_request();
        let admitted = access.source_of(&request).and_then(|source| access.admit(&request, source));
        match admitted {
            Ok(Admission::As(_)) => 200,
            // There are no accounts here.
            Ok(Admission::Perhaps { .. }) => 401,
            Err(response) => response.status().as_u16(),
        }
    }

    fn from(peer: &str) -> TestRequest {
        let peer = format!("{peer}:5").parse().unwrap();
        TestRequest::get().peer_addr(peer).insert_header(("host", "localhost:27780"))
    }

    fn networks(texts: &[&str]) -> Vec<IpRange> {
        texts.iter().map(|text| IpRange::parse(text).unwrap()).collect()
    }

    #[test]
    fn who_may_ask_is_decided_by_the_address_of_the_client() {
        let basic = format!("Basic {}", BASE64.encode("admin:secret"));
        let credentials = Credentials::parse("admin:secret").ok();
        let (real, many) = ("x-real-ip", "x-forwarded-for");
        let (local, there, far) = ("127.0.0.1", "192.0.2.1", "203.0.113.9");
        // From, headers of proxies, and the answers: nobody has to log in; with a login and no network, one network, all.
        for (peer, headers, expected) in [
            (local, &[][..], [200, 200, 200, 200]),
            (there, &[][..], [403, 403, 200, 200]),
            (far, &[][..], [403, 403, 403, 200]),
            (local, &[(real, there)][..], [403, 403, 200, 200]),
            (local, &[(many, there)], [403, 403, 200, 200]),
            (local, &[(many, "192.0.2.1:5000")], [403, 403, 200, 200]),
            (local, &[("forwarded", "for=192.0.2.1")], [403, 403, 200, 200]),
            (local, &[(real, far)], [403, 403, 403, 200]),
            (local, &[(many, "192.0.2.1, 203.0.113.9")], [403, 403, 403, 200]),
            // Whoever comes by a proxy is not the machine itself, whatever the proxy says.
            (local, &[(real, local)], [403, 403, 403, 200]),
            (local, &[("via", "1.1 proxy")], [403, 403, 403, 200]),
            (local, &[("x-forwarded-proto", "https")], [403, 403, 403, 200]),
            // Nobody knows who asks.
            (local, &[(real, there), (many, far)], [400, 400, 400, 400]),
            (local, &[(many, "unknown")], [400, 400, 400, 400]),
            (local, &[(real, "nonsense")], [400, 400, 400, 400]),
            // Who is no proxy of ours can say what it likes.
            (there, &[(real, local)], [403, 403, 200, 200]),
            (far, &[(many, there)], [403, 403, 403, 200]),
        ] {
            let asked = |access: &Access| {
                let request = from(peer).insert_header(("authorization", basic.clone()));
                let with = |request: TestRequest, header: &(&'static str, &'static str)| {
                    request.insert_header(*header)
                };
                status(access, headers.iter().fold(request, with))
            };
            let with_login = |networks| {
                asked(&access(AccessRules {
                    credentials: credentials.clone(),
                    networks,
                    ..AccessRules::default()
                }))
            };
            let answers = [
                asked(&access(AccessRules::default())),
                with_login(Vec::new()),
                with_login(networks(&["192.0.2.0/24"])),
                with_login(networks(&["::/0"])),
            ];
            assert_eq!(answers, expected, "{peer} {headers:?}");
        }
    }

    #[test]
    fn without_a_login_nobody_else_is_let_in_unless_that_is_meant() {
        let rules = |texts: &[&str]| AccessRules { networks: networks(texts), ..AccessRules::default() };
        assert!(!rules(&[]).lets_strangers_in() && !rules(&["127.0.0.0/8", "::1"]).lets_strangers_in());
        for elsewhere in ["192.0.2.0/24", "::/0", "0.0.0.0/0", "10.0.0.1"] {
            let rules = rules(&[elsewhere]);
            assert!(rules.lets_strangers_in(), "{elsewhere}");
            assert!(!AccessRules { login_required: true, ..rules.clone() }.lets_strangers_in());
            assert!(!AccessRules { open: true, ..rules.clone() }.lets_strangers_in());
            assert_eq!(status(&access(rules.clone()), from("10.0.0.1")), 403, "{elsewhere}");
        }
        let open = access(AccessRules { open: true, ..rules(&["192.0.2.0/24"]) });
        assert_eq!(status(&open, from("192.0.2.1")), 200);
        assert_eq!(status(&open, from("127.0.0.1").insert_header(("x-real-ip", "192.0.2.1"))), 200);
        assert_eq!(status(&open, from("198.51.100.1")), 403);
    }

    #[test]
    fn what_speaks_http_1_0_is_a_proxy() {
        let old = || from("127.0.0.1").version(Version::HTTP_10);
        assert_eq!(status(&access(AccessRules::default()), old().uri("/healthz")), 200);
        assert_eq!(status(&access(AccessRules::default()), old()), 403);
        assert_eq!(status(&access(AccessRules { open: true, ..AccessRules::default() }), old()), 200);
    }

    #[test]
    fn passwords_are_asked_for_and_cannot_be_tried_for_ever() {
        let credentials = Credentials::parse("admin:se:cret").ok();
        let networks = networks(&["192.0.2.0/24", "2001:db8::/32"]);
        let access = access(AccessRules { credentials, networks, ..AccessRules::default() });
        let with = |client: &'static str, text: &str| {
            let request = from("127.0.0.1").insert_header(("x-forwarded-for", client));
            request.insert_header(("authorization", format!("Basic {}", BASE64.encode(text))))
        };
        assert_eq!(status(&access, from("127.0.0.1")), 401);
        assert_eq!(status(&access, with("192.0.2.1", "admin:se:cret")), 200);
        for _ in 0..20 {
            assert_eq!(status(&access, with("192.0.2.1", "admin:wrong")), 401);
        }
        assert_eq!(status(&access, with("192.0.2.1", "admin:se:cret")), 429);
        assert_eq!(status(&access, with("192.0.2.2", "admin:se:cret")), 200, "behind the same proxy");
        for n in 0..20 {
            let client = ["2001:db8::1", "2001:db8::2"][n % 2];
            assert_eq!(status(&access, with(client, "admin:wrong")), 401);
        }
        assert_eq!(status(&access, with("2001:db8::3", "admin:se:cret")), 429, "a network of 64 bits is one");
        let here = from("127.0.0.1")
            .insert_header(("authorization", format!("Basic {}", BASE64.encode("admin:se:cret"))));
        assert_eq!(status(&access, here), 200);
    }

    #[test]
    fn old_programs_write_names_in_another_way() {
        let credentials = Credentials::parse("müller:größe").ok();
        let access = access(AccessRules { credentials, ..AccessRules::default() });
        for bytes in ["müller:größe".as_bytes(), b"m\xfcller:gr\xf6\xdfe"] {
            let header = format!("Basic {}", BASE64.encode(bytes));
            assert_eq!(status(&access, from("127.0.0.1").insert_header(("authorization", header))), 200);
        }
    }

    #[test]
    fn credentials_have_two_parts() {
        for bad in ["", "x", ":x", "x:"] {
            assert!(Credentials::parse(bad).is_err(), "{bad}");
        }
    }
}
