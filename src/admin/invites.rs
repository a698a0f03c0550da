//! Endpoints `sessions/ID/invites`.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::AdminState;
use super::answers::Invite;
use super::endpoint::{Api, Call, Done, Json, Nothing};
use super::error::{ApiError, bad};
use super::sessions::SessionPath;
use super::value::{Flag, Number, WholeNumber};
use crate::rules::session::admin::AdminRequest;

pub(super) fn endpoints(api: &mut Api) {
    api.get("sessions/{session}/invites", "Its invites.", AdminState::invites);
    api.post("sessions/{session}/invites", "Creates an invite.", AdminState::create_invite)
        .locked_by("sessions");
    api.get("sessions/{session}/invites/{secret}", "An invite.", AdminState::invite);
    api.delete("sessions/{session}/invites/{secret}", "Removes an invite.", AdminState::remove_invite)
        .locked_by("sessions");
}

/// The path of an invite.
#[derive(Debug, Deserialize, JsonSchema)]
struct InvitePath {
    /// Session id or alias.
    session: String,
    /// Secret of the invite.
    secret: String,
}

/// A new invite.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["maxUses"]))]
struct NewInvite {
    /// How often it can be used.
    #[schemars(with = "WholeNumber<1, MAX_USES>")]
    max_uses: Number<1, MAX_USES>,
    /// Whoever uses it is trusted.
    trust: Option<Flag>,
    /// Whoever uses it is operator.
    op: Option<Flag>,
}

/// The most uses that an invite can have.
const MAX_USES: i64 = u32::MAX as i64;

/// Invites.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Invites {
    /// Invites of the session.
    invites: Vec<Invite>,
}

impl AdminState {
    async fn invites(self: Arc<Self>, call: Call<SessionPath>) -> Result<Json<Invites>, ApiError> {
        self.administer(&call.path.session, AdminRequest::Invites).await.map(Json)
    }

    async fn create_invite(
        self: Arc<Self>,
        call: Call<SessionPath, Nothing, NewInvite>,
    ) -> Result<Json<Invite>, ApiError> {
        let NewInvite { max_uses, trust, op } = call.body;
        let max_uses = max_uses.get("maxUses").ok().flatten();
        let max_uses = max_uses.ok_or_else(|| bad("Missing or invalid maxUses"))?;
        let is_set = |flag: Option<Flag>| flag.is_some_and(|flag| flag.0);
        let create = AdminRequest::CreateInvite { max_uses, trust: is_set(trust), op: is_set(op) };
        self.administer(&call.path.session, create).await.map(Json)
    }

    async fn invite(self: Arc<Self>, call: Call<InvitePath>) -> Result<Json<Invite>, ApiError> {
        self.administer(&call.path.session, AdminRequest::Invite(call.path.secret)).await.map(Json)
    }

    async fn remove_invite(self: Arc<Self>, call: Call<InvitePath>) -> Result<Json<Done>, ApiError> {
        self.administer::<Value>(&call.path.session, AdminRequest::RemoveInvite(call.path.secret)).await?;
        Ok(Done::ok())
    }
}
