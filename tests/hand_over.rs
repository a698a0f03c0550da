//! A server of a cluster stops: members whose connections other servers have stay, and see nothing of it.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::process::Command;

use common::client::system_id;
use common::http::request;
use common::postgres::PostgresDatabase;
use common::sharing::{edge, named_node, node, rejoin};
use common::{Client, eventually};
use serde_json::{Value, json};

/// A type of message that the server does not look into.
const STROKE: u8 = 140;
const LEAVE: u8 = 33;
const DISCONNECT: u8 = 1;

/// The number of whoever has joined.
fn user(answer: &Value) -> u8 {
    answer["join"]["user"].as_u64().unwrap() as u8
}

fn draw(client: &mut Client, stroke: &[u8]) {
    client.send(STROKE, 1, stroke);
    client.until(|m| {
        assert_ne!(m.kind, DISCONNECT, "{m}");
        m.kind == STROKE && m.payload == stroke
    });
}

#[test]
fn whoever_is_connected_to_another_server_stays() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (mut one, other) = (node(&database), node(&database));
    let mut host = one.server.connect();
    let session = host.host_running("host");
    draw(&mut host, b"first");
    let (mut ben, answer) = rejoin(&other.server, "Ben", &session, "");
    let ben_id = user(&answer);
    ben.contents_until(STROKE, b"first");
    let hidx = ben.reply(|v| v["type"] == "caughtup")["hidx"].as_str().unwrap().to_owned();
    let host_id = 1;
    host.command("sessionconf", json!([]), json!({"opword": "secret"}));
    host.reply(|v| v["config"]["hasOpword"] == true);
    ben.command("gain-op", json!(["secret"]), json!({}));
    ben.until(|m| m.kind == 34 && m.payload.contains(&ben_id));
    draw(&mut ben, b"second");

    one.server.stop();
    host.until(|m| m.kind == DISCONNECT);
    ben.until(|m| {
        assert_ne!(m.kind, DISCONNECT, "{m}");
        assert!(m.kind != LEAVE || m.user == host_id, "only the host has left: {m}");
        m.kind == LEAVE
    });
    draw(&mut ben, b"third");
    ben.command("sessionconf", json!([]), json!({"title": "Still here"}));
    ben.reply(|v| v["config"]["title"] == "Still here");
    let (mut newcomer, _) = rejoin(&other.server, "newcomer", &session, "");
    let all = [b"first".to_vec(), b"second".to_vec(), b"third".to_vec()];
    assert_eq!(newcomer.contents_until(STROKE, b"third"), all);
    // Ben goes on counting messages from the index that he was told before.
    let there = newcomer.reply(|v| v["type"] == "caughtup")["hidx"].as_str().unwrap().to_owned();
    assert_eq!(there.split(':').next(), hidx.split(':').next());
    // Leaves reach the session wherever it is.
    ben.close();
    newcomer.until(|m| m.kind == LEAVE && m.user == ben_id);
}

