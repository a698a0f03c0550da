//! The outbox: direct messages and history for one client, as one ordered stream. Bounds what a slow client can make
//! the server queue (back-pressure on sending).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use drawhall_protocol::frame::frames;

use crate::history::{Cursor, Fetch, Fetched, Read};
use crate::metrics::Metrics;

/// Maximum size of direct messages that wait for a stalled client, in bytes.
const MAX_UNREAD: usize = 4 << 20;
/// Maximum size of direct messages that wait for any client, in bytes.
const MAX_QUEUED: usize = 32 << 20;
/// Capacity that an empty queue keeps, in items: a login or a long list of sessions needs more, but once.
const KEPT_ITEMS: usize = 4;
/// Overhead of a queued message in bytes.
pub(super) const ITEM_COST: usize = 64;

#[derive(Debug)]
enum Item {
    Bytes(Bytes),
    Attach(Cursor),
    FollowReset(u64),
    Upgrade,
    Close,
}

/// The outbox of one client.
///
/// **Invariants**
/// * Items are sent in the order in which they were queued, but for pongs, which come first ([`Outbox::push_first`]).
///   History is sent only when all direct messages before it are.
/// * At most one cursor reads; another one waits in the queue.
/// * Queued bytes never exceed [`MAX_QUEUED`]. For a stalled client nothing is queued beyond [`MAX_UNREAD`], and it is
///   disconnected at the worker's next check if it already has more ([`Outbox::is_over`]).
/// * Nothing that is queued after [`Outbox::close`] is sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Item>,
    queued: usize,
    cursor: Option<Cursor>,
    /// End of the history when the cursor was attached.
    joined_at: i64,
    closing: bool,
    /// What is sent behind the whole history; then the outbox ends.
    last: Option<Bytes>,
    metrics: Arc<Metrics>,
}

/// What the writer does after writing what was gathered.
#[derive(Debug)]
pub(super) enum Next {
    /// Gather again; if nothing was gathered, wait first.
    Wait,
    /// Fetch from the history file, then gather again.
    Fetch(Fetch),
    /// What follows is encrypted.
    Upgrade,
    /// Everything has been sent.
    End,
    /// The client's position is no longer in the history.
    Lost,
}

/// Slow client: too much is queued for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overflow;

impl Outbox {
    /// An empty outbox, whose messages are counted here.
    pub(super) fn new(metrics: Arc<Metrics>) -> Outbox {
        Outbox { metrics, ..Outbox::default() }
    }

    /// Queues a frame; dropped after [`Self::close`]. A `stalled` client, which has read nothing for a while, has a
    /// lower limit than one that reads: others could otherwise get it disconnected by sending it much.
    pub(super) fn push(&mut self, bytes: Bytes, stalled: bool) -> Result<(), Overflow> {
        if self.closing {
            return Ok(());
        }
        let cost = bytes.len() + ITEM_COST;
        if self.queued + cost > if stalled { MAX_UNREAD } else { MAX_QUEUED } {
            return Err(Overflow);
        }
        self.queued += cost;
        self.queue.push_back(Item::Bytes(bytes));
        Ok(())
    }

    /// Queues a frame before everything else.
    pub(super) fn push_first(&mut self, bytes: Bytes) {
        // A client that floods with pings and reads no pongs gets no more of them.
        let cost = bytes.len() + ITEM_COST;
        if !self.closing && self.queued + cost <= MAX_UNREAD {
            self.queued += cost;
            self.queue.push_front(Item::Bytes(bytes));
        }
    }

    /// Sends the history from this cursor, after what is queued.
    pub(super) fn attach(&mut self, cursor: Cursor) {
        self.queue.push_back(Item::Attach(cursor));
    }

    /// Continues with the history after a reset, after what is queued.
    pub(super) fn follow_reset(&mut self, epoch: u64) {
        self.queue.push_back(Item::FollowReset(epoch));
    }

    /// Starts TLS after what is queued.
    pub(super) fn upgrade(&mut self) {
        self.queue.push_back(Item::Upgrade);
    }

