//! Undoing what somebody drew, over the admin API and at the shell, as the clients of the session see it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::client::Received;
use common::http::{Answer, request};
use common::{Client, TestServer};
use drawhall::app::ServeOptions;
use serde_json::{Value, json};

const CHAT: u8 = 35;
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
fn an_operator_undoes_from_the_chat() {
    let server = TestServer::start_with("operatorChatCommands=true", ServeOptions::default());
    let mut host = server.connect();
    let id = host.host_running("Host");
    let mut vandal = server.connect();
    let user = vandal.join("Vandal", &id);
    draw(&mut vandal, 3);
    see(&mut host, user, 3);
    vandal.close();
    host.until(|m| m.kind == 33 && m.user == user);
    let mut viewer = server.connect();
    viewer.join("Viewer", &id);
    host.send(CHAT, 0, b"\0\0!undo vandal 2");
    let told = host.reply(|v| v["type"] == "msg" && v["message"].to_string().contains("Undid"));
    assert_eq!(told["message"], "Undid 2 actions of Vandal; 1 more possible.");
    host.send(CHAT, 0, b"\0\0that was Vandal");
    let seen: Vec<Received> = std::iter::from_fn(|| viewer.next())
        .take_while(|m| !m.payload.ends_with(b"that was Vandal"))
        .collect();
    assert_eq!(seen.iter().filter(|m| m.kind == UNDO).count(), 2);
    assert!(seen.iter().all(|m| m.kind != CHAT), "others do not see the command");
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
    reset_as(host, "external", number);
}

