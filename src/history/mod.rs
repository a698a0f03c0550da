//! The history of a session: the ordered list of its messages, as contiguous wire bytes.
//!
//! [`History`] is the single writer, owned by the session's state machine; [`Cursor`]s are the readers, one per
//! client. Both share the log behind them. Positions are byte offsets that keep growing over resets, see [`log`].

mod cursor;
pub mod log;
mod segments;
pub mod source;
mod subscription;
mod sync;
#[cfg(all(test, feature = "loom"))]
mod tests;
pub mod total;

pub use cursor::{Cursor, Fetch, Fetched, Read};
pub use log::{EMERGENCY_BYTES, History, OutOfSpace};
pub use source::{
    Chunk, Contents, HistorySource, HistoryWrite, INDEX_ENTRY_BYTES, IndexEntry, NewHistory, StoredHistory,
};
pub use subscription::Subscription;
pub use sync::AtomicI64;
