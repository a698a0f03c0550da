//! Passwords that are tried over HTTP: each counts for its address before it is checked, and no longer when it was right.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::FailedLoginLimiter;
use crate::transport::network::narrowest;
use crate::transport::trust::Source;

/// Slow checks at once; those of the game wait in the same queue as they.
const MAX_CHECKS: usize = 4;
/// Slow checks that wait for that, in all and of one address.
const MAX_WAITING: usize = 64;
/// See [`MAX_WAITING`].
const MAX_WAITING_OF_ADDRESS: usize = 16;

/// How many passwords each address has tried, and who waits for a check.
#[derive(Clone)]
pub(crate) struct HttpPasswordLimiter {
    state: Arc<Mutex<LimiterState>>,
    checks: Arc<Semaphore>,
}

#[derive(Default)]
struct LimiterState {
    attempts: FailedLoginLimiter,
    waiting: usize,
    queues: HashMap<IpAddr, AddressQueue>,
}

/// Those of an address who wait, of whom one has a turn.
struct AddressQueue {
    turn: Arc<Semaphore>,
    waiting: usize,
}

impl Default for HttpPasswordLimiter {
    fn default() -> Self {
        Self { state: Arc::default(), checks: Arc::new(Semaphore::new(MAX_CHECKS)) }
    }
}

/// Why no password may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptRefused {
    /// There were too many wrong ones from this address.
    TooMany,
    /// Too many wait already.
    Busy,
}

impl AttemptRefused {
    /// For people.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::TooMany => "Too many wrong passwords, try again in a minute",
            Self::Busy => "Too many passwords are being checked, try again",
        }
    }
}

/// A password that is tried. It counts as wrong unless it is said to be right.
pub(crate) struct PasswordAttempt {
    guesses: HttpPasswordLimiter,
    address: IpAddr,
    /// It stands in the line of its address.
    waits: bool,
    /// Turns of the address and of the server.
    _turns: [Option<OwnedSemaphorePermit>; 2],
}

impl HttpPasswordLimiter {
    fn lock(&self) -> MutexGuard<'_, LimiterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A password whose check takes no time.
    ///
    /// # Errors
    /// When the address has to wait.
    pub(crate) fn quick(&self, source: Source, now_ms: u64) -> Result<PasswordAttempt, AttemptRefused> {
        let address = counted(source);
        let may = self.lock().attempts.take(address, now_ms);
        let guess = || PasswordAttempt { guesses: self.clone(), address, waits: false, _turns: [None, None] };
        may.then(guess).ok_or(AttemptRefused::TooMany)
    }

    /// A password whose check takes a while. It waits for its turn: an address has one at a time, and all together few.
    ///
    /// # Errors
    /// When the address has to wait longer, or too many wait.
    pub(crate) async fn slow(&self, source: Source, now_ms: u64) -> Result<PasswordAttempt, AttemptRefused> {
        let (mut guess, turn) = self.stand_in_line(counted(source), now_ms)?;
        // These are never closed.
        let of_address = turn.acquire_owned().await.ok();
        let of_server = self.checks.clone().acquire_owned().await.ok();
        guess._turns = [of_address, of_server];
        Ok(guess)
    }

    fn stand_in_line(
        &self,
        address: IpAddr,
        now_ms: u64,
    ) -> Result<(PasswordAttempt, Arc<Semaphore>), AttemptRefused> {
        let mut state = self.lock();
        let of_address = state.queues.get(&address).map_or(0, |queue| queue.waiting);
        if state.waiting >= MAX_WAITING || of_address >= MAX_WAITING_OF_ADDRESS {
            return Err(AttemptRefused::Busy);
        }
        if !state.attempts.take(address, now_ms) {
            return Err(AttemptRefused::TooMany);
        }
        state.waiting += 1;
        let new = || AddressQueue { turn: Arc::new(Semaphore::new(1)), waiting: 0 };
        let queue = state.queues.entry(address).or_insert_with(new);
        queue.waiting += 1;
        let turn = queue.turn.clone();
        drop(state);
        Ok((PasswordAttempt { guesses: self.clone(), address, waits: true, _turns: [None, None] }, turn))
    }
}

