//! What moderators of the server do not allow somebody for a time.

use super::*;
use crate::rules::session::admin::answer::{Answered, RestrictionDetails, RestrictionList};
use crate::rules::session::admin::{AdminError, AdminRequest, SessionAnswer};
use crate::rules::session::input::Input;
use crate::rules::session::restrictions::RestrictionKind;

const CHAT: u8 = 35;
const PRIVATE_CHAT: u8 = 38;
const USER_ACL: u8 = 68;

impl Table {
    pub(super) fn administer(&mut self, request: AdminRequest) -> SessionAnswer {
        let mut answer = None;
        self.act(|machine, cx| {
            machine.handle(Input::Administer(request), cx);
            let is_answer = |effect: &Effect| matches!(effect, Effect::Answer(_));
            if let Some(at) = cx.effects.iter().position(is_answer)
                && let Effect::Answer(given) = cx.effects.remove(at)
            {
                answer = Some(given);
            }
        });
        answer.expect("an answer")
    }

    pub(super) fn restrict(
        &mut self,
        conn: ConnId,
        kind: RestrictionKind,
        seconds: u64,
    ) -> RestrictionDetails {
        let user = self.seat(conn).user;
        let request = AdminRequest::Restrict { user, kind, seconds, reason: "scribbling".into() };
        match self.administer(request) {
            Ok(Answered::Restriction(details)) => details,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn restrictions(&mut self) -> RestrictionList {
        match self.administer(AdminRequest::Restrictions) {
            Ok(Answered::Restrictions(list)) => list,
            other => panic!("{other:?}"),
        }
    }

    /// Sends frames as the actor does.
    pub(super) fn batch_input(&mut self, conn: ConnId, frames: &[Frame]) {
        let bytes = frames.iter().map(Frame::as_bytes).collect::<Vec<_>>().concat();
        self.act(|machine, cx| machine.handle(Input::Batch { conn, batch: Batch::new(bytes) }, cx));
    }

    /// Time passes, and what happens every 15 s happens.
    pub(super) fn pass(&mut self, seconds: u64) {
        self.wait(seconds * 1000);
        self.act(|machine, cx| machine.handle(Input::Expire, cx));
    }

    /// Lists of locked users that somebody was sent.
    pub(super) fn locks(&self, conn: ConnId) -> Vec<(u8, Vec<u8>)> {
        let history = self.seats[&conn].history.iter();
        history.filter(|(kind, ..)| *kind == USER_ACL).map(|(_, user, p)| (*user, p.clone())).collect()
    }

    pub(super) fn come_again(&mut self, conn: ConnId, name: &str) {
        self.act(|machine, cx| machine.handle(Input::Leave(conn), cx));
        let client = client(conn, name);
        self.seats.insert(conn, Seat::default());
        let request = JoinRequest { client, ..JoinRequest::default() };
        self.act(|machine, cx| machine.handle(Input::Join(Box::new(request)), cx));
    }
}

fn private_chat(target: u8) -> Frame {
    Frame::new(PRIVATE_CHAT, 0, &[target, 0, b'x']).unwrap()
}

pub(super) fn locking(users: &[u8]) -> Frame {
    Frame::new(USER_ACL, 0, users).unwrap()
}

pub(super) fn with_sid(conn: ConnId, name: &str, sid: &str) -> AuthenticatedClient {
    let mut client = client(conn, name);
    client.identity.sid = sid.into();
    client
}

fn chat(text: &str) -> Frame {
    Frame::new(CHAT, 0, format!("\0\0{text}").as_bytes()).unwrap()
}

fn alerts(table: &Table, conn: ConnId) -> Vec<String> {
    let alerts = table.replies(conn, "alert");
    alerts.iter().map(|v| v["message"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn who_is_muted_is_told_and_not_heard_until_the_time_is_over() {
    let mut table = Table::of_three();
    table.restrict(B, RestrictionKind::Mute, 600);
    assert_eq!(alerts(&table, B), ["You may not chat here for 10 minutes: scribbling"]);
    table.batch_input(B, &[chat("hello")]);
    assert!(table.history(A).iter().all(|(kind, _)| *kind != CHAT));
    table.command(A, "mute", json!([table.seats[&B].user, false]), json!({}));
    assert!(table.error(A).contains("muted by the server"), "operators cannot undo it: {}", table.error(A));
    table.pass(599);
    table.batch_input(B, &[chat("hello")]);
    assert!(table.history(A).iter().all(|(kind, _)| *kind != CHAT));
    table.pass(1);
    table.batch_input(B, &[chat("hello")]);
    assert_eq!(table.history(A).iter().filter(|(kind, _)| *kind == CHAT).count(), 1);
    assert!(table.restrictions().restrictions.is_empty());
}

#[test]
fn a_restriction_holds_when_the_person_comes_again_under_another_name() {
    let mut table = Table::of_three();
    table.restrict(B, RestrictionKind::Mute, 600);
    table.come_again(B, "Somebody else");
    assert!(table.member(B).is_muted());
    assert!(!table.member(C).is_muted());
    let list = table.restrictions().restrictions;
    assert_eq!((list.len(), list[0].name.as_str()), (1, "Somebody else"));
}

#[test]
fn a_restriction_holds_for_guests_whom_a_ban_would_match_and_who_come_later() {
    let mut table = Table::of_three();
    table.restrict(B, RestrictionKind::Mute, 600);
    table.leave(B);
    // The same network, another device and name.
    table.join(with_sid(4, "D", "another"));
    assert!(table.member(4).is_muted());
    assert_eq!(alerts(&table, 4), ["You may not chat here for 10 minutes: scribbling"]);
    table.leave(4);
    let mut elsewhere = with_sid(4, "D", "another");
    elsewhere.identity.address = "198.51.100.7".parse().ok();
    table.join(elsewhere);
    assert!(table.member(4).is_muted(), "the device is known by now");
    let mut namesake = with_sid(5, "b", "yet another");
    namesake.identity.address = "198.51.100.8".parse().ok();
    table.join(namesake);
    assert!(table.member(5).is_muted());
    let mut stranger = with_sid(6, "E", "a stranger's");
    stranger.identity.address = "198.51.100.9".parse().ok();
    table.join(stranger);
    assert!(!table.member(6).is_muted());
    // Who was there before, or has an account, is somebody else.
    table.leave(C);
    table.join(client(C, "C"));
    table.join(account(7, "F"));
    assert!(!table.member(A).is_muted() && !table.member(C).is_muted() && !table.member(7).is_muted());
}

#[test]
fn who_comes_with_many_devices_is_restricted_with_each_of_them_again() {
    let mut table = Table::of_three();
    table.restrict(B, RestrictionKind::Mute, 600);
    table.leave(B);
    let devices = 2 * crate::rules::stored_restrictions::MAX_FOLLOWERS;
    for device in (0..devices).chain(0..devices) {
        table.seats.remove(&4);
        table.join(with_sid(4, &format!("D{device}"), &format!("device {device}")));
        assert!(table.member(4).is_muted(), "{device}");
        table.leave(4);
    }
    table.join(client(B, "B"));
    assert!(table.member(B).is_muted(), "the first one");
    let mut stranger = with_sid(6, "E", "a stranger's");
    stranger.identity.address = "198.51.100.9".parse().ok();
    table.join(stranger);
    table.join(account(7, "F"));
    assert!(!table.member(6).is_muted() && !table.member(7).is_muted());
}

fn from(address: &str, conn: ConnId, name: &str, sid: &str) -> AuthenticatedClient {
    let mut client = with_sid(conn, name, sid);
    client.identity.address = address.parse().ok();
    client
}

#[test]
fn who_takes_the_name_of_somebody_absent_gets_nobody_else_restricted() {
    let mut table = Table::of_three();
    let anna = || from("203.0.113.20", 4, "Anna", "Anna's");
    table.join(anna());
    table.leave(4);
    table.join(from("198.51.100.7", 5, "Anna", "the troll's"));
    table.restrict(5, RestrictionKind::Mute, 600);
    table.administer(AdminRequest::CloseToNewcomers(600)).unwrap();
    table.leave(5);
    assert_eq!(table.join(anna()), None, "she was there before it was closed");
    assert!(!table.member(4).is_muted() && alerts(&table, 4).is_empty());
    table.leave(4);
    table.administer(AdminRequest::CloseToNewcomers(0)).unwrap();
    table.join(from("198.51.100.7", 5, "Somebody", "the troll's next"));
    assert!(table.member(5).is_muted());
}

#[test]
fn a_restriction_for_all_guests_of_a_network_is_told_and_holds_for_no_namesakes_elsewhere() {
    let mut table = Table::of_three();
    table.join(from("198.51.100.7", 4, "Pupil", "Pupil's"));
    table.join(from("198.51.100.7", 5, "Troll", "the troll's"));
    table.restrict(5, RestrictionKind::Mute, 600);
    table.leave(5);
    for device in 0..crate::rules::stored_restrictions::MAX_FOLLOWERS {
        assert!(!table.member(4).is_muted(), "{device}");
        table.seats.remove(&5);
        table.join(from("198.51.100.7", 5, &format!("X{device}"), &format!("device {device}")));
        table.leave(5);
    }
    assert!(table.member(4).is_muted());
    assert_eq!(alerts(&table, 4), ["You may not chat here for 10 minutes: scribbling"]);
    table.join(from("203.0.113.20", 6, "Troll", "a namesake's"));
    assert!(!table.member(6).is_muted() && alerts(&table, 6).is_empty());
}

#[test]
fn who_is_muted_by_the_server_sends_no_private_messages() {
    let mut table = Table::of_three();
    let c = table.seat(C).user;
    let received =
        |table: &Table| table.seats[&C].frames.iter().filter(|(kind, ..)| *kind == PRIVATE_CHAT).count();
    table.command(A, "mute", json!([table.seats[&B].user, true]), json!({}));
    table.batch_input(B, &[private_chat(c)]);
    assert_eq!(received(&table), 1, "operators mute in the session's chat");
    table.restrict(B, RestrictionKind::Mute, 600);
    table.batch_input(B, &[private_chat(c)]);
    assert_eq!(received(&table), 1);
}

#[test]
fn the_end_of_a_restriction_does_not_undo_the_locks_of_operators() {
    let mut table = Table::of_three();
    let (b, c) = (table.seats[&B].user, table.seats[&C].user);
    table.batch_input(A, &[locking(&[b])]);
    let details = table.restrict(B, RestrictionKind::Nodraw, 600);
    // The operator's client knows the lock of the server, and repeats it.
    table.batch_input(A, &[locking(&[b, c])]);
    table.administer(AdminRequest::LiftRestriction(details.id)).unwrap();
    assert_eq!(table.locks(C).last(), Some(&(1, vec![b, c])));
    let details = table.restrict(B, RestrictionKind::Nodraw, 600);
    table.batch_input(A, &[locking(&[c])]);
    assert_eq!(table.locks(C).last(), Some(&(0, vec![b, c])), "an operator cannot unlock");
    table.batch_input(A, &[locking(&[b, c])]);
    table.administer(AdminRequest::LiftRestriction(details.id)).unwrap();
    assert_eq!(table.locks(C).last(), Some(&(0, vec![c])), "the lock was the server's by then");
}

#[test]
fn a_lock_for_which_there_was_no_space_is_sent_later() {
    let mut table = Table::of_three();
    let b = table.seat(B).user;
    table.machine.history.set_server_full(true);
    let fill = crate::history::EMERGENCY_BYTES;
    table.machine.history.append_emergency(dab(60_000).as_bytes(), 1, fill).unwrap();
    while table.machine.history.append_emergency(dab(0).as_bytes(), 1, fill).is_ok() {}
    table.forget();
    table.restrict(B, RestrictionKind::Nodraw, 600);
    assert!(table.locks(C).is_empty());
    table.act(|machine, cx| machine.handle(Input::ServerFull(false), cx));
    assert_eq!(table.locks(C), [(0, vec![b])]);
}

#[test]
fn a_list_of_locks_that_nobody_is_sent_is_not_answered_by_another() {
    let mut table = Table::of_three();
    table.restrict(B, RestrictionKind::Nodraw, 600);
    table.act(|machine, cx| machine.handle(Input::ServerFull(true), cx));
    table.forget();
    table.batch_input(A, &[locking(&[1; 60_000])]);
    assert!(table.locks(C).is_empty(), "it is too long for a full session, and changes nothing");
}

#[test]
fn who_may_not_draw_is_locked_and_the_locks_of_operators_stay() {
    let mut table = Table::of_three();
    let (b, c) = (table.seats[&B].user, table.seats[&C].user);
    table.batch_input(A, &[Frame::new(USER_ACL, 0, &[c]).unwrap()]);
    table.forget();
    let details = table.restrict(B, RestrictionKind::Nodraw, 600);
    let both = {
        let mut both = vec![b, c];
        both.sort_unstable();
        both
    };
    assert_eq!(table.locks(C), [(0, both.clone())]);
    // An operator's client sends lists without the person, as it may not know the lock.
    table.batch_input(A, &[Frame::new(USER_ACL, 0, &[]).unwrap()]);
    assert_eq!(table.locks(C).last(), Some(&(0, vec![b])));
    // Who may not set locks does not change what is known of them.
    let sent = table.locks(C).len();
    table.batch_input(C, &[Frame::new(USER_ACL, 0, &[]).unwrap()]);
    assert_eq!(table.locks(C).len(), sent + 1, "clients ignore it, so nothing is repeated");
    table.come_again(B, "B");
    assert_eq!(table.locks(C).last(), Some(&(0, vec![table.seats[&B].user])));
    assert!(matches!(
        table.administer(AdminRequest::LiftRestriction(details.id)),
        Ok(Answered::Restriction(_))
    ));
    assert_eq!(table.locks(C).last(), Some(&(0, vec![])));
}

#[test]
fn after_a_reset_those_who_may_not_draw_are_locked_again() {
    let mut table = Table::of_three();
    let b = table.seats[&B].user;
    table.restrict(B, RestrictionKind::Nodraw, 600);
    let command = |cmd: &str| Frame::new(0, 0, json!({"cmd": cmd}).to_string().as_bytes()).unwrap();
    // The reset image begins another second.
    table.wait(2000);
    table.batch_input(A, &[command("reset-session")]);
    table.forget();
    table.batch_input(A, &[canvas(), command("init-complete")]);
    assert_eq!(table.locks(B), [(0, vec![b])]);
}

#[test]
fn who_is_slowed_down_may_draw_less_than_its_rank() {
    let mut table = Table::of_three();
    table.restrict(B, RestrictionKind::Slow, 60);
    assert_eq!(table.seat(B).draw_rate.messages, 10);
    table.pass(60);
    assert!(table.seat(B).draw_rate.messages > 1000);
}

#[test]
fn warnings_are_told_and_counted_for_a_person() {
    let mut table = Table::of_three();
    for expected in 1..=2 {
        let user = table.seat(B).user;
        let request = AdminRequest::Warn { user, message: "Please do not draw over others.".into() };
        match table.administer(request) {
            Ok(Answered::Warned(count)) => assert_eq!(count.warnings, expected),
            other => panic!("{other:?}"),
        }
        assert!(alerts(&table, B).last().unwrap().ends_with("Please do not draw over others."));
        // `people/ID` finds warnings by the topic, as an act of moderation; src/admin/page/sentences.js by the text.
        let logs = table.replies(A, "log");
        assert_eq!(logs.last().unwrap()["topic"], "Mute");
        let logged = logs.last().unwrap()["message"].as_str().unwrap_or_default();
        assert!(logged.starts_with("B: Warned by ") || logged.starts_with("Warned by "), "{logged}");
        assert!(logged.ends_with(&format!("({expected}): Please do not draw over others.")), "{logged}");
        table.come_again(B, "B");
    }
    assert!(alerts(&table, C).is_empty());
}

#[test]
fn a_session_closed_to_newcomers_is_open_to_those_who_were_there() {
    let mut table = Table::of_three();
    assert!(table.administer(AdminRequest::CloseToNewcomers(600)).is_ok());
    table.leave(B);
    assert_eq!(table.join(client(B, "B")), None);
    let refusal = table.join(client(4, "D"));
    let Some(Refusal::Error { code, message }) = refusal else { panic!("{refusal:?}") };
    assert_eq!((code, message.contains("10 minutes")), ("closed", true), "{message}");
    assert_eq!(table.join(moderator(5, "E")), None);
    assert!(table.restrictions().closed_until.is_some());
    table.wait(600_000);
    assert_eq!(table.join(client(4, "D")), None);
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let mut table = Table::of_three();
    table.join(moderator(4, "M"));
    let restrict = |user, seconds, reason: &str| AdminRequest::Restrict {
        user,
        kind: RestrictionKind::Mute,
        seconds,
        reason: reason.into(),
    };
    let (b, m) = (table.seats[&B].user, table.seats[&4].user);
    assert_eq!(table.administer(restrict(99, 10, "")).err(), Some(AdminError::NotFound));
    assert!(matches!(table.administer(restrict(m, 10, "")), Err(AdminError::NotPossible(_))));
    assert!(matches!(table.administer(restrict(b, 0, "")), Err(AdminError::NotPossible(_))));
    assert!(matches!(table.administer(restrict(b, 31 * 86_400, "")), Err(AdminError::NotPossible(_))));
    assert_eq!(table.administer(restrict(b, 10, &"x".repeat(501))).err(), Some(AdminError::TextTooLong));
    assert_eq!(table.administer(AdminRequest::LiftRestriction(7)).err(), Some(AdminError::NotFound));
    let empty = AdminRequest::Warn { user: b, message: String::new() };
    assert_eq!(table.administer(empty).err(), Some(AdminError::NotPossible("the message is empty".into())));
    assert!(table.restrictions().restrictions.is_empty());
}

#[test]
fn restrictions_are_kept_while_a_stored_session_is_unloaded() {
    let mut table = Table::of_three();
    table.restrict(B, RestrictionKind::Mute, 600);
    let text = serde_json::to_string(&table.machine.rest()).unwrap();
    assert!(text.contains("\"mute\"") && text.contains("scribbling"), "{text}");
    let plain = serde_json::to_string(&Table::of_three().machine.rest()).unwrap();
    assert!(!plain.contains("restrictions"), "{plain}");
}
