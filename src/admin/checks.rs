//! Endpoint `checks`: what the doctor finds wrong with the running server.

use std::sync::Arc;

use super::AdminState;
use super::endpoint::{Api, Call, Json};
use super::error::ApiError;
use crate::doctor::{self, Report};

pub(super) fn endpoints(api: &mut Api) {
    api.get(
        "checks",
        "Looks for faults of configuration, files and surroundings, as `drawhall doctor` does.",
        AdminState::checks,
    );
}

impl AdminState {
    async fn checks(self: Arc<Self>, _: Call) -> Result<Json<Report>, ApiError> {
        let _turn = self.checking.lock().await;
        let setup = self.setup.clone();
        let report = actix_rt::task::spawn_blocking(move || doctor::run(&setup));
        Ok(Json(report.await.map_err(ApiError::internal)?))
    }
}
