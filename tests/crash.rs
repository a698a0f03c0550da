//! The process dies, the disk is full: what was sent is there afterwards.
//!
//! The server runs in a child process, which is this test program again (`child`), so that it can be killed.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use common::child::{run_child, spawn_child};
use common::{Client, TestServer, eventually};
use drawhall::storage::check::inspect;
use drawhall_protocol::Frame;
use serde_json::json;

const CHILD: &str = "DRAWHALL_TEST_SESSIONS";
const CHILD_CONFIG: &str = "DRAWHALL_TEST_CONFIG";
const CONFIG: &str = "emptySessionLingerTime=1h\n";
const CANVAS: u8 = 129;
const STROKE: u8 = 148;

/// The server that other tests kill. By itself it does nothing.
#[test]
fn child() {
    let Some(sessions) = std::env::var_os(CHILD) else { return };
    // A limit for file sizes is to be an error of writing, as in the program itself.
    let system = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _guard = system.enter();
    let _limit = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(25)).unwrap();
    let config = std::env::var(CHILD_CONFIG).unwrap_or_default();
    let server = TestServer::storing(&config, Path::new(&sessions));
    run_child(&server.address.to_string());
}

struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(sessions: &Path, config: &str) -> Server {
        Self::start_as(Command::new(std::env::current_exe().unwrap()), sessions, config).expect("it starts")
    }

    fn start_as(mut command: Command, sessions: &Path, config: &str) -> Option<Server> {
        let (mut process, address) = spawn_child(command.env(CHILD, sessions).env(CHILD_CONFIG, config));
        match address.map(|address| address.parse().unwrap()) {
            Some(address) => Some(Server { process, address }),
            None => {
                process.wait().unwrap();
                None
            }
        }
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Lets it end by itself; strace cannot be killed in its place.
    fn stop(mut self) {
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }

    fn connect(&self) -> Client {
        Client::connect(self.address)
    }
}

/// Content that somebody was sent: type and payload, from the canvas on.
type Content = Vec<(u8, Vec<u8>)>;

fn take(content: &mut Content, kind: u8, payload: Vec<u8>) {
    match kind {
        // A reset: from here on this is the content.
        CANVAS => *content = vec![(kind, payload)],
        STROKE => content.push((kind, payload)),
        _ => {}
    }
}

fn canvas(n: u32) -> Frame {
    Frame::new(CANVAS, 1, &[n.to_be_bytes(), [0; 4], [0; 4], [0; 4]].concat()).unwrap()
}

/// Reads until the connection ends.
fn read_all(mut client: Client) -> JoinHandle<Content> {
    std::thread::spawn(move || {
        let mut content = Vec::new();
        while let Some(message) = client.next() {
            take(&mut content, message.kind, message.payload);
        }
        content
    })
}

/// Draws until the connection ends; now and then a reset is made by the first of them, with canvases that it tells.
fn draw_all(
    mut stream: std::net::TcpStream,
    who: u8,
    round: u32,
    resets: mpsc::Sender<u32>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut n = 0u32;
        loop {
            let mut burst = Vec::new();
            for _ in 0..10 {
                n += 1;
                let payload = [&[who], &round.to_be_bytes()[..], &n.to_be_bytes()].concat();
                burst.extend_from_slice(Frame::new(STROKE, who, &payload).unwrap().as_bytes());
            }
            if who == 1 && round % 3 == 2 && n % 200 == 100 {
                let number = round * 1000 + n;
                resets.send(number).unwrap();
                let command = |cmd: &str| {
                    Frame::new(0, 0, json!({"cmd": cmd, "args": [], "kwargs": {}}).to_string().as_bytes())
                        .unwrap()
                };
                for frame in [command("reset-session"), canvas(number), command("init-complete")] {
                    burst.extend_from_slice(frame.as_bytes());
                }
            }
            if stream.write_all(&burst).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    })
}

