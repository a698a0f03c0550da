//! Hostile clients: while they attack, people who draw lose nothing, and what the attack took comes back afterwards.
//!
//! The server runs in a child process, which is this test program again (`child`), so that its memory can be told from
//! that of the attackers. `cargo test --release --test attacks -- --nocapture --test-threads 1` prints a table; times in
//! it are worth something only without other work on the machine.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::child::{run_child, spawn_child};
use common::client::{open, wire};
use common::tls::certificate;
use common::websocket::masked;
use common::{Client, SID, TestServer};
use drawhall::admin::{AccessRules, Credentials};
use drawhall::app::ServeOptions;
use drawhall_protocol::Frame;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

const CHILD: &str = "DRAWHALL_TEST_ATTACKED";
const STROKE: u8 = 148;
/// Length of an attack, and of the time before it that it is compared with.
const PHASE: Duration = Duration::from_millis(1500);
/// How often somebody draws.
const PERIOD: Duration = Duration::from_millis(10);
/// Memory in KiB that may stay with the server's allocator after an attack.
const MARGIN_KIB: u64 = 64 << 10;
/// All attackers have one address, for which the limits would be too much of a help.
const CONFIG: &str = "connectionsPerAddress=0\nconnectionRateLimit=0\nloginRateLimit=0\npasswordRateLimit=0\nclientTimeout=60s\nhandshakeTimeLimit=2s\nautoResetThreshold=0\nsessionSizeLimit=30mb\n\
    lagTimeLimit=2s\nsessionCountLimit=1000\nannounceWhitelist=false\n[users]\nalice:plain;secret:MOD\n\
    costly:sodium;$argon2id$v=19$m=32768,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$cIgqkDJDZ5Cd3/HVK3rKhsc8kkpXaOcNI5eXCwKdfFk:\n";

/// The server that is attacked. By itself it does nothing.
#[test]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    many_files();
    let folder = tempfile::tempdir().unwrap();
    let options = |secure: bool| ServeOptions {
        websocket_port: Some(0),
        announce_private: true,
        certificate: secure.then(|| certificate(folder.path())),
        admin_port: Some(0),
        admin_access: AccessRules {
            credentials: Credentials::parse("admin:secret").ok(),
            ..AccessRules::default()
        },
        ..ServeOptions::default()
    };
    let server = TestServer::start_with(CONFIG, options(false));
    let secure = TestServer::start_with(CONFIG, options(true));
    let (websocket, admin) = (server.websocket.unwrap(), server.admin.unwrap());
    run_child(&format!("{} {websocket} {} {admin}", server.address, secure.address));
}

fn many_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// What an attack is made on.
#[derive(Clone)]
struct Target {
    tcp: SocketAddr,
    websocket: SocketAddr,
    tls: SocketAddr,
    admin: SocketAddr,
    /// The session in which people draw.
    session: String,
    over: Arc<AtomicBool>,
}

impl Target {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Does something again and again until the attack is over.
    fn again(&self, mut attack: impl FnMut(&Target)) {
        while !self.is_over() {
            attack(self);
        }
    }

    fn connect(&self) -> Client {
        Client::connect(self.tcp)
    }
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl Server {
    fn start() -> (Server, Target) {
        let (process, line) = spawn_child(Command::new(std::env::current_exe().unwrap()).env(CHILD, "1"));
        let line = line.unwrap();
        let mut addresses = line.split(' ').map(|a| a.parse().unwrap());
        let mut next = || addresses.next().unwrap();
        let (tcp, websocket, tls, admin) = (next(), next(), next(), next());
        let target = Target { tcp, websocket, tls, admin, session: String::new(), over: Arc::default() };
        (Server(process), target)
    }

    fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap_or_default();
        let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
    }
}

/// One attack at a time: each is compared with the time before it.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Somebody draws, somebody else sees it: how long each stroke takes.
struct Artists {
    drawing: std::thread::JoinHandle<()>,
    delays: mpsc::Receiver<Duration>,
    stop: Arc<AtomicBool>,
}

