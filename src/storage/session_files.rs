//! The files of one loaded session: everything is written through [`SessionFiles`].
//!
//! Writes go to known offsets, so a failed one is simply retried. Written data survives a crash of the process;
//! [`Syncer`](super::syncer::Syncer) makes it survive a crash of the machine by fsync.

mod journaling;
mod marks;

use crate::history::HistoryWrite;
use crate::history::NewHistory;
use crate::history::StoredHistory;
use crate::history::{Chunk, HistorySource as _};
use crate::rules::session::FileDisposition;
use crate::rules::session::KeepGenerations;
use crate::rules::session::PasswordKind;
use crate::rules::session::WriteBatch;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use drawhall_protocol::ProtocolVersion;

use super::file_names;
use super::history_file::{HistoryFile, history_header_bytes};
use super::marks_file::{MarksFile, StoredMarks};
use super::session_dir::{SessionDir, SessionLock};
use super::syncer::SyncFile;
use crate::rules::journal::Entry;
use crate::rules::password;
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
    history: Option<Arc<HistoryFile>>,
    /// Name of the history file, as the journal has it.
    history_name: String,
    /// The time marks of the history; `None` if there is no file, or it cannot be written.
    marks: Option<MarksFile>,
    /// Number of the history file that the present one replaced, 0 if there was none.
    previous: u32,
    /// Number of history files so far.
    files: u32,
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
            history: None,
            history_name: String::new(),
            marks: None,
            previous: 0,
            files: 0,
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
        let LoadedHistory { file, name: history_name, marks: StoredMarks { marks, previous, .. } } = history;
        let LoadedJournal { name, sync, end, backlog, hashes, unknown } = journal;
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
            history: Some(file),
            marks: MarksFile::open(dir.path(), &history_name, marks.len()).ok().filter(|_| !marks.is_empty()),
            previous,
            history_name,
            dir,
            files,
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
        let stored = match batch.history {
            HistoryWrite::Nothing => Ok(None),
            HistoryWrite::Append { from, chunks } => self.append(from, &chunks),
            HistoryWrite::Replace(new) if self.exists() => {
                self.replace(&new, lines.as_deref(), batch.archive, batch.keep).map(Some)
            }
            HistoryWrite::Replace(new) => self.create(&new, lines.as_deref()).map(Some),
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

    fn append(&self, from: i64, chunks: &[Bytes]) -> Result<Option<StoredHistory>, StorageError> {
        let Some(history) = &self.history else { return Ok(None) };
        let mut end = from;
        for chunk in chunks {
            history.write_at(end, chunk).map_err(failed("write to", history.path()))?;
            end += chunk.len() as i64;
        }
        self.dir.syncer().queue(&history.sync);
        Ok(Some(StoredHistory { generation: None, file: history.clone(), end }))
    }

    /// Creates the files of a new session. The journal is renamed into place last: until then the session does not
    /// exist, and the journal's temporary name tells the cleanup after a crash to remove the other files.
    fn create(&mut self, new: &NewHistory, lines: Option<&str>) -> Result<StoredHistory, StorageError> {
        let name = self.free_history_name();
        let text = self.file_lines(&name, 1) + lines.unwrap_or(&self.backlog);
        // Nobody has joined yet, so an fsync is not urgent.
        let journal = self.write_new_journal(&text, self.fsync_every_batch())?;
        let created = self.create_history_file(&name).and_then(|sync| {
            let stored =
                self.write_history(&sync, new).and_then(|stored| self.rename_journal().map(|()| stored));
            stored.inspect_err(|_| self.discard(&name))
        });
        let (stored, file) = created.inspect_err(|_| self.discard(&self.new_journal_name()))?;
        self.switch_journal(journal, &text);
        self.compact_len = 0;
        self.dir.syncer().queue(&file.sync);
        self.history = Some(file);
        self.history_name = name;
        self.files = 1;
        self.journal.iter().for_each(|journal| self.dir.syncer().queue(&journal.sync));
        self.dir.syncer().queue(self.dir.directory());
        Ok(stored)
    }

    /// Replaces the history file: the new file is written and fsynced, then a new journal that names it is renamed
    /// into place, then the old file becomes a generation or is removed. A crash at any point leaves one of the two
    /// histories in force.
    fn replace(
        &mut self,
        new: &NewHistory,
        lines: Option<&str>,
        archive: bool,
        keep: KeepGenerations,
    ) -> Result<StoredHistory, StorageError> {
        let lines =
            lines.ok_or_else(|| self.journal_error("write", "there is no snapshot of its content"))?;
        let name = self.free_history_name();
        let sync = self.create_history_file(&name)?;
        let text = self.file_lines(&name, self.files + 1) + lines;
        let written = self.write_history(&sync, new).and_then(|stored| {
            sync.sync().map_err(failed("fsync", sync.path()))?;
            let directory = self.dir.directory();
            directory.sync().map_err(failed("fsync", directory.path()))?;
            let journal = self.write_new_journal(&text, true)?;
            self.rename_journal().inspect_err(|_| self.discard(&self.new_journal_name()))?;
            Ok((stored, journal))
        });
        let ((stored, file), journal) = written.inspect_err(|_| self.discard(&name))?;
        self.switch_journal(journal, &text);
        self.files += 1;
        let old = std::mem::replace(&mut self.history_name, name);
        if new.is_reset {
            self.previous = file_names::history_number(&old, self.id()).unwrap_or(0);
        }
        self.history = Some(file);
        let directory = self.dir.directory();
        if let Err(source) = directory.sync() {
            // It is unknown which journal is on the disk, so both histories stay. The replacement is retried with
            // another file.
            self.incomplete = true;
            return Err(failed("fsync", directory.path())(source));
        }
        if let Err(source) = self.retire_history(&old, new.is_reset, archive, keep) {
            // Cleaned up at the next start.
            tracing::warn!("session {}: cannot remove the old history file {old}: {source}", self.id());
        }
        self.dir.syncer().queue(self.dir.directory());
        Ok(stored)
    }

    /// Removes or archives a history file that was replaced, unless it is kept as a generation; and the generations
    /// that are too many then.
    fn retire_history(
        &self,
        name: &str,
        is_generation: bool,
        archive: bool,
        keep: KeepGenerations,
    ) -> io::Result<()> {
        // Path traversal guard: a name with a directory was edited by hand, and that file is not the server's to
        // remove.
        if name.contains('/') {
            return Ok(());
        }
        if !is_generation || file_names::history_number(name, self.id()).is_none() {
            file_names::remove(self.dir.path(), name, archive)?;
        }
        self.dir.remove_old_generations(self.id(), &self.history_name, keep, archive)
    }

    /// The first free name for the next history file.
    fn free_history_name(&self) -> String {
        let mut names = (self.files + 1..).map(|number| file_names::history(self.id(), number));
        // Not all of the 2^32 numbers can be taken.
        names.find(|name| !self.dir.path().join(name).exists()).unwrap_or_default()
    }

    fn create_history_file(&self, name: &str) -> Result<Arc<SyncFile>, StorageError> {
        let path = self.dir.path().join(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        SyncFile::open(&options, &path).map_err(failed("create", &path))
    }

    fn discard(&self, name: &str) {
        let path = self.dir.path().join(name);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "cannot remove {}", path.display());
        }
    }

    fn write_history(
        &self,
        sync: &Arc<SyncFile>,
        new: &NewHistory,
    ) -> Result<(StoredHistory, Arc<HistoryFile>), StorageError> {
        let old = self.history.as_ref();
        let fork = new.fork.zip(old).map(|(position, old)| old.offset_of(position));
        let header = history_header_bytes(&self.protocol, fork);
        let file = HistoryFile::new(sync.clone(), new.from - header.len() as i64);
        let write =
            |end: i64, bytes: &[u8]| file.write_at(end, bytes).map_err(failed("write to", file.path()));
        write(new.from - header.len() as i64, &header)?;
        let mut end = new.from;
        for block in new.chunks.iter().flat_map(blocks) {
            let block = block?;
            write(end, &block)?;
            end += block.len() as i64;
        }
        Ok((StoredHistory { generation: Some(new.generation), file: file.clone(), end }, file))
    }

    fn set_picture(&self, picture: Option<&Bytes>, archive: bool) -> Result<(), StorageError> {
        let name = file_names::thumbnail(self.id());
        let path = self.dir.path().join(&name);
        let done = match picture {
            None => file_names::remove(self.dir.path(), &name, archive),
            Some(bytes) => {
                let new = self.dir.path().join(format!("{name}{}", file_names::NEW));
                let written = fs::write(&new, bytes).and_then(|()| fs::rename(&new, &path));
                written.inspect_err(|_| drop(fs::remove_file(&new)))
            }
        };
        self.dir.syncer().queue(self.dir.directory());
        done.map_err(failed("store", &path))
    }

    fn sync(&self) -> Result<(), StorageError> {
        let files = self.history.iter().map(|h| &h.sync).chain(self.journal.iter().map(|j| &j.sync));
        for file in files {
            file.sync().map_err(failed("fsync", file.path()))?;
        }
        Ok(())
    }

    /// Releases the files; blocks.
    ///
    /// # Errors
    /// When something cannot be deleted, renamed or fsynced.
    pub fn finish(self, disposition: FileDisposition) -> Result<(), StorageError> {
        match disposition {
            _ if !self.exists() => Ok(()),
            FileDisposition::Keep => self.sync(),
            FileDisposition::Delete | FileDisposition::Archive => {
                let archive = disposition == FileDisposition::Archive;
                self.dir.remove_session(self.id(), &self.journal_name, &self.history_name, archive)
            }
        }
    }
}
