//! The admin API: HTTP and JSON, for people and programs that run the server. Source: `admin-api.md`.
//!
//! | file | what it does |
//! | --- | --- |
//! | `access` | who may ask, and from where |
//! | `call` | a request and its answer, below HTTP |
//! | `registry` | the actor that asks the database |
//! | `server` | status, settings, locks |
//! | `sessions` | sessions, and all that is in one |
//! | `new_session` | a session that nobody hosts |
//! | `users` | everybody who is connected |
//! | `watch` | `/metrics`, `/readyz` |
//! | `bans`, `extbans`, `whitelist`, `accounts`, `log` | what the database holds |
//!
//! Handlers send messages to actors; they hold nothing of their own but the snapshot of the rules.

mod access;
mod accounts;
mod bans;
mod call;
mod extbans;
mod log;
mod new_session;
mod registry;
mod server;
mod sessions;
mod users;
mod watch;
mod whitelist;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix::Addr;
use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot, watch as channel};

pub use access::{AccessRules, Credentials};
use call::{Call, Method, not_found};
use registry::{Query, Registry};

use crate::auth::Hashing;
use crate::config::Rules;
use crate::db::{BanKind, Database, DbError};
use crate::server::Server;
use crate::server::reload::{Change, Fetching};
use crate::session::admin::{AdminAnswer, AdminError};

/// Largest body of a request in bytes.
const MAX_BODY: usize = 1 << 20;

/// What the API is made of.
#[derive(Clone)]
pub struct Parts {
    /// Knows sessions and connections.
    pub server: Addr<Server>,
    /// The database, if there is one.
    pub database: Option<Database>,
    /// Where the log is kept.
    pub log: Database,
    /// The rules in force.
    pub rules: channel::Receiver<Arc<Rules>>,
    /// Changes them.
    pub change: mpsc::Sender<Change>,
    /// Fetches external bans.
    pub fetching: Arc<Fetching>,
    /// Where hashes are computed.
    pub hashing: Hashing,
    /// Port that clients connect to.
    pub port: u16,
    /// Who may ask.
    pub access: AccessRules,
}

/// Everything that handlers need.
struct Office {
    server: Addr<Server>,
    registry: Option<Addr<Registry>>,
    log: Addr<Registry>,
    rules: channel::Receiver<Arc<Rules>>,
    change: mpsc::Sender<Change>,
    fetching: Arc<Fetching>,
    hashing: Hashing,
    port: u16,
    started: String,
    access: access::Access,
}

/// An API that runs.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// Stops it.
    pub handle: ServerHandle,
}

/// Starts the API inside a running actix system.
///
/// # Errors
/// When the listener cannot be used.
pub fn start(listener: TcpListener, parts: Parts) -> std::io::Result<Running> {
    let address = listener.local_addr()?;
    let Parts { server, database, log, rules, change, fetching, hashing, port, access } = parts;
    let office = web::Data::new(Office {
        server,
        registry: database.map(Registry::start),
        log: Registry::start(log),
        rules,
        change,
        fetching,
        hashing,
        port,
        started: crate::clock::Now::get().iso(),
        access: access::Access::new(access),
    });
    let app = move || {
        App::new()
            .app_data(office.clone())
            .app_data(web::PayloadConfig::new(MAX_BODY))
            .default_service(web::to(answer))
    };
    let server = HttpServer::new(app).workers(1).disable_signals().listen(listener)?.run();
    let handle = server.handle();
    actix_rt::spawn(server);
    Ok(Running { address, handle })
}

