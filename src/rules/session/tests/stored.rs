//! What of a session is stored, and when it is over while nobody is in.

use super::*;
use crate::config::SettingValue as _;
use crate::history::HistoryWrite;
use crate::rules::journal::Entry;
use crate::rules::session::PasswordKind;
use crate::rules::session::admin::AdminRequest;
use crate::rules::session::persistence::Suspended;

fn text(entries: &[Entry]) -> Vec<String> {
    let mut out = String::new();
    entries.iter().for_each(|entry| entry.write(&mut out));
    out.lines().map(str::to_owned).collect()
}

fn stored() -> Table {
    let mut table = Table::running(Settings::default());
    table.machine.store();
    table
}

#[test]
fn a_new_session_journals_what_it_is() {
    let mut table = stored();
    let work = table.machine.drain_writes();
    let expected = ["FOUNDER A", "AUTORESET 15728640", "FLAGS allowweb invites", "USER 1 A"];
    assert_eq!(text(&work.journal), expected);
    assert!(matches!(work.history, HistoryWrite::Replace(_)), "its history needs a file");
    assert!(table.machine.drain_writes().journal.is_empty(), "nothing is journaled twice");
}

#[test]
fn only_what_changes_is_journaled() {
    let mut table = stored();
    table.machine.drain_writes();
    let kwargs =
        json!({"title": "T", "nsfm": true, "maxUserCount": 9, "resetThreshold": 5000, "opword": "x"});
    table.command(A, "sessionconf", json!([]), kwargs);
    table.join(account(B, "Bé"));
    table.command(A, "kick-user", json!(["Bé"]), json!({"ban": true}));
    let work = table.machine.drain_writes();
    let expected = [
        "MAXUSERS 9",
        "AUTORESET 5000",
        "TITLE T",
        "FLAGS nsfm allowweb invites",
        "CATCHUP 1000001",
        "USER 2 B%C3%A9",
        "AUTHNAME internal%3AB%C3%A9 B%C3%A9",
    ];
    assert_eq!(text(&work.journal)[..7], expected);
    assert!(text(&work.journal)[7].starts_with("BAN 1 B%C3%A9 "));
    assert_eq!(work.passwords, [(PasswordKind::Operator, "x".to_owned())]);
    table.command(A, "sessionconf", json!([]), json!({"title": "T"}));
    assert!(table.machine.drain_writes().journal.is_empty());
}

#[test]
fn a_session_that_is_not_stored_has_nothing_to_store() {
    let mut table = Table::running(Settings::default());
    table.command(A, "sessionconf", json!([]), json!({"title": "T", "password": "x"}));
    assert!(table.machine.drain_writes().is_empty());
}

#[test]
fn a_shutdown_suspends_a_stored_session() {
    let mut table = stored();
    table.join(client(B, "B"));
    table.forget();
    let effects = table.effects(|machine, cx| machine.shut_down("bye", cx));
    assert!(matches!(effects.last(), Some(Effect::End(FileDisposition::Keep))));
    let is_gone = |effect: &&Effect| matches!(effect, Effect::Client(_, ClientOp::Disconnect { .. }));
    let gone = effects.iter().filter(is_gone).count();
    assert_eq!(gone, 2);
    let bytes = table.machine.history().to_bytes();
    let leaves: Vec<u8> = frames(&bytes).filter(|f| f.header.kind == 33).map(|f| f.header.user).collect();
    assert_eq!(leaves, [1, 2]);
    let mut memory = Table::running(Settings::default());
    memory.act(|machine, cx| machine.shut_down("bye", cx));
    assert!(memory.ended);
}

#[test]
fn the_sessions_own_archive_mode_overrides_the_setting() {
    for (setting, own, expected) in [
        (false, None, FileDisposition::Delete),
        (true, None, FileDisposition::Archive),
        (true, Some(false), FileDisposition::Delete),
        (false, Some(true), FileDisposition::Archive),
    ] {
        let mut table = Table::running(Settings { archive: setting, ..Settings::default() });
        table.machine.store();
        table.machine.properties.set_archive(own);
        let effects = table.effects(|machine, cx| machine.end("over", cx));
        assert!(matches!(effects.last(), Some(Effect::End(files)) if *files == expected));
    }
}

