//! What strangers can make the server ask other servers.

use std::time::Duration;

use drawhall::app::ServeOptions;
use drawhall::config::RuleSource;
use drawhall::db::Database;
use drawhall::tools::account;
use serde_json::{Value, json};

use crate::common::client::wire;
use crate::common::elsewhere::{Elsewhere, Reply};
use crate::common::http::request;
use crate::common::{Client, TestServer, eventually};

/// Commands come as fast as these tests send them.
const ANYWHERE: &str = "announceWhitelist=false\ncommandRateLimit=0\n";

/// A server that may ask list servers on this machine.
fn private(config: &str) -> TestServer {
    TestServer::start_with(config, ServeOptions { announce_private: true, ..ServeOptions::default() })
}

fn list_server() -> Elsewhere {
    slow_list_server(Duration::ZERO)
}

fn slow_list_server(wait: Duration) -> Elsewhere {
    Elsewhere::start(move |asked| match asked.method.as_str() {
        "POST" => Reply { wait, ..Reply::of(200, json!({"id": 7, "key": "secret"})) },
        _ => Reply { wait, ..Reply::of(204, "") },
    })
}

fn announce(client: &mut Client, url: &str) {
    client.command("announce-session", json!([url]), json!({}));
}

/// What becomes of an announcement, as the session is told.
fn outcome(client: &mut Client, url: &str) -> String {
    announce(client, url);
    let told = client.reply(|v| {
        let is_about =
            |m: &str| m.contains("isted") || m.contains("Listing") || m.starts_with("announce-session");
        matches!(v["type"].as_str(), Some("msg" | "error")) && v["message"].as_str().is_some_and(is_about)
    });
    told["message"].as_str().unwrap().to_owned()
}

#[test]
fn nobody_can_have_services_asked_that_only_this_machine_reaches() {
    let victim = list_server();
    let server = TestServer::start(ANYWHERE);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "2130706433",
        "127.0.0.1.",
        "[::ffff:127.0.0.1]",
        "10.0.0.1",
        "[::1]",
    ] {
        let mut guest = server.connect();
        guest.host_running("Guest");
        let told = outcome(&mut guest, &format!("http://{host}:{}/api", victim.port()));
        assert!(told.ends_with(" failed: no request is made to this address"), "{host}: {told}");
        let closed = outcome(&mut guest, &format!("http://{host}:{closed}/api"));
        assert_eq!(told, closed, "an open port is as a closed one");
    }
    let mut guest = server.connect();
    guest.host_running("Guest");
    for host in ["localhost", "localhost.", "LOCALHOST"] {
        let told = outcome(&mut guest, &format!("http://{host}:{}/api", victim.port()));
        assert!(told.ends_with(" failed: Network error: connection failed"), "{host}: {told}");
    }
    assert_eq!(victim.asked_anyhow(), []);
}

#[test]
fn a_list_server_cannot_lead_the_server_to_its_own_admin_api() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.db");
    let database = Database::open(&path).unwrap();
    account::add(&database, "alice", &["MOD".into()], "secret").unwrap();
    database.set_settings(&[("announceWhitelist", "false")]).unwrap();
    let source = RuleSource { database: Some(path), ..RuleSource::default() };
    let options =
        ServeOptions { source, announce_private: true, admin_port: Some(0), ..ServeOptions::default() };
    let server = TestServer::start_with("", options);
    let api = format!("http://{}/api", server.admin.unwrap());
    let evil = Elsewhere::start(move |asked| match (asked.method.as_str(), asked.path.contains("/taken/")) {
        ("POST", true) => Reply::of(201, json!({"id": 1, "key": "k"})),
        ("POST", false) => Reply::redirect(307, format!("{api}/accounts")),
        _ => Reply::redirect(307, format!("{api}/accounts/1")),
    });
    let mut guest = server.connect();
    guest.host_running("Guest");
    assert_eq!(outcome(&mut guest, &evil.url("/taken")), "This session is now listed at 127.0.0.1");
    guest.command("unlist-session", json!([evil.url("/taken")]), json!({}));
    eventually("it is withdrawn", || evil.of("DELETE").len() == 1);
    for url in ["/x", "/y"] {
        let told = outcome(&mut guest, &evil.url(url));
        assert_eq!(told, "Listing on 127.0.0.1 failed: the list server has another address");
    }
    let accounts = request(server.admin.unwrap(), "GET", "/api/accounts", "", None).json;
    assert_eq!(accounts[0]["username"], "alice");
}

