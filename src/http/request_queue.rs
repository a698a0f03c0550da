//! How many requests are under way at once, in all and to one host; a bounded number of others waits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a request waits for its turn.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// How many requests there may be.
#[derive(Debug, Clone, Copy)]
pub struct RequestLimits {
    /// Under way at once.
    pub at_once: usize,
    /// The same to one host.
    pub per_host: usize,
    /// Waiting; what is more is refused.
    pub waiting: usize,
    /// Bytes of an answer. JSON takes up to a hundred times as much when it was read.
    pub answer: usize,
}

/// Gives requests their turns.
#[derive(Debug)]
pub(super) struct RequestQueue {
    limits: RequestLimits,
    all: Arc<Semaphore>,
    /// Of the hosts that are asked now.
    hosts: Mutex<HashMap<String, Weak<Semaphore>>>,
    waiting: AtomicUsize,
}

/// A request may be made for as long as this is there.
#[derive(Debug)]
pub(super) struct RequestPermit {
    _host: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

/// Counts a request as waiting.
struct WaitingRequest<'a>(&'a AtomicUsize);

impl Drop for WaitingRequest<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl RequestQueue {
    pub(super) fn new(limits: RequestLimits) -> RequestQueue {
        let all = Arc::new(Semaphore::new(limits.at_once));
        RequestQueue { limits, all, hosts: Mutex::default(), waiting: AtomicUsize::new(0) }
    }

    pub(super) fn limits(&self) -> RequestLimits {
        self.limits
    }

    /// Waits for the turn of a request to a host; `None` if too many wait, or it took too long.
    pub(super) async fn take(&self, host: &str) -> Option<RequestPermit> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = WaitingRequest(&self.waiting);
        if before >= self.limits.waiting {
            return None;
        }
        let of_host = self.of_host(host);
        let turn = async {
            let host = of_host.acquire_owned().await.ok()?;
            let all = self.all.clone().acquire_owned().await.ok()?;
            Some(RequestPermit { _host: host, _all: all })
        };
        tokio::time::timeout(MAX_WAIT, turn).await.ok().flatten()
    }

    fn of_host(&self, host: &str) -> Arc<Semaphore> {
        // A thread that panicked while it held the lock has left the table as good as it was.
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = hosts.get(host).and_then(Weak::upgrade) {
            return known;
        }
        hosts.retain(|_, asked| asked.strong_count() > 0);
        let made = Arc::new(Semaphore::new(self.limits.per_host));
        hosts.insert(host.to_owned(), Arc::downgrade(&made));
        made
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    /// Whether a turn comes without waiting.
    async fn at_once<T>(asked: impl Future<Output = T>) -> Option<T> {
        let mut asked = pin!(asked);
        poll_fn(|cx| match asked.as_mut().poll(cx) {
            Poll::Ready(turn) => Poll::Ready(Some(turn)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    #[actix_rt::test]
    async fn few_requests_are_under_way_in_all_and_to_one_host() {
        let turns = RequestQueue::new(RequestLimits { at_once: 3, per_host: 2, waiting: 10, answer: 1 });
        let take = |host: &'static str| at_once(turns.take(host));
        let (first, second) = (take("a").await.flatten(), take("a").await.flatten());
        assert!(first.is_some() && second.is_some());
        assert!(take("a").await.is_none(), "the third to one host waits");
        let third = take("b").await.flatten();
        assert!(third.is_some() && take("c").await.is_none(), "the fourth in all waits");
        drop(first);
        assert!(take("c").await.flatten().is_some());
        drop((second, third));
        assert!(take("a").await.flatten().is_some());
        assert!(turns.hosts.lock().unwrap().len() <= 3, "hosts that nobody asks are forgotten");
        assert_eq!(turns.waiting.load(Ordering::Relaxed), 0);
    }

    #[actix_rt::test]
    async fn only_so_many_wait() {
        let turns = RequestQueue::new(RequestLimits { at_once: 1, per_host: 1, waiting: 1, answer: 1 });
        let first = turns.take("a").await;
        let mut waits = pin!(turns.take("a"));
        assert!(at_once(waits.as_mut()).await.is_none());
        assert!(turns.take("b").await.is_none(), "one more is refused at once");
        drop(first);
        assert!(waits.await.is_some());
    }
}
