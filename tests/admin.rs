//! The admin API of a server with clients.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::http::{Answer, request};
use common::{Client, SID, TestServer, eventually};
use drawhall::admin::{AccessRules, Credentials};
use drawhall::app::ServeOptions;
use drawhall::config::RuleSource;
use serde_json::{Value, json};

struct Admin {
    server: TestServer,
    _folder: tempfile::TempDir,
}

impl Admin {
    /// A server with a database.
    fn start() -> Admin {
        Self::start_with(ServeOptions::default())
    }

    fn start_with(options: ServeOptions) -> Admin {
        let folder = tempfile::tempdir().unwrap();
        let database = Some(folder.path().join("config.db"));
        let nowhere = Some("http://127.0.0.1:1/".to_owned());
        let source = RuleSource {
            database,
            local_host: "draw.example.org".into(),
            extauth: nowhere.clone(),
            report_url: nowhere,
            ..RuleSource::default()
        };
        let server = TestServer::start_with(
            "",
            ServeOptions { source, admin_port: Some(0), websocket_port: Some(0), ..options },
        );
        Admin { server, _folder: folder }
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        request(self.server.admin.unwrap(), method, path, "", body)
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, None);
        assert_eq!(answer.status, 200, "{path}: {}", answer.json);
        answer.json
    }

    fn put(&self, path: &str, body: Value) -> Value {
        let answer = self.ask("PUT", path, Some(&body));
        assert_eq!(answer.status, 200, "{path}: {}", answer.json);
        answer.json
    }

    fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.ask("POST", path, Some(&body));
        assert!(matches!(answer.status, 200 | 202), "{path}: {}", answer.json);
        answer.json
    }
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let lines = answer.head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
}

/// How `ours` differs in members and types from what was recorded.
fn difference(path: &str, recorded: &Value, ours: &Value) -> Option<String> {
    match (recorded, ours) {
        (Value::Object(recorded), Value::Object(ours)) => recorded.iter().find_map(|(key, value)| {
            let path = format!("{path}.{key}");
            ours.get(key).map_or(Some(format!("{path} is missing")), |o| difference(&path, value, o))
        }),
        (Value::Array(recorded), Value::Array(ours)) => {
            let pair = recorded.first().zip(ours.first());
            pair.and_then(|(r, o)| difference(&format!("{path}[0]"), r, o))
        }
        (Value::Null, Value::Null)
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::String(_), Value::String(_)) => None,
        (Value::String(text), Value::Null) if text.is_empty() => None,
        _ => Some(format!("{path}: {recorded} was recorded, not {ours}")),
    }
}

/// Members of an object that the recording does not have.
fn more(recorded: &Value, ours: &Value) -> Vec<String> {
    let (Some(recorded), Some(ours)) = (recorded.as_object(), ours.as_object()) else { return Vec::new() };
    ours.keys().filter(|key| !recorded.contains_key(*key)).cloned().collect()
}

/// What makes the session that the recording was made with.
fn golden_session(admin: &Admin) -> [Client; 4] {
    let mut a = admin.server.connect();
    a.ident("A");
    let sid = |n: char| format!("{n:0>32}");
    let host = json!({"protocol": "dp:4.24.0", "user_id": 1, "s": sid('a'), "alias": "golden-session",
        "password": "sesame"});
    a.command("host", json!([]), host);
    a.reply(|v| v["state"] == "host");
    a.send(129, 1, &[0; 16]);
    a.command("init-complete", json!([]), json!({}));
    let conf = json!({"persistent": true, "title": "Golden title", "maxUserCount": 10, "opword": "op",
        "resetThreshold": 5_242_880, "preserveChat": true, "deputies": true});
    a.command("sessionconf", json!([]), conf);
    a.reply(|v| v["type"] == "status");
    let join = |name: &str, ident: Value, n: char| {
        let mut client = admin.server.connect();
        client.command("ident", ident, json!({}));
        client.reply(|v| v["state"] == "identOk");
        client.command("join", json!(["golden-session"]), json!({"s": sid(n), "password": "sesame"}));
        let joined = client.reply(|v| v["state"] == "join" || v["type"] == "error");
        assert_eq!(joined["state"], "join", "{name}: {joined}");
        client
    };
    let b = join("B", json!(["B"]), 'b');
    let c = join("C", json!(["C"]), 'c');
    let m = join("admin", json!(["admin", "secret"]), 'd');
    a.command("kick-user", json!([3]), json!({"ban": true}));
    a.command("invite-create", json!([]), json!({"maxUses": 3, "trust": true}));
    a.reply(|v| v["type"] == "invitecreated");
    a.send(36, 0, &[2]);
    [a, b, c, m]
}

