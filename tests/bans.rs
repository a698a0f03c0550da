//! Bans of persons over the admin API: whom they disconnect and refuse, what the banned are told, and what is recorded.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::{Arc, OnceLock};

use common::administered::Administered;
use common::client::{Client, system_id};
use common::eventually;
use drawhall::db::log::log_layer;
use drawhall::db::{Database, LogQuery};
use serde_json::json;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The message type of a goodbye.
const DISCONNECT: u8 = 1;
const WEEK: i64 = 7 * 86_400;

impl Administered {
    /// What somebody is told who tries to join with the device of `name`; nothing if they get in.
    fn refusal(&self, name: &str, device: &str, session: &str) -> Option<String> {
        let mut client = self.server.connect();
        client.ident(name);
        client.command("join", json!([session]), json!({"s": device}));
        let message =
            client.until(|m| m.kind == DISCONNECT || m.json().is_some_and(|v| v["state"] == "join"));
        (message.kind == DISCONNECT).then(|| goodbye(&message.payload))
    }
}

/// What the servers of this process have logged with a text in it, from the first call on.
fn logged(text: &str) -> Vec<String> {
    static LOG: OnceLock<Database> = OnceLock::new();
    let log = LOG.get_or_init(|| {
        let (layer, queue) = log_layer(Arc::default());
        tracing_subscriber::registry().with(LevelFilter::INFO).with(layer).init();
        let log = Database::in_memory().unwrap();
        // It writes as long as the process runs.
        std::mem::forget(queue.write_to(log.clone(), || 0).unwrap());
        log
    });
    let rows = log.log(&LogQuery { contains: text.into(), count: 100, ..LogQuery::default() }).unwrap();
    rows.into_iter().map(|row| row.message).collect()
}

fn goodbye(payload: &[u8]) -> String {
    String::from_utf8(payload[1..].to_vec()).unwrap()
}

/// The text with which a connection was ended.
fn last_words(client: &mut Client) -> String {
    let last = client.rest().into_iter().rfind(|m| m.kind == DISCONNECT).unwrap();
    goodbye(&last.payload)
}

#[test]
fn a_ban_ends_all_connections_of_a_device_and_says_until_when_and_why() {
    let host = Administered::start();
    host.done("PUT", "/api/server", json!({"banContact": "mods@example.com"}));
    logged("");
    let mut a = host.server.connect();
    let session = a.host_running("A");
    let device = system_id("PixelKing");
    let mut troll: Vec<Client> = ["PixelKing", "PixeIKing", "pixel_king_"]
        .into_iter()
        .map(|name| {
            let mut client = host.server.connect();
            client.ident(name);
            client.command("join", json!([session]), json!({"s": device}));
            client.reply(|v| v["state"] == "join");
            client
        })
        .collect();
    let mut innocent = host.server.connect();
    innocent.join("Marmalade", &session);

    let ban = json!({"devices": [device], "seconds": WEEK, "name": "PixelKing", "reason": "scribbling"});
    let preview = host.done("POST", "/api/bans/preview", ban.clone());
    let names: Vec<_> = preview["connected"].as_array().unwrap().iter().map(|u| u["name"].clone()).collect();
    assert_eq!(names, ["PixelKing", "PixeIKing", "pixel_king_"]);
    assert_eq!(preview["connected"][0]["matches"], json!(["device"]));
    assert_eq!(host.get("/api/bans")["total"], 0, "a preview bans nobody");

    let made = host.done("POST", "/api/bans", ban.clone());
    assert_eq!(made["disconnected"].as_array().unwrap().len(), 3, "{made}");
    let end = made["ban"]["expires"].as_str().unwrap()[..16].to_owned();
    let told = format!(
        "You are banned from this server until {end} UTC. Reason: scribbling. If this is a mistake, contact: mods@example.com"
    );
    for client in &mut troll {
        assert_eq!(last_words(client), told);
    }
    assert_eq!(host.refusal("Someone", &device, &session).as_deref(), Some(told.as_str()));
    assert_eq!(
        host.refusal("Ginger", &system_id("Ginger"), &session),
        None,
        "the same address, another device"
    );
    let users = host.get("/api/users");
    let is_there = |name: &str| users.as_array().unwrap().iter().any(|user| user["name"] == name);
    assert!(is_there("Marmalade") && !is_there("PixelKing"), "{users}");

    let again = host.ask("POST", "/api/bans", Some(ban));
    assert_eq!((again.status, &again.json["ban"]), (409, &made["ban"]["id"]), "{}", again.json);
    assert!(again.json["message"].as_str().unwrap().starts_with(&format!("Already banned until {end}")));

    eventually("the ban is in the log", || !logged("banned PixelKing").is_empty());
    let line = logged("banned PixelKing").remove(0);
    assert!(
        line.contains("banned PixelKing (1 device) until ")
            && line.ends_with(": scribbling; 3 connections ended"),
        "{line}"
    );
}

