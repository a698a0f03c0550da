//! The admin page and API at the port of WebSocket, so that one port is enough.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::{Read, Write};
use std::net::SocketAddr;

use common::client::open;
use common::tls::{certificate, encrypt};
use common::{Client, TestServer};
use drawhall::admin::{AccessRules, Credentials};
use drawhall::app::ServeOptions;
use drawhall::config::RuleSource;
use drawhall::config::ip_range::IpRange;
use drawhall::transport::accept::WebSocketRules;
use rustls::version::TLS13;
use serde_json::json;

const BASIC: &str = "Authorization: Basic cm9vdDpvZiBhbGw=\r\n";

fn shared(options: ServeOptions) -> TestServer {
    TestServer::start_with("", ServeOptions { websocket_port: Some(0), admin_on_websocket: true, ..options })
}

fn with_password(networks: &[&str]) -> AccessRules {
    let networks = networks.iter().map(|network| IpRange::parse(network).unwrap()).collect();
    AccessRules { credentials: Credentials::parse("root:of all").ok(), networks, ..AccessRules::default() }
}

/// Sends a request over a connection and reads the answer, to the end of the connection.
fn ask(mut stream: impl Read + Write, head: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let text =
        format!("{head}\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // TLS connections may end without a goodbye.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).unwrap_or_default().parse().unwrap_or(0);
    (status, answer)
}

fn get(address: SocketAddr, path: &str, headers: &str) -> u16 {
    ask(open(address), format!("GET {path} HTTP/1.1\r\n{headers}").trim_end(), "").0
}

#[test]
fn page_and_api_share_the_port_with_websocket() {
    let server = shared(ServeOptions { admin_access: with_password(&[]), ..ServeOptions::default() });
    let port = server.websocket.unwrap();
    assert!(server.admin.is_none());
    let (status, page) = ask(open(port), "GET / HTTP/1.1", "");
    assert!(status == 200 && page.contains("<title>Drawhall</title>"), "{page}");
    assert_eq!(get(port, "/healthz", ""), 200);
    assert_eq!(get(port, "/api/status", ""), 401);
    assert_eq!(get(port, "/api/status", BASIC), 200);
    assert_eq!(get(port, "/nothing", ""), 404);
    // The body may come behind the head, in parts.
    let mut stream = open(port);
    let body = json!({"message": "x".repeat(5000)}).to_string();
    let head = format!(
        "PUT /api/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{BASIC}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body.as_bytes()[..10]).unwrap();
    stream.write_all(&body.as_bytes()[10..]).unwrap();
    // One request a connection: a proxy that uses connections again would send WebSocket upgrades here.
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
    assert_eq!(get(port, "/healthz", "Upgrade: h2c\r\n"), 200, "other upgrades are ignored");
    // WebSocket is as before, at every path.
    let mut client = server.connect_websocket("").unwrap();
    client.ident("A");
}

#[test]
fn there_a_login_is_always_needed() {
    let server = shared(ServeOptions { admin_port: Some(0), ..ServeOptions::default() });
    assert_eq!(get(server.admin.unwrap(), "/api/status", ""), 200, "as drawpile-srv");
    assert_eq!(get(server.websocket.unwrap(), "/api/status", ""), 401);
    assert_eq!(get(server.websocket.unwrap(), "/api/status", BASIC), 401);
}

#[test]
fn the_address_of_the_client_decides_behind_proxies() {
    let (real, via) = ("X-Real-IP: 192.0.2.1\r\n", "Via: 1.1 proxy\r\n");
    for (networks, expected) in [(&[][..], [403, 403, 403]), (&["192.0.2.0/24"], [200, 403, 200])] {
        let server =
            shared(ServeOptions { admin_access: with_password(networks), ..ServeOptions::default() });
        let port = server.websocket.unwrap();
        let mut behind_proxy_protocol = open(port);
        behind_proxy_protocol.write_all(b"PROXY TCP4 192.0.2.1 127.0.0.1 4000 27751\r\n").unwrap();
        let head = format!("GET /api/status HTTP/1.1\r\n{}", BASIC.trim_end());
        let statuses = [
            get(port, "/api/status", &format!("{BASIC}{real}")),
            get(port, "/api/status", &format!("{BASIC}{via}")),
            ask(behind_proxy_protocol, &head, "").0,
        ];
        assert_eq!(statuses, expected, "{networks:?}");
    }
}

#[test]
fn it_speaks_tls_there_and_only_that_if_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path());
    let source = RuleSource { database: Some(folder.path().join("config.db")), ..RuleSource::default() };
    let server = shared(ServeOptions {
        source,
        certificate: Some(files.clone()),
        websocket_rules: WebSocketRules { secure: true, ..WebSocketRules::default() },
        ..ServeOptions::default()
    });
    let port = server.websocket.unwrap();
    assert_eq!(get(port, "/", ""), 403, "in clear");
    let tls = || encrypt(open(port), &files, &TLS13).unwrap();
    let (status, page) = ask(tls(), "GET / HTTP/1.1", "");
    assert!(status == 200 && page.contains("<title>Drawhall</title>"), "{page}");
    // The first administrator, whose cookie is for encrypted connections only.
    let link = server.first_admin.clone().unwrap();
    let token = link.strip_prefix(&format!("https://{port}/#/first-admin/")).unwrap();
    let account = json!({"token": token, "username": "boss", "password": "secret"}).to_string();
    let head = "POST /api/first-admin HTTP/1.1\r\nContent-Type: application/json";
    let (status, answer) = ask(tls(), &format!("{head}\r\nX-Forwarded-For: 192.0.2.1"), &account);
    assert_eq!(status, 403, "{answer}");
    let (status, answer) = ask(tls(), head, &account);
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains("; Secure"), "{answer}");
    assert!(Client::websocket(tls(), "").is_ok());
}

