//! Bans that are fetched from elsewhere, by a whole server.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use common::{SID, TestServer, eventually};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;
use drawhall::config::RuleSource;
use drawhall::db::Database;
use drawhall::server::run::ServeOptions;
use serde_json::{Value, json};

/// Serves a list of bans, with an `ETag`; keeps the `If-None-Match` of each request.
struct BanServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Option<String>>>>,
    handle: actix_web::dev::ServerHandle,
}

impl BanServer {
    fn start(bans: Value) -> BanServer {
        let asked: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
        let kept = asked.clone();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let app = move || {
                    let (bans, kept) = (bans.clone(), kept.clone());
                    App::new().default_service(web::to(move |request: HttpRequest| {
                        assert_eq!(request.method(), "GET");
                        let known = request.headers().get("if-none-match");
                        let known = known.map(|v| v.to_str().unwrap().to_owned());
                        let same = known.as_deref() == Some("\"v1\"");
                        kept.lock().unwrap().push(known);
                        let bans = bans.to_string();
                        async move {
                            if same {
                                return HttpResponse::NotModified().finish();
                            }
                            HttpResponse::Ok().insert_header(("etag", "\"v1\"")).body(bans)
                        }
                    }))
                };
                let server =
                    HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap().run();
                tell.send(server.handle()).unwrap();
                server.await.unwrap();
            });
        });
        BanServer { address, asked, handle: told.recv().unwrap() }
    }
}

impl Drop for BanServer {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

fn loopback() -> Value {
    json!({"bans": [
        {"id": 5, "ips": [{"from": "127.0.0.1", "to": "127.0.0.1"}], "expires": "2099-01-01 00:00:00"},
        {"id": 0},
    ]})
}

fn may_host(server: &TestServer) -> bool {
    let mut client = server.connect();
    client.ident("guest");
    client.command("host", json!([]), json!({"protocol": "dp:4.24.0", "user_id": 1, "s": SID}));
    client.rest_until(|v| v["state"] == "host")
}

fn by_hand(database: &Path, sql: &str) {
    let mut connection = SqliteConnection::establish(database.to_str().unwrap()).unwrap();
    connection.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
    connection.batch_execute(sql).unwrap();
}

fn with_database(path: &Path) -> TestServer {
    let source = RuleSource { database: Some(path.into()), ..RuleSource::default() };
    TestServer::start_with("", ServeOptions { source, ..ServeOptions::default() })
}

#[test]
fn bans_are_fetched_and_can_be_switched_off_by_their_url() {
    let bans = BanServer::start(loopback());
    let server = TestServer::start(&format!("extBansUrl=http://{}/bans\n", bans.address));
    eventually("the address is banned", || !may_host(&server));
    assert_eq!(*bans.asked.lock().unwrap(), [None]);
    std::fs::write(&server.config, "serverTitle=x\n").unwrap();
    eventually("the address is free again", || may_host(&server));
}

#[test]
fn bans_hold_after_a_restart_without_network_and_single_ones_can_be_switched_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.db");
    let database = Database::open(&path).unwrap();
    let mut server = {
        let bans = BanServer::start(loopback());
        let url = format!("http://{}/bans", bans.address);
        database.set_settings(&[("extBansUrl", &url)]).unwrap();
        let mut server = with_database(&path);
        eventually("the address is banned", || !may_host(&server));
        server.stop();
        // What is known is not sent again.
        let server = with_database(&path);
        eventually("it is asked again", || bans.asked.lock().unwrap().len() == 2);
        assert_eq!(bans.asked.lock().unwrap()[1].as_deref(), Some("\"v1\""));
        server
    };
    assert!(!may_host(&server));
    server.stop();
    let server = with_database(&path);
    assert!(!may_host(&server), "it holds although nobody answers");
    by_hand(&path, "INSERT INTO disabledextbans VALUES (5)");
    eventually("the ban is switched off", || may_host(&server));
    by_hand(&path, "DELETE FROM disabledextbans");
    eventually("the ban is switched on again", || !may_host(&server));
}
