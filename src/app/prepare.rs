//! Everything that can fail at a start, before the first actor runs, so that a failure is one line with a remedy.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use tokio::net::TcpListener;

use super::ServeOptions;
use super::certificates::CertificateSource;
use crate::acme::AcmeError;
use crate::actors::server::ServerDeps;
use crate::actors::server::acceptor::Listeners;
use crate::actors::server::list_server::ListServers;
use crate::admin::first_admin::{self, FirstAdminLink};
use crate::auth_server::{self, KeyError};
use crate::blocking::BlockingPool;
use crate::cluster::{Cluster, ClusterError};
use crate::config::{OpenSource, RuleSource, Rules, SourceError};
use crate::db::{Database, DbError};
use crate::log::NOT_STORED;
use crate::rules::metadata::SessionSummary;
use crate::rules::session::KeepGenerations;
use crate::rules::time::Timestamp;
use crate::storage::event_store::EventStore;
use crate::storage::recorder::{self, Recorder};
use crate::storage::session_dir::{SessionDir, SessionDirError};
use crate::storage::shared::SharedError;
use crate::storage::template::Templates;
use crate::trace::Trace;
use crate::transport::tls::CertificateError;
use crate::transport::{ListenError, listen, listen_std};

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration file or database cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It cannot listen.
    #[error("{option}: {error}{}", remedy(&error.source))]
    Listen {
        /// The option that says where.
        option: &'static str,
        /// Where, and why not.
        error: ListenError,
    },
    /// Certificates cannot be got from an authority.
    #[error("--acme: {0}")]
    Acme(#[from] AcmeError),
    /// The certificate cannot be used.
    #[error("--ssl-cert, --ssl-key: {0}")]
    Certificate(#[from] CertificateError),
    /// The directory of stored sessions cannot be used.
    #[error("--sessions: {0}; name another directory, or use --in-memory")]
    Sessions(#[from] SessionDirError),
    /// The directory of templates cannot be used.
    #[error("--templates: cannot read {path}: {source}; name a directory")]
    Templates {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The auth server has no key.
    #[error("--extauth-provider: {0}; name another --database")]
    ProviderKey(#[from] KeyError),
    /// The thread that records who was in a session cannot be started.
    #[error("cannot start the thread for records of people: {0}")]
    People(io::Error),
    /// There is no place for the log.
    #[error("log: {0}")]
    Log(#[from] DbError),
    /// Inputs cannot be recorded.
    #[error("--trace-input: cannot make {path}: {source}; name a new file")]
    Trace {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Sessions cannot be recorded.
    #[error("--record: cannot write to {path}: {source}")]
    Record {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There are no accounts for the auth server.
    #[error(
        "--extauth-provider: it needs accounts; give --database FILE or --data DIR, without --in-memory and --config"
    )]
    NoAccounts,
    /// There is no WebSocket listener.
    #[error("{0}: it needs --websocket-port")]
    NeedsWebSocket(&'static str),
    /// Servers of a cluster find one another in its database.
    #[error("--cluster-listen: it needs --cluster")]
    NeedsCluster,
    /// Servers that share sessions tell one another of them.
    #[error("--cluster-sessions: it needs --cluster and --cluster-listen")]
    NeedsLinks,
    /// Copies of shared sessions have no place.
    #[error("--cluster-sessions: it needs --sessions DIR or --data DIR, for copies of the sessions")]
    NeedsSessions,
    /// Shared sessions cannot be read.
    #[error("--cluster-sessions: {0}")]
    Shared(SharedError),
    /// The links have no key.
    #[error("--cluster-listen: {0}")]
    Cluster(#[from] ClusterError),
    /// A server of HTTP cannot be started.
    #[error("{option}: {source}")]
    Http {
        /// The option that asks for it.
        option: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// A remedy for common errors.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another program listens there: end it, or choose another port",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need the capability CAP_NET_BIND_SERVICE (docs/guide/service.md): give it, or \
             choose another port and forward to it"
        }
        io::ErrorKind::AddrNotAvailable => "; name an address of this machine, or none for all",
        _ => "",
    }
}

/// Everything that a server needs, opened and read.
pub(super) struct Prepared {
    pub(super) source: OpenSource,
    pub(super) rules: Arc<Rules>,
    pub(super) parts: ServerDeps,
    /// Stored sessions.
    pub(super) listed: Vec<SessionSummary>,
    pub(super) templates: Option<(PathBuf, Templates)>,
    pub(super) certificate: Option<CertificateSource>,
    pub(super) listeners: Listeners,
    pub(super) address: SocketAddr,
    pub(super) websocket_address: Option<SocketAddr>,
    pub(super) admin_listener: Option<std::net::TcpListener>,
    pub(super) auth_server_listener: Option<(std::net::TcpListener, Database, SigningKey)>,
    /// Where the log is kept.
    pub(super) log: Database,
    pub(super) first_admin: Option<Arc<FirstAdminLink>>,
    /// For node links.
    pub(super) link_listener: Option<TcpListener>,
}

impl Prepared {
    /// Opens and reads everything.
    pub(super) fn new(options: &ServeOptions) -> Result<Prepared, StartError> {
        if options.admin_port.is_some() && options.admin_access.is_open_by_mistake() {
            tracing::warn!(
                "--web-admin-access: the admin API refuses other machines, because nobody would have to log in; give \
                 --web-admin-auth USER:PASSWORD or --web-admin-login, or --web-admin-open if a proxy asks for a login \
                 and nobody else reaches the port"
            );
        }
        let web_sockets =
            options.inherited.as_ref().map_or(options.websocket_port.is_some(), |i| !i.websocket.is_empty());
        let mut source = RuleSource { web_sockets, ..options.source.clone() }.open()?;
        let rules = Arc::new(source.read()?);
        let (mut parts, mut listed) = open_sessions(options, &rules)?;
        let templates = match &options.templates {
            Some(path) => Some((path.clone(), scan_templates(&Templates::new(options.importer()), path)?)),
            None => None,
        };
        check_websocket(options, web_sockets)?;
        let listeners = open_listeners(options)?;
        let certificate = CertificateSource::open(options, &listeners)?;
        let websocket_address = listeners.websocket.iter().map(address_of).next().transpose()?;
        let address = match listeners.tcp.first() {
            Some(listener) => address_of(listener)?,
            None => websocket_address.unwrap_or((Ipv4Addr::UNSPECIFIED, 0).into()),
        };
        let admin_listener = options.admin_port.map(|port| listen_for_admin(options, port)).transpose()?;
        let auth_server_listener = open_provider(options, source.database())?;
        let log = source.database().cloned().map_or_else(Database::in_memory, Ok)?;
        parts.announce_port = if options.announce_port > 0 { options.announce_port } else { address.port() };
        let link_listener = open_cluster(options, source.database(), &mut parts)?;
        listed.extend(super::shared::open(options, source.database(), &mut parts)?);
        // Steps that create files come last.
        open_recordings(options, &mut parts)?;
        super::people::open_queue(&mut parts);
        let page = page_url(options, admin_listener.as_ref(), websocket_address)?;
        let first_admin = make_first_admin_link(options, &rules, source.database(), page.as_deref());
        Ok(Prepared {
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
        })
    }
}

/// Opens the listener for node links, and reads their key.
fn open_cluster(
    options: &ServeOptions,
    database: Option<&Database>,
    parts: &mut ServerDeps,
) -> Result<Option<TcpListener>, StartError> {
    let Some(address) = options.cluster_listen else { return Ok(None) };
    let url = options.source.cluster.as_ref().ok_or(StartError::NeedsCluster)?;
    let database = database.ok_or(StartError::NeedsCluster)?;
    let listener = listen(Some(address.ip()), address.port());
    let listener = listener.map_err(|error| StartError::Listen { option: "--cluster-listen", error })?;
    database.remove_old_nodes().map_err(ClusterError::List)?;
    let address = address_of(&listener)?;
    parts.cluster = Some(Cluster::open(database, url.node_name(), address, options.cluster_sessions)?);
    Ok(Some(listener))
}

/// Makes the one-time link for the first administrator, if there is none and people log in with accounts. A failure is
/// no reason not to start: there is `drawhall account`.
fn make_first_admin_link(
    options: &ServeOptions,
    rules: &Rules,
    database: Option<&Database>,
    page: Option<&str>,
) -> Option<Arc<FirstAdminLink>> {
    let file = options.first_admin_file.as_deref();
    if let Some(file) = file
        && let Err(error) = first_admin::remove_file(file)
    {
        tracing::warn!("cannot remove {}, which an earlier start has left: {error}", file.display());
    }
    let is_needed = options.admin_access.credentials.is_none()
        && !options.admin_access.open
        && !rules.file().locked_sections.contains("accounts");
    let (Some(database), Some(page), true) = (database, page, is_needed) else { return None };
    let made = match database.accounts() {
        Ok(accounts) if accounts.iter().any(first_admin::is_admin) => return None,
        Ok(_) => FirstAdminLink::create(page, file, Timestamp::now().monotonic_ms).map_err(|e| e.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match made {
        Ok(link) => {
            let name = file.map_or_else(String::new, |file| format!(", also in {}", file.display()));
            tracing::info!(
                target: NOT_STORED,
                "nobody has the flag ADMIN: for an hour, {} makes the first administrator{name}", link.url()
            );
            Some(Arc::new(link))
        }
        Err(error) => {
            tracing::warn!("cannot make a link for the first administrator: {error}");
            None
        }
    }
}

/// URL of the admin page; `None` if it is disabled.
fn page_url(
    options: &ServeOptions,
    listener: Option<&std::net::TcpListener>,
    websocket: Option<SocketAddr>,
) -> Result<Option<String>, StartError> {
    let own = listener.map(std::net::TcpListener::local_addr).transpose();
    let own = own.map_err(|source| StartError::Http { option: "--web-admin-port", source })?;
    let is_encrypted = options.is_encrypted() && (own.is_none() || options.admin_tls);
    let scheme = if is_encrypted { "https" } else { "http" };
    let url = |address: SocketAddr| match address.ip().is_unspecified() {
        true => format!("{scheme}://localhost:{}/", address.port()),
        false => format!("{scheme}://{address}/"),
    };
    Ok(own.or(websocket.filter(|_| options.admin_on_websocket)).map(url))
}

fn address_of(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    let named = |source| ListenError { address: "the listener".into(), source };
    listener.local_addr().map_err(named).map_err(|error| StartError::Listen { option: "--port", error })
}

/// Checks that there is a WebSocket listener where an option needs one.
fn check_websocket(options: &ServeOptions, web_sockets: bool) -> Result<(), StartError> {
    match (options.admin_on_websocket, options.no_tcp && options.inherited.is_none()) {
        _ if web_sockets => Ok(()),
        (true, _) => Err(StartError::NeedsWebSocket("--web-admin-on-websocket")),
        (false, true) => Err(StartError::NeedsWebSocket("--port off")),
        (false, false) => Ok(()),
    }
}

/// Opens the listeners, or uses inherited ones.
fn open_listeners(options: &ServeOptions) -> Result<Listeners, StartError> {
    if let Some(inherited) = &options.inherited {
        let option = "sockets of the service manager";
        return inherited.open().map_err(|error| StartError::Listen { option, error });
    }
    let failed = |option| move |error| StartError::Listen { option, error };
    let tcp = (!options.no_tcp).then(|| listen(options.listen, options.port)).transpose();
    let tcp = tcp.map_err(failed("--port, --listen"))?;
    let websocket = options.websocket_port.map(|port| listen(options.websocket_listen, port)).transpose();
    let websocket = websocket.map_err(failed("--websocket-port, --websocket-listen"))?;
    Ok(Listeners { tcp: tcp.into_iter().collect(), websocket: websocket.into_iter().collect() })
}

/// The address of the admin API. Without `--web-admin-access` only this machine may use it, so it listens on loopback;
/// `None` for all interfaces.
pub(super) fn admin_address(options: &ServeOptions) -> Option<IpAddr> {
    let this_machine = options.listen.filter(IpAddr::is_loopback).unwrap_or(Ipv4Addr::LOCALHOST.into());
    let usual = if options.admin_access.networks.is_empty() { Some(this_machine) } else { options.listen };
    options.admin_listen.or(usual)
}

/// Opens the listener of the admin API.
pub(super) fn listen_for_admin(
    options: &ServeOptions,
    port: u16,
) -> Result<std::net::TcpListener, StartError> {
    listen_std(admin_address(options), port)
        .map_err(|error| StartError::Listen { option: "--web-admin-port", error })
}

/// Opens the listener and key of the auth server, if enabled.
fn open_provider(
    options: &ServeOptions,
    database: Option<&Database>,
) -> Result<Option<(std::net::TcpListener, Database, SigningKey)>, StartError> {
    let Some(address) = options.extauth_provider else { return Ok(None) };
    let database = database.ok_or(StartError::NoAccounts)?;
    let key = auth_server::signing_key(database)?;
    let listener = listen_std(Some(address.ip()), address.port());
    let listener = listener.map_err(|error| StartError::Listen { option: "--extauth-provider", error })?;
    Ok(Some((listener, database.clone(), key)))
}

/// Opens the session directory and lists its sessions.
fn open_sessions(
    options: &ServeOptions,
    rules: &Rules,
) -> Result<(ServerDeps, Vec<SessionSummary>), StartError> {
    let list_servers = ListServers::new(options.announce_private);
    if options.announce_private && !rules.settings().announce_whitelist {
        tracing::warn!(
            "--announce-private without announceWhitelist: everybody who hosts can have requests made in the own network"
        );
    }
    let (metrics, mut listed) = (options.metrics.clone(), Vec::new());
    let blocking_pool = BlockingPool::new(metrics.clone());
    let renderer = options.renderer();
    let mut parts = ServerDeps { list_servers, metrics, blocking_pool, renderer, ..ServerDeps::default() };
    if let Some(path) = &options.sessions {
        let settings = rules.settings();
        let interval = Duration::from_millis(settings.sync_interval.0);
        let session_dir = match options.cluster_sessions {
            true => super::shared::open_copies(path, interval)?,
            false => SessionDir::open(path, interval)?,
        };
        if options.keep_ended
            && let Err(error) = session_dir.keep_ended(super::retention::ended_limits(settings))
        {
            tracing::warn!(%error, "cannot remove files of ended sessions");
        }
        let unreadable = |source| SessionDirError::Io { path: path.to_owned(), source };
        let keep = KeepGenerations {
            count: settings.keep_generations.0,
            min_free: settings.disk_space_alarm,
            needs_newest: false,
        };
        session_dir.list(settings.archive, keep, |session| listed.push(session)).map_err(unreadable)?;
        parts.session_dir = Some(session_dir);
    }
    Ok((parts, listed))
}

/// Opens recordings, the trace, and the store of chat and events.
fn open_recordings(options: &ServeOptions, parts: &mut ServerDeps) -> Result<(), StartError> {
    if let Some(path) = &options.events {
        match EventStore::open(path) {
            Ok(store) => parts.events = Some(Arc::new(store)),
            Err(error) => tracing::error!(%error, "cannot keep chat and events in {}", path.display()),
        }
    }
    if let Some(pattern) = &options.record {
        let failed = |path| move |source| StartError::Record { path, source };
        let session_dir = recorder::directory_of(pattern);
        recorder::prepare_directory(&session_dir).map_err(failed(session_dir))?;
        parts.recorder = Some(Arc::new(Recorder::start(pattern).map_err(failed(pattern.into()))?));
    }
    if let Some(path) = &options.trace_input {
        let trace = Trace::begin(path).map_err(|source| StartError::Trace { path: path.clone(), source })?;
        parts.trace = Some(trace);
    }
    Ok(())
}

/// Scans the template directory and logs problems.
pub(super) fn scan_templates(known: &Templates, path: &Path) -> Result<Templates, StartError> {
    let scanned = known.scan(path);
    let (templates, warnings) =
        scanned.map_err(|source| StartError::Templates { path: path.to_owned(), source })?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(templates)
}
