//! The message log: one writer, many readers, no copies on the way out.
//!
//! Bytes lie in immutable, shared segments on one axis of byte offsets. The writer appends to a private tail and
//! *publishes*: the tail becomes a segment and readers may go up to its end. Small segments are merged into large
//! ones from time to time. While the gate is closed (the session is not running) nothing is published.
//!
//! * A **reset** puts new content behind everything on the axis and drops the rest. Cursors made before it read
//!   nothing until [`Cursor::follow_reset`] says that their client was told; they then begin at the new start.
//! * A **streamed reset** puts its side history before the fork point: it ends where the fork is, so every cursor that
//!   has passed the fork stays as it is, and newcomers begin with the side history.
//!
//! The log of a stored session says what is not in its file yet ([`History::unstored`]) and is told what is
//! ([`History::stored`]). Of what is in the file, memory keeps the newest part only; a reader that needs more is told
//! to fetch it ([`Read::Fetch`](super::Read::Fetch)), off its thread. Readers of the same segment share what was fetched.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, Weak};

use bytes::{Bytes, BytesMut};
use drawhall_protocol::frame::frames;

use super::cursor::Cursor;
use super::segments::{LogState, SEGMENT_BYTES, Segment, begins_message, whole_messages};
use super::subscription::Subscription;
use super::sync::{AtomicI64, Mutex, MutexGuard};
use crate::storage::history_file::{HistoryFile, IndexEntry};
use crate::storage::session_files::{Chunk, HistoryWrite, NewHistory, StoredHistory};

/// Space in bytes above the limit for messages that a session cannot do without.
pub const EMERGENCY_BYTES: u64 = 1 << 20;

/// A message does not fit into the size limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session is out of space")]
pub struct OutOfSpace;

/// What writer and readers share.
#[derive(Debug)]
pub(super) struct LogShared {
    /// Tells the log from all others of the process, also from those that are gone.
    pub(super) id: u64,
    pub(super) state: Mutex<LogState>,
    pub(super) subscriptions: Mutex<Vec<Arc<Subscription>>>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while the lock is held leaves plain data behind; other readers can go on.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for LogShared {
    fn default() -> Self {
        Self::new(LogState::default())
    }
}

impl LogShared {
    fn new(state: LogState) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Self { id, state: Mutex::new(state), subscriptions: Mutex::default() }
    }
}

impl Drop for LogShared {
    fn drop(&mut self) {
        for subscription in lock(&self.subscriptions).iter() {
            subscription.close();
        }
    }
}

/// The writer's end of a log. Indices count messages and go on over resets, as history indices do.
#[derive(Debug)]
pub struct History {
    shared: Arc<LogShared>,
    tail: BytesMut,
    tail_messages: u64,
    /// End of everything that was appended, published or not.
    end: i64,
    start: i64,
    first_index: i64,
    last_index: i64,
    /// Behind this readers see nothing: the gate is closed.
    visible_until: Option<i64>,
    /// End of what readers may see.
    published: i64,
    limit: u64,
    /// All sessions of the server together have no space for more.
    server_full: bool,
    /// What is appended goes to a file, too.
    in_file: bool,
    /// Counts contents that need a file of their own, and which of them has one.
    generation: u64,
    stored_generation: u64,
    /// Up to here the log is stored, in the file of that content.
    stored_end: i64,
    /// Where the last streamed reset forked.
    forked_at: Option<i64>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            shared: Arc::default(),
            tail: BytesMut::new(),
            tail_messages: 0,
            end: 0,
            start: 0,
            first_index: 0,
            last_index: -1,
            visible_until: Some(0),
            published: 0,
            limit: 0,
            server_full: false,
            in_file: false,
            generation: 1,
            stored_generation: 0,
            stored_end: 0,
            forked_at: None,
        }
    }
}

impl History {
    /// Has the log stored: [`Self::unstored`] says what of it is not yet.
    pub fn store(&mut self) {
        self.in_file = true;
    }

    /// The log that is in a file, from position 0 on, in these pieces. The gate is open and everything can be read.
    pub fn restored(file: &Arc<HistoryFile>, pieces: &[IndexEntry], first_index: i64) -> History {
        let mut state = LogState { file: Some(file.clone()), ..LogState::default() };
        let (mut end, mut messages) = (0, 0);
        for piece in pieces {
            state.segments.push_back(Segment {
                start: end,
                len: piece.len as usize,
                messages: piece.messages,
                memory: None,
                file: Some(file.clone()),
                fetched: Weak::new(),
            });
            end += piece.len as i64;
            messages += piece.messages as i64;
        }
        state.evicted = state.segments.len();
        (state.readable, state.stored) = (end, end);
        History {
            shared: Arc::new(LogShared::new(state)),
            end,
            published: end,
            first_index,
            last_index: first_index + messages - 1,
            visible_until: None,
            in_file: true,
            stored_generation: 1,
            stored_end: end,
            ..History::default()
        }
    }

