//! `drawhall backup` and `drawhall restore`, as programs, beside a server that runs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{Client, TestServer};
use drawhall::app::ServeOptions;
use drawhall::config::RuleSource;
use drawhall::db::{Account, AccountKey, Database};
use drawhall_protocol::Frame;
use drawhall_protocol::recording::dprec::DprecReader;
use serde_json::json;

const CANVAS: u8 = 129;
const STROKE: u8 = 148;
/// How often sessions that draw are backed up.
const ROUNDS: usize = 10;
const JOURNAL: &[u8] = b"FILE a.dprec\nTITLE A\n";

fn program(args: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drawhall"));
    command.args(args).current_dir(folder).env("XDG_DATA_HOME", folder);
    command
}

fn drawhall(args: &[&str], folder: &Path) -> Output {
    program(args, folder).output().unwrap()
}

/// Runs the program and returns what it prints.
fn works(args: &[&str], folder: &Path) -> String {
    let done = drawhall(args, folder);
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// Runs the program and returns why it fails.
fn fails(args: &[&str], folder: &Path) -> String {
    let done = drawhall(args, folder);
    assert_eq!(done.status.code(), Some(1), "{args:?}");
    String::from_utf8(done.stderr).unwrap()
}

fn history(strokes: u32) -> Vec<u8> {
    let mut bytes = b"DPREC\0\0\x17{\"version\":\"dp:4.24.0\"}".to_vec();
    bytes.extend_from_slice(Frame::new(CANVAS, 1, &[0; 16]).unwrap().as_bytes());
    for n in 0..strokes {
        bytes.extend_from_slice(Frame::new(STROKE, 1, &n.to_be_bytes()).unwrap().as_bytes());
    }
    bytes
}

/// A data directory with one session and one account.
fn data(folder: &Path) -> PathBuf {
    let data = folder.join("data");
    let sessions = data.join("sessions");
    fs::create_dir_all(&sessions).unwrap();
    fs::write(sessions.join("a.session"), JOURNAL).unwrap();
    fs::write(sessions.join("a.dprec"), history(3)).unwrap();
    fs::write(sessions.join("a.thumbnail"), "picture").unwrap();
    fs::write(sessions.join("old.session.archived"), JOURNAL).unwrap();
    let database = Database::open(&data.join("config.db")).unwrap();
    for name in ["Ada", "Bob", "Cleo"] {
        let (name, hash) = (name.to_owned(), "plain;x".to_owned());
        let account = Account { id: 0, name, hash, locked: false, flags: Vec::new() };
        database.add_account(&account).unwrap();
    }
    database.remove_account(AccountKey::Name("Bob")).unwrap();
    data
}

fn files_in(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
}

fn accounts(database: &Path) -> Vec<(i64, String)> {
    let accounts = Database::open(database).unwrap().accounts().unwrap();
    accounts.into_iter().map(|account| (account.id, account.name)).collect()
}

#[test]
fn a_restored_backup_has_the_accounts_and_files_of_the_data_directory() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let told = works(&["backup", "backup.tar.gz", "--verify", "--data", "data"], folder.path());
    assert_eq!(told, "1 sessions in backup.tar.gz\n");
    let told = works(&["restore", "backup.tar.gz", "--data", "new/data"], folder.path());
    assert!(told.starts_with("restored the database and 1 sessions of 2"), "{told}");
    let new = folder.path().join("new/data");
    assert_eq!(accounts(&new.join("config.db")), accounts(&data.join("config.db")), "ids are the same, too");
    assert_eq!(files_in(&new.join("sessions")), files_in(&data.join("sessions")));
    let times = [&new, &data].map(|d| fs::metadata(d.join("sessions/a.dprec")).unwrap().modified().unwrap());
    assert!(times[0].max(times[1]).duration_since(times[0].min(times[1])).unwrap().as_secs() < 1);
    for (path, mode) in [("", 0o700), ("sessions", 0o700), ("config.db", 0o600), ("sessions/a.dprec", 0o600)]
    {
        let permissions = fs::metadata(new.join(path)).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, mode, "{path}");
    }
    let left: Vec<String> = files_in(&data.join("sessions")).into_keys().collect();
    assert_eq!(left, ["a.dprec", "a.session", "a.thumbnail", "old.session.archived"], "nothing is left");
    let left = fs::read_dir(&data).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert!(left.into_iter().all(|name| !name.contains("backup-")));
}

