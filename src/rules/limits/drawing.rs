//! Rate limit of drawing: how many messages and bytes a client may draw per second, by its rank.
//!
//! A client over its limit is slowed down by back-pressure: what it has sent is passed on, then reading from its socket
//! pauses until the buckets are refilled. Nothing is dropped, and the order stays.

use super::{Bucket, Rate};

/// Burst of the limit in messages, in seconds of it.
const BURST_SECONDS: u32 = 60;
/// The same of the limit in bytes: of large messages, a burst fills much of a session.
const BYTE_BURST_SECONDS: u32 = 5;

/// The limit of the clients of one address, in microseconds of the limit of each: they may draw four times the bytes of
/// one client; their burst is that of one.
const ADDRESS_RATE: Rate = Rate { per_second: 4e6, burst: BYTE_BURST_SECONDS as f64 * 1e6 };

/// Rank of a member, as far as rate limits depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Rank {
    Guest,
    /// Logged in with an account.
    Registered,
    Trusted,
    /// Operator of the session or moderator of the server.
    Operator,
}

/// How fast a client may draw. 0 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DrawRate {
    /// Messages per second.
    pub messages: u32,
    /// Bytes per second.
    pub bytes: u64,
}

impl DrawRate {
    /// No limit.
    pub const UNLIMITED: DrawRate = DrawRate { messages: 0, bytes: 0 };

    /// The stricter of both limits.
    pub fn stricter(self, other: DrawRate) -> DrawRate {
        DrawRate {
            messages: stricter(self.messages.into(), other.messages.into()) as u32,
            bytes: stricter(self.bytes, other.bytes),
        }
    }
}

/// The stricter of two limits, of which 0 is none.
fn stricter(a: u64, b: u64) -> u64 {
    if a == 0 || b == 0 { a.max(b) } else { a.min(b) }
}

/// What drawing costs a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DrawCharge {
    /// How long reading is to pause, in milliseconds.
    pub wait_ms: u64,
    /// More than half of a burst is used: reading should continue in small steps, so that pauses stay short.
    pub nearly_used: bool,
}

/// The rate limit of one client.
#[derive(Debug, Clone, Copy, Default)]
pub struct DrawLimiter {
    rate: DrawRate,
    messages: Bucket,
    bytes: Bucket,
}

impl DrawLimiter {
    /// Changes the limit. What was used stays used, up to the new burst, unless there was no limit: nobody waits for
    /// what an earlier limit allowed.
    pub fn set_rate(&mut self, rate: DrawRate) {
        self.rate = rate;
        for (bucket, rate) in self.buckets() {
            match rate {
                Some(rate) => bucket.forgive(rate),
                None => *bucket = Bucket::default(),
            }
        }
    }

    /// Whether there is a limit.
    pub fn is_limited(&self) -> bool {
        self.rate != DrawRate::UNLIMITED
    }

    /// Counts as used what another limiter has used, if that is more.
    pub fn take_over(&mut self, mut other: DrawLimiter, now_ms: u64) {
        let others = other.buckets();
        for ((bucket, rate), (other, other_rate)) in self.buckets().into_iter().zip(others) {
            let (Some(rate), Some(other_rate)) = (rate, other_rate) else { continue };
            bucket.refill(rate, now_ms);
            other.refill(other_rate, now_ms);
            bucket.used = bucket.used.max(other.used.min(rate.burst));
        }
    }

    /// The limit.
    pub fn rate(&self) -> DrawRate {
        self.rate
    }

    /// Whether nothing is used.
    pub fn is_full(&mut self, now_ms: u64) -> bool {
        self.buckets().into_iter().all(|(bucket, rate)| rate.is_none_or(|rate| bucket.is_full(rate, now_ms)))
    }

