//! Stored sessions in a whole server: what survives, what is removed, what is refused.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Client, SID, TestServer, eventually};
use drawhall::app::{ServeOptions, StartError, start};
use drawhall_protocol::Frame;
use drawhall_protocol::frame::frames;
use serde_json::{Value, json};

const STAYS: &str = "emptySessionLingerTime=1h\n";

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Names of the files in a directory, sorted, without the lock.
fn files(path: &Path) -> Vec<String> {
    let names = fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|n| n != "drawhall.lock").collect();
    names.sort();
    names
}

/// The messages of a history file.
fn stored(path: &Path) -> Vec<(u8, u8, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    let header = 8 + usize::from(u16::from_be_bytes([bytes[6], bytes[7]]));
    let content = &bytes[header..];
    assert_eq!(drawhall_protocol::frame::whole_frames_len(content), content.len(), "whole messages only");
    frames(content).map(|f| (f.header.kind, f.header.user, f.payload().to_vec())).collect()
}

/// Types and users of what is drawn, in order.
fn drawn(path: &Path) -> Vec<(u8, u8)> {
    stored(path).iter().filter(|(kind, ..)| *kind >= 64).map(|(kind, user, _)| (*kind, *user)).collect()
}

/// A stroke that can be told from others.
fn stroke(client: &mut Client, n: u8) {
    client.send(148, 0, &[n; 30]);
}

/// Joins and reads the content up to a stroke; returns all strokes.
fn strokes_up_to(server: &TestServer, session: &str, name: &str, last: u8) -> Vec<u8> {
    let mut client = server.connect();
    client.join(name, session);
    let mut strokes = Vec::new();
    while strokes.last() != Some(&last) {
        strokes.push(client.until(|m| m.kind == 148).payload[0]);
    }
    strokes
}

fn settings(client: &mut Client, what: Value) {
    client.command("sessionconf", json!([]), what);
    client.reply(|v| v["type"] == "sessionconf" && v["config"].get("maxUserCount").is_some());
}

/// A session with a stroke by its host, which a guest has seen.
fn drawing(server: &TestServer) -> (Client, Client, String) {
    let mut host = server.connect();
    let id = host.host_running("Host");
    stroke(&mut host, 1);
    host.until(|m| m.kind == 148);
    let mut guest = server.connect();
    guest.join("Guest", &id);
    guest.until(|m| m.kind == 148);
    (host, guest, id)
}

