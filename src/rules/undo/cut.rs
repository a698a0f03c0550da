//! Cutting a history back to a time: what was drawn later goes. Source: docs/spec/session.md#cutting-back.

use std::collections::BTreeMap;

use drawhall_protocol::frame::{FIRST_COMMAND, FrameRef};
use drawhall_protocol::message::{Chat, Layout, UndoPoint};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::UndoMachine;
use super::rebuild::{Messages, RebuildError};
use super::restored_image::{ImageBuilder, RestoredImage};
use super::times::TimeMark;

/// People that a report names at most.
const MAX_PEOPLE: usize = 50;

/// Somebody whose actions go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CutPerson {
    /// User id.
    pub id: u8,
    /// Name; empty if unknown.
    pub name: String,
    /// Their actions that go.
    pub actions: u64,
}

/// What cutting back would do, or has done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CutReport {
    /// Actions that go, undone ones included.
    pub actions: u64,
    /// Drawing messages that go.
    pub messages: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Whose actions go, most first; at most 50.
    pub people: Vec<CutPerson>,
}

/// A history that was cut.
#[derive(Debug)]
pub struct Cut {
    /// What goes.
    pub report: CutReport,
    /// The image of what stays; `None` if only the report was asked for.
    pub image: Option<RestoredImage>,
}

/// Cuts a history back to a place. The image is of everything before it, and of the last pinned message of now.
///
/// # Errors
/// When the history cannot be read, when no message ends at that place, or when nothing was drawn behind it.
pub fn cut_back(
    history: &(impl Messages + ?Sized),
    layout: Layout,
    to: TimeMark,
    makes_image: bool,
) -> Result<Cut, RebuildError> {
    let mut builder = makes_image.then(|| ImageBuilder::new(layout));
    let mut machine = UndoMachine::new(layout);
    machine.remember_everybody();
    let mut report = CutReport::default();
    // A reset has everybody join again, under the same id and name.
    let mut actions_of: BTreeMap<(u8, String), u64> = BTreeMap::new();
    let (mut messages, mut size, mut fits) = (0, 0, false);
    history.visit(&mut |frame: FrameRef<'_>| {
        let (header, len) = (frame.header, frame.bytes.len() as u64);
        fits |= messages == to.messages && size == to.size;
        // A person is named by the number of the message here, which is only used to find the name.
        machine.feed(frame, messages as i64);
        let stays = messages < to.messages;
        if !stays && header.kind >= FIRST_COMMAND {
            report.messages += 1;
            report.bytes += len;
            if header.kind == UndoPoint::TYPE {
                report.actions += 1;
                if let Some(person) = machine.people().holder(header.user) {
                    *actions_of.entry((person.user, person.name.clone())).or_default() += 1;
                }
            }
        }
        if let Some(builder) = builder.as_mut().filter(|_| stays || header.kind == Chat::TYPE) {
            builder.add(frame);
        }
        messages += 1;
        size += len;
    })?;
    if !fits && (messages, size) != (to.messages, to.size) {
        return Err(RebuildError::WrongMark);
    }
    if report.messages == 0 {
        return Err(RebuildError::NothingSince);
    }
    report.people =
        actions_of.into_iter().map(|((id, name), actions)| CutPerson { id, name, actions }).collect();
    report.people.sort_by_key(|person| std::cmp::Reverse(person.actions));
    report.people.truncate(MAX_PEOPLE);
    Ok(Cut { report, image: builder.map(ImageBuilder::finish) })
}

#[cfg(test)]
mod tests {
    use drawhall_protocol::Frame;
    use drawhall_protocol::frame::frames;
    use drawhall_protocol::message::{Join, Leave, Message, PenUp};

    use super::*;

    const V25: Layout = Layout::V4_25;

    fn frame(kind: u8, user: u8, payload: &[u8]) -> Vec<u8> {
        Frame::new(kind, user, payload).unwrap().as_bytes().to_vec()
    }

    fn join(user: u8, name: &str) -> Vec<u8> {
        let join = Message::from(Join { name: name.into(), ..Join::default() });
        join.to_frame(user, V25).unwrap().as_bytes().to_vec()
    }

