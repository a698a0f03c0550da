//! Sessions that several servers share (`--cluster-sessions`): another server goes on with them.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::path::Path;
use std::process::Command;

use common::child::{run_child, spawn_child};
use common::http::request;
use common::postgres::PostgresDatabase;
use common::sharing::{node, options, rejoin};
use common::{Client, TestServer, eventually};
use drawhall::app::{ServeOptions, start};
use serde_json::json;

/// A type of message that the server does not look into.
const STROKE: u8 = 140;
/// Names the database and the directory for the test `child`.
const CHILD: &str = "DRAWHALL_TEST_SHARED";

fn lists(server: &TestServer, session: &str) -> bool {
    server.connect().ident_for_list("looker").iter().any(|s| s["id"] == session)
}

fn draw(client: &mut Client, stroke: &[u8]) {
    client.send(STROKE, 1, stroke);
    client.until(|m| m.kind == STROKE && m.payload == stroke);
}

#[test]
fn another_server_goes_on_with_the_sessions_of_one_that_stops() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (mut one, other) = (node(&database), node(&database));
    let mut host = one.server.connect();
    let session = host.host_running("host");
    host.command("sessionconf", json!([]), json!({"title": "Shared", "opword": "secret"}));
    host.reply(|v| v["config"]["title"] == "Shared");
    draw(&mut host, b"first");
    draw(&mut host, b"second");
    let mut guest = one.server.connect();
    guest.join("guest", &session);
    let hidx = guest.reply(|v| v["type"] == "caughtup")["hidx"].as_str().unwrap().to_owned();
    draw(&mut host, b"third");
    one.server.stop();

    let (mut back, answer) = rejoin(&other.server, "guest", &session, &hidx);
    assert_eq!(answer["join"]["skip"], true, "{answer}");
    assert_eq!(
        back.contents_until(STROKE, b"third"),
        [b"third".to_vec()],
        "what was missed, and nothing else"
    );
    let mut newcomer = other.server.connect();
    newcomer.join("newcomer", &session);
    let all = [b"first".to_vec(), b"second".to_vec(), b"third".to_vec()];
    assert_eq!(newcomer.contents_until(STROKE, b"third"), all);
    back.command("gain-op", json!(["secret"]), json!({}));
    back.reply(|v| {
        v["type"] == "sessionconf" || v["message"].as_str().is_some_and(|m| m.contains("operator"))
    });

    // And a third one.
    let mut other = other;
    // With clients in it: a session that everybody has left has ended.
    other.server.stop();
    drop((back, newcomer));
    let third = node(&database);
    let (mut again, _) = rejoin(&third.server, "guest", &session, "");
    assert_eq!(again.contents_until(STROKE, b"third"), all);
}

/// A server in a process of its own, which can be killed.
#[test]
fn child() {
    let Ok(arguments) = std::env::var(CHILD) else { return };
    let (database, directory) = arguments.split_once(' ').unwrap();
    let server = TestServer::start_with("", options(database, Path::new(directory)));
    run_child(&server.address.to_string());
}

#[test]
fn nothing_that_was_shown_is_lost_when_a_server_is_killed() {
    let Some(database) = PostgresDatabase::create() else { return };
    let other = node(&database);
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let arguments = format!("{} {}", database.url(), directory.path().display());
    let (mut process, address) = spawn_child(command.env(CHILD, arguments));
    let mut host = Client::connect(address.unwrap().parse().unwrap());
    let session = host.host_running("host");
    eventually("the other server lists the session", || lists(&other.server, &session));
    let strokes: Vec<Vec<u8>> = (0..100u8).map(|n| vec![n; 500]).collect();
    strokes.iter().for_each(|stroke| host.send(STROKE, 1, stroke));
    let last = strokes.last().unwrap();
    host.until(|m| m.kind == STROKE && m.payload == *last);
    process.kill().unwrap();
    process.wait().unwrap();
    let (mut back, _) = rejoin(&other.server, "host", &session, "");
    assert_eq!(back.contents_until(STROKE, last), strokes);
    draw(&mut back, b"on");
}

#[test]
fn an_owner_that_was_given_up_shows_nothing_more() {
    let Some(database) = PostgresDatabase::create() else { return };
    let one = node(&database);
    let mut host = one.server.connect();
    let session = host.host_running("host");
    draw(&mut host, b"before");
    let mut guest = one.server.connect();
    guest.join("guest", &session);
    guest.contents_until(STROKE, b"before");
    // Another server has taken it over while this one was paused.
    database.execute(
        "INSERT INTO drawhall_nodes (incarnation, name, address, seen) \
         VALUES ('Z', 'other', '127.0.0.1:9', now() + INTERVAL '1 hour')",
    );
    database.execute("UPDATE drawhall_sessions SET owner = 'Z', epoch = epoch + 1");
    host.send(STROKE, 1, b"too late");
    for client in [&mut host, &mut guest] {
        let next = client.until(|m| m.kind == STROKE || m.kind == 1);
        assert_eq!(next.kind, 1, "{next}");
        assert!(String::from_utf8_lossy(&next.payload).contains("Another server"), "{next}");
    }
    eventually("it is not listed", || !lists(&one.server, &session));
    database.execute(
        "DO $$ BEGIN ASSERT (SELECT COUNT(*) FROM drawhall_session_data WHERE bytes LIKE '%too late%'::bytea) = 0; END $$",
    );
}