#[test]
fn everything_that_is_stored_survives_a_restart() {
    let folder = folder();
    let config = format!("{STAYS}[users]\nmod:plain;modpw:MOD\n");
    let mut server = TestServer::storing(&config, folder.path());
    let mut host = server.connect();
    let id = host.host_running("Host");
    let kwargs = json!({"title": "Títle\nFLAGS persistent", "password": "sesame", "opword": "op", "nsfm": true,
        "maxUserCount": 7, "resetThreshold": 3_000_000, "deputies": true, "preserveChat": true});
    settings(&mut host, kwargs);
    let mut guest = server.connect();
    guest.ident("Gu est");
    guest.command("join", json!([id]), json!({"s": "2".repeat(32), "password": "sesame"}));
    guest.reply(|v| v["state"] == "join");
    host.command("kick-user", json!(["Gu est"]), json!({"ban": true}));
    host.reply(|v| v["T"] == "ban");
    host.command("invite-create", json!([]), json!({"maxUses": 3, "trust": true}));
    let secret = host.reply(|v| v["type"] == "invitecreated")["secret"].as_str().unwrap().to_owned();
    stroke(&mut host, 1);
    host.send(35, 0, b"\0\0kept");
    host.until(|m| m.kind == 35);
    server.stop();

    let journal = fs::read_to_string(folder.path().join(format!("{id}.session"))).unwrap();
    assert!(journal.contains("\nTITLE TítleFLAGS persistent\n"), "{journal}");
    assert!(!journal.contains("\nFLAGS persistent"), "a title forges no entries");
    assert!(journal.contains("\nPASSWORD sodium;$argon2id$"));

    let server = TestServer::storing(&config, folder.path());
    let mut moderator = server.connect();
    let listed = moderator.ident_as("mod", "modpw");
    assert_eq!(listed.len(), 1);
    for (key, value) in [
        ("title", json!("TítleFLAGS persistent")),
        ("founder", json!("Host")),
        ("nsfm", json!(true)),
        ("maxUserCount", json!(7)),
        ("hasPassword", json!(true)),
        ("userCount", json!(0)),
        ("persistent", json!(false)),
    ] {
        assert_eq!(listed[0][key], value, "{key}");
    }
    moderator.command("join", json!([id]), json!({"s": SID}));
    moderator.reply(|v| v["state"] == "join");
    let (mut confs, mut chat) = (json!({}), false);
    while !chat || ["deputies", "banlist", "invitelist"].iter().any(|key| confs.get(key).is_none()) {
        let message = moderator.next().unwrap();
        chat |= message.kind == 35 && message.payload == b"\0\0kept";
        let reply = message.json().unwrap_or_default();
        for (key, value) in reply["config"].as_object().into_iter().flatten() {
            confs[key] = value.clone();
        }
    }
    assert_eq!((&confs["deputies"], &confs["preserveChat"]), (&json!(true), &json!(true)));
    assert_eq!(confs["resetThreshold"], 3_000_000);
    assert_eq!(confs["banlist"][0]["username"], "Gu est");
    assert_eq!(confs["invitelist"][0]["secret"], secret.as_str());

    let mut wrong = server.connect();
    wrong.ident("x");
    wrong.command("join", json!([id]), json!({"s": "3".repeat(32), "password": "wrong"}));
    wrong.reply(|v| v["code"] == "badPassword");
    wrong.command("join", json!([id]), json!({"s": "3".repeat(32), "password": "sesame"}));
    wrong.reply(|v| v["state"] == "join");
    wrong.command("gain-op", json!(["op"]), json!({}));
    wrong.reply(|v| v["T"] == "opgive");
    let mut banned = server.connect();
    banned.ident("Gu est");
    banned.command("join", json!([id]), json!({"s": "4".repeat(32), "password": "sesame"}));
    banned.reply(|v| v["code"] == "banned");
    let mut again = server.connect();
    again.ident("Host");
    again.command("join", json!([id]), json!({"s": SID, "password": "sesame"}));
    assert_eq!(again.reply(|v| v["state"] == "join")["join"]["user"], 1, "names keep their ids");
}

#[test]
fn an_untouched_session_does_not_grow() {
    let folder = folder();
    let mut server = TestServer::storing(STAYS, folder.path());
    let mut host = server.connect();
    let id = host.host_running("Host");
    server.stop();
    let history = folder.path().join(format!("{id}.dprec"));
    let (before, journal) =
        (fs::read(&history).unwrap(), fs::read(folder.path().join(format!("{id}.session"))).unwrap());
    for _ in 0..2 {
        let mut server = TestServer::storing(STAYS, folder.path());
        let mut client = server.connect();
        // A look-up loads it.
        client.reply(|v| v["type"] == "login");
        client.command("lookup", json!([id]), json!({}));
        assert_eq!(client.reply(|v| v["lookup"] == "join")["session"]["id"], id.as_str());
        server.stop();
    }
    assert_eq!(fs::read(&history).unwrap(), before);
    assert_eq!(fs::read(folder.path().join(format!("{id}.session"))).unwrap(), journal);
}

