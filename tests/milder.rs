//! Milder means than kicking and banning, the space of a session, and chat and events that are kept, over the API and
//! with `drawhall ctl`, in a running server.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::process::Command;

use common::client::{system_id, wire};
use common::http::{Answer, request};
use common::{Client, TestServer, eventually};
use drawhall::app::ServeOptions;
use serde_json::{Value, json};

const LEAVE: u8 = 33;
const CHAT: u8 = 35;
const PRIVATE_CHAT: u8 = 38;
const USER_ACL: u8 = 68;
const STROKE: u8 = 148;

struct House {
    server: TestServer,
    folder: tempfile::TempDir,
}

impl House {
    fn start(config: &str) -> House {
        let folder = tempfile::tempdir().unwrap();
        let options = ServeOptions {
            sessions: Some(folder.path().join("sessions")),
            events: Some(folder.path().join("events")),
            admin_port: Some(0),
            ..ServeOptions::default()
        };
        std::fs::create_dir(folder.path().join("sessions")).unwrap();
        House { server: TestServer::start_with(config, options), folder }
    }

    /// Stops the server, and starts it again.
    fn restart(&mut self, config: &str) {
        self.server.stop();
        let options = ServeOptions {
            sessions: Some(self.folder.path().join("sessions")),
            events: Some(self.folder.path().join("events")),
            admin_port: Some(0),
            ..ServeOptions::default()
        };
        self.server = TestServer::start_with(config, options);
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        request(self.server.admin.unwrap(), method, path, "", body)
    }

    fn fine(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let answer = self.ask(method, path, body);
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.json);
        answer.json
    }

    fn ctl(&self, args: &[&str]) -> String {
        let url = format!("http://{}", self.server.admin.unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_drawhall"));
        let out = command.args(["ctl", "--url", &url]).args(args).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }
}

fn say(client: &mut Client, text: &str) {
    client.send_bytes(&wire(CHAT, format!("\0\0{text}").as_bytes())).unwrap();
}

#[test]
fn a_vandal_is_warned_muted_locked_and_slowed_and_told_so() {
    let house = House::start("");
    let mut host = house.server.connect();
    let id = host.host_running("Host");
    let mut vandal = house.server.connect();
    let user = vandal.join("Vandal", &id);

    house.ctl(&["warn", &id, "Vandal", "Please do not draw over others."]);
    let told = vandal.reply(|v| v["type"] == "alert");
    assert!(told["message"].to_string().contains("Please do not draw over others."));
    let said = house.ctl(&["restrict", &id, "Vandal", "mute", "--for", "1h", "--reason", "spam"]);
    assert!(said.contains("mute until"), "{said}");
    let told = vandal.reply(|v| v["type"] == "alert");
    assert_eq!(told["message"], "You may not chat here for 60 minutes: spam");
    say(&mut vandal, "can anybody hear me?");
    vandal.send_bytes(&wire(STROKE, b"but drawn")).unwrap();
    let seen = std::iter::from_fn(|| host.next()).take_while(|m| m.kind != STROKE);
    assert!(seen.into_iter().all(|m| m.kind != CHAT));

    let path = format!("/api/sessions/{id}/{user}/restrict");
    house.fine("POST", &path, Some(&json!({"kind": "nodraw", "seconds": 600})));
    assert_eq!(host.until(|m| m.kind == USER_ACL).payload, [user]);
    house.fine("POST", &path, Some(&json!({"kind": "slow", "seconds": "600"})));
    let list = house.fine("GET", &format!("/api/sessions/{id}/restrictions"), None);
    let kinds: Vec<&str> =
        list["restrictions"].as_array().unwrap().iter().filter_map(|r| r["kind"].as_str()).collect();
    assert_eq!(kinds, ["mute", "nodraw", "slow"]);
    let shown = house.fine("GET", &format!("/api/sessions/{id}/{user}"), None);
    assert_eq!((&shown["muted"], &shown["warnings"]), (&json!(true), &json!(1)));

    let lock = list["restrictions"][1]["id"].to_string();
    house.ctl(&["restrictions", &id, "--lift", &lock]);
    assert!(host.until(|m| m.kind == USER_ACL).payload.is_empty());
    for (body, status) in [
        (json!({"kind": "nodraw"}), 400),
        (json!({"kind": "everything", "seconds": 5}), 400),
        (json!({"kind": "mute", "seconds": 0}), 400),
        (json!({"kind": "mute", "seconds": 5, "reason": "x".repeat(501)}), 400),
    ] {
        assert_eq!(house.ask("POST", &path, Some(&body)).status, status, "{body}");
    }
    let nobody = format!("/api/sessions/{id}/200/warn");
    assert_eq!(house.ask("POST", &nobody, Some(&json!({"message": "x"}))).status, 404);
}

