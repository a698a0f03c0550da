//! The program as a service manager starts it: with sockets, and somebody to tell how it is.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::http::text;
use common::{Client, eventually};
use rustix::process::{Pid, Signal, kill_process};

/// Makes the first socket that it was given the one that the program looks for.
const ACTIVATE: &str = r#"exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@""#;

struct Service {
    process: Child,
    address: SocketAddr,
}

impl Service {
    /// Starts the program with a socket of the system's choice.
    fn start(home: &Path, args: &[&str], set: impl FnOnce(&mut Command)) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", ACTIVATE, env!("CARGO_BIN_EXE_drawhall")])
            .args(args)
            .env("XDG_DATA_HOME", home)
            .env("DRAWHALL_ALLOW_ROOT", "true")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stderr(Stdio::piped());
        set(&mut command);
        Service { process: command.spawn().unwrap(), address }
    }

    /// Waits for the end; what it has said, and whether all was well.
    fn end(self) -> (String, bool) {
        let out = self.process.wait_with_output().unwrap();
        (String::from_utf8(out.stderr).unwrap(), out.status.success())
    }

    fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }
}

#[test]
fn clients_stay_when_the_process_was_paused() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("server.cfg");
    std::fs::write(&config, "[config]\nclientTimeout=2\n").unwrap();
    let service = Service::start(home.path(), &["--in-memory", "--config", config.to_str().unwrap()], |_| {});
    let mut a = Client::connect(service.address);
    let id = a.host_running("A");
    let mut b = Client::connect(service.address);
    b.join("B", &id);
    service.signal(Signal::STOP);
    // Longer than clients may be silent: what they say meanwhile cannot be heard.
    for _ in 0..5 {
        std::thread::sleep(Duration::from_secs(1));
        a.send(2, 0, &[0]);
        b.send(2, 0, &[0]);
    }
    service.signal(Signal::CONT);
    for n in 0..3u8 {
        a.send(148, 0, &[n]);
        assert_eq!(b.until(|m| m.kind == 148).payload, [n], "both are still there");
        std::thread::sleep(Duration::from_millis(700));
    }
    service.terminate();
    assert!(service.end().1);
}

#[test]
fn it_tells_how_it_is_and_ends_when_nobody_is_there_any_more() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let service = Service::start(home.path(), &["--in-memory"], |command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
    });
    let mut told = Vec::new();
    let mut until = |words: &str| {
        while !told.iter().any(|t: &String| t == words) {
            let mut buffer = [0; 500];
            let count = socket.recv(&mut buffer).unwrap_or_else(|e| panic!("{words}: {e}, after {told:?}"));
            told.extend(String::from_utf8_lossy(&buffer[..count]).lines().map(str::to_owned));
        }
        told.clear();
    };
    until("READY=1");
    until("STATUS=0 users and 0 sessions");
    let mut client = Client::connect(service.address);
    client.host_running("A");
    until("STATUS=1 users and 1 sessions");
    until("WATCHDOG=1");
    client.close();
    until("STOPPING=1");
    assert!(service.end().1);
}

#[test]
fn without_options_everything_is_in_the_data_directory_and_stays_there() {
    let home = tempfile::tempdir().unwrap();
    let service = Service::start(home.path(), &[], |_| {});
    let mut client = Client::connect(service.address);
    let id = client.host_running("A");
    let data = home.path().join("drawhall");
    assert!(data.join("config.db").is_file());
    assert!(data.join("sessions").join(format!("{id}.session")).is_file());
    let other = Service::start(home.path(), &[], |_| {});
    let (said, fine) = other.end();
    assert!(!fine && said.contains(&format!("process {}", service.process.id())), "{said}");
    service.terminate();
    assert!(client.rest().iter().any(|m| m.kind == 1), "everybody is told");
    let (said, fine) = service.end();
    assert!(fine && said.contains(&data.display().to_string()), "{said}");
    // The session is there again.
    let service = Service::start(home.path(), &[], |_| {});
    Client::connect(service.address).join("B", &id);
    service.terminate();
    assert!(service.end().1);
}

