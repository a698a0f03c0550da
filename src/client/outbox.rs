//! What a client is to be sent: direct messages and the history, as one stream in order.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use drawhall_protocol::frame::frames;

use crate::history::{Cursor, Fetch, Fetched, Read};
use crate::metrics::METRICS;

/// Bytes of direct messages that may wait. A client that lets so many pile up does not read.
const MAX_QUEUED: usize = 4 << 20;
/// What a message costs of that besides its bytes.
const ITEM_COST: usize = 64;

#[derive(Debug)]
enum Item {
    Bytes(Bytes),
    Attach(Cursor),
    FollowReset(u64),
    Upgrade,
    Close,
}

/// The way out of one client.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Item>,
    queued: usize,
    cursor: Option<Cursor>,
    /// Where the history ended when it was attached.
    joined_at: i64,
    closing: bool,
}

/// What is to be done when everything gathered was written.
#[derive(Debug)]
pub(super) enum Next {
    /// Gather again; if nothing was gathered, wait for more first.
    Wait,
    /// Fetch this, then gather again.
    Fetch(Fetch),
    /// What follows is encrypted.
    Upgrade,
    /// This is the end.
    End,
}

/// The client does not read: too much waits for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overflow;

impl Outbox {
    /// Queues wire bytes; after [`Self::close`] they are dropped.
    pub(super) fn push(&mut self, bytes: Bytes) -> Result<(), Overflow> {
        if self.closing {
            return Ok(());
        }
        let cost = bytes.len() + ITEM_COST;
        if self.queued + cost > MAX_QUEUED {
            return Err(Overflow);
        }
        self.queued += cost;
        self.queue.push_back(Item::Bytes(bytes));
        Ok(())
    }

    /// Queues wire bytes before everything else.
    pub(super) fn push_first(&mut self, bytes: Bytes) {
        // A client that floods with pings and reads no pongs gets no more of them.
        let cost = bytes.len() + ITEM_COST;
        if !self.closing && self.queued + cost <= MAX_QUEUED {
            self.queued += cost;
            self.queue.push_front(Item::Bytes(bytes));
        }
    }

    /// The history follows, once what is queued is sent.
    pub(super) fn attach(&mut self, cursor: Cursor) {
        self.queue.push_back(Item::Attach(cursor));
    }

    /// The history goes on after a reset, once what is queued is sent.
    pub(super) fn follow_reset(&mut self, epoch: u64) {
        self.queue.push_back(Item::FollowReset(epoch));
    }

    /// What follows what is queued is encrypted.
    pub(super) fn upgrade(&mut self) {
        self.queue.push_back(Item::Upgrade);
    }

    /// Bytes of history that came since it was attached and were not taken yet.
    pub(super) fn lag(&self) -> u64 {
        let Some(cursor) = &self.cursor else { return 0 };
        let taken = cursor.position().load(Ordering::Relaxed).max(self.joined_at);
        u64::try_from(cursor.end() - taken).unwrap_or(0)
    }

    /// Nothing is sent after what is queued.
    pub(super) fn close(&mut self) {
        if !self.closing {
            self.closing = true;
            self.queue.push_back(Item::Close);
        }
    }

    /// The history is read no more; returns its cursor.
    pub(super) fn detach(&mut self) -> Option<Cursor> {
        self.queue.clear();
        self.queued = 0;
        self.cursor.take()
    }

    /// What was fetched from a file can be read now.
    pub(super) fn fetched(&self, fetched: &Fetched) {
        if let Some(cursor) = &self.cursor {
            cursor.fetched(fetched);
        }
    }