/// Draws until it is told to stop, and counts what was sent back; with resets, after every 20 strokes. The session ends
/// with the client.
fn draw(
    mut client: Client,
    name: &str,
    resets: bool,
    stop: &AtomicBool,
    seen: &AtomicU64,
) -> (String, Client) {
    let id = client.host_running(name);
    let mut n = 0u32;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        client.send(STROKE, 1, &n.to_be_bytes());
        client.until(|m| m.kind == STROKE && m.payload == n.to_be_bytes());
        seen.fetch_add(1, Ordering::Relaxed);
        if resets && n.is_multiple_of(20) {
            client.command("reset-session", json!([]), json!({}));
            client.send(CANVAS, 1, &[0; 16]);
            client.command("init-complete", json!([]), json!({}));
        }
    }
    (id, client)
}

fn strokes(history: &Path) -> u64 {
    let mut reader = DprecReader::new(fs::File::open(history).unwrap()).unwrap();
    let mut count = 0;
    while let Some(frame) = reader.next_frame().unwrap() {
        count += u64::from(frame.as_bytes()[2] == STROKE);
    }
    count
}

#[test]
fn sessions_that_draw_are_backed_up_whole_with_all_that_anybody_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let options = ServeOptions {
        source: RuleSource { database: Some(data.join("config.db")), ..RuleSource::default() },
        sessions: Some(data.join("sessions")),
        ..ServeOptions::default()
    };
    fs::create_dir_all(&data).unwrap();
    let server = TestServer::start_with("", options);
    let stop = Arc::new(AtomicBool::new(false));
    let seen: Vec<Arc<AtomicU64>> = (0..3).map(|_| Arc::default()).collect();
    let artists: Vec<_> = (0..3)
        .map(|n: usize| {
            let (client, stop, seen) = (server.connect(), stop.clone(), seen[n].clone());
            std::thread::spawn(move || draw(client, &format!("Ada{n}"), n == 0, &stop, &seen))
        })
        .collect();
    common::eventually("everybody draws", || seen.iter().all(|s| s.load(Ordering::Relaxed) > 0));
    let mut before = Vec::new();
    for round in 0..ROUNDS {
        before.push(seen.iter().map(|s| s.load(Ordering::Relaxed)).collect::<Vec<_>>());
        let told = works(&["backup", &format!("{round}.tar.gz"), "--data", "data"], folder.path());
        assert!(told.starts_with("3 sessions"), "{told}");
    }
    stop.store(true, Ordering::Relaxed);
    let artists: Vec<(String, Client)> = artists.into_iter().map(|artist| artist.join().unwrap()).collect();
    for (round, before) in before.into_iter().enumerate() {
        let restored = format!("restored-{round}");
        works(&["restore", &format!("{round}.tar.gz"), "--data", &restored], folder.path());
        let sessions = folder.path().join(restored).join("sessions");
        let told = works(&["check", sessions.to_str().unwrap()], folder.path());
        assert_eq!(told, "3 sessions, 0 problems\n", "round {round}");
        for ((id, _), before) in artists.iter().zip(before).skip(1) {
            let name = format!("{id}.dprec");
            let (live, copy) =
                (fs::read(data.join("sessions").join(&name)), fs::read(sessions.join(&name)).unwrap());
            assert!(live.unwrap().starts_with(&copy), "round {round}: it is no prefix");
            assert!(strokes(&sessions.join(&name)) >= before, "round {round}: strokes are missing");
        }
    }
}

