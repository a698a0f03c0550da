//! `drawhall ctl`, as a program, against a server: bans by name, the log, settings and their defaults, a stop.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::http::request;
use common::{TestServer, database_source, eventually};
use drawhall::admin::AccessRules;
use drawhall::app::ServeOptions;
use drawhall::db::{Account, LogRow};
use serde_json::{Value, json};

/// A server with a database.
fn server(folder: &tempfile::TempDir, access: AccessRules) -> TestServer {
    let source = database_source(folder.path());
    let options =
        ServeOptions { source, admin_port: Some(0), admin_access: access, ..ServeOptions::default() };
    TestServer::start_with("", options)
}

/// What the program says, and whether it succeeded.
fn ctl(server: &TestServer, args: &[&str]) -> (String, bool) {
    let url = format!("http://{}", server.admin.unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_drawhall"));
    let out = command.args(["ctl", "--url", &url]).args(args).output().unwrap();
    let said = if out.status.success() { out.stdout } else { out.stderr };
    (String::from_utf8(said).unwrap(), out.status.success())
}

fn fine(server: &TestServer, args: &[&str]) -> String {
    let (said, fine) = ctl(server, args);
    assert!(fine, "{args:?}: {said}");
    said
}

fn log_line(timestamp: &str, user: &str, message: &str) -> LogRow {
    LogRow {
        timestamp: timestamp.into(),
        level: 2,
        topic: "Join".into(),
        user: user.into(),
        session: String::new(),
        message: message.into(),
    }
}

#[test]
fn somebody_is_banned_by_name_for_a_time_and_disconnected() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder, AccessRules::default());
    let mut host = server.connect();
    let id = host.host_running("Host");
    let mut troll = server.connect();
    troll.join("Troll", &id);
    let said = fine(&server, &["ban", "Troll", "--for", "7d", "--kick"]);
    assert_eq!(said, "added ban 1: 127.0.0.1 for 7d, disconnected 1\n");
    assert_eq!(troll.rest().last().map(|m| m.kind), Some(1), "the troll is told why it ends");
    let bans: Value = serde_json::from_str(&fine(&server, &["bans", "--json"])).unwrap();
    assert_eq!((&bans[0]["ip"], &bans[0]["comment"]), (&json!("127.0.0.1"), &json!("Troll")));
    let now = jiff::Timestamp::now().as_second();
    let end = format!("{}Z", bans[0]["expires"].as_str().unwrap().replace(' ', "T"));
    let left = end.parse::<jiff::Timestamp>().unwrap().as_second() - now;
    assert!((7 * 86_400 - 60..=7 * 86_400 + 60).contains(&left), "{left}");
}

#[test]
fn somebody_who_has_left_is_banned_by_the_address_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder, AccessRules::default());
    let rows = [
        log_line("2026-11-26T20:00:00Z", "3;192.0.2.1;Vandal", "Joined"),
        log_line("2026-11-26T20:10:00Z", "4;192.0.2.2;Vandal of old", "Joined"),
        log_line("2026-11-26T20:20:00Z", "5;2001:db8::7;Vandal", "Joined"),
    ];
    server.log.append_log(&rows).unwrap();
    let said = fine(&server, &["ban", "Vandal", "--for", "12h"]);
    assert_eq!(said, "added ban 1: 2001:db8::7/64 for 12h\n");
    let (said, fine) = ctl(&server, &["ban", "Nobody"]);
    assert!(!fine && said.contains("nobody called 'Nobody' is connected or in the log"), "{said}");
    let (said, fine) = ctl(&server, &["ban", "Vandal", "--for", "soon"]);
    assert!(!fine && said.contains("expected a time such as 10m, 12h or 7d"), "{said}");
}