/// Everything that is in the session now.
fn content_of(server: &Server, session: &str, name: &str) -> Content {
    let mut client = server.connect();
    client.join(name, session);
    let mark = name.as_bytes().to_vec();
    client.send(STROKE, 0, &mark);
    let mut content = Vec::new();
    while content.last().is_none_or(|(_, payload)| *payload != mark) {
        let message = client.next().expect("the connection is open");
        take(&mut content, message.kind, message.payload);
    }
    content
}

fn random(below: u64) -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes) % below
}

#[test]
fn whatever_anybody_was_sent_is_there_after_the_process_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), CONFIG);
    let mut host = server.connect();
    let id = host.host("Host");
    host.send_bytes(canvas(0).as_bytes()).unwrap();
    host.command("init-complete", json!([]), json!({}));
    host.reply(|v| v["type"] == "status");
    host.close();
    server.kill();
    let (mut received, mut drawn) = (0, 0);
    // More on request, for a long run.
    let rounds = std::env::var("DRAWHALL_CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(30);
    for round in 1..=rounds {
        let config = if round % 2 == 0 { CONFIG.to_owned() } else { format!("{CONFIG}syncInterval=0\n") };
        let server = Server::start(folder.path(), &config);
        let (tell, resets) = mpsc::channel();
        let mut threads = Vec::new();
        for who in 1..=3u8 {
            let mut client = server.connect();
            client.join(&format!("c{who}"), &id);
            let writer = client.socket().try_clone().unwrap();
            threads.push((read_all(client), draw_all(writer, who, round, tell.clone())));
        }
        drop(tell);
        std::thread::sleep(Duration::from_millis(random(150)));
        server.kill();
        let seen: Vec<Content> = threads
            .into_iter()
            .map(|(reader, writer)| {
                writer.join().unwrap();
                reader.join().unwrap()
            })
            .collect();
        let resets: Vec<u32> = resets.try_iter().collect();

        let server = Server::start(folder.path(), &config);
        let content = content_of(&server, &id, &format!("r{round}"));
        for (who, seen) in seen.iter().enumerate() {
            let same_canvas = seen.first().is_none_or(|first| content.first() == Some(first));
            if same_canvas {
                let len = seen.len().min(content.len());
                assert!(
                    seen.len() <= content.len() && content[..len] == seen[..],
                    "round {round}, client {who}"
                );
            } else {
                // A reset was complete, and nobody had been told yet.
                let number = u32::from_be_bytes(content[0].1[..4].try_into().unwrap());
                assert!(resets.contains(&number), "round {round}, client {who}: {number} of {resets:?}");
            }
            received += seen.len();
        }
        drawn = content.len();
        server.kill();
    }
    assert!(received > 1000, "somebody was sent something: {received}, {drawn}");
    let sessions = inspect(folder.path(), true).unwrap();
    assert!(sessions.iter().all(|s| s.problems.iter().all(|p| !p.is_fatal())), "{sessions:?}");
    assert!(sessions[0].metadata.files > 1, "there were resets");
}

/// A session with some strokes, and an operator who draws.
fn session_of(server: &Server, strokes: u8) -> (Client, Client, String) {
    let mut host = server.connect();
    let id = host.host("Host");
    host.send_bytes(canvas(0).as_bytes()).unwrap();
    host.command("init-complete", json!([]), json!({}));
    for n in 1..=strokes {
        host.send(STROKE, 0, &[n]);
    }
    let mut watcher = server.connect();
    watcher.join("Watcher", &id);
    (host, watcher, id)
}

fn limit_file_size(server: &Server, bytes: Option<u64>) {
    let pid = rustix::process::Pid::from_child(&server.process);
    let limit = rustix::process::Rlimit { current: bytes, maximum: None };
    rustix::process::prlimit(Some(pid), rustix::process::Resource::Fsize, limit).unwrap();
}

