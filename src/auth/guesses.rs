//! Passwords that are tried over HTTP: each counts for its address before it is checked, and no longer when it was right.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits::Attempts;
use crate::transport::network::narrowest;
use crate::transport::trust::Source;

/// Slow checks that run or wait at once; those of the game come in the same queue.
const MAX_CHECKS: usize = 4;

/// How many passwords each address has tried, and who has one checked.
#[derive(Clone, Default)]
pub(crate) struct Guesses(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    attempts: Attempts,
    checking: HashSet<IpAddr>,
}

/// Why no password may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotNow {
    /// There were too many wrong ones from this address.
    TooMany,
    /// One of this address is being checked, or too many of others.
    Busy,
}

impl NotNow {
    /// For people.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::TooMany => "Too many wrong passwords, try again in a minute",
            Self::Busy => "Passwords are being checked, try again",
        }
    }
}

/// A password that is tried. It counts as wrong unless it is said to be right.
pub(crate) struct Guess {
    guesses: Guesses,
    address: IpAddr,
    is_slow: bool,
}

impl Guesses {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A password whose check takes no time.
    ///
    /// # Errors
    /// When the address has to wait.
    pub(crate) fn quick(&self, source: Source, now_ms: u64) -> Result<Guess, NotNow> {
        self.begin(source, now_ms, false)
    }

    /// A password whose check takes a while, of which an address has one at a time.
    ///
    /// # Errors
    /// When the address has to wait.
    pub(crate) fn slow(&self, source: Source, now_ms: u64) -> Result<Guess, NotNow> {
        self.begin(source, now_ms, true)
    }

    fn begin(&self, source: Source, now_ms: u64, is_slow: bool) -> Result<Guess, NotNow> {
        let address = counted(source);
        let mut state = self.lock();
        if is_slow && (state.checking.len() >= MAX_CHECKS || state.checking.contains(&address)) {
            return Err(NotNow::Busy);
        }
        if !state.attempts.take(address, now_ms) {
            return Err(NotNow::TooMany);
        }
        if is_slow {
            state.checking.insert(address);
        }
        drop(state);
        Ok(Guess { guesses: self.clone(), address, is_slow })
    }
}

/// What a source counts as. Whoever comes by a proxy on this machine that does not say for whom it speaks does not count
/// for the machine itself: strangers would lock out who is there.
fn counted(source: Source) -> IpAddr {
    let by_proxy_here = source.address.is_loopback() && !source.direct;
    if by_proxy_here { Ipv4Addr::UNSPECIFIED.into() } else { narrowest(source.address) }
}

impl Guess {
    /// The password was right, or not looked at.
    pub(crate) fn give_back(self) {
        self.guesses.lock().attempts.give_back(self.address);
    }
}

impl Drop for Guess {
    fn drop(&mut self) {
        if self.is_slow {
            self.guesses.lock().checking.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Source {
        Source { address: text.parse().unwrap(), direct: true }
    }

    #[test]
    fn asking_at_once_does_not_help() {
        let guesses = Guesses::default();
        let first = guesses.slow(ip("192.0.2.1"), 0).ok();
        assert!(matches!(guesses.slow(ip("192.0.2.1"), 0), Err(NotNow::Busy)));
        let others: Vec<_> =
            (2..9).filter_map(|n| guesses.slow(ip(&format!("192.0.2.{n}")), 0).ok()).collect();
        assert_eq!(others.len() + 1, MAX_CHECKS);
        assert!(guesses.quick(ip("192.0.2.1"), 0).is_ok(), "what takes no time does not wait");
        drop((first, others));
        assert!(guesses.slow(ip("192.0.2.1"), 0).is_ok());
    }

    #[test]
    fn wrong_ones_count_and_right_ones_do_not() {
        let guesses = Guesses::default();
        let of = |text: &str| guesses.slow(ip(text), 0);
        (0..1000).filter_map(|_| of("192.0.2.1").ok()).for_each(Guess::give_back);
        let wrong = (0..1000).filter(|_| of("2001:db8::1").is_ok()).count();
        assert_eq!(wrong, 20);
        assert!(matches!(of("2001:db8::2"), Err(NotNow::TooMany)), "the same network");
        assert!(of("192.0.2.1").is_ok());
        assert!(guesses.slow(ip("2001:db8::1"), 60_000).is_ok());
    }

    #[test]
    fn a_proxy_here_that_says_nothing_does_not_lock_the_machine_out() {
        let guesses = Guesses::default();
        let proxied = Source { address: ip("127.0.0.1").address, direct: false };
        while guesses.slow(proxied, 0).is_ok() {}
        assert!(guesses.slow(ip("127.0.0.1"), 0).is_ok());
    }
}
