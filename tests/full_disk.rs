//! A disk that is really full: a tmpfs of 20 MB in a mount namespace. Nobody is disconnected, no file is damaged, and
//! everything is stored once there is room.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use common::child::{run_child, spawn_child};
use common::client::Received;
use common::http::{Answer, request};
use common::{Client, SID, TestServer, eventually};
use drawhall::app::ServeOptions;
use drawhall::storage::check::{Inspected, Problem, inspect};
use serde_json::{Value, json};

const CHILD: &str = "DRAWHALL_TEST_SESSIONS";
/// The program that makes pictures.
const RENDERER: &str = "DRAWHALL_TEST_RENDERER";
const CONFIG: &str = "emptySessionLingerTime=1h\nhostRateLimit=0\nautoResetThreshold=0\ndiskSpaceReserve=4mb\n\
    [users]\nboss:plain;secret:MOD\n";
const STROKE: u8 = 148;
/// Bytes of a stroke: a few hundred fill the disk.
const STROKE_LEN: usize = 30_000;

/// The server, in a process and mount namespace of its own. By itself it does nothing.
#[test]
fn child() {
    let Some(sessions) = std::env::var_os(CHILD) else { return };
    let options = ServeOptions {
        admin_port: Some(0),
        sessions: Some(sessions.into()),
        canvas_renderer: std::env::var_os(RENDERER).map(PathBuf::from),
        ..ServeOptions::default()
    };
    let server = TestServer::start_with(CONFIG, options);
    run_child(&format!("{} {}", server.address, server.admin.unwrap()));
}

/// A server whose sessions are on a disk of 20 MB.
struct Server {
    process: Child,
    address: SocketAddr,
    /// Address of its admin API.
    admin: SocketAddr,
    /// Its directory of sessions, as seen from outside of its mount namespace.
    sessions: PathBuf,
}

impl Server {
    /// `None` where no namespace can be made.
    fn start(folder: &Path) -> Option<Server> {
        Server::start_with(folder, None)
    }

    /// The same with a program that makes pictures.
    fn start_with(folder: &Path, renderer: Option<&Path>) -> Option<Server> {
        let script = "mount -t tmpfs -o size=20m,mode=700 none \"$DRAWHALL_TEST_SESSIONS\" && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
        command.arg(std::env::current_exe().unwrap()).env(CHILD, folder);
        command.envs(renderer.map(|program| (RENDERER, program)));
        let (mut process, addresses) = spawn_child(&mut command);
        let Some(addresses) = addresses else {
            process.wait().unwrap();
            return None;
        };
        let root = PathBuf::from(format!("/proc/{}/root", process.id()));
        let sessions = root.join(folder.strip_prefix("/").unwrap());
        let (address, admin) = addresses.split_once(' ').unwrap();
        Some(Server { process, address: address.parse().unwrap(), admin: admin.parse().unwrap(), sessions })
    }

    fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Takes space on the disk until so many bytes are free.
    fn leave_free(&self, bytes: u64) {
        let stat = rustix::fs::statvfs(&self.sessions).unwrap();
        let filler = (stat.f_bavail * stat.f_frsize).saturating_sub(bytes);
        fs::write(self.sessions.join("filler"), vec![0; filler as usize]).unwrap();
    }

