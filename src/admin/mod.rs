//! The admin API: HTTP and JSON. Source: docs/spec/admin-api.md#requests-and-answers.
//!
//! | file | what it does |
//! | --- | --- |
//! | `access` | access control by address and credentials |
//! | `pages` | access control by origin and host name |
//! | `login` | logins on the page |
//! | `page` | serves the page, whose files are in `page/` |
//! | `operation`, `schemas`, `openapi` | tables of endpoints and JSON schemas, and the OpenAPI document |
//! | `monitor` | the actor that samples load and disks |
//! | `events`, `overview` | what the monitor has sampled, as a stream or at once |
//! | `request` | requests and responses, below HTTP |
//! | `db_executor` | the actor that runs database queries |
//! | `server`, `settings` | status, settings, locks; descriptions of settings |
//! | `sessions` | sessions, and everything in one |
//! | `undo` | who drew in a session, and undoing what somebody drew |
//! | `new_session` | parameters of a session created over the API |
//! | `users` | all connected users |
//! | `watch` | `/metrics`, `/readyz` |
//! | `bans`, `extbans`, `whitelist`, `accounts`, `log` | what the database holds |
//!
//! Handlers send messages to actors. Their only state is the latest snapshot of the rules.

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
mod undo;
mod users;
mod watch;
mod whitelist;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix::Addr;
use actix_web::dev::ServerHandle;
use actix_web::http::Method as HttpMethod;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot, watch as channel};

pub use access::{AccessRules, Credentials};
use db_executor::{DbExecutor, RunQuery};
use monitor::Monitor;
use request::{Method, Request, Who, not_found};

use crate::actors::auth::Auth;
use crate::actors::reload::{Change, Fetching};
use crate::actors::server::Server;
use crate::blocking::BlockingPool;
use crate::config::Rules;
use crate::db::{BanKind, Database, DbError};
use crate::rules::session::admin::{AdminAnswer, AdminError};
use crate::transport::trust::{ClientAddr, Trusted};
use crate::web::RequestBody;

/// Maximum request body in bytes.
const MAX_BODY: usize = 1 << 20;

/// Dependencies of the API.
#[derive(Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub struct AdminDeps {
    pub server: Addr<Server>,
    pub auth: Addr<Auth>,
    pub monitor: Addr<Monitor>,
    pub database: Option<Database>,
    /// The database that holds the log.
    pub log: Database,
    /// The latest snapshot of the rules.
    pub rules: channel::Receiver<Arc<Rules>>,
    /// Sends changes of settings to the task that applies them.
    pub change: mpsc::Sender<Change>,
    /// State of the downloads of external bans.
    pub fetching: Arc<Fetching>,
    pub blocking_pool: BlockingPool,
    /// The port that clients connect to.
    pub port: u16,
    pub access: AccessRules,
    pub trusted: Trusted,
}

/// What handlers use.
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

/// A running admin server.
#[allow(missing_docs, reason = "the names say it")]
pub struct AdminServer {
    pub address: SocketAddr,
    pub handle: ServerHandle,
}

/// Starts the server. Must be called inside an actix system.
///
/// # Errors
/// When listening fails.
pub fn start(listener: TcpListener, deps: AdminDeps) -> std::io::Result<AdminServer> {
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
    } = deps;
    let proxies = trusted.clone();
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
        started: crate::rules::time::Timestamp::now().iso(),
        access: access::Access::new(access, trusted),
    });
    let handle = crate::web::start(listener, proxies, move |app| {
        app.app_data(state.clone()).default_service(web::to(answer));
    })?;
    Ok(AdminServer { address, handle })
}

/// Handles an HTTP request.
async fn answer(request: HttpRequest, state: web::Data<AdminState>, payload: web::Payload) -> HttpResponse {
    let state = state.into_inner();
    let mut body = RequestBody::new(&request, payload);
    let mut response = match state.access.client_addr_of(&request) {
        Ok(source) => state.respond(&request, &mut body, source).await,
        Err(denied) => *denied,
    };
    state.access.add_headers(response.headers_mut());
    body.close_if_unread(response)
}