#[test]
fn a_session_whose_history_is_replaced_all_the_time_is_backed_up_whole() {
    let folder = tempfile::tempdir().unwrap();
    data(folder.path());
    let sessions = folder.path().join("data/sessions");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The order of writes of a reset, as the server has it.
            let mut old = "a.dprec".to_owned();
            for n in 2u32.. {
                let name = format!("a_r{n}.dprec");
                fs::write(sessions.join(&name), history(n % 50)).unwrap();
                fs::write(sessions.join("a.session.new"), format!("FILE {name}\n")).unwrap();
                fs::rename(sessions.join("a.session.new"), sessions.join("a.session")).unwrap();
                fs::remove_file(sessions.join(&old)).unwrap();
                old = name;
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        for round in 0..ROUNDS {
            let archive = format!("{round}.tar.gz");
            works(&["backup", &archive, "--data", "data"], folder.path());
            let restored = format!("restored-{round}");
            works(&["restore", &archive, "--data", &restored], folder.path());
            let told = works(&["check", &format!("{restored}/sessions")], folder.path());
            assert_eq!(told, "1 sessions, 0 problems\n");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn incomplete_ends_are_left_out_and_damaged_sessions_are_copied_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = data(folder.path()).join("sessions");
    fs::write(sessions.join("a.dprec"), [history(3), vec![0, 9, STROKE]].concat()).unwrap();
    fs::write(sessions.join("a.session"), [JOURNAL, b"TITLE tor"].concat()).unwrap();
    fs::write(sessions.join("b.session"), "FILE b_r2.dprec\n").unwrap();
    fs::write(sessions.join("b.dprec"), history(1)).unwrap();
    let done = drawhall(&["backup", "b.tar.gz", "--verify", "--data", "data"], folder.path());
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{errors}");
    assert!(errors.contains("session b is damaged"), "{errors}");
    let done = drawhall(&["restore", "b.tar.gz", "--data", "new"], folder.path());
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(errors.contains("b: the history file b_r2.dprec is missing"), "{errors}");
    let restored = files_in(&folder.path().join("new/sessions"));
    assert_eq!(restored["a.dprec"], history(3));
    assert_eq!(restored["a.session"], JOURNAL);
    assert_eq!(restored["b.dprec"], history(1));
    works(&["repair", "new/sessions"], folder.path());
}

#[test]
fn a_directory_in_use_or_not_empty_is_not_restored_to() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    works(&["backup", "b.tar.gz", "--data", "data"], folder.path());
    let before = files_in(&data.join("sessions"));
    let told = fails(&["restore", "b.tar.gz", "--data", "data"], folder.path());
    assert_eq!(told, "drawhall: data is not empty; restore to an empty or a new directory\n");
    assert_eq!(files_in(&data.join("sessions")), before);
    let used = folder.path().join("used");
    let _server = TestServer::storing("", &used.join("sessions"));
    let told = fails(&["restore", "b.tar.gz", "--data", "used"], folder.path());
    assert_eq!(told, "drawhall: used is in use by a server; restore to another directory\n");
}

/// A compressed tar file with these entries.
fn archive(path: &Path, entries: &[(&str, &[u8])]) {
    archive_of(path, entries, 0);
}

/// The same, with the time of all entries.
fn archive_of(path: &Path, entries: &[(&str, &[u8])], mtime: u64) {
    let file = fs::File::create(path).unwrap();
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(file, flate2::Compression::fast()));
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        // The methods of the library refuse paths that lead elsewhere.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mtime(mtime);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        tar.append(&header, *content).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap();
}

