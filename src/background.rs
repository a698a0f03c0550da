//! Threads of our own: each has a name, a bounded queue that it works off, and one way to end.
//!
//! For work that goes on as long as the server runs: fsync, recordings, the log in the database, traces. Single jobs
//! belong into the [`BlockingPool`](crate::blocking::BlockingPool).

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

/// How much may wait in a [`Queue`].
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    /// Maximum number of items.
    pub items: usize,
    /// Maximum size of all items, in bytes.
    pub bytes: usize,
}

impl QueueLimits {
    /// For senders that limit what they queue themselves, and whose items must not be lost.
    pub const BY_SENDERS: QueueLimits = QueueLimits { items: usize::MAX, bytes: usize::MAX };
}

/// Why an item was not queued. It is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The queue is full.
    #[error("the queue is full")]
    Full,
    /// The thread has ended, or is about to.
    #[error("the thread has ended")]
    Closed,
}

/// What [`Queue::pop_timeout`] has found.
#[derive(Debug, PartialEq, Eq)]
pub enum Popped<T> {
    /// The oldest item.
    Item(T),
    /// Nothing was queued in time.
    Timeout,
    /// The queue is closed, and empty.
    Closed,
}

#[derive(Debug)]
struct QueueState<T> {
    /// With the size of each, in bytes.
    items: VecDeque<(T, usize)>,
    bytes: usize,
    /// For how many items the thread waits; 0 while it does not wait. Fewer do not wake it.
    wanted: usize,
    closed: bool,
}

#[derive(Debug)]
struct QueueShared<T> {
    limits: QueueLimits,
    state: Mutex<QueueState<T>>,
    /// What the thread waits for is there, or the queue was closed.
    pushed: Condvar,
    /// There is room, or the queue was closed.
    popped: Condvar,
}

/// A bounded queue with many senders and one thread that takes from it. It takes memory for what waits only. It can be
/// filled before its thread is started. Clones are the same queue.
#[derive(Debug)]
pub struct Queue<T>(Arc<QueueShared<T>>);

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Queue(self.0.clone())
    }
}

impl<T> QueueState<T> {
    fn has_room(&self, limits: QueueLimits, bytes: usize) -> bool {
        self.items.len() < limits.items && bytes <= limits.bytes.saturating_sub(self.bytes)
    }

    fn is_short(&self) -> bool {
        self.items.len() < self.wanted && !self.closed
    }

    /// Whether the thread waits for what is there.
    fn is_awaited(&self) -> bool {
        self.wanted > 0 && self.items.len() >= self.wanted
    }

    fn pop(&mut self) -> Option<T> {
        let (item, bytes) = self.items.pop_front()?;
        self.bytes -= bytes;
        Some(item)
    }
}

impl<T> Queue<T> {
    /// An empty queue.
    pub fn new(limits: QueueLimits) -> Queue<T> {
        let state = QueueState { items: VecDeque::new(), bytes: 0, wanted: 0, closed: false };
        let (pushed, popped) = (Condvar::new(), Condvar::new());
        Queue(Arc::new(QueueShared { limits, state: Mutex::new(state), pushed, popped }))
    }

    /// Queues an item of this size; never waits.
    ///
    /// # Errors
    /// When there is no room, or the thread has ended.
    pub fn try_push(&self, item: T, bytes: usize) -> Result<(), PushError> {
        let state = self.0.state.lock();
        if !state.closed && !state.has_room(self.0.limits, bytes) {
            return Err(PushError::Full);
        }
        self.insert(state, item, bytes).map(drop)
    }

