//! Segments: immutable pieces of the log, in memory, in a file, or both.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use drawhall_protocol::frame::frames;

use super::cursor::Fetch;
use super::source::{Chunk, HistorySource, INDEX_ENTRY_BYTES};

/// Segments of this size in bytes or more are not merged any further.
pub(super) const SEGMENT_BYTES: usize = INDEX_ENTRY_BYTES;
/// Small segments are merged when there are this many, even if together they are shorter than [`SEGMENT_BYTES`].
const MAX_SMALL: usize = 128;
/// Bytes of segments that stay in memory although they are in a file. More than the small segments that may still be
/// merged, because merging needs them in memory.
const RESIDENT_BYTES: usize = 4 * SEGMENT_BYTES;

/// A segment that was read from a file, shared by its readers.
#[derive(Debug)]
pub(super) struct CachedBlock(pub(super) Vec<u8>);

/// Reference to a [`CachedBlock`], as the owner of some [`Bytes`].
struct BlockRef(Arc<CachedBlock>);

impl AsRef<[u8]> for BlockRef {
    fn as_ref(&self) -> &[u8] {
        &self.0.0
    }
}

/// A piece of the log: whole messages.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) start: i64,
    pub(super) len: usize,
    pub(super) messages: u64,
    pub(super) memory: Option<Bytes>,
    /// The file that it is stored in.
    pub(super) file: Option<Arc<dyn HistorySource>>,
    pub(super) fetched: Weak<CachedBlock>,
}

impl Segment {
    pub(super) fn in_memory(bytes: Bytes, messages: u64, start: i64) -> Segment {
        Segment { start, len: bytes.len(), messages, memory: Some(bytes), file: None, fetched: Weak::new() }
    }

    pub(super) fn end(&self) -> i64 {
        self.start + self.len as i64
    }

    /// Its bytes, if they are in memory or in a cached block.
    fn bytes(&self) -> Option<Bytes> {
        let fetched = || self.fetched.upgrade().map(|block| Bytes::from_owner(BlockRef(block)));
        self.memory.clone().or_else(fetched)
    }

    /// Its bytes, read from the file if necessary; blocks.
    pub(super) fn read_bytes(&self) -> io::Result<Bytes> {
        match (self.bytes(), &self.file) {
            (Some(bytes), _) => Ok(bytes),
            (None, Some(file)) => file.read_at(self.start, self.len).map(Bytes::from),
            // Not reached: segments are evicted from memory only when they are in a file.
            (None, None) => Ok(Bytes::new()),
        }
    }

    pub(super) fn chunk(&self) -> Chunk {
        match (&self.memory, &self.file) {
            (None, Some(file)) => Chunk::File { file: file.clone(), from: self.start, len: self.len },
            (memory, _) => Chunk::Memory(memory.clone().unwrap_or_default()),
        }
    }
}

/// All segments, and what readers may see of them.
///
/// **Invariants**
///
/// * Segments are contiguous: the first begins at `start`, each begins where the previous one ends, and each holds
///   whole messages.
/// * `readable` is a message boundary, at most the end of the last segment.
/// * The first `evicted` segments are not in memory. A segment that is not in memory has a file.
/// * The last `small` segments are in memory and shorter than [`SEGMENT_BYTES`].
/// * Unless a new file is due (see [`History`](super::History)), everything from `start` to `stored` is in `file`.
#[derive(Debug, Default)]
pub(super) struct LogState {
    /// Number of resets; a cursor of another epoch reads nothing.
    pub(super) epoch: u64,
    /// Offset of the current content's first byte.
    pub(super) start: i64,
    /// Offset up to which readers may read.
    pub(super) readable: i64,
    pub(super) segments: VecDeque<Segment>,
    /// Number of segments at the end that may still be merged.
    pub(super) small: usize,
    /// The file of the current content.
    pub(super) file: Option<Arc<dyn HistorySource>>,
    pub(super) stored: i64,
    /// Number of segments at the beginning that are not in memory.
    pub(super) evicted: usize,
}

impl LogState {
    pub(super) fn push(&mut self, bytes: Bytes, messages: u64, start: i64) {
        let large = bytes.len() >= SEGMENT_BYTES;
        self.segments.push_back(Segment::in_memory(bytes, messages, start));
        self.small = if large { 0 } else { self.small + 1 };
    }