impl AdminState {
    /// Handles a request whose address has access. The body is not read before the login was checked.
    async fn respond(
        &self,
        request: &HttpRequest,
        body: &mut RequestBody,
        source: ClientAddr,
    ) -> HttpResponse {
        if *request.method() == HttpMethod::OPTIONS {
            return access::preflight();
        }
        let path = request.path().trim_start_matches('/');
        match path {
            // Health checks need no login.
            "healthz" => return HttpResponse::Ok().content_type("text/plain").body("ok\n"),
            "readyz" => return self.ready().await,
            _ => {}
        }
        let is_metrics = path == "metrics";
        if !is_metrics && path != "api" && !path.starts_with("api/") {
            // The page itself is public; it holds no data.
            return page::respond(request);
        }
        let is_post = *request.method() == HttpMethod::POST;
        match path.trim_end_matches('/') {
            "api/login" if is_post => return self.log_in(request, body, source).await,
            "api/logout" if is_post => return self.log_out(request),
            _ => {}
        }
        let (by_cookie, name) = match self.name_by_cookie(request).await {
            Some(name) => (true, format!("{name}@{}", source.ip())),
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
            Ok(mut api_request) => {
                if let Ok(operation) = operation::find(api_request.method, &api_request.path()) {
                    api_request.convert_members(operation.members());
                }
                self.answer(&api_request).await
            }
            Err(refused) => *refused,
        }
    }

    /// Handles an authorized API request.
    async fn answer(&self, request: &Request) -> HttpResponse {
        if request.method == Method::Get && request.path() == ["events"] {
            return self.events(request).await.unwrap_or_else(|error| request::refuse(&error));
        }
        let answer = self.route(request).await;
        if request.method != Method::Get && request.path() != ["settings"] {
            request.audit(&answer);
        }
        request.respond(answer)
    }

    /// Dispatches a request to its handler.
    async fn route(&self, request: &Request) -> AdminAnswer {
        let path = request.path();
        let operation = operation::find(request.method, &path)?;
        if let Some(section) = operation.section {
            self.check_unlocked(section)?;
        }
        match path.as_slice() {
            ["status"] => self.status().await,
            ["overview"] => self.overview().await,
            ["whoami"] => self.who_am_i(request),
            ["openapi.json"] => self.openapi(),
            ["settings"] => self.known_settings(request),
            ["server"] => self.server_settings(request).await,
            ["locks"] => self.locks(request).await,
            ["sessions"] => self.sessions(request).await,
            ["sessions", id, rest @ ..] => self.session(request, id, rest).await,
            ["users"] => self.users(request).await,
            ["users", uid] => self.user(request, uid).await,
            ["banlist", "preview"] => self.preview_ban(request).await,
            ["banlist", id @ ..] => self.bans(request, BanKind::Address, id).await,
            ["systembans", id @ ..] => self.bans(request, BanKind::System, id).await,
            ["userbans", id @ ..] => self.bans(request, BanKind::User, id).await,
            ["listserverwhitelist"] => self.white_list(request).await,
            ["accounts", rest @ ..] => self.accounts(request, rest).await,
            ["log"] => self.log(request).await,
            ["extbans", rest @ ..] => self.ext_bans(request, rest).await,
            _ => Err(not_found()),
        }
    }

    fn rules(&self) -> Arc<Rules> {
        self.rules.borrow().clone()
    }

    /// Whether a section of the API is locked against changes.
    fn is_locked(&self, section: &str) -> bool {
        self.rules().file().locked_sections.contains(section)
    }

    /// Refuses changes of a locked section.
    fn check_unlocked(&self, section: &str) -> Result<(), AdminError> {
        if self.is_locked(section) { Err(AdminError::new(403, "This section is locked")) } else { Ok(()) }
    }

    /// A list in the format of the request: a plain array, or with `v=2` an object that also says whether the section
    /// is locked.
    fn list_value(&self, request: &Request, section: &str, name: &str, list: Vec<Value>) -> Value {
        if request.query("v") != "2" {
            return list.into();
        }
        let members = [(name.to_owned(), list.into()), ("_locked".into(), self.is_locked(section).into())];
        members.into_iter().collect::<Map<String, Value>>().into()
    }

    /// Runs a query; 404 if there is no database.
    async fn query_db<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Database) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, AdminError> {
        let database = self.database.as_ref().ok_or_else(not_found)?;
        query_db(database, query).await
    }

    /// Changes settings; returns when they are in force.
    async fn change_settings(&self, settings: Vec<(String, String)>) -> Result<(), AdminError> {
        let (sender, receiver) = oneshot::channel();
        let stopping = |_| AdminError::new(500, "The server is stopping");
        self.change.send(Change::Set(settings, sender)).await.map_err(|_| stopping(()))?;
        let result = receiver.await.map_err(|_| stopping(()))?;
        result.map_err(|error| AdminError::new(500, error))
    }

    /// Returns when changes of the database are in force.
    async fn apply_db_changes(&self) -> Result<(), AdminError> {
        self.change_settings(Vec::new()).await
    }
}

async fn query_db<T: Send + 'static>(
    database: &Addr<DbExecutor>,
    query: impl FnOnce(&Database) -> Result<T, DbError> + Send + 'static,
) -> Result<T, AdminError> {
    let result = database.send(RunQuery::new(query)).await;
    result.map_err(|e| AdminError::new(500, e.to_string()))?.map_err(|e| AdminError::new(500, e.to_string()))
}
