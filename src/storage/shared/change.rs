//! What changes in the files of a session.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;

use super::SessionChanges;
use crate::storage::syncer::SyncFile;

/// A change of a session's files. Files are named as in a session directory.
#[derive(Debug, Clone)]
pub enum FileChange {
    /// The session is new; comes first.
    Begin {
        /// Empty without an alias.
        alias: String,
        /// Version of the protocol.
        protocol: String,
    },
    /// These bytes are written at this offset of a file.
    Write {
        /// Name of the file.
        file: String,
        /// Offset.
        at: u64,
        /// Content.
        bytes: Bytes,
    },
    /// The same with bytes that are on this server's disk, and stay as they are.
    Copy {
        /// Name of the file.
        file: String,
        /// Offset.
        at: u64,
        /// Number of bytes.
        len: u64,
        /// Where they are.
        source: Arc<SyncFile>,
    },
    /// A file has these bytes and no others.
    Put {
        /// Name of the file.
        file: String,
        /// Content.
        bytes: Bytes,
    },
    /// A file is removed.
    Remove {
        /// Its name.
        file: String,
    },
    /// The session has ended; comes last.
    End,
}

impl FileChange {
    /// Size of the content in bytes.
    pub fn len(&self) -> u64 {
        match self {
            FileChange::Write { bytes, .. } | FileChange::Put { bytes, .. } => bytes.len() as u64,
            FileChange::Copy { len, .. } => *len,
            FileChange::Begin { .. } | FileChange::Remove { .. } | FileChange::End => 0,
        }
    }

    /// Whether it has no content.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that it holds in memory.
    pub fn held(&self) -> u64 {
        if matches!(self, FileChange::Copy { .. }) { 0 } else { self.len() }
    }

    /// Splits off a beginning of at most this size, if it is to be copied; the second part is what is left.
    pub(super) fn split(self, max: u64) -> (FileChange, Option<FileChange>) {
        match self {
            FileChange::Copy { file, at, len, source } if len > max => {
                let rest = FileChange::Copy {
                    file: file.clone(),
                    at: at + max,
                    len: len - max,
                    source: source.clone(),
                };
                (FileChange::Copy { file, at, len: max, source }, Some(rest))
            }
            // What is in memory is held there until it is written, at once or not.
            change => (change, None),
        }
    }

    /// The same with the content in memory; blocks.
    ///
    /// # Errors
    /// When what is to be copied cannot be read.
    fn read(self) -> io::Result<FileChange> {
        let FileChange::Copy { file, at, len, source } = self else { return Ok(self) };
        let mut bytes = vec![0; len as usize];
        source.file.read_exact_at(&mut bytes, at)?;
        Ok(FileChange::Write { file, at, bytes: bytes.into() })
    }
}

/// Reads what a transaction copies from files; blocks.
///
/// # Errors
/// Of the first session of which something cannot be read, with its id.
pub fn read_copies(transaction: &[SessionChanges]) -> Result<Vec<SessionChanges>, (String, io::Error)> {
    let read = |session: &SessionChanges| {
        let changes = session.changes.iter().cloned().map(FileChange::read).collect::<io::Result<_>>();
        let changes = changes.map_err(|error| (session.session.clone(), error))?;
        Ok(SessionChanges { changes, ..session.clone() })
    };
    transaction.iter().map(read).collect()
}
