//! The admin API: HTTP and JSON. Source: docs/spec/admin-api.md#requests-and-answers.
//!
//! | file | what it does |
//! | --- | --- |
//! | `access` | access control by address and credentials |
//! | `pages` | access control by origin and host name |
//! | `login` | logins on the page |
//! | `first_admin` | the one-time link that makes the first administrator |
//! | `page` | serves the page, whose files are in `page/` |
//! | `roles` | readers, moderators, administrators: who may ask what |
//! | `invitations` | links that make one account of a role each |
//! | `endpoint`, `value` | an endpoint with the types of its parameters and its answer; lenient values |
//! | `routes` | all endpoints, and how requests find them |
//! | `nodes` | requests about sessions and users of other servers of the cluster |
//! | `openapi` | the OpenAPI document, made from the endpoints |
//! | `error` | error responses, and which status each error has |
//! | `disks` | free space of the disks |
//! | `monitor` | the actor that samples load and disks |
//! | `recording` | the drawing of a session as a file |
//! | `canvas_picture` | the canvas of a session as a picture, and as a time-lapse |
//! | `ended` | ended sessions, and restoring them |
//! | `checks` | what the doctor finds wrong with the running server |
//! | `events`, `overview` | what the monitor has sampled, as a stream or at once |
//! | `request` | how requests are read, and what of them is logged |
//! | `db_executor` | the actor that runs database queries |
//! | `server`, `settings`, `locks` | status, settings, their descriptions, locks |
//! | `sessions` | sessions |
//! | `timeline` | chat and events of sessions |
//! | `restrictions` | milder means than kicking; the space of a session |
//! | `session_users`, `session_chat`, `invites`, `listings`, `thumbnails` | parts of a session |
//! | `undo` | who drew in a session, and undoing what somebody drew |
//! | `new_session` | parameters of a session created over the API |
//! | `users` | all connected users |
//! | `watch` | `/metrics`, `/readyz` |
//! | `reports` | the inbox of abuse reports |
//! | `people` | who is connected or was lately, by person; notes |
//! | `person_bans` | bans of persons, which also disconnect them |
//! | `connected` | everybody who is connected, for bans |
//! | `bans`, `extbans`, `whitelist`, `accounts`, `log` | what the database holds |
//!
//! Handlers send messages to actors. Their only state is the latest snapshot of the rules.

mod access;
mod accounts;
mod answers;
mod bans;
mod canvas_picture;
mod checks;
mod connected;
mod db_executor;
pub mod disks;
mod ended;
mod endpoint;
mod error;
mod events;
mod extbans;
pub(crate) mod first_admin;
mod invitations;
mod invites;
mod listings;
mod locks;
mod log;
mod login;
pub mod monitor;
mod new_session;
mod nodes;
mod openapi;
mod overview;
mod page;
mod pages;
mod people;
mod person_bans;
mod recording;
mod recordings;
mod reports;
mod request;
mod restrictions;
mod roles;
mod routes;
mod server;
mod session_chat;
mod session_users;
mod sessions;
mod settings;
mod thumbnails;
mod timeline;
mod undo;
mod users;
mod value;
mod watch;
mod whitelist;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix::Addr;
use actix_web::web;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch as channel};

pub use access::{AccessRules, Credentials};
use db_executor::{DbExecutor, RunQuery};
use error::{ApiError, forbidden, not_found};
use monitor::Monitor;

use crate::actors::auth::Auth;
use crate::actors::reload::{Change, Fetching};
use crate::actors::server::Server;
use crate::blocking::BlockingPool;
use crate::cluster::Cluster;
use crate::config::{GivenSetting, Rules};
use crate::db::{Database, DbError};
use crate::doctor::Setup;
use crate::metrics::Metrics;
use crate::pictures::PictureImporter;
use crate::renderer::Renderer;
use crate::storage::event_store::EventStore;
use crate::storage::recorder::Recorder;
use crate::storage::session_dir::SessionDir;
use crate::transport::trust::Trusted;
use crate::web::listener::{Certificates, HttpServerHandle};
use crate::web::shared_port::SharedPortServer;

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
    /// What the server counts.
    pub metrics: Arc<Metrics>,
    /// What the server runs with, for checks.
    pub setup: Setup,
    /// Reads the pictures that sessions are to begin with.
    pub pictures: PictureImporter,
    /// Makes pictures of sessions.
    pub renderer: Renderer,
    /// Is notified to stop the server.
    pub stop: Arc<Notify>,
    /// The session directory.
    pub session_dir: Option<Arc<SessionDir>>,
    /// What records sessions, if they are recorded.
    pub recorder: Option<Arc<Recorder>>,
    /// Chat and events of sessions, if they are kept.
    pub events: Option<Arc<EventStore>>,
    pub(crate) first_admin: Option<Arc<first_admin::FirstAdminLink>>,
    /// Links to other servers of the cluster, if there are.
    pub cluster: Option<Cluster>,
}