    /// Adds what is to be sent next to `out`: all direct messages, then up to about `limit` bytes of history.
    pub(super) fn gather(&mut self, limit: usize, out: &mut Vec<Bytes>) -> Next {
        while let Some(item) = self.queue.pop_front() {
            match item {
                Item::Bytes(bytes) => {
                    self.queued -= bytes.len() + ITEM_COST;
                    METRICS.messages_out.add(frames(&bytes).count() as u64);
                    out.push(bytes);
                }
                Item::Attach(cursor) => {
                    self.joined_at = cursor.end();
                    self.cursor = Some(cursor);
                }
                Item::FollowReset(epoch) => {
                    if let Some(cursor) = &mut self.cursor {
                        cursor.follow_reset(epoch);
                    }
                }
                Item::Upgrade => return Next::Upgrade,
                Item::Close => return Next::End,
            }
        }
        let Some(cursor) = self.cursor.as_mut().filter(|_| !self.closing) else { return Next::Wait };
        let before = cursor.messages();
        let read = cursor.read(limit, out);
        METRICS.messages_out.add(cursor.messages() - before);
        if let Read::Fetch(fetch) = read { Next::Fetch(fetch) } else { Next::Wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::History;

    fn gathered(outbox: &mut Outbox) -> (String, bool) {
        let mut out = Vec::new();
        let next = outbox.gather(1000, &mut out);
        (String::from_utf8(out.concat()).unwrap(), matches!(next, Next::End))
    }

    fn history() -> History {
        let mut history = History::default();
        history.set_open(true);
        history.append(b"history", 1).unwrap();
        history.publish();
        history
    }

    #[test]
    fn direct_messages_come_before_the_history_that_follows_them() {
        let history = history();
        let mut outbox = Outbox::default();
        outbox.push("first ".into()).unwrap();
        outbox.attach(history.cursor(i64::MIN));
        outbox.push("second ".into()).unwrap();
        assert_eq!(gathered(&mut outbox), ("first second history".into(), false));
        assert_eq!(gathered(&mut outbox), (String::new(), false));
    }

    #[test]
    fn the_new_history_follows_the_words_about_the_reset() {
        let mut history = history();
        let mut outbox = Outbox::default();
        outbox.attach(history.cursor(i64::MIN));
        gathered(&mut outbox);
        history.reset(b"new", 1).unwrap();
        history.publish();
        assert_eq!(gathered(&mut outbox).0, "");
        outbox.push("reset! ".into()).unwrap();
        outbox.follow_reset(history.epoch());
        assert_eq!(gathered(&mut outbox).0, "reset! new");
    }

    #[test]
    fn after_the_goodbye_there_is_nothing() {
        let history = history();
        let mut outbox = Outbox::default();
        outbox.attach(history.cursor(i64::MIN));
        outbox.push("bye".into()).unwrap();
        outbox.close();
        outbox.push("more".into()).unwrap();
        outbox.push_first("more".into());
        outbox.close();
        assert_eq!(gathered(&mut outbox), ("bye".into(), true));
    }

    #[test]
    fn pongs_jump_the_queue() {
        let mut outbox = Outbox::default();
        outbox.push("direct".into()).unwrap();
        outbox.push_first("pong ".into());
        assert_eq!(gathered(&mut outbox).0, "pong direct");
    }

    #[test]
    fn what_was_drawn_before_somebody_joined_is_no_lag() {
        let mut history = history();
        let mut outbox = Outbox::default();
        assert_eq!(outbox.lag(), 0);
        outbox.attach(history.cursor(i64::MIN));
        outbox.gather(0, &mut Vec::new());
        assert_eq!(outbox.lag(), 0);
        history.append(b"more", 1).unwrap();
        history.publish();
        assert_eq!(outbox.lag(), 4);
        while !gathered(&mut outbox).0.is_empty() {}
        assert_eq!(outbox.lag(), 0);
    }

    #[test]
    fn a_client_that_does_not_read_overflows() {
        let mut outbox = Outbox::default();
        let much = Bytes::from(vec![0; MAX_QUEUED - ITEM_COST]);
        assert_eq!(outbox.push(much), Ok(()));
        assert_eq!(outbox.push("x".into()), Err(Overflow));
        gathered(&mut outbox);
        let taken = (0..).take_while(|_| outbox.push("x".into()).is_ok()).count();
        assert_eq!(taken, MAX_QUEUED / (1 + ITEM_COST), "small messages cost more than their bytes");
        gathered(&mut outbox);
        assert_eq!(outbox.queued, 0);
    }
}
