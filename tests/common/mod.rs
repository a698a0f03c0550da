//! A server in this process, and a small client that speaks the protocol.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "every test file uses a part of it")]

pub mod elsewhere;
pub mod http;
pub mod secure;
pub mod skip;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use drawhall::config::RuleSource;
use drawhall::db::Database;
use drawhall::server::run::{ServeOptions, start};
use drawhall_protocol::{Frame, FrameDecoder};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// Longest wait for something that must come.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// A valid system id.
pub const SID: &str = "0123456789abcdef0123456789abcdef";

/// A server on 127.0.0.1, on a port of the system's choice. It stops when this is dropped.
pub struct TestServer {
    pub address: SocketAddr,
    /// Where it listens for WebSocket.
    pub websocket: Option<SocketAddr>,
    /// Where its auth server listens.
    pub provider: Option<SocketAddr>,
    /// Where its admin API listens.
    pub admin: Option<SocketAddr>,
    /// Where its log is kept.
    pub log: Database,
    /// Its configuration file.
    pub config: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl TestServer {
    pub fn start(config: &str) -> TestServer {
        Self::start_with(config, ServeOptions::default())
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
                config: options.source.database.is_none().then(|| path.clone()),
                ..options.source
            },
            listen: Some("127.0.0.1".parse().unwrap()),
            websocket_listen: Some("127.0.0.1".parse().unwrap()),
            port: 0,
            workers: 2,
            ..options
        };
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
                    running.log().clone(),
                ))
                .unwrap();
                let _ = stopped.await;
                running.stop().await;
            });
        });
        let (address, websocket, provider, admin, log) = told.recv().unwrap();
        TestServer {
            address,
            websocket,
            provider,
            admin,
            log,
            config: path,
            stop: Some(stop),
            thread: Some(thread),
            _folder: folder,
        }
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
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

/// A message that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub kind: u8,
    pub user: u8,
    pub payload: Vec<u8>,
}

impl Received {
    pub fn json(&self) -> Option<Value> {
        if self.kind == 0 { serde_json::from_slice(&self.payload).ok() } else { None }
    }
}

/// A connection to a server.
pub struct Client {
    pub stream: TcpStream,
    /// Id of the session that was hosted, for replayed conversations.
    pub session: Option<String>,
    decoder: FrameDecoder,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { stream, session: None, decoder: FrameDecoder::default() }
    }

    pub fn send(&mut self, kind: u8, user: u8, payload: &[u8]) {
        let frame = Frame::new(kind, user, payload).unwrap();
        self.stream.write_all(frame.as_bytes()).unwrap();
    }

    pub fn command(&mut self, cmd: &str, args: Value, kwargs: Value) {
        let json = json!({"cmd": cmd, "args": args, "kwargs": kwargs});
        self.send(0, 0, json.to_string().as_bytes());
    }

    /// The next message; `None` when the server has closed the connection.
    pub fn next(&mut self) -> Option<Received> {
        loop {
            if let Some(frame) = self.decoder.next_frame() {
                let header = frame.header();
                let payload = frame.payload().to_vec();
                return Some(Received { kind: header.kind, user: header.user, payload });
            }
            let mut buffer = [0; 1 << 16];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(n) => self.decoder.buffer_mut().extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(e) => panic!("nothing came: {e}"),
            }
        }
    }

    /// Reads until a message fits.
    pub fn until(&mut self, fits: impl Fn(&Received) -> bool) -> Received {
        loop {
            let message = self.next().expect("the connection is open");
            if fits(&message) {
                return message;
            }
        }
    }

    /// Reads until a reply fits.
    pub fn reply(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        self.until(|m| m.json().is_some_and(|v| fits(&v))).json().unwrap()
    }

    /// Reads until the connection ends, and returns everything.
    pub fn rest(&mut self) -> Vec<Received> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Logs in with an account; returns the descriptions of the sessions that are there.
    pub fn ident_as(&mut self, name: &str, password: &str) -> Vec<Value> {
        self.reply(|v| v["type"] == "login");
        self.command("ident", json!([name, password]), json!({}));
        self.reply(|v| v["state"] == "identOk");
        self.sessions()
    }

    /// Logs in as a guest; returns the descriptions of the sessions that are there.
    pub fn ident_for_list(&mut self, name: &str) -> Vec<Value> {
        self.reply(|v| v["type"] == "login");
        self.command("ident", json!([name]), json!({}));
        self.sessions()
    }

    /// The descriptions of the sessions that the welcome shows.
    pub fn sessions(&mut self) -> Vec<Value> {
        let welcome = self.reply(|v| v["message"] == "Welcome");
        welcome["sessions"].as_array().cloned().unwrap_or_default()
    }

    /// Whether a reply comes before the connection ends.
    pub fn rest_until(&mut self, fits: impl Fn(&Value) -> bool) -> bool {
        while let Some(message) = self.next() {
            if message.json().is_some_and(|v| fits(&v)) {
                return true;
            }
        }
        false
    }

    pub fn ident(&mut self, name: &str) {
        self.reply(|v| v["type"] == "login");
        self.command("ident", json!([name]), json!({}));
        self.reply(|v| v["state"] == "identOk");
    }

    /// Logs in and hosts a session; returns its id. The initial content is not sent yet.
    pub fn host(&mut self, name: &str) -> String {
        self.ident(name);
        self.command("host", json!([]), json!({"protocol": "dp:4.24.0", "user_id": 1, "s": SID}));
        let result = self.reply(|v| v["state"] == "host");
        result["join"]["id"].as_str().unwrap().to_owned()
    }

    /// Hosts a session with a small canvas that runs.
    pub fn host_running(&mut self, name: &str) -> String {
        let id = self.host(name);
        self.send(129, 1, &[0; 16]);
        self.command("init-complete", json!([]), json!({}));
        self.reply(|v| v["type"] == "status");
        id
    }

    /// Logs in and joins; returns the user id.
    pub fn join(&mut self, name: &str, session: &str) -> u8 {
        self.ident(name);
        let sid = format!("{:0>32x}", name.bytes().fold(7u64, |n, b| n * 31 + u64::from(b)));
        self.command("join", json!([session]), json!({"s": sid}));
        let result = self.reply(|v| v["state"] == "join");
        result["join"]["user"].as_u64().unwrap() as u8
    }

    /// What was received but not yet returned.
    pub fn pending(&self) -> Vec<u8> {
        self.decoder.pending().to_vec()
    }

    pub fn close(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
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
