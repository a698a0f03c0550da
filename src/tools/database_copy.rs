//! A consistent copy of a database that may be in use, for `drawhall backup`.

use std::fs;
use std::path::{Path, PathBuf};

use super::backup::{BackupError, names_in};
use crate::db;

/// A copy of a database beside it. It is removed when this is dropped.
#[derive(Debug)]
pub struct DatabaseCopy {
    path: PathBuf,
}

impl DatabaseCopy {
    /// Copies a database that may be in use; blocks. Its schema does not matter.
    ///
    /// # Errors
    /// When it cannot be read, or the copy cannot be written.
    pub fn of(database: &Path) -> Result<DatabaseCopy, BackupError> {
        let failed = |reason: String| BackupError::Database { path: database.to_owned(), reason };
        let source = database.to_str().ok_or_else(|| failed("its name is no Unicode text".into()))?;
        remove_stale_copies(database);
        let copy = DatabaseCopy { path: PathBuf::from(format!("{source}.backup-{}", std::process::id())) };
        db::copy_file(database, &copy.path).map_err(|e| failed(e.to_string()))?;
        Ok(copy)
    }

    /// Path of the copy.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Removes copies of processes that were killed.
fn remove_stale_copies(database: &Path) {
    let Some(name) = database.file_name().and_then(|name| name.to_str()) else { return };
    let parent = database.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for copy in names_in(parent).unwrap_or_default() {
        let rest = copy.strip_prefix(name).and_then(|rest| rest.strip_prefix(".backup-"));
        // SQLite may have left a journal beside it.
        let process = rest.map(|rest| rest.strip_suffix("-journal").unwrap_or(rest));
        let Some(process) = process.and_then(|digits| digits.parse::<u32>().ok()) else { continue };
        // In a container each process may have the same number.
        let is_own = process == std::process::id();
        if is_own || !Path::new("/proc").join(process.to_string()).exists() {
            // What stays only takes space.
            let _ = fs::remove_file(parent.join(copy));
        }
    }
}

impl Drop for DatabaseCopy {
    fn drop(&mut self) {
        // It may not exist yet.
        let _ = fs::remove_file(&self.path);
    }
}
