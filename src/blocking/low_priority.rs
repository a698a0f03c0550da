//! Threads of low priority, for long work that nobody's drawing must wait for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

/// Jobs that run at the same time.
pub(super) const THREADS: usize = 2;
/// Nice value: a tenth of the CPU time of a thread that serves clients, where both want it.
#[cfg(target_os = "linux")]
pub(super) const NICE: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs in order, as many at once as there are threads. These start with the first job and end when this is
/// dropped.
///
/// They stay, as only root may raise a priority again, and as the allocator keeps memory for each thread that has had
/// large pieces of it.
#[derive(Debug, Default)]
pub(super) struct LowPriorityThreads(OnceLock<Sender<Job>>);

impl LowPriorityThreads {
    /// Runs a job; `None` if it panicked.
    pub(super) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Option<T>> + 'static {
        let (sender, done) = tokio::sync::oneshot::channel();
        // Without an answer after a panic; and nobody waits any more if the session has ended.
        let job = move || drop(sender.send(job()));
        if self.0.get_or_init(start).send(Box::new(job)).is_err() {
            tracing::error!("no thread of low priority could be started");
        }
        async { done.await.ok() }
    }
}

fn start() -> Sender<Job> {
    let (sender, jobs) = channel();
    let jobs = Arc::new(Mutex::new(jobs));
    for _ in 0..THREADS {
        let jobs = jobs.clone();
        let thread = std::thread::Builder::new().name("history".to_owned());
        if let Err(error) = thread.spawn(move || work(&jobs)) {
            tracing::error!(%error, "cannot start a thread");
        }
    }
    sender
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    // Elsewhere this would be the priority of the process.
    #[cfg(target_os = "linux")]
    if let Err(error) = lower_priority() {
        tracing::debug!(%error, "cannot lower the priority of a thread");
    }
    loop {
        let job = jobs.lock().recv();
        let Ok(job) = job else { return };
        // What the job had is dropped, so whoever waits for it learns that it has failed.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

/// Lowers the priority of the calling thread, unless it is lower already.
#[cfg(target_os = "linux")]
fn lower_priority() -> rustix::io::Result<()> {
    use rustix::process::{getpriority_process, setpriority_process};
    setpriority_process(None, getpriority_process(None)?.max(NICE))
}
