//! Starts and stops a server: workers, listeners, background tasks.

mod ended;
mod port_mapping;
mod prepare;
mod setup;
mod templates;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use actix::prelude::*;
use actix_rt::task::JoinHandle;
use ed25519_dalek::SigningKey;
use tokio::sync::{Notify, mpsc, watch};

use crate::acme::AcmeOptions;
use crate::actors::auth::Auth;
use crate::actors::client::connection::ClientContext;
use crate::actors::reload::{self, Change, Fetching};
use crate::actors::server::acceptor::{Acceptor, Inherited, Protocol};
use crate::actors::server::{NewTemplates, Server, ServerDeps, Stop};
use crate::admin::first_admin::{self, FirstAdminLink};
use crate::admin::monitor::{Monitor, MonitorDeps};
use crate::admin::{self, AccessRules, Admin};
use crate::auth_server;
use crate::config::{RuleSource, Rules};
use crate::db::Database;
use crate::doctor::Setup;
use crate::metrics::Metrics;
use crate::rules::time::Timestamp;
use crate::transport::accept::{WebSocketAccess, WebSocketRules};
use crate::transport::connection_limiter::ConnectionLimiter;
use crate::transport::tls::{self, CertificateFiles, LoadedCertificate};
use crate::transport::trust::Trusted;
use crate::web::shared_port::SharedPortServer;
use port_mapping::PortMapping;
pub use prepare::StartError;
use prepare::{CertificateSource, Prepared, listen_for_admin};
use templates::watch_templates;

/// Polling interval of a source that cannot change.
const NO_INTERVAL: Duration = Duration::from_secs(3600);

/// Options of a server.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {
    /// Source of the rules; changes take effect within seconds.
    pub source: RuleSource,
    /// Address for TCP; all interfaces without.
    pub listen: Option<IpAddr>,
    /// TCP port, 0 for any free one.
    pub port: u16,
    /// Do not listen for TCP, only for WebSocket.
    pub no_tcp: bool,
    /// Address for WebSocket; all interfaces without.
    pub websocket_listen: Option<IpAddr>,
    /// WebSocket port, 0 for any free one; `None` to disable.
    pub websocket_port: Option<u16>,
    /// Ask the router to forward the ports of these listeners.
    pub port_mapping: bool,
    /// Inherited listeners, instead of those above.
    pub inherited: Option<Arc<Inherited>>,
    /// Certificate, to enable TLS.
    pub certificate: Option<CertificateFiles>,
    /// Certificates from an authority, instead of one in files.
    pub acme: Option<AcmeOptions>,
    /// Requirements for WebSocket connections.
    pub websocket_rules: WebSocketRules,
    /// Trusted proxies.
    pub trusted: Trusted,
    /// Number of worker threads.
    pub workers: usize,
    /// Session directory; sessions are in memory only without.
    pub sessions: Option<PathBuf>,
    /// Ended sessions are kept for a while, as the settings say.
    pub keep_ended: bool,
    /// File whose modification time is that of the last backup.
    pub last_backup: Option<PathBuf>,
    /// Template directory.
    pub templates: Option<PathBuf>,
    /// Path pattern of recordings.
    pub record: Option<String>,
    /// Port in announcements, 0 for that of the listener.
    pub announce_port: u16,
    /// Allow list servers in private networks.
    pub announce_private: bool,
    /// Address of the auth server, with the accounts of the database.
    pub extauth_provider: Option<SocketAddr>,
    /// Port of the admin API, 0 for any free one; `None` to disable.
    pub admin_port: Option<u16>,
    /// Address of the admin API.
    pub admin_listen: Option<IpAddr>,
    /// Serve the admin API at the WebSocket listeners, too.
    pub admin_on_websocket: bool,
    /// Access to the admin API. Without an address it listens on all interfaces only if networks are allowed.
    pub admin_access: AccessRules,
    /// File for the one-time link that makes the first administrator; without one it is only printed.
    pub first_admin_file: Option<PathBuf>,
    /// File for a trace of all inputs.
    pub trace_input: Option<PathBuf>,
    /// Where the server counts. By default these are metrics of its own.
    pub metrics: Arc<Metrics>,
}

/// A running server.
pub struct RunningServer {
    server: Addr<Server>,
    workers: Vec<Arbiter>,
    address: SocketAddr,
    websocket_address: Option<SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
    parts: ServerDeps,
    database: Option<Database>,
    auth_server_listener: Option<auth_server::RunningAuthServer>,
    /// The admin API, if it is enabled.
    admin: Option<Admin>,
    admin_server: Option<admin::AdminServer>,
    /// Serves the admin API at the WebSocket listeners.
    shared_port: Option<SharedPortServer>,
    first_admin: Option<Arc<FirstAdminLink>>,
    /// Notified when the admin API is asked to stop the server.
    stop: Arc<Notify>,
    options: ServeOptions,
    port_mapping: Option<PortMapping>,
    log: Database,
    /// Triggers a reload of files.
    reload: watch::Sender<()>,
    change: mpsc::Sender<Change>,
    rules: watch::Receiver<Arc<Rules>>,
}

