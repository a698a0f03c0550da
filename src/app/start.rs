//! Starts a server: what is prepared becomes workers, actors, background tasks and listeners, in this order.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use actix::prelude::*;
use actix_rt::task::JoinHandle;
use ed25519_dalek::SigningKey;
use tokio::sync::{Notify, mpsc, watch};

use super::port_mapping::PortMapping;
use super::prepare::{Prepared, StartError};
use super::templates::watch_templates;
use super::{RunningServer, ServeOptions, people, retention, webhook};
use crate::actors::auth::Auth;
use crate::actors::client::connection::ClientContext;
use crate::actors::nodes::{LinkAcceptor, watch_nodes};
use crate::actors::reload::{self, Change, Fetching};
use crate::actors::server::acceptor::{Acceptor, Listeners, Protocol};
use crate::actors::server::{NewTemplates, Server, ServerDeps};
use crate::admin::disks::WatchedDisks;
use crate::admin::first_admin::{self, FirstAdminLink};
use crate::admin::monitor::{Monitor, MonitorDeps};
use crate::admin::{self, Admin};
use crate::auth_server;
use crate::config::Rules;
use crate::db::Database;
use crate::doctor::Setup;
use crate::renderer::Renderer;
use crate::rules::metadata::SessionSummary;
use crate::rules::time::Timestamp;
use crate::transport::accept::{HttpConnection, WebSocketAccess};
use crate::transport::connection_limiter::ConnectionLimiter;
use crate::transport::trust::Trusted;
use crate::web::listener::Certificates;

/// What most parts of a starting server need.
struct Startup<'a> {
    options: &'a ServeOptions,
    parts: ServerDeps,
    workers: Vec<Arbiter>,
    server: Addr<Server>,
    auth: Addr<Auth>,
    /// Tells everybody of new rules.
    changes: watch::Sender<Arc<Rules>>,
    log: Database,
    tasks: Vec<JoinHandle<()>>,
    /// They accept connections of clients.
    listeners: Vec<JoinHandle<()>>,
}

/// Starts a server inside a running actix system.
///
/// # Errors
/// When something cannot be read, opened or created; nothing is running then.
pub fn start(options: &ServeOptions) -> Result<RunningServer, StartError> {
    let Prepared {
        source,
        rules,
        parts,
        listed,
        templates,
        certificate,
        listeners,
        address,
        websocket_address,
        admin_listener,
        auth_server_listener,
        log,
        first_admin,
        link_listener,
    } = Prepared::new(options)?;
    let mut starting = Startup::actors(options, parts, rules, &listed, log);
    let (reload, read_again) = watch::channel(());
    let certificates: Certificates = certificate.map(|source| {
        let (certificates, task) = source.watch(read_again.clone(), starting.parts.metrics.clone());
        starting.tasks.push(task);
        certificates
    });
    let (change, to_make) = mpsc::channel(16);
    let database = source.database().cloned();
    let fetching = starting.fetch_bans(&change);
    starting.keep_retention(database.clone());
    let people = people::start(&starting.parts, starting.log.clone()).map_err(StartError::People)?;
    let auth_server_listener = start_provider(auth_server_listener, &starting.parts, &options.trusted)?;

    let stop = Arc::<Notify>::default();
    let monitor = starting.monitor(database.as_ref());
    // Other servers of the cluster ask for their administrators.
    let is_enabled = options.admin_port.is_some() || options.admin_on_websocket || link_listener.is_some();
    let admin = is_enabled.then(|| {
        let first_admin = first_admin.clone();
        Admin::new(starting.admin_deps(&database, monitor, &change, fetching, &stop, first_admin))
    });
    let listening = admin.as_ref().zip(admin_listener);
    let admin_server = listening
        .map(|(admin, listener)| start_admin(admin, listener, options, &certificates))
        .transpose()?;
    let shared_port = admin.as_ref().filter(|_| options.admin_on_websocket).map(Admin::share_port);
    if let Some(link) = first_admin.clone() {
        starting.spawn(end_link(link));
    }

    let context = ClientContext {
        rules: starting.changes.borrow().clone(),
        server: starting.server.clone().into(),
        auth: starting.auth.clone(),
        certificate: certificates.clone(),
        trace: starting.parts.trace.clone(),
        websocket_port: websocket_address.map(|address| address.port()),
        metrics: starting.parts.metrics.clone(),
    };
    let limiter = ConnectionLimiter::new(options.trusted.clone(), starting.parts.metrics.clone());
    let next_conn = Arc::new(AtomicU64::new(1));
    if let (Some(listener), Some(cluster), Some(admin)) =
        (link_listener, starting.parts.cluster.clone(), &admin)
    {
        let links = LinkAcceptor {
            cluster,
            workers: starting.workers.iter().map(Arbiter::handle).collect(),
            context: context.clone(),
            rules: starting.changes.subscribe(),
            limiter: limiter.clone(),
            next_conn: next_conn.clone(),
            admin: admin.answer_nodes(),
        };
        starting.spawn(links.accept(listener));
    }
    let http = shared_port.as_ref().map(|server| server.connections.clone());
    starting.accept(listeners, context, http, limiter, next_conn);
    if let (Some(cluster), Some(database)) = (starting.parts.cluster.clone(), database.clone()) {
        let (pool, server) = (starting.parts.blocking_pool.clone(), starting.server.clone().into());
        let metrics = starting.parts.metrics.clone();
        starting.spawn(watch_nodes(cluster, database, pool, server, metrics));
    }
    let port_mapping = options
        .port_mapping
        .then(|| PortMapping::start([Some(address), websocket_address], read_again.clone()))
        .flatten();
    if let Some((path, templates)) = templates {
        let templates = Arc::new(templates);
        starting.server.do_send(NewTemplates(templates.clone()));
        starting.spawn(watch_templates(path, templates, starting.server.clone(), read_again));
    }
    let rules = starting.changes.subscribe();
    let Startup { parts, workers, server, auth, changes, log, mut tasks, listeners, .. } = starting;
    let interval = source.interval();
    let metrics = parts.metrics.clone();
    let reloading = reload::reload(source, interval, to_make, server.clone(), auth, changes, metrics);
    tasks.push(actix_rt::spawn(reloading));
    Ok(RunningServer {
        server,
        workers,
        address,
        websocket_address,
        tasks,
        listeners,
        parts,
        database,
        auth_server_listener,
        admin,
        admin_server,
        shared_port,
        certificates,
        first_admin,
        stop,
        options: options.clone(),
        port_mapping,
        log,
        people,
        reload,
        change,
        rules,
    })
}

