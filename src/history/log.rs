//! The message log: one writer, many readers, zero-copy reads.
//!
//! Bytes lie in immutable, reference-counted segments, addressed by byte offsets that never restart. The writer
//! appends to a private tail and *publishes*: the tail becomes a segment, and readers may read up to its end. Small
//! segments are merged into large ones from time to time. While publishing is off (the session is not running)
//! appended bytes stay invisible.
//!
//! * A **reset** appends the new content behind the old and drops the old. Cursors made before the reset read nothing
//!   until [`Cursor::follow_reset`], which is called once their client was sent the reset message; they then start at
//!   the new content.
//! * A **streamed reset** replaces everything before the fork point by its staged snapshot, which ends at the fork
//!   offset. Cursors behind the fork are unaffected; new cursors start with the snapshot.
//!
//! [`History::unstored`] returns what a stored session has to write, and [`History::stored`] records what was
//! written. Only the newest part of what is in the file stays in memory; a reader that needs older bytes gets
//! [`Read::Fetch`](super::Read::Fetch) and reads them on a blocking thread. Readers of the same segment share the
//! fetched block.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::{Bytes, BytesMut};
use drawhall_protocol::frame::frames;

use super::cursor::Cursor;
use super::segments::{LogState, SEGMENT_BYTES, Segment, begins_message, whole_messages};
use super::source::{Chunk, HistorySource, IndexEntry};
use super::subscription::Subscription;
pub(super) use super::sync::lock;
use super::sync::{AtomicI64, Mutex};

/// Bytes for emergency messages (joins, leaves, operator lists) when there is no space for others, until a reset.
pub const EMERGENCY_BYTES: u64 = 1 << 20;

/// A message exceeds the size limit of the session, or all sessions together exceed that of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session is out of space")]
pub struct OutOfSpace;

/// State shared by the writer and its readers.
#[derive(Debug)]
pub(super) struct LogShared {
    /// Unique among all logs of the process, including dropped ones.
    pub(super) id: u64,
    pub(super) state: Mutex<LogState>,
    pub(super) subscriptions: Mutex<Vec<Arc<Subscription>>>,
    /// What readers have spent on sending since the writer took it, in nanoseconds.
    pub(super) sending_ns: AtomicU64,
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
        Self { id, state: Mutex::new(state), subscriptions: Mutex::default(), sending_ns: AtomicU64::new(0) }
    }
}

impl Drop for LogShared {
    fn drop(&mut self) {
        for subscription in lock(&self.subscriptions).iter() {
            subscription.close();
        }
    }
}

/// The writer's end of a log. Indices are history indices of the protocol: they count messages and keep growing over
/// resets.
///
/// **Invariants**
///
/// * `end - start` is the size; `published` is at most `end`. The tail ends at `end`; the last segment ends where the
///   tail begins.
/// * `LogState::readable` equals `published`, and `LogState::start` equals `start`.
/// * `last_index - first_index + 1` is the number of messages from `start` to `end`.
/// * `visible_until` is `None` exactly while publishing is on; `published` never exceeds it.
/// * `generation` grows with each content that needs a new file. Only when it equals `stored_generation` may bytes be
///   appended to the current file, and then `stored_end <= end`.
#[derive(Debug)]
pub struct History {
    shared: Arc<LogShared>,
    tail: BytesMut,
    tail_messages: u64,
    /// Offset behind the last appended message, published or not.
    end: i64,
    start: i64,
    first_index: i64,
    last_index: i64,
    /// Readers see nothing behind this offset; `None` while publishing is on.
    visible_until: Option<i64>,
    /// Offset up to which readers may read.
    published: i64,
    limit: u64,
    /// The sum of all histories has reached the server's limit (`totalHistoryLimit`).
    server_full: bool,
    /// Bytes of emergency messages since the last reset, or since the server was out of space.
    emergency_used: u64,
    /// The log is stored in a file.
    is_stored: bool,
    /// Incremented when the content needs a new file: at a reset, a streamed reset, or after a failed fsync.
    generation: u64,
    stored_generation: u64,
    /// Offset up to which the log is stored, in the file of `stored_generation`.
    stored_end: i64,
    /// Fork offset of the last streamed reset.
    forked_at: Option<i64>,
    /// A reset has replaced the content of the stored file.
    reset_unstored: bool,
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
            emergency_used: 0,
            is_stored: false,
            generation: 1,
            stored_generation: 0,
            stored_end: 0,
            forked_at: None,
            reset_unstored: false,
        }
    }
}

