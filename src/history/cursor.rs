//! Readers of the log, one per client.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::log::{LogShared, lock};
use super::segments::{CachedBlock, Segment};
use super::source::HistorySource;
use super::subscription::Subscription;
use super::sync::AtomicI64;

/// A segment that a reader needs and that is only in a file.
#[derive(Debug)]
pub struct Fetch {
    pub(super) file: Arc<dyn HistorySource>,
    pub(super) start: i64,
    pub(super) len: usize,
}

/// A segment that was read from a file. Readers find it as long as one of them holds this or slices of it.
#[derive(Debug)]
pub struct Fetched {
    file: Arc<dyn HistorySource>,
    start: i64,
    block: Arc<CachedBlock>,
}

impl Fetch {
    /// A zeroed buffer of the right size. Call it on the thread that will drop it, so that the allocator can reuse
    /// the memory.
    pub fn buffer(&self) -> Vec<u8> {
        vec![0; self.len]
    }

    /// Reads the segment into its [`Self::buffer`]; blocks.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn run(self, mut buffer: Vec<u8>) -> io::Result<Fetched> {
        self.file.read_into(self.start, &mut buffer)?;
        Ok(Fetched { file: self.file, start: self.start, block: Arc::new(CachedBlock(buffer)) })
    }
}

/// Result of [`Cursor::read`].
#[derive(Debug)]
pub enum Read {
    /// Nothing to read at present.
    Nothing,
    /// Something was read.
    Some,
    /// The next segment is only in a file: run the fetch, pass its result to [`Cursor::fetched`], then read again.
    Fetch(Fetch),
    /// No message begins at the cursor's position: it cannot go on.
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
    /// Appends shared slices of the next messages to `out`, about `limit` bytes but only whole messages, and advances
    /// the position behind them.
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

    /// Makes a fetched segment available to this and all other readers while it is in use.
    pub fn fetched(&self, fetched: &Fetched) {
        let mut state = lock(&self.shared.state);
        let index = state.segments.partition_point(|s| s.start < fetched.start);
        // A reset in the meantime may have put other content, in another file, at this place.
        let same = |s: &&mut Segment| {
            let same_range = s.start == fetched.start && s.len == fetched.block.0.len();
            same_range && s.file.as_ref().is_some_and(|f| Arc::ptr_eq(f, &fetched.file))
        };
        if let Some(segment) = state.segments.get_mut(index).filter(same) {
            segment.fetched = Arc::downgrade(&fetched.block);
        }
    }

    /// The client was sent the reset message of `epoch`: continue at the start of the new content.
    pub fn follow_reset(&mut self, epoch: u64) {
        self.epoch = epoch;
        let start = lock(&self.shared.state).start;
        self.position.fetch_max(start, Ordering::AcqRel);
    }

    /// Counts time that was spent on sending what was read; see
    /// [`History::take_sending_ns`](super::History::take_sending_ns).
    pub fn has_spent(&self, time: Duration) {
        self.shared.sending_ns.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Number of messages read so far.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Offset up to which the log is readable.
    pub fn end(&self) -> i64 {
        lock(&self.shared.state).readable
    }

    /// The reader's offset, which the session observes to see how far its clients are.
    pub fn position(&self) -> Arc<AtomicI64> {
        self.position.clone()
    }

    /// Unique id of the log, also among dropped ones.
    pub fn log_id(&self) -> u64 {
        self.shared.id
    }

    /// Registers a subscription to publications.
    pub fn subscribe(&self) -> Arc<Subscription> {
        let subscription = Arc::new(Subscription::default());
        lock(&self.shared.subscriptions).push(subscription.clone());
        subscription
    }

    /// Removes and closes a subscription.
    pub fn unsubscribe(&self, subscription: &Arc<Subscription>) {
        lock(&self.shared.subscriptions).retain(|s| !Arc::ptr_eq(s, subscription));
        subscription.close();
    }
}
