//! What a member does that it may not: it costs its sender, nobody else.

use super::*;

fn forged(count: usize) -> Vec<Frame> {
    (0..count).map(|_| Frame::new(33, 0, &[]).unwrap()).collect()
}

fn limited(limit: &str) -> Settings {
    let mut settings = Settings::default();
    settings.set("sessionSizeLimit", limit).unwrap();
    settings
}

#[test]
fn errors_about_invalid_messages_are_rate_limited() {
    let mut table = Table::of_three();
    table.send(B, &forged(65_536));
    assert_eq!(table.seat(B).gone.as_ref().unwrap().1, "Too many messages that are not allowed");
    for conn in [A, C] {
        assert!(table.seat(conn).gone.is_none());
        let told = table.replies(conn, "log").len();
        // 20, that further ones are not shown, and that the sender was sent away and has left.
        assert_eq!(told, 23);
    }
    assert_eq!(table.machine.members().len(), 2);
}

#[test]
fn the_limit_for_invalid_messages_recovers() {
    let mut table = Table::of_three();
    for _ in 0..50 {
        table.send(B, &forged(20));
        table.wait(20_000);
    }
    assert!(table.seat(B).gone.is_none());
    table.forget();
    table.send(B, &forged(100));
    table.wait(100_000);
    table.send(B, &forged(1));
    let told = table.replies(A, "log");
    assert_eq!(told.len(), 22, "20, a last one, and one after a while");
    assert!(table.seat(B).gone.is_none());
}

#[test]
fn each_kind_of_forbidden_message_is_charged() {
    let json = |cmd: &str, args: Value| {
        Frame::new(0, 0, json!({"cmd": cmd, "args": args, "kwargs": {}}).to_string().as_bytes()).unwrap()
    };
    let kinds = [
        Frame::new(32, 0, b"\0\x01X").unwrap(),
        Frame::new(33, 0, &[]).unwrap(),
        Frame::new(37, 0, &[]).unwrap(),
        Frame::new(34, 0, &[2]).unwrap(),
        Frame::new(36, 0, &[2]).unwrap(),
        Frame::new(39, 0, b"x").unwrap(),
        Frame::new(4, 0, b"correlator").unwrap(),
    ];
    for kind in kinds {
        let mut table = Table::of_three();
        table.send(B, &vec![kind.clone(); 1000]);
        assert!(table.seat(B).gone.is_some(), "{:?}", kind.as_bytes());
        assert!(table.replies(A, "log").len() < 30, "{:?}", kind.as_bytes());
    }
    for command in [
        json("ready-to-autoreset", json!([])),
        json("init-begin", json!([])),
        json("init-complete", json!([])),
    ] {
        let mut table = Table::of_three();
        table.send(A, &vec![command.clone(); 1000]);
        assert!(table.seat(A).gone.is_some());
        assert!(table.replies(C, "log").len() < 30);
    }
}

#[test]
fn messages_after_a_too_large_image_are_ignored() {
    for last in [moderator(C, "M"), client(C, "C")] {
        let mut table = Table::running(limited("2kb"));
        table.join(client(B, "B"));
        table.command(A, "sessionconf", json!([]), json!({"persistent": true}));
        table.join(last);
        table.forget();
        table.command(A, "reset-session", json!([]), json!({}));
        let kill = json!({"cmd": "kill-session", "args": [], "kwargs": {}}).to_string();
        let messages =
            [dab(1500), dab(1500), Frame::new(0, 0, kill.as_bytes()).unwrap(), chat("x", false), dab(3)];
        table.send(A, &messages);
        assert_eq!(table.seat(A).gone.as_ref().unwrap().1, "History limit exceeded");
        assert!(!table.ended, "nobody else has ended the session");
        for conn in [B, C] {
            assert!(
                table.replies(conn, "error").is_empty(),
                "nobody is answered what somebody else has asked"
            );
            assert!(table.history(conn).iter().all(|(kind, _)| *kind != 148 && *kind != 35));
        }
    }
}

#[test]
fn a_ghosts_visit_does_not_end_an_empty_session() {
    let mut table = Table::of_three();
    let ghost = || AuthenticatedClient { ghost: true, ..moderator(9, "G") };
    table.machine.timers.begin_empty();
    table.machine.persistence.store();
    for conn in [A, B, C] {
        table.machine.members.remove(table.machine.members.key_of(conn).unwrap());
        table.seats.remove(&conn);
    }
    table.join(ghost());
    table.leave(9);
    assert!(!table.ended);
    table.wait(15_000);
    table.act(SessionMachine::expire);
    assert!(!table.ended && !table.machine.timers.was_visited(), "it still waits for its users");
    table.join(ghost());
    table.join(client(B, "B"));
    table.leave(B);
    assert!(table.ended, "the last user who is no ghost ends it");
}

#[test]
fn a_ghost_is_not_remembered_as_trusted() {
    let mut table = Table::running(Settings::default());
    let ghost = || AuthenticatedClient { ghost: true, ..moderator(B, "G") };
    table.join(ghost());
    let id = table.seat(B).user;
    table.send(B, &[Frame::new(36, 0, &[id]).unwrap()]);
    table.leave(B);
    table.forget();
    table.join(ghost());
    assert!(!table.history(A).iter().any(|(kind, _)| *kind == 36), "nobody is told that it is there");
}