impl History {
    /// From now on the log is stored: [`Self::unstored`] returns what to write.
    pub fn store(&mut self) {
        self.is_stored = true;
    }

    /// Restores a log from a file whose first message is at offset 0, with the index of its segments. Publishing is
    /// on and everything is readable.
    pub fn restored(file: &Arc<dyn HistorySource>, index: &[IndexEntry], first_index: i64) -> History {
        let mut state = LogState { file: Some(file.clone()), ..LogState::default() };
        let (mut end, mut messages) = (0, 0);
        for entry in index {
            state.segments.push_back(Segment {
                start: end,
                len: entry.len as usize,
                messages: entry.messages,
                memory: None,
                file: Some(file.clone()),
                fetched: Weak::new(),
            });
            end += entry.len as i64;
            messages += entry.messages as i64;
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
            is_stored: true,
            stored_generation: 1,
            stored_end: end,
            ..History::default()
        }
    }

    /// Size in bytes: the sum of all messages including their headers.
    pub fn size(&self) -> u64 {
        (self.end - self.start) as u64
    }

    /// Index of the first message; indices continue over resets.
    pub fn first_index(&self) -> i64 {
        self.first_index
    }

    /// Index of the last message, [`Self::first_index`] - 1 when the log is empty.
    pub fn last_index(&self) -> i64 {
        self.last_index
    }

    /// Offset behind the last message.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// Number of resets so far; streamed resets do not count.
    pub fn epoch(&self) -> u64 {
        lock(&self.shared.state).epoch
    }

    /// Sets the size limit in bytes, 0 for none.
    pub fn set_limit(&mut self, bytes: u64) {
        self.limit = bytes;
    }

    /// Size limit in bytes, 0 for none.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Sets whether the server is out of space for histories. While it is, only emergency messages are appended.
    pub fn set_server_full(&mut self, full: bool) {
        self.server_full = full;
        if !full {
            self.emergency_used = 0;
        }
    }

    /// Whether `totalHistoryLimit` is reached.
    pub fn is_server_full(&self) -> bool {
        self.server_full
    }

    fn has_space(&self, bytes: usize, extra: u64) -> bool {
        self.limit == 0 || self.size() + bytes as u64 <= self.limit + extra
    }

    /// Appends `messages` whole frames.
    ///
    /// # Errors
    /// When they exceed the size limit, or the server is out of space; nothing is appended then.
    pub fn append(&mut self, frames: &[u8], messages: u64) -> Result<(), OutOfSpace> {
        if self.server_full || !self.has_space(frames.len(), 0) {
            return Err(OutOfSpace);
        }
        self.push(frames, messages);
        Ok(())
    }

    /// Appends whole frames although there is no space, within the first `reserve` bytes of the emergency space, which
    /// is [`EMERGENCY_BYTES`] large.
    ///
    /// # Errors
    /// When these are used up; nothing is appended then.
    pub fn append_emergency(&mut self, frames: &[u8], messages: u64, reserve: u64) -> Result<(), OutOfSpace> {
        let used = self.emergency_used + frames.len() as u64;
        if used > reserve || !self.has_space(frames.len(), reserve) {
            return Err(OutOfSpace);
        }
        self.emergency_used = used;
        self.push(frames, messages);
        Ok(())
    }

    /// Every append goes through here.
    fn push(&mut self, frames: &[u8], messages: u64) {
        self.end += frames.len() as i64;
        self.last_index += messages as i64;
        self.tail.extend_from_slice(frames);
        self.tail_messages += messages;
        if self.tail.len() >= SEGMENT_BYTES {
            self.seal();
        }
    }

