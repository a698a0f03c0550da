//! Endpoint `sessions/ID/recording`: the drawing of a stored session, as a recording that Drawpile opens.

use std::sync::Arc;

use actix_web::{HttpResponse, HttpResponseBuilder};
use schemars::SchemaGenerator;
use serde_json::Value;

use super::AdminState;
use super::endpoint::{Api, Call, IntoAnswer, file_content, respond_file};
use super::error::{ApiError, not_found};
use super::sessions::SessionPath;

/// Type of a recording.
const DPREC: &str = "application/octet-stream";

pub(super) fn endpoints(api: &mut Api) {
    let summary = "The drawing of a stored session as a recording (.dprec). Sessions in memory have none.";
    api.get("sessions/{session}/recording", summary, AdminState::recording);
}

/// A recording.
struct Recording {
    id: String,
    bytes: Vec<u8>,
}

impl IntoAnswer for Recording {
    fn respond(self, response: HttpResponseBuilder) -> HttpResponse {
        respond_file(response, DPREC, &format!("{}.dprec", self.id), self.bytes)
    }

    fn content(_: &mut SchemaGenerator) -> Option<Value> {
        file_content(&[DPREC])
    }
}

impl AdminState {
    async fn recording(self: Arc<Self>, call: Call<SessionPath>) -> Result<Recording, ApiError> {
        let id = self.details(&call.path.session).await?.session.id.ok_or_else(not_found)?;
        let dir = self.session_dir.clone().ok_or_else(not_found)?;
        let wanted = id.clone();
        let read = actix_rt::task::spawn_blocking(move || dir.recording(&wanted, u64::MAX)).await;
        let bytes = read.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
        Ok(Recording { id, bytes })
    }
}
