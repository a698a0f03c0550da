//! Encryption, WebSocket and proxies, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::sync::Arc;

use common::client::{open, wire};
use common::tls::{certificate, encrypt};
use common::{Client, TestServer, eventually};
use drawhall::app::ServeOptions;
use drawhall::transport::accept::WebSocketRules;
use drawhall::transport::tls::CertificateFiles;
use drawhall::transport::trust::Trusted;
use rustls::version::{TLS12, TLS13};
use serde_json::json;
use tungstenite::Message;

const GREETING: &str = "login";

fn with_websocket(config: &str, options: ServeOptions) -> TestServer {
    TestServer::start_with(config, ServeOptions { websocket_port: Some(0), ..options })
}

/// A server that demands encryption.
struct Encrypting {
    server: TestServer,
    files: CertificateFiles,
    folder: tempfile::TempDir,
}

fn encrypting(config: &str, options: ServeOptions) -> Encrypting {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path());
    let certificate = Some(files.clone());
    Encrypting { server: with_websocket(config, ServeOptions { certificate, ..options }), files, folder }
}

#[test]
fn people_draw_over_encrypted_connections_of_both_versions() {
    let Encrypting { server, files, .. } = &encrypting("", ServeOptions::default());
    let mut a = Client::connect_tls(server.address, files, &TLS13).unwrap();
    let greeting = a.greeting();
    let flags = greeting["flags"].as_array().unwrap();
    assert!(flags.contains(&json!("TLS")) && flags.contains(&json!("SECURE")));
    let id = a.host_running("A");
    let mut b = Client::connect_tls(server.address, files, &TLS12).unwrap();
    b.join("B", &id);
    let large = vec![7; 60_000];
    for _ in 0..50 {
        b.send(148, 0, &large);
    }
    for client in [&mut a, &mut b] {
        for _ in 0..50 {
            assert_eq!(client.until(|m| m.kind == 148).payload, large);
        }
    }
}

#[test]
fn whoever_does_not_encrypt_is_sent_away() {
    let Encrypting { server, .. } = &encrypting("", ServeOptions::default());
    let mut client = server.connect();
    client.reply(|v| v["type"] == GREETING);
    client.command("ident", json!(["A"]), json!({}));
    client.reply(|v| v["code"] == "tlsRequired");
    assert_eq!(client.rest().last().map(|m| m.kind), Some(1), "a goodbye");
}