/// Pictures that are uploaded and read at once.
const MAX_PICTURE_UPLOADS: usize = 2;

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
    metrics: Arc<Metrics>,
    setup: Setup,
    pictures: PictureImporter,
    renderer: Renderer,
    /// Pictures that are uploaded and read at once: each is in memory.
    picture_uploads: Semaphore,
    stop: Arc<Notify>,
    session_dir: Option<Arc<SessionDir>>,
    recorder: Option<Arc<Recorder>>,
    events: Option<Arc<EventStore>>,
    /// Checks are made one after another: they read the whole database.
    checking: tokio::sync::Mutex<()>,
    /// Chat and events are looked through by one at a time: they may be hundreds of megabytes.
    searching_events: Arc<tokio::sync::Mutex<()>>,
    /// Invitations are accepted one after another: each makes a hash, which takes long.
    accepting: tokio::sync::Mutex<()>,
    first_admin: Option<Arc<first_admin::FirstAdminLink>>,
    cluster: Option<Cluster>,
}

/// The API and the page, served at one port or several.
#[derive(Clone)]
pub struct Admin {
    state: web::Data<AdminState>,
    trusted: Trusted,
    metrics: Arc<Metrics>,
}

/// A running admin server with a port of its own.
#[allow(missing_docs, reason = "the names say it")]
pub struct AdminServer {
    pub address: SocketAddr,
    pub handle: HttpServerHandle,
}

impl Admin {
    /// Starts what requests need. Must be called inside an actix system.
    pub fn new(deps: AdminDeps) -> Admin {
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
            metrics,
            setup,
            pictures,
            renderer,
            stop,
            session_dir,
            recorder,
            events,
            first_admin,
            cluster,
        } = deps;
        let (proxies, for_limits) = (trusted.clone(), metrics.clone());
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
            metrics,
            setup,
            pictures,
            renderer,
            picture_uploads: Semaphore::new(MAX_PICTURE_UPLOADS),
            stop,
            session_dir,
            recorder,
            events,
            checking: tokio::sync::Mutex::default(),
            searching_events: Arc::default(),
            accepting: tokio::sync::Mutex::default(),
            first_admin,
            cluster,
        });
        Admin { state, trusted: proxies, metrics: for_limits }
    }

    fn configure(&self) -> impl Fn(&mut web::ServiceConfig) + Clone + Send + use<> {
        let state = self.state.clone();
        move |app| routes::configure(app.app_data(state.clone()))
    }

    /// Serves at a listener, over TLS if there are certificates.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub fn listen(&self, listener: TcpListener, certificates: Certificates) -> std::io::Result<AdminServer> {
        let address = listener.local_addr()?;
        let (trusted, metrics) = (self.trusted.clone(), self.metrics.clone());
        let handle = crate::web::listener::start(listener, certificates, trusted, metrics, self.configure())?;
        Ok(AdminServer { address, handle })
    }

    /// Serves connections that WebSocket listeners have accepted.
    pub(crate) fn share_port(&self) -> SharedPortServer {
        SharedPortServer::start(self.trusted.clone(), self.metrics.clone(), self.configure())
    }
}

impl AdminState {
    fn rules(&self) -> Arc<Rules> {
        self.rules.borrow().clone()
    }

    /// Whether a section of the API is locked against changes.
    fn is_locked(&self, section: &str) -> bool {
        self.rules().file().locked_sections.contains(section)
    }

    /// Refuses changes of a locked section.
    fn check_unlocked(&self, section: &str) -> Result<(), ApiError> {
        if self.is_locked(section) { Err(forbidden("This section is locked")) } else { Ok(()) }
    }

    /// Runs a query; 404 if there is no database.
    async fn query_db<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Database) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let database = self.database.as_ref().ok_or_else(not_found)?;
        query_db(database, query).await
    }

    /// Changes settings; returns when they are in force.
    async fn change_settings(&self, settings: Vec<GivenSetting>) -> Result<(), ApiError> {
        let (sender, receiver) = oneshot::channel();
        let stopping = |_| ApiError::internal("The server is stopping");
        self.change.send(Change::Set(settings, sender)).await.map_err(|_| stopping(()))?;
        let result = receiver.await.map_err(|_| stopping(()))?;
        result.map_err(ApiError::internal)
    }

    /// Returns when changes of the database are in force.
    async fn apply_db_changes(&self) -> Result<(), ApiError> {
        self.change_settings(Vec::new()).await
    }
}

async fn query_db<T: Send + 'static>(
    database: &Addr<DbExecutor>,
    query: impl FnOnce(&Database) -> Result<T, DbError> + Send + 'static,
) -> Result<T, ApiError> {
    let result = database.send(RunQuery::new(query)).await;
    Ok(result.map_err(ApiError::internal)??)
}