#[test]
fn with_a_full_disk_the_session_goes_on_and_nothing_is_lost_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), CONFIG);
    let (mut host, mut watcher, id) = session_of(&server, 10);
    watcher.until(|m| m.kind == STROKE && m.payload == [10]);
    limit_file_size(&server, Some(16 << 10));
    for n in 0..100u8 {
        host.send(STROKE, 0, &[&[n][..], &[7; 1000]].concat());
    }
    // Everybody is told, once, and the drawing goes on.
    let (mut told, mut last) = (0, 0);
    while told == 0 || last < 99 {
        let message = watcher.next().unwrap();
        told += usize::from(message.json().is_some_and(|v| v["T"] == "storagefailed"));
        if message.kind == STROKE && message.payload.len() > 1000 {
            last = message.payload[0];
        }
    }
    assert_eq!(told, 1);
    let mut late = server.connect();
    late.join("Late", &id);
    late.until(|m| m.kind == STROKE && m.payload.len() > 1000 && m.payload[0] == 99);
    let sound = inspect(folder.path(), true).unwrap();
    assert!(sound[0].messages.unwrap() > 10, "what was stored before is not damaged: {sound:?}");

    limit_file_size(&server, None);
    watcher.reply(|v| v["T"] == "storagerecovered");
    host.send(STROKE, 0, b"end");
    watcher.until(|m| m.payload == b"end");
    server.kill();
    let server = Server::start(folder.path(), CONFIG);
    let content = content_of(&server, &id, "Reader");
    let large: Vec<u8> = content.iter().filter(|(_, p)| p.len() > 1000).map(|(_, p)| p[0]).collect();
    assert_eq!(large, (0..100).collect::<Vec<u8>>());
    assert!(content.iter().any(|(_, p)| p == b"end"));
    server.kill();
}

#[test]
fn a_reset_that_does_not_fit_on_the_disk_leaves_the_old_history_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), CONFIG);
    let (mut host, mut watcher, id) = session_of(&server, 10);
    watcher.until(|m| m.kind == STROKE && m.payload == [10]);
    limit_file_size(&server, Some(16 << 10));
    host.command("reset-session", json!([]), json!({}));
    host.reply(|v| v["state"] == "init");
    host.send_bytes(canvas(1).as_bytes()).unwrap();
    for n in 0..40u8 {
        host.send(STROKE, 0, &[&[n][..], &[7; 1000]].concat());
    }
    host.command("init-complete", json!([]), json!({}));
    host.reply(|v| v["T"] == "storagefailed");
    let stored = inspect(folder.path(), true).unwrap();
    assert_eq!(stored[0].metadata.file.as_deref(), Some(&*format!("{id}.dprec")));
    assert!(stored[0].problems.is_empty(), "{stored:?}");
    limit_file_size(&server, None);
    watcher.reply(|v| v["T"] == "storagerecovered");
    server.kill();
    let server = Server::start(folder.path(), CONFIG);
    let content = content_of(&server, &id, "Reader");
    assert_eq!((content[0].1[3], content.len()), (1, 1 + 40 + 1));
    let stored = inspect(folder.path(), true).unwrap();
    assert_eq!(stored[0].metadata.file.as_deref(), Some(&*format!("{id}_r2.dprec")));
    server.kill();
}

