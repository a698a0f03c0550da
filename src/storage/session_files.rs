//! The files of one session while it is loaded: everything that is written goes through here.
//!
//! Writing is at known offsets, so that what failed half-way is simply written again. What was written is safe from the
//! end of the process; [`Syncer`](super::syncer::Syncer) makes it safe from the end of the machine.

mod journaling;

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use drawhall_protocol::ProtocolVersion;
use serde::{Deserialize, Serialize};

use super::history_file::{HistoryFile, history_header_bytes};
use super::journal::Entry;
use super::names;
use super::session_dir::{SessionDir, SessionLock};
use super::syncer::SyncFile;
use crate::auth::password;
pub(super) use journaling::LoadedJournal;

/// Bytes that are copied between history files at a time.
const COPY_BYTES: usize = 1 << 20;

/// Something that could not be stored.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {path}: {source}")]
pub struct StorageError {
    /// What was being done.
    pub doing: &'static str,
    /// With which file.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StorageError + 'a {
    move |source| StorageError { doing, path: path.to_owned(), source }
}

/// A part of a history.
#[derive(Debug, Clone)]
pub enum Chunk {
    /// In memory.
    Memory(Bytes),
    /// In a history file only.
    File {
        /// The file.
        file: Arc<HistoryFile>,
        /// Position on the axis of the log.
        from: i64,
        /// Size in bytes.
        len: usize,
    },
}

impl Chunk {
    /// All of it, in blocks of a size that is good to copy; blocks.
    pub(super) fn blocks(&self) -> Box<dyn Iterator<Item = Result<Bytes, StorageError>> + '_> {
        match self {
            Chunk::Memory(bytes) => Box::new(std::iter::once(Ok(bytes.clone()))),
            Chunk::File { file, from, len } => Box::new((0..*len).step_by(COPY_BYTES).map(move |done| {
                let block = file.read_at(from + done as i64, COPY_BYTES.min(len - done));
                block.map(Bytes::from).map_err(failed("read", file.path()))
            })),
        }
    }
}

/// What the history has that is not stored yet.
#[derive(Debug, Default)]
pub enum HistoryWrite {
    /// Nothing.
    #[default]
    Nothing,
    /// More at its end.
    Append {
        /// Position of the first byte.
        from: i64,
        /// The bytes.
        parts: Vec<Bytes>,
    },
    /// A new file: the first one, or that after a reset.
    Replace(NewHistory),
}

/// The content of a new history file.
#[derive(Debug)]
pub struct NewHistory {
    /// Which state of the log this is.
    pub generation: u64,
    /// Position of the first byte.
    pub from: i64,
    /// All of it.
    pub parts: Vec<Chunk>,
    /// Position in the old history where a streamed reset forked.
    pub fork: Option<i64>,
}

/// Which password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PasswordKind {
    /// That of the session.
    Session,
    /// That which makes operator.
    Operator,
}

/// What is to be stored.
#[derive(Debug, Default)]
pub struct WriteBatch {
    /// Journal entries, in order.
    pub journal: Vec<Entry>,
    /// Passwords that are to be hashed and entered in the journal.
    pub passwords: Vec<(PasswordKind, String)>,
    /// New history.
    pub history: HistoryWrite,
    /// A new picture, or none any more.
    pub picture: Option<Option<Bytes>>,
    /// Old files are kept as archives.
    pub archive: bool,
    /// Some entries are missing, because too many had to wait: the journal has to be written anew.
    pub incomplete: bool,
    /// All that the journal has to say, if it is written anew. A new history file needs that.
    pub snapshot: Option<Vec<Entry>>,
}

impl WriteBatch {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.journal.is_empty()
            && self.passwords.is_empty()
            && matches!(self.history, HistoryWrite::Nothing)
            && self.picture.is_none()
            && self.snapshot.is_none()
    }

    /// Whether it only takes appending to open files: microseconds.
    pub fn is_light(&self) -> bool {
        self.passwords.is_empty()
            && !matches!(self.history, HistoryWrite::Replace(_))
            && self.picture.is_none()
            && self.snapshot.is_none()
    }
}

