use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::*;

pub(super) fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn stream(data: &[u8]) -> Frame {
    Frame::new(39, 0, data).unwrap()
}

/// A session in which A was asked for a streamed reset; returns the correlator.
pub(super) fn asked() -> (Table, String) {
    let mut settings = Settings::default();
    settings.set("autoResetThreshold", "2kb").unwrap();
    let mut table = Table::running(settings);
    table.join(client(B, "B"));
    table.send(B, &[dab(3000)]);
    table.command(A, "ready-to-autoreset", json!([]), json!({"capabilities": ["gzip1"]}));
    let request = table.replies(A, "autoreset")[1].clone();
    assert_eq!(request["stream"], json!("gzip1"));
    table.forget();
    (table, request["correlator"].as_str().unwrap().to_owned())
}

/// The same with the stream begun.
pub(super) fn started() -> Table {
    let (mut table, correlator) = asked();
    table.command(A, "stream-reset-start", json!([correlator]), json!({}));
    table
}

fn cancelled(table: &Table) -> Vec<bool> {
    table.replies(A, "sprogress").iter().map(|v| v["cancel"] == json!(true)).collect()
}

#[test]
fn a_streamed_reset_does_not_interrupt_and_new_members_get_the_small_history() {
    let mut table = started();
    assert_eq!(table.history(B), [(37, 0), (0, 1)]);
    table.send(B, &[dab(5)]);
    let image = zlib(&[canvas().as_bytes(), dab(1).as_bytes()].concat());
    let (first, second) = image.split_at(7);
    table.send(A, &[stream(first), stream(second)]);
    table.send(B, &[dab(6)]);
    let before = table.machine.history().last_index();
    table.command(A, "stream-reset-finish", json!([2]), json!({}));
    assert_eq!(cancelled(&table), [false, false]);
    table.send(B, &[dab(7)]);
    let seen = [(37, 0), (0, 1), (148, 2), (148, 2), (0, 0), (148, 2)];
    assert_eq!([table.history(A), table.history(B)], [seen.to_vec(), seen.to_vec()], "once each, in order");
    table.join(client(C, "C"));
    let expected = [
        (32, 1),
        (32, 2),
        (34, 0),
        (129, 1),
        (148, 1),
        (0, 0),
        (148, 2),
        (148, 2),
        (0, 0),
        (148, 2),
        (0, 0),
        (32, 3),
    ];
    assert_eq!(table.history(C), expected);
    assert_eq!(table.machine.history().first_index(), before + 1);
    assert_eq!(table.settings()["resetThresholdBase"], json!(20 + 5));
}

#[test]
fn it_takes_effect_once_the_slowest_has_passed_the_fork() {
    let mut table = started();
    let mut slow = table.seat(B).cursor.take().unwrap();
    slow.position().store(0, std::sync::atomic::Ordering::SeqCst);
    table.send(A, &[stream(&zlib(canvas().as_bytes()))]);
    table.command(A, "stream-reset-finish", json!([1]), json!({}));
    assert!(table.machine.history().size() > 3000);
    while matches!(slow.read(1000, &mut Vec::new()), crate::history::Read::Some) {}
    table.wait(200);
    assert!(table.machine.history().size() < 1500);
    assert_eq!(table.machine.next_deadline(), None);
}

#[test]
fn wrong_counts_and_incomplete_streams_are_refused_and_tried_again_later() {
    for (data, count, refusal) in [
        (zlib(canvas().as_bytes()), 2, "invalid message count"),
        (zlib(canvas().as_bytes()), 0, "invalid message count"),
        (zlib(canvas().as_bytes())[..9].to_vec(), 0, "stream consumer error"),
        (zlib(&canvas().as_bytes()[..5]), 0, "stream consumer error"),
    ] {
        let mut table = started();
        table.send(A, &[stream(&data)]);
        table.command(A, "stream-reset-finish", json!([count]), json!({}));
        assert_eq!(table.error(A), format!("stream-reset-finish: {refusal}"));
        table.command(A, "stream-reset-finish", json!([1]), json!({}));
        assert_eq!(table.error(A), "stream-reset-finish: no stream reset active");
        table.wait(30_001);
        table.send(B, &[dab(1)]);
        assert_eq!(table.replies(A, "autoreset").len(), 1, "asked again");
    }
}

