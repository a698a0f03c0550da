use super::*;

fn set(table: &mut Table, conn: ConnId, conf: Value) -> Value {
    table.command(conn, "sessionconf", json!([]), conf);
    table.settings()
}

#[test]
fn changes_enter_the_history_and_the_log() {
    let mut table = Table::of_three();
    let settings = set(&mut table, A, json!({"title": "New", "nsfm": true, "unknown": 1}));
    assert_eq!((&settings["title"], &settings["nsfm"]), (&json!("New"), &json!(true)));
    assert_eq!(table.history(B), [(0, 0)]);
    assert_eq!(table.replies(B, "log")[0]["message"], json!("Changed title to 'New', tagged NSFM"));
    table.forget();
    table.command(A, "sessionconf", json!([]), json!({"unknown": 1}));
    assert!(table.history(B).is_empty());
}

#[test]
fn titles_are_cut_to_100_characters_and_freed_of_control_characters() {
    let mut table = Table::of_three();
    assert_eq!(set(&mut table, A, json!({"title": "x".repeat(150)}))["title"], json!("x".repeat(100)));
    assert_eq!(
        set(&mut table, A, json!({"title": "a\nFLAGS persistent"}))["title"],
        json!("aFLAGS persistent")
    );
}

#[test]
fn a_forbidden_title_becomes_the_automatic_one() {
    let settings = Settings { forbidden_name_regex: "evil".into(), ..Settings::default() };
    let mut table = Table::running(settings);
    let conf = set(&mut table, A, json!({"title": "evil"}));
    assert_eq!((&conf["title"], &conf["autotitle"]), (&json!("A Drawpile"), &json!(true)));
    table.join(moderator(B, "M"));
    assert_eq!(set(&mut table, B, json!({"title": "evil"}))["title"], json!("evil"));
}

#[test]
fn a_founder_has_a_valid_user_name() {
    let mut table = Table::running(Settings::default());
    table.join(moderator(B, "M"));
    set(&mut table, B, json!({"founder": "\u{202e}An\u{200b}n\n👩\u{200d}🎨"}));
    assert_eq!(table.machine.description(false, table.now).founder, "Ann👩\u{200d}🎨");
}

#[test]
fn the_automatic_title_follows_the_founder() {
    let mut table = Table::running(Settings::default());
    table.join(moderator(B, "M"));
    assert_eq!(set(&mut table, A, json!({"autotitle": true}))["title"], json!("A Drawpile"));
    assert_eq!(set(&mut table, B, json!({"founder": "F"}))["title"], json!("F Drawpile"));
    assert_eq!(set(&mut table, A, json!({"title": "own"}))["autotitle"], json!(false));
}

#[test]
fn operators_do_not_raise_the_number_of_users_above_the_servers_limit() {
    let mut settings = Settings::default();
    settings.set("sessionUserLimit", "10").unwrap();
    let mut table = Table::running(settings);
    table.join(moderator(B, "M"));
    let users = |table: &mut Table, conn, n: i64| {
        set(table, conn, json!({"maxUserCount": n}))["maxUserCount"].clone()
    };
    assert_eq!([users(&mut table, A, 5), users(&mut table, A, 300)], [json!(5), json!(10)]);
    assert_eq!([users(&mut table, B, 300), users(&mut table, A, 200)], [json!(254), json!(200)]);
    assert_eq!(users(&mut table, A, -3), json!(2));
}

#[test]
fn thresholds_are_numbers_or_texts_and_not_below_the_least() {
    let mut settings = Settings::default();
    settings.set("minimumAutoResetThreshold", "1mb").unwrap();
    let mut table = Table::running(settings);
    let threshold =
        |table: &mut Table, v: Value| set(table, A, json!({"resetThreshold": v}))["resetThreshold"].clone();
    assert_eq!(threshold(&mut table, json!("2mb")), json!(2 << 20));
    assert_eq!(threshold(&mut table, json!(5)), json!(1 << 20));
    assert_eq!(threshold(&mut table, json!(0)), json!(0));
    assert_eq!(threshold(&mut table, json!("nonsense")), json!(0), "what cannot be read changes nothing");
    assert_eq!(threshold(&mut table, json!(-7)), json!(0));
}

