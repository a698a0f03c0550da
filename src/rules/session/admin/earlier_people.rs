//! The list of who was in earlier histories of a session, made from its histories one by one.

use std::cmp::Reverse;

use super::histories::{EarlierPresence, Presence, Somebody};
use crate::rules::time::iso_of;
use crate::rules::undo::everybody::HistoryPresence;
use crate::rules::undo::times::TimeMarks;

/// How far back earlier histories are listed, in milliseconds.
const REACH_MS: i64 = 24 * 3_600_000;
/// How many are listed; of more, those who left last.
const MAX_LISTED: usize = 1000;

/// An earlier history, and how long it was the present one.
#[derive(Debug, Clone, Copy)]
pub struct HistorySpan {
    /// Number of its file.
    pub number: u32,
    /// When it began, in milliseconds since 1970; `None` if unknown.
    pub from_ms: Option<i64>,
    /// When a reset replaced it, in milliseconds since 1970.
    pub until_ms: i64,
}

/// Who was there in the last 24 hours.
#[derive(Debug)]
pub struct EarlierPeople {
    oldest_ms: i64,
    rows: Vec<Row>,
    /// The history that was added before: the next newer one.
    newer: Option<u32>,
    since_ms: Option<i64>,
    is_full: bool,
}

/// Somebody in an earlier history, while the list is made.
#[derive(Debug)]
struct Row {
    presence: EarlierPresence,
    until_ms: i64,
    /// Number of the history at whose beginning they were there, so perhaps also at the end of the one before.
    since_beginning_of: Option<u32>,
}

impl EarlierPeople {
    /// Nobody yet. It is `now_ms`, milliseconds since 1970.
    pub fn new(now_ms: i64) -> EarlierPeople {
        let oldest_ms = now_ms - REACH_MS;
        EarlierPeople { oldest_ms, rows: Vec::new(), newer: None, since_ms: None, is_full: false }
    }

    /// Whether the list may have somebody of this history. It does not reach beyond one that it does not want.
    pub fn wants(&self, span: HistorySpan) -> bool {
        !self.is_full && span.until_ms >= self.oldest_ms
    }

    /// Adds who was in a history. They are added from the newest to the oldest.
    pub fn add(&mut self, span: HistorySpan, people: Vec<HistoryPresence>, times: &TimeMarks) {
        self.since_ms = reach(span, self.oldest_ms).or(self.since_ms);
        let mut rows: Vec<Row> = people.into_iter().map(|person| row(person, span, times)).collect();
        rows.retain(|row| row.until_ms >= self.oldest_ms);
        let room = MAX_LISTED - self.rows.len();
        if rows.len() > room {
            self.is_full = true;
            self.since_ms = keep_last(&mut rows, room).or(self.since_ms);
        }
        for row in rows {
            self.add_row(row, span);
        }
        self.newer = Some(span.number);
    }

    /// Adds somebody of a history. Whoever was there at its end and at the beginning of the next one has one row.
    fn add_row(&mut self, row: Row, span: HistorySpan) {
        let newer = self.newer;
        let stayed = newer.is_some() && row.until_ms == span.until_ms;
        let is_same = |next: &&mut Row| {
            let (a, b) = (&row.presence, &next.presence);
            next.since_beginning_of == newer && (a.id, &a.name, a.auth) == (b.id, &b.name, b.auth)
        };
        // Most have left before the end.
        let next = if stayed { self.rows.iter_mut().find(is_same) } else { None };
        let Some(next) = next else { return self.rows.push(row) };
        next.presence.from = row.presence.from;
        next.presence.actions += row.presence.actions;
        next.presence.bytes += row.presence.bytes;
        next.since_beginning_of = row.since_beginning_of;
    }

    /// The list, newest history first, and how far back it reaches, in milliseconds since 1970.
    pub fn finish(self) -> (Vec<EarlierPresence>, Option<i64>) {
        (self.rows.into_iter().map(|row| row.presence).collect(), self.since_ms)
    }
}

/// How far back the list reaches with this history: who left before the oldest time is not in it.
fn reach(span: HistorySpan, oldest_ms: i64) -> Option<i64> {
    span.from_ms.map(|from_ms| from_ms.max(oldest_ms))
}

/// Keeps the `room` rows of those who left last, in their order. Returns the time after which nobody is missing.
fn keep_last(rows: &mut Vec<Row>, room: usize) -> Option<i64> {
    let mut left: Vec<(i64, usize)> = rows.iter().enumerate().map(|(at, row)| (row.until_ms, at)).collect();
    left.sort_unstable_by_key(|left| Reverse(*left));
    let first_missing = *left.get(room)?;
    let mut at = 0..;
    rows.retain(|row| (row.until_ms, at.next().unwrap_or_default()) > first_missing);
    Some(first_missing.0 + 1)
}

