//! Endpoints `login`, `logout`, `whoami`: logins on the page, which are kept in a cookie. Accepts the credentials of
//! Basic authentication, and accounts whose flags give them a role.

use std::collections::HashMap;
use std::sync::Arc;

use actix_web::cookie::time::Duration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::AdminState;
use super::access::Admission;
use super::endpoint::{Api, Call, Done, IntoAnswer, Json, Nothing};
use super::error::{ApiError, forbidden};
use super::request::{Who, audit};
use super::roles::Role;
use super::value::Text;
use crate::actors::auth::{AccountFingerprint, CheckAccount, GetAccountFingerprint};
use crate::rules::login::AccountCheck;
use crate::rules::time::Timestamp;
use crate::transport::trust::ClientAddr;
use crate::web::password_limiter::PasswordAttempt;

pub(super) const COOKIE: &str = "drawhall";
/// How long a login is valid, in milliseconds.
const LIFETIME_MS: u64 = 12 * 3_600_000;
/// How often the account of a login is checked again, in milliseconds.
const RECHECK_MS: u64 = 2_000;
/// How often it is checked whether the reader of a stream may still read.
const RECHECK_STREAM: std::time::Duration = std::time::Duration::from_secs(5);
/// How long a verified account password is cached, in milliseconds.
const VERIFIED_TTL_MS: u64 = 60_000;
/// Verified passwords that are cached.
const MAX_VERIFIED: usize = 100;
/// Logins that are kept; beyond, the oldest is removed.
const MAX_LOGINS: usize = 1000;

pub(super) fn endpoints(api: &mut Api) {
    api.get("whoami", "Who the client is.", AdminState::who_am_i);
    api.post(
        "login",
        "Logs in with the credentials of Basic authentication or an account that has a role; sets a cookie.",
        AdminState::log_in,
    )
    .is_for_login();
    api.post("logout", "Ends the login of the cookie.", AdminState::log_out).is_for_login();
}

/// The client of a request.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Who")]
pub(super) struct WhoIs {
    /// Name of the client; its address if no login is required.
    user: String,
    /// Authorized by a login on the page.
    login: bool,
    role: Role,
}

/// Name and password.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["username", "password"]))]
pub(super) struct Credentials {
    /// Name.
    username: Text,
    /// Password.
    password: Text,
}

/// A JSON object, and the cookie of a login.
pub(super) struct WithCookie<T>(T, Cookie<'static>);

impl<T: Serialize + JsonSchema> IntoAnswer for WithCookie<T> {
    fn respond(self, mut response: HttpResponseBuilder) -> HttpResponse {
        response.cookie(self.1);
        Json(self.0).respond(response)
    }

    fn content(schemas: &mut SchemaGenerator) -> Option<Value> {
        Json::<T>::content(schemas)
    }
}

/// What a login is authorized by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Authority {
    /// The credentials of Basic authentication, which are an administrator's.
    Credentials,
    /// An account with a role. The login ends when the fingerprint changes: when the account is locked or renamed, or
    /// loses its flag or its password.
    Account(AccountFingerprint, Role),
}

impl Authority {
    fn role(self) -> Role {
        match self {
            Authority::Credentials => Role::Administrator,
            Authority::Account(_, role) => role,
        }
    }
}

/// A login on the page. Times are on the monotonic clock, in milliseconds.
#[derive(Debug, Clone)]
struct Login {
    name: String,
    authority: Authority,
    created: u64,
    checked_at: u64,
}

/// Logins by the SHA-256 digests of their cookies.
#[derive(Debug, Default)]
pub(super) struct Logins(Mutex<HashMap<[u8; 32], Login>>);

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

impl Logins {
    fn with<T>(&self, f: impl FnOnce(&mut HashMap<[u8; 32], Login>) -> T) -> T {
        f(&mut self.0.lock())
    }

