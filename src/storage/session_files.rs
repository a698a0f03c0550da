//! The files of one loaded session: everything is written through [`SessionFiles`].
//!
//! Writes go to known offsets, so a failed one is simply retried. Written data survives a crash of the process;
//! [`Syncer`](super::syncer::Syncer) makes it survive a crash of the machine by fsync.

mod history;
mod journaling;
mod marks;
mod picture;
mod shared;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use drawhall_protocol::ProtocolVersion;

use super::file_names;
use super::history_file::HistoryFile;
use super::marks_file::{MarksFile, StoredMarks};
use super::session_dir::{SessionDir, SessionLock};
use super::shared::FileChange;
use super::syncer::SyncFile;
use crate::history::{Chunk, HistorySource as _, HistoryWrite, StoredHistory};
use crate::rules::history_indexes::HistoryIndexes;
use crate::rules::journal::Entry;
use crate::rules::password;
use crate::rules::session::{FileDisposition, PasswordKind, WriteBatch};
pub(super) use journaling::LoadedJournal;

/// Size in bytes of the blocks in which histories are copied.
const COPY_BYTES: usize = 1 << 20;

/// A failed file operation.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {path}: {source}")]
#[allow(missing_docs, reason = "the names say it")]
pub struct StorageError {
    /// The operation, as a verb for the error text.
    pub doing: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StorageError + 'a {
    move |source| StorageError { doing, path: path.to_owned(), source }
}

/// The bytes of a chunk, in blocks of at most [`COPY_BYTES`] if they are in a file; blocks.
pub(super) fn blocks(chunk: &Chunk) -> Box<dyn Iterator<Item = Result<Bytes, StorageError>> + '_> {
    match chunk {
        Chunk::Memory(bytes) => Box::new(std::iter::once(Ok(bytes.clone()))),
        Chunk::File { file, from, len } => Box::new((0..*len).step_by(COPY_BYTES).map(move |done| {
            let block = file.read_at(from + done as i64, COPY_BYTES.min(len - done));
            block.map(Bytes::from).map_err(failed("read", file.path()))
        })),
    }
}

/// Result of a [`WriteBatch`].
#[derive(Debug, Default)]
pub struct WriteResult {
    /// How far the history is stored, if that has changed.
    pub stored: Option<StoredHistory>,
    /// The first error. What was not written is retried with the next batch.
    pub error: Option<StorageError>,
}

/// The files of a history that was loaded.
#[derive(Debug)]
pub(super) struct LoadedHistory {
    pub(super) file: Arc<HistoryFile>,
    pub(super) name: String,
    pub(super) marks: StoredMarks,
}

#[derive(Debug)]
struct Journal {
    sync: Arc<SyncFile>,
    /// End of the last line that was written completely; the next write goes here.
    end: u64,
}

/// The files of one session.
#[derive(Debug)]
pub struct SessionFiles {
    dir: Arc<SessionDir>,
    lock: SessionLock,
    protocol: ProtocolVersion,
    /// File name of the journal.
    journal_name: String,
    journal: Option<Journal>,
    /// Lines that are not written yet, because writing has failed or the files do not exist.
    backlog: String,
    /// Lines are missing in journal and backlog: the journal must be rewritten.
    incomplete: bool,
    /// Size of the journal after it was last rewritten (compacted), 0 if it never was.
    compact_len: u64,
    /// Hashes in the journal: of the session password and of the operator password.
    hashes: [String; 2],
    /// Journal lines of later versions, kept when the journal is rewritten.
    unknown: String,
    /// The indexes of the history.
    indexes: Option<HistoryIndexes>,
    /// The journal lacks them. They must be written before the history is appended to.
    indexes_wait: bool,
    history: Option<Arc<HistoryFile>>,
    /// Name of the history file, as the journal has it.
    history_name: String,
    /// The time marks of the history; `None` if there is no file, or it cannot be written.
    marks: Option<MarksFile>,
    /// Number of the history file that the present one replaced, 0 if there was none.
    previous: u32,
    /// Somebody has joined since the last reset.
    has_joined: bool,
    /// Number of history files so far.
    files: u32,
    /// What is to be committed, if other servers share the session.
    pending: Option<shared::PendingChanges>,
}