impl<'a> Startup<'a> {
    /// Starts the workers and the actors that are there once.
    fn actors(
        options: &'a ServeOptions,
        parts: ServerDeps,
        rules: Arc<Rules>,
        listed: &[SessionSummary],
        log: Database,
    ) -> Startup<'a> {
        let workers: Vec<Arbiter> = (0..options.workers.max(1)).map(|_| Arbiter::new()).collect();
        let handles = workers.iter().map(Arbiter::handle).collect();
        let mut server = Server::new(rules.clone(), handles, parts.clone());
        let now = Timestamp::now();
        listed.iter().for_each(|session| server.take_listed(session, now));
        if let Some(session_dir) = &parts.session_dir {
            tracing::info!("{} stored sessions in {}", listed.len(), session_dir.path().display());
        }
        let server = server.start();
        let auth = Auth::new(rules.clone(), parts.blocking_pool.clone(), parts.http.clone()).start();
        let (changes, _) = watch::channel(rules);
        Renderer::remove_abandoned();
        Startup {
            options,
            parts,
            workers,
            server,
            auth,
            changes,
            log,
            tasks: Vec::new(),
            listeners: Vec::new(),
        }
    }

    fn spawn(&mut self, task: impl Future<Output = ()> + 'static) {
        self.tasks.push(actix_rt::spawn(task));
    }

    /// Fetches external bans now and then.
    fn fetch_bans(&mut self, change: &mpsc::Sender<Change>) -> Arc<Fetching> {
        let fetching = Arc::new(Fetching::default());
        let (http, rules) = (self.parts.http.clone(), self.changes.subscribe());
        self.spawn(reload::fetch_bans(http, rules, change.clone(), fetching.clone()));
        fetching
    }

    /// Deletes what has been kept for long enough, and tells the webhook of reports.
    fn keep_retention(&mut self, database: Option<Database>) {
        if let Some(database) = database {
            self.spawn(retention::purge_log(database, self.changes.subscribe()));
        }
        self.spawn(retention::purge_people(self.log.clone(), self.changes.subscribe()));
        self.spawn(webhook::tell_webhook(self.log.clone(), self.changes.subscribe()));
        if let Some(dir) = self.parts.session_dir.clone().filter(|_| self.options.keep_ended) {
            self.spawn(retention::keep_ended(dir, self.changes.subscribe()));
        }
        if let Some(events) = self.parts.events.clone() {
            self.spawn(retention::purge_events(events, self.changes.subscribe()));
        }
    }

    /// Starts to look at load and disks: the reserve on the disk counts without an admin API, too.
    fn monitor(&self, database: Option<&Database>) -> Addr<Monitor> {
        let parts = &self.parts;
        Monitor::begin(MonitorDeps {
            server: self.server.clone(),
            log: self.log.clone(),
            rules: self.changes.subscribe(),
            watched_disks: WatchedDisks::new(
                parts.session_dir.clone(),
                parts.recorder.clone(),
                database.and_then(Database::directory),
                self.options.templates.clone(),
            ),
            metrics: parts.metrics.clone(),
        })
    }

    fn admin_deps(
        &self,
        database: &Option<Database>,
        monitor: Addr<Monitor>,
        change: &mpsc::Sender<Change>,
        fetching: Arc<Fetching>,
        stop: &Arc<Notify>,
        first_admin: Option<Arc<FirstAdminLink>>,
    ) -> admin::AdminDeps {
        let (options, parts) = (self.options, &self.parts);
        admin::AdminDeps {
            server: self.server.clone(),
            auth: self.auth.clone(),
            monitor,
            database: database.clone(),
            log: self.log.clone(),
            rules: self.changes.subscribe(),
            change: change.clone(),
            fetching,
            blocking_pool: parts.blocking_pool.clone(),
            port: parts.announce_port,
            access: options.admin_access.clone(),
            trusted: options.trusted.clone(),
            setup: Setup { is_server: true, ..options.setup() },
            pictures: options.importer(),
            renderer: self.parts.renderer.clone(),
            stop: stop.clone(),
            session_dir: parts.session_dir.clone(),
            recorder: parts.recorder.clone(),
            events: parts.events.clone(),
            metrics: parts.metrics.clone(),
            first_admin,
            cluster: parts.cluster.clone(),
        }
    }

    /// Accepts connections from here on. `http` takes requests for the admin API at the WebSocket listeners.
    fn accept(
        &mut self,
        listeners: Listeners,
        context: ClientContext,
        http: Option<mpsc::Sender<HttpConnection>>,
        limiter: ConnectionLimiter,
        next_conn: Arc<AtomicU64>,
    ) {
        let options = self.options;
        let acceptor = Acceptor {
            workers: self.workers.iter().map(Arbiter::handle).collect(),
            context,
            rules: self.changes.subscribe(),
            limiter,
            websocket_access: Arc::new(WebSocketAccess::new(options.websocket_rules.clone())),
            http,
            next_conn,
        };
        let tcp = listeners.tcp.into_iter().map(|listener| (listener, Protocol::Tcp));
        let websocket = listeners.websocket.into_iter().map(|listener| (listener, Protocol::WebSocket));
        for (listener, kind) in tcp.chain(websocket) {
            self.listeners.push(actix_rt::spawn(acceptor.clone().accept(listener, kind)));
        }
    }
}

