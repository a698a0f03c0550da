//! `login`, `logout`, `whoami`: people log in on the page and are known by a cookie. Who may are those whom Basic
//! authentication lets in, and accounts with the flag ADMIN.

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
use crate::auth::password_limiter::PasswordAttempt;
use crate::auth::{AccountCheck, AccountFingerprint, CheckAccount, GetAccountFingerprint};
use crate::clock::Timestamp;
use crate::session::admin::{AdminAnswer, AdminError};
use crate::transport::trust::Source;
use crate::web::RequestBody;

/// Name of the cookie.
pub(super) const COOKIE: &str = "drawhall";
/// Flag of accounts that may administer.
const FLAG: &str = "ADMIN";
/// How long a login lasts, in milliseconds.
const LIFETIME_MS: u64 = 12 * 3_600_000;
/// How often it is looked whether an account still may administer, in milliseconds.
const RECHECK_MS: u64 = 2_000;
/// How long a password that was right counts without being checked again, in milliseconds.
const SHOWN_MS: u64 = 60_000;
/// Passwords that are remembered so.
const MAX_SHOWN: usize = 100;
/// Largest body of a login in bytes.
const MAX_LOGIN_BODY: usize = 16 << 10;
/// Logins at once; the oldest one ends for a new one.
const MAX_LOGINS: usize = 1000;

const WHO: Schema = Schema {
    name: "Who",
    fields: &[
        text("user", "Who asks: a name, or an address if nobody needs to log in.").required(),
        bool("login", "It is by a login of the page, which can end.").required(),
    ],
};

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::get("whoami", "As whom requests are answered.", Answer::One(&WHO)),
    Operation::post(
        "login",
        "Logs in, with the user of Basic authentication or an account with the flag ADMIN; answers with a cookie.",
        Answer::One(&WHO),
    )
    .body(Body::Fields(&[text("username", "Name.").required(), text("password", "Password.").required()])),
    Operation::post("logout", "Ends the login of the cookie.", Answer::Done),
];

/// Somebody who has logged in.
#[derive(Debug, Clone)]
struct Login {
    name: String,
    /// Mark of the account, which may be locked meanwhile, or lose its flag, its password or its name.
    mark: Option<AccountFingerprint>,
    since: u64,
    checked: u64,
}

/// Those who have logged in, by digests of their cookies.
#[derive(Debug, Default)]
pub(super) struct Logins(Mutex<HashMap<[u8; 32], Login>>);

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

impl Logins {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<[u8; 32], Login>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A new login; returns its token.
    fn add(&self, name: String, mark: Option<AccountFingerprint>, now: u64) -> Option<String> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).ok()?;
        let token = URL_SAFE_NO_PAD.encode(bytes);
        self.with(|logins| {
            logins.retain(|_, login| now < login.since + LIFETIME_MS);
            if logins.len() >= MAX_LOGINS
                && let Some(oldest) = logins.iter().min_by_key(|(_, login)| login.since).map(|(key, _)| *key)
            {
                logins.remove(&oldest);
            }
            logins.insert(digest(&token), Login { name, mark, since: now, checked: now });
        });
        Some(token)
    }

    fn find(&self, token: &str, now: u64) -> Option<Login> {
        self.with(|logins| logins.get(&digest(token)).filter(|l| now < l.since + LIFETIME_MS).cloned())
    }

    fn checked(&self, token: &str, now: u64) {
        self.with(|logins| {
            if let Some(login) = logins.get_mut(&digest(token)) {
                login.checked = now;
            }
        });
    }

    fn remove(&self, token: &str) {
        self.with(|logins| logins.remove(&digest(token)));
    }
}

/// Accounts whose passwords were right a moment ago, by digests of both: a check takes long, and programs ask often.
pub(super) struct Shown {
    /// Nobody else can make these digests.
    key: [u8; 32],
    accounts: Mutex<HashMap<[u8; 32], (AccountFingerprint, u64)>>,
}

impl Default for Shown {
    fn default() -> Self {
        let mut key = [0; 32];
        // Without randomness digests could be compared with those of another server, which nobody sees.
        let _ = getrandom::fill(&mut key);
        Self { key, accounts: Mutex::default() }
    }
}

