//! What the program prints when it starts: a summary on a terminal, the log elsewhere.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use common::Client;
use drawhall::db::{Database, LogQuery};
use drawhall::transport::tls;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

/// A port that nobody listens on. Below the range from which the system takes those of outgoing connections.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 21000 + (std::process::id() % 1000) as u16 * 10;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port))).is_ok() {
            return port;
        }
    }
}

fn program(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drawhall"));
    command
        .args(args)
        .current_dir(folder)
        .env("XDG_DATA_HOME", folder.join("home"))
        .env("DRAWHALL_ALLOW_ROOT", "true")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// A running program, and the lines that it writes to standard error.
struct Running {
    child: Child,
    lines: Box<dyn Iterator<Item = String>>,
}

impl Running {
    /// At a terminal.
    fn at_terminal(mut command: Command) -> Running {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let other_end = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let child = command.stderr(other_end).spawn().unwrap();
        // The command holds the other end, too: without it the last line is followed by an error.
        drop(command);
        Running { child, lines: lines(File::from(terminal)) }
    }

    fn with_pipe(mut command: Command) -> Running {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = lines(child.stderr.take().unwrap());
        Running { child, lines }
    }

    /// The lines up to one that contains a text.
    fn until(&mut self, end: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for line in self.lines.by_ref() {
            lines.push(line);
            if lines.last().unwrap().contains(end) {
                return lines;
            }
        }
        panic!("no {end:?} in {lines:#?}");
    }

    /// Stops it; the lines that it has written since.
    fn stop(mut self) -> Vec<String> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let rest = self.lines.by_ref().collect();
        assert!(self.child.wait().unwrap().success());
        rest
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(source: impl std::io::Read + 'static) -> Box<dyn Iterator<Item = String>> {
    let lines = BufReader::new(source).lines().map_while(Result::ok);
    Box::new(lines.map(|line| line.trim_end_matches('\r').to_owned()))
}

const LAST_LINE: &str = "Ctrl+C stops the server.";

/// Connects to every address in a text.
fn check_addresses(text: &[String]) -> usize {
    let words = text.iter().flat_map(|line| line.split_whitespace());
    let hosts = words.filter_map(|word| {
        let host = word.split_once("://").map_or(word, |(_, rest)| rest.trim_end_matches('/'));
        let (_, port) = host.rsplit_once(':')?;
        port.parse::<u16>().ok().map(|_| host.to_owned())
    });
    let hosts: Vec<String> = hosts.collect();
    for host in &hosts {
        assert!(TcpStream::connect(host).is_ok(), "{host} of {text:#?}");
    }
    hosts.len()
}

#[test]
fn a_start_on_a_terminal_prints_where_to_connect_and_is_quiet() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    tls::make(&["localhost".into()], &cert, &key).unwrap();
    let (port, websocket, page) = (free_port().to_string(), free_port().to_string(), free_port().to_string());
    let (with_page, with_tls) = (
        ["--web-admin-port", &page, "--web-admin-login"],
        ["--ssl-cert", "cert.pem", "--ssl-key", "key.pem", "--websocket-port", &websocket],
    );
    let address = "Server address to enter in Drawpile, on\n  this machine       127.0.0.1:PORT\n";
    let last = "Ctrl+C stops the server. --log-level info shows what happens.";
    let data = "Data                 HOME/drawhall";
    let open = "Open to              everybody who can connect may join and host; connections are";
    let cases: [(&[&str], String); 4] = [
        (&[], format!("{address}{open} not encrypted\n{data}\n{last}")),
        (
            &with_page,
            format!(
                "{address}Admin page           http://127.0.0.1:PAGE/ (this machine only, login needed)\n\
                 First administrator  http://127.0.0.1:PAGE/#/first-admin/TOKEN\n\
                 {open} not encrypted\n{data}\n{last}"
            ),
        ),
        (
            &with_tls,
            format!(
                "{address}WebSocket            wss://127.0.0.1:WEBSOCKET/\n{open} encrypted\n{data}\n{last}"
            ),
        ),
        (
            &["--in-memory"],
            format!(
                "{address}{open} not encrypted\nData                 in memory only, nothing is kept\n{last}"
            ),
        ),
    ];
    for (args, expected) in cases {
        let args = [args, &["--listen", "127.0.0.1", "--port", &port]].concat();
        let mut running = Running::at_terminal(program(folder.path(), &args));
        let text = running.until(LAST_LINE);
        assert!(text.len() <= 12, "{text:#?}");
        assert!(check_addresses(&text) >= 1);
        let home = folder.path().join("home");
        let replaced = text.iter().map(|line| without_token(line)).collect::<Vec<_>>().join("\n");
        let replaced = replaced.replace(home.to_str().unwrap(), "HOME");
        let replaced =
            replaced.replace(&port, "PORT").replace(&websocket, "WEBSOCKET").replace(&page, "PAGE");
        let title = concat!("drawhall ", env!("CARGO_PKG_VERSION"), "\n\n");
        assert_eq!(replaced, format!("{title}{expected}"), "{args:?}");
        // Joining is logged, but not on a terminal.
        let mut client = Client::connect(format!("127.0.0.1:{port}").parse().unwrap());
        if !args.contains(&"--ssl-cert") {
            client.ident("Ada");
        }
        drop(client);
        assert_eq!(running.stop(), Vec::<String>::new(), "{args:?}");
    }
}

/// A line with a placeholder for the token of a link.
fn without_token(line: &str) -> String {
    let (before, token) = line.split_once("#/first-admin/").unwrap_or((line, ""));
    if token.is_empty() { line.to_owned() } else { format!("{before}#/first-admin/TOKEN") }
}

#[test]
fn the_link_for_the_first_administrator_is_not_in_the_log_of_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let (port, page) = (free_port().to_string(), free_port().to_string());
    let args = ["--listen", "127.0.0.1", "--port", &port, "--web-admin-port", &page];
    let mut running = Running::with_pipe(program(folder.path(), &args));
    let lines = running.until("settings and accounts");
    let data = folder.path().join("home/drawhall");
    let link = std::fs::read_to_string(data.join("first-admin-link")).unwrap();
    assert!(lines.iter().any(|line| line.contains(link.trim())), "{lines:#?}");
    running.stop();
    let query = LogQuery { count: 1000, ..LogQuery::default() };
    let rows = Database::open(&data.join("config.db")).unwrap().log(&query).unwrap();
    assert!(rows.iter().any(|row| row.message.contains("admin API at")), "{rows:#?}");
    assert!(!rows.iter().any(|row| row.message.contains("first-admin")), "{rows:#?}");
}

