//! Who waits is answered, sessions do not end by accident, and one address does not take all places.

use std::fs;
use std::process::Command;

use drawhall::app::ServeOptions;
use drawhall_protocol::Frame;
use serde_json::{Value, json};

use super::common::http::request;
use super::common::{Client, SID, TestServer, eventually};
use super::{from, server};

/// A stroke of some length.
fn stroke(len: usize) -> Vec<u8> {
    Frame::new(148, 0, &vec![7; len]).unwrap().as_bytes().to_vec()
}

/// What becomes of a wish to join.
fn answer(client: &mut Client) -> String {
    let reply = client.reply(|v| v["type"] == "error" || v["state"] == "join");
    reply["code"].as_str().unwrap_or("in").to_owned()
}

/// What becomes of a wish to host.
fn hosts(client: &mut Client, name: &str, password: &str) -> String {
    client.reply(|v| v["type"] == "login");
    client.command("ident", json!([name, password]), json!({}));
    client.reply(|v| v["state"] == "identOk");
    client.ask_to_host();
    let reply = client.reply(|v| v["type"] == "error" || v["state"] == "host");
    reply["code"].as_str().unwrap_or("hosts").to_owned()
}

fn with_admin(config: &str, sessions: &std::path::Path) -> TestServer {
    let sessions = Some(sessions.to_owned());
    TestServer::start_with(config, ServeOptions { sessions, admin_port: Some(0), ..ServeOptions::default() })
}

#[test]
fn who_joins_while_the_session_ends_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = TestServer::storing("emptySessionLingerTime=1h", folder.path());
    let mut host = first.connect();
    let id = host.host_running("Host");
    host.command("sessionconf", json!([]), json!({"password": "sesame"}));
    host.reply(|v| v["config"]["hasPassword"] == true);
    first.stop();
    let server = with_admin("emptySessionLingerTime=1h", folder.path());
    // The first check of a stored password takes long; meanwhile the session is ended.
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        client.ident(&format!("guest {at}"));
        client.command("join", json!([id]), json!({"s": SID, "password": "sesame"}));
    }
    let path = format!("/api/sessions/{id}");
    assert_eq!(request(server.admin.unwrap(), "DELETE", &path, "", None).status, 200);
    for client in &mut clients {
        assert!(["notFound", "in"].contains(&answer(client).as_str()));
    }
    let mut late = server.connect();
    late.ident("late");
    late.command("join", json!([id]), json!({"s": SID, "password": "sesame"}));
    assert_eq!(answer(&mut late), "notFound");
}

#[test]
fn who_comes_as_the_last_one_leaves_is_answered() {
    let server = server("");
    for _ in 0..30 {
        let mut host = server.connect();
        let id = host.host_running("Host");
        let mut guest = server.connect();
        guest.ident("Guest");
        host.close();
        guest.command("join", json!([id]), json!({"s": SID}));
        // Whether it was early or late, it hears of it.
        guest
            .until(|m| m.kind == 1 || m.json().is_some_and(|v| v["state"] == "join" || v["type"] == "error"));
    }
}

#[test]
fn a_session_that_cannot_be_read_for_a_moment_is_there_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = TestServer::storing("emptySessionLingerTime=1h", folder.path());
    let mut host = first.connect();
    let id = host.host_running("Host");
    first.stop();
    let server = with_admin("emptySessionLingerTime=1h", folder.path());
    let admin = server.admin.unwrap();
    let journal = folder.path().join(format!("{id}.session"));
    let aside = folder.path().join("aside");
    fs::rename(&journal, &aside).unwrap();
    fs::create_dir(&journal).unwrap();
    let mut client = server.connect();
    client.ident("A");
    client.command("join", json!([id]), json!({"s": SID}));
    assert_eq!(answer(&mut client), "storageError");
    let listed = request(admin, "GET", "/api/sessions", "", None).json;
    assert_eq!((listed[0]["id"].as_str(), listed[0]["storageError"].is_string()), (Some(id.as_str()), true));
    let path = format!("/api/sessions/{id}");
    assert_eq!(request(admin, "GET", &path, "", None).status, 503);
    assert_eq!(server.connect().ident_for_list("list").len(), 1, "it is still listed");
    fs::remove_dir(&journal).unwrap();
    fs::rename(&aside, &journal).unwrap();
    eventually("it can be joined", || {
        let mut client = server.connect();
        client.ident("B");
        client.command("join", json!([id]), json!({"s": SID}));
        answer(&mut client) == "in"
    });
    assert_eq!(request(admin, "GET", "/api/sessions", "", None).json[0].get("storageError"), None);
}

