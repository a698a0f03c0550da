//! The composition root: options become a running server.

mod certificates;
mod people;
mod port_mapping;
mod prepare;
mod retention;
mod setup;
mod shared;
mod start;
mod stop;
mod templates;
mod webhook;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use actix::prelude::*;
use actix_rt::task::JoinHandle;
use tokio::sync::{Notify, mpsc, watch};

use crate::acme::AcmeOptions;
use crate::actors::reload::Change;
use crate::actors::server::acceptor::Inherited;
use crate::actors::server::{Server, ServerDeps};
use crate::admin::first_admin::FirstAdminLink;
use crate::admin::{self, AccessRules, Admin};
use crate::auth_server;
use crate::config::{RuleSource, Rules};
use crate::db::Database;
use crate::metrics::Metrics;
use crate::transport::accept::WebSocketRules;
use crate::transport::tls::CertificateFiles;
use crate::transport::trust::Trusted;
use crate::web::listener::Certificates;
use crate::web::shared_port::SharedPortServer;
use port_mapping::PortMapping;
pub use prepare::StartError;
use prepare::listen_for_admin;
pub use start::start;
use start::start_admin;

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
    /// Where other servers of the cluster connect; without it there are no links to them. Needs a database on PostgreSQL.
    pub cluster_listen: Option<SocketAddr>,
    /// Sessions are in the database, too, so that other servers go on with them; needs `sessions` and `cluster_listen`.
    pub cluster_sessions: bool,
    /// Number of worker threads.
    pub workers: usize,
    /// Session directory; sessions are in memory only without.
    pub sessions: Option<PathBuf>,
    /// Ended sessions are kept for a while, as the settings say.
    pub keep_ended: bool,
    /// Directory for chat and events of sessions; they are not kept without.
    pub events: Option<PathBuf>,
    /// File whose modification time is that of the last backup.
    pub last_backup: Option<PathBuf>,
    /// Template directory.
    pub templates: Option<PathBuf>,
    /// Program that reads pictures (`drawhall`); this program without.
    pub picture_program: Option<PathBuf>,
    /// Program that makes pictures of sessions (`drawpile-cmd`); there are none without.
    pub canvas_renderer: Option<PathBuf>,
    /// Program that makes videos of time-lapses (`ffmpeg`); there are none without.
    pub ffmpeg: Option<PathBuf>,
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
    /// The admin port speaks TLS, with the certificate of the drawing ports.
    pub admin_tls: bool,
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
    listeners: Vec<JoinHandle<()>>,
    parts: ServerDeps,
    database: Option<Database>,
    auth_server_listener: Option<auth_server::RunningAuthServer>,
    /// The admin API, if it is enabled.
    admin: Option<Admin>,
    admin_server: Option<admin::AdminServer>,
    /// Serves the admin API at the WebSocket listeners.
    shared_port: Option<SharedPortServer>,
    /// The current certificate, if there is TLS.
    certificates: Certificates,
    first_admin: Option<Arc<FirstAdminLink>>,
    /// Notified when the admin API is asked to stop the server.
    stop: Arc<Notify>,
    options: ServeOptions,
    port_mapping: Option<PortMapping>,
    log: Database,
    people: Option<people::RecordWriter>,
    /// Triggers a reload of files.
    reload: watch::Sender<()>,
    change: mpsc::Sender<Change>,
    rules: watch::Receiver<Arc<Rules>>,
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
            server.handle.stop().await;
        }
        if let (Some(port), Some(admin)) = (self.options.admin_port, &self.admin) {
            let listener = listen_for_admin(&self.options, port)?;
            self.admin_server = Some(start_admin(admin, listener, &self.options, &self.certificates)?);
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
}
