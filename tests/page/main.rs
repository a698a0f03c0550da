//! The admin page in a real browser, against a server with people in it.
//!
//! It needs Node.js, what `tests/page/package.json` names, and Chromium, whose path is in `DRAWHALL_CHROMIUM`; `.ci/page`
//! installs all that. Where it is not set, the test says that it is skipped.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../common/mod.rs"]
mod common;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::http::request;
use common::{Client, SID, TestServer};
use drawhall::admin::{AccessRules, Credentials};
use drawhall::app::ServeOptions;
use drawhall::config::RuleSource;
use drawhall::db::LogRow;
use drawhall::db::log::log_layer;
use serde_json::json;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// A picture of one pixel.
const PICTURE: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// Somebody who hosts, and makes pictures of the canvas when asked.
fn ada(server: &TestServer) -> (Client, String) {
    let mut client = server.connect();
    client.ident("Ada");
    let host =
        json!({"protocol": "dp:4.24.0", "user_id": 1, "s": SID, "capabilities": "KEEPALIVE,THUMBNAIL"});
    client.command("host", json!([]), host);
    let id = client.reply(|v| v["state"] == "host")["join"]["id"].as_str().unwrap().to_owned();
    client.send(129, 1, &[0; 16]);
    client.command("init-complete", json!([]), json!({}));
    client.command("sessionconf", json!([]), json!({"title": "Harbour", "persistent": true}));
    client.reply(|v| v["type"] == "status");
    (client, id)
}

fn make_pictures(mut client: Client) {
    let picture = BASE64.decode(PICTURE).unwrap();
    std::thread::spawn(move || {
        while let Some(message) = client.next() {
            let Some(asked) = message.json().filter(|v| v["type"] == "thumbnail") else { continue };
            if let Some(correlator) = asked["correlator"].as_str() {
                client.send(4, 0, &[correlator.as_bytes(), &picture].concat());
            }
        }
    });
}

/// Runs a script of this directory with the browser; pictures go to the returned directory.
fn walk(script: &str, arguments: &[String], chromium: &OsStr) -> (ExitStatus, PathBuf) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page");
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    std::fs::create_dir_all(&pictures).unwrap();
    let mut node = Command::new("node");
    node.arg(here.join(script)).args(arguments).arg(&pictures).env("DRAWHALL_CHROMIUM", chromium);
    (node.status().unwrap(), pictures)
}

/// What the log says about a session in the night before this one, as the page understands that in UTC: an hour and what
/// was just before and after it.
fn last_night(server: &TestServer, session: &str) {
    let now = jiff::Timestamp::now().as_second();
    // The evening before this one: a night ends at six in the morning.
    let evenings_ago = if now % 86_400 < 6 * 3_600 { 2 } else { 1 };
    let evening = jiff::Timestamp::from_second(now - evenings_ago * 86_400).unwrap().strftime("%Y-%m-%d");
    let row = |time: &str, topic: &str, user: &str, message: &str| LogRow {
        timestamp: format!("{evening}T{time}Z"),
        level: 2,
        topic: topic.into(),
        user: user.into(),
        session: session.into(),
        message: message.into(),
    };
    let (troll, ann) = ("7;198.51.100.24;Nightmare", "3;192.0.2.9;Ann");
    let rows = [
        row("21:59:59", "Join", "2;192.0.2.8;Too early", "Joined session"),
        row("22:00:00", "Join", ann, "Joined session"),
        row("22:10:00", "Join", troll, "Joined session"),
        row("22:15:00", "Report", ann, "Abuse report about user 7 received: covers everyone's drawings"),
        row("22:20:00", "Kick", troll, "Kicked by juniper (scribbling) (kicked via web admin)"),
        row("22:21:00", "Ban", troll, "Banned by juniper"),
        row("22:40:00", "Status", ann, "Session reset prepared"),
        row("22:59:59", "Leave", ann, "Left session"),
        row("23:01:00", "Join", "4;192.0.2.7;Too late", "Joined session"),
    ];
    server.log.append_log(&rows).unwrap();
}

/// Five days of a log before this night, in 5,600 lines of people who come and go.
fn days_before(server: &TestServer) {
    let begin = jiff::Timestamp::now().as_second() - 6 * 86_400;
    let rows: Vec<LogRow> = (0..5_600)
        .map(|number: i64| {
            let at = jiff::Timestamp::from_second(begin + number * 77).unwrap();
            let (topic, message) =
                if number % 2 == 0 { ("Join", "Joined session") } else { ("Leave", "Left session") };
            LogRow {
                timestamp: at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                level: 2,
                topic: topic.into(),
                user: format!("{};203.0.113.{};visitor {}", number % 200, number % 250, number / 2),
                session: "01k000000000000000000000ab".into(),
                message: message.into(),
            }
        })
        .collect();
    server.log.append_log(&rows).unwrap();
}

