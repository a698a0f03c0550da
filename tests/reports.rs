//! The inbox of abuse reports: what is stored, who is thanked, and who has handled it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::administered::Administered;
use common::client::system_id;
use common::elsewhere::{Elsewhere, Reply};
use common::eventually;
use common::http::text;
use serde_json::{Value, json};

#[test]
fn a_report_is_stored_without_a_report_url_and_handled_by_somebody() {
    let host = Administered::start();
    let mut a = host.server.connect();
    assert!(!a.greeting()["flags"].as_array().unwrap().contains(&json!("REPORT")), "as drawpile-srv");
    let set = host.ask("PUT", "/api/server", Some(json!({"reportInbox": true})));
    assert_eq!(set.status, 200, "{}", set.json);
    let session = a.host_running("inkfox");
    let mut b = host.server.connect();
    assert!(b.greeting()["flags"].as_array().unwrap().contains(&json!("REPORT")));
    b.join("Bao", &session);

    let events = TcpStream::connect(host.server.admin.unwrap()).unwrap();
    write!(&events, "GET /api/events?topics=reports HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut lines = BufReader::new(events).lines().map(Result::unwrap);
    lines.by_ref().find(|line| line.is_empty()).unwrap();

    b.command("report", json!([]), json!({"user": 1, "reason": "covers everything"}));
    b.reply(|v| v["type"] == "msg" && v["message"].as_str().unwrap().starts_with("Thank you"));
    let event = lines.find(|line| line.starts_with("data: ")).unwrap();
    let event: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!((&event["reason"], &event["state"]), (&json!("covers everything"), &json!("open")));
    let id = &event["id"];
    let report = host.get(&format!("/api/reports/{id}"));
    assert_eq!(report, event);
    assert_eq!((&report["reporter"]["name"], &report["about"]["name"]), (&json!("Bao"), &json!("inkfox")));
    assert_eq!(report["reporter"]["device"], json!(system_id("Bao")));
    assert_eq!(report["users"].as_array().unwrap().len(), 2);

    let body = json!({"state": "handled", "outcome": "talked to them"});
    let handled = host.ask("PUT", &format!("/api/reports/{id}"), Some(body)).json;
    assert_eq!((&handled["by"], &handled["outcome"]), (&json!("127.0.0.1"), &json!("talked to them")));
    let list = host.get("/api/reports");
    assert_eq!((&list["total"], &list["open"]), (&json!(0), &json!(0)));
    assert_eq!(host.get("/api/reports?state=handled")["total"], 1);
    eventually("Bao is known", || {
        host.get(&format!("/api/people/device:{}", system_id("Bao")))["reports"].as_array().unwrap().len()
            == 1
    });
    assert_eq!(host.ask("PUT", "/api/reports/99", Some(json!({"state": "open"}))).status, 404);
}

#[test]
fn a_flood_of_reports_from_many_sessions_is_limited() {
    let host = Administered::start();
    assert_eq!(host.ask("PUT", "/api/server", Some(json!({"reportInbox": true}))).status, 200);
    let mut clients: Vec<_> = (0..3).map(|_| host.server.connect()).collect();
    let mut thanked = 0;
    for (n, client) in clients.iter_mut().enumerate() {
        client.host_running(&format!("Host{n}"));
        (0..5).for_each(|_| client.command("report", json!([]), json!({"user": 1, "reason": "flood"})));
        for _ in 0..5 {
            let told = client.reply(|v| {
                ["Thank you", "Too many reports"].iter().any(|t| v["message"].to_string().contains(t))
            });
            thanked += u64::from(told["message"].to_string().contains("Thank you"));
        }
    }
    let refused = || -> u64 {
        let page = text(host.server.admin.unwrap(), "/metrics");
        let line = page.lines().find(|line| line.contains("limits_hit_total{setting=\"reports\"}"));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    };
    let stored = || host.get("/api/reports")["total"].as_u64().unwrap();
    eventually("all are stored or refused", || stored() + refused() == 15);
    assert_eq!(stored(), thanked, "nobody is thanked for a report that is dropped");
    // One more may come in while the test runs.
    assert!((5..8).contains(&stored()), "{}", stored());
}

#[test]
fn somebody_who_was_banned_from_a_session_can_report_it() {
    let host = Administered::start();
    assert_eq!(host.ask("PUT", "/api/server", Some(json!({"reportInbox": true}))).status, 200);
    let mut a = host.server.connect();
    let session = a.host_running("A");
    let mut b = host.server.connect();
    let id = b.join("B", &session);
    a.command("kick-user", json!([id]), json!({"ban": true}));
    b.rest();
    let mut outside = host.server.connect();
    outside.ident("B");
    outside.command("report", json!([]), json!({"session": session, "reason": "banned for nothing"}));
    eventually("it is stored", || host.get("/api/reports")["total"] == 1);
    let report = &host.get("/api/reports")["reports"][0];
    assert_eq!((&report["about"], &report["reporter"]["name"]), (&Value::Null, &json!("B")));
}

#[test]
fn the_webhook_is_told_of_a_report_and_a_failure_is_retried() {
    let count = AtomicUsize::new(0);
    let receiver = Elsewhere::start(move |_| {
        Reply::of(if count.fetch_add(1, Ordering::SeqCst) == 0 { 500 } else { 200 }, "{}")
    });
    let host = Administered::start();
    let set =
        json!({"reportInbox": true, "reportWebhook": receiver.url("/hook"), "reportWebhookPrivate": true});
    assert_eq!(host.ask("PUT", "/api/server", Some(set)).status, 200);
    let mut a = host.server.connect();
    a.host_running("A");
    a.command("report", json!([]), json!({"user": 1, "reason": "rude"}));
    eventually("it is tried again", || receiver.asked().len() == 2);
    let asked = receiver.asked();
    assert_eq!(asked[0].body, asked[1].body);
    assert_eq!((&asked[1].body["reason"], &asked[1].body["about"]), (&json!("rude"), &json!("A")));
}
