//! Links that operators get after a kick or ban: who may use them, from where, and what they do.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::http::{Answer, request};
use common::{Client, TestServer};
use drawhall::admin::{AccessRules, Credentials};
use drawhall::app::ServeOptions;
use drawhall::config::RuleSource;
use serde_json::{Value, json};

const UNDO_POINT: u8 = 128;
const DABS: u8 = 148;
const UNDO: u8 = 255;
const PAGE: &str = "https://draw.example.org/admin/";
/// What a reverse proxy adds to the request of somebody on the internet.
const FROM_ELSEWHERE: &str = "X-Real-IP: 203.0.113.9\r\n";

fn server(options: ServeOptions) -> TestServer {
    let source = RuleSource { page_url: Some(PAGE.into()), ..RuleSource::default() };
    let credentials = Credentials::parse("root:secret").ok();
    let admin_access = AccessRules { credentials, operator_links: true, ..AccessRules::default() };
    let options = ServeOptions { admin_port: Some(0), source, admin_access, ..options };
    TestServer::start_with("", options)
}

/// Somebody who draws this many actions in a session, and their user id.
fn vandal(server: &TestServer, host: &mut Client, id: &str, name: &str, actions: usize) -> (Client, u8) {
    let mut vandal = server.connect();
    let user = vandal.join(name, id);
    for _ in 0..actions {
        vandal.send(UNDO_POINT, 0, &[]);
        vandal.send(DABS, 0, &[7; 40]);
        host.until(|m| m.kind == DABS && m.user == user);
    }
    (vandal, user)
}

/// Session and token of the link in the next alert.
fn link(client: &mut Client) -> (String, String) {
    let alert = client.reply(|v| v["T"] == "undopossible");
    let link = alert["P"]["link"].as_str().unwrap();
    assert!(alert["message"].as_str().unwrap().ends_with(link), "{alert}");
    let (session, token) =
        link.strip_prefix(PAGE).unwrap().strip_prefix("operator/#").unwrap().split_once('/').unwrap();
    (session.to_owned(), token.to_owned())
}

fn ask(server: &TestServer, method: &str, path: &str, token: &str, body: Option<&Value>) -> Answer {
    ask_from("203.0.113.9", server, method, path, token, body)
}

fn ask_from(
    address: &str,
    server: &TestServer,
    method: &str,
    path: &str,
    token: &str,
    body: Option<&Value>,
) -> Answer {
    let headers = format!("X-Real-IP: {address}\r\nAuthorization: Bearer {token}\r\n");
    request(server.admin.unwrap(), method, &format!("/api/operator/{path}"), &headers, body)
}

/// A session whose host has kicked a vandal with 3 actions: the host, the session and the token of the host's link.
fn after_a_kick(server: &TestServer) -> (Client, String, String) {
    let mut host = server.connect();
    let id = host.host_running("Host");
    host.command("sessionconf", json!([]), json!({"title": "Harbour"}));
    let (_vandal, user) = vandal(server, &mut host, &id, "Vandal", 3);
    host.command("kick-user", json!([user]), json!({}));
    let (session, token) = link(&mut host);
    assert_eq!(session, id);
    (host, id, token)
}