#[test]
fn without_a_contact_the_banned_are_told_as_by_drawpile_srv() {
    let host = Administered::start();
    let mut a = host.server.connect();
    let session = a.host_running("A");
    let ban = json!({"devices": [system_id("B")], "expires": "2099-01-01", "reason": "Because"});
    host.done("POST", "/api/bans", ban);
    let told = host.refusal("B", &system_id("B"), &session);
    assert_eq!(told.as_deref(), Some("Banned from this server until 2099-01-01: Because"));
    let ban = json!({"addresses": ["127.0.0.0/8"], "forever": true, "reason": "Everybody", "stay": true});
    let made = host.done("POST", "/api/bans", ban);
    assert_eq!(
        (&made["disconnected"], &made["ban"]["permanent"]),
        (&json!([]), &json!(true)),
        "they may stay"
    );
    let told = host.refusal("C", &system_id("C"), &session);
    assert_eq!(told.as_deref(), Some("Permanently banned from this server: Everybody"));
}

#[test]
fn a_ban_is_extended_in_place_and_ended_and_each_change_is_an_event() {
    let host = Administered::start();
    let mut a = host.server.connect();
    let session = a.host_running("A");
    let device = system_id("B");
    let made = host.done("POST", "/api/bans", json!({"devices": [device], "seconds": 3600, "note": "first"}));
    let path = format!("/api/bans/{}", made["ban"]["id"].as_str().unwrap());
    let changed = host.done("PUT", &path, json!({"expires": "2099-01-01 00:00:00", "note": "again"}));
    assert_eq!((&changed["expires"], &changed["note"]), (&json!("2099-01-01 00:00:00"), &json!("again")));
    let what: Vec<_> = changed["changes"].as_array().unwrap().iter().map(|c| c["what"].clone()).collect();
    assert_eq!(what, ["note", "expires"]);
    assert!(host.refusal("B", &device, &session).unwrap().contains("2099-01-01"));

    let ended = host.ask("DELETE", &path, None);
    assert_eq!((ended.status, &ended.json["inForce"]), (200, &json!(false)));
    assert_eq!(host.refusal("B", &device, &session), None);
    assert_eq!(host.ask("DELETE", &path, None).status, 404, "it is over");
    assert_eq!(host.get("/api/bans")["total"], 0);
    let over = host.get("/api/bans?state=over");
    assert_eq!((&over["total"], &over["bans"][0]["ended"]["by"]), (&json!(1), &json!("127.0.0.1")));
    assert_eq!(over["bans"][0]["targets"], json!([{"kind": "device", "subject": device}]));
}

