//! Rate limits of what a connection, and all connections of an address together, may make the server do.
//!
//! The limits of [`connection_limiter`](super::connection_limiter) refuse connections and logins. These rate limits
//! apply back-pressure: a client over its budget is not read from until the budget is refilled.

use crate::config::Settings;
use crate::rules::limits::{Bucket, Rate};

/// Burst of `commandRateLimit` in seconds.
const COMMAND_BURST: u32 = 5;
/// Limit of chat in bytes, including a fixed cost per message.
const CHAT: Rate = Rate { per_second: 65_536.0, burst: 1_048_576.0 };
const LOG_LINES: Rate = Rate { per_second: 1.0, burst: 50.0 };
/// The budget of an address is that of one connection times this.
const ADDRESS_FACTOR: f64 = 5.0;

/// Something that is rate limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// Messages that the server itself executes: `commandRateLimit`.
    Commands,
    /// Bytes of chat.
    ChatBytes,
    /// Log entries about the connection.
    LogLines,
}

impl Budget {
    const ALL: [Budget; 3] = [Self::Commands, Self::ChatBytes, Self::LogLines];

    /// The rate limit of one connection; `None` if it is off.
    fn rate(self, settings: &Settings) -> Option<Rate> {
        match self {
            Self::Commands => {
                let count = settings.command_rate_limit.0;
                (count > 0).then(|| Rate::per_second(count, COMMAND_BURST))
            }
            Self::ChatBytes => Some(CHAT),
            Self::LogLines => Some(LOG_LINES),
        }
    }
}

/// Used tokens of each budget, of a connection or of an address.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    used: [Bucket; Budget::ALL.len()],
    /// Log entries suppressed since the last one that was logged.
    pub(super) suppressed: u64,
}

/// Takes `count` from the budgets of a connection and of its address; from neither if one has less.
///
/// # Errors
/// Milliseconds until both have enough.
pub(super) fn spend(
    own: &mut Budgets,
    address: Option<&mut Budgets>,
    budget: Budget,
    count: u64,
    settings: &Settings,
    now_ms: u64,
) -> Result<(), u64> {
    let Some(rate) = budget.rate(settings) else { return Ok(()) };
    let own = &mut own.used[budget as usize];
    let mut wait = own.wait_for(rate, now_ms, count);
    let address = address.map(|budgets| &mut budgets.used[budget as usize]);
    let shared = rate.times(ADDRESS_FACTOR);
    if let Some(address) = address.filter(|_| wait == 0) {
        wait = address.wait_for(shared, now_ms, count);
        if wait == 0 {
            address.overdraw(shared, now_ms, count);
        }
    }
    if wait > 0 {
        return Err(wait);
    }
    own.overdraw(rate, now_ms, count);
    Ok(())
}

impl Budgets {
    /// Refills all budgets.
    pub(super) fn refill(&mut self) {
        self.used = Default::default();
    }

    /// Whether all budgets of an address are full.
    pub(super) fn are_full(&mut self, settings: &Settings, now_ms: u64) -> bool {
        let is_full = |(budget, used): (Budget, &mut Bucket)| {
            budget.rate(settings).is_none_or(|rate| used.is_full(rate.times(ADDRESS_FACTOR), now_ms))
        };
        Budget::ALL.into_iter().zip(&mut self.used).all(is_full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands of a thousand that are within the budget.
    fn accepted(own: &mut Budgets, address: Option<&mut Budgets>, settings: &Settings, now_ms: u64) -> usize {
        let mut address = address;
        let spend_one =
            |_: &u32| spend(own, address.as_deref_mut(), Budget::Commands, 1, settings, now_ms).is_ok();
        (0..1000).take_while(spend_one).count()
    }

    #[test]
    fn the_rate_limit_allows_a_burst_and_then_what_is_refilled() {
        let (mut own, settings) = (Budgets::default(), Settings::default());
        assert_eq!(accepted(&mut own, None, &settings, 0), 50);
        assert_eq!(spend(&mut own, None, Budget::Commands, 1, &settings, 0), Err(100));
        assert_eq!(accepted(&mut own, None, &settings, 1000), 10);
        assert_eq!(spend(&mut own, None, Budget::ChatBytes, 1 << 20, &settings, 1000), Ok(()), "each alone");
    }

    #[test]
    fn connections_of_an_address_share_five_times_the_rate_limit() {
        let settings = Settings::default();
        let mut address = Budgets::default();
        let passed: Vec<usize> =
            (0..8).map(|_| accepted(&mut Budgets::default(), Some(&mut address), &settings, 0)).collect();
        assert_eq!(passed, [50, 50, 50, 50, 50, 0, 0, 0]);
        assert!(!address.are_full(&settings, 1000));
        assert!(address.are_full(&settings, 5000));
    }

    #[test]
    fn a_refusal_by_the_address_budget_takes_nothing_from_the_connection() {
        let settings = Settings::default();
        let (mut own, mut address) = (Budgets::default(), Budgets::default());
        (0..5).for_each(|_| {
            accepted(&mut Budgets::default(), Some(&mut address), &settings, 0);
        });
        assert_eq!(accepted(&mut own, Some(&mut address), &settings, 0), 0);
        assert_eq!(accepted(&mut own, None, &settings, 0), 50);
    }

    #[test]
    fn command_rate_limit_zero_is_unlimited() {
        let mut settings = Settings::default();
        settings.set("commandRateLimit", "0").unwrap();
        assert_eq!(accepted(&mut Budgets::default(), None, &settings, 0), 1000);
    }
}
