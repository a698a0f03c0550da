//! Behind Debian's nginx, with the locations of drawpile's docker recipe: administration below a path with a login of
//! nginx's own, WebSocket with `X-Real-IP`, and nothing else that nginx would be told to say.
//!
//! Where there is no nginx, the tests say that they are skipped.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use common::http::{Answer, request};
use common::{Client, PATIENCE, TestServer, eventually};
use drawhall::admin::AccessRules;
use drawhall::app::ServeOptions;
use drawhall::config::RuleSource;
use drawhall::config::ip_range::IpRange;
use drawhall::transport::forwarded::ProxyHeader;
use drawhall::transport::trust::Trusted;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

/// `admin:secret`, which nginx asks for.
const BASIC: &str = "Authorization: Basic YWRtaW46c2VjcmV0\r\n";
/// What a browser sends along from the page that nginx shows.
const OWN_PAGE: &str = "Origin: https://draw.example.org\r\nSec-Fetch-Site: same-origin\r\n";

fn program() -> Option<PathBuf> {
    let found = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"].map(PathBuf::from);
    let found = found.into_iter().find(|path| path.exists());
    if found.is_none() {
        common::skip::skip("nginx", "there is no nginx");
    }
    found
}

/// An nginx that runs until this is dropped.
struct Nginx {
    process: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configuration(folder: &Path, port: u16, admin: SocketAddr, websocket: SocketAddr) -> String {
    let folder = folder.display();
    let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};"))
        .join("\n    ");
    format!(
        "daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    {temp}
    upstream drawpile-srv {{ server {admin}; }}
    upstream drawpile-ws {{ server {websocket}; }}
    server {{
        listen 127.0.0.1:{port};
        location /admin/api/ {{
            auth_basic admin;
            auth_basic_user_file {folder}/htpasswd;
            proxy_pass http://drawpile-srv/api/;
            proxy_redirect default;
        }}
        location /page/ {{ proxy_pass http://drawpile-srv/; }}
        location /any {{
            proxy_pass http://drawpile-ws;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_set_header X-Real-IP $remote_addr;
        }}
    }}
}}
"
    )
}

/// A port below those that the system gives to connections, another one each time.
fn free_port() -> u16 {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 5_000) as u16;
    let next = || Some(first + TRIED.fetch_add(1, Ordering::Relaxed)).filter(|port| *port < 32_000);
    std::iter::from_fn(next).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