fn reset_as(host: &mut Client, kind: &str, number: u8) {
    host.command("reset-session", json!([]), json!({"type": kind}));
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
fn who_was_in_earlier_histories_is_listed_and_how_far_back_that_is() {
    let sessions = tempfile::tempdir().unwrap();
    let server = server(ServeOptions { sessions: Some(sessions.path().into()), ..ServeOptions::default() });
    let mut host = server.connect();
    let id = host.host_running("Host");
    let mut gone = server.connect();
    let left = gone.join("Gone", &id);
    draw(&mut gone, 2);
    see(&mut host, left, 2);
    gone.close();
    host.until(|m| m.kind == 33 && m.user == left);
    for (number, kept) in [(50, vec![1]), (60, vec![2, 1]), (70, vec![3, 2, 1])] {
        reset(&mut host, number);
        common::eventually("the old history is kept", || generations(&server, &id) == kept);
    }
    let list = ask(&server, "GET", &format!("{id}/everybody"), None).json;
    assert!(list["people"].as_array().unwrap().iter().all(|p| p["name"] != "Gone"), "{list}");
    let earlier = list["earlier"].as_array().unwrap();
    let names: Vec<&str> = earlier.iter().filter_map(|p| p["name"].as_str()).collect();
    assert_eq!(names, ["Host", "Gone"], "the host has one row for all of them: {list}");
    let of_gone = &earlier[1];
    assert_eq!(
        (&of_gone["id"], &of_gone["actions"], &of_gone["bytes"]),
        (&json!(left), &json!(2), &json!(96))
    );
    assert!(of_gone["from"].as_str() <= of_gone["until"].as_str() && of_gone["until"] != "", "{list}");
    assert!(list["since"] != "" && list["since"].as_str() <= of_gone["from"].as_str(), "{list}");
    let (said, fine) = ctl(&server, &["remove", &id]);
    assert!(fine && said.contains("Gone") && said.contains("the list reaches back to "), "{said}");
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

    // That was a reset as well. A time before it is in the history that it has replaced.
    stroke(&mut host, 4);
    common::eventually("the old history is kept", || generations(&second, &id) == [1]);
    let times = ask(&second, "GET", &format!("{id}/times"), None).json;
    let [since, earlier] = ["times", "earlier"].map(|key| times[key].as_array().unwrap().clone());
    assert!(earlier.iter().any(|time| time["at"] == json!(until)), "{until} is in {times}");
    let at = |time: &serde_json::Value| time["at"].as_str().unwrap().to_owned();
    assert!(at(earlier.last().unwrap()) <= at(&since[0]), "{times}");
    let done = ask(&second, "POST", &format!("{id}/cut"), Some(&wish(false)));
    assert_eq!((done.status, &done.json["acrossReset"]), (200, &json!(true)), "{}", done.json);
    assert_eq!(done.json["report"]["messages"], 8, "those of then, and one since: {}", done.json);
    host.reply(|v| v["type"] == "reset" && v["state"] == "reset");
    stroke(&mut host, 5);
    assert_eq!(strokes_of_a_joiner(&second, &id, 5), [1, 5]);

    assert!(ctl(&second, &["restore", &id, "1"]).1);
    host.reply(|v| v["type"] == "reset" && v["state"] == "reset");
    stroke(&mut host, 9);
    assert_eq!(strokes_of_a_joiner(&second, &id, 9), [1, 2, 7, 7, 7, 9]);
    let (said, fine) = ctl(&second, &["cut", &id]);
    assert!(fine && said.contains("messages"), "{said}");
    let (present, earlier) = said.split_once("before the last reset:").expect(&said);
    let times = ask(&second, "GET", &format!("{id}/times"), None).json;
    let at = |list: &str| times[list][0]["at"].as_str().unwrap().to_owned();
    assert!(present.contains(&at("times")) && earlier.contains(&at("earlier")), "{said}\n{times}");
    let (said, _) = ctl(&second, &["--json", "cut", &id]);
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap(), times, "all of the answer");
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

/// What somebody drew before a reset that kept the canvas goes too, also of people who had left by then; after another
/// reset it is refused.
#[test]
fn what_somebody_drew_before_a_reset_is_removed_if_the_reset_kept_the_canvas() {
    let sessions = tempfile::tempdir().unwrap();
    let options = || ServeOptions { sessions: Some(sessions.path().into()), ..ServeOptions::default() };
    let mut first = server(options());
    let mut host = first.connect();
    let id = host.host_running("Host");
    host.command("sessionconf", json!([]), json!({"persistent": true}));
    host.send(UNDO_POINT, 0, &[]);
    stroke(&mut host, 1);
    let mut gone = first.connect();
    let left = gone.join("Gone", &id);
    draw(&mut gone, 2);
    see(&mut host, left, 2);
    gone.close();
    host.until(|m| m.kind == 33 && m.user == left);
    let mut vandal = first.connect();
    let user = vandal.join("Vandal", &id);
    draw(&mut vandal, 3);
    see(&mut host, user, 3);
    stroke(&mut host, 2);
    reset_as(&mut host, "current", 50);
    draw(&mut vandal, 1);
    see(&mut host, user, 1);
    stroke(&mut host, 3);
    common::eventually("the old history is kept", || generations(&first, &id) == [1]);
    let list = ask(&first, "GET", &format!("{id}/everybody"), None).json;
    assert_eq!(list["acrossReset"], true, "{list}");
    let of = |name: &str| {
        let people = list["people"].as_array().unwrap();
        let found: Vec<&Value> = people.iter().filter(|person| person["name"] == name).collect();
        assert_eq!(found.len(), 1, "{list}");
        found[0].clone()
    };
    let (vandal_of, gone_of) = (of("Vandal"), of("Gone"));
    let numbers =
        |person: &Value| ["actions", "beforeReset", "bytes", "undoable"].map(|key| person[key].clone());
    assert_eq!(numbers(&vandal_of), [json!(4), json!(3), json!(192), json!(1)]);
    assert_eq!(numbers(&gone_of), [json!(2), json!(2), json!(96), json!(0)]);
    assert!(vandal_of["until"] == "" && vandal_of["from"] != "" && gone_of["until"] != "", "{list}");
    assert_eq!(person(&first, &id, "Vandal")["person"], vandal_of["person"], "one number for all lists");
    first.stop();

    let second = server(options());
    let (said, fine) = ctl(&second, &["remove", &id, "Gone"]);
    assert!(fine && said.contains("actions = 2") && said.contains("also from before"), "{said}");
    let (said, fine) = ctl(&second, &["remove", &id, "Vandal", "--since-reset"]);
    assert!(fine && said.contains("actions = 1") && !said.contains("also from before"), "{said}");
    let (said, fine) = ctl(&second, &["remove", &id, "Vandal", "--since", "2020-01-01T00:00:00Z"]);
    assert!(fine && said.contains("actions = 4") && said.contains("beforeReset = 3"), "{said}");
    let mut host = second.connect();
    host.join("Host", &id);
    let (said, fine) = ctl(&second, &["remove", &id, "Vandal", "--yes"]);
    assert!(fine && said.contains("also from before the last reset"), "{said}");
    host.reply(|v| v["type"] == "reset" && v["state"] == "reset");
    stroke(&mut host, 9);
    assert_eq!(strokes_of_a_joiner(&second, &id, 9), [1, 7, 7, 2, 3, 9], "as if there had been no reset");

    // That was a reset by the server: everything is still there, but not when it was drawn.
    let wish = |more: Value| {
        let list = ask(&second, "GET", &format!("{id}/everybody"), None).json;
        let host = list["people"].as_array().unwrap().iter().rfind(|p| p["name"] == "Host").unwrap().clone();
        let mut body = json!({"person": host["person"], "dryRun": true});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ask(&second, "POST", &format!("{id}/remove"), Some(&body))
    };
    let early = json!({"since": "2020-01-01T00:00:00Z"});
    let is_refused = |more: &Value| {
        let refused = wish(more.clone());
        let words = refused.json["message"].as_str().unwrap_or_default().to_owned();
        assert!(refused.status == 409 && words.contains("go back to before the reset"), "{}", refused.json);
    };
    is_refused(&early);
    let all = wish(json!({"acrossReset": true})).json;
    assert!(all["status"] == "ok" && all["acrossReset"] == false && all["reason"] == "", "{all}");
    // The image of this one is of another canvas.
    reset_as(&mut host, "external", 60);
    is_refused(&early);
    is_refused(&json!({"acrossReset": true}));
    let gone = json!({"person": gone_of["person"], "dryRun": true});
    assert_eq!(ask(&second, "POST", &format!("{id}/remove"), Some(&gone)).status, 409);
}

/// Without the size limit it would be removed from before the reset too.
#[test]
fn what_would_exceed_the_size_limit_stays_from_before_a_reset() {
    let sessions = tempfile::tempdir().unwrap();
    let options = ServeOptions {
        admin_port: Some(0),
        sessions: Some(sessions.path().into()),
        ..ServeOptions::default()
    };
    let server = TestServer::start_with("sessionSizeLimit=100kb\n", options);
    let mut host = server.connect();
    let id = host.host_running("Host");
    let mut vandal = server.connect();
    let user = vandal.join("Vandal", &id);
    for round in 0..2 {
        draw(&mut vandal, 1);
        see(&mut host, user, 1);
        host.send(DABS, 0, &[0; 60_000]);
        host.until(|m| m.kind == DABS && m.payload.len() == 60_000);
        if round == 0 {
            reset_as(&mut host, "current", 50);
        }
    }
    common::eventually("the old history is kept", || generations(&server, &id) == [1]);
    let person = person(&server, &id, "Vandal")["person"].clone();
    let wish = |more: Value| {
        let mut body = json!({"person": person});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ask(&server, "POST", &format!("{id}/remove"), Some(&body))
    };
    let asked = wish(json!({"acrossReset": true, "dryRun": true}));
    assert_eq!(asked.status, 409, "{}", asked.json);
    for dry_run in [true, false] {
        let removed = wish(json!({"dryRun": dry_run})).json;
        assert!(removed["status"] == "ok" && removed["acrossReset"] == false, "{removed}");
        assert_eq!(removed["report"]["actions"], 1, "{removed}");
        assert!(removed["reason"].as_str().unwrap().contains("size limit"), "{removed}");
    }
}

/// A time before the session began means all of it.
#[test]
fn what_somebody_drew_since_before_the_session_began_is_all_of_it() {
    let server = server(ServeOptions::default());
    let mut host = server.connect();
    let id = host.host_running("Host");
    let mut vandal = server.connect();
    let user = vandal.join("Vandal", &id);
    draw(&mut vandal, 2);
    see(&mut host, user, 2);
    let (said, fine) = ctl(&server, &["remove", &id, "Vandal", "--since", "2020-01-01T00:00:00Z"]);
    assert!(fine && said.contains("actions = 2"), "{said}");
    let early = json!({"until": "2020-01-01T00:00:00Z"});
    let refused = ask(&server, "POST", &format!("{id}/cut"), Some(&early)).json;
    assert!(refused["message"].as_str().unwrap().contains("the session begins later"), "{refused}");
    next_second(&server, &id, &mut host);
    host.send(UNDO_POINT, 0, &[]);
    stroke(&mut host, 1);
    let list = ask(&server, "GET", &format!("{id}/times"), None).json;
    let last = list["times"].as_array().unwrap().iter().rev().nth(1).unwrap()["at"].clone();
    let (said, fine) = ctl(&server, &["remove", &id, "Vandal", "--since", last.as_str().unwrap()]);
    assert!(!fine && said.contains("drawn nothing since that time"), "{said}");
}

/// Each reads the whole history, one after the other.
#[test]
fn requests_at_the_same_time_wait_for_each_other() {
    let sessions = tempfile::tempdir().unwrap();
    let server = server(ServeOptions { sessions: Some(sessions.path().into()), ..ServeOptions::default() });
    let mut host = server.connect();
    let id = host.host_running("Host");
    draw(&mut host, 2000);
    stroke(&mut host, 9);
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                for list in ["everybody", "generations"] {
                    let answer = ask(&server, "GET", &format!("{id}/{list}"), None);
                    assert_eq!(answer.status, 200, "{}", answer.json);
                }
            });
        }
    });
}
