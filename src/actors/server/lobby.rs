//! The lobby: clients that are logged in but in no session, and their session list.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use drawhall_protocol::reply::{LoginReply, ServerReply, SessionDescription};

use super::Server;
use super::directory::{self, SessionEntry};
use crate::actors::messages::{EnterLobby, ToClient};
use crate::rules::session::ConnId;
use crate::rules::time::Timestamp;

/// Number of session list updates that are sent individually within [`LOBBY_MS`]; further ones are coalesced.
const LOBBY_CHANGES: u32 = 10;
/// See [`LOBBY_CHANGES`], in milliseconds.
const LOBBY_MS: u64 = 100;

/// A client in the lobby.
pub(super) struct LobbyClient {
    pub(super) moderator: bool,
    changes: bool,
    /// Sessions that it was not shown when it entered, and whose end it is not shown either.
    unseen: HashSet<String>,
}

/// The clients in the lobby, and pending updates.
#[derive(Default)]
pub(super) struct Lobby {
    waiting: HashMap<ConnId, LobbyClient>,
    /// Updates sent since `since` (monotonic).
    changes: u32,
    since: u64,
    /// Changed sessions to be sent, and whether they were listed before.
    pending: HashMap<String, bool>,
}

impl Lobby {
    /// Whether nobody is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Removes a client.
    pub(super) fn remove(&mut self, conn: ConnId) {
        self.waiting.remove(&conn);
    }
}

impl Server {
    fn to_lobby(&self, frame: &Bytes, shown: impl Fn(&LobbyClient) -> bool) {
        for (conn, _) in self.lobby.waiting.iter().filter(|(_, w)| w.changes && shown(w)) {
            if let Some(connection) = self.connections.get(conn) {
                connection.client.tell(ToClient::LobbyFrame(frame.clone()));
            }
        }
    }

    /// Sends an update of a session, or coalesces it when there are many.
    pub(super) fn announce_change(
        &mut self,
        description: &SessionDescription,
        was_listed: bool,
        ctx: &mut Context<Self>,
    ) {
        if self.lobby.is_empty() {
            return;
        }
        let now = Timestamp::now().monotonic_ms;
        if now >= self.lobby.since + LOBBY_MS {
            (self.lobby.since, self.lobby.changes) = (now, 0);
        }
        self.lobby.changes += 1;
        if self.lobby.changes <= LOBBY_CHANGES && self.lobby.pending.is_empty() {
            return self.announce(description, was_listed);
        }
        if self.lobby.pending.is_empty() {
            ctx.run_later(Duration::from_millis(LOBBY_MS), |server, _| {
                for (id, was_listed) in std::mem::take(&mut server.lobby.pending) {
                    if let Some(description) = server.directory.find(&id).map(|e| e.description.clone()) {
                        server.announce(&description, was_listed);
                    }
                }
            });
        }
        *self.lobby.pending.entry(description.id.clone()).or_default() |= was_listed;
    }

    /// Sends a new or changed session; one that is no longer listed disappears.
    pub(super) fn announce(&mut self, description: &SessionDescription, was_listed: bool) {
        let login = |reply: LoginReply| ServerReply::Login(Box::new(reply)).to_frame();
        let shown = login(LoginReply {
            message: "New session".into(),
            sessions: Some(vec![description.clone()]),
            ..LoginReply::default()
        });
        if let Ok(frame) = shown {
            let frame = frame.into_bytes();
            let shown = |w: &LobbyClient| w.moderator || !description.unlisted;
            self.to_lobby(&frame, shown);
            for waiting in self.lobby.waiting.values_mut().filter(|w| !w.unseen.is_empty() && shown(w)) {
                waiting.unseen.remove(&description.id);
            }
        }
        if description.unlisted && was_listed {
            self.announce_end(&description.id, |w| !w.moderator);
        }
    }

    pub(super) fn announce_end(&self, id: &str, shown: impl Fn(&LobbyClient) -> bool) {
        let reply = LoginReply {
            message: "Session ended".into(),
            remove: Some(vec![id.to_owned()]),
            ..LoginReply::default()
        };
        if let Ok(frame) = ServerReply::Login(Box::new(reply)).to_frame() {
            self.to_lobby(&frame.into_bytes(), |w| shown(w) && !w.unseen.contains(id));
        }
    }
}

impl Server {
    /// A client has logged in: sends it the welcome, then updates.
    pub(super) fn enter_lobby(&mut self, enter: EnterLobby) {
        let Some(connection) = self.connections.get(&enter.conn) else { return };
        let title = &self.rules.settings().server_title;
        let templates = if enter.list_now { self.listed_templates(enter.moderator) } else { Vec::new() };
        let shown = |e: &&SessionEntry| enter.list_now && (enter.moderator || !e.unlisted());
        let entries = self.directory.entries().filter(shown).map(SessionEntry::json);
        let sessions: Vec<&str> = entries.chain(templates.iter().map(String::as_str)).collect();
        for frame in directory::welcome(title, &sessions) {
            connection.client.tell(ToClient::LobbyFrame(frame));
        }
        let unseen = if enter.list_now || !enter.list_changes {
            HashSet::new()
        } else {
            self.directory.entries().map(|entry| entry.description.id.clone()).collect()
        };
        let (moderator, changes) = (enter.moderator, enter.list_changes);
        self.lobby.waiting.insert(enter.conn, LobbyClient { moderator, changes, unseen });
    }

    /// A client has joined a session.
    pub(super) fn leave_lobby(&mut self, conn: ConnId) {
        self.lobby.waiting.remove(&conn);
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.without_session = None;
        }
    }
}
