//! Segments: immutable pieces of the log, in memory, in a file, or both.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use drawhall_protocol::frame::frames;

use super::cursor::Fetch;
use crate::storage::history_file::{HistoryFile, INDEX_ENTRY_BYTES};
use crate::storage::session_files::Chunk;

/// Size in bytes from which on a segment is left alone.
pub(super) const SEGMENT_BYTES: usize = INDEX_ENTRY_BYTES;
/// Number of small segments that are merged at the latest.
const MAX_SMALL: usize = 128;
/// Bytes of what is in a file that stay in memory: more than the small segments that may still be merged.
const KEPT_BYTES: usize = 4 * SEGMENT_BYTES;

/// What readers have fetched from a file and share.
#[derive(Debug)]
pub(super) struct CachedBlock(pub(super) Vec<u8>);

/// A share in a [`CachedBlock`], as the owner of some [`Bytes`].
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
    /// Where it is stored.
    pub(super) file: Option<Arc<HistoryFile>>,
    pub(super) fetched: Weak<CachedBlock>,
}

impl Segment {
    pub(super) fn in_memory(bytes: Bytes, messages: u64, start: i64) -> Segment {
        Segment { start, len: bytes.len(), messages, memory: Some(bytes), file: None, fetched: Weak::new() }
    }

    pub(super) fn end(&self) -> i64 {
        self.start + self.len as i64
    }

    /// Its bytes, if they need not be fetched.
    fn bytes(&self) -> Option<Bytes> {
        let fetched = || self.fetched.upgrade().map(|block| Bytes::from_owner(BlockRef(block)));
        self.memory.clone().or_else(fetched)
    }

    /// Its bytes, fetched if need be; blocks for a short while.
    pub(super) fn bytes_now(&self) -> io::Result<Bytes> {
        match (self.bytes(), &self.file) {
            (Some(bytes), _) => Ok(bytes),
            (None, Some(file)) => file.read_at(self.start, self.len).map(Bytes::from),
            // Segments are dropped from memory only when they are in a file.
            (None, None) => Ok(Bytes::new()),
        }
    }

    pub(super) fn part(&self) -> Chunk {
        match (&self.memory, &self.file) {
            (None, Some(file)) => Chunk::File { file: file.clone(), from: self.start, len: self.len },
            (memory, _) => Chunk::Memory(memory.clone().unwrap_or_default()),
        }
    }
}

/// All segments, and what of them readers may see.
#[derive(Debug, Default)]
pub(super) struct LogState {
    /// Counts resets; cursors of an earlier epoch are not served.
    pub(super) epoch: u64,
    /// Where the current content begins.
    pub(super) start: i64,
    /// Up to here readers may go.
    pub(super) readable: i64,
    pub(super) segments: VecDeque<Segment>,
    /// Number of segments at the end that may still be merged.
    pub(super) small: usize,
    /// The file of the current content, and up to where it is in it.
    pub(super) file: Option<Arc<HistoryFile>>,
    pub(super) stored: i64,
    /// Segments at the beginning that are not in memory.
    pub(super) evicted: usize,
}

impl LogState {
    pub(super) fn push(&mut self, bytes: Bytes, messages: u64, start: i64) {
        let large = bytes.len() >= SEGMENT_BYTES;
        self.segments.push_back(Segment::in_memory(bytes, messages, start));
        self.small = if large { 0 } else { self.small + 1 };
    }

    /// Merges the small segments at the end, once they are worth it.
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

    /// Notes of the segments from an index on whether they are in the file.
    pub(super) fn mark_stored(&mut self, from: usize) {
        let stored = self.stored;
        for segment in self.segments.range_mut(from..).filter(|s| s.end() <= stored) {
            segment.file.clone_from(&self.file);
        }
    }

    /// Drops the oldest segments from memory, as far as they are in a file and more than enough is kept.
    pub(super) fn evict(&mut self) {
        let kept = |s: &Segment| s.memory.as_ref().map_or(0, Bytes::len);
        let mut left: usize = self.segments.range(self.evicted..).map(kept).sum();
        while let Some(oldest) = self.segments.get_mut(self.evicted)
            && left > KEPT_BYTES
            && oldest.file.is_some()
        {
            left -= oldest.memory.take().map_or(0, |b| b.len());
            self.evicted += 1;
        }
    }

    /// Whether a message begins at an offset before the tail.
    pub(super) fn is_boundary(&self, at: i64) -> bool {
        let index = self.segments.partition_point(|s| s.end() <= at);
        let Some(segment) = self.segments.get(index) else { return false };
        match usize::try_from(at - segment.start) {
            Ok(0) => true,
            Ok(skip) => segment.bytes_now().is_ok_and(|bytes| begins_message(&bytes, skip)),
            Err(_) => false,
        }
    }

    /// Adds shared slices of what lies between `from` and the readable end: whole messages (something else may be sent
    /// between two reads), about `limit` bytes of them. Returns where they end, and their number; or what to fetch first.
    ///
    /// # Errors
    /// When no message begins at `from`: nothing that is added then can be used.
    pub(super) fn read(
        &self,
        from: i64,
        limit: usize,
        out: &mut Vec<Bytes>,
    ) -> Result<(i64, u64, Option<Fetch>), NoMessage> {
        let mut at = from.max(self.start);
        let (mut left, mut messages) = (limit, 0);
        let mut index = self.segments.partition_point(|s| s.end() <= at);
        while at < self.readable && left > 0 {
            let Some(segment) = self.segments.get(index) else { break };
            let Some(bytes) = segment.bytes() else {
                let fetch =
                    segment.file.clone().map(|file| Fetch { file, start: segment.start, len: segment.len });
                return Ok((at, messages, fetch.filter(|_| left == limit)));
            };
            let skip = usize::try_from(at - segment.start).map_err(|_| NoMessage)?;
            let available = (segment.len - skip).min((self.readable - at) as usize);
            // Nearly all segments are so small that none of their messages needs to be looked at.
            let least = if available <= limit.saturating_mul(2) { available } else { left };
            let (take, count) = if least == segment.len {
                (segment.len, segment.messages)
            } else {
                whole_messages(&bytes[skip..skip + available], least)
            };
            if take == 0 {
                return Err(NoMessage);
            }
            out.push(bytes.slice(skip..skip + take));
            at += take as i64;
            left = left.saturating_sub(take);
            messages += count;
            index += 1;
        }
        Ok((at, messages, None))
    }
}

/// No message begins where somebody wants to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoMessage;

/// Whether a message begins, or the bytes end, behind so many of them.
pub(super) fn begins_message(bytes: &[u8], skip: usize) -> bool {
    let mut ends = frames(bytes).scan(0, |end, frame| {
        *end += frame.bytes.len();
        Some(*end)
    });
    skip == 0 || ends.find(|end| *end >= skip) == Some(skip)
}

/// Length and number of the first messages of `bytes` that together have `least` bytes or more.
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
