//! Following a long history with the undo machine on another thread than the session's.

use std::io;

use super::SessionMachine;
use super::rollback::{MAX_AT_ONCE, Rollback};
use crate::history::Chunk;

/// What of a history is still to be followed.
#[derive(Debug)]
pub struct Reading {
    rollback: Rollback,
    /// Pieces of whole messages with their offsets; the first may begin before what is to be read.
    pieces: Vec<(i64, Chunk)>,
}

impl Reading {
    /// Reads it; blocks.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn finish(self) -> io::Result<Rollback> {
        let Reading { mut rollback, pieces } = self;
        for (start, piece) in pieces {
            piece.visit(start, rollback.position(), |bytes| rollback.feed(bytes))?;
        }
        Ok(rollback)
    }
}

impl SessionMachine {
    /// Whether so much of the history was not followed yet that the session's thread should not read it.
    pub fn has_much_to_follow(&self) -> bool {
        self.rollback.bytes_to_follow(&self.history) > MAX_AT_ONCE as u64
    }

    /// What is to be read, for another thread; then comes [`Self::adopt_reading`].
    pub fn begin_reading(&mut self) -> Reading {
        let rollback = self.rollback.for_history(&self.history);
        let pieces = self.history.pieces_from(rollback.position());
        Reading { rollback, pieces }
    }

    /// Uses what was read, unless a reset came in between or more was read meanwhile.
    pub fn adopt_reading(&mut self, read: Rollback) {
        if read.bytes_to_follow(&self.history) < self.rollback.bytes_to_follow(&self.history) {
            self.rollback = read;
        }
    }
}
