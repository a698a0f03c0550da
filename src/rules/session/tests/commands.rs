use super::*;
use crate::rules::session::input::Input;

#[test]
fn commands_need_their_right() {
    let mut table = Table::of_three();
    for (command, refusal) in [
        ("sessionconf", "sessionconf: Not a session owner"),
        ("kick-user", "kick-user: Not a session owner or a deputy"),
        ("kill-session", "kill-session: Not a moderator"),
        ("nonsense", "nonsense: Unknown command"),
    ] {
        table.command(B, command, json!([]), json!({}));
        assert_eq!(table.error(B), refusal);
    }
    table.command(A, "kick-user", json!([]), json!({}));
    assert_eq!(table.error(A), "kick-user: Expected one argument: user ID or name");
}

#[test]
fn operators_give_and_take_operator_status() {
    let mut table = Table::of_three();
    table.send(B, &[Frame::new(34, 0, &[2]).unwrap()]);
    assert!(table.history(A).is_empty(), "not an operator's business");
    table.send(A, &[Frame::new(34, 0, &[2, 2, 99]).unwrap()]);
    assert_eq!(table.seat(C).history, [(34, 1, vec![1, 2])]);
    assert_eq!(table.keys(C), ["opgive"]);
    assert_eq!(table.part(C, "banlist"), Some(json!([])), "cleared for those who are none");
    table.send(B, &[Frame::new(34, 0, &[]).unwrap()]);
    assert!(!table.member(A).is_operator() && table.member(B).is_operator());
}

#[test]
fn moderators_stay_operators() {
    let mut table = Table::of_three();
    table.join(moderator(4, "M"));
    table.forget();
    table.send(A, &[Frame::new(34, 0, &[]).unwrap()]);
    assert_eq!(table.seat(C).history, [(34, 1, vec![1, 4])]);
    table.command(A, "kick-user", json!([4]), json!({}));
    assert_eq!(table.error(A), "kick-user: cannot kick moderators");
    table.command(A, "mute", json!([4, true]), json!({}));
    assert_eq!(table.error(A), "mute: cannot mute moderators");
}

#[test]
fn deputies_kick_but_not_operators() {
    let mut table = Table::of_three();
    table.join(client(4, "D"));
    table.send(A, &[Frame::new(36, 0, &[2, 3]).unwrap()]);
    table.command(B, "kick-user", json!([4]), json!({}));
    assert_eq!(table.error(B), "kick-user: Not a session owner or a deputy");
    table.command(A, "sessionconf", json!([]), json!({"deputies": true}));
    table.command(B, "kick-user", json!([1]), json!({}));
    assert_eq!(table.error(B), "kick-user: cannot kick operators");
    table.command(B, "kick-user", json!(["c"]), json!({}));
    assert_eq!(table.error(B), "kick-user: cannot kick trusted users");
    table.command(B, "kick-user", json!([4]), json!({}));
    assert_eq!(table.seat(4).gone, Some((DisconnectReason::Kick, "B".into())));
}

#[test]
fn users_are_named_by_id_or_name() {
    let mut table = Table::of_three();
    for (user, refusal) in [
        (json!(1), "cannot kick self"),
        (json!(77), "user not found"),
        (json!(0), "invalid user id: 0"),
        (json!("nobody"), "user not found"),
        (json!(true), "invalid user ID or name"),
    ] {
        table.command(A, "kick-user", json!([user]), json!({}));
        assert_eq!(table.error(A), format!("kick-user: {refusal}"));
    }
    table.command(A, "kick-user", json!(["b"]), json!({}));
    assert_eq!(table.history(C), [(33, 2)]);
    assert_eq!(table.keys(C), ["kick"]);
}

#[test]
fn the_banned_do_not_come_back_by_name_or_system() {
    let mut table = Table::of_three();
    table.command(A, "kick-user", json!([2]), json!({"ban": true}));
    assert_eq!(table.keys(C), ["ban"]);
    let list = table.part(A, "banlist").unwrap();
    assert_eq!(
        (&list[0]["username"], &list[0]["bannedBy"], list[0].get("ip")),
        (&json!("B"), &json!("A"), None)
    );
    let banned = |refusal| matches!(refusal, Some(Refusal::Error { code: "banned", .. }));
    assert!(banned(table.join(client(B, "Other"))));
    assert!(banned(table.join(client(5, "b"))));
    table.command(A, "remove-ban", json!([1]), json!({}));
    assert_eq!(table.join(client(B, "B")), None);
}

#[test]
fn who_has_left_can_still_be_banned_by_id() {
    let mut table = Table::of_three();
    table.leave(B);
    table.command(A, "kick-user", json!([2]), json!({"ban": true}));
    assert_eq!(table.keys(C), ["ban"]);
    table.command(A, "kick-user", json!([2]), json!({"ban": true}));
    assert_eq!(table.error(A), "kick-user: B is already banned.");
    table.command(A, "kick-user", json!([2]), json!({}));
    assert_eq!(table.error(A), "kick-user: user not found");
}

