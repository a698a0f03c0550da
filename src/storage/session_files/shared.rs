//! What has changed in the files of a session that other servers share, until it is committed.

use std::fs::OpenOptions;
use std::io;
use std::sync::Arc;

use super::SessionFiles;
use crate::storage::file_names;
use crate::storage::history_file::HistoryFile;
use crate::storage::shared::FileChange;
use crate::storage::syncer::SyncFile;

/// Changes that are not committed yet.
#[derive(Debug)]
pub(super) struct PendingChanges {
    /// Epoch in which this server owns the session.
    epoch: i64,
    changes: Vec<FileChange>,
}

impl PendingChanges {
    pub(super) fn push(&mut self, change: FileChange) {
        self.changes.push(change);
    }
}

impl SessionFiles {
    /// From now on the changes of a session that exists are noted. These files were cut, so others have too much of them.
    ///
    /// # Errors
    /// When such a file cannot be opened.
    pub fn share_existing(&mut self, epoch: i64, cut: &[String]) -> io::Result<()> {
        let mut changes = Vec::new();
        for file in cut {
            let source = SyncFile::open(OpenOptions::new().read(true), &self.dir.path().join(file))?;
            let len = source.file.metadata()?.len();
            changes.push(FileChange::Remove { file: file.clone() });
            changes.push(FileChange::Copy { file: file.clone(), at: 0, len, source });
        }
        self.pending = Some(PendingChanges { epoch, changes });
        self.remove_unfinished()
    }

    /// Removes history files of replacements that were committed in part.
    fn remove_unfinished(&mut self) -> io::Result<()> {
        let number = |name: &str| file_names::history_number(name, self.id());
        let Some(current) = number(&self.history_name) else { return Ok(()) };
        let files = self.dir.named_files(self.id())?;
        let later: Vec<String> =
            files.into_iter().map(|(_, name)| name).filter(|name| number(name) > Some(current)).collect();
        for name in later {
            file_names::remove(self.dir.path(), &name, false)?;
            self.share_removal(&name);
        }
        Ok(())
    }

    /// The same for a new session, which is in its first epoch.
    pub fn share_new(&mut self, alias: &str) {
        let begin = FileChange::Begin { alias: alias.to_owned(), protocol: self.protocol.to_string() };
        self.pending = Some(PendingChanges { epoch: 1, changes: vec![begin] });
    }

    /// Whether other servers share it.
    pub fn is_shared(&self) -> bool {
        self.pending.is_some()
    }

    /// The changes that are to be committed, with the epoch. Nothing is taken before the files exist.
    pub fn take_changes(&mut self) -> Option<(i64, Vec<FileChange>)> {
        let exists = self.exists();
        let pending = self.pending.as_mut().filter(|pending| exists && !pending.changes.is_empty())?;
        Some((pending.epoch, std::mem::take(&mut pending.changes)))
    }

    /// Epoch of a session that others share, and whose files exist.
    pub fn shared_epoch(&self) -> Option<i64> {
        self.pending.as_ref().filter(|_| self.exists()).map(|pending| pending.epoch)
    }

    /// Notes a change, if other servers share the session.
    pub(super) fn share(&mut self, change: impl FnOnce() -> FileChange) {
        if let Some(pending) = &mut self.pending {
            pending.changes.push(change());
        }
    }

    /// Notes that a file was removed, and its time marks with it.
    pub(super) fn share_removal(&mut self, name: &str) {
        self.share(|| FileChange::Remove { file: name.to_owned() });
        if let Some(file) = file_names::marks(name) {
            self.share(|| FileChange::Remove { file });
        }
    }

    /// Notes a new history file, which has no name that was used before; `end` is where it ends on the axis of the history.
    pub(super) fn share_history(&mut self, name: &str, file: &Arc<HistoryFile>, end: i64) {
        let (source, len) = (file.sync.clone(), file.offset_of(end));
        self.share(|| FileChange::Remove { file: name.to_owned() });
        self.share(|| FileChange::Copy { file: name.to_owned(), at: 0, len, source });
    }
}
