//! Endpoints `login`, `logout`, `whoami`: logins on the page, which are kept in a cookie. Accepts the credentials of
//! Basic authentication and accounts with the flag ADMIN.

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
use super::request::audit;
use super::value::Text;
use crate::actors::auth::{AccountFingerprint, CheckAccount, GetAccountFingerprint};
use crate::rules::login::AccountCheck;
use crate::rules::time::Timestamp;
use crate::transport::trust::ClientAddr;
use crate::web::password_limiter::PasswordAttempt;

pub(super) const COOKIE: &str = "drawhall";
/// The flag that an account needs.
pub(super) const FLAG: &str = "ADMIN";
/// How long a login is valid, in milliseconds.
const LIFETIME_MS: u64 = 12 * 3_600_000;
/// How often the account of a login is checked again, in milliseconds.
const RECHECK_MS: u64 = 2_000;
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
        "Logs in with the credentials of Basic authentication or an account with the flag ADMIN; sets a cookie.",
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

/// A login on the page. Times are on the monotonic clock, in milliseconds.
#[derive(Debug, Clone)]
struct Login {
    name: String,
    /// Of the account, `None` for Basic credentials. The login ends when it changes: when the account is locked or
    /// renamed, or loses its flag or its password.
    fingerprint: Option<AccountFingerprint>,
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
    fn add(&self, name: String, fingerprint: Option<AccountFingerprint>, now: u64) -> Option<String> {
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
            logins.insert(digest(&token), Login { name, fingerprint, created: now, checked_at: now });
        });
        Some(token)
    }

    fn find(&self, token: &str, now: u64) -> Option<Login> {
        self.with(|logins| logins.get(&digest(token)).filter(|l| now < l.created + LIFETIME_MS).cloned())
    }

    fn set_checked(&self, token: &str, now: u64) {
        self.with(|logins| {
            if let Some(login) = logins.get_mut(&digest(token)) {
                login.checked_at = now;
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
    /// The name of the login of the request's cookie.
    pub(super) async fn name_by_cookie(&self, request: &HttpRequest) -> Option<String> {
        let token = request.cookie(COOKIE)?.value().to_owned();
        let now = Timestamp::now().monotonic_ms;
        let login = self.access.logins.find(&token, now)?;
        if let Some(fingerprint) = login.fingerprint.filter(|_| now >= login.checked_at + RECHECK_MS) {
            if self.fingerprint_of(&login.name).await != Some(fingerprint) {
                self.access.logins.remove(&token);
                return None;
            }
            self.access.logins.set_checked(&token, now);
        }
        Some(login.name)
    }

    /// Admits a request without a login on the page, by its address or Basic authentication; returns the name for the
    /// log. Also accepts accounts with the flag ADMIN, for scripts.
    pub(super) async fn admit(
        &self,
        request: &HttpRequest,
        source: ClientAddr,
    ) -> Result<String, Box<HttpResponse>> {
        let (name, password) = match self.access.admit(request, source)? {
            Admission::As(name) => return Ok(name),
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
            && self.fingerprint_of(&name).await == Some(fingerprint)
        {
            return Ok(format!("{name}@{}", source.ip()));
        }
        let attempt = self.access.password_limiter.slow(source, now).await;
        let attempt = attempt.map_err(|refused| Box::new(ApiError::from(refused).response()))?;
        let fingerprint = self.check_account(&name, password.clone(), source, attempt).await;
        let fingerprint = fingerprint.map_err(|_| self.access.challenge(request))?;
        self.access.verified.add(&name, &password, fingerprint, now);
        Ok(format!("{name}@{}", source.ip()))
    }

    /// The fingerprint of an account, if it has the flag and is not locked.
    pub(super) async fn fingerprint_of(&self, name: &str) -> Option<AccountFingerprint> {
        self.auth.send(GetAccountFingerprint { name: name.to_owned(), flag: FLAG }).await.ok().flatten()
    }

    /// Verifies the password of an account; returns its fingerprint.
    ///
    /// # Errors
    /// 403 if the password is wrong or the account lacks the flag.
    async fn check_account(
        &self,
        name: &str,
        password: String,
        source: ClientAddr,
        attempt: PasswordAttempt,
    ) -> Result<AccountFingerprint, ApiError> {
        // Taken before verifying: if the account changes meanwhile, the login ends at the next check.
        let fingerprint = self.fingerprint_of(name).await;
        match self.auth.send(CheckAccount { name: name.to_owned(), password, address: source.ip() }).await {
            Ok(AccountCheck::Ok { .. }) => {
                attempt.refund();
                let lacks_flag = || forbidden(format!("The account '{name}' does not have the flag {FLAG}"));
                fingerprint.ok_or_else(lacks_flag)
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
    pub(super) fn new_login(
        &self,
        name: String,
        fingerprint: Option<AccountFingerprint>,
        http: &HttpRequest,
    ) -> Result<WithCookie<WhoIs>, ApiError> {
        let token = self.access.logins.add(name.clone(), fingerprint, Timestamp::now().monotonic_ms);
        let token = token.ok_or_else(|| ApiError::internal("The system provides no randomness"))?;
        let cookie = cookie(token, self.access.is_encrypted(http));
        Ok(WithCookie(WhoIs { user: name, login: true }, cookie))
    }

    /// Verifies the credentials of a login. Returns the fingerprint of the account, `None` for Basic credentials.
    async fn check_login(
        &self,
        name: &str,
        password: String,
        source: ClientAddr,
    ) -> Result<Option<AccountFingerprint>, ApiError> {
        let attempt = self.access.begin_attempt(source).await?;
        if self.access.is_credentials(name, &password) {
            attempt.refund();
            return Ok(None);
        }
        if password.is_empty() {
            return Err(forbidden("Name or password are wrong"));
        }
        self.check_account(name, password, source, attempt).await.map(Some)
    }

    async fn log_out(self: Arc<Self>, call: Call) -> Result<WithCookie<Done>, ApiError> {
        if let Some(given) = call.http.cookie(COOKIE) {
            self.access.logins.remove(given.value());
        }
        let Json(done) = Done::ok();
        Ok(WithCookie(done, cookie(String::new(), self.access.is_encrypted(&call.http))))
    }

    async fn who_am_i(self: Arc<Self>, call: Call) -> Result<Json<WhoIs>, ApiError> {
        Ok(Json(WhoIs { user: call.who.name, login: call.who.by_cookie }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_expire() {
        let logins = Logins::default();
        let token = logins.add("A".into(), None, 1000).unwrap();
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
        let tokens: Vec<String> =
            (0..=MAX_LOGINS as u64).map(|now| logins.add("A".into(), None, now).unwrap()).collect();
        assert!(logins.find(&tokens[0], 2000).is_none());
        assert!(logins.find(&tokens[1], 2000).is_some());
    }
}