/// Two evenings of moderators with a troll. The scripts bring in the people: they watch what these are told. They are given
/// a session that was there in the night before. First the checks, then the tasks, which are counted.
fn moderate(server: &TestServer, basic: &str, chromium: &OsStr) -> (ExitStatus, PathBuf) {
    let admin = server.admin.unwrap();
    let wanted = json!({"title": "Night harbour", "persistent": true});
    let made = request(admin, "POST", "/api/sessions", basic, Some(&wanted)).json;
    let session = made["id"].as_str().unwrap().to_owned();
    last_night(server, &session);
    let arguments = [format!("http://{admin}/"), server.address.port().to_string(), session];
    let checks = walk("moderators.mjs", &arguments, chromium);
    if checks.0.success() { walk("tasks.mjs", &arguments, chromium) } else { checks }
}

/// A server that nobody administers yet.
fn without_administrator() -> (TestServer, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let source = RuleSource { database: Some(folder.path().join("config.db")), ..RuleSource::default() };
    let admin_access = AccessRules { login_required: true, ..AccessRules::default() };
    let options = ServeOptions { source, admin_port: Some(0), admin_access, ..ServeOptions::default() };
    (TestServer::start_with("", options), folder)
}

#[test]
fn the_page_does_what_administrators_need() {
    let Some(chromium) = std::env::var_os("DRAWHALL_CHROMIUM") else {
        return common::skip::skip("page", "DRAWHALL_CHROMIUM does not name a browser");
    };
    let folder = tempfile::tempdir().unwrap();
    let (layer, queue) = log_layer(Arc::default());
    let filter = tracing_subscriber::EnvFilter::new("info,actix_server=warn");
    tracing_subscriber::registry().with(filter).with(layer).init();
    let recordings = folder.path().join("recordings");
    std::fs::create_dir(&recordings).unwrap();
    let credentials = Credentials::parse("root:of all").ok();
    let source = RuleSource { database: Some(folder.path().join("config.db")), ..RuleSource::default() };
    let options = ServeOptions {
        source,
        admin_port: Some(0),
        admin_access: AccessRules { credentials, ..AccessRules::default() },
        events: Some(folder.path().join("events")),
        record: Some(recordings.to_str().unwrap().to_owned()),
        ..ServeOptions::default()
    };
    let server = TestServer::start_with("", options);
    days_before(&server);
    let writer = queue.write_to(server.log.clone(), || 0).unwrap();
    let admin = server.admin.unwrap();
    let basic = "Authorization: Basic cm9vdDpvZiBhbGw=\r\n";
    let account = json!({"username": "boss", "password": "secret", "flags": "ADMIN"});
    assert_eq!(request(admin, "POST", "/api/accounts", basic, Some(&account)).status, 200);
    // The people who are made here send no pings.
    let inbox = json!({"reportInbox": true, "clientTimeout": 600});
    assert_eq!(request(admin, "PUT", "/api/server", basic, Some(&inbox)).status, 200);

    let (client, id) = ada(&server);
    make_pictures(client);
    let mut ben = server.connect();
    ben.join("Ben", &id);
    let mut cleo = server.connect();
    cleo.join("Cleo", &id);
    let mut vandal = server.connect();
    vandal.join("Vandal", &id);
    for _ in 0..7 {
        vandal.send(128, 0, &[]);
        vandal.send(148, 0, &[7; 200]);
    }
    vandal.until(|m| m.kind == 148);
    let over = Arc::new(AtomicBool::new(false));
    let (ended, chat) = (over.clone(), id.clone());
    let chatting = std::thread::spawn(move || {
        while !ended.load(Ordering::Relaxed) {
            ben.send(35, 0, &[b"\0\0as it happens in ".as_slice(), &chat.as_bytes()[..4]].concat());
            ben.send(148, 0, &[7; 200]);
            std::thread::sleep(Duration::from_millis(400));
        }
    });

    let (sentences, _) = walk("sentences.mjs", &[], &chromium);
    assert!(sentences.success(), "what the log says is told in sentences");
    let (first_admin, _folder) = without_administrator();
    let link = first_admin.first_admin.clone().unwrap();
    let (status, pictures) = walk("page.mjs", &[format!("http://{admin}/"), link], &chromium);
    over.store(true, Ordering::Relaxed);
    chatting.join().unwrap();
    let mut late = server.connect();
    late.join("Late", &id);
    let undos = (0..10).map(|_| late.until(|m| m.kind == 255).payload[1]);
    let undos: Vec<u8> = if status.success() { undos.collect() } else { Vec::new() };
    drop(late);
    let (evening, _) = moderate(&server, basic, &chromium);
    drop(server);
    writer.stop();
    assert!(status.success(), "pictures of the screens are in {}", pictures.display());
    assert!(evening.success(), "pictures of the evening are in {}", pictures.display());
    assert_eq!(undos, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1], "five actions were undone, and redone");
}