fn shared(linger: &str, idle: &str) -> ServerSettings {
    let mut settings = Settings::default();
    settings.set("emptySessionLingerTime", linger).unwrap();
    settings.set("idleTimeLimit", idle).unwrap();
    ServerSettings { settings: Arc::new(settings), ..ServerSettings::default() }
}

#[test]
fn a_stored_session_waits_for_its_users_like_one_that_lingers() {
    let start = Timestamp { monotonic_ms: 0, utc_ms: 0 };
    let rest = Suspended::at_start(start, 0, 0, [0, 0]);
    let over = |persistent, idle_override, shared: &ServerSettings, ms| {
        rest.is_over(persistent, idle_override, shared, Timestamp { monotonic_ms: ms, utc_ms: ms as i64 })
    };
    let lingers = shared("1m", "0");
    assert!(!over(false, false, &lingers, 60_000) && over(false, false, &lingers, 60_001));
    assert!(!over(true, false, &lingers, u64::MAX / 2), "persistent sessions stay");
    let at_once = shared("0", "0");
    assert!(!over(false, false, &at_once, u64::MAX / 2), "nobody has come and gone yet");
    let idle = shared("0", "1h");
    assert!(over(true, false, &idle, 3_600_001) && !over(true, true, &idle, 3_600_001));
}

#[test]
fn the_idle_clock_goes_on_over_a_restart() {
    const HOUR: u64 = 3_600_000;
    let start = Timestamp { monotonic_ms: 1000 * HOUR, utc_ms: 5000 * HOUR as i64 };
    let over = |last_use_ms: i64, limit: &str, later: u64| {
        let suspended = Suspended::at_start(start, 0, last_use_ms, [0, 0]);
        let now = Timestamp { monotonic_ms: start.monotonic_ms + later, utc_ms: start.utc_ms + later as i64 };
        suspended.is_over(true, false, &shared("0", limit), now)
    };
    let ago = |ms: u64| start.utc_ms - ms as i64;
    assert!(!over(ago(36_000), "40s", 4_000) && over(ago(36_000), "40s", 4_001), "not used for 36 s before");
    assert!(over(ago(29 * 24 * HOUR), "30d", 24 * HOUR + 1));
    assert!(!over(ago(900 * HOUR), "30d", HOUR - 1), "what came from a backup is spared for a while");
    assert!(over(ago(900 * HOUR), "30d", HOUR));
    assert!(!over(ago(4999 * HOUR), "0", HOUR), "no limit");
    assert!(!over(start.utc_ms + 900 * HOUR as i64, "1h", HOUR), "a last use in the future counts as now");
    let lingering = Suspended::at_start(start, 0, ago(900 * HOUR), [0, 0]);
    let soon = Timestamp { monotonic_ms: start.monotonic_ms + 60_000, utc_ms: start.utc_ms + 60_000 };
    assert!(
        !lingering.is_over(false, false, &shared("1m", "0"), soon),
        "it waits for its users from the start on"
    );
}

#[test]
fn an_empty_session_unloads_after_a_while() {
    let mut settings = Settings::default();
    settings.set("emptySessionLingerTime", "1h").unwrap();
    settings.session_unload_time = crate::config::Seconds::read("30").unwrap();
    let mut table = Table::running(settings);
    table.machine.store();
    assert_eq!(table.machine.unload_at(), None, "somebody is in");
    table.wait(5000);
    table.leave(A);
    assert_eq!(table.machine.unload_at(), Some(table.now.monotonic_ms + 30_000));
}

#[test]
fn write_errors_are_shown_to_all_members() {
    let mut table = stored();
    table.join(client(B, "B"));
    table.forget();
    let shown = |table: &mut Table| {
        let mut error = Value::Null;
        table.act(|machine, cx| {
            let described = machine.administer(AdminRequest::Describe, cx).unwrap().to_json();
            error = described.get("storageError").cloned().unwrap_or_default();
        });
        error
    };
    assert_eq!(shown(&mut table), Value::Null);
    table.act(|machine, cx| machine.storing_failed("no space", cx));
    assert_eq!(shown(&mut table), "no space", "administrators see it, too");
    table.act(|machine, cx| machine.storing_recovered(cx));
    assert_eq!(shown(&mut table), Value::Null);
    for conn in [A, B] {
        assert_eq!(table.keys(conn), ["storagefailed", "storagerecovered"]);
    }
}
