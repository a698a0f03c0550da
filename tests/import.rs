//! `drawhall import --check`: the report on files and command lines of a drawpile-srv is the expected one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::fixtures;
use drawhall::db::{Account, BanKind, BanRow, Database};

/// What the program says in a directory, and its exit status.
fn import(directory: &Path, arguments: &[&str]) -> (String, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drawhall"));
    let out = command.current_dir(directory).args(["import", "--check"]).args(arguments).output().unwrap();
    assert!(out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    (String::from_utf8(out.stdout).unwrap(), out.status.code().unwrap())
}

/// Compares with a recorded report. `UPDATE_EXPECTED=1` records it.
fn assert_report(name: &str, report: &str) {
    let path = fixtures().join("import").join(format!("{name}.expected"));
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&path, report).unwrap();
    }
    assert_eq!(report, fs::read_to_string(&path).unwrap(), "{}", path.display());
}

#[test]
fn units_compose_files_configuration_and_sessions_have_the_expected_reports() {
    for (name, path, status) in [
        ("unit", "drawpile-srv.service", 2),
        ("compose", "compose.yaml", 2),
        ("config", "server.cfg", 1),
        ("sessions", "sessions", 2),
    ] {
        let (report, code) = import(&fixtures().join("import"), &[path]);
        assert_report(name, &report);
        assert_eq!(code, status, "{name}: {report}");
    }
}

#[test]
fn secrets_are_not_printed_and_hostile_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["--web-admin-auth", "sekret"][..], &["--web-admin-auth=sekret"]] {
        let (report, code) = import(folder.path(), &[&["--", "drawpile-srv"], arguments].concat());
        assert!(code == 2 && !report.contains("sekret"), "{report}");
    }
    let nested: String = (0..5000).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    let listed = format!("a:\n  {}b\n", "- ".repeat(5000));
    for (name, text) in [("nested.yaml", nested), ("listed.yaml", listed)] {
        fs::write(folder.path().join(name), format!("services:\n{text}")).unwrap();
        let (report, code) = import(folder.path(), &[name]);
        assert!(code == 2 && report.contains("nested too deeply"), "{report}");
    }
    let (report, code) = import(folder.path(), &["/dev/zero"]);
    assert!(code == 2 && report.contains("no regular file"), "{report}");
}

#[test]
fn a_database_is_checked_without_being_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.db");
    {
        let database = Database::open(&path).unwrap();
        for (name, hash) in [("boss", "plain;secret"), ("open", "")] {
            let (name, hash) = (name.to_owned(), hash.to_owned());
            database.add_account(&Account { id: 0, name, hash, locked: false, flags: Vec::new() }).unwrap();
        }
        let ban = BanRow { subject: "192.0.2.9".into(), expires: "2999-01-01".into(), ..BanRow::default() };
        database.add_ban(BanKind::Address, ban, 0).unwrap();
        database.set_settings(&[("serverTitle", "Ours"), ("clientTimeout", "soon")]).unwrap();
    }
    let before = fs::read(&path).unwrap();
    let (report, code) = import(folder.path(), &["config.db"]);
    assert_report("database", &report);
    assert_eq!(code, 1);
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is written beside it");
}

#[test]
fn a_command_line_that_means_the_same_is_fine() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("server.cfg"), "[config]\nserverTitle=x\n").unwrap();
    let (report, code) = import(
        folder.path(),
        &["--", "drawpile-srv", "-p", "27750", "--config", "server.cfg", "--sessions", "new"],
    );
    assert_eq!(code, 0, "{report}");
    assert!(
        report.starts_with("command line: -p 27750 --config server.cfg --sessions new\n  same "),
        "{report}"
    );
    assert!(!folder.path().join("new").exists());
}

#[test]
fn what_drawhall_refuses_is_said() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, words) in [
        (&["--", "--nonsense"][..], "unexpected argument '--nonsense'"),
        (&["--", "--announce-port", "0"], "--announce-port"),
        (&["--", "--config", "a", "--database", "b"], "cannot be used with"),
        (&["--", "--config", "missing.cfg"], "cannot read missing.cfg"),
        (&["missing.db"], "it cannot be read"),
    ] {
        let (report, code) = import(folder.path(), arguments);
        assert_eq!(code, 2, "{report}");
        assert!(report.contains(words) && report.contains("  unusable  "), "{arguments:?}: {report}");
    }
    fs::write(folder.path().join("compose.yml"), "services:\n  a:\n    image: nginx\n").unwrap();
    let (report, code) = import(folder.path(), &["compose.yml"]);
    assert!(code == 2 && report.contains("no service in it runs drawpile-srv"), "{report}");
}
