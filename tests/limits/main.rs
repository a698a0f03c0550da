//! What happens at each limit, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod admin;
mod auth;
mod client;
#[path = "../common/mod.rs"]
mod common;
mod elsewhere;
mod inputs;
mod lists;
mod server;
mod session;

use std::time::Duration;

use common::client::wire;
use common::websocket::masked;
use common::{Client, TestServer, eventually};
use drawhall::app::ServeOptions;
use drawhall_protocol::Frame;
use serde_json::json;

const GOODBYE: u8 = 1;
const CHAT: u8 = 35;

fn server(config: &str) -> TestServer {
    TestServer::start_with(config, ServeOptions { websocket_port: Some(0), ..ServeOptions::default() })
}

/// A client from elsewhere, as a proxy says.
fn from(server: &TestServer, address: &str) -> Client {
    let mut client = server.connect();
    let family = if address.contains(':') { "TCP6" } else { "TCP4" };
    let header = format!("PROXY {family} {address} {address} 4000 27750\r\n");
    client.send_bytes(header.as_bytes()).unwrap();
    client
}

/// Whether the server lets a client log in.
fn is_let_in(client: &mut Client) -> bool {
    let ident = wire(0, br#"{"cmd":"ident","args":["X"]}"#);
    // It may be closed already.
    let _ = client.send_bytes(&ident);
    client.rest_until(|v| v["state"] == "identOk")
}

#[test]
fn one_address_has_so_many_connections_and_others_are_let_in() {
    let server = server("connectionsPerAddress=2");
    let mut first = [from(&server, "192.0.2.1"), from(&server, "192.0.2.1")];
    assert!(first.iter_mut().all(is_let_in));
    assert!(!is_let_in(&mut from(&server, "192.0.2.1")));
    assert!(is_let_in(&mut from(&server, "192.0.2.2")));
    assert!(is_let_in(&mut server.connect()), "the proxy itself");
    assert!(is_let_in(&mut from(&server, "2001:db8::1")) && is_let_in(&mut from(&server, "2001:db8::2")));
    let headers = "X-Real-IP: 192.0.2.1\r\n";
    assert_eq!(server.connect_websocket(headers).err(), Some(429));
    drop(first);
    eventually("there is room again", || is_let_in(&mut from(&server, "192.0.2.1")));
}

#[test]
fn when_the_server_is_full_others_are_told_so() {
    let server = server("connectionLimit=2");
    let clients = [server.connect(), server.connect()];
    let mut third = server.connect();
    let told = third.rest();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].kind, &told[0].payload[1..]), (GOODBYE, &b"The server is full"[..]));
    assert_eq!(server.connect_websocket("").err(), Some(503));
    drop(clients);
    eventually("there is room again", || is_let_in(&mut server.connect()));
}

#[test]
fn new_connections_and_logins_of_one_address_come_so_often() {
    let server = server("connectionRateLimit=3\nloginRateLimit=2");
    let let_in = || is_let_in(&mut from(&server, "192.0.2.1"));
    assert!(let_in() && let_in());
    assert!(!let_in(), "the third login");
    assert!(!let_in(), "the fourth connection");
    assert!(is_let_in(&mut from(&server, "192.0.2.2")));
}

#[test]
fn passwords_cannot_be_tried_for_ever() {
    let server = server("passwordRateLimit=4\n[users]\nalice:plain;right:MOD");
    let attempt = |client: &mut Client, password: &str| {
        client.command("ident", json!(["alice", password]), json!({}));
        let answer = client.reply(|v| v["type"] == "error" || v["state"] == "identOk");
        answer["code"].as_str().unwrap_or("ok").to_owned()
    };
    let mut client = from(&server, "192.0.2.1");
    for _ in 0..2 {
        assert_eq!(attempt(&mut client, "wrong"), "badPassword");
    }
    // Connecting again does not help.
    let mut again = from(&server, "192.0.2.1");
    for _ in 0..2 {
        assert_eq!(attempt(&mut again, "wrong"), "badPassword");
    }
    assert_eq!(attempt(&mut again, "right"), "tooManyAttempts");
    assert_eq!(again.rest().last().map(|m| m.kind), Some(GOODBYE));
    assert_eq!(attempt(&mut from(&server, "192.0.2.2"), "right"), "ok");
}

