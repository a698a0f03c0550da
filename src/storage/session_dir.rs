//! A directory of stored sessions: which there are, loading one, removing one. Source:
//! docs/spec/storage.md#session-directory.
//!
//! At start only journals and the beginnings of histories are read; a history is looked through when somebody asks for
//! its session. What an interrupted step has left over is dealt with then, too.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use drawhall_protocol::ProtocolVersion;
use serde::{Deserialize, Serialize};

use super::history_file::{self, Contents, HistoryError, HistoryFile, HistoryHeader};
use super::journal::Entry;
use super::metadata::{Metadata, Replay};
use super::names;
use super::private;
use super::session_files::{LoadedJournal, SessionFiles, StorageError};
use super::syncer::{SyncFile, Syncer};

/// How long a session's files may still be in use by an earlier user of them.
const CLAIM_PATIENCE: Duration = Duration::from_secs(10);
/// How often that is looked at.
const CLAIM_INTERVAL: Duration = Duration::from_millis(10);
/// Largest journal in bytes that is read.
const MAX_JOURNAL: u64 = 256 << 20;

/// A directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SessionDirError {
    /// It cannot be made or read.
    #[error("cannot use the session directory {path}: {source}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another server uses it.
    #[error("the session directory {path} is in use by another server (process {process})")]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other process, as it wrote down its number.
        process: String,
    },
}

/// A session that cannot be loaded. Its files stay as they are.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The journal cannot be read.
    #[error("cannot read the journal: {0}")]
    Journal(#[from] io::Error),
    /// The journal names no history file.
    #[error("the journal names no history file")]
    NoFile,
    /// There is something wrong with the history file.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The journal is longer than any that is read. What was left out of it would be overwritten.
    #[error("the journal is longer than {MAX_JOURNAL} bytes")]
    JournalTooLong,
    /// It is loaded already.
    #[error("the files are still in use")]
    InUse,
}

impl LoadError {
    /// Whether the files may be sound and only cannot be read at the moment: trying again can help.
    pub fn is_transient(&self) -> bool {
        match self {
            LoadError::Journal(error) => error.kind() != io::ErrorKind::NotFound,
            LoadError::History(HistoryError::Io { source, .. }) => source.kind() != io::ErrorKind::NotFound,
            LoadError::InUse => true,
            _ => false,
        }
    }
}

/// A stored session, as far as its journal tells.
#[derive(Debug)]
pub struct SessionSummary {
    /// Its id.
    pub id: String,
    /// What the journal says.
    pub metadata: Metadata,
    /// Protocol version.
    pub protocol: ProtocolVersion,
    /// Size of its history in bytes, as the file system has it.
    pub size: u64,
    /// When its files were last written, if the file system knows.
    pub last_use: Option<SystemTime>,
}

/// A stored session that was loaded.
#[derive(Debug)]
pub struct LoadedSession {
    /// What the journal says.
    pub metadata: Metadata,
    /// What the history holds.
    pub contents: Contents,
    /// The history; its first message is at position 0.
    pub history: Arc<HistoryFile>,
    /// Protocol version.
    pub protocol: ProtocolVersion,
    /// The picture, and when it was made in milliseconds since 1970.
    pub picture: Option<(Bytes, i64)>,
    /// Where to write to.
    pub store: SessionFiles,
    /// What was mended or left out.
    pub warnings: Vec<String>,
}

/// A file of a stored session, as it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredFile {
    name: String,
    modified: SystemTime,
    #[serde(with = "crate::trace::base64")]
    bytes: Vec<u8>,
}

impl StoredFile {
    /// Makes the file anew in a directory; blocks.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn write_to(&self, directory: &Path) -> io::Result<()> {
        let name = Path::new(&self.name).file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut file = File::create_new(directory.join(name))?;
        file.write_all(&self.bytes)?;
        file.set_modified(self.modified)
    }
}

