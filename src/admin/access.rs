//! Access control of the admin API: by client address, credentials and origin.

use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap,
    HeaderValue, REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::http::{StatusCode, Version};
use actix_web::{HttpRequest, HttpResponse};
use drawhall_protocol::qt_base64;
use parking_lot::Mutex;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::error::ApiError;
use super::login::{Logins, VerifiedPasswords};
use super::pages::Pages;
use crate::config::ip_range::IpRange;
use crate::rules::limits::{AddressBuckets, Rate};
use crate::rules::time::Timestamp;
use crate::transport::origin::{ANY, RefusedOrigins};
use crate::transport::trust::{ClientAddr, Trusted};
use crate::web::password_limiter::{HttpPasswordLimiter, PasswordAttempt};
use crate::web::shared_port::SharedPort;
use crate::web::{Encrypted, client_addr_of, forwarded_headers, peer_of};

/// Requests with links of operators per minute and address. The page sends about five for each thing that is done.
const LINK_REQUESTS: u32 = 120;
/// Paths of health checks, which need no login.
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

/// User and password of HTTP Basic authentication.
#[derive(Debug, Clone)]
pub struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// Parses `user:password`; neither may be empty.
    ///
    /// # Errors
    /// When it has another form.
    pub fn parse(text: &str) -> Result<Credentials, String> {
        match text.split_once(':') {
            Some((user, password)) if !user.is_empty() && !password.is_empty() => {
                Ok(Credentials { user: user.to_owned(), password: password.to_owned() })
            }
            _ => Err("expected USER:PASSWORD".to_owned()),
        }
    }

    /// Length of the password in characters.
    pub fn password_length(&self) -> usize {
        self.password.chars().count()
    }

    /// Compares in constant time.
    fn matches(&self, user: &str, password: &str) -> bool {
        let same = |a: &str, b: &str| Sha256::digest(a).ct_eq(&Sha256::digest(b));
        (same(&self.user, user) & same(&self.password, password)).into()
    }
}

/// Access settings of the admin API.
#[derive(Debug, Clone, Default)]
pub struct AccessRules {
    /// User and password of `--web-admin-auth`.
    pub credentials: Option<Credentials>,
    /// Networks that may connect, besides loopback.
    pub networks: Vec<IpRange>,
    /// An origin of another server whose pages may send requests; `*` for any.
    pub allowed_origin: Option<String>,
    /// Logging in with an account is required, even without `credentials`.
    pub login_required: bool,
    /// No login is required from any network: access is controlled elsewhere, such as by a proxy.
    pub open: bool,
    /// Host names of this server, besides `localhost`.
    pub hosts: Vec<String>,
    /// Operators of sessions get links, which can be used from everywhere.
    pub operator_links: bool,
}

impl AccessRules {
    /// Whether requests need a login.
    pub fn needs_login(&self) -> bool {
        self.credentials.is_some() || self.login_required
    }

    /// Whether clients other than loopback would have access without a login, and `open` does not say that this is
    /// intended.
    pub fn is_open_by_mistake(&self) -> bool {
        let is_remote = |network: &IpRange| !network.address().to_canonical().is_loopback();
        !self.needs_login() && !self.open && self.networks.iter().any(is_remote)
    }
}

/// Checks requests.
pub(super) struct Access {
    rules: AccessRules,
    trusted: Trusted,
    /// Counts password attempts.
    pub(super) password_limiter: HttpPasswordLimiter,
    /// Logins on the page.
    pub(super) logins: Logins,
    /// Accounts whose password was verified recently.
    pub(super) verified: VerifiedPasswords,
    refused_origins: RefusedOrigins,
    /// Counts requests with links of operators.
    link_requests: Mutex<AddressBuckets>,
}