#[test]
fn what_is_no_whole_backup_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    data(folder.path());
    let manifest = ("drawhall-backup.json", b"{\"format\":1}".as_slice());
    let new = |name: &str| folder.path().join(name);
    works(&["backup", "whole.tar.gz", "--data", "data"], folder.path());
    let whole = fs::read(new("whole.tar.gz")).unwrap();
    fs::write(new("cut"), &whole[..whole.len() - 4]).unwrap();
    fs::write(new("half"), &whole[..whole.len() / 2]).unwrap();
    fs::write(new("text"), "no archive").unwrap();
    fs::write(new("empty"), "").unwrap();
    archive(&new("other"), &[("config.db", b"")]);
    archive(&new("later"), &[("drawhall-backup.json", b"{\"format\":2}")]);
    archive(&new("up"), &[manifest, ("sessions/../../up", b"x")]);
    archive(&new("deep"), &[manifest, ("sessions/a/b", b"x")]);
    archive(&new("root"), &[manifest, ("/sessions/x", b"x")]);
    archive(&new("strange"), &[manifest, ("sessions.txt", b"x")]);
    archive_of(&new("time"), &[manifest, ("config.db", b"x")], u64::MAX);
    archive(&new("database"), &[manifest, ("config.db", b"no database")]);
    for (name, reason) in [
        ("cut", "this is no backup of drawhall"),
        ("half", "this is no backup of drawhall"),
        ("text", "this is no backup of drawhall"),
        ("empty", "this is no backup of drawhall"),
        ("other", "its first entry is config.db"),
        ("later", "made by a later version of drawhall (format 2)"),
        ("up", "unexpected entry sessions/../../up"),
        ("deep", "unexpected entry sessions/a/b"),
        ("root", "unexpected entry /sessions/x"),
        ("strange", "unexpected entry sessions.txt"),
        ("time", "a file has no possible time"),
        ("database", "its database is damaged"),
    ] {
        let told = fails(&["restore", name, "--data", "new"], folder.path());
        assert!(told.contains(reason), "{name}: {told}");
        assert_eq!(fs::read_dir(new("new")).unwrap().count(), 0, "{name} leaves files");
    }
    assert!(!new("up/x").exists() && new("up").is_file());
    assert!(fails(&["restore", "missing", "--data", "new"], folder.path()).contains("missing: No such file"));
}

#[test]
fn a_directory_keeps_the_newest_archives_and_other_files() {
    let folder = tempfile::tempdir().unwrap();
    data(folder.path());
    let backups = folder.path().join("backups");
    fs::create_dir(&backups).unwrap();
    for other in ["drawhall-notes.tar.gz", "drawhall-20200101T000000.000Z.tar.gz", "other"] {
        fs::write(backups.join(other), "").unwrap();
    }
    let mut names = Vec::new();
    for _ in 0..3 {
        let told = works(&["backup", "backups", "--keep", "2", "--verify", "--data", "data"], folder.path());
        let path = told.lines().next().unwrap().strip_prefix("1 sessions in backups/").unwrap();
        names.push(path.to_owned());
    }
    let left: Vec<String> = files_in(&backups).into_keys().collect();
    assert_eq!(left, [&names[1], &names[2], "drawhall-notes.tar.gz", "other"]);
}

#[test]
fn standard_streams_and_parts_can_be_backed_up() {
    let folder = tempfile::tempdir().unwrap();
    data(folder.path());
    let args = ["backup", "-", "--sessions", "data/sessions"];
    let done = drawhall(&args, folder.path());
    assert!(done.status.success());
    let mut restore = program(&["restore", "-", "--data", "new"], folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    restore.stdin.take().unwrap().write_all(&done.stdout).unwrap();
    let restored = restore.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&restored.stdout).into_owned();
    assert!(restored.status.success() && told.starts_with("restored 1 sessions of 2"), "{told}");
    assert!(!folder.path().join("new/config.db").exists());
    for (args, reason) in [
        (&["backup", "x", "--keep", "2", "--data", "data"][..], "--keep needs a directory"),
        (&["backup", "-", "--verify", "--data", "data"], "--verify needs a file"),
        (&["backup", "x", "--data", "nothing"], "there is nothing to back up"),
        (&["backup", "x", "--database", "nothing"], "the database nothing cannot be copied: No such file"),
        (&["backup", "x", "--sessions", "nothing"], "nothing: No such file"),
        (&["backup", "no/x", "--data", "data"], "no/x.new: No such file"),
    ] {
        assert!(fails(args, folder.path()).contains(reason), "{args:?}: {}", fails(args, folder.path()));
    }
}

