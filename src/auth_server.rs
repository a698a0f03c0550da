//! The built-in auth server, so that several servers can share one set of accounts. Source:
//! docs/spec/services.md#being-an-auth-server.
//!
//! It answers at every path: requests without a password (from servers: is this name an account?) and with one (from
//! clients: for a token). An account is in a group if it has a flag of that name.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use drawhall_protocol::from_json;
use ed25519_dalek::{Signer as _, SigningKey};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::blocking::{BlockingPool, Job};
use crate::db::{Account, Database, DbError};
use crate::metrics::Metrics;
use crate::rules::password;
use crate::rules::time::Timestamp;
use crate::transport::trust::{ClientAddr, Trusted};
use crate::web::listener::{self, HttpServerHandle};
use crate::web::password_limiter::{AttemptRefused, HttpPasswordLimiter};
use crate::web::{RequestBody, client_addr_of};

/// Name of the signing key in the database.
const KEY_NAME: &str = "extauth";
/// Maximum request body in bytes.
const MAX_REQUEST: usize = 16 << 10;
/// Lifetime of a token in seconds. A client uses its token at once.
const TOKEN_SECONDS: i64 = 300;
/// A hash that takes as long to verify as a real one. Verified for names that are not accounts, so that the response
/// time does not reveal which names exist.
const NO_ACCOUNT: &str = "sodium;$argon2id$v=19$m=65536,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$\
    cIgqkDJDZ5Cd3/HVK3rKhsc8kkpXaOcNI5eXCwKdfFk";

/// The signing key cannot be loaded or created.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the names say it")]
pub enum KeyError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("the signing key in the database is damaged")]
    Damaged,
    #[error("no signing key can be created: {0}")]
    Random(getrandom::Error),
}

/// Loads the signing key from the database; creates it if there is none. Blocking.
///
/// # Errors
/// When it cannot be read or written.
pub fn signing_key(database: &Database) -> Result<SigningKey, KeyError> {
    let mut new_secret = [0; 32];
    getrandom::fill(&mut new_secret).map_err(KeyError::Random)?;
    let secret: [u8; 32] = database.key(KEY_NAME, &new_secret)?.try_into().map_err(|_| KeyError::Damaged)?;
    Ok(SigningKey::from_bytes(&secret))
}

/// The public key in base64, as in the setting `extauthkey`.
pub fn public_text(key: &SigningKey) -> String {
    BASE64.encode(key.verifying_key().as_bytes())
}

struct AuthServer {
    database: Database,
    key: SigningKey,
    blocking_pool: BlockingPool,
    password_limiter: HttpPasswordLimiter,
    trusted: Trusted,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct IdentRequest {
    username: String,
    password: Option<String>,
    group: Option<String>,
    nonce: Option<String>,
}

/// A running auth server.
#[allow(missing_docs, reason = "the names say it")]
pub struct RunningAuthServer {
    pub address: SocketAddr,
    pub handle: HttpServerHandle,
}

/// Starts the auth server. Must be called inside an actix system.
///
/// # Errors
/// When listening fails.
pub fn start(
    listener: TcpListener,
    database: Database,
    key: SigningKey,
    blocking_pool: BlockingPool,
    trusted: Trusted,
    metrics: Arc<Metrics>,
) -> std::io::Result<RunningAuthServer> {
    let address = listener.local_addr()?;
    let proxies = trusted.clone();
    let server = web::Data::new(AuthServer {
        database,
        key,
        blocking_pool,
        password_limiter: HttpPasswordLimiter::default(),
        trusted,
    });
    let handle = listener::start(listener, None, proxies, metrics, move |app| {
        app.app_data(server.clone()).default_service(web::to(answer));
    })?;
    Ok(RunningAuthServer { address, handle })
}

fn status(status: &str) -> Value {
    json!({"status": status})
}

async fn answer(request: HttpRequest, server: web::Data<AuthServer>, payload: web::Payload) -> HttpResponse {
    let mut body = RequestBody::new(&request, payload);
    let response = respond(&request, server.into_inner(), &mut body).await;
    body.close_if_unread(response)
}

async fn respond(request: &HttpRequest, server: Arc<AuthServer>, body: &mut RequestBody) -> HttpResponse {
    let mut response = match *request.method() {
        Method::POST => HttpResponse::Ok(),
        // A CORS preflight request of a browser.
        Method::OPTIONS => HttpResponse::NoContent(),
        _ => return refuse(StatusCode::METHOD_NOT_ALLOWED, "POST a JSON object"),
    };
    response
        .insert_header(("access-control-allow-origin", "*"))
        .insert_header(("access-control-allow-headers", "content-type"))
        .insert_header(("cache-control", "no-store"));
    if request.method() == Method::OPTIONS {
        return response.finish();
    }
    let client = match client_addr_of(request, &server.trusted) {
        Ok(Some(client)) => client,
        Ok(None) => return refuse(StatusCode::BAD_REQUEST, "nobody asks"),
        Err(ambiguous) => return refuse(StatusCode::BAD_REQUEST, ambiguous.reason()),
    };
    let body = match body.read(MAX_REQUEST).await {
        Ok(body) => body,
        Err((status, message)) => return refuse(status, message),
    };
    let Ok(ident) = from_json::<IdentRequest>(&body) else {
        return HttpResponse::BadRequest().json(json!({"message": "this is no JSON object with a username"}));
    };
    let error = |status, message| HttpResponse::build(status).json(json!({"message": message}));
    match server.decide(ident, client).await {
        Ok(value) => response.json(value),
        Err(CannotDecide::Fault) => error(StatusCode::INTERNAL_SERVER_ERROR, "the accounts cannot be read"),
        Err(CannotDecide::Busy) => error(StatusCode::SERVICE_UNAVAILABLE, AttemptRefused::Busy.message()),
    }
}

/// An error response; closes the connection without reading the rest of the request.
fn refuse(status: StatusCode, message: &str) -> HttpResponse {
    HttpResponse::build(status).force_close().json(json!({"message": message}))
}

fn in_group(account: &Account, group: Option<&str>) -> bool {
    let group = group.unwrap_or_default();
    group.is_empty() || account.flags.iter().any(|f| f.eq_ignore_ascii_case(group))
}

/// Why a request gets an error instead of a decision.
enum CannotDecide {
    /// The accounts cannot be read.
    Fault,
    /// Too many password checks are queued.
    Busy,
}

impl AuthServer {
    async fn account(&self, name: &str) -> Result<Option<Account>, CannotDecide> {
        let (database, name) = (self.database.clone(), name.to_owned());
        let read = self.blocking_pool.run(Job::FileIo, move || database.account(&name)).await;
        let read = read.ok_or(CannotDecide::Fault)?;
        let read = read.inspect_err(|error| tracing::error!(%error, "auth server: cannot read an account"));
        read.map_err(|_| CannotDecide::Fault)
    }

