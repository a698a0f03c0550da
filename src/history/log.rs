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

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use drawhall_protocol::frame::frames;

use super::wake::Watcher;

/// Size in bytes from which on a segment is left alone.
const SEGMENT_BYTES: usize = 256 << 10;
/// Number of small segments that are merged at the latest.
const MAX_SMALL: usize = 128;
/// Space in bytes above the limit for messages that a session cannot do without.
pub const EMERGENCY_BYTES: u64 = 1 << 20;

/// A message does not fit into the size limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session is out of space")]
pub struct OutOfSpace;

#[derive(Debug)]
struct Segment {
    start: i64,
    messages: u64,
    bytes: Bytes,
}

impl Segment {
    fn end(&self) -> i64 {
        self.start + self.bytes.len() as i64
    }
}

#[derive(Debug, Default)]
struct State {
    /// Counts resets; cursors of an earlier epoch are not served.
    epoch: u64,
    /// Where the current content begins.
    start: i64,
    /// Up to here readers may go.
    readable: i64,
    segments: VecDeque<Segment>,
    /// Number of segments at the end that may still be merged.
    small: usize,
}

impl State {
    fn push(&mut self, bytes: Bytes, messages: u64, start: i64) {
        let large = bytes.len() >= SEGMENT_BYTES;
        self.segments.push_back(Segment { start, messages, bytes });
        self.small = if large { 0 } else { self.small + 1 };
    }

    /// Merges the small segments at the end, once they are worth it.
    fn compact(&mut self) {
        let from = self.segments.len() - self.small;
        let total: usize = self.segments.range(from..).map(|s| s.bytes.len()).sum();
        if self.small < 2 || (total < SEGMENT_BYTES && self.small < MAX_SMALL) {
            return;
        }
        let mut merged = Vec::with_capacity(total);
        let mut messages = 0;
        let start = self.segments[from].start;
        for segment in self.segments.drain(from..) {
            merged.extend_from_slice(&segment.bytes);
            messages += segment.messages;
        }
        self.small = 0;
        self.push(merged.into(), messages, start);
    }

    /// Adds shared slices of what lies between `from` and the readable end: whole messages (something else may be sent
    /// between two reads), about `limit` bytes of them.
    fn read(&self, from: i64, limit: usize, out: &mut Vec<Bytes>) -> i64 {
        let mut at = from.max(self.start);
        let mut left = limit;
        let mut index = self.segments.partition_point(|s| s.end() <= at);
        while at < self.readable && left > 0 {
            let Some(segment) = self.segments.get(index) else { break };
            let skip = (at - segment.start) as usize;
            let available = (segment.bytes.len() - skip).min((self.readable - at) as usize);
            // Nearly all segments are so small that none of their messages needs to be looked at.
            let take = if available <= limit.saturating_mul(2) {
                available
            } else {
                whole_messages(&segment.bytes[skip..skip + available], left)
            };
            out.push(segment.bytes.slice(skip..skip + take));
            at += take as i64;
            left = left.saturating_sub(take);
            index += 1;
        }
        at
    }
}

/// Length of the first messages of `bytes` that together have `least` bytes or more.
fn whole_messages(bytes: &[u8], least: usize) -> usize {
    let mut len = 0;
    for frame in frames(bytes) {
        len += frame.bytes.len();
        if len >= least {
            break;
        }
    }
    len
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    watchers: Mutex<Vec<Arc<Watcher>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while the lock is held leaves plain data behind; other readers can go on.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Shared {
    fn drop(&mut self) {
        for watcher in lock(&self.watchers).iter() {
            watcher.close();
        }
    }
}

/// The writer's end of a log. Indices count messages and go on over resets, as history indices do.
#[derive(Debug)]
pub struct History {
    shared: Arc<Shared>,
    tail: BytesMut,
    tail_messages: u64,
    /// End of everything that was appended, published or not.
    end: i64,
    start: i64,
    first_index: i64,
    last_index: i64,
    open: bool,
    /// End of what readers may see.
    published: i64,
    limit: u64,
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
            open: false,
            published: 0,
            limit: 0,
        }
    }
}

impl History {
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

    fn has_space(&self, bytes: usize, extra: u64) -> bool {
        self.limit == 0 || self.size() + bytes as u64 <= self.limit + extra
    }