    /// Bytes of history that were added since attaching and have not been sent.
    pub(super) fn lag(&self) -> u64 {
        let Some(cursor) = &self.cursor else { return 0 };
        let taken = cursor.position().load(Ordering::Relaxed).max(self.joined_at);
        u64::try_from(cursor.end() - taken).unwrap_or(0)
    }

    /// Whether more is queued than a stalled client may have.
    pub(super) fn is_over(&self) -> bool {
        self.queued > MAX_UNREAD
    }

    /// Ends the outbox after what is queued.
    pub(super) fn close(&mut self) {
        if !self.closing {
            self.closing = true;
            self.queue.push_back(Item::Close);
        }
    }

    /// Ends the outbox with this, after what is queued and the history up to its end.
    pub(super) fn close_behind_history(&mut self, last: Bytes) {
        self.last.get_or_insert(last);
    }

    /// Drops everything that is queued and stops sending history; returns the cursor, also one that was still queued.
    pub(super) fn detach(&mut self) -> Option<Cursor> {
        self.queued = 0;
        let waiting = self.queue.drain(..).filter_map(|item| match item {
            Item::Attach(cursor) => Some(cursor),
            _ => None,
        });
        waiting.last().or(self.cursor.take())
    }

    /// Makes a block that was fetched from a file available.
    pub(super) fn fetched(&self, fetched: &Fetched) {
        if let Some(cursor) = &self.cursor {
            cursor.fetched(fetched);
        }
    }

    /// Counts time that was spent on sending, for the session that is read.
    pub(super) fn has_spent(&self, time: Duration) {
        self.metrics.sending_ns.add(time.as_nanos() as u64);
        if let Some(cursor) = &self.cursor {
            cursor.has_spent(time);
        }
    }