/// What a session is put through: drawing, a reset, drawing, its end.
fn life(server: &Server) {
    let mut host = server.connect();
    // Whenever the server dies, the connection ends.
    let mut step = |cmd: &str, frames: &[Frame], until: &str| -> bool {
        if !cmd.is_empty() {
            let json = json!({"cmd": cmd, "args": [], "kwargs": {}}).to_string();
            if host.send_bytes(Frame::new(0, 0, json.as_bytes()).unwrap().as_bytes()).is_err() {
                return false;
            }
        }
        for frame in frames {
            if host.send_bytes(frame.as_bytes()).is_err() {
                return false;
            }
        }
        while let Some(message) = host.next() {
            if message.json().is_some_and(|v| v["state"] == until || v["type"] == until) {
                return true;
            }
            if message.kind == STROKE && until == "stroke" {
                return true;
            }
        }
        false
    };
    let command = |cmd: &str, args: serde_json::Value, kwargs: serde_json::Value| {
        Frame::new(0, 0, json!({"cmd": cmd, "args": args, "kwargs": kwargs}).to_string().as_bytes()).unwrap()
    };
    let stroke = |n: u8| Frame::new(STROKE, 1, &[n]).unwrap();
    let host_args = json!({"protocol": "dp:4.24.0", "user_id": 1, "s": common::SID});
    let _ = step("", &[], "login")
        && step("", &[command("ident", json!(["mod", "modpw"]), json!({}))], "identOk")
        && step("", &[command("host", json!([]), host_args)], "host")
        && step("", &[canvas(0), command("init-complete", json!([]), json!({}))], "status")
        && step("", &[stroke(1)], "stroke")
        && step("reset-session", &[], "init")
        && step("", &[canvas(1), command("init-complete", json!([]), json!({}))], "reset")
        && step("", &[stroke(2)], "stroke")
        && step("kill-session", &[], "never");
}

fn strace(expression: &str, call: &str) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", expression]);
    strace.arg(std::env::current_exe().unwrap());
    strace
}

/// What could not be forced to the disk may be lost although asking again succeeds.
#[test]
fn after_a_failed_fsync_everything_is_written_to_a_new_file() {
    if !common::child::can_trace() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = format!("{CONFIG}syncInterval=0\n");
    let failing = strace("inject=fdatasync:error=EIO:when=4", "fdatasync");
    let server = Server::start_as(failing, folder.path(), &config).unwrap();
    let mut host = server.connect();
    let id = host.host("Host");
    host.send_bytes(canvas(0).as_bytes()).unwrap();
    host.command("init-complete", json!([]), json!({}));
    let (mut failed, mut n) = (false, 0u8);
    while !failed {
        n += 1;
        host.send(STROKE, 0, &[n]);
        let told = host.until(|m| m.kind == STROKE || m.json().is_some_and(|v| v["T"] == "storagefailed"));
        failed = told.kind != STROKE;
    }
    host.reply(|v| v["T"] == "storagerecovered");
    server.stop();
    let stored = inspect(folder.path(), true).unwrap();
    assert!(stored[0].metadata.files > 1, "{stored:?}");
    let server = Server::start(folder.path(), CONFIG);
    let content = content_of(&server, &id, "Reader");
    let strokes: Vec<u8> =
        content.iter().filter(|(k, p)| *k == STROKE && p.len() == 1).map(|(_, p)| p[0]).collect();
    assert_eq!(strokes, (1..=n).collect::<Vec<u8>>());
    server.kill();
}

/// The copy in memory is given up only for files that are known to be on the disk.
#[test]
fn a_session_is_not_unloaded_after_a_failed_fsync() {
    if !common::child::can_trace() {
        return;
    }
    // The first fsync of each thread fails: that of the unloading, or one between it and the last message.
    for interval in ["1h", "50ms"] {
        let folder = tempfile::tempdir().unwrap();
        let config = format!("{CONFIG}sessionUnloadTime=1\nsyncInterval={interval}\n");
        let failing = strace("inject=fdatasync:error=EIO:when=1", "fdatasync");
        let server = Server::start_as(failing, folder.path(), &config).unwrap();
        let mut host = server.connect();
        let id = host.host("Host");
        host.send_bytes(canvas(0).as_bytes()).unwrap();
        host.command("init-complete", json!([]), json!({}));
        host.send(STROKE, 0, &[1]);
        host.until(|m| m.kind == STROKE);
        host.close();
        eventually("all is written to a new file", || {
            inspect(folder.path(), false).is_ok_and(|stored| stored[0].metadata.files > 1)
        });
        let content = content_of(&server, &id, "Reader");
        assert!(content.iter().any(|(kind, payload)| *kind == STROKE && payload == &[1]), "{content:?}");
        server.kill();
    }
}

