//! Sessions that several servers share: the directory has copies of those that this server owns.

use std::path::Path;
use std::sync::Arc;

use super::{LoadError, LoadedSession, SessionDir};
use crate::rules::metadata::{SessionSummary, is_valid_alias};
use crate::storage::shared::{FileChange, SharedError, SharedSessions};

/// Why a session was not loaded.
#[derive(Debug)]
pub enum NotLoaded {
    /// Its files cannot be read.
    Unreadable(LoadError),
    /// Another server has it.
    Owned,
    /// It has ended.
    Ended,
}

impl From<LoadError> for NotLoaded {
    fn from(error: LoadError) -> NotLoaded {
        NotLoaded::Unreadable(error)
    }
}

impl From<SharedError> for NotLoaded {
    fn from(error: SharedError) -> NotLoaded {
        match error {
            SharedError::NotFound => NotLoaded::Ended,
            SharedError::Owned | SharedError::Taken => NotLoaded::Owned,
            SharedError::File(error) => LoadError::from(error).into(),
            SharedError::Database(_) | SharedError::Unusable(_) => {
                LoadError::from(std::io::Error::other(error)).into()
            }
        }
    }
}

impl SessionDir {
    /// Adds a session to the database; blocks.
    ///
    /// # Errors
    /// When there is one with this id or alias, its files cannot be read, or the database is away. Also when others
    /// could not use it: its id has control characters, its alias is not valid, or its journal names a history
    /// that has another session's name.
    pub fn import(&self, shared: &dyn SharedSessions, session: &SessionSummary) -> Result<(), SharedError> {
        let unusable = |what: String| Err(SharedError::Unusable(what));
        let SessionSummary { id, metadata, .. } = session;
        if id.is_empty() || id.chars().any(char::is_control) {
            return unusable("its id has control characters, or none at all".to_owned());
        }
        if !metadata.alias.is_empty() && !is_valid_alias(&metadata.alias) {
            return unusable("its alias is not valid".to_owned());
        }
        let files = self.named_files(id)?;
        let history = metadata.file.as_deref().unwrap_or_default();
        if !files.iter().any(|(_, name)| name == history) {
            return unusable(format!("its journal names the history {history}, which is not named after it"));
        }
        shared.import(session, &files)
    }

    /// Makes this server the owner of a session, fetches its files and loads it; `from` is who hands it over, as in
    /// [`SharedSessions::claim`]. Blocks.
    ///
    /// # Errors
    /// When another server has it, it has ended, or it cannot be read. Then this server does not own it.
    pub fn load_shared(
        self: &Arc<Self>,
        shared: &dyn SharedSessions,
        id: &str,
        from: Option<&str>,
    ) -> Result<LoadedSession, NotLoaded> {
        let epoch = shared.claim(id, from)?;
        let fetch = |path: &Path| shared.fetch(id, path).map_err(NotLoaded::from);
        let loaded = self.load_fetched(id, fetch).and_then(|(mut loaded, cut)| {
            loaded.store.share_existing(epoch, &cut).map_err(LoadError::from)?;
            Ok(loaded)
        });
        loaded.inspect_err(|_| shared.release(id))
    }

    /// Adds sessions to the database that were restored from ended ones; blocks. What the database does not take now is
    /// tried again; whose id or alias is taken there is an ended one again.
    pub fn import_restored(self: &Arc<Self>, shared: &dyn SharedSessions, restored: &[SessionSummary]) {
        for session in restored {
            let id = &session.id;
            match self.import(shared, session) {
                Ok(()) => {
                    tracing::info!("session {id} is there again");
                    if let Err(error) = self.remove_copies(Some(id)) {
                        tracing::warn!("session {id}: its copies cannot be removed: {error}");
                    }
                }
                Err(error @ (SharedError::Taken | SharedError::Unusable(_))) => {
                    tracing::error!("session {id} is not restored: {error}");
                    if let Err(error) = self.remove_unloaded(id, false) {
                        tracing::error!("session {id} cannot be put back among the ended ones: {error}");
                    }
                }
                Err(error) => {
                    tracing::warn!("session {id} is restored later: {error}");
                    self.announce_restored(id);
                }
            }
        }
    }

    /// Ends a session that is not loaded, if no other server has it; blocks until that is queued.
    ///
    /// # Errors
    /// When the database is away, or a copy cannot be removed.
    pub fn end_shared(&self, shared: &dyn SharedSessions, id: &str) -> Result<(), SharedError> {
        match shared.claim(id, None) {
            Ok(epoch) => drop(shared.commit(id, epoch, vec![FileChange::End])),
            Err(SharedError::NotFound | SharedError::Owned) => return Ok(()),
            Err(error) => return Err(error),
        }
        Ok(self.remove_copies(Some(id))?)
    }
}
