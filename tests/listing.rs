//! Announcing at list servers, and passing abuse reports on: a real HTTP server checks every request.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::elsewhere::{Elsewhere, Reply};
use common::http::request;
use common::{Client, TestServer, eventually};
use drawhall::app::ServeOptions;
use drawhall::config::RuleSource;
use drawhall::db::Database;
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
            && v["message"].as_str().is_some_and(|m| m.contains("isted") || m.contains("isting"))
    });
    told["message"].as_str().unwrap().to_owned()
}

fn listed(client: &mut Client) -> Value {
    client.reply(|v| v["config"].get("announcements").is_some())["config"]["announcements"].clone()
}

const STAYS: &str = "emptySessionLingerTime=1h\nannounceWhitelist=false\n";

/// A server that may ask list servers on this machine.
fn start(config: &str) -> TestServer {
    start_with(config, ServeOptions::default())
}

fn start_with(config: &str, options: ServeOptions) -> TestServer {
    TestServer::start_with(config, ServeOptions { announce_private: true, ..options })
}

#[test]
fn a_session_is_announced_withdrawn_and_announced_again_after_a_restart() {
    let (list, folder) = (list_server(), tempfile::tempdir().unwrap());
    let options = || ServeOptions {
        source: RuleSource { local_host: "draw.example.org".into(), ..RuleSource::default() },
        sessions: Some(folder.path().into()),
        announce_port: 4711,
        ..ServeOptions::default()
    };
    let mut server = start_with(STAYS, options());
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

    let mut server = start_with(STAYS, options());
    eventually("it is announced again although nobody is in it", || list.of("POST").len() == 2);
    let mut guest = server.connect();
    guest.join("Guest", &id);
    while listed(&mut guest) != json!([{"url": list.url(LISTING)}]) {}
    guest.command("unlist-session", json!([list.url(LISTING)]), json!({}));
    while listed(&mut guest) != json!([]) {}
    eventually("it is withdrawn", || list.of("DELETE").len() == 2);
    server.stop();
    let mut server = start_with(STAYS, options());
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
        let mut server = start_with(
            STAYS,
            ServeOptions { sessions: Some(folder.path().into()), ..ServeOptions::default() },
        );
        let mut host = server.connect();
        host.host_running("Host");
        host.command("announce-session", json!([list.url(LISTING)]), json!({}));
        listed(&mut host);
        server.stop();
        list.url(LISTING)
    };
    let mut server =
        start_with(STAYS, ServeOptions { sessions: Some(folder.path().into()), ..ServeOptions::default() });
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
        let server = start("announceWhitelist=false");
        let mut host = server.connect();
        host.host_running("Host");
        host.command("announce-session", json!([list.url(LISTING)]), json!({}));
        assert_eq!(text(&mut host), expected);
    }
    let server = start("announceWhitelist=false");
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
    let server = start(&format!("announceWhitelist=true\n[announcewhitelist]\n{}\n", good.url(LISTING)));
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
    let server = start("announceWhitelist=false");
    let mut host = server.connect();
    host.host_running("Host");
    host.command("announce-session", json!([refuses.url(LISTING)]), json!({}));
    assert_eq!(text(&mut host), "This session is now listed at 127.0.0.1");
    host.command("sessionconf", json!([]), json!({"title": "New"}));
    // Looked at every half minute.
    host.socket().set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
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

/// A server with a database and the admin API.
fn administered(config: &[(&str, &str)]) -> (TestServer, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.db");
    Database::open(&path).unwrap().set_settings(config).unwrap();
    let source = RuleSource { database: Some(path), ..RuleSource::default() };
    (start_with("", ServeOptions { source, admin_port: Some(0), ..ServeOptions::default() }), folder)
}

#[test]
fn the_admin_api_shows_the_white_list_that_counts() {
    let (server, _folder) = administered(&[]);
    let ask = |method: &str, body: Option<Value>| {
        request(server.admin.unwrap(), method, "/api/listserverwhitelist", "", body.as_ref()).json
    };
    let public = r"^https://pub\.drawpile\.net/listing/";
    let list = |answer: &Value| (answer["enabled"].clone(), answer["whitelist"].clone());
    assert_eq!(list(&ask("GET", None)), (json!(true), json!([public])));
    let own = ask("PUT", Some(json!({"whitelist": ["^https://list\\.example\\.org/"]})));
    assert_eq!(list(&own), (json!(true), json!(["^https://list\\.example\\.org/"])), "what was given counts");
    let off = ask("PUT", Some(json!({"enabled": false})));
    assert_eq!(off["enabled"], false);
    let none = ask("PUT", Some(json!({"enabled": true, "whitelist": []})));
    assert_eq!(list(&none), (json!(true), json!([])), "none may be used");
}

