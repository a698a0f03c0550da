//! The pool for work that blocks or takes long: password hashes, ban lists, files.
//!
//! Argon2id takes 64 MiB and a tenth of a second, so few hashes are computed at once. Anybody can have a password
//! checked; [`fair_queue`] decides whose check is next. Nothing here runs on an actor's thread.

mod fair_queue;

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::auth::password;
use crate::metrics::METRICS;
use crate::transport::network::widest;
use fair_queue::FairQueue;

/// Password hashes that are computed at once; Argon2id takes 64 MiB each.
const MAX_PARALLEL_HASHES: usize = 2;
/// Work that takes long, on threads of its own; of what computes hashes, little at once.
#[derive(Debug, Clone)]
pub struct BlockingPool {
    checks: Arc<FairQueue>,
    makes: Arc<Semaphore>,
    exchanges: Arc<Semaphore>,
}

/// What a job has to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// It checks passwords. Anybody can have that done, so it never holds up what follows.
    VerifyPassword,
    /// It makes hashes of new passwords.
    HashPassword,
    /// It reads or writes a ban list: one in the whole server.
    BanExchange,
    /// It works on files and computes no hashes.
    FileIo,
}

/// Counts a job as waiting for as long as it is there.
struct WaitGuard;

impl WaitGuard {
    fn begin() -> WaitGuard {
        METRICS.hashes_waiting.increment();
        WaitGuard
    }
}

impl Drop for WaitGuard {
    fn drop(&mut self) {
        METRICS.hashes_waiting.decrement();
    }
}

impl Default for BlockingPool {
    fn default() -> Self {
        let turns = |count| Arc::new(Semaphore::new(count));
        BlockingPool { checks: FairQueue::new(MAX_PARALLEL_HASHES), makes: turns(1), exchanges: turns(1) }
    }
}

impl BlockingPool {
    /// Runs a job when it is its turn; `None` if it panicked, or too many wait.
    pub fn run<T: Send + 'static>(
        &self,
        turn: Job,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Option<T>> + 'static {
        let blocking_pool = self.clone();
        async move {
            match turn {
                Job::VerifyPassword => blocking_pool.verify_on_pool(None, job).await,
                Job::HashPassword => run_exclusive(blocking_pool.makes, job).await,
                Job::BanExchange => run_exclusive(blocking_pool.exchanges, job).await,
                Job::FileIo => blocking((), job).await,
            }
        }
    }

    async fn verify_on_pool<T: Send + 'static>(
        self,
        network: Option<IpAddr>,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let waiting = WaitGuard::begin();
        let permit = self.checks.acquire(network).await.ok()?;
        drop(waiting);
        blocking(permit, job).await
    }

    /// Whether a password that came from an address fits a hash; `None` if it cannot be checked now. What is told at once,
    /// as of the empty password, waits for nothing.
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
    turns: Arc<Semaphore>,
    job: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let waiting = WaitGuard::begin();
    let permit = turns.acquire_owned().await.ok();
    drop(waiting);
    blocking(permit, job).await
}

/// Runs a job on the pool, which keeps `held` until it is done.
async fn blocking<H: Send + 'static, T: Send + 'static>(
    held: H,
    job: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let done = actix_rt::task::spawn_blocking(move || {
        let _held = held;
        job()
    });
    done.await.ok()
}