#[test]
fn the_log_is_filtered_by_user_and_time_over_more_than_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder, AccessRules::default());
    let rows: Vec<LogRow> = (0..250)
        .map(|n| {
            let time = format!("2020-01-01T{:02}:{:02}:00Z", n / 60, n % 60);
            log_line(
                &time,
                &format!("1;192.0.2.{};{}", n % 2, if n % 2 == 0 { "Ann" } else { "Bo" }),
                &format!("line {n}."),
            )
        })
        .collect();
    server.log.append_log(&rows).unwrap();
    let lines = |args: &[&str]| {
        let said = fine(&server, &[&["log", "--before", "2020-01-02"], args].concat());
        said.lines().map(|line| line.split(": ").last().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(lines(&[]).len(), 100);
    let many = lines(&["--lines", "230"]);
    assert_eq!((many.len(), many[0].as_str(), many[229].as_str()), (230, "line 20.", "line 249."));
    assert_eq!(lines(&["--user", "Bo", "--lines", "2"]), ["line 247.", "line 249."]);
    assert_eq!(lines(&["--after", "2020-01-01T04:07"]), ["line 248.", "line 249."]);
    assert_eq!(lines(&["--before", "2020-01-01T00:01"]), ["line 0.", "line 1."]);
    assert!(fine(&server, &["log", "--after", "1h"]).lines().all(|line| !line.contains("line ")));
}

#[test]
fn settings_go_back_to_their_default_and_changed_ones_are_marked() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder, AccessRules::default());
    assert_eq!(fine(&server, &["settings", "--changed"]), "");
    fine(&server, &["settings", "sessionsizelimit", "40 MiB"]);
    let stored = server.log.snapshot(0).unwrap().settings;
    assert!(format!("{stored:?}").contains("40mb"), "as drawpile-srv reads it: {stored:?}");
    fine(&server, &["settings", "serverTitle", "Ours"]);
    let changed = fine(&server, &["settings", "--changed"]);
    assert_eq!(changed, "serverTitle = Ours  (default: empty)\nsessionSizeLimit = 40mb  (default: 99mb)\n");
    assert!(fine(&server, &["settings"]).contains("\nsessionSizeLimit = 40mb  (default: 99mb)\n"));
    assert_eq!(
        fine(&server, &["settings", "sessionSizeLimit", "--default"]),
        "sessionSizeLimit = 103809024\n"
    );
    assert_eq!(fine(&server, &["settings", "--changed"]), "serverTitle = Ours  (default: empty)\n");
    let answer =
        request(server.admin.unwrap(), "PUT", "/api/server", "", Some(&json!({"serverTitle": null})));
    assert_eq!((answer.status, &answer.json["serverTitle"]), (200, &json!("")));
    let snapshot = server.log.snapshot(0).unwrap();
    assert!(snapshot.settings.is_empty(), "nothing is stored: {:?}", snapshot.settings);
    let (said, fine) = ctl(&server, &["settings", "nosuch", "--default"]);
    assert!(!fine && said.contains("there is no setting 'nosuch'"), "{said}");
    let answer = request(server.admin.unwrap(), "PUT", "/api/server", "", Some(&json!({"nosuch": null})));
    assert_eq!(answer.json["_errors"]["nosuch"], "there is no such setting");
}

#[test]
fn misspelt_fields_of_sessions_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder, AccessRules::default());
    fine(&server, &["make-session", "title=Lobby", "alias=lobby"]);
    for command in [&["set-session", "lobby", "maxUsercount=20"][..], &["make-session", "heading=X"]] {
        let (said, fine) = ctl(&server, command);
        assert!(!fine && said.contains("there is no field") && said.contains("title"), "{said}");
    }
    fine(&server, &["set-session", "lobby", "maxUserCount=20"]);
    assert!(fine(&server, &["sessions", "lobby"]).contains("maxUserCount"));
}

#[test]
fn without_a_database_the_default_is_what_the_file_says() {
    let options = ServeOptions { admin_port: Some(0), ..ServeOptions::default() };
    let server = TestServer::start_with("[config]\nserverTitle=Of the file\n", options);
    assert_eq!(fine(&server, &["settings", "serverTitle", "Ours"]), "serverTitle = Ours\n");
    assert_eq!(fine(&server, &["settings", "serverTitle", "--default"]), "serverTitle = Of the file\n");
}

#[test]
fn accounts_with_admin_may_use_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder, AccessRules { login_required: true, ..AccessRules::default() });
    for (name, flags) in [("boss", vec!["ADMIN".to_owned()]), ("guest", Vec::new())] {
        let hash = "plain;secret".to_owned();
        let account = Account { id: 0, name: name.into(), hash, locked: false, flags };
        server.log.add_account(&account).unwrap();
    }
    eventually("the account is known", || ctl(&server, &["--auth", "boss:secret", "status"]).1);
    let metrics = |basic: &str| {
        let header = format!("Authorization: Basic {}\r\n", BASE64.encode(basic));
        request(server.admin.unwrap(), "GET", "/metrics", &header, None).status
    };
    assert_eq!([metrics("boss:secret"), metrics("guest:secret")], [200, 401], "for Prometheus, too");
    for auth in ["guest:secret", "boss:wrong"] {
        let (said, fine) = ctl(&server, &["--auth", auth, "status"]);
        assert!(!fine && said.contains("401"), "{auth}: {said}");
    }
}

