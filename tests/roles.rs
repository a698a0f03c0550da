//! Roles in the admin API, and invitations by link.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};

use common::http::{Answer, request};
use common::{TestServer, eventually};
use diesel::connection::{Connection as _, SimpleConnection as _};
use diesel::sqlite::SqliteConnection;
use drawhall::admin::{AccessRules, Credentials};
use drawhall::app::ServeOptions;
use drawhall::config::RuleSource;
use serde_json::{Value, json};

/// The header of `root:of all`.
const ROOT: &str = "Authorization: Basic cm9vdDpvZiBhbGw=\r\n";

struct Admin {
    server: TestServer,
    folder: tempfile::TempDir,
}

impl Admin {
    fn start() -> Admin {
        Admin::start_at(None)
    }

    /// With this public address of the admin page.
    fn start_at(page_url: Option<String>) -> Admin {
        let folder = tempfile::tempdir().unwrap();
        let database = Some(folder.path().join("config.db"));
        let source = RuleSource { database, page_url, ..RuleSource::default() };
        let access =
            AccessRules { credentials: Credentials::parse("root:of all").ok(), ..AccessRules::default() };
        let options =
            ServeOptions { source, admin_port: Some(0), admin_access: access, ..ServeOptions::default() };
        Admin { server: TestServer::start_with("", options), folder }
    }

    fn address(&self) -> SocketAddr {
        self.server.admin.unwrap()
    }

    fn ask(&self, method: &str, path: &str, headers: &str, body: Option<Value>) -> Answer {
        request(self.address(), method, path, headers, body.as_ref())
    }

    fn account(&self, name: &str, flags: &str) -> i64 {
        let account = json!({"username": name, "password": "secret", "flags": flags});
        let made = self.ask("POST", "/api/accounts", ROOT, Some(account));
        assert_eq!(made.status, 200, "{}", made.json);
        made.json["id"].as_i64().unwrap()
    }

    /// Makes an invitation; returns its token.
    fn invite(&self, role: &str) -> String {
        let made = self.ask("POST", "/api/invitations", ROOT, Some(json!({"role": role}))).json;
        made["token"].as_str().unwrap().to_owned()
    }

