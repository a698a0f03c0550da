//! Servers of one cluster: clients of each see and join the sessions of all.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use common::child::{run_child, spawn_child};
use common::client::system_id;
use common::http::request;
use common::postgres::PostgresDatabase;
use common::{Client, PATIENCE, TestServer, eventually};
use drawhall::admin::AccessRules;
use drawhall::app::{ServeOptions, start};
use drawhall::config::RuleSource;
use drawhall::db::Database;
use serde_json::{Value, json};

/// A type of message that the server does not look into.
const STROKE: u8 = 140;
/// Names the database for the test `child`.
const CHILD: &str = "DRAWHALL_TEST_NODE";

/// A server with links to the others of its database.
fn node(database: &PostgresDatabase) -> TestServer {
    node_with(&database.url(), AccessRules::default())
}

/// The same, with this access to its admin API.
fn node_with(database: &str, admin_access: AccessRules) -> TestServer {
    let source = RuleSource { cluster: Some(database.parse().unwrap()), ..RuleSource::default() };
    let cluster_listen = Some("127.0.0.1:0".parse().unwrap());
    let options = ServeOptions {
        source,
        cluster_listen,
        admin_access,
        admin_port: Some(0),
        websocket_port: Some(0),
        ..ServeOptions::default()
    };
    TestServer::start_with("", options)
}

fn listed(server: &TestServer) -> Vec<Value> {
    server.connect().ident_for_list("looker")
}

/// Waits until a server lists a session.
fn wait_for(server: &TestServer, session: &str) {
    eventually("the other server lists the session", || listed(server).iter().any(|s| s["id"] == session));
}

/// The content of the strokes until one says `last`.
fn strokes_until(client: &mut Client, last: &[u8]) -> Vec<Vec<u8>> {
    let mut strokes = Vec::new();
    while strokes.last().is_none_or(|stroke: &Vec<u8>| stroke != last) {
        strokes.push(client.until(|m| m.kind == STROKE).payload);
    }
    strokes
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
    let strokes = strokes_until(&mut relayed, b"last");
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
    let strokes = strokes_until(&mut web, b"answer");
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
    let mut host = one.connect();
    let session = host.host_running("host");
    wait_for(&other, &session);
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
    assert_eq!(strokes_until(&mut back, b"new"), [b"new".to_vec()]);
}

#[test]
fn an_invite_is_looked_up_at_the_server_of_the_session() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (one, other) = (node(&database), node(&database));
    let mut host = one.connect();
    let session = host.host_running("host");
    wait_for(&other, &session);
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

#[test]
fn clients_are_told_when_the_server_of_their_session_is_gone() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (mut one, other) = (node(&database), node(&database));
    let mut host = one.connect();
    let session = host.host_running("host");
    wait_for(&other, &session);
    let mut guest = other.connect();
    guest.join("guest", &session);
    let mut own = other.connect();
    let its_own = own.host_running("own");
    one.stop();
    let goodbye = guest.until(|m| m.kind == 1);
    assert_eq!(goodbye.payload[0], 2, "it stops: {goodbye}");
    let only_own = || listed(&other).iter().map(|s| s["id"].clone()).collect::<Vec<_>>() == [json!(its_own)];
    eventually("the session is no longer listed", only_own);
    let refused = ask_to_join(&mut other.connect(), "guest", &session, "");
    assert_eq!(refused["code"], "notFound");
    own.send(STROKE, 1, b"goes on");
    own.until(|m| m.kind == STROKE);
}

/// A server in a process of its own, for [`clients_are_told_when_the_server_of_their_session_is_killed`].
#[test]
fn child() {
    let Ok(database) = std::env::var(CHILD) else { return };
    let server = node_with(&database, AccessRules::default());
    run_child(&server.address.to_string());
}

#[test]
fn clients_are_told_when_the_server_of_their_session_is_killed() {
    let Some(database) = PostgresDatabase::create() else { return };
    let other = node(&database);
    let mut command = Command::new(std::env::current_exe().unwrap());
    let (mut process, address) = spawn_child(command.env(CHILD, database.url()));
    let mut host = Client::connect(address.unwrap().parse().unwrap());
    let session = host.host_running("host");
    wait_for(&other, &session);
    let (mut guest, mut lobby) = (other.connect(), other.connect());
    guest.join("guest", &session);
    assert_eq!(lobby.ident_for_list("lobby").len(), 1);
    process.kill().unwrap();
    process.wait().unwrap();
    let goodbye = guest.until(|m| m.kind == 1);
    assert!(String::from_utf8_lossy(&goodbye.payload).contains("was lost"), "{goodbye}");
    assert_eq!(lobby.reply(|v| v["remove"].is_array())["remove"], json!([session]));
    assert_eq!(ask_to_join(&mut other.connect(), "guest", &session, "")["code"], "notFound");
}