    /// Adds a login; returns the token for its cookie. `None` if the system provides no randomness.
    fn add(&self, name: String, authority: Authority, now: u64) -> Option<String> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).ok()?;
        let token = URL_SAFE_NO_PAD.encode(bytes);
        self.with(|logins| {
            logins.retain(|_, login| now < login.created + LIFETIME_MS);
            if logins.len() >= MAX_LOGINS
                && let Some(oldest) =
                    logins.iter().min_by_key(|(_, login)| login.created).map(|(key, _)| *key)
            {
                logins.remove(&oldest);
            }
            logins.insert(digest(&token), Login { name, authority, created: now, checked_at: now });
        });
        Some(token)
    }

    fn find(&self, token: &str, now: u64) -> Option<Login> {
        self.with(|logins| logins.get(&digest(token)).filter(|l| now < l.created + LIFETIME_MS).cloned())
    }

    fn set_checked(&self, token: &str, authority: Authority, now: u64) {
        self.with(|logins| {
            if let Some(login) = logins.get_mut(&digest(token)) {
                login.checked_at = now;
                login.authority = authority;
            }
        });
    }

    fn remove(&self, token: &str) {
        self.with(|logins| logins.remove(&digest(token)));
    }
}

/// Cache of verified account passwords, by keyed digests: verifying takes long, and scripts send a password with each
/// request.
pub(super) struct VerifiedPasswords {
    /// A random key, so that the digests are useless outside of this process.
    key: [u8; 32],
    accounts: Mutex<HashMap<[u8; 32], (AccountFingerprint, u64)>>,
}

impl Default for VerifiedPasswords {
    fn default() -> Self {
        let mut key = [0; 32];
        // If this fails the digests are not keyed, which is bad only for whoever reads the memory of the process.
        let _ = getrandom::fill(&mut key);
        Self { key, accounts: Mutex::default() }
    }
}

impl VerifiedPasswords {
    fn digest(&self, name: &str, password: &str) -> [u8; 32] {
        let length = (name.len() as u64).to_be_bytes();
        let digest = Sha256::new().chain_update(self.key).chain_update(length);
        digest.chain_update(name).chain_update(password).finalize().into()
    }

    /// The fingerprint of the account for which this password was verified.
    fn find(&self, name: &str, password: &str, now: u64) -> Option<AccountFingerprint> {
        let accounts = self.accounts.lock();
        let found = accounts.get(&self.digest(name, password));
        found
            .filter(|(_, verified_at)| now < verified_at + VERIFIED_TTL_MS)
            .map(|(fingerprint, _)| *fingerprint)
    }

    fn add(&self, name: &str, password: &str, fingerprint: AccountFingerprint, now: u64) {
        let mut accounts = self.accounts.lock();
        accounts.retain(|_, (_, verified_at)| now < *verified_at + VERIFIED_TTL_MS);
        if accounts.len() < MAX_VERIFIED {
            accounts.insert(self.digest(name, password), (fingerprint, now));
        }
    }
}

/// The cookie for the browser; an empty token deletes it.
fn cookie(token: String, encrypted: bool) -> Cookie<'static> {
    let lifetime = if token.is_empty() { 0 } else { LIFETIME_MS / 1000 };
    let cookie = Cookie::build(COOKIE, token).path("/").http_only(true).same_site(SameSite::Strict);
    cookie.secure(encrypted).max_age(Duration::seconds(lifetime as i64)).finish()
}

impl AdminState {
    /// Name and role of the login of the request's cookie.
    pub(super) async fn login_by_cookie(&self, request: &HttpRequest) -> Option<(String, Role)> {
        self.login_by_token(request.cookie(COOKIE)?.value()).await
    }

    async fn login_by_token(&self, token: &str) -> Option<(String, Role)> {
        let now = Timestamp::now().monotonic_ms;
        let login = self.access.logins.find(token, now)?;
        let Authority::Account(fingerprint, role) = login.authority else {
            return Some((login.name, login.authority.role()));
        };
        if now < login.checked_at + RECHECK_MS {
            return Some((login.name, role));
        }
        let known = self.account_role(&login.name).await.filter(|(now, _)| *now == fingerprint);
        let Some((_, role)) = known else {
            self.access.logins.remove(token);
            return None;
        };
        self.access.logins.set_checked(token, Authority::Account(fingerprint, role), now);
        Some((login.name, role))
    }

