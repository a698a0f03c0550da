//! What changes in the files of a session.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;

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

    /// Splits off a beginning of about this size, with its content in memory; the second part is what is left.
    ///
    /// # Errors
    /// When the content cannot be read from the disk.
    pub(super) fn split(self, max: u64) -> io::Result<(FileChange, Option<FileChange>)> {
        match self {
            FileChange::Copy { file, at, len, source } => {
                let now = len.min(max.max(1));
                let mut bytes = vec![0; now as usize];
                source.file.read_exact_at(&mut bytes, at)?;
                let rest = (len > now).then(|| FileChange::Copy {
                    file: file.clone(),
                    at: at + now,
                    len: len - now,
                    source,
                });
                Ok((FileChange::Write { file, at, bytes: bytes.into() }, rest))
            }
            // Written at once it would be held in memory just as well.
            change => Ok((change, None)),
        }
    }
}
