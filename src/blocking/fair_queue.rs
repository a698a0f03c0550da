//! Fair queueing of password checks.
//!
//! A check takes a tenth of a second and 64 MiB, and anybody can request one. So few run in parallel, the queue is
//! bounded, and permits go round-robin to the networks that clients connect from: one that requests many delays no
//! other.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

/// Maximum length of the queue, all networks together.
pub(super) const MAX_WAITING: usize = 64;

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueFull;

/// A semaphore whose waiters are served round-robin by network.
#[derive(Debug)]
pub(super) struct FairQueue {
    state: Mutex<QueueState>,
}

#[derive(Debug)]
struct QueueState {
    free: usize,
    waiting: usize,
    /// Networks with waiters; none is empty. The first gets the next permit, then goes to the end.
    networks: VecDeque<NetworkQueue>,
}

#[derive(Debug)]
struct NetworkQueue {
    /// `None` if the address is unknown.
    key: Option<IpAddr>,
    waiting: VecDeque<oneshot::Sender<Permit>>,
}

/// Permission to run; released when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    queue: Arc<FairQueue>,
}

impl FairQueue {
    pub(super) fn new(permits: usize) -> Arc<FairQueue> {
        let state = QueueState { free: permits, waiting: 0, networks: VecDeque::new() };
        Arc::new(FairQueue { state: Mutex::new(state) })
    }

    /// Waits for a permit for this network.
    ///
    /// # Errors
    /// When the queue is full, or another network displaced this waiter.
    pub(super) async fn acquire(self: Arc<Self>, key: Option<IpAddr>) -> Result<Permit, QueueFull> {
        let receiver = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                drop(state);
                return Ok(Permit { queue: self });
            }
            state.enqueue(key)?
        };
        receiver.await.map_err(|_| QueueFull)
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock()
    }
}

impl QueueState {
    fn enqueue(&mut self, key: Option<IpAddr>) -> Result<oneshot::Receiver<Permit>, QueueFull> {
        if self.waiting >= MAX_WAITING {
            self.displace_newest(key)?;
        }
        let (sender, receiver) = oneshot::channel();
        match self.networks.iter_mut().find(|n| n.key == key) {
            Some(network) => network.waiting.push_back(sender),
            None => self.networks.push_back(NetworkQueue { key, waiting: VecDeque::from([sender]) }),
        }
        self.waiting += 1;
        Ok(receiver)
    }

    /// If the network with the most waiters still has more than this one would, removes its newest waiter.
    fn displace_newest(&mut self, key: Option<IpAddr>) -> Result<(), QueueFull> {
        let own = self.networks.iter().find(|n| n.key == key).map_or(0, |n| n.waiting.len());
        let most = self.networks.iter_mut().max_by_key(|n| n.waiting.len()).ok_or(QueueFull)?;
        if most.waiting.len() <= own + 1 {
            return Err(QueueFull);
        }
        // Dropping the sender makes the waiter return `QueueFull`.
        most.waiting.pop_back();
        self.waiting -= 1;
        Ok(())
    }

    fn next(&mut self) -> Option<oneshot::Sender<Permit>> {
        let mut network = self.networks.pop_front()?;
        let next = network.waiting.pop_front();
        self.waiting -= usize::from(next.is_some());
        if !network.waiting.is_empty() {
            self.networks.push_back(network);
        }
        next
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let next = {
            let mut state = self.queue.lock();
            let next = state.next();
            state.free += usize::from(next.is_none());
            next
        };
        if let Some(next) = next {
            // If the waiter is gone the unsent permit is dropped, which passes it on to the next one.
            drop(next.send(Permit { queue: self.queue.clone() }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    type Waiting = std::pin::Pin<Box<dyn Future<Output = Result<Permit, QueueFull>>>>;

    fn key(n: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, n]))
    }

    fn poll(waiting: &mut Waiting) -> Poll<Result<Permit, QueueFull>> {
        pin!(waiting).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn wait(queue: &Arc<FairQueue>, n: u8) -> Waiting {
        let mut waiting: Waiting = Box::pin(queue.clone().acquire(key(n)));
        assert!(poll(&mut waiting).is_pending());
        waiting
    }

    fn acquire_now(queue: &Arc<FairQueue>) -> Permit {
        let mut first: Waiting = Box::pin(queue.clone().acquire(key(0)));
        let Poll::Ready(Ok(permit)) = poll(&mut first) else { panic!("no permit is free") };
        permit
    }

    fn is_full(queue: &Arc<FairQueue>, n: u8) -> bool {
        let mut waiting: Waiting = Box::pin(queue.clone().acquire(key(n)));
        matches!(poll(&mut waiting), Poll::Ready(Err(QueueFull)))
    }

    #[test]
    fn permits_go_round_robin_to_networks() {
        let queue = FairQueue::new(1);
        let mut permit = Some(acquire_now(&queue));
        let mut all: Vec<(u8, Waiting)> = [1, 1, 1, 1, 2, 3, 3].map(|n| (n, wait(&queue, n))).into();
        let mut order = Vec::new();
        while !all.is_empty() {
            drop(permit.take());
            let ready = all.iter_mut().position(|(_, waiting)| match poll(waiting) {
                Poll::Ready(result) => {
                    permit = result.ok();
                    true
                }
                Poll::Pending => false,
            });
            order.push(all.remove(ready.unwrap()).0);
        }
        assert_eq!(order, [1, 2, 3, 1, 3, 1, 1]);
        drop(permit);
        drop(acquire_now(&queue));
    }

    #[test]
    fn a_full_queue_displaces_the_newest_waiter_of_the_largest_network() {
        let queue = FairQueue::new(1);
        let permit = acquire_now(&queue);
        let mut flood: Vec<Waiting> = (0..MAX_WAITING).map(|_| wait(&queue, 1)).collect();
        assert!(is_full(&queue, 1));
        let mut others: Vec<Waiting> = (2..9).map(|n| wait(&queue, n)).collect();
        let displaced = flood.iter_mut().filter_map(|w| match poll(w) {
            Poll::Ready(result) => Some(result.is_err()),
            Poll::Pending => None,
        });
        assert_eq!(displaced.collect::<Vec<_>>(), [true; 7], "the newest ones");
        drop(permit);
        assert!(poll(&mut flood[0]).is_ready(), "gets the permit and drops it");
        assert!(others.iter_mut().all(|w| poll(w).is_ready()));
    }

    #[test]
    fn a_queue_full_of_single_waiters_refuses_more() {
        let queue = FairQueue::new(1);
        let _permit = acquire_now(&queue);
        let _all: Vec<Waiting> = (1..=64).map(|n| wait(&queue, n)).collect();
        assert!(is_full(&queue, 65) && is_full(&queue, 1));
    }

    #[test]
    fn dropped_waiters_get_no_permit() {
        let queue = FairQueue::new(1);
        let permit = acquire_now(&queue);
        let dropped: Vec<Waiting> = (1..=60).map(|_| wait(&queue, 1)).collect();
        let mut stays = wait(&queue, 1);
        drop(dropped);
        drop(permit);
        assert!(poll(&mut stays).is_ready());
        // A waiter that is dropped after the permit was sent to it.
        let permit = acquire_now(&queue);
        let notified = wait(&queue, 1);
        drop(permit);
        drop(notified);
        drop(acquire_now(&queue));
    }
}
