//! What one connection, and all connections of an address together, may have the server do.
//!
//! The limits of [`limiter`](super::limiter) keep somebody out. These rate limits are for those who are in: whoever has used up
//! a budget waits (the client is not read from), so that what it sends is not multiplied by the number of its receivers.

use crate::config::Settings;
use crate::limits::{Bucket, Rate};

/// Seconds of `commandRateLimit` that may come at once.
const COMMAND_BURST: u32 = 5;
/// Chat in bytes, with what a message costs besides them.
const CHAT: Rate = Rate { per_second: 65_536.0, burst: 1_048_576.0 };
/// Lines of the log.
const LOG_LINES: Rate = Rate { per_second: 1.0, burst: 50.0 };
/// How many times that of one connection all connections of an address may use.
const ADDRESS_FACTOR: f64 = 5.0;

/// Something of which so much may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// Messages that the server reads and acts on: `commandRateLimit`.
    Commands,
    /// Bytes of chat, which go to others directly.
    ChatBytes,
    /// Lines of the log that are about the connection.
    LogLines,
}

impl Budget {
    const ALL: [Budget; 3] = [Self::Commands, Self::ChatBytes, Self::LogLines];

    /// What one connection may use; `None` without a limit.
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

/// What was used of each budget.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    used: [Bucket; Budget::ALL.len()],
    /// Lines of the log that were left out since the last one that was not.
    pub(super) unlogged: u64,
}

/// Uses some of what a connection and its address may use, if both have as much left.
///
/// # Errors
/// After how many milliseconds they will have.
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
    /// Nothing counts as used any more.
    pub(super) fn renew(&mut self) {
        self.used = Default::default();
    }

    /// Whether an address has used nothing for a while.
    pub(super) fn have_rested(&mut self, settings: &Settings, now_ms: u64) -> bool {
        let rested = |(budget, used): (Budget, &mut Bucket)| {
            budget.rate(settings).is_none_or(|rate| used.is_full(rate.times(ADDRESS_FACTOR), now_ms))
        };
        Budget::ALL.into_iter().zip(&mut self.used).all(rested)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of a thousand commands go through at a time.
    fn passed(own: &mut Budgets, address: Option<&mut Budgets>, settings: &Settings, now_ms: u64) -> usize {
        let mut address = address;
        let one = |_: &u32| spend(own, address.as_deref_mut(), Budget::Commands, 1, settings, now_ms).is_ok();
        (0..1000).take_while(one).count()
    }

    #[test]
    fn a_connection_has_its_burst_and_then_what_comes_back() {
        let (mut own, settings) = (Budgets::default(), Settings::default());
        assert_eq!(passed(&mut own, None, &settings, 0), 50);
        assert_eq!(spend(&mut own, None, Budget::Commands, 1, &settings, 0), Err(100));
        assert_eq!(passed(&mut own, None, &settings, 1000), 10);
        assert_eq!(spend(&mut own, None, Budget::ChatBytes, 1 << 20, &settings, 1000), Ok(()), "each alone");
    }

    #[test]
    fn many_connections_of_an_address_share_five_times_as_much() {
        let settings = Settings::default();
        let mut address = Budgets::default();
        let passed: Vec<usize> =
            (0..8).map(|_| passed(&mut Budgets::default(), Some(&mut address), &settings, 0)).collect();
        assert_eq!(passed, [50, 50, 50, 50, 50, 0, 0, 0]);
        assert!(!address.have_rested(&settings, 1000));
        assert!(address.have_rested(&settings, 5000));
    }

    #[test]
    fn what_the_address_refuses_is_not_used_by_the_connection() {
        let settings = Settings::default();
        let (mut own, mut address) = (Budgets::default(), Budgets::default());
        (0..5).for_each(|_| {
            passed(&mut Budgets::default(), Some(&mut address), &settings, 0);
        });
        assert_eq!(passed(&mut own, Some(&mut address), &settings, 0), 0);
        assert_eq!(passed(&mut own, None, &settings, 0), 50);
    }

    #[test]
    fn without_the_setting_commands_are_free() {
        let mut settings = Settings::default();
        settings.set("commandRateLimit", "0").unwrap();
        assert_eq!(passed(&mut Budgets::default(), None, &settings, 0), 1000);
    }
}
