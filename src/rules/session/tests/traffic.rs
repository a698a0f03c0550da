use super::*;

#[test]
fn everybody_gets_everything_in_one_order_with_the_senders_id() {
    let mut table = Table::of_three();
    table.send(B, &[dab(1), Frame::new(200, 77, b"unknown").unwrap()]);
    table.send(C, &[dab(2)]);
    let expected = [(148, 2), (200, 2), (148, 3)];
    assert_eq!(
        [table.history(A), table.history(B), table.history(C)],
        [expected.to_vec(), expected.to_vec(), expected.to_vec()]
    );
}

#[test]
fn forged_server_messages_are_dropped() {
    let mut table = Table::of_three();
    for (kind, payload) in [(32, b"\0\x01X".as_slice()), (33, b""), (37, b"")] {
        table.send(B, &[Frame::new(kind, 1, payload).unwrap()]);
    }
    assert!(table.history(A).is_empty());
    assert_eq!(table.replies(A, "log").len(), 3);
}

#[test]
fn chat_enters_the_history_unless_it_is_to_bypass_it() {
    let mut table = Table::of_three();
    table.send(B, &[chat("kept", false), chat("gone", true)]);
    assert_eq!(table.history(C), [(35, 2)]);
    assert_eq!(table.seat(C).frames, [(35, 2, b"\x01\0gone".to_vec())]);
    table.command(A, "mute", json!([2, true]), json!({}));
    table.forget();
    table.send(B, &[chat("kept", false), chat("gone", true)]);
    assert!(table.history(C).is_empty() && table.seat(C).frames.is_empty());
}

#[test]
fn private_chat_reaches_its_target_and_its_sender_only() {
    let mut table = Table::of_three();
    table.send(B, &[Frame::new(38, 9, b"\x01\0psst").unwrap()]);
    let whisper = [(38, 2, b"\x01\0psst".to_vec())];
    assert_eq!(table.seat(A).frames, whisper);
    assert_eq!(table.seat(B).frames, whisper);
    assert!(table.seat(C).frames.is_empty());
    table.send(B, &[Frame::new(38, 9, b"\x63\0nobody").unwrap()]);
    assert_eq!(table.seat(B).frames.len(), 1);
}

#[test]
fn ghosts_speak_as_alerts_and_do_not_whisper() {
    let mut table = Table::running(Settings::default());
    table.join(AuthenticatedClient { ghost: true, ..moderator(B, "G") });
    table.forget();
    table.send(B, &[chat("boo", true), Frame::new(38, 9, b"\x01\0psst").unwrap()]);
    assert_eq!(table.replies(A, "alert")[0]["message"], json!("boo"));
    assert!(table.seat(A).frames.is_empty());
    assert_eq!(table.seat(B).frames[0].0, 38, "the ghost is told that it cannot");
}

#[test]
fn a_full_session_drops_messages_but_can_be_managed() {
    let mut settings = Settings::default();
    settings.set("sessionSizeLimit", "2kb").unwrap();
    let mut table = Table::running(settings);
    table.join(client(B, "B"));
    table.forget();
    table.send(B, &[dab(1900), dab(10), chat("hello", false)]);
    assert_eq!(table.history(A), [(148, 2), (35, 2)], "what fits is kept");
    assert_eq!(table.replies(A, "outofspace").len(), 1);
    assert_eq!(table.keys(A), ["outofspace"]);
    while table.machine.history().append(dab(0).as_bytes(), 1).is_ok() {}
    table.forget();
    table.send(B, &[chat("not stored", false)]);
    assert_eq!(table.seat(A).frames, [(35, 2, b"\0\0not stored".to_vec())], "sent, but not stored");
    assert!(table.replies(A, "outofspace").is_empty(), "not told again within 10 s");
    table.join(client(C, "C"));
    assert!(table.history(A).contains(&(32, 3)), "a join may use the emergency space");
    assert_eq!(table.replies(A, "outofspace").len(), 1, "told at every join");
    table.leave(C);
    assert!(table.history(A).contains(&(33, 3)));
}

#[test]
fn the_size_is_told_with_traffic_every_10_seconds() {
    let mut table = Table::of_three();
    table.send(B, &[dab(1)]);
    assert!(table.replies(A, "status").is_empty());
    table.wait(10_001);
    table.send(B, &[dab(1), dab(1)]);
    let status = table.replies(A, "status");
    assert_eq!(status.len(), 1);
    let index = table.machine.history().last_index() - 1;
    assert_eq!(status[0]["hid*"], json!(format!("1795241572:{index}:id")));
    assert_eq!(status[0]["size"], json!(table.machine.history().size()));
}

#[test]
fn drawing_counts_as_active_for_five_minutes() {
    let mut table = Table::of_three();
    let active = |t: &Table| t.machine.description(false, t.now).active_drawing_user_count;
    assert_eq!(active(&table), 1, "the host has uploaded");
    table.send(B, &[Frame::new(66, 0, &[0; 8]).unwrap()]);
    assert_eq!(active(&table), 1, "moving the pointer is not drawing");
    table.send(B, &[dab(1)]);
    assert_eq!(active(&table), 2);
    table.wait(5 * 60 * 1000 + 1);
    assert_eq!(active(&table), 0);
}

#[test]
fn batches_from_nobody_are_ignored() {
    let mut table = Table::of_three();
    table.act(|machine, cx| {
        machine.batch(99, Batch::new(dab(1).as_bytes().to_vec()), cx);
    });
    assert!(table.history(A).is_empty());
}