/// The directory.
#[derive(Debug)]
pub struct SessionDir {
    path: PathBuf,
    directory: Arc<SyncFile>,
    syncer: Syncer,
    in_use: Mutex<HashSet<String>>,
    /// Names of journals that are not what their session's id would give.
    odd_names: Mutex<HashMap<String, String>>,
    /// Ids of sessions that could not be read when the directory was listed.
    unread: Mutex<BTreeSet<String>>,
    /// Keeps other servers out.
    lock: File,
}

/// The right to use the files of one session, held by at most one.
#[derive(Debug)]
pub struct SessionLock {
    folder: Arc<SessionDir>,
    id: String,
}

impl SessionLock {
    pub(super) fn folder(&self) -> &Arc<SessionDir> {
        &self.folder
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for SessionLock {
    fn drop(&mut self) {
        lock(&self.folder.in_use).remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only plain data is changed while it is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SessionDir {
    /// Opens a directory, makes it where it is missing, and keeps other servers out of it.
    ///
    /// # Errors
    /// When it cannot be made or read, or another server uses it.
    pub fn open(path: &Path, sync_interval: Duration) -> Result<Arc<SessionDir>, SessionDirError> {
        let io_error = |source| SessionDirError::Io { path: path.to_owned(), source };
        private::make_directory(path).map_err(io_error)?;
        let lock = lock_file(path)?;
        let directory = SyncFile::open(OpenOptions::new().read(true), path).map_err(io_error)?;
        Ok(Arc::new(SessionDir {
            path: path.to_owned(),
            directory,
            syncer: Syncer::start(sync_interval).map_err(io_error)?,
            in_use: Mutex::default(),
            odd_names: Mutex::default(),
            unread: Mutex::default(),
            lock,
        }))
    }

    /// Forces everything to the disk and lets other servers in; blocks.
    pub fn close(&self) {
        self.syncer.stop();
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "cannot unlock {}", self.path.display());
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Forces its files to the disk.
    pub fn syncer(&self) -> &Syncer {
        &self.syncer
    }

    pub(super) fn directory(&self) -> &Arc<SyncFile> {
        &self.directory
    }

    fn lock(self: &Arc<Self>, id: &str) -> Option<SessionLock> {
        let free = lock(&self.in_use).insert(id.to_owned());
        free.then(|| SessionLock { folder: self.clone(), id: id.to_owned() })
    }

    /// Files for a new session; `None` if there is one of this id.
    pub fn create(self: &Arc<Self>, id: &str, protocol: ProtocolVersion) -> Option<SessionFiles> {
        if self.path.join(names::journal(id)).exists() {
            return None;
        }
        self.lock(id).map(|lock| SessionFiles::new(lock, protocol))
    }

    fn journal_name(&self, id: &str) -> String {
        lock(&self.odd_names).get(id).cloned().unwrap_or_else(|| names::journal(id))
    }

    /// Gives all sessions that can be loaded to `take`, in the order of their journals' names. Of the others a warning
    /// tells why not.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self, archive: bool, mut take: impl FnMut(SessionSummary)) -> io::Result<()> {
        let mut files = file_names(&self.path)?;
        self.finish_interrupted(&mut files);
        let journals: Vec<(&String, &str)> =
            files.iter().filter_map(|name| Some((name, names::journal_id(name)?))).collect();
        let ids: HashSet<&str> = journals.iter().map(|(_, id)| *id).collect();
        let mut known = HashSet::new();
        for (name, id) in &journals {
            if known.contains(*id) {
                continue;
            }
            let Some(bytes) = read_journal(&self.path.join(name)) else {
                self.not_read(id, "its journal cannot be read");
                continue;
            };
            match bytes.and_then(|bytes| self.look_at(id, &bytes)) {
                Ok((session, warnings)) => {
                    for warning in warnings {
                        tracing::warn!("stored session {id}: {warning}");
                    }
                    if **name != names::journal(id) {
                        lock(&self.odd_names).insert((*id).to_owned(), (*name).clone());
                    }
                    known.insert((*id).to_owned());
                    if !session.metadata.alias.is_empty() {
                        known.insert(session.metadata.alias.clone());
                    }
                    self.remove_left_over(&session, &files, &ids, archive);
                    take(session);
                }
                Err(error) if error.is_transient() => self.not_read(id, &error.to_string()),
                Err(error) => tracing::warn!("stored session {id} is not loaded: {error}"),
            }
        }
        Ok(())
    }

    /// A session cannot be read at the moment: it is told once, and tried again.
    fn not_read(&self, id: &str, reason: &str) {
        if lock(&self.unread).insert(id.to_owned()) {
            tracing::error!("stored session {id} is not there until it can be read: {reason}");
        }
    }

    /// Whether there are sessions that could not be read yet.
    pub fn has_unreadable(&self) -> bool {
        !lock(&self.unread).is_empty()
    }

    /// Those of them that can be read now; blocks.
    pub fn list_unreadable(&self) -> Vec<SessionSummary> {
        let ids: Vec<String> = lock(&self.unread).iter().cloned().collect();
        let read = ids.into_iter().filter_map(|id| {
            let bytes = read_journal(&self.path.join(self.journal_name(&id)))?;
            let looked = bytes.and_then(|bytes| self.look_at(&id, &bytes));
            if looked.as_ref().is_err_and(LoadError::is_transient) {
                return None;
            }
            lock(&self.unread).remove(&id);
            let looked = looked.map_err(|error| tracing::warn!("stored session {id} is not loaded: {error}"));
            looked.ok().map(|(session, _)| session)
        });
        read.collect()
    }

    /// What a journal and the beginning of its history say.
    fn look_at(&self, id: &str, journal: &[u8]) -> Result<(SessionSummary, Vec<String>), LoadError> {
        let mut replay = Metadata::replay(journal);
        let name = self.current_file(&mut replay)?;
        let file = history_file::open(&self.path.join(&name), &name)?;
        let HistoryHeader { protocol, first_message, size } = history_file::read_header(&file.file, &name)?;
        let Replay { metadata, warnings, .. } = replay;
        let modified = |metadata: io::Result<fs::Metadata>| metadata.and_then(|m| m.modified()).ok();
        let journal = fs::metadata(self.path.join(self.journal_name(id)));
        let last_use = modified(file.file.metadata()).max(modified(journal));
        let size = size - first_message;
        Ok((SessionSummary { id: id.to_owned(), metadata, protocol, size, last_use }, warnings))
    }

    /// The history file that counts. An entry in a torn last line counts only if its file is there.
    fn current_file(&self, replay: &mut Replay) -> Result<String, LoadError> {
        let torn = replay.file_before.take();
        let name = replay.metadata.file.clone().ok_or(LoadError::NoFile)?;
        match torn {
            Some(before) if !self.path.join(&name).is_file() => {
                replay.warnings.push(format!("the last line is torn: the history file is {before}"));
                replay.metadata.file = Some(before.clone());
                Ok(before)
            }
            _ => Ok(name),
        }
    }

    /// Brings to an end what was interrupted: deleting, archiving, making.
    fn finish_interrupted(&self, files: &mut BTreeSet<String>) {
        let remove = |name: &str, archive: bool| {
            tracing::info!("removing {name}, left over from an interrupted step");
            if let Err(error) = names::remove(&self.path, name, archive) {
                tracing::warn!(%error, "cannot remove {name}");
            }
        };
        for name in files.clone() {
            let journal_of =
                |ending: &str| name.strip_suffix(ending).and_then(names::journal_id).map(str::to_owned);
            if let Some(id) = journal_of(names::DELETED) {
                for other in self.others_of(&id, files) {
                    remove(&other, false);
                }
                remove(&name, false);
            } else if let Some(id) = journal_of(names::ARCHIVED) {
                let journal = name.trim_end_matches(names::ARCHIVED);
                if !files.contains(journal) && names::journal(&id) == journal {
                    for other in self.others_of(&id, files) {
                        remove(&other, true);
                    }
                }
            } else if let Some(id) = journal_of(names::NEW) {
                if !files.contains(name.trim_end_matches(names::NEW)) {
                    // Nobody has seen that session yet.
                    for other in self.others_of(&id, files) {
                        remove(&other, false);
                    }
                }
                remove(&name, false);
            } else if name.ends_with(&format!(".thumbnail{}", names::NEW)) {
                remove(&name, false);
            }
        }
        if let Ok(now) = file_names(&self.path) {
            *files = now;
        }
    }

    /// History files and picture of a session that has no journal any more.
    fn others_of(&self, id: &str, files: &BTreeSet<String>) -> Vec<String> {
        let journal_names: HashSet<&str> = files.iter().filter_map(|f| names::journal_id(f)).collect();
        let belongs = |name: &&String| {
            let own = name.split('.').next().is_some_and(|stem| stem == id || !journal_names.contains(stem));
            own && (names::is_history_of(name, id) || **name == names::thumbnail(id))
        };
        files.iter().filter(belongs).cloned().collect()
    }

    /// Removes history files of a session that do not count any more.
    fn remove_left_over(
        &self,
        session: &SessionSummary,
        files: &BTreeSet<String>,
        ids: &HashSet<&str>,
        archive: bool,
    ) {
        let archive = session.metadata.archive.unwrap_or(archive);
        let current = session.metadata.file.as_deref().map(Path::new).and_then(Path::file_name);
        for name in files.iter().filter(|n| names::is_history_of(n, &session.id)) {
            let stem = name.split('.').next().unwrap_or_default();
            let of_another = stem != session.id && ids.contains(stem);
            if current.is_some_and(|c| c == name.as_str()) || of_another {
                continue;
            }
            tracing::info!("stored session {}: removing {name}, which does not count any more", session.id);
            if let Err(error) = names::remove(&self.path, name, archive) {
                tracing::warn!(%error, "cannot remove {name}");
            }
        }
    }

    /// Loads a session; blocks.
    ///
    /// # Errors
    /// When it cannot be loaded; nothing is changed then.
    pub fn load(self: &Arc<Self>, id: &str) -> Result<LoadedSession, LoadError> {
        let lock = self.lock_with_retry(id).ok_or(LoadError::InUse)?;
        let journal_name = self.journal_name(id);
        let journal_path = self.path.join(&journal_name);
        let journal = SyncFile::open(OpenOptions::new().read(true).write(true), &journal_path)?;
        let bytes = whole_journal(&journal.file)?;
        let mut replay = Metadata::replay(&bytes);
        let named = replay.metadata.file.clone();
        let name = self.current_file(&mut replay)?;
        let Replay { metadata, mut warnings, torn, unknown, .. } = replay;
        let mut backlog = if torn { "\n".to_owned() } else { String::new() };
        if named.as_ref() != Some(&name) {
            // With its line feed, the torn entry would count.
            Entry::File(name.clone()).write(&mut backlog);
        }
        let file = history_file::open(&self.path.join(&name), &name)?;
        let HistoryHeader { protocol, first_message, .. } = history_file::read_header(&file.file, &name)?;
        let io_error = |source| HistoryError::Io { name: name.clone(), source };
        let contents = history_file::scan(&file.file, first_message).map_err(io_error)?;
        if contents.messages() == 0 {
            return Err(HistoryError::Empty(name).into());
        }
        if contents.cut > 0 {
            let end = first_message + contents.size();
            file.file.set_len(end).map_err(io_error)?;
            self.syncer.written(&file);
            let bytes = contents.cut;
            warnings
                .push(format!("{name}: cut {bytes} bytes from offset {end} on, no whole message is there"));
        }
        let history = HistoryFile::new(file, -(first_message as i64));
        let journal = LoadedJournal {
            name: journal_name,
            sync: journal,
            end: bytes.len() as u64,
            backlog,
            hashes: [metadata.password.clone(), metadata.opword.clone()],
            unknown,
        };
        let store =
            SessionFiles::loaded(lock, protocol.clone(), journal, history.clone(), name, metadata.files);
        let picture = self.picture(id);
        Ok(LoadedSession { metadata, contents, history, protocol, picture, store, warnings })
    }

    /// Somebody who has just ended may still be writing.
    fn lock_with_retry(self: &Arc<Self>, id: &str) -> Option<SessionLock> {
        let begin = std::time::Instant::now();
        loop {
            match self.lock(id) {
                None if begin.elapsed() < CLAIM_PATIENCE => std::thread::sleep(CLAIM_INTERVAL),
                lock => return lock,
            }
        }
    }

    fn picture(&self, id: &str) -> Option<(Bytes, i64)> {
        let path = self.path.join(names::thumbnail(id));
        let bytes = fs::read(&path).ok()?;
        let modified = fs::metadata(&path).and_then(|m| m.modified()).ok()?;
        let made = modified.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
        Some((bytes.into(), made))
    }

    /// The files of a session, archives too; blocks. What cannot be read is left out.
    pub fn files_of(&self, id: &str) -> Vec<StoredFile> {
        let journal = self.journal_name(id);
        let names = file_names(&self.path).unwrap_or_default();
        let own = names.into_iter().filter(|name| *name == journal || name.starts_with(id));
        let read = own.filter_map(|name| {
            let path = self.path.join(&name);
            let modified = fs::metadata(&path).and_then(|m| m.modified()).ok()?;
            Some(StoredFile { modified, bytes: fs::read(&path).ok()?, name })
        });
        read.collect()
    }

    /// Ends a session that is not loaded: its files are deleted, or kept as archives if `archive` or the session itself
    /// says so; blocks.
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
        let _claim = self.lock_with_retry(id).ok_or_else(in_use)?;
        let bytes = read_journal(&self.path.join(&journal)).and_then(Result::ok);
        let metadata = bytes.map(|bytes| Metadata::replay(&bytes).metadata).unwrap_or_default();
        let archive = metadata.archive.unwrap_or(archive);
        self.remove_session(id, &journal, &metadata.file.unwrap_or_default(), archive)
    }

    /// Removes all files of a session. From the first step on it is gone; the rest is finished at the next start.
    pub(super) fn remove_session(
        &self,
        id: &str,
        journal: &str,
        history: &str,
        archive: bool,
    ) -> Result<(), StorageError> {
        let path = self.path.join(journal);
        let failed = |source| StorageError { doing: "remove", path: path.clone(), source };
        let mark = self.path.join(format!("{journal}{}", names::DELETED));
        if archive {
            names::remove(&self.path, journal, true).map_err(failed)?;
        } else {
            match fs::rename(&path, &mark) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done.map_err(failed)?,
            }
        }
        self.directory.sync().map_err(failed)?;
        let files = file_names(&self.path).map_err(failed)?;
        let mut others = self.others_of(id, &files);
        if files.contains(history) && !others.iter().any(|o| o == history) {
            others.push(history.to_owned());
        }
        for name in others {
            names::remove(&self.path, &name, archive).map_err(failed)?;
        }
        if !archive {
            names::remove(&self.path, &format!("{journal}{}", names::DELETED), false).map_err(failed)?;
        }
        lock(&self.odd_names).remove(id);
        self.syncer.written(&self.directory);
        Ok(())
    }
}

pub(super) fn lock_file(path: &Path) -> Result<File, SessionDirError> {
    let io_error = |source| SessionDirError::Io { path: path.to_owned(), source };
    let name = path.join(names::LOCK);
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
pub(super) fn file_names(path: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        // A link to a file is as good as a file.
        let is_file =
            entry.file_type().is_ok_and(|t| t.is_file() || (t.is_symlink() && entry.path().is_file()));
        if let (true, Ok(name)) = (is_file, entry.file_name().into_string()) {
            names.insert(name);
        }
    }
    Ok(names)
}

/// The journal; nothing if it cannot be read and written.
fn read_journal(path: &Path) -> Option<Result<Vec<u8>, LoadError>> {
    let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
    Some(whole_journal(&file))
}

fn whole_journal(file: &File) -> Result<Vec<u8>, LoadError> {
    if file.metadata()?.len() > MAX_JOURNAL {
        return Err(LoadError::JournalTooLong);
    }
    let mut bytes = Vec::new();
    file.take(MAX_JOURNAL).read_to_end(&mut bytes)?;
    Ok(bytes)
}
