//! Ended sessions that can be restored. Their files wait in the subdirectory `ended` of the session directory, in a
//! directory for each, `<seconds since 1970>-<session id>`.
//!
//! The journal moves first when a session ends, and last when it is restored, so that at any time the session is
//! either there or ended. What a crash has interrupted is completed at the next start.

mod eviction;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) use self::eviction::SessionHost;
use self::eviction::{HOST_FILE, Quota, is_slight, next_to_go};
use super::{SessionDir, SessionDirError, StorageError, file_names, lock_file};
use crate::rules::metadata::Metadata;
use crate::storage::private::create_directory;

/// Name of the subdirectory.
pub const ENDED: &str = "ended";

/// Ended sessions that are kept at most: each costs files, also if nothing was drawn in it.
const MAX_ENDED: usize = 1000;
/// What a small file takes on a disk, in bytes.
const MIN_FILE_SIZE: u64 = 4096;

/// Which ended sessions are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndedLimits {
    /// For how long; zero for not at all.
    pub age: Duration,
    /// Maximum size of all together in bytes, 0 for no limit. The one that ended last stays.
    pub bytes: u64,
}

/// An ended session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct EndedSession {
    pub id: String,
    pub alias: String,
    pub title: String,
    pub founder: String,
    /// Seconds since 1970.
    pub ended: u64,
    /// Size of its files in bytes.
    pub size: u64,
    /// Account or address network of the host; empty if unknown.
    pub(in crate::storage) host: String,
    /// It was short, or nobody but the host was in it.
    pub(in crate::storage) is_slight: bool,
    pub(in crate::storage) directory: PathBuf,
    /// File name of its journal.
    pub(in crate::storage) journal: String,
}

/// A session cannot be restored; nothing has changed, unless a file could not be moved.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the names say it")]
pub enum RestoreError {
    #[error("there is no ended session '{0}'")]
    NotEnded(String),
    #[error("there is a session '{0}'")]
    Exists(String),
    #[error("cannot move the files of the session: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Directory(#[from] SessionDirError),
}

