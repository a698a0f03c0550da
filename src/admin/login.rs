//! `login`, `logout`, `whoami`: people log in on the page and are known by a cookie. Who may are those whom Basic
//! authentication lets in, and accounts with the flag ADMIN.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use actix_web::cookie::time::Duration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header::HeaderMap;
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::Office;
use super::call::{Call, refuse};
use super::operation::{Answer, Body, Operation, Schema, text, truth};
use crate::auth::{AccountCheck, CheckAccount, HasFlag};
use crate::clock::Now;
use crate::session::admin::{AdminAnswer, AdminError};

/// Name of the cookie.
pub(super) const COOKIE: &str = "drawhall";
/// Flag of accounts that may administer.
const FLAG: &str = "ADMIN";
/// How long a login lasts, in milliseconds.
const LIFETIME_MS: u64 = 12 * 3_600_000;
/// How often it is looked whether an account still may administer, in milliseconds.
const RECHECK_MS: u64 = 2_000;
/// Logins at once; the oldest one ends for a new one.
const MAX_LOGINS: usize = 1000;

const WHO: Schema = Schema {
    name: "Who",
    fields: &[
        text("user", "Who asks: a name, or an address if nobody needs to log in.").needed(),
        truth("login", "It is by a login of the page, which can end.").needed(),
    ],
};

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::get("whoami", "As whom requests are answered.", Answer::One(&WHO)),
    Operation::post(
        "login",
        "Logs in, with the user of Basic authentication or an account with the flag ADMIN; answers with a cookie.",
        Answer::One(&WHO),
    )
    .body(Body::Fields(&[text("username", "Name.").needed(), text("password", "Password.").needed()])),
    Operation::post("logout", "Ends the login of the cookie.", Answer::Done),
];

/// Somebody who has logged in.
#[derive(Debug, Clone)]
struct Login {
    name: String,
    /// It is an account, which may be locked or lose its flag meanwhile.
    is_account: bool,
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
    fn add(&self, name: String, is_account: bool, now: u64) -> Option<String> {
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
            logins.insert(digest(&token), Login { name, is_account, since: now, checked: now });
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

/// The cookie that a browser keeps, or is to forget.
fn cookie(token: String, headers: &HeaderMap) -> Cookie<'static> {
    // A proxy in front of this server encrypts.
    let encrypted = headers.get("x-forwarded-proto").is_some_and(|proto| proto.as_bytes() == b"https");
    let lifetime = if token.is_empty() { 0 } else { LIFETIME_MS / 1000 };
    let cookie = Cookie::build(COOKIE, token).path("/").http_only(true).same_site(SameSite::Strict);
    cookie.secure(encrypted).max_age(Duration::seconds(lifetime as i64)).finish()
}

impl Office {
    /// Whom a cookie names.
    pub(super) async fn known_by_cookie(&self, request: &HttpRequest) -> Option<String> {
        let token = request.cookie(COOKIE)?.value().to_owned();
        let now = Now::get().ms;
        let login = self.access.logins.find(&token, now)?;
        if login.is_account && now >= login.checked + RECHECK_MS {
            let still = self.auth.send(HasFlag { name: login.name.clone(), flag: FLAG }).await;
            if !still.unwrap_or(false) {
                self.access.logins.remove(&token);
                return None;
            }
            self.access.logins.checked(&token, now);
        }
        Some(login.name)
    }

    /// Logs somebody in.
    pub(super) async fn log_in(&self, request: &HttpRequest, body: &[u8], peer: IpAddr) -> HttpResponse {
        let mut call = match Call::read(request, body, peer.to_string()) {
            Ok(call) => call,
            Err(error) => return refuse(&error),
        };
        let name = call.text("username");
        call.who = format!("{name}@{peer}");
        let checked = self.check_login(&call, peer).await;
        let failed = checked.as_ref().err().cloned();
        call.audit(&failed.map_or(Ok(name.clone().into()), Err));
        let token = checked.and_then(|is_account| {
            let token = self.access.logins.add(name.clone(), is_account, Now::get().ms);
            token.ok_or_else(|| AdminError::new(500, "There are no random numbers"))
        });
        match token {
            Ok(token) => HttpResponse::Ok()
                .cookie(cookie(token, request.headers()))
                .json(json!({"user": name, "login": true})),
            Err(error) => refuse(&error),
        }
    }

    /// Whether name and password are those of somebody who may administer, and of an account.
    async fn check_login(&self, call: &Call, peer: IpAddr) -> Result<bool, AdminError> {
        let (name, password) = (call.text("username"), call.text("password"));
        let now = Now::get().ms;
        self.access.attempt(peer, now)?;
        if self.access.fits(&name, &password) {
            return Ok(false);
        }
        let check = CheckAccount { name: name.clone(), password, address: peer };
        if let Ok(AccountCheck::Ok { flags, .. }) = self.auth.send(check).await {
            if flags.iter().any(|flag| flag == FLAG) {
                return Ok(true);
            }
            return Err(AdminError::new(403, format!("The account '{name}' does not have the flag {FLAG}")));
        }
        self.access.failed(peer, now);
        Err(AdminError::new(403, "Name or password are wrong"))
    }

    /// Ends the login that a request comes with.
    pub(super) fn log_out(&self, request: &HttpRequest) -> HttpResponse {
        if let Some(given) = request.cookie(COOKIE) {
            self.access.logins.remove(given.value());
        }
        HttpResponse::Ok().cookie(cookie(String::new(), request.headers())).json(json!({"status": "ok"}))
    }

    pub(super) fn who_am_i(&self, call: &Call) -> AdminAnswer {
        Ok(json!({"user": call.who, "login": call.by_cookie}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_end() {
        let logins = Logins::default();
        let token = logins.add("A".into(), true, 1000).unwrap();
        assert_eq!(logins.find(&token, 2000).unwrap().name, "A");
        assert!(logins.find("other", 2000).is_none());
        assert!(logins.find(&token, 1000 + LIFETIME_MS).is_none());
        logins.remove(&token);
        assert!(logins.find(&token, 2000).is_none());
    }

    #[test]
    fn the_oldest_login_makes_room() {
        let logins = Logins::default();
        let tokens: Vec<String> =
            (0..=MAX_LOGINS as u64).map(|at| logins.add("A".into(), true, at).unwrap()).collect();
        assert!(logins.find(&tokens[0], 2000).is_none());
        assert!(logins.find(&tokens[1], 2000).is_some());
    }
}
