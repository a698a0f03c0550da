//! Configuration files and values of settings, as drawpile-srv takes them.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use common::{TestServer, golden};
use drawhall::config::{Millis, Seconds, SettingValue, Settings, ini, parse_size};
use serde_json::{Value, json};

fn read(path: &str) -> Option<(std::path::PathBuf, Value)> {
    let path = golden()?.join("config").join(path);
    let value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    Some((path, value))
}

#[test]
fn values_with_units_are_taken_as_the_reference_takes_them() {
    let Some((_, units)) = read("units.json") else { return };
    // It computes with 24 bits of precision.
    let rough = ["16777217", "100000001", "2147483647", "1.9gb", "1.99gb"];
    let exact = |case: &&Value| !rough.contains(&case["text"].as_str().unwrap());
    for case in units["time"].as_array().unwrap().iter().filter(exact) {
        let text = case["text"].as_str().unwrap();
        let expected = (case["accepted"] == true).then(|| case["value"].as_u64().unwrap());
        assert_eq!(Seconds::read(text).map(|s| s.0), expected, "time {text:?}");
    }
    for case in units["size"].as_array().unwrap().iter().filter(exact) {
        let text = case["text"].as_str().unwrap();
        let expected = (case["accepted"] == true).then(|| case["value"].as_u64().unwrap());
        assert_eq!(parse_size(text), expected, "size {text:?}");
    }
    for case in units["bool"].as_array().unwrap() {
        // What is neither true nor false is refused instead of being taken as false.
        let text = case["text"].as_str().unwrap();
        assert_eq!(bool::read(text).unwrap_or(false), case["value"] == true, "bool {text:?}");
    }
    assert_eq!(Millis::read("1.5").map(|m| m.0), Some(1500));
}

/// Settings as the reference's API shows them.
fn shown(settings: &Settings, key: &str) -> Value {
    match key {
        "clientTimeout" => json!(settings.client_timeout.0),
        "idleTimeLimit" => json!(settings.idle_time_limit.0),
        "sessionSizeLimit" => json!(settings.session_size_limit),
        "sessionCountLimit" => json!(settings.session_count_limit.0),
        "serverTitle" => json!(settings.server_title),
        "forceNsfm" => json!(settings.force_nsfm),
        "persistence" => json!(settings.persistence),
        other => panic!("{other} is not looked at"),
    }
}

#[test]
fn configuration_files_are_read_as_the_reference_reads_them() {
    let Some((path, expected)) = read("ini/expected.json") else { return };
    let folder = path.parent().unwrap().to_owned();
    for (name, expected) in expected.as_object().unwrap().iter().filter(|(name, _)| name.ends_with(".cfg")) {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        let file = ini::parse(&bytes);
        for (key, value) in expected["differs from defaults"].as_object().unwrap() {
            // A bad number is refused; the reference takes it for -1 or 0.
            if name != "errors.cfg" || key == "serverTitle" {
                assert_eq!(&shown(&file.settings, key), value, "{name}: {key}");
            }
        }
        check_logins(name, &bytes, expected["logins"].as_array().unwrap());
    }
}

fn check_logins(name: &str, config: &[u8], logins: &[Value]) {
    let server = TestServer::start(&String::from_utf8_lossy(config));
    for login in logins {
        let (user, expected) = (login[0].as_str().unwrap(), &login[2]);
        let mut client = server.connect();
        client.reply(|v| v["type"] == "login");
        let args = match login[1].as_str() {
            Some(password) => json!([user, password]),
            None => json!([user]),
        };
        client.command("ident", args, json!({}));
        let answer = client.reply(|v| v["type"] == "result" || v["type"] == "error");
        if user == "Mod" {
            // There is an account 'mod'; drawpile-srv lets a guest take its name in other letters.
            assert_eq!(answer["code"], "nameInuse", "{name}");
            continue;
        }
        for key in ["state", "code", "guest"] {
            let (own, recorded) = (answer.get(key), expected.get(key));
            assert_eq!(own, recorded, "{name}: {user}: {key}");
        }
        let flags = |value: &Value| {
            let mut flags: Vec<String> = value["flags"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|f| f.as_str().unwrap().to_owned())
                .filter(|f| !f.is_empty())
                .collect();
            flags.sort();
            flags
        };
        assert_eq!(flags(&answer), flags(expected), "{name}: {user}: flags");
    }
}