#[test]
fn bans_of_old_frontends_and_of_persons_are_one_list() {
    let host = Administered::start();
    host.done("POST", "/api/banlist", json!({"ip": "192.0.2.1", "expires": "2099-01-01", "comment": "old"}));
    host.done(
        "POST",
        "/api/bans",
        json!({"addresses": ["198.51.100.5-198.51.100.8"], "forever": true, "name": "N"}),
    );
    let listed = host.get("/api/bans?contains=192.0.2");
    assert_eq!((&listed["bans"][0]["id"], &listed["total"]), (&json!("address:1"), &json!(1)));
    let old = host.get("/api/banlist");
    let rows: Vec<_> =
        old.as_array().unwrap().iter().map(|b| format!("{}/{}", b["ip"], b["subnet"])).collect();
    assert_eq!(rows, ["\"192.0.2.1\"/0", "\"198.51.100.5\"/0", "\"198.51.100.6\"/31", "\"198.51.100.8\"/0"]);
    let ended = host.ask("DELETE", "/api/bans/address:1", None);
    assert_eq!(ended.status, 200, "{}", ended.json);
    assert_eq!(host.get("/api/banlist").as_array().unwrap().len(), 3);
    for (body, fault) in [
        (json!({"seconds": 60}), "at least one"),
        (json!({"devices": ["x"]}), "one of them is needed"),
        (json!({"devices": ["x"], "seconds": 60, "forever": true}), "only one"),
        (json!({"devices": ["x"], "expires": "2020-01-01"}), "over already"),
        (json!({"devices": ["x"], "seconds": 60, "reason": "x".repeat(501)}), "at most 500"),
    ] {
        let refused = host.ask("POST", "/api/bans", Some(body.clone()));
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.json["message"].as_str().unwrap().contains(fault), "{body}: {}", refused.json);
    }
}

#[test]
fn everybody_cannot_be_banned_in_whatever_notation() {
    let host = Administered::start();
    for everybody in ["0.0.0.0/0", "::/0", "::ffff:0:0/96", "::ffff:1.2.3.4/90"] {
        let refused = host.ask("POST", "/api/bans", Some(json!({"addresses": [everybody], "seconds": 60})));
        assert_eq!(refused.status, 400, "{everybody}: {}", refused.json);
    }
    let ban = json!({"addresses": ["::ffff:10.0.0.0/104"], "seconds": 60});
    let preview = host.done("POST", "/api/bans/preview", ban.clone());
    assert_eq!(
        (&preview["warnings"][0]["kind"], &preview["addresses"]),
        (&json!("wide-range"), &json!("16777216"))
    );
    let made = host.done("POST", "/api/bans", ban);
    assert_eq!(made["ban"]["targets"][0]["subject"], "10.0.0.0/8");
}

#[test]
fn operators_and_ones_own_address_are_warned_about() {
    let host = Administered::start();
    let mut a = host.server.connect();
    a.host_running("A");
    let body = json!({"devices": [common::SID], "addresses": ["127.0.0.1"]});
    let preview = host.done("POST", "/api/bans/preview", body);
    let kinds: Vec<_> = preview["warnings"].as_array().unwrap().iter().map(|w| w["kind"].clone()).collect();
    assert_eq!(kinds, ["operator", "own-address", "loopback"]);
    assert_eq!((&preview["addresses"], &preview["connected"][0]["operator"]), (&json!("1"), &json!(true)));
}

#[test]
fn an_account_of_this_server_is_banned_whatever_its_device_is() {
    let host = Administered::start();
    let account = json!({"username": "ann", "password": "secret", "flags": "BANEXEMPT"});
    let id = host.done("POST", "/api/accounts", account)["id"].clone();
    let mut a = host.server.connect();
    let session = a.host_running("A");
    let join = |device: &str| {
        let mut client = host.server.connect();
        client.ident_as("ann", "secret");
        client.command("join", json!([session]), json!({"s": system_id(device)}));
        client
    };
    let mut ann = join("one");
    ann.reply(|v| v["state"] == "join");
    let ban = json!({"accounts": [format!("internal:{id}")], "forever": true, "reason": "Trolling"});
    let made = host.done("POST", "/api/bans", ban);
    assert_eq!(made["disconnected"].as_array().unwrap().len(), 1, "{made}");
    assert_eq!(last_words(&mut ann), "Permanently banned from this server: Trolling");
    assert_eq!(last_words(&mut join("two")), "Permanently banned from this server: Trolling");
    let path = format!("/api/bans/{}", made["ban"]["id"].as_str().unwrap());
    assert_eq!(host.ask("DELETE", &path, None).status, 200);
    join("two").reply(|v| v["state"] == "join");
}
