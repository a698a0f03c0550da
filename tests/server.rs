//! The whole server, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::Write as _;

use common::{SID, TestServer, eventually};
use drawhall_protocol::Frame;
use serde_json::json;

fn stroke(n: u8) -> Vec<u8> {
    vec![n; 40]
}

#[test]
fn people_draw_chat_and_leave() {
    let server = TestServer::start("");
    let mut a = server.connect();
    let id = a.host_running("A");
    let mut b = server.connect();
    assert_eq!(b.join("B", &id), 2);
    b.until(|m| m.kind == 129);
    b.send(148, 77, &stroke(1));
    b.send(35, 0, b"\0\0hello");
    for client in [&mut a, &mut b] {
        let drawn = client.until(|m| m.kind == 148);
        assert_eq!((drawn.user, drawn.payload), (2, stroke(1)));
        assert_eq!(client.until(|m| m.kind == 35).payload, b"\0\0hello");
    }
    b.close();
    assert_eq!(a.until(|m| m.kind == 33).user, 2);
}

#[test]
fn it_does_not_matter_how_the_bytes_arrive() {
    let server = TestServer::start("");
    let mut a = server.connect();
    a.ident("A");
    let host = json!({"cmd": "host", "kwargs": {"protocol": "dp:4.24.0", "user_id": 1, "s": SID}});
    let commands = [host.to_string(), json!({"cmd": "init-complete"}).to_string()];
    let mut bytes = Vec::new();
    for command in &commands {
        bytes.extend_from_slice(Frame::new(0, 0, command.as_bytes()).unwrap().as_bytes());
        bytes.extend_from_slice(Frame::new(148, 9, &stroke(7)).unwrap().as_bytes());
    }
    for byte in bytes {
        a.send_bytes(&[byte]).unwrap();
    }
    assert_eq!(a.until(|m| m.kind == 148).user, 1, "the stroke after the upload comes back");
}

#[test]
fn any_number_of_messages_may_come_before_the_login() {
    let server = TestServer::start("");
    let mut a = server.connect();
    let keep_alive = Frame::new(3, 0, &[]).unwrap();
    a.send_bytes(&keep_alive.as_bytes().repeat(200_000)).unwrap();
    a.host_running("A");
}

#[test]
fn what_follows_a_join_at_once_reaches_the_session() {
    let server = TestServer::start("");
    let mut a = server.connect();
    let id = a.host_running("A");
    let mut b = server.connect();
    let commands = [
        json!({"cmd": "ident", "args": ["B"]}).to_string(),
        json!({"cmd": "join", "args": [id], "kwargs": {"s": SID.replace('f', "e")}}).to_string(),
    ];
    let mut bytes = Vec::new();
    for command in &commands {
        bytes.extend_from_slice(Frame::new(0, 0, command.as_bytes()).unwrap().as_bytes());
    }
    bytes.extend_from_slice(Frame::new(148, 0, &stroke(3)).unwrap().as_bytes());
    b.send_bytes(&bytes).unwrap();
    assert_eq!(a.until(|m| m.kind == 148).user, 2);
}

#[test]
fn pings_are_answered_in_any_state_and_bad_data_cuts_the_connection() {
    let server = TestServer::start("");
    for logged_in in [false, true] {
        for (kind, payload) in [(2, b"\0\0".as_slice()), (2, b""), (20, b"x"), (1, b""), (31, b"")] {
            let mut client = server.connect();
            if logged_in {
                client.host_running(&format!("h{kind}{}", payload.len()));
            }
            client.send(2, 0, b"\0");
            assert_eq!(client.until(|m| m.kind == 2).payload, b"\x01");
            client.send(3, 0, b"");
            client.send(kind, 0, payload);
            let rest = client.rest();
            assert!(rest.iter().all(|m| m.kind != 1), "no goodbye after bad data");
        }
    }
}

#[test]
fn a_client_that_says_goodbye_is_let_go() {
    let server = TestServer::start("");
    let mut a = server.connect();
    let id = a.host_running("A");
    let mut b = server.connect();
    b.join("B", &id);
    b.send(1, 0, b"\x03bye");
    b.rest();
    assert_eq!(a.until(|m| m.kind == 33).user, 2);
}

