//! Each case, for a moment, against a server in this process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;

use clap::Parser;
use drawhall::app::{ServeOptions, start};
use drawhall::config::RuleSource;
use drawhall::transport::tls::{CertificateFiles, KeyAlgorithm, make};
use drawhall_bench::Target;
use drawhall_bench::cases::Case;
use drawhall_bench::connection::Transport;
use drawhall_bench::process::Process;
use serde_json::Value;
use tokio::sync::oneshot;

const CONFIG: &str = "[config]\nconnectionsPerAddress=0\nconnectionRateLimit=0\nloginRateLimit=0\nhostRateLimit=0\n\
    sessionsPerAddress=0\nmessageRateLimit=0\npersistence=true\n";

/// A server on ports of the system's choice, with a certificate. It stops when this is dropped.
struct TestServer {
    tcp: SocketAddr,
    websocket: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    fn start(encrypted: bool) -> TestServer {
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let folder = tempfile::tempdir().unwrap();
            let config = folder.path().join("server.cfg");
            std::fs::write(&config, CONFIG).unwrap();
            let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
            make(&["localhost".to_owned()], &certificate, &key).unwrap();
            let files = CertificateFiles { certificate, key, algorithm: KeyAlgorithm::Guess };
            let loopback = Some("127.0.0.1".parse().unwrap());
            let options = ServeOptions {
                source: RuleSource { config: Some(config), ..RuleSource::default() },
                listen: loopback,
                port: 0,
                websocket_listen: loopback,
                websocket_port: Some(0),
                certificate: encrypted.then_some(files),
                workers: 2,
                ..ServeOptions::default()
            };
            actix_rt::System::new().block_on(async {
                let running = start(&options).unwrap();
                tell.send((running.address(), running.websocket_address().unwrap())).unwrap();
                let _ = stopped.await;
                running.stop().await;
            });
        });
        let (tcp, websocket) = told.recv().unwrap();
        TestServer { tcp, websocket, stop: Some(stop), thread: Some(thread) }
    }

    /// The figures of a case with these options.
    fn measure(&self, transport: Transport, case: &str) -> Value {
        let address = match transport {
            Transport::Tcp | Transport::Tls => self.tcp,
            Transport::Ws | Transport::Wss => self.websocket,
        };
        let target = Target {
            address: address.to_string(),
            transport,
            process: Some(Process(std::process::id())),
            protocol: "dp:4.24.0".into(),
        };
        let words = std::iter::once("case").chain(case.split(' '));
        let case = Cli::try_parse_from(words).unwrap().case;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, case.run(&target)).unwrap()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop.take();
        self.thread.take().map(JoinHandle::join);
    }
}

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    case: Case,
}

fn number(figures: &Value, name: &str) -> f64 {
    figures[name].as_f64().unwrap_or_else(|| panic!("{name} is missing in {figures}"))
}

#[test]
fn every_transport_delivers_every_stroke() {
    let (clear, encrypted) = (TestServer::start(false), TestServer::start(true));
    for (server, transport) in [
        (&clear, Transport::Tcp),
        (&clear, Transport::Ws),
        (&encrypted, Transport::Tls),
        (&encrypted, Transport::Wss),
    ] {
        let figures = server.measure(transport, "catch-up --megabytes 1 --clients 2 --rounds 1");
        let bytes = number(&figures, "messages") * (number(&figures, "size") + 4.0);
        assert!(number(&figures, "bytes_of_a_client") >= bytes, "{transport:?}: {figures}");
    }
}

#[test]
fn everybody_receives_what_some_draw() {
    let server = TestServer::start(false);
    for rate in ["--rate 100", "--rate 0 --window 4"] {
        let options = "--sessions 2 --clients 3 --senders 2 --warm-up 0.1 --seconds 0.4";
        let figures = server.measure(Transport::Tcp, &format!("fan-out {options} {rate}"));
        assert!(number(&figures, "sent") > 0.0, "{figures}");
        assert!(number(&figures, "deliveries_per_second") > 0.0, "{figures}");
        assert_eq!(number(&figures, "lost_connections"), 0.0, "{figures}");
        assert!(number(&figures["delay"], "p50_us") > 0.0, "{figures}");
    }
}

#[test]
fn delays_are_told_before_and_during_a_flood() {
    let server = TestServer::start(false);
    let options = "--clients 3 --senders 2 --warm-up 0.1 --skip 0.1 --seconds 0.4";
    let figures = server.measure(Transport::Tcp, &format!("flood {options}"));
    assert!(number(&figures, "flooded_per_second") > 0.0, "{figures}");
    for time in ["before", "during"] {
        assert!(number(&figures[time], "p99_us") > 0.0, "{figures}");
    }
    assert_eq!(number(&figures, "lost_connections"), 0.0, "{figures}");
}

#[test]
fn clients_log_in_while_somebody_draws() {
    let server = TestServer::start(false);
    let figures = server.measure(Transport::Tcp, "logins --logins 10 --at-once 3 --members 2 --rate 100");
    assert!(number(&figures, "logins_per_second") > 0.0, "{figures}");
    assert!(number(&figures["delay"], "max_us") > 0.0, "{figures}");
}

#[test]
fn memory_of_idle_clients_is_counted() {
    let server = TestServer::start(false);
    let figures = server.measure(Transport::Tcp, "idle --sessions 2 --clients 3 --seconds 0.1");
    assert_eq!(number(&figures, "clients"), 6.0);
    assert!(number(&figures, "memory_kib") > 0.0, "{figures}");
}

#[test]
fn clients_that_come_back_are_not_sent_the_history_again() {
    let server = TestServer::start(false);
    let figures = server.measure(Transport::Tcp, "reconnect --sessions 2 --clients 3 --kilobytes 500");
    assert_eq!(number(&figures, "clients"), 6.0);
    let share = number(&figures, "share_of_the_history");
    assert!(share > 0.0 && share < 0.05, "{figures}");
}