/// Somebody covers the canvas and leaves; that is undone and removed, and brought back, three times: on the admin page,
/// and by an operator's link on a phone and on a wide screen. Everybody in the session follows.
#[test]
fn what_a_vandal_drew_is_undone_and_brought_back() {
    let Some(chromium) = std::env::var_os("DRAWHALL_CHROMIUM") else {
        return common::skip::skip("page", "DRAWHALL_CHROMIUM does not name a browser");
    };
    let folder = tempfile::tempdir().unwrap();
    let source = RuleSource {
        database: Some(folder.path().join("config.db")),
        page_url: Some("https://draw.example.org/".into()),
        ..RuleSource::default()
    };
    let credentials = Credentials::parse("root:of all").ok();
    let options = ServeOptions {
        source,
        sessions: Some(folder.path().join("sessions")),
        admin_port: Some(0),
        admin_access: AccessRules { credentials, operator_links: true, ..AccessRules::default() },
        ..ServeOptions::default()
    };
    let server = TestServer::start_with("", options);
    let admin = server.admin.unwrap();
    let account = json!({"username": "boss", "password": "secret", "flags": "ADMIN"});
    let basic = "Authorization: Basic cm9vdDpvZiBhbGw=\r\n";
    assert_eq!(request(admin, "POST", "/api/accounts", basic, Some(&account)).status, 200);
    // Nobody here answers pings, and a walk takes a while.
    let patient = json!({"clientTimeout": "1h"});
    assert_eq!(request(admin, "PUT", "/api/server", basic, Some(&patient)).status, 200);

    let (mut ada, id) = ada(&server);
    let mut ben = server.connect();
    ben.join("Ben", &id);
    let times = || {
        let list = request(admin, "GET", &format!("/api/sessions/{id}/times"), basic, None).json;
        list["times"].as_array().unwrap().len()
    };
    let next_second = |ada: &mut Client| {
        let before = times();
        common::eventually("a second passes", || {
            ada.send(66, 0, &[0; 8]);
            times() > before
        });
    };
    next_second(&mut ada);
    ben.send(128, 0, &[]);
    ben.send(148, 0, &[1; 200]);
    ada.until(|m| m.kind == 148);
    let mut vandal = server.connect();
    let user = vandal.join("Vandal", &id);
    for (actions, waits) in [(5, true), (2, false)] {
        for _ in 0..actions {
            vandal.send(128, 0, &[]);
            vandal.send(148, 0, &[7; 200]);
        }
        for _ in 0..actions {
            ada.until(|m| m.kind == 148 && m.user == user);
        }
        if waits {
            next_second(&mut ada);
        }
    }
    vandal.close();
    ada.until(|m| m.kind == 33 && m.user == user);
    ada.command("kick-user", json!([user]), json!({"ban": true}));
    let alert = ada.reply(|v| v["T"] == "undopossible");
    let link = alert["P"]["link"]
        .as_str()
        .unwrap()
        .replace("https://draw.example.org/", &format!("http://{admin}/"));

    let (status, pictures) = walk("vandal.mjs", &[format!("http://{admin}/"), link], &chromium);
    assert!(status.success(), "pictures of the screens are in {}", pictures.display());
    let strokes = |client: &mut Client, count: usize| {
        client.reply(|v| v["type"] == "reset" && v["state"] == "reset");
        (0..count).map(|_| client.until(|m| m.kind == 148).payload[0]).collect::<Vec<u8>>()
    };
    let all = [1, 7, 7, 7, 7, 7, 7, 7];
    assert!(strokes(&mut ben, 0).is_empty(), "back to when nobody had drawn");
    assert_eq!(strokes(&mut ben, 8), all);
    for _ in 0..3 {
        for redo in [0, 1] {
            let undos = [(); 7].map(|()| ben.until(|m| m.kind == 255).payload);
            assert_eq!(undos, [(); 7].map(|()| vec![user, redo]));
        }
        assert_eq!(strokes(&mut ben, 1), [1], "Ben's stroke stays");
        assert_eq!(strokes(&mut ben, 8), all);
    }
}
