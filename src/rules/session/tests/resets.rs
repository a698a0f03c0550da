use super::*;

fn reset(table: &mut Table, kind: &str) {
    table.command(A, "reset-session", json!([]), json!({"type": kind}));
}

#[test]
fn a_reset_replaces_the_history_for_everybody() {
    let mut table = Table::of_three();
    table.send(B, &[dab(100)]);
    table.forget();
    reset(&mut table, "current");
    assert_eq!(
        (table.keys(A), table.keys(B)),
        (vec!["resetpreparecurrent".to_owned()], vec!["resetpreparecurrent".to_owned()])
    );
    assert_eq!(table.replies(A, "reset")[0]["state"], json!("init"));
    table.send(B, &[dab(9)]);
    table.send(A, &[dab(8)]);
    table.command(A, "init-begin", json!([]), json!({}));
    table.send(A, &[canvas(), Frame::new(148, 2, &[1]).unwrap()]);
    assert!(table.history(B).is_empty(), "nothing is shown during a reset");
    table.command(A, "init-complete", json!([]), json!({}));
    let expected = [(32, 1), (32, 2), (32, 3), (34, 0), (129, 1), (148, 2), (0, 0), (0, 0)];
    assert_eq!([table.history(A), table.history(B)], [expected.to_vec(), expected.to_vec()]);
    assert_eq!(table.replies(B, "reset")[0]["state"], json!("reset"));
    let catchup = &table.replies(B, "catchup")[0];
    assert_eq!((&catchup["count"], &catchup["key"]), (&json!(5), &json!(0)));
    table.forget();
    table.send(B, &[dab(1)]);
    assert_eq!(table.history(C), [(148, 2)]);
}

#[test]
fn a_cancelled_reset_leaves_everything_and_shows_what_was_drawn() {
    let mut table = Table::of_three();
    reset(&mut table, "past");
    table.send(B, &[dab(9)]);
    table.send(A, &[canvas()]);
    table.command(A, "init-cancel", json!([]), json!({}));
    assert_eq!(table.history(C), [(148, 2)]);
    assert_eq!(table.keys(C), ["resetpreparepast", "resetcancel"]);
    assert_eq!(table.machine.state(), SessionState::Running);
}

#[test]
fn an_empty_image_changes_nothing() {
    let mut table = Table::of_three();
    let size = table.machine.history().size();
    reset(&mut table, "external");
    table.command(A, "init-complete", json!([]), json!({}));
    assert_eq!((table.machine.history().size(), table.machine.state()), (size, SessionState::Running));
    assert!(table.replies(B, "reset").is_empty());
}

#[test]
fn a_resetter_that_leaves_cancels() {
    let mut table = Table::of_three();
    reset(&mut table, "");
    table.send(A, &[canvas()]);
    table.leave(A);
    assert_eq!(table.machine.state(), SessionState::Running);
    assert_eq!(table.keys(B), ["resetprepareby", "resetcancel", "opgive"]);
}

#[test]
fn a_resetter_that_loses_its_role_is_disconnected() {
    let mut table = Table::of_three();
    table.send(A, &[Frame::new(34, 0, &[2]).unwrap()]);
    reset(&mut table, "");
    table.send(B, &[Frame::new(34, 0, &[]).unwrap()]);
    assert_eq!(table.seat(A).gone, Some((DisconnectReason::Error, "De-opped while resetting".into())));
    assert_eq!(table.machine.state(), SessionState::Running);
    assert!(table.history(C).ends_with(&[(33, 1), (34, 2)]));
}

#[test]
fn nobody_joins_during_a_reset_but_moderators() {
    let mut table = Table::of_three();
    reset(&mut table, "");
    assert!(matches!(table.join(client(4, "D")), Some(Refusal::Error { code: "closed", .. })));
    assert_eq!(table.join(moderator(5, "M")), None);
    table.send(A, &[canvas()]);
    table.command(A, "init-complete", json!([]), json!({}));
    assert!(table.history(5).starts_with(&[(32, 1)]), "the moderator is sent the new history only");
}

