//! Passwords and names: what guesses and questions cost, and who can be taken for whom.

use std::io::ErrorKind;

use drawhall::config::RuleSource;
use drawhall::db::{Account, BanKind, BanRow, Database};
use drawhall::rules::password;
use serde_json::{Value, json};

use super::common::{Client, TestServer};
use super::{GOODBYE, from, server};

/// Takes some seconds to check, so that what waits for it can be told from what does not.
const SLOW: &str = "sodium;$argon2id$v=19$m=65536,t=60,p=1$MDEyMzQ1Njc4OWFiY2RlZg$\
    cIgqkDJDZ5Cd3/HVK3rKhsc8kkpXaOcNI5eXCwKdfFk";
/// Takes some hundredths of a second.
const COSTLY: &str = "sodium;$argon2id$v=19$m=32768,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$\
    cIgqkDJDZ5Cd3/HVK3rKhsc8kkpXaOcNI5eXCwKdfFk";

/// A client from elsewhere that has read the greeting.
fn greeted(server: &TestServer, address: &str) -> Client {
    let mut client = from(server, address);
    client.reply(|v| v["type"] == "login");
    client
}

fn answer(client: &mut Client) -> String {
    let answer = client.reply(|v| v["type"] == "error" || v["type"] == "result");
    answer["code"].as_str().or(answer["state"].as_str()).unwrap_or_default().to_owned()
}

fn ident(client: &mut Client, args: Value) -> String {
    client.command("ident", args, json!({}));
    answer(client)
}

/// Whether nothing has come for a client yet.
fn waits(client: &Client) -> bool {
    client.socket().set_nonblocking(true).unwrap();
    let nothing = client.socket().peek(&mut [0; 1]).is_err_and(|e| e.kind() == ErrorKind::WouldBlock);
    client.socket().set_nonblocking(false).unwrap();
    nothing
}

fn from_elsewhere(server: &TestServer, address: &str, name: &str, id: &str) -> Client {
    let mut client = from(server, address);
    client.join(name, id);
    client
}

fn guess(client: &mut Client, word: &str) -> String {
    client.command("gain-op", json!([word]), json!({}));
    client.reply(|v| v["type"] == "error")["message"].as_str().unwrap().to_owned()
}

#[test]
fn whether_a_name_needs_a_password_is_told_while_others_wait_for_their_check() {
    let server = server(&format!("[users]\nslow:{SLOW}:\n"));
    let mut checked: Vec<Client> = (1..=2).map(|n| greeted(&server, &format!("192.0.2.{n}"))).collect();
    for client in &mut checked {
        client.command("ident", json!(["slow", "wrong"]), json!({}));
    }
    for n in 0..10 {
        assert_eq!(ident(&mut greeted(&server, &format!("198.51.100.{n}")), json!(["slow"])), "needPassword");
    }
    assert!(checked.iter().all(waits), "both checks still run");
    assert!(checked.iter_mut().all(|client| answer(client) == "badPassword"));
}

#[test]
fn so_many_passwords_wait_and_one_address_holds_no_other_up() {
    let server = server(&format!(
        "passwordRateLimit=0\nloginRateLimit=0\nconnectionsPerAddress=0\n[users]\na:{COSTLY}:\n"
    ));
    let mut flood: Vec<Client> = (0..160).map(|_| greeted(&server, "192.0.2.1")).collect();
    let mut other = greeted(&server, "2001:db8::1");
    for client in &mut flood {
        client.command("ident", json!(["a", "wrong"]), json!({}));
    }
    // The last of them was refused: the queue is full.
    let last = flood.last_mut().unwrap();
    assert_eq!(answer(last), "tooManyAttempts");
    assert_eq!(last.rest().last().map(|m| m.kind), Some(GOODBYE));
    assert_eq!(ident(&mut other, json!(["a", "wrong"])), "badPassword");
    let unanswered = flood.iter().filter(|client| waits(client)).count();
    assert!(unanswered > 30, "{unanswered}");
    let answers: Vec<String> = flood[..159].iter_mut().map(answer).collect();
    let count = |code: &str| answers.iter().filter(|a| *a == code).count();
    assert!(count("tooManyAttempts") > 0 && count("badPassword") >= 60, "{answers:?}");
}

