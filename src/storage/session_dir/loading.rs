//! Loading a session from its files.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;

use super::{
    LOCK_RETRY_INTERVAL, LOCK_TIMEOUT, LoadError, LoadedSession, SessionDir, SessionLock, StoredFile,
    file_names, whole_journal,
};
use crate::rules::journal::Entry;
use crate::rules::metadata::{Metadata, Replay};
use crate::rules::session::persistence::StoredSession;
use crate::rules::undo::times::TimeMarks;
use crate::storage::history_file::{self, HistoryError, HistoryFile, HistoryHeader};
use crate::storage::marks_file::{self, StoredMarks};
use crate::storage::session_files::{LoadedHistory, LoadedJournal, SessionFiles};
use crate::storage::syncer::SyncFile;

impl SessionDir {
    /// Loads a session; blocks.
    ///
    /// # Errors
    /// When it cannot be loaded; its files are not changed then.
    pub fn load(self: &Arc<Self>, id: &str) -> Result<LoadedSession, LoadError> {
        let lock = self.lock_with_retry(id).ok_or(LoadError::InUse)?;
        self.load_locked(lock)
    }

    /// Loads a session whose files another place has, and writes them here first; blocks. What was here of it is
    /// removed. Also returns the names of files that were damaged at their end, and were cut here.
    ///
    /// # Errors
    /// When `fetch` fails or the session cannot be loaded.
    pub fn load_fetched<E: From<LoadError>>(
        self: &Arc<Self>,
        id: &str,
        fetch: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(LoadedSession, Vec<String>), E> {
        let lock = self.lock_with_retry(id).ok_or(LoadError::InUse)?;
        self.remove_copies(Some(id)).map_err(LoadError::from)?;
        fetch(&self.path)?;
        self.directory.sync().map_err(LoadError::from)?;
        let len = |path: &Path| fs::metadata(path).map(|m| m.len()).ok();
        let files = self.named_files(id).map_err(LoadError::from)?;
        let before: Vec<_> = files.into_iter().map(|(path, name)| (len(&path), path, name)).collect();
        let loaded = self.load_locked(lock)?;
        let cut = before.into_iter().filter(|(before, path, _)| len(path) != *before);
        Ok((loaded, cut.map(|(_, _, name)| name).collect()))
    }

    /// Removes the files of a session, or of all sessions, that are copies of what another place has; blocks.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn remove_copies(&self, id: Option<&str>) -> io::Result<()> {
        for name in file_names(&self.path)? {
            if file_names::is_of_session(&name, id) {
                fs::remove_file(self.path.join(&name))?;
            }
        }
        Ok(())
    }

