//! Waking readers: once a worker and publication, not once a reader.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// One worker's ear on a log. Any number of publications between two waits count as one.
#[derive(Debug, Default)]
pub struct Watcher {
    signalled: AtomicBool,
    closed: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Watcher {
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
        if self.signalled.swap(false, Ordering::AcqRel) {
            return Poll::Ready(true);
        }
        if self.closed.load(Ordering::Acquire) {
            return Poll::Ready(false);
        }
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        // A signal between the first look and the registration would be lost without a second look.
        if self.signalled.swap(false, Ordering::AcqRel) {
            return Poll::Ready(true);
        }
        Poll::Pending
    }
}