#[test]
fn websocket_may_be_the_only_port() {
    let server =
        shared(ServeOptions { no_tcp: true, admin_access: with_password(&[]), ..ServeOptions::default() });
    assert_eq!(Some(server.address), server.websocket);
    assert_eq!(get(server.address, "/api/status", BASIC), 200);
    let mut client = server.connect_websocket("").unwrap();
    client.ident("A");
}

#[test]
fn connections_to_the_page_are_limited() {
    let networks = with_password(&["::/0"]);
    let server = shared(ServeOptions { admin_access: networks, ..ServeOptions::default() });
    let port = server.websocket.unwrap();
    // Half a request: the connection stays open.
    let kept: Vec<_> = (0..40)
        .map(|_| {
            let mut stream = open(port);
            stream.write_all(b"PROXY TCP4 192.0.2.1 127.0.0.1 4000 27751\r\n").unwrap();
            stream.write_all(b"POST /api/login HTTP/1.1\r\nHost: localhost\r\n").unwrap();
            stream.write_all(b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n").unwrap();
            stream
        })
        .collect();
    let closed = kept.into_iter().filter(|stream| {
        stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
        let mut stream = stream;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer.is_empty()
    });
    assert_eq!(closed.count(), 40 - 32, "httpConnections of one address");
    assert_eq!(get(port, "/healthz", ""), 200);
}

#[test]
fn wrong_passwords_of_strangers_there_do_not_lock_out_programs_at_the_other_port() {
    let server = shared(ServeOptions {
        admin_port: Some(0),
        admin_access: with_password(&[]),
        ..ServeOptions::default()
    });
    // A tunnel on this machine, which says nothing of who is at its other end.
    let wrong = "Authorization: Basic cm9vdDp3cm9uZw==\r\n";
    let statuses: Vec<u16> = (0..21).map(|_| get(server.websocket.unwrap(), "/api/status", wrong)).collect();
    assert_eq!((statuses[0], statuses[20]), (401, 429));
    assert_eq!(get(server.websocket.unwrap(), "/api/status", BASIC), 429);
    assert_eq!(get(server.admin.unwrap(), "/api/status", BASIC), 200);
}

#[test]
fn the_admin_port_speaks_tls_if_asked_to_and_follows_the_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path());
    let server = TestServer::start_with(
        "",
        ServeOptions {
            admin_port: Some(0),
            admin_tls: true,
            admin_access: with_password(&[]),
            certificate: Some(files.clone()),
            ..ServeOptions::default()
        },
    );
    let port = server.admin.unwrap();
    let head = format!("GET /api/status HTTP/1.1\r\n{}", BASIC.trim_end());
    let (status, answer) = ask(encrypt(open(port), &files, &TLS13).unwrap(), &head, "");
    assert_eq!(status, 200, "{answer}");
    assert_eq!(get(port, "/api/status", BASIC), 0, "in clear nobody is answered");
    // Somebody who says nothing holds up nobody.
    let _silent = open(port);
    let login = json!({"username": "root", "password": "of all"}).to_string();
    let head = "POST /api/login HTTP/1.1\r\nContent-Type: application/json";
    let (status, answer) = ask(encrypt(open(port), &files, &TLS13).unwrap(), head, &login);
    assert!(status == 200 && answer.contains("; Secure"), "{answer}");
    // A renewed pair is used for new connections.
    let renewed = tempfile::tempdir().unwrap();
    let new = certificate(renewed.path());
    std::fs::copy(&new.key, &files.key).unwrap();
    std::fs::copy(&new.certificate, &files.certificate).unwrap();
    common::eventually("the new certificate is used", || encrypt(open(port), &new, &TLS13).is_ok());
}
