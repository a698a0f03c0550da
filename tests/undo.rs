//! Undoing what somebody drew, over the admin API and at the shell, as the clients of the session see it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::client::Received;
use common::http::{Answer, request};
use common::{Client, TestServer};
use drawhall::app::ServeOptions;
use serde_json::{Value, json};

const UNDO_POINT: u8 = 128;
const DABS: u8 = 148;
const UNDO: u8 = 255;

fn server(options: ServeOptions) -> TestServer {
    TestServer::start_with("", ServeOptions { admin_port: Some(0), websocket_port: Some(0), ..options })
}

fn ask(server: &TestServer, method: &str, path: &str, body: Option<&Value>) -> Answer {
    request(server.admin.unwrap(), method, &format!("/api/sessions/{path}"), "", body)
}

/// Actions of an undo point and a stroke each.
fn draw(client: &mut Client, actions: usize) {
    for _ in 0..actions {
        client.send(UNDO_POINT, 0, &[]);
        client.send(DABS, 0, &[7; 40]);
    }
}

/// Waits until so many strokes of a user have arrived.
fn see(client: &mut Client, user: u8, strokes: usize) {
    for _ in 0..strokes {
        client.until(|m| m.kind == DABS && m.user == user);
    }
}

fn person(server: &TestServer, session: &str, name: &str) -> Value {
    let list = ask(server, "GET", &format!("{session}/people"), None);
    assert_eq!(list.status, 200, "{}", list.json);
    let people = list.json["people"].as_array().unwrap();
    people.iter().rfind(|person| person["name"] == name).cloned().unwrap_or_default()
}

/// The undos that a client receives, as user, `override_user` and `redo`.
fn undos(client: &mut Client, count: usize) -> Vec<(u8, Vec<u8>)> {
    let undo = |client: &mut Client| {
        let Received { user, payload, .. } = client.until(|m| m.kind == UNDO);
        (user, payload)
    };
    (0..count).map(|_| undo(client)).collect()
}

/// Somebody covers the canvas and leaves; two others, over TCP and over WebSocket, see it undone and redone.
#[test]
fn what_somebody_drew_who_has_left_is_undone_for_everybody() {
    let server = server(ServeOptions::default());
    let mut host = server.connect();
    let id = host.host_running("Host");
    let mut viewer = server.connect_websocket("").unwrap();
    viewer.join("Viewer", &id);
    let mut vandal = server.connect();
    let user = vandal.join("Vandal", &id);
    draw(&mut vandal, 6);
    see(&mut host, user, 6);
    see(&mut viewer, user, 6);
    vandal.close();
    host.until(|m| m.kind == 33 && m.user == user);
    let listed = person(&server, &id, "Vandal");
    assert_eq!((&listed["undoable"], &listed["online"]), (&json!(6), &json!(false)));

    let body = json!({"person": listed["person"], "name": "Vandal", "count": 5});
    let answer = ask(&server, "POST", &format!("{id}/undo"), Some(&body));
    assert_eq!((answer.status, &answer.json), (200, &json!({"status": "ok", "count": 5, "left": 1})));
    assert_eq!(undos(&mut host, 5), vec![(0, vec![user, 0]); 5]);
    assert_eq!(undos(&mut viewer, 5), vec![(0, vec![user, 0]); 5]);

    let body = json!({"person": listed["person"], "redo": true});
    let answer = ask(&server, "POST", &format!("{id}/undo"), Some(&body));
    assert_eq!(answer.json["count"], 5);
    assert_eq!(undos(&mut host, 5), vec![(0, vec![user, 1]); 5]);
    assert_eq!(person(&server, &id, "Vandal")["undoable"], 6);
}