#[test]
fn one_resets_only_a_running_session_and_only_operators_do() {
    let mut table = Table::of_three();
    table.command(B, "reset-session", json!([]), json!({}));
    assert_eq!(table.error(B), "reset-session: Not a session owner");
    reset(&mut table, "");
    reset(&mut table, "");
    assert_eq!(table.error(A), "reset-session: Unable to reset in this state");
    table.command(B, "init-complete", json!([]), json!({}));
    assert_eq!(table.machine.state(), SessionState::Reset);
}

#[test]
fn an_image_that_is_too_large_disconnects_who_sends_it() {
    let mut settings = Settings::default();
    settings.set("sessionSizeLimit", "3kb").unwrap();
    let mut table = Table::running(settings);
    table.join(client(B, "B"));
    reset(&mut table, "");
    table.send(A, &[dab(3000), dab(100)]);
    assert_eq!(table.seat(A).gone, Some((DisconnectReason::Error, "History limit exceeded".into())));
    assert_eq!(table.machine.state(), SessionState::Running);
}

#[test]
fn an_image_that_does_not_fit_with_the_rest_fails() {
    let mut settings = Settings::default();
    settings.set("sessionSizeLimit", "3kb").unwrap();
    let mut table = Table::running(settings);
    table.join(client(B, "B"));
    table.forget();
    reset(&mut table, "");
    table.send(A, &[dab(3068)]);
    table.command(A, "init-complete", json!([]), json!({}));
    assert_eq!(table.keys(B), ["resetprepareby", "resetfailed"]);
    table.send(B, &[dab(1)]);
    assert_eq!(table.history(A), [(148, 2)], "the old history goes on");
}

fn past_threshold() -> Table {
    let mut settings = Settings::default();
    settings.set("autoResetThreshold", "2kb").unwrap();
    let mut table = Table::running(settings);
    table.join(client(B, "B"));
    table.forget();
    table.send(B, &[dab(3000)]);
    table
}

fn payload(table: &Table, conn: ConnId) -> String {
    table.replies(conn, "autoreset")[0]["payload"].as_str().unwrap().to_owned()
}

#[test]
fn past_the_threshold_operators_are_asked_once() {
    let mut table = past_threshold();
    assert_eq!(table.replies(B, "sizelimit").len(), 1);
    assert!(table.replies(B, "autoreset").is_empty());
    assert_eq!(table.replies(A, "autoreset")[0]["query"], json!(true));
    table.send(B, &[dab(3000)]);
    assert_eq!(table.replies(A, "autoreset").len(), 1);
}

#[test]
fn an_unanswered_query_is_retried_after_30_seconds() {
    let mut table = past_threshold();
    assert_eq!(table.machine.next_deadline(), Some(table.now.monotonic_ms + 3000));
    table.wait(3000);
    table.send(B, &[dab(1)]);
    assert_eq!(table.replies(A, "autoreset").len(), 1);
    table.wait(30_000);
    table.send(B, &[dab(1)]);
    assert_eq!(table.replies(A, "autoreset").len(), 2);
    assert_ne!(table.replies(A, "autoreset")[1]["payload"], table.replies(A, "autoreset")[0]["payload"]);
}

#[test]
fn the_only_candidate_is_told_at_once_and_resets_as_by_hand() {
    let mut table = past_threshold();
    let payload = payload(&table, A);
    table.command(A, "ready-to-autoreset", json!([]), json!({"payload": payload, "os": "linux"}));
    let request = &table.replies(A, "autoreset")[1];
    assert_eq!((&request["query"], request.get("stream")), (&json!(false), None));
    table.forget();
    table.send(B, &[chat("gone", true)]);
    assert!(table.seat(A).frames.is_empty(), "who is about to reset gets control messages only");
    reset(&mut table, "current");
    table.send(A, &[canvas()]);
    table.command(A, "init-complete", json!([]), json!({}));
    assert_eq!(table.settings()["resetThresholdBase"], json!(table.machine.resets.base()));
    assert!(table.machine.resets.base() < 200);
}