    /// Size in bytes: the sum of all messages with their headers.
    pub fn size(&self) -> u64 {
        (self.end - self.start) as u64
    }

    /// Index of the first message.
    pub fn first_index(&self) -> i64 {
        self.first_index
    }

    /// Index of the last message, one less than [`Self::first_index`] when there is none.
    pub fn last_index(&self) -> i64 {
        self.last_index
    }

    /// Offset behind the last message.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// Counts resets.
    pub fn epoch(&self) -> u64 {
        lock(&self.shared.state).epoch
    }

    /// Sets the size limit in bytes, 0 for none.
    pub fn set_limit(&mut self, bytes: u64) {
        self.limit = bytes;
    }

    /// The size limit in bytes, 0 for none.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// All sessions of the server together have no space for more, or have it again: until then only what a session
    /// cannot do without is appended.
    pub fn set_server_full(&mut self, full: bool) {
        self.server_full = full;
    }

    /// Whether that is so.
    pub fn is_server_full(&self) -> bool {
        self.server_full
    }

    fn has_space(&self, bytes: usize, extra: u64) -> bool {
        self.limit == 0 || self.size() + bytes as u64 <= self.limit + extra
    }

    /// Appends whole frames, `messages` of them.
    ///
    /// # Errors
    /// When they do not fit into the size limit, or the server has no space; nothing is appended then.
    pub fn append(&mut self, frames: &[u8], messages: u64) -> Result<(), OutOfSpace> {
        if self.server_full || !self.has_space(frames.len(), 0) {
            return Err(OutOfSpace);
        }
        self.push(frames, messages);
        Ok(())
    }

    /// Appends whole frames that may use the emergency space above the limit.
    ///
    /// # Errors
    /// When that is full too.
    pub fn append_emergency(&mut self, frames: &[u8], messages: u64) -> Result<(), OutOfSpace> {
        if !self.has_space(frames.len(), EMERGENCY_BYTES) {
            return Err(OutOfSpace);
        }
        self.push(frames, messages);
        Ok(())
    }

    /// The one place where something enters the log.
    fn push(&mut self, frames: &[u8], messages: u64) {
        self.end += frames.len() as i64;
        self.last_index += messages as i64;
        self.tail.extend_from_slice(frames);
        self.tail_messages += messages;
        if self.tail.len() >= SEGMENT_BYTES {
            self.seal();
        }
    }

    /// Turns the tail into segments; readers do not see them yet.
    fn seal(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        let mut start = self.end - self.tail.len() as i64;
        let messages = std::mem::take(&mut self.tail_messages);
        let mut state = lock(&self.shared.state);
        if self.tail.len() < SEGMENT_BYTES {
            state.push(self.tail.split().freeze(), messages, start);
        } else {
            // Pieces of their own, so that each can be dropped from memory by itself.
            let (mut rest, mut left) = (&self.tail[..], messages);
            while rest.len() >= 2 * SEGMENT_BYTES {
                let (len, messages) = whole_messages(rest, SEGMENT_BYTES);
                state.push(Bytes::copy_from_slice(&rest[..len]), messages, start);
                start += len as i64;
                left -= messages;
                rest = &rest[len..];
            }
            if !rest.is_empty() {
                state.push(Bytes::copy_from_slice(rest), left, start);
            }
            if self.tail.capacity() > 4 * SEGMENT_BYTES {
                self.tail = BytesMut::new();
            } else {
                self.tail.clear();
            }
        }
        state.compact();
    }

    /// Opens or closes the gate: with it closed, nothing that is appended becomes readable.
    pub fn set_publishing(&mut self, open: bool) {
        self.visible_until = if open { None } else { Some(self.visible_until.unwrap_or(self.end)) };
    }

    /// Up to where readers could see.
    fn visible(&self) -> i64 {
        self.visible_until.map_or(self.end, |visible_until| visible_until.min(self.end))
    }

    /// Whether something was appended that readers could see but do not yet.
    pub fn has_unpublished(&self) -> bool {
        self.published < self.visible()
    }

    /// Lets readers see everything that was appended, unless the gate is closed, and wakes them.
    pub fn publish(&mut self) {
        self.publish_to(self.end);
    }

    /// The same, up to an offset.
    pub fn publish_to(&mut self, limit: i64) {
        let to = self.visible().min(limit);
        if self.published >= to {
            return;
        }
        self.seal();
        self.published = to;
        lock(&self.shared.state).readable = to;
        self.wake();
    }

    fn wake(&self) {
        for subscription in lock(&self.shared.subscriptions).iter() {
            subscription.signal();
        }
    }

