//! `drawhall convert`, `inspect`, `sessions`, `check` and `repair`, as programs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::recordings;

const TEXT: &str = "!version=dp:4.25.1\n!title=A title\n1 join {\"name\":\"A\"}\n1 interval {\"msecs\":61000}\n1 undopoint\n";

/// The program in a folder, in which the user's data are, too.
fn program(args: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drawhall"));
    command.args(args).current_dir(folder).env("XDG_DATA_HOME", folder);
    command
}

fn drawhall(args: &[&str], folder: &Path) -> Output {
    program(args, folder).output().unwrap()
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn recordings_are_converted_there_and_back() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.dptxt"), TEXT).unwrap();
    assert!(drawhall(&["convert", "a.dptxt", "b.dprec"], folder.path()).status.success());
    assert!(fs::read(folder.path().join("b.dprec")).unwrap().starts_with(b"DPREC\0"));
    assert!(drawhall(&["convert", "b.dprec", "c.dptxt"], folder.path()).status.success());
    assert_eq!(fs::read_to_string(folder.path().join("c.dptxt")).unwrap(), TEXT);
    let left = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 3, "nothing else is left in the folder");
}

#[test]
fn every_recorded_message_is_converted_byte_for_byte() {
    for wire in recordings("wire", "wire") {
        convert_every_message(&wire);
    }
}

fn convert_every_message(wire: &Path) {
    let folder = tempfile::tempdir().unwrap();
    for (from, to) in [("dptxt", "dprec"), ("dprec", "dptxt")] {
        let input = wire.join(format!("every-message.{from}"));
        let output = format!("out.{to}");
        let done = drawhall(&["convert", input.to_str().unwrap(), &output], folder.path());
        assert!(done.status.success(), "{}", text_of(&done.stderr));
        let expected = fs::read(wire.join(format!("every-message.{to}"))).unwrap();
        assert!(fs::read(folder.path().join(output)).unwrap() == expected, "{to} differs");
    }
}

#[test]
fn a_recording_that_begins_with_a_bad_message_is_converted_without_it() {
    let folder = tempfile::tempdir().unwrap();
    // A DrawDabsClassic of three bytes.
    let recording =
        [b"DPREC\0\0\x17{\"version\":\"dp:4.25.1\"}".as_slice(), &[0, 3, 148, 1, 1, 2, 3]].concat();
    fs::write(folder.path().join("a.dprec"), recording).unwrap();
    let done = drawhall(&["convert", "a.dprec", "a.dptxt"], folder.path());
    let errors = text_of(&done.stderr);
    assert!(errors.contains("1 messages could not be converted, 0 were"), "{errors}");
}

#[test]
fn standard_streams_need_a_form_on_one_side() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_drawhall"))
        .args(["convert", "-", "-", "--from", "dptxt"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(TEXT.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stdout.starts_with(b"DPREC\0"));
    let failed = drawhall(&["convert", "-", "-"], folder.path());
    assert!(!failed.status.success());
    assert!(text_of(&failed.stderr).contains("--from"));
}

#[test]
fn lines_that_are_no_message_are_named_and_make_it_fail() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.dptxt"), format!("{TEXT}1 nosuch {{}}\n1 penup\n")).unwrap();
    let done = drawhall(&["convert", "a.dptxt", "b.dprec"], folder.path());
    assert_eq!(done.status.code(), Some(1));
    let errors = text_of(&done.stderr);
    assert!(errors.contains("line 6: unknown message 'nosuch'"), "{errors}");
    assert!(errors.contains("1 messages could not be converted, 4 were"), "{errors}");
}

#[test]
fn the_old_text_form_becomes_a_recording_of_the_version_that_it_is_read_as() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.dptxt"), "!version=dp:4.21.2\n1 resize right=3\n").unwrap();
    let done = drawhall(&["convert", "a.dptxt", "b.dprec"], folder.path());
    assert!(done.status.success());
    assert!(text_of(&done.stderr).contains("dp:4.21.2 is read into messages of dp:4.24.0"));
    let report = text_of(&drawhall(&["inspect", "b.dprec"], folder.path()).stdout);
    assert!(report.contains("dp:4.24.0 (clients 2.2.x)"), "{report}");
}

