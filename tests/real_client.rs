//! Recorded conversations, replayed: one of our own, and that of the real desktop client where `DRAWHALL_GOLDEN` names
//! the directory.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::{Client, TestServer, recordings};
use drawhall_protocol::frame::FIRST_OPAQUE;
use serde_json::{Value, json};

struct Line {
    conn: u64,
    to_server: bool,
    kind: u8,
    user: u8,
    payload: Vec<u8>,
}

fn read(path: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(path).unwrap();
    let parse = |line: &str| {
        let v: Value = serde_json::from_str(line).unwrap();
        let payload = match v["data"].as_str() {
            Some(data) => BASE64.decode(data).unwrap(),
            None => v["json"].to_string().into_bytes(),
        };
        Line {
            conn: v["conn"].as_u64().unwrap(),
            to_server: v["way"] == "to-server",
            kind: v["type"].as_u64().unwrap() as u8,
            user: v["user"].as_u64().unwrap() as u8,
            payload,
        }
    };
    text.lines().filter(|l| !l.is_empty()).map(parse).collect()
}

/// Sends what a client sent, with the session's id in place of the recorded one, and waits for the answer to each
/// login command before the next. Returns the id of the session that was hosted by it.
fn say(client: &mut Client, line: &Line, session: &str) -> Option<String> {
    let Ok(mut command) = serde_json::from_slice::<Value>(&line.payload) else {
        client.send(line.kind, line.user, &line.payload);
        return None;
    };
    if line.kind != 0 {
        client.send(line.kind, line.user, &line.payload);
        return None;
    }
    let name = command["cmd"].as_str().unwrap_or_default().to_owned();
    if matches!(name.as_str(), "lookup" | "join") && command["args"].get(0).is_some() {
        command["args"][0] = json!(session);
    }
    client.send(0, line.user, command.to_string().as_bytes());
    if matches!(name.as_str(), "cinfo" | "lookup" | "ident" | "host" | "join") {
        let answer = client.reply(|v| v["type"] == "result" || v["type"] == "error");
        assert_eq!(answer["type"], "result", "{name}: {answer}");
        if name == "host" {
            return answer["join"]["id"].as_str().map(str::to_owned);
        }
    }
    None
}

#[test]
fn what_real_clients_send_is_accepted_and_yields_the_same_history() {
    for path in recordings("conversation.jsonl", "realclient/host-draw-chat-join.jsonl") {
        replay(&read(&path));
    }
}

/// Whether a message enters the history: chat with the bypass flag does not. It is sent to whoever is there, so it
/// reaches the joiner if the server reads the join first.
fn is_kept(kind: u8, payload: &[u8]) -> bool {
    kind >= FIRST_OPAQUE || (kind == 35 && payload[0] & 1 == 0)
}

fn replay(lines: &[Line]) {
    let server = TestServer::start("");
    let mut clients: BTreeMap<u64, Client> = BTreeMap::new();
    let mut session = String::new();
    let mut drawn: Vec<(u8, Vec<u8>)> = Vec::new();
    let mut order: Vec<u64> = lines.iter().map(|l| l.conn).collect();
    order.dedup();
    let host = order[0];
    for line in lines.iter().filter(|l| l.to_server) {
        let client = clients.entry(line.conn).or_insert_with(|| {
            let mut client = server.connect();
            client.reply(|v| v["type"] == "login");
            client
        });
        session = say(client, line, &session).unwrap_or(session);
        if line.conn == host && is_kept(line.kind, &line.payload) {
            drawn.push((line.kind, line.payload.clone()));
        }
    }
    assert!(drawn.len() > 20, "the recording holds a drawing");
    let joiner = clients.iter_mut().find(|(conn, _)| **conn != host).map(|(_, c)| c).expect("somebody joins");
    let mut got = Vec::new();
    while got.len() < drawn.len() {
        let message = joiner.next().expect("the connection is open");
        if is_kept(message.kind, &message.payload) {
            got.push((message.kind, message.payload));
        }
    }
    assert!(got == drawn, "the joiner receives exactly the host's commands in order");
}