#[test]
fn in_memory_nothing_is_kept() {
    let home = tempfile::tempdir().unwrap();
    let service = Service::start(home.path(), &["--in-memory"], |_| {});
    Client::connect(service.address).host_running("A");
    service.terminate();
    service.end();
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn a_signal_begins_the_admin_api_again() {
    let home = tempfile::tempdir().unwrap();
    // The program takes no port 0 here: this one was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let port_text = port.to_string();
    let service = Service::start(home.path(), &["--in-memory", "--web-admin-port", &port_text], |_| {});
    let admin = SocketAddr::from(([127, 0, 0, 1], port));
    let answers = || text(admin, "/healthz") == "ok\n";
    eventually("the API is there", answers);
    let mut client = Client::connect(service.address);
    client.host_running("A");
    service.signal(Signal::USR1);
    service.signal(Signal::USR1);
    client.send(2, 0, &[0]);
    client.until(|m| m.kind == 2);
    eventually("the API is there again", answers);
    service.terminate();
    let (said, fine) = service.end();
    assert!(fine && said.matches("admin API at").count() >= 2, "{said}");
}

/// Everything in a directory, with its mode.
fn modes(path: &Path) -> Vec<(std::path::PathBuf, u32)> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut all = Vec::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        all.push((path.clone(), std::fs::metadata(&path).unwrap().permissions().mode() & 0o777));
        if path.is_dir() {
            all.extend(modes(&path));
        }
    }
    all
}

#[test]
fn what_is_kept_is_nobody_elses_business() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = tempfile::tempdir().unwrap();
    let record = home.path().join("recordings/%i.dprec");
    let trace = home.path().join("trace");
    let args = ["--record", record.to_str().unwrap(), "--trace-input", trace.to_str().unwrap()];
    let service = Service::start(home.path(), &args, |_| {});
    let mut client = Client::connect(service.address);
    client.host_running("A");
    client.send(148, 0, &[0; 10]);
    client.until(|m| m.kind == 148);
    service.terminate();
    let (said, fine) = service.end();
    assert!(fine && !said.contains("can read"), "{said}");
    let found = modes(home.path());
    for ending in ["config.db", ".session", ".dprec", "drawhall.lock", "trace", "recordings", "sessions"] {
        assert!(
            found.iter().any(|(path, _)| path.to_str().unwrap().ends_with(ending)),
            "{ending}: {found:?}"
        );
    }
    for (path, mode) in &found {
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
    }
    // What others can read already is told.
    let data = home.path().join("drawhall");
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
    let service = Service::start(home.path(), &[], |_| {});
    Client::connect(service.address).host_running("A");
    service.terminate();
    let (said, _) = service.end();
    let line = format!("every user of this machine can read {}", data.display());
    assert_eq!(said.matches("every user of this machine").count(), 1, "{said}");
    assert!(said.contains(&line), "{said}");
}

#[test]
fn a_profile_is_a_set_of_other_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.cfg");
    let config = |text: &str, args: &[&str], variable: Option<&str>| {
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_drawhall"));
        command.arg("config").arg("--config").arg(&file).args(args).env_remove("DRAWHALL_PROFILE");
        if let Some(profile) = variable {
            command.env("DRAWHALL_PROFILE", profile);
        }
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let usual = config("", &[], None);
    assert!(usual.contains("sessionsPerAddress = 5  (default)") && !usual.contains("(profile public)"));
    let ways = [
        config("sessionsPerAddress=7", &["--profile", "public"], None),
        config("sessionsPerAddress=7", &[], Some("public")),
        config("sessionsPerAddress=7\nprofile=public", &[], None),
    ];
    for shown in ways {
        assert!(shown.contains("logpurgedays = 30  (profile public)"), "{shown}");
        assert!(shown.contains("sessionsPerAddress = 7  (/"), "what is set counts");
    }
}