#[test]
fn what_cannot_be_opened_or_is_no_recording_is_said() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bad.dprec"), "nonsense").unwrap();
    fs::write(folder.path().join("a.dptxt"), TEXT).unwrap();
    for (args, words) in [
        (vec!["convert", "missing.dprec", "x.dptxt"], "missing.dprec: "),
        (vec!["convert", "bad.dprec", "x.dptxt"], "bad.dprec: not a binary recording"),
        (vec!["convert", "a.dptxt", "a.dptxt", "--to", "dprec"], "the same file"),
        (vec!["convert", "a.dptxt", "no/folder/x.dprec"], "no/folder/x.dprec.part: "),
        (vec!["inspect", "a.bin"], "neither in .dprec nor in .dptxt"),
    ] {
        let done = drawhall(&args, folder.path());
        let errors = text_of(&done.stderr);
        assert!(!done.status.success() && errors.contains(words), "{args:?}: {errors}");
    }
    assert_eq!(fs::read_to_string(folder.path().join("a.dptxt")).unwrap(), TEXT, "the input is untouched");
}

#[test]
fn inspecting_tells_version_counts_users_duration_and_truncation() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.dptxt"), TEXT).unwrap();
    drawhall(&["convert", "a.dptxt", "b.dprec"], folder.path());
    let whole = text_of(&drawhall(&["inspect", "b.dprec"], folder.path()).stdout);
    for line in [
        "version:   dp:4.25.1 (clients 2.3.x)",
        "header:    title=A title",
        "messages:  3 (17 bytes)",
        "duration:  0:01:01",
        "user   1:  3 messages  A",
        "type  64:  1 Interval",
        "end:       whole",
    ] {
        assert!(whole.contains(line), "{line} in\n{whole}");
    }
    let mut bytes = fs::read(folder.path().join("b.dprec")).unwrap();
    bytes.pop();
    fs::write(folder.path().join("b.dprec"), bytes).unwrap();
    let cut = text_of(&drawhall(&["inspect", "b.dprec"], folder.path()).stdout);
    assert!(cut.contains("end:       truncated: 3 bytes at offset"), "{cut}");
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let busy = drawhall(&["--listen", "127.0.0.1", "--port", &port], folder.path());
    assert!(!busy.status.success());
    assert!(text_of(&busy.stderr).contains(&format!("cannot listen on 127.0.0.1, port {port}")));
    let missing = drawhall(&["--config", "missing.cfg"], folder.path());
    assert!(!missing.status.success());
    assert!(text_of(&missing.stderr).contains("--config: cannot read missing.cfg"));
    fs::write(folder.path().join("file"), "").unwrap();
    for (option, value, words) in [
        ("--sessions", "file/x", "--sessions: cannot use the session directory file/x"),
        ("--templates", "nowhere", "--templates: cannot read nowhere"),
        ("--sync", "soon", "'soon' for '--sync"),
    ] {
        let out = drawhall(&["--listen", "127.0.0.1", "--port", &port, option, value], folder.path());
        assert!(!out.status.success() && text_of(&out.stderr).contains(words), "{}", text_of(&out.stderr));
    }
}

fn stored_sessions() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let history = b"DPREC\0\0\x17{\"version\":\"dp:4.24.0\"}\0\x01\x81\x01x";
    let journal = "FILE a.dprec\nALIAS tea\nFOUNDER Host\nTITLE Títle\nUSER 1 Host\nUSER 2 Gu%20est\n";
    fs::write(folder.path().join("a.session"), journal).unwrap();
    fs::write(folder.path().join("a.dprec"), history).unwrap();
    fs::write(folder.path().join("b.session"), "FILE b.dprec\nNONSENSE\n").unwrap();
    fs::write(folder.path().join("b.dprec"), [&history[..], b"\0\x09"].concat()).unwrap();
    folder
}

#[test]
fn stored_sessions_are_listed_for_people_and_programs() {
    let folder = stored_sessions();
    let out = drawhall(&["sessions", "."], folder.path());
    assert!(out.status.success());
    let text = text_of(&out.stdout);
    for words in
        ["a\n  title     Títle\n  alias     tea\n  founder   Host", "users     Gu est, Host", "2 sessions\n"]
    {
        assert!(text.contains(words), "{text}");
    }
    let out = drawhall(&["sessions", ".", "--json"], folder.path());
    let list: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(
        (&list[0]["alias"], &list[0]["size"], &list[1]["loadable"]),
        (&"tea".into(), &5.into(), &true.into())
    );
    let out = drawhall(&["sessions", "nowhere"], folder.path());
    assert!(!out.status.success() && text_of(&out.stderr).contains("nowhere"));
}

