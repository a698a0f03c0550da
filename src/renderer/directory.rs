//! The directory in which the program runs. It is locked (flock) while it is used. After a crash or a power cut it
//! stays, and its lock is free: the next start removes it.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use tempfile::TempDir;

/// Beginning of the names of the directories.
const PREFIX: &str = "drawhall-picture-";
/// How often a directory is made anew because another server's start took it for an abandoned one before it was locked.
const ATTEMPTS: usize = 10;

/// A locked directory, which is removed when this is dropped.
pub(super) struct LockedDirectory {
    // Removed before the lock is released.
    directory: TempDir,
    _lock: File,
}

impl LockedDirectory {
    /// Makes one in `parent`.
    pub(super) fn new_in(parent: &Path) -> io::Result<LockedDirectory> {
        for _ in 0..ATTEMPTS {
            let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
            match lock(directory.path()) {
                Ok(Some(lock)) if directory.path().exists() => {
                    return Ok(LockedDirectory { directory, _lock: lock });
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("its directory is removed by others"))
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Locks a directory; `None` if it is locked already.
fn lock(directory: &Path) -> io::Result<Option<File>> {
    let file = File::open(directory)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Removes directories in `parent` that nobody uses any more. Those of other users stay.
pub(super) fn remove_abandoned(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX))
            && entry.metadata().is_ok_and(|directory| directory.is_dir() && is_of_this_user(&directory));
        // Locked until it is gone, so that nobody begins to use it.
        if is_ours && let Ok(Some(_lock)) = lock(&path) {
            match fs::remove_dir_all(&path) {
                Ok(()) => tracing::info!("removed {}, which a crash had left", path.display()),
                Err(error) => tracing::warn!("{} cannot be removed: {error}", path.display()),
            }
        }
    }
}

fn is_of_this_user(directory: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::uid(directory) == rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(parent: &Path) -> Vec<String> {
        let entries = fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn only_directories_that_nobody_uses_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let used = LockedDirectory::new_in(parent.path()).unwrap();
        fs::write(used.path().join("session.dprec"), "x").unwrap();
        for abandoned in ["drawhall-picture-abcdef", "drawhall-else"] {
            fs::create_dir(parent.path().join(abandoned)).unwrap();
            fs::write(parent.path().join(abandoned).join("session.dprec"), "x").unwrap();
        }
        fs::write(parent.path().join("drawhall-picture-file"), "x").unwrap();
        std::os::unix::fs::symlink("drawhall-else", parent.path().join("drawhall-picture-link")).unwrap();
        remove_abandoned(parent.path());
        let left = names(parent.path());
        assert!(used.path().join("session.dprec").exists());
        assert!(parent.path().join("drawhall-else/session.dprec").exists());
        assert!(!left.contains(&"drawhall-picture-abcdef".to_owned()), "{left:?}");
        assert!(left.contains(&"drawhall-picture-file".to_owned()), "{left:?}");
        drop(used);
        assert_eq!(names(parent.path()), ["drawhall-else", "drawhall-picture-file", "drawhall-picture-link"]);
    }
}