/// Starts the auth server.
fn start_provider(
    auth_server_listener: Option<(std::net::TcpListener, Database, SigningKey)>,
    parts: &ServerDeps,
    trusted: &Trusted,
) -> Result<Option<auth_server::RunningAuthServer>, StartError> {
    let Some((listener, database, key)) = auth_server_listener else { return Ok(None) };
    let failed = |source| StartError::Http { option: "--extauth-provider", source };
    let (blocking_pool, metrics) = (parts.blocking_pool.clone(), parts.metrics.clone());
    let running = auth_server::start(listener, database, key, blocking_pool, trusted.clone(), metrics)
        .map_err(failed)?;
    tracing::info!("auth server at http://{}/", running.address);
    Ok(Some(running))
}

/// Serves the admin API at a listener of its own.
pub(super) fn start_admin(
    admin: &Admin,
    listener: std::net::TcpListener,
    options: &ServeOptions,
    certificates: &Certificates,
) -> Result<admin::AdminServer, StartError> {
    let failed = |source| StartError::Http { option: "--web-admin-port", source };
    let certificates = certificates.clone().filter(|_| options.admin_tls);
    let scheme = if certificates.is_some() { "https" } else { "http" };
    let running = admin.listen(listener, certificates).map_err(failed)?;
    tracing::info!("admin API at {scheme}://{}/api/", running.address);
    if !options.admin_access.needs_login() {
        tracing::info!(
            "admin API: no login is needed from this machine; --web-admin-auth USER:PASSWORD or --web-admin-login asks for one"
        );
    }
    Ok(running)
}

/// Ends the link for the first administrator when it expires.
async fn end_link(link: Arc<FirstAdminLink>) {
    tokio::time::sleep(first_admin::LIFETIME).await;
    link.end();
}
