//! Files beside the history: earlier histories, and time marks. The marks are not worth an error to anybody: without
//! them one cannot go back to a time, and nothing else is missing.

use super::SessionFiles;
use crate::rules::session::KeepGenerations;
use crate::rules::undo::times::MarksWrite;
use crate::storage::marks_file::MarksFile;

impl SessionFiles {
    /// Removes the generations that are too many.
    pub(super) fn remove_old_generations(&self, archive: bool, keep: KeepGenerations) {
        let removed = self.dir.remove_old_generations(self.id(), &self.history_name, keep, archive);
        if let Err(error) = removed {
            // Done at the next reset or start.
            tracing::warn!("session {}: cannot remove earlier histories: {error}", self.id());
        }
    }

    /// Somebody has joined since the last reset: that is stored, so that the histories that were kept until then are not
    /// kept again after a restart.
    pub(super) fn note_join(&mut self) {
        self.has_joined = true;
        if let Err(error) = self.marks.as_mut().map_or(Ok(()), MarksFile::set_joined) {
            tracing::warn!("session {}: cannot store that somebody has joined: {error}", self.id());
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
            made.map(|file| self.marks = Some(file))
        } else {
            self.marks.as_mut().map_or(Ok(()), |file| file.append(write))
        };
        if let Err(error) = written {
            self.marks = None;
            tracing::warn!("session {}: time marks are not stored any more: {error}", self.id());
        }
    }
}
