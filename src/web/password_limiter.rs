//! Limits password attempts over HTTP: a rate limit of failed logins per address, and a bounded queue of slow checks.
//! An attempt counts before the password is verified, and is refunded if it was correct.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::rules::limits::FailedLoginLimiter;
use crate::rules::network::narrowest;
use crate::transport::trust::ClientAddr;

/// Slow checks in parallel. They share the queue of [`BlockingPool`](crate::blocking::BlockingPool) with logins of
/// clients.
const MAX_CHECKS: usize = 4;
/// Slow checks that are queued or running, in total.
const MAX_QUEUED: usize = 64;
/// The same for one address.
const MAX_QUEUED_OF_ADDRESS: usize = 16;

/// Counts the attempts of each address, and queues slow checks. Clones share the state.
#[derive(Clone)]
pub(crate) struct HttpPasswordLimiter {
    state: Arc<Mutex<LimiterState>>,
    checks: Arc<Semaphore>,
}

#[derive(Default)]
struct LimiterState {
    failed_logins: FailedLoginLimiter,
    queued: usize,
    queues: HashMap<IpAddr, AddressQueue>,
}

/// The queue of an address: one check at a time.
struct AddressQueue {
    permits: Arc<Semaphore>,
    queued: usize,
}

impl Default for HttpPasswordLimiter {
    fn default() -> Self {
        Self { state: Arc::default(), checks: Arc::new(Semaphore::new(MAX_CHECKS)) }
    }
}

/// Why an attempt is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptRefused {
    /// The rate limit of failed logins of this address is reached.
    TooMany,
    /// Too many checks are queued.
    Busy,
}

impl AttemptRefused {
    /// The text for the client.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::TooMany => "Too many wrong passwords, try again in a minute",
            Self::Busy => "Too many passwords are being checked, try again",
        }
    }
}

/// An attempt. It counts as failed unless [`PasswordAttempt::refund`] is called.
pub(crate) struct PasswordAttempt {
    limiter: HttpPasswordLimiter,
    address: IpAddr,
    /// It counts in [`AddressQueue::queued`].
    is_queued: bool,
    /// Of the address and of the server.
    _permits: [Option<OwnedSemaphorePermit>; 2],
}

impl HttpPasswordLimiter {
    fn lock(&self) -> MutexGuard<'_, LimiterState> {
        self.state.lock()
    }

    /// Begins an attempt whose check takes no time.
    ///
    /// # Errors
    /// [`AttemptRefused::TooMany`].
    pub(crate) fn quick(&self, client: ClientAddr, now_ms: u64) -> Result<PasswordAttempt, AttemptRefused> {
        let address = limit_key(client);
        let allowed = self.lock().failed_logins.take(address, now_ms);
        let begin =
            || PasswordAttempt { limiter: self.clone(), address, is_queued: false, _permits: [None, None] };
        allowed.then(begin).ok_or(AttemptRefused::TooMany)
    }

    /// Begins an attempt whose check takes long. Waits until it may run: one per address and [`MAX_CHECKS`] in total.
    ///
    /// # Errors
    /// When the rate limit of the address is reached or the queue is full.
    pub(crate) async fn slow(
        &self,
        client: ClientAddr,
        now_ms: u64,
    ) -> Result<PasswordAttempt, AttemptRefused> {
        let (mut attempt, permits) = self.enqueue(limit_key(client), now_ms)?;
        // These semaphores are never closed.
        let of_address = permits.acquire_owned().await.ok();
        let of_server = self.checks.clone().acquire_owned().await.ok();
        attempt._permits = [of_address, of_server];
        Ok(attempt)
    }

    fn enqueue(
        &self,
        address: IpAddr,
        now_ms: u64,
    ) -> Result<(PasswordAttempt, Arc<Semaphore>), AttemptRefused> {
        let mut state = self.lock();
        let of_address = state.queues.get(&address).map_or(0, |queue| queue.queued);
        if state.queued >= MAX_QUEUED || of_address >= MAX_QUEUED_OF_ADDRESS {
            return Err(AttemptRefused::Busy);
        }
        if !state.failed_logins.take(address, now_ms) {
            return Err(AttemptRefused::TooMany);
        }
        state.queued += 1;
        let new_queue = || AddressQueue { permits: Arc::new(Semaphore::new(1)), queued: 0 };
        let queue = state.queues.entry(address).or_insert_with(new_queue);
        queue.queued += 1;
        let permits = queue.permits.clone();
        drop(state);
        Ok((
            PasswordAttempt { limiter: self.clone(), address, is_queued: true, _permits: [None, None] },
            permits,
        ))
    }
}

