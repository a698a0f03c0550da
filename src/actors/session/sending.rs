//! From the clients of a session and to them: batches to the machine; direct messages and history out, at once in a
//! quiet session, gathered for a few milliseconds in a busy one.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::prelude::*;

use super::Session;
use crate::actors::in_flight::InFlightBudget;
use crate::actors::messages::ToClient;
use crate::rules::batch::Batch;
use crate::rules::session::effects::{ClientOp, ConnId, Counted, Effect};
use crate::rules::session::input::Input;
use crate::rules::time::Timestamp;

/// Upper bound for `gatherTime`, in milliseconds.
const MAX_GATHER_MS: u64 = 50;
/// How long a busy session waits for further messages of other users before it sends, in milliseconds.
const SETTLE_MS: u64 = 1;
/// Bytes of history after which gathering ends.
const MAX_UNSTORED: u64 = 1 << 20;
/// A session that has not sent for this long is quiet, in milliseconds.
const QUIET_MS: u64 = 100;

/// What is sent once a write has finished.
pub(super) struct PendingSends {
    sends: Vec<(ConnId, ClientOp)>,
    /// End offset of the history in that write.
    end: i64,
    announce: bool,
}

impl Session {
    /// Gives the machine what a client has sent.
    pub(super) fn batch(&mut self, conn: ConnId, batch: Batch, ctx: &mut Context<Self>) {
        let cost = InFlightBudget::cost(&batch);
        let now = Timestamp::now();
        let effects = self.effects_of(Input::Batch { conn, batch }, now);
        self.unsent_since.get_or_insert(now.monotonic_ms);
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
        if now.monotonic_ms >= self.sent_ms + QUIET_MS || unstored > MAX_UNSTORED {
            return self.send(now, ctx);
        }
        if std::mem::replace(&mut self.sending_soon, true) {
            return;
        }
        let gather = self.machine.settings().gather_time.0.min(MAX_GATHER_MS);
        let due = (self.sent_ms + gather).max(now.monotonic_ms + SETTLE_MS.min(gather));
        ctx.run_later(Duration::from_millis(due - now.monotonic_ms), |session, ctx| {
            session.sending_soon = false;
            session.send(Timestamp::now(), ctx);
        });
    }

    /// Writes what has changed, then sends what waited for it and publishes the history.
    pub(super) fn send(&mut self, now: Timestamp, ctx: &mut Context<Self>) {
        if self.storing {
            return;
        }
        self.sent_ms = now.monotonic_ms;
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
            } else if work.is_light() && !store.fsync_every_batch() {
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
        let mut by_client: BTreeMap<ConnId, Vec<ClientOp>> = BTreeMap::new();
        for (conn, op) in sends {
            by_client.entry(conn).or_default().push(op);
        }
        for (conn, ops) in by_client {
            let goes = |op: &ClientOp| {
                matches!(op, ClientOp::Refused(_) | ClientOp::Disconnect { .. } | ClientOp::Quiet)
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
                self.members.remove(&conn);
            }
        }
    }
}
