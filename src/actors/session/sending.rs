//! From the clients of a session and to them: batches to the machine; direct messages and history out, gathered for as
//! long as that pays ([`Gathering`](crate::rules::gathering::Gathering)).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use actix::prelude::*;
use bytes::Bytes;

use super::hand_over::keep_until_joined;
use super::{GatherTimer, Session};
use crate::actors::in_flight::InFlightBudget;
use crate::actors::messages::{ToClient, ToServer};
use crate::rules::batch::Batch;
use crate::rules::gathering::{Spent, Waiting};
use crate::rules::session::effects::{ClientOp, ConnId, Counted, Effect};
use crate::rules::session::input::Input;
use crate::rules::time::Timestamp;

/// Upper bound for `gatherTime`, in milliseconds.
const MAX_GATHER_MS: u64 = 50;
/// Bytes of history after which gathering ends.
const MAX_UNSTORED: u64 = 1 << 20;

/// Minimum interval of description updates to the server (numbers only), in milliseconds.
const STATS_MS: u64 = 100;
/// Size of a short message in bytes: copying it costs less than sending it as a piece of its own.
const MAX_SHORT: usize = 1024;

/// What is sent once a write has finished.
pub(super) struct PendingSends {
    sends: Vec<(ConnId, ClientOp)>,
    /// End offset of the history in that write.
    end: i64,
    announce: bool,
}

/// Operations for one client, in order. Short messages that follow one another are made one piece: whoever joins is
/// sent dozens, and each piece has its place in the outbox and in the write.
#[derive(Default)]
struct ClientOps {
    ops: Vec<ClientOp>,
    /// Short messages at the end.
    short: Vec<Bytes>,
}

impl ClientOps {
    fn push(&mut self, op: ClientOp) {
        match op {
            ClientOp::Direct(bytes) if bytes.len() <= MAX_SHORT => self.short.push(bytes),
            op => {
                self.join_short();
                self.ops.push(op);
            }
        }
    }

    fn join_short(&mut self) {
        if self.short.len() > 1 {
            self.ops.push(ClientOp::Direct(self.short.concat().into()));
            self.short.clear();
        } else {
            // A single message is not copied: others may be sent the same.
            self.ops.extend(self.short.pop().map(ClientOp::Direct));
        }
    }

    fn into_vec(mut self) -> Vec<ClientOp> {
        self.join_short();
        self.ops
    }
}

impl Session {
    /// Gives the machine what a client has sent.
    pub(super) fn batch(&mut self, conn: ConnId, batch: Batch, ctx: &mut Context<Self>) {
        let cost = InFlightBudget::cost(&batch);
        let now = Timestamp::now();
        let effects = self.effects_of(Input::Batch { conn, batch }, now);
        self.unsent_since.get_or_insert(now.monotonic_ms);
        let answers =
            |effect: &Effect| matches!(effect, Effect::Client(to, ClientOp::Direct(_)) if *to == conn);
        self.answers |= effects.iter().any(answers);
        if let Some(member) = self.members.get_mut(&conn) {
            if effects.iter().any(|effect| matches!(effect, Effect::Held)) {
                member.held += cost;
            } else if self.storing {
                member.unstored += cost;
            } else {
                member.release(cost);
            }
        }
        self.perform(effects, now, ctx);
    }

    /// Sends now, or when gathering is over.
    pub(super) fn send_soon(&mut self, now: Timestamp, ctx: &mut Context<Self>) {
        let unstored = if self.retry_ms.is_none() { self.machine.history().unstored_bytes() } else { 0 };
        let unpublished = self.machine.history().has_unpublished();
        if self.outgoing.is_empty() && !self.announce && !unpublished && unstored == 0 {
            if !self.storing {
                // What came is not sent: it is held, or part of an image that is uploaded.
                self.unsent_since = None;
            }
            return;
        }
        if unstored > MAX_UNSTORED {
            return self.send(now, ctx);
        }
        let now_us = Timestamp::monotonic_us();
        let waiting = if self.answers { Waiting::Answer } else { Waiting::Messages };
        let wait = self.gathering.wait_us(now_us, waiting, self.max_gather_us());
        let due = now_us + wait;
        if self.gather_timer.is_some_and(|timer| timer.due_us <= due) {
            return;
        }
        self.stop_gathering(ctx);
        // Without a wait, what has arrived already goes with it: other tasks of this thread have their turn first.
        let timer = if wait == 0 {
            ctx.spawn(tokio::task::yield_now().into_actor(self).map(|(), session, ctx| session.gathered(ctx)))
        } else {
            ctx.run_later(Duration::from_micros(wait), Self::gathered)
        };
        self.gather_timer = Some(GatherTimer { due_us: due, handle: timer });
    }

    fn gathered(&mut self, ctx: &mut Context<Self>) {
        self.gather_timer = None;
        self.send(Timestamp::now(), ctx);
    }

    /// The longest time for which it gathers, in microseconds.
    fn max_gather_us(&self) -> u64 {
        self.machine.settings().gather_time.0.min(MAX_GATHER_MS) * 1000
    }

    fn stop_gathering(&mut self, ctx: &mut Context<Self>) {
        if let Some(GatherTimer { handle, .. }) = self.gather_timer.take() {
            ctx.cancel_future(handle);
        }
    }

    /// Writes what has changed, then sends what waited for it and publishes the history.
    pub(super) fn send(&mut self, now: Timestamp, ctx: &mut Context<Self>) {
        self.stop_gathering(ctx);
        if self.storing {
            return;
        }
        let session_ns = std::mem::take(&mut self.sending_ns) + self.machine.history().take_sending_ns();
        let spent = Spent { session_ns, server_ns: self.metrics.sending_ns.get() };
        self.gathering.sent(Timestamp::monotonic_us(), spent, self.max_gather_us());
        let begun = Instant::now();
        self.store_and_flush(now, ctx);
        let spent_ns = begun.elapsed().as_nanos() as u64;
        self.sending_ns += spent_ns;
        self.metrics.sending_ns.add(spent_ns);
    }

