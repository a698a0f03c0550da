//! The journal of a session while it is loaded: lines are appended, and now and then it is written anew, with only what
//! counts, and put in place of the old one.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use super::{HistoryWrite, Journal, SessionFiles, StorageError, WriteBatch, failed};
use crate::storage::journal::Entry;
use crate::storage::names;
use crate::storage::syncer::SyncFile;

/// A journal that is shorter than this stays as it is until the next reset.
const MIN_LONG_JOURNAL: u64 = 1 << 20;
/// A journal is long when it has grown to so many times what it was when it was written anew.
const LONG_FACTOR: u64 = 4;
/// Bytes of lines that wait for the journal because writing fails; more than that, and it is written anew.
const MAX_BACKLOG: usize = 64 << 10;
/// `FILE` entries that a new journal has at most. drawpile-srv numbers the next history file by them.
const MAX_FILE_LINES: u32 = 100;

/// A journal that was read.
#[derive(Debug)]
pub(in crate::storage) struct LoadedJournal {
    /// Its name.
    pub(in crate::storage) name: String,
    /// The file.
    pub(in crate::storage) sync: Arc<SyncFile>,
    /// Its size.
    pub(in crate::storage) end: u64,
    /// What enters it before anything else does: a line feed, if it does not end with one.
    pub(in crate::storage) backlog: String,
    /// The hashes in it.
    pub(in crate::storage) hashes: [String; 2],
    /// Lines of later versions.
    pub(in crate::storage) unknown: String,
}

impl SessionFiles {
    /// Whether some lines of the journal could not be written yet, or it is to be written anew.
    pub fn has_backlog(&self) -> bool {
        self.exists() && (!self.backlog.is_empty() || self.incomplete || self.is_long())
    }

    /// Whether this work needs a [`WriteBatch::snapshot`], because the journal is to be written anew.
    pub fn wants_snapshot(&self, work: &WriteBatch) -> bool {
        let replaces = matches!(work.history, HistoryWrite::Replace(_));
        work.incomplete || (self.exists() && (self.incomplete || self.is_long() || replaces))
    }

    /// Whether the journal has grown to much more than it has to say.
    fn is_long(&self) -> bool {
        let end = self.journal.as_ref().map_or(0, |journal| journal.end);
        end > MIN_LONG_JOURNAL && end > LONG_FACTOR * self.compact_len
    }

    /// Has an entry wait for the journal.
    pub(super) fn enter(&mut self, entry: &Entry) {
        match entry {
            Entry::Password(hash) => self.hashes[0].clone_from(hash),
            Entry::Opword(hash) => self.hashes[1].clone_from(hash),
            _ => {}
        }
        entry.write(&mut self.backlog);
    }

    /// What cannot be written is not kept without end: the journal is written anew when that works again.
    pub(super) fn bound_backlog(&mut self) {
        if self.exists() && self.backlog.len() > MAX_BACKLOG {
            self.backlog.clear();
            self.incomplete = true;
        }
    }

    pub(super) fn journal_error(&self, doing: &'static str, why: &'static str) -> StorageError {
        StorageError {
            doing,
            path: self.folder.path().join(&self.journal_name),
            source: io::Error::other(why),
        }
    }

    pub(super) fn write_backlog(&mut self) -> Result<(), StorageError> {
        let Some(journal) = self.journal.as_mut().filter(|_| !self.backlog.is_empty()) else { return Ok(()) };
        let written = journal.sync.file.write_all_at(self.backlog.as_bytes(), journal.end);
        written.map_err(failed("write to", journal.sync.path()))?;
        journal.end += self.backlog.len() as u64;
        self.backlog.clear();
        self.folder.syncer().written(&journal.sync);
        Ok(())
    }

    pub(super) fn new_journal_name(&self) -> String {
        format!("{}{}", self.journal_name, names::NEW)
    }

    /// Writes a complete journal under another name and, if wanted, forces it to the disk.
    pub(super) fn write_new_journal(&self, text: &str, force: bool) -> Result<Arc<SyncFile>, StorageError> {
        let path = self.folder.path().join(self.new_journal_name());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let written = options.open(&path).and_then(|file| {
            file.write_all_at(text.as_bytes(), 0)?;
            let sync = SyncFile::of(file, &self.folder.path().join(&self.journal_name));
            if force { sync.sync().map(|()| sync) } else { Ok(sync) }
        });
        written.map_err(failed("write", &path))
    }

    /// Gives the journal that was written under another name its own. Whatever interrupts this leaves the old one or the
    /// new one.
    pub(super) fn name_journal(&self) -> Result<(), StorageError> {
        let path = self.folder.path().join(&self.journal_name);
        let renamed = fs::rename(self.folder.path().join(self.new_journal_name()), &path);
        renamed.map_err(failed("write", &path))
    }

    /// The journal that has this text now is written to from here on.
    pub(super) fn take_journal(&mut self, sync: Arc<SyncFile>, text: &str) {
        let end = text.len() as u64;
        self.journal = Some(Journal { sync, end });
        self.backlog.clear();
        self.incomplete = false;
        self.compact_len = end;
    }

    /// Writes the journal anew: the same as before, without what does not count any more.
    pub(super) fn rewrite(&mut self, lines: &str) -> Result<(), StorageError> {
        let text = self.file_lines(&self.history_name, self.files) + lines;
        let journal = self.write_new_journal(&text, true)?;
        self.name_journal().inspect_err(|_| self.discard(&self.new_journal_name()))?;
        self.take_journal(journal, &text);
        let directory = self.folder.directory();
        let forced = directory.sync().map_err(failed("force", directory.path()));
        // If that fails, it is not known which of the two the disk has.
        self.incomplete = forced.is_err();
        forced
    }

    /// What stands in a new journal behind the names of history files.
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

    /// The entries for the history file that counts: as many as there were files, because drawpile-srv derives the
    /// number of the next one from that. It would write to the present file if that had the next number.
    pub(super) fn file_lines(&self, name: &str, files: u32) -> String {
        let mut count = files.min(MAX_FILE_LINES);
        if names::history(self.id(), count + 1) == name {
            count += 1;
        }
        let mut lines = String::new();
        (0..count).for_each(|_| Entry::File(name.to_owned()).write(&mut lines));
        lines
    }
}
