use super::*;

#[test]
fn the_host_is_sent_everything_but_its_own_commands_while_it_uploads() {
    let mut table = Table::hosting(Settings::default());
    assert_eq!(table.seat(A).user, 1);
    assert_eq!(table.seat(A).frames, [(32, 1, b"\0\x01A".to_vec()), (34, 0, vec![1])]);
    table.send(A, &[canvas(), dab(3), Frame::new(77, 1, &[0; 16]).unwrap()]);
    assert_eq!(table.seat(A).frames.len(), 3);
    assert_eq!(table.seat(A).frames[2].0, 77);
    table.command(A, "init-complete", json!([]), json!({}));
    table.send(A, &[dab(1)]);
    assert_eq!(table.history(A), [(148, 1)], "the host goes on behind what it knows");
}

#[test]
fn user_ids_are_kept_during_the_upload_and_overwritten_after_it() {
    let mut table = Table::hosting(Settings::default());
    let complete = Frame::new(0, 0, br#"{"cmd":"init-complete"}"#).unwrap();
    table.send(A, &[dab(1), complete, dab(2)]);
    table.join(client(B, "B"));
    let strokes: Vec<_> = table.history(B).into_iter().filter(|(kind, _)| *kind == 148).collect();
    assert_eq!(strokes, [(148, 99), (148, 1)]);
}

#[test]
fn who_joins_early_is_held_until_the_session_runs() {
    let mut table = Table::hosting(Settings::default());
    table.join(client(B, "B"));
    table.send(B, &[dab(5)]);
    assert!(table.history(B).is_empty());
    table.send(A, &[canvas()]);
    table.command(A, "init-complete", json!([]), json!({}));
    let kinds: Vec<u8> = table.history(B).iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [0, 32, 34, 0, 32, 129, 148]);
    assert_eq!(table.history(A), [(148, 2)]);
}

#[test]
fn a_new_member_is_told_size_and_end_of_its_catchup() {
    let mut table = Table::running(Settings::default());
    table.join(client(B, "B"));
    let catchup = &table.replies(B, "catchup")[0];
    assert_eq!((&catchup["count"], &catchup["key"]), (&json!(4), &json!(1_000_000)));
    let marker = table.seats[&B].history.iter().position(|(kind, _, payload)| {
        *kind == 0 && serde_json::from_slice::<Value>(payload).unwrap()["type"] == "caughtup"
    });
    assert_eq!(marker, Some(4), "as many messages come before it as were announced");
    assert_eq!(table.history(A), [(0, 0), (32, 2)]);
}

#[test]
fn lists_go_to_those_whom_they_concern() {
    let mut table = Table::running(Settings::default());
    table.forget();
    table.join(client(B, "B"));
    assert_eq!(table.part(A, "banlist"), Some(json!([])));
    assert_eq!(table.part(A, "invitelist"), Some(json!([])));
    assert_eq!(table.part(B, "banlist"), None);
    assert_eq!(table.part(B, "muted"), Some(json!([])));
    assert_eq!(table.changed, 1);
}

#[test]
fn a_name_in_use_is_refused_unless_it_is_the_same_person() {
    let mut table = Table::running(Settings::default());
    table.join(client(B, "Bob"));
    let Some(Refusal::Error { code, .. }) = table.join(client(C, "BOB")) else { panic!("let in") };
    assert_eq!(code, "nameInuse");
    let mut again = client(C, "Bob");
    again.identity.sid = "sid-2".into();
    assert_eq!(table.join(again), None);
    assert_eq!(table.seat(B).gone, Some((DisconnectReason::Kick, "Bob".into())));
    assert_eq!(table.seat(C).user, 2);
    assert_eq!(table.machine.members().len(), 2);
}

#[test]
fn a_name_gets_its_id_back() {
    let mut table = Table::of_three();
    table.leave(B);
    table.join(client(4, "D"));
    table.join(client(5, "B"));
    assert_eq!((table.seat(4).user, table.seat(5).user), (4, 2));
}

#[test]
fn a_full_session_is_closed_but_not_to_moderators() {
    let mut table = Table::running(Settings::default());
    table.command(A, "sessionconf", json!([]), json!({"maxUserCount": 2}));
    table.join(client(B, "B"));
    let refusal = Refusal::error("closed", "This session is closed");
    assert_eq!(table.join(client(C, "C")), Some(refusal));
    assert_eq!(table.join(moderator(4, "M")), None);
}

#[test]
fn there_are_only_254_ids() {
    let mut table = Table::running(Settings::default());
    for conn in 2..=254 {
        assert_eq!(
            table.join(AuthenticatedClient { moderator: true, ..client(conn, &format!("m{conn}")) }),
            None
        );
        table.forget();
    }
    assert!(matches!(table.join(moderator(255, "m255")), Some(Refusal::Error { code: "closed", .. })));
}

#[test]
fn passwords_are_asked_of_all_but_moderators() {
    let mut table = Table::running(Settings::default());
    table.command(A, "sessionconf", json!([]), json!({"password": "sesame"}));
    let request = |conn, password: &str| JoinRequest {
        client: client(conn, &format!("u{conn}")),
        password: password.into(),
        ..JoinRequest::default()
    };
    assert_eq!(table.join_as(request(B, "wrong")), Some(Refusal::BadPassword));
    assert_eq!(table.join_as(request(B, "sesame")), None);
    assert_eq!(table.join(moderator(C, "M")), None);
    assert!(table.member(C).is_operator());
}

