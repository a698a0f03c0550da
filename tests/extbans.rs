//! Bans that are fetched from elsewhere, by a whole server.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::path::Path;

use common::elsewhere::{Elsewhere, Reply};
use common::{TestServer, eventually};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;
use drawhall::app::ServeOptions;
use drawhall::config::RuleSource;
use drawhall::db::Database;
use serde_json::{Value, json};

/// Path of ban servers.
const BANS: &str = "/bans";

/// Serves a list of bans with an `ETag`.
fn ban_server() -> Elsewhere {
    Elsewhere::start(|asked| {
        if asked.header("if-none-match") == Some("\"v1\"") {
            return Reply::of(304, "");
        }
        Reply { etag: Some("\"v1\""), ..Reply::of(200, loopback()) }
    })
}

fn loopback() -> Value {
    json!({"bans": [
        {"id": 5, "ips": [{"from": "127.0.0.1", "to": "127.0.0.1"}], "expires": "2099-01-01 00:00:00"},
        {"id": 0},
    ]})
}

fn by_hand(database: &Path, sql: &str) {
    let mut connection = SqliteConnection::establish(database.to_str().unwrap()).unwrap();
    connection.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
    connection.batch_execute(sql).unwrap();
}

fn with_database(path: &Path) -> TestServer {
    let source = RuleSource { database: Some(path.into()), ..RuleSource::default() };
    TestServer::start_with("", ServeOptions { source, ..ServeOptions::default() })
}

#[test]
fn bans_are_fetched_and_can_be_switched_off_by_their_url() {
    let bans = ban_server();
    let server = TestServer::start(&format!("extBansUrl={}\n", bans.url(BANS)));
    eventually("the address is banned", || !server.may_host());
    let asked = bans.of("GET");
    assert_eq!((asked.len(), asked[0].path.as_str(), asked[0].header("if-none-match")), (1, BANS, None));
    std::fs::write(&server.config, "serverTitle=x\n").unwrap();
    eventually("the address is free again", || server.may_host());
}

#[test]
fn bans_hold_after_a_restart_without_network_and_single_ones_can_be_switched_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.db");
    let database = Database::open(&path).unwrap();
    let mut server = {
        let bans = ban_server();
        database.set_settings(&[("extBansUrl", &bans.url(BANS))]).unwrap();
        let mut server = with_database(&path);
        eventually("the address is banned", || !server.may_host());
        server.stop();
        // What is known is not sent again.
        let server = with_database(&path);
        eventually("it is asked again", || bans.asked().len() == 2);
        assert_eq!(bans.of("GET")[1].header("if-none-match"), Some("\"v1\""));
        server
    };
    assert!(!server.may_host());
    server.stop();
    let server = with_database(&path);
    assert!(!server.may_host(), "it holds although nobody answers");
    by_hand(&path, "INSERT INTO disabledextbans VALUES (5)");
    eventually("the ban is switched off", || server.may_host());
    by_hand(&path, "DELETE FROM disabledextbans");
    eventually("the ban is switched on again", || !server.may_host());
}
