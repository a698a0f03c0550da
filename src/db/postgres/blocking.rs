//! Asynchronous work for threads that wait for it.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

/// A thread that drives sockets and timers. It ends with the last clone.
#[derive(Clone)]
pub(super) struct Background {
    handle: Handle,
    _running: Arc<watch::Sender<()>>,
}

impl Background {
    pub(super) fn start() -> io::Result<Background> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (running, mut ended) = watch::channel(());
        thread::Builder::new().name("postgres".into()).spawn(move || {
            // Nothing is ever sent: it ends when the sender is gone.
            runtime.block_on(async { while ended.changed().await.is_ok() {} });
        })?;
        Ok(Background { handle, _running: Arc::new(running) })
    }

    /// Runs something that starts tasks or timers.
    pub(super) fn enter<R>(&self, work: impl FnOnce() -> R) -> R {
        let _entered = self.handle.enter();
        work()
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future whose sockets and timers the background thread drives. Other than those of tokio, it may be called
/// anywhere, also while a server starts inside a runtime.
pub(super) fn block_on<F: Future>(background: &Background, future: F) -> F::Output {
    background.enter(|| wait_for(future))
}

fn wait_for<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    // Inside a runtime its task has a budget, which is not filled up before this returns.
    let mut future = pin!(tokio::task::unconstrained(future));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Waits for futures on a thread that has [entered](Background::enter) the background.
pub(super) struct ParkThread;

impl diesel_async::async_connection_wrapper::BlockOn for ParkThread {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        wait_for(future)
    }

    fn get_runtime() -> Self {
        ParkThread
    }
}
