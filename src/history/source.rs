//! The part of a history that is in a file, as the log sees it: what it reads from there, what is to be written, and
//! what loading has found.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use drawhall_protocol::frame::{FrameHeader, HEADER_LEN};
use drawhall_protocol::from_json;
use drawhall_protocol::message::{Join, Leave, ServerCommand};
use serde_json::Value;

/// Size in bytes of the pieces in which a history is indexed and read.
pub const INDEX_ENTRY_BYTES: usize = 256 << 10;
/// A file that holds a part of the log. Positions are offsets of the log, see [`super::log`].
pub trait HistorySource: Debug + Send + Sync {
    /// Path of the file.
    fn path(&self) -> &Path;

    /// Fills a buffer from a position on; blocks.
    ///
    /// # Errors
    /// When it cannot be read, or the file ends before.
    fn read_into(&self, from: i64, buffer: &mut [u8]) -> io::Result<()>;

    /// Reads `len` bytes from a position on; blocks.
    ///
    /// # Errors
    /// When they cannot be read, or the file ends before.
    fn read_at(&self, from: i64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.read_into(from, &mut bytes)?;
        Ok(bytes)
    }
}

/// A piece of a history.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Chunk {
    Memory(Bytes),
    /// Only in a history file.
    File {
        file: Arc<dyn HistorySource>,
        /// Position in the log.
        from: i64,
        /// Size in bytes.
        len: usize,
    },
}

impl Chunk {
    /// Calls `visit` with what is in it from offset `from` on; it begins at offset `start`. Blocks if it is only in a
    /// file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn visit(&self, start: i64, from: i64, visit: impl FnOnce(&[u8])) -> io::Result<()> {
        let skip = usize::try_from(from - start).unwrap_or(0);
        match self {
            Chunk::Memory(bytes) => visit(bytes.get(skip..).unwrap_or_default()),
            Chunk::File { file, from, len } => {
                visit(file.read_at(*from, *len)?.get(skip..).unwrap_or_default());
            }
        }
        Ok(())
    }
}

/// What must be written to the history file.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub enum HistoryWrite {
    #[default]
    Nothing,
    /// More bytes at its end.
    Append {
        /// Position of the first byte.
        from: i64,
        chunks: Vec<Bytes>,
    },
    /// A new file: the first one, or after a reset.
    Replace(NewHistory),
}

/// The content of a new history file.
#[derive(Debug)]
pub struct NewHistory {
    /// Generation of the log, see [`crate::history::History`].
    pub generation: u64,
    /// Position of the first byte.
    pub from: i64,
    /// The whole content.
    pub chunks: Vec<Chunk>,
    /// Fork position of a streamed reset in the old history.
    pub fork: Option<i64>,
    /// The content is that of a reset; otherwise it is a copy, because the old file is poisoned.
    pub is_reset: bool,
}

/// How far the history is stored.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct StoredHistory {
    /// Generation of the log that was written to a new file; `None` after an append.
    pub generation: Option<u64>,
    pub file: Arc<dyn HistorySource>,
    /// Position up to which the history is in the file.
    pub end: i64,
}

/// Index entry of a history: a run of whole messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct IndexEntry {
    /// Size in bytes.
    pub len: u64,
    pub messages: u64,
}

/// Contents of a history file.
#[derive(Debug, Default)]
pub struct Contents {
    /// The messages, in runs of about [`INDEX_ENTRY_BYTES`].
    pub index: Vec<IndexEntry>,
    /// Bytes after the last whole message.
    pub torn_bytes: u64,
    /// Ids of users that have joined and not left.
    pub present: BTreeSet<u8>,
    /// User ids in the order in which they joined or left.
    pub touched: Vec<u8>,
    /// The latest session settings (`sessionconf`) in the history.
    pub settings: Option<Value>,
    /// Start id of the latest history index (`hidx`) that clients were told in the history.
    pub start_id: Option<i64>,
}

impl Contents {
    /// Size of all whole messages in bytes.
    pub fn size(&self) -> u64 {
        self.index.iter().map(|p| p.len).sum()
    }

    /// Number of all whole messages.
    pub fn messages(&self) -> u64 {
        self.index.iter().map(|p| p.messages).sum()
    }

    /// Counts a message in.
    pub(crate) fn record(&mut self, frame: &[u8], header: FrameHeader) {
        match header.kind {
            Join::TYPE => {
                self.present.insert(header.user);
                self.touched.push(header.user);
            }
            Leave::TYPE => {
                self.present.remove(&header.user);
                self.touched.push(header.user);
            }
            ServerCommand::TYPE => {
                let reply = from_json::<Value>(&frame[HEADER_LEN..]).unwrap_or_default();
                if reply["type"] == "sessionconf" {
                    self.settings = Some(reply["config"].clone());
                }
                let start_id = reply["hidx"].as_str().and_then(|hidx| hidx.split(':').next()?.parse().ok());
                self.start_id = start_id.or(self.start_id);
            }
            _ => {}
        }
    }
}
