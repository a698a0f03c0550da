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
pub(super) struct Busy;

/// Gives turns to so many at once.
#[derive(Debug)]
pub(super) struct Turns {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    waiting: usize,
    /// Who waits. The first has the next turn, then goes to the end; there is somebody in each.
    networks: VecDeque<Network>,
}

#[derive(Debug)]
struct Network {
    /// `None` for those of whom it is not known.
    key: Option<IpAddr>,
    waiting: VecDeque<oneshot::Sender<Permit>>,
}

/// A turn. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    turns: Arc<Turns>,
}

impl Turns {
    pub(super) fn new(at_once: usize) -> Arc<Turns> {
        let state = State { free: at_once, waiting: 0, networks: VecDeque::new() };
        Arc::new(Turns { state: Mutex::new(state) })
    }

    /// Waits for a turn of this network.
    ///
    /// # Errors
    /// When too many wait, at once or while this one does.
    pub(super) async fn take(self: Arc<Self>, key: Option<IpAddr>) -> Result<Permit, Busy> {
        let turn = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                drop(state);
                return Ok(Permit { turns: self });
            }
            state.wait(key)?
        };
        turn.await.map_err(|_| Busy)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What is changed under the lock cannot panic halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wait(&mut self, key: Option<IpAddr>) -> Result<oneshot::Receiver<Permit>, Busy> {
        if self.waiting >= MAX_WAITING {
            self.make_room(key)?;
        }
        let (tell, turn) = oneshot::channel();
        match self.networks.iter_mut().find(|n| n.key == key) {
            Some(network) => network.waiting.push_back(tell),
            None => self.networks.push_back(Network { key, waiting: VecDeque::from([tell]) }),
        }
        self.waiting += 1;
        Ok(turn)
    }

    /// The last of the network that has most gives way to one of a network that will still have fewer.
    fn make_room(&mut self, key: Option<IpAddr>) -> Result<(), Busy> {
        let own = self.networks.iter().find(|n| n.key == key).map_or(0, |n| n.waiting.len());
        let most = self.networks.iter_mut().max_by_key(|n| n.waiting.len()).ok_or(Busy)?;
        if most.waiting.len() <= own + 1 {
            return Err(Busy);
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
            let mut state = self.turns.lock();
            let next = state.next();
            state.free += usize::from(next.is_none());
            next
        };
        if let Some(next) = next {
            // Who waits no more gives it back, and this goes on with the one behind.
            drop(next.send(Permit { turns: self.turns.clone() }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    type Waiting = std::pin::Pin<Box<dyn Future<Output = Result<Permit, Busy>>>>;

    fn key(n: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, n]))
    }

    fn poll(waiting: &mut Waiting) -> Poll<Result<Permit, Busy>> {
        pin!(waiting).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn begin(turns: &Arc<Turns>, n: u8) -> Waiting {
        let mut waiting: Waiting = Box::pin(turns.clone().take(key(n)));
        assert!(poll(&mut waiting).is_pending());
        waiting
    }

    fn taken(turns: &Arc<Turns>) -> Permit {
        let mut first: Waiting = Box::pin(turns.clone().take(key(0)));
        let Poll::Ready(Ok(permit)) = poll(&mut first) else { panic!("nobody has a turn") };
        permit
    }

    fn is_busy(turns: &Arc<Turns>, n: u8) -> bool {
        let mut waiting: Waiting = Box::pin(turns.clone().take(key(n)));
        matches!(poll(&mut waiting), Poll::Ready(Err(Busy)))
    }

    #[test]
    fn networks_take_turns_however_many_wait_in_one() {
        let turns = Turns::new(1);
        let mut permit = Some(taken(&turns));
        let mut all: Vec<(u8, Waiting)> = [1, 1, 1, 1, 2, 3, 3].map(|n| (n, begin(&turns, n))).into();
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
        drop(taken(&turns));
    }

    #[test]
    fn who_comes_when_too_many_wait_is_let_in_before_the_last_of_those_who_have_most() {
        let turns = Turns::new(1);
        let permit = taken(&turns);
        let mut flood: Vec<Waiting> = (0..MAX_WAITING).map(|_| begin(&turns, 1)).collect();
        assert!(is_busy(&turns, 1));
        let mut others: Vec<Waiting> = (2..9).map(|n| begin(&turns, n)).collect();
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
        let turns = Turns::new(1);
        let _permit = taken(&turns);
        let _all: Vec<Waiting> = (1..=64).map(|n| begin(&turns, n)).collect();
        assert!(is_busy(&turns, 65) && is_busy(&turns, 1));
    }

    #[test]
    fn who_has_gone_keeps_no_turn() {
        let turns = Turns::new(1);
        let permit = taken(&turns);
        let gone: Vec<Waiting> = (1..=60).map(|_| begin(&turns, 1)).collect();
        let mut stays = begin(&turns, 1);
        drop(gone);
        drop(permit);
        assert!(poll(&mut stays).is_ready());
        // One that has its turn, and goes before it knows.
        let permit = taken(&turns);
        let told = begin(&turns, 1);
        drop(permit);
        drop(told);
        drop(taken(&turns));
    }
}
