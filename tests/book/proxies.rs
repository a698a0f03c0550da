//! Reverse proxies as the book sets them up: server, proxy and ban from its own text.
//!
//! Clients draw over an encrypted WebSocket through the proxy, and a banned address stays banned whatever it claims.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustls::version::TLS13;
use socket2::{Domain, Socket, Type};

use crate::common::tls::{TlsStream, encrypt_to};
use crate::common::{Client, PATIENCE, eventually, skip};
use crate::shell::Shell;
use crate::text::{blocks, page};

const HOST: &str = "draw.example.org";
const URL: &str = "wss://draw.example.org/drawpile-web/ws";
/// `alice:secret`
const BASIC: &str = "Authorization: Basic YWxpY2U6c2VjcmV0\r\n";

/// A proxy that runs until this is dropped, before a server.
struct Behind {
    shell: Shell,
    proxy: Child,
    certificate: PathBuf,
}

impl Drop for Behind {
    fn drop(&mut self) {
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
    }
}

/// A program that Debian has in one of these directories.
fn program(name: &str) -> Option<PathBuf> {
    let directories = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let found = directories.map(|directory| Path::new(directory).join(name)).into_iter().find(|p| p.exists());
    if found.is_none() {
        skip::skip(name, &format!("there is no {name}"));
    }
    found
}

/// A text with one part replaced that must be in it.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from:?} is not in:\n{text}");
    text.replace(from, to)
}

impl Behind {
    /// Starts the server and the proxy of a page. `configured` writes the proxy's configuration from the page's, and
    /// returns the command that runs it.
    fn start(path: &str, language: &str, configured: impl Fn(&str, &Shell) -> Command) -> Behind {
        let text = page(path);
        let mut shell = Shell::start();
        if text.contains("--port 27749") {
            shell.draws_at("27749");
        }
        for block in blocks(&text, "sh run") {
            shell.run(&block);
        }
        shell.run(&format!("export DRAWHALL_CTL_AUTH=alice:secret; drawhall certificate {HOST}"));
        let recipe = blocks(&text, &format!("{language} recipe"));
        let [recipe] = recipe.as_slice() else { panic!("{path} has one recipe") };
        let recipe = shell.localized(recipe);
        let output = std::fs::File::create(shell.home().join("proxy.log")).unwrap();
        let proxy = configured(&recipe, &shell)
            .current_dir(shell.home())
            .env("HOME", shell.home())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let certificate = shell.home().join("cert.pem");
        let mut behind = Behind { shell, proxy, certificate };
        let port = if recipe.contains("stream {") { "27750" } else { "443" };
        eventually("the proxy listens", || {
            let log = std::fs::read_to_string(behind.shell.home().join("proxy.log")).unwrap();
            assert!(behind.proxy.try_wait().unwrap().is_none(), "the proxy has ended:\n{log}");
            TcpStream::connect(behind.shell.address(port)).is_ok()
        });
        behind
    }

    /// A connection from another address of this machine.
    fn connect_from(client: &str, address: SocketAddr) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(client.parse().unwrap(), 0).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn encrypted_from(&self, client: &str) -> TlsStream {
        let stream = Self::connect_from(client, self.shell.address("443"));
        encrypt_to(HOST, stream, &self.certificate, &TLS13).unwrap()
    }

    fn websocket_from(&self, client: &str, headers: &str) -> Result<Client, u16> {
        let stream = crate::common::tls::Stream::Tls(Box::new(self.encrypted_from(client)));
        Client::websocket_at(URL, stream, headers)
    }

