//! What the admin API has beyond that of the reference: roles, events, its own description, previews, the page.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeSet;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use common::http::{Answer, request};
use common::{TestServer, database_source, eventually};
use drawhall::admin::{AccessRules, Credentials};
use drawhall::app::ServeOptions;
use drawhall::db::LogRow;
use flate2::read::GzDecoder;
use serde_json::{Value, json};

struct Admin {
    server: TestServer,
    folder: tempfile::TempDir,
}

impl Admin {
    fn start() -> Admin {
        Self::start_with(ServeOptions::default())
    }

    fn start_with(options: ServeOptions) -> Admin {
        let folder = tempfile::tempdir().unwrap();
        let source = database_source(folder.path());
        let sessions = options.keep_ended.then(|| folder.path().join("sessions")).or(options.sessions);
        let options = ServeOptions { source, sessions, admin_port: Some(0), ..options };
        Admin { server: TestServer::start_with("", options), folder }
    }

    /// A server with stored sessions that can be restored when they have ended.
    fn keeping_ended() -> Admin {
        Self::start_with(ServeOptions { keep_ended: true, ..ServeOptions::default() })
    }

    fn address(&self) -> SocketAddr {
        self.server.admin.unwrap()
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        request(self.address(), method, path, "", body)
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, None);
        assert_eq!(answer.status, 200, "{path}: {}", answer.json);
        answer.json
    }
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let lines = answer.head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
}

// Roles.

#[test]
fn accounts_with_the_flag_admin_log_in_and_others_do_not() {
    let access =
        AccessRules { credentials: Credentials::parse("root:of all").ok(), ..AccessRules::default() };
    let admin = Admin::start_with(ServeOptions { admin_access: access, ..ServeOptions::default() });
    let ask = |method: &str, path: &str, headers: &str, body: Option<&Value>| {
        request(admin.address(), method, path, headers, body)
    };
    let basic = "Authorization: Basic cm9vdDpvZiBhbGw=\r\n";
    let account = |name: &str, flags: &str| {
        let account = json!({"username": name, "password": "secret", "flags": flags});
        let made = ask("POST", "/api/accounts", basic, Some(&account));
        assert_eq!(made.status, 200, "{}", made.json);
        made.json["id"].as_i64().unwrap()
    };
    let boss = account("boss", "HOST,ADMIN");
    account("guest", "HOST");

    let log_in = |name: &str, password: &str| {
        ask("POST", "/api/login", "", Some(&json!({"username": name, "password": password})))
    };
    for (name, password) in [("boss", "wrong"), ("nobody", "secret"), ("guest", "secret"), ("boss", "")] {
        let refused = log_in(name, password);
        assert_eq!((refused.status, header(&refused, "set-cookie")), (403, None), "{name} {password}");
    }
    let done = log_in("boss", "secret");
    assert_eq!(done.json, json!({"user": "boss", "login": true, "role": "administrator"}));
    let cookie = header(&done, "set-cookie").unwrap();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
        assert!(cookie.contains(part), "{part}: {cookie}");
    }
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(ask("GET", "/api/status", "", None).status, 401);
    assert_eq!(ask("GET", "/api/status", &cookie, None).status, 200);
    assert_eq!(
        ask("GET", "/api/whoami", &cookie, None).json,
        json!({"user": "boss@127.0.0.1", "login": true, "role": "administrator"})
    );
    assert_eq!(ask("GET", "/api/status", "Cookie: drawhall=made-up\r\n", None).status, 401);
    let elsewhere = format!("{cookie}Origin: https://evil.example\r\n");
    assert_eq!(ask("PUT", "/api/sessions", &elsewhere, Some(&json!({"message": "x"}))).status, 403);

    // The flag is taken away: the login ends.
    let path = format!("/api/accounts/{boss}");
    assert_eq!(ask("PUT", &path, basic, Some(&json!({"flags": "HOST"}))).status, 200);
    eventually("the login ends", || ask("GET", "/api/status", &cookie, None).status == 401);

    // Who knows the password of Basic authentication can log in on the page, too, and out.
    let root = log_in("root", "of all");
    let cookie = format!("Cookie: {}\r\n", header(&root, "set-cookie").unwrap().split(';').next().unwrap());
    assert_eq!(ask("GET", "/api/status", &cookie, None).status, 200);
    let out = ask("POST", "/api/logout", &cookie, Some(&json!({})));
    assert!(header(&out, "set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(ask("GET", "/api/status", &cookie, None).status, 401);
}

#[test]
fn passwords_of_the_login_cannot_be_tried_for_ever() {
    let access = AccessRules { login_required: true, ..AccessRules::default() };
    let admin = Admin::start_with(ServeOptions { admin_access: access, ..ServeOptions::default() });
    let wrong = json!({"username": "boss", "password": "wrong"});
    let first = admin.ask("GET", "/api/status", None);
    assert_eq!(
        (first.status, header(&first, "www-authenticate")),
        (401, None),
        "only the page can help here"
    );
    let statuses: Vec<u16> = (0..21).map(|_| admin.ask("POST", "/api/login", Some(&wrong)).status).collect();
    assert_eq!((statuses[0], statuses[20]), (403, 429), "{statuses:?}");
}

// The description.

/// What is wrong with a value, by the description.
fn fault(document: &Value, schema: &Value, value: &Value, path: &str) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.strip_prefix('#').unwrap()).unwrap();
        let known = target["properties"].as_object().cloned().unwrap_or_default();
        let unknown = value
            .as_object()
            .into_iter()
            .flatten()
            .find(|(key, _)| target.get("additionalProperties").is_none() && !known.contains_key(*key));
        if let Some((key, _)) = unknown {
            return Some(format!("{path}.{key} is not described"));
        }
        return fault(document, target, value, path);
    }
    if let Some(either) = schema["anyOf"].as_array() {
        let faults: Vec<_> = either.iter().map(|one| fault(document, one, value, path)).collect();
        return faults
            .iter()
            .all(Option::is_some)
            .then(|| faults.into_iter().flatten().collect::<Vec<_>>().join(" / "));
    }
    let is_of = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{path}: there is no type {other}"),
    };
    let fits = match &schema["type"] {
        Value::String(kind) => is_of(kind),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).any(is_of),
        _ => true,
    };
    if !fits {
        return Some(format!("{path}: {value} is no {}", schema["type"]));
    }
    if value.is_null() {
        return None;
    }
    let needed = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(missing) = needed.into_iter().find(|key| value.get(*key).is_none()) {
        return Some(format!("{path}.{missing} is missing"));
    }
    if let Some(list) = value.as_array() {
        return list
            .iter()
            .enumerate()
            .find_map(|(at, inner)| fault(document, &schema["items"], inner, &format!("{path}[{at}]")));
    }
    let properties = schema["properties"].as_object();
    properties.into_iter().flatten().find_map(|(key, inner)| {
        value.get(key).and_then(|value| fault(document, inner, value, &format!("{path}.{key}")))
    })
}