    /// Replaces everything by `image`. Cursors stop until they follow; the gate stays as it is.
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
        {
            let mut state = lock(&self.shared.state);
            let epoch = state.epoch + 1;
            let (start, readable, stored) = (self.end, self.end, self.end);
            *state = LogState { epoch, start, readable, stored, ..LogState::default() };
        }
        self.push(image, messages);
        Ok(())
    }

    /// Ends the last segment here, so that a fork at this offset lies between two segments. Returns the offset.
    pub fn mark(&mut self) -> i64 {
        self.seal();
        lock(&self.shared.state).small = 0;
        self.end
    }

    /// Puts `staged`, the side history of a streamed reset, in place of everything before offset `fork`, which
    /// [`Self::mark`] has given.
    ///
    /// `since_fork` is the number of messages behind the fork. Every cursor must have passed the fork. Returns the
    /// number of messages by which indices have moved on.
    ///
    /// # Errors
    /// When the result exceeds the size limit; nothing is changed then.
    pub fn fork(
        &mut self,
        fork: i64,
        since_fork: u64,
        staged: &[u8],
        side_messages: u64,
    ) -> Result<u64, OutOfSpace> {
        let size = staged.len() as u64 + (self.end - fork) as u64;
        if self.limit > 0 && size > self.limit {
            return Err(OutOfSpace);
        }
        self.seal();
        let mut state = lock(&self.shared.state);
        let start = fork - staged.len() as i64;
        let mut segments = VecDeque::new();
        let (mut at, mut rest) = (start, staged);
        while !rest.is_empty() {
            let (len, messages) = whole_messages(rest, SEGMENT_BYTES);
            segments.push_back(Segment::in_memory(Bytes::copy_from_slice(&rest[..len]), messages, at));
            at += len as i64;
            rest = &rest[len..];
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
        let moved = side_messages + since_fork;
        self.first_index = self.last_index + 1;
        self.last_index += moved as i64;
        Ok(moved)
    }

    /// What is not stored yet; nothing for a log that is not to be.
    pub fn unstored(&mut self) -> HistoryWrite {
        if !self.in_file {
            return HistoryWrite::Nothing;
        }
        self.seal();
        let state = lock(&self.shared.state);
        if self.generation != self.stored_generation {
            let parts = state.segments.iter().map(Segment::part).collect();
            let (generation, fork) = (self.generation, self.forked_at);
            return HistoryWrite::Replace(NewHistory { generation, from: self.start, parts, fork });
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
        HistoryWrite::Append { from, parts: slices.collect() }
    }

    /// Notes how far the log is stored. What has been overtaken by a reset does not count.
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

    /// Bytes that are not stored yet; none of a log that is not to be.
    pub fn unstored_bytes(&self) -> u64 {
        let from = if self.generation == self.stored_generation { self.stored_end } else { self.start };
        if self.in_file { (self.end - from) as u64 } else { 0 }
    }

    /// Has everything written to a new file, because the present one cannot be trusted.
    pub fn renew(&mut self) {
        self.generation += 1;
        self.forked_at = None;
    }

    /// The offset behind the message with this index, if there is one. Reads a piece of the file if need be.
    pub fn offset_after(&mut self, index: i64) -> Option<i64> {
        if index < self.first_index || index > self.last_index {
            return None;
        }
        self.seal();
        let state = lock(&self.shared.state);
        let mut left = (index - self.first_index + 1) as u64;
        for segment in &state.segments {
            if left <= segment.messages {
                let bytes = segment.bytes_now().ok()?;
                let bytes: usize = frames(&bytes).take(left as usize).map(|f| f.bytes.len()).sum();
                return Some(segment.start + bytes as i64);
            }
            left -= segment.messages;
        }
        None
    }

    /// Offset of the first message.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// A reader from an offset on. From where no message begins (it may have been one before a reset) it begins anew.
    pub fn cursor(&self, at: i64) -> Cursor {
        let epoch = self.epoch();
        let at = if self.is_boundary(at) { at } else { self.start };
        let position = Arc::new(AtomicI64::new(at));
        Cursor { shared: self.shared.clone(), epoch, position, messages: 0 }
    }

    /// Whether a message begins or the log ends at an offset. Reads a piece of the file if need be.
    fn is_boundary(&self, at: i64) -> bool {
        if at < self.start || at > self.end {
            return false;
        }
        let tail_start = self.end - self.tail.len() as i64;
        match usize::try_from(at - tail_start) {
            Ok(skip) => begins_message(&self.tail, skip),
            Err(_) => lock(&self.shared.state).is_boundary(at),
        }
    }

    /// Everything that is in the log, in parts.
    pub fn parts(&mut self) -> Vec<Chunk> {
        self.seal();
        lock(&self.shared.state).segments.iter().map(Segment::part).collect()
    }

    /// Copies everything that is in the log, for tests and tools; blocks.
    pub fn to_bytes(&mut self) -> Vec<u8> {
        self.seal();
        let state = lock(&self.shared.state);
        state.segments.iter().flat_map(|s| s.bytes_now().unwrap_or_default()).collect()
    }

    /// Bytes of the log that are in memory.
    pub fn bytes_in_memory(&self) -> usize {
        let state = lock(&self.shared.state);
        state.segments.iter().filter_map(|s| s.memory.as_ref()).map(Bytes::len).sum::<usize>()
            + self.tail.len()
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
