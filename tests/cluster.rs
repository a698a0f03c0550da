//! Servers that share their configuration on PostgreSQL.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::process::{Command, Output, Stdio};

use common::http::request;
use common::postgres::PostgresDatabase;
use common::{TestServer, eventually};
use drawhall::app::ServeOptions;
use drawhall::config::RuleSource;
use drawhall::db::people::PersonKey;
use drawhall::db::{Account, AccountKey, BanKind, BanTarget, Database, NewPersonBan};
use serde_json::{Value, json};

fn server(database: &PostgresDatabase) -> TestServer {
    let source = RuleSource { cluster: Some(database.url().parse().unwrap()), ..RuleSource::default() };
    let options = ServeOptions { source, admin_port: Some(0), ..ServeOptions::default() };
    TestServer::start_with("", options)
}

fn ask(server: &TestServer, method: &str, path: &str, body: Option<&Value>) -> Value {
    let answer = request(server.admin.unwrap(), method, path, "", body);
    assert_eq!(answer.status, 200, "{path}: {}", answer.json);
    answer.json
}

#[test]
fn what_one_server_changes_counts_on_the_other() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (one, other) = (server(&database), server(&database));
    ask(
        &one,
        "POST",
        "/api/accounts",
        Some(&json!({"username": "juniper", "password": "pw", "flags": "MOD"})),
    );
    eventually("the account counts", || other.ident(&json!(["juniper", "pw"]))["guest"] == false);
    assert_eq!(other.ident(&json!(["juniper", "wrong"]))["code"], "badPassword");

    ask(&one, "PUT", "/api/server", Some(&json!({"allowGuests": false})));
    eventually("guests are refused", || other.ident(&json!(["guest"]))["state"] == "needPassword");
    database.execute("DELETE FROM settings WHERE key ILIKE 'allowGuests'");
    for server in [&one, &other] {
        eventually("guests are let in", || server.ident(&json!(["guest"]))["guest"] == true);
    }

    assert!(other.may_host());
    let ban = json!({"ip": "127.0.0.0", "subnet": 8, "expires": "2099-01-01 00:00:00", "comment": ""});
    let ban = ask(&one, "POST", "/api/banlist", Some(&ban));
    eventually("the address is banned", || !other.may_host());
    ask(&other, "DELETE", &format!("/api/banlist/{}", ban["id"]), None);
    eventually("it is not banned any more", || one.may_host());
}

#[test]
fn a_server_goes_on_with_the_last_rules_while_the_database_is_away() {
    let Some(database) = PostgresDatabase::create() else { return };
    database_with_account(&database);
    let server = server(&database);
    assert_eq!(server.ident(&json!(["juniper", "pw"]))["guest"], false);
    database.set_away(true);
    // Each look fails, also those at which nothing would have been read.
    eventually("the server notices", || server.metrics.configuration_errors.get() > 10);
    assert_eq!(server.ident(&json!(["guest"]))["guest"], true);
    // Not a wrong password: the server is busy. So it is for a name that looks like an account's.
    assert_eq!(server.ident(&json!(["juniper", "pw"]))["code"], "tooManyAttempts");
    assert_eq!(server.ident(&json!(["Juniper"]))["code"], "tooManyAttempts");
    assert!(server.may_host());
    database.set_away(false);
    eventually("accounts can log in again", || server.ident(&json!(["juniper", "pw"]))["guest"] == false);
    database.execute("INSERT INTO settings (key, value) VALUES ('allowGuests', 'false')");
    eventually("changes count again", || server.ident(&json!(["guest"]))["state"] == "needPassword");
}

#[test]
#[cfg(target_os = "linux")]
fn a_server_goes_on_while_the_database_hangs() {
    let Some(database) = PostgresDatabase::on_own_server() else { return };
    database_with_account(&database);
    let server = server(&database);
    let (account, guest) = (json!(["juniper", "pw"]), json!(["guest"]));
    assert_eq!(server.ident(&account)["guest"], false);
    let hanging = database.hang();
    // More at once than there are connections to the database.
    let logins = |args: &Value| {
        let logins: Vec<_> = (0..10)
            .map(|_| {
                let mut client = server.connect();
                client.reply(|v| v["type"] == "login");
                client.command("ident", args.clone(), json!({}));
                client
            })
            .collect();
        let answers = logins.into_iter().map(|mut client| client.reply(|v| v["type"] != "status"));
        answers.collect::<Vec<_>>()
    };
    for answer in logins(&account) {
        assert_eq!(answer["code"], "tooManyAttempts", "not a wrong password: {answer}");
    }
    for answer in logins(&guest) {
        assert_eq!(answer["guest"], true, "{answer}");
    }
    assert!(server.may_host());
    drop(hanging);
    eventually("accounts can log in again", || server.ident(&account)["guest"] == false);
}

/// Starts a server once, so that there are tables, and adds an account.
fn database_with_account(database: &PostgresDatabase) {
    drop(server(database));
    database.execute("INSERT INTO users (username, password, flags) VALUES ('juniper', 'plain;pw', 'MOD')");
}

fn drawhall(args: &[&str], cluster: &str) -> Output {
    let home = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_drawhall"))
        .args(args)
        .env("XDG_DATA_HOME", home.path())
        .env("DRAWHALL_ALLOW_ROOT", "true")
        .env("DRAWHALL_CLUSTER", cluster)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// What a program has printed, and its status.
fn told(output: &Output) -> (String, Option<i32>) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (String::from_utf8(text).unwrap(), output.status.code())
}