/// Answers a request of HTTP.
async fn answer(request: HttpRequest, office: web::Data<Office>, body: web::Bytes) -> HttpResponse {
    let office = office.into_inner();
    match request.path() {
        // Whoever watches the server needs no password to see that it is there.
        "/healthz" => return HttpResponse::Ok().content_type("text/plain").body("ok\n"),
        "/readyz" => return office.ready().await,
        _ => {}
    }
    let mut response = match office.access.check(&request) {
        Ok(access::Admitted::Preflight) => access::preflight(),
        Ok(access::Admitted::As(_)) if request.path() == "/metrics" => office.metrics().await,
        Ok(access::Admitted::As(who)) => match Call::read(&request, &body, who) {
            Ok(call) => {
                let answered = office.route(&call).await;
                if call.method != Method::Get {
                    call.audit(&answered);
                }
                call.respond(answered)
            }
            Err(error) => call::refuse(&error),
        },
        Err(denied) => *denied,
    };
    office.access.add_headers(response.headers_mut());
    response
}

impl Office {
    /// Finds what a request is for.
    async fn route(&self, call: &Call) -> AdminAnswer {
        match call.path().as_slice() {
            ["status"] => self.status(call).await,
            ["server"] => self.server_settings(call).await,
            ["locks"] => self.locks(call).await,
            ["sessions"] => self.sessions(call).await,
            ["sessions", id, rest @ ..] => self.session(call, id, rest).await,
            ["users"] => self.users(call).await,
            ["users", uid] => self.user(call, uid).await,
            ["banlist", id @ ..] if id.len() <= 1 => self.bans(call, BanKind::Address, id).await,
            ["systembans", id @ ..] if id.len() <= 1 => self.bans(call, BanKind::System, id).await,
            ["userbans", id @ ..] if id.len() <= 1 => self.bans(call, BanKind::User, id).await,
            ["listserverwhitelist"] => self.white_list(call).await,
            ["accounts", rest @ ..] if rest.len() <= 1 => self.accounts(call, rest).await,
            ["log"] => self.log(call).await,
            ["extbans", rest @ ..] if rest.len() <= 1 => self.ext_bans(call, rest).await,
            _ => Err(not_found()),
        }
    }

    fn rules(&self) -> Arc<Rules> {
        self.rules.borrow().clone()
    }

    /// Whether a part of the API is locked against changes.
    fn is_locked(&self, section: &str) -> bool {
        self.rules().file().locked_sections.contains(section)
    }

    /// Refuses changes of a part that is locked.
    fn unlocked(&self, section: &str) -> Result<(), AdminError> {
        if self.is_locked(section) { Err(AdminError::new(403, "This section is locked")) } else { Ok(()) }
    }

    /// A list as old frontends want it, or with what newer ones want to know, too.
    fn listed(&self, call: &Call, section: &str, name: &str, list: Vec<Value>) -> Value {
        if call.query("v") != "2" {
            return list.into();
        }
        let members = [(name.to_owned(), list.into()), ("_locked".into(), self.is_locked(section).into())];
        members.into_iter().collect::<Map<String, Value>>().into()
    }

    /// Asks the database; without one there is nothing to be found.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Database) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, AdminError> {
        let registry = self.registry.as_ref().ok_or_else(not_found)?;
        ask(registry, question).await
    }

    /// Sets settings, and waits until they count.
    async fn set(&self, settings: Vec<(String, String)>) -> Result<(), AdminError> {
        let (tell, told) = oneshot::channel();
        let stopping = |_| AdminError::new(500, "The server stops");
        self.change.send(Change::Set(settings, tell)).await.map_err(|_| stopping(()))?;
        let done = told.await.map_err(|_| stopping(()))?;
        done.map_err(|error| AdminError::new(500, error))
    }

    /// Waits until what was changed in the database counts.
    async fn look_again(&self) -> Result<(), AdminError> {
        self.set(Vec::new()).await
    }
}

async fn ask<T: Send + 'static>(
    registry: &Addr<Registry>,
    question: impl FnOnce(&Database) -> Result<T, DbError> + Send + 'static,
) -> Result<T, AdminError> {
    let asked = registry.send(Query::new(question)).await;
    asked.map_err(|e| AdminError::new(500, e.to_string()))?.map_err(|e| AdminError::new(500, e.to_string()))
}
