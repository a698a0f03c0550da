//! Resets of a history.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{History, OutOfSpace, lock};
use crate::history::segments::{LogState, SEGMENT_BYTES, Segment, whole_messages};

impl History {
    /// Replaces the content by `image`. Cursors read nothing until [`Cursor::follow_reset`](crate::history::Cursor::follow_reset); whether publishing is on
    /// does not change.
    ///
    /// # Errors
    /// When the image exceeds the size limit; nothing is changed then.
    pub fn reset(&mut self, image: &[u8], messages: u64) -> Result<(), OutOfSpace> {
        if self.limit > 0 && image.len() as u64 > self.limit {
            return Err(OutOfSpace);
        }
        self.tail.clear();
        self.tail_messages = 0;
        self.first_index = self.last_index + 1;
        self.start = self.end;
        self.published = self.end;
        self.visible_until = self.visible_until.map(|_| self.end);
        self.generation += 1;
        self.forked_at = None;
        self.reset_unstored = true;
        self.emergency_used = 0;
        {
            let mut state = lock(&self.shared.state);
            let epoch = state.epoch + 1;
            let (start, readable, stored) = (self.end, self.end, self.end);
            *state = LogState { epoch, start, readable, stored, ..LogState::default() };
        }
        self.push(image, messages);
        Ok(())
    }

    /// Ends the last segment at the current end, so that a fork at this offset does not split a segment. Returns the
    /// offset.
    pub fn seal_at_fork(&mut self) -> i64 {
        self.seal();
        lock(&self.shared.state).small = 0;
        self.end
    }

    /// Replaces everything before offset `fork`, which [`Self::seal_at_fork`] returned, by `staged`, the snapshot of
    /// a streamed reset.
    ///
    /// `since_fork` is the number of messages behind the fork. Every cursor must have read past the fork. Returns by
    /// how much indices have advanced.
    ///
    /// # Errors
    /// When the result exceeds the size limit; nothing is changed then.
    pub fn replace_prefix(
        &mut self,
        fork: i64,
        since_fork: u64,
        staged: &[u8],
        staged_messages: u64,
    ) -> Result<u64, OutOfSpace> {
        let size = staged.len() as u64 + (self.end - fork) as u64;
        if self.limit > 0 && size > self.limit {
            return Err(OutOfSpace);
        }
        self.seal();
        let mut state = lock(&self.shared.state);
        let start = fork - staged.len() as i64;
        let mut segments = VecDeque::new();
        let (mut offset, mut remaining) = (start, staged);
        while !remaining.is_empty() {
            let (len, messages) = whole_messages(remaining, SEGMENT_BYTES);
            segments.push_back(Segment::in_memory(
                Bytes::copy_from_slice(&remaining[..len]),
                messages,
                offset,
            ));
            offset += len as i64;
            remaining = &remaining[len..];
        }
        segments.extend(state.segments.drain(..).filter(|s| s.start >= fork));
        debug_assert!(segments.iter().map(|s| s.len as i64).sum::<i64>() == self.end - start);
        state.small = state.small.min(segments.len());
        state.segments = segments;
        state.start = start;
        state.evicted = 0;
        drop(state);
        self.start = start;
        self.generation += 1;
        self.forked_at = Some(fork);
        self.reset_unstored = true;
        self.emergency_used = 0;
        let advanced = staged_messages + since_fork;
        self.first_index = self.last_index + 1;
        self.last_index += advanced as i64;
        Ok(advanced)
    }

    /// Has everything written to a new file, because an fsync of the current one failed (it is poisoned).
    pub fn renew(&mut self) {
        self.generation += 1;
        self.forked_at = None;
    }
}
