//! The configuration database of a running server: adopted as it is, and edited by hand.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::path::Path;
use std::time::Duration;

use common::{SID, TestServer, eventually, golden};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;
use drawhall::app::ServeOptions;
use drawhall::config::RuleSource;
use drawhall::db::Database;
use drawhall::rules::password;
use drawhall::tools::account;
use serde_json::{Value, json};

fn server(database: &Path) -> TestServer {
    let source = RuleSource { database: Some(database.into()), ..RuleSource::default() };
    TestServer::start_with("", ServeOptions { source, ..ServeOptions::default() })
}

fn by_hand(database: &Path, sql: &str) {
    let mut connection = SqliteConnection::establish(database.to_str().unwrap()).unwrap();
    connection.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
    connection.batch_execute(sql).unwrap();
}

#[test]
fn hand_edits_count_for_the_next_login() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.db");
    let server = server(&path);
    assert_eq!(server.ident(&json!(["hand", "pw"]))["guest"], true);
    by_hand(
        &path,
        "INSERT INTO users (username, password, locked, flags) VALUES ('hand', 'plain;pw', 0, 'MOD')",
    );
    eventually("the account counts", || server.ident(&json!(["hand", "pw"]))["guest"] == false);
    let flags = server.ident(&json!(["hand", "pw"]))["flags"].as_array().unwrap().clone();
    assert!(flags.contains(&json!("MOD")), "{flags:?}");
    assert_eq!(server.ident(&json!(["hand", "wrong"]))["code"], "badPassword");
    by_hand(&path, "UPDATE users SET locked = 1");
    assert_eq!(server.ident(&json!(["hand", "pw"]))["code"], "bannedName");
    by_hand(&path, "UPDATE users SET locked = 0, password = '*plain;pw'");
    assert_eq!(server.ident(&json!(["hand", "pw"]))["code"], "badPassword");

    by_hand(&path, "INSERT INTO settings VALUES ('allowGuests', 'false')");
    eventually("guests are refused", || server.ident(&json!(["guest"]))["state"] == "needPassword");
    by_hand(&path, "DELETE FROM settings");
    eventually("guests are let in", || server.ident(&json!(["guest"]))["guest"] == true);

    assert!(server.may_host());
    by_hand(&path, "INSERT INTO ipbans VALUES ('127.0.0.0', 8, '2099-01-01', NULL, NULL)");
    eventually("the address is banned", || !server.may_host());
    by_hand(&path, "UPDATE ipbans SET expires = datetime('now', '+2 seconds')");
    eventually("the ban ends by itself", || server.may_host());
    by_hand(
        &path,
        &format!("INSERT INTO systembans (sid, expires, added) VALUES ('{SID}', '2099-01-01', 'x')"),
    );
    eventually("the system is banned", || !server.may_host());
}

#[test]
fn accounts_made_at_the_shell_can_log_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.db");
    let server = server(&path);
    let database = Database::open(&path).unwrap();
    account::add(&database, "Álice", &["mod".into()], "secret").unwrap();
    assert!(account::add(&database, "Álice", &[], "x").is_err());
    assert!(account::add(&database, "no\"name", &[], "x").is_err());
    eventually("the account counts", || server.ident(&json!(["Álice", "secret"]))["guest"] == false);
    let change = account::Change { locked: Some(true), ..account::Change::default() };
    account::set(&database, "Álice", change).unwrap();
    assert_eq!(server.ident(&json!(["Álice", "secret"]))["code"], "bannedName");
    assert_eq!(account::list(&database, false).unwrap(), "   1  Álice                   MOD  locked\n");
    assert!(password::verify("secret", &database.account("Álice").unwrap().unwrap().hash));
}

#[test]
fn accounts_that_differ_by_case_only_both_log_in_and_nobody_else_under_such_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.db");
    drop(Database::open(&path).unwrap());
    by_hand(&path, "INSERT INTO users VALUES ('Bob', 'plain;one', 0, 'MOD'), ('bob', 'plain;two', 0, '')");
    let server = server(&path);
    for (name, password) in [("Bob", "one"), ("bob", "two")] {
        assert_eq!(server.ident(&json!([name, password]))["guest"], false, "{name}");
        assert_eq!(server.ident(&json!([name]))["state"], "needPassword", "{name}");
    }
    assert_eq!(server.ident(&json!(["Bob", "two"]))["code"], "badPassword");
    for name in ["BOB", "ｂｏｂ"] {
        assert_eq!(server.ident(&json!([name, "one"]))["code"], "nameInuse", "{name}");
    }
}

#[test]
fn a_database_of_the_reference_works_as_it_is() {
    let Some(golden) = golden() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.db");
    std::fs::write(&path, std::fs::read(golden.join("storage/config.db")).unwrap()).unwrap();
    let server = server(&path);
    let admin = server.ident(&json!(["admin", "secret"]));
    assert!(admin["flags"].as_array().unwrap().contains(&json!("MOD")), "{admin}");
    assert_eq!(server.ident(&json!(["bob", "pw"]))["guest"], false);
}

#[test]
fn what_people_type_into_a_database_counts_as_in_the_reference() {
    let Some(golden) = golden() else { return };
    let steps: Value =
        serde_json::from_slice(&std::fs::read(golden.join("config/hand.steps.json")).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.db");
    let server = server(&path);
    for step in steps.as_array().unwrap() {
        if let Some(sql) = step["sql"].as_str() {
            by_hand(&path, sql);
        }
        if let Some(login) = step["login"].as_array() {
            let expected = &login[1];
            // Whether there is any account is looked at some times a second.
            std::thread::sleep(Duration::from_millis(300));
            let answer = server.ident(&login[0]);
            // drawpile-srv lets everybody in.
            let refused = match step["note"].as_str() {
                Some("empty hash") => Some(("state", "needPassword")),
                Some("case of the name") => Some(("code", "nameInuse")),
                _ => None,
            };
            if let Some((member, value)) = refused {
                assert_eq!(answer[member], value, "{step}");
                continue;
            }
            assert_eq!(answer.get("code").unwrap_or(&Value::Null), &expected["code"], "{step}");
            assert_eq!(answer.get("state").unwrap_or(&Value::Null), &expected["state"], "{step}");
            assert_eq!(answer.get("guest").unwrap_or(&Value::Null), &expected["guest"], "{step}");
        }
        if let Some(attempt) = step["host attempt"].as_array() {
            std::thread::sleep(Duration::from_millis(300));
            assert_eq!(host_with_step_sid(&server), attempt.len() == 2, "{step}");
        }
    }
}

fn host_with_step_sid(server: &TestServer) -> bool {
    let mut client = server.connect();
    client.ident("guest");
    let sid = format!("{:0>32}", "4d");
    client.command("host", json!([]), json!({"protocol": "dp:4.24.0", "user_id": 1, "s": sid}));
    client.rest_until(|v| v["state"] == "host")
}
