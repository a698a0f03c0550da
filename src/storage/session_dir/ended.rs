//! Ended sessions that can be restored. Their files wait in the subdirectory `ended` of the session directory, in a
//! directory for each, `<seconds since 1970>-<session id>`.
//!
//! The journal moves first when a session ends, and last when it is restored, so that at any time the session is
//! either there or ended. What a crash has interrupted is completed at the next start.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{SessionDir, SessionDirError, StorageError, file_names, lock_file};
use crate::rules::metadata::Metadata;
use crate::storage::private::create_directory;

/// Name of the subdirectory.
pub const ENDED: &str = "ended";

/// Ended sessions that are kept at most, the newest: each costs files, also if nothing was drawn in it.
const MAX_ENDED: usize = 1000;
/// What a small file takes on a disk, in bytes.
const MIN_FILE_SIZE: u64 = 4096;

/// Which ended sessions are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndedLimits {
    /// For how long; zero for not at all.
    pub age: Duration,
    /// Maximum size of all together in bytes, 0 for no limit. The newest stay.
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
    directory: PathBuf,
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
    let size = files.iter().map(size).sum();
    let Metadata { alias, title, founder, .. } = metadata;
    Some(EndedSession { id, alias, title, founder, ended, size, directory })
}

/// Restores the session of this id that ended last, while no server uses the directory.
///
/// # Errors
/// When a server uses the directory, the session is not there or its id is taken, or a file cannot be moved.
pub fn restore(sessions: &Path, id: &str) -> Result<EndedSession, RestoreError> {
    let lock = lock_file(sessions)?;
    let restored = move_back(sessions, id);
    lock.unlock()?;
    restored
}

fn move_back(sessions: &Path, id: &str) -> Result<EndedSession, RestoreError> {
    let found = list(sessions)?.into_iter().find(|session| session.id == id);
    let found = found.ok_or_else(|| RestoreError::NotEnded(id.to_owned()))?;
    let names = file_names(&found.directory)?;
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
    fs::remove_dir(&found.directory)?;
    File::open(sessions)?.sync_all()?;
    Ok(found)
}