/// How far the history is stored.
#[derive(Debug)]
pub struct StoredHistory {
    /// Which state of the log was stored in a new file; `None` after appending.
    pub generation: Option<u64>,
    /// The file.
    pub file: Arc<HistoryFile>,
    /// Position up to which it is in the file.
    pub end: i64,
}

/// What came of some [`WriteBatch`].
#[derive(Debug, Default)]
pub struct WriteResult {
    /// How far the history is stored, if that has changed.
    pub stored: Option<StoredHistory>,
    /// What failed first.
    pub error: Option<StorageError>,
}

/// What becomes of the files at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileDisposition {
    /// They stay; the session is loaded again when somebody asks for it.
    Keep,
    /// The session is over; its files are deleted.
    Delete,
    /// The session is over; its files are kept as archives.
    Archive,
}

#[derive(Debug)]
struct Journal {
    sync: Arc<SyncFile>,
    /// Up to here it holds whole lines of ours.
    end: u64,
}

/// The files of one session.
#[derive(Debug)]
pub struct SessionFiles {
    folder: Arc<SessionDir>,
    lock: SessionLock,
    protocol: ProtocolVersion,
    /// Name of the journal.
    journal_name: String,
    journal: Option<Journal>,
    /// Lines that could not be written yet.
    backlog: String,
    /// Some lines are missing in the journal and the backlog.
    incomplete: bool,
    /// Size of the journal when it was written anew, 0 if that was never.
    compact_len: u64,
    /// Hashes of the passwords, as they were journaled: that of the session, and that which makes operator.
    hashes: [String; 2],
    /// Lines of later versions.
    unknown: String,
    history: Option<Arc<HistoryFile>>,
    /// Name of the history file, as the journal has it.
    history_name: String,
    /// Number of history files so far.
    files: u32,
}

impl SessionFiles {
    /// Files of a new session. They are made with the first work.
    pub(super) fn new(lock: SessionLock, protocol: ProtocolVersion) -> SessionFiles {
        SessionFiles {
            folder: lock.folder().clone(),
            journal_name: names::journal(lock.id()),
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
            files: 0,
        }
    }

    /// Files that are there already.
    pub(super) fn loaded(
        lock: SessionLock,
        protocol: ProtocolVersion,
        journal: LoadedJournal,
        history: Arc<HistoryFile>,
        history_name: String,
        files: u32,
    ) -> SessionFiles {
        let LoadedJournal { name, sync, end, backlog, hashes, unknown } = journal;
        let folder = lock.folder().clone();
        SessionFiles {
            folder,
            lock,
            protocol,
            journal_name: name,
            journal: Some(Journal { sync, end }),
            backlog,
            incomplete: false,
            compact_len: 0,
            hashes,
            unknown,
            history: Some(history),
            history_name,
            files,
        }
    }

    /// Id of the session.
    pub fn id(&self) -> &str {
        self.lock.id()
    }

    /// Whether there are files yet.
    pub fn exists(&self) -> bool {
        self.journal.is_some()
    }

    /// Whether forcing something to the disk has failed, so that everything should be written anew.
    pub fn is_poisoned(&self) -> bool {
        self.history.as_ref().is_some_and(|h| h.sync.is_poisoned())
            || self.journal.as_ref().is_some_and(|j| j.sync.is_poisoned())
    }

    /// Whether every work is forced to the disk, which takes a while.
    pub fn fsync_every_batch(&self) -> bool {
        self.folder.syncer().syncs_every_batch()
    }