impl Access {
    pub(super) fn new(rules: AccessRules, trusted: Trusted) -> Self {
        Self {
            rules,
            trusted,
            password_limiter: HttpPasswordLimiter::default(),
            logins: Logins::default(),
            verified: VerifiedPasswords::default(),
            refused_origins: RefusedOrigins::default(),
            link_requests: Mutex::default(),
        }
    }

    /// The client of a request, if its address and its headers permit access; else the error response. Does not read
    /// the body.
    pub(super) fn client_addr_of(&self, request: &HttpRequest) -> Result<ClientAddr, Box<HttpResponse>> {
        let source = self.source_of(request)?;
        let denial = self.denial_reason(request, source).or_else(|| self.pages().denial_reason(request));
        denial.map_or(Ok(source), |reason| Err(denied(StatusCode::FORBIDDEN, &reason)))
    }

    /// The same for requests with a link of an operator: they may come from everywhere if there are such links.
    pub(super) fn operator_addr_of(&self, request: &HttpRequest) -> Result<ClientAddr, Box<HttpResponse>> {
        if !self.rules.operator_links {
            return self.client_addr_of(request);
        }
        let source = self.source_of(request)?;
        let denial = self.pages().denial_reason(request);
        denial.map_or(Ok(source), |reason| Err(denied(StatusCode::FORBIDDEN, &reason)))
    }

    /// The address that a request comes from.
    fn source_of(&self, request: &HttpRequest) -> Result<ClientAddr, Box<HttpResponse>> {
        match client_addr_of(request, &self.trusted) {
            Ok(Some(source)) => Ok(source),
            Ok(None) => Err(denied(StatusCode::FORBIDDEN, "Access denied")),
            Err(ambiguous) => Err(denied(StatusCode::BAD_REQUEST, ambiguous.reason())),
        }
    }

    /// Whether a request needs a login. At a port that it shares with drawing clients always: strangers reach that port,
    /// perhaps by a tunnel that makes them look like programs on this machine.
    fn needs_login(&self, request: &HttpRequest) -> bool {
        self.rules.needs_login() || request.conn_data::<SharedPort>().is_some()
    }

    /// Why the client address has no access; `None` if it has.
    fn denial_reason(&self, request: &HttpRequest, source: ClientAddr) -> Option<String> {
        let (address, direct) = (source.ip(), source.is_direct());
        let is_local = direct && address.is_loopback();
        // `::/0` also means all IPv4 addresses.
        let contains_client = |network: &IpRange| network.is_everything() || network.contains(address);
        if !is_local && !self.rules.networks.iter().any(contains_client) {
            let by = if direct { "" } else { ", which comes by a proxy" };
            return Some(format!("Access denied for {address}{by}; --web-admin-access says who may"));
        }
        // HTTP/1.0 today means a proxy that sends no headers, or a health check.
        let may_be_proxy = !is_local || request.version() == Version::HTTP_10;
        let is_health_check = HEALTH.contains(&request.path());
        if may_be_proxy && !is_health_check && !self.needs_login(request) && !self.rules.open {
            let only = "without a login only programs on this machine are answered, and no proxy";
            return Some(format!(
                "Access denied: {only}; --web-admin-auth or --web-admin-login asks for one, --web-admin-open for none"
            ));
        }
        None
    }

    /// Counts a request with a link of an operator; false if the rate limit of the address is reached.
    pub(super) fn takes_link_request(&self, source: ClientAddr, now_ms: u64) -> bool {
        let mut requests = self.link_requests.lock();
        requests.take(Some(source.ip()), Rate::per_minute(LINK_REQUESTS), now_ms)
    }

    /// Begins a password attempt, which waits for its turn. It counts as failed until it is refunded.
    ///
    /// # Errors
    /// 429 when the rate limit of the address is reached, or too many wait.
    pub(super) async fn begin_attempt(&self, source: ClientAddr) -> Result<PasswordAttempt, ApiError> {
        Ok(self.password_limiter.slow(source, Timestamp::now().monotonic_ms).await?)
    }