    /// Turns the tail into segments, which readers do not see yet.
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
            // Several segments, so that each can be evicted from memory separately.
            let (mut remaining, mut messages_left) = (&self.tail[..], messages);
            while remaining.len() >= 2 * SEGMENT_BYTES {
                let (len, messages) = whole_messages(remaining, SEGMENT_BYTES);
                state.push(Bytes::copy_from_slice(&remaining[..len]), messages, start);
                start += len as i64;
                messages_left -= messages;
                remaining = &remaining[len..];
            }
            if !remaining.is_empty() {
                state.push(Bytes::copy_from_slice(remaining), messages_left, start);
            }
            if self.tail.capacity() > 4 * SEGMENT_BYTES {
                self.tail = BytesMut::new();
            } else {
                self.tail.clear();
            }
        }
        state.compact();
    }

    /// Switches publishing on or off. While it is off, nothing that is appended becomes readable.
    pub fn set_publishing(&mut self, on: bool) {
        self.visible_until = if on { None } else { Some(self.visible_until.unwrap_or(self.end)) };
    }

    /// Offset up to which publishing may go.
    fn visible(&self) -> i64 {
        self.visible_until.map_or(self.end, |visible_until| visible_until.min(self.end))
    }

    /// Whether [`Self::publish`] would make more readable.
    pub fn has_unpublished(&self) -> bool {
        self.published < self.visible()
    }

    /// Makes everything that was appended readable, unless publishing is off, and wakes the readers.
    pub fn publish(&mut self) {
        self.publish_to(self.end);
    }

    /// What readers have spent on sending since the last call, in nanoseconds of all threads together.
    pub fn take_sending_ns(&self) -> u64 {
        self.shared.sending_ns.swap(0, Ordering::Relaxed)
    }

    /// Like [`Self::publish`], up to an offset.
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

    /// The offset behind the message with this index, `None` if there is no such message. May read a segment from the
    /// file, blocking.
    pub fn offset_after(&mut self, index: i64) -> Option<i64> {
        if index < self.first_index || index > self.last_index {
            return None;
        }
        self.seal();
        let state = lock(&self.shared.state);
        let mut messages_left = (index - self.first_index + 1) as u64;
        for segment in &state.segments {
            if messages_left <= segment.messages {
                let bytes = segment.read_bytes().ok()?;
                let bytes: usize = frames(&bytes).take(messages_left as usize).map(|f| f.bytes.len()).sum();
                return Some(segment.start + bytes as i64);
            }
            messages_left -= segment.messages;
        }
        None
    }

    /// Offset of the first byte.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// A reader that starts at an offset. If no message begins there (after a reset, an old offset may lie inside a
    /// message), it starts at the beginning.
    pub fn cursor(&self, offset: i64) -> Cursor {
        let epoch = self.epoch();
        let start = if self.is_boundary(offset) { offset } else { self.start };
        let position = Arc::new(AtomicI64::new(start));
        Cursor { shared: self.shared.clone(), epoch, position, messages: 0 }
    }

    /// Whether a message begins or the log ends at an offset. May read a segment from the file, blocking.
    fn is_boundary(&self, offset: i64) -> bool {
        if offset < self.start || offset > self.end {
            return false;
        }
        let tail_start = self.end - self.tail.len() as i64;
        match usize::try_from(offset - tail_start) {
            Ok(skip) => begins_message(&self.tail, skip),
            Err(_) => lock(&self.shared.state).is_boundary(offset),
        }
    }

    /// The whole content, in chunks.
    pub fn chunks(&mut self) -> Vec<Chunk> {
        self.seal();
        lock(&self.shared.state).segments.iter().map(Segment::chunk).collect()
    }

    /// Copies the whole content; blocks. For tests and tools.
    pub fn to_bytes(&mut self) -> Vec<u8> {
        self.seal();
        let state = lock(&self.shared.state);
        state.segments.iter().flat_map(|s| s.read_bytes().unwrap_or_default()).collect()
    }

    /// Bytes that are held in memory, whether or not they are in a file as well.
    pub fn bytes_in_memory(&self) -> usize {
        let state = lock(&self.shared.state);
        state.segments.iter().filter_map(|s| s.memory.as_ref()).map(Bytes::len).sum::<usize>()
            + self.tail.len()
    }
}

mod reset;
mod storing;
mod visit;

#[cfg(test)]
mod tests;