    /// Stores. Blocks for long unless the work is light.
    pub fn perform(&mut self, work: WriteBatch) -> WriteResult {
        let mut outcome = WriteResult::default();
        for entry in &work.journal {
            self.enter(entry);
        }
        for (kind, text) in &work.passwords {
            let hash = if text.is_empty() { Some(String::new()) } else { password::hash(text) };
            match (kind, hash) {
                (PasswordKind::Session, Some(hash)) => self.enter(&Entry::Password(hash)),
                (PasswordKind::Operator, Some(hash)) => self.enter(&Entry::Opword(hash)),
                (_, None) => outcome.error = Some(self.journal_error("hash a password for", "no randomness")),
            }
        }
        self.incomplete |= work.incomplete;
        let lines = work.snapshot.map(|entries| self.journal_lines(&entries));
        if lines.is_some() {
            // What is in the snapshot is nowhere else until it was written.
            self.backlog.clear();
            self.incomplete = true;
        }
        let stored = match work.history {
            HistoryWrite::Nothing => Ok(None),
            HistoryWrite::Append { from, parts } => self.append(from, &parts),
            HistoryWrite::Replace(new) if self.exists() => {
                self.replace(&new, lines.as_deref(), work.archive).map(Some)
            }
            HistoryWrite::Replace(new) => self.create(&new, lines.as_deref()).map(Some),
        };
        let replaced = matches!(stored, Ok(Some(StoredHistory { generation: Some(_), .. })));
        match stored {
            Ok(stored) => outcome.stored = stored,
            Err(error) => outcome.error = Some(error),
        }
        let rest = match &lines {
            Some(lines) if !replaced && self.exists() => self.rewrite(lines),
            _ => self.write_backlog(),
        };
        let rest = rest.and_then(|()| match &work.picture {
            Some(picture) => self.set_picture(picture.as_ref(), work.archive),
            None => Ok(()),
        });
        let rest = rest.and_then(|()| if self.fsync_every_batch() { self.sync() } else { Ok(()) });
        if let Err(error) = rest {
            outcome.error.get_or_insert(error);
        }
        self.bound_backlog();
        outcome
    }

    fn append(&self, from: i64, parts: &[Bytes]) -> Result<Option<StoredHistory>, StorageError> {
        let Some(history) = &self.history else { return Ok(None) };
        let mut end = from;
        for part in parts {
            history.write_at(end, part).map_err(failed("write to", history.path()))?;
            end += part.len() as i64;
        }
        self.folder.syncer().written(&history.sync);
        Ok(Some(StoredHistory { generation: None, file: history.clone(), end }))
    }

    /// Makes the files of a new session. The journal gets its name last: until then there is no session, and what is
    /// there under its other name tells that the rest is not needed.
    fn create(&mut self, new: &NewHistory, lines: Option<&str>) -> Result<StoredHistory, StorageError> {
        let name = self.free_history_name();
        let text = self.file_lines(&name, 1) + lines.unwrap_or(&self.backlog);
        // Nobody is in it yet, so there is nothing that would have to be on the disk at once.
        let journal = self.write_new_journal(&text, self.fsync_every_batch())?;
        let made = self.make_history_file(&name).and_then(|sync| {
            let stored = self.fill(&sync, new).and_then(|stored| self.name_journal().map(|()| stored));
            stored.inspect_err(|_| self.discard(&name))
        });
        let stored = made.inspect_err(|_| self.discard(&self.new_journal_name()))?;
        self.take_journal(journal, &text);
        self.compact_len = 0;
        self.history = Some(stored.file.clone());
        self.history_name = name;
        self.files = 1;
        self.folder.syncer().written(&stored.file.sync);
        self.journal.iter().for_each(|journal| self.folder.syncer().written(&journal.sync));
        self.folder.syncer().written(self.folder.directory());
        Ok(stored)
    }

    /// Puts a new history file in place of the old one: first the file, whole and on the disk, then a new journal that
    /// makes it count, then the old one goes. Whatever interrupts this leaves one of the two in force.
    fn replace(
        &mut self,
        new: &NewHistory,
        lines: Option<&str>,
        archive: bool,
    ) -> Result<StoredHistory, StorageError> {
        let lines = lines.ok_or_else(|| self.journal_error("write", "nothing is known of its content"))?;
        let name = self.free_history_name();
        let sync = self.make_history_file(&name)?;
        let text = self.file_lines(&name, self.files + 1) + lines;
        let filled = self.fill(&sync, new).and_then(|stored| {
            sync.sync().map_err(failed("force", sync.path()))?;
            let directory = self.folder.directory();
            directory.sync().map_err(failed("force", directory.path()))?;
            let journal = self.write_new_journal(&text, true)?;
            self.name_journal().inspect_err(|_| self.discard(&self.new_journal_name()))?;
            Ok((stored, journal))
        });
        let (stored, journal) = filled.inspect_err(|_| self.discard(&name))?;
        self.take_journal(journal, &text);
        self.files += 1;
        let old = std::mem::replace(&mut self.history_name, name);
        self.history = Some(stored.file.clone());
        let directory = self.folder.directory();
        if let Err(source) = directory.sync() {
            // Which of the two the disk has is not known, so both stay. It is tried again with another file.
            self.incomplete = true;
            return Err(failed("force", directory.path())(source));
        }
        if let Err(source) = self.remove_history(&old, archive) {
            // Found and dealt with when the session is loaded again.
            tracing::warn!("session {}: cannot remove the old history file {old}: {source}", self.id());
        }
        self.folder.syncer().written(self.folder.directory());
        Ok(stored)
    }

