//! Giving up work whose result nobody wants any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sets a flag when it is dropped: whoever wants the result of some work is gone.
#[derive(Debug, Default)]
pub struct CancelOnDrop(Arc<AtomicBool>);

impl CancelOnDrop {
    /// Sets this flag.
    pub fn new(flag: Arc<AtomicBool>) -> CancelOnDrop {
        CancelOnDrop(flag)
    }

    /// The flag that it sets, which the work looks at now and then.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
