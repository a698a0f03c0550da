use serde_json::json;

use super::*;

#[test]
fn answers_have_the_form_of_the_api() {
    for (answer, expected) in [
        (Answered::Told(Told {}), json!({})),
        (Done::ok(), json!({"status": "ok"})),
        (Answered::Kicked(Kicked { status: "ok", force: false }), json!({"status": "ok", "force": false})),
        (Answered::Password(PasswordCheck { status: true }), json!({"status": true})),
    ] {
        assert_eq!(answer.to_json(), expected);
    }
}

#[test]
fn a_message_of_the_administrator_has_neither_user_nor_flags() {
    let said = ChatMessage { user: None, name: None, text: "hi".into(), flags: None };
    let heard = ChatMessage { user: Some(1), name: Some("A".into()), text: "ho".into(), flags: Some(2) };
    let answer = Answered::Chat(ChatMessages { offset: 7, messages: vec![said, heard] });
    let messages = json!([{"m": "hi"}, {"i": 1, "n": "A", "m": "ho", "f": 2}]);
    assert_eq!(answer.to_json(), json!({"offset": 7, "messages": messages}));
}

#[test]
fn a_user_outside_a_description_names_the_session() {
    let client = ClientDetails::of(&AuthenticatedClient::default());
    let details = |session: Option<String>, inside| MemberDetails {
        client: client.clone(),
        id: 1,
        last_active: time_text(0),
        last_active_drawing: time_text(0),
        op: false,
        trusted: false,
        muted: false,
        slowed: false,
        warnings: 0,
        oldv: false,
        state: "session",
        session,
        inside,
    };
    let outside = serde_json::to_value(details(Some("id".into()), None)).unwrap();
    assert_eq!((&outside["session"], outside.get("online")), (&json!("id"), None));
    assert_eq!(
        (&outside["lastActive"], &outside["mod"]),
        (&json!("1970-01-01T00:00:00+00:00"), &json!(false))
    );
    let state = MemberState { online: true, hold_locked: false, reset_flags: vec!["queried"] };
    let inside = serde_json::to_value(details(None, Some(state))).unwrap();
    assert_eq!((inside.get("session"), &inside["resetFlags"]), (None, &json!(["queried"])));
}
