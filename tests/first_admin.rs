//! The one-time link that makes the first administrator.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use common::http::{Answer, request};
use common::{TestServer, database_source};
use drawhall::admin::{AccessRules, Credentials};
use drawhall::app::ServeOptions;
use serde_json::{Value, json};

struct Start {
    server: TestServer,
    folder: tempfile::TempDir,
}

impl Start {
    /// A server with accounts and an admin page.
    fn new(access: AccessRules) -> Start {
        Self::again(tempfile::tempdir().unwrap(), access)
    }

    fn again(folder: tempfile::TempDir, admin_access: AccessRules) -> Start {
        let source = database_source(folder.path());
        let first_admin_file = Some(folder.path().join("first-admin-link"));
        let options = ServeOptions {
            source,
            admin_port: Some(0),
            admin_access,
            first_admin_file,
            ..ServeOptions::default()
        };
        Start { server: TestServer::start_with("", options), folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("first-admin-link")
    }

    fn token(&self) -> String {
        let link = self.server.first_admin.clone().unwrap();
        link.rsplit_once("/#/first-admin/").unwrap().1.to_owned()
    }

    fn post(&self, headers: &str, body: &Value) -> Answer {
        request(self.server.admin.unwrap(), "POST", "/api/first-admin", headers, Some(body))
    }

    fn use_link(&self, token: &str, name: &str) -> Answer {
        self.post("", &json!({"token": token, "username": name, "password": "secret"}))
    }

    fn accounts(&self) -> Vec<(String, String)> {
        let answer = request(self.server.admin.unwrap(), "GET", "/api/accounts", "", None);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let accounts = answer.json.as_array().unwrap().iter();
        accounts.map(|account| (text(&account["username"]), text(&account["flags"]))).collect()
    }
}

fn login_required() -> AccessRules {
    AccessRules { login_required: true, ..AccessRules::default() }
}

/// Requests with an invalid link, by the metrics.
fn refused(start: &Start) -> u64 {
    let page = common::http::text(start.server.admin.unwrap(), "/metrics");
    let mut lines = page
        .lines()
        .filter_map(|line| line.strip_prefix("drawhall_limits_hit_total{setting=\"firstAdminLink\"} "));
    lines.next().map_or(0, |count| count.parse().unwrap())
}

#[test]
fn the_link_makes_the_first_administrator_once() {
    let start = Start::new(AccessRules::default());
    let link = start.server.first_admin.clone().unwrap();
    assert!(link.starts_with(&format!("http://{}/#/first-admin/", start.server.admin.unwrap())), "{link}");
    assert_eq!(fs::read_to_string(start.file()).unwrap(), format!("{link}\n"));
    assert_eq!(fs::metadata(start.file()).unwrap().permissions().mode() & 0o777, 0o600);

    let before = refused(&start);
    let token = start.token();
    let wrong = format!("{}{}", if token.starts_with('A') { 'B' } else { 'A' }, &token[1..]);
    for bad in ["", "A", &wrong] {
        assert_eq!(start.use_link(bad, "boss").status, 403, "{bad}");
    }
    // Mistakes do not use it up.
    assert_eq!(start.use_link(&token, "").status, 400);
    assert_eq!(start.use_link(&token, "x\ny").status, 400);
    let no_password = json!({"token": token, "username": "boss"});
    assert_eq!(start.post("", &no_password).status, 400);
    assert!(start.file().exists());

    let made = start.use_link(&token, "boss");
    assert_eq!(
        (made.status, &made.json),
        (200, &json!({"user": "boss", "login": true, "role": "administrator"}))
    );
    assert_eq!(start.accounts(), [("boss".to_owned(), "ADMIN,MOD,HOST".to_owned())]);
    assert!(!start.file().exists());
    let cookie = made.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    let who = request(start.server.admin.unwrap(), "GET", "/api/whoami", &cookie, None);
    assert_eq!(who.json, json!({"user": "boss@127.0.0.1", "login": true, "role": "administrator"}));

    assert_eq!(start.use_link(&token, "other").status, 403, "used");
    assert_eq!(start.accounts().len(), 1);
    assert!(refused(&start) - before >= 4, "each one is counted");
}

#[test]
fn of_two_at_once_one_wins() {
    let start = Start::new(login_required());
    let (token, address) = (start.token(), start.server.admin.unwrap());
    let ask = |name: &'static str| {
        let body = json!({"token": token, "username": name, "password": "secret"});
        std::thread::spawn(move || request(address, "POST", "/api/first-admin", "", Some(&body)).status)
    };
    let asked: Vec<_> = ["one", "two", "three", "four"].map(ask).into_iter().collect();
    let mut statuses: Vec<u16> = asked.into_iter().map(|thread| thread.join().unwrap()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403, 403, 403]);
}

#[test]
fn it_does_not_work_through_a_proxy() {
    let all = drawhall::config::ip_range::IpRange::parse("::/0").unwrap();
    let start = Start::new(AccessRules { networks: vec![all], ..login_required() });
    let body = json!({"token": start.token(), "username": "boss", "password": "secret"});
    for header in [
        "X-Forwarded-For: 198.51.100.7",
        "X-Forwarded-For: 127.0.0.1",
        "X-Real-IP: 198.51.100.7",
        "Forwarded: for=198.51.100.7",
        "Via: 1.1 proxy",
        "CF-Connecting-IP: 198.51.100.7",
    ] {
        let answer = start.post(&format!("{header}\r\n"), &body);
        assert_eq!(answer.status, 403, "{header}: {}", answer.json);
        assert!(answer.json["message"].as_str().unwrap().contains("without a proxy"), "{header}");
    }
    assert_eq!(start.post("", &body).status, 200, "it was not used up");
}

#[test]
fn wrong_links_are_limited_like_passwords() {
    let start = Start::new(login_required());
    let statuses: Vec<u16> = (0..21).map(|_| start.use_link("wrong", "boss").status).collect();
    assert_eq!((statuses[0], statuses[20]), (403, 429), "{statuses:?}");
}

#[test]
fn there_is_no_link_where_none_is_needed() {
    let credentials = Credentials::parse("root:of all").ok();
    let with_password = Start::new(AccessRules { credentials, ..AccessRules::default() });
    assert!(with_password.server.first_admin.is_none() && !with_password.file().exists());

    // What a killed server has left is removed; a new start makes a new link, until there is an administrator.
    let Start { server, folder } = Start::new(login_required());
    let first = server.first_admin.clone().unwrap();
    drop(server);
    assert!(!folder.path().join("first-admin-link").exists(), "it ends with the server");
    fs::write(folder.path().join("first-admin-link"), "old").unwrap();
    let second = Start::again(folder, login_required());
    assert_ne!(second.server.first_admin, Some(first));
    assert_eq!(second.use_link(&second.token(), "boss").status, 200);
    let Start { server, folder } = second;
    drop(server);
    let third = Start::again(folder, login_required());
    assert!(third.server.first_admin.is_none() && !third.file().exists());
    assert_eq!(third.use_link("anything", "other").status, 403);
}

#[test]
fn an_administrator_made_by_other_means_ends_it() {
    let start = Start::new(AccessRules::default());
    let account = json!({"username": "boss", "password": "secret", "flags": "ADMIN"});
    let made = request(start.server.admin.unwrap(), "POST", "/api/accounts", "", Some(&account));
    assert_eq!(made.status, 200);
    assert_eq!(start.use_link(&start.token(), "other").status, 403);
    assert!(!start.file().exists());
}