    /// The buckets of messages and bytes, with their limits, if there are any.
    fn buckets(&mut self) -> [(&mut Bucket, Option<Rate>); 2] {
        let rate = |per_second: u64, seconds: u32| {
            let per_second = per_second as f64;
            (per_second > 0.0).then(|| Rate { per_second, burst: per_second * f64::from(seconds) })
        };
        let DrawRate { messages, bytes } = self.rate;
        [
            (&mut self.messages, rate(messages.into(), BURST_SECONDS)),
            (&mut self.bytes, rate(bytes, BYTE_BURST_SECONDS)),
        ]
    }

    /// Charges messages that were drawn; they may be passed on.
    pub fn charge(&mut self, messages: u64, bytes: u64, now_ms: u64) -> DrawCharge {
        let mut charge = DrawCharge::default();
        for ((bucket, rate), count) in self.buckets().into_iter().zip([messages, bytes]) {
            let Some(rate) = rate else { continue };
            charge.wait_ms = charge.wait_ms.max(bucket.overdraw(rate, now_ms, count));
            charge.nearly_used |= bucket.used > rate.burst / 2.0;
        }
        charge
    }
}

impl DrawCharge {
    /// What both demand.
    pub fn and(self, other: DrawCharge) -> DrawCharge {
        DrawCharge {
            wait_ms: self.wait_ms.max(other.wait_ms),
            nearly_used: self.nearly_used || other.nearly_used,
        }
    }
}

/// The limit of bytes for all clients of one address together: many connections would each have a burst. It counts the
/// time for which the limit of each client allows what it draws, so that nobody waits for somebody who may draw more.
#[derive(Debug, Clone, Copy, Default)]
pub struct AddressDrawLimiter(Bucket);

impl AddressDrawLimiter {
    /// Charges what was drawn by a client that may draw `limit` bytes a second, which must not be 0.
    pub fn charge(&mut self, bytes: u64, limit: u64, now_ms: u64) -> DrawCharge {
        let microseconds = bytes.saturating_mul(1_000_000) / limit;
        let wait_ms = self.0.overdraw(ADDRESS_RATE, now_ms, microseconds);
        DrawCharge { wait_ms, nearly_used: self.0.used > ADDRESS_RATE.burst / 2.0 }
    }

