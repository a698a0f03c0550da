//! What one connection may have the server do, and what its receivers see of it.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;

use drawhall::app::ServeOptions;
use serde_json::json;

use super::common::client::{Received, open, wire};
use super::common::tls::certificate;
use super::common::{Client, TestServer};
use super::{CHAT, GOODBYE, from, server};

const STROKE: u8 = 148;
const LEAVE: u8 = 33;
/// A message that only servers send: each has everybody told that a rule was broken.
const FORBIDDEN: [u8; 4] = [0, 0, LEAVE, 0];

/// A session of a host and somebody else.
fn session(server: &TestServer) -> (Client, Client, String) {
    let mut a = server.connect();
    let id = a.host_running("A");
    let mut b = server.connect();
    b.join("B", &id);
    (a, b, id)
}

/// What somebody receives until a stroke of this content has come.
fn until_stroke(client: &mut Client, content: &[u8]) -> Vec<Received> {
    std::iter::from_fn(|| client.next()).take_while(|m| m.kind != STROKE || m.payload != content).collect()
}

#[test]
fn who_sends_much_that_is_forbidden_waits_and_everybody_else_stays() {
    let server = server("");
    let (mut a, mut b, id) = session(&server);
    let mut flooder = server.connect();
    let user = flooder.join("flooder", &id);
    let slowed = server.metrics.slowed.get();
    flooder.send_bytes(&FORBIDDEN.repeat(65_536)).unwrap();
    // Those who wait are sent on what others do.
    flooder.until(|m| m.json().is_some_and(|v| v["type"] == "log"));
    a.send(STROKE, 0, b"on it goes");
    flooder.until(|m| m.kind == STROKE);
    let told = until_stroke(&mut b, b"on it goes").len();
    assert!(told < 200, "{told} messages, of 65,536 that were caused");
    assert!(server.metrics.slowed.get() > slowed);
    // It is gone when it hangs up, though hours of work are left.
    flooder.close();
    b.until(|m| m.kind == LEAVE && m.user == user);
    let told = until_stroke(&mut a, b"on it goes").len();
    assert!(told < 200, "{told}");
}

#[test]
fn who_waits_and_hangs_up_is_gone_however_it_is_connected() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = certificate(folder.path());
    let options = ServeOptions { certificate: Some(certificate.clone()), ..ServeOptions::default() };
    let secure = TestServer::start_with("", options);
    let plain = server("");
    let by_tls = || Client::connect_tls(secure.address, &certificate, &rustls::version::TLS13).unwrap();
    let mut by_websocket = plain.connect_websocket("").unwrap();
    let (mut a, _, id) = session(&plain);
    let user = by_websocket.join("flooder", &id);
    (0..2000).for_each(|_| by_websocket.send(LEAVE, 0, b""));
    by_websocket.close();
    a.until(|m| m.kind == LEAVE && m.user == user);

    let mut host = by_tls();
    let id = host.host_running("host");
    let mut flooder = by_tls();
    let user = flooder.join("flooder", &id);
    flooder.send_bytes(&FORBIDDEN.repeat(65_536)).unwrap();
    drop(flooder);
    host.until(|m| m.kind == LEAVE && m.user == user);
}

#[test]
fn who_waits_and_says_goodbye_is_gone() {
    let server = server("");
    let (mut a, _b, id) = session(&server);
    let mut flooder = server.connect();
    let user = flooder.join("flooder", &id);
    let goodbye = wire(GOODBYE, &[0]);
    flooder.send_bytes(&[FORBIDDEN.repeat(200), goodbye].concat()).unwrap();
    a.until(|m| m.kind == LEAVE && m.user == user);
}

#[test]
fn nothing_is_lost_of_what_waits_and_all_of_it_stays_in_order() {
    let server = server("commandRateLimit=100");
    let (mut a, mut b, _) = session(&server);
    let command = wire(0, json!({"cmd": "sessionconf", "kwargs": {}}).to_string().as_bytes());
    let both = (0..700u32).flat_map(|n| [command.clone(), wire(STROKE, &n.to_be_bytes())].concat());
    let bytes: Vec<u8> = both.collect();
    a.send_bytes(&bytes).unwrap();
    for n in 0..700u32 {
        assert_eq!(b.until(|m| m.kind == STROKE).payload, n.to_be_bytes());
    }
}

