//! The history of a session: the ordered list of its messages, as contiguous wire bytes.
//!
//! [`History`] is the one writer, owned by the session's rules; [`Cursor`]s are the many readers, one a client. Both
//! share the log behind them. Positions are byte offsets on an axis that goes on over resets, see [`log`].

mod cursor;
pub mod log;
#[cfg(all(test, feature = "loom"))]
mod loom_tests;
mod segments;
mod subscription;
mod sync;
pub mod total;

pub use cursor::{Cursor, Fetch, Fetched, Read};
pub use log::{History, OutOfSpace};
pub use subscription::Subscription;
pub use sync::AtomicI64;
