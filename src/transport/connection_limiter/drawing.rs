//! What is drawn from one address: over connections one after the other, and over many at a time.

use super::ConnectionPermit;
use crate::config::Settings;
use crate::rules::limits::{DrawCharge, DrawLimiter};

impl ConnectionPermit {
    /// The rate limit of drawing of earlier connections of the address; `None` if it has no limits.
    pub fn drawn(&self) -> Option<DrawLimiter> {
        let state = self.limiter.lock();
        state.addresses.get(&self.limit_key?).map(|address| address.drawn)
    }

    /// Remembers what was drawn over this connection, for later ones of the address.
    pub fn keep_drawn(&self, limiter: &DrawLimiter, now_ms: u64) {
        let Some(limit_key) = self.limit_key else { return };
        let mut state = self.limiter.lock();
        let drawn = &mut state.addresses.entry(limit_key).or_default().drawn;
        let earlier = std::mem::replace(drawn, *limiter);
        drawn.take_over(earlier, now_ms);
    }

    /// Charges bytes that were drawn over this connection to the limit that all connections of the address share.
    /// `own` is the client's limit in bytes a second, 0 for none. Clients with a stricter limit than guests count by
    /// that of guests, so that others of the address do not wait for it.
    pub fn charge_drawn(&self, bytes: u64, own: u64, settings: &Settings, now_ms: u64) -> DrawCharge {
        let guests = settings.guest_draw_byte_rate_limit;
        let Some(limit_key) = self.limit_key.filter(|_| own > 0 && guests > 0) else {
            return DrawCharge::default();
        };
        let mut state = self.limiter.lock();
        let address = state.addresses.entry(limit_key).or_default();
        address.drawn_together.charge(bytes, own.max(guests), now_ms)
    }
}
