//! What of a history is to be written to its file, and what has been.

use bytes::Bytes;

use super::{History, lock};
use crate::history::segments::Segment;
use crate::history::source::{HistoryWrite, NewHistory, StoredHistory};

impl History {
    /// What must be written to the file; [`HistoryWrite::Nothing`] for a log that is not stored.
    pub fn unstored(&mut self) -> HistoryWrite {
        if !self.is_stored {
            return HistoryWrite::Nothing;
        }
        self.seal();
        let state = lock(&self.shared.state);
        if self.generation != self.stored_generation {
            let chunks = state.segments.iter().map(Segment::chunk).collect();
            let (generation, fork, is_reset) = (self.generation, self.forked_at, self.reset_unstored);
            return HistoryWrite::Replace(NewHistory {
                generation,
                from: self.start,
                chunks,
                fork,
                is_reset,
            });
        }
        if state.stored >= self.end {
            return HistoryWrite::Nothing;
        }
        let from = state.stored;
        let first = state.segments.partition_point(|s| s.end() <= from);
        let slices = state.segments.range(first..).map(|s| {
            let skip = (from - s.start).max(0) as usize;
            s.memory.as_ref().map_or_else(Bytes::new, |b| b.slice(skip..))
        });
        HistoryWrite::Append { from, chunks: slices.collect() }
    }

    /// Records how far the log is stored. Results for content that a reset has replaced meanwhile are ignored.
    pub fn stored(&mut self, done: StoredHistory) {
        let current = match done.generation {
            Some(generation) => generation == self.generation,
            None => self.generation == self.stored_generation,
        };
        if !current {
            return;
        }
        let mut state = lock(&self.shared.state);
        let first = if done.generation.is_some() {
            self.stored_generation = self.generation;
            self.reset_unstored = false;
            0
        } else {
            let stored = state.stored;
            state.segments.partition_point(|s| s.end() <= stored)
        };
        self.stored_end = done.end;
        state.file = Some(done.file);
        state.stored = done.end;
        state.mark_stored(first);
        state.evict();
    }

    /// Number of bytes that are not stored yet; 0 for a log that is not stored.
    pub fn unstored_bytes(&self) -> u64 {
        let from = if self.generation == self.stored_generation { self.stored_end } else { self.start };
        if self.is_stored { (self.end - from) as u64 } else { 0 }
    }
}
