//! Announcing at list servers, and passing abuse reports on: a real HTTP server checks every request.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use common::elsewhere::{Elsewhere, Reply};
use common::{Client, TestServer, eventually};
use drawhall::config::RuleSource;
use drawhall::server::run::ServeOptions;
use serde_json::{Value, json};

/// Path of list servers.
const LISTING: &str = "/listing";

/// A list server that takes everything.
fn list_server() -> Elsewhere {
    Elsewhere::start(|asked| match asked.method.as_str() {
        "POST" => Reply::of(200, json!({"id": 7, "key": "secret", "expires": 10, "message": "hello"})),
        _ => Reply::of(200, json!({"responses": {"7": "ok"}})),
    })
}

/// Reads until a text for everybody comes.
fn text(client: &mut Client) -> String {
    let told = client.reply(|v| {
        v["type"] == "msg"
            && v["message"].as_str().is_some_and(|m| m.contains("isted") || m.contains("Listing"))
    });
    told["message"].as_str().unwrap().to_owned()
}

fn listed(client: &mut Client) -> Value {
    client.reply(|v| v["config"].get("announcements").is_some())["config"]["announcements"].clone()
}

const STAYS: &str = "emptySessionLingerTime=1h\n";

#[test]
fn a_session_is_announced_withdrawn_and_announced_again_after_a_restart() {
    let (list, folder) = (list_server(), tempfile::tempdir().unwrap());
    let options = || ServeOptions {
        source: RuleSource { local_host: "draw.example.org".into(), ..RuleSource::default() },
        sessions: Some(folder.path().into()),
        announce_port: 4711,
        ..ServeOptions::default()
    };
    let mut server = TestServer::start_with(STAYS, options());
    let mut host = server.connect();
    let id = host.host_running("Host");
    host.command("announce-session", json!([list.url(LISTING)]), json!({}));
    assert_eq!(text(&mut host), "This session is now listed at 127.0.0.1: hello");
    assert_eq!(listed(&mut host), json!([{"url": list.url(LISTING)}]));
    let expected = json!({"host": "draw.example.org", "port": 4711, "id": id, "protocol": "dp:4.24.0", "title": "",
        "users": 1, "activedrawingusers": 1, "password": false, "owner": "Host", "nsfm": false, "maxusers": 254});
    let mut posted = list.of("POST");
    // How many draw is known a moment later.
    assert!(posted[0].body["activedrawingusers"].is_u64());
    posted[0].body["activedrawingusers"] = json!(1);
    assert_eq!(
        (posted.len(), posted[0].path.as_str(), &posted[0].body),
        (1, "/listing/sessions/", &expected)
    );
    // Once for each list server.
    host.command("announce-session", json!([list.url(LISTING)]), json!({}));
    server.stop();
    assert_eq!(list.of("POST").len(), 1);
    let gone = list.of("DELETE");
    assert_eq!(
        (gone[0].path.as_str(), gone[0].header("x-update-key")),
        ("/listing/sessions/7", Some("secret"))
    );

    let mut server = TestServer::start_with(STAYS, options());
    eventually("it is announced again although nobody is in it", || list.of("POST").len() == 2);
    let mut guest = server.connect();
    guest.join("Guest", &id);
    while listed(&mut guest) != json!([{"url": list.url(LISTING)}]) {}
    guest.command("unlist-session", json!([list.url(LISTING)]), json!({}));
    while listed(&mut guest) != json!([]) {}
    eventually("it is withdrawn", || list.of("DELETE").len() == 2);
    server.stop();
    let mut server = TestServer::start_with(STAYS, options());
    let mut client = server.connect();
    client.join("Guest", &id);
    server.stop();
    assert_eq!(list.of("POST").len(), 2, "what was withdrawn on purpose is not announced again");
}

#[test]
fn a_list_server_that_is_down_is_asked_again_until_it_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let url = {
        let list = list_server();
        let mut server = TestServer::storing(STAYS, folder.path());
        let mut host = server.connect();
        host.host_running("Host");
        host.command("announce-session", json!([list.url(LISTING)]), json!({}));
        listed(&mut host);
        server.stop();
        list.url(LISTING)
    };
    let mut server = TestServer::storing(STAYS, folder.path());
    let mut client = server.connect();
    let id = client.ident_for_list("Guest")[0]["id"].as_str().unwrap().to_owned();
    client.command("join", json!([id]), json!({"s": "1".repeat(32)}));
    client.reply(|v| v["state"] == "join");
    client.command("unlist-session", json!([url]), json!({}));
    client.command("sessionconf", json!([]), json!({"title": "after"}));
    client.reply(|v| v["config"]["title"] == "after");
    server.stop();
    let journal = std::fs::read_to_string(folder.path().join(format!("{id}.session"))).unwrap();
    assert!(journal.contains(&format!("\nANNOUNCE {url}\n")), "{journal}");
    assert!(journal.contains(&format!("\nUNANNOUNCE {url}\n")), "{journal}");
}