#[test]
fn numbers_of_listings_stay_and_who_unlists_withdraws() {
    let (server, _folder) = administered(&[("announceWhitelist", "false")]);
    let lists = [list_server(), list_server(), list_server()];
    let mut host = server.connect();
    let id = host.host_running("Host");
    for list in &lists {
        host.command("announce-session", json!([list.url(LISTING)]), json!({}));
        text(&mut host);
    }
    let ask = |method: &str, path: &str| {
        request(server.admin.unwrap(), method, &format!("/api/sessions/{id}{path}"), "", None)
    };
    let listings = || ask("GET", "/listing").json;
    let before = listings();
    let numbers: Vec<u64> = before.as_array().unwrap().iter().map(|l| l["id"].as_u64().unwrap()).collect();
    assert_eq!(ask("DELETE", &format!("/listing/{}", numbers[0])).status, 200);
    eventually("the first is gone", || listings() == json!([before[1], before[2]]));
    assert_eq!(ask("DELETE", &format!("/listing/{}", numbers[0])).status, 404);
    assert_eq!(ask("DELETE", &format!("/listing/{}", numbers[2])).status, 200);
    eventually("the third is gone", || listings() == json!([before[1]]));
    eventually("each was withdrawn where it was", || lists[2].of("DELETE").len() == 1);
    assert_eq!((lists[0].of("DELETE").len(), lists[1].of("DELETE").len()), (1, 0));
    // Announced again, it has another number.
    host.command("announce-session", json!([lists[0].url(LISTING)]), json!({}));
    text(&mut host);
    eventually("it is there", || listings().as_array().unwrap().len() == 2);
    assert!(!numbers.contains(&listings()[1]["id"].as_u64().unwrap()));
    // A session that is hidden is on no list.
    let hidden = json!({"unlisted": true});
    let path = format!("/api/sessions/{id}");
    assert_eq!(request(server.admin.unwrap(), "PUT", &path, "", Some(&hidden)).status, 200);
    eventually("they are withdrawn", || lists[1].of("DELETE").len() == 1 && lists[0].of("DELETE").len() == 2);
    eventually("none is left", || listings() == json!([]));
    let again = json!({"url": lists[1].url(LISTING)});
    let refused = request(server.admin.unwrap(), "POST", &format!("{path}/listing"), "", Some(&again));
    assert_eq!(refused.status, 400);
    assert!(refused.json["message"].as_str().unwrap().contains("hidden from listings"));
    assert!(text(&mut host).contains("hidden from listings"));
}

#[test]
fn what_is_announced_again_after_a_start_is_tried_until_the_list_server_is_there() {
    let posts = Arc::new(AtomicUsize::new(0));
    let counted = posts.clone();
    let list = Elsewhere::start(move |asked| match asked.method.as_str() {
        // The second is the first of the server that starts again.
        "POST" if counted.fetch_add(1, Ordering::SeqCst) == 1 => Reply::of(503, "starting"),
        "POST" => Reply::of(200, json!({"id": 7, "key": "secret"})),
        _ => Reply::of(204, ""),
    });
    let folder = tempfile::tempdir().unwrap();
    let options = || ServeOptions { sessions: Some(folder.path().into()), ..ServeOptions::default() };
    let mut server = start_with(STAYS, options());
    let mut host = server.connect();
    let id = host.host_running("Host");
    host.command("announce-session", json!([list.url(LISTING)]), json!({}));
    text(&mut host);
    server.stop();
    let server = start_with(STAYS, options());
    let mut guest = server.connect();
    guest.join("Guest", &id);
    // Looked at every half minute.
    guest.socket().set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    while text(&mut guest) != "This session is now listed at 127.0.0.1" {}
    assert_eq!(posts.load(Ordering::SeqCst), 3);
}

#[test]
fn what_the_white_list_does_not_allow_any_more_is_withdrawn() {
    let (server, _folder) = administered(&[("announceWhitelist", "false")]);
    let list = list_server();
    let mut host = server.connect();
    host.host_running("Host");
    host.command("announce-session", json!([list.url(LISTING)]), json!({}));
    text(&mut host);
    let on = json!({"enabled": true});
    request(server.admin.unwrap(), "PUT", "/api/listserverwhitelist", "", Some(&on));
    // Looked at every half minute.
    host.socket().set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    assert_eq!(text(&mut host), "Listing on 127.0.0.1 is not allowed on this server");
    eventually("what is not allowed any more is withdrawn", || list.of("DELETE").len() == 1);
}
