//! PostgreSQL for tests: one server a process, made in a temporary directory by an unprivileged user, with a socket
//! there and a port of 127.0.0.1 with TLS. It ends with the process.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::skip::skip;

/// Makes a server, tells its directory, and ends it when standard input is closed, as it is with the process of the
/// tests. `$1`: directory of its programs, `$2`: port.
const SERVER: &str = r#"
set -e
dir=$(mktemp -d -p /tmp)
server=
trap '[ -z "$server" ] || { kill -INT $server; wait $server; } || true; rm -rf "$dir"' EXIT
cd "$dir"
printf %s "$CERTIFICATE" >server.crt
(umask 077; printf %s "$KEY" >server.key)
"$1/initdb" -D "$dir/data" -A trust -U drawhall -N -E UTF8 --locale=C.UTF-8 >"$dir/log" 2>&1 || { cat "$dir/log" >&2; exit 1; }
"$1/postgres" -D "$dir/data" -k "$dir" -c listen_addresses=127.0.0.1 -p "$2" -c ssl=on -c ssl_cert_file="$dir/server.crt" \
    -c ssl_key_file="$dir/server.key" -c fsync=off -c max_connections=300 >>"$dir/log" 2>&1 </dev/null &
server=$!
attempts=0
until "$1/pg_isready" -q -h "$dir" -p "$2" -U drawhall -d postgres; do
    attempts=$((attempts + 1))
    kill -0 $server && [ $attempts -lt 600 ] || { cat "$dir/log" >&2; exit 1; }
    sleep 0.1
done
echo "$dir"
cat >/dev/null
"#;

struct Server {
    programs: PathBuf,
    directory: PathBuf,
    port: u16,
    /// Its certificate (PEM), for localhost.
    certificate: String,
    /// Its standard input is open as long as this lives.
    _script: Child,
}

/// The directory of PostgreSQL's programs: the newest where Debian has them, else on PATH.
pub(crate) fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut found: Vec<PathBuf> =
        versions.filter_map(|version| Some(version.ok()?.path().join("bin"))).collect();
    found.sort();
    found.reverse();
    found.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let needed = ["initdb", "postgres", "pg_isready", "psql"];
    found.into_iter().find(|directory| needed.iter().all(|program| directory.join(program).exists()))
}

/// A command that runs as another user if this process is root's: PostgreSQL does not run as root.
pub(crate) fn unprivileged(program: impl AsRef<OsStr>) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let user = if users.contains("\npostgres:") { "postgres" } else { "nobody" };
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--clear-groups"]).arg(program);
    command
}

impl Server {
    /// Starts a server at a port below those that connections get; another program may take it before.
    fn start(programs: &Path) -> Server {
        let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
        let mut ports = (first..first + 100).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
        let started = ports.by_ref().take(5).find_map(|port| Self::start_at(programs.to_owned(), port));
        started.expect("PostgreSQL starts")
    }

    fn start_at(programs: PathBuf, port: u16) -> Option<Server> {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut script = unprivileged("sh")
            .args(["-c", SERVER, "sh"])
            .arg(&programs)
            .arg(port.to_string())
            .env("CERTIFICATE", cert.pem())
            .env("KEY", signing_key.serialize_pem())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(script.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let directory = PathBuf::from(line.trim_end());
        (!line.is_empty()).then(|| Server {
            programs,
            directory,
            port,
            certificate: cert.pem(),
            _script: script,
        })
    }

    /// Runs SQL as the superuser.
    fn run(&self, database: &str, sql: &str) {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "drawhall", "-d", database, "-c", sql]);
        psql.args(["-p", &self.port.to_string()]);
        let done = psql.arg("-h").arg(&self.directory).stdout(Stdio::null()).status().unwrap();
        assert!(done.success(), "{sql}");
    }
}

/// A database of its own on the server of this process.
pub(crate) struct PostgresDatabase {
    server: &'static Server,
    name: String,
}

impl PostgresDatabase {
    /// Makes an empty database; `None` where there is no PostgreSQL, which skips what needs it.
    pub(crate) fn create() -> Option<PostgresDatabase> {
        static SERVER: OnceLock<Option<Server>> = OnceLock::new();
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let Some(server) = SERVER.get_or_init(|| programs().as_deref().map(Server::start)) else {
            skip("postgresql", "there is no initdb");
            return None;
        };
        let name = format!("test{}", COUNT.fetch_add(1, Ordering::Relaxed));
        server.run("postgres", &format!("CREATE DATABASE {name}"));
        Some(PostgresDatabase { server, name })
    }

    /// Makes an empty database on a server of its own.
    #[cfg(target_os = "linux")]
    pub(crate) fn on_own_server() -> Option<PostgresDatabase> {
        let Some(programs) = programs() else {
            skip("postgresql", "there is no initdb");
            return None;
        };
        // It ends with this process.
        let server = Box::leak(Box::new(Server::start(&programs)));
        server.run("postgres", "CREATE DATABASE test");
        Some(PostgresDatabase { server, name: "test".to_owned() })
    }

    /// Stops all processes of its server (SIGSTOP) until the answer is dropped: connections stay open, and nobody answers.
    #[cfg(target_os = "linux")]
    pub(crate) fn hang(&self) -> Hanging {
        use rustix::process::Signal;
        let text = std::fs::read_to_string(self.server.directory.join("data/postmaster.pid")).unwrap();
        let server: u32 = text.lines().next().unwrap().parse().unwrap();
        let mut hanging = Hanging(vec![server]);
        // It starts no others from now on.
        hanging.send(Signal::STOP);
        hanging.0.extend(children_of(server));
        hanging.send(Signal::STOP);
        hanging
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        let directory = directory_in_url(&self.server.directory);
        format!("postgres://drawhall@{directory}:{}/{}?sslmode=disable", self.server.port, self.name)
    }

    /// Its address at a port, with this name of the machine and these parameters.
    pub(crate) fn url_at(&self, host: &str, parameters: &str) -> String {
        format!("postgres://drawhall@{host}:{}/{}?{parameters}", self.server.port, self.name)
    }

    /// The server's certificate (PEM), which is valid for localhost.
    pub(crate) fn certificate(&self) -> &str {
        &self.server.certificate
    }

    /// Changes it as somebody with `psql` does.
    pub(crate) fn execute(&self, sql: &str) {
        self.server.run(&self.name, sql);
    }

    /// Ends all connections to it, and lets nobody connect, or lets them again.
    pub(crate) fn set_away(&self, away: bool) {
        let name = &self.name;
        self.server.run("postgres", &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {}", !away));
        if away {
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname =";
            self.server.run("postgres", &format!("{end} '{name}'"));
        }
    }
}

/// Processes that are stopped.
#[cfg(target_os = "linux")]
pub(crate) struct Hanging(Vec<u32>);

#[cfg(target_os = "linux")]
impl Hanging {
    fn send(&self, signal: rustix::process::Signal) {
        for pid in &self.0 {
            let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
            // It may have ended.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

#[cfg(target_os = "linux")]
impl Drop for Hanging {
    fn drop(&mut self) {
        self.send(rustix::process::Signal::CONT);
    }
}

/// The processes that a process has started.
#[cfg(target_os = "linux")]
pub(crate) fn children_of(parent: u32) -> impl Iterator<Item = u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(move |pid| parent_of(*pid) == Some(parent))
}

#[cfg(target_os = "linux")]
fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name in parentheses: the state and the parent.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// A directory of sockets where an address has the host.
fn directory_in_url(directory: &Path) -> String {
    directory.display().to_string().replace('/', "%2F")
}
