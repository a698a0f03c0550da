//! Who is asking: addresses behind proxies on all ports, and what the admin API and the auth server cost before it is
//! known who asks.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Instant;

use drawhall::admin::{AccessRules, Credentials};
use drawhall::app::ServeOptions;
use drawhall::config::RuleSource;
use drawhall::config::ip_range::IpRange;
use drawhall::db::{Account, Database};
use drawhall::transport::forwarded::ProxyHeader;
use drawhall::transport::trust::Trusted;
use serde_json::{Value, json};

use crate::common::client::open;
use crate::common::http::{Answer, request};
use crate::common::{Client, PATIENCE, TestServer, eventually};

/// `admin:secret` for Basic authentication.
pub(crate) const BASIC: &str = "Authorization: Basic YWRtaW46c2VjcmV0\r\n";

fn networks(texts: &[&str]) -> Vec<IpRange> {
    texts.iter().map(|text| IpRange::parse(text).unwrap()).collect()
}

pub(crate) fn with_login(texts: &[&str]) -> AccessRules {
    let credentials = Credentials::parse("admin:secret").ok();
    AccessRules { credentials, networks: networks(texts), ..AccessRules::default() }
}

pub(crate) struct Admin {
    pub(crate) server: TestServer,
    database: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Admin {
    pub(crate) fn start(admin_access: AccessRules) -> Admin {
        Self::start_with(ServeOptions { admin_access, ..ServeOptions::default() })
    }

    pub(crate) fn start_with(options: ServeOptions) -> Admin {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("config.db");
        let source = RuleSource { database: Some(database.clone()), ..RuleSource::default() };
        let here = Some("127.0.0.1".parse().unwrap());
        let options = ServeOptions {
            source,
            admin_port: Some(0),
            admin_listen: here,
            websocket_port: Some(0),
            ..options
        };
        Admin { server: TestServer::start_with("", options), database, _folder: folder }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.admin.unwrap()
    }

    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str, body: Option<&Value>) -> Answer {
        request(self.address(), method, path, headers, body)
    }

    /// What somebody may have made by hand in the database.
    fn add_without_password(&self, name: &str) {
        let (hash, flags) = (String::new(), vec!["ADMIN".to_owned()]);
        let account = Account { id: 0, name: name.to_owned(), hash, locked: false, flags };
        Database::open(&self.database).unwrap().add_account(&account).unwrap();
    }
}

// Addresses.

