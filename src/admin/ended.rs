//! Endpoints `ended`: ended sessions that can be restored.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AdminState;
use super::endpoint::{Api, Call, Done, Json};
use super::error::{ApiError, bad, not_found};
use crate::actors::server::RelistSessions;
use crate::rules::time::iso_of;
use crate::storage::session_dir::SessionDir;
use crate::storage::session_dir::ended::{self, EndedSession, RestoreError};

pub(super) fn endpoints(api: &mut Api) {
    api.get("ended", "Ended sessions that can be restored, the newest first.", AdminState::ended_sessions);
    api.post("ended/{session}/restore", "Restores an ended session.", AdminState::restore_ended)
        .locked_by("sessions");
}

/// The path of an ended session.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct EndedPath {
    /// Session id.
    pub(super) session: String,
}

/// An ended session.
#[derive(Debug, Serialize, JsonSchema)]
struct Ended {
    /// Session id.
    id: String,
    /// Alias, may be empty.
    alias: String,
    /// Title.
    title: String,
    /// Founder's name.
    founder: String,
    /// When it ended, ISO 8601.
    ended: String,
    /// Size of its files in bytes.
    size: u64,
}

/// Ended sessions that can be restored.
#[derive(Debug, Serialize, JsonSchema)]
struct EndedSessions {
    /// Sessions that end are kept for a while.
    kept: bool,
    /// The newest first.
    sessions: Vec<Ended>,
}

impl From<EndedSession> for Ended {
    fn from(session: EndedSession) -> Ended {
        let EndedSession { id, alias, title, founder, ended, size, .. } = session;
        let ended = iso_of(i64::try_from(ended.saturating_mul(1000)).unwrap_or(i64::MAX));
        Ended { id, alias, title, founder, ended, size }
    }
}

impl From<RestoreError> for ApiError {
    fn from(error: RestoreError) -> ApiError {
        match error {
            RestoreError::NotEnded(_) => not_found(),
            RestoreError::Exists(_) => bad(error.to_string()),
            RestoreError::Io(_) | RestoreError::Directory(_) => ApiError::internal(error),
        }
    }
}

impl AdminState {
    /// The session directory, if ended sessions are kept.
    pub(super) fn ended_dir(&self) -> Result<Arc<SessionDir>, ApiError> {
        self.session_dir.clone().filter(|_| self.setup.keep_ended).ok_or_else(not_found)
    }

    async fn ended_sessions(self: Arc<Self>, _: Call) -> Result<Json<EndedSessions>, ApiError> {
        let Ok(dir) = self.ended_dir() else {
            return Ok(Json(EndedSessions { kept: false, sessions: Vec::new() }));
        };
        let kept = dir.keeps_ended();
        let list = actix_rt::task::spawn_blocking(move || ended::list(dir.path())).await;
        let list = list.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
        Ok(Json(EndedSessions { kept, sessions: list.into_iter().map(Ended::from).collect() }))
    }

    async fn restore_ended(self: Arc<Self>, call: Call<EndedPath>) -> Result<Json<Done>, ApiError> {
        let dir = self.ended_dir()?;
        let id = call.path.session;
        let wanted = {
            let dir = dir.clone();
            let list = actix_rt::task::spawn_blocking(move || ended::list(dir.path())).await;
            let list = list.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
            list.into_iter().find(|session| session.id == id).ok_or_else(not_found)?
        };
        if !wanted.alias.is_empty() && self.find_session(&wanted.alias).await.is_ok() {
            return Err(bad(format!("There is a session with the alias '{}'", wanted.alias)));
        }
        let restored = actix_rt::task::spawn_blocking(move || dir.restore_ended(&wanted.id)).await;
        restored.map_err(ApiError::internal)??;
        self.server.send(RelistSessions).await?;
        Ok(Done::ok())
    }
}