#[test]
fn what_changes_something_follows_its_server_but_no_other() {
    let victim = list_server();
    let away = victim.url("/listing/sessions/");
    for status in [301, 302, 303, 307, 308] {
        let (away, inside) = (away.clone(), "/moved/sessions/");
        let list = Elsewhere::start(move |asked| match asked.path.as_str() {
            "/away/sessions/" => Reply::redirect(status, &away),
            "/moved/sessions/" if asked.method == "POST" => Reply::of(200, json!({"id": 7, "key": "k"})),
            "/loop/sessions/" => Reply::redirect(status, "/loop/sessions/"),
            _ => Reply::redirect(status, inside),
        });
        let server = private(ANYWHERE);
        let mut host = server.connect();
        host.host_running("Host");
        let elsewhere = "Listing on 127.0.0.1 failed: the list server has another address";
        assert_eq!(outcome(&mut host, &list.url("/away")), elsewhere, "{status}");
        assert_eq!(outcome(&mut host, &list.url("/loop")), elsewhere, "{status}");
        let told = outcome(&mut host, &list.url("/listing"));
        if status == 303 {
            assert_eq!(told, elsewhere);
        } else {
            assert_eq!(told, "This session is now listed at 127.0.0.1", "{status}: as a POST");
            assert_eq!(list.of("POST").last().unwrap().body["owner"], "Host", "with its body");
        }
        assert!(list.of("GET").is_empty());
    }
    assert_eq!(victim.asked_anyhow(), []);
}

#[test]
fn an_announcement_without_number_and_key_is_none() {
    for answer in
        [json!({}), json!([]), json!([{"id": 1, "title": "x"}]), json!({"id": 1}), json!({"key": "k"})]
    {
        let list = Elsewhere::start(move |_| Reply::of(200, &answer));
        let server = private(ANYWHERE);
        let mut host = server.connect();
        host.host_running("Host");
        let told = outcome(&mut host, &list.url("/listing"));
        assert_eq!(told, "Listing on 127.0.0.1 failed: the answer is none of a list server");
        let listed = host.reply(|v| v["config"].get("announcements").is_some());
        assert_eq!(listed["config"]["announcements"], json!([]));
    }
}

#[test]
fn announcing_and_unlisting_in_a_loop_makes_few_requests() {
    let list = slow_list_server(Duration::from_millis(100));
    let server = private(ANYWHERE);
    let mut host = server.connect();
    host.host_running("Host");
    let url = list.url("/listing");
    let mut pairs = Vec::new();
    for command in ["announce-session", "unlist-session"].iter().cycle().take(3000) {
        pairs.extend(wire(0, json!({"cmd": command, "args": [url]}).to_string().as_bytes()));
    }
    host.send_bytes(&pairs).unwrap();
    let mut refused = 0;
    while refused < 1495 {
        let told = host.reply(|v| v["type"] == "error")["message"].as_str().unwrap().to_owned();
        assert!(told.contains("Too many announcements"), "{told}");
        refused += 1;
    }
    eventually("what was announced is withdrawn", || list.of("DELETE").len() == 5);
    assert_eq!(list.of("POST").len(), 5);
    assert!(list.most_at_once() <= 2, "{} at once", list.most_at_once());
}

#[test]
fn all_sessions_together_are_announced_so_often_and_few_at_once() {
    let list = slow_list_server(Duration::from_millis(20));
    let server = private(ANYWHERE);
    let mut hosts: Vec<Client> = (0..13).map(|_| server.connect()).collect();
    let mut outcomes: Vec<String> = Vec::new();
    for host in &mut hosts {
        host.host_running("Host");
        (0..5).for_each(|n| announce(host, &list.url(&format!("/{n}"))));
        for _ in 0..5 {
            let told = host.reply(|v| v["type"] == "msg" && v["message"].to_string().contains("isted"));
            outcomes.push(told["message"].as_str().unwrap().to_owned());
        }
    }
    let refused = outcomes.iter().filter(|o| o.starts_with("Too many sessions are being listed")).count();
    // One comes back each second.
    assert!((1..=5).contains(&refused), "{outcomes:?}");
    assert_eq!(list.of("POST").len(), 65 - refused);
    assert!(list.most_at_once() <= 2, "{} at once", list.most_at_once());
}