#[test]
fn everybody_is_warned_and_then_the_server_stops() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_drawhall"))
        .args(["--data", "data", "--listen", "127.0.0.1", "--port"])
        .arg(free_port())
        .arg("--web-admin-port")
        .arg(free_port())
        .current_dir(folder.path())
        .env("DRAWHALL_ALLOW_ROOT", "true")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut after = |words: &str| {
        let line = lines.by_ref().find(|line| line.contains(words)).unwrap();
        line.split(words).nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
    };
    let url = after("admin API at ").trim_end_matches("/api/").to_owned();
    let address = after("listening on ").parse().unwrap();
    let mut client = common::Client::connect(address);
    client.host_running("A");
    let reading = std::thread::spawn(move || lines.for_each(drop));
    let out = Command::new(env!("CARGO_BIN_EXE_drawhall"))
        .args(["ctl", "--url", &url, "stop", "--in", "1s", "Back in five minutes."])
        .output()
        .unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    assert_eq!(said, "the server stops in 1s; Ctrl-C cancels\nstopping\n");
    client.reply(|v| v["type"] == "alert" && v["message"] == "The server stops in 1s. Back in five minutes.");
    assert!(process.wait().unwrap().success());
    reading.join().unwrap();
}

fn free_port() -> String {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port().to_string()
}

#[test]
fn somebody_is_kept_out_by_device_and_let_back_in() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder, AccessRules::default());
    let mut host = server.connect();
    let id = host.host_running("Host");
    let mut troll = server.connect();
    troll.join("Troll", &id);
    eventually("the troll is known", || ctl(&server, &["person", "Troll"]).0.contains("device:"));
    let said = fine(&server, &["keep-out", "Troll", "--dry-run"]);
    assert!(said.contains("Troll") && !said.contains("Host"), "{said}");
    let args = ["keep-out", "Troll", "--for", "7d", "--reason", "scribbling"];
    let said = fine(&server, &args);
    assert!(said.starts_with("added ban 1 until ") && said.ends_with(", disconnected 1\n"), "{said}");
    assert_eq!(troll.rest().last().map(|m| m.kind), Some(1));
    let (again, done) = ctl(&server, &args);
    assert!(!done && again.contains("Already banned until"), "{again}");
    assert!(fine(&server, &["banned"]).contains("scribbling"));
    let shown = fine(&server, &["banned", "1", "--note", "third time"]);
    assert!(shown.contains("note = third time") && shown.contains("device"), "{shown}");
    assert_eq!(fine(&server, &["let-in", "1"]), "ended the ban of Troll\n");
    assert!(!fine(&server, &["banned"]).contains("Troll"));
    assert!(fine(&server, &["banned", "--over"]).contains("Troll"));

    // The troll has left, and is known by name.
    let mut people = String::new();
    eventually("the troll is known", || {
        people = fine(&server, &["person", "tr0ll"]);
        people.contains("device:")
    });
    let id = people.lines().nth(1).unwrap().split_whitespace().next().unwrap();
    assert_eq!(fine(&server, &["person", id, "--note", "asked to stop"]), "noted\n");
    assert!(fine(&server, &["person", id]).contains("asked to stop"));
    assert!(fine(&server, &["keep-out", "Troll", "--for", "1h"]).ends_with(", disconnected 0\n"));
    assert_eq!(fine(&server, &["person", id, "--erase"]), "erased\n");
    let (gone, done) = ctl(&server, &["person", id]);
    assert!(!done && gone.contains("404"), "{gone}");
}

#[test]
fn a_report_is_listed_taken_and_handled() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder, AccessRules::default());
    let mut host = server.connect();
    host.host_running("Host");
    fine(&server, &["settings", "reportInbox", "true"]);
    host.command("report", json!([]), json!({"user": 1, "reason": "rude"}));
    eventually("it is stored", || fine(&server, &["reports"]).contains("open  Host about Host: rude"));
    assert!(fine(&server, &["reports", "1", "--take"]).contains("taken by 127.0.0.1"));
    assert!(fine(&server, &["reports", "1", "--handle", "talked"]).contains("handled by 127.0.0.1"));
    assert_eq!(fine(&server, &["reports"]), "");
    assert!(fine(&server, &["reports", "--all"]).contains("handled"));
}
