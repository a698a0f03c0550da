//! The journal of a loaded session: lines are appended, and from time to time it is compacted: rewritten with only
//! the entries of the current state, and renamed into place.

use crate::history::HistoryWrite;
use crate::rules::session::WriteBatch;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;

use super::{Journal, SessionFiles, StorageError, failed};
use crate::rules::history_indexes::HistoryIndexes;
use crate::rules::journal::Entry;
use crate::storage::file_names;
use crate::storage::shared::FileChange;
use crate::storage::syncer::SyncFile;

/// A journal shorter than this, in bytes, is not compacted.
const MIN_COMPACTION_BYTES: u64 = 1 << 20;
/// A journal is compacted when it has grown to this many times its compacted size.
const COMPACTION_FACTOR: u64 = 4;
/// Bytes of journal lines that are kept while writing fails; with more, the journal is rewritten from a snapshot.
const MAX_BACKLOG: usize = 64 << 10;
/// Maximum number of `FILE` entries in a rewritten journal. drawpile-srv numbers the next history file by them.
const MAX_FILE_LINES: u32 = 100;

/// A journal that was read.
#[derive(Debug)]
pub(in crate::storage) struct LoadedJournal {
    pub(in crate::storage) name: String,
    pub(in crate::storage) sync: Arc<SyncFile>,
    /// Its size in bytes.
    pub(in crate::storage) end: u64,
    /// Written before anything else: a line feed, if the journal does not end with one.
    pub(in crate::storage) backlog: String,
    /// Hashes in it: of the session password and of the operator password.
    pub(in crate::storage) hashes: [String; 2],
    /// Lines of later versions, to be kept.
    pub(in crate::storage) unknown: String,
    /// The indexes of the history in it.
    pub(in crate::storage) indexes: Option<HistoryIndexes>,
}

impl SessionFiles {
    /// Whether the journal has something to write: a backlog, missing lines, or a compaction.
    pub fn has_backlog(&self) -> bool {
        self.exists() && (!self.backlog.is_empty() || self.incomplete || self.needs_compaction())
    }

    /// Whether this batch needs a [`WriteBatch::snapshot`], because the journal will be rewritten.
    pub fn wants_snapshot(&self, batch: &WriteBatch) -> bool {
        let replaces = matches!(batch.history, HistoryWrite::Replace(_));
        batch.incomplete || (self.exists() && (self.incomplete || self.needs_compaction() || replaces))
    }

    /// Whether the journal has grown to much more than the current state needs.
    fn needs_compaction(&self) -> bool {
        let end = self.journal.as_ref().map_or(0, |journal| journal.end);
        end > MIN_COMPACTION_BYTES && end > COMPACTION_FACTOR * self.compact_len
    }

    /// Adds an entry to the backlog.
    pub(super) fn queue_entry(&mut self, entry: &Entry) {
        match entry {
            Entry::Password(hash) => self.hashes[0].clone_from(hash),
            Entry::Opword(hash) => self.hashes[1].clone_from(hash),
            _ => {}
        }
        entry.write(&mut self.backlog);
    }

    /// Bounds the backlog while writing fails: it is dropped, and the journal is rewritten when writing works again.
    pub(super) fn bound_backlog(&mut self) {
        if self.exists() && self.backlog.len() > MAX_BACKLOG {
            self.backlog.clear();
            self.incomplete = true;
        }
    }

    pub(super) fn journal_error(&self, doing: &'static str, why: &'static str) -> StorageError {
        StorageError { doing, path: self.dir.path().join(&self.journal_name), source: io::Error::other(why) }
    }

    pub(super) fn write_backlog(&mut self) -> Result<(), StorageError> {
        let Some(journal) = self.journal.as_mut().filter(|_| !self.backlog.is_empty()) else { return Ok(()) };
        let written = journal.sync.file.write_all_at(self.backlog.as_bytes(), journal.end);
        written.map_err(failed("write to", journal.sync.path()))?;
        if let Some(pending) = &mut self.pending {
            let bytes = Bytes::copy_from_slice(self.backlog.as_bytes());
            pending.push(FileChange::Write { file: self.journal_name.clone(), at: journal.end, bytes });
        }
        journal.end += self.backlog.len() as u64;
        self.backlog.clear();
        self.dir.syncer().queue(&journal.sync);
        Ok(())
    }

