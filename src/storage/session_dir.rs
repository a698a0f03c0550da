//! The directory of stored sessions: listing, loading and removing sessions, and cleaning up after a crash. Source:
//! docs/spec/storage.md#session-directory.
//!
//! At start only journals and the headers of histories are read; a history is read when its session is loaded. What
//! an interrupted operation has left is cleaned up at start.

mod cleanup;
pub mod ended;
mod loading;
pub mod shared;
mod unavailable;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use drawhall_protocol::ProtocolVersion;
use ended::{EndedLimits, SessionHost};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::file_names;
use super::history_file::{self, HistoryError, HistoryHeader};
use super::private;
use super::session_files::{SessionFiles, StorageError};
use super::syncer::{SyncFile, Syncer};
use crate::rules::metadata::{Metadata, Replay, SessionSummary};
use crate::rules::session::KeepGenerations;
use crate::rules::session::persistence::StoredSession;
use unavailable::Unavailable;

/// How long to wait for the previous user of a session's files, which may still be writing.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval between two attempts to lock a session's files.
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(10);
/// Maximum size of a journal in bytes; a longer one is not loaded.
const MAX_JOURNAL: u64 = 256 << 20;

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the names say it")]
pub enum SessionDirError {
    /// It cannot be created or read.
    #[error("cannot use the session directory {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    /// Another server has locked it.
    #[error("the session directory {path} is in use by another server (process {process})")]
    InUse {
        path: PathBuf,
        /// Process id of the other server, from its lock file.
        process: String,
    },
}

/// Why a session cannot be loaded. Its files are not changed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The journal cannot be read.
    #[error("cannot read the journal: {0}")]
    Journal(#[from] io::Error),
    /// The journal names no history file.
    #[error("the journal names no history file")]
    NoFile,
    /// The history file cannot be loaded.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The journal exceeds `MAX_JOURNAL`. Reading only a part would lose the rest when it is rewritten.
    #[error("the journal is longer than {MAX_JOURNAL} bytes")]
    JournalTooLong,
    /// The history is larger than whoever asks can take.
    #[error("the history is too large")]
    TooLarge,
    /// Its files are locked: the session is loaded, or its previous instance is still writing.
    #[error("the files are still in use")]
    InUse,
}

impl LoadError {
    /// Whether a retry may succeed: the files may be intact but are unreadable at present.
    pub fn is_transient(&self) -> bool {
        match self {
            LoadError::Journal(error) => error.kind() != io::ErrorKind::NotFound,
            LoadError::History(HistoryError::Io { source, .. }) => source.kind() != io::ErrorKind::NotFound,
            LoadError::InUse => true,
            _ => false,
        }
    }
}

/// A stored session that was loaded.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct LoadedSession {
    pub session: StoredSession,
    /// For writing from now on.
    pub store: SessionFiles,
}

/// A copy of a session's file, for a trace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredFile {
    name: String,
    modified: SystemTime,
    #[serde(with = "crate::rules::serde_base64")]
    bytes: Vec<u8>,
}

impl StoredFile {
    /// Creates the file in a directory; blocks. A path in its name is ignored.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn write_to(&self, directory: &Path) -> io::Result<()> {
        let name = Path::new(&self.name).file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut file = File::create_new(directory.join(name))?;
        file.write_all(&self.bytes)?;
        file.set_modified(self.modified)
    }
}

/// The session directory of a server.
///
/// **Invariants**
///
/// * While this exists and is not closed, the lock file is locked, so no other server uses the directory.
/// * At most one [`SessionLock`] exists per session id, and its id is in `in_use`. Files of a session are written
///   only by its holder.
/// * The current history file is the one that the journal's last `FILE` entry names; an entry in a torn last line
///   counts only if its file exists. A file that replaces another is complete and fsynced before the journal names
///   it.
/// * Journals are replaced by rename; a crash leaves the old one or the new one.
#[derive(Debug)]
pub struct SessionDir {
    path: PathBuf,
    directory: Arc<SyncFile>,
    syncer: Syncer,
    in_use: Mutex<HashSet<String>>,
    /// File names of journals whose name does not follow from their session's id, by id.
    irregular_names: Mutex<HashMap<String, String>>,
    /// Sessions that are not loaded, by id.
    unavailable: Mutex<BTreeMap<String, Unavailable>>,
    /// Which ended sessions are kept.
    ended: Mutex<EndedLimits>,
    /// Who hosted the sessions of this run, by id.
    hosts: Mutex<HashMap<String, SessionHost>>,
    /// Held while ended sessions are moved or removed.
    ended_work: Mutex<()>,
    /// The lock file.
    lock: File,
}

/// Exclusive access to the files of one session; released when dropped.
#[derive(Debug)]
pub struct SessionLock {
    dir: Arc<SessionDir>,
    id: String,
}