impl Artists {
    fn draw(mut artist: Client, mut viewer: Client) -> Artists {
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, delays) = mpsc::channel();
        let stopped = stop.clone();
        let drawing = std::thread::spawn(move || {
            let mut reader = artist.socket().try_clone().unwrap();
            // What others do comes to the artist, too.
            let reading =
                std::thread::spawn(move || while reader.read(&mut [0; 1 << 16]).is_ok_and(|n| n > 0) {});
            let mut number = 0u64;
            while !stopped.load(Ordering::Relaxed) {
                let begin = Instant::now();
                artist.send(STROKE, 0, &number.to_be_bytes());
                let seen = viewer.until(|m| m.kind == STROKE && m.payload.len() == 8);
                assert_eq!(seen.payload, number.to_be_bytes(), "every stroke, in order");
                number += 1;
                tell.send(begin.elapsed()).unwrap();
                std::thread::sleep(PERIOD.saturating_sub(begin.elapsed()));
            }
            artist.close();
            reading.join().unwrap();
        });
        Artists { drawing, delays, stop }
    }

    /// 99 of 100 strokes so far took less.
    fn p99(&self) -> Duration {
        let mut delays: Vec<Duration> = self.delays.try_iter().collect();
        delays.sort_unstable();
        delays.get(delays.len() * 99 / 100).copied().unwrap_or_default()
    }

    fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.drawing.join().expect("nobody has lost a stroke");
    }
}

/// Attacks from several threads while people draw, and says what it was like.
fn attack(name: &str, threads: usize, attack: impl Fn(&Target) + Send + Sync + Clone + 'static) {
    let _turn = turn();
    many_files();
    let (server, mut target) = Server::start();
    let mut artist = target.connect();
    target.session = artist.host_running("artist");
    artist.command("sessionconf", json!([]), json!({"opword": "open"}));
    let mut viewer = target.connect();
    viewer.join("viewer", &target.session);
    let artists = Artists::draw(artist, viewer);
    std::thread::sleep(PHASE);
    let (delay_before, before) = (artists.p99(), server.resident_kib());
    let attackers: Vec<_> = (0..threads)
        .map(|_| {
            let (target, attack) = (target.clone(), attack.clone());
            std::thread::spawn(move || attack(&target))
        })
        .collect();
    let (begin, mut peak) = (Instant::now(), before);
    while begin.elapsed() < PHASE {
        peak = peak.max(server.resident_kib());
        std::thread::sleep(Duration::from_millis(20));
    }
    let delay_during = artists.p99();
    target.over.store(true, Ordering::Relaxed);
    for attacker in attackers {
        attacker.join().expect("the attack went on to its end");
    }
    peak = peak.max(server.resident_kib());
    // The server is as useful as before.
    target.connect().join("late", &target.session);
    let mut after = server.resident_kib();
    let waiting = Instant::now();
    while after > before + MARGIN_KIB && waiting.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(100));
        after = server.resident_kib();
    }
    println!(
        "| {name} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} |",
        delay_before.as_secs_f64() * 1e3,
        delay_during.as_secs_f64() * 1e3,
        before as f64 / 1024.0,
        peak as f64 / 1024.0,
        after as f64 / 1024.0
    );
    artists.finish();
    assert!(after <= before + MARGIN_KIB, "{name}: {before} KiB before, {after} KiB after");
}

/// Sends bytes one by one on many connections until the attack is over.
fn drip(target: &Target, connections: Vec<TcpStream>, bytes: &[u8]) {
    let mut connections = connections;
    let mut bytes = bytes.iter().cycle();
    target.again(|_| {
        let byte = bytes.next().unwrap();
        // Those that are cut are not held against the server.
        connections.retain_mut(|c| c.write_all(&[*byte]).is_ok());
        std::thread::sleep(Duration::from_millis(20));
    });
}

#[test]
fn slow_loris_in_the_login() {
    attack("slow loris, login (1,000 connections)", 1, |target| {
        let connections = (0..1000).map(|_| open(target.tcp)).collect();
        drip(target, connections, &wire(0, &[b' '; 60_000]));
    });
}

#[test]
fn slow_loris_in_a_request_for_websocket() {
    attack("slow loris, WebSocket request (1,000)", 1, |target| {
        let connections = (0..1000).map(|_| open(target.websocket)).collect();
        drip(target, connections, b"GET / HTTP/1.1\r\nX: ");
    });
}

