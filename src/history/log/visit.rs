//! Reading the log without a cursor, to follow what is in it.

use std::io;

use super::{Chunk, History, lock};

impl History {
    /// Calls `visit` with everything from the beginning of a message at offset `from` to the end of the log, in
    /// pieces of whole messages, whether readers see them or not. Stops after the piece with which it has visited
    /// `limit` bytes; a piece has about 256 KiB. Blocks while it reads pieces that are only in the file.
    ///
    /// # Errors
    /// When a piece cannot be read; `visit` has got everything before it.
    pub fn visit_from(&mut self, from: i64, limit: usize, mut visit: impl FnMut(&[u8])) -> io::Result<()> {
        let mut visited = 0;
        // Readers are not kept waiting while the file is read.
        for (start, piece) in self.pieces_from(from) {
            if visited >= limit {
                break;
            }
            piece.visit(start, from, |bytes| {
                visited += bytes.len();
                visit(bytes);
            })?;
        }
        Ok(())
    }

    /// Everything from the beginning of a message at offset `from` on, in pieces of whole messages with the offset of
    /// each; the first may begin before.
    pub fn pieces_from(&mut self, from: i64) -> Vec<(i64, Chunk)> {
        self.seal();
        let state = lock(&self.shared.state);
        let first = state.segments.partition_point(|segment| segment.end() <= from);
        state.segments.range(first..).map(|segment| (segment.start, segment.chunk())).collect()
    }
}
