//! Servers of one cluster: clients of each see and join the sessions of all.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod admin;
#[path = "../common/mod.rs"]
mod common;
mod ends;
mod port;

use common::child::run_child;
use common::client::system_id;
use common::http::request;
use common::postgres::PostgresDatabase;
use common::{Client, TestServer, eventually};
use drawhall::app::ServeOptions;
use drawhall::config::RuleSource;
use serde_json::{Value, json};

/// A type of message that the server does not look into.
const STROKE: u8 = 140;
/// Names the database for the test `child`.
const CHILD: &str = "DRAWHALL_TEST_NODE";
/// Names a session directory for it.
const CHILD_SESSIONS: &str = "DRAWHALL_TEST_NODE_SESSIONS";

/// A server with links to the others of its database.
fn node(database: &PostgresDatabase) -> TestServer {
    node_with(&database.url(), ServeOptions::default())
}

/// The same, with further options.
fn node_with(database: &str, options: ServeOptions) -> TestServer {
    let source = RuleSource { cluster: Some(database.parse().unwrap()), ..RuleSource::default() };
    let cluster_listen = Some("127.0.0.1:0".parse().unwrap());
    let options =
        ServeOptions { source, cluster_listen, admin_port: Some(0), websocket_port: Some(0), ..options };
    TestServer::start_with("", options)
}

fn listed(server: &TestServer) -> Vec<Value> {
    server.connect().ident_for_list("looker")
}

/// Waits until a server lists a session.
fn wait_for(server: &TestServer, session: &str) {
    eventually("the other server lists the session", || listed(server).iter().any(|s| s["id"] == session));
}

/// Hosts a session on one server, and waits until the other lists it.
fn hosted(one: &TestServer, other: &TestServer) -> (Client, String) {
    let mut host = one.connect();
    let session = host.host_running("host");
    wait_for(other, &session);
    (host, session)
}

/// Logs in and asks to join with a password; returns the answer.
fn ask_to_join(client: &mut Client, name: &str, session: &str, password: &str) -> Value {
    client.ident(name);
    client.command("join", json!([session]), json!({"s": system_id(name), "password": password}));
    client.reply(|v| v["state"] == "join" || v["type"] == "error" || v["state"] == "badPassword")
}

#[test]
fn clients_of_one_server_draw_in_a_session_of_the_other() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (one, other) = (node(&database), node(&database));
    let mut host = one.connect();
    let session = host.host_running("host");
    // More than goes through a link at once.
    let large: Vec<Vec<u8>> = (0..200u8).map(|n| [&[n][..], &[7; 30_000]].concat()).collect();
    large.iter().for_each(|stroke| host.send(STROKE, 1, stroke));
    host.send(STROKE, 1, b"last");
    wait_for(&other, &session);

    let mut relayed = other.connect();
    let user = relayed.join("guest", &session);
    assert!(user > 1);
    let strokes = relayed.contents_until(STROKE, b"last");
    assert_eq!(strokes, [&large[..], &[b"last".to_vec()]].concat(), "the whole history, in order");
    // The server makes every message one of its sender's.
    relayed.send(STROKE, 1, b"from afar");
    let got = host.until(|m| m.kind == STROKE && m.payload == b"from afar");
    assert_eq!(got.user, user);
    host.send(STROKE, 1, b"answer");
    relayed.until(|m| m.kind == STROKE && m.payload == b"answer");
    // Over WebSocket as well.
    let mut web = other.connect_websocket("Origin: http://127.0.0.1\r\n").unwrap();
    web.join("web", &session);
    let strokes = web.contents_until(STROKE, b"answer");
    assert_eq!(strokes.len(), 203);
    web.send(STROKE, 0, b"from the web");
    for client in [&mut host, &mut relayed] {
        client.until(|m| m.kind == STROKE && m.payload == b"from the web");
    }
    // Pings are answered where the connection is.
    relayed.send(2, 0, &[0]);
    relayed.until(|m| m.kind == 2 && m.payload == [1]);

    let counted = || (other.metrics.linked_servers.get(), other.metrics.relayed_clients.get());
    eventually("server and clients are counted", || counted() == (1, 2));
    relayed.close();
    host.until(|m| m.kind == 33 && m.user == user);
    drop(web);
    eventually("they are not counted any more", || counted() == (1, 0));
    host.send(STROKE, 1, b"alone");
    host.until(|m| m.kind == STROKE && m.payload == b"alone");
}

#[test]
fn who_waits_in_the_lobby_sees_sessions_of_all_servers_come_and_go() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (one, other) = (node(&database), node(&database));
    let (mut host, session) = hosted(&one, &other);
    let mut lobby = other.connect();
    let shown = lobby.ident_for_list("lobby");
    assert_eq!((shown.len(), &shown[0]["id"], &shown[0]["founder"]), (1, &json!(session), &json!("host")));
    host.command("sessionconf", json!([]), json!({"title": "From afar"}));
    let titled = |v: &Value| v["sessions"][0]["title"] == "From afar";
    lobby.reply(|v| v["type"] == "login" && titled(v));
    // The administrator of each server sees where it is.
    let sessions = request(other.admin.unwrap(), "GET", "/api/sessions", "", None).json;
    assert!(sessions[0]["node"].is_string(), "{sessions}");
    let mine = request(one.admin.unwrap(), "GET", "/api/sessions", "", None).json;
    assert_eq!(mine[0]["node"], Value::Null);
    drop(host);
    let removed = lobby.reply(|v| v["remove"].is_array());
    assert_eq!(removed["remove"], json!([session]));
    assert_eq!(listed(&other), Vec::<Value>::new());
}