#[test]
fn who_waits_sees_sessions_come_change_and_end() {
    let server = TestServer::start("");
    let mut waiting = server.connect();
    waiting.ident("W");
    assert_eq!(waiting.reply(|v| v["message"] == "Welcome")["sessions"], json!([]));
    let mut a = server.connect();
    let id = a.host_running("A");
    let new = waiting.reply(|v| v["sessions"].is_array());
    assert_eq!((&new["sessions"][0]["id"], &new["sessions"][0]["userCount"]), (&json!(id), &json!(0)));
    assert_eq!(waiting.reply(|v| v["sessions"].is_array())["sessions"][0]["userCount"], json!(1));
    a.command("sessionconf", json!([]), json!({"title": "T"}));
    assert_eq!(waiting.reply(|v| v["sessions"].is_array())["sessions"][0]["title"], json!("T"));
    a.close();
    assert_eq!(waiting.reply(|v| v["remove"].is_array())["remove"], json!([id]));
}

#[test]
fn numbers_in_the_list_follow_what_happens() {
    let server = TestServer::start("");
    let mut a = server.connect();
    a.host_running("A");
    let size = |server: &TestServer| {
        let mut client = server.connect();
        client.ident("L");
        client.reply(|v| v["message"] == "Welcome")["sessions"][0]["size"].as_u64().unwrap()
    };
    let before = size(&server);
    a.send(148, 0, &[0; 10_000]);
    eventually("the list shows the new size", || size(&server) > before + 10_000);
}

#[test]
fn sessions_have_aliases_and_a_number_limit() {
    let server = TestServer::start("sessionCountLimit=1");
    let mut a = server.connect();
    a.ident("A");
    a.command("host", json!([]), json!({"protocol": "dp:4.24.0", "user_id": 1, "s": SID, "alias": "Place"}));
    let join = a.reply(|v| v["state"] == "host")["join"].clone();
    assert_eq!((&join["id"], join["uniqueId"].as_str().unwrap().len()), (&json!("Place"), 26));
    let mut b = server.connect();
    b.ident("B");
    b.ask_to_host();
    assert_eq!(b.reply(|v| v["type"] == "error")["code"], json!("closed"));
    let mut c = server.connect();
    c.command("lookup", json!(["Place"]), json!({}));
    assert_eq!(c.reply(|v| v["lookup"] == "join")["session"]["founder"], json!("A"));
}

#[test]
fn a_changed_configuration_file_counts_for_the_next_and_for_running_sessions() {
    let server = TestServer::start("serverTitle=Before");
    let mut a = server.connect();
    let id = a.host_running("A");
    std::fs::write(&server.config, "serverTitle=After\nidleTimeLimit=5h\n[users]\nbob:plain;pw:MOD\n")
        .unwrap();
    let conf = a.reply(|v| v["config"]["idleTimeLimit"] == 18_000);
    assert_eq!(conf["type"], json!("sessionconf"));
    let mut b = server.connect();
    let greeting = b.reply(|v| v["type"] == "login");
    assert_eq!(greeting["methods"]["auth"]["actions"], json!(["join", "host"]));
    b.command("ident", json!(["bob", "pw"]), json!({}));
    assert_eq!(b.reply(|v| v["state"] == "identOk")["guest"], json!(false));
    assert_eq!(b.reply(|v| v["message"] == "Welcome")["title"], json!("After"));
    b.command("join", json!([id]), json!({"s": SID}));
    b.reply(|v| v["state"] == "join");
}

#[test]
fn everybody_is_told_when_the_server_stops() {
    let mut server = TestServer::start("");
    let mut a = server.connect();
    a.host_running("A");
    let mut waiting = server.connect();
    waiting.ident("W");
    server.stop();
    for client in [&mut a, &mut waiting] {
        let rest = client.rest();
        let goodbye = rest.iter().find(|m| m.kind == 1).expect("a goodbye");
        assert_eq!(goodbye.payload, b"\x02Server shutting down");
    }
}

#[test]
fn a_client_that_does_not_read_slows_nobody() {
    let server = TestServer::start("autoResetThreshold=0\nsessionSizeLimit=0");
    let mut a = server.connect();
    let id = a.host_running("A");
    let mut lazy = server.connect();
    lazy.join("Lazy", &id);
    let mut b = server.connect();
    b.join("B", &id);
    let payload = vec![5; 60_000];
    let total = 500;
    let mut writer = a.socket().try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let frame = Frame::new(148, 1, &payload).unwrap();
        for _ in 0..total {
            writer.write_all(frame.as_bytes()).unwrap();
        }
    });
    let reader = std::thread::spawn(move || {
        for _ in 0..total {
            a.until(|m| m.kind == 148);
        }
    });
    for _ in 0..total {
        b.until(|m| m.kind == 148);
    }
    sender.join().unwrap();
    reader.join().unwrap();
    for _ in 0..total {
        lazy.until(|m| m.kind == 148);
    }
}