    async fn has_account_like(&self, name: &str) -> Result<bool, CannotDecide> {
        let (database, name) = (self.database.clone(), name.to_owned());
        let read = self.blocking_pool.run(Job::FileIo, move || database.has_account_like(&name)).await;
        let read = read.ok_or(CannotDecide::Fault)?;
        let read = read.inspect_err(|error| tracing::error!(%error, "auth server: cannot read accounts"));
        read.map_err(|_| CannotDecide::Fault)
    }

    async fn decide(self: Arc<Self>, ident: IdentRequest, client: ClientAddr) -> Result<Value, CannotDecide> {
        let account = self.account(&ident.username).await?;
        let Some(password) = ident.password.clone() else {
            let similar = account.is_none() && self.has_account_like(&ident.username).await?;
            return Ok(match account {
                // No guest may use a name that looks like an account's.
                None if similar => status("auth"),
                None => status("guest"),
                Some(account) if account.locked => status("banned"),
                Some(account) if !in_group(&account, ident.group.as_deref()) => status("outgroup"),
                Some(_) => status("auth"),
            });
        };
        let now = Timestamp::now();
        let attempt = match self.password_limiter.slow(client, now.monotonic_ms).await {
            Ok(attempt) => attempt,
            Err(AttemptRefused::TooMany) => return Ok(status("badpass")),
            Err(AttemptRefused::Busy) => return Err(CannotDecide::Busy),
        };
        // Without an account, or one without a hash, no password matches.
        let hash = account.as_ref().map(|account| &account.hash).filter(|hash| !hash.is_empty());
        let hash = hash.map_or(NO_ACCOUNT, String::as_str).to_owned();
        let is_correct =
            self.blocking_pool.run(Job::VerifyPassword, move || password::verify(&password, &hash)).await;
        let is_correct = is_correct.ok_or(CannotDecide::Fault)?;
        let Some(account) = account.filter(|a| is_correct && !a.locked && !a.hash.is_empty()) else {
            return Ok(status("badpass"));
        };
        attempt.refund();
        if !in_group(&account, ident.group.as_deref()) {
            return Ok(status("outgroup"));
        }
        let mut payload = json!({
            "username": account.name,
            "flags": account.flags,
            "nonce": ident.nonce.unwrap_or_default(),
            "iat": now.utc_ms / 1000,
            "exp": now.utc_ms / 1000 + TOKEN_SECONDS,
            "uid": account.id,
        });
        if let Some(group) = ident.group.filter(|g| !g.is_empty()) {
            payload["group"] = group.into();
        }
        Ok(json!({"status": "auth", "token": sign(&self.key, &payload)}))
    }
}

fn sign(key: &SigningKey, payload: &Value) -> String {
    let signed = format!("1.{}", BASE64.encode(payload.to_string()));
    let signature = BASE64.encode(key.sign(signed.as_bytes()).to_bytes());
    format!("{signed}.{signature}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::token;

    #[test]
    fn issued_tokens_are_valid() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let text = sign(&key, &json!({"username": "a", "nonce": "2a", "uid": 5, "flags": ["MOD"]}));
        let token = token::read(&text, &key.verifying_key(), "", 42).unwrap();
        assert_eq!((token.username.as_str(), token.number, token.flags.len()), ("a", Some(5), 1));
        assert!(token::read(&text, &key.verifying_key(), "", 43).is_err());
        let other = SigningKey::from_bytes(&[8; 32]);
        assert_eq!(token::read(&text, &other.verifying_key(), "", 42), Err(token::TokenError::Signature));
    }

    #[test]
    fn the_signing_key_persists() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let first = public_text(&signing_key(&Database::open(&path).unwrap()).unwrap());
        assert_eq!(public_text(&signing_key(&Database::open(&path).unwrap()).unwrap()), first);
    }

    #[test]
    fn the_dummy_hash_is_valid_and_matches_nothing() {
        assert!(password::is_hash(NO_ACCOUNT) && !password::verify("x", NO_ACCOUNT));
    }
}