    /// Whether nothing is used.
    pub fn is_full(&mut self, now_ms: u64) -> bool {
        self.0.is_full(ADDRESS_RATE, now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_the_burst_of_one_client_and_four_times_its_rate() {
        let (mut address, limit) = (AddressDrawLimiter::default(), 1000);
        assert_eq!(address.charge(2500, limit, 0), DrawCharge::default());
        assert_eq!(address.charge(2500, limit, 0), DrawCharge { wait_ms: 0, nearly_used: true });
        assert_eq!(address.charge(4000, limit, 0).wait_ms, 1000);
        assert_eq!(address.charge(4000, limit, 1000).wait_ms, 1000);
        assert!(!address.is_full(2000) && address.is_full(4000));
    }

    #[test]
    fn who_may_draw_more_makes_others_of_the_address_wait_no_longer() {
        let mut address = AddressDrawLimiter::default();
        let (trusted, guest) = (16 << 20, 4 << 20);
        assert_eq!(address.charge(5 * trusted, trusted, 0).wait_ms, 0, "the burst of one client");
        assert_eq!(
            address.charge(64 << 10, guest, 0).wait_ms,
            3,
            "a sixtyfourth of a second at four times the rate"
        );
    }

    fn limiter(messages: u32, bytes: u64) -> DrawLimiter {
        let mut limiter = DrawLimiter::default();
        limiter.set_rate(DrawRate { messages, bytes });
        limiter
    }

    /// Draws so many messages of ten bytes a millisecond for a time, pausing as told; returns how many.
    fn draw(limiter: &mut DrawLimiter, per_ms: u64, from_ms: u64, to_ms: u64) -> u64 {
        let (mut now, mut drawn) = (from_ms, 0);
        while now < to_ms {
            drawn += per_ms;
            now += 1 + limiter.charge(per_ms, per_ms * 10, now).wait_ms;
        }
        drawn
    }

    #[test]
    fn a_flood_is_slowed_to_the_rate_after_the_burst() {
        let mut limiter = limiter(1000, 0);
        let first = draw(&mut limiter, 20, 0, 60_000);
        assert!((119_900..120_200).contains(&first), "{first}: 60 s at once, then 60 s of the rate");
        let next = draw(&mut limiter, 20, 60_000, 120_000);
        assert!((59_800..60_200).contains(&next), "{next}");
    }

    #[test]
    fn bytes_count_as_well_as_messages() {
        let mut limiter = limiter(0, 10_000);
        let drawn = draw(&mut limiter, 20, 0, 60_000);
        assert!((64_900..65_200).contains(&drawn), "{drawn}: 5 s at once, then 60 s of the rate");
    }

    #[test]
    fn a_stricter_limit_does_not_count_what_was_allowed_before() {
        let mut limiter = limiter(5000, 4 << 20);
        assert_eq!(limiter.charge(90_000, 18 << 20, 0).wait_ms, 0);
        limiter.set_rate(DrawRate { messages: 10, bytes: 10 << 10 });
        let wait_ms = limiter.charge(1, 100, 1).wait_ms;
        assert!(wait_ms <= 100, "{wait_ms}");
        assert!(limiter.charge(10, 100, 2).wait_ms >= 1000, "but all of the burst is used");
    }

    #[test]
    fn what_one_limiter_has_used_another_takes_over_until_it_is_refilled() {
        let (mut first, now) = (limiter(1000, 10_000), 50_000);
        first.charge(90_000, 0, now);
        let mut next = limiter(1000, 10_000);
        next.take_over(first, now);
        assert_eq!(next.charge(1000, 0, now).wait_ms, 1000, "no more than the burst is used");
        let mut later = limiter(1000, 10_000);
        later.take_over(first, now + 60_000);
        assert_eq!(later.charge(30_000, 0, now + 60_000).wait_ms, 0);
        let mut slow = limiter(10, 0);
        slow.take_over(first, now);
        assert_eq!(slow.charge(1, 0, now).wait_ms, 100);
        assert!(!first.is_full(now + 89_000) && first.is_full(now + 91_000));
    }

    #[test]
    fn who_stays_below_the_rate_never_waits() {
        let mut limiter = limiter(1000, 10_000);
        for now in 0..100_000 {
            assert_eq!(limiter.charge(1, 10, now), DrawCharge::default());
        }
    }

    #[test]
    fn without_a_limit_nothing_is_charged() {
        let mut limiter = limiter(10, 10);
        assert_eq!(limiter.charge(300, 3000, 0), DrawCharge { wait_ms: 295_000, nearly_used: true });
        limiter.set_rate(DrawRate::UNLIMITED);
        assert_eq!(limiter.charge(1 << 40, 1 << 40, 0), DrawCharge::default());
        limiter.set_rate(DrawRate { messages: 10, bytes: 10 });
        assert_eq!(limiter.charge(100, 50, 0).wait_ms, 0, "an upload is not held against anybody");
    }

    #[test]
    fn a_client_near_its_limit_is_read_in_small_steps() {
        let mut limiter = limiter(10, 0);
        assert!(!limiter.charge(300, 0, 0).nearly_used);
        assert!(limiter.charge(1, 0, 0).nearly_used);
        assert!(!limiter.charge(0, 0, 1000).nearly_used);
    }

    #[test]
    fn the_stricter_of_two_limits_counts_and_0_is_none() {
        let rate = DrawRate { messages: 100, bytes: 1000 };
        assert_eq!(rate.stricter(DrawRate::UNLIMITED), rate);
        assert_eq!(DrawRate::UNLIMITED.stricter(rate), rate);
        let slow = DrawRate { messages: 5, bytes: 0 };
        assert_eq!(slow.stricter(rate), DrawRate { messages: 5, ..rate });
    }
}
