//! What a session has to store, and what becomes of its files.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::history::HistoryWrite;
use crate::rules::history_indexes::HistoryIndexes;
use crate::rules::journal::Entry;
use crate::rules::undo::times::MarksWrite;

/// Which of a session's passwords.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PasswordKind {
    /// Required to join.
    Session,
    /// Makes its user an operator.
    Operator,
}

/// Everything that a session has to store at one time.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct WriteBatch {
    /// Journal entries, in order.
    pub journal: Vec<Entry>,
    /// Passwords to be hashed; their hashes are entered in the journal.
    pub passwords: Vec<(PasswordKind, String)>,
    pub history: HistoryWrite,
    /// The indexes of its messages, if they have changed or it is replaced; entered in the journal before anything is
    /// appended.
    pub indexes: Option<HistoryIndexes>,
    /// Time marks of the history.
    pub marks: MarksWrite,
    /// `Some(None)` removes the thumbnail, `Some(Some(..))` replaces it.
    pub picture: Option<Option<Bytes>>,
    /// Old files are archived instead of deleted.
    pub archive: bool,
    /// How many histories that resets replace are kept.
    pub keep: KeepGenerations,
    /// Those that are too many are removed now, not only when another one comes.
    pub prunes: bool,
    /// Entries are missing because too many were waiting: the journal must be rewritten from a snapshot.
    pub incomplete: bool,
    /// All entries of the current state, for rewriting the journal. Required with a new history file; see
    /// `SessionFiles::wants_snapshot`.
    pub snapshot: Option<Vec<Entry>>,
}

impl WriteBatch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.journal.is_empty()
            && self.passwords.is_empty()
            && matches!(self.history, HistoryWrite::Nothing)
            && self.marks.is_empty()
            && !self.prunes
            && self.picture.is_none()
            && self.snapshot.is_none()
    }

    /// Whether it only appends to open files, which takes microseconds and may be done on the session's thread.
    pub fn is_light(&self) -> bool {
        self.passwords.is_empty()
            && !matches!(self.history, HistoryWrite::Replace(_))
            && self.indexes.is_none()
            && !self.marks.replaces()
            && !self.prunes
            && self.picture.is_none()
            && self.snapshot.is_none()
    }
}

/// How many earlier histories (generations) of a session are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeepGenerations {
    /// Maximum number; 0 keeps none.
    pub count: u32,
    /// None are kept while the disk has less free space than this, in bytes.
    pub min_free: u64,
    /// The newest one is kept nevertheless: nobody has joined since the reset.
    pub needs_newest: bool,
}

/// What to do with the files of a session that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileDisposition {
    /// Keep them; the session is unloaded and is loaded again when somebody joins.
    Keep,
    /// Delete them; the session is over.
    Delete,
    /// Archive them; the session is over.
    Archive,
}