#[test]
fn an_operator_undoes_and_removes_through_their_link() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(ServeOptions { sessions: Some(folder.path().into()), ..ServeOptions::default() });
    let (mut host, id, token) = after_a_kick(&server);
    let about = ask(&server, "GET", &id, &token, None);
    assert_eq!(
        (about.status, &about.json["name"], &about.json["title"]),
        (200, &json!("Host"), &json!("Harbour"))
    );
    assert!((1..=900).contains(&about.json["secondsLeft"].as_u64().unwrap()), "{}", about.json);

    let people = ask(&server, "GET", &format!("{id}/people"), &token, None).json;
    let vandal = people["people"].as_array().unwrap().iter().find(|p| p["name"] == "Vandal").unwrap().clone();
    assert_eq!((&vandal["undoable"], &vandal["online"]), (&json!(3), &json!(false)));
    let wish = json!({"person": vandal["person"], "name": "Vandal", "count": 2});
    let done = ask(&server, "POST", &format!("{id}/undo"), &token, Some(&wish));
    assert_eq!((done.status, &done.json["count"]), (200, &json!(2)), "{}", done.json);
    let log = host.reply(|v| v["type"] == "log" && v["message"].as_str().unwrap_or("").contains("Undid"));
    host.until(|m| m.kind == UNDO && m.user == 0);
    assert!(log["message"].as_str().unwrap().ends_with("by Host through their link"), "{log}");

    let everybody = ask(&server, "GET", &format!("{id}/everybody"), &token, None).json;
    assert!(everybody["people"].as_array().unwrap().iter().any(|p| p["name"] == "Vandal"), "{everybody}");
    let wish = |dry_run| json!({"person": vandal["person"], "name": "Vandal", "dryRun": dry_run});
    let report = ask(&server, "POST", &format!("{id}/remove"), &token, Some(&wish(true)));
    let left = (&report.json["report"]["actions"], &report.json["report"]["messages"]);
    assert_eq!(
        (report.status, left),
        (200, (&json!(1), &json!(6))),
        "undone actions go too: {}",
        report.json
    );
    let done = ask(&server, "POST", &format!("{id}/remove"), &token, Some(&wish(false)));
    assert_eq!(done.json["report"], report.json["report"], "{}", done.json);
    let alert = host.reply(|v| v["T"] == "resetpreparepast");
    assert!(alert.to_string().contains("Host through their link"), "{alert}");
    common::eventually("the history before is kept", || {
        let list = ask(&server, "GET", &format!("{id}/generations"), &token, None).json;
        list["generations"].as_array().is_some_and(|list| list.len() == 1)
    });
    let back = ask(&server, "POST", &format!("{id}/restore"), &token, Some(&json!({})));
    assert_eq!(back.status, 200, "{}", back.json);
    host.until(|m| m.kind == DABS);

    let times = || ask(&server, "GET", &format!("{id}/times"), &token, None).json["times"].clone();
    let first = times()[0]["at"].clone();
    common::eventually("a second passes", || {
        host.send(66, 0, &[0; 8]);
        times().as_array().unwrap().last().unwrap()["at"] != first
    });
    host.send(UNDO_POINT, 0, &[]);
    host.send(DABS, 0, &[8; 40]);
    host.until(|m| m.kind == DABS && m.payload[0] == 8);
    let wish = |dry_run| json!({"until": first, "dryRun": dry_run});
    let report = ask(&server, "POST", &format!("{id}/cut"), &token, Some(&wish(true)));
    assert_eq!((report.status, &report.json["report"]["actions"]), (200, &json!(1)), "{}", report.json);
    let cut = ask(&server, "POST", &format!("{id}/cut"), &token, Some(&wish(false)));
    assert_eq!((cut.status, &cut.json["report"]), (200, &report.json["report"]), "{}", cut.json);
}

/// The answer is the same for everything that is wrong.
#[test]
fn a_link_is_good_for_its_session_and_its_operator_only() {
    let server = server(ServeOptions::default());
    let (mut host, id, token) = after_a_kick(&server);
    let (_other_host, other, other_token) = after_a_kick(&server);
    let mut refusals = Vec::new();
    let mut refused = |session: &str, token: &str| {
        for (method, path, body) in [("GET", "", None), ("POST", "/undo", Some(json!({"person": 0})))] {
            // Wrong links of one address are rate limited.
            let address = format!("198.51.100.{}", refusals.len());
            let path = format!("{session}{path}");
            let answer = ask_from(&address, &server, method, &path, token, body.as_ref());
            assert_eq!(answer.status, 403, "{session} {token}: {}", answer.json);
            refusals.push(answer.json);
        }
    };
    refused(&id, &other_token);
    refused(&other, &token);
    refused("nowhere", &token);
    refused(&id, &token[1..]);
    refused(&id, &format!("{token}A"));
    for header in ["", "Authorization: Bearer \r\n", &format!("Authorization: Basic {token}\r\n")] {
        let headers = format!("{FROM_ELSEWHERE}{header}");
        let path = format!("/api/operator/{id}");
        assert_eq!(request(server.admin.unwrap(), "GET", &path, &headers, None).status, 401, "{header}");
    }
    assert_eq!(ask(&server, "GET", &id, &token, None).status, 200);

    // The first of two operators loses the rank; giving it back does not bring the link back.
    let mut second = server.connect();
    let user = second.join("Second", &id);
    host.send(34, 1, &[1, user]);
    second.until(|m| m.kind == 34 && m.payload.contains(&user));
    let (_vandal, user_2) = vandal(&server, &mut host, &id, "Vandal 2", 1);
    second.command("kick-user", json!([user_2]), json!({}));
    let (_, second_token) = link(&mut second);
    let (_, host_token) = link(&mut host);
    assert_ne!(second_token, host_token, "each operator has a link of their own");
    assert_eq!(ask(&server, "GET", &id, &second_token, None).status, 200);
    host.send(34, 1, &[1]);
    second.until(|m| m.kind == 34 && !m.payload.contains(&user));
    refused(&id, &second_token);
    host.send(34, 1, &[1, user]);
    second.until(|m| m.kind == 34 && m.payload.contains(&user));
    refused(&id, &second_token);

    host.close();
    second.until(|m| m.kind == 33 && m.user == 1);
    refused(&id, &token);
    refused(&id, &host_token);
    refusals.dedup();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
}

