//! Endpoints `users`: everybody who is connected.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::AdminState;
use super::answers::User;
use super::endpoint::{Api, Call, Done, Json, List, Nothing, Version};
use super::error::{ApiError, not_found};
use super::session_users::Kick;
use super::sessions::converted;
use crate::actors::messages::{ToClient, ToSession, UserSummary};
use crate::actors::server::ListClients;
use crate::rules::session::DisconnectReason;
use crate::rules::session::admin::{AdminRequest, kicked_by};

pub(super) fn endpoints(api: &mut Api) {
    api.get("users", "All connected users.", AdminState::users);
    api.get("users/{uid}", "A connected user.", AdminState::user);
    api.delete("users/{uid}", "Kicks a user.", AdminState::kick_user).locked_by("sessions");
}

/// The path of a user.
#[derive(Debug, Deserialize, JsonSchema)]
struct UidPath {
    /// Number of the connection.
    uid: String,
}

impl AdminState {
    async fn users(self: Arc<Self>, call: Call<Nothing, Version>) -> Result<List<User>, ApiError> {
        List::new(self.all_users().await?, &call.query.v, self.is_locked("sessions"))
    }

    async fn user(self: Arc<Self>, call: Call<UidPath>) -> Result<Json<User>, ApiError> {
        let users = self.all_users().await?;
        let found = users.into_iter().find(|user| user.uid.as_deref() == Some(&call.path.uid));
        found.map(Json).ok_or_else(not_found)
    }

    async fn kick_user(self: Arc<Self>, call: Call<UidPath, Kick>) -> Result<Json<Done>, ApiError> {
        let clients = self.server.send(ListClients).await?;
        let found = clients.into_iter().find(|(conn, _)| conn.to_string() == call.path.uid);
        let (conn, client) = found.ok_or_else(not_found)?;
        let message = call.query.message.0;
        if let Some(UserSummary::In(session)) = client.ask(ToClient::Describe).await {
            // The session logs who kicked the user.
            let kick = AdminRequest::KickConnection(conn, message.clone());
            if let Some(Ok(_)) = session.ask(|answer| ToSession::Administer(kick, answer)).await {
                return Ok(Done::ok());
            }
        }
        let message = kicked_by(&message);
        client.tell(ToClient::SendAway { reason: DisconnectReason::Kick, message });
        Ok(Done::ok())
    }

    /// Descriptions of all connected users, from their sessions or, outside of one, from their connections.
    pub(super) async fn all_users(&self) -> Result<Vec<User>, ApiError> {
        let clients = self.server.send(ListClients).await?;
        let summaries: Vec<_> = clients.iter().map(|(_, client)| client.ask(ToClient::Describe)).collect();
        let (mut alone, mut sessions) = (HashMap::new(), HashSet::new());
        for summary in summaries {
            match summary.await {
                Some(UserSummary::In(session)) => drop(sessions.insert(session)),
                Some(UserSummary::Alone(user)) => {
                    alone.insert(user.client.uid.clone(), converted(&user)?);
                }
                // The client has disconnected meanwhile.
                None => {}
            }
        }
        let mut users: Vec<User> = Vec::new();
        for session in sessions {
            for member in session.ask(ToSession::DescribeUsers).await.unwrap_or_default() {
                // It may have joined since its connection was asked.
                alone.remove(&member.client.uid);
                users.push(converted(&member)?);
            }
        }
        users.extend(alone.into_values());
        users.sort_by_key(|user| user.uid.as_ref().and_then(|uid| uid.parse::<u64>().ok()));
        Ok(users)
    }
}