#[test]
fn a_guest_cannot_join_where_an_account_is_needed() {
    let mut table = Table::running(Settings::default());
    table.join(account(B, "B"));
    table.command(A, "sessionconf", json!([]), json!({"authOnly": true}));
    assert_eq!(table.settings()["authOnly"], json!(false), "only an account may ask for accounts");
    table.send(A, &[Frame::new(34, 0, &[2]).unwrap()]);
    table.command(B, "sessionconf", json!([]), json!({"authOnly": true}));
    assert!(matches!(table.join(client(C, "C")), Some(Refusal::Error { code: "authOnly", .. })));
}

#[test]
fn the_servers_ban_strikes_last() {
    let mut table = Table::running(Settings::default());
    let banned =
        |name: &str| JoinRequest { client: client(B, name), server_ban: true, ..JoinRequest::default() };
    assert_eq!(table.join_as(banned("B")), Some(Refusal::ServerBan));
    assert!(matches!(table.join_as(banned("A")), Some(Refusal::Error { code: "nameInuse", .. })));
}

#[test]
fn browsers_need_a_session_that_is_open_to_them() {
    let mut table = Table::running(Settings::default());
    let browser = AuthenticatedClient { browser: true, ..client(B, "B") };
    assert_eq!(table.join(browser.clone()), None, "the host may open it to browsers and has");
    table.command(A, "sessionconf", json!([]), json!({"allowWeb": false}));
    let other = AuthenticatedClient { browser: true, ..client(C, "C") };
    assert!(matches!(table.join(other), Some(Refusal::Error { code: "noWebJoin", .. })));
}

#[test]
fn a_client_that_knows_the_history_is_sent_the_rest_only() {
    let mut table = Table::of_three();
    table.send(A, &[dab(1)]);
    let index = table.machine.history().last_index();
    table.leave(B);
    table.send(A, &[dab(2)]);
    let hidx = format!("1795241572:{index}:id");
    let request = JoinRequest { client: client(B, "B"), hidx, ..JoinRequest::default() };
    table.join_as(request);
    assert_eq!(table.history(B)[..2], [(33, 2), (148, 1)]);
    assert_eq!(table.replies(B, "result")[0]["join"]["skip"], json!(true));
    assert_eq!(table.replies(B, "catchup")[0]["count"], json!(3));
    for bad in ["", "1:2:id", "1795241572:999:id", "1795241572:1:other", "1795241572:0:id", "x:y"] {
        let request = JoinRequest { client: client(9, "X"), hidx: bad.into(), ..JoinRequest::default() };
        table.join_as(request);
        assert_eq!(table.replies(9, "result")[0]["join"]["skip"], json!(false), "{bad}");
        table.leave(9);
    }
}

#[test]
fn ghosts_are_not_announced() {
    let mut table = Table::running(Settings::default());
    table.forget();
    table.join(AuthenticatedClient { ghost: true, ..moderator(B, "Ghost") });
    assert_eq!(table.history(A), [(0, 0), (34, 0)]);
    assert_eq!(table.part(A, "auth"), Some(json!([])));
    assert!(table.replies(B, "alert")[0]["message"].as_str().unwrap().starts_with("GHOST MODE"));
    table.forget();
    table.leave(B);
    assert!(table.history(A).is_empty());
}

#[test]
fn the_first_user_becomes_operator_where_nobody_is() {
    let mut table = Table::of_three();
    table.leave(A);
    assert!(table.member(B).is_operator());
    assert_eq!(table.history(C), [(33, 1), (34, 0)]);
    assert_eq!(table.keys(C), ["opgive"]);
}

#[test]
fn with_an_opword_or_a_remembered_operator_nobody_is_made_operator() {
    let mut table = Table::of_three();
    table.command(A, "sessionconf", json!([]), json!({"opword": "op"}));
    table.leave(A);
    assert!(!table.member(B).is_operator());
    let mut table = Table::running(Settings::default());
    table.join(account(B, "B"));
    table.join(client(C, "C"));
    table.send(A, &[Frame::new(34, 0, &[2]).unwrap()]);
    table.leave(B);
    table.leave(A);
    assert!(!table.member(C).is_operator());
    table.join(account(B, "B"));
    assert!(table.member(B).is_operator(), "the account's rank is remembered");
}

#[test]
fn an_empty_session_ends_unless_it_is_persistent_or_lingers() {
    let mut table = Table::running(Settings::default());
    table.leave(A);
    assert!(table.ended);
    let mut table = Table::running(Settings { persistence: true, ..Settings::default() });
    table.command(A, "sessionconf", json!([]), json!({"persistent": true}));
    table.leave(A);
    assert!(!table.ended);
    let mut settings = Settings::default();
    settings.set("emptySessionLingerTime", "30").unwrap();
    let mut table = Table::running(settings);
    table.leave(A);
    table.act(SessionMachine::expire);
    assert!(!table.ended);
    table.wait(31_000);
    table.act(SessionMachine::expire);
    assert!(table.ended);
}

#[test]
fn an_idle_session_ends_unless_it_is_exempt() {
    let mut settings = Settings::default();
    settings.set("idleTimeLimit", "1h").unwrap();
    let mut table = Table::running(settings);
    table.wait(3_599_000);
    table.act(SessionMachine::expire);
    assert!(!table.ended);
    table.join(moderator(B, "M"));
    table.command(B, "sessionconf", json!([]), json!({"idleOverride": true}));
    table.wait(3_601_000);
    table.act(SessionMachine::expire);
    assert!(!table.ended);
    table.command(B, "sessionconf", json!([]), json!({"idleOverride": false}));
    table.wait(3_601_000);
    table.act(SessionMachine::expire);
    assert!(table.ended);
    assert_eq!(table.seat(A).gone.as_ref().map(|(reason, _)| *reason), Some(DisconnectReason::Shutdown));
}