#[test]
fn one_port_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port().to_string();
    let args =
        ["--listen", "127.0.0.1", "--port", "off", "--websocket-port", &port, "--web-admin-on-websocket"];
    let mut running = Running::at_terminal(program(folder.path(), &args));
    let text = running.until(LAST_LINE);
    assert_eq!(text[3].replace(&port, "PORT"), "  this machine       ws://127.0.0.1:PORT/");
    assert!(
        text[4].contains(&format!("http://127.0.0.1:{port}/ (this machine only, login needed)")),
        "{text:#?}"
    );
    assert!(text[5].contains(&format!("http://127.0.0.1:{port}/#/first-admin/")), "{text:#?}");
    assert_eq!(running.stop(), Vec::<String>::new());
}

#[test]
fn every_printed_address_accepts_connections() {
    let folder = tempfile::tempdir().unwrap();
    let (port, websocket, page) = (free_port().to_string(), free_port().to_string(), free_port().to_string());
    let ports = ["--port", &port, "--websocket-port", &websocket, "--web-admin-port", &page];
    let more = ["--in-memory", "--web-admin-access", "all", "--web-admin-login", "--local-host", "localhost"];
    let mut running = Running::at_terminal(program(folder.path(), &[&ports[..], &more].concat()));
    let text = running.until(LAST_LINE);
    assert!(text.len() <= 12, "{text:#?}");
    assert!(text.contains(&format!("  the internet       localhost:{port}")), "{text:#?}");
    assert!(check_addresses(&text) >= 4, "{text:#?}");
}

