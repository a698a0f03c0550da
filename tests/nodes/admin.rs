//! Administrators of one server rule sessions and users of all.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use drawhall::admin::AccessRules;
use drawhall::app::ServeOptions;
use serde_json::{Value, json};

use crate::common::client::system_id;
use crate::common::eventually;
use crate::common::http::request;
use crate::common::postgres::PostgresDatabase;
use crate::{hosted, node, node_with, wait_for};

#[test]
fn an_administrator_of_one_server_rules_the_sessions_and_users_of_all() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (one, other) = (node(&database), node(&database));
    let (mut host, session) = hosted(&one, &other);
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
    let admin_access = AccessRules { login_required: true, ..AccessRules::default() };
    let asks_for_login = ServeOptions { admin_access, ..ServeOptions::default() };
    let (one, other) = (node(&database), node_with(&database.url(), asks_for_login));
    let (_host, session) = hosted(&one, &other);
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
    let (_host, session) = hosted(&one, &other);
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

/// What a request with this body is answered.
fn answer_to(admin: SocketAddr, path: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(admin).unwrap();
    let head = format!(
        "PUT {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    format!("{} {body}", head.lines().next().unwrap())
}

#[test]
fn a_request_is_read_alike_by_both_servers() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (one, other) = (node(&database), node(&database));
    let (mut host, session) = hosted(&one, &other);
    let path = format!("/api/sessions/{session}");
    let large = vec![b'x'; 2 << 20];
    for body in [&b"{\"title\": \"\xff\""[..], b"\xff\xfe", b"[1]", b"", &large] {
        let asked = |admin: Option<SocketAddr>| answer_to(admin.unwrap(), &path, body);
        let (here, there) = (asked(one.admin), asked(other.admin));
        assert_eq!(here, there);
        assert!(here.starts_with("HTTP/1.1 4"), "{here}");
    }
    // What is no text is replaced.
    let answer = answer_to(other.admin.unwrap(), &path, b"{\"title\": \"\xff\"}");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    host.reply(|v| v["config"]["title"] == "\u{fffd}");
}

#[test]
fn the_servers_are_shown_with_what_they_have() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (one, other) = (node(&database), node(&database));
    let (_host, session) = hosted(&one, &other);
    let mut guest = other.connect();
    guest.join("guest", &session);
    let servers = |admin| request(admin, "GET", "/api/overview", "", None).json["servers"].clone();
    let counts = |servers: &Value| {
        let servers = servers.as_array().unwrap().iter();
        servers.map(|s| (s["sessions"].as_u64().unwrap(), s["users"].as_u64().unwrap())).collect::<Vec<_>>()
    };
    eventually("all are counted", || counts(&servers(other.admin.unwrap())) == [(0, 0), (1, 2)]);
    eventually("the own one is the first", || counts(&servers(one.admin.unwrap())) == [(1, 2), (0, 0)]);
    let shown = servers(one.admin.unwrap());
    assert_eq!((&shown[0]["draining"], &shown[0]["sharesSessions"]), (&json!(false), &json!(false)));
}