#[test]
fn slow_loris_in_a_tls_handshake() {
    attack("slow loris, TLS handshake (500)", 1, |target| {
        let start = wire(0, br#"{"cmd":"startTls"}"#);
        let connections = (0..500).map(|_| open(target.tls));
        let connections = connections.map(|mut c| c.write_all(&start).map(|()| c).unwrap()).collect();
        drip(target, connections, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03");
    });
}

#[test]
fn slow_loris_in_a_session() {
    attack("slow loris, session (100)", 1, |target| {
        let join = |n: u32| {
            let mut client = target.connect();
            client.join(&format!("slow{n}"), &target.session);
            client.socket().try_clone().unwrap()
        };
        drip(target, (0..100).map(join).collect(), b"\xff");
    });
}

#[test]
fn connections_that_are_opened_and_dropped() {
    attack("opened and dropped at once", 4, |target| {
        target.again(|target| drop(TcpStream::connect(target.tcp)));
    });
}

#[test]
fn connections_of_which_only_one_side_is_open() {
    attack("half-open (2,000)", 1, |target| {
        let open_half = |_| {
            let stream = open(target.tcp);
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            stream
        };
        let connections: Vec<TcpStream> = (0..2000).map(open_half).collect();
        target.again(|_| std::thread::sleep(Duration::from_millis(20)));
        drop(connections);
    });
}

#[test]
fn five_thousand_idle_connections() {
    attack("5,000 idle connections", 1, |target| {
        let connections: Vec<TcpStream> = (0..5000).map(|_| open(target.tcp)).collect();
        target.again(|_| std::thread::sleep(Duration::from_millis(20)));
        drop(connections);
    });
}

#[test]
fn a_flood_of_logins() {
    attack("flood of logins with wrong passwords", 4, |target| {
        let ident = wire(0, br#"{"cmd":"ident","args":["alice","wrong"]}"#);
        target.again(|target| {
            let mut client = target.connect();
            client.send_bytes(&ident.repeat(10)).unwrap();
            client.rest();
        });
    });
}

#[test]
fn a_flood_of_passwords_that_take_long_to_check() {
    attack("flood of passwords and of questions for them", 8, |target| {
        let wrong = wire(0, br#"{"cmd":"ident","args":["costly","wrong"]}"#);
        let question = wire(0, br#"{"cmd":"ident","args":["costly"]}"#);
        target.again(|target| {
            let mut client = target.connect();
            client.send_bytes(&question.repeat(50)).unwrap();
            client.send_bytes(&wrong.repeat(10)).unwrap();
            client.rest();
        });
    });
}

#[test]
fn bodies_that_the_admin_api_did_not_ask_for() {
    attack("bodies of 1 MiB at the admin port, without a login", 4, |target| {
        let head = "POST /api/server HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                    Content-Length: 1048576\r\n\r\n";
        let body = vec![b' '; (1 << 20) - 10];
        target.again(|target| {
            let mut connections: Vec<TcpStream> = (0..20).map(|_| open(target.admin)).collect();
            for connection in &mut connections {
                // Those that are cut are not held against the server.
                let _ = connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(&body));
            }
        });
    });
}

#[test]
fn proxies_that_name_somebody_else_each_time() {
    attack("made-up clients behind a proxy", 4, |target| {
        let mut number = 0u32;
        target.again(|target| {
            number += 1;
            let [a, b, ..] = number.to_le_bytes();
            let headers = format!("X-Real-IP: 198.51.{a}.{b}\r\nX-Forwarded-For: 203.0.113.9\r\n");
            assert_eq!(Client::websocket(open(target.websocket), &headers).err(), Some(400));
        });
    });
}

#[test]
fn a_flood_of_chat() {
    attack("flood of chat", 1, |target| {
        let mut client = target.connect();
        client.join("chatter", &target.session);
        let chat = wire(35, b"\0\0spam, spam, spam").repeat(100);
        flood(target, client, &chat);
    });
}

#[test]
fn a_flood_of_forbidden_messages() {
    attack("256 KiB of forbidden messages of a member, again and again", 1, |target| {
        let mut client = target.connect();
        client.join("breaker", &target.session);
        let mut reader = client.socket().try_clone().unwrap();
        let reading =
            std::thread::spawn(move || while reader.read(&mut [0; 1 << 16]).is_ok_and(|n| n > 0) {});
        client.socket().set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        // What does not fit is not sent: the server reads on when it may.
        target.again(|_| drop(client.socket().write(&[0, 0, 33, 0].repeat(65_536))));
        client.close();
        reading.join().unwrap();
    });
}

#[test]
fn a_flood_of_private_messages() {
    attack("flood of private messages to somebody who does not read", 1, |target| {
        let mut deaf = target.connect();
        let user = deaf.join("deaf", &target.session);
        let mut client = target.connect();
        client.join("whisperer", &target.session);
        let mut reader = client.socket().try_clone().unwrap();
        let reading =
            std::thread::spawn(move || while reader.read(&mut [0; 1 << 16]).is_ok_and(|n| n > 0) {});
        client.socket().set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        let message = wire(38, &[&[user, 0][..], &[b'x'; 60_000]].concat());
        target.again(|_| drop(client.socket().write(&message)));
        client.close();
        reading.join().unwrap();
        drop(deaf);
    });
}

#[test]
fn a_flood_of_the_log_before_the_login() {
    attack("flood of the log before the login", 2, |target| {
        // Each was a line of the log.
        let bytes = wire(64, &[]).repeat(10_000);
        target.again(|target| {
            let mut client = target.connect();
            let _ = client.send_bytes(&bytes);
            client.rest();
        });
    });
}

#[test]
fn a_flood_of_tiny_frames() {
    attack("flood of tiny frames, another session", 2, |target| {
        let mut client = target.connect();
        client.host_running("flooder");
        flood(target, client, &wire(200, &[]).repeat(1000));
    });
}

#[test]
fn a_flood_of_pings() {
    attack("flood of pings whose answers are not read", 1, |target| {
        let mut client = target.connect();
        client.ident("pinger");
        client.socket().set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        let pings = wire(2, &[0]).repeat(1000);
        // What does not fit is not sent: the server does not read on for ever, either.
        target.again(|_| drop(client.socket().write(&pings)));
    });
}

/// Sends the same again and again, and reads what comes back.
fn flood(target: &Target, mut client: Client, bytes: &[u8]) {
    let mut reader = client.socket().try_clone().unwrap();
    let reading = std::thread::spawn(move || while reader.read(&mut [0; 1 << 16]).is_ok_and(|n| n > 0) {});
    target.again(|_| client.send_bytes(bytes).unwrap());
    client.close();
    reading.join().unwrap();
}

#[test]
fn a_flood_of_joins_and_leaves() {
    attack("flood of joins and leaves", 4, |target| {
        let thread = format!("{:?}", std::thread::current().id()).replace(['(', ')'], "");
        target.again(|target| {
            target.connect().join(&thread, &target.session);
        });
    });
}

#[test]
fn somebody_who_never_reads_while_others_draw_at_full_speed() {
    attack("never reads, others draw at full speed", 1, |target| {
        let mut fast = target.connect();
        let session = fast.host_running("fast");
        let deaf: Vec<Client> = (0..20)
            .map(|n| {
                let mut deaf = target.connect();
                deaf.join(&format!("deaf{n}"), &session);
                deaf
            })
            .collect();
        flood(target, fast, &wire(STROKE, &[7; 1000]).repeat(20));
        drop(deaf);
    });
}

/// Numbers that are the same each time.
struct Rng(u64);

impl Rng {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }
}

/// What a client says from its login to its drawing; that of a real one, if recordings are there.
fn conversation() -> Vec<u8> {
    let recorded = common::golden().map(|g| g.join("realclient/host-draw-chat-join.jsonl"));
    let lines = recorded.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let mut bytes = Vec::new();
    for line in lines.lines() {
        let message: serde_json::Value = serde_json::from_str(line).unwrap();
        if message["way"] != "to-server" || message["conn"] != 1 {
            continue;
        }
        let payload = match &message["json"] {
            serde_json::Value::Null => {
                let text = message["hex"].as_str().unwrap_or_default();
                (0..text.len() / 2)
                    .filter_map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok())
                    .collect()
            }
            json => json.to_string().into_bytes(),
        };
        let kind = message["type"].as_u64().unwrap() as u8;
        bytes.extend_from_slice(&wire(kind, &payload));
    }
    if bytes.is_empty() {
        let host = json!({"cmd": "host", "kwargs": {"protocol": "dp:4.24.0", "user_id": 1, "s": SID}});
        for command in [json!({"cmd": "ident", "args": ["A"]}), host, json!({"cmd": "init-complete"})] {
            bytes.extend_from_slice(&wire(0, command.to_string().as_bytes()));
        }
        for n in 0..200 {
            bytes.extend_from_slice(&wire(STROKE, &vec![n as u8; n]));
        }
        bytes.extend_from_slice(&wire(35, b"\0\0hello"));
    }
    bytes
}

#[test]
fn bit_flipped_conversations() {
    let original = conversation();
    attack("bit-flipped real traffic", 2, move |target| {
        let mut rng_seed = Rng(7);
        target.again(|target| {
            let mut bytes = original.clone();
            for _ in 0..=rng_seed.next(20) {
                let at = rng_seed.next(bytes.len());
                bytes[at] ^= 1 << rng_seed.next(8);
            }
            let cut = if rng_seed.next(2) == 0 { bytes.len() } else { rng_seed.next(bytes.len()) };
            let mut client = target.connect();
            // It may be cut off in the middle.
            let _ = client.send_bytes(&bytes[..cut]);
            client.socket().shutdown(std::net::Shutdown::Write).ok();
            client.rest();
            let mut by_websocket = open(target.websocket);
            let _ = by_websocket.write_all(&[b"GET / HTTP/1.1\r\n", &bytes[..cut]].concat());
        });
    });
}

#[test]
fn bit_flipped_websocket_frames() {
    let original: Vec<u8> =
        drawhall_protocol::frame::frames(&conversation()).flat_map(|f| masked(0x82, &f.bytes[2..])).collect();
    attack("bit-flipped WebSocket frames", 2, move |target| {
        let mut rng_seed = Rng(9);
        target.again(|target| {
            let mut bytes = original.clone();
            for _ in 0..=rng_seed.next(5) {
                let at = rng_seed.next(bytes.len());
                bytes[at] ^= 1 << rng_seed.next(8);
            }
            let Ok(mut client) = Client::websocket(open(target.websocket), "") else { return };
            let _ = client.send_bytes(&bytes);
            client.socket().shutdown(std::net::Shutdown::Write).ok();
            client.rest();
        });
    });
}

#[test]
fn announcements_in_a_loop() {
    attack("announcements, a host in a loop", 2, |target| {
        let urls = [format!("http://{}/", target.websocket), "http://slow.invalid/".to_owned()];
        let pairs: Vec<u8> = (0..200)
            .flat_map(|n| {
                let url = &urls[n / 2 % 2];
                let command = if n % 2 == 0 { "announce-session" } else { "unlist-session" };
                wire(0, json!({"cmd": command, "args": [url]}).to_string().as_bytes())
            })
            .collect();
        target.again(|target| {
            let mut host = target.connect();
            host.host_running("announcer");
            // It may be cut off.
            let _ = host.send_bytes(&pairs);
            host.rest_until(|v| v["type"] == "error");
        });
    });
}

#[test]
fn a_flood_of_reports() {
    attack("reports of 60 kB, from the lobby and a session", 2, |target| {
        let report =
            json!({"cmd": "report", "kwargs": {"session": target.session, "reason": "x".repeat(60_000)}});
        let reports = wire(0, report.to_string().as_bytes()).repeat(50);
        target.again(|target| {
            let mut client = target.connect();
            client.ident("reporter");
            let _ = client.send_bytes(&reports);
            client.command("join", json!([target.session]), json!({"s": SID}));
            if client.rest_until(|v| v["state"] == "join") {
                let _ = client.send_bytes(&reports);
                client.rest_until(|v| v["type"] == "error");
            }
        });
    });
}

#[test]
fn truncated_tls_handshakes() {
    attack("truncated TLS handshakes", 2, |target| {
        let mut rng_seed = Rng(11);
        let hello = {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            let name = "localhost".try_into().unwrap();
            let mut tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
            let mut hello = Vec::new();
            tls.write_tls(&mut hello).unwrap();
            hello
        };
        target.again(|target| {
            let mut client = Client::connect(target.tls);
            client.next();
            client.send_bytes(&wire(0, br#"{"cmd":"startTls"}"#)).unwrap();
            client.next();
            let _ = client.send_bytes(&hello[..rng_seed.next(hello.len())]);
        });
    });
}

#[test]
fn compression_bombs() {
    attack("compression bombs (ban lists, streamed resets)", 1, |target| {
        let zeros = {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(&vec![b' '; 40 << 20]).unwrap();
            encoder.finish().unwrap()
        };
        let bans =
            format!("p{}", BASE64.encode([&(40u32 << 20).to_be_bytes()[..], &zeros[..40_000]].concat()));
        let command = json!({"cmd": "import-bans", "args": [bans]}).to_string();
        let stream = Frame::new(39, 0, &zeros[..40_000]).unwrap();
        target.again(|target| {
            let mut client = target.connect();
            client.host_running("bomber");
            for _ in 0..20 {
                client.send(0, 0, command.as_bytes());
                client.send_bytes(stream.as_bytes()).unwrap();
            }
            client.reply(|v| v["type"] == "error" || v["type"] == "banimpex");
        });
    });
}

/// A command as it is on the wire.
fn command(cmd: &str, args: serde_json::Value) -> Vec<u8> {
    wire(0, json!({"cmd": cmd, "args": args, "kwargs": {}}).to_string().as_bytes())
}

/// Hosts a session of its own and sends commands in it, as fast as the server takes them.
fn flood_own_session(target: &Target, name: &str, bytes: &[u8]) {
    let mut client = target.connect();
    client.host_running(name);
    client.socket().set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut reader = client.socket().try_clone().unwrap();
    let reading = std::thread::spawn(move || while reader.read(&mut [0; 1 << 16]).is_ok_and(|n| n > 0) {});
    // What does not fit is not sent, and half a message may follow another.
    target.again(|_| drop(client.socket().write(bytes)));
    client.close();
    reading.join().unwrap();
}

#[test]
fn a_flood_of_ban_lists() {
    attack("flood of ban lists that take long, another session", 2, |target| {
        let list = |entries: String| {
            let json = format!(r#"{{"v":1,"l":[{entries}]}}"#);
            let mut packed = vec![0; 4];
            let mut encoder = ZlibEncoder::new(&mut packed, Compression::best());
            encoder.write_all(json.as_bytes()).unwrap();
            encoder.finish().unwrap();
            command("import-bans", json!([format!("p{}", BASE64.encode(packed))]))
        };
        let full = list((0..999).map(|n| format!(r#"{{"u":"n{n}"}}"#)).collect::<Vec<_>>().join(","));
        let same = list(vec![r#"{"u":"n998"}"#; 80_000].join(","));
        let empty = list(vec![r#"{"":0}"#; 500_000].join(","));
        let bytes = [full, same, empty, command("export-bans", json!([]))].concat();
        flood_own_session(target, "importer", &bytes);
    });
}

#[test]
fn a_flood_of_account_lists() {
    attack("flood of account lists, another session", 2, |target| {
        let list = |from: usize| -> Vec<u8> {
            let entry = |n: usize| json!({"a": format!("internal:{n}"), "o": n.is_multiple_of(2), "t": true, "u": "U"});
            command("auth-list", json!([(from..from + 100).map(entry).collect::<Vec<_>>()]))
        };
        let bytes: Vec<u8> = (0..30).flat_map(|n| list(n * 100 + n)).collect();
        flood_own_session(target, "lister", &bytes);
    });
}

#[test]
fn one_address_that_hosts_again_and_again() {
    let hosted = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let hosts = |target: &Target, address: &str| {
        let mut client = target.connect();
        let header = format!("PROXY TCP4 {address} {address} 4000 27750\r\n");
        client.send_bytes(header.as_bytes()).unwrap();
        client.ident("host");
        client.ask_to_host();
        let answer = client.reply(|v| v["type"] == "error" || v["state"] == "host");
        (answer["state"] == "host").then_some(client)
    };
    let count = hosted.clone();
    attack("sessions of one address", 4, move |target| {
        let mut held = Vec::new();
        target.again(|target| {
            if let Some(client) = hosts(target, "192.0.2.7") {
                count.fetch_add(1, Ordering::Relaxed);
                held.push(client);
            }
        });
        assert!(hosts(target, "192.0.2.8").is_some(), "others have a place");
        drop(held);
    });
    assert!((1..=5).contains(&hosted.load(Ordering::Relaxed)), "{hosted:?}");
}