#[test]
fn a_stop_ends_no_session_and_users_return_whenever_they_like() {
    let folder = folder();
    let mut server = TestServer::storing("", folder.path());
    let (_host, _guest, id) = drawing(&server);
    server.stop();
    let kinds: Vec<(u8, u8)> =
        stored(&folder.path().join(format!("{id}.dprec"))).iter().map(|m| (m.0, m.1)).collect();
    assert!(kinds.contains(&(33, 1)) && kinds.contains(&(33, 2)), "everybody has left: {kinds:?}");

    let mut server = TestServer::storing("", folder.path());
    assert_eq!(strokes_up_to(&server, &id, "Host", 1), [1]);
    // It is not persistent: now that somebody has come and left again, it ends.
    eventually("the files are deleted", || files(folder.path()).is_empty());
    server.stop();
}

#[test]
fn a_reset_begins_a_new_file_and_the_old_one_goes() {
    for archive in [false, true] {
        let folder = folder();
        let config = format!("{STAYS}archive={archive}\nkeepGenerations=0\n");
        let server = TestServer::storing(&config, folder.path());
        let mut host = server.connect();
        let id = host.host_running("Host");
        for n in 1..=2 {
            stroke(&mut host, n);
            host.command("reset-session", json!([]), json!({}));
            host.reply(|v| v["state"] == "init");
            host.send(129, 1, &[n; 16]);
            host.command("init-complete", json!([]), json!({}));
            host.reply(|v| v["state"] == "reset");
        }
        stroke(&mut host, 3);
        host.until(|m| m.kind == 148);
        let current = format!("{id}_r3.dprec");
        assert_eq!(drawn(&folder.path().join(&current)), [(129, 1), (148, 1)]);
        let mut expected = vec![current, format!("{id}_r3.times"), format!("{id}.session")];
        if archive {
            expected.extend([format!("{id}.dprec.archived"), format!("{id}_r2.dprec.archived")]);
        }
        expected.sort();
        assert_eq!(files(folder.path()), expected);
        let journal = fs::read_to_string(folder.path().join(format!("{id}.session"))).unwrap();
        let entries: Vec<&str> = journal.lines().filter(|l| l.starts_with("FILE ")).collect();
        // The journal was written anew, and still says how many files there were.
        assert_eq!(entries, vec![format!("FILE {id}_r3.dprec"); 3]);
    }
}

#[test]
fn a_streamed_reset_makes_a_file_that_says_where_it_forked() {
    let folder = folder();
    let mut server =
        TestServer::storing(&format!("{STAYS}autoResetThreshold=1kb\nkeepGenerations=0\n"), folder.path());
    let mut host = server.connect();
    let id = host.host_running("Host");
    for n in 1..=60 {
        stroke(&mut host, n);
    }
    let query = host.reply(|v| v["type"] == "autoreset");
    let ready = json!({"payload": query["payload"], "capabilities": ["gzip1"], "os": "linux"});
    host.command("ready-to-autoreset", json!([]), ready);
    let request = host.reply(|v| v["type"] == "autoreset" && v["query"] != true);
    host.command("stream-reset-start", json!([request["correlator"]]), json!({}));
    host.until(|m| m.kind == 37);
    stroke(&mut host, 100);
    let image = Frame::new(129, 1, &[9; 16]).unwrap();
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, image.as_bytes()).unwrap();
    let compressed = encoder.finish().unwrap();
    host.send(39, 0, &compressed);
    host.command("stream-reset-finish", json!([1]), json!({}));
    let new = folder.path().join(format!("{id}_r2.dprec"));
    eventually("the reset takes effect", || {
        new.exists() && files(folder.path()).iter().all(|f| *f != format!("{id}.dprec"))
    });
    stroke(&mut host, 101);
    host.until(|m| m.kind == 148 && m.payload[0] == 101);
    server.stop();
    let header = String::from_utf8_lossy(&fs::read(&new).unwrap()[8..80]).into_owned();
    assert!(header.starts_with("{\"version\":\"dp:4.24.0\",\"streamfork\":"), "{header}");
    let strokes: Vec<u8> = stored(&new).iter().filter(|m| m.0 >= 129).map(|m| m.2[0]).collect();
    assert_eq!(strokes, [9, 100, 101]);
    let server = TestServer::storing(STAYS, folder.path());
    assert_eq!(strokes_up_to(&server, &id, "Guest", 101), [100, 101]);
}

