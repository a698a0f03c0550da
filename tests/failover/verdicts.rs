//! The checker convicts runs that are made up, each of one thing, and acquits one without fault.

use super::checker::{Verdict, check, check_rows};
use super::observed::{Connection, Journal, Message, Observed, Row, STROKE, StrokeId};
use serde_json::json;

fn id(client: u32, connection: u32, counter: u32) -> StrokeId {
    StrokeId { client, connection, counter }
}

fn stroke(id: StrokeId) -> Message {
    Message { kind: STROKE, user: 1, payload: id.payload(b"some") }
}

/// A message that says that the one before it has this index.
fn anchor(before: i64) -> Message {
    let reply = json!({"type": "caughtup", "key": before, "hidx": format!("77:{before}:x")});
    Message { kind: 0, user: 0, payload: reply.to_string().into_bytes() }
}

fn connection(client: u32, number: u32, messages: &[Message]) -> Connection {
    Connection { client, number, messages: messages.to_vec(), ..Connection::default() }
}

/// The history of the run: ten messages of two clients, of which the second has come back.
fn history() -> Vec<Message> {
    vec![
        anchor(0),
        stroke(id(1, 0, 0)),
        anchor(2),
        stroke(id(2, 0, 0)),
        stroke(id(1, 0, 1)),
        stroke(id(2, 0, 1)),
        anchor(6),
        stroke(id(2, 1, 0)),
        stroke(id(1, 0, 2)),
        stroke(id(2, 1, 1)),
    ]
}

fn frames(messages: &[Message]) -> Vec<u8> {
    messages.iter().flat_map(Message::frame).collect()
}

/// A run without fault.
fn run() -> Observed {
    let history = history();
    let mut back = connection(2, 1, &history[5..]);
    (back.asked, back.skipped) = (Some(5), true);
    let row = |file: &str, start, epoch, bytes| Row { file: file.into(), start, epoch, bytes };
    let held = ["ban troll", "invite abc"].map(str::to_owned);
    Observed {
        sent: history.iter().filter_map(|m| Some((m.stroke()?, m.payload.clone().into()))).collect(),
        connections: vec![connection(1, 0, &history), connection(2, 0, &history[..5]), back],
        last: connection(9, 0, &history),
        stored: [b"head".to_vec(), frames(&history), b"more".to_vec()].concat(),
        rows: vec![row("journal.1", 0, 1, 5), row("history.1", 10, 2, 5), row("history.1", 0, 1, 10)],
        journal: Journal {
            titles: ["a", "b", "c"].map(str::to_owned).into(),
            confirmed_titles: 2,
            confirmed: held.clone().into(),
            title_at_end: "b".into(),
            at_end: held.into_iter().chain(["ban other".to_owned()]).collect(),
        },
    }
}

/// The verdicts that a change of the run breaks.
fn broken<R>(change: impl FnOnce(&mut Observed) -> R) -> Vec<Verdict> {
    let mut run = run();
    let _ = change(&mut run);
    judged(&run)
}

/// The same, where what is stored follows the change.
fn broken_and_stored<R>(change: impl FnOnce(&mut Observed) -> R) -> Vec<Verdict> {
    let mut run = run();
    let _ = change(&mut run);
    run.stored = frames(&run.last.messages);
    judged(&run)
}

fn judged(run: &Observed) -> Vec<Verdict> {
    let mut verdicts: Vec<Verdict> = check(run).iter().map(|violation| violation.verdict).collect();
    verdicts.sort();
    verdicts.dedup();
    verdicts
}

#[test]
fn a_run_without_fault_is_acquitted() {
    assert_eq!(check(&run()), []);
    // What was sent and never received may be lost, from the end of a connection.
    assert_eq!(broken(|run| run.sent.insert(id(1, 0, 3), b"lost".to_vec().into())), []);
    // A client may have received less than there is, or nothing.
    assert_eq!(broken(|run| run.connections[2].messages.truncate(3)), []);
    assert_eq!(broken(|run| run.connections.push(connection(3, 0, &[]))), []);
    // A title that was given, and that nobody was told yet.
    assert_eq!(broken(|run| run.journal.title_at_end = "c".into()), []);
}

#[test]
fn what_was_received_and_is_lost_is_convicted() {
    let lost_at_the_end = broken_and_stored(|run| run.last.messages.pop());
    assert_eq!(lost_at_the_end, [Verdict::NoLoss]);
    let other = |run: &mut Observed| run.connections[0].messages[1] = stroke(id(1, 0, 7));
    assert_eq!(broken(other), [Verdict::NoLoss]);
    // A message without an id, such as the join of somebody.
    let join = Message { kind: 32, user: 3, payload: b"x".to_vec() };
    assert_eq!(broken(|run| run.connections[0].messages.push(join)), [Verdict::NoLoss]);
}