    /// Whether a new session may be hosted; the answer's code if not.
    fn may_host(&self) -> Result<(), Value> {
        let mut client = self.connect();
        client.ident("newcomer");
        client.ask_to_host();
        let answer = client.reply(|v| v["state"] == "host" || v["type"] == "error");
        if answer["type"] == "error" { Err(answer["code"].clone()) } else { Ok(()) }
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// A session in which one draws and one watches.
struct Drawing {
    id: String,
    host: Client,
    watcher: Client,
    drawn: u32,
    /// Keys of notices that the watcher was sent.
    told: Vec<String>,
}

impl Drawing {
    fn start(server: &Server, n: usize) -> Drawing {
        let mut host = server.connect();
        let id = host.host_running(&format!("host{n}"));
        let mut watcher = server.connect();
        watcher.join(&format!("watcher{n}"), &id);
        Drawing { id, host, watcher, drawn: 0, told: Vec::new() }
    }

    /// Draws a stroke, and waits until both have it.
    fn draw(&mut self) {
        self.drawn += 1;
        let number = self.drawn.to_be_bytes();
        let stroke = [&number[..], &vec![7; STROKE_LEN]].concat();
        self.host.send(STROKE, 0, &stroke);
        let is_it = |m: &Received| m.kind == STROKE && m.payload.starts_with(&number);
        self.host.until(is_it);
        loop {
            let message = self.watcher.next().expect("nobody is disconnected");
            self.told.extend(message.json().and_then(|v| Some(v["T"].as_str()?.to_owned())));
            if is_it(&message) {
                return;
            }
        }
    }

    fn was_told(&self, key: &str) -> usize {
        self.told.iter().filter(|told| *told == key).count()
    }
}

/// Whether a session's files have at most the beginning of a message that did not fit, which is written again.
fn is_cut_at_most(session: &Inspected) -> bool {
    session.problems.iter().all(|problem| matches!(problem, Problem::CutHistory { .. }))
}

/// Numbers of the strokes of a session.
fn strokes(address: SocketAddr, session: &str, name: &str, count: u32) -> Vec<u32> {
    let mut client = Client::connect(address);
    client.join(name, session);
    let one = |_| {
        let stroke = client.until(|m| m.kind == STROKE && m.payload.len() > STROKE_LEN);
        u32::from_be_bytes(stroke.payload[..4].try_into().unwrap())
    };
    (0..count).map(one).collect()
}

#[test]
fn three_sessions_draw_until_the_disk_is_full_and_everything_is_stored_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = Server::start(folder.path()) else {
        return common::skip::skip("user-namespace", "no mount namespace of its own can be made");
    };
    let mut drawings: Vec<Drawing> = (0..3).map(|n| Drawing::start(&server, n)).collect();
    drawings.iter_mut().for_each(Drawing::draw);
    server.leave_free(3 << 20);
    while drawings.iter().any(|drawing| drawing.was_told("storagefailed") == 0) {
        drawings.iter_mut().for_each(Drawing::draw);
    }
    for _ in 0..20 {
        drawings.iter_mut().for_each(Drawing::draw);
    }
    for drawing in &drawings {
        assert_eq!(drawing.was_told("storagefailed"), 1, "{:?}", drawing.told);
        let expected: Vec<u32> = (1..=drawing.drawn).collect();
        assert_eq!(
            strokes(server.address, &drawing.id, "late", drawing.drawn),
            expected,
            "a newcomer has all"
        );
    }
    eventually("no new sessions", || server.may_host() == Err(json!("noSpace")));
    let sound = inspect(&server.sessions, true).unwrap();
    assert!(sound.len() == 3 && sound.iter().all(is_cut_at_most), "{sound:?}");

    fs::remove_file(server.sessions.join("filler")).unwrap();
    for drawing in &mut drawings {
        drawing.watcher.reply(|v| v["T"] == "storagerecovered");
        drawing.draw();
    }
    eventually("new sessions", || server.may_host().is_ok());
    // The disk is gone with its namespace, unless somebody has it open.
    let disk = File::open(&server.sessions).unwrap();
    server.kill();
    let copies = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(format!("/proc/self/fd/{}", disk.as_raw_fd())).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), copies.path().join(entry.file_name())).unwrap();
        }
    }
    let server = TestServer::storing(CONFIG, copies.path());
    for drawing in &drawings {
        let expected: Vec<u32> = (1..=drawing.drawn).collect();
        assert_eq!(strokes(server.address, &drawing.id, "reader", drawing.drawn), expected);
    }
}

#[test]
fn nothing_is_rendered_below_the_reserve() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    let script = "#!/bin/sh\nprintf '\\211PNG\\r\\n\\032\\n' > \"${5%.png}-1.png\"\n";
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let sessions = folder.path().join("sessions");
    fs::create_dir(&sessions).unwrap();
    let Some(server) = Server::start_with(&sessions, Some(&program)) else {
        return common::skip::skip("user-namespace", "no mount namespace of its own can be made");
    };
    let mut drawing = Drawing::start(&server, 1);
    drawing.draw();
    let path = format!("/api/sessions/{}", drawing.id);
    let picture = || request(server.admin, "GET", &format!("{path}/picture"), "", None);
    let compact = || request(server.admin, "POST", &format!("{path}/compact"), "", Some(&json!({})));
    let is_refused = |answer: Answer| {
        let reason = answer.json["message"].as_str().unwrap_or_default();
        answer.status == 503 && reason.contains("diskSpaceReserve")
    };
    eventually("there is a picture", || picture().status == 200);
    server.leave_free(3 << 20);
    eventually("no pictures", || is_refused(picture()));
    assert!(is_refused(compact()));
    fs::remove_file(server.sessions.join("filler")).unwrap();
    eventually("pictures", || picture().status == 200);
    server.kill();
}

#[test]
fn a_session_ends_while_the_disk_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = Server::start(folder.path()) else {
        return common::skip::skip("user-namespace", "no mount namespace of its own can be made");
    };
    let mut drawing = Drawing::start(&server, 1);
    drawing.draw();
    server.leave_free(0);
    while drawing.was_told("storagefailed") == 0 {
        drawing.draw();
    }
    // A reset is written as a whole, not appended: that takes the way over the blocking pool.
    drawing.host.command("reset-session", json!([]), json!({}));
    drawing.host.reply(|v| v["type"] == "reset" && v["state"] == "init");
    drawing.host.send(STROKE, 0, &[7; STROKE_LEN]);
    drawing.host.command("init-complete", json!([]), json!({}));
    drawing.watcher.reply(|v| v["type"] == "reset" && v["state"] == "reset");
    let mut boss = server.connect();
    boss.ident_as("boss", "secret");
    boss.command("join", json!([drawing.id]), json!({"s": SID}));
    boss.reply(|v| v["state"] == "join");
    boss.command("kill-session", json!([]), json!({}));
    assert!(drawing.watcher.rest().last().is_some_and(|m| m.kind == 1), "it says goodbye");
    drawing.host.rest();
    let is_listed =
        || server.connect().ident_for_list("other").iter().any(|s| s["id"] == drawing.id.as_str());
    eventually("it is not listed any more", || !is_listed());
    let left = || inspect(&server.sessions, false).unwrap().len();
    eventually("its files are gone", || left() == 0);
    server.kill();
}