#[test]
fn answers_are_as_they_are_described() {
    let admin = Admin::keeping_ended();
    let document = admin.get("/api/openapi.json");
    assert_eq!(document["openapi"], "3.1.0");
    let mut a = admin.server.connect();
    let id = a.host_running("A");
    let mut b = admin.server.connect();
    b.join("B", &id);
    let lone = admin.server.connect();
    a.command("invite-create", json!([]), json!({"maxUses": 3, "trust": true}));
    a.reply(|v| v["type"] == "invitecreated");
    let post = |path: &str, body: Value| {
        let answer = admin.ask("POST", path, Some(&body));
        assert_eq!(answer.status, 200, "{path}: {}", answer.json);
    };
    let until = "2099-01-01 00:00:00";
    post(&format!("/api/sessions/{id}/chat"), json!({"message": "hello"}));
    post("/api/banlist", json!({"ip": "192.0.2.1", "expires": until}));
    post("/api/systembans", json!({"sid": "00000000000000000000000000000001", "expires": until}));
    post("/api/userbans", json!({"userId": 5, "expires": until}));
    post("/api/accounts", json!({"username": "C", "password": "x", "flags": "MOD"}));
    post("/api/log", json!({"level": "Info", "topic": "Status", "message": "[test] line"}));
    let invite = admin.get(&format!("/api/sessions/{id}/invites"))["invites"][0]["secret"].clone();
    let uid = admin.get("/api/users")[0]["uid"].clone();
    assert_eq!(admin.ask("PUT", "/api/server", Some(&json!({"reportInbox": true}))).status, 200);
    a.command("report", json!([]), json!({"user": 2, "reason": "scribbles"}));
    eventually("the report is stored", || admin.get("/api/reports")["total"] == 1);
    eventually("there is a sample", || {
        admin.get("/api/overview")["samples"].as_array().is_some_and(|s| !s.is_empty())
    });

    let mut looked = BTreeSet::new();
    for (template, methods) in document["paths"].as_object().unwrap() {
        // There is no picture, events do not end, a recording is no JSON. Operators ask with a link:
        // tests/operator_links.rs.
        if methods.get("get").is_none()
            || template.starts_with("/operator/")
            || ["/events", "/sessions/{session}/thumbnail"].contains(&template.as_str())
            || methods["get"]["responses"]["200"]["content"].get("application/json").is_none()
        {
            continue;
        }
        let path = template
            .replace("{session}", &id)
            .replace("{secret}", invite.as_str().unwrap())
            .replace("{ban}", "address:1")
            .replace("{report}", "1")
            .replace("{person}", &format!("device:{}", common::client::system_id("B")))
            .replace("{uid}", uid.as_str().unwrap())
            .replace("{user}", "2");
        let query = if template == "/banlist/preview" { "?ip=127.0.0.1&subnet=8" } else { "" };
        let mut answers = vec![admin.get(&format!("/api{path}{query}"))];
        let schema = &methods["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        if schema.get("anyOf").is_some() {
            answers.push(admin.get(&format!("/api{path}?v=2")));
        }
        for answer in &answers {
            let found = fault(&document, schema, answer, template);
            assert_eq!(found, None, "{answer}");
        }
        looked.insert(template.clone());
    }
    assert!(looked.len() >= 24, "{looked:?}");
    drop(lone);
}

