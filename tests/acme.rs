//! Certificates from Pebble, the certificate authority for tests of Let's Encrypt (Debian has it): the program itself
//! orders, uses and renews them. The stage `acme` of `.ci/run` installs Pebble.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use common::client::open;
use common::skip::skip;
use common::tls::{certificate, encrypt, encrypt_to};
use common::{Client, eventually, http};
use drawhall::transport::tls::CertificateFiles;
use rustls::version::TLS13;
use serde_json::json;

const NAME: &str = "draw.example.org";

/// A port below those that the system gives to others, another one each time.
fn free_port() -> u16 {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    let first = 26_000 + (std::process::id() % 4_000) as u16;
    let next = || Some(first + TRIED.fetch_add(1, Ordering::Relaxed)).filter(|port| *port < 32_000);
    std::iter::from_fn(next).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// A process that ends with this.
struct Process(Child);

impl Process {
    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A certificate authority with a name server of its own, for which all names are this machine.
struct Authority {
    process: Process,
    _names: Process,
    folder: tempfile::TempDir,
    files: CertificateFiles,
    directory: u16,
    management: u16,
    names_management: u16,
    names: u16,
    /// Where it connects for HTTP-01.
    http: u16,
    /// Where it connects for TLS-ALPN-01.
    tls: u16,
    environment: Vec<(&'static str, &'static str)>,
}

impl Authority {
    /// Starts one whose certificates are valid for so long; `None` if there is no Pebble.
    fn start(validity: Duration, environment: &[(&'static str, &'static str)]) -> Option<Authority> {
        let there = |program: &str| Command::new(program).arg("-h").output().is_ok();
        if !there("pebble") || !there("pebble-challtestsrv") {
            skip("pebble", "there is no Pebble (Debian: pebble)");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let files = certificate(folder.path());
        let (names, names_management) = (free_port(), free_port());
        let mut name_server = Command::new("pebble-challtestsrv");
        name_server.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", "", "-dns01"]);
        name_server.arg(local(names).to_string()).args(["-management", &local(names_management).to_string()]);
        let name_server = name_server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let (directory, management, http, tls) = (free_port(), free_port(), free_port(), free_port());
        let config = json!({"pebble": {
            "listenAddress": local(directory), "managementListenAddress": local(management),
            "certificate": files.certificate, "privateKey": files.key, "httpPort": http, "tlsPort": tls,
            "certificateValidityPeriod": validity.as_secs(),
        }});
        fs::write(folder.path().join("pebble.json"), config.to_string()).unwrap();
        let process = pebble(folder.path(), names, environment);
        let authority = Authority {
            process,
            _names: Process(name_server),
            folder,
            files,
            directory,
            management,
            names_management,
            names,
            http,
            tls,
            environment: environment.to_vec(),
        };
        authority.is_up();
        Some(authority)
    }

    /// Waits until it answers, and keeps its root.
    fn is_up(&self) {
        eventually("Pebble answers", || TcpStream::connect(local(self.directory)).is_ok());
        eventually("the name server answers", || TcpStream::connect(local(self.names_management)).is_ok());
        eventually("its management answers", || TcpStream::connect(local(self.management)).is_ok());
        let mut stream = encrypt(open(local(self.management)), &self.files, &TLS13).unwrap();
        stream.write_all(b"GET /roots/0 HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        // It ends without a goodbye of TLS.
        let _ = stream.read_to_string(&mut answer);
        fs::write(self.root(), answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    }

    /// The root of the certificates that it issues.
    fn root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// Starts it again, with other keys, and without what it knew.
    fn restart(&mut self) {
        self.process = pebble(self.folder.path(), self.names, &self.environment);
        self.is_up();
    }

    fn orders(&self) -> usize {
        fs::read_to_string(self.folder.path().join("log")).unwrap().matches("Added order ").count()
    }

    /// The name server fails for this name.
    fn lose(&self, name: &str) {
        let body = json!({"host": name});
        http::request(local(self.names_management), "POST", "/set-servfail", "", Some(&body));
    }
}

fn pebble(folder: &Path, names: u16, environment: &[(&str, &str)]) -> Process {
    let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let mut command = Command::new("pebble");
    command.arg("-config").arg(folder.join("pebble.json")).args(["-dnsserver", &local(names).to_string()]);
    command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_AUTHZREUSE", "0").envs(environment.iter().copied());
    Process(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
}

/// The program, which gets its certificate from the authority.
struct Server {
    process: Process,
    data: PathBuf,
    port: u16,
    websocket: u16,
}

impl Server {
    fn start(authority: &Authority, websocket: u16, more: &[&str]) -> Server {
        let data = authority.folder.path().join("data");
        let port = free_port();
        let process = program(authority, &data, port, websocket, more);
        Server { process, data, port, websocket }
    }

    fn start_again(&mut self, authority: &Authority, more: &[&str]) {
        self.process = program(authority, &self.data, self.port, self.websocket, more);
    }

    fn log(&self) -> String {
        fs::read_to_string(self.data.with_extension("log")).unwrap()
    }

    fn kept(&self, authority: &Authority, name: &str) -> PathBuf {
        self.data.join(format!("acme/localhost-{}-dir", authority.directory)).join(name)
    }

    /// Whether a client that trusts the authority's root accepts the certificate, at both ports.
    fn is_trusted(&self, authority: &Authority) -> bool {
        TcpStream::connect(local(self.port)).is_ok()
            && Client::connect_tls_to(NAME, local(self.port), &authority.root()).is_ok()
            && self.websocket(authority).is_some()
    }

    fn websocket(&self, authority: &Authority) -> Option<Client> {
        TcpStream::connect(local(self.websocket)).ok()?;
        let stream = encrypt_to(NAME, open(local(self.websocket)), &authority.root(), &TLS13).ok()?;
        Client::websocket(stream, "").ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.folder.path().join("log")).unwrap_or_default());
        }
    }
}

fn program(authority: &Authority, data: &Path, port: u16, websocket: u16, more: &[&str]) -> Process {
    let log = File::options().create(true).append(true).open(data.with_extension("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_drawhall"));
    command
        .args([
            "--allow-root",
            "--listen",
            "127.0.0.1",
            "--acme",
            NAME,
            "--acme-email",
            "me@example.org",
            "--data",
        ])
        .arg(data)
        .arg("--acme-ca")
        .arg(&authority.files.certificate)
        .args(["--acme-directory", &format!("https://localhost:{}/dir", authority.directory)])
        .args(["--port", &port.to_string(), "--websocket-port", &websocket.to_string()])
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    Process(command.spawn().unwrap())
}

const YEAR: Duration = Duration::from_secs(365 * 86_400);

#[test]
fn by_http_01_a_certificate_is_ordered_once_and_kept() {
    let Some(authority) = Authority::start(YEAR, &[]) else { return };
    let http = authority.http.to_string();
    let mut server = Server::start(&authority, free_port(), &["--acme-http-port", &http]);
    eventually("the certificate is used", || server.is_trusted(&authority));
    assert_eq!(authority.orders(), 1);
    for name in ["account.json", "certificate.pem"] {
        let mode = fs::metadata(server.kept(&authority, name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let stored = fs::read(server.kept(&authority, "certificate.pem")).unwrap();
    server.process.signal(rustix::process::Signal::TERM);
    server.process.0.wait().unwrap();
    server.start_again(&authority, &["--acme-http-port", &http]);
    eventually("the certificate is used again", || server.is_trusted(&authority));
    assert_eq!(authority.orders(), 1, "a restart needs no order");
    assert_eq!(fs::read(server.kept(&authority, "certificate.pem")).unwrap(), stored);
}

#[test]
fn by_tls_alpn_01_a_certificate_comes_over_the_websocket_port() {
    // The authority refuses a third of all nonces, as those do that have several machines.
    let Some(authority) = Authority::start(YEAR, &[("PEBBLE_WFE_NONCEREJECT", "33")]) else { return };
    let server = Server::start(&authority, authority.tls, &[]);
    eventually("the certificate is used", || server.is_trusted(&authority));
}

#[test]
fn when_one_kind_of_challenge_fails_the_other_is_tried() {
    let Some(authority) = Authority::start(YEAR, &[]) else { return };
    // The authority does not come to this port for HTTP-01.
    let other = free_port().to_string();
    let server = Server::start(&authority, authority.tls, &["--acme-http-port", &other]);
    eventually("the order fails", || server.log().contains("was not confirmed: "));
    server.process.signal(rustix::process::Signal::HUP);
    eventually("the certificate is used", || server.is_trusted(&authority));
}

#[test]
fn a_certificate_is_renewed_and_nobody_is_disconnected() {
    let Some(authority) = Authority::start(Duration::from_secs(12), &[]) else { return };
    let http = authority.http.to_string();
    let server = Server::start(&authority, free_port(), &["--acme-http-port", &http]);
    eventually("the certificate is used", || server.is_trusted(&authority));
    let mut before = server.websocket(&authority).unwrap();
    let id = before.host_running("A");
    let first = fs::read(server.kept(&authority, "certificate.pem")).unwrap();
    eventually("it is renewed", || fs::read(server.kept(&authority, "certificate.pem")).unwrap() != first);
    eventually("the new one is used", || server.is_trusted(&authority));
    let mut after = server.websocket(&authority).unwrap();
    after.join("B", &id);
    after.send(148, 0, &[1; 40]);
    assert_eq!(before.until(|m| m.kind == 148).payload, [1; 40]);
}

#[test]
fn when_the_authority_is_gone_the_certificate_stays_and_the_log_says_what_to_do() {
    let Some(mut authority) = Authority::start(Duration::from_secs(21), &[]) else { return };
    let http = authority.http.to_string();
    let server = Server::start(&authority, free_port(), &["--acme-http-port", &http]);
    eventually("the certificate is used", || server.is_trusted(&authority));
    authority.process.kill();
    eventually("the renewal fails", || server.log().contains("no new certificate: "));
    assert!(server.is_trusted(&authority), "the old one is used until it expires: {}", server.log());
    let log = server.log();
    let line = log.lines().find(|line| line.contains("no new certificate: ")).unwrap();
    for words in
        ["efused", "check the connection to https://localhost", "Next attempt in ", "is valid until "]
    {
        assert!(line.contains(words), "{line}");
    }
    // It comes back, without any memory of the account. A reload ends the pause.
    authority.restart();
    server.process.signal(rustix::process::Signal::HUP);
    eventually("there is a certificate of its new root", || server.is_trusted(&authority));
}

#[test]
fn a_name_that_does_not_resolve_is_named_with_a_remedy() {
    let Some(authority) = Authority::start(YEAR, &[]) else { return };
    authority.lose("gone.example.org");
    let more = ["--acme", "gone.example.org", "--acme-http-port", &authority.http.to_string()];
    let server = Server::start(&authority, free_port(), &more);
    eventually("the order fails", || server.log().contains("no new certificate: "));
    let log = server.log();
    let line = log.lines().find(|line| line.contains("no new certificate: ")).unwrap();
    assert!(line.contains("gone.example.org was not confirmed: "), "{line}");
    assert!(line.contains("A or AAAA record") && line.contains("a self-signed one is used"), "{line}");
}

#[test]
fn after_a_kill_in_the_middle_the_next_start_gets_a_certificate() {
    let Some(authority) = Authority::start(YEAR, &[("PEBBLE_VA_NOSLEEP", "0"), ("PEBBLE_VA_SLEEPTIME", "3")])
    else {
        return;
    };
    let http = authority.http.to_string();
    let mut server = Server::start(&authority, free_port(), &["--acme-http-port", &http]);
    eventually("an order is under way", || authority.orders() == 1);
    server.process.kill();
    assert!(!server.kept(&authority, "certificate.pem").exists());
    server.start_again(&authority, &["--acme-http-port", &http]);
    eventually("the certificate is used", || server.is_trusted(&authority));
}
