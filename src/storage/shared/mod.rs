//! Sessions that several servers share: a database has their files, too. Every change is committed there before anybody
//! is shown it, so that another server can go on with a session when the one that had it is gone. Source:
//! docs/guide/cluster.md#sessions-that-outlive-their-server.
//!
//! | file | what it does |
//! | --- | --- |
//! | `change` | what changes in the files of a session |
//! | `commit_queue` | which changes go into which transaction, and who is told of the outcome |
//!
//! Each session has one **owner**, a server, and an **epoch**, which rises whenever a server takes the session over.
//! Each transaction checks both, in the database, so an owner that was given up while it was paused, or cut off,
//! writes nothing any more. On the disk of the owner there is a copy of the files, which it reads from.

mod change;
mod commit_queue;

use std::collections::HashMap;
use std::fmt::Debug;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;

pub use change::{FileChange, read_copies};
pub use commit_queue::{CommitQueue, SessionChanges, Transaction};

use crate::rules::metadata::SessionSummary;

/// What has become of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitOutcome {
    /// They are in the database.
    Committed,
    /// This server does not own the session any more: nothing was written.
    Lost,
    /// The session is new, and there is one with its id or alias: nothing was written.
    Taken,
    /// It is not known whether they are in the database, and no further attempt is made: the database has been away for
    /// half a minute, the server stops, or a file of its own cannot be read.
    GivenUp,
}

/// Why the database was of no use.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// There is no such session.
    #[error("there is no such session in the database")]
    NotFound,
    /// Another server has it.
    #[error("another server has the session")]
    Owned,
    /// A session with its id or alias is in the database.
    #[error("a session with this id or alias is in the database already")]
    Taken,
    /// Its files do not fit together, or have what the database does not take.
    #[error("{0}")]
    Unusable(String),
    /// The database does not answer as it should.
    #[error("the database of sessions: {0}")]
    Database(String),
    /// A file of this server cannot be read or written.
    #[error(transparent)]
    File(#[from] std::io::Error),
}

/// Who had a session that no server has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastOwner {
    /// Its incarnation; empty without one.
    pub incarnation: String,
    /// Epoch in which it was the owner.
    pub epoch: i64,
}

/// Sessions that no server has, and such that this server has no longer.
#[derive(Debug, Default)]
pub struct OwnershipNews {
    /// Sessions without an owner that were not known, or have had another owner since.
    pub found: Vec<SessionSummary>,
    /// Sessions without an owner: those that were known, and those that were found.
    pub unowned: HashMap<String, LastOwner>,
    /// Sessions that another server has taken over from this one.
    pub lost: Vec<String>,
}

/// The outcome of changes, once it is known.
pub type Committing = Pin<Box<dyn Future<Output = CommitOutcome> + Send>>;

/// Sessions in a database that several servers share.
pub trait SharedSessions: Debug + Send + Sync {
    /// Commits changes of a session, in order. While the database is away it is tried again, for half a
    /// minute.
    fn commit(&self, id: &str, epoch: i64, changes: Vec<FileChange>) -> Committing;

    /// Makes this server the owner, unless another that is alive is; returns the epoch. The server of the incarnation
    /// `from`, if there is one, hands the session over. Blocks.
    ///
    /// # Errors
    /// When there is no such session, it has another owner, or the database is away.
    fn claim(&self, id: &str, from: Option<&str>) -> Result<i64, SharedError>;

    /// This server does not go on with a session, and has nothing of it to commit: others may take it over, soon.
    fn release(&self, id: &str);

    /// Writes the files of a session to a directory. Blocks.
    ///
    /// # Errors
    /// When they cannot be read or written.
    fn fetch(&self, id: &str, directory: &Path) -> Result<(), SharedError>;

    /// Adds a session, which has no owner then: the content of these files, under these names. Blocks.
    ///
    /// # Errors
    /// When there is one with this id or alias, a file cannot be read, or the database is away.
    fn import(&self, session: &SessionSummary, files: &[(PathBuf, String)]) -> Result<(), SharedError>;

    /// All sessions by id, with the incarnations of the servers that have them; `None` for those without an owner. Blocks.
    ///
    /// # Errors
    /// When the database is away.
    fn list(&self) -> Result<Vec<(String, Option<String>)>, SharedError>;

    /// What has changed: `known` are unowned sessions with their epochs, as they were told last. Blocks.
    ///
    /// # Errors
    /// When the database is away.
    fn news(&self, known: &HashMap<String, i64>) -> Result<OwnershipNews, SharedError>;

    /// From now on no transaction is tried again after a failure: the server stops.
    fn stop_retrying(&self);

    /// Waits until nothing is to be committed, for seconds at most. Blocks.
    fn wait_until_idle(&self);
}

#[cfg(test)]
mod tests;
