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
        self.seal();
        // Readers are not kept waiting while the file is read.
        let pieces: Vec<(i64, Chunk)> = {
            let state = lock(&self.shared.state);
            let first = state.segments.partition_point(|segment| segment.end() <= from);
            state.segments.range(first..).map(|segment| (segment.start, segment.chunk())).collect()
        };
        let mut visited = 0;
        for (start, piece) in pieces {
            if visited >= limit {
                break;
            }
            let skip = usize::try_from(from - start).unwrap_or(0);
            let mut visit = |bytes: &[u8]| {
                visited += bytes.len();
                visit(bytes);
            };
            match piece {
                Chunk::Memory(bytes) => visit(&bytes[skip..]),
                Chunk::File { file, from, len } => visit(&file.read_at(from, len)?[skip..]),
            }
        }
        Ok(())
    }
}