/// Removes ended sessions that are too old, or too many, and what is left of those that were being removed.
fn purge(sessions: &Path, limits: EndedLimits) -> io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let oldest = now.saturating_sub(limits.age).as_secs();
    let (mut total, mut failed) = (0, None);
    for (count, session) in list(sessions)?.into_iter().enumerate() {
        total += session.size;
        // The last one that ended stays, however large it is.
        let is_too_much = limits.bytes > 0 && total > limits.bytes && total > session.size;
        if session.ended < oldest || is_too_much || count >= MAX_ENDED || limits.age.is_zero() {
            tracing::info!("removing the files of session {}, which has ended", session.id);
            if let Err(error) = remove(&session.directory) {
                failed.get_or_insert(error);
            }
        }
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

    /// Moves the files of a session to the ended ones.
    pub(super) fn move_to_ended(&self, id: &str, journal: &str, history: &str) -> Result<(), StorageError> {
        let path = self.path.join(journal);
        self.try_move_to_ended(id, journal, history).map_err(|source| StorageError {
            doing: "move",
            path,
            source,
        })?;
        self.irregular_names.lock().remove(id);
        self.syncer.queue(&self.directory);
        Ok(())
    }

    fn try_move_to_ended(&self, id: &str, journal: &str, history: &str) -> io::Result<()> {
        let _one_at_a_time = self.ended_work.lock();
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let target = self.path.join(ENDED).join(format!("{seconds}-{id}"));
        create_directory(&target)?;
        match fs::rename(self.path.join(journal), target.join(journal)) {
            // It was never written.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return fs::remove_dir(&target),
            done => done?,
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
        drop((in_use, one_at_a_time));
        if restored.is_ok() {
            self.announce_restored(id);
        }
        restored
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const KEPT: EndedLimits = EndedLimits { age: DAY, bytes: 0 };

    fn directory(limits: EndedLimits) -> (tempfile::TempDir, Arc<SessionDir>) {
        let folder = tempfile::tempdir().unwrap();
        let dir = SessionDir::open(folder.path(), Duration::ZERO).unwrap();
        dir.keep_ended(limits).unwrap();
        (folder, dir)
    }

    fn write(folder: &Path, id: &str, size: usize) {
        fs::write(folder.join(format!("{id}.session")), format!("FILE {id}_r2.dprec\nTITLE Of {id}\n"))
            .unwrap();
        fs::write(folder.join(format!("{id}_r2.dprec")), vec![0; size]).unwrap();
        fs::write(folder.join(format!("{id}.dprec")), "earlier").unwrap();
        fs::write(folder.join(format!("{id}_r2.times")), "time marks").unwrap();
        fs::write(folder.join(format!("{id}.thumbnail")), "picture").unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = file_names(folder).unwrap().into_iter();
        names.filter(|name| name != file_names::LOCK).collect()
    }

    #[test]
    fn an_ended_session_can_be_restored_with_all_its_files() {
        let (folder, dir) = directory(KEPT);
        write(folder.path(), "a", 10);
        write(folder.path(), "b", 10);
        let before = names(folder.path());
        dir.remove_unloaded("a", false).unwrap();
        assert!(names(folder.path()).iter().all(|name| name.starts_with('b')));
        let ended = list(folder.path()).unwrap();
        assert_eq!((ended.len(), ended[0].id.as_str(), ended[0].title.as_str()), (1, "a", "Of a"));
        assert!(ended[0].size > 20);
        assert!(matches!(dir.restore_ended("b"), Err(RestoreError::NotEnded(_))));
        dir.restore_ended("a").unwrap();
        assert_eq!(names(folder.path()), before);
        assert!(dir.has_unreadable(), "the server looks at it");
        assert!(list(folder.path()).unwrap().is_empty());
    }

    #[test]
    fn a_session_is_not_restored_over_another() {
        let (folder, dir) = directory(KEPT);
        write(folder.path(), "a", 10);
        dir.remove_unloaded("a", false).unwrap();
        write(folder.path(), "a", 20);
        assert!(matches!(dir.restore_ended("a"), Err(RestoreError::Exists(_))));
        assert_eq!(fs::metadata(folder.path().join("a_r2.dprec")).unwrap().len(), 20);
        assert!(matches!(restore(folder.path(), "a"), Err(RestoreError::Directory(_))), "a server uses it");
    }

    #[test]
    fn what_is_too_old_or_too_much_is_removed() {
        let (folder, dir) = directory(EndedLimits { age: DAY, bytes: 45_000 });
        for (id, seconds_ago) in [("old", 90_000), ("first", 3000), ("second", 2000)] {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            let ended = folder.path().join(ENDED).join(format!("{}-{id}", now - seconds_ago));
            fs::create_dir_all(&ended).unwrap();
            write(&ended, id, 2000);
        }
        write(folder.path(), "last", 2000);
        dir.remove_unloaded("last", false).unwrap();
        let left = || list(folder.path()).unwrap().into_iter().map(|s| s.id).collect::<Vec<_>>();
        assert_eq!(left(), ["last", "second"]);
        // Each file counts as four kilobytes.
        dir.keep_ended(EndedLimits { age: DAY, bytes: 1 }).unwrap();
        assert_eq!(left(), ["last"], "the last one stays");
        dir.keep_ended(EndedLimits::default()).unwrap();
        assert!(left().is_empty());
        write(folder.path(), "gone", 10);
        dir.remove_unloaded("gone", false).unwrap();
        assert!(left().is_empty() && names(folder.path()).is_empty(), "none are kept");
    }

    #[test]
    fn the_number_of_ended_sessions_is_bounded() {
        let (folder, dir) = directory(KEPT);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        for number in 0..MAX_ENDED as u64 + 5 {
            let ended = folder.path().join(ENDED).join(format!("{}-s{number}", now - number));
            fs::create_dir_all(&ended).unwrap();
            fs::write(ended.join(format!("s{number}.session")), format!("FILE s{number}.dprec\n")).unwrap();
        }
        dir.keep_ended(KEPT).unwrap();
        let left = list(folder.path()).unwrap();
        assert_eq!((left.len(), left[0].id.as_str()), (MAX_ENDED, "s0"), "the newest stay");
    }

    #[test]
    fn interrupted_moves_are_completed_at_the_next_start() {
        let (folder, dir) = directory(KEPT);
        write(folder.path(), "a", 10);
        let ended = folder.path().join(ENDED).join("1800000000-a");
        fs::create_dir_all(&ended).unwrap();
        fs::rename(folder.path().join("a.session"), ended.join("a.session")).unwrap();
        let mut files = file_names(folder.path()).unwrap();
        dir.finish_ended(&mut files);
        assert!(names(folder.path()).is_empty());
        assert_eq!(names(&ended), ["a.dprec", "a.session", "a.thumbnail", "a_r2.dprec", "a_r2.times"]);
    }
}
