//! Stored sessions that are not loaded: damaged ones, and those whose files cannot be read at present.

use super::{LoadError, SessionDir, read_journal};
use crate::rules::metadata::SessionSummary;

/// Why a session is not loaded.
#[derive(Debug)]
pub(super) struct Unavailable {
    reason: String,
    /// It is retried.
    pub(super) is_transient: bool,
}

impl SessionDir {
    /// Notes a session that is not loaded; a transient one is retried. It is logged once.
    pub(super) fn note_unavailable(&self, id: &str, reason: &str, is_transient: bool) {
        let unavailable = Unavailable { reason: reason.to_owned(), is_transient };
        let before = self.unavailable.lock().insert(id.to_owned(), unavailable);
        match (is_transient, before) {
            (true, None) => {
                tracing::error!("stored session {id} is unavailable until it can be read: {reason}");
            }
            (true, Some(_)) => {}
            (false, _) => tracing::warn!("stored session {id} is not loaded: {reason}"),
        }
    }

    /// Sessions that are not loaded, by id, and why.
    pub fn unavailable(&self) -> Vec<(String, String)> {
        self.unavailable.lock().iter().map(|(id, session)| (id.clone(), session.reason.clone())).collect()
    }

    /// Whether there are sessions to be retried.
    pub fn has_unreadable(&self) -> bool {
        self.unavailable.lock().values().any(|session| session.is_transient)
    }

    /// Has the server look for a session that was not there before.
    pub(super) fn announce_restored(&self, id: &str) {
        let restored = Unavailable { reason: "it is being restored".to_owned(), is_transient: true };
        self.unavailable.lock().insert(id.to_owned(), restored);
    }

    /// Retries these; returns the sessions that can be read now. Blocks.
    pub fn list_unreadable(&self) -> Vec<SessionSummary> {
        let retried = |(id, session): (&String, &Unavailable)| session.is_transient.then(|| id.clone());
        let ids: Vec<String> = self.unavailable.lock().iter().filter_map(retried).collect();
        let read = ids.into_iter().filter_map(|id| {
            let bytes = read_journal(&self.path.join(self.journal_name(&id)))?;
            match bytes.and_then(|bytes| self.summarize(&id, &bytes)) {
                Ok((session, _)) => {
                    self.unavailable.lock().remove(&id);
                    Some(session)
                }
                Err(error) if LoadError::is_transient(&error) => None,
                Err(error) => {
                    self.note_unavailable(&id, &error.to_string(), false);
                    None
                }
            }
        });
        read.collect()
    }
}