    /// Returns when whoever sent a request may not read any more: the login is over, or the account is locked or has
    /// lost its role.
    pub(super) async fn until_access_ends(&self, request: &HttpRequest, who: &Who) {
        let mut interval = crate::clock::every(RECHECK_STREAM);
        let token = request.cookie(COOKIE).filter(|_| who.by_cookie);
        loop {
            interval.tick().await;
            let may_read = match (&token, &who.account) {
                (Some(token), _) => self.login_by_token(token.value()).await.is_some(),
                (None, Some(fingerprint)) => {
                    let known = self.account_role(who.author()).await;
                    known.is_some_and(|(now, _)| now == *fingerprint)
                }
                // Neither the credentials nor the admitted addresses change while the server runs.
                (None, None) => return std::future::pending().await,
            };
            if !may_read {
                return;
            }
        }
    }

    /// Admits a request without a login on the page, by its address or Basic authentication. Also accepts accounts that
    /// have a role, for scripts.
    pub(super) async fn admit(
        &self,
        request: &HttpRequest,
        source: ClientAddr,
    ) -> Result<Who, Box<HttpResponse>> {
        let by_account = |name: &str, fingerprint, role| {
            let name = format!("{name}@{}", source.ip());
            Who { name, source, by_cookie: false, account: Some(fingerprint), role }
        };
        let (name, password) = match self.access.admit(request, source)? {
            Admission::As(name) => {
                let role = Role::Administrator;
                return Ok(Who { name, source, by_cookie: false, account: None, role });
            }
            Admission::Unverified { user, password, .. } if user.is_empty() || password.is_empty() => {
                return Err(self.access.challenge(request));
            }
            Admission::Unverified { user, password, attempt } => {
                // The attempt is counted below, after the cache was asked.
                attempt.refund();
                (user, password)
            }
        };
        let now = Timestamp::now().monotonic_ms;
        if let Some(fingerprint) = self.access.verified.find(&name, &password, now)
            && let Some((_, role)) = self.account_role(&name).await.filter(|(now, _)| *now == fingerprint)
        {
            return Ok(by_account(&name, fingerprint, role));
        }
        let attempt = self.access.password_limiter.slow(source, now).await;
        let attempt = attempt.map_err(|refused| Box::new(ApiError::from(refused).response()))?;
        let known = self.check_account(&name, password.clone(), source, attempt).await;
        let (fingerprint, role) = known.map_err(|_| self.access.challenge(request))?;
        self.access.verified.add(&name, &password, fingerprint, now);
        Ok(by_account(&name, fingerprint, role))
    }

    /// Fingerprint and role of an account, if it has a role and is not locked.
    pub(super) async fn account_role(&self, name: &str) -> Option<(AccountFingerprint, Role)> {
        let known = self.auth.send(GetAccountFingerprint { name: name.to_owned() }).await.ok().flatten();
        let (fingerprint, flags) = known?;
        Some((fingerprint, Role::of(&flags, self.rules().settings())?))
    }

    /// Verifies the password of an account; returns its fingerprint and role.
    ///
    /// # Errors
    /// 403 if the password is wrong or the account has no role.
    async fn check_account(
        &self,
        name: &str,
        password: String,
        source: ClientAddr,
        attempt: PasswordAttempt,
    ) -> Result<(AccountFingerprint, Role), ApiError> {
        // Taken before verifying: if the account changes meanwhile, the login ends at the next check.
        let known = self.account_role(name).await;
        match self.auth.send(CheckAccount { name: name.to_owned(), password, address: source.ip() }).await {
            Ok(AccountCheck::Ok { .. }) => {
                attempt.refund();
                known.ok_or_else(|| forbidden("This account may not use this page. Ask an administrator."))
            }
            _ => Err(forbidden("Name or password are wrong")),
        }
    }

    async fn log_in(
        self: Arc<Self>,
        call: Call<Nothing, Nothing, Credentials>,
    ) -> Result<WithCookie<WhoIs>, ApiError> {
        let Call { body: Credentials { username, password }, who, http, .. } = call;
        let name = username.0;
        let checked = self.check_login(&name, password.0, who.source).await;
        // An unknown name is not logged: it may be a password typed into the wrong field.
        let address = who.source.ip();
        let logged = if checked.is_ok() { format!("{name}@{address}") } else { address.to_string() };
        // Requests over the rate limit are not logged: they could fill the log.
        let failure = checked.as_ref().err();
        if failure.is_none_or(|error| error.status != StatusCode::TOO_MANY_REQUESTS) {
            audit("POST /login", &logged, failure);
        }
        self.new_login(name, checked?, &http)
    }

