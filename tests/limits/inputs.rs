//! What frontends, proxies, browsers and people really send to the admin API, and origins as they write them.

use std::io::{Read as _, Write as _};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use drawhall::admin::AccessRules;
use drawhall::app::ServeOptions;
use drawhall::transport::accept::WebSocketRules;
use serde_json::{Value, json};

use crate::admin::{Admin, BASIC, with_login};
use crate::common::client::open;
use crate::common::eventually;
use crate::common::http::request;

/// What a browser sends from the page that dpserver's nginx shows; nginx names its upstream as the host.
fn from_page(site: &str, origin: &str) -> String {
    format!("{BASIC}Origin: {origin}\r\nSec-Fetch-Site: {site}\r\n")
}

/// Sends a request with a host of its own, and returns the status and what is said.
fn ask_as(admin: &Admin, host: &str, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = open(admin.address());
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{kind}{headers}Content-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

#[test]
fn pages_behind_a_proxy_that_names_its_upstream_may_change_what_they_show() {
    let access = AccessRules { hosts: vec!["admin.example.org".into()], ..with_login(&[]) };
    let admin = Admin::start(access);
    let put = |host: &str, headers: &str| {
        ask_as(&admin, host, "PUT", "/api/server/", headers, r#"{"serverTitle":"x"}"#)
    };
    let (own, upstream) = ("https://draw.example.org", "drawpile-srv:27780");
    for host in [upstream, "127.0.0.1:27780", "localhost", "admin.example.org"] {
        assert_eq!(put(host, &from_page("same-origin", own)).0, 200, "{host}");
        for site in ["cross-site", "same-site"] {
            let (status, said) = put(host, &from_page(site, own));
            assert!(status == 403 && said.contains("--web-admin-allowed-origin"), "{site}: {said}");
        }
    }
    let (status, said) = put("admin.example.com", &from_page("same-origin", own));
    assert!(status == 403 && said.contains("'admin.example.com' is not known here"), "{said}");
    assert!(said.contains("--web-admin-host"), "{said}");
    let (status, said) = ask_as(&admin, "evil.example", "GET", "/api/status", BASIC, "");
    assert!(status == 403 && said.contains("--web-admin-host"), "{said}");
    // A browser that does not say where its request comes from.
    let origin = |origin: &str| format!("{BASIC}Origin: {origin}\r\n");
    assert_eq!(put(upstream, &origin("https://admin.example.org")).0, 200);
    assert_eq!(put(upstream, &origin(own)).0, 403);
    assert_eq!(put("localhost:1", &origin("http://localhost:1")).0, 200);
    for method in ["DELETE", "POST", "PUT", "PATCH"] {
        let (status, _) =
            ask_as(&admin, upstream, method, "/api/banlist/1", &from_page("cross-site", own), "");
        assert_eq!(status, 403, "{method}");
    }
}

#[test]
fn origins_count_however_they_were_written() {
    for (written, lets_in) in [
        ("https://Web.Example.org/", true),
        ("https://web.example.org:443", true),
        (" https://web.example.org ", true),
        ("*", true),
        ("http://web.example.org", false),
    ] {
        let rules = WebSocketRules { allowed_origins: vec![written.to_owned()], secure: false };
        let access = AccessRules { allowed_origin: Some(written.to_owned()), ..with_login(&[]) };
        let options =
            ServeOptions { websocket_rules: rules, admin_access: access, ..ServeOptions::default() };
        let admin = Admin::start_with(options);
        let page = "Origin: https://web.example.org\r\n";
        let refused = admin.server.connect_websocket(page).err();
        assert_eq!(refused, (!lets_in).then_some(403), "{written}");
        let title = json!({"serverTitle": "x"});
        let headers = from_page("cross-site", "https://web.example.org");
        let answer = admin.ask("PUT", "/api/server", &headers, Some(&title));
        assert_eq!(answer.status, if lets_in { 200 } else { 403 }, "{written}");
    }
    // Without a login any page could do anything.
    let admin = Admin::start(AccessRules { allowed_origin: Some("*".into()), ..AccessRules::default() });
    let headers = from_page("cross-site", "https://web.example.org");
    assert_eq!(admin.ask("PUT", "/api/server", &headers, Some(&json!({"serverTitle": "x"}))).status, 403);
}

#[test]
fn switches_of_queries_are_on_with_true_and_1() {
    let admin = Admin::start(AccessRules::default());
    let mut a = admin.server.connect();
    let id = a.host_running("A");
    let path = format!("/api/sessions/{id}");
    assert_eq!(admin.ask("PUT", &path, "", Some(&json!({"unlisted": true}))).status, 200);
    let listed = || admin.ask("GET", "/api/sessions/?listed=1", "", None).json.as_array().map(Vec::len);
    eventually("the server knows that the session is hidden", || listed() == Some(0));
    for (query, shown) in [
        ("", 1),
        ("?listed=1", 0),
        ("?listed=true", 0),
        ("?listed=TRUE", 0),
        ("?listed=0", 1),
        ("?listed=false", 1),
    ] {
        let list = admin.ask("GET", &format!("/api/sessions/{query}"), "", None).json;
        assert_eq!(list.as_array().map(Vec::len), Some(shown), "{query}");
    }
    for query in ["thumbnail=false&generation=true", "thumbnail=0", "thumbnail=True"] {
        let answer = admin.ask("DELETE", &format!("{path}/thumbnail?{query}"), "", None);
        assert_eq!(answer.json["thumbnail"], query.ends_with("True"), "{query}");
    }
    for quiet in ["true", "TRUE", "1"] {
        let mut host = admin.server.connect();
        let id = host.host_running("B");
        assert_eq!(admin.ask("DELETE", &format!("/api/sessions/{id}?quiet={quiet}"), "", None).status, 200);
        // What is drawn comes back; nothing else is said.
        host.send(148, 77, &[7; 40]);
        let echo = host.until(|m| m.kind == 148 || m.kind == 1);
        assert_eq!(echo.kind, 148, "{quiet}");
    }
}

#[test]
fn texts_are_taken_for_numbers_and_truths_in_every_body() {
    let admin = Admin::start(AccessRules::default());
    let mut a = admin.server.connect();
    let id = a.host_running("A");
    let session = format!("/api/sessions/{id}");
    let until = "2099-01-01 00:00:00";
    // Method, path, body, and what of the answer says that it was understood.
    for (method, path, body, pointer, expected) in [
        (
            "POST",
            format!("{session}/invites"),
            json!({"maxUses": "3", "trust": "true", "op": "0"}),
            "/maxUses",
            json!(3),
        ),
        ("POST", format!("{session}/invites"), json!({"maxUses": 3.0, "trust": 1}), "/trust", json!(true)),
        ("POST", format!("{session}/invites"), json!({"maxUses": "99"}), "/maxUses", json!(50)),
        ("PUT", session.clone(), json!({"maxUserCount": "20"}), "/maxUserCount", json!(20)),
        ("PUT", session.clone(), json!({"nsfm": "true"}), "/nsfm", json!(true)),
        ("PUT", session.clone(), json!({"nsfm": 0}), "/nsfm", json!(false)),
        ("PUT", session.clone(), json!({"archive": "true"}), "/archive", json!(true)),
        ("PUT", format!("{session}/1"), json!({"trusted": "true"}), "/trusted", json!(true)),
        ("POST", format!("{session}/chat"), json!({"timeout": "60000"}), "/messages", json!([])),
        (
            "POST",
            "/api/sessions".into(),
            json!({"width": "300", "layers": "2", "persistent": "true"}),
            "/persistent",
            json!(true),
        ),
        (
            "POST",
            "/api/banlist".into(),
            json!({"ip": "192.0.2.0", "subnet": "24", "expires": until}),
            "/subnet",
            json!(24),
        ),
        ("POST", "/api/userbans".into(), json!({"userId": "42", "expires": until}), "/userId", json!(42)),
        (
            "POST",
            "/api/accounts".into(),
            json!({"username": "z", "password": "z", "locked": "true"}),
            "/locked",
            json!(true),
        ),
        (
            "PUT",
            "/api/listserverwhitelist".into(),
            json!({"enabled": "1", "whitelist": []}),
            "/enabled",
            json!(true),
        ),
        ("PUT", "/api/server".into(), json!({"serverTitle": 5}), "/serverTitle", json!("5")),
        ("PUT", "/api/server".into(), json!({"clientTimeout": "90"}), "/clientTimeout", json!(90)),
        ("PUT", "/api/server".into(), json!({"persistence": 1}), "/persistence", json!(true)),
    ] {
        let answer = admin.ask(method, &path, "", Some(&body));
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.json);
        assert_eq!(answer.json.pointer(pointer), Some(&expected), "{path} {body}: {}", answer.json);
    }
    for uses in
        [json!("0"), json!("x"), json!(1.5), json!("1.5"), json!(-1), json!("-1"), Value::Null, json!("")]
    {
        let answer = admin.ask("POST", &format!("{session}/invites"), "", Some(&json!({"maxUses": uses})));
        assert_eq!(answer.status, 400, "{uses}");
    }
}

#[test]
fn settings_that_do_not_exist_are_errors() {
    let admin = Admin::start(AccessRules::default());
    let body = json!({"nosuch": 1, "servertitle": "x", "announceWhitelist": true, "abusereport": true, "_locked": false,
        "serverTitle": "Ours"});
    let answer = admin.ask("PUT", "/api/server", "", Some(&body));
    assert_eq!((answer.status, &answer.json["serverTitle"]), (200, &json!("Ours")));
    let expected = json!({
        "nosuch": "there is no such setting",
        "servertitle": "there is no such setting; did you mean serverTitle?",
        "announceWhitelist": "it cannot be set here",
        "abusereport": "it means nothing with the options that the server was started with",
    });
    assert_eq!(answer.json["_errors"], expected);
}

#[test]
fn accounts_that_may_administer_log_in_by_basic_for_as_long_as_they_may() {
    let admin = Admin::start(AccessRules { login_required: true, ..with_login(&[]) });
    let make = |name: &str, flags: &str| {
        let account = json!({"username": name, "password": "secret", "flags": flags});
        assert_eq!(admin.ask("POST", "/api/accounts", BASIC, Some(&account)).status, 200);
    };
    make("boss", "ADMIN");
    make("mod", "MOD");
    let basic = |text: &str| {
        let text = BASE64.encode(text);
        let headers = format!("Authorization: Basic {text}\r\n");
        let metrics = request(admin.address(), "GET", "/metrics", &headers, None).status;
        let status = admin.ask("GET", "/api/status", &headers, None).status;
        assert_eq!(metrics, status, "what Prometheus asks is answered to the same");
        status
    };
    for (text, status) in [("boss:secret", 200), ("boss:wrong", 401), ("mod:secret", 401), ("boss:", 401)] {
        assert_eq!(basic(text), status, "{text}");
    }
    let who = admin.ask("GET", "/api/whoami", "Authorization: Basic Ym9zczpzZWNyZXQ=\r\n", None);
    assert_eq!(who.json, json!({"user": "boss@127.0.0.1", "login": false, "role": "administrator"}));
    let ctl = Command::new(env!("CARGO_BIN_EXE_drawhall"))
        .args(["ctl", "--url", &format!("http://{}", admin.address()), "status"])
        .env("DRAWHALL_CTL_AUTH", "boss:secret")
        .output()
        .unwrap();
    assert!(ctl.status.success(), "{}", String::from_utf8_lossy(&ctl.stderr));
    // Another password, and the flag taken away.
    let change =
        |body: Value| assert_eq!(admin.ask("PUT", "/api/accounts/1", BASIC, Some(&body)).status, 200);
    change(json!({"password": "other"}));
    assert_eq!((basic("boss:secret"), basic("boss:other")), (401, 200));
    change(json!({"flags": ""}));
    assert_eq!(basic("boss:other"), 401);
}