    /// Queues an item of this size; waits for room (back-pressure). A single item that is larger than the limit
    /// waits until the queue is empty.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn push(&self, item: T, bytes: usize) -> Result<(), PushError> {
        let mut state = self.0.state.lock();
        let waits = |state: &mut QueueState<T>| {
            !state.closed && !state.items.is_empty() && !state.has_room(self.0.limits, bytes)
        };
        self.0.popped.wait_while(&mut state, waits);
        self.insert(state, item, bytes).map(drop)
    }

    /// Returns whether the thread was woken.
    fn insert(
        &self,
        mut state: MutexGuard<'_, QueueState<T>>,
        item: T,
        bytes: usize,
    ) -> Result<bool, PushError> {
        if state.closed {
            // The item may be slow to drop.
            drop(state);
            return Err(PushError::Closed);
        }
        state.items.push_back((item, bytes));
        state.bytes += bytes;
        let is_awaited = state.is_awaited();
        drop(state);
        Ok(is_awaited && self.0.pushed.notify_one())
    }

    /// Waits for so many items, at most until `due`, or until the queue is closed. One thread at a time may wait.
    fn wait(&self, state: &mut MutexGuard<'_, QueueState<T>>, wanted: usize, due: Option<Instant>) {
        state.wanted = wanted;
        match due {
            Some(due) => drop(self.0.pushed.wait_while_until(state, |state| state.is_short(), due)),
            None => self.0.pushed.wait_while(state, |state| state.is_short()),
        }
        state.wanted = 0;
    }

    /// Number of items that wait.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.state.lock().items.len()
    }

    /// The oldest item; waits for one.
    pub fn pop_timeout(&self, timeout: Duration) -> Popped<T> {
        let mut state = self.0.state.lock();
        self.wait(&mut state, 1, Instant::now().checked_add(timeout));
        let popped = match state.pop() {
            Some(item) => Popped::Item(item),
            None if state.closed => Popped::Closed,
            None => Popped::Timeout,
        };
        drop(state);
        self.0.popped.notify_one();
        popped
    }

    /// Waits until there is an item, or the queue is closed.
    pub fn wait_for_item(&self) {
        self.wait(&mut self.0.state.lock(), 1, None);
    }

    /// Waits for an item, then collects up to `max` for up to `delay`. Returns what is there, the oldest first; nothing
    /// when the queue is closed and empty. A closed queue is not waited for.
    pub fn pop_batch(&self, delay: Duration, max: usize) -> Vec<T> {
        let mut state = self.0.state.lock();
        self.wait(&mut state, 1, None);
        if !delay.is_zero() {
            // It sleeps meanwhile: items that come one by one do not wake it.
            self.wait(&mut state, max, Instant::now().checked_add(delay));
        }
        let batch = std::iter::from_fn(|| state.pop()).take(max).collect();
        drop(state);
        self.0.popped.notify_all();
        batch
    }

    /// Lets nothing more in. What waits can still be taken.
    fn close(&self) {
        self.0.state.lock().closed = true;
        self.0.pushed.notify_all();
        self.0.popped.notify_all();
    }
}

/// Closes and empties the queue of a thread that ends, however it does: nobody would take from it any more.
struct CloseAtEnd<T>(Queue<T>);

impl<T> Drop for CloseAtEnd<T> {
    fn drop(&mut self) {
        self.0.close();
        let left = std::mem::take(&mut self.0.0.state.lock().items);
        drop(left);
    }
}

/// A running thread and its queue. Dropping it ends it as [`BackgroundThread::stop`] does.
#[derive(Debug)]
pub struct BackgroundThread<T> {
    queue: Queue<T>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<T: Send + 'static> BackgroundThread<T> {
    /// Starts a thread with this name. `run` takes from the queue until it is closed and empty.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        name: &str,
        queue: Queue<T>,
        run: impl FnOnce(&Queue<T>) + Send + 'static,
    ) -> io::Result<BackgroundThread<T>> {
        let in_thread = CloseAtEnd(queue.clone());
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || run(&in_thread.0))?;
        Ok(BackgroundThread { queue, thread: Mutex::new(Some(thread)) })
    }
}

impl<T> BackgroundThread<T> {
    /// The queue of this thread.
    pub fn queue(&self) -> &Queue<T> {
        &self.queue
    }

