//! Nothing phones home.

use std::io::Read as _;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Client, eventually, skip};

/// Whether strace can follow processes here.
fn can_trace() -> bool {
    let traced = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    let can = traced.is_ok_and(|status| status.success());
    if !can {
        skip::skip("strace", "strace cannot be run here");
    }
    can
}

/// A server that was started plainly, and that somebody draws on, connects to nobody and resolves no name.
#[test]
fn a_plain_start_makes_no_outgoing_connection() {
    if !can_trace() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let port = crate::shell::free_port();
    let mut strace = Command::new("strace");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DRAW")) {
        strace.env_remove(name);
    }
    let trace = home.path().join("trace");
    let mut process = strace
        .args(["-f", "-qq", "-e", "trace=execve,connect,sendto,sendmsg,sendmmsg", "-o"])
        .arg(&trace)
        .arg(env!("CARGO_BIN_EXE_drawhall"))
        .args(["--allow-root", "--port", &port.to_string()])
        .env("HOME", home.path())
        .env_remove("XDG_DATA_HOME")
        .env_remove("NOTIFY_SOCKET")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    eventually("it listens", || Client::try_connect(address).is_ok());
    let mut host = Client::connect(address);
    let id = host.host_running("A");
    let mut guest = Client::connect(address);
    guest.join("B", &id);
    let read = || std::fs::read_to_string(&trace).unwrap();
    let line = read().lines().find(|line| line.contains("execve")).unwrap().to_owned();
    let traced: i32 = line.split(' ').next().unwrap().parse().unwrap();
    kill_process(Pid::from_raw(traced).unwrap(), Signal::TERM).unwrap();
    let mut said = String::new();
    process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(process.wait().unwrap().success(), "{said}");
    let calls = read();
    let outside = |line: &&str| {
        // Who is connected is sent to without an address; a local socket is no network.
        ["connect(", "sin_port", "sin6_port"].iter().any(|word| line.contains(word))
            && !line.contains("AF_UNIX")
    };
    let outgoing: Vec<&str> = calls.lines().filter(outside).collect();
    assert!(calls.contains("sendto(") || calls.contains("sendmsg("), "strace sees what is sent:\n{calls}");
    assert_eq!(outgoing, [""; 0], "{calls}");
}
