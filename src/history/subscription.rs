//! Waking readers: once a worker and publication, not once a reader.

use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use super::sync::{AtomicBool, Mutex};

/// One worker's ear on a log. Any number of publications between two waits count as one.
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
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits for the next publication; `false` when the log is gone.
    pub async fn published(self: &Arc<Self>) -> bool {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<bool> {
        if let Some(take_change) = self.take_change() {
            return Poll::Ready(take_change);
        }
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        // What happens between the first look and the registration would be lost without a second look.
        self.take_change().map_or(Poll::Pending, Poll::Ready)
    }

    /// Whether there was a publication (`true`) or the end (`false`) that was not heard of yet.
    fn take_change(&self) -> Option<bool> {
        if self.signalled.swap(false, Ordering::AcqRel) {
            return Some(true);
        }
        self.closed.load(Ordering::Acquire).then_some(false)
    }
}