    fn point(user: u8) -> Vec<u8> {
        frame(UndoPoint::TYPE, user, &[])
    }

    fn dabs(user: u8) -> Vec<u8> {
        frame(148, user, &[user; 20])
    }

    fn pin(text: &str) -> Vec<u8> {
        frame(Chat::TYPE, 1, &[b"\0\x04", text.as_bytes()].concat())
    }

    fn at(parts: &[Vec<u8>], messages: usize) -> TimeMark {
        let size = parts[..messages].iter().map(|part| part.len() as u64).sum();
        TimeMark { utc_ms: 0, messages: messages as u64, size }
    }

    fn cut(parts: &[Vec<u8>], messages: usize) -> Result<Cut, RebuildError> {
        cut_back(parts.concat().as_slice(), V25, at(parts, messages), true)
    }

    #[test]
    fn what_was_drawn_later_goes_and_open_strokes_are_ended() {
        let before = [join(1, "Ann"), join(2, "Bo"), point(1), dabs(1), point(2), dabs(2)];
        let later = [frame(PenUp::TYPE, 1, &[0, 0, 0]), point(2), dabs(2), point(2), point(1)];
        let history = [&before[..], &later].concat();
        let Cut { report, image } = cut(&history, before.len()).unwrap();
        let image = image.unwrap();
        let pen_up = |user| frame(PenUp::TYPE, user, &[0, 0, 0]);
        assert_eq!(image.bytes, [before.concat(), pen_up(1), pen_up(2)].concat());
        assert_eq!(image.messages, 8);
        assert_eq!((report.actions, report.messages), (3, 5));
        assert_eq!(report.bytes, later.concat().len() as u64);
        let people: Vec<(&str, u64)> = report.people.iter().map(|p| (p.name.as_str(), p.actions)).collect();
        assert_eq!(people, [("Bo", 2), ("Ann", 1)]);
    }

    #[test]
    fn presence_is_that_of_then_and_the_pinned_message_that_of_now() {
        let before = [join(1, "Ann"), pin("old"), dabs(1)];
        let later = [join(2, "Bo"), frame(Leave::TYPE, 1, &[]), pin("new"), dabs(2)];
        let image = cut(&[&before[..], &later].concat(), before.len()).unwrap().image.unwrap();
        assert_eq!(image.present.keys().copied().collect::<Vec<_>>(), [1]);
        let last = frames(&image.bytes).last().unwrap();
        assert_eq!(last.bytes, pin("new"));
    }

    #[test]
    fn an_undo_after_the_time_does_not_count() {
        let history = [join(1, "Ann"), point(1), dabs(1), frame(255, 1, &[0, 0])];
        let image = cut(&history, 3).unwrap().image.unwrap();
        assert!(frames(&image.bytes).all(|frame| frame.header.kind != 255));
    }

    #[test]
    fn replies_of_the_server_do_not_stay() {
        let history = [join(1, "Ann"), frame(0, 0, b"{}"), dabs(1), point(1)];
        let image = cut(&history, 3).unwrap().image.unwrap();
        assert!(frames(&image.bytes).all(|frame| frame.header.kind != 0));
    }

    #[test]
    fn a_place_inside_of_a_message_or_behind_the_end_is_refused() {
        let history = [join(1, "Ann"), point(1), dabs(1)];
        let bytes = history.concat();
        for mark in [
            TimeMark { size: 5, ..at(&history, 1) },
            TimeMark { messages: 2, ..at(&history, 1) },
            TimeMark { messages: 9, ..at(&history, 3) },
        ] {
            let refused = cut_back(bytes.as_slice(), V25, mark, false);
            assert!(matches!(refused, Err(RebuildError::WrongMark)), "{mark:?}");
        }
    }

    #[test]
    fn nothing_is_done_if_nothing_was_drawn_since() {
        let history = [join(1, "Ann"), point(1), join(2, "Bo")];
        assert!(matches!(cut(&history, 2), Err(RebuildError::NothingSince)));
        assert!(matches!(cut(&history, 3), Err(RebuildError::NothingSince)));
    }
}
