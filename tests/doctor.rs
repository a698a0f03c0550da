//! `drawhall doctor`: prepared faults are found, each with its id; a healthy server has none.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

use common::TestServer;
use common::http::request;
use drawhall::app::ServeOptions;
use drawhall::config::RuleSource;
use drawhall::db::{Account, Database, LogRow};
use drawhall::transport::tls;
use drawhall_protocol::Frame;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;

const JOURNAL: &[u8] = b"FILE a.dprec\nTITLE A\n";

/// A data directory as a server leaves it, and a certificate.
struct Data {
    folder: tempfile::TempDir,
}

impl Data {
    fn new() -> Data {
        let data = Data { folder: tempfile::tempdir().unwrap() };
        let sessions = data.path("data/sessions");
        fs::create_dir_all(&sessions).unwrap();
        fs::set_permissions(data.path("data"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(sessions.join("a.session"), JOURNAL).unwrap();
        let mut history = b"DPREC\0\0\x17{\"version\":\"dp:4.24.0\"}".to_vec();
        history.extend_from_slice(Frame::new(129, 1, &[0; 16]).unwrap().as_bytes());
        fs::write(sessions.join("a.dprec"), history).unwrap();
        for path in ["data/sessions/a.session", "data/sessions/a.dprec", "data/sessions"] {
            fs::set_permissions(data.path(path), fs::Permissions::from_mode(0o700)).unwrap();
        }
        drop(data.database());
        tls::make(&["localhost".into()], &data.path("cert.pem"), &data.path("key.pem")).unwrap();
        data
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn database(&self) -> Database {
        let database = Database::open(&self.path("data/config.db")).unwrap();
        fs::set_permissions(self.path("data/config.db"), fs::Permissions::from_mode(0o600)).unwrap();
        database
    }

    fn account(&self, name: &str, flags: &str) {
        let flags = Account::parse_flags(flags);
        let account = Account { id: 0, name: name.into(), hash: "plain;x".into(), locked: false, flags };
        self.database().add_account(&account).unwrap();
    }

    fn setting(&self, key: &str, value: &str) {
        self.database().set_settings(&[(key, value)]).unwrap();
    }

    /// The command, with a data directory and a certificate. The port is one of nobody.
    fn command(&self, arguments: &[&str]) -> Command {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_drawhall"));
        command.current_dir(self.folder.path()).args(["doctor", "--json", "--port", &port]);
        // A program that makes pictures of sessions may be there.
        command.env_remove("PATH");
        command.args(["--data", "data", "--ssl-cert", "cert.pem", "--ssl-key", "key.pem"]).args(arguments);
        command
    }

    fn write_certificate(&self, params: CertificateParams) {
        let key = KeyPair::generate().unwrap();
        fs::write(self.path("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
    }

    /// Names, contents, sizes and modification times of all files.
    fn files(&self) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
        let mut found = BTreeMap::new();
        let mut directories = vec![self.folder.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    directories.push(entry.path());
                }
                let modified = entry.metadata().unwrap().modified().unwrap();
                found.insert(entry.path(), (fs::read(entry.path()).unwrap_or_default(), modified));
            }
        }
        found
    }
}

/// The ids of what is found, and the exit status.
fn found(output: &Output) -> (Vec<String>, i32) {
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    let findings = report["findings"].as_array().unwrap();
    for finding in findings {
        for key in ["text", "remedy"] {
            assert!(!finding[key].as_str().unwrap().is_empty(), "{finding}");
        }
    }
    let ids = findings.iter().map(|finding| finding["id"].as_str().unwrap().to_owned());
    (ids.collect(), output.status.code().unwrap())
}

fn params() -> CertificateParams {
    CertificateParams::new(vec!["localhost".into()]).unwrap()
}

/// Days from now.
fn day(days: i64) -> (i32, u8, u8) {
    let day = jiff::Timestamp::now().to_zoned_datetime(jiff::tz::TimeZone::UTC).date();
    let day = day.checked_add(jiff::SignedDuration::from_hours(24 * days)).unwrap();
    (day.year().into(), day.month().unsigned_abs(), day.day().unsigned_abs())
}

fn valid(from: i64, to: i64) -> CertificateParams {
    let mut params = params();
    let date = |(year, month, day)| rcgen::date_time_ymd(year, month, day);
    params.not_before = date(day(from));
    params.not_after = date(day(to));
    params
}

#[test]
fn a_healthy_server_has_no_findings_and_nothing_is_written() {
    let data = Data::new();
    data.account("Ada", "MOD,HOST");
    fs::create_dir(data.path("templates")).unwrap();
    let before = data.files();
    let options = ["--templates", "templates", "--local-host", "localhost", "--web-admin-port", "9"];
    let output = data.command(&options).output().unwrap();
    assert_eq!(found(&output), (Vec::new(), 0));
    assert_eq!(data.files(), before);
    let nothing = data.command(&["--data", "new"]).output().unwrap();
    assert_eq!(found(&nothing), (Vec::new(), 0), "a server that was never started");
    assert!(!data.path("new").exists());
}

#[test]
fn a_running_server_has_no_findings_on_the_page_or_at_the_terminal() {
    let data = Data::new();
    let source = RuleSource { database: Some(data.path("data/config.db")), ..RuleSource::default() };
    let options = ServeOptions {
        source,
        sessions: Some(data.path("data/sessions")),
        admin_port: Some(0),
        ..ServeOptions::default()
    };
    let server = TestServer::start_with("", options);
    let checks = || {
        let answer = request(server.admin.unwrap(), "GET", "/api/checks", "", None);
        assert_eq!(answer.status, 200);
        assert!(answer.json["checks"].as_array().unwrap().len() >= 10);
        let findings = answer.json["findings"].as_array().unwrap().clone();
        findings.iter().map(|finding| finding["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(checks(), Vec::<String>::new());
    assert_eq!(found(&data.command(&[]).output().unwrap()), (Vec::new(), 0));
    fs::write(data.path("data/sessions/b.session"), "FILE lost.dprec\n").unwrap();
    fs::set_permissions(data.path("data/sessions/b.session"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(checks(), ["session-not-loadable"]);
    let url = format!("http://{}", server.admin.unwrap());
    let ctl =
        Command::new(env!("CARGO_BIN_EXE_drawhall")).args(["ctl", "--url", &url, "checks"]).output().unwrap();
    let text = String::from_utf8(ctl.stdout).unwrap();
    assert!(text.starts_with("error: stored session b: ") && text.contains("\n1 finding in "), "{text}");
}

#[test]
fn sessions_that_are_not_loaded_are_counted_and_named() {
    let data = Data::new();
    fs::write(data.path("data/sessions/b.session"), "FILE lost.dprec\n").unwrap();
    let sessions = Some(data.path("data/sessions"));
    let options = ServeOptions { sessions, admin_port: Some(0), ..ServeOptions::default() };
    let server = TestServer::start_with("", options);
    let admin = server.admin.unwrap();
    let overview = request(admin, "GET", "/api/overview", "", None).json;
    assert_eq!(overview["notLoaded"][0]["id"], "b");
    assert_eq!(overview["notLoaded"].as_array().unwrap().len(), 1);
    let metrics = common::http::text(admin, "/metrics");
    assert!(metrics.contains("\ndrawhall_sessions_not_loaded 1\n"), "{metrics}");
}

#[test]
fn names_ports_and_the_certificate_of_acme_are_looked_at() {
    let data = Data::new();
    let port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_drawhall"));
        command.current_dir(data.folder.path()).args([
            "doctor",
            "--json",
            "--data",
            "data",
            "--port",
            &port(),
        ]);
        // No name that ends so has an address.
        command.args(["--acme", "draw.drawhall.invalid"]).args(arguments);
        found(&command.output().unwrap())
    };
    let unreachable = (vec!["acme-no-port".to_owned(), "acme-name-unknown".to_owned()], 2);
    assert_eq!(run(&[]), unreachable);
    let with_port = ["--acme-http-port", &port()];
    assert_eq!(run(&with_port).0, ["acme-name-unknown"]);
    assert_eq!(run(&["--websocket-port", &port()]).0, ["acme-name-unknown"]);
    let for_another = [&with_port[..], &["--local-host", "127.0.0.1"]].concat();
    assert_eq!(run(&for_another).0, ["acme-name-unknown", "certificate-name"]);
    let held = TcpListener::bind("0.0.0.0:0").unwrap();
    let taken = run(&["--acme-http-port", &held.local_addr().unwrap().port().to_string()]).0;
    assert!(taken.contains(&"port-in-use".to_owned()), "{taken:?}");

    let directory = data.path("data/acme/acme-v02.api.letsencrypt.org-directory");
    fs::create_dir_all(&directory).unwrap();
    data.write_certificate(valid(-90, -1));
    fs::copy(data.path("cert.pem"), directory.join("certificate.pem")).unwrap();
    assert_eq!(run(&with_port).0, ["acme-name-unknown", "certificate-expired"]);
}

type Prepare = fn(&Data);

/// Name of the fault that is found, whether it is an error, further options, and how it is made.
const FAULTS: &[(&str, bool, &[&str], Prepare)] = &[
    ("certificate-unreadable", true, &["--ssl-key", "nowhere.pem"], |_| {}),
    ("certificate-invalid", true, &[], |data| fs::write(data.path("key.pem"), "rubbish").unwrap()),
    ("certificate-key-mismatch", true, &["--ssl-key", "other.pem"], |data| {
        tls::make(&["localhost".into()], &data.path("other-cert.pem"), &data.path("other.pem")).unwrap();
    }),
    ("certificate-key-exposed", true, &[], |data| {
        fs::set_permissions(data.path("key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(data.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    }),
    ("certificate-expired", true, &[], |data| data.write_certificate(valid(-90, -1))),
    ("certificate-not-yet-valid", true, &[], |data| data.write_certificate(valid(2, 90))),
    ("certificate-expires-soon", false, &[], |data| data.write_certificate(valid(-80, 5))),
    ("certificate-name", false, &["--local-host", "127.0.0.1"], |_| {}),
    ("certificate-chain", false, &[], |data| {
        let mut authority = params();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(rcgen::DnType::CommonName, "An authority");
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        fs::write(data.path("cert.pem"), params().signed_by(&key, &authority).unwrap().pem()).unwrap();
        fs::write(data.path("key.pem"), key.serialize_pem()).unwrap();
    }),
    ("port-twice", true, &["--port", "9", "--websocket-port", "9"], |_| {}),
    ("clock-behind", true, &[], |data| {
        let row = LogRow {
            timestamp: "2999-01-01T00:00:00Z".into(),
            level: 2,
            topic: "Message".into(),
            user: String::new(),
            session: String::new(),
            message: "from the future".into(),
        };
        data.database().append_log(&[row]).unwrap();
    }),
    ("database-damaged", true, &[], |data| {
        let path = data.path("data/config.db");
        let mut bytes = fs::read(&path).unwrap();
        let length = bytes.len();
        // Not the description of the tables, without which nothing can be opened.
        bytes[length / 4 * 3..].fill(0x5a);
        fs::write(&path, bytes).unwrap();
    }),
    ("database-unreadable", true, &[], |data| {
        fs::write(data.path("data/config.db"), "no database ".repeat(1000)).unwrap();
    }),
    ("backup-old", false, &[], |data| {
        let file = fs::File::create(data.path("data/last-backup")).unwrap();
        file.set_modified(SystemTime::now() - std::time::Duration::from_secs(40 * 86_400)).unwrap();
    }),
    ("data-exposed", false, &[], |data| {
        for path in ["data", "data/config.db"] {
            fs::set_permissions(data.path(path), fs::Permissions::from_mode(0o755)).unwrap();
        }
    }),
    ("session-not-loadable", true, &[], |data| fs::remove_file(data.path("data/sessions/a.dprec")).unwrap()),
    ("session-problem", false, &[], |data| {
        fs::write(data.path("data/sessions/a.session"), [JOURNAL, b"NONSENSE\n"].concat()).unwrap();
    }),
    ("templates-unreadable", true, &["--templates", "nowhere"], |_| {}),
    ("template-invalid", false, &["--templates", "templates"], |data| {
        fs::create_dir(data.path("templates")).unwrap();
        fs::write(data.path("templates/lobby.dptxt"), "nonsense").unwrap();
    }),
    ("canvas-renderer-missing", false, &["--canvas-renderer", "/nowhere/program"], |_| {}),
    ("ffmpeg-missing", false, &["--ffmpeg", "/nowhere/ffmpeg"], |_| {}),
    ("canvas-renderer-needed", false, &[], |data| data.setting("compactAtThreshold", "true")),
    ("configuration-problem", false, &[], |data| data.setting("clientTimeout", "soon")),
    ("configuration-unreadable", true, &["--config", "nowhere.cfg"], |_| {}),
    ("account-flag", false, &[], |data| data.account("Zed", "ADMINISTRATOR")),
    ("admin-nobody", true, &["--web-admin-port", "9", "--web-admin-login"], |_| {}),
    ("admin-nobody", true, &["--websocket-port", "9", "--web-admin-on-websocket"], |_| {}),
    ("admin-open", true, &["--web-admin-port", "9", "--web-admin-access", "all", "--web-admin-open"], |_| {}),
    ("admin-refuses-all", false, &["--web-admin-port", "9", "--web-admin-access", "10.0.0.0/8"], |_| {}),
    (
        "admin-unencrypted",
        false,
        &["--web-admin-port", "9", "--web-admin-access", "all", "--web-admin-auth", "ada:correct horse"],
        |_| {},
    ),
    ("admin-password-short", false, &["--web-admin-port", "9", "--web-admin-auth", "ada:secret"], |_| {}),
    ("proxy-everybody", true, &["--trusted-proxy", "0.0.0.0/0"], |_| {}),
    ("list-server-private", false, &["--announce-private"], |data| {
        data.setting("announceWhitelist", "false")
    }),
    ("host-name-unknown", false, &["--local-host", "nowhere.invalid"], |data| {
        tls::make(&["nowhere.invalid".into()], &data.path("c2.pem"), &data.path("k2.pem")).unwrap();
        fs::rename(data.path("c2.pem"), data.path("cert.pem")).unwrap();
        fs::rename(data.path("k2.pem"), data.path("key.pem")).unwrap();
    }),
];

#[test]
fn prepared_faults_are_found_each_with_its_id_and_nothing_else() {
    for (id, is_error, options, prepare) in FAULTS {
        let data = Data::new();
        prepare(&data);
        let before = data.files();
        let output = data.command(options).output().unwrap();
        assert_eq!(found(&output), (vec![(*id).to_owned()], if *is_error { 2 } else { 1 }), "{id}");
        assert_eq!(data.files(), before, "{id}: nothing is written");
    }
}

#[test]
fn a_port_in_use_is_found_with_the_program_that_has_it() {
    let data = Data::new();
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port().to_string();
    let output = data.command(&["--port", &port]).output().unwrap();
    assert_eq!(found(&output), (vec!["port-in-use".into()], 2));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(&format!("(process {})", std::process::id())), "{text}");
}

#[test]
fn a_low_limit_of_open_files_is_found() {
    let data = Data::new();
    let command = data.command(&[]);
    let mut limited = Command::new("sh");
    limited.current_dir(data.folder.path()).args(["-c", "ulimit -n 500; exec \"$@\"", "sh"]);
    limited.arg(command.get_program()).args(command.get_args());
    assert_eq!(found(&limited.output().unwrap()), (vec!["open-files".into()], 1));
}

#[test]
fn files_of_another_user_are_found() {
    let data = Data::new();
    let path = data.path("data/sessions/a.dprec");
    if std::os::unix::fs::chown(&path, Some(12345), None).is_err() {
        return common::skip::skip("root", "only root gives files to another user");
    }
    assert_eq!(found(&data.command(&[]).output().unwrap()), (vec!["data-owner".into()], 2));
}

#[test]
fn a_full_disk_is_found() {
    let data = Data::new();
    let command = data.command(&["--sessions", "small"]);
    fs::create_dir(data.path("small")).unwrap();
    fs::set_permissions(data.path("small"), fs::Permissions::from_mode(0o700)).unwrap();
    let script = "mount -t tmpfs -o size=1m,mode=700 none small || exit 99; exec \"$@\"";
    let mut inside = Command::new("unshare");
    inside.current_dir(data.folder.path()).args(["--mount", "sh", "-c", script, "sh"]);
    let output = inside.arg(command.get_program()).args(command.get_args()).output();
    match output {
        Ok(output) if output.status.code().is_some_and(|code| code <= 2) && !output.stdout.is_empty() => {
            assert_eq!(found(&output), (vec!["disk-space".into()], 2));
        }
        _ => common::skip::skip("root", "only root mounts a small disk"),
    }
}

#[test]
fn a_database_of_a_later_version_is_refused_and_found() {
    let data = Data::new();
    let path = data.path("data/config.db");
    let sql = "INSERT INTO __diesel_schema_migrations (version) VALUES ('29991231000000')";
    run_sql(&path, sql);
    let content = fs::read(&path).unwrap();
    let error = Database::open(&path).unwrap_err().to_string();
    assert!(
        error.contains("was changed by a later version of drawhall (migration 29991231000000)"),
        "{error}"
    );
    assert_eq!(fs::read(&path).unwrap(), content);
    let before = data.files();
    assert_eq!(found(&data.command(&[]).output().unwrap()), (vec!["database-newer".into()], 2));
    assert_eq!(data.files(), before);
}

/// Runs a statement on a database whose writer is gone.
fn run_sql(path: &Path, sql: &str) {
    use diesel::Connection as _;
    use diesel::connection::SimpleConnection as _;
    let mut connection = diesel::sqlite::SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    connection.batch_execute(sql).unwrap();
}

#[test]
fn the_text_names_level_finding_and_remedy() {
    let data = Data::new();
    symlink("nowhere", data.path("templates")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_drawhall"));
    command
        .current_dir(data.folder.path())
        .env("DRAWHALL_DATA", "data")
        .env("DRAWHALL_TEMPLATES", "templates");
    let output = command.args(["doctor", "--port", "9"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("error: --templates: cannot read templates: "), "{text}");
    assert!(text.contains("[templates-unreadable]\n    name a directory"), "{text}");
    assert!(text.ends_with(" checks: 1 errors, 0 warnings\n"), "{text}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn every_finding_is_explained() {
    let page = include_str!("../docs/CHECKS.md");
    let others =
        ["port-in-use", "open-files", "data-owner", "disk-space", "database-newer", "sessions-unreadable"];
    let ids = FAULTS.iter().map(|(id, ..)| *id).chain(others);
    for id in ids {
        assert!(page.contains(&format!("`{id}`")), "{id}");
    }
}