#[test]
fn opwords_cannot_be_tried_for_ever() {
    let server = server("passwordRateLimit=3");
    let mut a = server.connect();
    let id = a.host_running("A");
    a.command("sessionconf", json!([]), json!({"opword": "right"}));
    let mut b = server.connect();
    b.join("B", &id);
    let attempt = |b: &mut Client, word: &str| {
        b.command("gain-op", json!([word]), json!({}));
        b.reply(|v| v["type"] == "error")["message"].to_string()
    };
    for _ in 0..3 {
        assert!(attempt(&mut b, "wrong").contains("Incorrect password"));
    }
    assert!(attempt(&mut b, "right").contains("Too many passwords"));
}

#[test]
fn too_much_chat_of_one_is_dropped_and_others_chat_on() {
    let server = server("chatRateLimit=1");
    let mut a = server.connect();
    let id = a.host_running("A");
    let mut b = server.connect();
    b.join("B", &id);
    for _ in 0..30 {
        b.send(CHAT, 0, b"\0\0spam");
    }
    b.reply(|v| v["type"] == "error" && v["message"].to_string().contains("too many chat messages"));
    b.send(148, 0, b"a stroke goes on");
    let until_stroke = std::iter::from_fn(|| a.next()).take_while(|m| m.kind != 148);
    let chats = until_stroke.filter(|m| m.kind == CHAT && m.payload == b"\0\0spam").count();
    assert!((10..=15).contains(&chats), "{chats}");
    a.send(CHAT, 0, b"\0\0calm down");
    b.until(|m| m.kind == CHAT && m.payload == b"\0\0calm down");
}

#[test]
fn who_sends_too_many_messages_is_slowed_down_and_loses_none() {
    let server = server("messageRateLimit=1000");
    let mut a = server.connect();
    let id = a.host_running("A");
    let mut b = server.connect();
    b.join("B", &id);
    let strokes: Vec<u8> = (0..20_500u32)
        .flat_map(|n| Frame::new(148, 0, &n.to_be_bytes()).unwrap().as_bytes().to_vec())
        .collect();
    b.send_bytes(&strokes).unwrap();
    for n in 0..20_500u32 {
        assert_eq!(a.until(|m| m.kind == 148).payload, n.to_be_bytes());
    }
}

#[test]
fn who_does_not_say_who_it_is_is_let_go() {
    let server = server("loginTimeLimit=1s\nclientTimeout=0");
    let mut silent = server.connect();
    let mut identified = server.connect();
    identified.ident("X");
    let keep_alive = wire(3, &[]);
    eventually("it is let go", || silent.send_bytes(&keep_alive).is_err());
    silent.rest();
    identified.ask_to_host();
    identified.reply(|v| v["state"] == "host");
}

#[test]
fn a_message_that_comes_byte_by_byte_does_not_count_as_life() {
    let server = server("clientTimeout=1s");
    let mut drip = server.connect();
    let mut drip_in_frame = server.connect_websocket("").unwrap();
    let long = wire(0, &[b' '; 60_000]);
    let framed = masked(0x82, &[b' '; 60_000]);
    let (mut at, mut framed_at) = (0, 0);
    eventually("both are let go", || {
        let mut gone = true;
        if at < long.len() && drip.send_bytes(&long[at..=at]).is_ok() {
            (gone, at) = (false, at + 1);
        }
        if drip_in_frame.send_bytes(&framed[framed_at..=framed_at]).is_ok() {
            (gone, framed_at) = (false, framed_at + 1);
        }
        gone
    });
}

#[test]
fn who_takes_nothing_of_what_it_is_sent_is_let_go() {
    for limit in ["lagTimeLimit=1s", "lagTimeLimit=0\nlagSizeLimit=2mb"] {
        let server = server(&format!("{limit}\nautoResetThreshold=0"));
        let mut a = server.connect();
        let id = a.host_running("A");
        let mut deaf = server.connect();
        deaf.join("deaf", &id);
        a.socket().set_nonblocking(false).unwrap();
        let stroke = Frame::new(148, 0, &[7; 60_000]).unwrap();
        let mut reader = Client::connect(server.address);
        reader.join("reader", &id);
        let drawing = std::thread::spawn(move || {
            // Its own strokes come back, so it must read.
            for _ in 0..400 {
                a.send_bytes(stroke.as_bytes()).unwrap();
                a.until(|m| m.kind == 148);
                std::thread::sleep(Duration::from_millis(5));
            }
            a
        });
        // Somebody else hears of it.
        reader.until(|m| m.kind == 33 && m.user == 2);
        drop(drawing.join().unwrap());
        drop(deaf);
    }
}