    /// What `drawhall ctl invitations` prints.
    fn ctl_invitations(&self, args: &[&str]) -> String {
        let url = format!("http://{}", self.address());
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_drawhall"));
        let options = ["ctl", "--url", &url, "--auth", "root:of all", "invitations"];
        let out = command.args(options).args(args).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    fn accept(&self, token: &str, name: &str) -> Answer {
        let body = json!({"token": token, "username": name, "password": "secret"});
        self.ask("POST", "/api/invitation/accept", "", Some(body))
    }

    /// The lines of a stream of events, which begin behind the head.
    fn events(&self, headers: &str) -> impl Iterator<Item = String> + use<> {
        let events = TcpStream::connect(self.address()).unwrap();
        write!(&events, "GET /api/events?topics=reports HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
            .unwrap();
        let mut lines = BufReader::new(events).lines().map(Result::unwrap);
        assert!(lines.next().unwrap().contains(" 200 "));
        lines.by_ref().find(|line| line.is_empty()).unwrap();
        lines
    }

    fn log_in(&self, name: &str) -> Answer {
        self.ask("POST", "/api/login", "", Some(json!({"username": name, "password": "secret"})))
    }
}

/// The header with the cookie that an answer has set.
fn cookie(answer: &Answer) -> String {
    let lines = answer.head.lines().filter_map(|line| line.split_once(": "));
    let set = lines.filter(|(key, _)| key.eq_ignore_ascii_case("set-cookie")).map(|(_, v)| v).next().unwrap();
    format!("Cookie: {}\r\n", set.split(';').next().unwrap())
}

#[test]
fn a_moderator_may_moderate_and_a_reader_may_read() {
    let admin = Admin::start();
    admin.account("moss", "ADMINMOD");
    admin.account("reed", "ADMINREAD");
    let (moderator, reader) = (admin.log_in("moss"), admin.log_in("reed"));
    assert_eq!((&moderator.json["role"], &reader.json["role"]), (&json!("moderator"), &json!("reader")));
    let (moderator, reader) = (cookie(&moderator), cookie(&reader));
    let until = "2099-01-01";
    for (method, path, body, by_moderator, by_reader) in [
        ("GET", "/api/users", None, 200, 200),
        ("GET", "/api/people", None, 200, 200),
        ("GET", "/api/bans", None, 200, 200),
        ("GET", "/api/reports", None, 200, 200),
        ("GET", "/api/whoami", None, 200, 200),
        ("POST", "/api/bans", Some(json!({"devices": ["x"], "seconds": 2_592_000})), 200, 403),
        ("POST", "/api/bans", Some(json!({"devices": ["y"], "seconds": 2_700_000})), 403, 403),
        ("POST", "/api/bans", Some(json!({"devices": ["y"], "forever": true})), 403, 403),
        (
            "POST",
            "/api/bans",
            Some(json!({"addresses": ["0.0.0.0/1", "128.0.0.0/1"], "seconds": 60})),
            403,
            403,
        ),
        ("PUT", "/api/bans/1", Some(json!({"expires": until})), 403, 403),
        ("PUT", "/api/bans/1", Some(json!({"note": "n"})), 200, 403),
        ("DELETE", "/api/users/99", None, 404, 403),
        ("GET", "/api/server", None, 403, 403),
        ("PUT", "/api/server", Some(json!({"serverTitle": "x"})), 403, 403),
        ("GET", "/api/settings", None, 403, 403),
        ("GET", "/api/accounts", None, 403, 403),
        (
            "POST",
            "/api/accounts",
            Some(json!({"username": "z", "password": "z", "flags": "ADMIN"})),
            403,
            403,
        ),
        ("POST", "/api/invitations", Some(json!({"role": "administrator"})), 403, 403),
        ("POST", "/api/banlist", Some(json!({"ip": "192.0.2.1", "expires": until})), 403, 403),
        ("POST", "/api/stop", None, 403, 403),
    ] {
        let statuses = [&moderator, &reader].map(|who| admin.ask(method, path, who, body.clone()).status);
        assert_eq!(statuses, [by_moderator, by_reader], "{method} {path} {body:?}");
    }
    // What an administrator has banned for long stays banned.
    let long = admin.ask("POST", "/api/bans", ROOT, Some(json!({"devices": ["z"], "forever": true}))).json;
    let path = format!("/api/bans/{}", long["ban"]["id"].as_str().unwrap());
    assert_eq!(admin.ask("DELETE", &path, &moderator, None).status, 403);
    assert_eq!(admin.ask("DELETE", &path, ROOT, None).status, 200);
    // Over Basic authentication, for scripts: moss:secret.
    let basic = "Authorization: Basic bW9zczpzZWNyZXQ=\r\n";
    assert_eq!(admin.ask("GET", "/api/users", basic, None).status, 200);
    assert_eq!(admin.ask("GET", "/api/server", basic, None).status, 403);
}

#[test]
fn readers_do_not_see_invites() {
    let admin = Admin::start();
    admin.account("moss", "ADMINMOD");
    admin.account("reed", "ADMINREAD");
    let [moderator, reader] = ["moss", "reed"].map(|name| cookie(&admin.log_in(name)));
    let mut host = admin.server.connect();
    let id = host.host_running("Host");
    host.command("invite-create", json!([]), json!({"maxUses": 1}));
    let secret = host.reply(|v| v["type"] == "invitecreated")["secret"].as_str().unwrap().to_owned();
    let seen =
        |who: &str, path: String| admin.ask("GET", &path, who, None).json.to_string().contains(&secret);
    assert!(seen(&moderator, format!("/api/sessions/{id}")));
    for path in ["", "/invites", "/users", "/times"] {
        assert!(!seen(&reader, format!("/api/sessions/{id}{path}")), "{path}");
    }
    assert!(!seen(&reader, "/api/sessions".to_owned()) && !seen(&reader, "/api/log".to_owned()));
}

#[test]
fn moderators_of_drawpile_use_the_page_only_if_a_setting_says_so() {
    let admin = Admin::start();
    let id = admin.account("moss", "MOD");
    let refused = admin.log_in("moss");
    assert_eq!(refused.status, 403);
    assert!(refused.json["message"].as_str().unwrap().contains("may not use this page"));
    let set = |on: bool| admin.ask("PUT", "/api/server", ROOT, Some(json!({"moderatorsUsePage": on}))).status;
    assert_eq!(set(true), 200);
    let login = admin.log_in("moss");
    assert_eq!(login.json["role"], "moderator");
    let moderator = cookie(&login);
    assert_eq!(admin.ask("GET", "/api/users", &moderator, None).status, 200);
    // A change of flags holds for logins that are there.
    let flags = admin.ask("PUT", &format!("/api/accounts/{id}"), ROOT, Some(json!({"flags": "MOD,ADMIN"})));
    assert_eq!(flags.status, 200);
    eventually("the role grows", || admin.ask("GET", "/api/server", &moderator, None).status == 200);
    let flags = admin.ask("PUT", &format!("/api/accounts/{id}"), ROOT, Some(json!({"flags": "MOD"})));
    assert_eq!(flags.status, 200);
    eventually("the role shrinks", || admin.ask("GET", "/api/server", &moderator, None).status == 403);
    assert_eq!(set(false), 200);
    eventually("the login ends", || admin.ask("GET", "/api/users", &moderator, None).status == 401);
}

#[test]
fn invitations_are_made_listed_and_withdrawn_by_ctl() {
    let admin = Admin::start();
    let ctl = |args: &[&str]| admin.ctl_invitations(args);
    let made = ctl(&["--make", "moderator", "--name", "Rowan", "--days", "2"]);
    let token = made.lines().next().unwrap().rsplit('/').next().unwrap();
    assert!(made.contains("/#/invitation/"), "{made}");
    let replace = format!("Replace http://{} by the address", admin.address());
    assert!(made.contains(&replace), "nobody else can use the address of ctl: {made}");
    assert!(ctl(&[]).contains("Rowan"));
    let second = ctl(&["--make", "reader"]);
    let id = admin.ask("GET", "/api/invitations", ROOT, None).json["invitations"][0]["id"].to_string();
    assert_eq!(ctl(&["--withdraw", &id]).trim(), "withdrawn");
    let second = second.lines().next().unwrap().rsplit('/').next().unwrap();
    assert_eq!(admin.accept(second, "reader").status, 410);
    assert_eq!(admin.accept(token, "rowan").status, 200);
}

#[test]
fn the_link_of_an_invitation_has_the_public_address_of_the_page() {
    let admin = Admin::start_at(Some("https://draw.example.org/admin/".into()));
    let made = admin.ask("POST", "/api/invitations", ROOT, Some(json!({"role": "reader"}))).json;
    let link = format!("https://draw.example.org/admin/#/invitation/{}", made["token"].as_str().unwrap());
    assert_eq!(made["link"], json!(link));
    let printed = admin.ctl_invitations(&["--make", "reader"]);
    assert!(printed.starts_with("https://draw.example.org/admin/#/invitation/"), "{printed}");
    assert!(!printed.contains("Replace"), "{printed}");
}

#[test]
fn an_invitation_makes_one_account_and_is_over() {
    let admin = Admin::start();
    let invited = json!({"role": "moderator", "name": "Juniper"});
    let made = admin.ask("POST", "/api/invitations", ROOT, Some(invited)).json;
    let token = made["token"].as_str().unwrap().to_owned();
    let look = |token: &str| admin.ask("POST", "/api/invitation", "", Some(json!({"token": token})));
    assert_eq!(look(&token).json, json!({"role": "moderator", "name": "Juniper", "author": "root"}));
    assert_eq!(look("wrong").status, 410);
    let accept = |name: &str, password: &str| {
        let body = json!({"token": token, "username": name, "password": password});
        admin.ask("POST", "/api/invitation/accept", "", Some(body))
    };
    assert_eq!(accept("juniper", "").status, 400, "a password is needed");
    let accepted = accept("juniper", "secret");
    assert_eq!(accepted.json, json!({"user": "juniper", "login": true, "role": "moderator"}));
    assert_eq!(admin.ask("GET", "/api/users", &cookie(&accepted), None).status, 200);
    assert_eq!((accept("another", "secret").status, look(&token).status), (410, 410), "it was used");
    assert_eq!(admin.log_in("juniper").json["role"], "moderator");
    let list = admin.ask("GET", "/api/invitations", ROOT, None).json;
    assert_eq!(list["invitations"][0]["usedBy"], "juniper");
    assert!(list["invitations"][0].get("token").is_none(), "only whoever makes it is told the token");

    let withdrawn = admin.ask("POST", "/api/invitations", ROOT, Some(json!({"role": "reader"}))).json;
    let path = format!("/api/invitations/{}", withdrawn["id"]);
    assert_eq!(admin.ask("DELETE", &path, ROOT, None).status, 200);
    assert_eq!(look(withdrawn["token"].as_str().unwrap()).status, 410);
    assert_eq!(admin.ask("POST", "/api/invitations", ROOT, Some(json!({"role": "king"}))).status, 400);
}

#[test]
fn whoever_was_invited_gets_no_login_when_the_account_was_locked_meanwhile() {
    let admin = Admin::start();
    let token = admin.invite("reader");
    // Another program locks new accounts.
    let file = admin.folder.path().join("config.db");
    let mut database = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    database
        .batch_execute("CREATE TRIGGER t AFTER INSERT ON users BEGIN UPDATE users SET locked = 1; END")
        .unwrap();
    let accepted = admin.accept(&token, "reed");
    assert_eq!(accepted.status, 403, "{}", accepted.json);
    assert!(!accepted.head.to_lowercase().contains("set-cookie"), "{}", accepted.head);
    assert_eq!(admin.accept(&token, "another").status, 410, "it has made an account");
}

#[test]
fn an_invitation_is_no_means_to_try_names() {
    let admin = Admin::start();
    admin.account("moss", "ADMINMOD");
    let token = admin.invite("reader");
    let refused = admin.accept(&token, "Moss");
    assert_eq!(refused.status, 400, "{}", refused.json);
    assert!(refused.json["message"].as_str().unwrap().contains("already"));
    assert!((0..40).any(|_| admin.accept(&token, "moss").status == 429), "attempts are limited");
}

#[test]
fn streams_of_events_end_with_the_right_to_read_them() {
    let admin = Admin::start();
    let moss = admin.account("moss", "ADMINMOD");
    admin.account("reed", "ADMINREAD");
    // moss:secret
    let basic = "Authorization: Basic bW9zczpzZWNyZXQ=\r\n";
    let by_password = admin.events(basic);
    let by_login = admin.events(&cookie(&admin.log_in("moss")));
    let reed = cookie(&admin.log_in("reed"));
    let logged_out = admin.events(&reed);
    let locked = admin.ask("PUT", &format!("/api/accounts/{moss}"), ROOT, Some(json!({"locked": true})));
    assert_eq!(locked.status, 200, "{}", locked.json);
    assert_eq!(admin.ask("POST", "/api/logout", &reed, None).status, 200);
    for lines in [by_password.last(), by_login.last(), logged_out.last()] {
        assert_eq!(lines.as_deref().unwrap_or_default(), "", "it has ended");
    }
}