#[test]
fn the_best_of_several_candidates_is_chosen_after_3_seconds() {
    let mut settings = Settings::default();
    settings.set("autoResetThreshold", "4kb").unwrap();
    let mut table = Table::running(settings);
    table.join(client(B, "B"));
    table.join(client(C, "C"));
    table.send(A, &[Frame::new(34, 0, &[2, 3]).unwrap()]);
    table.forget();
    table.send(B, &[dab(5000)]);
    for (conn, os) in [(B, "android"), (C, "linux")] {
        table.command(conn, "ready-to-autoreset", json!([]), json!({"os": os}));
    }
    assert_eq!(table.replies(C, "autoreset").len(), 1, "A has not answered yet");
    table.wait(3000);
    assert_eq!(table.replies(C, "autoreset").len(), 2);
    assert_eq!(table.replies(B, "autoreset").len(), 1);
}

#[test]
fn answers_of_the_wrong_people_do_not_count() {
    let mut table = past_threshold();
    table.command(B, "ready-to-autoreset", json!([]), json!({}));
    assert_eq!(table.error(B), "ready-to-autoreset: Not a session owner");
    table.command(A, "ready-to-autoreset", json!([]), json!({"payload": "wrong"}));
    assert_eq!(table.replies(A, "autoreset").len(), 1);
    table.command(A, "ready-to-autoreset", json!([]), json!({}));
    table.command(A, "ready-to-autoreset", json!([]), json!({}));
    assert_eq!(table.replies(A, "autoreset").len(), 2, "a second answer does nothing");
}

#[test]
fn a_threshold_of_zero_never_asks() {
    let mut settings = Settings::default();
    settings.set("autoResetThreshold", "0").unwrap();
    let mut table = Table::running(settings);
    table.forget();
    table.send(A, &[dab(60_000), dab(60_000)]);
    assert!(table.replies(A, "autoreset").is_empty() && table.replies(A, "sizelimit").is_empty());
}

#[test]
fn ghosts_have_roles_but_no_join_in_a_reset_history() {
    let mut table = Table::running(Settings::default());
    table.join(AuthenticatedClient { ghost: true, ..moderator(B, "B") });
    table.forget();
    reset(&mut table, "");
    table.send(A, &[canvas()]);
    table.command(A, "init-complete", json!([]), json!({}));
    let news = &table.seats[&A].history;
    assert_eq!(news[1], (34, 0, vec![1, 2]));
    assert!(!table.history(A).contains(&(32, 2)));
}

#[test]
fn lists_of_ranks_from_the_uploader_are_part_of_the_image() {
    let mut table = Table::of_three();
    reset(&mut table, "");
    table.send(A, &[canvas(), Frame::new(36, 7, &[2]).unwrap()]);
    assert!(table.member(B).trusted, "it counts at once");
    assert!(table.history(C).is_empty());
    table.command(A, "init-complete", json!([]), json!({}));
    let of_lists = |(kind, ..): &&(u8, u8, Vec<u8>)| *kind == 36;
    let lists: Vec<_> = table.seats[&C].history.iter().filter(of_lists).cloned().collect();
    assert_eq!(lists, [(36, 0, vec![2]), (36, 7, vec![2])], "the server's, then the uploader's own");
}

#[test]
fn a_client_of_another_minor_version_does_not_reset() {
    let mut table = Table::of_three();
    table.machine.members.iter_mut().for_each(|m| m.oldv = true);
    reset(&mut table, "");
    assert_eq!(table.error(A), "reset-session: Incompatible client");
    assert_eq!(table.machine.state(), SessionState::Running);
    assert_eq!(table.seat(A).gone, None);
}

#[test]
fn a_chosen_client_that_does_not_reset_times_out() {
    for (role, leaves) in [("gzip1", true), ("gzip1", false), ("", true), ("", false)] {
        let mut table = past_threshold();
        table.command(A, "ready-to-autoreset", json!([]), json!({"capabilities": [role]}));
        assert_eq!(table.machine.resets.autoreset_status(), "requested");
        table.forget();
        if leaves {
            table.leave(A);
        } else {
            table.wait(119_999);
            assert_eq!(table.machine.resets.autoreset_status(), "requested");
            table.wait(1);
        }
        assert_eq!(table.machine.resets.autoreset_status(), "not sent");
        table.wait(30_000);
        table.send(B, &[dab(1)]);
        assert_eq!(table.machine.resets.autoreset_status(), "queried", "asked again");
    }
}