    /// Paths of the files of a session, and the names that they have if all were made by this program.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn named_files(&self, id: &str) -> io::Result<Vec<(PathBuf, String)>> {
        let journal = self.journal_name(id);
        let names = file_names(&self.path)?;
        let own = names.into_iter().filter(|name| {
            *name == journal || !name.to_ascii_lowercase().ends_with(".session") && is_whole_file_of(name, id)
        });
        let regular = |name: String| {
            let as_named = if name == journal { file_names::journal(id) } else { name.clone() };
            (self.path.join(name), as_named)
        };
        Ok(own.map(regular).collect())
    }

    fn load_locked(self: &Arc<Self>, lock: SessionLock) -> Result<LoadedSession, LoadError> {
        let id = lock.id().to_owned();
        let id = id.as_str();
        let journal_name = self.journal_name(id);
        let journal_path = self.path.join(&journal_name);
        let journal = SyncFile::open(OpenOptions::new().read(true).write(true), &journal_path)?;
        let bytes = whole_journal(&journal.file)?;
        let mut replay = Metadata::replay(&bytes);
        let named = replay.metadata.file.clone();
        let name = current_file(&self.path, &mut replay)?;
        if named.as_ref() != Some(&name) {
            replay.metadata.indexes = None;
        }
        let Replay { metadata, mut warnings, torn, unknown, .. } = replay;
        let mut backlog = if torn { "\n".to_owned() } else { String::new() };
        if named.as_ref() != Some(&name) {
            // If only a line feed followed, the torn entry would become valid.
            Entry::File(name.clone()).write(&mut backlog);
        }
        let file = history_file::open(&self.path.join(&name), &name)?;
        let HistoryHeader { protocol, first_message, .. } = history_file::read_header(&file.file, &name)?;
        let io_error = |source| HistoryError::Io { name: name.clone(), source };
        let contents = history_file::scan(&file.file, first_message).map_err(io_error)?;
        if contents.messages() == 0 {
            return Err(HistoryError::Empty(name).into());
        }
        if contents.torn_bytes > 0 {
            let end = first_message + contents.size();
            file.file.set_len(end).map_err(io_error)?;
            self.syncer.queue(&file);
            let bytes = contents.torn_bytes;
            warnings
                .push(format!("{name}: cut {bytes} bytes at offset {end}: the last message is incomplete"));
        }
        let history = HistoryFile::new(file, -(first_message as i64));
        let marks = self.marks_of(&name, contents.size(), &mut warnings);
        // Only a history with a number can have replaced another.
        let replaced = file_names::history_number(&name, id).is_some_and(|number| number > 1);
        let awaits_join = replaced && !marks.has_joined;
        let times = TimeMarks::restored(marks.marks.iter().copied(), marks.origin);
        let journal = LoadedJournal {
            name: journal_name,
            sync: journal,
            end: bytes.len() as u64,
            backlog,
            hashes: [metadata.password.clone(), metadata.opword.clone()],
            unknown,
            indexes: metadata.indexes.clone(),
        };
        let history_files = LoadedHistory { file: history.clone(), name, marks };
        let store = SessionFiles::loaded(lock, protocol.clone(), journal, history_files, metadata.files);
        let picture = self.picture(id);
        let id = id.to_owned();
        let session = StoredSession {
            id,
            metadata,
            contents,
            history,
            protocol,
            times,
            awaits_join,
            picture,
            warnings,
        };
        Ok(LoadedSession { session, store })
    }

    /// Locks a session's files. Retries for a while, because a session that has just ended may still be writing.
    pub(super) fn lock_with_retry(self: &Arc<Self>, id: &str) -> Option<SessionLock> {
        let begin = std::time::Instant::now();
        loop {
            match self.lock(id) {
                None if begin.elapsed() < LOCK_TIMEOUT => std::thread::sleep(LOCK_RETRY_INTERVAL),
                lock => return lock,
            }
        }
    }

    /// The time marks of a history file. Without them the session can be loaded as well.
    fn marks_of(&self, name: &str, size: u64, warnings: &mut Vec<String>) -> StoredMarks {
        let marks = marks_file::read(&self.path, name, size).unwrap_or_else(|error| {
            warnings.push(format!("the time marks of {name} cannot be read: {error}"));
            None
        });
        let marks = marks.unwrap_or_default();
        if marks.is_damaged {
            let whole = marks.marks.len();
            warnings.push(format!("the time marks of {name} are damaged behind the first {whole}: ignored"));
        }
        marks
    }

    fn picture(&self, id: &str) -> Option<(Bytes, i64)> {
        let path = self.path.join(file_names::thumbnail(id));
        let bytes = fs::read(&path).ok()?;
        let modified = fs::metadata(&path).and_then(|m| m.modified()).ok()?;
        let modified_ms = modified.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
        Some((bytes.into(), modified_ms))
    }

    /// The history of a stored session as a recording of `max_size` bytes at most, up to its last whole message; blocks.
    /// The session may be in use.
    ///
    /// # Errors
    /// When it is larger, cannot be read, or has just been reset.
    pub fn recording(&self, id: &str, max_size: u64) -> Result<Vec<u8>, LoadError> {
        recording_in(&self.path, &self.journal_name(id), max_size)
    }

    /// The same of the session of this id that ended last; `None` if none can be restored.
    ///
    /// # Errors
    /// When it is larger, or cannot be read.
    pub fn ended_recording(&self, id: &str, max_size: u64) -> Result<Option<Vec<u8>>, LoadError> {
        let ended = self.find_ended(id)?;
        ended.map(|session| recording_in(&session.directory, &session.journal, max_size)).transpose()
    }

    /// Copies of all files of a session, archives too; blocks. Files that cannot be read are left out.
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
}

/// Whether a file is one of the session's, and complete.
fn is_whole_file_of(name: &str, id: &str) -> bool {
    let is_incomplete = name.ends_with(file_names::NEW) || name.ends_with(file_names::DELETED);
    file_names::is_of_session(name, Some(id)) && !is_incomplete
}

/// The history of the session with this journal, up to its last whole message.
fn recording_in(directory: &Path, journal: &str, max_size: u64) -> Result<Vec<u8>, LoadError> {
    let mut replay = Metadata::replay(&fs::read(directory.join(journal))?);
    let name = current_file(directory, &mut replay)?;
    let io_error = |source| HistoryError::Io { name: name.clone(), source };
    let file = File::open(directory.join(&name)).map_err(io_error)?;
    let header = history_file::read_header(&file, &name)?;
    let contents = history_file::scan(&file, header.first_message).map_err(io_error)?;
    let size = header.first_message + contents.size();
    if size > max_size {
        return Err(LoadError::TooLarge);
    }
    let mut recording = vec![0; usize::try_from(size).map_err(|_| LoadError::TooLarge)?];
    file.read_exact_at(&mut recording, 0).map_err(io_error)?;
    Ok(recording)
}

/// The name of the current history file. A `FILE` entry in a torn last line is used only if its file exists.
pub(super) fn current_file(directory: &Path, replay: &mut Replay) -> Result<String, LoadError> {
    let torn = replay.file_before.take();
    let name = replay.metadata.file.clone().ok_or(LoadError::NoFile)?;
    match torn {
        Some(before) if !directory.join(&name).is_file() => {
            replay.warnings.push(format!("the last line is torn: the history file is {before}"));
            replay.metadata.file = Some(before.clone());
            Ok(before)
        }
        _ => Ok(name),
    }
}
