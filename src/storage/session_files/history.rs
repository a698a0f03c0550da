//! History files: creating the first one of a session, and replacing it.

use std::fs::{self, OpenOptions};
use std::io;
use std::sync::Arc;

use super::{SessionFiles, StorageError, blocks, failed};
use crate::history::{HistorySource as _, NewHistory, StoredHistory};
use crate::rules::session::KeepGenerations;
use crate::storage::file_names;
use crate::storage::history_file::{HistoryFile, history_header_bytes};
use crate::storage::syncer::SyncFile;

impl SessionFiles {
    /// Creates the files of a new session. The journal is renamed into place last: until then the session does not
    /// exist, and the journal's temporary name tells the cleanup after a crash to remove the other files.
    pub(super) fn create(
        &mut self,
        new: &NewHistory,
        lines: Option<&str>,
    ) -> Result<StoredHistory, StorageError> {
        let name = self.free_history_name();
        let text = self.file_lines(&name, 1) + lines.unwrap_or(&self.backlog);
        // Nobody has joined yet, so an fsync is not urgent.
        let journal = self.write_new_journal(&text, self.fsync_every_batch())?;
        let created = self.create_history_file(&name).and_then(|sync| {
            let stored =
                self.write_history(&sync, new).and_then(|stored| self.rename_journal().map(|()| stored));
            stored.inspect_err(|_| self.discard(&name))
        });
        let (stored, file) = created.inspect_err(|_| self.discard(&self.new_journal_name()))?;
        self.share_history(&name, &file, stored.end);
        self.switch_journal(journal, &text);
        self.compact_len = 0;
        self.dir.syncer().queue(&file.sync);
        self.history = Some(file);
        self.history_name = name;
        self.files = 1;
        self.journal.iter().for_each(|journal| self.dir.syncer().queue(&journal.sync));
        self.dir.syncer().queue(self.dir.directory());
        Ok(stored)
    }

    /// Replaces the history file: the new file is written and fsynced, then a new journal that names it is renamed
    /// into place, then the old file becomes a generation or is removed. A crash at any point leaves one of the two
    /// histories in force.
    pub(super) fn replace(
        &mut self,
        new: &NewHistory,
        lines: Option<&str>,
        archive: bool,
        keep: KeepGenerations,
    ) -> Result<StoredHistory, StorageError> {
        let lines =
            lines.ok_or_else(|| self.journal_error("write", "there is no snapshot of its content"))?;
        let name = self.free_history_name();
        let sync = self.create_history_file(&name)?;
        let text = self.file_lines(&name, self.files + 1) + lines;
        let written = self.write_history(&sync, new).and_then(|stored| {
            sync.sync().map_err(failed("fsync", sync.path()))?;
            let directory = self.dir.directory();
            directory.sync().map_err(failed("fsync", directory.path()))?;
            let journal = self.write_new_journal(&text, true)?;
            self.rename_journal().inspect_err(|_| self.discard(&self.new_journal_name()))?;
            Ok((stored, journal))
        });
        let ((stored, file), journal) = written.inspect_err(|_| self.discard(&name))?;
        self.share_history(&name, &file, stored.end);
        self.switch_journal(journal, &text);
        self.files += 1;
        let old = std::mem::replace(&mut self.history_name, name);
        if new.is_reset {
            self.previous = file_names::history_number(&old, self.id()).unwrap_or(0);
            self.has_joined = false;
        }
        self.history = Some(file);
        let directory = self.dir.directory();
        if let Err(source) = directory.sync() {
            // It is unknown which journal is on the disk, so both histories stay. The replacement is retried with
            // another file.
            self.incomplete = true;
            return Err(failed("fsync", directory.path())(source));
        }
        if let Err(source) = self.retire_history(&old, new.is_reset, archive, keep) {
            // Cleaned up at the next start.
            tracing::warn!("session {}: cannot remove the old history file {old}: {source}", self.id());
        }
        self.dir.syncer().queue(self.dir.directory());
        Ok(stored)
    }

    /// Removes or archives a history file that was replaced, unless it is kept as a generation; and the generations
    /// that are too many then.
    fn retire_history(
        &mut self,
        name: &str,
        is_generation: bool,
        archive: bool,
        keep: KeepGenerations,
    ) -> io::Result<()> {
        // Path traversal guard: a name with a directory was edited by hand, and that file is not the server's to
        // remove.
        if name.contains('/') {
            return Ok(());
        }
        if !is_generation || file_names::history_number(name, self.id()).is_none() {
            file_names::remove(self.dir.path(), name, archive)?;
            self.share_removal(name);
        }
        let removed = self.dir.remove_old_generations(self.id(), &self.history_name, keep, archive)?;
        removed.iter().for_each(|name| self.share_removal(name));
        Ok(())
    }

    /// The first free name for the next history file.
    fn free_history_name(&self) -> String {
        let mut names = (self.files + 1..).map(|number| file_names::history(self.id(), number));
        // Not all of the 2^32 numbers can be taken.
        names.find(|name| !self.dir.path().join(name).exists()).unwrap_or_default()
    }

    fn create_history_file(&self, name: &str) -> Result<Arc<SyncFile>, StorageError> {
        let path = self.dir.path().join(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        SyncFile::open(&options, &path).map_err(failed("create", &path))
    }

    pub(super) fn discard(&self, name: &str) {
        let path = self.dir.path().join(name);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "cannot remove {}", path.display());
        }
    }

    fn write_history(
        &self,
        sync: &Arc<SyncFile>,
        new: &NewHistory,
    ) -> Result<(StoredHistory, Arc<HistoryFile>), StorageError> {
        let old = self.history.as_ref();
        let fork = new.fork.zip(old).map(|(position, old)| old.offset_of(position));
        let header = history_header_bytes(&self.protocol, fork);
        let file = HistoryFile::new(sync.clone(), new.from - header.len() as i64);
        let write =
            |end: i64, bytes: &[u8]| file.write_at(end, bytes).map_err(failed("write to", file.path()));
        write(new.from - header.len() as i64, &header)?;
        let mut end = new.from;
        for block in new.chunks.iter().flat_map(blocks) {
            let block = block?;
            write(end, &block)?;
            end += block.len() as i64;
        }
        Ok((StoredHistory { generation: Some(new.generation), file: file.clone(), end }, file))
    }
}
