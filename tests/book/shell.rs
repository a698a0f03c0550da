//! Runs commands of the book as they are written, in bash. Ports are replaced by free ones, and directories of the
//! system by directories of the test; `drawhall` without a subcommand runs in the background.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

/// What comes before the book's commands.
const PRELUDE: &str = r#"
set -eu -o pipefail
server=
stop_server() {
    if [ -n "$server" ]; then
        local stopping=$server
        server=
        kill "$stopping"
        wait "$stopping"
    fi
}
trap stop_server EXIT
drawhall() {
    case ${1:-} in
        -h | --help | -v | --version) "$DRAWHALL" "$@" ;;
        '' | -*)
            stop_server
            "$DRAWHALL" "$@" >>"$HOME/server.log" 2>&1 &
            server=$!
            until "$DRAWHALL" health >/dev/null 2>&1; do
                kill -0 "$server"
                sleep 0.05
            done ;;
        account) printf 'secret\n' | "$DRAWHALL" "$@" ;;
        *) "$DRAWHALL" "$@" ;;
    esac
}
sudo() { "$@"; }
"#;
/// What it prints after a block.
const DONE: &str = "== the block is done ==";
/// Ports in the book, in the order of [`Shell::ports`]: drawing, behind a proxy, WebSocket, admin page, HTTPS, HTTP.
const PORTS: [&str; 6] = ["27750", "27749", "27751", "27780", "443", "80"];

/// A port below those that the system gives to connections, another one each time.
pub(crate) fn free_port() -> u16 {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    let first = 16_000 + (std::process::id() % 5_000) as u16;
    let next = || Some(first + TRIED.fetch_add(1, Ordering::Relaxed)).filter(|port| *port < 32_000);
    std::iter::from_fn(next).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// Bash with a home directory of its own. Servers that were started end when it is dropped.
pub(crate) struct Shell {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    home: tempfile::TempDir,
    ports: [u16; PORTS.len()],
}

impl Shell {
    pub(crate) fn start() -> Shell {
        let home = tempfile::tempdir().unwrap();
        let ports = PORTS.map(|_| free_port());
        let address = |port: u16| format!("127.0.0.1:{port}");
        let mut bash = Command::new("bash");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DRAW") || name == "RUST_LOG") {
            bash.env_remove(name);
        }
        let mut process = bash
            .current_dir(home.path())
            .env("HOME", home.path())
            .env_remove("XDG_DATA_HOME")
            .env("DRAWHALL", env!("CARGO_BIN_EXE_drawhall"))
            .env("DRAWHALL_ALLOW_ROOT", "true")
            .env("DRAWHALL_LISTEN", "127.0.0.1")
            .env("DRAWHALL_PORT", ports[0].to_string())
            .env("DRAWHALL_HEALTH_ADDRESS", address(ports[0]))
            .env("DRAWHALL_CTL_URL", format!("http://{}", address(ports[3])))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = process.stdin.take().unwrap();
        input.write_all(PRELUDE.as_bytes()).unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Shell { process, input: Some(input), output, home, ports }
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// The address that stands for a port of the book.
    pub(crate) fn address(&self, port: &str) -> SocketAddr {
        let at = PORTS.iter().position(|known| *known == port).unwrap();
        SocketAddr::from(([127, 0, 0, 1], self.ports[at]))
    }

    /// The drawing port is this one: of a server behind a proxy.
    pub(crate) fn draws_at(&mut self, port: &str) {
        let address = self.address(port);
        self.run(&format!("export DRAWHALL_HEALTH_ADDRESS={address}"));
    }

    /// A text of the book with the ports and directories of this test.
    pub(crate) fn localized(&self, text: &str) -> String {
        let mut localized = String::new();
        let is_digit = |c: char| c.is_ascii_digit();
        let mut rest = text;
        while let Some(start) = rest.find(is_digit) {
            let (before, number) = rest.split_at(start);
            let (number, after) = number.split_at(number.find(|c| !is_digit(c)).unwrap_or(number.len()));
            let is_part = before.ends_with(['.', '-', '_']) || before.ends_with(char::is_alphanumeric);
            let at = PORTS.iter().position(|port| *port == number).filter(|_| !is_part);
            localized.push_str(before);
            localized.push_str(&at.map_or(number.to_owned(), |at| self.ports[at].to_string()));
            rest = after;
        }
        localized.push_str(rest);
        let home = self.home.path().display();
        localized.replace("/var/", &format!("{home}/var/")).replace("/etc/", &format!("{home}/etc/"))
    }

    /// Runs a block of the book; returns what it has printed.
    ///
    /// # Panics
    /// When a command fails.
    pub(crate) fn run(&mut self, block: &str) -> String {
        let block = self.localized(block);
        // Commands do not read the script.
        let script = format!("{{\n{block}\n}} </dev/null 2>&1\necho '{DONE}'\n");
        self.input.as_mut().unwrap().write_all(script.as_bytes()).unwrap();
        let mut printed = String::new();
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).unwrap() == 0 {
                let log = std::fs::read_to_string(self.home.path().join("server.log")).unwrap_or_default();
                panic!("this block failed:\n{block}\nit printed:\n{printed}\nthe server:\n{log}");
            }
            if line.trim_end() == DONE {
                return printed;
            }
            printed.push_str(&line);
        }
    }

    /// Stops the server.
    ///
    /// # Panics
    /// When it does not end well.
    pub(crate) fn finish(mut self) {
        self.run("stop_server");
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // At the end of its input bash stops the server.
        self.input.take();
        let _ = self.process.wait();
    }
}
