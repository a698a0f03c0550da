//! Rate limits of drawing: how fast each member's client may draw, by its rank. The clients apply them
//! ([`DrawLimiter`](crate::rules::limits::DrawLimiter)).

use super::{ClientOp, ConnId, Counted, Cx, Effect, SessionMachine};
use crate::config::Settings;
use crate::log::{Level, LogEntry, Topic};
use crate::rules::limits::{DrawRate, Rank};

/// Minimum interval in which others are told that the same member is slowed down, in milliseconds.
const TELL_INTERVAL_MS: u64 = 10 * 60_000;

/// The limits of a rank.
pub(super) fn rate_of(rank: Rank, settings: &Settings) -> DrawRate {
    let s = settings;
    let (messages, bytes) = match rank {
        Rank::Guest => (s.guest_draw_rate_limit, s.guest_draw_byte_rate_limit),
        Rank::Registered => (s.registered_draw_rate_limit, s.registered_draw_byte_rate_limit),
        Rank::Trusted => (s.trusted_draw_rate_limit, s.trusted_draw_byte_rate_limit),
        Rank::Operator => (s.operator_draw_rate_limit, s.operator_draw_byte_rate_limit),
    };
    DrawRate { messages: messages.0, bytes }
}

impl SessionMachine {
    /// Tells each client whose rate limit has changed. Whoever uploads the session's content has none.
    pub(super) fn update_draw_rates(&mut self, cx: &mut Cx<'_>) {
        let settings = &self.shared.settings;
        for member in &mut self.members {
            let rate = if self.resets.is_uploaded_by(member.id) {
                DrawRate::UNLIMITED
            } else {
                member.restricted.rate(rate_of(member.rank(), settings))
            };
            if std::mem::replace(&mut member.draw_rate, rate) != rate {
                cx.client(member.conn(), ClientOp::DrawRate(rate));
            }
        }
    }

    /// A client has begun or ceased to draw too fast. Operators are told, and the log; not again for a while.
    pub(super) fn draws_too_fast(&mut self, conn: ConnId, slowed: bool, cx: &mut Cx<'_>) {
        let Some(key) = self.members.key_of(conn) else { return };
        let Some(member) = self.members.get_mut(key) else { return };
        member.slowed = slowed;
        let now = cx.now.monotonic_ms;
        if !slowed || member.slowed_told.is_some_and(|told| now < told + TELL_INTERVAL_MS) {
            return;
        }
        member.slowed_told = Some(now);
        let (user, name) = (member.log_user(), member.name().to_owned());
        cx.push(Effect::Count(Counted::Slowed));
        let text = "Draws too fast: reading from the client is slowed down";
        cx.log(LogEntry::new(cx.now, Level::Warn, Topic::RuleBreak, text).about(user));
        let message = format!("{name} draws very fast and is slowed down. Nothing of it is lost.");
        self.tell_operators(message, cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rank_has_limits_of_its_own_and_0_is_none() {
        let mut settings = Settings::default();
        settings.set("guestDrawRateLimit", "1").unwrap();
        settings.set("trustedDrawByteRateLimit", "7kb").unwrap();
        assert_eq!(rate_of(Rank::Guest, &settings).messages, 1);
        assert_eq!(rate_of(Rank::Trusted, &settings).bytes, 7 << 10);
        assert_eq!(rate_of(Rank::Operator, &settings), DrawRate::UNLIMITED);
    }

    /// The busiest second of a recorded desktop client had 130 messages and 160 KB, extrapolated from the busiest
    /// tenth of it.
    #[test]
    fn the_defaults_slow_no_real_client() {
        let settings = Settings::default();
        for rank in [Rank::Guest, Rank::Registered, Rank::Trusted, Rank::Operator] {
            let DrawRate { messages, bytes } = rate_of(rank, &settings);
            assert!(messages == 0 || messages >= 10 * 130, "{rank:?}: {messages} a second");
            assert!(bytes == 0 || bytes >= 10 * 160_000, "{rank:?}: {bytes} bytes a second");
        }
    }
}