    fn pages(&self) -> Pages<'_> {
        let allowed = self.rules.allowed_origin.as_slice();
        // `*` needs a login: without one any web page could send requests on behalf of its visitor.
        let allows_any = allowed.iter().any(|origin| origin == ANY) && !self.rules.needs_login();
        Pages {
            hosts: &self.rules.hosts,
            allowed: if allows_any { &[] } else { allowed },
            trusted: &self.trusted,
            refused_origins: &self.refused_origins,
        }
    }

    /// Whether the client's connection is encrypted, by this server or by a trusted proxy.
    pub(super) fn is_encrypted(&self, request: &HttpRequest) -> bool {
        if request.conn_data::<Encrypted>().is_some() {
            return true;
        }
        peer_of(request, &self.trusted)
            .is_some_and(|peer| self.trusted.is_https(peer, &forwarded_headers(request)))
    }

    /// Admits a request by its Basic authentication, or without one if no login is required; else the error response.
    pub(super) fn admit(
        &self,
        request: &HttpRequest,
        source: ClientAddr,
    ) -> Result<Admission, Box<HttpResponse>> {
        if !self.needs_login(request) {
            return Ok(Admission::As(source.ip().to_string()));
        }
        let Some((user, password)) = basic_credentials(request) else { return Err(self.challenge(request)) };
        let attempt = self.password_limiter.quick(source, Timestamp::now().monotonic_ms);
        let attempt = attempt.map_err(|refused| Box::new(ApiError::from(refused).response()))?;
        if self.is_credentials(&user, &password) {
            attempt.refund();
            return Ok(Admission::As(format!("{user}@{}", source.ip())));
        }
        Ok(Admission::Unverified { user, password, attempt })
    }

    /// Whether these are the credentials of `--web-admin-auth`.
    pub(super) fn is_credentials(&self, user: &str, password: &str) -> bool {
        self.rules.credentials.as_ref().is_some_and(|c| c.matches(user, password))
    }

    /// A 401 response. For requests of the page it has no `WWW-Authenticate`: the page shows its own login form.
    pub(super) fn challenge(&self, request: &HttpRequest) -> Box<HttpResponse> {
        let mut response = denied(StatusCode::UNAUTHORIZED, "User and password are needed");
        let is_from_page = request.headers().get("x-requested-with").is_some_and(|v| v == "XMLHttpRequest");
        if !is_from_page && self.rules.credentials.is_some() {
            let realm = HeaderValue::from_static("Basic realm=\"drawhall\", charset=\"UTF-8\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, realm);
        }
        response
    }

    /// Adds the security headers of every response.
    pub(super) fn add_headers(&self, headers: &mut HeaderMap) {
        let fixed = [
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
            (REFERRER_POLICY, "no-referrer"),
            (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
            (CACHE_CONTROL, "no-store"),
        ];
        // The page sets some of them itself.
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

/// Result of [`Access::admit`].
pub(super) enum Admission {
    /// Admitted; the name for the log.
    As(String),
    /// Not the credentials of `--web-admin-auth`, but possibly those of an account.
    Unverified { user: String, password: String, attempt: PasswordAttempt },
}

/// User and password of Basic authentication, in UTF-8 or, from old programs, ISO 8859-1.
fn basic_credentials(request: &HttpRequest) -> Option<(String, String)> {
    let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, text) = header.split_once(' ')?;
    let bytes = qt_base64::decode(text);
    let text =
        String::from_utf8(bytes).unwrap_or_else(|e| e.into_bytes().iter().map(|b| char::from(*b)).collect());
    let (user, password) = text.split_once(':').filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    Some((user.to_owned(), password.to_owned()))
}

/// An error response; closes the connection without reading the rest of the request.
fn denied(status: StatusCode, message: &str) -> Box<HttpResponse> {
    let mut response = HttpResponse::build(status);
    Box::new(response.force_close().json(json!({"status": "error", "message": message})))
}

#[cfg(test)]
mod tests;