#[test]
fn a_session_that_is_over_takes_its_files_with_it() {
    for archive in [false, true] {
        let folder = folder();
        let config = format!("archive={archive}\n[users]\nmod:plain;modpw:MOD\n");
        let server = TestServer::storing(&config, folder.path());
        let mut host = server.connect();
        let id = host.host_running("Host");
        let mut moderator = server.connect();
        moderator.ident_as("mod", "modpw");
        moderator.command("join", json!([id]), json!({"s": SID}));
        moderator.reply(|v| v["state"] == "join");
        moderator.command("kill-session", json!([]), json!({}));
        let left: Vec<String> = if archive {
            vec![format!("{id}.dprec.archived"), format!("{id}.session.archived")]
        } else {
            Vec::new()
        };
        eventually("the files are dealt with", || files(folder.path()) == left);
    }
}

#[test]
fn a_session_that_nobody_is_in_leaves_memory_and_comes_back() {
    let folder = folder();
    let server = TestServer::storing(&format!("{STAYS}sessionUnloadTime=0\n"), folder.path());
    let mut host = server.connect();
    let id = host.host_running("Host");
    for n in 1..=20 {
        stroke(&mut host, n);
    }
    host.close();
    let journal = folder.path().join(format!("{id}.session"));
    for round in 1..=5 {
        let strokes = strokes_up_to(&server, &id, &format!("G{round}"), 20);
        assert_eq!(strokes, (1..=20).collect::<Vec<u8>>());
        // Everybody is gone again: somebody may come just when it leaves.
        std::thread::sleep(std::time::Duration::from_millis(round * 7));
    }
    assert!(journal.exists());
    let joins: Vec<u8> = stored(&folder.path().join(format!("{id}.dprec")))
        .iter()
        .filter(|m| m.0 == 32)
        .map(|m| m.1)
        .collect();
    assert_eq!(joins, [1, 2, 3, 4, 5, 6], "nobody's id is used twice");
}

#[test]
fn one_bad_session_never_stops_the_others() {
    let folder = folder();
    let mut server = TestServer::storing(STAYS, folder.path());
    let (_host, _guest, id) = drawing(&server);
    server.stop();
    fs::write(folder.path().join("0bad.session"), "FILE 0bad.dprec\n").unwrap();
    fs::write(folder.path().join("0early.session"), "FILE 0early.dprec\n").unwrap();
    fs::write(folder.path().join("0early.dprec"), b"DPREC\0\0\x17{\"version\":\"dp:4.24.0\"}").unwrap();
    fs::write(folder.path().join("0rubbish.session"), [0, 255, 10, 13, 200]).unwrap();
    let history = folder.path().join(format!("{id}.dprec"));
    let whole = fs::metadata(&history).unwrap().len();
    let garbage = [fs::read(&history).unwrap(), b"\xff\xffgarbage".to_vec()].concat();
    fs::write(&history, garbage).unwrap();
    let server = TestServer::storing(STAYS, folder.path());
    assert_eq!(strokes_up_to(&server, &id, "Third", 1), [1]);
    let after = stored(&history);
    assert!(fs::metadata(&history).unwrap().len() > whole && after.len() > 3, "the garbage is gone");
    assert!(folder.path().join("0early.dprec").exists(), "refused sessions stay as they are");
}

#[test]
fn two_servers_never_share_a_directory() {
    let folder = folder();
    let mut server = TestServer::storing("", folder.path());
    let options = ServeOptions {
        listen: Some("127.0.0.1".parse().unwrap()),
        sessions: Some(folder.path().into()),
        ..ServeOptions::default()
    };
    actix_rt::System::new().block_on(async {
        let Err(error @ StartError::Sessions(_)) = start(&options) else { panic!("it started") };
        let expected = format!("in use by another server (process {})", std::process::id());
        assert!(error.to_string().contains(&expected), "{error}");
    });
    server.stop();
    TestServer::storing("", folder.path());
}

