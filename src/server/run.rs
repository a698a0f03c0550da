//! Running a server: workers, listeners, and the end.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use actix_rt::task::JoinHandle;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::entrance::{Entrance, Inherited, Kind, Listeners};
use super::list_server::ListServers;
use super::reload::{self, Fetching};
use super::{NewTemplates, Server, ServerParts, Stop};
use crate::admin::observer::{Observer, Watched};
use crate::admin::{self, AccessRules};
use crate::auth::provider::{self, KeyError};
use crate::auth::{Auth, Hashing};
use crate::client::actor::ClientContext;
use crate::clock::{Now, every};
use crate::config::{RuleSource, Rules, SourceError};
use crate::db::{Database, DbError};
use crate::storage::folder::{Folder, FolderError};
use crate::storage::recorder::Recorder;
use crate::storage::template::Templates;
use crate::trace::Trace;
use crate::transport::accept::WebSocketRules;
use crate::transport::gate::Gate;
use crate::transport::tls::{self, CertificateError, CertificateFiles};
use crate::transport::trust::Trusted;
use crate::transport::{ListenError, listen};

/// How often a source is looked at that cannot change by itself.
const NO_INTERVAL: Duration = Duration::from_secs(3600);
/// How often the directory of templates is looked at.
const TEMPLATE_INTERVAL: Duration = Duration::from_secs(2);

/// What to serve, and where.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {
    /// Where the rules come from; a changed file counts within seconds.
    pub source: RuleSource,
    /// Address to listen on, all interfaces without.
    pub listen: Option<IpAddr>,
    /// TCP port, 0 for any.
    pub port: u16,
    /// Address to listen on for WebSocket, all interfaces without.
    pub websocket_listen: Option<IpAddr>,
    /// Port for WebSocket, 0 for any; without, there is none.
    pub websocket_port: Option<u16>,
    /// Listeners that are open already, in place of those above.
    pub inherited: Option<Arc<Inherited>>,
    /// Certificate: connections are encrypted.
    pub certificate: Option<CertificateFiles>,
    /// What WebSocket connections must be like.
    pub websocket_rules: WebSocketRules,
    /// Proxies that are believed when they say whom they speak for.
    pub trusted: Trusted,
    /// Worker threads.
    pub workers: usize,
    /// Directory of stored sessions; in memory only without.
    pub sessions: Option<PathBuf>,
    /// Directory of templates.
    pub templates: Option<PathBuf>,
    /// Where sessions are recorded to, with placeholders.
    pub record: Option<String>,
    /// Port that list servers are told; that of the listener if it is 0.
    pub announce_port: u16,
    /// List servers of the own network can be used, too.
    pub announce_private: bool,
    /// Where to be an auth server, with the accounts of the database.
    pub extauth_provider: Option<SocketAddr>,
    /// Port of the admin API, 0 for any; without, there is none.
    pub admin_port: Option<u16>,
    /// Address that the admin API listens on.
    pub admin_listen: Option<IpAddr>,
    /// Who may ask the admin API; without an address it listens on all interfaces only if other machines may.
    pub admin_access: AccessRules,
    /// Where inputs are recorded, to be replayed.
    pub trace_input: Option<PathBuf>,
}

