//! Everybody who is connected, with what bans go by, and disconnecting them.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::AdminState;
use super::error::ApiError;
use crate::actors::messages::{ClientHandle, SessionHandle, ToClient, ToSession, UserSummary};
use crate::actors::server::ListClients;
use crate::rules::session::admin::AdminRequest;
use crate::rules::session::admin::answer::ClientDetails;
use crate::rules::session::{ConnId, DisconnectReason};

/// Somebody who is connected.
pub(super) struct Connected {
    pub(super) conn: ConnId,
    handle: ClientHandle,
    in_session: Option<SessionHandle>,
    pub(super) client: ClientDetails,
    /// Session id, empty in none.
    pub(super) session: String,
    /// Operator of the session.
    pub(super) is_operator: bool,
}

impl Connected {
    /// The address, if it is known.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.client.ip.parse().ok()
    }

    /// Disconnects somebody who was banned, with this message.
    pub(super) async fn disconnect_banned(&self, message: &str) {
        if let Some(session) = &self.in_session {
            // The session logs that the user was sent away.
            let request = AdminRequest::DisconnectBanned(self.conn, message.to_owned());
            if let Some(Ok(_)) = session.ask(|answer| ToSession::Administer(request, answer)).await {
                return;
            }
        }
        let message = message.to_owned();
        self.handle.tell(ToClient::SendAway { reason: DisconnectReason::Error, message });
    }
}

/// The user id in the account id of an ext-auth server.
pub(super) fn ext_auth_id(auth_id: &str) -> Option<&str> {
    let (server, id) = auth_id.rsplit_once(':')?;
    (server != "internal").then_some(id)
}

impl AdminState {
    /// Everybody who is connected.
    pub(super) async fn connected(&self) -> Result<Vec<Connected>, ApiError> {
        let clients = self.server.send(ListClients).await?;
        let summaries: Vec<_> = clients
            .into_iter()
            .map(|(conn, handle)| (conn, handle.ask(ToClient::Describe), handle))
            .collect();
        let (mut found, mut sessions, mut handles) = (Vec::new(), HashSet::new(), HashMap::new());
        for (conn, summary, handle) in summaries {
            match summary.await {
                Some(UserSummary::In(session)) => {
                    handles.insert(conn.to_string(), (conn, handle));
                    sessions.insert(session);
                }
                Some(UserSummary::Alone(user)) => found.push(Connected {
                    conn,
                    handle,
                    in_session: None,
                    client: user.client,
                    session: String::new(),
                    is_operator: false,
                }),
                // The client has disconnected meanwhile.
                None => {}
            }
        }
        for session in sessions {
            for member in session.ask(ToSession::DescribeUsers).await.unwrap_or_default() {
                let Some((conn, handle)) = handles.remove(&member.client.uid) else { continue };
                found.push(Connected {
                    conn,
                    handle,
                    in_session: Some(session.clone()),
                    client: member.client,
                    session: member.session.unwrap_or_default(),
                    is_operator: member.op,
                });
            }
        }
        found.sort_by_key(|user| user.conn);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_of_this_server_have_no_ext_auth_id() {
        assert_eq!(ext_auth_id("https://auth.example/:17"), Some("17"));
        assert_eq!([ext_auth_id("internal:17"), ext_auth_id("")], [None, None]);
    }
}