impl Shown {
    fn digest(&self, name: &str, password: &str) -> [u8; 32] {
        let length = (name.len() as u64).to_be_bytes();
        let digest = Sha256::new().chain_update(self.key).chain_update(length);
        digest.chain_update(name).chain_update(password).finalize().into()
    }

    /// The mark of the account that has shown this password.
    fn find(&self, name: &str, password: &str, now: u64) -> Option<AccountFingerprint> {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let found = accounts.get(&self.digest(name, password));
        found.filter(|(_, since)| now < since + SHOWN_MS).map(|(mark, _)| *mark)
    }

    fn add(&self, name: &str, password: &str, mark: AccountFingerprint, now: u64) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.retain(|_, (_, since)| now < *since + SHOWN_MS);
        if accounts.len() < MAX_SHOWN {
            accounts.insert(self.digest(name, password), (mark, now));
        }
    }
}

/// The cookie that a browser keeps, or is to forget.
fn cookie(token: String, encrypted: bool) -> Cookie<'static> {
    let lifetime = if token.is_empty() { 0 } else { LIFETIME_MS / 1000 };
    let cookie = Cookie::build(COOKIE, token).path("/").http_only(true).same_site(SameSite::Strict);
    cookie.secure(encrypted).max_age(Duration::seconds(lifetime as i64)).finish()
}

impl AdminState {
    /// Whom a cookie names.
    pub(super) async fn known_by_cookie(&self, request: &HttpRequest) -> Option<String> {
        let token = request.cookie(COOKIE)?.value().to_owned();
        let now = Timestamp::now().monotonic_ms;
        let login = self.access.logins.find(&token, now)?;
        if let Some(mark) = login.mark.filter(|_| now >= login.checked + RECHECK_MS) {
            if self.mark_of(&login.name).await != Some(mark) {
                self.access.logins.remove(&token);
                return None;
            }
            self.access.logins.checked(&token, now);
        }
        Some(login.name)
    }

    /// Whether a request may be answered without a login on the page: as whom, for the log; else its answer. Accounts with
    /// the flag may, too: programs have no page.
    pub(super) async fn admit(
        &self,
        request: &HttpRequest,
        source: Source,
    ) -> Result<String, Box<HttpResponse>> {
        let (name, password) = match self.access.admit(request, source)? {
            Admission::As(name) => return Ok(name),
            Admission::Perhaps { user, password, .. } if user.is_empty() || password.is_empty() => {
                return Err(self.access.challenge(request));
            }
            Admission::Perhaps { user, password, guess } => {
                // It counts once, as what it turns out to be.
                guess.give_back();
                (user, password)
            }
        };
        let now = Timestamp::now().monotonic_ms;
        if let Some(mark) = self.access.shown.find(&name, &password, now)
            && self.mark_of(&name).await == Some(mark)
        {
            return Ok(format!("{name}@{}", source.address));
        }
        let guess = self.access.guesses.slow(source, now).await;
        let guess = guess.map_err(|not_now| Box::new(refuse(&too_many(not_now))))?;
        let mark = self.check_account(&name, password.clone(), source, guess).await;
        let mark = mark.map_err(|_| self.access.challenge(request))?;
        self.access.shown.add(&name, &password, mark, now);
        Ok(format!("{name}@{}", source.address))
    }

    /// The mark of an account that may administer now.
    async fn mark_of(&self, name: &str) -> Option<AccountFingerprint> {
        self.auth.send(GetAccountFingerprint { name: name.to_owned(), flag: FLAG }).await.ok().flatten()
    }

    /// The mark of an account that may administer, if this is its password.
    async fn check_account(
        &self,
        name: &str,
        password: String,
        source: Source,
        guess: PasswordAttempt,
    ) -> Result<AccountFingerprint, AdminError> {
        // Taken before: if the account is changed while the password is checked, the login ends at once.
        let mark = self.mark_of(name).await;
        match self.auth.send(CheckAccount { name: name.to_owned(), password, address: source.address }).await
        {
            Ok(AccountCheck::Ok { .. }) => {
                guess.give_back();
                let lacks =
                    || AdminError::new(403, format!("The account '{name}' does not have the flag {FLAG}"));
                mark.ok_or_else(lacks)
            }
            _ => Err(AdminError::new(403, "Name or password are wrong")),
        }
    }

