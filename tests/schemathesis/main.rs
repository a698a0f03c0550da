//! The admin API against its own description: schemathesis sends requests that the OpenAPI document allows, and some
//! that it forbids, to a server with sessions and people in it.
//!
//! `DRAWHALL_SCHEMATHESIS` is the path of schemathesis; `.ci/schemathesis` installs it. Where it is not set, the test
//! says that it is skipped.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../common/mod.rs"]
mod common;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::http::request;
use common::{Client, SID, TestServer};
use drawhall::app::ServeOptions;
use drawhall::config::RuleSource;
use serde_json::{Value, json};

const CONFIG: &str = include_str!("schemathesis.toml");
/// Requests that change how others are answered. They are sent last.
const LAST: [&str; 2] = ["PUT /locks", "PUT /server"];

/// How often the clients give a sign of life.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Reads what the server sends, until it closes the connection.
fn listen(mut client: Client) {
    client.send(2, 0, &[0]);
    std::thread::spawn(move || {
        let mut due = Instant::now() + PING_INTERVAL;
        while let Some(message) = client.next() {
            if message.kind == 2 {
                // An answer to a ping, without which a quiet connection would end the wait for messages.
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                due = Instant::now() + PING_INTERVAL;
                client.send(2, 0, &[0]);
            }
        }
    });
}

/// A session of this alias with two users; the token of its operator's link.
fn session(server: &TestServer, alias: &str) -> String {
    let mut host = server.connect();
    host.ident(&format!("{alias}-host"));
    let wish = json!({"protocol": "dp:4.24.0", "user_id": 1, "s": SID, "alias": alias,
        "capabilities": "KEEPALIVE,THUMBNAIL"});
    host.command("host", json!([]), wish);
    host.reply(|v| v["state"] == "host");
    host.send(129, 1, &[0; 16]);
    host.command("init-complete", json!([]), json!({}));
    host.command("sessionconf", json!([]), json!({"title": "Harbour", "persistent": true}));
    host.reply(|v| v["type"] == "status");
    let mut other = server.connect();
    other.join(&format!("{alias}-other"), alias);
    // Somebody who was there, drew and was kicked.
    let mut past = server.connect();
    let user = past.join(&format!("{alias}-past"), alias);
    past.send(128, 0, &[]);
    host.until(|m| m.kind == 128 && m.user == user);
    host.command("kick-user", json!([user]), json!({}));
    let alert = host.reply(|v| v["T"] == "undopossible");
    let link = alert["P"]["link"].as_str().unwrap();
    listen(host);
    listen(other);
    link.rsplit('/').next().unwrap().to_owned()
}

/// Fills the server; returns the configuration for it.
fn fill(server: &TestServer) -> String {
    let address = server.admin.unwrap();
    let ask = |method: &str, path: &str, body: Value| {
        let answer = request(address, method, &format!("/api/{path}"), "", Some(&body));
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.json);
        answer.json
    };
    let settings =
        json!({"extBansUrl": "http://127.0.0.1:1/", "sessionCountLimit": 10, "clientTimeout": "0"});
    ask("PUT", "server", settings);
    let [token, ..] = ["stays", "changes", "ends"].map(|alias| session(server, alias));
    let connection = |name: &str| {
        let mut client = server.connect();
        client.ident(name);
        listen(client);
        let users = request(address, "GET", "/api/users", "", None).json;
        let found = users.as_array().unwrap().iter().find(|user| user["name"] == name);
        found.unwrap()["uid"].as_str().unwrap().to_owned()
    };
    let (uid, leaving) = (connection("lobby"), connection("leaving"));
    let secret = || {
        let wish = json!({"maxUses": 3, "trust": true});
        ask("POST", "sessions/stays/invites", wish)["secret"].as_str().unwrap().to_owned()
    };
    let (secret, unneeded) = (secret(), secret());
    let until = "2099-01-01 00:00:00";
    for alias in ["stays", "changes"] {
        ask("POST", &format!("sessions/{alias}/chat"), json!({"message": "hello", "timeout": 900_000}));
    }
    ask("POST", "banlist", json!({"ip": "192.0.2.1", "expires": until}));
    ask("POST", "systembans", json!({"sid": "00000000000000000000000000000001", "expires": until}));
    ask("POST", "userbans", json!({"userId": 5, "expires": until}));
    ask("POST", "accounts", json!({"username": "C", "password": "x", "flags": "MOD"}));
    ask("POST", "log", json!({"level": "Info", "topic": "Status", "message": "[test] line"}));
    let values =
        [("token", token), ("uid", uid), ("leaving", leaving), ("secret", secret), ("unneeded", unneeded)];
    values.iter().fold(CONFIG.to_owned(), |text, (name, value)| text.replace(&format!("@{name}@"), value))
}

#[test]
fn requests_are_answered_as_the_description_says() {
    let Some(schemathesis) = std::env::var_os("DRAWHALL_SCHEMATHESIS") else {
        return common::skip::skip("schemathesis", "DRAWHALL_SCHEMATHESIS is not set");
    };
    let folder = tempfile::tempdir().unwrap();
    let database = Some(folder.path().join("config.db"));
    let page_url = Some("http://localhost/".to_owned());
    let source = RuleSource { database, page_url, ..RuleSource::default() };
    let options =
        ServeOptions { source, admin_port: Some(0), websocket_port: Some(0), ..ServeOptions::default() };
    let server = TestServer::start_with("", options);
    let config = folder.path().join("schemathesis.toml");
    std::fs::write(&config, fill(&server)).unwrap();
    let url = format!("http://{}/api", server.admin.unwrap());
    let run = |filters: &[&str]| {
        let status = Command::new(&schemathesis)
            .arg("--config-file")
            .arg(&config)
            .args(["run", "--no-color", "--url", &url])
            .args(filters)
            .arg(format!("{url}/openapi.json"))
            .current_dir(folder.path())
            .status()
            .unwrap();
        assert!(status.success(), "schemathesis has found mismatches, see above");
    };
    assert!(Path::new(&schemathesis).exists(), "{}", schemathesis.display());
    let first: Vec<&str> = LAST.iter().flat_map(|name| ["--exclude-name", name]).collect();
    run(&first);
    let last: Vec<&str> = LAST.iter().flat_map(|name| ["--include-name", name]).collect();
    run(&last);
    let users =
        request(server.admin.unwrap(), "GET", "/api/sessions/stays", "", None).json["userCount"].clone();
    assert_eq!(users, 2, "the requests met a session with users in it");
}