#[test]
fn a_session_decides_who_may_join_from_another_server() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (one, other) = (node(&database), node(&database));
    let mut host = one.connect();
    let session = host.host_running("host");
    host.command("sessionconf", json!([]), json!({"password": "secret"}));
    host.reply(|v| v["type"] == "sessionconf" && v["config"]["hasPassword"] == true);
    wait_for(&other, &session);

    let mut guest = other.connect();
    let refused = ask_to_join(&mut guest, "guest", &session, "wrong");
    assert_ne!(refused["state"], "join", "{refused}");
    guest.command("join", json!([session]), json!({"s": system_id("guest"), "password": "secret"}));
    let joined = guest.reply(|v| v["state"] == "join");
    let user = joined["join"]["user"].clone();
    // The name is taken, and that is said by the session, in the words that a client of it gets.
    let twin = ask_to_join(&mut other.connect(), "host", &session, "secret");
    assert_eq!(twin, ask_to_join(&mut one.connect(), "host", &session, "secret"));
    assert_eq!(twin["code"], "nameInuse");

    host.command("kick-user", json!([user]), json!({}));
    let goodbye = guest.until(|m| m.kind == 1);
    assert_eq!(goodbye.payload[0], 1, "kicked: {goodbye}");
    assert_eq!(guest.rest(), [], "and the connection ends");
}

#[test]
fn whoever_comes_back_through_another_server_gets_only_what_is_new() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (one, other) = (node(&database), node(&database));
    let mut host = one.connect();
    let session = host.host_running("host");
    host.send(STROKE, 1, b"old");
    host.until(|m| m.kind == STROKE);
    wait_for(&other, &session);
    let mut guest = one.connect();
    guest.join("guest", &session);
    let hidx = guest.reply(|v| v["type"] == "caughtup")["hidx"].as_str().unwrap().to_owned();
    guest.close();
    host.send(STROKE, 1, b"new");
    host.until(|m| m.kind == STROKE);

    let mut back = other.connect();
    back.ident("guest");
    back.command("join", json!([session]), json!({"s": system_id("guest"), "hidx": hidx}));
    let joined = back.reply(|v| v["state"] == "join");
    assert_eq!(joined["join"]["skip"], true, "{joined}");
    assert_eq!(back.contents_until(STROKE, b"new"), [b"new".to_vec()]);
}

#[test]
fn an_invite_is_looked_up_at_the_server_of_the_session() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (one, other) = (node(&database), node(&database));
    let (_host, session) = hosted(&one, &other);
    let look_up = |server: &TestServer, invite: &str| {
        let mut client = server.connect();
        client.greeting();
        let info = json!({"app_version": "2.3.1", "protocol_version": "dp:4.24.0", "s": system_id("x")});
        client.command("cinfo", json!(["localhost", info]), json!({}));
        client.command("lookup", json!([format!("{session}{invite}")]), json!({}));
        client.reply(|v| v["lookup"].is_string() || v["type"] == "error")
    };
    let found = look_up(&other, "");
    assert_eq!((&found["lookup"], &found["session"]["id"]), (&json!("join"), &json!(session)), "{found}");
    let refused = look_up(&other, ":nothing");
    assert_eq!(refused, look_up(&one, ":nothing"));
    assert_eq!(refused["type"], "error");
}

/// A server in a process of its own, for tests that kill it.
#[test]
fn child() {
    let Ok(database) = std::env::var(CHILD) else { return };
    let sessions = std::env::var_os(CHILD_SESSIONS).map(Into::into);
    let server = node_with(&database, ServeOptions { sessions, ..ServeOptions::default() });
    run_child(&server.address.to_string());
}

#[test]
fn a_client_that_does_not_read_slows_nobody_and_loses_nothing() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (one, other) = (node(&database), node(&database));
    let (mut host, session) = hosted(&one, &other);
    let (mut slow, mut quick) = (other.connect(), other.connect());
    slow.join("slow", &session);
    quick.join("quick", &session);
    // More than sockets and windows hold; the rest waits in the history.
    let strokes: Vec<Vec<u8>> = (0..400u16).map(|n| [&n.to_be_bytes()[..], &[1; 50_000]].concat()).collect();
    for stroke in &strokes {
        host.send(STROKE, 1, stroke);
        assert_eq!(quick.until(|m| m.kind == STROKE).payload, *stroke);
    }
    for stroke in &strokes {
        assert_eq!(slow.until(|m| m.kind == STROKE).payload, *stroke);
    }
}