#[test]
fn a_session_that_cannot_be_read_at_the_start_comes_later() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = TestServer::storing("emptySessionLingerTime=1h", folder.path());
    let mut host = first.connect();
    let id = host.host_running("Host");
    first.stop();
    let (history, aside) = (folder.path().join(format!("{id}.dprec")), folder.path().join("aside"));
    fs::rename(&history, &aside).unwrap();
    fs::create_dir(&history).unwrap();
    let server = TestServer::storing("emptySessionLingerTime=1h", folder.path());
    assert!(server.connect().ident_for_list("list").is_empty());
    fs::remove_dir(&history).unwrap();
    fs::rename(&aside, &history).unwrap();
    eventually("it is listed", || server.connect().ident_for_list("list").len() == 1);
    server.connect().join("B", &id);
}

#[test]
fn a_session_whose_files_are_broken_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = TestServer::storing("emptySessionLingerTime=1h", folder.path());
    let id = first.connect().host_running("Host");
    first.stop();
    let server = TestServer::storing("emptySessionLingerTime=1h", folder.path());
    fs::write(folder.path().join(format!("{id}.session")), "TITLE nothing else\n").unwrap();
    let mut client = server.connect();
    client.ident("A");
    client.command("join", json!([id]), json!({"s": SID}));
    assert_eq!(answer(&mut client), "notFound");
    assert!(server.connect().ident_for_list("list").is_empty());
}

/// A template that is still being read: what is to be read must be written by the test.
fn slow_template(config: &str) -> (TestServer, tempfile::TempDir, tempfile::TempDir) {
    let (templates, sessions) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = templates.path().join("x.dptxt");
    fs::write(&file, TEMPLATE).unwrap();
    let options = ServeOptions {
        templates: Some(templates.path().to_owned()),
        sessions: Some(sessions.path().to_owned()),
        ..ServeOptions::default()
    };
    let server = TestServer::start_with(config, options);
    let pipe = templates.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Right after a look at the directory there is none for a while.
    fs::write(templates.path().join("y.dptxt"), TEMPLATE).unwrap();
    eventually("the directory was looked at", || server.connect().ident_for_list("list").len() == 2);
    fs::rename(&pipe, &file).unwrap();
    (server, templates, sessions)
}

const TEMPLATE: &str = "!version=dp:4.25.1\n!title=T\n1 resize {\"right\":9,\"bottom\":9}\n";

/// Begins to join the session of the template; it is being read as soon as the pipe can be written to.
fn join_slow(server: &TestServer, templates: &std::path::Path) -> (Client, fs::File) {
    let mut client = server.connect();
    client.ident("A");
    client.command("join", json!(["x"]), json!({"s": SID}));
    // This waits for the reader.
    let pipe = fs::OpenOptions::new().write(true).open(templates.join("x.dptxt")).unwrap();
    (client, pipe)
}

/// Lets the template be read: a first reader looks at its beginning.
fn finish(mut pipe: fs::File) {
    use std::io::Write as _;
    pipe.write_all(b"12345678").and_then(|()| pipe.write_all(TEMPLATE.as_bytes())).unwrap();
    eventually("it is read", || rustix::io::ioctl_fionread(&pipe).unwrap() == 0);
}

#[test]
fn the_alias_of_a_template_that_is_being_read_is_taken() {
    let (server, templates, _sessions) = slow_template("");
    let (mut guest, pipe) = join_slow(&server, templates.path());
    let mut host = server.connect();
    host.ident("B");
    host.command("host", json!([]), json!({"protocol": "dp:4.24.0", "user_id": 1, "s": SID, "alias": "x"}));
    assert_eq!(host.reply(|v| v["type"] == "error" || v["state"] == "host")["code"], "idInUse");
    finish(pipe);
    assert_eq!(answer(&mut guest), "in");
}

#[test]
fn a_template_that_is_read_while_the_server_stops_makes_no_session() {
    let (mut server, templates, sessions) = slow_template("");
    let (mut guest, pipe) = join_slow(&server, templates.path());
    let stopping = std::thread::spawn(move || server.stop());
    // It is told when the server has begun to stop.
    guest.until(|m| m.kind == 1 || m.json().is_some_and(|v| v["type"] == "error"));
    finish(pipe);
    stopping.join().unwrap();
    let names = fs::read_dir(sessions.path()).unwrap().map(|e| e.unwrap().file_name());
    assert_eq!(names.filter(|n| n != "drawhall.lock").count(), 0);
}

#[test]
fn a_session_whose_members_were_cut_off_waits_for_them() {
    let server = server("");
    let mut host = server.connect();
    let id = host.host_running("Host");
    let mut guest = server.connect();
    guest.join("Guest", &id);
    // A message of the server's own types that cannot be read.
    for client in [&mut guest, &mut host] {
        client.send(2, 0, &[]);
        client.rest();
    }
    let mut again = server.connect();
    assert_eq!(again.ident_for_list("Again").len(), 1);
    again.command("join", json!([id]), json!({"s": SID}));
    assert_eq!(answer(&mut again), "in");
    // Nor does it help to come and go.
    again.close();
    assert_eq!(server.connect().ident_for_list("Last").len(), 1);
}