#[test]
fn moderators_see_addresses_in_the_ban_list() {
    let mut table = Table::of_three();
    table.join(moderator(4, "M"));
    let mut stranger = client(5, "S");
    stranger.identity.address = "198.51.100.7".parse().ok();
    table.join(stranger);
    table.command(A, "kick-user", json!(["S"]), json!({"ban": true}));
    assert_eq!(table.part(4, "banlist").unwrap()[0]["ip"], json!("::ffff:198.51.100.7"));
    assert_eq!(table.part(A, "banlist").unwrap()[0].get("ip"), None);
}

#[test]
fn the_opword_makes_operator() {
    let mut table = Table::of_three();
    table.command(B, "gain-op", json!(["x"]), json!({}));
    assert_eq!(table.error(B), "gain-op: No opword set");
    table.command(A, "sessionconf", json!([]), json!({"opword": "op"}));
    table.command(B, "gain-op", json!(["x"]), json!({}));
    assert_eq!(table.error(B), "gain-op: Incorrect password");
    table.command(B, "gain-op", json!(["op"]), json!({}));
    assert!(table.member(B).is_operator());
    assert_eq!(table.settings()["hasOpword"], json!(true));
}

#[test]
fn ten_wrong_opwords_disconnect() {
    let mut settings = Settings::default();
    settings.set("passwordRateLimit", "0").unwrap();
    let mut table = Table::running(settings);
    table.join(client(B, "B"));
    table.command(A, "sessionconf", json!([]), json!({"opword": "op"}));
    for _ in 0..9 {
        table.command(B, "gain-op", json!(["x"]), json!({}));
        assert_eq!(table.error(B), "gain-op: Incorrect password");
        assert_eq!(table.seat(B).gone, None);
    }
    table.command(B, "gain-op", json!(["x"]), json!({}));
    assert_eq!(table.seat(B).gone, Some((DisconnectReason::Error, "Incorrect password".into())));
}

#[test]
fn a_moderator_ends_the_session() {
    let mut table = Table::of_three();
    table.join(moderator(4, "M"));
    table.command(4, "kill-session", json!([]), json!({"reason": " enough "}));
    assert!(table.ended);
    assert_eq!(table.keys(B).last().map(String::as_str), Some("terminatesessionreason"));
    let reason = DisconnectReason::Shutdown;
    assert_eq!(table.seat(B).gone, Some((reason, "Session terminated by moderator".into())));
}

#[test]
fn invites_bypass_password_and_user_limit_and_give_roles() {
    let mut table = Table::of_three();
    table.command(A, "sessionconf", json!([]), json!({"password": "p", "maxUserCount": 3}));
    table.command(B, "invite-create", json!([]), json!({}));
    assert_eq!(table.error(B), "invite-create: Not a session owner");
    table.command(A, "invite-create", json!([]), json!({"maxUses": 1, "op": true, "trust": true}));
    let secret = table.replies(A, "invitecreated")[0]["secret"].as_str().unwrap().to_owned();
    let with = |conn, invite: &str, password: &str| JoinRequest {
        client: client(conn, &format!("u{conn}")),
        invite: invite.into(),
        password: password.into(),
        ..JoinRequest::default()
    };
    assert!(matches!(
        table.join_as(with(4, "wrong", "")),
        Some(Refusal::Error { code: "inviteNotFound", .. })
    ));
    assert_eq!(table.join_as(with(4, &secret, "")), None);
    assert!(table.member(4).is_operator() && table.member(4).trusted);
    assert_eq!(table.keys(C), ["opgiveinvite", "trustgiveinvite"]);
    assert!(matches!(
        table.join_as(with(5, &secret, "")),
        Some(Refusal::Error { code: "inviteLimitReached", .. })
    ));
    assert!(
        matches!(
            table.join_as(with(5, "", &secret)),
            Some(Refusal::Error { code: "inviteLimitReached", .. })
        ),
        "a password that is an invite counts as that invite"
    );
    table.command(A, "invite-remove", json!([secret]), json!({}));
    assert_eq!(table.part(A, "invitelist"), Some(json!([])));
    table.command(A, "invite-remove", json!([secret]), json!({}));
    assert_eq!(table.error(A), "invite-remove: Invite code to remove not found");
}

#[test]
fn ranks_of_accounts_are_changed_whether_they_are_here_or_not() {
    let mut table = Table::running(Settings::default());
    table.join(account(B, "B"));
    table.forget();
    let list = json!([[
        {"a": "internal:B", "o": true},
        {"a": "internal:away", "t": true, "u": "Away"},
        {"a": "", "o": true},
    ]]);
    table.command(A, "auth-list", list, json!({}));
    assert!(table.member(B).is_operator());
    let auth = table.part(A, "auth").unwrap();
    let expected = json!([
        {"authId": "internal:B", "username": "B", "op": true},
        {"authId": "internal:away", "username": "Away", "trusted": true},
    ]);
    assert_eq!(auth, expected);
    table.command(B, "auth-list", json!([[{"a": "internal:B", "o": false}]]), json!({}));
    assert!(table.member(B).is_operator(), "one's own status stays");
    table.command(A, "auth-list", json!([vec![json!({}); 101]]), json!({}));
    assert_eq!(table.error(A), "auth-list: Insane argument");
}