#[test]
fn an_owner_without_anything_to_write_learns_that_it_was_given_up() {
    let Some(database) = PostgresDatabase::create() else { return };
    let one = node(&database);
    let mut host = one.server.connect();
    host.host_running("host");
    draw(&mut host, b"before");
    database.execute("UPDATE drawhall_sessions SET owner = 'Z', epoch = epoch + 1");
    assert_eq!(host.until(|m| m.kind == 1).payload[0], 2);
}

#[test]
fn nothing_is_shown_before_it_is_committed() {
    let Some(database) = PostgresDatabase::create() else { return };
    let one = node(&database);
    let mut host = one.server.connect();
    let session = host.host_running("host");
    let mut guest = one.server.connect();
    guest.join("guest", &session);
    draw(&mut host, b"before");
    guest.contents_until(STROKE, b"before");
    database.set_away(true);
    host.send(STROKE, 1, b"waits");
    let failed = || one.server.metrics.commit_errors.get() > 0;
    eventually("it is tried to commit the stroke", failed);
    // Connections go on.
    guest.send(2, 0, &[0]);
    let next = guest.until(|m| m.kind == STROKE || m.kind == 2);
    assert_eq!(next.kind, 2, "{next}");
    database.set_away(false);
    assert_eq!(guest.contents_until(STROKE, b"waits"), [b"waits".to_vec()]);
}

#[test]
fn what_has_ended_does_not_come_back() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (mut one, other) = (node(&database), node(&database));
    let mut host = one.server.connect();
    let session = host.host_running("host");
    eventually("it is listed", || lists(&other.server, &session));
    drop(host);
    eventually("it has ended", || !lists(&other.server, &session));
    one.server.stop();
    let gone = "DO $$ BEGIN ASSERT (SELECT COUNT(*) FROM drawhall_sessions) = 0 \
                AND (SELECT COUNT(*) FROM drawhall_session_data) = 0; END $$";
    database.execute(gone);
}

#[test]
fn a_restored_session_is_shared_again() {
    let Some(database) = PostgresDatabase::create() else { return };
    let directory = tempfile::tempdir().unwrap();
    let restoring = options(&database.url(), directory.path());
    let one = TestServer::start_with("", ServeOptions { keep_ended: true, admin_port: Some(0), ..restoring });
    let other = node(&database);
    let mut host = one.connect();
    let session = host.host_running("host");
    draw(&mut host, b"before the end");
    drop(host);
    eventually("it has ended", || !lists(&one, &session));
    let path = format!("/api/ended/{session}/restore");
    let restored = || request(one.admin.unwrap(), "POST", &path, "", None).status;
    eventually("it can be restored", || restored() == 200);
    let (mut guest, _) = rejoin(&other.server, "guest", &session, "");
    assert_eq!(guest.contents_until(STROKE, b"before the end"), [b"before the end".to_vec()]);
}

#[test]
fn resets_are_taken_over() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (mut one, other) = (node(&database), node(&database));
    let mut host = one.server.connect();
    let session = host.host_running("host");
    draw(&mut host, b"old");
    host.command("reset-session", json!([]), json!({}));
    host.reply(|v| v["state"] == "init" || v["type"] == "reset");
    host.send(STROKE, 1, &[5; 40_000]);
    host.command("init-complete", json!([]), json!({}));
    draw(&mut host, b"new");
    one.server.stop();
    let (mut back, _) = rejoin(&other.server, "host", &session, "");
    assert_eq!(back.contents_until(STROKE, b"new"), [vec![5; 40_000], b"new".to_vec()]);
}