#[test]
fn requests_that_cannot_be_met_are_refused_with_the_reason() {
    let server = server(ServeOptions::default());
    let mut host = server.connect();
    let id = host.host_running("Host");
    draw(&mut host, 1);
    let listed = person(&server, &id, "Host")["person"].clone();
    for (body, status, words) in [
        (json!({}), 400, "person"),
        (json!({"person": "Host"}), 400, "person"),
        (json!({"person": listed, "count": 0}), 400, "count"),
        (json!({"person": listed, "name": "Ann"}), 409, "outdated"),
        (json!({"person": 1_000_000}), 409, "reached"),
        (json!({"person": listed, "redo": true}), 409, "redone"),
    ] {
        let answer = ask(&server, "POST", &format!("{id}/undo"), Some(&body));
        let message = answer.json["message"].as_str().unwrap_or_default();
        assert!(answer.status == status && message.contains(words), "{body}: {}", answer.json);
    }
    assert_eq!(ask(&server, "GET", "nowhere/people", None).status, 404);
    assert_eq!(ask(&server, "PUT", &format!("{id}/people"), Some(&json!({}))).status, 405);
}

fn ctl(server: &TestServer, args: &[&str]) -> (String, bool) {
    let url = format!("http://{}", server.admin.unwrap());
    let program = std::process::Command::new(env!("CARGO_BIN_EXE_drawhall"));
    let out = { program }.args(["ctl", "--url", &url]).args(args).output().unwrap();
    let said = if out.status.success() { out.stdout } else { out.stderr };
    (String::from_utf8(said).unwrap(), out.status.success())
}

/// Also for a session that is loaded from its files.
#[test]
fn the_shell_undoes_by_name_also_after_a_restart() {
    let sessions = tempfile::tempdir().unwrap();
    let options = || ServeOptions { sessions: Some(sessions.path().into()), ..ServeOptions::default() };
    let mut first = server(options());
    let mut host = first.connect();
    let id = host.host_running("Host");
    host.command("sessionconf", json!([]), json!({"persistent": true}));
    let mut vandal = first.connect();
    let user = vandal.join("Vandal", &id);
    draw(&mut vandal, 3);
    see(&mut host, user, 3);
    let (said, fine) = ctl(&first, &["people", &id]);
    assert!(fine && said.contains("Vandal"), "{said}");
    assert_eq!(
        ctl(&first, &["undo", &id, "Vandal", "--count", "1"]).0,
        "undid 1 actions of Vandal; 2 more can be undone\n"
    );
    undos(&mut host, 1);
    first.stop();

    let second = server(options());
    let (said, fine) = ctl(&second, &["undo", &id, "nobody"]);
    assert!(!fine && said.contains("nobody called"), "{said}");
    assert_eq!(ctl(&second, &["undo", &id, "Vandal"]).0, "undid 2 actions of Vandal; 0 more can be undone\n");
    assert_eq!(
        ctl(&second, &["undo", &id, "Vandal", "--redo"]).0,
        "redid 3 actions of Vandal; 0 more can be redone\n"
    );
    let mut again = second.connect();
    again.join("Again", &id);
    let seen: Vec<(u8, Vec<u8>)> = undos(&mut again, 6);
    assert_eq!(seen, [vec![(0, vec![user, 0]); 3], vec![(0, vec![user, 1]); 3]].concat());
}

/// Strokes that somebody who joins is sent, by their first byte.
fn strokes_of_a_joiner(server: &TestServer, id: &str, last: u8) -> Vec<u8> {
    let mut joiner = server.connect();
    joiner.join("Joiner", id);
    let mut seen = Vec::new();
    while seen.last() != Some(&last) {
        seen.push(joiner.until(|m| m.kind == DABS).payload[0]);
    }
    seen
}

fn stroke(client: &mut Client, number: u8) {
    client.send(DABS, 0, &[number; 40]);
    client.until(|m| m.kind == DABS && m.payload[0] == number);
}

fn reset(host: &mut Client, number: u8) {
    host.command("reset-session", json!([]), json!({"type": "external"}));
    host.reply(|v| v["state"] == "init");
    host.send(129, 1, &[0; 16]);
    host.send(DABS, 1, &[number; 40]);
    host.command("init-complete", json!([]), json!({}));
    host.reply(|v| v["state"] == "reset");
    host.until(|m| m.kind == DABS && m.payload[0] == number);
}

