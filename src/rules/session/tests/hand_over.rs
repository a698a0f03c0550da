//! Members who stay while their session moves to another server.

use std::collections::HashSet;

use drawhall_protocol::message::TrustedUsers;

use super::restrictions_stored::Stored;
use super::*;
use crate::rules::session::hand_over::StayingMembers;
use crate::rules::session::input::Input;
use crate::rules::session::restrictions::RestrictionKind;

/// Connection of B at the other server.
const B_THERE: ConnId = 20;

fn staying(table: &Table, conns: &[ConnId]) -> StayingMembers {
    assert!(table.machine.may_be_handed_over());
    let mut staying = table.machine.staying(&conns.iter().copied().collect::<HashSet<_>>());
    for member in &mut staying.members {
        member.client.conn += B_THERE - B;
    }
    let json = serde_json::to_vec(&staying).unwrap();
    serde_json::from_slice(&json).unwrap()
}

fn leaves(table: &mut Table) -> Vec<u8> {
    let bytes = table.machine.history().to_bytes();
    frames(&bytes).filter(|frame| frame.header.kind == 33).map(|frame| frame.header.user).collect()
}

#[test]
fn who_stays_keeps_ranks_and_goes_on_where_it_was() {
    let mut session = Stored::of_three();
    let table = &mut session.table;
    table.send(A, &[Frame::new(34, 0, &[1, 2]).unwrap()]);
    table.send(A, &[Frame::new(TrustedUsers::TYPE, 0, &[2]).unwrap()]);
    let staying = staying(table, &[B]);
    assert_eq!(staying.members.len(), 1);
    let start_id = table.machine.resets.start_ids().current();
    session.move_with(0, staying);
    let table = &mut session.table;
    assert_eq!(table.machine.resets.start_ids().current(), start_id, "its history index goes on with that");
    assert_eq!(table.machine.awaited().collect::<Vec<_>>(), [B_THERE]);
    assert_eq!(leaves(table), [1, 3], "nobody sees B leave");
    let member = table.machine.members().iter().find(|member| member.id == 2).unwrap();
    assert!(member.is_operator() && member.trusted);
    assert_eq!(member.name(), "B");

    table.seats.insert(B_THERE, Seat::default());
    table.act(|machine, cx| machine.handle(Input::Resume(B_THERE), cx));
    assert_eq!(table.seat(B_THERE).user, 2);
    assert_eq!(table.history(B_THERE)[..2], [(33, 1), (33, 3)], "what it has is not sent again");
    assert_eq!(table.machine.awaited().count(), 0);
    let before = table.machine.history().to_bytes().len();
    table.send(B_THERE, &[dab(10)]);
    assert!(table.machine.history().to_bytes().len() > before);
}

#[test]
fn what_moderators_do_not_allow_holds_at_once_and_somebody_is_operator() {
    let mut session = Stored::of_three();
    session.table.restrict(B, RestrictionKind::Mute, 600);
    let staying = staying(&session.table, &[B, C]);
    session.move_with(0, staying);
    let table = &mut session.table;
    let muted: Vec<bool> = table.machine.members().iter().map(Member::is_muted).collect();
    assert_eq!(muted, [true, false]);
    table.seats = [B_THERE, B_THERE + C - B].map(|conn| (conn, Seat::default())).into();
    table.act(|machine, cx| machine.handle(Input::Resume(B_THERE), cx));
    let operators = table.machine.members().iter().filter(|member| member.is_operator());
    assert_eq!(operators.map(|member| member.id).collect::<Vec<_>>(), [2], "the host has left");
}

#[test]
fn who_does_not_come_has_left() {
    let mut session = Stored::of_three();
    let staying = staying(&session.table, &[A, B]);
    session.move_with(0, staying);
    let table = &mut session.table;
    let gone: Vec<ConnId> = table.machine.awaited().collect();
    assert_eq!(gone.len(), 2);
    table.seats = gone.iter().map(|conn| (*conn, Seat::default())).collect();
    for conn in gone {
        table.act(|machine, cx| machine.handle(Input::Cut(conn), cx));
    }
    let mut left = leaves(table);
    left.sort_unstable();
    assert_eq!(left, [1, 2, 3]);
    assert!(!table.ended, "others may come: it was an accident");
}

#[test]
fn nobody_stays_where_the_history_is_another_one() {
    let mut session = Stored::of_three();
    let mut staying = staying(&session.table, &[B]);
    staying.hidx = staying.hidx.replace("id", "other");
    session.move_with(0, staying);
    let table = &mut session.table;
    assert_eq!(table.machine.awaited().count(), 0);
    let mut left = leaves(table);
    left.sort_unstable();
    assert_eq!(left, [1, 2, 3]);
    table.seats.insert(B_THERE, Seat::default());
    table.act(|machine, cx| machine.handle(Input::Resume(B_THERE), cx));
    assert!(table.seat(B_THERE).refused.is_some());
}

#[test]
fn a_session_in_the_middle_of_a_reset_does_not_move() {
    let mut table = Table::of_three();
    table.command(A, "reset-session", json!([]), json!({"type": "current"}));
    assert!(!table.machine.may_be_handed_over());
    assert!(!Table::hosting(Settings::default()).machine.may_be_handed_over());
}

#[test]
fn avatars_beyond_a_limit_are_left_behind() {
    let mut table = Table::running(Settings::default());
    let conns: Vec<ConnId> = (10..20).collect();
    for conn in &conns {
        let mut client = client(*conn, &format!("N{conn}"));
        client.avatar = vec![b'x'; 60 << 10];
        assert!(table.join(client).is_none());
    }
    let staying = staying(&table, &conns);
    let kept = staying.members.iter().filter(|member| !member.client.avatar.is_empty()).count();
    assert_eq!((staying.members.len(), kept), (10, 4));
}