#[test]
fn everything_that_is_described_can_be_asked() {
    let admin = Admin::keeping_ended();
    let document = admin.get("/api/openapi.json");
    let mut a = admin.server.connect();
    let id = a.host_running("A");
    for (template, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let (path, method) = (template.replace("{session}", &id), method.to_uppercase());
            if template == "/events" || (method == "DELETE" && template == "/sessions/{session}") {
                continue;
            }
            let path = path.replace(['{', '}'], "");
            let body = matches!(method.as_str(), "POST" | "PUT").then(|| json!({}));
            let answer = admin.ask(&method, &format!("/api{path}"), body.as_ref());
            let what = format!("{method} {path}: {} {}", answer.status, answer.json);
            assert!(answer.status < 500 && answer.status != 405, "{what}");
            assert!(answer.json["message"] != "Unsupported method", "{what}");
            if !template.contains('{') {
                assert_ne!(answer.status, 404, "{what}");
            }
            assert!(operation["summary"].as_str().is_some_and(|s| s.len() > 5), "{what}");
        }
    }
}

#[test]
fn another_method_is_refused_with_those_that_the_path_has() {
    let admin = Admin::start();
    for (method, path, allowed) in [
        ("POST", "status", "GET, HEAD, OPTIONS"),
        ("DELETE", "server", "GET, HEAD, OPTIONS, PUT"),
        ("PATCH", "sessions", "GET, HEAD, OPTIONS, POST, PUT"),
        ("PUT", "accounts/auth", "OPTIONS, POST"),
        ("GET", "login", "OPTIONS, POST"),
        ("POST", "sessions/none/1", "DELETE, GET, HEAD, OPTIONS, PUT"),
    ] {
        let refused = admin.ask(method, &format!("/api/{path}"), Some(&json!({})));
        assert_eq!((refused.status, header(&refused, "allow")), (405, Some(allowed)), "{method} {path}");
        assert_eq!(refused.json, json!({"status": "error", "message": "Unsupported method"}));
    }
    assert_eq!(admin.ask("PATCH", "/api/nothing", None).status, 404);
    assert_eq!(admin.ask("GET", "/api", None).status, 404);
}