#[test]
fn a_session_whose_files_cannot_be_made_is_refused() {
    let folder = folder();
    let path: PathBuf = folder.path().join("sessions");
    let server = TestServer::storing("", &path);
    fs::remove_dir_all(&path).unwrap();
    let mut host = server.connect();
    host.ident("Host");
    host.ask_to_host();
    host.reply(|v| v["code"] == "storageError");
    // It ends while its host is told so.
    eventually("it is not listed", || server.connect().ident_for_list("Other").is_empty());
    fs::create_dir_all(&path).unwrap();
    server.connect().host_running("Host");
    let history = files(&path).iter().filter(|name| !name.ends_with(".times")).count();
    assert_eq!(history, 2, "it goes on when the directory is there");
}

#[test]
fn a_history_that_is_not_in_memory_is_read_from_its_file() {
    let folder = folder();
    let server = TestServer::storing(STAYS, folder.path());
    let mut host = server.connect();
    let id = host.host_running("Host");
    for n in 0..200u32 {
        let payload: Vec<u8> = n.to_be_bytes().iter().copied().cycle().take(50_000).collect();
        host.send(148, 0, &payload);
    }
    // Several at once, and one that begins in the middle.
    let mut readers: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    for (at, reader) in readers.iter_mut().enumerate() {
        reader.join(&format!("R{at}"), &id);
    }
    for reader in &mut readers {
        for n in 0..200u32 {
            let message = reader.until(|m| m.kind == 148);
            assert_eq!((&message.payload[..4], message.payload.len()), (&n.to_be_bytes()[..], 50_000));
        }
    }
}

#[test]
fn sessions_are_made_from_templates_when_somebody_joins_them() {
    let (sessions, templates) = (folder(), folder());
    let text = "!version=dp:4.25.1\n!title=Tea\n!founder=Host\n!password=plain;pw\n!maxUserCount=9\n!nsfm=true\n\
        1 resize {\"right\":9,\"bottom\":9}\n1 nonsense {}\n";
    fs::write(templates.path().join("tea.dptxt"), text).unwrap();
    fs::write(templates.path().join("hidden.dptxt"), text.replace("!nsfm", "!unlisted=1\n!nsfm")).unwrap();
    let options = ServeOptions {
        sessions: Some(sessions.path().into()),
        templates: Some(templates.path().into()),
        ..ServeOptions::default()
    };
    let server = TestServer::start_with(STAYS, options);
    let mut client = server.connect();
    client.reply(|v| v["type"] == "login");
    client.command("lookup", json!(["tea"]), json!({}));
    let found = client.reply(|v| v["lookup"] == "join")["session"].clone();
    assert_eq!(
        (&found["alias"], &found["title"], &found["maxUserCount"]),
        (&json!("tea"), &json!("Tea"), &json!(9))
    );
    let id = found["id"].as_str().unwrap().to_owned();
    assert!(files(sessions.path()).is_empty(), "a look-up makes no session");

    let mut other = server.connect();
    other.reply(|v| v["type"] == "login");
    other.command("ident", json!(["Other"]), json!({}));
    let listed = other.sessions();
    assert_eq!(listed.len(), 1, "the hidden one is not shown: {listed:?}");
    assert_eq!((&listed[0]["alias"], listed[0].get("id")), (&json!("tea"), None));

    client.command("ident", json!(["Guest"]), json!({}));
    client.reply(|v| v["state"] == "identOk");
    client.command("join", json!(["tea"]), json!({"s": SID, "password": "pw"}));
    let joined = client.reply(|v| v["state"] == "join");
    assert_eq!(joined["join"]["uniqueId"], id.as_str(), "it has the id that was given out");
    client.until(|m| m.kind == 129);
    let shown = other.reply(|v| v["message"] == "New session");
    assert_eq!((&shown["sessions"][0]["id"], &shown["sessions"][0]["founder"]), (&json!(id), &json!("Host")));
    let journal = fs::read_to_string(sessions.path().join(format!("{id}.session"))).unwrap();
    for entry in ["ALIAS tea", "FOUNDER Host", "MAXUSERS 9", "PASSWORD plain;pw", "TITLE Tea", "FLAGS nsfm"] {
        assert!(journal.lines().any(|l| l == entry), "{entry}: {journal}");
    }

    fs::write(templates.path().join("late.dptxt"), text).unwrap();
    eventually("a new template is found", || {
        let mut late = server.connect();
        late.reply(|v| v["type"] == "login");
        late.command("lookup", json!(["late"]), json!({}));
        late.reply(|v| v["lookup"] == "join" || v["type"] == "error")["lookup"] == "join"
    });
}