/// The address that the server takes a WebSocket client for, or the status of its refusal.
fn taken_for(admin: &Admin, headers: &str) -> Result<String, u16> {
    let mut client = admin.server.connect_websocket(headers)?;
    client.ident("A");
    let users = admin.ask("GET", "/api/users", "", None).json;
    Ok(users[0]["ip"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_websocket_client_is_whom_the_proxy_names_and_nobody_if_that_is_unclear() {
    let admin = Admin::start(AccessRules::default());
    for (headers, expected) in [
        ("", Ok("127.0.0.1")),
        ("X-Real-IP: 192.0.2.1\r\n", Ok("192.0.2.1")),
        ("X-Forwarded-For: 203.0.113.66:54321\r\n", Ok("203.0.113.66")),
        ("X-Forwarded-For: [2001:db8::7]:443\r\n", Ok("2001:db8::7")),
        ("Forwarded: for=\"[2001:db8::7]:443\";proto=https\r\n", Ok("2001:db8::7")),
        ("X-Forwarded-For: 8.8.8.8\r\nX-Forwarded-For: 203.0.113.5, 127.0.0.1\r\n", Ok("203.0.113.5")),
        ("X-Real-IP: 127.0.0.1\r\nX-Forwarded-For: 203.0.113.66, 127.0.0.1\r\n", Ok("203.0.113.66")),
        ("X-Real-IP: 203.0.113.5\r\nX-Forwarded-For: 203.0.113.5\r\n", Ok("203.0.113.5")),
        ("X-Real-IP: 8.8.8.8\r\nX-Forwarded-For: 203.0.113.66\r\n", Err(400)),
        ("X-Real-IP: 203.0.113.66\r\nX-Forwarded-For: 8.8.8.8\r\n", Err(400)),
        ("X-Real-IP: nonsense\r\n", Err(400)),
        ("X-Forwarded-For: unknown\r\n", Err(400)),
        ("Forwarded: for=_hidden\r\n", Err(400)),
    ] {
        let mut seen = taken_for(&admin, headers);
        eventually("the client before has gone", || {
            // Of two that are there at once the older one comes first.
            let ok = seen.as_ref().map(String::as_str).map_err(|status| *status) == expected;
            ok || {
                seen = taken_for(&admin, headers);
                false
            }
        });
    }
}

#[test]
fn a_ban_is_not_evaded_by_another_header() {
    let config = "[ipbans]\n203.0.113.66\n2001:db8:bad::7";
    let options = ServeOptions { websocket_port: Some(0), ..ServeOptions::default() };
    let server = TestServer::start_with(config, options);
    let gets_in =
        |headers: &str| server.connect_websocket(headers).is_ok_and(|mut client| client.may_host("A"));
    assert!(gets_in("X-Forwarded-For: 203.0.113.67\r\n"));
    for headers in [
        "X-Forwarded-For: 203.0.113.66\r\n",
        "X-Forwarded-For: 203.0.113.66:1\r\n",
        "X-Forwarded-For: \"[2001:db8:bad::7]:443\"\r\n",
        "X-Real-IP: 8.8.8.8\r\nX-Forwarded-For: 203.0.113.66\r\n",
        "X-Real-IP: 127.0.0.1\r\nX-Forwarded-For: 203.0.113.66\r\n",
        "X-Real-IP: 203.0.113.66\r\nX-Forwarded-For: 8.8.8.8\r\n",
        "X-Real-IP: 203.0.113.66\r\nForwarded: for=8.8.8.8\r\n",
        "X-Forwarded-For: 8.8.8.8, 203.0.113.66\r\nX-Forwarded-For: 127.0.0.1\r\n",
    ] {
        assert!(!gets_in(headers), "{headers}");
    }
}

#[test]
fn only_the_header_that_is_named_is_believed_on_every_port() {
    let trusted = Trusted::with_headers(&networks(&["127.0.0.1"]), &[ProxyHeader::RealIp]);
    let access = with_login(&["192.0.2.0/24"]);
    let admin = Admin::start_with(ServeOptions { trusted, admin_access: access, ..ServeOptions::default() });
    let both = format!("{BASIC}X-Real-IP: 192.0.2.1\r\nX-Forwarded-For: 203.0.113.5\r\n");
    assert_eq!(admin.ask("GET", "/api/status", &both, None).status, 200);
    let other = format!("{BASIC}X-Forwarded-For: 192.0.2.1\r\n");
    assert_eq!(admin.ask("GET", "/api/status", &other, None).status, 403, "the proxy has not said who asks");
    // The PROXY protocol is not what is named.
    let proxy = b"PROXY TCP4 192.0.2.9 127.0.0.1 4000 27750\r\n";
    let mut stream = open(admin.server.websocket.unwrap());
    stream.write_all(proxy).unwrap();
    assert_eq!(Client::websocket(stream, "").err(), Some(400));
}

/// Whether an operator sees the addresses of those who are banned.
fn sees_addresses(server: &TestServer, headers: &str) -> bool {
    let mut a = server.connect_websocket(headers).unwrap();
    let id = a.host_running("A");
    let mut b = server.connect_websocket("X-Real-IP: 192.0.2.9\r\n").unwrap();
    b.join("B", &id);
    a.until(|m| m.kind == 32 && m.user == 2);
    a.command("kick-user", json!([2]), json!({"ban": true}));
    let list = a.reply(|v| v["config"]["banlist"].as_array().is_some_and(|list| !list.is_empty()));
    list["config"]["banlist"][0].get("ip").is_some_and(|ip| ip.as_str().is_some_and(|ip| !ip.is_empty()))
}

#[test]
fn nobody_is_local_behind_a_proxy_that_does_not_say_for_whom_it_speaks() {
    let options = ServeOptions { websocket_port: Some(0), ..ServeOptions::default() };
    let server = TestServer::start_with("", options);
    assert!(sees_addresses(&server, ""), "who connects from the machine itself");
    for headers in ["X-Forwarded-Proto: https\r\n", "Via: 1.1 x\r\n", "X-Real-IP: 127.0.0.1\r\n"] {
        assert!(!sees_addresses(&server, headers), "{headers}");
    }
}

// The admin API behind proxies.

#[test]
fn without_a_login_nobody_is_answered_who_comes_by_a_proxy() {
    let admin = Admin::start(AccessRules::default());
    let account = json!({"username": "boss", "password": "x", "flags": "ADMIN"});
    for headers in [
        "X-Forwarded-For: 198.51.100.7\r\n",
        "X-Real-IP: 198.51.100.7\r\n",
        "X-Real-IP: 127.0.0.1\r\n",
        "X-Forwarded-Proto: https\r\n",
        "X-Forwarded-Host: draw.example.org\r\n",
        "Forwarded: for=198.51.100.7\r\n",
        "Via: 1.1 proxy\r\n",
    ] {
        for (method, path, body) in [
            ("GET", "/api/status", None),
            ("POST", "/api/accounts", Some(&account)),
            ("DELETE", "/api/accounts/1", None),
        ] {
            let answer = admin.ask(method, path, headers, body);
            assert!([400, 403].contains(&answer.status), "{method} {headers}: {}", answer.json);
        }
    }
    assert_eq!(admin.ask("GET", "/api/accounts", "", None).json, json!([]), "nothing was made");
    assert_eq!(admin.ask("POST", "/api/accounts", "", Some(&account)).status, 200, "the machine itself");
}

#[test]
fn wrong_passwords_count_for_the_client_and_not_for_the_proxy() {
    let admin = Admin::start(with_login(&["198.51.100.0/24", "203.0.113.0/24"]));
    let guess = |client: &str, basic: &str| {
        admin.ask("GET", "/api/status", &format!("X-Forwarded-For: {client}\r\n{basic}"), None).status
    };
    let wrong = "Authorization: Basic YWRtaW46d3Jvbmc=\r\n";
    let statuses: Vec<u16> = (0..25).map(|_| guess("203.0.113.9", wrong)).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 20, "{statuses:?}");
    assert_eq!(guess("203.0.113.9", BASIC), 429);
    assert_eq!(guess("198.51.100.1", BASIC), 200, "another client of the same proxy");
    assert_eq!(admin.ask("GET", "/api/status", BASIC, None).status, 200, "the machine itself");
}

#[test]
fn passwords_that_are_tried_at_once_count_all_the_same() {
    let admin = Admin::start(with_login(&["203.0.113.0/24"]));
    let wrong = json!({"username": "admin", "password": "wrong"});
    let header = "X-Forwarded-For: 203.0.113.9\r\n";
    let address = admin.address();
    let tries: Vec<_> = (0..60)
        .map(|_| {
            let wrong = wrong.clone();
            std::thread::spawn(move || request(address, "POST", "/api/login", header, Some(&wrong)).status)
        })
        .collect();
    let statuses: Vec<u16> = tries.into_iter().map(|try_| try_.join().unwrap()).collect();
    let checked = statuses.iter().filter(|status| **status == 403).count();
    assert!((1..=20).contains(&checked), "{checked} of 60 were checked");
    assert!(statuses.iter().all(|status| [403, 429].contains(status)), "{statuses:?}");
    let right = json!({"username": "admin", "password": "secret"});
    assert_eq!(admin.ask("POST", "/api/login", "", Some(&right)).status, 200, "another address");
}

#[test]
fn administrators_cannot_try_the_passwords_of_others_for_ever() {
    let admin = Admin::start(AccessRules::default());
    let account = json!({"username": "alice", "password": "secret"});
    assert_eq!(admin.ask("POST", "/api/accounts", "", Some(&account)).status, 200);
    let tries = |path: &str, body: &Value| admin.ask("POST", path, "", Some(body)).status;
    let wrong = json!({"username": "alice", "password": "wrong"});
    let statuses: Vec<u16> = (0..21).map(|_| tries("/api/accounts/auth", &wrong)).collect();
    assert_eq!((statuses[19], statuses[20]), (200, 429), "{statuses:?}");
    let mut a = admin.server.connect();
    let id = a.host_running("A");
    let word = json!({"password": "wrong"});
    assert_eq!(tries(&format!("/api/sessions/{id}/auth"), &word), 429);
    assert_eq!(tries(&format!("/api/sessions/{id}/auth/op"), &word), 429);
}

// What it costs before it is known who asks.

/// Sends the head of a request and then a body that does not end; returns the status of the answer, which must come
/// before it, once the server has cut the connection.
fn flood(address: SocketAddr, head: &str, chunk: &[u8]) -> u16 {
    let mut stream = open(address);
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    send_until_cut(&mut stream, chunk);
    std::str::from_utf8(&answer[9..]).unwrap().parse().unwrap()
}

/// Sends the same again and again until the server cuts the connection.
fn send_until_cut(stream: &mut TcpStream, chunk: &[u8]) {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if let Err(error) = stream.write_all(chunk) {
            let cut = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::ConnectionAborted];
            assert!(cut.contains(&error.kind()), "the connection is not cut: {error}");
            return;
        }
    }
    panic!("what is sent is taken for ever");
}