#[test]
fn members_of_a_wrong_type_are_refused_by_name() {
    let admin = Admin::start();
    let mut a = admin.server.connect();
    let id = a.host_running("A");
    for (method, path, body, message) in [
        ("POST", "accounts", json!({"username": 5, "password": "x"}), "username: must be a text"),
        (
            "POST",
            "accounts",
            json!({"username": "a", "password": "x", "locked": "perhaps"}),
            "locked: must be true or false",
        ),
        (
            "POST",
            "log",
            json!({"level": "Info", "topic": "Status", "message": "[a] b", "user": []}),
            "user: must be an object",
        ),
        (
            "PUT",
            &format!("sessions/{id}"),
            json!({"title": "x", "nsfm": "perhaps"}),
            "nsfm: must be true or false",
        ),
        (
            "PUT",
            &format!("sessions/{id}"),
            json!({"title": "x", "resetThreshold": "big"}),
            "resetThreshold: must be a size such as 15mb",
        ),
        ("PUT", &format!("sessions/{id}/1"), json!({"op": {}}), "op: must be true or false"),
        (
            "POST",
            "banlist",
            json!({"ip": "192.0.2.1", "subnet": "x", "expires": "2030-01-01"}),
            "subnet: must be a whole number",
        ),
        ("PUT", &format!("sessions/{id}/chat"), json!({"offset": -1}), "offset: 0 to 9007199254740991"),
        ("DELETE", &format!("sessions/{id}?quiet=perhaps"), Value::Null, "quiet: must be true or false"),
        ("GET", "log?page=x", Value::Null, "page: must be a whole number"),
    ] {
        let refused = admin.ask(method, &format!("/api/{path}"), Some(&body).filter(|body| !body.is_null()));
        assert_eq!(
            (refused.status, refused.json["message"].as_str()),
            (400, Some(message)),
            "{method} {path}"
        );
    }
    assert_eq!(admin.get(&format!("/api/sessions/{id}"))["title"], "");
    // What drawpile's web admin sends: an unknown member, and an empty number.
    let ban = json!({"address": "", "ip": "192.0.2.1", "subnet": "", "expires": "2030-01-01", "comment": ""});
    assert_eq!(admin.ask("POST", "/api/banlist", Some(&ban)).json["subnet"], 0);
}

#[test]
fn the_documentation_names_all_that_is_described() {
    let admin = Admin::start();
    let documentation = include_str!("../docs/ADMIN.md");
    for path in admin.get("/api/openapi.json")["paths"].as_object().unwrap().keys() {
        let first = path.split('/').nth(1).unwrap();
        let is_named =
            [format!("`{first}"), format!("/api/{first}")].iter().any(|n| documentation.contains(n));
        assert!(is_named, "docs/ADMIN.md does not name {first}");
    }
}

// Events.

/// Reads events until one fits.
fn event(reader: &mut impl std::io::BufRead, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let mut line = String::new();
    let mut current = String::new();
    loop {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the events end");
        if let Some(name) = line.strip_prefix("event: ") {
            current = name.trim().to_owned();
        } else if let Some(data) = line.strip_prefix("data: ") {
            let value: Value = serde_json::from_str(data).unwrap();
            if current == name && fits(&value) {
                return value;
            }
        }
    }
}

