//! The thread pool for blocking or slow work: password hashes, ban lists, files.
//!
//! Argon2id takes 64 MiB and a tenth of a second, so few hashes are computed in parallel. Anybody can request
//! password checks, so they have a fair queue (`fair_queue`). Nothing here runs on an actor's thread.

mod cancel;
mod fair_queue;
mod low_priority;

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::metrics::Metrics;
use crate::rules::network::widest;
use crate::rules::password;
pub use cancel::CancelOnDrop;
use fair_queue::FairQueue;
use low_priority::LowPriorityThreads;

/// Password checks in parallel; Argon2id takes 64 MiB each.
const MAX_PARALLEL_VERIFICATIONS: usize = 2;

/// Runs jobs on the blocking threads of the runtime, each kind with its own limit. Clones share the limits.
#[derive(Debug, Clone)]
pub struct BlockingPool {
    verifications: Arc<FairQueue>,
    hashes: Arc<Semaphore>,
    ban_exchanges: Arc<Semaphore>,
    low_priority: Arc<LowPriorityThreads>,
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
    /// Reads a whole history, or two: two at a time, on threads that give way to those that serve clients.
    ReadHistory,
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
            low_priority: Arc::default(),
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
                Job::ReadHistory => blocking_pool.low_priority.run(job).await,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Nice value of the calling thread, from the kernel: field 19 of its `stat`, which is the 17th behind the name.
    #[cfg(target_os = "linux")]
    fn nice() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').nth(16).unwrap().parse().unwrap()
    }

    #[cfg(target_os = "linux")]
    #[actix_rt::test]
    async fn reading_histories_gives_way_to_other_threads() {
        let pool = BlockingPool::default();
        let ours = nice();
        assert_eq!(pool.run(Job::ReadHistory, nice).await, Some(ours.max(low_priority::NICE)));
        assert_eq!(pool.run(Job::FileIo, nice).await, Some(ours));
        assert_eq!(nice(), ours);
    }

    #[actix_rt::test]
    async fn few_histories_are_read_at_once_and_a_panic_is_told() {
        let pool = BlockingPool::default();
        let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(parking_lot::Mutex::new(wait));
        let jobs: Vec<_> = (0..=low_priority::THREADS)
            .map(|n| {
                let (begun, wait) = (begun.clone(), wait.clone());
                let job = move || {
                    begun.send(n).unwrap();
                    wait.lock().recv().unwrap();
                };
                actix_rt::spawn(pool.run(Job::ReadHistory, job))
            })
            .collect();
        for _ in 0..low_priority::THREADS {
            begins.recv().await.unwrap();
        }
        // The last one waits, as no thread is left for it.
        assert!(begins.try_recv().is_err());
        for _ in &jobs {
            go_on.send(()).unwrap();
        }
        for job in jobs {
            assert_eq!(job.await.unwrap(), Some(()));
        }
        for _ in 0..=low_priority::THREADS {
            assert_eq!(pool.run(Job::ReadHistory, || panic!("a test")).await, None::<()>);
        }
        assert_eq!(pool.run(Job::ReadHistory, || 1).await, Some(1));
    }
}
