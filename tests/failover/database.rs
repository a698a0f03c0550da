//! PostgreSQL that can die: a primary and a synchronous standby, in a temporary directory, with fsync.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::common::PATIENCE;
use super::common::postgres::{children_of, programs, unprivileged};
use super::common::skip::skip;

/// Makes a directory, tells it, and removes it when standard input is closed, as it is with the process of the tests.
/// What still runs in it is ended before.
const KEEPER: &str = r#"
dir=$(mktemp -d -p /tmp) || exit 1
echo "$dir"
cat >/dev/null
for file in "$dir"/*/postmaster.pid; do
    [ -e "$file" ] || continue
    server=$(head -n 1 "$file")
    kill -QUIT "$server" 2>/dev/null
    attempts=0
    while kill -0 "$server" 2>/dev/null && [ $attempts -lt 100 ]; do attempts=$((attempts + 1)); sleep 0.1; done
done
rm -rf "$dir"
"#;
const SETTINGS: [&str; 7] = [
    "listen_addresses=127.0.0.1",
    "fsync=on",
    "shared_buffers=128MB",
    "max_connections=80",
    "wal_level=replica",
    // Nobody waits for a checkpoint after a crash.
    "max_wal_size=256MB",
    "log_min_messages=warning",
];
/// The database of the servers.
const NAME: &str = "drawhall";

/// One of the two.
struct Instance {
    name: &'static str,
    programs: PathBuf,
    /// Of the pair.
    directory: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl Instance {
    fn new(name: &'static str, programs: &Path, directory: &Path) -> Instance {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (programs, directory) = (programs.to_owned(), directory.to_owned());
        Instance { name, programs, directory, port, process: None }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = unprivileged(self.programs.join(program));
        command.current_dir(&self.directory).stdin(Stdio::null());
        command
    }

    fn data(&self) -> PathBuf {
        self.directory.join(self.name)
    }

    fn start(&mut self) {
        let log = self.directory.join(format!("{}.log", self.name));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(&self.directory)
            .args(["-p", &self.port.to_string()]);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command.args(["-c", &format!("cluster_name={}", self.name)]);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(command.spawn().unwrap());
        let begin = Instant::now();
        while !self.query("postgres", "SELECT 1").is_ok_and(|answer| answer == "1") {
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && begin.elapsed() < PATIENCE, "{} starts: {}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join(format!("{}.log", self.name))).unwrap_or_default()
    }

    /// As when the machine loses power, but for what the system has not written to the disk.
    fn kill(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let server = process.id();
        let children: Vec<u32> = children_of(server).collect();
        for pid in [&[server], &children[..]].concat() {
            // It may have ended.
            let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL);
        }
        process.wait().unwrap();
        // Its memory must not be in use when it is started again.
        let begin = Instant::now();
        let lives = |pid: &u32| Path::new(&format!("/proc/{pid}")).exists();
        while children.iter().any(lives) && begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The answer to SQL, unaligned and without names of columns.
    fn query(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "drawhall",
            "-d",
            database,
            "-c",
            sql,
        ]);
        psql.env("PGCONNECT_TIMEOUT", "5").stdin(Stdio::null());
        let done = psql.args(["-p", &self.port.to_string()]).arg("-h").arg(&self.directory).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Primary and standby. Both end with this, or with the process.
pub(crate) struct Pair {
    primary: Instance,
    standby: Instance,
    keeper: Child,
}

impl Pair {
    /// `None` where there is no PostgreSQL, which skips what needs it.
    pub(crate) fn start() -> Option<Pair> {
        let programs = programs().filter(|directory| directory.join("pg_basebackup").exists());
        let Some(programs) = programs else {
            skip("postgresql", "there is no initdb, or no pg_basebackup");
            return None;
        };
        let mut keeper = unprivileged("sh");
        keeper.args(["-c", KEEPER]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = keeper.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let directory = PathBuf::from(line.trim_end());
        let mut primary = Instance::new("one", &programs, &directory);
        let mut initdb = primary.command("initdb");
        initdb.args(["-A", "trust", "-U", "drawhall", "-E", "UTF8", "--locale=C.UTF-8", "-D"]);
        succeed(initdb.arg(primary.data()));
        primary.start();
        primary.query("postgres", &format!("CREATE DATABASE {NAME}")).unwrap();

        let standby = Instance::new("other", &programs, &directory);
        let mut pair = Pair { primary, standby, keeper };
        pair.add_standby();
        Some(pair)
    }

    /// Makes the standby a new copy of the primary, for which commits wait from then on.
    pub(crate) fn add_standby(&mut self) {
        let Pair { primary, standby, .. } = self;
        assert!(standby.process.is_none());
        if standby.data().exists() {
            std::fs::remove_dir_all(standby.data()).unwrap();
        }
        let mut copy = standby.command("pg_basebackup");
        copy.args([
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
            "-U",
            "drawhall",
            "-p",
            &primary.port.to_string(),
            "-h",
        ]);
        succeed(copy.arg(&primary.directory).arg("-D").arg(standby.data()));
        standby.start();
        let alter = format!("ALTER SYSTEM SET synchronous_standby_names = '{}'", standby.name);
        for sql in [&alter, "SELECT pg_reload_conf()"] {
            primary.query("postgres", sql).unwrap();
        }
        let begin = Instant::now();
        while primary.query("postgres", "SELECT sync_state FROM pg_stat_replication").as_deref() != Ok("sync")
        {
            let logs = || [primary.log(), standby.log()].concat();
            assert!(begin.elapsed() < PATIENCE, "the standby follows: {}", logs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Where the one listens that can be written to.
    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.primary.port).into()
    }

    /// The URL of the servers' database at an address.
    pub(crate) fn url(address: SocketAddr, application: &str) -> String {
        format!("postgres://drawhall@{address}/{NAME}?sslmode=disable&application_name={application}")
    }

    /// The answer to SQL: a line for each row, with | between columns.
    pub(crate) fn query(&self, sql: &str) -> Result<String, String> {
        self.primary.query(NAME, sql)
    }

    /// SIGKILL to all processes of the primary.
    pub(crate) fn kill_primary(&mut self) {
        self.primary.kill();
    }

    pub(crate) fn start_primary(&mut self) {
        self.primary.start();
    }

    /// Makes the standby the primary. The one before must be dead, and nothing of it is used any more.
    pub(crate) fn promote(&mut self) {
        assert!(self.primary.process.is_none());
        self.standby.query("postgres", "SELECT pg_promote()").unwrap();
        std::mem::swap(&mut self.primary, &mut self.standby);
    }

    /// Commits wait from now on.
    pub(crate) fn kill_standby(&mut self) {
        self.standby.kill();
    }

    pub(crate) fn start_standby(&mut self) {
        self.standby.start();
    }

    /// Ends all connections to the database.
    pub(crate) fn terminate_backends(&self) -> Result<String, String> {
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname =";
        self.primary.query("postgres", &format!("{end} '{NAME}'"))
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.standby.kill();
        self.primary.kill();
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn succeed(command: &mut Command) {
    let Output { status, stderr, .. } = command.output().unwrap();
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
}