/// Starts a server inside a running actix system.
///
/// # Errors
/// When something cannot be read, opened or created; nothing is running then.
pub fn start(options: &ServeOptions) -> Result<RunningServer, StartError> {
    let prepared = Prepared::new(options)?;
    let Prepared { source, rules, parts, listed, templates, certificate, listeners, .. } = prepared;
    let Prepared {
        address, websocket_address, admin_listener, auth_server_listener, log, first_admin, ..
    } = prepared;
    let (reload, read_again) = watch::channel(());
    let mut tasks = Vec::new();
    let workers: Vec<Arbiter> = (0..options.workers.max(1)).map(|_| Arbiter::new()).collect();
    let handles: Vec<ArbiterHandle> = workers.iter().map(Arbiter::handle).collect();
    let mut server = Server::new(rules.clone(), handles.clone(), parts.clone());
    let now = Timestamp::now();
    listed.iter().for_each(|session| server.take_listed(session, now));
    if let Some(session_dir) = &parts.session_dir {
        tracing::info!("{} stored sessions in {}", listed.len(), session_dir.path().display());
    }
    let server = server.start();
    let auth = Auth::new(rules.clone(), parts.blocking_pool.clone(), parts.http.clone()).start();
    let (changes, _) = watch::channel(rules.clone());
    let certificate = certificate.map(|source| {
        let (current, certificate) = watch::channel(source.certificate());
        let (reload, metrics) = (read_again.clone(), parts.metrics.clone());
        tasks.push(match source {
            CertificateSource::Files(files, LoadedCertificate { stamp, .. }) => {
                actix_rt::spawn(tls::watch_files(files, stamp, current, reload, metrics))
            }
            CertificateSource::Acme(acme) => actix_rt::spawn(acme.run(current, reload, metrics)),
        });
        certificate
    });
    let database = source.database().cloned();
    if let Some(database) = database.clone() {
        tasks.push(actix_rt::spawn(reload::purge_log(database, changes.subscribe())));
    }
    let (change, to_make) = mpsc::channel(16);
    let fetching = Arc::new(Fetching::default());
    let bans = reload::fetch_bans(parts.http.clone(), changes.subscribe(), change.clone(), fetching.clone());
    tasks.push(actix_rt::spawn(bans));
    let mut watched_dirs: Vec<PathBuf> =
        parts.session_dir.iter().map(|session_dir| session_dir.path().to_owned()).collect();
    watched_dirs.extend(database.as_ref().and_then(Database::directory));
    let watched = MonitorDeps {
        server: server.clone(),
        log: log.clone(),
        rules: changes.subscribe(),
        watched_dirs,
        metrics: parts.metrics.clone(),
    };
    let stop = Arc::<Notify>::default();
    let admin_parts = admin::AdminDeps {
        server: server.clone(),
        auth: auth.clone(),
        monitor: Monitor::begin(watched),
        database: database.clone(),
        log: log.clone(),
        rules: changes.subscribe(),
        change: change.clone(),
        fetching,
        blocking_pool: parts.blocking_pool.clone(),
        port: parts.announce_port,
        access: options.admin_access.clone(),
        trusted: options.trusted.clone(),
        setup: Setup { is_server: true, ..options.setup() },
        stop: stop.clone(),
        session_dir: parts.session_dir.clone(),
        metrics: parts.metrics.clone(),
        first_admin: first_admin.clone(),
    };
    let current = changes.subscribe();
    if let Some(dir) = parts.session_dir.clone().filter(|_| options.keep_ended) {
        tasks.push(actix_rt::spawn(ended::keep_ended(dir, changes.subscribe())));
    }
    let auth_server_listener = start_provider(auth_server_listener, &parts, &options.trusted)?;
    let is_enabled = options.admin_port.is_some() || options.admin_on_websocket;
    let admin = is_enabled.then(|| Admin::new(admin_parts));
    let listening = admin.as_ref().zip(admin_listener);
    let admin_server =
        listening.map(|(admin, listener)| start_admin(admin, listener, options)).transpose()?;
    let shared_port = admin.as_ref().filter(|_| options.admin_on_websocket).map(Admin::share_port);
    let trace = parts.trace.clone();
    let websocket_port = websocket_address.map(|address| address.port());
    let context = ClientContext {
        rules: rules.clone(),
        server: server.clone().into(),
        auth: auth.clone(),
        certificate,
        trace,
        websocket_port,
        metrics: parts.metrics.clone(),
    };
    let acceptor = Acceptor {
        workers: handles,
        context,
        rules: changes.subscribe(),
        limiter: ConnectionLimiter::new(options.trusted.clone(), parts.metrics.clone()),
        websocket_access: Arc::new(WebSocketAccess::new(options.websocket_rules.clone())),
        http: shared_port.as_ref().map(|server| server.connections.clone()),
        next_conn: Arc::new(AtomicU64::new(1)),
    };
    let tcp = listeners.tcp.into_iter().map(|listener| (listener, Protocol::Tcp));
    let websocket = listeners.websocket.into_iter().map(|listener| (listener, Protocol::WebSocket));
    for (listener, kind) in tcp.chain(websocket) {
        tasks.push(actix_rt::spawn(acceptor.clone().accept(listener, kind)));
    }
    let port_mapping = options
        .port_mapping
        .then(|| PortMapping::start([Some(address), websocket_address], read_again.clone()))
        .flatten();
    if let Some(link) = first_admin.clone() {
        tasks.push(actix_rt::spawn(end_link(link)));
    }
    let interval = source.interval().unwrap_or(NO_INTERVAL);
    tasks.push(actix_rt::spawn(reload::reload(source, interval, to_make, server.clone(), auth, changes)));
    if let Some((path, templates)) = templates {
        let templates = Arc::new(templates);
        server.do_send(NewTemplates(templates.clone()));
        tasks.push(actix_rt::spawn(watch_templates(path, templates, server.clone(), read_again)));
    }
    Ok(RunningServer {
        server,
        workers,
        address,
        websocket_address,
        tasks,
        parts,
        database,
        auth_server_listener,
        admin,
        admin_server,
        shared_port,
        first_admin,
        stop,
        options: options.clone(),
        port_mapping,
        log,
        reload,
        change,
        rules: current,
    })
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
fn start_admin(
    admin: &Admin,
    listener: std::net::TcpListener,
    options: &ServeOptions,
) -> Result<admin::AdminServer, StartError> {
    let failed = |source| StartError::Http { option: "--web-admin-port", source };
    let running = admin.listen(listener).map_err(failed)?;
    tracing::info!("admin API at http://{}/api/", running.address);
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

impl RunningServer {
    /// Address of the TCP listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Address of the WebSocket listener.
    pub fn websocket_address(&self) -> Option<SocketAddr> {
        self.websocket_address
    }

    /// The Server actor.
    pub fn server(&self) -> &Addr<Server> {
        &self.server
    }

    /// Address of the auth server.
    pub fn provider_address(&self) -> Option<SocketAddr> {
        self.auth_server_listener.as_ref().map(|p| p.address)
    }

    /// Address of the admin API's own listener.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_server.as_ref().map(|a| a.address)
    }

    /// The one-time link that makes the first administrator; `None` if there is one, or the link cannot be used.
    pub fn first_admin_link(&self) -> Option<&str> {
        self.first_admin.as_ref().map(|link| link.url())
    }

    /// Restarts the admin API, for example when its interface has come back.
    ///
    /// # Errors
    /// When it cannot listen; it is stopped then.
    pub async fn restart_admin(&mut self) -> Result<(), StartError> {
        if let Some(server) = self.admin_server.take() {
            server.handle.stop(false).await;
        }
        if let (Some(port), Some(admin)) = (self.options.admin_port, &self.admin) {
            let listener = listen_for_admin(&self.options, port)?;
            self.admin_server = Some(start_admin(admin, listener, &self.options)?);
        }
        Ok(())
    }

    /// Reloads configuration, certificate and templates now, whether they have changed or not.
    pub fn read_again(&self) {
        tracing::info!("reading settings, certificate and templates again");
        // The channel closes at shutdown.
        let _ = self.change.try_send(Change::ReadAgain);
        self.reload.send_replace(());
    }

    /// The database of the log: the configuration database, or one in memory.
    pub fn log(&self) -> &Database {
        &self.log
    }

    /// Waits until the admin API is asked to stop the server.
    pub async fn stop_requested(&self) {
        self.stop.notified().await;
    }

    /// Rules in force.
    pub fn rules(&self) -> watch::Receiver<Arc<Rules>> {
        self.rules.clone()
    }

    /// The configuration database.
    pub fn database(&self) -> Option<&Database> {
        self.database.as_ref()
    }

    /// Shuts down: stops accepting, tells everybody, ends threads.
    pub async fn stop(self) {
        for task in &self.tasks {
            task.abort();
        }
        // The actor may have stopped already.
        let _ = self.server.send(Stop).await;
        // After the sessions: a router may be slow.
        if let Some(port_mapping) = self.port_mapping {
            port_mapping.stop().await;
        }
        if let Some(link) = &self.first_admin {
            link.end();
        }
        if let Some(auth_server_listener) = self.auth_server_listener {
            auth_server_listener.handle.stop(false).await;
        }
        if let Some(server) = self.admin_server {
            server.handle.stop(false).await;
        }
        if let Some(server) = self.shared_port {
            server.stop();
        }
        for worker in self.workers {
            worker.stop();
        }
        let ServerDeps { session_dir, recorder, trace, .. } = self.parts;
        let closed = actix_rt::task::spawn_blocking(move || {
            if let Some(trace) = trace {
                trace.finish();
            }
            if let Some(recorder) = recorder {
                recorder.stop();
            }
            if let Some(session_dir) = session_dir {
                session_dir.close();
            }
        });
        if let Err(error) = closed.await {
            tracing::error!(%error, "closing the files failed");
        }
    }
}