    /// Lets nothing more into the queue and waits until the thread has worked off what is there. Blocks. Later calls
    /// do nothing.
    pub fn stop(&self) {
        self.queue.close();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // A panic of the thread has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl<T> Drop for BackgroundThread<T> {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Longer than any test runs.
    const FOREVER: Duration = Duration::from_secs(3600);

    fn collecting(queue: Queue<u32>) -> (BackgroundThread<u32>, mpsc::Receiver<u32>) {
        let (sender, received) = mpsc::channel();
        let thread = BackgroundThread::start("test", queue, move |queue| {
            while let Popped::Item(item) = queue.pop_timeout(FOREVER) {
                sender.send(item).unwrap();
            }
        });
        (thread.unwrap(), received)
    }

    #[test]
    fn stopping_works_off_what_waits() {
        let queue = Queue::new(QueueLimits::BY_SENDERS);
        (0..1000).for_each(|n| queue.try_push(n, 1).unwrap());
        let (thread, received) = collecting(queue.clone());
        thread.stop();
        assert!(received.iter().eq(0..1000), "in order, and what was queued before the start");
        assert_eq!(queue.try_push(0, 1), Err(PushError::Closed));
        thread.stop();
    }

    #[test]
    fn the_queue_is_bounded_in_items_and_in_bytes() {
        let queue = Queue::new(QueueLimits { items: 3, bytes: 10 });
        assert_eq!([4, 4, 4].map(|bytes| queue.try_push((), bytes)), [Ok(()), Ok(()), Err(PushError::Full)]);
        assert_eq!(queue.pop_timeout(FOREVER), Popped::Item(()));
        assert_eq!([0, 0, 0].map(|bytes| queue.try_push((), bytes)), [Ok(()), Ok(()), Err(PushError::Full)]);
        assert_eq!(queue.pop_batch(Duration::ZERO, usize::MAX).len(), 3);
        assert_eq!((queue.try_push((), 10), queue.try_push((), 1)), (Ok(()), Err(PushError::Full)));
    }

    #[test]
    fn who_waits_for_room_gets_it_or_learns_that_the_thread_has_ended() {
        let queue = Queue::new(QueueLimits { items: 1, bytes: usize::MAX });
        let (thread, received) = collecting(queue.clone());
        (0..1000).for_each(|n| queue.push(n, 1).unwrap());
        thread.stop();
        assert!(received.iter().eq(0..1000));
        let queue = Queue::new(QueueLimits { items: 1, bytes: usize::MAX });
        queue.try_push(0, 0).unwrap();
        let (waiting, start) = (queue.clone(), mpsc::channel::<()>());
        let pushing = std::thread::spawn(move || waiting.push(1, 0));
        let thread = BackgroundThread::start("test", queue, move |_| {
            let _ = start.1.recv();
            panic!("a fault of the thread");
        });
        drop(start.0);
        assert_eq!(pushing.join().unwrap(), Err(PushError::Closed));
        drop(thread);
    }

    #[test]
    fn a_thread_that_collects_is_woken_by_a_full_batch_only() {
        let queue = Queue::new(QueueLimits::BY_SENDERS);
        let taker = queue.clone();
        let taking = std::thread::spawn(move || taker.pop_batch(FOREVER, 3));
        let waits_for = |wanted: usize| {
            while queue.0.state.lock().wanted != wanted {
                std::thread::yield_now();
            }
        };
        let push = |n: u32| queue.insert(queue.0.state.lock(), n, 0).unwrap();
        waits_for(1);
        assert!(push(0), "it waits for anything");
        waits_for(3);
        assert!(!push(1));
        assert!(push(2));
        assert_eq!(taking.join().unwrap(), [0, 1, 2]);
        assert!(!push(3), "nobody waits");
    }

    #[test]
    fn a_batch_is_what_was_queued_in_time_up_to_a_number() {
        let queue = Queue::new(QueueLimits::BY_SENDERS);
        (0..5).for_each(|n| queue.try_push(n, 1).unwrap());
        assert_eq!(queue.pop_batch(FOREVER, 3), [0, 1, 2], "a full batch is not delayed");
        queue.close();
        assert_eq!(queue.pop_batch(FOREVER, 3), [3, 4], "nor that of a closed queue");
        assert_eq!(queue.pop_batch(FOREVER, 3), [0; 0]);
        assert_eq!(queue.pop_timeout(FOREVER), Popped::Closed);
    }
}