/// Kills the server at every file operation of a session's life, one after the other, with strace.
#[test]
fn every_file_operation_can_be_the_last() {
    if !common::child::can_trace() {
        return;
    }
    let mut deaths = 0;
    for (archive, keep) in [(false, 3), (true, 0)] {
        let settings = format!("syncInterval=0\narchive={archive}\nkeepGenerations={keep}\n");
        let config = format!("{CONFIG}{settings}[users]\nmod:plain;modpw:MOD,HOST\n");
        for call in ["pwrite64", "rename", "unlink", "fdatasync", "ftruncate"] {
            for when in 1.. {
                let folder = tempfile::tempdir().unwrap();
                if !dies_at(call, when, folder.path(), &config) {
                    break;
                }
                deaths += 1;
                check_after_death(folder.path(), &format!("{call} {when}"), archive);
            }
        }
    }
    assert!(deaths >= 20, "{deaths}");
}

/// Returns whether the server died at that call.
fn dies_at(call: &str, when: u32, sessions: &Path, config: &str) -> bool {
    let killing = strace(&format!("inject={call}:signal=KILL:when={when}"), call);
    let Some(mut server) = Server::start_as(killing, sessions, config) else { return true };
    life(&server);
    // The end of a session is the last thing that happens to its files.
    let ended = || inspect(sessions, false).unwrap().is_empty();
    let mut died = false;
    eventually("it dies or the session ends", || {
        died = server.process.try_wait().unwrap().is_some();
        died || ended()
    });
    // It may die right after that.
    for _ in 0..10 {
        died |= server.process.try_wait().unwrap().is_some();
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(server.process.stdin.take());
    server.process.wait().unwrap();
    died
}

/// After a restart there is either no session or one in a state that it was in, and no file too many.
fn check_after_death(sessions: &Path, what: &str, archive: bool) {
    let mut server = TestServer::storing(CONFIG, sessions);
    let listed = {
        let mut client = server.connect();
        client.reply(|v| v["type"] == "login");
        client.command("ident", json!(["Guest"]), json!({}));
        client.sessions()
    };
    let files: Vec<String> = std::fs::read_dir(sessions)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n != "drawhall.lock")
        .collect();
    assert!(files.iter().all(|f| !f.ends_with(".new") && !f.ends_with(".deleted")), "{what}: {files:?}");
    let (marks, files): (Vec<String>, Vec<String>) = files.into_iter().partition(|f| f.ends_with(".times"));
    let history_of = |marks: &String| format!("{}.dprec", marks.trim_end_matches(".times"));
    assert!(marks.iter().all(|m| files.contains(&history_of(m))), "{what}: {marks:?} of {files:?}");
    let live: Vec<&String> = files.iter().filter(|f| !f.ends_with(".archived")).collect();
    match &listed[..] {
        [] => assert!(live.is_empty(), "{what}: {files:?}"),
        [session] => {
            // The journal, the history, and the one that a reset has replaced.
            let id = session["id"].as_str().unwrap();
            let replaced = [format!("{id}.dprec"), format!("{id}_r2.dprec")];
            let is_kept = live.len() == 3 && replaced.iter().all(|name| files.contains(name));
            assert!(live.len() == 2 || is_kept, "{what}: {files:?}");
            let mut client = server.connect();
            client.join("Guest", session["id"].as_str().unwrap());
            client.send(STROKE, 0, b"mark");
            let mut content = Vec::new();
            while content.last().is_none_or(|(_, p): &(u8, Vec<u8>)| p != b"mark") {
                let message = client.next().unwrap();
                take(&mut content, message.kind, message.payload);
            }
            let strokes: Vec<u8> =
                content.iter().filter(|(k, p)| *k == STROKE && p.len() == 1).map(|(_, p)| p[0]).collect();
            let known: [&[u8]; 4] = [&[], &[1], &[], &[2]];
            assert!(known.contains(&&strokes[..]), "{what}: {strokes:?}");
        }
        more => panic!("{what}: {more:?}"),
    }
    if !archive {
        assert_eq!(live.len(), files.len(), "{what}: {files:?}");
    }
    server.stop();
}
