//! Servers that stop, die and start again.

use std::process::{Child, Command};

use serde_json::json;

use crate::common::child::spawn_child;
use crate::common::postgres::PostgresDatabase;
use crate::common::{Client, eventually};
use crate::{CHILD, CHILD_SESSIONS, STROKE, ask_to_join, hosted, listed, node, wait_for};

/// A server in a process of its own, and a client of it.
fn child_of(database: &PostgresDatabase, sessions: Option<&std::path::Path>) -> (Child, Client) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(CHILD, database.url());
    if let Some(sessions) = sessions {
        command.env(CHILD_SESSIONS, sessions);
    }
    let (process, address) = spawn_child(&mut command);
    (process, Client::connect(address.unwrap().parse().unwrap()))
}

#[test]
fn clients_are_told_when_the_server_of_their_session_is_gone() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (mut one, other) = (node(&database), node(&database));
    let (_host, session) = hosted(&one, &other);
    let mut guest = other.connect();
    guest.join("guest", &session);
    let mut own = other.connect();
    let its_own = own.host_running("own");
    one.stop();
    let goodbye = guest.until(|m| m.kind == 1);
    assert_eq!(goodbye.payload[0], 2, "it stops: {goodbye}");
    let only_own = || listed(&other).iter().map(|s| s["id"].clone()).collect::<Vec<_>>() == [json!(its_own)];
    eventually("the session is no longer listed", only_own);
    let refused = ask_to_join(&mut other.connect(), "guest", &session, "");
    assert_eq!(refused["code"], "notFound");
    own.send(STROKE, 1, b"goes on");
    own.until(|m| m.kind == STROKE);
}

#[test]
fn clients_are_told_when_the_server_of_their_session_is_killed() {
    let Some(database) = PostgresDatabase::create() else { return };
    let other = node(&database);
    let (mut process, mut host) = child_of(&database, None);
    let session = host.host_running("host");
    wait_for(&other, &session);
    let (mut guest, mut lobby) = (other.connect(), other.connect());
    guest.join("guest", &session);
    assert_eq!(lobby.ident_for_list("lobby").len(), 1);
    process.kill().unwrap();
    process.wait().unwrap();
    let goodbye = guest.until(|m| m.kind == 1);
    assert!(String::from_utf8_lossy(&goodbye.payload).contains("was lost"), "{goodbye}");
    assert_eq!(lobby.reply(|v| v["remove"].is_array())["remove"], json!([session]));
    assert_eq!(ask_to_join(&mut other.connect(), "guest", &session, "")["code"], "notFound");
}

#[test]
fn a_server_that_stops_says_so_to_clients_in_sessions_of_others() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (one, mut other) = (node(&database), node(&database));
    let (mut host, session) = hosted(&one, &other);
    let mut guest = other.connect();
    let user = guest.join("guest", &session);
    other.stop();
    let goodbye = guest.until(|m| m.kind == 1);
    assert_eq!(goodbye.payload[0], 2, "{goodbye}");
    host.until(|m| m.kind == 33 && m.user == user);
}

#[test]
fn sessions_of_a_server_that_was_killed_are_joined_again_after_its_start() {
    let Some(database) = PostgresDatabase::create() else { return };
    let other = node(&database);
    let folder = tempfile::tempdir().unwrap();
    let (mut process, mut host) = child_of(&database, Some(folder.path()));
    let session = host.host_running("host");
    host.send(STROKE, 1, b"before");
    host.until(|m| m.kind == STROKE);
    wait_for(&other, &session);
    process.kill().unwrap();
    process.wait().unwrap();
    // It has another address, and the first one has not been given up yet.
    let (mut process, _) = child_of(&database, Some(folder.path()));
    let mut guest = other.connect();
    eventually("the session is there again", || {
        guest = other.connect();
        ask_to_join(&mut guest, "guest", &session, "")["state"] == "join"
    });
    assert_eq!(guest.contents_until(STROKE, b"before"), [b"before".to_vec()]);
    process.kill().unwrap();
    process.wait().unwrap();
}