fn run_cluster(database: &PostgresDatabase, action: &str, directory: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drawhall"));
    command.args(["cluster", action]).arg(directory).env("DRAWHALL_CLUSTER", database.url());
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[test]
fn sessions_move_from_a_directory_to_the_database_and_back() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut alone = TestServer::storing("", from.path());
    let mut host = alone.connect();
    let session = host.host_running("host");
    draw(&mut host, b"first");
    draw(&mut host, b"second");
    let refused = run_cluster(&database, "import-sessions", from.path());
    assert!(refused.contains("is empty"), "{refused}");
    let node = node(&database);
    let refused = run_cluster(&database, "import-sessions", from.path());
    assert!(refused.contains("in use by another server"), "{refused}");
    alone.stop();
    // The last message is incomplete, as after a crash.
    let history = std::fs::read_dir(from.path()).unwrap().flatten().map(|entry| entry.path());
    let history = history.into_iter().find(|path| path.extension().is_some_and(|e| e == "dprec")).unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(history).unwrap();
    std::io::Write::write_all(&mut file, &[0, 200, STROKE, 1, 7, 7, 7]).unwrap();
    let done = run_cluster(&database, "import-sessions", from.path());
    assert!(done.contains("1 sessions were imported") && !done.contains("were not"), "{done}");
    let again = run_cluster(&database, "import-sessions", from.path());
    assert!(again.contains("in the database already") && again.contains("were not imported"), "{again}");

    // As after a take-over that failed half-way.
    database.execute("UPDATE drawhall_sessions SET owner = (SELECT incarnation FROM drawhall_nodes)");
    let (mut guest, _) = rejoin(&node.server, "guest", &session, "");
    let both = [b"first".to_vec(), b"second".to_vec()];
    assert_eq!(guest.contents_until(STROKE, b"second"), both);
    draw(&mut guest, b"third");
    let done = run_cluster(&database, "export-sessions", to.path());
    assert!(done.contains("1 sessions were written"), "{done}");
    let refused = run_cluster(&database, "export-sessions", to.path());
    assert!(refused.contains("has sessions already"), "{refused}");
    let back = TestServer::storing("", to.path());
    let (mut guest, _) = rejoin(&back, "guest", &session, "");
    assert_eq!(guest.contents_until(STROKE, b"third"), [&both[..], &[b"third".to_vec()]].concat());
    let mut status = Command::new(env!("CARGO_BIN_EXE_drawhall"));
    let status = status.args(["cluster", "status"]).env("DRAWHALL_CLUSTER", database.url()).output().unwrap();
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("shared sessions: 1, 0 of them without an owner"), "{status}");
}

#[test]
fn what_cannot_be_imported_is_named_and_nothing_is_changed() {
    let Some(database) = PostgresDatabase::create() else { return };
    let from = tempfile::tempdir().unwrap();
    let mut alone = TestServer::storing("", from.path());
    let mut host = alone.connect();
    let session = host.host_running("host");
    alone.stop();
    let node = node(&database);
    let read = |name: &str| std::fs::read(from.path().join(name)).unwrap();
    let (journal, history) = (read(&format!("{session}.session")), read(&format!("{session}.dprec")));
    let copies: [(&str, &[u8]); 7] = [
        // Its journal names the history of the other session.
        ("copy.session", &journal),
        ("empty.session", b""),
        ("cut.session", b"FILE cut.dprec\n"),
        ("cut.dprec", &history[..12]),
        ("b\u{1b}[31m.session", b"FILE x\n"),
        ("orphan.times", b"1"),
        (&format!("{session}_r2.dprec"), &history),
    ];
    for (name, bytes) in copies {
        std::fs::write(from.path().join(name), bytes).unwrap();
    }
    let files = || {
        let names = std::fs::read_dir(from.path()).unwrap().flatten().map(|entry| entry.file_name());
        let names = names.map(|name| name.into_string().unwrap()).filter(|name| name != "drawhall.lock");
        names.map(|name| (read(&name), name)).collect::<std::collections::BTreeSet<_>>()
    };
    let before = files();
    let done = run_cluster(&database, "import-sessions", from.path());
    assert_eq!(files(), before);
    for line in [
        "1 sessions were imported",
        "4 sessions were not imported",
        &format!("session copy: its journal names the history {session}.dprec"),
        "session empty: ",
        "session cut: ",
        "session b[31m: ",
    ] {
        assert!(done.contains(line), "{line}: {done}");
    }
    rejoin(&node.server, "guest", &session, "");
    // As an import of earlier versions has left them.
    database.execute("DELETE FROM drawhall_session_data WHERE file LIKE '%.dprec'");
    database.execute("UPDATE drawhall_sessions SET owner = 'Z', epoch = epoch + 1");
    eventually("what has no history is not listed", || !lists(&node.server, &session));
}

#[actix_rt::test]
async fn sessions_are_shared_by_servers_with_links_and_a_directory() {
    let none = ServeOptions { cluster_sessions: true, ..ServeOptions::default() };
    let error = start(&none).map(|_| ()).unwrap_err().to_string();
    assert_eq!(error, "--cluster-sessions: it needs --cluster and --cluster-listen");
    let Some(database) = PostgresDatabase::create() else { return };
    let in_memory = ServeOptions { sessions: None, ..options(&database.url(), Path::new("")) };
    let error = start(&in_memory).map(|_| ()).unwrap_err().to_string();
    assert!(error.starts_with("--cluster-sessions: it needs --sessions DIR"), "{error}");
}
