//! Endpoints `users`: everybody who is connected.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::AdminState;
use super::operation::{Answer, Operation, text};
use super::request::{Method, Request, not_found, unsupported};
use super::schemas::USER;
use crate::actors::messages::{ToClient, ToSession, UserSummary};
use crate::actors::server::ListClients;
use crate::rules::session::DisconnectReason;
use crate::rules::session::admin::{AdminAnswer, AdminError, AdminRequest, kicked_by};

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::get("users", "All connected users.", Answer::Many(&USER, "users")),
    Operation::get("users/{uid}", "A connected user.", Answer::One(&USER)),
    Operation::delete("users/{uid}", "Kicks a user.", Answer::Done)
        .locked_by("sessions")
        .query(&[text("message", "Shown to the user.")]),
];

impl AdminState {
    pub(super) async fn users(&self, request: &Request) -> AdminAnswer {
        let users = self.all_users().await?;
        Ok(self.list_value(request, "sessions", "users", users))
    }

    pub(super) async fn user(&self, request: &Request, uid: &str) -> AdminAnswer {
        match request.method {
            Method::Get => {
                let users = self.all_users().await?;
                users.into_iter().find(|user| user["uid"] == uid).ok_or_else(not_found)
            }
            Method::Delete => {
                let clients = self.server.send(ListClients).await.map_err(|_| not_found())?;
                let found = clients.into_iter().find(|(conn, _)| conn.to_string() == uid);
                let (conn, client) = found.ok_or_else(not_found)?;
                let message = request.query("message");
                if let Some(UserSummary::In(session)) = client.ask(ToClient::Describe).await {
                    // The session logs who kicked the user.
                    let kick = AdminRequest::KickConnection(conn, message.to_owned());
                    if let Some(Ok(_)) = session.ask(|answer| ToSession::Administer(kick, answer)).await {
                        return Ok(json!({"status": "ok"}));
                    }
                }
                let message = kicked_by(message);
                client.tell(ToClient::SendAway { reason: DisconnectReason::Kick, message });
                Ok(json!({"status": "ok"}))
            }
            _ => Err(unsupported()),
        }
    }

    /// Descriptions of all connected users, from their sessions or, outside of one, from their connections.
    pub(super) async fn all_users(&self) -> Result<Vec<Value>, AdminError> {
        let clients = self.server.send(ListClients).await.map_err(|_| not_found())?;
        let summaries: Vec<_> = clients.iter().map(|(_, client)| client.ask(ToClient::Describe)).collect();
        let (mut users, mut sessions) = (Vec::new(), HashSet::new());
        for summary in summaries {
            match summary.await {
                Some(UserSummary::In(session)) => drop(sessions.insert(session)),
                Some(UserSummary::Alone(user)) => users.push(user),
                // The client has disconnected meanwhile.
                None => {}
            }
        }
        for session in sessions {
            users.extend(session.ask(ToSession::DescribeUsers).await.unwrap_or_default());
        }
        users.sort_by_key(|user| user["uid"].as_str().and_then(|uid| uid.parse::<u64>().ok()));
        Ok(users)
    }
}