#[test]
fn accounts_and_settings_are_read_and_changed_from_the_shell() {
    let Some(database) = PostgresDatabase::create() else { return };
    database_with_account(&database);
    let url = database.url();
    let (text, status) = told(&drawhall(&["account", "list"], &url));
    assert!(text.contains("juniper") && status == Some(0), "{text}");
    let (text, status) = told(&drawhall(&["account", "set", "juniper", "--lock"], &url));
    assert!(text.starts_with("changed juniper in postgres://drawhall@") && status == Some(0), "{text}");
    let (text, _) = told(&drawhall(&["account", "list", "--cluster", &url], ""));
    assert!(text.contains("locked"), "{text}");
    database.execute("INSERT INTO settings (key, value) VALUES ('serverTitle', 'Shared')");
    let (text, status) = told(&drawhall(&["config"], &url));
    assert!(text.contains("Shared  (postgres://drawhall@") && status == Some(0), "{text}");
}

#[test]
fn a_database_of_sqlite_is_imported_once_with_its_ids() {
    let Some(database) = PostgresDatabase::create() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.db");
    let sqlite = Database::open(&file).unwrap();
    let account = |name: &str| Account {
        id: 0,
        name: name.into(),
        hash: "plain;pw".into(),
        locked: name == "b",
        flags: vec!["MOD".into()],
    };
    for name in ["a", "b", "c"] {
        sqlite.add_account(&account(name)).unwrap();
    }
    sqlite.remove_account(AccountKey::Name("c")).unwrap();
    sqlite.set_settings(&[("serverTitle", "Tïtle"), ("_other", "kept")]).unwrap();
    sqlite.set_listing_servers(&["^a".to_owned(), "b".to_owned()]).unwrap();
    sqlite.switch_ext_ban(7, false).unwrap();
    let key = sqlite.key("cookies", &[0, 1, 255]).unwrap();
    let targets =
        [(BanKind::Address, "192.0.2.0", 24), (BanKind::System, "abc", 0), (BanKind::User, "42", 0)];
    let targets = targets.map(|(kind, subject, subnet)| BanTarget { kind, subject: subject.into(), subnet });
    let ban = NewPersonBan {
        name: "Troll".into(),
        reason: "spam".into(),
        expires: "2999-01-01 00:00:00".into(),
        targets: targets.into(),
        ..NewPersonBan::default()
    };
    sqlite.add_person_ban(&ban, 0).unwrap();
    sqlite.add_note(&PersonKey::Device("abc".into()), "a", "look", 0).unwrap();

    let url = database.url();
    let from = folder.path().display().to_string();
    let (text, status) = told(&drawhall(&["cluster", "import", &from], &url));
    assert!(text.contains("users: 2\n") && status == Some(0), "{text}");
    let shared = Database::connect(&url.parse().unwrap(), &[]).unwrap();
    assert_eq!(shared.snapshot(0).unwrap(), sqlite.snapshot(0).unwrap());
    assert_eq!(shared.accounts().unwrap(), sqlite.accounts().unwrap());
    assert_eq!(shared.person_bans().unwrap(), sqlite.person_bans().unwrap());
    assert_eq!(shared.key("cookies", &[]).unwrap(), key);
    let person = PersonKey::Device("abc".into());
    assert_eq!(shared.person(&person).unwrap().notes, sqlite.person(&person).unwrap().notes);
    // Ids go on where they were.
    assert_eq!(shared.add_account(&account("d")).unwrap().id, 4);
    assert_eq!(shared.add_note(&person, "a", "again", 0).unwrap().unwrap().id, 2);

    let (text, status) = told(&drawhall(&["cluster", "import", &from], &url));
    assert!(text.contains("is not empty") && status == Some(1), "{text}");
    assert_eq!(shared.accounts().unwrap().len(), 3);
}

#[test]
fn the_status_names_servers_that_are_connected() {
    let Some(database) = PostgresDatabase::create() else { return };
    let status = || told(&drawhall(&["cluster", "status"], &database.url())).0;
    assert!(status().contains("is empty"), "{}", status());
    let server = server(&database);
    eventually("the server is there", || status().contains("servers connected: 1\n  drawhall "));
    assert!(status().contains("accounts: 0\n"), "{}", status());
    drop(server);
    eventually("it is gone", || status().contains("servers connected: 0\n"));
}

#[test]
fn checks_write_nothing() {
    let Some(database) = PostgresDatabase::create() else { return };
    let (text, status) = told(&drawhall(&["config", "--check"], &database.url()));
    assert_eq!((text.as_str(), status), ("no problems found\n", Some(0)));
    // Fails if there is a table of this name.
    database.execute("CREATE TABLE settings (x integer)");
}

#[test]
fn a_start_without_the_database_fails_and_no_message_has_the_password() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().display().to_string().replace('/', "%2F");
    let nowhere = format!("postgres://drawhall:geheim@{socket}/drawhall?password=geheim");
    let options = ["", "&sslmode=allow", "&unknown=geheim"];
    for more in options {
        for command in [&["--port", "0"][..], &["config"], &["config", "--check"], &["account", "list"]] {
            let (text, status) = told(&drawhall(command, &format!("{nowhere}{more}")));
            assert_eq!(status, Some(1), "{command:?} {more}: {text}");
            assert!(!text.contains("geheim"), "{command:?} {more}: {text}");
            assert!(
                text.contains("--cluster")
                    || text.contains("DRAWHALL_CLUSTER")
                    || text.contains("cannot use"),
                "{text}"
            );
        }
    }
}
