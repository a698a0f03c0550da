//! Limits of parallel requests, in total and per host; a bounded number of others is queued.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Maximum time of a request in the queue.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Limits of an HTTP client.
#[derive(Debug, Clone, Copy)]
pub struct RequestLimits {
    /// Requests in parallel.
    pub parallel: usize,
    /// Requests in parallel to one host.
    pub per_host: usize,
    /// Queued requests; further ones are refused.
    pub queued: usize,
    /// Maximum body of a response in bytes. Parsed JSON takes up to a hundred times as much memory.
    pub response_bytes: usize,
}

/// Queues requests until the limits permit them.
#[derive(Debug)]
pub(super) struct RequestQueue {
    limits: RequestLimits,
    all: Arc<Semaphore>,
    /// Only of hosts with requests under way or queued; others are removed.
    hosts: Mutex<HashMap<String, Weak<Semaphore>>>,
    waiting: AtomicUsize,
}

/// Permission to send a request; released when dropped.
#[derive(Debug)]
pub(super) struct RequestPermit {
    _host: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

/// Counts a request as queued.
struct WaitingRequest<'a>(&'a AtomicUsize);

impl Drop for WaitingRequest<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl RequestQueue {
    pub(super) fn new(limits: RequestLimits) -> RequestQueue {
        let all = Arc::new(Semaphore::new(limits.parallel));
        RequestQueue { limits, all, hosts: Mutex::default(), waiting: AtomicUsize::new(0) }
    }

    pub(super) fn limits(&self) -> RequestLimits {
        self.limits
    }

    /// Waits for a permit for a request to a host; `None` if the queue is full or after [`MAX_WAIT`].
    pub(super) async fn acquire(&self, host: &str) -> Option<RequestPermit> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = WaitingRequest(&self.waiting);
        if before >= self.limits.queued {
            return None;
        }
        let host_semaphore = self.host_semaphore(host);
        let permit = async {
            let host = host_semaphore.acquire_owned().await.ok()?;
            let all = self.all.clone().acquire_owned().await.ok()?;
            Some(RequestPermit { _host: host, _all: all })
        };
        tokio::time::timeout(MAX_WAIT, permit).await.ok().flatten()
    }

    fn host_semaphore(&self, host: &str) -> Arc<Semaphore> {
        let mut hosts = self.hosts.lock();
        if let Some(known) = hosts.get(host).and_then(Weak::upgrade) {
            return known;
        }
        hosts.retain(|_, semaphore| semaphore.strong_count() > 0);
        let semaphore = Arc::new(Semaphore::new(self.limits.per_host));
        hosts.insert(host.to_owned(), Arc::downgrade(&semaphore));
        semaphore
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    /// The output of a future that is ready at its first poll.
    async fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    #[actix_rt::test]
    async fn parallel_requests_are_limited_in_total_and_per_host() {
        let queue =
            RequestQueue::new(RequestLimits { parallel: 3, per_host: 2, queued: 10, response_bytes: 1 });
        let acquire = |host: &'static str| poll_once(queue.acquire(host));
        let (first, second) = (acquire("a").await.flatten(), acquire("a").await.flatten());
        assert!(first.is_some() && second.is_some());
        assert!(acquire("a").await.is_none(), "the third to one host waits");
        let third = acquire("b").await.flatten();
        assert!(third.is_some() && acquire("c").await.is_none(), "the fourth in total waits");
        drop(first);
        assert!(acquire("c").await.flatten().is_some());
        drop((second, third));
        assert!(acquire("a").await.flatten().is_some());
        assert!(queue.hosts.lock().len() <= 3, "unused hosts are removed");
        assert_eq!(queue.waiting.load(Ordering::Relaxed), 0);
    }

    #[actix_rt::test]
    async fn the_queue_is_bounded() {
        let queue =
            RequestQueue::new(RequestLimits { parallel: 1, per_host: 1, queued: 1, response_bytes: 1 });
        let first = queue.acquire("a").await;
        let mut waits = pin!(queue.acquire("a"));
        assert!(poll_once(waits.as_mut()).await.is_none());
        assert!(queue.acquire("b").await.is_none(), "one more is refused at once");
        drop(first);
        assert!(waits.await.is_some());
    }
}