    /// Appends whole frames, `messages` of them.
    ///
    /// # Errors
    /// When they do not fit into the size limit; nothing is appended then.
    pub fn append(&mut self, frames: &[u8], messages: u64) -> Result<(), OutOfSpace> {
        if !self.has_space(frames.len(), 0) {
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
        self.tail.extend_from_slice(frames);
        self.tail_messages += messages;
        self.end += frames.len() as i64;
        self.last_index += messages as i64;
        if self.tail.len() >= SEGMENT_BYTES {
            self.seal();
        }
    }

    /// Turns the tail into a segment; readers do not see it yet.
    fn seal(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        let start = self.end - self.tail.len() as i64;
        let messages = std::mem::take(&mut self.tail_messages);
        let bytes = if self.tail.len() >= SEGMENT_BYTES {
            let exact = Bytes::copy_from_slice(&self.tail);
            self.tail.clear();
            exact
        } else {
            self.tail.split().freeze()
        };
        let mut state = lock(&self.shared.state);
        state.push(bytes, messages, start);
        state.compact();
    }

    /// Opens or closes the gate: with it closed, nothing that is appended becomes readable.
    pub fn set_open(&mut self, open: bool) {
        self.open = open;
    }

    /// Whether something was appended that readers could see but do not yet.
    pub fn has_unpublished(&self) -> bool {
        self.open && self.published < self.end
    }

    /// Lets readers see everything that was appended, unless the gate is closed, and wakes them.
    pub fn publish(&mut self) {
        if !self.has_unpublished() {
            return;
        }
        self.seal();
        self.published = self.end;
        lock(&self.shared.state).readable = self.end;
        self.wake();
    }

    fn wake(&self) {
        for watcher in lock(&self.shared.watchers).iter() {
            watcher.signal();
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
        {
            let mut state = lock(&self.shared.state);
            let epoch = state.epoch + 1;
            *state = State { epoch, start: self.end, readable: self.end, ..State::default() };
        }
        self.push(image, messages);
        Ok(())
    }

    /// Puts `side`, the side history of a streamed reset, in place of everything before offset `fork`.
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
        side: Bytes,
        side_messages: u64,
    ) -> Result<u64, OutOfSpace> {
        let size = side.len() as u64 + (self.end - fork) as u64;
        if self.limit > 0 && size > self.limit {
            return Err(OutOfSpace);
        }
        self.seal();
        let mut state = lock(&self.shared.state);
        let start = fork - side.len() as i64;
        let mut segments = VecDeque::new();
        segments.push_back(Segment { start, messages: side_messages, bytes: side });
        for segment in state.segments.drain(..).filter(|s| s.end() > fork) {
            let skip = (fork - segment.start).max(0) as usize;
            let skipped = frames(&segment.bytes[..skip]).count() as u64;
            let bytes = segment.bytes.slice(skip..);
            let (start, messages) = (segment.start + skip as i64, segment.messages - skipped);
            segments.push_back(Segment { start, messages, bytes });
        }
        state.small = state.small.min(segments.len() - 1);
        state.segments = segments;
        state.start = start;
        drop(state);
        self.start = start;
        let moved = side_messages + since_fork;
        self.first_index = self.last_index + 1;
        self.last_index += moved as i64;
        Ok(moved)
    }

    /// The offset behind the message with this index, if there is one.
    pub fn offset_after(&mut self, index: i64) -> Option<i64> {
        if index < self.first_index || index > self.last_index {
            return None;
        }
        self.seal();
        let state = lock(&self.shared.state);
        let mut left = (index - self.first_index + 1) as u64;
        for segment in &state.segments {
            if left <= segment.messages {
                let bytes: usize = frames(&segment.bytes).take(left as usize).map(|f| f.bytes.len()).sum();
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

    /// A reader from an offset on; what is before the beginning is the beginning.
    pub fn cursor(&self, at: i64) -> Cursor {
        let epoch = self.epoch();
        let position = Arc::new(AtomicI64::new(at.max(self.start)));
        Cursor { shared: self.shared.clone(), epoch, position }
    }

    /// Copies everything that is in the log, for tests and tools.
    pub fn to_bytes(&mut self) -> Vec<u8> {
        self.seal();
        let state = lock(&self.shared.state);
        state.segments.iter().flat_map(|s| s.bytes.iter().copied()).collect()
    }
}

/// One reader of a log.
#[derive(Debug)]
pub struct Cursor {
    shared: Arc<Shared>,
    epoch: u64,
    position: Arc<AtomicI64>,
}

impl Cursor {
    /// Adds shared slices of what comes next to `out`, about `limit` bytes in whole messages, and moves on behind them.
    ///
    /// Returns whether there was anything.
    pub fn read(&mut self, limit: usize, out: &mut Vec<Bytes>) -> bool {
        let state = lock(&self.shared.state);
        if state.epoch != self.epoch {
            return false;
        }
        let from = self.position.load(Ordering::Relaxed);
        let to = state.read(from, limit, out);
        drop(state);
        self.position.store(to, Ordering::Release);
        to > from
    }

    /// The client was told of the reset that began `epoch`: go to the beginning of the new content.
    pub fn follow_reset(&mut self, epoch: u64) {
        self.epoch = epoch;
        let start = lock(&self.shared.state).start;
        self.position.fetch_max(start, Ordering::AcqRel);
    }

    /// The reader's offset, to be watched from elsewhere.
    pub fn position(&self) -> Arc<AtomicI64> {
        self.position.clone()
    }

    /// Identifies the log among all that are alive.
    pub fn log_id(&self) -> usize {
        Arc::as_ptr(&self.shared) as usize
    }

    /// Registers a worker's ear.
    pub fn watch(&self) -> Arc<Watcher> {
        let watcher = Arc::new(Watcher::default());
        lock(&self.shared.watchers).push(watcher.clone());
        watcher
    }

    /// Takes a worker's ear away.
    pub fn unwatch(&self, watcher: &Arc<Watcher>) {
        lock(&self.shared.watchers).retain(|w| !Arc::ptr_eq(w, watcher));
        watcher.close();
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
