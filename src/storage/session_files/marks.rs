//! Time marks of the session's history. They are not worth an error to anybody: without them one cannot go back to a
//! time, and nothing else is missing.

use super::*;
use crate::rules::undo::times::MarksWrite;

impl SessionFiles {
    /// Writes marks of the present history file.
    pub(super) fn write_marks(&mut self, write: &MarksWrite) {
        if write.is_empty() || !self.exists() {
            return;
        }
        let written = if write.replaces() {
            let made = MarksFile::create(self.dir.path(), &self.history_name, write, self.previous);
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
