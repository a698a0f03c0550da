//! Starting: what fails does so in one line that names option and remedy, before anything runs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use common::{PATIENCE, eventually};
use drawhall::storage::session_dir::SessionDir;
use drawhall::transport::tls;

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drawhall"));
    command
        .current_dir(folder)
        .env("XDG_DATA_HOME", folder.join("home"))
        .env("DRAWHALL_ALLOW_ROOT", "true")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What a program says until it ends by itself.
fn ended(mut child: Child, what: &str) -> Output {
    let begin = std::time::Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begin.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("{what}: it started");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

/// A key that TLS of this server does not speak.
const P521_KEY: &str = include_str!("fixtures/p521.key");

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn pair(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (cert, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    tls::make(&["localhost".into()], &cert, &key).unwrap();
    (cert, key)
}

#[test]
fn what_a_crash_has_left_of_a_picture_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let left = folder.path().join("drawhall-picture-abcdef");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("session.dprec"), "what was drawn").unwrap();
    let mut command = program(folder.path());
    let port = free_port().to_string();
    command.args(["--in-memory", "--listen", "127.0.0.1", "--port", &port]).env("TMPDIR", folder.path());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("it is removed", || !left.exists());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_cannot_start_says_in_one_line_which_option_and_what_helps() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port().to_string();
    let provider = format!("127.0.0.1:{port}");
    pair(path, "a");
    pair(path, "b");
    fs::write(path.join("file"), "rubbish, and more than one line of it\n".repeat(100)).unwrap();
    fs::write(path.join("config"), "").unwrap();
    fs::write(path.join("p521.key"), P521_KEY).unwrap();
    fs::write(path.join("utf16.pem"), [0xff, 0xfe, b'x', 0]).unwrap();
    fs::create_dir(path.join("in-use")).unwrap();
    let _holder = SessionDir::open(&path.join("in-use"), Duration::from_secs(1)).unwrap();
    let certificate = |cert: &'static str, key: &'static str| vec!["--ssl-cert", cert, "--ssl-key", key];
    let in_use = "another program listens there";
    let cases: Vec<(Vec<&str>, [&str; 2])> = vec![
        (vec!["--port", &port], ["--port", in_use]),
        (vec!["--websocket-port", &port], ["--websocket-port", in_use]),
        (vec!["--web-admin-port", &port], ["--web-admin-port", in_use]),
        (vec!["--extauth-provider", &provider, "--database", "x.db"], ["--extauth-provider", in_use]),
        (vec!["--listen", "192.0.2.1"], ["--listen", "an address of this machine"]),
        (
            vec!["--websocket-port", "1", "--websocket-listen", "192.0.2.1"],
            ["--websocket-listen", "this machine"],
        ),
        (certificate("nope.pem", "a.key"), ["--ssl-cert", "nope.pem"]),
        (certificate("a.pem", "nope.key"), ["--ssl-key", "nope.key"]),
        (certificate("file", "a.key"), ["--ssl-cert", "no certificate in file"]),
        (certificate("utf16.pem", "a.key"), ["--ssl-cert", "no certificate in utf16.pem"]),
        (certificate("a.pem", "a.pem"), ["--ssl-key", "no private key in a.pem"]),
        (certificate("a.pem", "b.key"), ["--ssl-cert", "cannot be used"]),
        ([certificate("a.pem", "a.key"), vec!["--ssl-key-algorithm", "rsa"]].concat(), ["--ssl-key", "RSA"]),
        (vec!["--data", "file/x"], ["--data", "--in-memory"]),
        (vec!["--sessions", "file"], ["--sessions", "name another directory"]),
        (vec!["--sessions", "in-use"], ["--sessions", "in use by another server"]),
        (vec!["--config", "nope.cfg"], ["--config", "nope.cfg"]),
        (vec!["--database", "file"], ["--database", "not a database"]),
        (vec!["--database", "nope/x.db"], ["--database", "nope/x.db"]),
        (vec!["--templates", "nope"], ["--templates", "nope"]),
        (vec!["--trace-input", "file"], ["--trace-input", "name a new file"]),
        (vec!["--record", "file/x/%i"], ["--record", "file/x"]),
        (vec!["--in-memory", "--extauth-provider", &provider], ["--extauth-provider", "--database"]),
        (vec!["--config", "config", "--extauth-provider", &provider], ["--extauth-provider", "--data"]),
        (certificate("a.pem", "p521.key"), ["--ssl-key", "P-256"]),
        (vec!["--port", "off"], ["--port off", "--websocket-port"]),
        (vec!["--web-admin-on-websocket"], ["--web-admin-on-websocket", "--websocket-port"]),
        (vec!["--port", "x"], ["'x' for '--port", "--help"]),
        (vec!["--port", "65536"], ["'65536' for '--port", "65535"]),
        (vec!["--port"], ["--port", "--help"]),
        (vec!["--prot", "5"], ["'--prot'", "'--port'"]),
        (vec!["--listen", "here"], ["'here' for '--listen", "--help"]),
        (vec!["--trusted-proxy", "10.0.0.0/8,here"], ["'here' for '--trusted-proxy", "such as 10.0.0.0/8"]),
        (vec!["--ssl-key-algorithm", "x"], ["--ssl-key-algorithm", "possible values"]),
        (vec!["--secure"], ["--ssl-cert", "--help"]),
        (vec!["--in-memory", "--database", "x.db"], ["--in-memory", "cannot be used with"]),
        (vec!["--options", "nope.toml"], ["--options", "nope.toml"]),
        (vec!["serv"], ["'serv'", "'serve'"]),
        (vec!["account", "ad", "x"], ["'ad'", "'add'"]),
        (vec!["ctl", "kick"], ["<UID>", "--help"]),
    ];
    for (args, words) in cases {
        let mut command = program(path);
        if !args.contains(&"--port") {
            command.env("DRAWHALL_PORT", free_port().to_string());
        }
        if !args.contains(&"--listen") {
            command.env("DRAWHALL_LISTEN", "127.0.0.1");
        }
        // Everything else is there, so that what fails leaves something behind if it does.
        command.args(&args);
        let output = ended(command.spawn().unwrap(), &format!("{args:?}"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(!said.contains("panicked"), "{args:?}: {said}");
        let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("drawhall: ")).collect();
        assert_eq!((lines.len(), said.lines().last()), (1, lines.first().copied()), "{args:?}: {said}");
        assert!(words.iter().all(|word| lines[0].contains(word)), "{args:?}: {said}");
        assert!(!said.contains("listening"), "{args:?} has begun to serve: {said}");
    }
}

#[test]
fn a_start_that_fails_leaves_no_trace_that_the_next_runs_into() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port().to_string();
    let args = ["--listen", "127.0.0.1", "--port", &port, "--trace-input", "trace"];
    ended(program(path).args(args).spawn().unwrap(), "busy port");
    assert!(!path.join("trace").exists());
}

