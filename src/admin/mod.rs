//! The admin API: HTTP and JSON, for people and programs that run the server. Source:
//! docs/spec/admin-api.md#requests-and-answers.
//!
//! | file | what it does |
//! | --- | --- |
//! | `access` | who may ask, and from where |
//! | `pages` | which pages in browsers may |
//! | `login` | people who log in on the page |
//! | `page` | the page, whose files are in `page/` |
//! | `operation`, `shapes`, `openapi` | what can be asked and what is answered: tables, and their description for programs |
//! | `monitor` | the actor that sees how the server does |
//! | `events`, `overview` | what it has seen, at once or when asked |
//! | `call` | a request and its answer, below HTTP |
//! | `database` | the actor that asks the database |
//! | `server`, `settings` | status, settings, locks; what settings mean |
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
mod db_executor;
mod events;
mod extbans;
mod log;
mod login;
pub mod monitor;
mod new_session;
mod openapi;
mod operation;
mod overview;
mod page;
mod pages;
mod request;
mod schemas;
mod server;
mod sessions;
mod settings;
mod users;
mod watch;
mod whitelist;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix::Addr;
use actix_web::dev::ServerHandle;
use actix_web::http::Method as HttpMethod;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot, watch as channel};

pub use access::{AccessRules, Credentials};
use db_executor::{DbExecutor, RunQuery};
use monitor::Monitor;
use request::{Method, Request, Who, not_found};

use crate::auth::Auth;
use crate::blocking::BlockingPool;
use crate::config::Rules;
use crate::db::{BanKind, Database, DbError};
use crate::server::Server;
use crate::server::reload::{Change, Fetching};
use crate::session::admin::{AdminAnswer, AdminError};
use crate::transport::trust::{Source, Trusted};
use crate::web::{HttpConnectionLimiter, MAX_CONNECTIONS, REQUEST_TIME, RequestBody};

/// Largest body of a request of somebody who may ask, in bytes.
const MAX_BODY: usize = 1 << 20;

/// What the API is made of.
#[derive(Clone)]
pub struct AdminDeps {
    /// Knows sessions and connections.
    pub server: Addr<Server>,
    /// Knows the accounts.
    pub auth: Addr<Auth>,
    /// Sees how the server does.
    pub monitor: Addr<Monitor>,
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
    pub blocking_pool: BlockingPool,
    /// Port that clients connect to.
    pub port: u16,
    /// Who may ask.
    pub access: AccessRules,
    /// Proxies that are believed when they say whom they speak for.
    pub trusted: Trusted,
}

/// Everything that handlers need.
struct AdminState {
    server: Addr<Server>,
    auth: Addr<Auth>,
    monitor: Addr<Monitor>,
    database: Option<Addr<DbExecutor>>,
    log: Addr<DbExecutor>,
    rules: channel::Receiver<Arc<Rules>>,
    change: mpsc::Sender<Change>,
    fetching: Arc<Fetching>,
    blocking_pool: BlockingPool,
    port: u16,
    started: String,
    access: access::Access,
}

/// An API that runs.
pub struct AdminServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// Stops it.
    pub handle: ServerHandle,
}

/// Starts the API inside a running actix system.
///
/// # Errors
/// When the listener cannot be used.
pub fn start(listener: TcpListener, parts: AdminDeps) -> std::io::Result<AdminServer> {
    let address = listener.local_addr()?;
    let AdminDeps {
        server,
        auth,
        monitor,
        database,
        log,
        rules,
        change,
        fetching,
        blocking_pool,
        port,
        access,
        trusted,
    } = parts;
    let limiter = HttpConnectionLimiter::new(trusted.clone());
    let state = web::Data::new(AdminState {
        server,
        auth,
        monitor,
        database: database.map(DbExecutor::start),
        log: DbExecutor::start(log),
        rules,
        change,
        fetching,
        blocking_pool,
        port,
        started: crate::clock::Timestamp::now().iso(),
        access: access::Access::new(access, trusted),
    });
    let app = move || App::new().app_data(state.clone()).default_service(web::to(answer));
    let server = HttpServer::new(app)
        .workers(1)
        .max_connections(MAX_CONNECTIONS)
        .client_request_timeout(REQUEST_TIME)
        .on_connect(limiter.on_connect())
        .disable_signals()
        .listen(listener)?
        .run();
    let handle = server.handle();
    actix_rt::spawn(server);
    Ok(AdminServer { address, handle })
}