#[test]
fn all_servers_but_one_are_replaced_while_somebody_draws() {
    let Some(database) = PostgresDatabase::create() else { return };
    let mut owner = node(&database);
    let edge = edge(&database);
    let mut host = owner.server.connect();
    let session = host.host_running("host");
    draw(&mut host, b"begin");
    let (mut ada, answer) = rejoin(&edge.server, "Ada", &session, "");
    let ada_id = user(&answer);
    ada.contents_until(STROKE, b"begin");
    let mut number = 0u32;
    for _ in 0..4 {
        let mut old = std::mem::replace(&mut owner, node(&database));
        let stopping = std::thread::spawn(move || {
            old.server.stop();
            old
        });
        let first = number;
        while !stopping.is_finished() || number < first + 200 {
            ada.send(STROKE, 1, &number.to_be_bytes());
            number += 1;
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        stopping.join().unwrap();
    }
    let mut expected = 0u32;
    while expected < number {
        let message = ada.until(|m| {
            assert_ne!(m.kind, DISCONNECT, "{m}");
            assert!(m.kind != LEAVE || m.user != ada_id, "{m}");
            m.kind == STROKE
        });
        assert_eq!(message.payload, expected.to_be_bytes(), "in order, once");
        expected += 1;
    }
    draw(&mut ada, b"end");
    let (mut newcomer, _) = rejoin(&edge.server, "newcomer", &session, "");
    let all = newcomer.contents_until(STROKE, b"end");
    assert_eq!(all.len() as u32, number + 2, "{number}");
    eventually("old links have ended", || edge.server.metrics.relayed_clients.get() == 2);
}

/// What `drawhall cluster drain` prints, and its exit status.
fn drain(database: &PostgresDatabase, arguments: &[&str]) -> (String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drawhall"));
    command.args(["cluster", "drain"]).args(arguments).env("DRAWHALL_CLUSTER", database.url());
    let output = command.output().unwrap();
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (String::from_utf8(text).unwrap(), output.status.code())
}

#[test]
fn a_server_is_drained_and_nobody_notices() {
    let Some(database) = PostgresDatabase::create() else { return };
    let one = named_node(&database, "one");
    let edge = edge(&database);
    let (text, status) = drain(&database, &["one"]);
    assert!(text.contains("no other server could take") && status == Some(1), "{text}");
    let other = named_node(&database, "other");
    let (text, status) = drain(&database, &["third"]);
    assert!(text.contains("there is no server third") && status == Some(1), "{text}");

    let admin = one.server.admin.unwrap();
    let ready = || request(admin, "GET", "/readyz", "", None).status;
    assert_eq!(ready(), 200);
    let set = request(admin, "PUT", "/api/server", "", Some(&json!({"persistence": true})));
    assert_eq!(set.status, 200, "{}", set.json);
    let mut leaver = one.server.connect();
    let empty = leaver.host_running("leaver");
    leaver.command("sessionconf", json!([]), json!({"persistent": true}));
    leaver.reply(|v| v["config"]["persistent"] == true);
    leaver.close();
    let mut host = one.server.connect();
    let session = host.host_running("host");
    draw(&mut host, b"first");
    let (mut ben, _) = rejoin(&edge.server, "Ben", &session, "");
    ben.contents_until(STROKE, b"first");
    eventually("only the session with the host is left", || {
        let (text, status) = drain(&database, &["one", "--wait", "0"]);
        assert_eq!(status, Some(1), "{text}");
        text.contains("sessions that are left: 1 ")
    });
    draw(&mut host, b"the host stays as well");
    assert_eq!(ready(), 503, "a load balancer sends nobody there");
    let servers =
        || request(other.server.admin.unwrap(), "GET", "/api/overview", "", None).json["servers"].clone();
    eventually("administrators see it", || {
        let shown = servers();
        shown.as_array().unwrap().iter().any(|s| s["name"] == "one" && s["draining"] == true)
    });
    let mut refused = one.server.connect();
    refused.ident("somebody");
    refused.command("host", json!([]), json!({"protocol": "dp:4.24.0", "user_id": 1, "s": system_id("x")}));
    let error = refused.reply(|v| v["type"] == "error");
    assert_eq!(error["code"], "closed", "{error}");
    assert!(error["message"].as_str().unwrap().contains("takes no new sessions"), "{error}");

    host.close();
    let (text, status) = drain(&database, &["one"]);
    assert!(text.ends_with("it can be stopped\n") && status == Some(0), "{text}");
    draw(&mut ben, b"second");
    let (mut newcomer, _) = rejoin(&other.server, "newcomer", &session, "");
    let all = [b"first".to_vec(), b"the host stays as well".to_vec(), b"second".to_vec()];
    assert_eq!(newcomer.contents_until(STROKE, b"second"), all);
    drop(rejoin(&other.server, "visitor", &empty, ""));

    let (text, status) = drain(&database, &["one", "--undo"]);
    assert_eq!((&*text, status), ("server one takes sessions again\n", Some(0)));
    eventually("it takes sessions again", || {
        let mut client = one.server.connect();
        client.ident("somebody");
        client.command(
            "host",
            json!([]),
            json!({"protocol": "dp:4.24.0", "user_id": 1, "s": system_id("x")}),
        );
        client.reply(|v| v["type"] == "error" || v["state"] == "host")["state"] == "host"
    });
    assert_eq!(ready(), 200);
}

#[test]
fn a_server_may_be_stopped_while_it_drains() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (mut one, edge, _other) = (named_node(&database, "one"), edge(&database), node(&database));
    let mut host = one.server.connect();
    let session = host.host_running("host");
    draw(&mut host, b"first");
    let (mut ada, _) = rejoin(&edge.server, "Ada", &session, "");
    ada.contents_until(STROKE, b"first");
    // Reading what he sends is slowed down, so it takes seconds until the session can move.
    let (mut flooder, _) = rejoin(&edge.server, "flooder", &session, "");
    for _ in 0..300 {
        flooder.command("x", json!([]), json!({}));
    }
    host.close();
    ada.until(|m| m.kind == LEAVE && m.user == 1);
    assert_eq!(drain(&database, &["one", "--wait", "0"]).1, Some(1));
    let admin = one.server.admin.unwrap();
    eventually("it drains", || request(admin, "GET", "/readyz", "", None).status == 503);
    one.server.stop();
    draw(&mut ada, b"still here");
}