    /// Enters the indexes of the history in the journal, with an fsync: what is appended to it must not survive a crash
    /// of the machine that they do not. See [`crate::rules::history_indexes`].
    pub(super) fn write_indexes(&mut self) -> Result<(), StorageError> {
        let Some(journal) = self.journal.as_ref().filter(|_| self.indexes_wait) else { return Ok(()) };
        let sync = journal.sync.clone();
        if let Some(indexes) = self.indexes.clone() {
            let mut line = String::new();
            Entry::HistoryIndexes(indexes).write(&mut line);
            // It is there already if writing has failed.
            if !self.backlog.contains(&line) {
                self.backlog.push_str(&line);
            }
        }
        self.write_backlog()?;
        sync.sync().map_err(failed("fsync", sync.path()))?;
        self.indexes_wait = false;
        Ok(())
    }

    /// Writes a new history file with its indexes. Unless it comes into force, those of the present one stay.
    pub(super) fn with_indexes<T>(
        &mut self,
        indexes: Option<HistoryIndexes>,
        write: impl FnOnce(&mut SessionFiles) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let (name, before) = (self.history_name.clone(), std::mem::replace(&mut self.indexes, indexes));
        let written = write(self);
        if self.history_name == name {
            self.indexes = before;
        } else {
            self.indexes_wait = false;
        }
        written
    }

    pub(super) fn new_journal_name(&self) -> String {
        format!("{}{}", self.journal_name, file_names::NEW)
    }

    /// Writes a complete journal under a temporary name, with an fsync if wanted.
    pub(super) fn write_new_journal(&self, text: &str, fsync: bool) -> Result<Arc<SyncFile>, StorageError> {
        let path = self.dir.path().join(self.new_journal_name());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let written = options.open(&path).and_then(|file| {
            file.write_all_at(text.as_bytes(), 0)?;
            let sync = SyncFile::from_file(file, &self.dir.path().join(&self.journal_name));
            if fsync { sync.sync().map(|()| sync) } else { Ok(sync) }
        });
        written.map_err(failed("write", &path))
    }

    /// Renames the new journal into place, atomically. A crash leaves the old one or the new one.
    pub(super) fn rename_journal(&self) -> Result<(), StorageError> {
        let path = self.dir.path().join(&self.journal_name);
        let renamed = fs::rename(self.dir.path().join(self.new_journal_name()), &path);
        renamed.map_err(failed("write", &path))
    }

    /// From now on writes to this new journal, which has this text.
    pub(super) fn switch_journal(&mut self, sync: Arc<SyncFile>, text: &str) {
        let end = text.len() as u64;
        self.journal = Some(Journal { sync, end });
        self.backlog.clear();
        self.incomplete = false;
        self.compact_len = end;
        if let Some(pending) = &mut self.pending {
            let bytes = Bytes::copy_from_slice(text.as_bytes());
            pending.push(FileChange::Put { file: self.journal_name.clone(), bytes });
        }
    }

    /// Compacts the journal: rewrites it with only the entries of the current state.
    pub(super) fn compact(&mut self, lines: &str) -> Result<(), StorageError> {
        let text = self.file_lines(&self.history_name, self.files) + lines;
        let journal = self.write_new_journal(&text, true)?;
        self.rename_journal().inspect_err(|_| self.discard(&self.new_journal_name()))?;
        self.switch_journal(journal, &text);
        let directory = self.dir.directory();
        let synced = directory.sync().map_err(failed("fsync", directory.path()));
        // After an error it is unknown which of the two journals is on the disk.
        self.incomplete = synced.is_err();
        synced
    }

    /// The lines of a rewritten journal behind its `FILE` entries.
    pub(super) fn journal_lines(&self, entries: &[Entry]) -> String {
        let mut lines = String::new();
        entries.iter().for_each(|entry| entry.write(&mut lines));
        let [session, operator] = self.hashes.clone();
        for entry in [Entry::Password(session), Entry::Opword(operator)] {
            if !matches!(&entry, Entry::Password(hash) | Entry::Opword(hash) if hash.is_empty()) {
                entry.write(&mut lines);
            }
        }
        lines + &self.unknown
    }

    /// The `FILE` entries for the current history file, and its indexes: as many entries as there were history files, because drawpile-srv
    /// derives the next number from their count. One more if the next name would be that of the current file, which
    /// drawpile-srv would overwrite.
    pub(super) fn file_lines(&self, name: &str, files: u32) -> String {
        let mut count = files.min(MAX_FILE_LINES);
        if file_names::history(self.id(), count + 1) == name {
            count += 1;
        }
        let mut lines = String::new();
        (0..count).for_each(|_| Entry::File(name.to_owned()).write(&mut lines));
        if let Some(indexes) = &self.indexes {
            Entry::HistoryIndexes(indexes.clone()).write(&mut lines);
        }
        lines
    }
}
