//! Endpoints `thumbnail` of a session and of its users: the picture of the canvas.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::AdminState;
use super::endpoint::{Accepted, Api, Call, Done, Json, Nothing};
use super::error::ApiError;
use super::session_users::UserPath;
use super::sessions::SessionPath;
use super::value::{Flag, Number, Text};
use crate::rules::session::admin::AdminRequest;
use crate::rules::session::thumbnail::PictureWish;

pub(super) fn endpoints(api: &mut Api) {
    let (of_session, of_user) = ("sessions/{session}/thumbnail", "sessions/{session}/{user}/thumbnail");
    api.get(of_session, "The picture of the canvas.", AdminState::thumbnail);
    api.delete(of_session, "Deletes the picture, or cancels its creation.", AdminState::forget_thumbnail)
        .locked_by("sessions");
    api.post(of_user, "Asks a client for a picture.", AdminState::ask_thumbnail).locked_by("sessions");
    api.delete(of_user, "Cancels the creation of a picture.", AdminState::cancel_thumbnail)
        .locked_by("sessions");
}

/// The picture of the canvas.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Thumbnail {
    /// The picture, base64.
    data: String,
    /// When it was created.
    at: String,
}

/// What is deleted.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct ForgetThumbnail {
    /// false keeps the picture.
    thumbnail: Option<Flag>,
    /// false lets its creation go on.
    generation: Option<Flag>,
}

/// What was deleted.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Forgotten {
    /// ok.
    status: String,
    /// The picture was.
    thumbnail: bool,
    /// Its creation was cancelled.
    generation: bool,
}

/// What the picture should be like.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
struct Wish {
    /// Pixels.
    max_width: Number<0, { u32::MAX as i64 }>,
    /// Pixels.
    max_height: Number<0, { u32::MAX as i64 }>,
    /// Percent.
    quality: Number<0, { u32::MAX as i64 }>,
    /// jpeg, png or webp.
    format: Option<Text>,
    /// Shown to the user.
    reason: Text,
}

/// A picture was asked for.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Correlator {
    /// Correlator of the client's answer.
    correlator: String,
}

impl AdminState {
    async fn thumbnail(self: Arc<Self>, call: Call<SessionPath>) -> Result<Json<Thumbnail>, ApiError> {
        self.administer(&call.path.session, AdminRequest::Thumbnail).await.map(Json)
    }

    async fn forget_thumbnail(
        self: Arc<Self>,
        call: Call<SessionPath, ForgetThumbnail>,
    ) -> Result<Json<Forgotten>, ApiError> {
        let is_meant = |flag: Option<Flag>| flag.is_none_or(|flag| flag.0);
        let (picture, generation) = (is_meant(call.query.thumbnail), is_meant(call.query.generation));
        let forget = AdminRequest::ForgetThumbnail { picture, generation };
        self.administer(&call.path.session, forget).await.map(Json)
    }

    async fn ask_thumbnail(
        self: Arc<Self>,
        call: Call<UserPath, Nothing, Wish>,
    ) -> Result<Accepted<Correlator>, ApiError> {
        let Wish { max_width, max_height, quality, format, reason } = call.body;
        let wish = PictureWish {
            max_width: max_width.get_as("maxWidth")?,
            max_height: max_height.get_as("maxHeight")?,
            quality: quality.get_as("quality")?,
            format: format.map(|format| format.0),
            reason: reason.0,
        };
        let UserPath { session, user } = call.path;
        self.administer(&session, AdminRequest::AskThumbnail(user, wish)).await.map(Accepted)
    }

    async fn cancel_thumbnail(self: Arc<Self>, call: Call<UserPath>) -> Result<Json<Done>, ApiError> {
        let UserPath { session, user } = call.path;
        self.administer::<Value>(&session, AdminRequest::CancelThumbnail(user)).await?;
        Ok(Done::ok())
    }
}