impl SessionLock {
    pub(super) fn dir(&self) -> &Arc<SessionDir> {
        &self.dir
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for SessionLock {
    fn drop(&mut self) {
        self.dir.in_use.lock().remove(&self.id);
    }
}

impl SessionDir {
    /// Opens and locks a directory, which is created if it is missing.
    ///
    /// # Errors
    /// When it cannot be created or read, or another server uses it.
    pub fn open(path: &Path, sync_interval: Duration) -> Result<Arc<SessionDir>, SessionDirError> {
        let io_error = |source| SessionDirError::Io { path: path.to_owned(), source };
        private::create_directory(path).map_err(io_error)?;
        let lock = lock_file(path)?;
        let directory = SyncFile::open(OpenOptions::new().read(true), path).map_err(io_error)?;
        Ok(Arc::new(SessionDir {
            path: path.to_owned(),
            directory,
            syncer: Syncer::start(sync_interval).map_err(io_error)?,
            in_use: Mutex::default(),
            irregular_names: Mutex::default(),
            unavailable: Mutex::default(),
            ended: Mutex::default(),
            hosts: Mutex::default(),
            ended_work: Mutex::default(),
            lock,
        }))
    }

    /// Calls fsync on everything that was written and unlocks the directory; blocks.
    pub fn close(&self) {
        self.syncer.stop();
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "cannot unlock {}", self.path.display());
        }
    }

    /// Path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Calls fsync on the files of the directory.
    pub fn syncer(&self) -> &Syncer {
        &self.syncer
    }

    pub(super) fn directory(&self) -> &Arc<SyncFile> {
        &self.directory
    }

    fn lock(self: &Arc<Self>, id: &str) -> Option<SessionLock> {
        let free = self.in_use.lock().insert(id.to_owned());
        free.then(|| SessionLock { dir: self.clone(), id: id.to_owned() })
    }

    /// The files of a new session, not created yet; `None` if there is a session of this id.
    pub fn create(self: &Arc<Self>, id: &str, protocol: ProtocolVersion) -> Option<SessionFiles> {
        if self.path.join(file_names::journal(id)).exists() {
            return None;
        }
        self.lock(id).map(|lock| SessionFiles::new(lock, protocol))
    }

    pub(super) fn journal_name(&self, id: &str) -> String {
        self.irregular_names.lock().get(id).cloned().unwrap_or_else(|| file_names::journal(id))
    }

