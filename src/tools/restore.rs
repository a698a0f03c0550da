//! `drawhall restore`: unpacks an archive of [`super::backup`] to an empty directory.
//!
//! Only the files that a backup has are accepted, at their places. Everything is unpacked to a directory of its own, and
//! moved in place when the archive was read to its end, so an interrupted restore leaves nothing that a server would use.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use flate2::bufread::GzDecoder;
use serde_json::Value;

use super::backup::{BUFFER_BYTES, Backup, BackupError, DATABASE, FORMAT, MANIFEST, SESSIONS, file_error};
use crate::db;
use crate::storage::check;
use crate::storage::file_names;
use crate::storage::private::create_directory;

/// Directory for what is not complete yet, in the directory to restore to.
const UNPACKED: &str = "restore.part";

/// What was restored.
#[derive(Debug, Default)]
pub struct Restored {
    /// When the backup was made, in ISO 8601.
    pub created: String,
    /// Whether there was a database.
    pub database: bool,
    /// Number of sessions.
    pub sessions: usize,
    /// What `drawhall check` says about them.
    pub problems: Vec<String>,
}

/// Restores an archive to a data directory, which must be empty or missing; blocks.
///
/// # Errors
/// When the directory is in use or not empty, the archive is damaged or no backup, or something cannot be read or
/// written. Nothing is left in the directory then.
pub fn run(archive: impl Read, data: &Path) -> Result<Restored, BackupError> {
    require_empty(data)?;
    create_directory(data).map_err(file_error(data))?;
    let unpacked = data.join(UNPACKED);
    let done = unpack(archive, &unpacked).and_then(|manifest| {
        let mut restored = inspect(&unpacked)?;
        restored.created = manifest["created"].as_str().unwrap_or_default().to_owned();
        for name in [DATABASE, SESSIONS] {
            let path = data.join(name);
            match fs::rename(unpacked.join(name), &path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done.map_err(file_error(&path))?,
            }
        }
        let directory = File::open(data).map_err(file_error(data))?;
        // Of all files together.
        rustix::fs::syncfs(&directory).map_err(|error| file_error(data)(error.into()))?;
        Ok(restored)
    });
    // It is empty, or holds what is not complete.
    let removed = fs::remove_dir_all(&unpacked).map_err(file_error(&unpacked));
    let restored = done?;
    removed?;
    Ok(restored)
}

/// Restores a backup to a temporary directory beside it, and compares that with what was backed up; blocks.
///
/// # Errors
/// When it cannot be restored, or differs.
pub(super) fn verify(archive: &Path, backup: &Backup) -> Result<(), BackupError> {
    let directory = PathBuf::from(format!("{}.verify-{}", archive.display(), std::process::id()));
    let file = File::open(archive).map_err(file_error(archive))?;
    let restored = run(file, &directory);
    let removed = fs::remove_dir_all(&directory).map_err(file_error(&directory));
    let restored = restored?;
    removed?;
    let is_new = |problem: &&String| !backup.damaged.iter().any(|id| problem.starts_with(&format!("{id}: ")));
    let reason = if restored.sessions != backup.sessions {
        format!("it has {} sessions instead of {}", restored.sessions, backup.sessions)
    } else if let Some(problem) = restored.problems.iter().find(is_new) {
        problem.clone()
    } else {
        return Ok(());
    };
    Err(BackupError::Unsound { path: archive.to_owned(), reason })
}

fn require_empty(data: &Path) -> Result<(), BackupError> {
    let lock = data.join(SESSIONS).join(file_names::LOCK);
    if File::open(lock).is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock))) {
        return Err(BackupError::InUse(data.to_owned()));
    }
    match fs::read_dir(data).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(BackupError::NotEmpty(data.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(file_error(data)(error)),
    }
}

/// The archive cannot be read to its end.
fn broken(error: io::Error) -> BackupError {
    BackupError::NoBackup(error.to_string())
}

/// Unpacks an archive; returns its manifest.
fn unpack(archive: impl Read, directory: &Path) -> Result<Value, BackupError> {
    create_directory(directory).map_err(file_error(directory))?;
    let mut archive = tar::Archive::new(GzDecoder::new(BufReader::new(archive)));
    let mut manifest = None;
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = entry.path().map_err(broken)?.into_owned();
        if manifest.is_none() {
            manifest = Some(read_manifest(&name, &mut entry)?);
            continue;
        }
        let kind = entry.header().entry_type();
        let path = directory.join(&name);
        if name == Path::new(SESSIONS) && kind.is_dir() {
            create_directory(&path).map_err(file_error(&path))?;
        } else if kind.is_file() && (name == Path::new(DATABASE) || is_of_sessions(&name)) {
            write_file(&mut entry, &path)?;
        } else {
            return Err(BackupError::NoBackup(format!("unexpected entry {}", name.display())));
        }
    }
    // The checksum of gzip comes behind the last entry.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(broken)?;
    manifest.ok_or_else(|| BackupError::NoBackup("it is empty".to_owned()))
}

fn read_manifest(name: &Path, entry: &mut impl Read) -> Result<Value, BackupError> {
    let no_backup = |reason: String| BackupError::NoBackup(reason);
    if name != Path::new(MANIFEST) {
        return Err(no_backup(format!("its first entry is {}", name.display())));
    }
    let manifest: Value = serde_json::from_reader(entry).map_err(|e| no_backup(e.to_string()))?;
    match manifest["format"].as_u64() {
        Some(FORMAT) => Ok(manifest),
        Some(format) if format > FORMAT => Err(BackupError::Newer(format)),
        _ => Err(no_backup("it names no format".to_owned())),
    }
}

/// Whether a path is that of a file in the directory of sessions, and leads nowhere else.
fn is_of_sessions(name: &Path) -> bool {
    let parts: Vec<Component<'_>> = name.components().collect();
    matches!(parts.as_slice(), [Component::Normal(directory), Component::Normal(_)] if *directory == SESSIONS)
}

fn write_file<R: Read>(entry: &mut tar::Entry<'_, R>, path: &Path) -> Result<(), BackupError> {
    let modified = entry.header().mtime().unwrap_or_default();
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = created.map_err(file_error(path))?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = entry.read(&mut buffer).map_err(broken)?;
        if read == 0 {
            break;
        }
        file.write_all(&buffer[..read]).map_err(file_error(path))?;
    }
    // Idle time of sessions counts from it.
    let modified = UNIX_EPOCH.checked_add(Duration::from_secs(modified));
    let modified = modified.ok_or_else(|| broken(io::Error::other("a file has no possible time")))?;
    file.set_modified(modified).map_err(file_error(path))
}

/// Checks what was unpacked.
fn inspect(directory: &Path) -> Result<Restored, BackupError> {
    let mut restored = Restored::default();
    let database = directory.join(DATABASE);
    if database.exists() {
        check_database(&database)?;
        restored.database = true;
    }
    let sessions = directory.join(SESSIONS);
    if sessions.exists() {
        let found = check::inspect(&sessions, true);
        let found = found.map_err(|error| BackupError::NoBackup(error.to_string()))?;
        restored.sessions = found.len();
        for session in &found {
            restored.problems.extend(session.problems.iter().map(|p| format!("{}: {p}", session.id)));
        }
    }
    Ok(restored)
}

fn check_database(path: &Path) -> Result<(), BackupError> {
    let failed = |reason: String| BackupError::NoBackup(format!("its database is damaged: {reason}"));
    db::check_file(path).map_err(|e| failed(e.to_string()))
}