#[test]
fn a_backup_that_fails_leaves_the_previous_one() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    works(&["backup", "b.tar.gz", "--data", "data"], folder.path());
    let before = fs::read(folder.path().join("b.tar.gz")).unwrap();
    // A database that is damaged is found when it is copied.
    fs::write(data.join("config.db"), [b"SQLite format 3\0".as_slice(), &[7; 4096]].concat()).unwrap();
    assert!(fails(&["backup", "b.tar.gz", "--data", "data"], folder.path()).contains("cannot be copied"));
    assert_eq!(fs::read(folder.path().join("b.tar.gz")).unwrap(), before);
    assert!(!folder.path().join("b.tar.gz.new").exists());
    let left = fs::read_dir(&data).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert!(left.into_iter().all(|name| !name.contains("backup-")));
}

/// Backs up and is killed at this call of the system; `None` if there are not so many.
fn killed_at(call: &str, when: u32, folder: &Path) -> Option<()> {
    let inject = format!("inject={call}:signal=KILL:when={when}");
    let done = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject])
        .args([env!("CARGO_BIN_EXE_drawhall"), "backup", "b.tar.gz", "--data", "data"])
        .current_dir(folder)
        .output()
        .unwrap();
    (!done.status.success()).then_some(())
}

#[test]
fn a_backup_that_is_killed_leaves_the_previous_one_whole() {
    if !common::child::can_trace() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    works(&["backup", "b.tar.gz", "--data", "data"], folder.path());
    let mut deaths = 0;
    for call in ["write", "pwrite64", "rename", "unlink", "fsync", "fdatasync"] {
        for when in 1.. {
            if killed_at(call, when, folder.path()).is_none() {
                break;
            }
            deaths += 1;
            let restored = format!("{call}-{when}");
            works(&["restore", "b.tar.gz", "--data", &restored], folder.path());
            let told = works(&["check", &format!("{restored}/sessions")], folder.path());
            assert_eq!(told, "1 sessions, 0 problems\n", "killed at {call} {when}");
            fs::remove_dir_all(folder.path().join(restored)).unwrap();
        }
    }
    assert!(deaths >= 10, "only {deaths} calls were found");
    works(&["backup", "b.tar.gz", "--data", "data"], folder.path());
    let left = fs::read_dir(&data).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = left.into_iter().filter(|name| name.contains("backup-")).collect();
    assert!(left.is_empty(), "killed processes leave {left:?}");
    assert!(!folder.path().join("b.tar.gz.new").exists());
}

#[test]
fn the_server_shows_when_its_data_was_backed_up() {
    let folder = tempfile::tempdir().unwrap();
    data(folder.path());
    let last_backup = Some(folder.path().join("data/last-backup"));
    let options = ServeOptions { last_backup, admin_port: Some(0), ..ServeOptions::default() };
    let server = TestServer::start_with("", options);
    let shown = || {
        let page = common::http::text(server.admin.unwrap(), "/metrics");
        let time = page.lines().find_map(|line| line.strip_prefix("drawhall_last_backup_timestamp_seconds "));
        time.map(|time| time.parse::<i64>().unwrap())
    };
    assert_eq!(shown(), None);
    let before = jiff::Timestamp::now().as_second();
    works(&["backup", "backup.tar.gz", "--data", "data"], folder.path());
    let time = shown().unwrap();
    assert!((before - 1..=before + 60).contains(&time), "{time}");
    works(&["backup", "other.tar.gz", "--sessions", "data/sessions"], folder.path());
    assert_eq!(shown(), Some(time), "not a backup of the data directory");
}
