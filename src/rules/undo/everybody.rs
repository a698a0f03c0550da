//! Everybody who was in a history: when, and how much they drew.

use std::collections::BTreeMap;
use std::io;

use drawhall_protocol::frame::FIRST_COMMAND;
use drawhall_protocol::message::{Layout, UndoPoint};

use super::UndoMachine;
use super::people::Person;
use super::rebuild::Messages;

/// Somebody who was in a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPresence {
    /// Who it was.
    pub person: Person,
    /// Size of what they drew, in bytes.
    pub bytes: u64,
    /// Their actions among the first messages, which lie before the last reset.
    pub before_reset: u64,
    /// How many of their newest actions can be undone.
    pub undoable: usize,
}

/// What somebody drew so far.
#[derive(Debug, Clone, Copy, Default)]
struct Drawn {
    bytes: u64,
    before_reset: u64,
}

/// Everybody in a history, in the order of joining. The first `reset_at` messages lie before the last reset.
///
/// # Errors
/// When it cannot be read.
pub fn everybody(
    history: &(impl Messages + ?Sized),
    layout: Layout,
    first_index: i64,
    reset_at: u64,
) -> io::Result<Vec<HistoryPresence>> {
    let mut machine = UndoMachine::new(layout);
    machine.remember_everybody();
    let mut drawn: BTreeMap<i64, Drawn> = BTreeMap::new();
    // What an image is made of is nobody's: it has no undo points.
    let (mut messages, mut image_is_over) = (0, false);
    history.visit(&mut |frame| {
        let header = frame.header;
        machine.feed(frame, first_index.saturating_add_unsigned(messages));
        image_is_over |= header.kind == UndoPoint::TYPE;
        if image_is_over
            && header.kind >= FIRST_COMMAND
            && let Some(holder) = machine.people().holder(header.user)
        {
            let drawn = drawn.entry(holder.index).or_default();
            drawn.bytes += frame.bytes.len() as u64;
            drawn.before_reset += u64::from(header.kind == UndoPoint::TYPE && messages < reset_at);
        }
        messages += 1;
    })?;
    let presence = |person: &Person| {
        let Drawn { bytes, before_reset } = drawn.get(&person.index).copied().unwrap_or_default();
        let undoable = machine.undoable(person.index).unwrap_or(0);
        HistoryPresence { person: person.clone(), bytes, before_reset, undoable }
    };
    Ok(machine.people().iter().map(presence).collect())
}

#[cfg(test)]
mod tests {
    use drawhall_protocol::Frame;
    use drawhall_protocol::message::{Join, Leave, Message};

    use super::*;

    const V25: Layout = Layout::V4_25;

    fn frame(kind: u8, user: u8, payload: &[u8]) -> Vec<u8> {
        Frame::new(kind, user, payload).unwrap().as_bytes().to_vec()
    }

    fn join(user: u8) -> Vec<u8> {
        let join = Message::from(Join { name: format!("u{user}"), ..Join::default() });
        join.to_frame(user, V25).unwrap().as_bytes().to_vec()
    }

    fn point(user: u8) -> Vec<u8> {
        frame(UndoPoint::TYPE, user, &[])
    }

    #[test]
    fn everybody_is_listed_also_those_who_left_long_ago() {
        let dabs = |user| frame(148, user, &[7; 96]);
        let mut history = vec![join(9), dabs(9), point(9), dabs(9), frame(Leave::TYPE, 9, &[]), join(1)];
        history.extend(std::iter::repeat_n(point(1), 100));
        let people = everybody(history.concat().as_slice(), V25, 5, 16).unwrap();
        let listed: Vec<_> = people
            .iter()
            .map(|p| (p.person.index, p.person.name.as_str(), p.person.actions, p.before_reset, p.bytes))
            .collect();
        // The first stroke belongs to what the history began with.
        assert_eq!(listed, [(5, "u9", 1, 1, 104), (10, "u1", 100, 10, 400)]);
        assert_eq!((people[0].person.left, people[0].undoable), (Some(9), 0));
        assert_eq!((people[1].person.left, people[1].undoable), (None, 30));
    }
}
