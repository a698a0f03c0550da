//! When the server compacts a history by itself.

use super::super::thumbnail::Rendered;
use super::input::Input;
use super::*;

fn settings(compacts: bool) -> Settings {
    let mut settings = Settings::default();
    settings.set("autoResetThreshold", "2kb").unwrap();
    settings.set("emptySessionLingerTime", "1h").unwrap();
    settings.compact_at_threshold = compacts;
    settings
}

/// A session in which B has drawn past the threshold, so that A's client was asked.
fn past_threshold(compacts: bool) -> Table {
    let mut table = Table::running(settings(compacts));
    table.join(client(B, "B"));
    table.forget();
    table.send(B, &[dab(3000)]);
    assert_eq!(table.replies(A, "autoreset").len(), 1);
    table
}

/// Whether the server compacts the history because of this.
fn compacts(table: &mut Table, input: Input) -> bool {
    let effects = table.effects(|machine, cx| machine.handle(input, cx));
    effects.iter().any(|effect| matches!(effect, Effect::Compact))
}

fn compacts_after(table: &mut Table, ms: u64) -> bool {
    table.now.monotonic_ms += ms;
    compacts(table, Input::Tick)
}

fn failed() -> Input {
    Input::CompactionDone(Rendered::Failed("no program".into()))
}

#[test]
fn the_server_compacts_when_no_client_answers() {
    let mut table = past_threshold(true);
    assert!(!compacts_after(&mut table, 2_999), "clients come first");
    assert!(compacts_after(&mut table, 1));
    assert!(!compacts_after(&mut past_threshold(false), 3_000), "the setting is off");
}

#[test]
fn the_server_compacts_when_the_chosen_client_does_not_reset() {
    let mut table = past_threshold(true);
    table.command(A, "ready-to-autoreset", json!([]), json!({}));
    assert!(!compacts_after(&mut table, 3_000), "A was chosen");
    assert!(compacts_after(&mut table, 117_000));
    let mut table = past_threshold(true);
    table.command(A, "ready-to-autoreset", json!([]), json!({}));
    assert!(compacts(&mut table, Input::Leave(A)));
}

#[test]
fn clients_are_not_asked_while_the_server_compacts() {
    let mut table = past_threshold(true);
    assert!(compacts_after(&mut table, 3_000));
    table.wait(60_000);
    table.send(B, &[dab(1)]);
    assert_eq!(table.replies(A, "autoreset").len(), 1);
    assert!(!compacts(&mut table, failed()), "not at once");
    table.send(B, &[dab(1)]);
    assert_eq!(table.replies(A, "autoreset").len(), 2, "others may do it");
}

#[test]
fn a_compaction_that_failed_is_tried_again_later_and_later() {
    let mut table = past_threshold(true);
    assert!(compacts_after(&mut table, 3_000));
    for delay in [60_000, 120_000, 240_000] {
        assert!(!compacts(&mut table, failed()));
        table.send(B, &[dab(1)]);
        assert!(!compacts_after(&mut table, 3_000), "A's client does not answer either");
        assert!(!compacts_after(&mut table, delay - 3_001));
        assert!(compacts_after(&mut table, 1), "{delay}");
    }
    // An image that is too large is a failure, too.
    assert!(!compacts(&mut table, Input::CompactionDone(Rendered::Made(()))));
    assert!(!compacts_after(&mut table, 479_999));
    assert!(compacts_after(&mut table, 1));
}

#[test]
fn nothing_is_compacted_once_the_history_is_small_again() {
    let mut table = past_threshold(true);
    assert!(compacts_after(&mut table, 3_000));
    assert!(!compacts(&mut table, failed()));
    table.command(A, "reset-session", json!([]), json!({}));
    table.send(A, &[canvas()]);
    table.command(A, "init-complete", json!([]), json!({}));
    assert!(!compacts_after(&mut table, 60_000));
    assert_eq!(table.machine.next_deadline(), None);
}

#[test]
fn a_history_past_the_threshold_is_compacted_when_the_last_user_leaves() {
    let mut table = past_threshold(true);
    assert!(!compacts(&mut table, Input::Leave(A)), "B is still there");
    assert!(!compacts(&mut table, Input::Leave(B)), "A's client was asked, and may come again");
    assert!(compacts_after(&mut table, 3_000));

    let mut table = past_threshold(false);
    table.wait(3_000);
    let shared = ServerSettings { settings: Arc::new(settings(true)), ..table.machine.shared.clone() };
    assert!(!compacts(&mut table, Input::Shared(shared)));
    assert!(!compacts(&mut table, Input::Leave(A)));
    assert!(compacts(&mut table, Input::Leave(B)));
    assert!(!table.machine.awaits_compaction());
    for delay in [60_000, 120_000, 240_000] {
        assert!(!compacts(&mut table, failed()));
        assert!(table.machine.awaits_compaction(), "it stays loaded");
        assert!(compacts_after(&mut table, delay), "also with nobody there");
    }
    assert!(!compacts(&mut table, failed()));
    assert!(!table.machine.awaits_compaction(), "it may be unloaded");

    let mut small = Table::running(settings(true));
    assert!(!compacts(&mut small, Input::Leave(A)));
    let mut stops = past_threshold(true);
    assert!(!compacts(&mut stops, Input::Stop));
    assert!(!compacts_after(&mut stops, 3_000));
}

#[test]
fn a_program_that_is_busy_is_no_failure() {
    let mut table = past_threshold(true);
    assert!(compacts_after(&mut table, 3_000));
    for _ in 0..10 {
        let effects = table.effects(|machine, cx| machine.handle(Input::CompactionDone(Rendered::Busy), cx));
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Log(..))), "{effects:?}");
        assert!(table.machine.awaits_compaction(), "it stays loaded");
        assert!(!compacts_after(&mut table, 59_999));
        assert!(compacts_after(&mut table, 1), "the delay stays the same");
    }
    assert!(!compacts(&mut table, failed()));
    assert!(compacts_after(&mut table, 60_000), "that was the first failure");
}

#[test]
fn a_full_disk_is_no_failure_and_keeps_no_session_loaded() {
    let mut table = past_threshold(true);
    assert!(compacts_after(&mut table, 3_000));
    let effects = table.effects(|machine, cx| machine.handle(Input::CompactionDone(Rendered::NoSpace), cx));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Log(..))), "{effects:?}");
    assert!(!table.machine.awaits_compaction(), "it may be unloaded");
    assert!(!compacts_after(&mut table, 59_999));
    assert!(compacts_after(&mut table, 1));
    assert!(!compacts(&mut table, failed()));
    assert!(table.machine.awaits_compaction(), "the disk has space again");
    assert!(compacts_after(&mut table, 60_000), "that was the first failure");
}