impl SessionFiles {
    /// Files of a new session. They are created by the first batch that has a history.
    pub(super) fn new(lock: SessionLock, protocol: ProtocolVersion) -> SessionFiles {
        SessionFiles {
            dir: lock.dir().clone(),
            journal_name: file_names::journal(lock.id()),
            lock,
            protocol,
            journal: None,
            backlog: String::new(),
            incomplete: false,
            compact_len: 0,
            hashes: Default::default(),
            unknown: String::new(),
            indexes: None,
            indexes_wait: false,
            history: None,
            history_name: String::new(),
            marks: None,
            previous: 0,
            has_joined: false,
            files: 0,
            pending: None,
        }
    }

    /// Files of a session that was loaded.
    pub(super) fn loaded(
        lock: SessionLock,
        protocol: ProtocolVersion,
        journal: LoadedJournal,
        history: LoadedHistory,
        files: u32,
    ) -> SessionFiles {
        let LoadedHistory { file, name: history_name, marks } = history;
        let StoredMarks { marks, previous, has_joined, .. } = marks;
        let LoadedJournal { name, sync, end, backlog, hashes, unknown, indexes } = journal;
        let dir = lock.dir().clone();
        // The journal does not count on for ever, but the numbers of files must: a lower one is an earlier history.
        let files = files.max(file_names::history_number(&history_name, lock.id()).unwrap_or(0));
        SessionFiles {
            lock,
            protocol,
            journal_name: name,
            journal: Some(Journal { sync, end }),
            backlog,
            incomplete: false,
            compact_len: 0,
            hashes,
            unknown,
            indexes,
            indexes_wait: false,
            history: Some(file),
            marks: MarksFile::open(dir.path(), &history_name, marks.len()).ok().filter(|_| !marks.is_empty()),
            previous,
            has_joined,
            history_name,
            dir,
            files,
            pending: None,
        }
    }

    /// The directory that they are in.
    pub fn dir(&self) -> Arc<SessionDir> {
        self.dir.clone()
    }

    /// Id of the session.
    pub fn id(&self) -> &str {
        self.lock.id()
    }

    /// Whether the files have been created.
    pub fn exists(&self) -> bool {
        self.journal.is_some()
    }

    /// Whether an fsync has failed for the history or the journal (they are poisoned): both must be rewritten to new
    /// files.
    pub fn is_poisoned(&self) -> bool {
        self.history.as_ref().is_some_and(|h| h.sync.is_poisoned())
            || self.journal.as_ref().is_some_and(|j| j.sync.is_poisoned())
    }

    /// Whether each batch is followed by an fsync, which may take long.
    pub fn fsync_every_batch(&self) -> bool {
        self.dir.syncer().syncs_every_batch()
    }

