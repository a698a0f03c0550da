//! `drawhall backup` and `drawhall restore`: which files, as which user, and what is printed.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use drawhall::text;
use drawhall::tools::backup::{self, Backup, BackupJob};
use drawhall::tools::database_copy::DatabaseCopy;
use drawhall::tools::restore;

use crate::Failure;
use crate::cli::BackupArgs;
use crate::data_paths::{become_owner_of, database_in, sessions_in, user_directory};
use crate::output::outln;

/// Makes a backup.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn backup(options: BackupArgs) -> Result<(), Failure> {
    let BackupArgs { target, keep, verify, data, database, sessions } = options;
    let (database, sessions) = match (database, sessions) {
        (None, None) => {
            let data = data.map_or_else(user_directory, Ok)?;
            // What is missing there is not backed up: a new server has no sessions.
            let existing = |path: PathBuf| Some(path).filter(|path| path.exists());
            (existing(database_in(&data)), existing(sessions_in(&data)))
        }
        named => named,
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