#[test]
fn stored_sessions_are_checked_and_mended() {
    let folder = stored_sessions();
    let out = drawhall(&["check", "."], folder.path());
    assert!(!out.status.success());
    let text = text_of(&out.stdout);
    assert!(text.contains("b: b.dprec: 2 bytes from offset 36 on are no whole message"), "{text}");
    assert!(text.contains("b: journal, line 2: unknown journal entry"), "{text}");
    let out = drawhall(&["repair", "."], folder.path());
    assert!(out.status.success(), "{}", text_of(&out.stderr));
    assert!(text_of(&out.stdout).contains("files as they were: ./backup1"));
    assert!(drawhall(&["check", "."], folder.path()).status.success());
    assert_eq!(fs::read(folder.path().join("backup1/b.dprec")).unwrap().len(), 38);
}

#[test]
fn options_come_from_the_command_line_the_environment_and_a_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("options.toml"), "port = 4000\nlisten = \"127.0.0.1\"\nannounce-port = 9\n")
        .unwrap();
    fs::write(folder.path().join("server.cfg"), "serverTitle=Tea\nreporttoken=secret\n").unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_drawhall"))
        .args(["config", "--options", "options.toml", "--config", "server.cfg"])
        .env("DRAWHALL_PORT", "5000")
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = text_of(&out.stdout);
    for line in [
        "port = 5000  (environment)",
        "listen = 127.0.0.1  (options.toml)",
        "announce-port = 9  (options.toml)",
        "config = server.cfg  (command line)",
        "sessions = -  (default)",
        "serverTitle = Tea  (server.cfg)",
        "clientTimeout = 60  (default)",
        "reporttoken = (not shown)  (server.cfg)",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    fs::write(folder.path().join("options.toml"), "prot = 4000\n").unwrap();
    let out = drawhall(&["--options", "options.toml"], folder.path());
    assert!(!out.status.success());
    assert!(text_of(&out.stderr).contains("--options options.toml: there is no option 'prot'"));
}

#[test]
fn accounts_are_managed_from_the_shell() {
    let folder = tempfile::tempdir().unwrap();
    let with_password = |args: &[&str], password: &str| {
        let mut child =
            program(args, folder.path()).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    assert!(with_password(&["account", "add", "alice", "--flags", "MOD,HOST"], "secret\n").status.success());
    let again = with_password(&["account", "add", "alice"], "secret\n");
    assert!(text_of(&again.stderr).contains("there is an account 'alice' already"));
    assert!(
        text_of(&with_password(&["account", "add", "bob"], "\n").stderr).contains("the password is empty")
    );
    assert!(
        drawhall(&["account", "set", "alice", "--lock", "--flags", "HOST"], folder.path()).status.success()
    );
    let listed = drawhall(&["account", "list", "--json"], folder.path());
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(
        listed,
        serde_json::json!([{"id": 1, "username": "alice", "locked": true, "flags": ["HOST"]}])
    );
    assert!(!drawhall(&["account", "set", "alice"], folder.path()).status.success());
    assert!(drawhall(&["account", "remove", "alice"], folder.path()).status.success());
    assert!(!drawhall(&["account", "remove", "alice"], folder.path()).status.success());
    for args in [
        &["account", "add", "zed", "--flags", "MOD,ADMINISTRATOR"][..],
        &["account", "set", "zed", "--flags", "HOSTT"],
    ] {
        let refused = text_of(&with_password(args, "secret\n").stderr);
        assert!(refused.contains("there is no flag") && refused.contains("BANEXEMPT"), "{refused}");
    }
    let forced = ["account", "add", "zed", "--flags", "group-a,host", "--force"];
    assert!(with_password(&forced, "secret\n").status.success());
    assert!(text_of(&drawhall(&["account", "list"], folder.path()).stdout).contains("GROUP-A,HOST"));
    assert!(drawhall(&["account", "remove", "zed"], folder.path()).status.success());
    let key = text_of(&drawhall(&["extauth-key"], folder.path()).stdout);
    assert_eq!((key.trim().len(), &key), (44, &text_of(&drawhall(&["extauth-key"], folder.path()).stdout)));
}

#[test]
fn names_of_strangers_do_nothing_to_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let history = folder.path().join("x.dprec");
    fs::write(folder.path().join("in.dptxt"), TEXT).unwrap();
    assert!(drawhall(&["convert", "in.dptxt", history.to_str().unwrap()], folder.path()).status.success());
    let evil = "\u{1b}]0;pwned\u{7}\u{202e}eman\u{9b}31m";
    let journal = format!("FILE x.dprec\nFOUNDER {evil}\nTITLE T\u{202e}x\u{200b}\nUSER 1 {evil}\n");
    fs::write(folder.path().join("x.session"), journal).unwrap();
    for args in [&["sessions", "."][..], &["sessions", ".", "--json"], &["check", "."]] {
        let shown = text_of(&drawhall(args, folder.path()).stdout);
        let bad: Vec<char> = shown.chars().filter(|c| *c != '\n' && drawhall::text::is_hidden(*c)).collect();
        assert!(bad.is_empty(), "{bad:?} in {shown:?}");
        assert!(args[0] == "check" || shown.contains("pwned"), "{shown}");
    }
}

