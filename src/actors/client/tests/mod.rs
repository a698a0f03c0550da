//! Whole conversations between two clients and the server's rules, and the timers of connections, in virtual time.

mod pair;

use drawhall_protocol::message::{Chat, Leave};
use pair::{A, B, Pair};
use proptest::prelude::*;
use serde_json::json;

const STROKE: u8 = 148;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

fn chat(text: &str) -> Vec<u8> {
    [b"\0\0", text.as_bytes()].concat()
}

#[test]
fn two_people_draw_chat_and_leave() {
    let mut pair = Pair::in_session("");
    pair.send(B, &[(STROKE, b"a stroke"), (Chat::TYPE, &chat("hello"))]);
    for conn in [A, B] {
        let received = pair.received(conn, &[STROKE, Chat::TYPE]);
        let received: Vec<_> = received.iter().map(|m| (m.kind, m.user, m.payload.as_slice())).collect();
        assert_eq!(received, [(STROKE, 2, &b"a stroke"[..]), (Chat::TYPE, 2, &chat("hello"))]);
    }
    pair.leave(B);
    let left: Vec<u8> = pair.received(A, &[Leave::TYPE]).iter().map(|m| m.user).collect();
    assert_eq!(left, [2]);
}

#[test]
fn a_session_must_exist_to_be_joined() {
    let mut pair = Pair::connect("");
    pair.join(B);
    assert_eq!(pair.reply(B, |v| v["code"] == "notFound").unwrap()["message"], "Session not found!");
    assert_eq!(pair.goodbye(B).as_deref(), Some("Login error"));
    pair.host(A);
    pair.reconnect(B);
    pair.join(B);
    assert_eq!(pair.reply(B, |v| v["state"] == "join").unwrap()["join"]["id"], "session");
}

#[test]
fn too_much_chat_is_dropped_until_time_has_passed() {
    let mut pair = Pair::in_session("chatRateLimit=1");
    let spam = chat("spam");
    for _ in 0..30 {
        pair.send(B, &[(Chat::TYPE, &spam)]);
    }
    assert_eq!(pair.payloads(A, Chat::TYPE).len(), 10, "the burst");
    let warning = pair.reply(B, |v| v["type"] == "error").unwrap();
    assert!(warning["message"].to_string().contains("too many chat messages"));
    pair.send(B, &[(STROKE, b"a stroke goes on")]);
    assert_eq!(pair.payloads(A, STROKE), [b"a stroke goes on"]);
    pair.send(A, &[(Chat::TYPE, &chat("calm down"))]);
    assert_eq!(pair.payloads(B, Chat::TYPE).last(), Some(&chat("calm down")), "others chat on");
    pair.forget();
    pair.pass(3_000);
    for _ in 0..30 {
        pair.send(B, &[(Chat::TYPE, &spam)]);
    }
    assert_eq!(pair.payloads(A, Chat::TYPE).len(), 3, "one a second");
}

#[test]
fn a_session_in_which_nothing_happens_ends_after_its_idle_time() {
    let mut pair = Pair::in_session("idleTimeLimit=5h");
    pair.pass(4 * HOUR);
    pair.send(B, &[(STROKE, b"still here")]);
    pair.pass(5 * HOUR - MINUTE);
    assert!(pair.session().is_some());
    pair.pass(2 * MINUTE);
    assert!(pair.session().is_none());
    for conn in [A, B] {
        assert_eq!(pair.goodbye(conn).unwrap(), "Session terminated due to being idle too long");
    }
}

#[test]
fn an_empty_session_lingers_and_can_be_joined_again() {
    let mut pair = Pair::in_session("emptySessionLingerTime=10m");
    pair.send(A, &[(STROKE, b"a stroke")]);
    pair.leave(A);
    pair.leave(B);
    pair.pass(9 * MINUTE);
    pair.reconnect(B);
    pair.join(B);
    assert_eq!(pair.payloads(B, STROKE), [b"a stroke"], "the drawing is still there");
    pair.leave(B);
    pair.pass(9 * MINUTE);
    assert!(pair.session().is_some(), "it was empty since then only");
    pair.pass(2 * MINUTE);
    assert!(pair.session().is_none());
    pair.reconnect(A);
    pair.join(A);
    assert!(pair.reply(A, |v| v["code"] == "notFound").is_some());
}

/// What one of two clients does.
#[derive(Debug, Clone)]
enum Step {
    Draw(u8),
    Chat,
    Alert,
    Pass(u64),
    Rejoin,
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u8..20).prop_map(Step::Draw),
        3 => Just(Step::Chat),
        2 => Just(Step::Alert),
        2 => (1u64..100_000).prop_map(Step::Pass),
        1 => Just(Step::Rejoin),
        1 => Just(Step::Reset),
    ]
}

proptest! {
    /// Whatever two people do: both end with the same canvas, in the same order, whoever of them has come again.
    #[test]
    fn both_have_the_same_canvas(steps in prop::collection::vec((step(), any::<bool>()), 1..60)) {
        let mut pair = Pair::in_session("");
        let mut number = 0u32;
        let mut canvas: Vec<Vec<u8>> = Vec::new();
        for (step, is_host) in steps {
            let conn = if is_host { A } else { B };
            match step {
                Step::Draw(count) => {
                    let strokes: Vec<[u8; 4]> = (0..u32::from(count)).map(|n| (number + n).to_be_bytes()).collect();
                    number += u32::from(count);
                    let messages: Vec<(u8, &[u8])> = strokes.iter().map(|s| (STROKE, &s[..])).collect();
                    pair.send(conn, &messages);
                    canvas.extend(strokes.iter().map(|s| s.to_vec()));
                }
                Step::Chat => pair.send(conn, &[(STROKE, b"with"), (Chat::TYPE, &chat("words")), (STROKE, b"between")]),
                Step::Alert => pair.send(conn, &[(Chat::TYPE, b"\x01\0to all, past the history")]),
                Step::Pass(ms) => pair.pass(ms),
                // The host is the operator without whom nobody could reset.
                Step::Rejoin => {
                    pair.leave(B);
                    pair.reconnect(B);
                    pair.join(B);
                }
                Step::Reset => {
                    pair.command(A, "reset-session", json!([]), json!({}));
                    pair.forget();
                    pair.send(A, &[(STROKE, b"the new canvas")]);
                    pair.command(A, "init-complete", json!([]), json!({}));
                    canvas.clear();
                }
            }
        }
        let drawn = |conn| -> Vec<Vec<u8>> {
            pair.payloads(conn, STROKE).into_iter().filter(|payload| payload.len() == 4 && payload[0] == 0).collect()
        };
        prop_assert_eq!(&drawn(A), &canvas);
        prop_assert_eq!(&drawn(B), &canvas);
    }
}
