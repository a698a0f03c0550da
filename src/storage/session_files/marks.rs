//! Files beside the history: earlier histories, and time marks. The marks are not worth an error to anybody: without
//! them one cannot go back to a time, and nothing else is missing.

use super::SessionFiles;
use crate::rules::session::KeepGenerations;
use crate::rules::undo::times::MarksWrite;
use crate::storage::file_names;
use crate::storage::marks_file::MarksFile;
use crate::storage::shared::FileChange;

impl SessionFiles {
    /// Removes the generations that are too many.
    pub(super) fn remove_old_generations(&mut self, archive: bool, keep: KeepGenerations) {
        match self.dir.remove_old_generations(self.id(), &self.history_name, keep, archive) {
            Ok(removed) => removed.iter().for_each(|name| self.share_removal(name)),
            // Done at the next reset or start.
            Err(error) => tracing::warn!("session {}: cannot remove earlier histories: {error}", self.id()),
        }
    }

    /// Somebody has joined since the last reset: that is stored, so that the histories that were kept until then are not
    /// kept again after a restart.
    pub(super) fn note_join(&mut self) {
        self.has_joined = true;
        let is_shared = self.is_shared();
        let Some(marks) = &mut self.marks else { return };
        let noted = marks.set_joined().and_then(|()| is_shared.then(|| marks.content()).transpose());
        match noted {
            Ok(Some(bytes)) => self.share_marks(|file| FileChange::Put { file, bytes: bytes.into() }),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!("session {}: cannot store that somebody has joined: {error}", self.id());
            }
        }
    }

    /// Writes marks of the present history file.
    pub(super) fn write_marks(&mut self, write: &MarksWrite) {
        if write.is_empty() || !self.exists() {
            return;
        }
        let written = if write.replaces() {
            let made =
                MarksFile::create(self.dir.path(), &self.history_name, write, self.previous, self.has_joined);
            made.map(|(file, bytes)| {
                self.marks = Some(file);
                self.share_marks(|file| FileChange::Put { file, bytes: bytes.into() });
            })
        } else if let Some(marks) = &mut self.marks {
            marks.append(write).map(|(at, bytes)| {
                self.share_marks(|file| FileChange::Write { file, at, bytes: bytes.into() });
            })
        } else {
            Ok(())
        };
        if let Err(error) = written {
            self.marks = None;
            tracing::warn!("session {}: time marks are not stored any more: {error}", self.id());
        }
    }

    fn share_marks(&mut self, change: impl FnOnce(String) -> FileChange) {
        if let Some(name) = file_names::marks(&self.history_name) {
            self.share(|| change(name));
        }
    }
}