fn generations(server: &TestServer, id: &str) -> Vec<u64> {
    let list = ask(server, "GET", &format!("{id}/generations"), None).json;
    list["generations"].as_array().unwrap().iter().map(|g| g["generation"].as_u64().unwrap()).collect()
}

/// A reset that went wrong is taken back for everybody, and that is taken back as well.
#[test]
fn one_can_go_back_to_before_a_reset_and_return() {
    let sessions = tempfile::tempdir().unwrap();
    let mut first =
        server(ServeOptions { sessions: Some(sessions.path().into()), ..ServeOptions::default() });
    let mut host = first.connect();
    let id = host.host_running("Host");
    host.command("sessionconf", json!([]), json!({"persistent": true}));
    stroke(&mut host, 1);
    let mut gone = first.connect();
    let left = gone.join("Gone", &id);
    gone.close();
    host.until(|m| m.kind == 33 && m.user == left);
    stroke(&mut host, 2);
    assert!(generations(&first, &id).is_empty());
    reset(&mut host, 50);
    stroke(&mut host, 51);
    common::eventually("the old history is kept", || generations(&first, &id) == [1]);

    let mut viewer = first.connect_websocket("").unwrap();
    let viewer_id = viewer.join("Viewer", &id);
    viewer.until(|m| m.kind == DABS && m.payload[0] == 51);
    assert_eq!(ask(&first, "POST", &format!("{id}/restore"), Some(&json!({}))).status, 200);
    for client in [&mut host, &mut viewer] {
        client.reply(|v| v["type"] == "alert" && v["T"] == "resetpreparepast");
        client.reply(|v| v["type"] == "reset" && v["state"] == "reset");
        client.reply(|v| v["type"] == "catchup" && v["key"] == 0);
        let strokes = [(); 2].map(|()| client.until(|m| m.kind == DABS).payload[0]);
        assert_eq!(strokes, [1, 2]);
        // Both are in the canvas of then and now: the host by the old join, the viewer by a new one.
        client.until(|m| m.kind == 32 && m.user == viewer_id);
        let owners = client.until(|m| m.kind == 34);
        assert_eq!((owners.user, owners.payload), (0, vec![1]));
        client.reply(|v| v["type"] == "caughtup" && v["key"] == 0);
    }
    stroke(&mut host, 3);
    assert_eq!(strokes_of_a_joiner(&first, &id, 3), [1, 2, 3]);
    common::eventually("both are kept", || generations(&first, &id) == [2, 1]);
    first.stop();

    // After a restart, at the shell, back to what the reset has made.
    let second = server(ServeOptions { sessions: Some(sessions.path().into()), ..ServeOptions::default() });
    let (said, fine) = ctl(&second, &["restore", &id]);
    assert!(fine && said.starts_with("generation"), "{said}");
    let (said, fine) = ctl(&second, &["restore", &id, "2"]);
    assert!(fine && said.starts_with("went back"), "{said}");
    assert_eq!(strokes_of_a_joiner(&second, &id, 51), [50, 51]);
    assert!(!ctl(&second, &["restore", &id, "77"]).1, "there is no such history");
}

#[test]
fn a_session_in_memory_has_no_earlier_histories() {
    let server = server(ServeOptions::default());
    let mut host = server.connect();
    let id = host.host_running("Host");
    reset(&mut host, 9);
    assert!(generations(&server, &id).is_empty());
    let answer = ask(&server, "POST", &format!("{id}/restore"), Some(&json!({})));
    assert!(answer.status == 409 && answer.json["message"].as_str().unwrap().contains("not stored"));
}