    /// The answer to a request for the admin page or API.
    fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        let mut stream = self.encrypted_from("127.0.0.5");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             {headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = Vec::new();
        // A proxy may close the connection without the farewell of TLS.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// People draw, each known by the own address, and those at a banned address do not.
    fn people_draw_and_the_banned_do_not(&mut self) {
        let mut host = self.websocket_from("127.0.0.5", "").unwrap();
        let id = host.host_running("A");
        let mut guest = self.websocket_from("127.0.0.6", "").unwrap();
        guest.join("B", &id);
        host.send(148, 1, &[7]);
        assert_eq!(guest.until(|m| m.kind == 148).payload, [7]);
        let users = self.shell.run("drawhall ctl users");
        assert!(users.contains("127.0.0.5") && users.contains("127.0.0.6"), "{users}");

        self.shell.run("drawhall ctl bans add 127.0.0.7 --comment spam");
        let claims = ["", "X-Real-IP: 127.0.0.8\nX-Forwarded-For: 127.0.0.8\nForwarded: for=127.0.0.8"];
        for claim in claims {
            let mut banned = self.websocket_from("127.0.0.7", claim).unwrap();
            assert!(!banned.may_host("C"), "with {claim:?}");
        }
        assert!(self.websocket_from("127.0.0.8", "").unwrap().may_host("D"), "others are not banned");
    }

    /// The page is below this path.
    fn administrators_have_to_log_in(&self, page: &str) {
        let status = |answer: &str| answer.split(' ').nth(1).unwrap_or_default().to_owned();
        let api = format!("{page}api/server");
        let index = self.ask("GET", page, "", "");
        assert!(index.starts_with("HTTP/1.1 200") && index.contains("<html"), "{index}");
        let refused = self.ask("GET", &api, "", "");
        assert_eq!(status(&refused), "401", "{refused}");
        let own = format!("Origin: https://{HOST}\r\n{BASIC}");
        let changed = self.ask("PUT", &api, &own, r#"{"serverTitle": "Behind"}"#);
        assert_eq!(status(&changed), "200", "{changed}");
        let foreign = format!("Origin: https://evil.example\r\n{BASIC}");
        let refused = self.ask("PUT", &api, &foreign, r#"{"serverTitle": "Taken"}"#);
        assert_eq!(status(&refused), "403", "{refused}");
    }

    fn finish(self) {
        drop(self);
    }
}

#[test]
fn nginx() {
    let Some(program) = program("nginx") else { return };
    let mut behind = Behind::start("guide/nginx.md", "nginx", |recipe, shell| {
        let home = shell.home().display();
        let port = shell.address("443").port();
        let live = format!("{home}/etc/letsencrypt/live/{HOST}");
        let recipe = replaced(recipe, &format!("{live}/fullchain.pem"), &format!("{home}/cert.pem"));
        let recipe = replaced(&recipe, &format!("{live}/privkey.pem"), &format!("{home}/key.pem"));
        let recipe =
            replaced(&recipe, &format!("listen {port} ssl"), &format!("listen 127.0.0.1:{port} ssl"));
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {home}/{kind};\n"))
            .concat();
        let whole = format!(
            "daemon off;\nmaster_process off;\npid {home}/nginx.pid;\nerror_log stderr;\n\
             events {{ worker_connections 64; }}\nhttp {{\naccess_log off;\n{temporary}{recipe}}}\n"
        );
        let path = shell.home().join("nginx.conf");
        std::fs::write(&path, whole).unwrap();
        let mut command = Command::new(&program);
        command.args(["-e", "stderr", "-p"]).arg(shell.home()).arg("-c").arg(path);
        command
    });
    behind.people_draw_and_the_banned_do_not();
    behind.administrators_have_to_log_in("/admin/");
    behind.finish();
}

/// The module of nginx that passes on TCP, as Debian has it.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

#[test]
fn nginx_before_the_drawing_port() {
    let Some(program) = program("nginx") else { return };
    if !Path::new(STREAM_MODULE).exists() {
        return skip::skip("nginx", "there is no module stream (Debian: libnginx-mod-stream)");
    }
    let mut behind = Behind::start("guide/nginx-stream.md", "nginx", |recipe, shell| {
        let home = shell.home().display();
        let recipe = replaced(recipe, "listen ", "listen 127.0.0.1:");
        let whole = format!(
            "load_module {STREAM_MODULE};\ndaemon off;\nmaster_process off;\npid {home}/nginx.pid;\n\
             error_log stderr;\nevents {{ worker_connections 64; }}\n{recipe}\n"
        );
        let path = shell.home().join("nginx.conf");
        std::fs::write(&path, whole).unwrap();
        let mut command = Command::new(&program);
        command.args(["-e", "stderr", "-p"]).arg(shell.home()).arg("-c").arg(path);
        command
    });
    let drawing = behind.shell.address("27750");
    let client = |from: &str| Client::over(Behind::connect_from(from, drawing));
    let mut host = client("127.0.0.9");
    host.host_running("F");
    let log = behind.shell.run("cat ~/server.log");
    assert!(log.contains("127.0.0.9"), "everybody has the own address:\n{log}");
    behind.finish();
}

#[test]
fn caddy() {
    let Some(program) = program("caddy") else { return };
    let mut behind = Behind::start("guide/caddy.md", "caddyfile", |recipe, shell| {
        let home = shell.home().display();
        let port = shell.address("443").port();
        // Caddy would get a certificate of the name by itself.
        let site = format!("{HOST}:{port} {{\n\tbind 127.0.0.1\n\ttls {home}/cert.pem {home}/key.pem");
        let recipe = replaced(recipe, &format!("{HOST} {{"), &site);
        let path = shell.home().join("Caddyfile");
        std::fs::write(&path, format!("{{\n\tadmin off\n\tauto_https off\n}}\n{recipe}")).unwrap();
        let mut command = Command::new(&program);
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(path);
        command.env("XDG_DATA_HOME", shell.home()).env("XDG_CONFIG_HOME", shell.home());
        command
    });
    behind.people_draw_and_the_banned_do_not();
    behind.administrators_have_to_log_in("/");
    behind.finish();
}

#[test]
fn haproxy() {
    let Some(program) = program("haproxy") else { return };
    let mut behind = Behind::start("guide/haproxy.md", "haproxy", |recipe, shell| {
        let home = shell.home();
        let both = ["cert.pem", "key.pem"].map(|name| std::fs::read_to_string(home.join(name)).unwrap());
        std::fs::create_dir_all(home.join("etc/haproxy")).unwrap();
        std::fs::write(home.join("etc/haproxy/draw.pem"), both.concat()).unwrap();
        let path = home.join("haproxy.cfg");
        std::fs::write(&path, replaced(recipe, "bind :", "bind 127.0.0.1:")).unwrap();
        let mut command = Command::new(&program);
        command.arg("-db").arg("-f").arg(path);
        command
    });
    behind.people_draw_and_the_banned_do_not();
    behind.administrators_have_to_log_in("/");

    // The drawing port, by the PROXY protocol.
    let drawing = behind.shell.address("27750");
    let client = |from: &str| Client::over(Behind::connect_from(from, drawing));
    assert!(!client("127.0.0.7").may_host("E"), "the banned address");
    let mut host = client("127.0.0.9");
    host.host_running("F");
    let users = behind.shell.run("drawhall ctl users");
    assert!(users.contains("127.0.0.9"), "{users}");
    behind.finish();
}