#[test]
fn restrictions_hold_after_a_restart_of_the_server() {
    let config = "emptySessionLingerTime=1h";
    let mut house = House::start(config);
    let mut host = house.server.connect();
    let id = host.host_running("Host");
    let mut vandal = house.server.connect();
    vandal.join("Vandal", &id);
    house.ctl(&["restrict", &id, "Vandal", "mute", "--for", "1h", "--reason", "spam"]);
    house.ctl(&["restrict", &id, "Vandal", "nodraw", "--for", "1h"]);
    house.ctl(&["warn", &id, "Vandal", "Please do not draw over others."]);
    let list = |house: &House| house.fine("GET", &format!("/api/sessions/{id}/restrictions"), None);
    let before = list(&house);
    house.restart(config);
    let after = list(&house);
    for n in 0..2 {
        assert_eq!(after["restrictions"][n]["until"], before["restrictions"][n]["until"], "{after}");
        assert_eq!(after["restrictions"][n]["reason"], before["restrictions"][n]["reason"], "{after}");
    }
    let mut vandal = house.server.connect();
    let user = vandal.join("Vandal", &id);
    assert_eq!(vandal.until(|m| m.kind == USER_ACL).payload, [user]);
    say(&mut vandal, "can anybody hear me?");
    vandal.send_bytes(&wire(STROKE, b"but drawn")).unwrap();
    let seen: Vec<u8> =
        std::iter::from_fn(|| vandal.next()).map(|m| m.kind).take_while(|kind| *kind != STROKE).collect();
    assert!(!seen.contains(&CHAT));
    let shown = house.fine("GET", &format!("/api/sessions/{id}/{user}"), None);
    assert_eq!((&shown["muted"], &shown["warnings"]), (&json!(true), &json!(1)));
}

#[test]
fn a_session_is_closed_to_newcomers_and_opened_again() {
    let house = House::start("");
    let mut host = house.server.connect();
    let id = host.host_running("Host");
    house.ctl(&["close-session", &id, "--for", "30m"]);
    let mut newcomer = house.server.connect();
    newcomer.ident("Newcomer");
    newcomer.command("join", json!([id]), json!({"s": system_id("Newcomer")}));
    let refused = newcomer.reply(|v| v["type"] == "error" || v["state"] == "join");
    assert_eq!(refused["code"], "closed");
    house.ctl(&["close-session", &id, "--for", "0s"]);
    house.server.connect().join("Newcomer", &id);
}

#[test]
fn the_space_of_a_session_is_shown_with_the_share_of_each() {
    let house = House::start("sessionSizeLimit=1mb");
    let mut host = house.server.connect();
    let id = host.host_running("Host");
    host.send_bytes(&wire(STROKE, &[7; 50_000])).unwrap();
    host.until(|m| m.kind == STROKE);
    let space = house.fine("GET", &format!("/api/sessions/{id}/space"), None);
    assert_eq!((&space["limit"], &space["secondsLeft"]), (&json!(1 << 20), &Value::Null));
    assert_eq!(space["shares"], json!([{"id": 1, "name": "Host", "bytes": 50_004}]));
    assert!(house.ctl(&["space", &id]).contains("Host"));
}

#[test]
fn chat_and_events_are_kept_for_moderators_and_can_be_erased() {
    let house = House::start("");
    let mut host = house.server.connect();
    let id = host.host_running("Host");
    let mut troll = house.server.connect();
    troll.join("PixelKing", &id);
    say(&mut troll, "something awful");
    troll.send_bytes(&wire(PRIVATE_CHAT, b"\x01\0just for you")).unwrap();
    host.until(|m| m.kind == CHAT);
    troll.close();
    host.until(|m| m.kind == LEAVE);
    host.close();
    let timeline = |query: &str| {
        let events = house.fine("GET", &format!("/api/timeline?{query}"), None)["events"].clone();
        events.as_array().unwrap().clone()
    };
    let topics = |events: &[Value]| -> Vec<String> {
        events.iter().map(|e| e["topic"].as_str().unwrap().to_owned()).collect()
    };
    // A look-alike of the name, after the session has ended.
    let person = format!("session={id}&person=PixeIKing");
    eventually("everything is written", || topics(&timeline(&person)).ends_with(&["Leave".into()]));
    let events = timeline(&person);
    assert_eq!(topics(&events), ["Join", "Chat", "Leave"]);
    assert_eq!((&events[1]["text"], &events[1]["name"]), (&json!("something awful"), &json!("PixelKing")));
    assert!(!events[1]["timestamp"].as_str().unwrap().is_empty());
    assert!(timeline("person=PixelKing&to=2020-01-01T00:00:00Z").is_empty());
    assert!(timeline("").iter().all(|e| !e.to_string().contains("just for you")));
    assert_eq!(house.ask("GET", "/api/timeline?from=yesterday", None).status, 400);
    let query = format!("/api/timeline?session={id}&topic=Chat&newest=1");
    let newest = house.fine("GET", &query, None);
    assert_eq!((&newest["events"][0]["text"], &newest["full"]), (&json!("something awful"), &json!(false)));
    let query = format!("{query}&after={}", newest["next"].as_str().unwrap());
    assert_eq!(house.fine("GET", &query, None)["events"], json!([]), "nothing was written since");
    assert_eq!(house.ask("GET", "/api/timeline?after=5", None).status, 400);
    let log = house.fine("GET", "/api/log?contains=awful", None);
    assert_eq!(log, json!([]), "the log has no chat");
    assert!(house.ctl(&["timeline", "--person", "PixelKing"]).contains("something awful"));
    let newest = house.ctl(&["timeline", &id, "--limit", "1"]);
    assert!(newest.lines().count() == 2 && newest.contains("There are earlier ones"), "{newest}");
    assert!(house.ctl(&["timeline", &id, "--topic", "Chat", "--all"]).contains("something awful"));
    let person = format!("device:{}", system_id("PixelKing"));
    let export: Value = serde_json::from_str(&house.ctl(&["person", &person, "--export"])).unwrap();
    let said: Vec<&Value> = export["events"].as_array().unwrap().iter().map(|e| &e["text"]).collect();
    assert!(said.contains(&&json!("something awful")) && export["complete"] == true, "{export}");
    assert!(!export.to_string().contains("\"Host\""), "nobody else is in it: {export}");
    let person = format!("session={id}&person=PixeIKing");
    assert!(house.ctl(&["erase", "PixelKing"]).contains("erased 3 events"));
    assert!(timeline(&person).is_empty());
    assert!(!timeline("").is_empty(), "others stay");
}