#[test]
fn a_server_that_stops_says_so_to_clients_in_sessions_of_others() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (one, mut other) = (node(&database), node(&database));
    let mut host = one.connect();
    let session = host.host_running("host");
    wait_for(&other, &session);
    let mut guest = other.connect();
    let user = guest.join("guest", &session);
    other.stop();
    let goodbye = guest.until(|m| m.kind == 1);
    assert_eq!(goodbye.payload[0], 2, "{goodbye}");
    host.until(|m| m.kind == 33 && m.user == user);
}

#[test]
fn a_client_that_does_not_read_slows_nobody_and_loses_nothing() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (one, other) = (node(&database), node(&database));
    let mut host = one.connect();
    let session = host.host_running("host");
    wait_for(&other, &session);
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

#[test]
fn an_administrator_of_one_server_rules_the_sessions_and_users_of_all() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (one, other) = (node(&database), node(&database));
    let mut host = one.connect();
    let session = host.host_running("host");
    wait_for(&other, &session);
    let mut guest = other.connect();
    let user = guest.join("guest", &session);
    let admin = other.admin.unwrap();
    let path = format!("/api/sessions/{session}");

    let details = request(admin, "GET", &path, "", None);
    assert_eq!((details.status, &details.json["founder"]), (200, &json!("host")), "{}", details.json);
    assert_eq!(details.json, request(one.admin.unwrap(), "GET", &path, "", None).json);
    let changed = request(admin, "PUT", &path, "", Some(&json!({"title": "Ruled from afar"})));
    assert_eq!(changed.status, 200, "{}", changed.json);
    host.reply(|v| v["config"]["title"] == "Ruled from afar");
    let refused = request(admin, "PUT", &path, "", Some(&json!({"resetThreshold": "much"})));
    assert_eq!(refused.status, 400, "the answer of the other server: {}", refused.json);
    assert_eq!(request(admin, "GET", &format!("{path}/nowhere"), "", None).status, 404);

    // Everybody is listed once, wherever their connection and their session are.
    let mut own = other.connect();
    own.ident("own");
    let names = |users: &Value| {
        let mut names: Vec<(String, bool)> = (users.as_array().unwrap().iter())
            .map(|user| (user["name"].as_str().unwrap().to_owned(), user["node"].is_string()))
            .collect();
        names.sort();
        names
    };
    let expected =
        [("guest", true), ("host", true), ("own", false)].map(|(name, far)| (name.to_owned(), far));
    eventually("all are listed", || names(&request(admin, "GET", "/api/users", "", None).json) == expected);
    let local = request(admin, "GET", "/api/users?local=true", "", None).json;
    assert_eq!(names(&local), [("own".to_owned(), false)]);

    let users = request(admin, "GET", "/api/users", "", None).json;
    let uid = |name: &str| {
        let user = users.as_array().unwrap().iter().find(|user| user["name"] == name).unwrap();
        format!("/api/users/{}", user["uid"].as_str().unwrap())
    };
    assert_eq!(request(admin, "GET", &uid("guest"), "", None).json["id"], user);
    assert_eq!(request(admin, "GET", "/api/users/nobody.1", "", None).status, 404);
    assert_eq!(request(admin, "DELETE", &format!("{}?message=out", uid("host")), "", None).status, 200);
    let goodbye = host.until(|m| m.kind == 1);
    assert!(String::from_utf8_lossy(&goodbye.payload).contains("out"), "{goodbye}");
    assert_eq!(request(admin, "DELETE", &format!("{path}/{user}"), "", None).status, 200);
    assert_eq!(guest.until(|m| m.kind == 1).payload[0], 1, "kicked");
    eventually("an empty session ends", || request(admin, "GET", &path, "", None).status == 404);
    let mut second = one.connect();
    let session = second.host_running("second");
    wait_for(&other, &session);
    assert_eq!(request(admin, "DELETE", &format!("/api/sessions/{session}"), "", None).status, 200);
    second.until(|m| m.kind == 1);
}