#[test]
fn some_settings_are_for_moderators() {
    let mut table = Table::of_three();
    table.join(moderator(4, "M"));
    let all = json!({"founder": "F", "idleOverride": true, "invites": false, "unlisted": true, "overrideSize": "1mb"});
    table.forget();
    table.command(A, "sessionconf", json!([]), all.clone());
    assert!(table.history(B).is_empty());
    let conf = set(&mut table, 4, all);
    assert_eq!(conf["maxSize"], json!(1 << 20));
    assert_eq!((&conf["idleOverride"], &conf["invites"]), (&json!(true), &json!(false)));
    let description = table.machine.description(false, table.now);
    assert_eq!((description.founder.as_str(), description.unlisted), ("F", true));
}

#[test]
fn persistence_needs_the_setting_a_flag_or_a_moderator() {
    let mut table = Table::running(Settings::default());
    assert_eq!(set(&mut table, A, json!({"persistent": true}))["persistent"], json!(false));
    let mut persist = account(B, "B");
    persist.flags.push("PERSIST".into());
    table.join(persist);
    table.send(A, &[Frame::new(34, 0, &[2]).unwrap()]);
    assert_eq!(set(&mut table, B, json!({"persistent": true}))["persistent"], json!(true));
}

#[test]
fn everybody_without_an_invite_is_told_the_new_password() {
    let mut table = Table::of_three();
    let conf = set(&mut table, A, json!({"password": "pw"}));
    assert_eq!(conf["hasPassword"], json!(true));
    assert_eq!(table.replies(B, "passwordchange")[0]["password"], json!("pw"));
    set(&mut table, A, json!({"password": ""}));
    assert_eq!(table.replies(B, "passwordchange")[1]["password"], json!(""));
}

#[test]
fn closing_is_answered_with_an_alert_and_the_switch_put_back() {
    let mut table = Table::of_three();
    table.command(A, "sessionconf", json!([]), json!({"closed": true}));
    assert_eq!(table.keys(A), ["closeunsupported"]);
    let confs: Vec<_> =
        table.replies(A, "sessionconf").iter().map(|v| v["config"]["closed"].clone()).collect();
    assert_eq!(confs, [json!(true), Value::Null]);
}

#[test]
fn forced_settings_of_the_server_reach_running_sessions() {
    let mut table = Table::of_three();
    let settings = Settings { force_nsfm: true, allow_idle_override: false, ..Settings::default() };
    let shared = ServerSettings { settings: Arc::new(settings), ..ServerSettings::default() };
    table.act(|machine, cx| machine.set_shared(shared, cx));
    let conf = table.settings();
    assert_eq!((&conf["nsfm"], &conf["forceNsfm"]), (&json!(true), &json!(true)));
    assert_eq!(set(&mut table, A, json!({"nsfm": false}))["nsfm"], json!(true));
    assert_eq!(table.machine.description(false, table.now).idle_override, None);
}

#[test]
fn without_a_password_browsers_go_where_that_is_the_rule() {
    let settings = Settings {
        password_dependent_web_session: true,
        allow_guest_web_session: false,
        ..Settings::default()
    };
    let mut table = Table::hosting(settings);
    let plain = |conn, name: &str| AuthenticatedClient {
        flags: vec!["HOST".into(), "WEB".into()],
        ..client(conn, name)
    };
    table.join(plain(B, "B"));
    table.send(A, &[Frame::new(34, 0, &[2]).unwrap()]);
    table.command(A, "init-complete", json!([]), json!({}));
    table.command(A, "sessionconf", json!([]), json!({"allowWeb": false}));
    table.command(B, "sessionconf", json!([]), json!({"password": "p"}));
    let browser = AuthenticatedClient { browser: true, ..plain(C, "C") };
    let request = JoinRequest { client: browser, password: "p".into(), ..JoinRequest::default() };
    assert_eq!(table.join_as(request), None);
    table.command(B, "sessionconf", json!([]), json!({"password": ""}));
    assert_eq!(table.seat(C).gone.as_ref().map(|(reason, _)| *reason), Some(DisconnectReason::Shutdown));
    assert!(table.keys(A).contains(&"kickwebusers".to_owned()));
}