#[test]
fn bodies_of_those_who_may_not_ask_are_not_read() {
    let admin = Admin::start(with_login(&["192.0.2.0/24"]));
    let stranger = "X-Forwarded-For: 203.0.113.9\r\n";
    let json_type = "Content-Type: application/json\r\n";
    for (path, headers, status) in [
        ("/api/server", stranger, 403),
        ("/api/login", stranger, 403),
        ("/", stranger, 403),
        ("/healthz", stranger, 403),
        ("/api/server", "", 401),
        ("/api/accounts", "Authorization: Basic YWRtaW46d3Jvbmc=\r\n", 401),
    ] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{json_type}{headers}");
        let long = format!("{head}Content-Length: 1099511627776\r\n\r\n");
        assert_eq!(flood(admin.address(), &long, &[b' '; 4096]), status, "{path}");
        let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
        let chunk = [b"1000\r\n".as_slice(), &[b' '; 4096], b"\r\n"].concat();
        assert_eq!(flood(admin.address(), &chunked, &chunk), status, "{path} in chunks");
    }
}

#[test]
fn bodies_have_a_size_that_depends_on_who_asks() {
    let admin = Admin::start(with_login(&[]));
    let send = |path: &str, headers: &str, length: usize| {
        let body = json!({"username": "x".repeat(length - 30), "password": ""});
        admin.ask("POST", path, headers, Some(&body)).status
    };
    assert_eq!(send("/api/login", "", 15 << 10), 403);
    assert_eq!(send("/api/login", "", 17 << 10), 413);
    assert_eq!(send("/api/accounts/auth", BASIC, 1000 << 10), 200);
    assert_eq!(send("/api/accounts/auth", BASIC, 1025 << 10), 413);
    // One that does not say how long it will be is not taken for ever either.
    let head = "POST /api/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let mut stream = open(admin.address());
    stream.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).unwrap();
    let chunk = [b"1000\r\n".as_slice(), &[b' '; 4096], b"\r\n"].concat();
    send_until_cut(&mut stream, &chunk);
}