    /// Writes a batch. Blocks for long unless it is light, see [`WriteBatch::is_light`].
    pub fn perform(&mut self, batch: WriteBatch) -> WriteResult {
        let mut result = WriteResult::default();
        for entry in &batch.journal {
            self.queue_entry(entry);
        }
        for (kind, text) in &batch.passwords {
            let hash = if text.is_empty() { Some(String::new()) } else { password::hash(text) };
            match (kind, hash) {
                (PasswordKind::Session, Some(hash)) => self.queue_entry(&Entry::Password(hash)),
                (PasswordKind::Operator, Some(hash)) => self.queue_entry(&Entry::Opword(hash)),
                (_, None) => result.error = Some(self.journal_error("hash a password for", "no randomness")),
            }
        }
        self.incomplete |= batch.incomplete;
        let lines = batch.snapshot.map(|entries| self.journal_lines(&entries));
        if lines.is_some() {
            // The snapshot replaces the backlog, and its entries are nowhere else until it is written.
            self.backlog.clear();
            self.incomplete = true;
        }
        let indexes = batch.indexes.or_else(|| self.indexes.clone());
        let stored = match batch.history {
            HistoryWrite::Nothing => Ok(None),
            HistoryWrite::Append { from, chunks } => {
                self.indexes_wait |= self.indexes != indexes;
                self.indexes = indexes;
                self.write_indexes().and_then(|()| self.append(from, &chunks))
            }
            HistoryWrite::Replace(new) => self.with_indexes(indexes, |files| match files.exists() {
                true => files.replace(&new, lines.as_deref(), batch.archive, batch.keep).map(Some),
                false => files.create(&new, lines.as_deref()).map(Some),
            }),
        };
        let replaced = matches!(stored, Ok(Some(StoredHistory { generation: Some(_), .. })));
        match stored {
            Ok(stored) => {
                self.write_marks(&batch.marks);
                result.stored = stored;
            }
            Err(error) => result.error = Some(error),
        }
        if batch.prunes && self.exists() {
            self.note_join();
            self.remove_old_generations(batch.archive, batch.keep);
        }
        let written = match &lines {
            Some(lines) if !replaced && self.exists() => self.compact(lines),
            _ => self.write_backlog(),
        };
        let written = written.and_then(|()| match &batch.picture {
            Some(picture) => self.set_picture(picture.as_ref(), batch.archive),
            None => Ok(()),
        });
        let written = written.and_then(|()| if self.fsync_every_batch() { self.sync() } else { Ok(()) });
        if let Err(error) = written {
            result.error.get_or_insert(error);
        }
        self.bound_backlog();
        result
    }

    fn append(&mut self, from: i64, chunks: &[Bytes]) -> Result<Option<StoredHistory>, StorageError> {
        let Some(history) = &self.history else { return Ok(None) };
        let mut end = from;
        for chunk in chunks {
            history.write_at(end, chunk).map_err(failed("write to", history.path()))?;
            end += chunk.len() as i64;
        }
        self.dir.syncer().queue(&history.sync);
        if let Some(pending) = &mut self.pending {
            let mut at = history.offset_of(from);
            for bytes in chunks.iter().cloned() {
                let len = bytes.len() as u64;
                pending.push(FileChange::Write { file: self.history_name.clone(), at, bytes });
                at += len;
            }
        }
        Ok(Some(StoredHistory { generation: None, file: history.clone(), end }))
    }

    /// Calls fsync on history and journal; blocks.
    ///
    /// # Errors
    /// When that fails, or has failed before: then nobody knows what is on the disk.
    pub fn sync(&self) -> Result<(), StorageError> {
        let mut files = self.history.iter().map(|h| &h.sync).chain(self.journal.iter().map(|j| &j.sync));
        files.try_for_each(|file| file.sync().map_err(failed("fsync", file.path())))?;
        let earlier = self.is_poisoned().then(|| self.journal_error("fsync", "an earlier fsync has failed"));
        earlier.map_or(Ok(()), Err)
    }

    /// Releases the files; blocks.
    ///
    /// # Errors
    /// When something cannot be deleted, renamed or fsynced.
    pub fn finish(self, disposition: FileDisposition) -> Result<(), StorageError> {
        match disposition {
            FileDisposition::Keep if self.exists() => self.sync(),
            FileDisposition::Keep => Ok(()),
            _ if !self.exists() => {
                self.dir.forget_host(self.id());
                Ok(())
            }
            FileDisposition::Delete | FileDisposition::Archive => {
                let archive = disposition == FileDisposition::Archive;
                self.dir.remove_session(self.id(), &self.journal_name, &self.history_name, archive)
            }
        }
    }
}