/// A server that runs.
pub struct Running {
    server: Addr<Server>,
    workers: Vec<Arbiter>,
    address: SocketAddr,
    websocket_address: Option<SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
    parts: ServerParts,
    database: Option<Database>,
    provider: Option<provider::Running>,
    admin: Option<admin::Running>,
    /// What the admin API is made of, if it is wanted, and where it listens.
    admin_parts: Option<(SocketAddr, admin::Parts)>,
    log: Database,
    rules: watch::Receiver<Arc<Rules>>,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration file or database cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It cannot listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The certificate cannot be used.
    #[error("--ssl-cert, --ssl-key: {0}")]
    Certificate(#[from] CertificateError),
    /// The directory of stored sessions cannot be used.
    #[error("--sessions: {0}")]
    Sessions(#[from] FolderError),
    /// The directory of templates cannot be used.
    #[error("--templates: cannot read {path}: {source}")]
    Templates {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The auth server cannot listen.
    #[error("--extauth-provider: cannot listen on {address}: {source}")]
    Provider {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The auth server has no key.
    #[error("--extauth-provider: {0}")]
    ProviderKey(#[from] KeyError),
    /// Others than the machine itself could administer without a login.
    #[error(
        "--web-admin-access: nobody would have to log in; give --web-admin-auth USER:PASSWORD or --web-admin-login, \
         or --web-admin-open if a proxy asks for a login and nobody else reaches the port"
    )]
    OpenAdmin,
    /// The admin API cannot listen.
    #[error("--web-admin-port: cannot listen on {address}: {source}")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// There is no place for the log.
    #[error("log: {0}")]
    Log(#[from] DbError),
    /// Inputs cannot be recorded.
    #[error("--trace-input: cannot make {path}: {source}")]
    Trace {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no thread for recordings.
    #[error("--record: {0}")]
    Record(io::Error),
}

/// Starts a server inside a running actix system.
///
/// # Errors
/// When the configuration file cannot be read, or it cannot listen.
pub fn start(options: &ServeOptions) -> Result<Running, StartError> {
    if options.admin_port.is_some() && options.admin_access.lets_strangers_in() {
        return Err(StartError::OpenAdmin);
    }
    let web_sockets =
        options.inherited.as_ref().map_or(options.websocket_port.is_some(), |i| !i.websocket.is_empty());
    let mut source = RuleSource { web_sockets, ..options.source.clone() }.open()?;
    let rules = Arc::new(source.read()?);
    let mut parts = open_storage(options, &rules)?;
    if let Some(path) = &options.trace_input {
        let trace = Trace::begin(path).map_err(|source| StartError::Trace { path: path.clone(), source })?;
        parts.trace = Some(trace);
    }
    let templates = match &options.templates {
        Some(path) => {
            let scanned = scan_templates(&Templates::default(), path);
            Some(scanned.map_err(|source| StartError::Templates { path: path.clone(), source })?)
        }
        None => None,
    };
    let Listeners { tcp, websocket } = open_listeners(options)?;
    let named = |source| ListenError { address: "the listener".into(), source };
    let address_of = |l: &TcpListener| l.local_addr().map_err(named);
    let websocket_address = websocket.iter().map(address_of).next().transpose()?;
    let address = match tcp.first() {
        Some(listener) => address_of(listener)?,
        None => websocket_address.unwrap_or((Ipv4Addr::UNSPECIFIED, 0).into()),
    };
    parts.announce_port = if options.announce_port > 0 { options.announce_port } else { address.port() };
    let workers: Vec<Arbiter> = (0..options.workers.max(1)).map(|_| Arbiter::new()).collect();
    let handles: Vec<ArbiterHandle> = workers.iter().map(Arbiter::handle).collect();
    let mut server = Server::new(rules.clone(), handles.clone(), parts.clone());
    if let Some(folder) = &parts.folder {
        let now = Now::get();
        let unreadable = |source| FolderError::Io { path: folder.path().to_owned(), source };
        let archive = rules.settings().archive;
        folder.list(archive, |session| server.take_listed(&session, now)).map_err(unreadable)?;
        tracing::info!("{} stored sessions in {}", server.session_count(), folder.path().display());
    }
    let server = server.start();
    let auth = Auth::new(rules.clone(), parts.hashing.clone(), parts.http.clone()).start();
    let (changes, current) = watch::channel(rules.clone());
    let mut tasks = Vec::new();
    let certificate = match &options.certificate {
        Some(files) => {
            let (current, certificate) = watch::channel(files.load()?);
            tasks.push(actix_rt::spawn(tls::watch_files(files.clone(), current)));
            Some(certificate)
        }
        None => None,
    };
    let trace = parts.trace.clone();
    let websocket_port = websocket_address.map(|address| address.port());
    let context = ClientContext {
        rules,
        server: server.clone(),
        auth: auth.clone(),
        certificate,
        trace,
        websocket_port,
    };
    let entrance = Entrance {
        workers: handles,
        context,
        rules: current,
        gate: Gate::new(options.trusted.clone()),
        websocket_rules: Arc::new(options.websocket_rules.clone()),
    };
    for (listener, kind) in
        tcp.into_iter().map(|l| (l, Kind::Wire)).chain(websocket.into_iter().map(|l| (l, Kind::WebSocket)))
    {
        tasks.push(actix_rt::spawn(entrance.clone().accept(listener, kind)));
    }
    let database = source.database().cloned();
    let provider = start_provider(options, database.as_ref(), &parts.hashing)?;
    if let Some(database) = database.clone() {
        tasks.push(actix_rt::spawn(reload::purge_log(database, changes.subscribe())));
    }
    let (change, to_make) = mpsc::channel(16);
    let fetching = Arc::new(Fetching::default());
    let bans = reload::fetch_bans(parts.http.clone(), changes.subscribe(), change.clone(), fetching.clone());
    tasks.push(actix_rt::spawn(bans));
    let (rules, current) = (changes.subscribe(), changes.subscribe());
    let log = database.clone().map_or_else(Database::in_memory, Ok)?;
    let mut places: Vec<PathBuf> = parts.folder.iter().map(|folder| folder.path().to_owned()).collect();
    places.extend(database.as_ref().and_then(Database::folder));
    let watched = Watched { server: server.clone(), log: log.clone(), rules: changes.subscribe(), places };
    let observer = Observer::begin(watched);
    let admin_parts = options.admin_port.map(|port| {
        let access = options.admin_access.clone();
        let everywhere = IpAddr::from(Ipv6Addr::UNSPECIFIED);
        let usual = if access.networks.is_empty() { Ipv4Addr::LOCALHOST.into() } else { everywhere };
        let ip = options.admin_listen.unwrap_or(usual);
        let parts = admin::Parts {
            server: server.clone(),
            auth: auth.clone(),
            observer,
            database: database.clone(),
            log: log.clone(),
            rules,
            change,
            fetching,
            hashing: parts.hashing.clone(),
            port: parts.announce_port,
            access,
            trusted: options.trusted.clone(),
        };
        (SocketAddr::new(ip, port), parts)
    });
    let admin = admin_parts.clone().map(start_admin).transpose()?;
    let every = source.interval().unwrap_or(NO_INTERVAL);
    tasks.push(actix_rt::spawn(reload::reload(source, every, to_make, server.clone(), auth, changes)));
    if let (Some(path), Some(templates)) = (&options.templates, templates) {
        let templates = Arc::new(templates);
        server.do_send(NewTemplates(templates.clone()));
        tasks.push(actix_rt::spawn(watch_templates(path.clone(), templates, server.clone())));
    }
    Ok(Running {
        server,
        workers,
        address,
        websocket_address,
        tasks,
        parts,
        database,
        provider,
        admin,
        admin_parts,
        log,
        rules: current,
    })
}

/// Opens the listeners, or takes over those that are open.
fn open_listeners(options: &ServeOptions) -> Result<Listeners, StartError> {
    if let Some(inherited) = &options.inherited {
        return Ok(inherited.open()?);
    }
    let tcp = vec![listen(options.listen, options.port)?];
    let websocket = options.websocket_port.map(|port| listen(options.websocket_listen, port)).transpose()?;
    Ok(Listeners { tcp, websocket: websocket.into_iter().collect() })
}

/// Starts the auth server of our own, if it is wanted.
fn start_provider(
    options: &ServeOptions,
    database: Option<&Database>,
    hashing: &Hashing,
) -> Result<Option<provider::Running>, StartError> {
    let (Some(address), Some(database)) = (options.extauth_provider, database) else { return Ok(None) };
    let key = provider::signing_key(database)?;
    let failed = |source| StartError::Provider { address, source };
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    let running = provider::start(listener, database.clone(), key, hashing.clone(), options.trusted.clone());
    let running = running.map_err(failed)?;
    tracing::info!("auth server at http://{}/", running.address);
    Ok(Some(running))
}

/// Starts the admin API.
fn start_admin((address, parts): (SocketAddr, admin::Parts)) -> Result<admin::Running, StartError> {
    let failed = |source| StartError::Admin { address, source };
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    let running = admin::start(listener, parts).map_err(failed)?;
    tracing::info!("admin API at http://{}/api/", running.address);
    Ok(running)
}

/// Opens what sessions are stored in and recorded to.
fn open_storage(options: &ServeOptions, rules: &Rules) -> Result<ServerParts, StartError> {
    let list_servers = ListServers::new(options.announce_private);
    if options.announce_private && !rules.settings().announce_whitelist {
        tracing::warn!(
            "--announce-private without announceWhitelist: everybody who hosts can have requests made in the own network"
        );
    }
    let mut parts = ServerParts { list_servers, ..ServerParts::default() };
    if let Some(path) = &options.sessions {
        let folder = Folder::open(path, Duration::from_millis(rules.settings().sync_interval.0))?;
        parts.folder = Some(folder);
    }
    if let Some(pattern) = &options.record {
        parts.recorder = Some(Arc::new(Recorder::start(pattern).map_err(StartError::Record)?));
    }
    Ok(parts)
}

/// Looks through the directory of templates and says what is wrong there.
fn scan_templates(known: &Templates, path: &Path) -> io::Result<Templates> {
    let (templates, warnings) = known.scan(path)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(templates)
}

/// Looks through the directory of templates again and again.
async fn watch_templates(path: PathBuf, mut known: Arc<Templates>, server: Addr<Server>) {
    let mut interval = every(TEMPLATE_INTERVAL);
    loop {
        interval.tick().await;
        let (path, before) = (path.clone(), known.clone());
        match actix_rt::task::spawn_blocking(move || scan_templates(&before, &path)).await {
            Ok(Ok(templates)) => {
                let changed = !templates.same_as(&known);
                known = Arc::new(templates);
                if changed {
                    tracing::info!("templates have changed");
                    server.do_send(NewTemplates(known.clone()));
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, "cannot read the templates"),
            Err(error) => tracing::error!(%error, "looking at the templates failed"),
        }
    }
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for WebSocket, if it does.
    pub fn websocket_address(&self) -> Option<SocketAddr> {
        self.websocket_address
    }

    /// The server's actor.
    pub fn server(&self) -> &Addr<Server> {
        &self.server
    }

    /// Where the auth server listens, if there is one.
    pub fn provider_address(&self) -> Option<SocketAddr> {
        self.provider.as_ref().map(|p| p.address)
    }

    /// Where the admin API listens, if there is one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|a| a.address)
    }

    /// Ends the admin API and begins it again, for example when its interface has come back.
    ///
    /// # Errors
    /// When it cannot listen any more; there is none then.
    pub async fn restart_admin(&mut self) -> Result<(), StartError> {
        if let Some(admin) = self.admin.take() {
            admin.handle.stop(false).await;
        }
        self.admin = self.admin_parts.clone().map(start_admin).transpose()?;
        Ok(())
    }

    /// Where the log is kept: in the configuration database, or the newest of it in memory.
    pub fn log(&self) -> &Database {
        &self.log
    }

    /// The rules that are in force.
    pub fn rules(&self) -> watch::Receiver<Arc<Rules>> {
        self.rules.clone()
    }

    /// The configuration database, if there is one.
    pub fn database(&self) -> Option<&Database> {
        self.database.as_ref()
    }

    /// Stops: nobody else is let in, everybody is told, threads end.
    pub async fn stop(self) {
        for task in &self.tasks {
            task.abort();
        }
        // If the actor is gone there is nobody left to tell.
        let _ = self.server.send(Stop).await;
        if let Some(provider) = self.provider {
            provider.handle.stop(false).await;
        }
        if let Some(admin) = self.admin {
            admin.handle.stop(false).await;
        }
        for worker in self.workers {
            worker.stop();
        }
        let ServerParts { folder, recorder, trace, .. } = self.parts;
        let closed = actix_rt::task::spawn_blocking(move || {
            if let Some(trace) = trace {
                trace.finish();
            }
            if let Some(recorder) = recorder {
                recorder.stop();
            }
            if let Some(folder) = folder {
                folder.close();
            }
        });
        if let Err(error) = closed.await {
            tracing::error!(%error, "closing the files failed");
        }
    }
}
