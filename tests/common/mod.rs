//! What integration tests share: a server in this process, a client of the protocol, servers of others.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "every test file uses a part of it")]

pub mod administered;
pub mod child;
pub mod client;
pub mod elsewhere;
pub mod http;
pub mod postgres;
pub mod sharing;
pub mod skip;
pub mod tls;
pub mod websocket;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use drawhall::app::{ServeOptions, start};
use drawhall::config::RuleSource;
use drawhall::db::Database;
use drawhall::metrics::Metrics;
use tokio::sync::oneshot;

pub use client::Client;

/// Longest wait for something that must come: long enough for a request that is lost and sent again, on a machine that is
/// busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// A valid system id.
pub const SID: &str = "0123456789abcdef0123456789abcdef";

/// A server on 127.0.0.1, on a port of the system's choice. It stops when this is dropped.
pub struct TestServer {
    /// What it counts.
    pub metrics: Arc<Metrics>,
    pub address: SocketAddr,
    /// Where it listens for WebSocket.
    pub websocket: Option<SocketAddr>,
    /// Where its auth server listens.
    pub provider: Option<SocketAddr>,
    /// Where its admin API listens.
    pub admin: Option<SocketAddr>,
    /// The link that makes its first administrator.
    pub first_admin: Option<String>,
    /// Where its log is kept.
    pub log: Database,
    /// Its configuration file.
    pub config: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

/// An empty configuration database: a file in this directory, or one on PostgreSQL if DRAWHALL_TEST_CLUSTER is set, as it
/// is in the stage `postgresql`.
pub fn database_source(folder: &std::path::Path) -> RuleSource {
    if std::env::var_os("DRAWHALL_TEST_CLUSTER").is_none() {
        return RuleSource { database: Some(folder.join("config.db")), ..RuleSource::default() };
    }
    let database = postgres::PostgresDatabase::create().expect("DRAWHALL_TEST_CLUSTER needs PostgreSQL");
    RuleSource { cluster: Some(database.url().parse().unwrap()), ..RuleSource::default() }
}

impl TestServer {
    pub fn start(config: &str) -> TestServer {
        Self::start_with(config, ServeOptions::default())
    }

    /// Logs in on a connection of its own; returns the answer.
    pub fn ident(&self, args: &serde_json::Value) -> serde_json::Value {
        let mut client = self.connect();
        client.reply(|v| v["type"] == "login");
        client.command("ident", args.clone(), serde_json::json!({}));
        client.reply(|v| v["type"] == "result" || v["type"] == "error")
    }

    /// Whether a guest may host.
    pub fn may_host(&self) -> bool {
        let mut client = self.connect();
        client.ident("guest");
        client.ask_to_host();
        client.rest_until(|v| v["state"] == "host")
    }

    /// A server that stores its sessions in a directory.
    pub fn storing(config: &str, sessions: &std::path::Path) -> TestServer {
        Self::start_with(config, ServeOptions { sessions: Some(sessions.into()), ..ServeOptions::default() })
    }

    /// A server with further options; where it listens is not one of them.
    pub fn start_with(config: &str, options: ServeOptions) -> TestServer {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.cfg");
        std::fs::write(&path, config).unwrap();
        let options = ServeOptions {
            source: RuleSource {
                config: (options.source.database.is_none() && options.source.cluster.is_none())
                    .then(|| path.clone()),
                ..options.source
            },
            listen: Some("127.0.0.1".parse().unwrap()),
            websocket_listen: Some("127.0.0.1".parse().unwrap()),
            port: 0,
            workers: 2,
            picture_program: Some(env!("CARGO_BIN_EXE_drawhall").into()),
            ..options
        };
        let metrics = options.metrics.clone();
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            actix_rt::System::new().block_on(async {
                let running = start(&options).unwrap();
                tell.send((
                    running.address(),
                    running.websocket_address(),
                    running.provider_address(),
                    running.admin_address(),
                    running.first_admin_link().map(str::to_owned),
                    running.log().clone(),
                ))
                .unwrap();
                let _ = stopped.await;
                running.stop().await;
            });
        });
        let (address, websocket, provider, admin, first_admin, log) = told.recv().unwrap();
        TestServer {
            address,
            websocket,
            provider,
            admin,
            first_admin,
            log,
            metrics,
            config: path,
            stop: Some(stop),
            thread: Some(thread),
            _folder: folder,
        }
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// A client over WebSocket that sends further headers, a line each; or the status of the refusal.
    pub fn connect_websocket(&self, headers: &str) -> Result<Client, u16> {
        Client::websocket(client::open(self.websocket.unwrap()), headers)
    }

    /// Stops the server and waits for its end.
    pub fn stop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Tries until it succeeds, or patience is at its end.
pub fn eventually(what: &str, mut attempt: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !attempt() {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The folder of recordings of the reference server, if there is one here.
pub fn golden() -> Option<PathBuf> {
    let path = std::env::var_os("DRAWHALL_GOLDEN").map(PathBuf::from).filter(|p| p.is_dir());
    if path.is_none() {
        skip::skip("golden", "DRAWHALL_GOLDEN does not name the directory of recordings");
    }
    path
}

/// The directory of our own recordings.
pub fn fixtures() -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Our own recordings at `own` in their directory, and those of the reference server, if they are here, at `theirs`.
pub fn recordings(own: &str, theirs: &str) -> Vec<PathBuf> {
    let reference = golden().map(|golden| golden.join(theirs));
    [fixtures().join(own)].into_iter().chain(reference).collect()
}