#[test]
fn the_white_list_cannot_be_evaded_and_is_on_by_default() {
    let (good, bad) = (list_server(), list_server());
    let mut host = {
        let server = private("");
        let mut host = server.connect();
        host.host_running("Host");
        assert_eq!(
            outcome(&mut host, &bad.url("/listing")),
            "Listing on 127.0.0.1 is not allowed on this server"
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.db");
        let database = Database::open(&path).unwrap();
        database.set_settings(&[("announceWhitelist", "true")]).unwrap();
        database.set_listing_servers(&[format!(r"http://127\.0\.0\.1:{}", good.port())]).unwrap();
        let source = RuleSource { database: Some(path), ..RuleSource::default() };
        let options = ServeOptions { source, announce_private: true, ..ServeOptions::default() };
        let server = TestServer::start_with("", options);
        let mut host = server.connect();
        host.host_running("Host");
        for evasion in [
            format!("{}?{}", bad.url("/"), good.url("/listing/")),
            format!("{}#{}", bad.url("/"), good.url("/listing/")),
            format!("http://127.0.0.1:{}@127.0.0.1:{}/listing/", good.port(), bad.port()),
            bad.url(&format!("/{}", good.url("/listing/"))),
        ] {
            let told = outcome(&mut host, &evasion);
            assert_eq!(told, "Listing on 127.0.0.1 is not allowed on this server", "{evasion}");
        }
        assert_eq!(outcome(&mut host, &good.url("/listing")), "This session is now listed at 127.0.0.1");
        host
    };
    host.rest();
    assert_eq!(bad.asked_anyhow(), []);
}

/// A server that passes reports on, and has a moderator.
fn reporting(receiver: &Elsewhere) -> TestServer {
    let source = RuleSource { report_url: Some(receiver.url("/")), ..RuleSource::default() };
    let config = "abusereport=true\ncommandRateLimit=0\n[users]\nmod:plain;secret:MOD\n";
    TestServer::start_with(config, ServeOptions { source, ..ServeOptions::default() })
}

#[test]
fn reports_of_one_address_are_few_and_short_and_moderators_still_get_in() {
    let receiver = Elsewhere::start(|_| Reply::of(200, "{}"));
    let server = reporting(&receiver);
    let mut host = server.connect();
    let id = host.host_running("Host");
    let reason = "é".repeat(30_000);
    let report =
        wire(0, json!({"cmd": "report", "kwargs": {"session": id, "reason": reason}}).to_string().as_bytes());
    // From the lobby, and over many connections.
    for name in ["A", "B", "C"] {
        let mut outside = server.connect();
        outside.ident(name);
        outside.send_bytes(&report.repeat(30)).unwrap();
        outside.command("join", json!([id]), json!({"s": "1".repeat(32)}));
        outside.reply(|v| v["state"] == "join");
    }
    host.command("report", json!([]), json!({"user": 1, "reason": reason}));
    host.reply(|v| v["type"] == "error" && v["message"] == "report: Too many reports, try again in a minute");
    let mut moderator = server.connect();
    moderator.ident_as("mod", "secret");
    moderator.command("join", json!([id]), json!({"s": "2".repeat(32)}));
    moderator.reply(|v| v["state"] == "join");
    moderator.command("sessionconf", json!([]), json!({"title": "here"}));
    let mut shown: Vec<Value> = Vec::new();
    while let Some(reply) = moderator.next() {
        let Some(reply) = reply.json() else { continue };
        if reply["config"]["title"] == "here" {
            break;
        }
        let is_report = reply["type"] == "log" && reply["message"].to_string().contains("Abuse report about");
        shown.extend(is_report.then_some(reply));
    }
    assert_eq!(shown.len(), 5);
    assert!(shown.iter().all(|r| r["message"].as_str().unwrap().len() <= 1000));
    eventually("they are passed on", || receiver.asked().len() == 5);
    let longest = receiver.asked().iter().map(|a| a.body["message"].as_str().unwrap().chars().count()).max();
    assert_eq!(longest, Some(2000));
}

#[test]
fn each_report_of_a_batch_is_passed_on() {
    let receiver = Elsewhere::start(|_| Reply::of(200, "{}"));
    let server = reporting(&receiver);
    let mut host = server.connect();
    host.host_running("Host");
    let report = |n: u32| {
        wire(
            0,
            json!({"cmd": "report", "kwargs": {"user": 1, "reason": n.to_string()}}).to_string().as_bytes(),
        )
    };
    host.send_bytes(&[report(1), report(2)].concat()).unwrap();
    eventually("both are passed on", || receiver.asked().len() == 2);
}