    /// Logs somebody in.
    pub(super) async fn log_in(
        &self,
        request: &HttpRequest,
        body: &mut RequestBody,
        source: Source,
    ) -> HttpResponse {
        let address = source.address;
        let who = Who { name: address.to_string(), source, by_cookie: false };
        let mut call = match Request::read(request, body, MAX_LOGIN_BODY, who).await {
            Ok(call) => call,
            Err(refused) => return *refused,
        };
        let name = call.text("username");
        let checked = self.check_login(&call).await;
        // What a stranger typed may be a password.
        if checked.is_ok() {
            call.who.name = format!("{name}@{address}");
        }
        let failed = checked.as_ref().err().cloned();
        // Who asks more often than it may could fill the log.
        if failed.as_ref().is_none_or(|error| error.status != 429) {
            call.audit(&failed.map_or(Ok(name.clone().into()), Err));
        }
        let token = checked.and_then(|mark| {
            let token = self.access.logins.add(name.clone(), mark, Timestamp::now().monotonic_ms);
            token.ok_or_else(|| AdminError::new(500, "There are no random numbers"))
        });
        match token {
            Ok(token) => HttpResponse::Ok()
                .cookie(cookie(token, self.access.is_encrypted(request)))
                .json(json!({"user": name, "login": true})),
            Err(error) => refuse(&error),
        }
    }

    /// Whether name and password are those of somebody who may administer; if it is an account, its mark.
    async fn check_login(&self, call: &Request) -> Result<Option<AccountFingerprint>, AdminError> {
        let (name, password) = (call.text("username"), call.text("password"));
        let guess = self
            .access
            .guesses
            .slow(call.who.source, Timestamp::now().monotonic_ms)
            .await
            .map_err(too_many)?;
        if self.access.fits(&name, &password) {
            guess.give_back();
            return Ok(None);
        }
        if password.is_empty() {
            return Err(AdminError::new(403, "Name or password are wrong"));
        }
        self.check_account(&name, password, call.who.source, guess).await.map(Some)
    }

    /// Ends the login that a request comes with.
    pub(super) fn log_out(&self, request: &HttpRequest) -> HttpResponse {
        if let Some(given) = request.cookie(COOKIE) {
            self.access.logins.remove(given.value());
        }
        let encrypted = self.access.is_encrypted(request);
        HttpResponse::Ok().cookie(cookie(String::new(), encrypted)).json(json!({"status": "ok"}))
    }

    pub(super) fn who_am_i(&self, call: &Request) -> AdminAnswer {
        Ok(json!({"user": call.who.name, "login": call.who.by_cookie}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_end() {
        let logins = Logins::default();
        let token = logins.add("A".into(), None, 1000).unwrap();
        assert_eq!(logins.find(&token, 2000).unwrap().name, "A");
        assert!(logins.find("other", 2000).is_none());
        assert!(logins.find(&token, 1000 + LIFETIME_MS).is_none());
        logins.remove(&token);
        assert!(logins.find(&token, 2000).is_none());
    }

    #[test]
    fn a_password_that_was_shown_counts_for_a_while() {
        let shown = Shown::default();
        shown.add("boss", "secret", [1; 32], 0);
        assert_eq!(shown.find("boss", "secret", SHOWN_MS - 1), Some([1; 32]));
        for (name, password) in [("boss", "other"), ("bosss", "ecret"), ("", "bosssecret")] {
            assert!(shown.find(name, password, 0).is_none(), "{name} {password}");
        }
        assert!(shown.find("boss", "secret", SHOWN_MS).is_none());
        (0..1000).for_each(|n| shown.add("boss", &n.to_string(), [0; 32], 1));
        assert!(shown.accounts.lock().unwrap().len() <= MAX_SHOWN);
    }

    #[test]
    fn the_oldest_login_makes_room() {
        let logins = Logins::default();
        let tokens: Vec<String> =
            (0..=MAX_LOGINS as u64).map(|at| logins.add("A".into(), None, at).unwrap()).collect();
        assert!(logins.find(&tokens[0], 2000).is_none());
        assert!(logins.find(&tokens[1], 2000).is_some());
    }
}
