//! The thread pool for blocking or slow work: password hashes, ban lists, files.
//!
//! Argon2id takes 64 MiB and a tenth of a second, so few hashes are computed in parallel. Anybody can request
//! password checks, so they have a fair queue (`fair_queue`). Nothing here runs on an actor's thread.

mod fair_queue;

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::metrics::Metrics;
use crate::rules::network::widest;
use crate::rules::password;
use fair_queue::FairQueue;

/// Password checks in parallel; Argon2id takes 64 MiB each.
const MAX_PARALLEL_VERIFICATIONS: usize = 2;

/// Runs jobs on the blocking threads of the runtime, each kind with its own limit. Clones share the limits.
#[derive(Debug, Clone)]
pub struct BlockingPool {
    verifications: Arc<FairQueue>,
    hashes: Arc<Semaphore>,
    ban_exchanges: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// Kinds of jobs, which have separate queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// Verifies passwords. Anybody can request that, so it must not delay the other kinds.
    VerifyPassword,
    /// Hashes new passwords: one at a time.
    HashPassword,
    /// Imports or exports a ban list: one at a time.
    BanExchange,
    /// Reads or writes files; not limited.
    FileIo,
}

/// Counts a job as waiting, in the metrics, while it exists.
struct WaitGuard(Arc<Metrics>);

impl WaitGuard {
    fn begin(metrics: Arc<Metrics>) -> WaitGuard {
        metrics.hashes_waiting.increment();
        WaitGuard(metrics)
    }
}

impl Drop for WaitGuard {
    fn drop(&mut self) {
        self.0.hashes_waiting.decrement();
    }
}

impl Default for BlockingPool {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl BlockingPool {
    /// A pool whose queues are in these metrics.
    pub fn new(metrics: Arc<Metrics>) -> BlockingPool {
        let semaphore = |count| Arc::new(Semaphore::new(count));
        BlockingPool {
            verifications: FairQueue::new(MAX_PARALLEL_VERIFICATIONS),
            hashes: semaphore(1),
            ban_exchanges: semaphore(1),
            metrics,
        }
    }

    /// Runs a job once its queue permits; `None` if it panicked or the queue is full.
    pub fn run<T: Send + 'static>(
        &self,
        kind: Job,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Option<T>> + 'static {
        let blocking_pool = self.clone();
        async move {
            match kind {
                Job::VerifyPassword => blocking_pool.verify_on_pool(None, job).await,
                Job::HashPassword => run_exclusive(blocking_pool.hashes, blocking_pool.metrics, job).await,
                Job::BanExchange => {
                    run_exclusive(blocking_pool.ban_exchanges, blocking_pool.metrics, job).await
                }
                Job::FileIo => blocking((), job).await,
            }
        }
    }

    async fn verify_on_pool<T: Send + 'static>(
        self,
        network: Option<IpAddr>,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let waiting = WaitGuard::begin(self.metrics.clone());
        let permit = self.verifications.acquire(network).await.ok()?;
        drop(waiting);
        blocking(permit, job).await
    }

    /// Whether a password matches a hash; `None` if the queue is full. `address`: of the client, for fair queueing.
    /// Fast checks run at once.
    pub fn verify(
        &self,
        address: Option<IpAddr>,
        password: String,
        hash: String,
    ) -> impl Future<Output = Option<bool>> + 'static {
        let blocking_pool = self.clone();
        async move {
            if password.is_empty() || !password::is_slow(&hash) {
                return Some(password::verify(&password, &hash));
            }
            blocking_pool
                .verify_on_pool(address.map(widest), move || password::verify(&password, &hash))
                .await
        }
    }
}

async fn run_exclusive<T: Send + 'static>(
    semaphore: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    job: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let waiting = WaitGuard::begin(metrics);
    let permit = semaphore.acquire_owned().await.ok();
    drop(waiting);
    blocking(permit, job).await
}

/// Runs a job on the blocking threads; `held` is dropped after it.
async fn blocking<H: Send + 'static, T: Send + 'static>(
    held: H,
    job: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let task = tokio::task::spawn_blocking(move || {
        let _held = held;
        job()
    });
    task.await.ok()
}