#[test]
fn nothing_in_clear_slips_in_before_the_encryption() {
    let Encrypting { server, .. } = &encrypting("", ServeOptions::default());
    let start = wire(0, br#"{"cmd":"startTls"}"#);
    let ident = wire(0, br#"{"cmd":"ident","args":["A"]}"#);
    for more in [&ident[..], &ident[..3]] {
        let mut client = server.connect();
        client.reply(|v| v["type"] == GREETING);
        client.send_bytes(&[&start, more].concat()).unwrap();
        assert!(!client.rest_until(|v| v["state"] == "identOk"));
    }
}

/// Commands of one address share a budget: others behind the same router may have used it up.
#[test]
fn encryption_begins_also_when_the_budget_of_commands_is_used_up() {
    let config = "[config]\ncommandRateLimit=1\nconnectionRateLimit=0\nconnectionsPerAddress=0\n";
    let Encrypting { server, .. } = &encrypting(config, ServeOptions::default());
    for _ in 0..40 {
        let mut client = server.connect();
        client.send_bytes(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n").unwrap();
        client.greeting();
        client.send(0, 0, br#"{"cmd":"startTls"}"#);
        client.reply(|v| v["startTls"] == true);
        // The handshake is read: this ends it.
        client.send_bytes(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut rest = Vec::new();
        let ended = client.socket().read_to_end(&mut rest);
        assert!(!ended.is_err_and(|error| is_time_out(&error)));
    }
}

fn is_time_out(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

#[test]
fn a_handshake_that_is_broken_or_not_finished_ends_the_connection() {
    let Encrypting { server, .. } = &encrypting("[config]\nhandshakeTimeLimit=1s", ServeOptions::default());
    // What a client begins a handshake with: a record of 500 bytes, of which not all come.
    for hello in
        [&b"\x16\x03\x01\x01\xf4\x01"[..], b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\0\x02\xff\xff", b""]
    {
        let mut client = server.connect();
        client.greeting();
        client.send(0, 0, br#"{"cmd":"startTls"}"#);
        client.reply(|v| v["startTls"] == true);
        client.send_bytes(hello).unwrap();
        let mut rest = Vec::new();
        // An alert may come first; a reset is an end, too.
        let _ = client.socket().read_to_end(&mut rest);
        assert!(rest.len() < 100);
    }
}

#[test]
fn a_new_certificate_counts_for_new_connections_and_drops_nobody() {
    let Encrypting { server, files, folder } = &encrypting("", ServeOptions::default());
    let mut old = Client::connect_tls(server.address, files, &TLS13).unwrap();
    let id = old.host_running("A");
    let other = tempfile::tempdir().unwrap();
    let new = certificate(other.path());
    std::fs::write(&files.key, "rubbish").unwrap();
    assert!(Client::connect_tls(server.address, files, &TLS13).is_ok(), "a bad pair changes nothing");
    let newer = CertificateFiles { certificate: folder.path().join("cert.pem"), ..new.clone() };
    std::fs::copy(&new.key, &files.key).unwrap();
    std::fs::copy(&new.certificate, &newer.certificate).unwrap();
    eventually("the new certificate is used", || Client::connect_tls(server.address, &new, &TLS13).is_ok());
    let mut b = Client::connect_tls(server.address, &new, &TLS13).unwrap();
    b.join("B", &id);
    b.send(148, 0, &[1; 40]);
    assert_eq!(old.until(|m| m.kind == 148).payload, [1; 40]);
}

#[test]
fn browsers_and_programs_draw_together_over_websocket() {
    let server = with_websocket("", ServeOptions::default());
    let mut a = server.connect_websocket("").unwrap();
    a.reply(|v| v["type"] == GREETING);
    let id = a.host_running("A");
    let mut b = server.connect();
    b.join("B", &id);
    let mut c = server.connect_websocket("Origin: https://x.org\r\n").unwrap();
    c.reply(|v| v["type"] == GREETING);
    let info = json!({"app_version": "2.3.1", "protocol_version": "dp:4.25.1", "s": common::SID});
    c.command("cinfo", json!(["localhost", info]), json!({}));
    assert_eq!(c.reply(|v| v["type"] == "result")["cinfo"]["browser"], true);
    a.command("sessionconf", json!([]), json!({"allowWeb": true}));
    for (n, size) in [0, 1, 123, 124, 65_533, 65_535].into_iter().enumerate() {
        a.send(148, 0, &vec![n as u8; size]);
        assert_eq!(b.until(|m| m.kind == 148).payload, vec![n as u8; size]);
        b.send(149, 0, &vec![n as u8; size]);
        assert_eq!(a.until(|m| m.kind == 149).payload, vec![n as u8; size]);
    }
}

#[test]
fn a_long_history_is_caught_up_with_over_websocket_and_tls() {
    let folder = tempfile::tempdir().unwrap();
    for sessions in [None, Some(folder.path().to_owned())] {
        let Encrypting { server, files, .. } =
            &encrypting("", ServeOptions { sessions, ..ServeOptions::default() });
        let wss = || encrypt(open(server.websocket.unwrap()), files, &TLS13).unwrap();
        let mut a = Client::websocket(wss(), "").unwrap();
        let id = a.host_running("A");
        let payload = |n: u32| [n.to_be_bytes().to_vec(), vec![9; 40 + n as usize % 3000]].concat();
        for n in 0..4000 {
            a.send(148, 0, &payload(n));
        }
        a.until(|m| m.kind == 148 && m.payload == payload(3999));
        let mut joiners = [
            Client::websocket(wss(), "").unwrap(),
            server.connect_websocket("").unwrap(),
            Client::connect_tls(server.address, files, &TLS13).unwrap(),
        ];
        for (at, joiner) in joiners.iter_mut().enumerate() {
            joiner.join(&format!("j{at}"), &id);
            for n in 0..4000 {
                assert_eq!(joiner.until(|m| m.kind == 148).payload, payload(n));
            }
        }
    }
}

#[test]
fn messages_in_parts_pings_and_goodbyes_are_understood() {
    let server = with_websocket("", ServeOptions::default());
    let mut a = server.connect_websocket("").unwrap();
    a.reply(|v| v["type"] == GREETING);
    a.host_running("A");
    for (first, part) in [(0x02, &[148, 0][..]), (0x89, b"are you there?"), (0x00, b"in "), (0x80, b"parts")]
    {
        a.as_websocket().send_frame(first, part);
    }
    assert_eq!(a.until(|m| m.kind == 148).payload, b"in parts");
    let pong = Message::Pong("are you there?".into());
    assert_eq!(a.as_websocket().control.pop_front(), Some(pong));
    a.as_websocket().close(1001);
    a.rest();
    assert_eq!(a.as_websocket().close_code(), Some(1001));
    for (first, payload, code) in [
        (0x81, &b"text"[..], 1003u16),
        (0x82, b"x", 1007),
        (0x82, &[0; 70_000], 1009),
        (0xc2, b"compressed", 1002),
        (0x80, b"nothing to continue", 1002),
    ] {
        let mut b = server.connect_websocket("").unwrap();
        b.as_websocket().send_frame(first, payload);
        b.rest();
        assert_eq!(b.as_websocket().close_code(), Some(code));
    }
}

#[test]
fn who_is_sent_away_hears_why_and_the_connection_is_closed_properly() {
    let server = with_websocket("[config]\nallowGuests=false", ServeOptions::default());
    let mut a = server.connect_websocket("").unwrap();
    a.command("host", json!([]), json!({}));
    assert_eq!(a.rest().last().map(|m| m.kind), Some(1));
    assert_eq!(a.as_websocket().close_code(), Some(1000));
}

#[test]
fn pages_of_other_origins_and_connections_in_clear_can_be_kept_out() {
    let rules = WebSocketRules { allowed_origins: vec!["https://good.example".into()], secure: true };
    let options = ServeOptions { websocket_rules: rules, ..ServeOptions::default() };
    let Encrypting { server, files, .. } = &encrypting("", options);
    let plain = |headers: &str| server.connect_websocket(headers).err();
    let wss = |headers: &str| {
        let stream = encrypt(open(server.websocket.unwrap()), files, &TLS13).unwrap();
        Client::websocket(stream, headers).err()
    };
    assert_eq!(plain(""), Some(403));
    assert_eq!(plain("X-Forwarded-Proto: https\r\n"), None, "the proxy has encrypted");
    assert_eq!(wss(""), None, "not a browser");
    assert_eq!(wss("Origin: https://good.example\r\n"), None);
    assert_eq!(wss("Origin: https://evil.example\r\n"), Some(403));
}

#[test]
fn what_is_no_websocket_request_is_refused() {
    let server = with_websocket("[config]\nhandshakeTimeLimit=1s", ServeOptions::default());
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "426"),
        ("POST / HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
        ("rubbish\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: slow", ""),
        ("", ""),
    ] {
        let mut stream = open(server.websocket.unwrap());
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.split(' ').nth(1).unwrap_or_default(), status, "{request}");
    }
}

#[test]
fn bans_reach_clients_behind_trusted_proxies_only() {
    let config = "[ipbans]\n192.0.2.0/24";
    let banned_behind = |before: &[u8], headers: &str| {
        let server = with_websocket(config, ServeOptions::default());
        let mut by_tcp = open(server.address);
        by_tcp.write_all(before).unwrap();
        let mut stream = open(server.websocket.unwrap());
        stream.write_all(before).unwrap();
        let by_websocket = Client::websocket(stream, headers);
        let clients = [Ok(Client::over(by_tcp)), by_websocket];
        clients.map(|client| {
            let mut client = client?;
            client.ident("A");
            client.ask_to_host();
            let mut replies = client.rest().into_iter();
            Ok::<bool, u16>(
                replies.any(|m| m.kind == 1 && String::from_utf8_lossy(&m.payload).contains("banned")),
            )
        })
    };
    let v1 = b"PROXY TCP4 192.0.2.9 127.0.0.1 4000 27750\r\n";
    let v2 = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[192, 0, 2, 9, 127, 0, 0, 1, 1, 1, 1, 1]].concat();
    assert_eq!(banned_behind(v1, ""), [Ok(true), Ok(true)]);
    assert_eq!(banned_behind(&v2, ""), [Ok(true), Ok(true)]);
    let server = with_websocket(config, ServeOptions { ..ServeOptions::default() });
    for (header, banned) in
        [("X-Real-IP: 192.0.2.9\r\n", true), ("X-Forwarded-For: 192.0.2.9\r\n", true), ("", false)]
    {
        let mut client = server.connect_websocket(header).unwrap();
        assert_eq!(client.may_host("A"), !banned, "{header}");
    }
}

#[test]
fn proxies_that_are_not_trusted_are_not_believed() {
    let options = ServeOptions { trusted: Trusted::new(&[]), ..ServeOptions::default() };
    let server = with_websocket("[ipbans]\n192.0.2.0/24", options);
    let mut stream = open(server.address);
    stream.write_all(b"PROXY TCP4 192.0.2.9 127.0.0.1 4000 27750\r\n").unwrap();
    let mut client = Client::over(stream);
    client.send(0, 0, br#"{"cmd":"ident","args":["A"]}"#);
    client.reply(|v| v["type"] == GREETING);
    // The proxy's line is the beginning of a long message, which swallows the command.
    client.socket().shutdown(Shutdown::Write).unwrap();
    assert!(!client.rest_until(|v| v["state"] == "identOk"));
    let headers = "X-Real-IP: 192.0.2.9\r\n";
    let mut client = server.connect_websocket(headers).unwrap();
    client.host_running("B");
}

#[test]
fn sockets_of_the_service_manager_are_used_in_place_of_others() {
    let listener = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (tcp, websocket) = (listener(), listener());
    let (at, websocket_at) = (tcp.local_addr().unwrap(), websocket.local_addr().unwrap());
    let inherited =
        drawhall::actors::server::acceptor::Inherited { tcp: vec![tcp], websocket: vec![websocket] };
    let options = ServeOptions { inherited: Some(Arc::new(inherited)), ..ServeOptions::default() };
    let server = TestServer::start_with("", options);
    assert_eq!((server.address, server.websocket), (at, Some(websocket_at)));
    server.connect().host_running("A");
    Client::websocket(open(websocket_at), "").unwrap().host_running("B");
}