#[test]
fn a_new_data_directory_keeps_its_log_for_thirty_days_and_existing_databases_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str], database: &str, data: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_drawhall"));
        command.args(args).current_dir(folder.path()).env_remove("DRAWHALL_PROFILE");
        let mut process =
            command.args([database, data]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        process.stdin.take().unwrap().write_all(b"secret\n").unwrap();
        let out = process.wait_with_output().unwrap();
        assert!(out.status.success(), "{args:?}");
        String::from_utf8(out.stdout).unwrap()
    };
    let days = |option: &str, path: &str| {
        let shown = run(&["config"], option, path);
        let line = shown.lines().find(|line| line.starts_with("logpurgedays = ")).unwrap();
        line.split(' ').nth(2).unwrap().to_owned()
    };
    assert_eq!(days("--data", "new"), "30");
    // The first account may be there before the server has ever run.
    run(&["account", "add", "alice"], "--data", "account");
    assert_eq!(days("--data", "account"), "30");
    // As of drawpile-srv, and the same file in a data directory.
    assert_eq!(days("--database", "config.db"), "0");
    std::fs::create_dir(folder.path().join("old")).unwrap();
    std::fs::rename(folder.path().join("config.db"), folder.path().join("old/config.db")).unwrap();
    assert_eq!(days("--data", "old"), "0");
}

#[test]
fn a_hang_up_has_files_read_again_and_nobody_is_sent_away() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("server.cfg");
    std::fs::write(&config, "serverTitle=one").unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_drawhall"))
        .args(["certificate", "localhost"])
        .current_dir(home.path())
        .status();
    assert!(made.unwrap().success());
    let (cert, key) = (home.path().join("cert.pem"), home.path().join("key.pem"));
    let args = [&config, &cert, &key].map(|path| path.to_str().unwrap());
    let args = ["--config", args[0], "--ssl-cert", args[1], "--ssl-key", args[2]];
    let mut service = Service::start(home.path(), &args, |_| {});
    let mut client = Client::connect(service.address);
    client.reply(|v| v["type"] == "login");
    service.signal(Signal::HUP);
    let mut said = BufReader::new(service.process.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut expected = vec!["settings were read again", "the certificate was read again"];
    while !expected.is_empty() {
        let line = said.next().expect("it says that");
        expected.retain(|words| !line.contains(words));
    }
    client.send(2, 0, &[0]);
    client.until(|m| m.kind == 2);
    service.terminate();
    assert!(said.any(|line| line.contains("Server shutting down")));
    assert!(service.process.wait().unwrap().success());
}

#[test]
fn a_closed_terminal_is_a_clean_end() {
    let home = tempfile::tempdir().unwrap();
    // The program takes no port 0 here: this one was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let run = format!(
        "echo $$ > pid; exec {} --in-memory --allow-root --log-level info --listen 127.0.0.1 --port {port}",
        env!("CARGO_BIN_EXE_drawhall")
    );
    let started = Command::new("script")
        .args(["-qefc", &run, "typescript"])
        .current_dir(home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn();
    let Ok(mut terminal) = started else {
        return common::skip::skip("script", "there is no script(1)");
    };
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    eventually("it listens", || std::net::TcpStream::connect(address).is_ok());
    let mut client = Client::connect(address);
    client.host_running("A");
    let pid = std::fs::read_to_string(home.path().join("pid")).unwrap();
    kill_process(Pid::from_raw(pid.trim().parse().unwrap()).unwrap(), Signal::HUP).unwrap();
    assert!(client.rest().iter().any(|m| m.kind == 1), "everybody is told");
    assert!(terminal.wait().unwrap().success());
    let said = std::fs::read_to_string(home.path().join("typescript")).unwrap();
    assert!(said.contains("the terminal was closed"), "{said}");
}