#[test]
fn ban_lists_are_exported_and_imported() {
    let mut table = Table::of_three();
    table.command(A, "export-bans", json!([]), json!({"plain": true}));
    assert_eq!(table.replies(A, "banimpex")[0]["T"], json!("banexportmodonly"));
    table.join(moderator(4, "M"));
    table.command(A, "kick-user", json!([2]), json!({"ban": true}));
    table.command(4, "export-bans", json!([]), json!({"plain": true}));
    let text = table.replies(4, "banimpex")[0]["export"].clone();
    let mut other = Table::of_three();
    other.command(A, "import-bans", json!([text]), json!({}));
    let result = &other.replies(A, "banimpex")[0];
    assert_eq!((&result["imported"], &result["total"]), (&json!(1), &json!(1)));
    assert_eq!(other.part(A, "banlist").unwrap()[0]["username"], json!("B"));
    assert!(other.seat(B).gone.is_none(), "who is in stays in");
}

#[test]
fn reports_are_shown_to_moderators_only() {
    let mut table = Table::of_three();
    table.join(moderator(4, "M"));
    table.forget();
    table.command(B, "report", json!([]), json!({"user": 3, "reason": "rude"}));
    assert!(table.replies(A, "log").is_empty());
    assert!(table.replies(4, "log")[0]["message"].as_str().unwrap().contains("rude"));
}

#[test]
fn reports_are_stored_only_if_a_setting_says_so() {
    let stored = |inbox: &str| {
        let mut settings = Settings::default();
        settings.set("reportInbox", inbox).unwrap();
        let mut table = Table::running(settings);
        let user = table.member(A).log_user();
        let effects = table.effects(|machine, cx| machine.outside_report(user, "rude", cx));
        effects.iter().any(|effect| matches!(effect, Effect::Reported(_)))
    };
    assert_eq!((stored("true"), stored("false")), (true, false));
}

#[test]
fn the_reporter_is_thanked_when_the_report_is_stored_and_told_when_it_is_not() {
    let mut settings = Settings::default();
    settings.set("reportInbox", "true").unwrap();
    let mut table = Table::running(settings);
    table.forget();
    let told = |table: &Table| -> Vec<String> {
        let replies = table.replies(A, "msg").into_iter();
        replies.map(|reply| reply["message"].as_str().unwrap().to_owned()).collect()
    };
    table.command(A, "report", json!([]), json!({"user": 0, "reason": "rude"}));
    assert!(told(&table).is_empty(), "it is not stored yet");
    let (name, user) = (table.member(A).name().to_owned(), table.member(A).id);
    for (name, stored) in [(name.clone(), true), (name, false), ("another".into(), true)] {
        table.act(|machine, cx| machine.handle(Input::ReportStored { user, name, stored }, cx));
    }
    let told = told(&table);
    assert!(told[0].starts_with("Thank you") && told[1].contains("try again in a minute"), "{told:?}");
    assert_eq!(told.len(), 2, "who has the id of somebody who has left is not meant");
}

#[test]
fn announcements_are_refused_with_a_reason() {
    let mut table = Table::of_three();
    table.command(A, "announce-session", json!(["https://example.org"]), json!({"private": true}));
    assert!(table.error(A).contains("Private listings"));
    table.command(A, "announce-session", json!(["https://example.org"]), json!({}));
    assert!(table.error(A).contains("not available"));
}

#[test]
fn announcements_are_rate_limited_and_urls_bounded() {
    let mut table = Table::of_three();
    for odd in [
        "nonsense",
        "http://example.org/ x",
        "http://example.org/\nANNOUNCE",
        &format!("http://x/{}", "y".repeat(1000)),
    ] {
        table.forget();
        table.command(A, "announce-session", json!([odd]), json!({}));
        assert!(table.error(A).contains("Invalid API URL"), "{odd}");
    }
    for n in 0..6 {
        table.forget();
        table.command(A, "announce-session", json!([format!("http://example.org/{n}")]), json!({}));
        assert_eq!(table.replies(A, "error").len(), usize::from(n == 5), "{n}");
    }
    assert!(table.error(A).contains("Too many announcements"));
    table.wait(12_000);
    table.forget();
    table.command(A, "announce-session", json!(["http://example.org/7"]), json!({}));
    assert!(table.replies(A, "error").is_empty());
}

#[test]
fn reports_are_bounded_by_address_number_and_length() {
    let mut table = Table::of_three();
    table.join(moderator(4, "M"));
    table.forget();
    let reason = "é".repeat(20_000);
    for _ in 0..10 {
        table.command(B, "report", json!([]), json!({"user": 3, "reason": reason}));
    }
    let shown = |table: &Table| {
        let texts = table.replies(4, "log").into_iter().map(|r| r["message"].as_str().unwrap().to_owned());
        texts.filter(|t| t.starts_with("Abuse report")).collect::<Vec<_>>()
    };
    assert_eq!(shown(&table).len(), 5);
    assert!(shown(&table).iter().all(|text| text.len() <= 1000));
    assert_eq!(table.replies(B, "error").len(), 5);
    assert!(table.error(B).contains("Too many reports"));
}
