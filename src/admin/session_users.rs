//! Endpoints `sessions/ID/N`: a user of a session.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::AdminState;
use super::answers::User;
use super::endpoint::{Api, Call, Json, Nothing};
use super::error::ApiError;
use super::value::{Flag, Text, parsed};
use crate::rules::session::admin::AdminRequest;

pub(super) fn endpoints(api: &mut Api) {
    api.get("sessions/{session}/{user}", "A user of the session, by user id.", AdminState::session_user);
    api.put(
        "sessions/{session}/{user}",
        "Changes a user's role, or sends a message.",
        AdminState::change_session_user,
    )
    .locked_by("sessions");
    api.delete("sessions/{session}/{user}", "Kicks a user.", AdminState::kick_session_user)
        .locked_by("sessions");
}

/// The path of a user in a session.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct UserPath {
    /// Session id or alias.
    pub(super) session: String,
    /// User id.
    #[serde(deserialize_with = "parsed")]
    pub(super) user: u8,
}

/// Changes of a user's role, and messages to the user.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
struct ChangeUser {
    /// Operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    op: Option<Flag>,
    /// Trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    trusted: Option<Flag>,
    /// Shown in the chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Text>,
    /// Shown as an alert.
    #[serde(skip_serializing_if = "Option::is_none")]
    alert: Option<Text>,
}

/// What is said to a user who is kicked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct Kick {
    /// Shown to the user, 100 bytes at most.
    pub(super) message: Text,
}

/// A user was kicked.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Kicked {
    /// ok.
    status: String,
    /// Always false.
    force: bool,
}

impl AdminState {
    async fn session_user(self: Arc<Self>, call: Call<UserPath>) -> Result<Json<User>, ApiError> {
        let UserPath { session, user } = call.path;
        self.administer(&session, AdminRequest::User(user)).await.map(Json)
    }

    async fn change_session_user(
        self: Arc<Self>,
        call: Call<UserPath, Nothing, ChangeUser>,
    ) -> Result<Json<User>, ApiError> {
        let UserPath { session, user } = call.path;
        let changes: Value = serde_json::to_value(&call.body).map_err(ApiError::internal)?;
        let changes = changes.as_object().cloned().unwrap_or_else(Map::new);
        self.administer(&session, AdminRequest::ChangeUser(user, changes)).await.map(Json)
    }

    async fn kick_session_user(
        self: Arc<Self>,
        call: Call<UserPath, Kick>,
    ) -> Result<Json<Kicked>, ApiError> {
        let UserPath { session, user } = call.path;
        self.administer(&session, AdminRequest::KickUser(user, call.query.message.0)).await.map(Json)
    }
}