#[test]
fn empty_variables_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let plain = program(folder.path()).args(["config", "--in-memory"]).output().unwrap();
    let plain = String::from_utf8(plain.stdout).unwrap();
    let names = plain.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    let mut command = program(folder.path());
    command.args(["config", "--in-memory"]).env("DRAWPILESRV_WEB_ADMIN_AUTH", "").env("RUST_LOG", "");
    for name in names {
        command.env(format!("DRAWHALL_{}", name.to_uppercase().replace('-', "_")), "");
    }
    command.env("DRAWHALL_ALLOW_ROOT", "");
    let empty = command.output().unwrap();
    assert!(empty.status.success(), "{}", String::from_utf8_lossy(&empty.stderr));
    let without = |text: &str| {
        text.lines().filter(|line| !line.starts_with("allow-root")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(without(&String::from_utf8(empty.stdout).unwrap()), without(&plain));
    let one =
        program(folder.path()).args(["config", "--in-memory"]).env("DRAWHALL_PORT", "").output().unwrap();
    assert!(String::from_utf8(one.stdout).unwrap().contains("port = 27750  (default)"));
}

#[test]
fn an_address_to_listen_on_counts_for_all_listeners() {
    let folder = tempfile::tempdir().unwrap();
    let ports = [free_port(), free_port(), free_port()].map(|port| port.to_string());
    let [port, websocket, admin] = &ports;
    let listeners = ["--port", port, "--websocket-port", websocket, "--web-admin-port", admin];
    let args = ["--in-memory", "--listen", "127.0.0.1", "--web-admin-access", "all", "--web-admin-login"];
    let mut child = program(folder.path()).args(args).args(listeners).spawn().unwrap();
    for port in &ports {
        let at = |address: &str| TcpStream::connect(format!("{address}:{port}")).is_ok();
        eventually("it listens", || at("127.0.0.1"));
        assert!(!at("127.0.0.2"), "{port}: all interfaces would be too many");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Runs a script in a network of its own; `None` where that is not allowed.
fn alone(folder: &Path, script: &str) -> Option<Output> {
    let args = ["-n", "sh", "-c", script, env!("CARGO_BIN_EXE_drawhall")];
    let set =
        program(folder).get_envs().map(|(k, v)| (k.to_owned(), v.map(ToOwned::to_owned))).collect::<Vec<_>>();
    let mut command = Command::new("unshare");
    command.args(args).current_dir(folder);
    for (key, value) in set {
        command.env(key, value.unwrap_or_default());
    }
    let output = command.output().ok()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("Operation not permitted") || said.contains("cannot create") {
        return None;
    }
    Some(output)
}

#[test]
fn all_ports_are_open_to_ipv4_whatever_the_system_does_by_default() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"
        echo 1 > /proc/sys/net/ipv6/bindv6only || exit 9
        ip link set lo up || exit 9
        "$0" --database x.db --port 2001 --websocket-port 2002 --web-admin-port 2003 --web-admin-access all \
            --web-admin-login --extauth-provider '[::]:2004' 2> log &
        pid=$!
        for n in $(seq 100); do grep -q 'listening for WebSocket' log && break; sleep 0.1; done
        for port in 2001 2002 2003 2004; do
            timeout 5 bash -c "exec 3<>/dev/tcp/127.0.0.1/$port" && echo "open $port"
        done
        kill $pid
        wait $pid
    "#;
    let Some(output) = alone(folder.path(), script) else {
        return common::skip::skip("network-namespace", "no network of its own can be made");
    };
    if output.status.code() == Some(9) {
        return common::skip::skip("network-namespace", &String::from_utf8_lossy(&output.stderr));
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert_eq!(said, "open 2001\nopen 2002\nopen 2003\nopen 2004\n", "{log}");
}