/// Somebody has drawn more than undo reaches, and deleted a layer: it goes for everybody, and that is taken back.
#[test]
fn everything_that_somebody_drew_is_removed_and_that_is_taken_back() {
    let sessions = tempfile::tempdir().unwrap();
    let server = server(ServeOptions { sessions: Some(sessions.path().into()), ..ServeOptions::default() });
    let mut host = server.connect();
    let id = host.host_running("Host");
    let layer = |id: u8| [&[0, id, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], b"layer"].concat();
    host.send(162, 0, &layer(1));
    stroke(&mut host, 1);
    let mut viewer = server.connect_websocket("").unwrap();
    viewer.join("Viewer", &id);
    let mut vandal = server.connect();
    let user = vandal.join("Vandal", &id);
    draw(&mut vandal, 40);
    vandal.send(UNDO_POINT, 0, &[]);
    vandal.send(164, 0, &[0, 1, 0, 0]);
    host.until(|m| m.kind == 164);
    vandal.close();
    host.until(|m| m.kind == 33 && m.user == user);
    stroke(&mut host, 2);

    let everybody = ask(&server, "GET", &format!("{id}/everybody"), None).json;
    let vandal =
        everybody["people"].as_array().unwrap().iter().find(|p| p["name"] == "Vandal").unwrap().clone();
    assert_eq!(vandal["actions"], 41);
    let wish = |dry_run| json!({"person": vandal["person"], "name": "Vandal", "dryRun": dry_run});
    let report = ask(&server, "POST", &format!("{id}/remove"), Some(&wish(true))).json;
    assert_eq!(report["report"]["actions"], 41, "{report}");
    assert_eq!((&report["report"]["messages"], &report["report"]["layersBack"]), (&json!(82), &json!(1)));
    assert!(generations(&server, &id).is_empty(), "a report changes nothing");

    let done = ask(&server, "POST", &format!("{id}/remove"), Some(&wish(false)));
    assert_eq!((done.status, &done.json["report"]), (200, &report["report"]), "{}", done.json);
    for client in [&mut host, &mut viewer] {
        client.reply(|v| v["type"] == "reset" && v["state"] == "reset");
        let mut drawn = Vec::new();
        loop {
            let message = client.next().unwrap();
            match message.kind {
                kind if kind >= 128 => drawn.push((kind, message.payload.first().copied().unwrap_or(0))),
                0 if message.json().is_some_and(|v| v["type"] == "caughtup" && v["key"] == 0) => break,
                _ => {}
            }
        }
        assert_eq!(drawn, [(129, 0), (162, 0), (DABS, 1), (DABS, 2), (140, 0)]);
    }
    stroke(&mut host, 3);
    let refused = ask(&server, "POST", &format!("{id}/remove"), Some(&wish(true)));
    assert_eq!(refused.status, 409, "{}", refused.json);

    let (said, fine) = ctl(&server, &["restore", &id, "--newest"]);
    assert!(fine, "{said}");
    viewer.reply(|v| v["type"] == "reset" && v["state"] == "reset");
    assert!(viewer.until(|m| m.kind == 164).payload == [0, 1, 0, 0]);
    let (said, fine) = ctl(&server, &["remove", &id, "Vandal"]);
    assert!(fine && said.contains("actions = 41") && said.contains("--yes"), "{said}");
    let (said, fine) = ctl(&server, &["remove", &id, "Vandal", "--yes"]);
    assert!(fine && said.contains("removed what Vandal drew"), "{said}");
}

/// Waits until the history has a time mark of a later second than before; returns the last time before it.
fn next_second(server: &TestServer, id: &str, client: &mut Client) -> String {
    let times = || ask(server, "GET", &format!("{id}/times"), None).json["times"].as_array().unwrap().clone();
    let last = times().last().unwrap()["at"].clone();
    common::eventually("a second passes", || {
        // Nothing that is drawn: what counts for the tests is what they draw.
        client.send(66, 0, &[0; 8]);
        times().last().unwrap()["at"] != last
    });
    last.as_str().unwrap().to_owned()
}