    /// Merges the small segments at the end when they are enough.
    pub(super) fn compact(&mut self) {
        let from = self.segments.len() - self.small;
        let total: usize = self.segments.range(from..).map(|s| s.len).sum();
        if self.small < 2 || (total < SEGMENT_BYTES && self.small < MAX_SMALL) {
            return;
        }
        let mut merged = Vec::with_capacity(total);
        let mut messages = 0;
        let start = self.segments[from].start;
        for segment in self.segments.drain(from..) {
            merged.extend_from_slice(&segment.memory.unwrap_or_default());
            messages += segment.messages;
        }
        self.small = 0;
        self.push(merged.into(), messages, start);
        self.mark_stored(from);
    }

    /// Sets the file of the segments from an index on that are stored completely.
    pub(super) fn mark_stored(&mut self, from: usize) {
        let stored = self.stored;
        for segment in self.segments.range_mut(from..).filter(|s| s.end() <= stored) {
            segment.file.clone_from(&self.file);
        }
    }

    /// Evicts the oldest stored segments from memory until no more than [`RESIDENT_BYTES`] are left.
    pub(super) fn evict(&mut self) {
        let in_memory = |s: &Segment| s.memory.as_ref().map_or(0, Bytes::len);
        let mut resident: usize = self.segments.range(self.evicted..).map(in_memory).sum();
        while let Some(oldest) = self.segments.get_mut(self.evicted)
            && resident > RESIDENT_BYTES
            && oldest.file.is_some()
        {
            resident -= oldest.memory.take().map_or(0, |b| b.len());
            self.evicted += 1;
        }
    }

    /// Whether a message begins at an offset before the tail.
    pub(super) fn is_boundary(&self, offset: i64) -> bool {
        let index = self.segments.partition_point(|s| s.end() <= offset);
        let Some(segment) = self.segments.get(index) else { return false };
        match usize::try_from(offset - segment.start) {
            Ok(0) => true,
            Ok(skip) => segment.read_bytes().is_ok_and(|bytes| begins_message(&bytes, skip)),
            Err(_) => false,
        }
    }

    /// Appends shared slices of the readable bytes from `from` on: about `limit` bytes, but only whole messages,
    /// because other messages may be sent to the client between two reads. Returns where they end, their number, and
    /// what must be fetched first if nothing was read.
    ///
    /// # Errors
    /// When no message begins at `from`; what was appended to `out` is unusable then.
    pub(super) fn read(
        &self,
        from: i64,
        limit: usize,
        out: &mut Vec<Bytes>,
    ) -> Result<(i64, u64, Option<Fetch>), NoMessage> {
        let mut position = from.max(self.start);
        let (mut budget, mut messages) = (limit, 0);
        let mut index = self.segments.partition_point(|s| s.end() <= position);
        while position < self.readable && budget > 0 {
            let Some(segment) = self.segments.get(index) else { break };
            let Some(bytes) = segment.bytes() else {
                let fetch =
                    segment.file.clone().map(|file| Fetch { file, start: segment.start, len: segment.len });
                return Ok((position, messages, fetch.filter(|_| budget == limit)));
            };
            let skip = usize::try_from(position - segment.start).map_err(|_| NoMessage)?;
            let available = (segment.len - skip).min((self.readable - position) as usize);
            // Up to twice the limit is taken as it is: most segments need not be parsed.
            let least = if available <= limit.saturating_mul(2) { available } else { budget };
            let (take, count) = if least == segment.len {
                (segment.len, segment.messages)
            } else {
                whole_messages(&bytes[skip..skip + available], least)
            };
            if take == 0 {
                return Err(NoMessage);
            }
            out.push(bytes.slice(skip..skip + take));
            position += take as i64;
            budget = budget.saturating_sub(take);
            messages += count;
            index += 1;
        }
        Ok((position, messages, None))
    }
}

/// No message begins at the requested offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoMessage;

/// Whether a message begins, or the bytes end, at offset `skip`.
pub(super) fn begins_message(bytes: &[u8], skip: usize) -> bool {
    let mut ends = frames(bytes).scan(0, |end, frame| {
        *end += frame.bytes.len();
        Some(*end)
    });
    skip == 0 || ends.find(|end| *end >= skip) == Some(skip)
}

/// Length and number of the first messages of `bytes` that together have at least `least` bytes.
pub(super) fn whole_messages(bytes: &[u8], least: usize) -> (usize, u64) {
    let (mut len, mut messages) = (0, 0);
    for frame in frames(bytes) {
        len += frame.bytes.len();
        messages += 1;
        if len >= least {
            break;
        }
    }
    (len, messages)
}