/// The ended sessions of a directory, the newest first.
///
/// # Errors
/// When the directory cannot be read.
pub fn list(sessions: &Path) -> io::Result<Vec<EndedSession>> {
    let entries = match fs::read_dir(sessions.join(ENDED)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found: Vec<EndedSession> = entries.filter_map(|entry| read(entry.ok()?.path())).collect();
    found.sort_by_key(|session| std::cmp::Reverse(session.ended));
    Ok(found)
}

/// An ended session from its directory; `None` if that is none.
fn read(directory: PathBuf) -> Option<EndedSession> {
    let (ended, id) = directory.file_name()?.to_str()?.split_once('-')?;
    let (ended, id) = (ended.parse().ok()?, id.to_owned());
    let files = file_names(&directory).ok()?;
    let journal = files.iter().find(|name| file_names::journal_id(name) == Some(&id))?;
    let metadata = Metadata::replay(&fs::read(directory.join(journal)).ok()?).metadata;
    let size =
        |name: &String| fs::metadata(directory.join(name)).map_or(0, |file| file.len().max(MIN_FILE_SIZE));
    let size = files.iter().filter(|name| *name != HOST_FILE).map(size).sum();
    let host = SessionHost::read(&directory);
    let is_slight = is_slight(&metadata, host.as_ref(), ended);
    let host = host.map(|host| host.name().to_owned()).unwrap_or_default();
    let Metadata { alias, title, founder, .. } = metadata;
    let journal = journal.clone();
    Some(EndedSession { id, alias, title, founder, ended, size, host, is_slight, directory, journal })
}

/// Restores the session of this id that ended last, while no server uses the directory.
///
/// # Errors
/// When a server uses the directory, the session is not there or its id is taken, or a file cannot be moved.
pub fn restore(sessions: &Path, id: &str) -> Result<EndedSession, RestoreError> {
    let lock = lock_file(sessions)?;
    let restored = move_back(sessions, id);
    lock.unlock()?;
    restored.map(|(session, _)| session)
}

/// Moves the files of a session back. Returns with it who hosted it, if that is known.
fn move_back(sessions: &Path, id: &str) -> Result<(EndedSession, Option<SessionHost>), RestoreError> {
    let found = list(sessions)?.into_iter().find(|session| session.id == id);
    let found = found.ok_or_else(|| RestoreError::NotEnded(id.to_owned()))?;
    let host = SessionHost::read(&found.directory);
    let mut names = file_names(&found.directory)?;
    names.remove(HOST_FILE);
    if names.iter().any(|name| sessions.join(name).exists()) {
        return Err(RestoreError::Exists(id.to_owned()));
    }
    let (journals, others): (Vec<_>, Vec<_>) =
        names.iter().partition(|name| file_names::journal_id(name) == Some(id));
    for name in others.iter().chain(&journals) {
        fs::rename(found.directory.join(name), sessions.join(name))?;
    }
    for name in journals {
        // It has been used now, or it would be idle for too long at once.
        File::options().write(true).open(sessions.join(name))?.set_modified(SystemTime::now())?;
    }
    fs::remove_dir_all(&found.directory)?;
    File::open(sessions)?.sync_all()?;
    Ok((found, host))
}

/// Removes ended sessions that are too old, or too many.
fn purge(sessions: &Path, limits: EndedLimits) -> io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let oldest = now.saturating_sub(limits.age).as_secs();
    let mut failed = None;
    let mut discard = |session: &EndedSession| {
        tracing::info!("removing the files of session {}, which has ended", session.id);
        if let Err(error) = remove(&session.directory) {
            failed.get_or_insert(error);
        }
    };
    let is_over = |session: &EndedSession| session.ended < oldest || limits.age.is_zero();
    let (over, mut kept): (Vec<_>, Vec<_>) = list(sessions)?.into_iter().partition(is_over);
    over.iter().for_each(&mut discard);
    let mut bytes: u64 = kept.iter().map(|session| session.size).sum();
    loop {
        let quota = match kept.len() {
            count if count > MAX_ENDED => Quota::Number(MAX_ENDED as u64),
            _ if limits.bytes > 0 && bytes > limits.bytes => Quota::Bytes(limits.bytes),
            _ => break,
        };
        // The last one that ended stays, however large it is.
        let Some(place) = next_to_go(&kept, quota) else { break };
        let session = kept.remove(place);
        bytes -= session.size;
        discard(&session);
    }
    failed.map_or(Ok(()), Err)
}

/// Removes an ended session, its journal last: without that nobody would find what an interruption leaves.
fn remove(directory: &Path) -> io::Result<()> {
    let names = file_names(directory)?;
    let (journals, others): (Vec<_>, Vec<_>) =
        names.iter().partition(|name| file_names::journal_id(name).is_some());
    for name in others.into_iter().chain(journals) {
        fs::remove_file(directory.join(name))?;
    }
    fs::remove_dir_all(directory)
}

