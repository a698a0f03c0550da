//! Synchronisation primitives of the log. With the feature `loom` they are loom's, which checks every interleaving of
//! threads: see `tests.rs`. Otherwise they are those of the rest of the server, whose locks know no poisoning.

#[cfg(feature = "loom")]
use std::sync::PoisonError;

#[cfg(feature = "loom")]
pub use loom::sync::atomic::AtomicI64;
#[cfg(feature = "loom")]
pub(super) use loom::sync::{Mutex, MutexGuard, atomic::AtomicBool};
#[cfg(not(feature = "loom"))]
pub(super) use parking_lot::{Mutex, MutexGuard};
#[cfg(not(feature = "loom"))]
pub(super) use std::sync::atomic::AtomicBool;
#[cfg(not(feature = "loom"))]
pub use std::sync::atomic::AtomicI64;

/// Locks a mutex. A panic while it was held has left plain data, which is still usable.
#[cfg(not(feature = "loom"))]
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

/// Locks a mutex of loom's, which has poisoning.
#[cfg(feature = "loom")]
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