#[test]
fn invalid_data_ends_the_streamed_reset() {
    let join = Frame::new(32, 1, b"\0\x01X").unwrap();
    for data in [b"rubbish".to_vec(), zlib(join.as_bytes()), [zlib(b""), b"more".to_vec()].concat()] {
        let mut table = started();
        table.send(A, &[stream(&data)]);
        assert_eq!(cancelled(&table), [true]);
        table.command(A, "stream-reset-finish", json!([1]), json!({}));
        assert_eq!(table.error(A), "stream-reset-finish: no stream reset active");
    }
    let chat = Frame::new(35, 1, b"\0\0hi").unwrap();
    let mut table = started();
    table.send(A, &[stream(&zlib(chat.as_bytes()))]);
    assert_eq!(cancelled(&table), [false], "chat may be in it");
}

#[test]
fn a_decompression_bomb_ends_only_the_streamed_reset() {
    let mut settings = Settings::default();
    settings.set("autoResetThreshold", "2kb").unwrap();
    settings.set("sessionSizeLimit", "100kb").unwrap();
    let mut table = Table::running(settings);
    table.send(A, &[dab(3000)]);
    table.command(A, "ready-to-autoreset", json!([]), json!({"capabilities": ["gzip1"]}));
    let correlator = table.replies(A, "autoreset")[1]["correlator"].clone();
    table.command(A, "stream-reset-start", json!([correlator]), json!({}));
    let bomb = zlib(&dab(60_000).as_bytes().repeat(500));
    assert!(bomb.len() < 60_000);
    table.send(A, &[stream(&bomb)]);
    assert_eq!(cancelled(&table), [true]);
    assert!(table.machine.resets.stream_stage().is_none());
    table.send(A, &[dab(1)]);
    assert_eq!(table.machine.state(), SessionState::Running);
}

#[test]
fn only_who_was_asked_may_stream_and_with_the_correlator_only() {
    let (mut table, correlator) = asked();
    table.send(A, &[Frame::new(34, 0, &[2]).unwrap()]);
    table.command(B, "stream-reset-start", json!([correlator]), json!({}));
    assert_eq!(table.error(B), "stream-reset-start: invalid user");
    table.send(A, &[stream(b"early")]);
    assert_eq!(cancelled(&table), [true]);
    table.command(A, "stream-reset-start", json!(["wrong"]), json!({}));
    assert_eq!(table.error(A), "stream-reset-start: invalid correlator");
    table.command(A, "stream-reset-start", json!([correlator]), json!({}));
    assert_eq!(table.error(A), "stream-reset-start: invalid session state");
}

#[test]
fn aborting_leaving_and_losing_the_role_discard_the_staged_reset() {
    let mut table = started();
    table.command(A, "stream-reset-abort", json!([]), json!({}));
    assert!(table.machine.resets.stream_stage().is_none());
    table.command(A, "stream-reset-abort", json!([]), json!({}));
    assert_eq!(table.error(A), "stream-reset-abort: no stream reset active");
    let mut table = started();
    table.leave(A);
    assert!(table.machine.resets.stream_stage().is_none());
    let mut table = started();
    table.send(A, &[Frame::new(34, 0, &[2]).unwrap()]);
    table.send(B, &[Frame::new(34, 0, &[]).unwrap()]);
    assert!(table.machine.resets.stream_stage().is_none());
    assert_eq!(cancelled(&table), [true]);
}

#[test]
fn a_manual_reset_ends_a_streamed_one() {
    let mut table = started();
    table.command(A, "reset-session", json!([]), json!({}));
    assert!(table.machine.resets.stream_stage().is_none());
    table.send(A, &[canvas()]);
    table.command(A, "init-complete", json!([]), json!({}));
    assert!(table.history(B).ends_with(&[(129, 1), (0, 0), (0, 0)]));
}

#[test]
fn a_stalled_streamed_reset_times_out() {
    let mut table = started();
    let image = zlib(canvas().as_bytes());
    table.wait(119_999);
    table.send(A, &[stream(&image[..5])]);
    table.wait(119_999);
    assert_eq!(cancelled(&table), [false], "each part counts");
    table.wait(1);
    assert_eq!(cancelled(&table), [false, true]);
    table.command(A, "stream-reset-finish", json!([1]), json!({}));
    assert_eq!(table.error(A), "stream-reset-finish: no stream reset active");
}