#[test]
fn root_leaves_nothing_of_its_own_beside_the_database_of_another() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    if !rustix::process::geteuid().is_root() || chown(&data, Some(65534), Some(65534)).is_err() {
        return common::skip::skip("root", "this test needs root");
    }
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let at = data.to_str().unwrap();
    for args in [&["extauth-key", "--data", at][..], &["account", "list", "--data", at]] {
        let done = drawhall(args, folder.path());
        assert!(done.status.success(), "{}", text_of(&done.stderr));
        for entry in fs::read_dir(&data).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().uid(), 65534, "{:?}", entry.path());
        }
    }
    assert!(data.join("config.db").is_file());
    // A database that cannot be written is told of at once.
    fs::set_permissions(data.join("config.db"), std::os::unix::fs::PermissionsExt::from_mode(0o444)).unwrap();
    let refused = drawhall(&["account", "list", "--data", at], folder.path());
    assert!(!refused.status.success() && text_of(&refused.stderr).contains("readonly"), "{refused:?}");
}

#[test]
fn a_reader_that_closes_the_pipe_ends_the_output_quietly() {
    let program = env!("CARGO_BIN_EXE_drawhall");
    for arguments in ["settings", "config --in-memory", "--help", "account list --data", "sessions"] {
        let data = tempfile::tempdir().unwrap();
        let directory = data.path().display().to_string();
        let mut command = Command::new(program);
        command.args(arguments.split(' ')).env("HOME", data.path());
        if arguments.ends_with("--data") || arguments == "sessions" {
            command.arg(directory);
        }
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.stdout(writer).stderr(std::process::Stdio::piped()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!error.contains("panicked"), "{arguments}: {error}");
        assert!(output.status.success(), "{arguments}: {error}");
    }
}

#[test]
fn an_example_of_options_loads_and_is_the_defaults() {
    let directory = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| text_of(&drawhall(args, directory.path()).stdout);
    let example = run(&["config", "--example", "toml"]);
    let active: Vec<&str> = example
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(['#', ' '])).unwrap_or(line))
        .collect();
    let values = |text: &str| {
        let path = directory.path().join("options.toml");
        fs::write(&path, text).unwrap();
        let output = run(&["config", "--in-memory", "--options", path.to_str().unwrap()]);
        let value = |line: &str| line.split("  (").next().unwrap_or_default().to_owned();
        output.lines().filter(|l| !l.starts_with("options =")).map(value).collect::<Vec<_>>()
    };
    assert_eq!(values(&active.join("\n")), values(&example));
}

#[test]
fn a_configuration_is_checked_without_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("server.ini");
    let check = |text: &str| {
        fs::write(&config, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_drawhall"))
            .args(["config", "--check", "--in-memory", "--config", config.to_str().unwrap()])
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(check("serverTitle=Fine\n"), (Some(0), "no problems found\n".to_owned()));
    let (status, text) = check("serverTitle=Fine\nnonsense=1\nclientTimeout=soon\n");
    assert_eq!(status, Some(1));
    assert!(text.contains("line 2") && text.contains("line 3"), "{text}");
}

#[test]
fn health_tells_a_server_that_greets_from_one_that_does_not() {
    let health = |address: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_drawhall"));
        command.args(["health", "--timeout", "300ms", "--address", address]);
        command.output().unwrap().status.code()
    };
    let server = common::TestServer::start("");
    assert_eq!(health(&server.address.to_string()), Some(0));
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert_eq!(health(&silent.local_addr().unwrap().to_string()), Some(1), "it accepts and does not greet");
    let closed = silent.local_addr().unwrap().to_string();
    drop(silent);
    assert_eq!(health(&closed), Some(1), "nobody listens");
}