    /// Cleans up, then passes all sessions that can be loaded to `found`, in the order of their journals' file names.
    /// For the others a warning is logged.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(
        &self,
        archive: bool,
        keep: KeepGenerations,
        mut found: impl FnMut(SessionSummary),
    ) -> io::Result<()> {
        let mut files = file_names(&self.path)?;
        self.finish_interrupted(&mut files);
        self.finish_ended(&mut files);
        self.remove_orphaned_marks(&mut files);
        self.read_all(&files, |session, ids| {
            self.remove_stale_histories(&session, &files, ids, archive, keep);
            found(session);
        });
        Ok(())
    }

    /// All sessions that can be loaded, in the order of their journals' file names. For the others a warning is logged.
    /// No file is changed.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list_unchanged(&self) -> io::Result<Vec<SessionSummary>> {
        let mut found = Vec::new();
        self.read_all(&file_names(&self.path)?, |session, _| found.push(session));
        Ok(found)
    }

    fn read_all(&self, files: &BTreeSet<String>, mut found: impl FnMut(SessionSummary, &HashSet<&str>)) {
        let journals: Vec<(&String, &str)> =
            files.iter().filter_map(|name| Some((name, file_names::journal_id(name)?))).collect();
        let ids: HashSet<&str> = journals.iter().map(|(_, id)| *id).collect();
        let mut known = HashSet::new();
        for (name, id) in &journals {
            if known.contains(*id) {
                continue;
            }
            let Some(bytes) = read_journal(&self.path.join(name)) else {
                self.note_unavailable(id, "its journal cannot be read", true);
                continue;
            };
            match bytes.and_then(|bytes| self.summarize(id, &bytes)) {
                Ok((session, warnings)) => {
                    for warning in warnings {
                        tracing::warn!("stored session {id}: {warning}");
                    }
                    if **name != file_names::journal(id) {
                        self.irregular_names.lock().insert((*id).to_owned(), (*name).clone());
                    }
                    known.insert((*id).to_owned());
                    if !session.metadata.alias.is_empty() {
                        known.insert(session.metadata.alias.clone());
                    }
                    found(session, &ids);
                }
                Err(error) => self.note_unavailable(id, &error.to_string(), error.is_transient()),
            }
        }
    }

    /// Reads a session's metadata from its journal and the header of its history.
    fn summarize(&self, id: &str, journal: &[u8]) -> Result<(SessionSummary, Vec<String>), LoadError> {
        let mut replay = Metadata::replay(journal);
        let name = loading::current_file(&self.path, &mut replay)?;
        let file = history_file::open(&self.path.join(&name), &name)?;
        let HistoryHeader { protocol, first_message, size } = history_file::read_header(&file.file, &name)?;
        let Replay { metadata, warnings, .. } = replay;
        let modified = |metadata: io::Result<fs::Metadata>| metadata.and_then(|m| m.modified()).ok();
        let journal = fs::metadata(self.path.join(self.journal_name(id)));
        let last_use = modified(file.file.metadata()).max(modified(journal));
        let size = size - first_message;
        Ok((SessionSummary { id: id.to_owned(), metadata, protocol, size, last_use }, warnings))
    }

    /// Removes a session that is not loaded: its files are deleted, or archived if `archive` or the session's own
    /// setting says so; blocks.
    ///
    /// # Errors
    /// When it is in use, or its files cannot be deleted or renamed.
    pub fn remove_unloaded(self: &Arc<Self>, id: &str, archive: bool) -> Result<(), StorageError> {
        let journal = self.journal_name(id);
        let in_use = || StorageError {
            doing: "remove",
            path: self.path.join(&journal),
            source: io::Error::new(io::ErrorKind::ResourceBusy, "it is in use"),
        };
        let _lock = self.lock_with_retry(id).ok_or_else(in_use)?;
        let bytes = read_journal(&self.path.join(&journal)).and_then(Result::ok);
        let metadata = bytes.map(|bytes| Metadata::replay(&bytes).metadata).unwrap_or_default();
        let archive = metadata.archive.unwrap_or(archive);
        self.remove_session(id, &journal, &metadata.file.unwrap_or_default(), archive)
    }

    /// Removes all files of a session. After the first step the session is gone; if a crash interrupts the rest, it
    /// is completed at the next start.
    pub(super) fn remove_session(
        &self,
        id: &str,
        journal: &str,
        history: &str,
        archive: bool,
    ) -> Result<(), StorageError> {
        let is_moved = !archive && self.keeps_ended() && self.move_to_ended(id, journal, history)?;
        self.forget_host(id);
        if is_moved {
            return Ok(());
        }
        let path = self.path.join(journal);
        let failed = |source| StorageError { doing: "remove", path: path.clone(), source };
        let tombstone = self.path.join(format!("{journal}{}", file_names::DELETED));
        if archive {
            file_names::remove(&self.path, journal, true).map_err(failed)?;
        } else {
            match fs::rename(&path, &tombstone) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done.map_err(failed)?,
            }
        }
        self.directory.sync().map_err(failed)?;
        let files = file_names(&self.path).map_err(failed)?;
        let mut others = self.files_without_journal(id, &files);
        if files.contains(history) && !others.iter().any(|o| o == history) {
            others.push(history.to_owned());
        }
        for name in others {
            file_names::remove(&self.path, &name, archive).map_err(failed)?;
        }
        if !archive {
            file_names::remove(&self.path, &format!("{journal}{}", file_names::DELETED), false)
                .map_err(failed)?;
        }
        self.irregular_names.lock().remove(id);
        self.syncer.queue(&self.directory);
        Ok(())
    }
}

pub(super) fn lock_file(path: &Path) -> Result<File, SessionDirError> {
    let io_error = |source| SessionDirError::Io { path: path.to_owned(), source };
    let name = path.join(file_names::LOCK);
    let mut options = OpenOptions::new();
    let mut file =
        options.read(true).write(true).create(true).truncate(false).open(&name).map_err(io_error)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).map_err(io_error)?;
            file.write_all(format!("{}\n", std::process::id()).as_bytes()).map_err(io_error)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut number = [0; 16];
            let len = file.read_at(&mut number, 0).unwrap_or(0);
            let process = String::from_utf8_lossy(&number[..len]).trim().to_owned();
            Err(SessionDirError::InUse { path: path.to_owned(), process })
        }
        Err(TryLockError::Error(source)) => Err(io_error(source)),
    }
}

/// Names of the regular files in a directory, sorted.
pub(in crate::storage) fn file_names(path: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        // A link to a regular file counts as one.
        let is_file =
            entry.file_type().is_ok_and(|t| t.is_file() || (t.is_symlink() && entry.path().is_file()));
        if let (true, Ok(name)) = (is_file, entry.file_name().into_string()) {
            names.insert(name);
        }
    }
    Ok(names)
}

/// Reads a journal; `None` if it cannot be opened for reading and writing.
fn read_journal(path: &Path) -> Option<Result<Vec<u8>, LoadError>> {
    let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
    Some(whole_journal(&file))
}

pub(super) fn whole_journal(file: &File) -> Result<Vec<u8>, LoadError> {
    if file.metadata()?.len() > MAX_JOURNAL {
        return Err(LoadError::JournalTooLong);
    }
    let mut bytes = Vec::new();
    file.take(MAX_JOURNAL).read_to_end(&mut bytes)?;
    Ok(bytes)
}
