//! Paths of the data directory, database and stored sessions.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use drawhall::storage::private::{create_directory, is_exposed};
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

use crate::cli::Serve;

/// Settings of a new database in a data directory. The log has people's addresses, so it is not kept for ever. A
/// database that `--database` names is one of drawpile-srv, or may be used by it: it begins without settings.
const INITIAL_SETTINGS: &[(&str, &str)] = &[("logpurgedays", "30"), ("logAddressDays", "14")];

/// Paths of the server's data. `None`: not used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DataPaths {
    /// Data directory.
    pub(crate) data: Option<PathBuf>,
    /// Configuration database.
    pub(crate) database: Option<PathBuf>,
    /// Directory of stored sessions.
    pub(crate) sessions: Option<PathBuf>,
}

/// There is no usable data directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataPathError {
    #[error("this user has no data directory (HOME is not set); specify one with --data, or use --in-memory")]
    Unknown,
    #[error(
        "cannot create the data directory {path}: {source}; specify another with --data, or use --in-memory"
    )]
    Make { path: PathBuf, source: std::io::Error },
}

impl DataPaths {
    /// The paths that the options select. Creates the data directory.
    ///
    /// # Errors
    /// When the data directory is unknown or cannot be created.
    pub(crate) fn of(options: &Serve) -> Result<DataPaths, DataPathError> {
        let paths = Self::selected(options)?;
        if let Some(data) = &paths.data {
            create_directory(data).map_err(|source| DataPathError::Make { path: data.clone(), source })?;
        }
        Ok(paths)
    }

    /// The paths that the options select. Creates nothing.
    ///
    /// # Errors
    /// When the data directory is unknown.
    pub(crate) fn selected(options: &Serve) -> Result<DataPaths, DataPathError> {
        let named = DataPaths {
            database: options.database.clone(),
            sessions: options.sessions.clone(),
            ..DataPaths::default()
        };
        // With an option of drawpile-srv there is no default data directory: the server then stores only what that
        // option names, as drawpile-srv does.
        let is_compatible = options.config.is_some() || named != DataPaths::default();
        let data = match &options.data {
            Some(data) => data.clone(),
            None if options.in_memory || is_compatible => return Ok(named),
            None => user_directory()?,
        };
        Ok(DataPaths {
            database: named.database.or_else(|| {
                let is_elsewhere = options.config.is_some() || options.cluster.is_some();
                (!is_elsewhere).then(|| database_in(&data))
            }),
            sessions: named.sessions.or_else(|| Some(sessions_in(&data))),
            data: Some(data),
        })
    }
}

impl DataPaths {
    /// Paths that other users of the machine can access.
    pub(crate) fn exposed(&self) -> impl Iterator<Item = &PathBuf> {
        let all = [&self.data, &self.database, &self.sessions];
        all.into_iter().flatten().filter(|path| is_exposed(path))
    }
}

/// Settings that a new database begins with. A file that an option of drawpile-srv names has none, as there.
pub(crate) fn initial_settings(
    named_file: Option<&Path>,
    is_shared: bool,
) -> &'static [(&'static str, &'static str)] {
    if named_file.is_some() && !is_shared { &[] } else { INITIAL_SETTINGS }
}

/// Path of the database in a data directory.
pub(crate) fn database_in(data: &Path) -> PathBuf {
    data.join("config.db")
}

/// Path of the stored sessions in a data directory.
pub(crate) fn sessions_in(data: &Path) -> PathBuf {
    data.join("sessions")
}

/// File whose modification time is that of the last backup of a data directory.
pub(crate) fn last_backup_in(data: &Path) -> PathBuf {
    data.join("last-backup")
}

/// The user's data directory.
///
/// # Errors
/// When it is unknown.
pub(crate) fn user_directory() -> Result<PathBuf, DataPathError> {
    dirs::data_dir().map(|d| d.join("drawhall")).ok_or(DataPathError::Unknown)
}

/// Path of the database in a data directory, by default in the user's. Creates the directory.
///
/// # Errors
/// When the data directory is unknown or cannot be created.
pub(crate) fn database_of(data: Option<PathBuf>) -> Result<PathBuf, DataPathError> {
    let data = data.map_or_else(user_directory, Ok)?;
    create_directory(&data).map_err(|source| DataPathError::Make { path: data.clone(), source })?;
    Ok(database_in(&data))
}

/// If the process is root, switches it for good to the owner of a database. Files that SQLite creates next to it
/// (WAL) must belong to the owner, or the server could not open the database any more.
///
/// # Errors
/// When the system refuses the change of user.
pub(crate) fn become_owner_of(database: &Path) -> std::io::Result<()> {
    let directory = database.parent().filter(|directory| !directory.as_os_str().is_empty());
    let found =
        std::fs::metadata(database).or_else(|_| std::fs::metadata(directory.unwrap_or(Path::new("."))));
    // A missing file is created, or reported, when the database is opened.
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
    fn the_data_directory_holds_what_no_option_names() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("new");
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
    fn only_a_file_that_is_named_begins_without_settings() {
        assert!(initial_settings(Some(Path::new("x.db")), false).is_empty());
        assert_eq!(initial_settings(Some(Path::new("x.db")), true), INITIAL_SETTINGS);
        assert_eq!(initial_settings(None, false), INITIAL_SETTINGS);
    }

    #[test]
    fn options_of_drawpile_srv_disable_the_default_data_directory() {
        assert_eq!(paths(&["--config", "c"]), DataPaths::default());
        assert_eq!(paths(&["--in-memory"]), DataPaths::default());
        assert_eq!(paths(&["--database", "d"]).sessions, None);
        assert_eq!(paths(&["--sessions", "s"]).database, None);
    }
}
