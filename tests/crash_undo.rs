//! The process dies while a canvas is taken back: at any write, the next start finds the history before or after it.
//!
//! The server runs in a child process, which is this test program again (`child`), so that it can be killed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;

use common::child::{run_child, spawn_child};
use common::http::request;
use common::{Client, TestServer, eventually};
use drawhall::app::ServeOptions;
use serde_json::{Value, json};

const CHILD: &str = "DRAWHALL_TEST_SESSIONS";
const CONFIG: &str = "emptySessionLingerTime=1h\nsyncInterval=0\n";
const UNDO_POINT: u8 = 128;
const DABS: u8 = 148;
/// What a reader draws to know where to stop.
const MARK: &[u8] = b"the reader's mark";

fn start(sessions: &Path) -> TestServer {
    let options =
        ServeOptions { sessions: Some(sessions.into()), admin_port: Some(0), ..ServeOptions::default() };
    TestServer::start_with(CONFIG, options)
}

/// The server that the test kills. By itself it does nothing.
#[test]
fn child() {
    let Some(sessions) = std::env::var_os(CHILD) else { return };
    let server = start(Path::new(&sessions));
    run_child(&server.admin.unwrap().to_string());
}

/// Messages of a history: type, user and payload.
type Content = Vec<(u8, u8, Vec<u8>)>;

/// All drawing messages of a session.
fn content_of(server: &TestServer, id: &str) -> Content {
    let mut client = server.connect();
    client.join("Reader", id);
    client.send(DABS, 0, MARK);
    let mut content = Content::new();
    loop {
        let message = client.next().expect("the connection is open");
        match message.kind {
            // User ids of those who have left are used again.
            DABS if message.payload == MARK => break,
            kind if kind >= UNDO_POINT => content.push((kind, message.user, message.payload)),
            // A reset: from here on this is the content.
            0 if message.json().is_some_and(|v| v["type"] == "catchup") => content.clear(),
            _ => {}
        }
    }
    content
}

fn stroke(client: &mut Client, number: u8) {
    client.send(UNDO_POINT, 0, &[]);
    client.send(DABS, 0, &[number; 40]);
    client.send(140, 0, &[0, 0, 0]);
    client.until(|m| m.kind == 140);
}

fn post(admin: SocketAddr, id: &str, what: &str, body: &Value) -> common::http::Answer {
    request(admin, "POST", &format!("/api/sessions/{id}/{what}"), "", Some(body))
}

/// A stored session in which a vandal has drawn; returns its id, and a time after which only the vandal drew.
fn prepare(sessions: &Path) -> (String, String) {
    let mut server = start(sessions);
    let mut host = server.connect();
    let id = host.host_running("Host");
    host.command("sessionconf", json!([]), json!({"persistent": true}));
    stroke(&mut host, 1);
    stroke(&mut host, 2);
    let times = || {
        let path = format!("/api/sessions/{id}/times");
        request(server.admin.unwrap(), "GET", &path, "", None).json["times"].as_array().unwrap().clone()
    };
    let before = times().last().unwrap()["at"].clone();
    eventually("a second passes", || {
        host.send(66, 0, &[0; 8]);
        times().last().unwrap()["at"] != before
    });
    let mut vandal = server.connect();
    vandal.join("Vandal", &id);
    vandal.reply(|v| v["type"] == "caughtup");
    for _ in 0..5 {
        stroke(&mut vandal, 7);
    }
    drop(vandal);
    drop(host);
    server.stop();
    (id, before.as_str().unwrap().to_owned())
}

fn copy(from: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
    }
    folder
}

/// How many earlier histories there are; `None` if nobody answers any more.
fn generations(admin: SocketAddr, id: &str) -> Option<usize> {
    // Whoever asks a server that dies is not answered.
    let path = format!("/api/sessions/{id}/generations");
    let text = common::http::text(admin, &path);
    serde_json::from_str::<Value>(&text).ok()?["generations"].as_array().map(Vec::len)
}

/// Something that replaces the history.
struct Step<'a> {
    endpoint: &'a str,
    body: Value,
    /// A directory before it.
    before: &'a Path,
    old: &'a Content,
    new: &'a Content,
}