fn row(presence: HistoryPresence, span: HistorySpan, times: &TimeMarks) -> Row {
    let HistoryPresence { person, bytes, .. } = presence;
    let time_of = |index: i64| times.time_of(index.cast_unsigned());
    let from_ms = time_of(person.index).or(span.from_ms);
    let until_ms = person.left.and_then(time_of).unwrap_or(span.until_ms);
    let presence = EarlierPresence {
        id: person.user,
        name: person.name,
        auth: person.account,
        from: from_ms.map_or(String::new(), iso_of),
        until: iso_of(until_ms),
        actions: person.actions,
        bytes,
    };
    let was_there = from_ms <= span.from_ms;
    Row { presence, until_ms, since_beginning_of: was_there.then_some(span.number) }
}

impl Presence {
    /// Somebody in the history that drawing can be removed from, which gives people numbers of its own.
    pub fn new(
        presence: &HistoryPresence,
        number_of: impl Fn(i64) -> i64,
        time_of: impl Fn(i64) -> Option<i64>,
    ) -> Presence {
        let person = &presence.person;
        let iso = |index: i64| time_of(index).map_or(String::new(), iso_of);
        Presence {
            who: Somebody { person: number_of(person.index), ..Somebody::new(person) },
            from: iso(person.index),
            until: person.left.map_or(String::new(), iso),
            bytes: presence.bytes,
            before_reset: presence.before_reset,
            undoable: presence.undoable as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use drawhall_protocol::Frame;
    use drawhall_protocol::message::{Join, Layout, Leave, Message};

    use super::*;
    use crate::rules::undo::everybody::everybody;
    use crate::rules::undo::times::{Origin, TimeMark};

    const V25: Layout = Layout::V4_25;

    fn join(user: u8, name: &str) -> Vec<u8> {
        let join = Message::from(Join { name: name.into(), ..Join::default() });
        join.to_frame(user, V25).unwrap().as_bytes().to_vec()
    }

    fn leave(user: u8) -> Vec<u8> {
        Frame::new(Leave::TYPE, user, &[]).unwrap().as_bytes().to_vec()
    }

    /// A history with a message each second.
    fn add(people: &mut EarlierPeople, span: HistorySpan, history: &[Vec<u8>]) {
        let begin = span.from_ms.unwrap();
        let marks = (0..history.len() as u64).map(|messages| {
            let utc_ms = begin + 1000 * messages.cast_signed();
            TimeMark { utc_ms, messages, size: 0 }
        });
        let times = TimeMarks::restored(marks, Origin::default());
        let found = everybody(history.concat().as_slice(), V25, 0, 0).unwrap();
        people.add(span, found, &times);
    }

    #[test]
    fn the_list_reaches_back_no_further_than_to_those_who_are_in_it() {
        let week = |from_ms| HistorySpan { number: 1, from_ms, until_ms: 9000 };
        assert_eq!(reach(week(Some(1000)), 5000), Some(5000), "who left between is not listed");
        assert_eq!(reach(week(Some(6000)), 5000), Some(6000));
        assert_eq!(reach(week(None), 5000), None);
    }

    #[test]
    fn of_too_many_those_who_left_last_are_listed() {
        let mut people = EarlierPeople::new(REACH_MS);
        let newest = HistorySpan { number: 3, from_ms: Some(5_000_000), until_ms: 6_000_000 };
        add(&mut people, newest, &[join(1, "Ann")]);
        let mut troll: Vec<_> = (0..1200).flat_map(|n| [join(2, &format!("t{n}")), leave(2)]).collect();
        // She was there the whole time, and is not lost among them.
        troll.insert(0, join(1, "Ann"));
        let flooded = HistorySpan { number: 2, from_ms: Some(0), until_ms: 5_000_000 };
        assert!(people.wants(flooded));
        add(&mut people, flooded, &troll);
        let older = HistorySpan { number: 1, from_ms: Some(-1000), until_ms: 0 };
        assert!(!people.wants(older), "it is full");
        let (listed, since_ms) = people.finish();
        // One of the rows is in both histories.
        assert_eq!(listed.len(), MAX_LISTED - 1);
        assert_eq!((&*listed[0].name, &*listed[0].from), ("Ann", &*iso_of(0)));
        assert_eq!((&*listed[1].name, &*listed[998].name), ("t202", "t1199"));
        assert_eq!(since_ms, Some(1 + 1000 * 2 * 202), "the last who is missing left then");
    }
}