    fn store_and_flush(&mut self, now: Timestamp, ctx: &mut Context<Self>) {
        self.answers = false;
        self.record();
        // After a failure everything stays in the machine until the retry.
        let waits = self.retry_ms.is_some_and(|due| now.monotonic_ms < due) && self.ending.is_none();
        if let Some(store) = self.store.take_if(|_| !waits) {
            if store.is_poisoned() {
                self.machine.history().renew();
            }
            let work = self.drain_writes(&store);
            if work.is_empty() && !store.has_backlog() {
                self.store = Some(store);
            } else if work.is_light() && !store.fsync_every_batch() && !store.is_shared() {
                self.store_here(store, work, now, ctx);
            } else {
                return self.store_elsewhere(store, work, ctx);
            }
        } else if !self.machine.is_stored() {
            self.machine.drain_writes();
        }
        let waiting = self.drain_outgoing();
        self.flush_outgoing(waiting);
        self.finish_if_over(ctx);
    }

    /// Takes what is to be sent.
    pub(super) fn drain_outgoing(&mut self) -> PendingSends {
        PendingSends {
            sends: std::mem::take(&mut self.outgoing),
            end: self.machine.history().end(),
            announce: std::mem::take(&mut self.announce),
        }
    }

    /// Counts for the rules.
    pub(super) fn count(&self, counted: Counted) {
        match counted {
            Counted::Slowed => self.metrics.slowed.count(),
            Counted::StorageError => self.metrics.storage_errors.count(),
        }
    }

    /// Sends it, and publishes the history that belongs to it.
    pub(super) fn flush_outgoing(&mut self, waiting: PendingSends) {
        if let Some(since) = self.unsent_since.take() {
            self.metrics.fan_out.record(Timestamp::now().monotonic_ms.saturating_sub(since));
        }
        self.deliver(waiting.sends);
        self.machine.history().publish_to(waiting.end);
        if waiting.announce {
            self.tell_changes(true);
        }
    }

    /// Delivers operations, one actor message for each client.
    pub(super) fn deliver(&mut self, sends: Vec<(ConnId, ClientOp)>) {
        let mut by_client: BTreeMap<ConnId, ClientOps> = BTreeMap::new();
        for (conn, op) in sends {
            by_client.entry(conn).or_default().push(op);
        }
        for (conn, ops) in by_client {
            let ops = keep_until_joined(&mut self.awaited, conn, ops.into_vec());
            if ops.is_empty() {
                continue;
            }
            let goes = |op: &ClientOp| {
                matches!(
                    op,
                    ClientOp::Refused(_) | ClientOp::Disconnect { .. } | ClientOp::Quiet | ClientOp::Moved(_)
                )
            };
            let gone = ops.iter().any(goes);
            let released = ops.iter().any(|op| matches!(op, ClientOp::Released));
            let joined = ops.iter().any(|op| matches!(op, ClientOp::Joined { .. }));
            let Some(member) = self.members.get_mut(&conn) else { continue };
            let held = if released { std::mem::take(&mut member.held) } else { 0 };
            let session = self.address.clone().filter(|_| joined);
            member.entry.client().tell(ToClient::Deliver { ops, session });
            if gone || joined {
                member.entry.answered();
            }
            member.release(held);
            if gone {
                self.does_not_stay(conn);
                self.forget_member(conn);
            }
        }
    }

    /// Tells the server of changed numbers, at most every [`STATS_MS`].
    pub(super) fn tell_numbers_soon(&mut self, ctx: &mut Context<Self>) {
        self.stats_pending = true;
        // One timer, though they may be told before it ends: an actor polls its timers at every message.
        if !std::mem::replace(&mut self.stats_timer, true) {
            ctx.run_later(Duration::from_millis(STATS_MS), |session, _| {
                session.stats_timer = false;
                if std::mem::take(&mut session.stats_pending) {
                    session.tell_changes(false);
                }
            });
        }
    }

    pub(super) fn tell_changes(&mut self, announce: bool) {
        self.stats_pending = false;
        self.announce &= !announce;
        let description = self.machine.description(false, Timestamp::now());
        self.server.tell(ToServer::SessionChanged { description, announce });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_messages_for_a_client_are_made_one_piece_in_order() {
        let long = Bytes::from(vec![b'l'; MAX_SHORT + 1]);
        let shared = Bytes::from(b"shared".to_vec());
        let direct = |bytes: &Bytes| ClientOp::Direct(bytes.clone());
        let text = |text: &'static [u8]| ClientOp::Direct(Bytes::from_static(text));
        let mut ops = ClientOps::default();
        for op in
            [text(b"a"), text(b"b"), direct(&long), direct(&shared), ClientOp::Quiet, text(b"c"), text(b"d")]
        {
            ops.push(op);
        }
        let ops = ops.into_vec();
        let shown: Vec<&[u8]> = ops
            .iter()
            .map(|op| match op {
                ClientOp::Direct(bytes) => &bytes[..],
                _ => b"(quiet)",
            })
            .collect();
        assert_eq!(shown, [b"ab", &long[..], b"shared", b"(quiet)", b"cd"]);
        let is_shared =
            |op: &ClientOp| matches!(op, ClientOp::Direct(bytes) if bytes.as_ptr() == shared.as_ptr());
        assert!(is_shared(&ops[2]), "a message that others are sent, too, is not copied");
    }
}
