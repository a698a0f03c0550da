//! What happened to a server is given to new logins and sessions: they do the same.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::{BufReader, Write as _};
use std::path::Path;

use common::http::request;
use common::{Client, SID, TestServer};
use drawhall::app::ServeOptions;
use drawhall::trace::replay::{self, Replayed};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::{Value, json};

const CONFIG: &str = "persistence=true\nautoResetThreshold=3kb\n[users]\nmod:plain;secret:MOD\n\
    [systembans]\n0000000000000000000000000000dead\n";

fn options(sessions: &Path, trace: &Path) -> ServeOptions {
    ServeOptions {
        sessions: Some(sessions.into()),
        trace_input: Some(trace.into()),
        admin_port: Some(0),
        ..ServeOptions::default()
    }
}

fn run(trace: &str) -> Replayed {
    replay::run(trace.as_bytes(), |_| {}).unwrap()
}

fn stream_of(payload: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&[&[0, payload.len() as u8, 148, 1], payload].concat()).unwrap();
    encoder.finish().unwrap()
}

/// Something of everything, also what is left to chance, and what depends on how far clients are.
fn busy_evening(server: &TestServer) -> String {
    let mut a = server.connect();
    let id = a.host_running("A");
    a.command("sessionconf", json!([]), json!({"persistent": true, "opword": "op", "title": "Harbour"}));
    a.command("invite-create", json!([]), json!({"maxUses": 3, "trust": true}));
    let secret = a.reply(|v| v["type"] == "invitecreated")["secret"].clone();
    let mut b = server.connect();
    b.ident("B");
    b.command("join", json!([id]), json!({"s": SID, "password": secret}));
    b.reply(|v| v["state"] == "join");
    b.command("gain-op", json!(["wrong"]), json!({}));
    b.command("gain-op", json!(["op"]), json!({}));
    a.reply(|v| v["T"] == "opgive" && v["P"]["target"] == "B");

    b.send(148, 0, &[7; 4000]);
    let query = a.reply(|v| v["type"] == "autoreset");
    let ready = json!({"payload": query["payload"], "capabilities": ["gzip1"]});
    a.command("ready-to-autoreset", json!([]), ready);
    b.command("ready-to-autoreset", json!([]), json!({"payload": query["payload"]}));
    let chosen = a.reply(|v| v["type"] == "autoreset" && v["stream"] == "gzip1");
    a.command("stream-reset-start", json!([chosen["correlator"]]), json!({}));
    a.reply(|v| v["type"] == "sstart");
    a.send(39, 0, &stream_of(b"small"));
    a.reply(|v| v["type"] == "sprogress");
    a.command("stream-reset-finish", json!([1]), json!({}));
    b.reply(|v| v["type"] == "status" && v["size"].as_u64().unwrap() < 3000);

    a.command("reset-session", json!([]), json!({"type": "current"}));
    a.reply(|v| v["state"] == "init");
    a.send(129, 1, &[0; 16]);
    a.command("init-complete", json!([]), json!({}));
    b.reply(|v| v["state"] == "reset");
    a.command("kick-user", json!(["B"]), json!({"ban": true}));
    a.reply(|v| v["T"] == "ban");

    for (text, said) in [("pAAAADnicq1bKUbKKjtVRKlOyMqwFAB3KA+w=", "imported"), ("garbage", "T")] {
        a.command("import-bans", json!([text]), json!({}));
        a.reply(|v| v["type"] == "banimpex" && v.get(said).is_some());
    }

    for (name, password) in [("mod", "wrong"), ("nobody", "")] {
        let mut failing = server.connect();
        failing.command("ident", json!([name, password]), json!({}));
        failing.next();
    }
    let mut banned = server.connect();
    banned.ident("X");
    let host = json!({"protocol": "dp:4.24.0", "user_id": 1, "s": "0000000000000000000000000000dead"});
    banned.command("host", json!([]), host);
    while banned.next().is_some() {}

    let admin = server.admin.unwrap();
    for path in [format!("/api/sessions/{id}"), format!("/api/sessions/{id}/invites")] {
        assert_eq!(request(admin, "GET", &path, "", None).status, 200);
    }
    let change = json!({"title": "By the administration", "message": "hello"});
    assert_eq!(request(admin, "PUT", &format!("/api/sessions/{id}"), "", Some(&change)).status, 200);
    let made = json!({"title": "Made", "alias": "made", "opword": "x"});
    assert_eq!(request(admin, "POST", "/api/sessions", "", Some(&made)).status, 200);
    a.reply(|v| v["type"] == "sessionconf" && v["config"]["title"] == "By the administration");
    id
}

