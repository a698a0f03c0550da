//! `drawhall backup` and `drawhall restore`: which files, as which user, and what is printed.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use drawhall::text;
use drawhall::tools::backup::{self, Backup, BackupJob};
use drawhall::tools::database_copy::DatabaseCopy;
use drawhall::tools::restore;

use crate::Failure;
use crate::cli::BackupArgs;
use crate::data_paths::{become_owner_of, database_in, last_backup_in, sessions_in, user_directory};
use crate::output::outln;

/// Makes a backup.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn backup(options: BackupArgs) -> Result<(), Failure> {
    let BackupArgs { target, keep, verify, data, database, sessions } = options;
    let is_of_data = database.is_none() && sessions.is_none();
    let data = if is_of_data { Some(data.map_or_else(user_directory, Ok)?) } else { None };
    let (database, sessions) = match &data {
        Some(data) => {
            // What is missing there is not backed up: a new server has no sessions.
            let existing = |path: PathBuf| Some(path).filter(|path| path.exists());
            (existing(database_in(data)), existing(sessions_in(data)))
        }
        None => (database, sessions),
    };
    let copy = database.as_deref().map(copy_as_owner).transpose()?;
    let job = BackupJob {
        database: copy.as_ref().map(DatabaseCopy::path),
        sessions: sessions.as_deref(),
        target: &target,
        keep: keep.map(usize::from),
        verify,
    };
    let Backup { archive, sessions, damaged, removed } = backup::run(&job)?;
    if let Some(Err(error)) = data.as_deref().map(note_backup) {
        eprintln!("drawhall: the time of this backup cannot be noted in the data directory: {error}");
    }
    for id in &damaged {
        eprintln!(
            "drawhall: session {} is damaged and was copied as it is; see drawhall check",
            text::shown(id)
        );
    }
    // Standard output may be the archive.
    if let Some(archive) = archive {
        outln!("{sessions} sessions in {}", archive.display());
        for old in &removed {
            outln!("removed {}", old.display());
        }
    }
    Ok(())
}

/// Notes that a backup was made; the server shows when.
fn note_backup(data: &Path) -> io::Result<()> {
    let path = last_backup_in(data);
    // The last one may have been made by another user.
    match fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        done => done?,
    }
    File::create(path).map(drop)
}

/// Copies a database. If this is root, a thread does it as the database's owner, because files that SQLite makes beside
/// it must be the owner's; the archive may be in a directory that is root's.
fn copy_as_owner(database: &Path) -> Result<DatabaseCopy, Failure> {
    let copy = || -> Result<DatabaseCopy, String> {
        become_owner_of(database).map_err(|error| error.to_string())?;
        DatabaseCopy::of(database).map_err(|error| error.to_string())
    };
    let copied = std::thread::scope(|scope| scope.spawn(copy).join());
    copied.unwrap_or_else(|_| Err("the database cannot be copied".to_owned())).map_err(Failure::from)
}

/// Restores a backup.
///
/// # Errors
/// When it cannot be restored.
pub(crate) fn restore(archive: &Path, data: Option<PathBuf>) -> Result<(), Failure> {
    let data = data.map_or_else(user_directory, Ok)?;
    let input: Box<dyn Read> = if archive == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(archive).map_err(|error| format!("{}: {error}", archive.display()))?)
    };
    // What root restores for a service must be the service's.
    if data.exists() {
        become_owner_of(&database_in(&data))?;
    }
    let restored = restore::run(input, &data)?;
    let database = if restored.database { "the database and " } else { "" };
    let created = text::shown(&restored.created);
    outln!("restored {database}{} sessions of {created} to {}", restored.sessions, data.display());
    for problem in &restored.problems {
        eprintln!("drawhall: {}", text::shown(problem));
    }
    Ok(())
}
