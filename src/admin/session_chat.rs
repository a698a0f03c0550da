//! Endpoints `sessions/ID/chat`: an administrator in the chat of a session.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AdminState;
use super::endpoint::{Api, Call, Json, Nothing};
use super::error::{ApiError, bad};
use super::sessions::SessionPath;
use super::value::{MAX_EXACT, Number, Text};
use crate::rules::session::admin::{AdminError, AdminRequest, MAX_CHAT_TIMEOUT, MIN_CHAT_TIMEOUT};

/// Default time after which an administrator who does not read the chat leaves it, in milliseconds.
const CHAT_TIMEOUT: u64 = 300_000;

pub(super) fn endpoints(api: &mut Api) {
    let path = "sessions/{session}/chat";
    api.get(path, "Chat since the administrator joined.", AdminState::read_chat);
    api.post(path, "The administrator joins the chat.", AdminState::join_chat).locked_by("sessions");
    api.put(path, "Sends an alert and returns new messages.", AdminState::say).locked_by("sessions");
    api.delete(path, "The administrator leaves the chat.", AdminState::leave_chat).locked_by("sessions");
}

/// Which messages.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Since {
    /// Number of the first message to return.
    offset: Number<0, MAX_EXACT>,
}

/// A message, and which messages to return.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Say {
    /// Shown to everybody as an alert.
    message: Text,
    /// Number of the first message to return.
    offset: Number<0, MAX_EXACT>,
}

/// How the administrator joins the chat.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct JoinChat {
    /// A first message, shown to everybody as an alert.
    message: Text,
    /// Milliseconds without reading after which the administrator leaves.
    timeout: Number<{ MIN_CHAT_TIMEOUT as i64 }, { MAX_CHAT_TIMEOUT as i64 }>,
}

/// A message in the chat.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct ChatMessage {
    /// User id; the administrator has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    i: Option<u8>,
    /// User name.
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    /// The message.
    m: String,
    /// Flags of the message, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    f: Option<u8>,
}

/// Messages in the chat.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Chat {
    /// Number of the first message that follows.
    offset: u64,
    /// Messages.
    messages: Vec<ChatMessage>,
}

/// The number of the first message to return.
fn offset(number: &Number<0, MAX_EXACT>) -> Result<u64, ApiError> {
    Ok(number.get_as("offset")?.unwrap_or_default())
}

impl AdminState {
    async fn read_chat(self: Arc<Self>, call: Call<SessionPath, Since>) -> Result<Json<Chat>, ApiError> {
        let read = AdminRequest::ReadChat(offset(&call.query.offset)?);
        self.administer(&call.path.session, read).await.map(Json)
    }

    async fn join_chat(
        self: Arc<Self>,
        call: Call<SessionPath, Nothing, JoinChat>,
    ) -> Result<Json<Chat>, ApiError> {
        let timeout = &call.body.timeout;
        let timeout_ms = match timeout.whole() {
            None if timeout.is_missing() => CHAT_TIMEOUT,
            None => return Err(bad("timeout must be a number of milliseconds")),
            // Errors with the texts of drawpile-srv.
            Some(ms) => u64::try_from(ms).map_err(|_| AdminError::TimeoutTooShort(MIN_CHAT_TIMEOUT))?,
        };
        let join = AdminRequest::JoinChat { message: call.body.message.0, timeout_ms };
        self.administer(&call.path.session, join).await.map(Json)
    }

    async fn say(self: Arc<Self>, call: Call<SessionPath, Nothing, Say>) -> Result<Json<Chat>, ApiError> {
        let say = AdminRequest::Say(call.body.message.0, offset(&call.body.offset)?);
        self.administer(&call.path.session, say).await.map(Json)
    }

    async fn leave_chat(self: Arc<Self>, call: Call<SessionPath, Say>) -> Result<Json<Chat>, ApiError> {
        let leave = AdminRequest::LeaveChat(call.query.message.0, offset(&call.query.offset)?);
        self.administer(&call.path.session, leave).await.map(Json)
    }
}
