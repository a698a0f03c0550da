//! Servers that share their sessions (`--cluster-sessions`), in this process.

use std::path::Path;

use drawhall::app::ServeOptions;
use drawhall::config::RuleSource;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::system_id;
use super::postgres::PostgresDatabase;
use super::{Client, TestServer, eventually};

pub fn options(database: &str, sessions: &Path) -> ServeOptions {
    let source = RuleSource { cluster: Some(database.parse().unwrap()), ..RuleSource::default() };
    let cluster_listen = Some("127.0.0.1:0".parse().unwrap());
    let sessions = Some(sessions.to_owned());
    ServeOptions { source, cluster_listen, cluster_sessions: true, sessions, ..ServeOptions::default() }
}

pub struct Node {
    pub server: TestServer,
    _directory: TempDir,
}

pub fn node(database: &PostgresDatabase) -> Node {
    start(&database.url(), true)
}

/// A server that `drawhall cluster` finds by this name.
pub fn named_node(database: &PostgresDatabase, name: &str) -> Node {
    start(&format!("{}&application_name={name}", database.url()), true)
}

/// A server of the cluster that shares no sessions: it relays.
pub fn edge(database: &PostgresDatabase) -> Node {
    start(&database.url(), false)
}

fn start(url: &str, cluster_sessions: bool) -> Node {
    let directory = tempfile::tempdir().unwrap();
    let options = options(url, directory.path());
    let options = ServeOptions { cluster_sessions, admin_port: Some(0), ..options };
    Node { server: TestServer::start_with("", options), _directory: directory }
}

/// Joins through a server that may not know yet where the session is. The value is the answer.
pub fn rejoin(server: &TestServer, name: &str, session: &str, hidx: &str) -> (Client, Value) {
    let mut joined = None;
    eventually("the session can be joined", || {
        let mut client = server.connect();
        client.ident(name);
        client.command("join", json!([session]), json!({"s": system_id(name), "hidx": hidx}));
        let answer = client.reply(|v| v["state"] == "join" || v["type"] == "error");
        let is_in = answer["state"] == "join";
        if is_in {
            joined = Some((client, answer));
        }
        is_in
    });
    joined.unwrap()
}
