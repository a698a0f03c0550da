//! Undo as clients do it: 2,000 random histories of five users, compared with what Drawpile's own canvas shows.
//!
//! Each stroke of a history is a pixel of its own, so the canvas at the end shows which strokes are done. The histories
//! were given once to the canvas history of Drawpile 2.3.1-pre (commit 5e085d0), and `tests/fixtures/undo/canvases.txt`
//! has the digests of what it drew, one line a history. The histories themselves are made here from their numbers.
//!
//! To compare with another version: `DRAWHALL_WRITE_HISTORIES=FILE cargo test --test undo_reference` writes them, each
//! as its length in bytes and its number of pixels (both u32, little-endian), and its messages in the wire format of
//! protocol 4.25. The digest is that of the bitmap of the canvas as hexadecimal text, row by row.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/numbers.rs"]
mod numbers;

use std::fmt::Write as _;
use std::io::Write as _;

use drawhall::rules::undo::{EntryState, Scan};
use drawhall_protocol::frame::frames;
use drawhall_protocol::message::{
    CanvasResize, FillRect, LayerTreeCreate, Layout, Message, SoftReset, Undo, UndoDepth, UndoPoint,
};
use numbers::Numbers;
use sha2::{Digest as _, Sha256};

const HISTORIES: u64 = 2000;
const USERS: u64 = 5;
/// Width and height of the canvas.
const SIZE: u32 = 32;
const LAYER: u32 = 0x100;
const NORMAL: u8 = 1;

/// A history, and how many pixels its strokes have.
#[derive(Default)]
struct History {
    bytes: Vec<u8>,
    pixels: u32,
}

impl History {
    fn push(&mut self, user: u8, message: impl Into<Message>) {
        self.bytes.extend_from_slice(message.into().to_frame(user, Layout::V4_25).unwrap().as_bytes());
    }

    fn stroke(&mut self, user: u8) {
        let (x, y) = (self.pixels % SIZE, self.pixels / SIZE);
        self.pixels += 1;
        self.push(user, FillRect { layer: LAYER, mode: NORMAL, x, y, w: 1, h: 1, color: 0xffff_ffff });
    }

    /// The history with this number.
    fn of(number: u64) -> History {
        let mut numbers = Numbers(number);
        let mut history = History::default();
        let size = SIZE as i32;
        history.push(0, CanvasResize { top: 0, right: size, bottom: size, left: 0 });
        let layer =
            LayerTreeCreate { id: LAYER, source: 0, target: 0, fill: 0, flags: 0, title: "layer".into() };
        history.push(0, layer);
        // Some histories have few points, some more than the depth.
        let steps = 20 + numbers.below(400);
        for _ in 0..steps {
            let user = numbers.user(USERS);
            match numbers.below(100) {
                0..35 => {
                    history.push(user, UndoPoint {});
                    history.stroke(user);
                }
                35..55 => history.stroke(user),
                55..72 => history.push(user, Undo { override_user: 0, redo: false }),
                72..84 => history.push(user, Undo { override_user: 0, redo: true }),
                // By the server or by somebody else.
                84..98 => {
                    let by = if numbers.below(2) == 0 { 0 } else { numbers.user(USERS) };
                    history.push(by, Undo { override_user: user, redo: numbers.below(3) == 0 });
                }
                98 => history.push(0, UndoDepth { depth: (3 + numbers.below(58)) as u8 }),
                _ => history.push(0, SoftReset {}),
            }
        }
        history
    }

    /// The digest of the canvas at the end, by our own machine.
    fn canvas(&self) -> String {
        let mut scan = Scan::new(Layout::V4_25, 0);
        for frame in frames(&self.bytes) {
            scan.feed(frame);
        }
        let strokes = scan.entries().iter().filter(|entry| entry.kind == FillRect::TYPE);
        let done: Vec<bool> = strokes.map(|entry| entry.state == EntryState::Done).collect();
        assert_eq!(done.len(), self.pixels as usize);
        let mut bitmap = String::new();
        for eight in done.chunks(8) {
            let bits =
                eight.iter().enumerate().fold(0u8, |bits, (at, done)| bits | u8::from(*done) << (7 - at));
            write!(bitmap, "{bits:02x}").unwrap();
        }
        digest(&bitmap)
    }
}

/// The first eight bytes of a SHA-256, in hexadecimal.
fn digest(text: &str) -> String {
    Sha256::digest(text)[..8].iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

#[test]
fn strokes_are_done_and_undone_as_in_drawpile() {
    if let Some(path) = std::env::var_os("DRAWHALL_WRITE_HISTORIES") {
        let mut file = std::fs::File::create(path).unwrap();
        for number in 0..HISTORIES {
            let history = History::of(number);
            file.write_all(&(history.bytes.len() as u32).to_le_bytes()).unwrap();
            file.write_all(&history.pixels.to_le_bytes()).unwrap();
            file.write_all(&history.bytes).unwrap();
        }
    }
    let expected = include_str!("fixtures/undo/canvases.txt");
    let differing: Vec<u64> = (0..HISTORIES)
        .zip(expected.lines())
        .filter(|(number, expected)| History::of(*number).canvas() != *expected)
        .map(|(number, _)| number)
        .collect();
    assert_eq!(expected.lines().count() as u64, HISTORIES);
    assert!(differing.is_empty(), "{} histories differ: {differing:?}", differing.len());
}
