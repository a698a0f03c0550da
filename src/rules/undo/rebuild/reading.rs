//! The first reading of a history from which somebody's drawing is to be removed.

use drawhall_protocol::frame::FIRST_COMMAND;
use drawhall_protocol::message::{Layout, Undo, UndoPoint};

use super::{Messages, RebuildError, Removal};
use crate::rules::undo::scan::Scan;
use crate::rules::undo::since::begin_of_removal;

/// What the first reading of a history tells.
pub(super) struct Reading {
    pub(super) scan: Scan,
    /// For each message, whether it is the person's, from their first action on.
    pub(super) theirs: Vec<bool>,
    pub(super) user: u8,
    pub(super) name: String,
}

/// Resolves undo, with the person's own `Undo` messages left out: a vandal can undo others.
pub(super) fn read(
    history: &(impl Messages + ?Sized),
    layout: Layout,
    first_index: i64,
    Removal { person, since, .. }: Removal,
) -> Result<Reading, RebuildError> {
    let begin = since.map_or(Ok(0), |mark| begin_of_removal(history, first_index, person, mark))?;
    let mut scan = Scan::new(layout, first_index);
    let (mut theirs, mut found) = (Vec::new(), None);
    // An image, of a reset or of the host, has no undo points: what is in it belongs to everybody. Times are behind it.
    let (mut image_is_over, mut has_begun) = (false, false);
    // Who is in an image from its beginning may have drawn what it is made of; who joined behind it has not.
    let (mut has_commands, mut came_later, mut drew) = (false, false, false);
    history.visit(&mut |frame| {
        let header = frame.header;
        let holder = scan.machine().people().holder(header.user).filter(|holder| holder.index == person);
        let is_theirs = holder.is_some();
        if let Some(holder) = holder.filter(|_| found.is_none()) {
            found = Some((holder.user, holder.name.clone()));
        }
        came_later |= has_commands && first_index.saturating_add_unsigned(theirs.len() as u64) == person;
        has_commands |= header.kind >= FIRST_COMMAND;
        drew |= is_theirs && header.kind >= FIRST_COMMAND;
        image_is_over |= header.kind == UndoPoint::TYPE || since.is_some() && theirs.len() >= begin;
        has_begun |= is_theirs && image_is_over && header.kind >= FIRST_COMMAND && theirs.len() >= begin;
        theirs.push(is_theirs && has_begun);
        if is_theirs && has_begun && header.kind == Undo::TYPE {
            scan.skip();
        } else if !scan.is_overworked() {
            scan.feed(frame);
        }
    })?;
    if scan.is_overworked() {
        return Err(RebuildError::TooMuchUndo);
    }
    // Whose `Join` is the last message has had no other.
    let last = || scan.machine().people().get(person).map(|last| (last.user, last.name.clone()));
    let (user, name) = found.or_else(last).ok_or(RebuildError::NoSuchPerson)?;
    if !has_begun {
        return Err(match since {
            Some(_) => RebuildError::NothingOfTheirsSince,
            None if came_later && !drew => RebuildError::DrewNothing,
            None => RebuildError::NothingDrawn,
        });
    }
    Ok(Reading { scan, theirs, user, name })
}