#[test]
fn what_is_not_what_was_sent_is_convicted() {
    let changed = |run: &mut Observed| {
        for connection in run.connections.iter_mut().chain([&mut run.last]) {
            for message in connection.messages.iter_mut().filter(|m| m.stroke() == Some(id(1, 0, 1))) {
                message.payload.push(0);
            }
        }
    };
    assert_eq!(broken_and_stored(changed), [Verdict::NoLoss]);
    assert_eq!(broken(|run| run.sent.remove(&id(1, 0, 1))), [Verdict::NoLoss]);
}

#[test]
fn what_is_not_stored_is_convicted() {
    assert_eq!(broken(|run| run.stored.truncate(200)), [Verdict::NoLoss]);
    assert_eq!(broken(|run| run.stored.clear()), [Verdict::NoLoss]);
    assert_eq!(broken(|run| run.stored[150] ^= 1), [Verdict::NoLoss]);
}

#[test]
fn another_order_is_convicted() {
    assert_eq!(broken(|run| run.connections[0].messages.swap(3, 4)), [Verdict::Order]);
    // Something is missing in the middle.
    assert_eq!(broken(|run| run.connections[0].messages.remove(4)), [Verdict::Order]);
    assert_eq!(broken(|run| run.connections[0].messages.remove(0)), [Verdict::Order]);
    // A client that saw two messages that are in the history the other way round, and nobody told it a position.
    let short = connection(3, 0, &[anchor(0), stroke(id(1, 0, 0)), stroke(id(2, 0, 0))]);
    assert_eq!(broken(|run| run.connections.push(short)), [Verdict::Order]);
}

#[test]
fn positions_of_another_axis_are_convicted() {
    let moved = |run: &mut Observed| {
        for connection in run.connections.iter_mut().chain([&mut run.last]) {
            for message in connection.messages.iter_mut().filter(|m| **m == anchor(6)) {
                *message = anchor(7);
            }
        }
    };
    assert_eq!(broken_and_stored(moved), [Verdict::Order]);
    assert_eq!(
        broken_and_stored(|run| run.last.messages.retain(|m| m.anchor().is_none())),
        [Verdict::NoLoss, Verdict::Order]
    );
}

#[test]
fn a_stroke_that_is_there_twice_is_convicted() {
    let again = |run: &mut Observed| run.last.messages.push(stroke(id(1, 0, 2)));
    assert_eq!(broken_and_stored(again), [Verdict::Once]);
}

#[test]
fn a_gap_in_what_a_connection_has_sent_is_convicted() {
    let gap = |run: &mut Observed| {
        let behind = stroke(id(1, 0, 4));
        run.sent.insert(id(1, 0, 4), behind.payload.clone().into());
        run.last.messages.push(behind);
    };
    assert_eq!(broken_and_stored(gap), [Verdict::Once]);
    // The server that was given up writes what an earlier connection has sent.
    let late = |run: &mut Observed| {
        let late = stroke(id(2, 0, 2));
        run.sent.insert(id(2, 0, 2), late.payload.clone().into());
        run.last.messages.push(late);
    };
    assert_eq!(broken_and_stored(late), [Verdict::Once]);
}

#[test]
fn two_writers_are_convicted() {
    let row = |start, epoch| Row { file: "history.1".into(), start, epoch, bytes: 5 };
    assert_eq!(broken(|run| run.rows.push(row(15, 1))), [Verdict::OneWriter], "the epoch falls");
    assert_eq!(broken(|run| run.rows.push(row(16, 2))), [Verdict::OneWriter], "a gap");
    assert_eq!(broken(|run| run.rows.push(row(12, 2))), [Verdict::OneWriter], "an overlap");
    assert_eq!(broken(|run| run.rows.retain(|row| row.start != 0)), [Verdict::OneWriter], "no beginning");
    assert_eq!(broken(|run| run.rows.push(row(15, 3))), []);
    assert_eq!(check_rows(&[row(0, 2), row(4, 2)]).len(), 1);
}

#[test]
fn whoever_is_sent_too_much_or_too_little_is_convicted() {
    let everything = |run: &mut Observed| {
        run.connections[2].skipped = false;
        run.connections[2].messages = history();
    };
    assert_eq!(broken(everything), [Verdict::Skip]);
    let too_little = |run: &mut Observed| run.connections[2].messages.remove(0);
    assert_eq!(broken(too_little), [Verdict::Order]);
    let too_much = |run: &mut Observed| run.connections[2].messages.insert(0, history()[4].clone());
    assert_eq!(broken(too_much), [Verdict::Order]);
    // It had less than what is skipped.
    assert_eq!(broken(|run| run.connections[1].messages.pop()), [Verdict::Skip]);
    let unasked = |run: &mut Observed| run.connections[0].skipped = true;
    assert_eq!(broken(unasked), [Verdict::Skip]);
}

#[test]
fn what_a_moderator_was_told_and_does_not_hold_is_convicted() {
    assert_eq!(broken(|run| run.journal.title_at_end = "a".into()), [Verdict::Journal]);
    assert_eq!(broken(|run| run.journal.title_at_end = "z".into()), [Verdict::Journal]);
    assert_eq!(broken(|run| run.journal.at_end.remove("ban troll")), [Verdict::Journal]);
}