    fn remove_history(&self, name: &str, archive: bool) -> io::Result<()> {
        // A name that leads elsewhere was made by hand; what is there is not ours.
        if name.contains('/') { Ok(()) } else { names::remove(self.folder.path(), name, archive) }
    }

    /// Name of the next history file; one that is taken is passed over.
    fn free_history_name(&self) -> String {
        let mut names = (self.files + 1..).map(|number| names::history(self.id(), number));
        // There are more numbers than files.
        names.find(|name| !self.folder.path().join(name).exists()).unwrap_or_default()
    }

    fn make_history_file(&self, name: &str) -> Result<Arc<SyncFile>, StorageError> {
        let path = self.folder.path().join(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        SyncFile::open(&options, &path).map_err(failed("make", &path))
    }

    fn discard(&self, name: &str) {
        let path = self.folder.path().join(name);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "cannot remove {}", path.display());
        }
    }

    fn fill(&self, sync: &Arc<SyncFile>, new: &NewHistory) -> Result<StoredHistory, StorageError> {
        let old = self.history.as_ref();
        let fork = new.fork.zip(old).map(|(position, old)| old.offset_of(position));
        let opening = history_header_bytes(&self.protocol, fork);
        let file = HistoryFile::new(sync.clone(), new.from - opening.len() as i64);
        let write =
            |end: i64, bytes: &[u8]| file.write_at(end, bytes).map_err(failed("write to", file.path()));
        write(new.from - opening.len() as i64, &opening)?;
        let mut end = new.from;
        for block in new.parts.iter().flat_map(Chunk::blocks) {
            let block = block?;
            write(end, &block)?;
            end += block.len() as i64;
        }
        Ok(StoredHistory { generation: Some(new.generation), file, end })
    }

    fn set_picture(&self, picture: Option<&Bytes>, archive: bool) -> Result<(), StorageError> {
        let name = names::thumbnail(self.id());
        let path = self.folder.path().join(&name);
        let done = match picture {
            None => names::remove(self.folder.path(), &name, archive),
            Some(bytes) => {
                let new = self.folder.path().join(format!("{name}{}", names::NEW));
                let written = fs::write(&new, bytes).and_then(|()| fs::rename(&new, &path));
                written.inspect_err(|_| drop(fs::remove_file(&new)))
            }
        };
        self.folder.syncer().written(self.folder.directory());
        done.map_err(failed("store", &path))
    }

    fn sync(&self) -> Result<(), StorageError> {
        let files = self.history.iter().map(|h| &h.sync).chain(self.journal.iter().map(|j| &j.sync));
        for file in files {
            file.sync().map_err(failed("force", file.path()))?;
        }
        Ok(())
    }

    /// Ends the use of the files; blocks.
    ///
    /// # Errors
    /// When something cannot be deleted, renamed or forced to the disk.
    pub fn finish(self, ending: FileDisposition) -> Result<(), StorageError> {
        match ending {
            _ if !self.exists() => Ok(()),
            FileDisposition::Keep => self.sync(),
            FileDisposition::Delete | FileDisposition::Archive => {
                let archive = ending == FileDisposition::Archive;
                self.folder.remove_session(self.id(), &self.journal_name, &self.history_name, archive)
            }
        }
    }
}
