//! Which commands of a history are on the canvas at its end: those that clients executed and nobody has undone.

use std::io;

use drawhall_protocol::frame::{FIRST_COMMAND, FrameRef};
use drawhall_protocol::message::Layout;

use super::EntryState;
use super::rebuild::Messages;
use super::scan::Scan;

/// Why it cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum OnCanvasError {
    /// Somebody has made the history expensive to read.
    #[error("there is too much undo and redo in this history")]
    TooMuchUndo,
    /// It cannot be read.
    #[error("the history cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Numbers of the messages, from 0 and in order, that are on the canvas.
///
/// `accept` is given every message in order and says whether clients execute it: permissions depend on layers, which
/// are not followed here.
///
/// # Errors
/// When the history cannot be read, or has too much undo.
pub fn on_canvas(
    history: &(impl Messages + ?Sized),
    layout: Layout,
    accept: &mut dyn FnMut(FrameRef<'_>) -> bool,
) -> Result<Vec<u32>, OnCanvasError> {
    let mut scan = Scan::new(layout, 0);
    history.visit(&mut |frame| {
        let accepted = accept(frame);
        if scan.is_overworked() || !accepted && frame.header.kind >= FIRST_COMMAND {
            scan.skip();
        } else {
            scan.feed(frame);
        }
    })?;
    if scan.is_overworked() {
        return Err(OnCanvasError::TooMuchUndo);
    }
    let done = scan.entries().iter().filter(|entry| entry.state == EntryState::Done);
    Ok(done.map(|entry| entry.message).collect())
}

#[cfg(test)]
mod tests {
    use drawhall_protocol::Frame;
    use drawhall_protocol::message::{Undo, UndoPoint};

    use super::*;

    #[test]
    fn undone_commands_and_those_that_are_not_accepted_are_not_on_the_canvas() {
        let frame = |kind: u8, user: u8, payload: &[u8]| Frame::new(kind, user, payload).unwrap();
        let history: Vec<u8> = [
            frame(UndoPoint::TYPE, 1, &[]),
            frame(137, 1, &[1]),
            frame(UndoPoint::TYPE, 1, &[]),
            frame(137, 1, &[2]),
            // Not accepted: it would undo the first.
            frame(Undo::TYPE, 1, &[0, 0]),
            frame(137, 2, &[3]),
            frame(UndoPoint::TYPE, 2, &[]),
            frame(137, 2, &[4]),
            frame(Undo::TYPE, 2, &[0, 0]),
        ]
        .iter()
        .flat_map(|frame| frame.as_bytes().to_vec())
        .collect();
        let mut number = 0;
        let done = on_canvas(&history[..], Layout::V4_25, &mut |_| {
            number += 1;
            number != 5
        });
        assert_eq!(done.unwrap(), [0, 1, 2, 3, 5]);
    }
}