/// The address that attempts count for. Strangers must not count for loopback: they would lock out whoever works on the
/// machine itself.
fn limit_key(client: ClientAddr) -> IpAddr {
    if client.may_be_stranger() { Ipv4Addr::UNSPECIFIED.into() } else { narrowest(client.ip()) }
}

impl PasswordAttempt {
    /// Uncounts the attempt: the password was correct, or was not verified.
    pub(crate) fn refund(self) {
        self.limiter.lock().failed_logins.refund(self.address);
    }
}

impl Drop for PasswordAttempt {
    fn drop(&mut self) {
        if !self.is_queued {
            return;
        }
        let mut state = self.limiter.lock();
        state.queued -= 1;
        if let Some(queue) = state.queues.get_mut(&self.address) {
            queue.queued -= 1;
            if queue.queued == 0 {
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
    use crate::transport::forwarded::ForwardedHeaders;
    use crate::transport::trust::Trusted;

    /// The output of a future that is ready at its first poll.
    trait PollOnce: Future + Sized {
        fn now_or_never(self) -> Option<Self::Output> {
            match pin!(self).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(value) => Some(value),
                Poll::Pending => None,
            }
        }
    }
    impl<F: Future> PollOnce for F {}

    fn ip(text: &str) -> ClientAddr {
        Trusted::default().peer(text.parse().unwrap())
    }

    #[actix_rt::test]
    async fn slow_checks_are_queued_per_address_and_limited_in_total() {
        let limiter = HttpPasswordLimiter::default();
        let first = limiter.slow(ip("192.0.2.1"), 0).await.ok();
        // Others of the address are queued in order, up to a limit.
        let mut others: Vec<_> = (0..100).map(|_| Box::pin(limiter.slow(ip("192.0.2.1"), 0))).collect();
        let refused = others.iter_mut().filter_map(|other| other.as_mut().now_or_never()).count();
        assert_eq!(100 - refused, MAX_QUEUED_OF_ADDRESS - 1);
        assert!(limiter.quick(ip("192.0.2.1"), 0).is_ok(), "fast checks are not queued");
        let elsewhere: Vec<_> =
            (2..5).filter_map(|n| limiter.slow(ip(&format!("192.0.2.{n}")), 0).now_or_never()).collect();
        assert_eq!(elsewhere.len() + 1, MAX_CHECKS);
        assert!(limiter.slow(ip("192.0.2.9"), 0).now_or_never().is_none(), "the server has its turns, too");
        drop((first, elsewhere));
        let mut queued = others.into_iter();
        let next = queued.find_map(|mut other| other.as_mut().now_or_never()).unwrap();
        assert!(next.is_ok(), "the next one runs");
        drop((next, queued));
        let state = limiter.lock();
        assert!(state.queued == 0 && state.queues.is_empty(), "dropped futures leave the queue");
    }

    #[actix_rt::test]
    async fn failed_attempts_count_and_correct_ones_do_not() {
        let limiter = HttpPasswordLimiter::default();
        let begin = |text: &str, now_ms| {
            let (limiter, client) = (limiter.clone(), ip(text));
            async move { limiter.slow(client, now_ms).await }
        };
        for _ in 0..100 {
            begin("192.0.2.1", 0).await.unwrap_or_else(|_| panic!("correct passwords")).refund();
        }
        let mut failed = 0;
        while begin("2001:db8::1", 0).await.is_ok() {
            failed += 1;
        }
        assert_eq!(failed, 20);
        assert!(matches!(begin("2001:db8::2", 0).await, Err(AttemptRefused::TooMany)), "the same network");
        assert!(begin("192.0.2.1", 0).await.is_ok());
        assert!(begin("2001:db8::1", 60_000).await.is_ok());
    }

    #[actix_rt::test]
    async fn a_local_proxy_that_names_no_client_does_not_lock_out_loopback() {
        let limiter = HttpPasswordLimiter::default();
        let proxied = Trusted::default().after_proxy_header(ip("127.0.0.1"), None);
        while limiter.slow(proxied, 0).await.is_ok() {}
        assert!(limiter.slow(ip("127.0.0.1"), 0).await.is_ok());
    }

    #[actix_rt::test]
    async fn strangers_at_a_shared_port_do_not_lock_out_loopback() {
        let limiter = HttpPasswordLimiter::default();
        let by_tunnel = ip("127.0.0.1").at_shared_port();
        let trusted = Trusted::default();
        assert!(trusted.resolve(by_tunnel, &ForwardedHeaders::default()).unwrap().may_be_stranger());
        while limiter.slow(by_tunnel, 0).await.is_ok() {}
        assert!(limiter.slow(ip("127.0.0.1"), 0).await.is_ok());
        assert!(limiter.slow(ip("192.0.2.1").at_shared_port(), 0).await.is_ok());
    }
}
