//! Synchronisation primitives of the log. With the feature `loom` they are loom's, which checks every interleaving of
//! threads: see `tests.rs`.

#[cfg(feature = "loom")]
pub use loom::sync::atomic::AtomicI64;
#[cfg(feature = "loom")]
pub(super) use loom::sync::{Mutex, MutexGuard, atomic::AtomicBool};
#[cfg(not(feature = "loom"))]
pub use std::sync::atomic::AtomicI64;
#[cfg(not(feature = "loom"))]
pub(super) use std::sync::{Mutex, MutexGuard, atomic::AtomicBool};
