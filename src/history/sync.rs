//! What readers and writer of the log share it with. With the feature `loom` these are loom's, which tries every order in
//! which threads can come: see `loom_tests.rs`.

#[cfg(feature = "loom")]
pub use loom::sync::atomic::AtomicI64;
#[cfg(feature = "loom")]
pub(super) use loom::sync::{Mutex, MutexGuard, atomic::AtomicBool};
#[cfg(not(feature = "loom"))]
pub use std::sync::atomic::AtomicI64;
#[cfg(not(feature = "loom"))]
pub(super) use std::sync::{Mutex, MutexGuard, atomic::AtomicBool};
