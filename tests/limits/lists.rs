//! What a session keeps of people, and tells of it, has bounds.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::{Value, json};

use super::common::{Client, TestServer, eventually};
use super::{from, server};
use drawhall_protocol::Frame;

const PING: u8 = 2;
const PONG: &[u8] = &[1];

/// JSON as `import-bans` takes it.
fn packed(json: &str) -> String {
    let mut packed = (json.len() as u32).to_be_bytes().to_vec();
    let mut encoder = ZlibEncoder::new(&mut packed, Compression::best());
    encoder.write_all(json.as_bytes()).unwrap();
    encoder.finish().unwrap();
    format!("p{}", BASE64.encode(packed))
}

fn import(client: &mut Client, json: &str) -> Value {
    client.command("import-bans", json!([packed(json)]), json!({}));
    client.reply(|v| v["type"] == "banimpex")
}

/// A client in a session of its own answers that the server answers.
fn pings(other: &mut Client) {
    other.send(PING, 0, &[0]);
    other.until(|m| m.kind == PING && m.payload == PONG);
}

#[test]
fn ban_lists_that_are_made_to_take_long_are_refused_and_others_go_on() {
    let server = TestServer::start("");
    let (mut a, mut other) = (server.connect(), server.connect());
    a.host_running("A");
    other.host_running("O");
    let name = |n: usize| format!(r#"{{"u":"n{n}"}}"#);
    let known: Vec<String> = (0..999).map(name).collect();
    let list = |entries: &str| format!(r#"{{"v":1,"l":[{entries}]}}"#);
    let imported = import(&mut a, &list(&known.join(",")));
    assert_eq!((&imported["imported"], &imported["total"]), (&json!(999), &json!(999)));
    pings(&mut other);
    let slow = [
        list(&vec![name(998); 80_000].join(",")),
        list(&vec![r#"{"":0}"#; 300_000].join(",")),
        list(
            &(0..2000).map(|n| format!(r#"{{"u":"{}{n}"}}"#, "x".repeat(3000))).collect::<Vec<_>>().join(","),
        ),
        format!(r#"{{"v":1,"l":[],"x":"{}"}}"#, "x".repeat(4 << 20)),
    ];
    import(&mut a, &list(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))));
    for json in slow {
        assert_eq!(import(&mut a, &json)["T"], "banimportinvalid");
        pings(&mut other);
    }
}

#[test]
fn of_a_ban_list_that_is_too_long_the_newest_are_shown_also_to_who_joins() {
    let server = TestServer::start("[users]\nmod:plain;secret:MOD");
    let mut a = server.connect();
    let id = a.host_running("A");
    let entry = |n: usize| format!(r#"{{"u":"{n:0>22}","b":"{}","s":"{n:0>32x}"}}"#, "b".repeat(22));
    for part in 0..10 {
        let entries: Vec<String> = (100 * part..100 * part + 100).map(entry).collect();
        let imported = import(&mut a, &format!(r#"{{"v":1,"l":[{}]}}"#, entries.join(",")));
        assert_eq!(imported["imported"], 100);
    }
    let newest = |client: &mut Client| {
        let list = client.reply(|v| v["config"]["banlist"].is_array())["config"]["banlist"].clone();
        let list = list.as_array().unwrap().clone();
        (list.len(), list.last().map_or(0, |ban| ban["id"].as_u64().unwrap()))
    };
    a.command("remove-ban", json!([1000]), json!({}));
    let (mut shown, mut last) = (0, 1000);
    while last != 999 {
        (shown, last) = newest(&mut a);
    }
    assert!((300..1000).contains(&shown), "{shown}");
    let mut moderator = server.connect();
    moderator.ident_as("mod", "secret");
    moderator.command("join", json!([id]), json!({"s": super::common::SID}));
    let (with_addresses, last) = newest(&mut moderator);
    assert!((200..1000).contains(&with_addresses) && last == 999, "{with_addresses} {last}");
}

#[test]
fn one_write_of_changes_becomes_few_lists() {
    let server = TestServer::start("");
    let mut a = server.connect();
    let id = a.host_running("A");
    let mut b = server.connect();
    b.join("B", &id);
    let change = |n: usize| {
        let args = json!([[{"a": format!("internal:{n}"), "o": true, "t": true, "u": "U"}]]);
        let json = json!({"cmd": "auth-list", "args": args, "kwargs": {}}).to_string();
        Frame::new(0, 0, json.as_bytes()).unwrap().as_bytes().to_vec()
    };
    let write: Vec<u8> = (0..40).flat_map(change).collect();
    a.send_bytes(&write).unwrap();
    let (mut lists, mut shown) = (0, 0);
    while shown < 40 {
        let list = a.reply(|v| v["config"]["auth"].is_array());
        shown = list["config"]["auth"].as_array().unwrap().len();
        lists += 1;
    }
    assert!(lists <= 10, "{lists} lists for 40 changes");
}

#[test]
fn moderators_can_enter_a_session_whatever_is_reported_of_it() {
    let server = TestServer::start("[users]\nmod:plain;secret:MOD");
    let mut a = server.connect();
    let id = a.host_running("A");
    let mut lobby = server.connect();
    lobby.ident("Lobby");
    let reason = "x".repeat(65_000);
    for _ in 0..80 {
        lobby.command("report", json!([]), json!({"session": id, "reason": reason}));
    }
    pings(&mut lobby);
    let mut moderator = server.connect();
    moderator.ident_as("mod", "secret");
    moderator.command("join", json!([id]), json!({"s": super::common::SID}));
    moderator.reply(|v| v["state"] == "join");
    moderator.send(148, 0, b"it is in");
    let mut logged = 0;
    loop {
        let message = moderator.next().expect("it is not cut off");
        if message.kind == 148 {
            break;
        }
        logged += message.json().filter(|v| v["type"] == "log").map_or(0, |_| message.payload.len());
    }
    assert!(logged <= 512 << 10, "{logged} bytes of what happened before");
}

#[test]
fn a_journal_is_written_anew_at_a_reset_and_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[users]\nmod:plain;secret:MOD,PERSIST";
    let mut server = TestServer::storing(config, folder.path());
    let mut a = server.connect();
    let id = a.host_running("A");
    let mut moderator = server.connect();
    moderator.ident_as("mod", "secret");
    moderator.command("join", json!([id]), json!({"s": super::common::SID}));
    moderator.reply(|v| v["state"] == "join");
    moderator.command("sessionconf", json!([]), json!({"persistent": true, "password": "sesame"}));
    for n in 0..40 {
        a.command("sessionconf", json!([]), json!({"title": format!("Title {n}")}));
        a.reply(|v| v["config"]["title"] == format!("Title {n}"));
    }
    let journal = || std::fs::read_to_string(folder.path().join(format!("{id}.session"))).unwrap();
    let titles = || journal().lines().filter(|line| line.starts_with("TITLE ")).count();
    eventually("the changes are stored", || journal().contains("TITLE Title 39\n"));
    assert!(titles() > 1);
    a.command("reset-session", json!([]), json!({}));
    a.reply(|v| v["state"] == "init");
    a.send(129, 1, &[1; 16]);
    a.command("init-complete", json!([]), json!({}));
    a.reply(|v| v["state"] == "reset");
    eventually("it is written anew", || titles() == 1);
    assert!(journal().starts_with("FILE ") && journal().contains("\nPASSWORD "));
    drop((a, moderator));
    server.stop();
    let server = TestServer::storing(config, folder.path());
    let mut b = server.connect();
    let sessions = b.ident_for_list("B");
    assert_eq!((&sessions[0]["title"], &sessions[0]["hasPassword"]), (&json!("Title 39"), &json!(true)));
    b.command("join", json!([id]), json!({"s": super::common::SID, "password": "sesame"}));
    b.reply(|v| v["state"] == "join");
}

#[test]
fn a_ban_of_somebody_with_ipv6_is_for_the_network() {
    let server = server("");
    let mut a = server.connect();
    let id = a.host_running("A");
    let mut troll = from(&server, "2001:db8:1:2::1");
    troll.join("Troll", &id);
    a.command("kick-user", json!(["Troll"]), json!({"ban": true}));
    a.reply(|v| v["T"] == "ban");
    let code = |name: &str, address: &str| {
        let mut client = from(&server, address);
        client.ident(name);
        let sid = format!("{:0>32x}", name.len());
        client.command("join", json!([id]), json!({"s": sid}));
        client.reply(|v| v["type"] == "error" || v["state"] == "join")["code"].clone()
    };
    assert_eq!(code("Other", "2001:db8:1:2:ffff::9"), "banned");
    assert_eq!(code("Third one", "2001:db8:1:3::9"), Value::Null);
}