#[test]
fn what_a_person_wrote_is_found_by_id_without_what_others_of_that_name_wrote() {
    let house = House::start("");
    let mut host = house.server.connect();
    host.ident("Host");
    // Clients of later versions must have a system id.
    host.command("host", json!([]), json!({"protocol": "dp:4.23.0", "user_id": 1}));
    let id = host.reply(|v| v["state"] == "host")["join"]["id"].as_str().unwrap().to_owned();
    host.command("init-complete", json!([]), json!({}));
    host.reply(|v| v["type"] == "status");
    let mut words = Vec::new();
    let device = system_id("Ann");
    for (device, text) in [(device.as_str(), "of the first Ann"), ("", "of a guest who calls herself Ann")] {
        let mut ann = house.server.connect();
        ann.ident("Ann");
        let joined = if device.is_empty() { json!({}) } else { json!({"s": device}) };
        ann.command("join", json!([id]), joined);
        ann.reply(|v| v["state"] == "join");
        say(&mut ann, text);
        host.until(|m| m.kind == CHAT);
        ann.close();
        host.until(|m| m.kind == LEAVE);
        words.push(text);
    }
    let wrote = |query: &str| -> Vec<String> {
        let events = house.fine("GET", &format!("/api/timeline?topic=Chat&{query}"), None)["events"].clone();
        events.as_array().unwrap().iter().map(|e| e["text"].as_str().unwrap().to_owned()).collect()
    };
    eventually("everything is written", || wrote("person=Ann") == words);
    assert_eq!(wrote(&format!("personId=device:{device}")), words[..1]);
    assert_eq!(wrote("personId=guest:127.0.0.1;Ann"), words[1..]);
    assert_eq!(wrote("personId=guest:192.0.2.1;Ann"), [""; 0]);
    for (query, status) in [
        ("personId=Ann", 404),
        ("personId=guest:127.0.0.1;", 404),
        ("personId=guest:;Ann", 404),
        ("person=Ann&personId=account:7", 400),
    ] {
        assert_eq!(house.ask("GET", &format!("/api/timeline?{query}"), None).status, status, "{query}");
    }
}

#[test]
fn what_was_done_about_a_person_is_shown_with_the_person() {
    let house = House::start("");
    let mut host = house.server.connect();
    let id = host.host_running("Host");
    let mut vandal = house.server.connect();
    let user = vandal.join("Vandal", &id);
    let mut bystander = house.server.connect();
    bystander.join("Bystander", &id);
    house.ctl(&["warn", &id, "Vandal", "Please do not."]);
    house.ctl(&["restrict", &id, "Vandal", "mute", "--reason", "spam"]);
    host.command("kick-user", json!([user]), json!({}));
    let path = format!("/api/people/device:{}", system_id("Vandal"));
    let actions = || -> Vec<String> {
        // Who was there is written a moment later.
        let answer = house.ask("GET", &path, None);
        let actions = answer.json["actions"].as_array().cloned().unwrap_or_default();
        actions.iter().map(|a| a["text"].as_str().unwrap().to_owned()).collect()
    };
    let beginnings = ["Kicked by Host", "Muted by", "Warned by"];
    eventually("everything is written", || {
        let actions = actions();
        actions.len() == 3 && actions.iter().zip(beginnings).all(|(text, begin)| text.starts_with(begin))
    });
    let other = house.fine("GET", &format!("/api/people/device:{}", system_id("Bystander")), None);
    assert_eq!(other["actions"], json!([]), "not what they did about others");
}

#[test]
fn without_a_keep_time_no_chat_is_kept() {
    let house = House::start("eventKeepTime=0");
    let mut host = house.server.connect();
    host.host_running("Host");
    say(&mut host, "nobody remembers this");
    host.until(|m| m.kind == CHAT);
    let timeline = house.fine("GET", "/api/timeline", None);
    assert_eq!(timeline, json!({"keepSeconds": 0, "events": [], "more": false, "next": "", "full": false}));
}
