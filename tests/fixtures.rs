//! What earlier builds of this server have written can be read: a stored session, a database, a trace. What is recorded
//! of conversations, the admin API and messages is in `tests/fixtures`, too; `real_client`, `admin`, `tools` and the
//! protocol's `golden_wire` replay it.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::fs;

use common::{SID, TestServer, fixtures};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;
use drawhall::app::ServeOptions;
use drawhall::config::RuleSource;
use drawhall::trace::replay;
use serde_json::{Value, json};

/// The messages of the recorded host that end up in the history of its session.
fn drawn() -> Vec<(u8, Vec<u8>)> {
    use base64::Engine as _;
    let text = fs::read_to_string(fixtures().join("conversation.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let said = lines.filter(|line| line["way"] == "to-server" && line["type"] != 0);
    said.map(|line| {
        let data = base64::engine::general_purpose::STANDARD.decode(line["data"].as_str().unwrap()).unwrap();
        (u8::try_from(line["type"].as_u64().unwrap()).unwrap(), data)
    })
    .collect()
}

#[test]
fn a_stored_session_goes_on_with_its_content_passwords_and_settings() {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixtures().join("sessions")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let server = TestServer::storing("[config]\npersistence=true\n", folder.path());
    let mut client = server.connect();
    let listed = client.ident_for_list("newcomer");
    let session = &listed[0];
    assert_eq!((listed.len(), &session["alias"], &session["founder"]), (1, &json!("harbour"), &json!("Ada")));
    assert_eq!((&session["title"], &session["maxUserCount"]), (&json!("Harbour at night"), &json!(10)));
    for (password, key, value) in [("wrong", "code", "badPassword"), ("sesame", "state", "join")] {
        client.command("join", json!(["harbour"]), json!({"s": SID, "password": password}));
        client.reply(|v| v[key] == value);
    }
    let expected = drawn();
    let mut got = Vec::new();
    while got.len() < expected.len() {
        let message = client.next().expect("the connection is open");
        if message.kind >= 64 || message.kind == 35 {
            got.push((message.kind, message.payload));
        }
    }
    assert!(got == expected, "the history is what was drawn");
    client.command("gain-op", json!(["op"]), json!({}));
    client.reply(|v| v["T"] == "opgive");
}

#[test]
fn a_database_is_adopted_with_its_accounts_bans_and_settings() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.db");
    let sql = fs::read_to_string(fixtures().join("config.sql")).unwrap();
    SqliteConnection::establish(path.to_str().unwrap()).unwrap().batch_execute(&sql).unwrap();
    let source = RuleSource { database: Some(path), ..RuleSource::default() };
    let server =
        TestServer::start_with("", ServeOptions { source, admin_port: Some(0), ..ServeOptions::default() });
    server.connect().ident_as("mod", "modpw");
    let get = |path: &str| common::http::request(server.admin.unwrap(), "GET", path, "", None).json;
    assert_eq!(
        get("/api/accounts"),
        json!([{"flags": "MOD,HOST", "id": 1, "locked": false, "username": "mod"}])
    );
    let bans = get("/api/banlist");
    assert_eq!((&bans[0]["ip"], &bans[0]["subnet"]), (&json!("192.0.2.0"), &json!(24)), "{bans}");
    let settings = get("/api/server");
    assert_eq!((&settings["serverTitle"], &settings["persistence"]), (&json!("Fixtures"), &json!(true)));
}

/// Replays a trace of one session, with so many logins.
fn check_trace(name: &str, logins: u64) {
    let trace = fs::File::open(fixtures().join(name)).unwrap();
    let replayed = replay::run(std::io::BufReader::new(trace), |_| {}).unwrap();
    assert!(replayed.different.is_empty(), "record it again if the rules changed on purpose: {replayed:?}");
    assert_eq!((replayed.sessions, replayed.logins, replayed.skipped), (1, logins, 0));
    assert!(replayed.compared > 10, "{replayed:?}");
}

#[test]
fn a_recorded_trace_has_the_same_effects_again() {
    check_trace("evening.trace", 2);
}

/// Recorded by commit a92f3c3, before fields of inputs and effects were renamed.
#[test]
fn a_trace_with_the_old_names_has_the_same_effects() {
    check_trace("before-renames.trace", 2);
}

/// Recorded by commit 849a313, whose sessions answered administrators in JSON.
#[test]
fn a_trace_with_requests_of_an_administrator_has_the_same_effects() {
    check_trace("admin.trace", 3);
}