/// Everything since a time goes, for everybody; also over a restart, and that is taken back.
#[test]
fn the_canvas_goes_back_to_a_time_for_everybody_and_that_is_taken_back() {
    let sessions = tempfile::tempdir().unwrap();
    let options = || ServeOptions { sessions: Some(sessions.path().into()), ..ServeOptions::default() };
    let mut first = server(options());
    let mut host = first.connect();
    let id = host.host_running("Host");
    host.command("sessionconf", json!([]), json!({"persistent": true}));
    stroke(&mut host, 1);
    let until = next_second(&first, &id, &mut host);
    stroke(&mut host, 2);
    let mut vandal = first.connect();
    let user = vandal.join("Vandal", &id);
    draw(&mut vandal, 3);
    see(&mut host, user, 3);
    first.stop();

    let second = server(options());
    let mut host = second.connect();
    host.join("Host", &id);
    let wish = |dry_run| json!({"until": until, "dryRun": dry_run});
    let report = ask(&second, "POST", &format!("{id}/cut"), Some(&wish(true)));
    assert_eq!((report.status, &report.json["until"]), (200, &json!(until)), "{}", report.json);
    assert_eq!(
        (&report.json["report"]["actions"], &report.json["report"]["messages"]),
        (&json!(3), &json!(7))
    );
    let people = &report.json["report"]["people"];
    assert_eq!(people, &json!([{"id": user, "name": "Vandal", "actions": 3}]));
    assert!(generations(&second, &id).is_empty(), "a report changes nothing");

    let done = ask(&second, "POST", &format!("{id}/cut"), Some(&wish(false)));
    assert_eq!((done.status, &done.json["report"]), (200, &report.json["report"]), "{}", done.json);
    host.reply(|v| v["type"] == "alert" && v["T"] == "resetpreparepast");
    host.reply(|v| v["type"] == "reset" && v["state"] == "reset");
    let mut strokes = Vec::new();
    loop {
        let message = host.next().unwrap();
        match message.kind {
            DABS => strokes.push(message.payload[0]),
            0 if message.json().is_some_and(|v| v["type"] == "caughtup" && v["key"] == 0) => break,
            _ => {}
        }
    }
    assert_eq!(strokes, [1]);
    let early = json!({"until": "2020-01-01T00:00:00Z"});
    let refused = ask(&second, "POST", &format!("{id}/cut"), Some(&early));
    let words = refused.json["message"].as_str().unwrap_or_default();
    assert!(refused.status == 409 && words.contains("begins later"), "{}", refused.json);

    assert!(ctl(&second, &["restore", &id, "--newest"]).1);
    host.reply(|v| v["type"] == "reset" && v["state"] == "reset");
    stroke(&mut host, 9);
    assert_eq!(strokes_of_a_joiner(&second, &id, 9), [1, 2, 7, 7, 7, 9]);
    let (said, fine) = ctl(&second, &["cut", &id]);
    assert!(fine && said.contains("messages"), "{said}");
}

/// What somebody drew before stays, in a session in memory too.
#[test]
fn what_somebody_drew_since_a_time_is_removed() {
    let server = server(ServeOptions::default());
    let mut host = server.connect();
    let id = host.host_running("Host");
    let mut vandal = server.connect();
    let user = vandal.join("Vandal", &id);
    draw(&mut vandal, 2);
    see(&mut host, user, 2);
    let since = next_second(&server, &id, &mut host);
    draw(&mut vandal, 3);
    see(&mut host, user, 3);
    let since = since.as_str();
    let (said, fine) = ctl(&server, &["remove", &id, "Vandal", "--since", since]);
    assert!(fine && said.contains("actions = 3"), "{said}");
    let (said, fine) = ctl(&server, &["remove", &id, "Vandal", "--since", since, "--yes"]);
    assert!(fine, "{said}");
    host.reply(|v| v["type"] == "reset" && v["state"] == "reset");
    see(&mut host, user, 2);
    stroke(&mut host, 9);
    assert_eq!(strokes_of_a_joiner(&server, &id, 9), [7, 7, 9]);
    for (body, status) in [(json!({}), 400), (json!({"until": "soon"}), 400)] {
        assert_eq!(ask(&server, "POST", &format!("{id}/cut"), Some(&body)).status, status, "{body}");
    }
}