    /// Appends what is to be sent next to `out`: about `limit` bytes of direct messages, or, after all of these, of
    /// history.
    pub(super) fn gather(&mut self, limit: usize, out: &mut Vec<Bytes>) -> Next {
        let mut gathered = 0;
        while let Some(item) = self.queue.pop_front() {
            match item {
                Item::Bytes(bytes) => {
                    self.queued -= bytes.len() + ITEM_COST;
                    self.metrics.messages_out.add(frames(&bytes).count() as u64);
                    gathered += bytes.len() + ITEM_COST;
                    out.push(bytes);
                    // The rest stays where it is counted.
                    if gathered >= limit {
                        return Next::Wait;
                    }
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
        self.queue.shrink_to(KEPT_ITEMS);
        let Some(cursor) = self.cursor.as_mut().filter(|_| !self.closing) else {
            return self.after_history(out);
        };
        let before = cursor.messages();
        let read = cursor.read(limit, out);
        self.metrics.messages_out.add(cursor.messages() - before);
        match read {
            Read::Fetch(fetch) => Next::Fetch(fetch),
            Read::Lost => Next::Lost,
            Read::Some => Next::Wait,
            Read::Nothing => self.after_history(out),
        }
    }

    fn after_history(&mut self, out: &mut Vec<Bytes>) -> Next {
        let Some(last) = self.last.take() else { return Next::Wait };
        out.push(last);
        self.closing = true;
        Next::End
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
        history.set_publishing(true);
        history.append(b"history", 1).unwrap();
        history.publish();
        history
    }

    #[test]
    fn direct_messages_come_before_the_history_that_follows_them() {
        let history = history();
        let mut outbox = Outbox::default();
        outbox.push("first ".into(), false).unwrap();
        outbox.attach(history.cursor(i64::MIN));
        outbox.push("second ".into(), false).unwrap();
        assert_eq!(gathered(&mut outbox), ("first second history".into(), false));
        assert_eq!(gathered(&mut outbox), (String::new(), false));
    }

    #[test]
    fn an_empty_queue_keeps_little_memory() {
        let mut outbox = Outbox::default();
        for _ in 0..1000 {
            outbox.push("x".into(), false).unwrap();
        }
        while outbox.queue.len() > 1 {
            outbox.gather(1, &mut Vec::new());
            assert!(outbox.queue.capacity() >= 1000, "it is not moved before it is empty");
        }
        outbox.gather(1, &mut Vec::new());
        outbox.gather(1, &mut Vec::new());
        assert!(outbox.queue.capacity() <= KEPT_ITEMS);
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
        outbox.push("reset! ".into(), false).unwrap();
        outbox.follow_reset(history.epoch());
        assert_eq!(gathered(&mut outbox).0, "reset! new");
    }

    #[test]
    fn nothing_is_sent_after_the_disconnect() {
        let history = history();
        let mut outbox = Outbox::default();
        outbox.attach(history.cursor(i64::MIN));
        outbox.push("bye".into(), false).unwrap();
        outbox.close();
        outbox.push("more".into(), false).unwrap();
        outbox.push_first("more".into());
        outbox.close();
        assert_eq!(gathered(&mut outbox), ("bye".into(), true));
    }

    #[test]
    fn the_last_message_comes_behind_the_whole_history() {
        let mut history = history();
        let mut outbox = Outbox::default();
        outbox.attach(history.cursor(i64::MIN));
        history.append(b" goes on", 1).unwrap();
        history.publish();
        outbox.push("first ".into(), false).unwrap();
        outbox.close_behind_history("moved".into());
        outbox.close_behind_history("twice".into());
        let mut all = String::new();
        for _ in 0..5 {
            let (text, is_end) = gathered(&mut outbox);
            all += &text;
            if is_end {
                break;
            }
        }
        assert_eq!(all, "first history goes onmoved");
        outbox.push("more".into(), false).unwrap();
        assert_eq!(gathered(&mut outbox).0, "");
        let mut without_history = Outbox::default();
        without_history.close_behind_history("moved".into());
        assert_eq!(gathered(&mut without_history), ("moved".into(), true));
    }

    #[test]
    fn pongs_jump_the_queue() {
        let mut outbox = Outbox::default();
        outbox.push("direct".into(), false).unwrap();
        outbox.push_first("pong ".into());
        assert_eq!(gathered(&mut outbox).0, "pong direct");
    }

    #[test]
    fn history_before_the_join_does_not_count_as_lag() {
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

    /// Pushes small messages until one is refused; returns how many were taken.
    fn fill(outbox: &mut Outbox, stalled: bool) -> usize {
        (0..).take_while(|_| outbox.push("x".into(), stalled).is_ok()).count()
    }

    #[test]
    fn a_client_that_does_not_read_overflows_and_one_that_reads_does_not() {
        let mut outbox = Outbox::default();
        let much = Bytes::from(vec![0; MAX_UNREAD - ITEM_COST]);
        assert_eq!(outbox.push(much.clone(), true), Ok(()));
        assert!(!outbox.is_over());
        assert_eq!(outbox.push("x".into(), true), Err(Overflow));
        assert_eq!(outbox.push("x".into(), false), Ok(()), "it reads");
        assert!(outbox.is_over());
        assert_eq!(outbox.push("x".into(), true), Err(Overflow), "no more");
        gathered(&mut outbox);
        gathered(&mut outbox);
        assert_eq!((outbox.queued, outbox.is_over()), (0, false));
    }

    #[test]
    fn queued_output_is_bounded() {
        for (stalled, most) in [(true, MAX_UNREAD), (false, MAX_QUEUED)] {
            let mut outbox = Outbox::default();
            assert_eq!(
                fill(&mut outbox, stalled),
                most / (1 + ITEM_COST),
                "small messages cost more than their bytes"
            );
        }
    }

    #[test]
    fn gathered_output_is_bounded_and_in_order() {
        let history = history();
        let mut outbox = Outbox::default();
        outbox.attach(history.cursor(i64::MIN));
        let texts: Vec<String> = (0..200).map(|n| format!("{n:03} ")).collect();
        texts.iter().for_each(|text| outbox.push(text.clone().into(), false).unwrap());
        let mut all = String::new();
        loop {
            let (text, _) = gathered(&mut outbox);
            assert!(text.len() <= 1000 + 4);
            if text.is_empty() {
                break;
            }
            all.push_str(&text);
        }
        assert_eq!(all, texts.concat() + "history");
    }
}
