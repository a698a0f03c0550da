//! The space of a session, and idle sessions of one user.

use super::*;
use crate::rules::session::admin::AdminRequest;
use crate::rules::session::admin::answer::{Answered, SpaceDetails};
use crate::rules::session::input::Input;

fn limited(key: &str, value: &str) -> Settings {
    let mut settings = Settings::default();
    settings.set("autoResetThreshold", "0").unwrap();
    settings.set(key, value).unwrap();
    settings
}

fn stroke(len: usize) -> Frame {
    Frame::new(148, 0, &vec![7; len]).unwrap()
}

fn expire(table: &mut Table) {
    table.act(|machine, cx| machine.handle(Input::Expire, cx));
}

fn space(table: &mut Table) -> SpaceDetails {
    let effects = table.effects(|machine, cx| machine.handle(Input::Administer(AdminRequest::Space), cx));
    let answer = effects.into_iter().find_map(|effect| match effect {
        Effect::Answer(answer) => Some(answer),
        _ => None,
    });
    match answer {
        Some(Ok(Answered::Space(details))) => details,
        other => panic!("{other:?}"),
    }
}

fn told(table: &Table, conn: ConnId) -> Vec<String> {
    let texts = table.replies(conn, "msg");
    let texts = texts.iter().filter_map(|v| v["message"].as_str());
    texts.filter(|text| text.contains("of the space")).map(str::to_owned).collect()
}

#[test]
fn operators_are_told_when_space_becomes_scarce_and_by_whom() {
    let mut table = Table::running(limited("sessionSizeLimit", "100kb"));
    table.join(client(B, "B"));
    table.send(A, &[stroke(10_000)]);
    table.send(B, &[stroke(60_000), stroke(15_000)]);
    for _ in 0..3 {
        table.wait(15_000);
        expire(&mut table);
    }
    let texts = told(&table, A);
    assert_eq!(texts.len(), 1, "once: {texts:?}");
    assert!(texts[0].starts_with("8") && texts[0].contains("Most of it is by B 88 %, A 11 %"), "{texts:?}");
    assert!(told(&table, B).is_empty());
    table.send(B, &[stroke(14_000)]);
    expire(&mut table);
    assert_eq!(told(&table, A).len(), 2);
    table.wait(60_000);
    let details = space(&mut table);
    assert_eq!((details.limit, details.shares.len()), (100 << 10, 2));
    assert_eq!((details.shares[0].name.as_str(), details.shares[0].bytes), ("B", 89_000 + 3 * 4));
    assert!(details.seconds_left.is_some());
}

#[test]
fn a_session_at_its_limit_can_be_joined_seen_moderated_and_reset() {
    let mut table = Table::running(limited("sessionSizeLimit", "20kb"));
    table.join(client(B, "B"));
    for _ in 0..100 {
        let left = (20 << 10) - table.machine.history().size() as usize;
        if left >= 4 {
            table.send(A, &[stroke((left - 4).min(5000))]);
        }
    }
    let full = table.machine.history().size();
    table.send(A, &[stroke(1000)]);
    assert_eq!(table.machine.history().size(), full, "no more drawing");
    assert_eq!(table.join(client(C, "C")), None);
    let seen = table.history(C);
    assert!(seen.iter().any(|(kind, _)| *kind == 148), "{seen:?}");
    let (b, c) = (table.seats[&B].user, table.seats[&C].user);
    table.forget();
    table.send(A, &[Frame::new(36, 0, &[b]).unwrap(), Frame::new(68, 0, &[c]).unwrap()]);
    assert_eq!(table.history(C), [(36, 1), (68, 1)], "roles and locks of operators");
    table.send(B, &[Frame::new(68, 0, &[c]).unwrap(), stroke(1000)]);
    assert_eq!(table.history(C).len(), 2, "but nothing of others");
    table.command(A, "reset-session", json!([]), json!({}));
    table.send(A, &[canvas(), stroke(10)]);
    table.command(A, "init-complete", json!([]), json!({}));
    table.forget();
    assert!(space(&mut table).shares.is_empty(), "a reset begins anew");
    table.send(B, &[stroke(1000)]);
    assert!(table.history(C).contains(&(148, b)));
}

#[test]
fn operators_cannot_use_up_the_reserve_of_a_full_session() {
    for (key, value) in [("sessionSizeLimit", "20kb"), ("sessionSizeLimit", "0")] {
        let mut table = Table::running(limited(key, value));
        table.join(client(B, "B"));
        if value == "0" {
            table.act(|machine, cx| machine.handle(Input::ServerFull(true), cx));
        } else {
            (0..3).for_each(|_| table.send(A, &[stroke(10_000)]));
        }
        let before = table.machine.history().size();
        (0..40).for_each(|_| table.send(A, &[Frame::new(68, 0, &[1; 65_535]).unwrap()]));
        assert_eq!(table.machine.history().size(), before, "too long for a list of users");
        let lists = vec![Frame::new(68, 0, &[1; 255]).unwrap(); 1000];
        (0..10).for_each(|_| table.send(A, &lists));
        let grown = table.machine.history().size() - before;
        assert!((1 << 18..(1 << 19) + (20 << 10)).contains(&grown), "{grown}");
        table.forget();
        table.leave(B);
        assert!(table.history(A).iter().any(|(kind, _)| *kind == 33), "that somebody leaves is still kept");
    }
}

#[test]
fn an_idle_session_of_one_user_ends_after_a_warning() {
    let mut table = Table::running(limited("loneSessionTimeLimit", "1h"));
    let minutes = |table: &mut Table, count: u64| {
        table.wait(count * 60_000);
        expire(table);
    };
    let warned = |table: &Table| {
        table
            .replies(A, "alert")
            .iter()
            .filter(|v| v["message"].to_string().contains("this session ends"))
            .count()
    };
    minutes(&mut table, 54);
    assert_eq!(warned(&table), 0);
    minutes(&mut table, 1);
    assert_eq!(warned(&table), 1);
    table.send(A, &[stroke(5)]);
    minutes(&mut table, 54);
    assert!(!table.ended && warned(&table) == 1, "something happened");
    table.join(client(B, "B"));
    minutes(&mut table, 120);
    assert!(!table.ended, "there are two");
    table.leave(B);
    minutes(&mut table, 56);
    assert!(warned(&table) == 2 && !table.ended);
    minutes(&mut table, 4);
    assert!(!table.ended);
    minutes(&mut table, 1);
    assert!(table.ended);
    assert_eq!(table.seat(A).gone.as_ref().unwrap().1, "Session terminated due to being idle too long");
}

#[test]
fn an_idle_session_of_one_user_stays_by_default_and_when_it_is_persistent() {
    let mut table = Table::running(Settings::default());
    table.wait(1_000_000_000);
    expire(&mut table);
    assert!(!table.ended);
    let mut settings = limited("loneSessionTimeLimit", "1h");
    settings.set("persistence", "true").unwrap();
    let mut table = Table::running(settings);
    table.command(A, "sessionconf", json!([]), json!({"persistent": true}));
    for _ in 0..3 {
        table.wait(4_000_000);
        expire(&mut table);
    }
    assert!(!table.ended);
}
