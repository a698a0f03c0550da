//! Endpoint `recordings`: the recordings of sessions that the server makes (`--record`).

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AdminState;
use super::endpoint::{Api, Call, Json};
use super::error::{ApiError, not_found};
use crate::rules::time::iso_of;
use crate::storage::recorder::{Recorder, RecordingFile, RecordingList};

pub(super) fn endpoints(api: &mut Api) {
    let summary =
        "Recordings of sessions that the server has made (`--record`), those that were written last first.";
    api.get("recordings", summary, AdminState::recordings);
}

/// The path of a recording.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct RecordingPath {
    /// Name of a file in the list of recordings.
    pub(super) recording: String,
}

/// A recording.
#[derive(Debug, Serialize, JsonSchema)]
struct ListedRecording {
    /// Name of the file.
    name: String,
    /// Id of the session, or its alias, as far as the name says; null otherwise.
    session: Option<String>,
    /// Bytes.
    size: u64,
    /// When it was last written, ISO 8601.
    changed: String,
    /// It is being written.
    open: bool,
}

/// Recordings.
#[derive(Debug, Serialize, JsonSchema)]
struct Recordings {
    /// Sessions are recorded.
    recorded: bool,
    /// At most 500, those that were written last first.
    recordings: Vec<ListedRecording>,
    /// There are others, which are older.
    more: bool,
}

impl From<RecordingFile> for ListedRecording {
    fn from(file: RecordingFile) -> ListedRecording {
        let RecordingFile { name, session, size, changed, is_open } = file;
        let changed = iso_of(i64::try_from(changed.saturating_mul(1000)).unwrap_or(i64::MAX));
        ListedRecording { name, session, size, changed, open: is_open }
    }
}

impl AdminState {
    /// What has made the recordings, if sessions are recorded.
    pub(super) fn recorder(&self) -> Result<Arc<Recorder>, ApiError> {
        self.recorder.clone().ok_or_else(not_found)
    }

    async fn recordings(self: Arc<Self>, _: Call) -> Result<Json<Recordings>, ApiError> {
        let Some(recorder) = self.recorder.clone() else {
            return Ok(Json(Recordings { recorded: false, recordings: Vec::new(), more: false }));
        };
        let list = actix_rt::task::spawn_blocking(move || recorder.list()).await;
        let RecordingList { recordings, has_more } =
            list.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
        let recordings = recordings.into_iter().map(ListedRecording::from).collect();
        Ok(Json(Recordings { recorded: true, recordings, more: has_more }))
    }
}