#[test]
fn sessions_are_recorded_from_their_first_message_on() {
    let folder = folder();
    let pattern = folder.path().join("rec/%a.dprec");
    let options = ServeOptions { record: Some(pattern.to_str().unwrap().into()), ..ServeOptions::default() };
    let mut server = TestServer::start_with("", options);
    let (mut host, mut guest, id) = drawing(&server);
    host.command("reset-session", json!([]), json!({}));
    host.reply(|v| v["state"] == "init");
    host.send(129, 1, &[0; 16]);
    host.command("init-complete", json!([]), json!({}));
    host.reply(|v| v["state"] == "reset");
    stroke(&mut host, 2);
    guest.until(|m| m.kind == 148 && m.payload[0] == 2);
    server.stop();
    let kinds = |name: &str| -> Vec<u8> {
        let messages = stored(&folder.path().join("rec").join(name));
        messages.iter().map(|m| m.0).filter(|kind| *kind != 0).collect()
    };
    let first = stored(&folder.path().join(format!("rec/{id}.dprec")));
    assert_eq!((first[0].0, first[1].0, first[2].0), (70, 77, 0), "the settings come first, none is missing");
    assert_eq!(kinds(&format!("{id}.dprec")), [70, 77, 32, 34, 129, 148, 32]);
    let second = kinds(&format!("{id} (1).dprec"));
    assert_eq!(second[..7], [70, 77, 32, 32, 34, 129, 148], "{second:?}");
}

/// Joins as one who has everything up to this history index; returns whether the server skips it, and the strokes that
/// it sends up to `last`.
fn strokes_behind(server: &TestServer, session: &str, hidx: &str, last: u8) -> (bool, Vec<u8>) {
    let mut client = server.connect();
    client.ident("Guest");
    client.command("join", json!([session]), json!({"s": common::client::system_id("Guest"), "hidx": hidx}));
    let result = client.reply(|v| v["state"] == "join");
    let mut strokes = Vec::new();
    while strokes.last() != Some(&last) {
        strokes.push(client.until(|m| m.kind == 148).payload[0]);
    }
    (result["join"]["skip"] == json!(true), strokes)
}

/// The history index of the last message that a new client gets.
fn index_of_now(server: &TestServer, session: &str) -> String {
    let mut client = server.connect();
    client.join("Watcher", session);
    let key = client.reply(|v| v["type"] == "catchup")["key"].clone();
    // Those of earlier clients are in the history, too.
    let caught_up = client.reply(|v| v["type"] == "caughtup" && v["key"] == key);
    caught_up["hidx"].as_str().unwrap().to_owned()
}