/// Answers a request of HTTP.
async fn answer(request: HttpRequest, state: web::Data<AdminState>, payload: web::Payload) -> HttpResponse {
    let state = state.into_inner();
    let mut body = RequestBody::new(&request, payload);
    let mut response = match state.access.source_of(&request) {
        Ok(source) => state.respond(&request, &mut body, source).await,
        Err(denied) => *denied,
    };
    state.access.add_headers(response.headers_mut());
    body.close_if_unread(response)
}

impl AdminState {
    /// Answers a request that may come from where it comes from. Its body is read only when it is known who asks.
    async fn respond(&self, request: &HttpRequest, body: &mut RequestBody, source: Source) -> HttpResponse {
        if *request.method() == HttpMethod::OPTIONS {
            return access::preflight();
        }
        let path = request.path().trim_start_matches('/');
        match path {
            // Whoever watches the server needs no password to see that it is there.
            "healthz" => return HttpResponse::Ok().content_type("text/plain").body("ok\n"),
            "readyz" => return self.ready().await,
            _ => {}
        }
        let is_metrics = path == "metrics";
        if !is_metrics && path != "api" && !path.starts_with("api/") {
            // Anybody may see the page; there is nothing in it but what everybody knows.
            return page::respond(request);
        }
        let is_post = *request.method() == HttpMethod::POST;
        match path.trim_end_matches('/') {
            "api/login" if is_post => return self.log_in(request, body, source).await,
            "api/logout" if is_post => return self.log_out(request),
            _ => {}
        }
        let (by_cookie, name) = match self.known_by_cookie(request).await {
            Some(name) => (true, format!("{name}@{}", source.address)),
            None => match self.admit(request, source).await {
                Ok(name) => (false, name),
                Err(denied) => return *denied,
            },
        };
        if is_metrics {
            return self.metrics().await;
        }
        let who = Who { name, source, by_cookie };
        match Request::read(request, body, MAX_BODY, who).await {
            Ok(mut call) => {
                if let Ok(operation) = operation::find(call.method, &call.path()) {
                    call.read_members(operation.members());
                }
                self.answer(&call).await
            }
            Err(refused) => *refused,
        }
    }

    /// Answers a request of somebody who may ask.
    async fn answer(&self, call: &Request) -> HttpResponse {
        if call.method == Method::Get && call.path() == ["events"] {
            return self.events(call).await.unwrap_or_else(|error| request::refuse(&error));
        }
        let answered = self.route(call).await;
        if call.method != Method::Get && call.path() != ["settings"] {
            call.audit(&answered);
        }
        call.respond(answered)
    }

    /// Finds what a request is for.
    async fn route(&self, call: &Request) -> AdminAnswer {
        let path = call.path();
        let operation = operation::find(call.method, &path)?;
        if let Some(section) = operation.section {
            self.unlocked(section)?;
        }
        match path.as_slice() {
            ["status"] => self.status().await,
            ["overview"] => self.overview().await,
            ["whoami"] => self.who_am_i(call),
            ["openapi.json"] => self.openapi(),
            ["settings"] => self.known_settings(call),
            ["server"] => self.server_settings(call).await,
            ["locks"] => self.locks(call).await,
            ["sessions"] => self.sessions(call).await,
            ["sessions", id, rest @ ..] => self.session(call, id, rest).await,
            ["users"] => self.users(call).await,
            ["users", uid] => self.user(call, uid).await,
            ["banlist", "preview"] => self.preview_ban(call).await,
            ["banlist", id @ ..] => self.bans(call, BanKind::Address, id).await,
            ["systembans", id @ ..] => self.bans(call, BanKind::System, id).await,
            ["userbans", id @ ..] => self.bans(call, BanKind::User, id).await,
            ["listserverwhitelist"] => self.white_list(call).await,
            ["accounts", rest @ ..] => self.accounts(call, rest).await,
            ["log"] => self.log(call).await,
            ["extbans", rest @ ..] => self.ext_bans(call, rest).await,
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
    fn listed(&self, call: &Request, section: &str, name: &str, list: Vec<Value>) -> Value {
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
        let database = self.database.as_ref().ok_or_else(not_found)?;
        ask(database, question).await
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
    database: &Addr<DbExecutor>,
    question: impl FnOnce(&Database) -> Result<T, DbError> + Send + 'static,
) -> Result<T, AdminError> {
    let asked = database.send(RunQuery::new(question)).await;
    asked.map_err(|e| AdminError::new(500, e.to_string()))?.map_err(|e| AdminError::new(500, e.to_string()))
}
