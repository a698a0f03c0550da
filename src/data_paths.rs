//! Where database and sessions are kept.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use drawhall::storage::private::{create_directory, is_exposed};
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

use crate::cli::Serve;

/// Files of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DataPaths {
    /// The data directory, if it is used.
    pub(crate) data: Option<PathBuf>,
    /// Configuration database.
    pub(crate) database: Option<PathBuf>,
    /// Stored sessions.
    pub(crate) sessions: Option<PathBuf>,
}

/// There is no data directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataPathError {
    /// The system does not say where.
    #[error(
        "the system names no data directory of this user (HOME is not set); name one with --data, or use --in-memory"
    )]
    Unknown,
    /// It cannot be made.
    #[error("cannot make the data directory {path}: {source}; name another with --data, or use --in-memory")]
    Make {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl DataPaths {
    /// Where options say that files are; makes the directory.
    ///
    /// # Errors
    /// When there is no data directory and it cannot be made.
    pub(crate) fn of(options: &Serve) -> Result<DataPaths, DataPathError> {
        let named =
            DataPaths { data: None, database: options.database.clone(), sessions: options.sessions.clone() };
        // As soon as something of a drawpile-srv is named, everything means what it means there.
        let as_there = options.config.is_some() || named != DataPaths::default();
        let data = match &options.data {
            Some(data) => data.clone(),
            None if options.in_memory || as_there => return Ok(named),
            None => user_directory()?,
        };
        create_directory(&data).map_err(|source| DataPathError::Make { path: data.clone(), source })?;
        Ok(DataPaths {
            database: named.database.or_else(|| options.config.is_none().then(|| database_in(&data))),
            sessions: named.sessions.or_else(|| Some(data.join("sessions"))),
            data: Some(data),
        })
    }
}

impl DataPaths {
    /// Those that every user of the machine can read.
    pub(crate) fn exposed(&self) -> impl Iterator<Item = &PathBuf> {
        let all = [&self.data, &self.database, &self.sessions];
        all.into_iter().flatten().filter(|path| is_exposed(path))
    }
}

fn database_in(data: &std::path::Path) -> PathBuf {
    data.join("config.db")
}

fn user_directory() -> Result<PathBuf, DataPathError> {
    dirs::data_dir().map(|d| d.join("drawhall")).ok_or(DataPathError::Unknown)
}

/// The database of a data directory, the user's if none is named.
///
/// # Errors
/// When there is no data directory and it cannot be made.
pub(crate) fn database_of(data: Option<PathBuf>) -> Result<PathBuf, DataPathError> {
    let data = data.map_or_else(user_directory, Ok)?;
    create_directory(&data).map_err(|source| DataPathError::Make { path: data.clone(), source })?;
    Ok(database_in(&data))
}

/// Root becomes the owner of a database, for good: the files that SQLite makes beside it must be the owner's, too, or the
/// server could not open it any more.
///
/// # Errors
/// When the system does not let it.
pub(crate) fn become_owner_of(database: &Path) -> std::io::Result<()> {
    let folder = database.parent().filter(|folder| !folder.as_os_str().is_empty());
    let found = std::fs::metadata(database).or_else(|_| std::fs::metadata(folder.unwrap_or(Path::new("."))));
    // What is not there is made, or told of, when it is opened.
    let Ok(owner) = found else { return Ok(()) };
    if geteuid().is_root() && owner.uid() != 0 {
        set_thread_groups(&[])?;
        set_thread_gid(Gid::from_raw(owner.gid()))?;
        set_thread_uid(Uid::from_raw(owner.uid()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn paths(args: &[&str]) -> DataPaths {
        let cli = Cli::try_parse_from([&["drawhall"], args].concat()).unwrap();
        DataPaths::of(&cli.serve).unwrap()
    }

    #[test]
    fn a_data_directory_holds_what_is_not_named() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("new");
        let text = data.to_str().unwrap();
        let expected = DataPaths {
            data: Some(data.clone()),
            database: Some(data.join("config.db")),
            sessions: Some(data.join("sessions")),
        };
        assert_eq!(paths(&["--data", text]), expected);
        assert!(data.is_dir());
        assert_eq!(paths(&["--data", text, "--config", "c"]).database, None);
        assert_eq!(paths(&["--data", text, "--sessions", "s"]).sessions, Some("s".into()));
    }

    #[test]
    fn with_options_of_drawpile_srv_nothing_else_is_kept() {
        assert_eq!(paths(&["--config", "c"]), DataPaths::default());
        assert_eq!(paths(&["--in-memory"]), DataPaths::default());
        assert_eq!(paths(&["--database", "d"]).sessions, None);
        assert_eq!(paths(&["--sessions", "s"]).database, None);
    }
}