impl Nginx {
    fn start(program: &Path, server: &TestServer) -> Nginx {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("htpasswd"), "admin:{PLAIN}secret\n").unwrap();
        let port = free_port();
        let text = configuration(folder.path(), port, server.admin.unwrap(), server.websocket.unwrap());
        let path = folder.path().join("nginx.conf");
        std::fs::write(&path, text).unwrap();
        let process = Command::new(program)
            .arg("-c")
            .arg(&path)
            .arg("-p")
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let nginx = Nginx { process, address, _folder: folder };
        eventually("nginx listens", || TcpStream::connect(address).is_ok());
        nginx
    }

    fn ask(&self, method: &str, path: &str, headers: &str, body: Option<&Value>) -> Answer {
        request(self.address, method, path, headers, body)
    }

    /// A connection from another address of this machine.
    fn connect_from(&self, client: &str) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(client.parse().unwrap(), 0).into()).unwrap();
        socket.connect(&self.address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

fn networks(texts: &[&str]) -> Vec<IpRange> {
    texts.iter().map(|text| IpRange::parse(text).unwrap()).collect()
}

struct Behind {
    server: TestServer,
    nginx: Nginx,
    _folder: tempfile::TempDir,
}

/// A server behind nginx; that is the only proxy which is believed.
fn behind_nginx(admin_access: AccessRules, headers: &[ProxyHeader]) -> Option<Behind> {
    let program = program()?;
    let folder = tempfile::tempdir().unwrap();
    let database = Some(folder.path().join("config.db"));
    let options = ServeOptions {
        source: RuleSource { database, ..RuleSource::default() },
        admin_port: Some(0),
        admin_listen: Some("127.0.0.1".parse().unwrap()),
        websocket_port: Some(0),
        admin_access,
        trusted: Trusted::with_headers(&networks(&["127.0.0.1"]), headers),
        ..ServeOptions::default()
    };
    let server = TestServer::start_with("", options);
    let nginx = Nginx::start(&program, &server);
    Some(Behind { server, nginx, _folder: folder })
}

/// As the recipe has it: nginx asks for the login, the server does not.
fn recipe() -> AccessRules {
    AccessRules { networks: networks(&["::/0"]), open: true, ..AccessRules::default() }
}

#[test]
fn the_web_admin_reads_and_changes_and_pages_of_others_do_not() {
    let Some(Behind { server, nginx, .. }) = behind_nginx(recipe(), &[]) else { return };
    assert_eq!(nginx.ask("GET", "/admin/api/status/", "", None).status, 401, "nginx asks for the login");
    let own = format!("{BASIC}{OWN_PAGE}");
    let foreign = format!("{BASIC}Origin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\n");
    let title = json!({"serverTitle": "Behind nginx"});
    assert_eq!(nginx.ask("GET", "/admin/api/status/", &own, None).status, 200);
    assert_eq!(nginx.ask("PUT", "/admin/api/server/", &foreign, Some(&title)).status, 403);
    let changed = nginx.ask("PUT", "/admin/api/server/", &own, Some(&title));
    assert_eq!(
        (changed.status, &changed.json["serverTitle"]),
        (200, &json!("Behind nginx")),
        "{}",
        changed.json
    );

    let ban = json!({"ip": "192.0.2.1", "expires": "2099-01-01 00:00:00"});
    assert_eq!(nginx.ask("POST", "/admin/api/banlist/", &foreign, Some(&ban)).status, 403);
    let id = nginx.ask("POST", "/admin/api/banlist/", &own, Some(&ban)).json["id"].clone();
    let path = format!("/admin/api/banlist/{id}");
    assert_eq!(nginx.ask("DELETE", &path, &foreign, None).status, 403);
    assert_eq!(nginx.ask("DELETE", &path, &own, None).status, 200);

    // The list server of the recipe asks for what is to be shown.
    let mut host = server.connect();
    let id = host.host_running("A");
    let listed = || nginx.ask("GET", "/admin/api/sessions/?listed=true", BASIC, None).json;
    assert_eq!(listed().as_array().map(Vec::len), Some(1));
    let hidden = json!({"unlisted": "true"});
    assert_eq!(nginx.ask("PUT", &format!("/admin/api/sessions/{id}"), &own, Some(&hidden)).status, 200);
    eventually("it is hidden", || listed() == json!([]));
    let quiet = format!("/admin/api/sessions/{id}?quiet=true");
    assert_eq!(nginx.ask("DELETE", &quiet, &own, None).status, 200);
    eventually("nobody was told", || {
        nginx.ask("GET", "/admin/api/users/", BASIC, None).json[0]["state"] == "quiet_disconnect"
    });
}

#[test]
fn without_a_login_of_the_servers_own_strangers_get_nothing_through_nginx() {
    let Some(Behind { server: _server, nginx, .. }) = behind_nginx(AccessRules::default(), &[]) else {
        return;
    };
    // nginx says nothing of whom it speaks for; the login is nginx's.
    for (method, body) in [("GET", None), ("PUT", Some(json!({"serverTitle": "x"})))] {
        let answer = nginx.ask(method, "/admin/api/server/", BASIC, body.as_ref());
        assert_eq!(answer.status, 403, "{method}");
        assert!(answer.json["message"].as_str().unwrap().contains("--web-admin-login"), "{}", answer.json);
    }
    assert_eq!(nginx.ask("GET", "/page/", "", None).status, 403);
}

#[test]
fn the_page_works_below_a_path() {
    let Some(Behind { server: _server, nginx, .. }) = behind_nginx(recipe(), &[]) else { return };
    let fetch = |path: &str| {
        let mut stream = nginx.connect_from("127.0.0.1");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        answer
    };
    let index = fetch("/page/");
    let named = index.split('"').map(|word| word.trim_start_matches("./"));
    let named: Vec<&str> =
        named.filter(|word| word.starts_with("assets/") && word.matches('.').count() == 2).collect();
    assert!(named.len() > 10, "{index}");
    for name in named {
        fetch(&format!("/page/{name}"));
    }
    fetch("/page/api/status");
}

#[test]
fn people_in_browsers_are_known_by_their_addresses() {
    for (headers, forged) in [(&[][..], Some(400)), (&[ProxyHeader::RealIp][..], None)] {
        let Some(Behind { server, nginx, .. }) = behind_nginx(recipe(), headers) else { return };
        let websocket = |client: &str, headers: &str| Client::websocket(nginx.connect_from(client), headers);
        let page = "Origin: https://draw.example.org\r\nSec-Fetch-Site: same-origin\r\n";
        let mut a = websocket("127.0.0.5", page).unwrap();
        a.host_running("A");
        let users = request(server.admin.unwrap(), "GET", "/api/users", "", None).json;
        assert_eq!(users[0]["ip"], "127.0.0.5", "{users}");
        // What the client claims itself comes through nginx as it is.
        let claims = "X-Forwarded-For: 8.8.8.8\r\nForwarded: for=8.8.8.8\r\n";
        assert_eq!(websocket("127.0.0.6", claims).err(), forged, "{headers:?}");
        let ban = json!({"ip": "127.0.0.7", "expires": "2099-01-01 00:00:00"});
        assert_eq!(request(server.admin.unwrap(), "POST", "/api/banlist", "", Some(&ban)).status, 200);
        let mut banned = websocket("127.0.0.7", "X-Real-IP: 8.8.8.8\r\n").unwrap();
        assert!(!banned.may_host("B"), "a client's own X-Real-IP does not get through");
    }
}