#[test]
fn recorded_inputs_have_the_same_effects_again() {
    let folder = tempfile::tempdir().unwrap();
    let (sessions, trace) = (folder.path().join("sessions"), folder.path().join("first.trace"));
    let mut server = TestServer::start_with(CONFIG, options(&sessions, &trace));
    let id = busy_evening(&server);
    server.stop();
    let text = std::fs::read_to_string(&trace).unwrap();
    let replayed = run(&text);
    assert_eq!(replayed.different, [0u64; 0], "{replayed:?}");
    assert_eq!((replayed.sessions, replayed.logins, replayed.skipped), (2, 5, 0));
    assert!(replayed.compared > 30, "{replayed:?}");

    // A stored session is in the trace with its files.
    let trace = folder.path().join("second.trace");
    let mut server = TestServer::start_with(CONFIG, options(&sessions, &trace));
    let mut c = server.connect();
    c.join("C", &id);
    c.send(148, 0, &[1; 10]);
    c.command("gain-op", json!(["op"]), json!({}));
    c.reply(|v| v["T"] == "opgive");
    drop(c);
    server.stop();
    let replayed = run(&std::fs::read_to_string(&trace).unwrap());
    assert_eq!((replayed.sessions, replayed.skipped, replayed.different.len()), (1, 0, 0), "{replayed:?}");
}

fn traced_conversation(folder: &Path) -> String {
    let trace = folder.join("trace");
    let mut server = TestServer::start_with("", options(&folder.join("sessions"), &trace));
    let mut a = server.connect();
    let id = a.host_running("A");
    let mut b: Client = server.connect();
    b.join("B", &id);
    b.command("sessionconf", json!([]), json!({"title": "no"}));
    b.reply(|v| v["type"] == "error");
    server.stop();
    std::fs::read_to_string(trace).unwrap()
}

#[test]
fn other_effects_are_found_and_torn_lines_end_a_trace() {
    let folder = tempfile::tempdir().unwrap();
    let text = traced_conversation(folder.path());
    // B is operator in what is replayed, and the command is not refused.
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let at = lines.iter().position(|line| line.contains("\"Join\"")).unwrap();
    let mut record: Value = serde_json::from_str(&lines[at]).unwrap();
    record["Input"]["input"]["Join"]["client"]["moderator"] = true.into();
    lines[at] = record.to_string();
    let replayed = run(&lines.join("\n"));
    let output = at as u64 + 2;
    assert!(replayed.different.len() > 1 && replayed.different[0] >= output, "{replayed:?}");

    let torn = &text[..text.len() - 10];
    assert_eq!(run(torn).compared + 1, run(&text).compared);
    let error = replay::run(BufReader::new("{}\n".as_bytes()), |_| {}).unwrap_err();
    assert!(error.to_string().starts_with("line 1: "), "{error}");
}

#[test]
fn a_trace_is_for_its_owner_only_and_replaces_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let text = traced_conversation(folder.path());
    let path = folder.path().join("trace");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(drawhall::trace::Trace::begin(&path).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    let replay = |path: &Path| {
        let program =
            std::process::Command::new(env!("CARGO_BIN_EXE_drawhall")).arg("replay").arg(path).output();
        let output = program.unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let (fine, said) = replay(&path);
    assert!(fine && said.contains("effects are the same"), "{said}");
    std::fs::write(folder.path().join("other"), text.replacen("\"utc_ms\":1", "\"utc_ms\":2", 40)).unwrap();
    assert!(!replay(&folder.path().join("other")).0);
}

/// `DRAWHALL_TRACE=FILE cargo test --test replay -- --nocapture`: to see in a debugger what a server did.
#[test]
fn the_trace_that_is_named_has_the_same_effects_again() {
    let Some(path) = std::env::var_os("DRAWHALL_TRACE") else {
        return common::skip::skip("trace", "DRAWHALL_TRACE names no trace");
    };
    let trace = BufReader::new(std::fs::File::open(path).unwrap());
    let replayed = replay::run(trace, |line| eprintln!("line {line}")).unwrap();
    assert_eq!(replayed.different, [0u64; 0]);
}