    /// Adds a login, whose cookie the answer sets.
    fn new_login(
        &self,
        name: String,
        authority: Authority,
        http: &HttpRequest,
    ) -> Result<WithCookie<WhoIs>, ApiError> {
        let role = authority.role();
        let token = self.access.logins.add(name.clone(), authority, Timestamp::now().monotonic_ms);
        let token = token.ok_or_else(|| ApiError::internal("The system provides no randomness"))?;
        let cookie = cookie(token, self.access.is_encrypted(http));
        Ok(WithCookie(WhoIs { user: name, login: true, role }, cookie))
    }

    /// Adds a login of an account that was just made.
    ///
    /// # Errors
    /// 403 if the account has no role, or is locked, or cannot be read.
    pub(super) async fn log_in_new_account(
        &self,
        name: String,
        http: &HttpRequest,
    ) -> Result<WithCookie<WhoIs>, ApiError> {
        let known = self.account_role(&name).await;
        let (fingerprint, role) = known
            .ok_or_else(|| forbidden("The account was made, but it cannot be used now; try to log in"))?;
        self.new_login(name, Authority::Account(fingerprint, role), http)
    }

    /// Verifies the credentials of a login.
    async fn check_login(
        &self,
        name: &str,
        password: String,
        source: ClientAddr,
    ) -> Result<Authority, ApiError> {
        let attempt = self.access.begin_attempt(source).await?;
        if self.access.is_credentials(name, &password) {
            attempt.refund();
            return Ok(Authority::Credentials);
        }
        if password.is_empty() {
            return Err(forbidden("Name or password are wrong"));
        }
        let (fingerprint, role) = self.check_account(name, password, source, attempt).await?;
        Ok(Authority::Account(fingerprint, role))
    }

    async fn log_out(self: Arc<Self>, call: Call) -> Result<WithCookie<Done>, ApiError> {
        if let Some(given) = call.http.cookie(COOKIE) {
            self.access.logins.remove(given.value());
        }
        let Json(done) = Done::ok();
        Ok(WithCookie(done, cookie(String::new(), self.access.is_encrypted(&call.http))))
    }

    async fn who_am_i(self: Arc<Self>, call: Call) -> Result<Json<WhoIs>, ApiError> {
        Ok(Json(WhoIs { user: call.who.name, login: call.who.by_cookie, role: call.who.role }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_expire() {
        let logins = Logins::default();
        let token = logins.add("A".into(), Authority::Credentials, 1000).unwrap();
        assert_eq!(logins.find(&token, 2000).unwrap().name, "A");
        assert!(logins.find("other", 2000).is_none());
        assert!(logins.find(&token, 1000 + LIFETIME_MS).is_none());
        logins.remove(&token);
        assert!(logins.find(&token, 2000).is_none());
    }

    #[test]
    fn verified_passwords_are_cached_for_a_while() {
        let verified = VerifiedPasswords::default();
        verified.add("boss", "secret", [1; 32], 0);
        assert_eq!(verified.find("boss", "secret", VERIFIED_TTL_MS - 1), Some([1; 32]));
        for (name, password) in [("boss", "other"), ("bosss", "ecret"), ("", "bosssecret")] {
            assert!(verified.find(name, password, 0).is_none(), "{name} {password}");
        }
        assert!(verified.find("boss", "secret", VERIFIED_TTL_MS).is_none());
        (0..1000).for_each(|n| verified.add("boss", &n.to_string(), [0; 32], 1));
        assert!(verified.accounts.lock().len() <= MAX_VERIFIED);
    }

    #[test]
    fn the_oldest_login_is_removed_when_there_are_too_many() {
        let logins = Logins::default();
        let tokens: Vec<String> = (0..=MAX_LOGINS as u64)
            .map(|now| logins.add("A".into(), Authority::Credentials, now).unwrap())
            .collect();
        assert!(logins.find(&tokens[0], 2000).is_none());
        assert!(logins.find(&tokens[1], 2000).is_some());
    }
}
