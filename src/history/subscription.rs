//! Wakes readers: once per worker and publication, not once per reader.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use super::sync::{AtomicBool, Mutex, lock};

/// One worker's subscription to a log. Publications between two waits are coalesced into one.
#[derive(Debug, Default)]
pub struct Subscription {
    signalled: AtomicBool,
    closed: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Subscription {
    pub(super) fn signal(&self) {
        if !self.signalled.swap(true, Ordering::AcqRel) {
            self.wake();
        }
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        let waker = lock(&self.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits for the next publication; `false` when the writer and all readers are gone or the subscription was
    /// removed.
    pub async fn published(self: &Arc<Self>) -> bool {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<bool> {
        if let Some(open) = self.take_change() {
            return Poll::Ready(open);
        }
        *lock(&self.waker) = Some(context.waker().clone());
        // Checked again, because a publication between the first check and the registration would be lost.
        self.take_change().map_or(Poll::Pending, Poll::Ready)
    }

    /// Takes a pending publication (`true`) or the closing (`false`), `None` if there is neither.
    fn take_change(&self) -> Option<bool> {
        if self.signalled.swap(false, Ordering::AcqRel) {
            return Some(true);
        }
        self.closed.load(Ordering::Acquire).then_some(false)
    }
}