#[test]
fn recorded_exchanges_get_the_same_status_members_and_types() {
    let Some(golden) = common::golden() else { return };
    let text = std::fs::read_to_string(golden.join("admin/exchanges.jsonl")).unwrap();
    let admin = Admin::start();
    let mut clients = None;
    let mut differences = Vec::new();
    let mut sessions_seen = false;
    for (at, line) in text.lines().enumerate() {
        let exchange: Value = serde_json::from_str(line).unwrap();
        let (method, path) = (exchange["method"].as_str().unwrap(), exchange["path"].as_str().unwrap());
        let has_session =
            path == "/api/sessions" && exchange["response"].as_array().is_some_and(|r| !r.is_empty());
        if has_session && !sessions_seen {
            sessions_seen = true;
            clients = Some(golden_session(&admin));
            // What follows describes what they did.
            eventually("all that was done has been done", || {
                let session = admin.get("/api/sessions/golden-session");
                session["invitelist"].as_array().is_some_and(|i| i.len() == 1)
                    && session["users"].as_array().is_some_and(|u| u.len() == 4)
                    && session["users"][1]["trusted"] == true
            });
        }
        if at == 60 {
            let [_, b, ..] = clients.as_mut().unwrap();
            b.send(35, 0, b"\0\0to admin");
            eventually("it is heard", || {
                let chat = admin.get("/api/sessions/golden-session/chat?offset=0");
                chat["messages"].as_array().is_some_and(|m| m.len() == 3)
            });
        }
        let body = Some(&exchange["request"]).filter(|b| !b.is_null());
        let ours = admin.ask(method, path, body);
        let recorded = &exchange["response"];
        let what = format!("{at} {method} {path}");
        if ours.json["message"] == "Unsupported method" {
            // The reference says 400 here.
            assert_eq!((ours.status, header(&ours, "allow")), (405, Some("GET, HEAD, OPTIONS")), "{what}");
            assert_eq!(*recorded, ours.json, "{what}");
        } else if ours.status != exchange["status"].as_u64().unwrap() as u16 {
            differences.push(format!(
                "{what}: status {} instead of {}: {}",
                ours.status, exchange["status"], ours.json
            ));
        } else if ours.status < 400 {
            differences.extend(difference(&what, recorded, &ours.json));
            if path != "/api/server" {
                differences.extend(
                    more(recorded, &ours.json).into_iter().map(|m| format!("{what}: {m} is too much")),
                );
            }
        }
        // The log is written by the program, not by this test.
        if path.starts_with("/api/log") {
            continue;
        }
        let lengths = (recorded.as_array().map(Vec::len), ours.json.as_array().map(Vec::len));
        if lengths.0.is_some() && lengths.0 != lengths.1 {
            differences.push(format!("{what}: {lengths:?} entries: {}", ours.json));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn recorded_changes_of_a_database_get_the_same_status_members_and_types() {
    for path in common::recordings("admin.json", "config/changed.exchanges.json") {
        let text = std::fs::read_to_string(path).unwrap();
        repeat_exchanges(&serde_json::from_str::<Vec<Value>>(&text).unwrap());
    }
}

fn repeat_exchanges(exchanges: &[Value]) {
    let admin = Admin::start();
    let mut differences = Vec::new();
    for (at, exchange) in exchanges.iter().enumerate() {
        let (method, path) = (exchange["method"].as_str().unwrap(), exchange["path"].as_str().unwrap());
        let ours = admin.ask(method, path, Some(&exchange["body"]).filter(|b| !b.is_null()));
        let (what, recorded) = (format!("{at} {method} {path}"), &exchange["response"]);
        if ours.json["message"] == "Unsupported method" {
            // The reference says 400 here.
            assert_eq!((ours.status, recorded), (405, &ours.json), "{what}");
            continue;
        }
        if ours.status != exchange["status"].as_u64().unwrap() as u16 {
            let status = &exchange["status"];
            differences.push(format!("{what}: status {} instead of {status}: {}", ours.status, ours.json));
            continue;
        }
        // The log is written by the program, and its times differ.
        if ours.status >= 400 || method == "GET" && path == "/api/log" {
            continue;
        }
        differences.extend(difference(&what, recorded, &ours.json));
        if path == "/api/server" {
            // Values, too. The reference takes the text "maybe" for false; here it is refused.
            let object = recorded.as_object().unwrap();
            let other = object
                .iter()
                .filter(|(key, value)| ours.json[key.as_str()] != **value && *key != "persistence");
            differences.extend(
                other.map(|(key, v)| format!("{what}: {key} is {}, not {v}", ours.json[key.as_str()])),
            );
        } else {
            let too_much = more(recorded, &ours.json);
            differences.extend(too_much.into_iter().map(|m| format!("{what}: {m} is too much")));
        }
        let lengths = (recorded.as_array().map(Vec::len), ours.json.as_array().map(Vec::len));
        if lengths.0.is_some() && lengths.0 != lengths.1 {
            differences.push(format!("{what}: {lengths:?} entries: {}", ours.json));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn settings_count_at_once_and_what_is_wrong_is_told() {
    let admin = Admin::start();
    let answer = admin.put(
        "/api/server",
        json!({"serverTitle": "Ours", "clientTimeout": "soon", "nonsense": 1,
        "sessionSizeLimit": "20mb", "idleTimeLimit": "3h"}),
    );
    assert_eq!((&answer["serverTitle"], &answer["sessionSizeLimit"]), (&json!("Ours"), &json!(20 << 20)));
    assert_eq!((&answer["idleTimeLimit"], &answer["clientTimeout"]), (&json!(10_800), &json!(60)));
    let errors =
        json!({"clientTimeout": "clientTimeout: 'soon' is no time", "nonsense": "there is no such setting"});
    assert_eq!(answer["_errors"], errors);
    let mut client = admin.server.connect();
    client.command("ident", json!(["A"]), json!({}));
    assert_eq!(client.reply(|v| v["message"] == "Welcome")["title"], "Ours");
}

#[test]
fn without_a_database_settings_last_as_long_as_the_server() {
    let server = TestServer::start_with(
        "serverTitle=File",
        ServeOptions { admin_port: Some(0), ..ServeOptions::default() },
    );
    let ask = |method: &str, path: &str, body: Option<&Value>| {
        request(server.admin.unwrap(), method, path, "", body)
    };
    assert_eq!(ask("GET", "/api/server/", None).json["serverTitle"], "File");
    let set = ask("PUT", "//api//server", Some(&json!({"serverTitle": "Set"})));
    assert_eq!((set.status, &set.json["serverTitle"]), (200, &json!("Set")));
    for path in ["accounts", "banlist", "systembans", "userbans", "listserverwhitelist"] {
        assert_eq!(ask("GET", &format!("/api/{path}"), None).status, 404, "{path}");
    }
    assert_eq!(ask("GET", "/api/locks", None).json["supported"], false);
}

#[test]
fn bans_and_accounts_that_are_made_here_decide_at_once() {
    let admin = Admin::start();
    admin.post("/api/accounts", json!({"username": "alice", "password": "secret", "flags": "MOD"}));
    let mut alice = admin.server.connect();
    alice.ident_as("alice", "secret");
    let ban = json!({"ip": "127.0.0.0", "subnet": 8, "expires": "2099-01-01 00:00:00"});
    let id = admin.post("/api/banlist", ban)["id"].clone();
    let mut banned = admin.server.connect();
    banned.ident("B");
    banned.ask_to_host();
    assert_eq!(banned.rest().last().map(|m| m.kind), Some(1));
    assert_eq!(admin.ask("DELETE", &format!("/api/banlist/{id}"), None).status, 200);
    admin.server.connect().host_running("C");
}

#[test]
fn flags_that_the_server_does_not_know_are_refused() {
    let admin = Admin::start();
    let body = json!({"username": "alice", "password": "secret", "flags": "MOD,HOSTT"});
    let refused = admin.ask("POST", "/api/accounts", Some(&body));
    assert_eq!(refused.status, 400, "{:?}", refused.json);
    assert_eq!(admin.ask("GET", "/api/accounts", None).json, json!([]));
    let id = admin.post("/api/accounts", json!({"username": "alice", "password": "secret", "flags": "MOD"}))
        ["id"]
        .clone();
    let path = format!("/api/accounts/{id}");
    let refused = admin.ask("PUT", &path, Some(&json!({"username": "bob", "flags": "GHOSTT"})));
    assert_eq!(refused.status, 400, "{:?}", refused.json);
    let accounts = admin.ask("GET", "/api/accounts", None).json;
    assert_eq!((&accounts[0]["username"], &accounts[0]["flags"]), (&json!("alice"), &json!("MOD")));
    assert_eq!(admin.ask("PUT", &path, Some(&json!({"flags": "MOD,HOST"}))).status, 200);
}

#[test]
fn what_is_done_to_a_session_reaches_those_in_it() {
    let admin = Admin::start();
    let mut a = admin.server.connect();
    let id = a.host_running("A");
    let mut b = admin.server.connect();
    let user = b.join("B", &id);
    let path = format!("/api/sessions/{id}");
    admin.put(&path, json!({"title": "By admin", "message": "hello", "alert": "attention"}));
    a.reply(|v| v["message"] == "hello" && v["type"] == "msg");
    a.reply(|v| v["message"] == "attention" && v["type"] == "alert");
    a.reply(|v| v["type"] == "sessionconf" && v["config"]["title"] == "By admin");
    assert_eq!(admin.put(&format!("{path}/{user}"), json!({"op": true}))["op"], true);
    b.until(|m| m.kind == 34 && m.payload == [1, user]);
    admin.put(&format!("{path}/{user}"), json!({"op": false, "message": "only for you"}));
    b.reply(|v| v["message"] == "only for you");
    let users = admin.get("/api/users");
    assert_eq!(users.as_array().map(Vec::len), Some(2));
    let uid = users[1]["uid"].as_str().unwrap().to_owned();
    assert_eq!(admin.get(&format!("/api/users/{uid}"))["name"], "B");
    assert_eq!(admin.ask("DELETE", &format!("/api/users/{uid}?message=out"), None).status, 200);
    let goodbye = b.rest().pop().unwrap();
    assert_eq!((goodbye.kind, &goodbye.payload[1..]), (1, &b"the server administrator (out)"[..]));
    admin.put("/api/sessions", json!({"message": "to all"}));
    a.reply(|v| v["message"] == "to all");
    assert_eq!(admin.ask("DELETE", &format!("{path}?reason=over"), None).status, 200);
    a.reply(|v| v["message"].as_str().is_some_and(|m| m.ends_with(": over")));
    assert!(a.rest().iter().any(|m| m.kind == 1));
    eventually("it is gone", || admin.get("/api/sessions") == json!([]));
}

#[test]
fn what_cannot_be_sent_is_an_error_and_nothing_is_done() {
    let admin = Admin::start();
    let mut a = admin.server.connect();
    let id = a.host_running("A");
    let path = format!("/api/sessions/{id}");
    let long = "x".repeat(70_000);
    let half = "x".repeat(40_000);
    let status =
        |method: &str, path: &str, body: Option<Value>| admin.ask(method, path, body.as_ref()).status;
    for kind in ["message", "alert"] {
        assert_eq!(status("PUT", "/api/sessions", Some(json!({kind: long}))), 400);
        assert_eq!(status("PUT", &path, Some(json!({kind: long, "title": "not done"}))), 400);
        assert_eq!(status("PUT", &format!("{path}/1"), Some(json!({kind: long, "trusted": true}))), 400);
    }
    assert_eq!(status("PUT", &path, Some(json!({"password": half}))), 400);
    assert_eq!(status("POST", &format!("{path}/chat"), Some(json!({"message": half}))), 400);
    let session = admin.get(&path);
    let untouched = (&session["title"], &session["hasPassword"], &session["chat"]);
    assert_eq!(untouched, (&json!(""), &json!(false), &Value::Null));
    assert_eq!(session["users"][0]["trusted"], false);
    assert_eq!(status("PUT", "/api/sessions", Some(json!({"message": "short"}))), 200);
    assert_eq!(a.reply(|v| v["type"] == "msg")["message"], "short");
}

#[test]
fn what_an_administrator_does_is_told_in_the_words_of_the_reference() {
    let admin = Admin::start();
    let mut a = admin.server.connect();
    let id = a.host_running("A");
    let path = format!("/api/sessions/{id}");
    let logged =
        |a: &mut common::Client, text: &str| drop(a.reply(|v| v["type"] == "log" && v["message"] == text));
    for (archive, mode) in [(json!(true), "enabled"), (json!(false), "disabled"), (Value::Null, "default")] {
        admin.put(&path, json!({"archive": archive}));
        logged(&mut a, &format!("Set archive mode {mode}"));
    }
    for (query, by) in [("", "the server administrator"), ("?message=out", "the server administrator (out)")]
    {
        let mut b = admin.server.connect();
        let user = b.join("B", &id);
        assert_eq!(admin.ask("DELETE", &format!("{path}/{user}{query}"), None).status, 200);
        logged(&mut a, &format!("Kicked by {by} (kicked via web admin)"));
        assert_eq!(b.rest().pop().unwrap().payload[1..], *by.as_bytes());
        let mut c = admin.server.connect();
        c.join("C", &id);
        let users = admin.get("/api/users");
        let uid = users.as_array().unwrap().iter().find(|u| u["name"] == "C").unwrap()["uid"].clone();
        let uid = uid.as_str().unwrap();
        assert_eq!(admin.ask("DELETE", &format!("/api/users/{uid}{query}"), None).status, 200);
        logged(&mut a, &format!("Kicked by {by} (kicked via web admin)"));
    }
    assert_eq!(admin.ask("DELETE", &path, None).status, 200);
    let last = a.rest();
    assert!(last.iter().all(|m| m.json().is_none_or(|v| v["type"] != "alert")), "only the goodbye says it");
    assert_eq!(last[last.len() - 1].payload, b"\x02Session terminated by administrator");
}

#[test]
fn a_session_can_end_without_anybody_noticing() {
    let admin = Admin::start();
    let mut a = admin.server.connect();
    let id = a.host_running("A");
    assert_eq!(admin.ask("DELETE", &format!("/api/sessions/{id}?quiet=1"), None).status, 200);
    eventually("it is gone", || admin.get("/api/sessions") == json!([]));
    eventually("the connection is there", || admin.get("/api/users")[0]["state"] == "quiet_disconnect");
    a.send(148, 77, &[7; 40]);
    let echo = a.until(|m| m.kind == 148);
    assert_eq!((echo.user, echo.payload), (1, vec![7; 40]));
    a.send(2, 0, &[0]);
    a.until(|m| m.kind == 2);
    assert!(a.pending().is_empty(), "nothing else was said");
}

#[test]
fn a_picture_is_asked_for_and_kept() {
    let admin = Admin::start();
    let mut a = admin.server.connect();
    a.ident("A");
    let host =
        json!({"protocol": "dp:4.24.0", "user_id": 1, "s": SID, "capabilities": "KEEPALIVE,THUMBNAIL"});
    a.command("host", json!([]), host);
    let id = a.reply(|v| v["state"] == "host")["join"]["id"].as_str().unwrap().to_owned();
    a.send(129, 1, &[0; 16]);
    a.command("init-complete", json!([]), json!({}));
    let path = format!("/api/sessions/{id}");
    let wish = json!({"maxWidth": 100, "format": "webp", "reason": "curiosity"});
    let asked = admin.ask("POST", &format!("{path}/1/thumbnail"), Some(&wish));
    assert_eq!(asked.status, 202);
    let correlator = asked.json["correlator"].as_str().unwrap().to_owned();
    assert_eq!(admin.ask("POST", &format!("{path}/1/thumbnail"), Some(&json!({}))).status, 409);
    let request = a.reply(|v| v["type"] == "thumbnail");
    assert_eq!((&request["correlator"], &request["maxWidth"]), (&json!(correlator), &json!(100)));
    a.send(4, 0, &[correlator.as_bytes(), b"picture"].concat());
    eventually("the picture is there", || admin.ask("GET", &format!("{path}/thumbnail"), None).status == 200);
    assert_eq!(admin.get(&format!("{path}/thumbnail"))["data"], "cGljdHVyZQ==");
}

#[test]
fn only_who_may_is_answered_and_pages_of_others_are_not() {
    let access = AccessRules {
        credentials: Credentials::parse("admin:secret").ok(),
        allowed_origin: Some("https://admin.example".into()),
        ..AccessRules::default()
    };
    let admin = Admin::start_with(ServeOptions { admin_access: access, ..ServeOptions::default() });
    let ask = |method: &str, headers: &str, body: Option<&Value>| {
        request(admin.server.admin.unwrap(), method, "/api/server", headers, body)
    };
    let auth = "Authorization: Basic YWRtaW46c2VjcmV0\r\n";
    let refused = ask("GET", "", None);
    assert!(refused.status == 401 && refused.head.to_ascii_lowercase().contains("www-authenticate: basic"));
    let by_page = ask("GET", "X-Requested-With: XMLHttpRequest\r\n", None);
    assert!(by_page.status == 401 && !by_page.head.to_ascii_lowercase().contains("www-authenticate"));
    let answered = ask("GET", auth, None);
    assert_eq!(answered.status, 200);
    assert!(
        answered.head.to_ascii_lowercase().contains("access-control-allow-origin: https://admin.example")
    );
    assert!(answered.head.to_ascii_lowercase().contains("x-content-type-options: nosniff"));
    assert_eq!(ask("GET", &format!("{auth}Origin: https://evil.example\r\n"), None).status, 403);
    let preflight = ask("OPTIONS", "Origin: https://admin.example\r\n", None);
    assert!(
        preflight.status == 204
            && preflight.head.to_ascii_lowercase().contains("access-control-max-age: 86400")
    );
    assert_eq!(ask("HEAD", auth, None).status, 200);
    assert_eq!(ask("PATCH", auth, None).status, 405);
    // A form of another page could send this without asking.
    assert_eq!(ask("PUT", auth, None).status, 415);
    let form = format!("{auth}Content-Type: application/x-www-form-urlencoded\r\n");
    assert_eq!(ask("PUT", &form, None).status, 415);
    assert_eq!(ask("POST", auth, Some(&json!({}))).status, 405);
    assert_eq!(ask("PUT", auth, Some(&json!([]))).status, 400);
    assert_eq!(ask("PUT", auth, Some(&json!({"serverTitle": "x"}))).status, 200);
}

#[test]
fn locked_sections_stay_as_they_are() {
    let admin = Admin::start();
    let locked = admin.put("/api/locks", json!({"sections": ["server", "bans"], "password": "lock"}));
    assert_eq!((&locked["password"], &locked["sections"]["server"]), (&json!(true), &json!(true)));
    assert_eq!(admin.ask("PUT", "/api/server", Some(&json!({"serverTitle": "x"}))).status, 403);
    assert_eq!(admin.ask("DELETE", "/api/banlist/1", None).status, 403);
    assert_eq!(admin.get("/api/server")["_locked"], true);
    let open = json!({"sections": [], "password": "wrong"});
    assert_eq!(admin.ask("PUT", "/api/locks", Some(&open)).status, 403);
    admin.put("/api/locks", json!({"sections": [], "password": "lock"}));
    assert_eq!(admin.put("/api/server", json!({"serverTitle": "x"}))["serverTitle"], "x");
}

#[test]
fn what_the_server_does_can_be_watched() {
    let admin = Admin::start();
    let text = |path: &str| {
        let address = admin.server.admin.unwrap();
        common::http::text(address, path)
    };
    assert_eq!((text("/healthz"), text("/readyz")), ("ok\n".into(), "ready\n".into()));
    let mut a = admin.server.connect();
    let id = a.host_running("A");
    let mut b = admin.server.connect();
    b.join("B", &id);
    a.send(148, 0, &[1; 40]);
    b.until(|m| m.kind == 148);
    let page = text("/metrics");
    let value = |name: &str| -> f64 {
        let line = page.lines().find_map(|l| l.strip_prefix(&format!("drawhall_{name} ")));
        line.unwrap_or_else(|| panic!("{name} is missing")).parse().unwrap()
    };
    assert_eq!((value("connections"), value("sessions")), (2.0, 1.0));
    for name in [
        "messages_received_total",
        "messages_sent_total",
        "sent_bytes_total",
        "logins_total{result=\"ok\"}",
        "fan_out_seconds_count",
        "history_bytes",
    ] {
        assert!(value(name) > 0.0, "{name}");
    }
}

#[test]
fn a_session_is_made_without_anybody_in_it() {
    let admin = Admin::start();
    let wish = json!({"title": "For everybody", "alias": "lobby", "founder": "the house", "width": 300, "height": 200,
        "background": "#80ff00", "layers": 3, "password": "sesame", "maxUserCount": 20});
    let made = admin.post("/api/sessions", wish.clone());
    assert_eq!(
        (&made["title"], &made["alias"], &made["userCount"]),
        (&json!("For everybody"), &json!("lobby"), &json!(0))
    );
    assert_eq!((&made["hasPassword"], &made["persistent"]), (&json!(true), &json!(true)));
    assert_eq!(admin.ask("POST", "/api/sessions", Some(&wish)).status, 409, "the alias is taken");
    let mut a = admin.server.connect();
    a.ident("A");
    a.command("join", json!(["lobby"]), json!({"s": SID, "password": "sesame"}));
    let user = a.reply(|v| v["state"] == "join")["join"]["user"].as_u64().unwrap() as u8;
    let size = a.until(|m| m.kind == 129);
    assert_eq!(size.payload, [0u32, 300, 200, 0].map(u32::to_be_bytes).concat());
    assert_eq!(a.until(|m| m.kind == 147).payload, [0xff, 0x80, 0xff, 0]);
    a.until(|m| m.kind == 34 && m.payload == [user]);
    for (bad, words) in [
        (json!({"width": 0}), "width: 1 to 32767"),
        (json!({"layers": 0}), "layers"),
        (json!({"background": "green"}), "'green' is no colour"),
        (json!({"alias": "no blanks"}), "alias:"),
        (json!({"protocol": "dp:3.0.0"}), "does not speak"),
        (json!({"title": 5}), "title: must be a text"),
        (json!({"maxUserCount": 500}), "maxUserCount: 2 to 254"),
    ] {
        let answer = admin.ask("POST", "/api/sessions", Some(&bad));
        assert_eq!(answer.status, 400, "{bad}");
        assert!(answer.json["message"].as_str().unwrap().contains(words), "{}", answer.json);
    }
}

/// What the program says at the shell, and whether all was well.
fn ctl(admin: &Admin, args: &[&str]) -> (String, bool) {
    let url = format!("http://{}", admin.server.admin.unwrap());
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_drawhall"))
        .args(["ctl", "--url", &url])
        .env("DRAWHALL_CTL_AUTH", "admin:secret")
        .args(args)
        .output()
        .unwrap();
    let said = if out.status.success() { out.stdout } else { out.stderr };
    (String::from_utf8(said).unwrap(), out.status.success())
}

#[test]
fn the_shell_does_what_the_api_does() {
    let credentials = Credentials::parse("admin:secret").ok();
    let access = AccessRules { credentials, ..AccessRules::default() };
    let admin = Admin::start_with(ServeOptions { admin_access: access, ..ServeOptions::default() });
    let fine = |args: &[&str]| {
        let (said, fine) = ctl(&admin, args);
        assert!(fine, "{args:?}: {said}");
        said
    };
    assert!(
        fine(&["make-session", "title=A place", "alias=place", "width=300"]).starts_with("created session ")
    );
    let mut a = admin.server.connect();
    a.join("A", "place");
    let sessions = fine(&["sessions"]);
    assert!(
        sessions.starts_with("title    userCount  size") && sessions.contains("A place  1 "),
        "{sessions}"
    );
    assert!(fine(&["sessions", "place"]).contains("title = A place"));
    fine(&["message", "hello", "--session", "place"]);
    a.reply(|v| v["message"] == "hello" && v["type"] == "msg");
    fine(&["message", "everybody", "--alert"]);
    a.reply(|v| v["message"] == "everybody" && v["type"] == "alert");
    assert!(fine(&["status"]).contains("sessions = 1"));
    assert_eq!(fine(&["settings", "serverTitle", "Ours"]), "serverTitle = Ours\n");
    assert_eq!(fine(&["settings", "serverTitle"]), "serverTitle = Ours\n");
    assert_eq!(fine(&["bans", "add", "192.0.2.0/24", "--comment", "range"]), "added ban 1\n");
    assert!(fine(&["bans"]).contains("192.0.2.0  24"));
    assert_eq!(fine(&["bans", "remove", "1"]), "removed\n");
    let users: Value = serde_json::from_str(&fine(&["users", "--json"])).unwrap();
    assert_eq!(fine(&["kick", users[0]["uid"].as_str().unwrap()]), "disconnected\n");
    assert_eq!(a.rest().last().map(|m| m.kind), Some(1));
    fine(&["set-session", "place", "title=Another place", "nsfm=true"]);
    let changed: Value = serde_json::from_str(&fine(&["sessions", "place", "--json"])).unwrap();
    assert_eq!((&changed["title"], &changed["nsfm"]), (&json!("Another place"), &json!(true)));
    assert!(fine(&["accounts"]).starts_with("id  username"));
    assert!(fine(&["locks", "bans"]).contains("bans = true"));
    assert!(!ctl(&admin, &["bans", "add", "192.0.2.1"]).1, "bans are locked");
    assert!(!ctl(&admin, &["locks", "nonsense"]).1);
    assert!(fine(&["locks", "--none"]).contains("bans = false"));
    assert_eq!(fine(&["end", "place"]), "ended\n");
    fine(&["log"]);
    for (args, words) in [
        (&["settings", "nonsense"][..], "there is no setting 'nonsense'"),
        (&["settings", "clientTimeout", "soon"], "'soon' is no time"),
        (
            &["end", "nowhere"],
            "there is no session 'nowhere'; `drawhall ctl sessions` lists them (HTTP status 404)",
        ),
        (&["bans", "add", "here"], "Valid IP address required"),
        (&["status", "--auth", "admin:wrong"], "HTTP status 401"),
    ] {
        let (said, fine) = ctl(&admin, args);
        assert!(!fine && said.contains(words), "{args:?}: {said}");
    }
}

#[test]
fn settings_of_what_is_not_there_are_left_out() {
    let options = ServeOptions { admin_port: Some(0), ..ServeOptions::default() };
    let server = TestServer::start_with("", options);
    let shown = request(server.admin.unwrap(), "GET", "/api/server", "", None).json;
    for key in ["abusereport", "extauth", "allowGuestWeb", "requireMatchingHost", "extBansCacheUrl"] {
        assert!(shown.get(key).is_none(), "{key}");
    }
    for key in ["reporttoken", "extauthmod", "allowGuestWebHosts", "clientTimeout", "connectionLimit"] {
        assert!(shown.get(key).is_some(), "{key}");
    }
    let Some(golden) = common::golden() else { return };
    let text = std::fs::read_to_string(golden.join("config/fresh.expected.json")).unwrap();
    let recorded = serde_json::from_str::<Value>(&text).unwrap()["GET /api/server"][1].clone();
    for (key, value) in recorded.as_object().unwrap() {
        assert_eq!(shown.get(key), Some(value), "{key}");
    }
}

#[test]
fn passwords_of_a_session_that_nobody_hosts_are_stored_as_hashes() {
    let sessions = tempfile::tempdir().unwrap();
    let options = ServeOptions { sessions: Some(sessions.path().into()), ..ServeOptions::default() };
    let admin = Admin::start_with(options);
    let wish = json!({"password": "sesame", "opword": "plain;open"});
    let id = admin.post("/api/sessions", wish)["id"].as_str().unwrap().to_owned();
    let journal = sessions.path().join(format!("{id}.session"));
    let stored = || std::fs::read_to_string(&journal).unwrap_or_default();
    eventually("both hashes are there", || {
        stored().matches("PASSWORD sodium;").count() == 1 && stored().contains("OPWORD sodium;")
    });
    assert!(!stored().contains("sesame") && !stored().contains("plain;"));
    let mut a = admin.server.connect();
    a.ident("A");
    a.command("join", json!([id]), json!({"s": SID, "password": "sesame"}));
    a.reply(|v| v["state"] == "join");
    a.command("gain-op", json!(["plain;open"]), json!({}));
    a.until(|m| m.kind == 34 && m.payload == [1]);
}