#[test]
fn what_is_drawn_and_uploaded_waits_for_no_budget() {
    let server = server("commandRateLimit=1");
    let (mut a, mut b, _) = session(&server);
    // Strokes, pings and keep-alives, and the chunks of a reset, of which there are many.
    let bytes: Vec<u8> = (0..5000u32)
        .flat_map(|n| [wire(STROKE, &n.to_be_bytes()), wire(2, &[0]), wire(3, &[])].concat())
        .collect();
    let slowed = server.metrics.slowed.get();
    a.send_bytes(&bytes).unwrap();
    for n in 0..5000u32 {
        assert_eq!(b.until(|m| m.kind == STROKE).payload, n.to_be_bytes());
    }
    // Others of this process may be slowed down at the same time, but not thousands of times.
    assert!(server.metrics.slowed.get() < slowed + 1000);
}

#[test]
fn who_is_slowed_down_and_hangs_up_is_gone_and_nothing_of_it_is_lost() {
    let server = server("messageRateLimit=10");
    let (mut a, mut b, _) = session(&server);
    // At this rate it would take minutes.
    let bytes: Vec<u8> = (0..3000u32).flat_map(|n| wire(STROKE, &n.to_be_bytes())).collect();
    a.send_bytes(&bytes).unwrap();
    a.socket().shutdown(Shutdown::Write).unwrap();
    for n in 0..3000u32 {
        assert_eq!(b.until(|m| m.kind == STROKE).payload, n.to_be_bytes());
    }
    b.until(|m| m.kind == LEAVE && m.user == 1);
}

#[test]
fn who_draws_too_fast_is_slowed_down_loses_nothing_and_operators_are_told_once() {
    let server = server("guestDrawRateLimit=333");
    let (mut a, mut b, _) = session(&server);
    let strokes: Vec<u8> = (0..20_500u32).flat_map(|n| wire(STROKE, &n.to_be_bytes())).collect();
    b.send_bytes(&strokes).unwrap();
    b.send_bytes(&wire(STROKE, b"the last")).unwrap();
    let received = until_stroke(&mut a, b"the last");
    let drawn: Vec<&[u8]> =
        received.iter().filter(|m| m.kind == STROKE).map(|m| m.payload.as_slice()).collect();
    let expected: Vec<[u8; 4]> = (0..20_500u32).map(u32::to_be_bytes).collect();
    assert_eq!(drawn, expected);
    let told = received.iter().filter_map(Received::json).filter(|v| v["type"] == "msg");
    let told: Vec<String> = told.map(|v| v["message"].to_string()).filter(|m| m.contains("slowed")).collect();
    assert_eq!(told, ["\"B draws very fast and is slowed down. Nothing of it is lost.\""]);
}

#[test]
fn many_connections_of_an_address_draw_no_more_than_four_clients() {
    let server = server("guestDrawByteRateLimit=100kb");
    let (mut a, _b, id) = session(&server);
    let mut guests: Vec<Client> = ["C", "D", "E"]
        .map(|name| {
            let mut guest = from(&server, "192.0.2.1");
            guest.join(name, &id);
            guest
        })
        .into();
    let slowed = server.metrics.slowed.get();
    // Each alone would use less than its burst of 500 kB.
    let strokes = wire(STROKE, &[7; 9_000]).repeat(50);
    for guest in &mut guests {
        guest.send_bytes(&strokes).unwrap();
    }
    let (mut drawn, mut told) = (0, 0);
    while drawn < 150 {
        let message = a.next().unwrap();
        drawn += usize::from(message.kind == STROKE);
        let text = message.json().map_or(String::new(), |v| v["message"].to_string());
        told += usize::from(text.contains("slowed down"));
    }
    assert!(server.metrics.slowed.get() > slowed, "they have waited, and nothing is lost");
    assert_eq!(told, 0, "none of them draws too fast by itself");
}

#[test]
fn the_content_of_a_session_is_uploaded_as_fast_as_it_comes() {
    let server = server("operatorDrawRateLimit=10\noperatorDrawByteRateLimit=100");
    let slowed = server.metrics.slowed.get();
    let mut a = server.connect();
    let id = a.host("A");
    // At this rate it would take hours.
    let image = wire(STROKE, &[7; 1000]).repeat(2000);
    a.send_bytes(&image).unwrap();
    a.command("init-complete", json!([]), json!({}));
    let mut b = server.connect();
    b.join("B", &id);
    for _ in 0..2000 {
        b.until(|m| m.kind == STROKE);
    }
    a.command("reset-session", json!([]), json!({}));
    a.reply(|v| v["type"] == "reset" && v["state"] == "init");
    a.send_bytes(&image).unwrap();
    a.command("init-complete", json!([]), json!({}));
    b.reply(|v| v["type"] == "reset" && v["state"] == "reset");
    for _ in 0..2000 {
        b.until(|m| m.kind == STROKE);
    }
    assert_eq!(server.metrics.slowed.get(), slowed);
}

