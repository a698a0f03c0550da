//! Endpoint `overview`: load, disks and errors, for the page.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::AdminState;
use super::disks::Disk;
use super::endpoint::{Api, Call, Json};
use super::error::ApiError;
use super::monitor::{GetSnapshot, SAMPLE_SECONDS, Sample};

pub(super) fn endpoints(api: &mut Api) {
    api.get("overview", "Load of the last hour, and disk space.", AdminState::overview);
}

/// Load of the server, and disk space.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Overview {
    /// Version of the server.
    version: &'static str,
    /// Seconds between samples.
    interval: u64,
    /// The last hour, oldest first.
    samples: Vec<Sample>,
    /// Disks with sessions and settings.
    disks: Vec<Disk>,
    /// Stored sessions that are not loaded, because they are damaged or cannot be read.
    not_loaded: Vec<NotLoaded>,
    /// Failed writes since the start.
    storage_errors: u64,
    /// When the certificate expires, in seconds since 1970, if there is one.
    certificate_expires: Option<u64>,
    /// There is a database, so bans, accounts and locks work.
    database: bool,
}

/// A stored session that is not loaded.
#[derive(Debug, Serialize, JsonSchema)]
struct NotLoaded {
    /// Session id.
    id: String,
    /// Why not.
    reason: String,
}

impl AdminState {
    fn not_loaded(&self) -> Vec<NotLoaded> {
        let sessions = self.session_dir.iter().flat_map(|dir| dir.unavailable());
        sessions.map(|(id, reason)| NotLoaded { id, reason }).collect()
    }

    async fn overview(self: Arc<Self>, _: Call) -> Result<Json<Overview>, ApiError> {
        let snapshot = self.monitor.send(GetSnapshot).await.map_err(ApiError::internal)?;
        Ok(Json(Overview {
            version: env!("CARGO_PKG_VERSION"),
            interval: SAMPLE_SECONDS,
            samples: snapshot.samples,
            disks: snapshot.disks,
            not_loaded: self.not_loaded(),
            storage_errors: self.metrics.storage_errors.get(),
            certificate_expires: Some(self.metrics.certificate_not_after.get())
                .filter(|seconds| *seconds > 0),
            database: self.database.is_some(),
        }))
    }
}
