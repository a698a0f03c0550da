//! What programs by others send and answer, as they write it: the list server (Go), the website (Django), the web admin
//! (React). The texts are made after the forms of those programs.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use common::elsewhere::{Elsewhere, Reply};
use common::http::{Answer, request};
use common::{Client, SID, TestServer, eventually};
use drawhall::app::ServeOptions;
use drawhall::config::RuleSource;
use serde_json::{Value, json};

/// A server with a database, whose admin API is asked.
struct Admin {
    server: TestServer,
    _folder: tempfile::TempDir,
}

impl Admin {
    fn start(config: &[(&str, &str)]) -> Admin {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.db");
        drawhall::db::Database::open(&path).unwrap().set_settings(config).unwrap();
        let source = RuleSource { database: Some(path), ..RuleSource::default() };
        let options =
            ServeOptions { source, admin_port: Some(0), announce_private: true, ..ServeOptions::default() };
        Admin { server: TestServer::start_with("", options), _folder: folder }
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        request(self.server.admin.unwrap(), method, path, "", body)
    }
}

fn told(client: &mut Client) -> String {
    let said = client.reply(|v| v["type"] == "msg" && v["message"].to_string().contains("ist"));
    said["message"].as_str().unwrap().to_owned()
}

/// What the list server writes: indented by tabs, with what Drawhall does not need.
const ANNOUNCED: &str = "{\n\t\"expires\": 6,\n\t\"id\": 19,\n\t\"key\": \"mK9_x2-Qv\",\n\t\"message\": \"Welcome!\",\n\t\"private\": false,\n\t\"roomcode\": \"\",\n\t\"status\": \"ok\"\n}";

#[test]
fn answers_of_list_servers_are_read_as_they_are_written() {
    let listed = "This session is now listed at 127.0.0.1";
    for (status, answer, expected) in [
        (200, ANNOUNCED, format!("{listed}: Welcome!")),
        (201, ANNOUNCED, format!("{listed}: Welcome!")),
        (200, "\u{feff}{\"id\":19,\"key\":\"k\"}\r\n", listed.to_owned()),
        (200, "{\"id\":\"19\",\"key\":\"k\",\"expires\":\"6\"}", listed.to_owned()),
        (
            422,
            "{\n\t\"message\": \"host: no session found\",\n\t\"status\": \"error\"\n}",
            "Listing on 127.0.0.1 failed: host: no session found".to_owned(),
        ),
        (
            409,
            "{\"error\":\"CONFLICT\",\"message\":\"Listed already\"}",
            "Listing on 127.0.0.1 failed: Listed already".to_owned(),
        ),
        (200, "<html></html>", "Listing on 127.0.0.1 failed: Unparseable response".to_owned()),
    ] {
        let list = Elsewhere::start(move |asked| match asked.method.as_str() {
            "POST" => Reply::of(status, answer),
            _ => Reply::of(204, ""),
        });
        let server = TestServer::start_with(
            "announceWhitelist=false",
            ServeOptions { announce_private: true, ..ServeOptions::default() },
        );
        let mut host = server.connect();
        host.host_running("Host");
        host.command("announce-session", json!([list.url("/listing")]), json!({}));
        assert_eq!(told(&mut host), expected, "{answer}");
    }
}

/// Bans as the website hands them out: for ever ends with the calendar.
fn website_bans() -> String {
    let bans = json!({"bans": [{"id": 3, "comment": "", "reason": "Take a look at https://drawpile.net/ban/",
        "expires": "9999-12-31 23:59:59", "ips": [], "ipsexcluded": [], "users": [],
        "system": [{"sids": [SID], "reaction": "normal"}]}]});
    format!("\u{feff}{bans}")
}

#[test]
fn bans_of_the_website_hold_for_ever() {
    let website = Elsewhere::start(|_| Reply { etag: Some("W/\"1\""), ..Reply::of(200, website_bans()) });
    let server = TestServer::start(&format!("extBansUrl={}\n", website.url("/api/extbans/")));
    eventually("the system is banned", || {
        let mut client = server.connect();
        client.ident("Guest");
        client.ask_to_host();
        !client.rest_until(|v| v["state"] == "host")
    });
}

#[test]
fn bans_end_when_lists_and_people_write_that_they_end() {
    let admin = Admin::start(&[]);
    for (n, (written, stored)) in [
        ("9999-12-31 23:59:59", "9999-12-31 23:59:59"),
        ("9999-12-31T23:59:59Z", "9999-12-31 23:59:59"),
        ("9999-12-30 22:00:00", "9999-12-30 22:00:00"),
        ("2031-05-05 12:30:00", "2031-05-05 12:30:00"),
        ("2031-05-05T12:30:00+02:00", "2031-05-05 10:30:00"),
        (" 2031-05-05 ", "2031-05-05 00:00:00"),
    ]
    .into_iter()
    .enumerate()
    {
        for (path, body) in [
            (
                "banlist",
                json!({"ip": format!("192.0.2.{n}"), "subnet": 0, "expires": written, "comment": ""}),
            ),
            ("systembans", json!({"sid": format!("sid{n}"), "reaction": "normal", "expires": written})),
            ("userbans", json!({"userId": n + 1, "reaction": "normal", "expires": written})),
        ] {
            let made = admin.ask("POST", &format!("/api/{path}/"), Some(&body));
            assert_eq!((made.status, &made.json["expires"]), (200, &json!(stored)), "{path}: {written}");
        }
    }
    for wrong in ["", "soon", "10000-01-01 00:00:00", "2031-13-01 00:00:00", "-000001-01-01 00:00:00"] {
        let body = json!({"ip": "192.0.2.9", "expires": wrong});
        let refused = admin.ask("POST", "/api/banlist", Some(&body));
        assert_eq!(
            (refused.status, &refused.json["message"]),
            (400, &json!("Valid expiration time required")),
            "{wrong}"
        );
    }
    let after = admin.ask("GET", "/api/log?after=9999-12-31T23:59:59Z", None);
    assert_eq!((after.status, after.json), (200, json!([])));
}

#[test]
fn who_is_banned_twice_is_banned_once_and_numbers_of_bans_stay() {
    let admin = Admin::start(&[]);
    let ban = |ip: &str| {
        let body = json!({"ip": ip, "subnet": 0, "expires": "2099-01-01 00:00:00", "comment": "c"});
        admin.ask("POST", "/api/banlist/", Some(&body)).json
    };
    let first = ban("192.0.2.1");
    assert_eq!(ban("192.0.2.1"), first);
    assert_eq!(admin.ask("GET", "/api/banlist", None).json, json!([first]));
    assert_eq!(admin.ask("DELETE", &format!("/api/banlist/{}", first["id"]), None).status, 200);
    assert_ne!(ban("192.0.2.2")["id"], first["id"]);
}
