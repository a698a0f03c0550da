//! Reading the log without a cursor, to follow what is in it.

use std::io;

use super::{Chunk, History, lock};

impl History {
    /// Calls `visit` with everything from the beginning of a message at offset `from` to the end of the log, in
    /// pieces of whole messages, whether readers see them or not. Blocks while it reads pieces that are only in the
    /// file.
    ///
    /// # Errors
    /// When a piece cannot be read; `visit` has got everything before it.
    pub fn visit_from(&mut self, from: i64, mut visit: impl FnMut(&[u8])) -> io::Result<()> {
        self.seal();
        // Readers are not kept waiting while the file is read.
        let pieces: Vec<(i64, Chunk)> = {
            let state = lock(&self.shared.state);
            let first = state.segments.partition_point(|segment| segment.end() <= from);
            state.segments.range(first..).map(|segment| (segment.start, segment.chunk())).collect()
        };
        for (start, piece) in pieces {
            let skip = usize::try_from(from - start).unwrap_or(0);
            match piece {
                Chunk::Memory(bytes) => visit(&bytes[skip..]),
                Chunk::File { file, from, len } => visit(&file.read_at(from, len)?[skip..]),
            }
        }
        Ok(())
    }
}