#[test]
fn what_a_list_server_refuses_is_told() {
    for (status, answer, expected) in [
        (422, json!({"message": "too many"}), "Listing on 127.0.0.1 failed: too many"),
        (400, json!({}), "Listing on 127.0.0.1 failed: HTTP error 400 (no explanation given)"),
        (410, json!({}), "Listing on 127.0.0.1 failed: the list server is gone for good"),
        (500, json!({}), "Listing on 127.0.0.1 failed: Network error: HTTP status 500"),
    ] {
        let list = Elsewhere::start(move |_| Reply::of(status, &answer));
        let server = TestServer::start("");
        let mut host = server.connect();
        host.host_running("Host");
        host.command("announce-session", json!([list.url(LISTING)]), json!({}));
        assert_eq!(text(&mut host), expected);
    }
    let server = TestServer::start("");
    let mut host = server.connect();
    host.host_running("Host");
    host.command("announce-session", json!(["http://0.0.0.0/"]), json!({}));
    assert!(text(&mut host).starts_with("Listing on 0.0.0.0 failed: no request is made to"));
    host.command("announce-session", json!(["nonsense"]), json!({}));
    host.reply(|v| v["type"] == "error" && v["message"].as_str().unwrap().contains("Invalid API URL"));
}

#[test]
fn only_list_servers_of_the_white_list_are_asked() {
    let (good, bad) = (list_server(), list_server());
    let server =
        TestServer::start(&format!("announceWhitelist=true\n[announcewhitelist]\n{}\n", good.url(LISTING)));
    let mut host = server.connect();
    host.host_running("Host");
    host.command("announce-session", json!([bad.url(LISTING)]), json!({}));
    assert_eq!(text(&mut host), "Listing on 127.0.0.1 is not allowed on this server");
    host.command("announce-session", json!([good.url(LISTING)]), json!({}));
    assert_eq!(text(&mut host), "This session is now listed at 127.0.0.1: hello");
    assert!(bad.asked().is_empty());
}

#[test]
fn listings_are_refreshed_together_at_once_when_it_matters_and_dropped_when_refused() {
    let refuses = Elsewhere::start(|asked| match asked.method.as_str() {
        "POST" => Reply::of(200, json!({"id": 7, "key": "secret"})),
        _ => Reply::of(200, json!({"responses": {"7": "expired"}, "errors": {"7": "too old"}})),
    });
    let server = TestServer::start("");
    let mut host = server.connect();
    host.host_running("Host");
    host.command("announce-session", json!([refuses.url(LISTING)]), json!({}));
    assert_eq!(text(&mut host), "This session is now listed at 127.0.0.1");
    host.command("sessionconf", json!([]), json!({"title": "New"}));
    // Looked at every half minute.
    host.stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    assert_eq!(text(&mut host), "The session has been delisted from 127.0.0.1: too old");
    let put = refuses.of("PUT");
    assert_eq!(put[0].path, "/listing/sessions/");
    assert!(put[0].body["7"]["activedrawingusers"].is_u64());
    let expected = json!({"7": {"updatekey": "secret", "title": "New", "users": 1, "activedrawingusers": 1, "password": false,
        "owner": "Host", "nsfm": false, "maxusers": 254, "closed": false, "allowweb": false, "preferwebsockets": false}});
    assert_eq!(put[0].body, expected);
}

#[test]
fn abuse_reports_are_passed_on() {
    let elsewhere = Elsewhere::start(|_| Reply::of(200, json!({})));
    let source = RuleSource { report_url: Some(elsewhere.url(LISTING)), ..RuleSource::default() };
    let server = TestServer::start_with(
        "abusereport=true\nreporttoken=tok\n",
        ServeOptions { source, ..ServeOptions::default() },
    );
    let mut host = server.connect();
    let greeting = host.reply(|v| v["type"] == "login");
    assert!(greeting["flags"].as_array().unwrap().contains(&json!("REPORT")));
    let mut host = server.connect();
    let id = host.host_running("Host");
    let mut guest = server.connect();
    guest.join("Guest", &id);
    guest.command("report", json!([]), json!({"user": 1, "reason": "rude"}));
    host.reply(|v| v["type"] == "log" && v["message"] == "Session was reported.");
    let asked = elsewhere.asked();
    assert_eq!((asked[0].method.as_str(), asked[0].header("authorization")), ("POST", Some("Token tok")));
    let body = &asked[0].body;
    for (key, value) in [
        ("session", json!(id)),
        ("user", json!("Guest")),
        ("auth", json!(false)),
        ("perp", json!(1)),
        ("message", json!("rude")),
        ("ip", json!("127.0.0.1")),
        ("sessionTitle", json!("")),
    ] {
        assert_eq!(body[key], value, "{key}");
    }
    assert_eq!(
        body["users"][0],
        json!({"name": "Host", "auth": false, "op": true, "ip": "127.0.0.1", "id": 1})
    );
}