#[test]
fn elsewhere_a_start_is_logged_in_few_lines() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port().to_string();
    let args = ["--listen", "127.0.0.1", "--port", &port];
    let mut running = Running::with_pipe(program(folder.path(), &args));
    let text = running.until("settings and accounts");
    let without_time: Vec<&str> = text.iter().filter_map(|line| line.split_once(' ')).map(|l| l.1).collect();
    let home = folder.path().join("home").display().to_string();
    assert_eq!(
        without_time,
        [
            format!("Info/Status: 0 stored sessions in {home}/drawhall/sessions"),
            format!("Info/Status: drawhall {} listening on 127.0.0.1:{port}", env!("CARGO_PKG_VERSION")),
            format!("Info/Status: settings and accounts: {home}/drawhall/config.db"),
        ]
    );
    let rest = running.stop();
    assert!(!rest.iter().any(|line| line.contains("sessions: ")), "{rest:#?}");
}

#[test]
fn the_log_is_text_json_or_for_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port().to_string();
    let start = |args: &[&str], at_terminal: bool| {
        let usual = ["--in-memory", "--listen", "127.0.0.1", "--port", &port];
        let command = program(folder.path(), &[&usual, args].concat());
        if at_terminal { Running::at_terminal(command) } else { Running::with_pipe(command) }
    };
    let listening = format!("listening on 127.0.0.1:{port}");
    for at_terminal in [false, true] {
        let mut running = start(&["--log-format", "json"], at_terminal);
        let lines = running.until(&listening);
        let events: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let event = events.last().unwrap();
        assert_eq!(event["level"], "INFO");
        assert!(event["message"].as_str().unwrap().ends_with(&listening));
        assert!(event["timestamp"].is_string());
        running.stop();

        let mut running = start(&["--log-format", "journal"], at_terminal);
        let lines = running.until(&listening);
        let expected = format!("<6>Status: drawhall {} {listening}", env!("CARGO_PKG_VERSION"));
        assert_eq!(lines.last(), Some(&expected));
        running.stop();

        let mut running = start(&["--log-level", "info"], at_terminal);
        let lines = running.until(&listening);
        assert!(lines.last().unwrap().contains("Info/Status: "), "{lines:#?}");
        running.stop();
    }
}

#[test]
fn the_option_for_the_level_overrides_the_variable() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port().to_string();
    let args = ["--in-memory", "--listen", "127.0.0.1", "--port", &port];
    let quiet = ["--log-level", "error"];
    let mut command = program(folder.path(), &[&args[..], &quiet].concat());
    let running = Running::with_pipe({
        command.env("RUST_LOG", "debug");
        command
    });
    common::eventually("it listens", || TcpStream::connect(format!("127.0.0.1:{port}")).is_ok());
    assert_eq!(running.stop(), Vec::<String>::new());

    let mut command = program(folder.path(), &args);
    command.env("RUST_LOG", "warn");
    let running = Running::with_pipe(command);
    common::eventually("it listens", || TcpStream::connect(format!("127.0.0.1:{port}")).is_ok());
    assert_eq!(running.stop(), Vec::<String>::new());
}

#[test]
fn address_prints_where_others_reach_the_server_and_a_qr_code() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let output = program(folder.path(), args).stdout(Stdio::piped()).output().unwrap();
        let text = if output.status.success() { output.stdout } else { output.stderr };
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    let (_, printed) = run(&["address", "--port", "4000", "--local-host", "draw.example.org", "--qr"]);
    let start = "Server address to enter in Drawpile, on\n  this machine       localhost:4000\n";
    assert!(printed.starts_with(start), "{printed}");
    assert!(printed.contains("\n  the internet       draw.example.org:4000\n"), "{printed}");
    assert!(printed.ends_with("\n\ndrawpile://draw.example.org:4000/\n"), "{printed}");
    let code: Vec<usize> = printed
        .lines()
        .filter(|line| line.contains(['█', '▀', '▄']))
        .map(|line| line.chars().count())
        .collect();
    // Two modules a line, 21 or more in a row and a margin.
    assert!(code.len() >= 12 && code.iter().all(|width| *width == code[0] && *width > 21), "{printed}");
    let (is_fine, refused) = run(&["address", "--port", "off"]);
    assert!(!is_fine && refused.starts_with("drawhall: --port: "), "{refused}");
    assert!(!folder.path().join("home").exists(), "nothing is created");
}