#[test]
fn opwords_are_guessed_by_addresses_and_not_by_connections() {
    let server = server("passwordRateLimit=3\n[users]\nalice:plain;right:MOD");
    let mut host = server.connect();
    let id = host.host_running("A");
    host.command("sessionconf", json!([]), json!({"opword": "right"}));
    let mut two = ["g1", "g2"].map(|name| from_elsewhere(&server, "192.0.2.1", name, &id));
    assert!(guess(&mut two[0], "wrong").contains("Incorrect password"));
    assert!(guess(&mut two[1], "wrong").contains("Incorrect password"));
    // A guess at an account's password counts for the same.
    assert_eq!(ident(&mut greeted(&server, "192.0.2.1"), json!(["alice", "wrong"])), "badPassword");
    assert!(guess(&mut two[0], "right").contains("Too many passwords"));
    drop(two);
    let mut again = from_elsewhere(&server, "192.0.2.1", "g3", &id);
    assert!(guess(&mut again, "right").contains("Too many passwords"), "coming back does not help");
    let mut other = from_elsewhere(&server, "192.0.2.2", "other", &id);
    other.command("gain-op", json!(["right"]), json!({}));
    other.reply(|v| v["T"] == "opgive");
}

#[test]
fn all_addresses_together_guess_a_sessions_opword_four_times_as_often_as_one() {
    let server = server("passwordRateLimit=2");
    let mut host = server.connect();
    let id = host.host_running("A");
    host.command("sessionconf", json!([]), json!({"opword": "right"}));
    let mut guesses = Vec::new();
    for n in 1..=6 {
        let mut client = from_elsewhere(&server, &format!("192.0.2.{n}"), &format!("g{n}"), &id);
        guesses.extend([guess(&mut client, "wrong"), guess(&mut client, "wrong")]);
    }
    assert_eq!(guesses.iter().filter(|g| g.contains("Incorrect password")).count(), 8, "{guesses:?}");
}

#[test]
fn the_tenth_wrong_opword_ends_the_connection() {
    let server = server("passwordRateLimit=0");
    let mut host = server.connect();
    let id = host.host_running("A");
    host.command("sessionconf", json!([]), json!({"opword": "right"}));
    let mut client = from_elsewhere(&server, "192.0.2.1", "B", &id);
    for _ in 0..10 {
        assert!(guess(&mut client, "wrong").contains("Incorrect password"));
    }
    let last = client.rest().pop().unwrap();
    assert_eq!((last.kind, &last.payload[..]), (GOODBYE, &b"\0Incorrect password"[..]));
}

#[test]
fn stored_sessions_check_a_password_once_for_all_who_come_back_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = "passwordRateLimit=0\nloginRateLimit=0";
    let id = {
        let mut server = TestServer::storing(config, folder.path());
        let mut host = server.connect();
        let id = host.host_running("A");
        host.command("sessionconf", json!([]), json!({"password": "sesame"}));
        host.reply(|v| v["config"]["hasPassword"] == true);
        // While the host is in it: the session would end with the last who leaves.
        server.stop();
        id
    };
    let server = TestServer::storing(config, folder.path());
    let mut all: Vec<Client> = (0..100)
        .map(|n| {
            let mut client = server.connect();
            client.ident(&format!("u{n}"));
            client
        })
        .collect();
    for (n, client) in all.iter_mut().enumerate() {
        client.command("join", json!([id]), json!({"password": "sesame", "s": format!("{n:0>32x}")}));
    }
    // More than may wait for a check, and nobody is told to come later.
    let states: Vec<String> = all.iter_mut().map(answer).collect();
    assert!(states.iter().all(|state| state == "join"), "{states:?}");
}

#[test]
fn names_that_hide_something_are_nobodys() {
    let server = server("loginRateLimit=0");
    for name in [
        "ok ",
        " ",
        "host\u{200b}",
        "\u{202e}reversed",
        "\u{1b}[31mEVIL\u{1b}[0m\nx",
        "\u{3164}",
        "a\u{2028}b",
        "\u{feff}a",
    ] {
        let mut client = greeted(&server, "192.0.2.1");
        assert_eq!(ident(&mut client, json!([name])), "badUsername", "{name:?}");
        assert_eq!(client.rest().last().map(|m| m.kind), Some(GOODBYE));
    }
    for name in ["O'Neil x", "名無し", "می\u{200c}خواهم", "👩\u{200d}🎨", "ＡＢＣ"] {
        assert_eq!(ident(&mut greeted(&server, "192.0.2.1"), json!([name])), "identOk", "{name:?}");
    }
}

#[test]
fn nobody_is_taken_for_somebody_else() {
    let server = server("loginRateLimit=0\n[users]\nBoss:plain;secret:MOD\nstraße:plain;secret:\n");
    for name in ["boss", "BOSS", "Ｂoss", "STRASSE", "strasse"] {
        assert_eq!(ident(&mut greeted(&server, "192.0.2.1"), json!([name])), "nameInuse", "{name:?}");
        assert_eq!(
            ident(&mut greeted(&server, "192.0.2.1"), json!([name, "secret"])),
            "nameInuse",
            "{name:?}"
        );
    }
    assert_eq!(ident(&mut greeted(&server, "192.0.2.1"), json!(["Boss", "secret"])), "identOk");
    let mut host = server.connect();
    let id = host.host_running("Café");
    let join = |name: &str| {
        let mut client = from(&server, "192.0.2.1");
        client.ident(name);
        client.command("join", json!([id]), json!({"s": "f".repeat(32)}));
        answer(&mut client)
    };
    for name in ["CAFE\u{301}", "ｃａｆé"] {
        assert_eq!(join(name), "nameInuse", "{name:?}");
    }
    assert_eq!(join("cafe"), "join");
}

