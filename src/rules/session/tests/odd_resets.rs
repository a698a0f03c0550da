use super::stream::{asked, stream, zlib};
use super::*;
use crate::rules::session::admin::AdminRequest;
use crate::rules::session::input::Input;

/// Nothing but a canvas of this size.
fn size(side: u8) -> Frame {
    Frame::new(129, 0, &[0, 0, 0, 0, 0, 0, 0, side, 0, 0, 0, side, 0, 0, 0, 0]).unwrap()
}

fn layer() -> Frame {
    Frame::new(162, 0, &[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap()
}

/// Strokes that make a history long enough to be looked at.
fn strokes() -> [Frame; 3] {
    [(); 3].map(|()| dab(30_000))
}

/// A session with a canvas, a layer and strokes.
fn drawn() -> Table {
    let mut table = Table::of_three();
    table.send(A, &[size(100), layer()]);
    table.send(A, &strokes());
    table.forget();
    table
}

fn reset(table: &mut Table, kind: &str, image: &[Frame]) {
    table.command(A, "reset-session", json!([]), json!({"type": kind}));
    table.send(A, image);
    table.command(A, "init-complete", json!([]), json!({}));
}

fn warning(table: &Table) -> Option<String> {
    let alerts = table.replies(A, "alert");
    let found = alerts.iter().find(|alert| alert["T"] == "resetlookswrong")?;
    Some(found["message"].as_str().unwrap().to_owned())
}

fn looks_wrong(table: &mut Table) -> Value {
    json!(table.machine.last_reset().unwrap().looks_wrong)
}

#[test]
fn a_reset_to_the_same_canvas_is_no_reason_for_an_alert() {
    let mut table = drawn();
    assert!(table.machine.last_reset().is_none());
    reset(&mut table, "current", &[size(100), layer(), dab(10)]);
    assert_eq!((warning(&table), looks_wrong(&mut table)), (None, json!([])));
    let last = table.machine.last_reset().unwrap();
    assert_eq!((last.by.as_str(), last.kind.as_str()), ("A", "current"));
}

#[test]
fn operators_are_told_of_a_reset_that_looks_wrong() {
    let mut table = drawn();
    reset(&mut table, "past", &[size(40), layer()]);
    assert_eq!(looks_wrong(&mut table), json!(["blank", "smallerCanvas"]));
    let text = warning(&table).unwrap();
    assert!(text.contains("nothing is drawn on it") && text.contains("not kept"), "{text}");
    assert!(table.replies(B, "alert").iter().all(|alert| alert["T"] != "resetlookswrong"));
}

#[test]
fn a_reset_of_a_short_history_is_not_looked_at() {
    let mut table = Table::of_three();
    table.send(A, &[size(100), layer(), dab(20)]);
    reset(&mut table, "current", &[size(1)]);
    assert_eq!((warning(&table), looks_wrong(&mut table)), (None, json!([])));
}

#[test]
fn a_streamed_reset_is_looked_at_too() {
    let (mut table, correlator) = asked();
    table.send(B, &[size(100), layer()]);
    table.send(B, &strokes());
    table.command(A, "stream-reset-start", json!([correlator]), json!({}));
    table.send(A, &[stream(&zlib(size(100).as_bytes()))]);
    table.command(A, "stream-reset-finish", json!([1]), json!({}));
    assert_eq!(looks_wrong(&mut table), json!(["noLayers", "blank"]));
    assert!(warning(&table).is_some());
}

#[test]
fn an_outdated_client_is_noticed() {
    for (unread, expected) in [(1, json!([])), (3, json!(["outdated"]))] {
        let mut table = drawn();
        table.seat(A).blocked = true;
        for _ in 0..unread {
            table.send(B, &[dab(30_000)]);
        }
        let command = drawhall_protocol::Frame::new(
            0,
            0,
            json!({"cmd": "reset-session", "args": [], "kwargs": {"type": "current"}}).to_string().as_bytes(),
        );
        let input = Input::Batch { conn: A, batch: Batch::new(command.unwrap().as_bytes().to_vec()) };
        table.machine.snapshot_reader_offsets(&input);
        table.act(|machine, cx| machine.handle(input, cx));
        table.seat(A).unblock();
        table.send(A, &[size(100), layer(), dab(10)]);
        table.command(A, "init-complete", json!([]), json!({}));
        assert_eq!(looks_wrong(&mut table), expected, "{unread}");
    }
}

#[test]
fn the_history_before_a_reset_is_needed_until_somebody_joins() {
    let mut table = drawn();
    table.machine.store();
    table.machine.drain_writes();
    reset(&mut table, "current", &[size(100), layer(), dab(10)]);
    let batch = table.machine.drain_writes();
    assert!(batch.keep.needs_newest && !batch.prunes);
    table.join(client(9, "New"));
    let batch = table.machine.drain_writes();
    assert!(!batch.keep.needs_newest && batch.prunes && !batch.is_light());
    table.join(client(10, "Next"));
    assert!(!table.machine.drain_writes().prunes, "once");
}

/// What another thread has read is used; what a reset has replaced meanwhile is not.
#[test]
fn a_long_history_is_followed_elsewhere() {
    let mut table = drawn();
    let stroke = || [Frame::new(128, 0, &[]).unwrap(), Frame::new(148, 0, &[0; 60_000]).unwrap()];
    for _ in 0..50 {
        table.send(B, &stroke());
    }
    assert!(table.machine.has_much_to_follow());
    let read = table.machine.begin_reading().finish().unwrap();
    let outdated = table.machine.begin_reading().finish().unwrap();
    table.send(B, &stroke());
    table.machine.adopt_reading(read);
    assert!(!table.machine.has_much_to_follow());
    let mut answer = None;
    table.act(|machine, cx| answer = Some(machine.administer(AdminRequest::People, cx)));
    let people = answer.unwrap().unwrap().to_json();
    let b = people["people"].as_array().unwrap().iter().find(|person| person["name"] == "B").cloned();
    assert_eq!(b.unwrap()["actions"], 51);
    reset(&mut table, "current", &[size(100), layer(), dab(10)]);
    table.machine.adopt_reading(outdated);
    let mut answer = None;
    table.act(|machine, cx| answer = Some(machine.administer(AdminRequest::People, cx)));
    let people = answer.unwrap().unwrap().to_json();
    assert!(people["people"].as_array().unwrap().iter().all(|person| person["actions"] == 0), "{people}");
}