/// Joins so many, who each send as much chat as one may at once, which goes to everybody directly.
fn flood_with_chat(server: &TestServer, session: &str, count: usize) -> Vec<Client> {
    let chat = wire(CHAT, &[&[1, 0][..], &[b'x'; 60_000]].concat()).repeat(17);
    let one = |n: usize| {
        let mut client = server.connect();
        client.join(&format!("chatter{n}"), session);
        client.send_bytes(&chat).unwrap();
        client
    };
    (0..count).map(one).collect()
}

#[test]
fn a_receiver_is_cut_if_it_does_not_read_and_only_then() {
    let server = server("chatRateLimit=0");
    let (mut a, mut b, id) = session(&server);
    let mut deaf = server.connect();
    let deaf_user = deaf.join("deaf", &id);
    // More than waits for who does not read, at once; the system's buffers hold a part of it.
    let chatters = flood_with_chat(&server, &id, 20);
    // Somebody who reads only now, and is sent all of it.
    let chats = std::iter::from_fn(|| b.next()).filter(|m| m.kind == CHAT).take(20 * 17).count();
    assert_eq!(chats, 20 * 17, "nobody who reads is cut");
    a.until(|m| m.kind == LEAVE && m.user == deaf_user);
    a.send(STROKE, 0, b"on it goes");
    until_stroke(&mut b, b"on it goes");
    drop((deaf, chatters));
}

#[test]
fn messages_that_are_no_commands_end_a_login() {
    let server = server("");
    for (kind, payload) in [(64, &b""[..]), (255, b"x"), (CHAT, b"\0\0hello"), (LEAVE, b"")] {
        let mut client = server.connect();
        client.reply(|v| v["type"] == "login");
        // Many of them are as good as one.
        client.send_bytes(&wire(kind, payload).repeat(1000)).unwrap();
        let told = client.rest();
        assert_eq!(told.len(), 1, "type {kind}: {told:?}");
        assert_eq!((told[0].kind, &told[0].payload[1..]), (GOODBYE, &b"invalid message"[..]));
    }
    let mut client = server.connect();
    client.reply(|v| v["type"] == "login");
    client.send_bytes(&[wire(2, &[0]), wire(3, &[]), wire(2, &[1])].concat()).unwrap();
    client.until(|m| m.kind == 2);
    client.command("ident", json!(["X"]), json!({}));
    client.reply(|v| v["state"] == "identOk");
}

#[test]
fn http_at_the_port_of_drawing_programs_is_told_where_to_go() {
    let server = server("");
    let port = format!("port {}", server.websocket.unwrap().port());
    let header = "PROXY TCP4 192.0.2.1 192.0.2.1 4000 27750\r\n";
    for request in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST /api HTTP/1.1\r\n\r\n", "HEAD / ", "PUT "] {
        for before in ["", header] {
            let mut stream = open(server.address);
            // In two pieces: what has come is not enough to tell at first.
            stream.write_all([before, &request[..2]].concat().as_bytes()).unwrap();
            stream.write_all(&request.as_bytes()[2..]).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            let answer = String::from_utf8_lossy(&answer);
            // The greeting comes first: drawing programs wait for it.
            let (_, answer) = answer.split_once("HTTP/1.1 ").unwrap_or_else(|| panic!("{request}: {answer}"));
            assert!(answer.starts_with("400 Bad Request\r\n") && answer.contains(&port), "{answer}");
        }
    }
}

#[test]
fn half_of_a_character_loses_no_command() {
    let server = server("");
    let mut host = server.connect();
    host.reply(|v| v["type"] == "login");
    host.send(0, 0, br#"{"cmd":"ident","args":["A\ud83d"]}"#);
    host.reply(|v| v["state"] == "identOk" && v["ident"] == "A\u{fffd}");
    host.ask_to_host();
    host.reply(|v| v["state"] == "host");
    host.command("init-complete", json!([]), json!({}));
    host.send(0, 0, br#"{"cmd":"sessionconf","kwargs":{"title":"abc\ud83d","maxUserCount":7}}"#);
    let conf = host.reply(|v| v["config"]["title"] != json!(null) && v["config"]["title"] != "");
    assert_eq!(conf["config"]["title"], "abc\u{fffd}");
}

#[test]
fn commands_before_a_session_are_slowed_down_too() {
    let server = server("");
    let mut client = server.connect();
    client.ident("reporter");
    let report = json!({"cmd": "report", "kwargs": {"session": "none", "reason": "x"}}).to_string();
    let slowed = server.metrics.slowed.get();
    client.send_bytes(&wire(0, report.as_bytes()).repeat(2000)).unwrap();
    super::eventually("it is slowed down", || server.metrics.slowed.get() > slowed);
    // It waits, and is not cut for it; when it hangs up it is gone.
    client.socket().shutdown(Shutdown::Write).unwrap();
    assert!(client.rest().iter().all(|m| m.kind == 0), "no goodbye");
}