#[test]
fn changes_are_told_as_they_happen() {
    let admin = Admin::start();
    let mut a = admin.server.connect();
    let id = a.host_running("A");
    let follow = |topics: &str| {
        let mut stream = TcpStream::connect(admin.address()).unwrap();
        stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
        write!(stream, "GET /api/events?topics={topics} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        BufReader::new(stream)
    };
    let mut all = follow("status,sessions,log");
    event(&mut all, "session", |v| v["id"] == id.as_str() && v["userCount"] == 1);
    let status = event(&mut all, "status", |_| true);
    assert_eq!((&status["users"], &status["sessions"]), (&json!(1), &json!(1)));
    let mut b = admin.server.connect();
    b.join("B", &id);
    event(&mut all, "session", |v| v["id"] == id.as_str() && v["userCount"] == 2);
    let row = LogRow {
        timestamp: "2026-01-01T00:00:00Z".into(),
        level: 1,
        topic: "Status".into(),
        user: String::new(),
        session: id.clone(),
        message: "something".into(),
    };
    admin.server.log.append_log(&[row]).unwrap();
    let line = event(&mut all, "log", |v| v["message"] == "something");
    assert_eq!((&line["level"], &line["session"]), (&json!("Warn"), &json!(id)));
    assert_eq!(admin.ask("DELETE", &format!("/api/sessions/{id}"), None).status, 200);
    event(&mut all, "session-end", |v| v["id"] == id.as_str());

    let refused = admin.ask("GET", "/api/events?topics=weather", None);
    assert_eq!(
        (refused.status, &refused.json["message"]),
        (400, &json!("topics: there is no topic 'weather'"))
    );
}

// Bans, settings, disks, templates.

#[test]
fn a_ban_shows_beforehand_whom_it_would_hit() {
    let admin = Admin::start();
    let mut a = admin.server.connect();
    let id = a.host_running("A");
    let hit = admin.get("/api/banlist/preview?ip=127.0.0.1");
    assert_eq!(
        (&hit["addresses"], &hit["many"], &hit["first"]),
        (&json!("1"), &json!(false), &json!("127.0.0.1"))
    );
    assert_eq!((&hit["users"][0]["name"], &hit["users"][0]["session"]), (&json!("A"), &json!(id)));
    let wide = admin.get("/api/banlist/preview?ip=198.51.100.7&subnet=16");
    assert_eq!((&wide["addresses"], &wide["many"]), (&json!("65536"), &json!(true)));
    assert_eq!((&wide["first"], &wide["last"]), (&json!("198.51.0.0"), &json!("198.51.255.255")));
    assert_eq!(wide["users"], json!([]));
    let home = admin.get("/api/banlist/preview?ip=2001:db8::5&subnet=64");
    assert_eq!((&home["addresses"], &home["many"]), (&json!("18446744073709551616"), &json!(false)));
    assert_eq!(
        (&home["first"], &home["last"]),
        (&json!("2001:db8::"), &json!("2001:db8::ffff:ffff:ffff:ffff"))
    );
    let wider = admin.get("/api/banlist/preview?ip=2001:db8::5&subnet=32");
    assert_eq!(wider["many"], true);
    for bad in ["?ip=nonsense", "", "?ip=127.0.0.1&subnet=33", "?ip=127.0.0.1&subnet=x"] {
        assert_eq!(admin.ask("GET", &format!("/api/banlist/preview{bad}"), None).status, 400, "{bad}");
    }
}

#[test]
fn settings_are_explained_and_checked_without_being_set() {
    let admin = Admin::start();
    let settings = admin.get("/api/settings");
    let timeout = settings.as_array().unwrap().iter().find(|s| s["key"] == "clientTimeout").unwrap().clone();
    assert_eq!(
        (&timeout["kind"], &timeout["unit"], &timeout["group"]),
        (&json!("time"), &json!("seconds"), &json!("Limits"))
    );
    let check = |body: Value| {
        let answer = admin.ask("POST", "/api/settings", Some(&body));
        assert_eq!(answer.status, 200);
        answer.json["errors"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    let wrong = json!({"clientTimeout": "soon", "serverTitle": "x", "forbiddenNameRegex": "(", "minimumProtocolVersion": "new"});
    assert_eq!(check(wrong.clone()), ["clientTimeout", "forbiddenNameRegex", "minimumProtocolVersion"]);
    assert_eq!(
        check(
            json!({"clientTimeout": "2m", "forbiddenNameRegex": "a|b", "minimumProtocolVersion": "dp:4.24.0"})
        )
        .len(),
        0
    );
    assert_eq!(admin.get("/api/server")["serverTitle"], "", "nothing was set");
    let set = admin.ask("PUT", "/api/server", Some(&wrong)).json;
    assert_eq!(set["serverTitle"], "x");
    assert_eq!(set["forbiddenNameRegex"], "");
    assert_eq!(set["_errors"].as_object().unwrap().len(), 3);
}

#[test]
fn a_disk_that_gets_full_raises_an_alarm() {
    let admin = Admin::start();
    eventually("the disk is looked at", || admin.get("/api/overview")["disks"][0]["low"] == false);
    let disk = admin.get("/api/overview")["disks"][0].clone();
    assert_eq!(disk["path"], admin.folder.path().to_str().unwrap());
    assert!(disk["free"].as_u64().unwrap() <= disk["total"].as_u64().unwrap());
    let alarm = json!({"diskSpaceAlarm": "1999mb"});
    assert_eq!(admin.ask("PUT", "/api/server", Some(&alarm)).json["diskSpaceAlarm"], 1999u64 << 20);
    let free = disk["free"].as_u64().unwrap();
    let low = free < 1999 << 20;
    eventually("the alarm counts", || admin.get("/api/overview")["disks"][0]["low"] == low);
    let page = common::http::text(admin.address(), "/metrics");
    assert!(page.contains("drawhall_disk_free_bytes{path="), "{page}");
}

#[test]
fn sessions_are_made_from_templates() {
    let templates = tempfile::tempdir().unwrap();
    let text = "!version=dp:4.25.1\n!title=From a template\n1 resize {\"right\":9,\"bottom\":9}\n";
    std::fs::write(templates.path().join("lobby.dptxt"), text).unwrap();
    let options = ServeOptions { templates: Some(templates.path().into()), ..ServeOptions::default() };
    let admin = Admin::start_with(options);
    let listed = admin.get("/api/sessions");
    assert_eq!((listed[0]["alias"].as_str(), listed[0].get("id")), (Some("lobby"), None), "{listed}");
    let make = |body: Value| admin.ask("POST", "/api/sessions", Some(&body));
    assert_eq!(make(json!({"template": "nothing"})).status, 400);
    assert_eq!(make(json!({"template": "lobby", "title": "other"})).status, 400);
    let made = make(json!({"template": "lobby"}));
    assert_eq!((made.status, made.json["title"].as_str()), (200, Some("From a template")), "{}", made.json);
    assert_eq!(make(json!({"template": "lobby"})).status, 409);
    let mut a = admin.server.connect();
    a.join("A", "lobby");
}

// The page.

/// Head and body of an answer that may be compressed.
fn fetch(address: SocketAddr, path: &str, headers: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    (String::from_utf8(answer[..end].to_vec()).unwrap().to_ascii_lowercase(), answer[end + 4..].to_vec())
}

#[test]
fn the_page_is_served_small_and_safe() {
    let access =
        AccessRules { credentials: Credentials::parse("root:of all").ok(), ..AccessRules::default() };
    let admin = Admin::start_with(ServeOptions { admin_access: access, ..ServeOptions::default() });
    let (head, index) = fetch(admin.address(), "/", "");
    assert!(head.starts_with("http/1.1 200"), "the page asks for the login itself: {head}");
    for header in [
        "content-security-policy: default-src 'none'; script-src 'self' 'sha256-",
        "cache-control: no-cache",
        "x-frame-options: deny",
        "x-content-type-options: nosniff",
        "content-type: text/html",
    ] {
        assert!(head.contains(header), "{header}: {head}");
    }
    let index = String::from_utf8(index).unwrap();
    let script = index.split("src=\"assets/").nth(1).unwrap().split('"').next().unwrap();
    let script = format!("/assets/{script}");
    let (head, plain) = fetch(admin.address(), &script, "");
    assert!(head.contains("cache-control: public, max-age=31536000, immutable"), "{head}");
    assert!(!head.contains("content-encoding"), "{head}");
    let (head, small) = fetch(admin.address(), &script, "Accept-Encoding: br, gzip\r\n");
    assert!(head.contains("content-encoding: gzip") && small.len() < plain.len(), "{head}");
    let mut unpacked = Vec::new();
    GzDecoder::new(small.as_slice()).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain);
    let (head, _) = fetch(admin.address(), &script, "Accept-Encoding: gzip;q=0\r\n");
    assert!(!head.contains("content-encoding"), "{head}");
    let etag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    let (head, body) = fetch(admin.address(), &script, &format!("If-None-Match: {etag}\r\n"));
    assert!(head.starts_with("http/1.1 304") && body.is_empty(), "{head}");
    for nowhere in ["/assets/app.js", "/assets/../src/main.rs", "/nothing"] {
        assert!(fetch(admin.address(), nowhere, "").0.starts_with("http/1.1 404"), "{nowhere}");
    }
}

#[test]
fn nobody_is_listed_twice_while_joining() {
    let admin = Admin::start();
    let (address, api) = (admin.server.address, admin.server.admin.unwrap());
    let mut host = admin.server.connect();
    let id = host.host_running("Host");
    let joining = std::thread::spawn(move || {
        for number in 0..30 {
            common::client::Client::connect(address).join(&format!("Guest {number}"), &id);
        }
    });
    while !joining.is_finished() {
        let answer = request(api, "GET", "/api/users?v=2", "", None);
        let users = answer.json["users"].as_array().unwrap();
        let uids: BTreeSet<&str> = users.iter().map(|user| user["uid"].as_str().unwrap()).collect();
        assert_eq!(uids.len(), users.len(), "{users:?}");
    }
    joining.join().unwrap();
}

#[test]
fn whoever_stops_following_makes_room_for_others() {
    let admin = Admin::start();
    let follow = || {
        let mut stream = TcpStream::connect(admin.address()).unwrap();
        stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
        write!(stream, "GET /api/events?topics=bans HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (stream, String::from_utf8_lossy(&status).into_owned())
    };
    let mut following = Vec::new();
    loop {
        let (stream, status) = follow();
        if status.ends_with("503") {
            break;
        }
        assert!(status.ends_with("200") && following.len() < 200, "{status} {}", following.len());
        following.push(stream);
    }
    drop(following);
    eventually("there is room", || follow().1.ends_with("200"));
}
