//! Where removing what a person drew since a time begins. Source: docs/spec/session.md#removing-a-person.

use drawhall_protocol::frame::FIRST_COMMAND;
use drawhall_protocol::message::{Join, Leave, Undo, UndoPoint};

use super::rebuild::{Messages, RebuildError};
use super::times::TimeMark;

/// Number of the message at the mark, or of the beginning of the person's action that is going on there: half an
/// action would leave a stroke that never ends. `person` is an index in a history whose first message has
/// `first_index`.
///
/// # Errors
/// When the history cannot be read, or no message ends at that place.
pub(super) fn begin_of_removal(
    history: &(impl Messages + ?Sized),
    first_index: i64,
    person: i64,
    mark: TimeMark,
) -> Result<usize, RebuildError> {
    let joined = person.saturating_sub(first_index);
    let (mut messages, mut size, mut fits) = (0u64, 0, false);
    // User id of the person while they are there; their last action; whether it goes on behind the mark.
    let (mut user, mut action, mut goes_on) = (None, None, None);
    history.visit(&mut |frame| {
        let header = frame.header;
        fits |= messages == mark.messages && size == mark.size;
        if i64::try_from(messages) == Ok(joined) {
            user = Some(header.user);
        } else if user == Some(header.user) && matches!(header.kind, Join::TYPE | Leave::TYPE) {
            user = None;
        }
        if user == Some(header.user) && header.kind >= FIRST_COMMAND {
            if messages >= mark.messages {
                goes_on.get_or_insert(!matches!(header.kind, UndoPoint::TYPE | Undo::TYPE));
            } else if header.kind == UndoPoint::TYPE {
                action = Some(messages);
            }
        }
        messages += 1;
        size += frame.bytes.len() as u64;
    })?;
    if !fits && (messages, size) != (mark.messages, mark.size) {
        return Err(RebuildError::WrongMark);
    }
    let begin = action.filter(|_| goes_on == Some(true)).unwrap_or(mark.messages);
    usize::try_from(begin).map_err(|_| RebuildError::WrongMark)
}

#[cfg(test)]
mod tests {
    use drawhall_protocol::Frame;

    use super::*;

    fn frame(kind: u8, user: u8, payload: &[u8]) -> Vec<u8> {
        Frame::new(kind, user, payload).unwrap().as_bytes().to_vec()
    }

    fn join(user: u8) -> Vec<u8> {
        frame(Join::TYPE, user, b"\0\x01a")
    }

    fn point(user: u8) -> Vec<u8> {
        frame(UndoPoint::TYPE, user, &[])
    }

    fn dabs(user: u8) -> Vec<u8> {
        frame(148, user, &[user; 20])
    }

    fn begin(parts: &[Vec<u8>], person: i64, at: usize) -> usize {
        let size = parts[..at].iter().map(|part| part.len() as u64).sum();
        let mark = TimeMark { utc_ms: 0, messages: at as u64, size };
        begin_of_removal(parts.concat().as_slice(), 100, 100 + person, mark).unwrap()
    }

    #[test]
    fn an_action_that_is_going_on_goes_as_a_whole() {
        let history = [join(1), join(2), point(1), dabs(1), point(2), dabs(2), dabs(1), point(1)];
        assert_eq!(begin(&history, 0, 5), 2, "the stroke of message 6 began with message 2");
        assert_eq!(begin(&history, 0, 7), 7, "the next action begins here");
        assert_eq!(begin(&history, 1, 6), 6, "nothing of theirs follows");
        assert_eq!(begin(&history, 1, 5), 4);
    }

    #[test]
    fn an_undo_ends_an_action() {
        let history = [join(1), point(1), dabs(1), frame(Undo::TYPE, 1, &[0, 0]), dabs(1)];
        assert_eq!(begin(&history, 0, 3), 3);
    }

    #[test]
    fn the_next_holder_of_the_id_does_not_count() {
        let history = [join(1), point(1), dabs(1), frame(Leave::TYPE, 1, &[]), join(1), dabs(1)];
        assert_eq!(begin(&history, 0, 3), 3);
    }

    #[test]
    fn a_place_inside_of_a_message_is_refused() {
        let mark = TimeMark { utc_ms: 0, messages: 1, size: 2 };
        let history = [join(1), point(1)].concat();
        assert!(matches!(begin_of_removal(history.as_slice(), 0, 0, mark), Err(RebuildError::WrongMark)));
    }
}
