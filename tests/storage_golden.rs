//! Directories that drawpile-srv has written, and what must be in them.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{Client, SID, TestServer, golden};
use drawhall::app::ServeOptions;
use serde_json::{Value, json};

const CONFIG: &str = "[config]\nemptySessionLingerTime=1h\npersistence=true\nallowIdleOverride=true\n\
    autoResetThreshold=15mb\n[users]\nmod:plain;modpw:MOD\nalice:plain;alicepw:HOST\ncarol:plain;carolpw:HOST\n";

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
        } else {
            // The originals are read-only, and so would be copies.
            std::fs::write(&target, std::fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A message as the recordings have it: type, user, payload in hex.
type Message = (u64, u64, String);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// What a joining moderator is sent.
struct Caught {
    history: Vec<Message>,
    confs: BTreeMap<String, Value>,
}

/// Joins as moderator and reads until `messages` of the history have come, server replies not counted.
fn join_as_moderator(server: &TestServer, session: &str, messages: usize) -> Caught {
    let mut client = server.connect();
    client.ident_as("mod", "modpw");
    client.command("join", json!([session]), json!({"s": SID}));
    client.reply(|v| v["state"] == "join");
    let mut caught = Caught { history: Vec::new(), confs: BTreeMap::new() };
    while caught.history.len() < messages {
        let message = client.next().expect("the connection is open");
        match message.json() {
            Some(reply) if reply["type"] == "sessionconf" => {
                for (key, value) in reply["config"].as_object().unwrap() {
                    caught.confs.insert(key.clone(), value.clone());
                }
            }
            Some(_) => {}
            None if message.kind >= 32 => {
                caught.history.push((message.kind.into(), message.user.into(), hex(&message.payload)));
            }
            None => {}
        }
    }
    // The lists come directly, before or after.
    while ["banlist", "invitelist", "auth", "muted"].iter().any(|key| !caught.confs.contains_key(*key)) {
        let reply = client.reply(|v| v["type"] == "sessionconf");
        for (key, value) in reply["config"].as_object().unwrap() {
            caught.confs.insert(key.clone(), value.clone());
        }
    }
    caught
}

/// Leaves that are added while loading come in any order.
fn without_leaves(history: &[Message]) -> (Vec<Message>, Vec<Message>) {
    let (mut leaves, rest): (Vec<_>, Vec<_>) = history.iter().cloned().partition(|(kind, ..)| *kind == 33);
    leaves.sort();
    (rest, leaves)
}

fn recorded_history(expected: &Value) -> Vec<Message> {
    let messages = expected["history"].as_array().unwrap().iter();
    let content = messages.filter(|m| m["type"] != 0);
    content
        .map(|m| {
            (m["type"].as_u64().unwrap(), m["user"].as_u64().unwrap(), m["hex"].as_str().unwrap().into())
        })
        .collect()
}

/// What Drawhall deliberately does otherwise, by case and member of the session's state.
fn deliberate(case: &str, key: &str) -> bool {
    matches!(
        (case, key),
        // The reference replaces a stored threshold by its setting.
        ("settings" | "made-journal-forms" | "running", "resetThreshold")
        // It counts zero bytes at the end as messages, and adds its settings to the history whenever it loads.
        | (_, "size")
    )
}

fn check_case(name: &str, case: &Path) {
    let expected = read_json(&case.join("expected.json"));
    let folder = tempfile::tempdir().unwrap();
    // One journal of `made-unloadable` names its history by way of the directory.
    let directory = folder.path().join("s");
    copy(&case.join("before"), &directory);
    let server = TestServer::storing(CONFIG, &directory);
    let mut client = server.connect();
    let listed = client.ident_as("mod", "modpw");
    let sessions = expected["sessions"].as_array().unwrap();
    let ids = |list: &[Value]| -> Vec<String> {
        let mut ids: Vec<String> = list.iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    };
    let skipped = ["o-blank-message"];
    let wanted: Vec<String> =
        ids(sessions).into_iter().filter(|id| !skipped.contains(&id.as_str())).collect();
    assert_eq!(ids(&listed), wanted, "{name}: which sessions are loaded");
    for session in sessions.iter().filter(|s| !skipped.contains(&s["id"].as_str().unwrap())) {
        let id = session["id"].as_str().unwrap();
        let found = listed.iter().find(|s| s["id"] == id).unwrap();
        for (key, value) in session.as_object().unwrap() {
            if let Some(own) = found.get(key).filter(|_| !deliberate(name, key) && key != "closed") {
                assert_eq!(own, value, "{name}: {id}: {key}");
            }
        }
        let Some(recorded) = expected["catchup of a joining moderator"].get(id) else { continue };
        check_history(name, &server, id, session, recorded);
    }
}

fn check_history(name: &str, server: &TestServer, id: &str, session: &Value, recorded: &Value) {
    let history = recorded_history(recorded);
    let caught = join_as_moderator(server, id, history.len());
    assert_eq!(without_leaves(&caught.history), without_leaves(&history), "{name}: {id}: history");
    let settings = ["title", "persistent", "maxUserCount", "nsfm", "deputies", "authOnly", "hasPassword"];
    let more = ["hasOpword", "idleOverride", "invites", "autotitle", "resetThreshold"];
    for key in settings.iter().chain(&more).filter(|key| !deliberate(name, key)) {
        assert_eq!(caught.confs.get(*key), session.get(*key), "{name}: {id}: {key}");
    }
    let parts = &recorded["partial sessionconf"];
    for key in ["banlist", "auth", "muted", "invitelist"] {
        check_list(name, key, &caught.confs[key], &parts[key]);
    }
}

fn check_list(name: &str, key: &str, own: &Value, recorded: &Value) {
    let sorted = |list: &Value| -> Vec<Value> {
        let mut list = list.as_array().cloned().unwrap_or_default();
        for entry in &mut list {
            // The time of use is not stored; names come back decoded.
            for usage in entry["uses"].as_array_mut().into_iter().flatten() {
                usage["at"] = json!("");
                usage["name"] = json!(drawhall::rules::journal::decode(usage["name"].as_str().unwrap()));
            }
            entry["uses"].as_array_mut().into_iter().for_each(|uses| uses.sort_by_key(Value::to_string));
            if entry["uses"].is_null() {
                entry.as_object_mut().unwrap().remove("uses");
            }
        }
        list.sort_by_key(|e| (e["id"].as_u64(), e.to_string()));
        list
    };
    let (own, recorded) = (sorted(own), sorted(recorded));
    match (name, key) {
        // Entries that the reference wrote and cannot read back; see the case's README.
        ("bans", "banlist") => {
            assert_eq!(own.len(), 6, "{own:#?}");
            assert!(recorded.iter().all(|ban| own.contains(ban)), "{own:#?}");
        }
        ("made-journal-forms", "banlist") => {
            let names: Vec<_> = own.iter().map(|b| b["username"].as_str().unwrap()).collect();
            assert_eq!(names, ["five args", "six args", "toofew", "notanumber", "loopback", "badaddress"]);
        }
        _ => assert_eq!(own, recorded, "{name}: {key}"),
    }
}

#[test]
fn every_recorded_directory_loads_with_the_state_that_it_holds() {
    let Some(golden) = golden() else { return };
    let mut cases: Vec<_> =
        std::fs::read_dir(golden.join("storage/cases")).unwrap().map(|e| e.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 26);
    for case in cases {
        check_case(case.file_name().unwrap().to_str().unwrap(), &case);
    }
}

#[test]
fn the_directories_of_a_running_and_a_killed_server_load() {
    let Some(golden) = golden() else { return };
    for name in ["running", "killed"] {
        let folder = tempfile::tempdir().unwrap();
        copy(&golden.join("storage").join(name), folder.path());
        let server = TestServer::storing(CONFIG, folder.path());
        let mut client = server.connect();
        let listed = client.ident_as("mod", "modpw");
        assert_eq!(listed.len(), 1, "{name}");
        let session = &listed[0];
        assert_eq!((&session["alias"], &session["founder"]), (&json!("golden-session"), &json!("A")));
        assert_eq!((&session["maxUserCount"], &session["persistent"]), (&json!(10), &json!(true)));
        join_with_password(&server, "golden-session");
    }
}

/// The stored hash of the session password counts, and so does that of the opword.
fn join_with_password(server: &TestServer, session: &str) {
    let mut client: Client = server.connect();
    client.ident("newcomer");
    let sid = "1".repeat(32);
    client.command("join", json!([session]), json!({"s": sid, "password": "wrong"}));
    client.reply(|v| v["code"] == "badPassword");
    client.command("join", json!([session]), json!({"s": sid, "password": "sesame"}));
    client.reply(|v| v["state"] == "join");
    client.command("gain-op", json!(["wrong"]), json!({}));
    client.reply(|v| v["type"] == "error" && v["message"].as_str().unwrap().contains("Incorrect password"));
    client.command("gain-op", json!(["op"]), json!({}));
    client.reply(|v| v["T"] == "opgive");
}

/// A server that makes sessions from a copy of recorded templates.
fn with_templates(from: &Path) -> (tempfile::TempDir, TestServer) {
    let folder = tempfile::tempdir().unwrap();
    copy(from, folder.path());
    let options = ServeOptions { templates: Some(folder.path().into()), ..ServeOptions::default() };
    let config = format!("{CONFIG}[config]\nsessionCountLimit=100\n");
    (folder, TestServer::start_with(&config, options))
}

fn listed_templates(server: &TestServer) -> BTreeMap<String, Value> {
    let mut client = server.connect();
    let listed = client.ident_as("mod", "modpw");
    listed.into_iter().map(|t| (t["alias"].as_str().unwrap().to_owned(), t)).collect()
}

#[test]
fn recorded_templates_are_listed_and_give_the_content_that_they_gave() {
    let Some(golden) = golden() else { return };
    let templates = golden.join("config/templates");
    let expected = read_json(&templates.join("expected.json"));
    let (_folder, server) = with_templates(&templates.join("accepted"));
    let listed = listed_templates(&server);
    // Nobody could do anything in sessions from these.
    let refused = ["no-messages", "only-header"];
    let recorded = expected["listed (admin API)"].as_array().unwrap();
    let recorded: Vec<&Value> =
        recorded.iter().filter(|t| !refused.contains(&t["alias"].as_str().unwrap())).collect();
    assert_eq!(listed.len(), recorded.len(), "{:?}", listed.keys());
    for template in recorded {
        let alias = template["alias"].as_str().unwrap();
        for (key, value) in template.as_object().unwrap() {
            // There are 254 user ids.
            let value = if value == 255 { &json!(254) } else { value };
            assert_eq!(&listed[alias][key], value, "{alias}: {key}");
        }
        let content =
            expected["messages received by the first joiner, without type 0"][alias].as_array().unwrap();
        let content: Vec<Message> =
            content.iter().map(|m| serde_json::from_value(m.clone()).unwrap()).collect();
        let content: Vec<Message> = content.into_iter().take_while(|(kind, ..)| *kind != 32).collect();
        assert_eq!(first_content(&server, alias, content.len()), undamaged(alias, content), "{alias}");
    }
}

/// What comes before the joiner's own Join.
fn first_content(server: &TestServer, alias: &str, count: usize) -> Vec<Message> {
    let mut client = server.connect();
    client.ident("guest");
    let mut join = json!({"s": SID});
    if alias == "all-header-keys" {
        join["password"] = "pw".into();
    }
    client.command("join", json!([alias]), join);
    client.reply(|v| v["state"] == "join");
    let mut content = Vec::new();
    while content.len() < count {
        let message = client.next().expect("the connection is open");
        // The only answer of the server's own kind that comes before the content ends is a server reply.
        if message.kind != 0 {
            content.push((message.kind.into(), message.user.into(), hex(&message.payload)));
        }
    }
    assert_eq!(client.until(|m| m.kind != 0).kind, 32);
    content
}

/// The reference damages layer access messages of templates: it loses who has access.
fn undamaged(alias: &str, mut content: Vec<Message>) -> Vec<Message> {
    for message in content.iter_mut().filter(|m| m.0 == 69) {
        message.2 = if alias == "rec-messages" { "0101420506".into() } else { "000101420506".into() };
    }
    content
}

#[test]
fn of_the_templates_that_the_reference_rejects_those_of_earlier_times_start() {
    let Some(golden) = golden() else { return };
    let (_folder, server) = with_templates(&golden.join("config/templates/rejected"));
    let listed: Vec<String> = listed_templates(&server).into_keys().collect();
    // A comment before the header, another minor version, and the text form before 2.2 are no reason to refuse.
    assert_eq!(listed, ["comment-first", "minor", "old-text-form", "seed-form"]);
}
