//! The rate limit of drawing at the client's socket: it pauses reading, and the session is told once.

use std::time::Duration;

use actix::prelude::*;

use super::{Client, Phase};
use crate::actors::messages::ToSession;
use crate::rules::batch::Batch;
use crate::rules::limits::{DrawCharge, DrawLimiter, DrawRate};
use crate::rules::time::Timestamp;

/// How long a client has to stay below its rate limit until it does not count as slowed any more.
const CALM: Duration = Duration::from_secs(10);

/// Bytes that are drawn until they are charged to the address: the limits of addresses are locked for that.
const ADDRESS_PIECE: u64 = 64 << 10;

/// The rate limit of drawing of one client.
#[derive(Debug, Default)]
pub(super) struct Drawing {
    limiter: DrawLimiter,
    /// Bytes that are not charged to the address yet.
    for_address: u64,
    /// When the last pause ends, monotonic milliseconds; `None` unless the client counts as slowed.
    slowed_until: Option<u64>,
    /// When the last pause for `messageRateLimit` ends, monotonic milliseconds.
    pub(super) messages_until: u64,
}

impl Client {
    /// Changes the rate limit. A pause that the earlier one demanded ends. What other connections of the address have
    /// used before counts, so that nobody draws more who connects again.
    pub(super) fn set_draw_rate(&mut self, rate: DrawRate) {
        let was_limited = self.drawing.limiter.is_limited();
        self.drawing.limiter.set_rate(rate);
        let now_ms = Timestamp::now().monotonic_ms;
        if !was_limited && let Some(earlier) = self.permit.drawn() {
            self.drawing.limiter.take_over(earlier, now_ms);
        }
        if self.shared.pause_ms() > 0 {
            self.shared.clear_pause();
            self.shared.pause_for(self.drawing.messages_until.saturating_sub(now_ms));
        }
    }

    /// Remembers for later connections of the address what was drawn over this one.
    pub(super) fn keep_drawn(&mut self) {
        if self.drawing.limiter.is_limited() {
            let now_ms = Timestamp::now().monotonic_ms;
            self.permit.keep_drawn(&self.drawing.limiter, now_ms);
            self.charge_address(now_ms);
        }
    }

    /// Charges what has gathered to the limit that all connections of the address share.
    fn charge_address(&mut self, now_ms: u64) -> DrawCharge {
        let bytes = std::mem::take(&mut self.drawing.for_address);
        let (own, settings) = (self.drawing.limiter.rate().bytes, self.context.rules.settings());
        self.permit.charge_drawn(bytes, own, settings, now_ms)
    }

    /// Charges what is drawn to the client's rate limit. Returns the milliseconds for which reading is to pause.
    pub(super) fn charge_drawing(&mut self, batch: &Batch, now_ms: u64, ctx: &mut Context<Self>) -> u64 {
        let messages = batch.opaque_messages();
        if messages == 0 {
            return 0;
        }
        let own = self.drawing.limiter.charge(messages, batch.opaque_bytes(), now_ms);
        let mut charge = own;
        self.drawing.for_address += batch.opaque_bytes();
        if !self.drawing.limiter.is_limited() {
            self.drawing.for_address = 0;
        } else if self.drawing.for_address >= ADDRESS_PIECE {
            charge = own.and(self.charge_address(now_ms));
        }
        self.shared.read_in_small_steps(charge.nearly_used);
        // If only the address demands a pause, others have drawn, too: the client is not said to draw too fast.
        if own.wait_ms > 0 {
            let until = now_ms + charge.wait_ms;
            if self.drawing.slowed_until.replace(until).is_none() {
                self.tell_slowed(true);
                self.keep_drawn();
                self.end_slowed_later(CALM, ctx);
            }
        }
        if charge.wait_ms > own.wait_ms {
            self.context.metrics.slowed.count();
        }
        charge.wait_ms
    }

    fn tell_slowed(&self, slowed: bool) {
        if let Phase::Session(session) = &self.phase {
            session.tell(ToSession::DrawsTooFast { conn: self.conn, slowed });
        }
    }

    fn end_slowed_later(&mut self, wait: Duration, ctx: &mut Context<Self>) {
        ctx.run_later(wait, |client, ctx| {
            let Some(until) = client.drawing.slowed_until else { return };
            let calm_at = until + CALM.as_millis() as u64;
            let left = calm_at.saturating_sub(Timestamp::now().monotonic_ms);
            if left > 0 {
                return client.end_slowed_later(Duration::from_millis(left), ctx);
            }
            client.drawing.slowed_until = None;
            client.tell_slowed(false);
        });
    }
}