/// Takes the step with a server that is killed at the given call. Returns whether it died.
fn dies_at(call: &str, when: u32, sessions: &Path, id: &str, step: &Step<'_>) -> bool {
    let mut strace = Command::new("strace");
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=KILL:when={when}"));
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject]);
    strace.arg(std::env::current_exe().unwrap()).env(CHILD, sessions);
    let (mut process, admin) = spawn_child(&mut strace);
    if let Some(admin) = admin {
        let admin: SocketAddr = admin.parse().unwrap();
        if let Some(before) = generations(admin, id) {
            let body = step.body.to_string();
            let text = format!(
                "POST /api/sessions/{id}/{} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                step.endpoint,
                body.len()
            );
            common::http::raw(admin, &text);
            eventually("it dies or the history is replaced", || {
                generations(admin, id).is_none_or(|now| now > before)
            });
        }
    }
    drop(process.stdin.take());
    // strace dies of the signal that what it traces died of.
    process.wait().unwrap().signal().is_some()
}

/// After a restart there is the history before or after the step, and no file too many.
fn check_after_death(sessions: &Path, id: &str, step: &Step<'_>, what: &str) {
    let mut server = start(sessions);
    let content = content_of(&server, id);
    assert!(content == *step.old || content == *step.new, "{what}: {content:?}");
    let names = std::fs::read_dir(sessions).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = names.filter(|n| n.ends_with(".new") || n.ends_with(".deleted")).collect();
    assert!(left.is_empty(), "{what}: {left:?}");
    if content == *step.new {
        let answer = post(server.admin.unwrap(), id, "restore", &json!({}));
        assert_eq!(answer.status, 200, "{what}: {}", answer.json);
        assert_eq!(content_of(&server, id), *step.old, "{what}: the same messages are back");
    }
    server.stop();
}

/// Kills the server at every file operation of removing somebody, of cutting back to a time, and of taking that back.
#[test]
fn at_every_write_of_a_rollback_the_old_or_the_new_history_is_in_force() {
    if !common::child::can_trace() {
        return;
    }
    let original = tempfile::tempdir().unwrap();
    let (id, until) = prepare(original.path());
    let removal = |admin: SocketAddr| {
        let path = format!("/api/sessions/{id}/everybody");
        let everybody = request(admin, "GET", &path, "", None).json;
        let people = everybody["people"].as_array().unwrap();
        let vandal = people.iter().find(|person| person["name"] == "Vandal").unwrap();
        json!({"person": vandal["person"], "name": "Vandal"})
    };
    // What each step makes of it, without a death.
    let removed = copy(original.path());
    let mut server = start(removed.path());
    let body = removal(server.admin.unwrap());
    let drawn = {
        let read = copy(original.path());
        let mut server = start(read.path());
        let drawn = content_of(&server, &id);
        server.stop();
        drawn
    };
    assert_eq!(post(server.admin.unwrap(), &id, "remove", &body).status, 200);
    server.stop();
    let rest = {
        let read = copy(removed.path());
        let mut server = start(read.path());
        let rest = content_of(&server, &id);
        server.stop();
        rest
    };
    let strokes =
        |content: &Content| content.iter().filter(|m| m.0 == DABS).map(|m| m.2[0]).collect::<Vec<u8>>();
    assert_eq!(strokes(&drawn), [1, 2, 7, 7, 7, 7, 7]);
    assert_eq!(strokes(&rest), [1, 2]);
    let steps = [
        Step { endpoint: "remove", body, before: original.path(), old: &drawn, new: &rest },
        Step {
            endpoint: "cut",
            body: json!({"until": until}),
            before: original.path(),
            old: &drawn,
            new: &rest,
        },
        Step { endpoint: "restore", body: json!({}), before: removed.path(), old: &rest, new: &drawn },
    ];
    for step in &steps {
        let mut deaths = 0;
        for call in ["pwrite64", "rename", "unlink", "fdatasync", "ftruncate"] {
            for when in 1.. {
                let folder = copy(step.before);
                if !dies_at(call, when, folder.path(), &id, step) {
                    break;
                }
                deaths += 1;
                check_after_death(folder.path(), &id, step, &format!("{}, {call} {when}", step.endpoint));
            }
        }
        assert!(deaths >= 12, "{}: {deaths}", step.endpoint);
    }
}
