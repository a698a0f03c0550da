//! The history of a session: the ordered list of its messages, as contiguous wire bytes.
//!
//! [`History`] is the one writer, owned by the session's rules; [`Cursor`]s are the many readers, one a client. Both
//! share the log behind them. Positions are byte offsets on an axis that goes on over resets, see [`log`].

pub mod log;
mod wake;

pub use log::{Cursor, Fetch, Fetched, History, OutOfSpace, Read};
pub use wake::Watcher;
