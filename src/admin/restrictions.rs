//! Endpoints for milder means than kicking and banning: `sessions/ID/restrictions`, `sessions/ID/N/restrict`,
//! `sessions/ID/N/warn` and `sessions/ID/newcomers`; and `sessions/ID/space`.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::AdminState;
use super::endpoint::{Api, Call, Json, Nothing};
use super::error::{ApiError, bad};
use super::session_users::UserPath;
use super::sessions::SessionPath;
use super::value::{Number, Text, WholeNumber, parsed};
use crate::rules::session::admin::AdminRequest;
use crate::rules::session::admin::answer::{RestrictionDetails, RestrictionList, SpaceDetails, WarningCount};
use crate::rules::session::restrictions::{MAX_SECONDS, RestrictionKind};

/// Longest time of a request in seconds.
const LONGEST: i64 = MAX_SECONDS as i64;

pub(super) fn endpoints(api: &mut Api) {
    api.get(
        "sessions/{session}/space",
        "How much of its size limit is used, and by whom.",
        AdminState::space,
    );
    api.get(
        "sessions/{session}/restrictions",
        "What people may not do in it for a time, and until when it is closed to newcomers.",
        AdminState::restrictions,
    );
    api.post(
        "sessions/{session}/{user}/restrict",
        "Restricts a user for a time: mute, nodraw (may look but not draw) or slow. Holds when they come again.",
        AdminState::restrict,
    )
    .locked_by("sessions");
    api.delete(
        "sessions/{session}/restrictions/{restriction}",
        "Ends a restriction early.",
        AdminState::lift_restriction,
    )
    .locked_by("sessions");
    api.post("sessions/{session}/{user}/warn", "Warns a user; warnings are counted.", AdminState::warn)
        .locked_by("sessions");
    api.put(
        "sessions/{session}/newcomers",
        "Closes it to people who were not in it yet, for a time, or opens it again.",
        AdminState::close_to_newcomers,
    )
    .locked_by("sessions");
}

/// The path of a restriction.
#[derive(Debug, Deserialize, JsonSchema)]
struct RestrictionPath {
    /// Session id or alias.
    session: String,
    /// Id of the restriction.
    #[serde(deserialize_with = "parsed")]
    restriction: u64,
}

/// What a user may not do, and for how long.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["kind", "seconds"]))]
struct Restrict {
    /// mute, nodraw or slow.
    #[schemars(with = "RestrictionKind")]
    kind: Option<RestrictionKind>,
    /// For how long.
    #[schemars(with = "WholeNumber<1, LONGEST>")]
    seconds: Number<1, LONGEST>,
    /// Told to the user, 500 bytes at most.
    reason: Text,
}

/// A warning.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["message"]))]
struct Warn {
    /// Shown to the user, 1 to 500 bytes.
    #[schemars(with = "String", extend("minLength" = 1))]
    message: Text,
}

/// For how long the session is closed to newcomers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["seconds"]))]
struct Newcomers {
    /// 0 opens it.
    #[schemars(with = "WholeNumber<0, LONGEST>")]
    seconds: Number<0, LONGEST>,
}

fn seconds_of<const MIN: i64>(number: &Number<MIN, LONGEST>) -> Result<u64, ApiError> {
    let seconds = number.get("seconds")?.and_then(|seconds| u64::try_from(seconds).ok());
    seconds.ok_or_else(|| bad("Missing seconds"))
}

impl AdminState {
    async fn space(self: Arc<Self>, call: Call<SessionPath>) -> Result<Json<SpaceDetails>, ApiError> {
        self.administer(&call.path.session, AdminRequest::Space).await.map(Json)
    }

    async fn restrictions(
        self: Arc<Self>,
        call: Call<SessionPath>,
    ) -> Result<Json<RestrictionList>, ApiError> {
        self.administer(&call.path.session, AdminRequest::Restrictions).await.map(Json)
    }

    async fn restrict(
        self: Arc<Self>,
        call: Call<UserPath, Nothing, Restrict>,
    ) -> Result<Json<RestrictionDetails>, ApiError> {
        let UserPath { session, user } = call.path;
        let Restrict { kind, seconds, reason } = call.body;
        let kind = kind.ok_or_else(|| bad("Missing kind"))?;
        let seconds = seconds_of(&seconds)?;
        let request = AdminRequest::Restrict { user, kind, seconds, reason: reason.0 };
        self.administer(&session, request).await.map(Json)
    }

    async fn lift_restriction(
        self: Arc<Self>,
        call: Call<RestrictionPath>,
    ) -> Result<Json<RestrictionDetails>, ApiError> {
        let RestrictionPath { session, restriction } = call.path;
        self.administer(&session, AdminRequest::LiftRestriction(restriction)).await.map(Json)
    }

    async fn warn(
        self: Arc<Self>,
        call: Call<UserPath, Nothing, Warn>,
    ) -> Result<Json<WarningCount>, ApiError> {
        let UserPath { session, user } = call.path;
        let message = call.body.message.0;
        self.administer(&session, AdminRequest::Warn { user, message }).await.map(Json)
    }

    async fn close_to_newcomers(
        self: Arc<Self>,
        call: Call<SessionPath, Nothing, Newcomers>,
    ) -> Result<Json<RestrictionList>, ApiError> {
        let seconds = seconds_of(&call.body.seconds)?;
        self.administer(&call.path.session, AdminRequest::CloseToNewcomers(seconds)).await.map(Json)
    }
}
