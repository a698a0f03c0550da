//! Readers of the log, one a client.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::log::{LogShared, lock};
use super::segments::{CachedBlock, Segment};
use super::subscription::Subscription;
use super::sync::AtomicI64;
use crate::storage::history_file::HistoryFile;

/// Something that a reader needs and that is in a file only.
#[derive(Debug)]
pub struct Fetch {
    pub(super) file: Arc<HistoryFile>,
    pub(super) start: i64,
    pub(super) len: usize,
}

/// What was fetched. It can be read as long as somebody holds this or has read it.
#[derive(Debug)]
pub struct Fetched {
    file: Arc<HistoryFile>,
    start: i64,
    block: Arc<CachedBlock>,
}

impl Fetch {
    /// A buffer for it, to be made where it will be dropped: memory goes back more easily that way.
    pub fn buffer(&self) -> Vec<u8> {
        vec![0; self.len]
    }

    /// Reads it into its [`Self::buffer`]; blocks.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn run(self, mut buffer: Vec<u8>) -> io::Result<Fetched> {
        self.file.read_into(self.start, &mut buffer)?;
        Ok(Fetched { file: self.file, start: self.start, block: Arc::new(CachedBlock(buffer)) })
    }
}

/// What came of reading.
#[derive(Debug)]
pub enum Read {
    /// Nothing is there.
    Nothing,
    /// There was something.
    Some,
    /// Something is there; it must be fetched and given to [`Cursor::fetched`] first.
    Fetch(Fetch),
    /// No message begins where the reader is: it cannot go on.
    Lost,
}

/// One reader of a log.
#[derive(Debug)]
pub struct Cursor {
    pub(super) shared: Arc<LogShared>,
    pub(super) epoch: u64,
    pub(super) position: Arc<AtomicI64>,
    pub(super) messages: u64,
}

impl Cursor {
    /// Adds shared slices of what comes next to `out`, about `limit` bytes in whole messages, and moves on behind them.
    pub fn read(&mut self, limit: usize, out: &mut Vec<Bytes>) -> Read {
        let state = lock(&self.shared.state);
        if state.epoch != self.epoch {
            return Read::Nothing;
        }
        let from = self.position.load(Ordering::Relaxed);
        let read = state.read(from, limit, out);
        drop(state);
        let Ok((to, messages, fetch)) = read else { return Read::Lost };
        self.messages += messages;
        self.position.store(to, Ordering::Release);
        match fetch {
            Some(fetch) => Read::Fetch(fetch),
            None if to > from => Read::Some,
            None => Read::Nothing,
        }
    }

    /// Takes over what was fetched, for this reader and all that come by while it is in use.
    pub fn fetched(&self, fetched: &Fetched) {
        let mut state = lock(&self.shared.state);
        let at = state.segments.partition_point(|s| s.start < fetched.start);
        // A reset may have come in between: then the file is another.
        let same = |s: &&mut Segment| {
            let same_place = s.start == fetched.start && s.len == fetched.block.0.len();
            same_place && s.file.as_ref().is_some_and(|f| Arc::ptr_eq(f, &fetched.file))
        };
        if let Some(segment) = state.segments.get_mut(at).filter(same) {
            segment.fetched = Arc::downgrade(&fetched.block);
        }
    }

    /// The client was told of the reset that began `epoch`: go to the beginning of the new content.
    pub fn follow_reset(&mut self, epoch: u64) {
        self.epoch = epoch;
        let start = lock(&self.shared.state).start;
        self.position.fetch_max(start, Ordering::AcqRel);
    }

    /// Number of messages that were read.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Offset up to which there is something to read.
    pub fn end(&self) -> i64 {
        lock(&self.shared.state).readable
    }

    /// The reader's offset, to be watched from elsewhere.
    pub fn position(&self) -> Arc<AtomicI64> {
        self.position.clone()
    }

    /// Identifies the log among all that there have been.
    pub fn log_id(&self) -> u64 {
        self.shared.id
    }

    /// Registers a worker's ear.
    pub fn watch(&self) -> Arc<Subscription> {
        let subscription = Arc::new(Subscription::default());
        lock(&self.shared.subscriptions).push(subscription.clone());
        subscription
    }

    /// Takes a worker's ear away.
    pub fn unwatch(&self, subscription: &Arc<Subscription>) {
        lock(&self.shared.subscriptions).retain(|w| !Arc::ptr_eq(w, subscription));
        subscription.close();
    }
}