/// Whether something failed because the disk, or a quota, is full.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl SessionDir {
    /// Keeps sessions that end from now on, within these limits, and removes those beyond them; blocks.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn keep_ended(&self, limits: EndedLimits) -> io::Result<()> {
        *self.ended.lock() = limits;
        let _one_at_a_time = self.ended_work.lock();
        purge(self.path(), limits)
    }

    /// Whether sessions that end are kept.
    pub fn keeps_ended(&self) -> bool {
        !self.ended.lock().age.is_zero()
    }

    /// Moves the files of a session to the ended ones. On a full disk, where that needs space, some of those are removed
    /// for it; `false` if there is still none.
    pub(super) fn move_to_ended(&self, id: &str, journal: &str, history: &str) -> Result<bool, StorageError> {
        let path = self.path.join(journal);
        let failed = |source| StorageError { doing: "move", path: path.clone(), source };
        while let Err(error) = self.try_move_to_ended(id, journal, history) {
            // Once the journal has moved, the session has ended; the next start completes it.
            if !is_full(&error) || !path.exists() {
                return Err(failed(error));
            }
            let mut ended = list(&self.path).map_err(failed)?;
            // There is no room for more than they have.
            let room = Quota::Bytes(ended.iter().map(|session| session.size).sum());
            let Some(place) = next_to_go(&ended, room).or(ended.len().checked_sub(1)) else {
                return Ok(false);
            };
            let displaced = ended.swap_remove(place);
            tracing::warn!(
                "the disk is full: removing the files of session {}, which has ended",
                displaced.id
            );
            self.remove_ended(&displaced.directory).map_err(failed)?;
        }
        self.irregular_names.lock().remove(id);
        self.syncer.queue(&self.directory);
        Ok(true)
    }

    /// The session of this id that ended last, with all its files moved.
    pub(super) fn find_ended(&self, id: &str) -> io::Result<Option<EndedSession>> {
        let _one_at_a_time = self.ended_work.lock();
        Ok(list(&self.path)?.into_iter().find(|session| session.id == id))
    }

    /// Removes an ended session.
    pub(in crate::storage) fn remove_ended(&self, directory: &Path) -> io::Result<()> {
        let _one_at_a_time = self.ended_work.lock();
        remove(directory)
    }

    fn try_move_to_ended(&self, id: &str, journal: &str, history: &str) -> io::Result<()> {
        let _one_at_a_time = self.ended_work.lock();
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let target = self.path.join(ENDED).join(format!("{seconds}-{id}"));
        create_directory(&target)?;
        if let Err(error) = fs::rename(self.path.join(journal), target.join(journal)) {
            // A directory without a journal would stay for ever.
            fs::remove_dir_all(&target)?;
            // It was never written.
            return if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) };
        }
        let host = self.hosts.lock().get(id).cloned();
        // A full disk keeps no session from being moved.
        if let Some(Err(error)) = host.map(|host| host.write(&target)) {
            tracing::warn!(%error, "cannot note who hosted session {id}, which has ended");
        }
        self.directory.sync()?;
        self.move_others(id, history, &target)?;
        File::open(&target)?.sync_all()?;
        let limits = *self.ended.lock();
        if let Err(error) = purge(&self.path, limits) {
            tracing::warn!(%error, "cannot remove an ended session");
        }
        Ok(())
    }

    fn move_others(&self, id: &str, history: &str, target: &Path) -> io::Result<()> {
        let files = file_names(self.path())?;
        let mut others = self.files_without_journal(id, &files);
        if files.contains(history) && !others.iter().any(|other| other == history) {
            others.push(history.to_owned());
        }
        for name in others {
            fs::rename(self.path().join(&name), target.join(&name))?;
        }
        Ok(())
    }

    /// Completes what a crash has interrupted: files of ended sessions that are still, or again, in the directory.
    pub(super) fn finish_ended(&self, files: &mut BTreeSet<String>) {
        for session in list(self.path()).unwrap_or_default() {
            // Most have nothing left here.
            let is_interrupted =
                files.range(session.id.clone()..).next().is_some_and(|name| name.starts_with(&session.id))
                    && !files.iter().any(|name| file_names::journal_id(name) == Some(&session.id));
            if !is_interrupted {
                continue;
            }
            if let Err(error) = self.move_others(&session.id, "", &session.directory) {
                tracing::warn!(%error, "cannot move files of session {}, which has ended", session.id);
            }
        }
        if let Ok(now) = file_names(self.path()) {
            *files = now;
        }
    }

    /// Restores the session of this id that ended last; blocks. The server finds it among those to be retried.
    ///
    /// # Errors
    /// When it is not there, its id is taken, or a file cannot be moved.
    pub fn restore_ended(self: &Arc<Self>, id: &str) -> Result<EndedSession, RestoreError> {
        let in_use = self.lock(id).ok_or_else(|| RestoreError::Exists(id.to_owned()))?;
        let one_at_a_time = self.ended_work.lock();
        let restored = move_back(&self.path, id);
        if let Ok((_, Some(host))) = &restored {
            self.hosts.lock().insert(id.to_owned(), host.clone());
        }
        let restored = restored.map(|(session, _)| session);
        drop((in_use, one_at_a_time));
        if restored.is_ok() {
            self.announce_restored(id);
        }
        restored
    }
}

#[cfg(test)]
mod tests;