#[test]
fn one_address_does_not_take_all_connections() {
    let options = ServeOptions {
        trusted: Trusted::new(&[]),
        admin_access: with_login(&["127.0.0.0/8"]),
        ..ServeOptions::default()
    };
    let admin = Admin::start_with(options);
    let idle: Vec<TcpStream> = (0..32).map(|_| open(admin.address())).collect();
    let is_answered = || {
        let mut stream = open(admin.address());
        let request =
            format!("GET /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{BASIC}\r\n");
        let mut answer = Vec::new();
        // It may be closed already.
        let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_end(&mut answer).map(drop));
        !answer.is_empty()
    };
    eventually("the 33rd connection is closed", || !is_answered());
    drop(idle);
    eventually("there is room again", is_answered);
}

// Accounts.

#[test]
fn no_password_fits_where_there_is_none() {
    let admin = Admin::start(AccessRules { login_required: false, ..AccessRules::default() });
    let post = |path: &str, body: Value| admin.ask("POST", path, "", Some(&body));
    for body in [
        json!({"username": "boss", "pasword": "secret", "flags": "MOD,ADMIN"}),
        json!({"username": "boss", "password": "", "flags": "MOD,ADMIN"}),
        json!({"username": "boss", "password": null}),
    ] {
        let answer = post("/api/accounts", body);
        assert_eq!((answer.status, &answer.json["message"]), (400, &json!("Password required")));
    }
    assert_eq!(admin.ask("GET", "/api/accounts", "", None).json, json!([]));
    // Somebody has made a row by hand.
    admin.add_without_password("boss");
    for password in ["", "x"] {
        let body = json!({"username": "boss", "password": password});
        assert_eq!(post("/api/accounts/auth", body.clone()).json, json!({"status": 1}));
        assert_eq!(post("/api/login", body).status, 403);
    }
}

#[test]
fn an_account_is_changed_by_its_number_whatever_happens_to_its_name() {
    let admin = Admin::start(AccessRules::default());
    let address = admin.address();
    let send =
        move |method: &str, path: &str, body: Value| request(address, method, path, "", Some(&body)).status;
    assert_eq!(send("POST", "/api/accounts", json!({"username": "one", "password": "first"})), 200);
    for round in 0..3 {
        // The name goes to another account while the new password is hashed.
        let change = std::thread::spawn(move || send("PUT", "/api/accounts/1", json!({"password": "new"})));
        assert_eq!(send("PUT", "/api/accounts/1", json!({"username": "uno"})), 200);
        assert_eq!(send("POST", "/api/accounts", json!({"username": "one", "password": "second"})), 200);
        assert_eq!(change.join().unwrap(), 200);
        let fits = |name: &str, password: &str| {
            let body = json!({"username": name, "password": password});
            request(address, "POST", "/api/accounts/auth", "", Some(&body)).json["status"] == 3
        };
        assert!(fits("uno", "new") && fits("one", "second"), "round {round}");
        let others = admin.ask("GET", "/api/accounts", "", None).json;
        let id = others.as_array().unwrap().iter().find(|a| a["username"] == "one").unwrap()["id"].clone();
        assert_eq!(admin.ask("DELETE", &format!("/api/accounts/{id}"), "", None).status, 200);
        assert_eq!(send("PUT", "/api/accounts/1", json!({"username": "one", "password": "first"})), 200);
    }
}