/// A server with a database in which somebody has worked by hand.
fn with_accounts(accounts: &[(&str, &str)]) -> (tempfile::TempDir, TestServer) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.db");
    let database = Database::open(&path).unwrap();
    for (name, hash) in accounts {
        let account = Account {
            name: (*name).into(),
            hash: (*hash).into(),
            id: 0,
            locked: false,
            flags: vec!["MOD".into()],
        };
        database.add_account(&account).unwrap();
    }
    let source = RuleSource { database: Some(path), ..RuleSource::default() };
    let options = drawhall::app::ServeOptions { source, ..Default::default() };
    (folder, TestServer::start_with("", options))
}

#[test]
fn an_account_without_a_password_is_nobodys() {
    let of_nothing = password::hash("").unwrap();
    let (_folder, server) = with_accounts(&[("boss", ""), ("plain", "plain;"), ("nothing", &of_nothing)]);
    for name in ["boss", "plain", "nothing"] {
        let mut client = server.connect();
        client.reply(|v| v["type"] == "login");
        assert_eq!(ident(&mut client, json!([name])), "needPassword", "{name}");
        assert_eq!(ident(&mut client, json!([name, ""])), "needPassword", "{name}");
        assert_eq!(ident(&mut client, json!([name, "x"])), "badPassword", "{name}");
    }
}

/// What somebody who tries to host is told.
fn goodbye_of_host(mut client: Client, sid: &str) -> String {
    client.ident("somebody");
    client.command("host", json!([]), json!({"protocol": "dp:4.24.0", "user_id": 1, "s": sid}));
    let last = client.rest().pop().unwrap();
    assert_eq!((last.kind, last.payload[0]), (GOODBYE, 0));
    String::from_utf8(last.payload[1..].to_vec()).unwrap()
}

#[test]
fn who_is_banned_is_told_until_when_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.db");
    let database = Database::open(&path).unwrap();
    let ban = |kind, subject: &str, expires: &str, reason: &str| {
        let (subject, expires) = (subject.to_owned(), expires.to_owned());
        let row = BanRow {
            subject,
            expires,
            reason: reason.into(),
            reaction: "normal".into(),
            ..BanRow::default()
        };
        database.add_ban(kind, row, 0).unwrap();
    };
    let sid = |n: u32| format!("{n:0>32x}");
    ban(BanKind::Address, "192.0.2.1", "2099-01-01 00:00:00", "");
    ban(BanKind::Address, "192.0.2.2", "9999-12-31 23:59:59", "");
    ban(BanKind::System, &sid(1), "2099-01-01 00:00:00", "Because");
    ban(BanKind::System, &sid(2), "2099-01-01 00:00:00", "");
    ban(BanKind::System, &sid(3), "9999-12-31 23:59:59", "Trolling");
    ban(BanKind::System, &sid(4), "9999-12-31 23:59:59", "");
    let source = RuleSource { database: Some(path), ..RuleSource::default() };
    let options = drawhall::app::ServeOptions { source, ..Default::default() };
    let server = TestServer::start_with("", options);
    let told = |address: &str, n: u32| goodbye_of_host(from(&server, address), &sid(n));
    assert_eq!(told("192.0.2.1", 9), "Banned from this server until 2099-01-01");
    assert_eq!(told("192.0.2.2", 9), "Permanently banned from this server");
    assert_eq!(told("192.0.2.9", 1), "Banned from this server until 2099-01-01: Because");
    assert_eq!(told("192.0.2.9", 2), "Banned from this server until 2099-01-01");
    assert_eq!(told("192.0.2.9", 3), "Permanently banned from this server: Trolling");
    assert_eq!(told("192.0.2.9", 4), "Permanently banned from this server");
}

#[test]
fn accounts_of_before_keep_names_that_nobody_could_choose_now() {
    let (_folder, server) = with_accounts(&[("bob ", "plain;pw")]);
    let mut client = server.connect();
    client.reply(|v| v["type"] == "login");
    assert_eq!(ident(&mut client, json!(["bob ", "pw"])), "identOk");
    let mut guest = server.connect();
    guest.reply(|v| v["type"] == "login");
    assert_eq!(ident(&mut guest, json!(["bob"])), "nameInuse");
}
