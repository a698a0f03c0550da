//! Ended sessions: they can be restored over the API, by `drawhall ctl` and with the server stopped.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::path::Path;
use std::process::Command;

use common::http::request;
use common::{TestServer, eventually};
use drawhall::app::ServeOptions;
use drawhall_protocol::recording::dprec::DprecReader;
use serde_json::{Value, json};

const STROKE: u8 = 148;

fn server(folder: &Path, keep_ended: bool, config: &str) -> TestServer {
    let options = ServeOptions {
        sessions: Some(folder.into()),
        keep_ended,
        admin_port: Some(0),
        ..ServeOptions::default()
    };
    TestServer::start_with(config, options)
}

/// A session with a stroke, which ends when its host leaves.
fn ended_session(server: &TestServer) -> String {
    let mut host = server.connect();
    let id = host.host_running("Host");
    host.send(STROKE, 1, b"a stroke");
    host.until(|m| m.kind == STROKE);
    host.close();
    eventually("the session has ended", || {
        let list = request(server.admin.unwrap(), "GET", "/api/sessions", "", None).json;
        list.as_array().unwrap().is_empty()
    });
    id
}

/// Joins and looks for the stroke.
fn assert_there(server: &TestServer, id: &str) {
    let mut client = server.connect();
    client.join("Guest", id);
    client.until(|m| m.kind == STROKE && m.payload == *b"a stroke");
}

#[test]
fn the_drawing_of_a_stored_session_can_be_downloaded() {
    use std::io::{Read as _, Write as _};

    let folder = tempfile::tempdir().unwrap();
    let server = server(folder.path(), false, "[config]\n");
    let mut host = server.connect();
    let id = host.host_running("Host");
    host.send(STROKE, 1, b"a stroke");
    host.until(|m| m.kind == STROKE);
    let mut stream = std::net::TcpStream::connect(server.admin.unwrap()).unwrap();
    let request =
        format!("GET /api/sessions/{id}/recording HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let at = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..at]).to_lowercase();
    assert!(head.contains(&format!("filename=\"{id}.dprec\"")), "{head}");
    let mut recording = DprecReader::new(&answer[at + 4..]).unwrap();
    let mut strokes = 0;
    while let Some(frame) = recording.next_frame().unwrap() {
        strokes += usize::from(frame.as_bytes().ends_with(b"a stroke"));
    }
    assert_eq!((strokes, recording.truncation().is_some()), (1, false));
}

fn program(args: &[&str]) -> (String, bool) {
    let out = Command::new(env!("CARGO_BIN_EXE_drawhall")).args(args).output().unwrap();
    let said = if out.status.success() { out.stdout } else { out.stderr };
    (String::from_utf8(said).unwrap(), out.status.success())
}

#[test]
fn an_ended_session_is_restored_while_the_server_runs() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(folder.path(), true, "[config]\n");
    let admin = server.admin.unwrap();
    let id = ended_session(&server);
    let ended = || request(admin, "GET", "/api/ended", "", None).json["sessions"].clone();
    eventually("its files are moved", || ended()[0]["id"] == id.as_str());
    assert!(ended()[0]["size"].as_u64().unwrap() > 8);
    assert_eq!(request(admin, "POST", "/api/ended/nowhere/restore", "", Some(&json!({}))).status, 404);
    let url = format!("http://{admin}");
    let (said, fine) = program(&["ctl", "--url", &url, "ended", "--restore", &id]);
    assert!(fine && said == "restored\n", "{said}");
    eventually("it is listed", || {
        let list: Value = request(admin, "GET", "/api/sessions", "", None).json;
        list[0]["id"] == id.as_str()
    });
    assert_eq!(ended(), json!([]));
    assert_there(&server, &id);
}

#[test]
fn an_ended_session_is_restored_while_the_server_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let id = {
        let server = server(folder.path(), true, "[config]\n");
        let id = ended_session(&server);
        let directory = folder.path().to_str().unwrap();
        eventually("its files are moved", || program(&["sessions", directory, "--ended"]).0.contains(&id));
        let (said, fine) = program(&["sessions", directory, "--restore", &id]);
        assert!(!fine && said.contains("in use by another server"), "{said}");
        id
    };
    let directory = folder.path().to_str().unwrap();
    let (said, fine) = program(&["sessions", directory, "--restore", &id]);
    assert!(fine && said.starts_with(&format!("restored {id}")), "{said}");
    assert_there(&server(folder.path(), true, "[config]\n"), &id);
}

#[test]
fn nothing_is_kept_in_a_directory_as_of_drawpile_srv_or_when_it_is_switched_off() {
    for (keep_ended, config) in [(false, "[config]\n"), (true, "[config]\nendedSessionDays=0\n")] {
        let folder = tempfile::tempdir().unwrap();
        let server = server(folder.path(), keep_ended, config);
        let id = ended_session(&server);
        eventually("its files are gone", || {
            let mut names = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name());
            !names.any(|name| name.to_str().unwrap().contains(&id) || name == "ended")
        });
        let answer = request(server.admin.unwrap(), "GET", "/api/ended", "", None).json;
        assert_eq!(answer, json!({"kept": false, "sessions": []}));
    }
}