#[test]
fn one_address_hosts_so_many_sessions_and_accounts_that_may_host_are_no_matter() {
    let server = server("sessionsPerAddress=2\n[users]\nown:plain;pw:HOST\nother:plain;pw:WEB\n");
    let mut first = from(&server, "192.0.2.1");
    let mut second = from(&server, "192.0.2.1");
    assert_eq!((hosts(&mut first, "a", ""), hosts(&mut second, "b", "")), ("hosts".into(), "hosts".into()));
    assert_eq!(hosts(&mut from(&server, "192.0.2.1"), "c", ""), "tooManySessions");
    assert_eq!(hosts(&mut from(&server, "192.0.2.1"), "other", "pw"), "tooManySessions");
    let mut others = [from(&server, "192.0.2.1"), from(&server, "192.0.2.2"), server.connect()];
    for (client, (name, password)) in others.iter_mut().zip([("own", "pw"), ("d", ""), ("e", "")]) {
        assert_eq!(hosts(client, name, password), "hosts", "{name}");
    }
    first.close();
    eventually("there is a place again", || hosts(&mut from(&server, "192.0.2.1"), "f", "") == "hosts");
}

#[test]
fn a_wide_ipv6_network_hosts_twice_as_many_sessions_as_one_address() {
    let server = server("sessionsPerAddress=2\nhostRateLimit=0");
    let mut clients: Vec<Client> = (0..6).map(|n| from(&server, &format!("2001:db8:1:{n}::1"))).collect();
    let hosted: Vec<String> = clients.iter_mut().map(|client| hosts(client, "a", "")).collect();
    assert_eq!(hosted.iter().filter(|h| *h == "hosts").count(), 4, "{hosted:?}");
    assert_eq!(hosts(&mut from(&server, "2001:db8:2::1"), "b", ""), "hosts", "others have a place");
}

#[test]
fn new_sessions_of_one_address_come_so_often() {
    let server = server("hostRateLimit=2\nsessionsPerAddress=0");
    let mut clients: Vec<Client> = (0..3).map(|_| from(&server, "192.0.2.1")).collect();
    let hosted: Vec<String> = clients.iter_mut().map(|client| hosts(client, "a", "")).collect();
    assert_eq!(hosted, ["hosts", "hosts", "tooManyAttempts"]);
    assert_eq!(hosts(&mut from(&server, "192.0.2.2"), "b", ""), "hosts");
}

#[test]
fn some_places_are_kept_for_accounts_that_may_host() {
    let users = "[users]\nown:plain;pw:HOST\nmod:plain;pw:MOD\n";
    for (config, guests) in [("", 10), (users, 8)] {
        let server = server(&format!("sessionCountLimit=10\nreservedSessions=20\n{config}"));
        let mut clients: Vec<Client> = (0..=guests).map(|_| server.connect()).collect();
        let hosted: Vec<String> = clients.iter_mut().map(|client| hosts(client, "a", "")).collect();
        assert!(hosted[..guests].iter().all(|h| h == "hosts") && hosted[guests] == "closed", "{hosted:?}");
        if guests == 8 {
            let mut own = [server.connect(), server.connect()];
            assert_eq!(hosts(&mut own[0], "own", "pw"), "hosts");
            assert_eq!(hosts(&mut own[1], "mod", "pw"), "hosts");
            assert_eq!(hosts(&mut server.connect(), "own", "pw"), "closed", "more there are not");
        }
    }
}

#[test]
fn when_all_histories_are_full_nothing_is_added_and_a_reset_helps() {
    let server = server("totalHistoryLimit=100kb");
    let mut host = server.connect();
    host.host_running("Host");
    let mut other = server.connect();
    let id = other.host_running("Other");
    let send = |client: &mut Client| {
        let bytes = stroke(60_000);
        client.send_bytes(&bytes).unwrap();
    };
    let is_full = |v: &Value| v["type"] == "outofspace";
    for _ in 0..2 {
        send(&mut host);
        host.until(|m| m.kind == 148);
    }
    send(&mut host);
    host.reply(is_full);
    // It is the same for a session that has little, and nobody has a place for a new one.
    send(&mut other);
    other.reply(is_full);
    let mut guest = server.connect();
    guest.join("Guest", &id);
    assert_eq!(hosts(&mut server.connect(), "late", ""), "noSpace");
    host.close();
    eventually("there is space again", || hosts(&mut server.connect(), "later", "") == "hosts");
    send(&mut other);
    guest.until(|m| m.kind == 148);
}

#[test]
fn stored_sessions_count_though_nobody_is_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = TestServer::storing("emptySessionLingerTime=1h", folder.path());
    let mut host = first.connect();
    host.host_running("Host");
    host.send_bytes(&stroke(60_000)).unwrap();
    host.until(|m| m.kind == 148);
    first.stop();
    for (limit, expected) in [("50kb", "noSpace"), ("1mb", "hosts")] {
        let config = format!("emptySessionLingerTime=1h\ntotalHistoryLimit={limit}");
        let server = TestServer::storing(&config, folder.path());
        assert_eq!(hosts(&mut server.connect(), "a", ""), expected);
    }
}
