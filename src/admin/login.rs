//! Endpoints `login`, `logout`, `whoami`: logins on the page, which are kept in a cookie. Accepts the credentials of
//! Basic authentication and accounts with the flag ADMIN.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use actix_web::cookie::time::Duration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::AdminState;
use super::access::{Admission, too_many};
use super::operation::{Answer, Body, Operation, Schema, bool, text};
use super::request::{Request, Who, refuse};
use crate::actors::auth::{AccountFingerprint, CheckAccount, GetAccountFingerprint};
use crate::rules::login::AccountCheck;
use crate::rules::session::admin::{AdminAnswer, AdminError};
use crate::rules::time::Timestamp;
use crate::transport::trust::ClientAddr;
use crate::web::RequestBody;
use crate::web::password_limiter::PasswordAttempt;

pub(super) const COOKIE: &str = "drawhall";
/// The flag that an account needs.
const FLAG: &str = "ADMIN";
/// How long a login is valid, in milliseconds.
const LIFETIME_MS: u64 = 12 * 3_600_000;
/// How often the account of a login is checked again, in milliseconds.
const RECHECK_MS: u64 = 2_000;
/// How long a verified account password is cached, in milliseconds.
const VERIFIED_TTL_MS: u64 = 60_000;
/// Verified passwords that are cached.
const MAX_VERIFIED: usize = 100;
/// Maximum body of a login request in bytes.
const MAX_LOGIN_BODY: usize = 16 << 10;
/// Logins that are kept; beyond, the oldest is removed.
const MAX_LOGINS: usize = 1000;

const WHO: Schema = Schema {
    name: "Who",
    fields: &[
        text("user", "Name of the client; its address if no login is required.").required(),
        bool("login", "Authorized by a login on the page.").required(),
    ],
};

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::get("whoami", "Who the client is.", Answer::One(&WHO)),
    Operation::post(
        "login",
        "Logs in with the credentials of Basic authentication or an account with the flag ADMIN; sets a cookie.",
        Answer::One(&WHO),
    )
    .body(Body::Fields(&[text("username", "Name.").required(), text("password", "Password.").required()])),
    Operation::post("logout", "Ends the login of the cookie.", Answer::Done),
];

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
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
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
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let found = accounts.get(&self.digest(name, password));
        found
            .filter(|(_, verified_at)| now < verified_at + VERIFIED_TTL_MS)
            .map(|(fingerprint, _)| *fingerprint)
    }

    fn add(&self, name: &str, password: &str, fingerprint: AccountFingerprint, now: u64) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
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
        let attempt = attempt.map_err(|refused| Box::new(refuse(&too_many(refused))))?;
        let fingerprint = self.check_account(&name, password.clone(), source, attempt).await;
        let fingerprint = fingerprint.map_err(|_| self.access.challenge(request))?;
        self.access.verified.add(&name, &password, fingerprint, now);
        Ok(format!("{name}@{}", source.ip()))
    }

    /// The fingerprint of an account, if it has the flag and is not locked.
    async fn fingerprint_of(&self, name: &str) -> Option<AccountFingerprint> {
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
    ) -> Result<AccountFingerprint, AdminError> {
        // Taken before verifying: if the account changes meanwhile, the login ends at the next check.
        let fingerprint = self.fingerprint_of(name).await;
        match self.auth.send(CheckAccount { name: name.to_owned(), password, address: source.ip() }).await {
            Ok(AccountCheck::Ok { .. }) => {
                attempt.refund();
                let lacks_flag =
                    || AdminError::new(403, format!("The account '{name}' does not have the flag {FLAG}"));
                fingerprint.ok_or_else(lacks_flag)
            }
            _ => Err(AdminError::new(403, "Name or password are wrong")),
        }
    }

    /// Handles `POST login`.
    pub(super) async fn log_in(
        &self,
        request: &HttpRequest,
        body: &mut RequestBody,
        source: ClientAddr,
    ) -> HttpResponse {
        let address = source.ip();
        let who = Who { name: address.to_string(), source, by_cookie: false };
        let mut login = match Request::read(request, body, MAX_LOGIN_BODY, who).await {
            Ok(login) => login,
            Err(refused) => return *refused,
        };
        let name = login.text("username");
        let checked = self.check_login(&login).await;
        // An unknown name is not logged: it may be a password typed into the wrong field.
        if checked.is_ok() {
            login.who.name = format!("{name}@{address}");
        }
        let failed = checked.as_ref().err().cloned();
        // Requests over the rate limit are not logged: they could fill the log.
        if failed.as_ref().is_none_or(|error| error.status != 429) {
            login.audit(&failed.map_or(Ok(name.clone().into()), Err));
        }
        let token = checked.and_then(|fingerprint| {
            let token = self.access.logins.add(name.clone(), fingerprint, Timestamp::now().monotonic_ms);
            token.ok_or_else(|| AdminError::new(500, "The system provides no randomness"))
        });
        match token {
            Ok(token) => HttpResponse::Ok()
                .cookie(cookie(token, self.access.is_encrypted(request)))
                .json(json!({"user": name, "login": true})),
            Err(error) => refuse(&error),
        }
    }

    /// Verifies the credentials of a login. Returns the fingerprint of the account, `None` for Basic credentials.
    async fn check_login(&self, request: &Request) -> Result<Option<AccountFingerprint>, AdminError> {
        let (name, password) = (request.text("username"), request.text("password"));
        let attempt = self.access.begin_attempt(request.who.source).await?;
        if self.access.is_credentials(&name, &password) {
            attempt.refund();
            return Ok(None);
        }
        if password.is_empty() {
            return Err(AdminError::new(403, "Name or password are wrong"));
        }
        self.check_account(&name, password, request.who.source, attempt).await.map(Some)
    }

    /// Handles `POST logout`.
    pub(super) fn log_out(&self, request: &HttpRequest) -> HttpResponse {
        if let Some(given) = request.cookie(COOKIE) {
            self.access.logins.remove(given.value());
        }
        let encrypted = self.access.is_encrypted(request);
        HttpResponse::Ok().cookie(cookie(String::new(), encrypted)).json(json!({"status": "ok"}))
    }

    pub(super) fn who_am_i(&self, request: &Request) -> AdminAnswer {
        Ok(json!({"user": request.who.name, "login": request.who.by_cookie}))
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
        assert!(verified.accounts.lock().unwrap().len() <= MAX_VERIFIED);
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