#[test]
fn nobody_but_operators_gets_a_link() {
    let server = server(ServeOptions::default());
    let mut host = server.connect();
    let id = host.host_running("Host");
    let mut viewer = server.connect();
    viewer.join("Viewer", &id);
    let (_vandal, user) = vandal(&server, &mut host, &id, "Vandal", 1);
    host.command("kick-user", json!([user]), json!({}));
    let (_, token) = link(&mut host);
    host.send(35, 0, b"\0\0end");
    loop {
        let message = viewer.next().unwrap();
        assert!(message.json().is_none_or(|v| v["T"] != "undopossible"));
        assert!(!String::from_utf8_lossy(&message.payload).contains(&token));
        if message.kind == 35 {
            break;
        }
    }
    let mut late = server.connect();
    late.join("Late", &id);
    let sent = late.until(|m| {
        assert!(!String::from_utf8_lossy(&m.payload).contains(&token));
        m.kind == 35
    });
    assert_eq!(sent.payload, b"\0\0end");
}

/// The operator is on the internet, where the admin page itself is not.
#[test]
fn the_link_opens_from_everywhere_and_opens_nothing_else() {
    let server = server(ServeOptions::default());
    let (_host, id, token) = after_a_kick(&server);
    let admin = server.admin.unwrap();
    let headers = format!("{FROM_ELSEWHERE}Authorization: Bearer {token}\r\n");
    for path in ["/api/sessions", &format!("/api/sessions/{id}/people"), "/api/whoami", "/metrics", "/"] {
        assert_eq!(request(admin, "GET", path, &headers, None).status, 403, "{path}");
        let here = format!("Authorization: Bearer {token}\r\n");
        let status = request(admin, "GET", path, &here, None).status;
        assert_eq!(status, if path == "/" { 200 } else { 401 }, "{path} without a proxy");
    }
    let page = request(admin, "GET", "/operator/", FROM_ELSEWHERE, None);
    assert_eq!(page.status, 200);
    let head = page.head.to_ascii_lowercase();
    for header in [
        "referrer-policy: no-referrer",
        "x-frame-options: deny",
        "content-security-policy: default-src 'none'; script-src 'self'",
    ] {
        assert!(head.contains(header), "{head}");
    }
    let html = common::http::text(admin, "/operator/");
    let script = html.split("\"assets/operator.").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(
        request(admin, "GET", &format!("/operator/assets/operator.{script}"), FROM_ELSEWHERE, None).status,
        200
    );
    let other_page = format!("{headers}Origin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\n");
    let body = Some(json!({"person": 0}));
    let forged = request(admin, "POST", &format!("/api/operator/{id}/undo"), &other_page, body.as_ref());
    assert_eq!(forged.status, 403);
}

#[test]
fn guesses_are_rate_limited() {
    let server = server(ServeOptions::default());
    let (_host, id, token) = after_a_kick(&server);
    for _ in 0..20 {
        assert_eq!(ask(&server, "GET", &id, "guess", None).status, 403);
    }
    assert_eq!(ask(&server, "GET", &id, "guess", None).status, 429);
    assert_eq!(ask(&server, "GET", &id, &token, None).status, 429, "the right one is not told from a guess");
    let elsewhere = format!("X-Real-IP: 198.51.100.1\r\nAuthorization: Bearer {token}\r\n");
    let address = server.admin.unwrap();
    for number in 0..130 {
        let answer = request(address, "GET", &format!("/api/operator/{id}"), &elsewhere, None);
        assert_eq!(answer.status == 200, number < 120, "request {number}: {}", answer.status);
    }
}

#[test]
fn without_an_address_of_the_page_there_are_no_links() {
    let options = ServeOptions { admin_port: Some(0), ..ServeOptions::default() };
    let server = TestServer::start_with("", options);
    let mut host = server.connect();
    let id = host.host_running("Host");
    let (_vandal, user) = vandal(&server, &mut host, &id, "Vandal", 3);
    host.command("kick-user", json!([user]), json!({}));
    let alert = host.reply(|v| v["T"] == "undopossible");
    assert!(
        alert["P"].get("link").is_none() && !alert["message"].as_str().unwrap().contains("http"),
        "{alert}"
    );
    assert_eq!(ask(&server, "GET", &id, "x", None).status, 403, "nor is the page there for other machines");
}