/// What a source counts as. Whoever comes by a proxy on this machine that does not say for whom it speaks does not count
/// for the machine itself: strangers would lock out who is there.
fn counted(source: Source) -> IpAddr {
    let by_proxy_here = source.address.is_loopback() && !source.direct;
    if by_proxy_here { Ipv4Addr::UNSPECIFIED.into() } else { narrowest(source.address) }
}

impl PasswordAttempt {
    /// The password was right, or not looked at.
    pub(crate) fn give_back(self) {
        self.guesses.lock().attempts.give_back(self.address);
    }
}

impl Drop for PasswordAttempt {
    fn drop(&mut self) {
        if !self.waits {
            return;
        }
        let mut state = self.guesses.lock();
        state.waiting -= 1;
        if let Some(queue) = state.queues.get_mut(&self.address) {
            queue.waiting -= 1;
            if queue.waiting == 0 {
                state.queues.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// What a future is at once, if it is ready.
    trait PollOnce: Future + Sized {
        fn now_or_never(self) -> Option<Self::Output> {
            match pin!(self).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(value) => Some(value),
                Poll::Pending => None,
            }
        }
    }
    impl<F: Future> PollOnce for F {}

    fn ip(text: &str) -> Source {
        Source { address: text.parse().unwrap(), direct: true }
    }

    #[actix_rt::test]
    async fn asking_at_once_does_not_help() {
        let guesses = HttpPasswordLimiter::default();
        let first = guesses.slow(ip("192.0.2.1"), 0).await.ok();
        // Others of the address wait, in order, and not without end.
        let mut others: Vec<_> = (0..100).map(|_| Box::pin(guesses.slow(ip("192.0.2.1"), 0))).collect();
        let refused = others.iter_mut().filter_map(|other| other.as_mut().now_or_never()).count();
        assert_eq!(100 - refused, MAX_WAITING_OF_ADDRESS - 1);
        assert!(guesses.quick(ip("192.0.2.1"), 0).is_ok(), "what takes no time does not wait");
        let elsewhere: Vec<_> =
            (2..5).filter_map(|n| guesses.slow(ip(&format!("192.0.2.{n}")), 0).now_or_never()).collect();
        assert_eq!(elsewhere.len() + 1, MAX_CHECKS);
        assert!(guesses.slow(ip("192.0.2.9"), 0).now_or_never().is_none(), "the server has its turns, too");
        drop((first, elsewhere));
        let mut waiting = others.into_iter();
        let next = waiting.find_map(|mut other| other.as_mut().now_or_never()).unwrap();
        assert!(next.is_ok(), "the next one's turn");
        drop((next, waiting));
        let state = guesses.lock();
        assert!(state.waiting == 0 && state.queues.is_empty(), "who gives up does not wait any more");
    }

    #[actix_rt::test]
    async fn wrong_ones_count_and_right_ones_do_not() {
        let guesses = HttpPasswordLimiter::default();
        let of = |text: &str, at| {
            let (guesses, source) = (guesses.clone(), ip(text));
            async move { guesses.slow(source, at).await }
        };
        for _ in 0..100 {
            of("192.0.2.1", 0).await.unwrap_or_else(|_| panic!("right ones")).give_back();
        }
        let mut wrong = 0;
        while of("2001:db8::1", 0).await.is_ok() {
            wrong += 1;
        }
        assert_eq!(wrong, 20);
        assert!(matches!(of("2001:db8::2", 0).await, Err(AttemptRefused::TooMany)), "the same network");
        assert!(of("192.0.2.1", 0).await.is_ok());
        assert!(of("2001:db8::1", 60_000).await.is_ok());
    }

    #[actix_rt::test]
    async fn a_proxy_here_that_says_nothing_does_not_lock_the_machine_out() {
        let guesses = HttpPasswordLimiter::default();
        let proxied = Source { address: ip("127.0.0.1").address, direct: false };
        while guesses.slow(proxied, 0).await.is_ok() {}
        assert!(guesses.slow(ip("127.0.0.1"), 0).await.is_ok());
    }
}
