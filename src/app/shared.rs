//! Opening the sessions that servers share (`--cluster-sessions`).

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::ServeOptions;
use super::prepare::StartError;
use crate::actors::server::ServerDeps;
use crate::db::Database;
use crate::rules::metadata::SessionSummary;
use crate::storage::file_names;
use crate::storage::session_dir::{SessionDir, SessionDirError};

/// Folder for copies of the sessions that this server owns, in the directory of sessions.
const COPIES: &str = "cluster";

/// Opens the directory for copies of sessions. What an earlier start has left is removed: the database has it.
pub(super) fn open_copies(
    sessions: &Path,
    sync_interval: Duration,
) -> Result<Arc<SessionDir>, SessionDirError> {
    if file_names::has_sessions(sessions).unwrap_or(false) {
        tracing::warn!(
            "--cluster-sessions: the sessions in {} are not loaded; drawhall cluster import-sessions adds them to the \
             database",
            sessions.display()
        );
    }
    let path = sessions.join(COPIES);
    let dir = SessionDir::open(&path, sync_interval)?;
    dir.remove_copies(None).map_err(|source| SessionDirError::Io { path, source })?;
    Ok(dir)
}

/// Opens the sessions that servers share. Returns those that none has.
pub(super) fn open(
    options: &ServeOptions,
    database: Option<&Database>,
    parts: &mut ServerDeps,
) -> Result<Vec<SessionSummary>, StartError> {
    if !options.cluster_sessions {
        return Ok(Vec::new());
    }
    let (Some(url), Some(database), Some(cluster)) = (&options.source.cluster, database, &parts.cluster)
    else {
        return Err(StartError::NeedsLinks);
    };
    if parts.session_dir.is_none() {
        return Err(StartError::NeedsSessions);
    }
    // An earlier start of this server has no sessions any more.
    database.announce_node(&cluster.node)?;
    let shared = Database::shared_sessions(url, &cluster.node.incarnation, parts.metrics.clone())?;
    let news = shared.news(&HashMap::new()).map_err(StartError::Shared)?;
    parts.shared = Some(shared);
    Ok(news.found)
}