#[test]
fn who_may_only_read_here_may_only_read_there() {
    let Some(database) = PostgresDatabase::create() else { return };
    let asks_for_login = AccessRules { login_required: true, ..AccessRules::default() };
    let (one, other) = (node(&database), node_with(&database.url(), asks_for_login));
    let mut host = one.connect();
    let session = host.host_running("host");
    wait_for(&other, &session);
    database
        .execute("INSERT INTO users (username, password, flags) VALUES ('reader', 'plain;pw', 'ADMINREAD')");
    let path = format!("/api/sessions/{session}");
    // reader:pw
    let login = "Authorization: Basic cmVhZGVyOnB3\r\n";
    let admin = other.admin.unwrap();
    eventually("the account counts", || request(admin, "GET", &path, login, None).status == 200);
    assert_eq!(request(admin, "GET", &path, "", None).status, 401);
    let refused = request(admin, "PUT", &path, login, Some(&json!({"title": "mine"})));
    assert_eq!(refused.status, 403, "{}", refused.json);
}

#[test]
fn a_ban_ends_connections_at_all_servers() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (one, other) = (node(&database), node(&database));
    let mut host = one.connect();
    let session = host.host_running("host");
    wait_for(&other, &session);
    // One comes from where the ban is made, into a session elsewhere; the other is elsewhere altogether.
    let (mut relayed, mut far) = (other.connect(), one.connect());
    relayed.join("relayed", &session);
    far.join("far", &session);
    let ban = json!({
        "devices": [system_id("relayed"), system_id("far")], "name": "troll", "reason": "spam", "forever": true,
    });
    let made = request(other.admin.unwrap(), "POST", "/api/bans", "", Some(&ban));
    assert_eq!(made.status, 200, "{}", made.json);
    let sent_away = made.json["disconnected"].as_array().unwrap();
    let mut names: Vec<&str> = sent_away.iter().map(|user| user["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["far", "relayed"]);
    assert!(sent_away.iter().all(|user| user["uid"].as_str().unwrap().contains('.')), "{sent_away:?}");
    for client in [&mut relayed, &mut far] {
        let goodbye = client.until(|m| m.kind == 1);
        assert!(String::from_utf8_lossy(&goodbye.payload).contains("spam"), "{goodbye}");
    }
    // One that is over ends nothing.
    let path = format!("/api/bans/{}", made.json["ban"]["id"].as_str().unwrap());
    assert_eq!(request(one.admin.unwrap(), "DELETE", &path, "", None).status, 200);
    let over = request(other.admin.unwrap(), "POST", &format!("{path}/disconnect"), "", None);
    assert_eq!(over.status, 409, "{}", over.json);
}

#[actix_rt::test]
async fn links_need_a_database_that_servers_share() {
    let cluster_listen = Some("127.0.0.1:0".parse().unwrap());
    let options = ServeOptions { cluster_listen, ..ServeOptions::default() };
    let error = start(&options).map(|_| ()).unwrap_err().to_string();
    assert_eq!(error, "--cluster-listen: it needs --cluster");
}

#[test]
fn strangers_get_nothing_at_the_port_of_links() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (one, other) = (node(&database), node(&database));
    let table = Database::connect(&database.url().parse().unwrap(), &[]).unwrap();
    let addresses = || table.live_nodes().unwrap().into_iter().map(|node| node.address).collect::<Vec<_>>();
    eventually("both are in the list", || addresses().len() == 2);
    let mut silent = Vec::new();
    for address in addresses() {
        let mut plain = TcpStream::connect(&address).unwrap();
        plain.set_read_timeout(Some(PATIENCE)).unwrap();
        plain.write_all(b"{\"kind\":\"watch\"} and more of it").unwrap();
        let mut answer = Vec::new();
        // An alert, or the end at once.
        let _ = plain.read_to_end(&mut answer);
        assert!(answer.len() < 20, "{answer:?}");
        // Silent ones take no place for long: more of them than may be in the handshake.
        silent.extend((0..80).map(|_| TcpStream::connect(&address).unwrap()));
    }
    for (host, joined) in [(&one, &other), (&other, &one)] {
        let mut host = host.connect();
        let session = host.host_running("host");
        wait_for(joined, &session);
        joined.connect().join("guest", &session);
    }
    drop(silent);
}
