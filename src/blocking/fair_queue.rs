//! Whose password is checked next, when more are to be checked than can be at once.
//!
//! A check takes a tenth of a second and 64 MiB, and everybody can have one made. So few run at once, only so many wait, and
//! those who wait get their turns by the network that they come from: one network that wants many holds nobody else up.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Checks that wait at most, of all networks together.
pub(super) const MAX_WAITING: usize = 64;

/// Too many wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueFull;

/// Gives turns to so many at once.
#[derive(Debug)]
pub(super) struct FairQueue {
    state: Mutex<QueueState>,
}

#[derive(Debug)]
struct QueueState {
    free: usize,
    waiting: usize,
    /// Who waits. The first has the next turn, then goes to the end; there is somebody in each.
    networks: VecDeque<NetworkQueue>,
}

#[derive(Debug)]
struct NetworkQueue {
    /// `None` for those of whom it is not known.
    key: Option<IpAddr>,
    waiting: VecDeque<oneshot::Sender<Permit>>,
}

/// A turn. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    queue: Arc<FairQueue>,
}

impl FairQueue {
    pub(super) fn new(permits: usize) -> Arc<FairQueue> {
        let state = QueueState { free: permits, waiting: 0, networks: VecDeque::new() };
        Arc::new(FairQueue { state: Mutex::new(state) })
    }

    /// Waits for a turn of this network.
    ///
    /// # Errors
    /// When too many wait, at once or while this one does.
    pub(super) async fn acquire(self: Arc<Self>, key: Option<IpAddr>) -> Result<Permit, QueueFull> {
        let turn = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                drop(state);
                return Ok(Permit { queue: self });
            }
            state.wait(key)?
        };
        turn.await.map_err(|_| QueueFull)
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // What is changed under the lock cannot panic halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    fn wait(&mut self, key: Option<IpAddr>) -> Result<oneshot::Receiver<Permit>, QueueFull> {
        if self.waiting >= MAX_WAITING {
            self.make_room(key)?;
        }
        let (tell, turn) = oneshot::channel();
        match self.networks.iter_mut().find(|n| n.key == key) {
            Some(network) => network.waiting.push_back(tell),
            None => self.networks.push_back(NetworkQueue { key, waiting: VecDeque::from([tell]) }),
        }
        self.waiting += 1;
        Ok(turn)
    }

    /// The last of the network that has most gives way to one of a network that will still have fewer.
    fn make_room(&mut self, key: Option<IpAddr>) -> Result<(), QueueFull> {
        let own = self.networks.iter().find(|n| n.key == key).map_or(0, |n| n.waiting.len());
        let most = self.networks.iter_mut().max_by_key(|n| n.waiting.len()).ok_or(QueueFull)?;
        if most.waiting.len() <= own + 1 {
            return Err(QueueFull);
        }
        // It is told by the end of its channel.
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
            // Who waits no more gives it back, and this goes on with the one behind.
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

    fn begin(queue: &Arc<FairQueue>, n: u8) -> Waiting {
        let mut waiting: Waiting = Box::pin(queue.clone().acquire(key(n)));
        assert!(poll(&mut waiting).is_pending());
        waiting
    }

    fn taken(queue: &Arc<FairQueue>) -> Permit {
        let mut first: Waiting = Box::pin(queue.clone().acquire(key(0)));
        let Poll::Ready(Ok(permit)) = poll(&mut first) else { panic!("nobody has a turn") };
        permit
    }

    fn is_busy(queue: &Arc<FairQueue>, n: u8) -> bool {
        let mut waiting: Waiting = Box::pin(queue.clone().acquire(key(n)));
        matches!(poll(&mut waiting), Poll::Ready(Err(QueueFull)))
    }

    #[test]
    fn networks_take_turns_however_many_wait_in_one() {
        let queue = FairQueue::new(1);
        let mut permit = Some(taken(&queue));
        let mut all: Vec<(u8, Waiting)> = [1, 1, 1, 1, 2, 3, 3].map(|n| (n, begin(&queue, n))).into();
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
        drop(taken(&queue));
    }

    #[test]
    fn who_comes_when_too_many_wait_is_let_in_before_the_last_of_those_who_have_most() {
        let queue = FairQueue::new(1);
        let permit = taken(&queue);
        let mut flood: Vec<Waiting> = (0..MAX_WAITING).map(|_| begin(&queue, 1)).collect();
        assert!(is_busy(&queue, 1));
        let mut others: Vec<Waiting> = (2..9).map(|n| begin(&queue, n)).collect();
        let given_up = flood.iter_mut().filter_map(|w| match poll(w) {
            Poll::Ready(result) => Some(result.is_err()),
            Poll::Pending => None,
        });
        assert_eq!(given_up.collect::<Vec<_>>(), [true; 7], "the newest of them");
        drop(permit);
        assert!(poll(&mut flood[0]).is_ready(), "its turn, and over");
        assert!(others.iter_mut().all(|w| poll(w).is_ready()));
    }

    #[test]
    fn when_everybody_waits_once_nobody_else_does() {
        let queue = FairQueue::new(1);
        let _permit = taken(&queue);
        let _all: Vec<Waiting> = (1..=64).map(|n| begin(&queue, n)).collect();
        assert!(is_busy(&queue, 65) && is_busy(&queue, 1));
    }

    #[test]
    fn who_has_gone_keeps_no_turn() {
        let queue = FairQueue::new(1);
        let permit = taken(&queue);
        let gone: Vec<Waiting> = (1..=60).map(|_| begin(&queue, 1)).collect();
        let mut stays = begin(&queue, 1);
        drop(gone);
        drop(permit);
        assert!(poll(&mut stays).is_ready());
        // One that has its turn, and goes before it knows.
        let permit = taken(&queue);
        let told = begin(&queue, 1);
        drop(permit);
        drop(told);
        drop(taken(&queue));
    }
}