#[test]
fn clients_skip_over_restarts_what_they_have() {
    let folder = folder();
    let mut server = TestServer::storing(STAYS, folder.path());
    let (mut host, _guest, id) = drawing(&server);
    let first = index_of_now(&server, &id);
    stroke(&mut host, 2);
    host.until(|m| m.kind == 148 && m.payload[0] == 2);
    server.stop();

    let mut server = TestServer::storing(STAYS, folder.path());
    assert_eq!(strokes_behind(&server, &id, &first, 2), (true, vec![2]));
    let mut host = server.connect();
    host.join("Host", &id);
    stroke(&mut host, 3);
    host.until(|m| m.kind == 148 && m.payload[0] == 3);
    let second = index_of_now(&server, &id);
    stroke(&mut host, 4);
    host.until(|m| m.kind == 148 && m.payload[0] == 4);
    server.stop();

    let config = format!("{STAYS}[users]\nmod:plain;modpw:MOD\n");
    let server = TestServer::storing(&config, folder.path());
    assert_eq!(strokes_behind(&server, &id, &first, 4), (true, vec![2, 3, 4]));
    assert_eq!(strokes_behind(&server, &id, &second, 4), (true, vec![4]));
    // Those before may not have left yet, so nobody but a moderator is an operator for sure.
    let mut host = server.connect();
    host.ident_as("mod", "modpw");
    host.command("join", json!([id]), json!({"s": SID}));
    host.reply(|v| v["state"] == "join");
    host.command("reset-session", json!([]), json!({"type": "current"}));
    host.reply(|v| v["state"] == "init");
    stroke(&mut host, 5);
    host.command("init-complete", json!([]), json!({}));
    host.until(|m| m.kind == 148 && m.payload[0] == 5);
    assert_eq!(strokes_behind(&server, &id, &second, 5), (false, vec![5]), "that was before the reset");
}

#[test]
fn a_client_that_saw_what_is_lost_is_sent_everything() {
    let folder = folder();
    let mut server = TestServer::storing(STAYS, folder.path());
    let (mut host, _guest, id) = drawing(&server);
    let kept = index_of_now(&server, &id);
    let history = folder.path().join(format!("{id}.dprec"));
    let len = fs::metadata(&history).unwrap().len();
    stroke(&mut host, 2);
    host.until(|m| m.kind == 148 && m.payload[0] == 2);
    let lost = index_of_now(&server, &id);
    server.stop();
    // The machine crashes, and the end of the file is not on the disk.
    fs::OpenOptions::new().write(true).open(&history).unwrap().set_len(len).unwrap();

    let server = TestServer::storing(STAYS, folder.path());
    let mut host = server.connect();
    host.join("Host", &id);
    for n in 3..30 {
        stroke(&mut host, n);
    }
    host.until(|m| m.kind == 148 && m.payload[0] == 29);
    assert!(!strokes_behind(&server, &id, &lost, 29).0);
    let (skips, strokes) = strokes_behind(&server, &id, &kept, 29);
    assert!(skips && strokes.len() == 27, "{strokes:?}");
}

#[test]
fn nobody_skips_what_another_server_has_appended() {
    let folder = folder();
    let mut server = TestServer::storing(STAYS, folder.path());
    let (_host, _guest, id) = drawing(&server);
    let seen = index_of_now(&server, &id);
    server.stop();
    // drawpile-srv leaves the comment in the journal, and appends with a start id of its own.
    let caught_up = json!({"type": "caughtup", "key": 9, "hidx": format!("77:20:{id}")}).to_string();
    let frame = Frame::new(0, 0, caught_up.as_bytes()).unwrap();
    let history = folder.path().join(format!("{id}.dprec"));
    let mut history = fs::OpenOptions::new().append(true).open(&history).unwrap();
    std::io::Write::write_all(&mut history, frame.as_bytes()).unwrap();

    let server = TestServer::storing(STAYS, folder.path());
    let mut host = server.connect();
    host.join("Host", &id);
    stroke(&mut host, 9);
    host.until(|m| m.kind == 148 && m.payload[0] == 9);
    assert!(!strokes_behind(&server, &id, &seen, 9).0, "others may have these indexes");
}