#[test]
fn a_full_session_asks_again_for_a_reset() {
    let mut settings = limited("4kb");
    settings.set("autoResetThreshold", "1kb").unwrap();
    let mut table = Table::running(settings);
    table.send(A, &[dab(1500)]);
    assert_eq!(table.replies(A, "autoreset").len(), 1);
    while table.machine.history().append(dab(0).as_bytes(), 1).is_ok() {}
    table.forget();
    table.wait(3000);
    table.wait(30_000);
    table.send(A, &[dab(1)]);
    assert_eq!(table.replies(A, "autoreset").len(), 1, "although nothing fits any more");
}

#[test]
fn a_session_survives_its_host_leaving_during_the_upload() {
    let mut table = Table::hosting(Settings::default());
    table.join(client(B, "B"));
    table.send(B, &[dab(5)]);
    table.send(A, &[canvas()]);
    table.leave(A);
    assert_eq!(table.machine.state(), SessionState::Running);
    assert!(table.history(B).contains(&(129, 1)) && table.history(B).contains(&(148, 2)));
    assert!(table.member(B).is_operator());
    assert!(table.keys(B).contains(&"resetcancel".to_owned()));
    table.seats.remove(&A);
    table.join(client(A, "A"));
    table.send(A, &[dab(7)]);
    assert!(table.history(B).contains(&(148, 1)), "the host is one of them when it comes again");
}

#[test]
fn a_reset_without_progress_times_out() {
    let mut table = Table::of_three();
    table.command(A, "reset-session", json!([]), json!({}));
    for _ in 0..3 {
        table.wait(119_000);
        table.send(A, &[dab(1)]);
    }
    assert_eq!(table.machine.state(), SessionState::Reset);
    table.wait(119_000);
    assert_eq!(table.machine.state(), SessionState::Reset);
    table.wait(1000);
    assert_eq!(table.machine.state(), SessionState::Running);
    assert_eq!(table.seat(A).gone.as_ref().unwrap().1, "The reset took too long");
    assert!(table.keys(B).contains(&"resetcancel".to_owned()));
    table.command(B, "reset-session", json!([]), json!({}));
    for _ in 0..16 {
        table.send(B, &[dab(1)]);
        table.wait(119_000);
    }
    assert_eq!(table.machine.state(), SessionState::Running, "also one that goes on without end");
}

#[test]
fn an_option_lets_only_operators_undo_what_others_have_drawn() {
    let undo = |user: u8| Frame::new(255, 0, &[user, 0]).unwrap();
    for restricted in [false, true] {
        let mut table = Table::running(Settings { restrict_undo: restricted, ..Settings::default() });
        table.join(client(B, "B"));
        table.join(client(C, "C"));
        table.forget();
        let all = [undo(0), undo(2), dab(1), undo(3), dab(2)];
        table.send(B, &all);
        let expected = if restricted { vec![255, 255, 148, 148] } else { vec![255, 255, 148, 255, 148] };
        let kinds: Vec<u8> = table.history(C).iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, expected);
        assert_eq!(table.replies(A, "log").len(), usize::from(restricted));
        table.forget();
        table.send(A, &[undo(3)]);
        assert_eq!(table.history(C), [(255, 1)], "an operator may");
    }
}

fn table_with_autoreset() -> Table {
    let mut settings = Settings::default();
    settings.set("autoResetThreshold", "1kb").unwrap();
    let mut table = Table::running(settings);
    table.join(client(B, "B"));
    table
}

/// A completes a streamed reset that cannot take effect because B does not read.
fn stage_while_b_lags(table: &mut Table) {
    table.seat(B).blocked = true;
    table.send(A, &[dab(800), dab(800)]);
    table.command(A, "ready-to-autoreset", json!([]), json!({"capabilities": ["gzip1"]}));
    table.wait(3000);
    let correlator = table.machine.resets.requested_correlator().unwrap().to_owned();
    table.command(A, "stream-reset-start", json!([correlator]), json!({}));
    table.send(A, &[Frame::new(39, 0, &super::model::one_stroke()).unwrap()]);
    table.command(A, "stream-reset-finish", json!([1]), json!({}));
}

#[test]
fn a_streamed_reset_does_not_move_the_history_of_a_rejoining_client() {
    let mut table = table_with_autoreset();
    let index = table.machine.history().last_index();
    let start_id = table.machine.resets.start_ids().current();
    stage_while_b_lags(&mut table);
    assert!(table.machine.resets.stream_stage().is_some(), "B lags behind the fork");
    let again = AuthenticatedClient { conn: C, ..client(B, "B") };
    let hidx = format!("{start_id}:{index}:id");
    table.join_as(JoinRequest { client: again, hidx, ..JoinRequest::default() });
    assert_eq!(table.replies(C, "result")[0]["join"]["skip"], json!(true));
    let kinds: Vec<u8> = table.history(C).iter().map(|(kind, _)| *kind).take(2).collect();
    assert_eq!(kinds, [148, 148], "it goes on where it was");
    table.seats.remove(&B);
    table.wait(100);
    assert!(table.machine.resets.stream_stage().is_none(), "now everybody is behind the fork");
}

#[test]
fn a_staged_reset_waits_for_the_end_of_a_manual_reset() {
    let mut table = table_with_autoreset();
    stage_while_b_lags(&mut table);
    table.command(A, "reset-session", json!([]), json!({}));
    table.join(moderator(C, "M"));
    table.leave(B);
    table.seats.remove(&B);
    table.wait(100);
    assert!(
        table.machine.resets.stream_stage().is_some()
            && table.machine.next_deadline().unwrap() > table.now.monotonic_ms
    );
    table.command(A, "init-cancel", json!([]), json!({}));
    let bytes = table.machine.history().to_bytes();
    assert_eq!(table.seat(C).history.len(), frames(&bytes).count(), "the moderator has the whole history");
}