#[test]
fn a_login_belongs_to_the_account_and_not_to_its_name() {
    let admin = Admin::start(with_login(&[]));
    let send = |method: &str, path: &str, headers: &str, body: Value| {
        let answer = admin.ask(method, path, headers, Some(&body));
        assert_eq!(answer.status, 200, "{path}: {}", answer.json);
        answer
    };
    let boss = json!({"username": "boss", "password": "secret", "flags": "ADMIN"});
    send("POST", "/api/accounts", BASIC, boss.clone());
    let answer = send("POST", "/api/login", "", boss.clone());
    let cookie = answer.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(admin.ask("GET", "/api/status", &cookie, None).status, 200);
    send("PUT", "/api/accounts/1", BASIC, json!({"username": "retired", "flags": ""}));
    send("POST", "/api/accounts", BASIC, boss);
    eventually("the login has ended", || admin.ask("GET", "/api/status", &cookie, None).status == 401);
}

// The auth server.

#[test]
fn the_auth_server_knows_its_clients_behind_proxies_and_takes_small_requests_only() {
    let provider = Some("127.0.0.1:0".parse().unwrap());
    let admin = Admin::start_with(ServeOptions { extauth_provider: provider, ..ServeOptions::default() });
    let account = json!({"username": "alice", "password": "secret"});
    assert_eq!(admin.ask("POST", "/api/accounts", "", Some(&account)).status, 200);
    let address = admin.server.provider.unwrap();
    let wrong = json!({"username": "alice", "password": "wrong"});
    let post = |client: &str, body: &Value| {
        request(address, "POST", "/", &format!("X-Forwarded-For: {client}\r\n"), Some(body))
    };
    for _ in 0..20 {
        assert_eq!(post("203.0.113.9", &wrong).json["status"], "badpass");
    }
    assert_eq!(post("203.0.113.9", &account).json["status"], "badpass", "the address waits");
    assert_eq!(post("198.51.100.1", &account).json["status"], "auth", "another client of the same proxy");
    assert_eq!(post("unknown", &account).status, 400);
    // A row that was made by hand.
    admin.add_without_password("empty");
    let nothing = json!({"username": "empty", "password": ""});
    assert_eq!(post("198.51.100.1", &nothing).json["status"], "badpass");
    let long = json!({"username": "x".repeat(17 << 10)});
    assert_eq!(post("198.51.100.1", &long).status, 413);
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 67108864\r\n\r\n";
    assert_eq!(flood(address, head, &[b' '; 4096]), 413);
}

// The start.

#[test]
fn an_admin_api_for_others_needs_a_login_or_a_word_that_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let start = |more: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_drawhall"))
            .args(["--in-memory", "--allow-root", "--port", "1", "--listen", "192.0.2.1"])
            .args(["--web-admin-port", "27781", "--web-admin-access"])
            .args(more)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(!out.status.success());
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    for networks in ["all", "192.0.2.0/24", "127.0.0.1,10.0.0.0/8"] {
        let said = start(&[networks]);
        for option in ["--web-admin-access", "--web-admin-auth", "--web-admin-login", "--web-admin-open"] {
            assert!(said.contains(option), "{networks}: {said}");
        }
        assert!(said.contains("refuses other machines"), "{networks}: {said}");
        // All come as far as the address that this machine does not have.
        for more in [&["--web-admin-auth", "a:b"][..], &["--web-admin-login"], &["--web-admin-open"]] {
            let said = start(&[&[networks], more].concat());
            assert!(said.contains("cannot listen on 192.0.2.1"), "{networks} {more:?}: {said}");
            assert!(!said.contains("refuses other machines"), "{networks} {more:?}: {said}");
        }
    }
    assert!(start(&["127.0.0.0/8"]).contains("cannot listen on 192.0.2.1"), "the machine itself");
}
