//! Who may run the program: one at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::RenderError;

/// Requests that are admitted at once: one runs the program, the others wait.
const MAX_ADMITTED: usize = 4;
/// How long the end of a program that was killed is waited for.
const STOP_TIME: Duration = Duration::from_secs(5);

/// Those who run the program or wait for that.
#[derive(Debug)]
pub(super) struct Queue {
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
    is_stopped: AtomicBool,
}

/// Permission to run the program; given back when dropped.
#[derive(Debug)]
pub(super) struct QueuePermit {
    _admitted: OwnedSemaphorePermit,
    _running: OwnedSemaphorePermit,
}

impl Default for Queue {
    fn default() -> Queue {
        let semaphore = |count| Arc::new(Semaphore::new(count));
        let (admitted, running) = (semaphore(MAX_ADMITTED), semaphore(1));
        Queue { admitted, running, is_stopped: AtomicBool::new(false) }
    }
}

impl Queue {
    /// Waits until nobody else runs it; with `only_if_idle` it is refused instead.
    ///
    /// # Errors
    /// When too many wait already, or nothing is started any more.
    pub(super) async fn acquire(&self, only_if_idle: bool) -> Result<QueuePermit, RenderError> {
        let refused = |error| match error {
            TryAcquireError::NoPermits => RenderError::Busy,
            TryAcquireError::Closed => RenderError::Cancelled,
        };
        let admit = || self.admitted.clone().try_acquire_owned().map_err(refused);
        let running = self.running.clone();
        let (running, admitted) = if only_if_idle {
            // Nobody is to take it for one who waits.
            let running = running.try_acquire_owned().map_err(refused)?;
            (running, admit()?)
        } else {
            let admitted = admit()?;
            (running.acquire_owned().await.map_err(|_| RenderError::Cancelled)?, admitted)
        };
        Ok(QueuePermit { _admitted: admitted, _running: running })
    }

    /// Whether anybody waits for whoever runs it.
    pub(super) fn is_wanted(&self) -> bool {
        self.admitted.available_permits() + 1 < MAX_ADMITTED
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// Ends what somebody runs, and waits for that.
    pub(super) async fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        self.admitted.close();
        if tokio::time::timeout(STOP_TIME, self.running.acquire()).await.is_err() {
            tracing::warn!("the program that makes pictures of sessions does not end");
        }
        self.running.close();
    }
}
