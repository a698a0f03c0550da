//! Endpoints `users`: everybody who is connected.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use actix_web::http::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded;

use super::AdminState;
use super::answers::User;
use super::endpoint::{Api, Call, Done, Json, List, ListVersion, Nothing};
use super::error::{ApiError, not_found};
use super::request::Who;
use super::session_users::Kick;
use super::sessions::converted;
use super::value::Flag;
use crate::actors::messages::{ToClient, ToSession, UserSummary};
use crate::actors::server::ListClients;
use crate::db::nodes::Node;
use crate::rules::session::DisconnectReason;
use crate::rules::session::admin::{AdminRequest, kicked_by};

pub(super) fn endpoints(api: &mut Api) {
    api.get("users", "All connected users.", AdminState::users);
    api.get("users/{uid}", "A connected user.", AdminState::user);
    api.delete("users/{uid}", "Kicks a user.", AdminState::kick_user).locked_by("sessions");
}

/// Maximum size of the list of another server's users in bytes.
const MAX_LIST: u64 = 16 << 20;

/// The path of a user.
#[derive(Debug, Deserialize, JsonSchema)]
struct UidPath {
    /// Number of the connection.
    uid: String,
}

/// Which users, and the version of the answer.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct WhichUsers {
    /// Only those of this server, not those of others of the cluster.
    local: Option<Flag>,
    /// 2 for an object that also says whether this part of the API is locked.
    v: ListVersion,
}

impl AdminState {
    async fn users(self: Arc<Self>, call: Call<Nothing, WhichUsers>) -> Result<List<User>, ApiError> {
        let mut users = self.all_users().await?;
        if !call.query.local.as_ref().is_some_and(|local| local.0) {
            users.extend(self.users_of_others(&call.who).await);
        }
        List::new(users, &call.query.v, self.is_locked("sessions"))
    }

    async fn user(self: Arc<Self>, call: Call<UidPath>) -> Result<Json<User>, ApiError> {
        if let Some((node, uid)) = self.node_of_user(&call.path.uid)? {
            let found = self.json_of(&node, &call.who, (&Method::GET, path_of(&uid)), MAX_LIST).await?;
            return Ok(Json(of_node(&node, found)));
        }
        let users = self.all_users().await?;
        let found = users.into_iter().find(|user| user.uid.as_deref() == Some(&call.path.uid));
        found.map(Json).ok_or_else(not_found)
    }

    async fn kick_user(self: Arc<Self>, call: Call<UidPath, Kick>) -> Result<Json<Done>, ApiError> {
        let message = call.query.message.0;
        if let Some((node, uid)) = self.node_of_user(&call.path.uid)? {
            let query =
                form_urlencoded::Serializer::new(String::new()).append_pair("message", &message).finish();
            let path = format!("{}?{query}", path_of(&uid));
            self.json_of::<Value>(&node, &call.who, (&Method::DELETE, path), MAX_LIST).await?;
            return Ok(Done::ok());
        }
        let clients = self.server.send(ListClients).await?;
        let found = clients.into_iter().find(|(conn, _)| conn.to_string() == call.path.uid);
        let (conn, client) = found.ok_or_else(not_found)?;
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

    /// The server of the cluster that a user's number names, and the number that the user has there; `None` for a
    /// number of this server.
    fn node_of_user(&self, uid: &str) -> Result<Option<(Node, String)>, ApiError> {
        let Some((incarnation, uid)) = uid.split_once('.') else { return Ok(None) };
        let is_number = !uid.is_empty() && uid.bytes().all(|byte| byte.is_ascii_digit());
        let node = self.other_node(incarnation).filter(|_| is_number).ok_or_else(not_found)?;
        Ok(Some((node, uid.to_owned())))
    }

    /// The users of other servers; nothing of one that does not answer.
    async fn users_of_others(&self, who: &Who) -> Vec<User> {
        let question = (&Method::GET, "/api/users?local=true".to_owned());
        let lists = self.json_of_others::<Vec<User>>(who, question, MAX_LIST).await;
        lists
            .into_iter()
            .flat_map(|(node, users)| users.into_iter().map(move |user| of_node(&node, user)))
            .collect()
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

/// The path of a user of the server that is asked.
fn path_of(uid: &str) -> String {
    format!("/api/users/{uid}")
}

/// A user as another server describes them.
fn of_node(node: &Node, mut user: User) -> User {
    user.uid = user.uid.map(|uid| format!("{}.{uid}", node.incarnation));
    user.node = Some(node.name.clone());
    user
}
