//! Sessions on other servers of the cluster, in the directory and in the lobby.

use std::collections::HashMap;
use std::sync::Arc;

use actix::prelude::*;
use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::reply::SessionDescription;

use super::Server;
use super::directory::{Residency, SessionEntry};
use crate::actors::messages::{SessionHandle, ToSession};
use crate::actors::nodes::RemoteSession;
use crate::cluster::link::SessionNews;
use crate::db::nodes::Node;

/// Asks which other server of the cluster has a session; `None` for one that is here, or nowhere.
#[derive(Message)]
#[rtype(result = "Option<Arc<Node>>")]
pub struct FindNode {
    /// Id or alias.
    pub name: String,
}

impl Handler<FindNode> for Server {
    type Result = Option<Arc<Node>>;

    fn handle(&mut self, FindNode { name }: FindNode, _: &mut Self::Context) -> Self::Result {
        self.remote_of(&name)
    }
}

/// Asks how many sessions the servers of the cluster have, and how many users are in them.
#[derive(Message)]
#[rtype(result = "NodeCounts")]
pub struct CountByNode;

/// Answer to [`CountByNode`].
#[derive(Debug, Default, MessageResponse)]
pub struct NodeCounts {
    /// This server.
    pub own: NodeCount,
    /// The others, by incarnation.
    pub others: HashMap<String, NodeCount>,
    /// Shared sessions that no server has at the moment.
    pub unowned: usize,
    /// The sessions of this server move to others.
    pub is_draining: bool,
}

/// Sessions of a server, and the users in them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct NodeCount {
    pub sessions: usize,
    pub users: usize,
}

impl Handler<CountByNode> for Server {
    type Result = NodeCounts;

    fn handle(&mut self, _: CountByNode, _: &mut Self::Context) -> Self::Result {
        let mut counts = NodeCounts { is_draining: self.is_draining(), ..NodeCounts::default() };
        for entry in self.directory.entries() {
            let count = match &entry.residency {
                Residency::Remote { node, .. } => counts.others.entry(node.incarnation.clone()).or_default(),
                _ if entry.is_unowned() => {
                    counts.unowned += 1;
                    continue;
                }
                _ => &mut counts.own,
            };
            count.sessions += 1;
            count.users += entry.description.user_count as usize;
        }
        counts
    }
}

impl Server {
    /// Another server has told of its sessions.
    pub(super) fn remote_news(&mut self, node: &Arc<Node>, news: SessionNews, ctx: &mut Context<Self>) {
        for description in news.sessions {
            self.remote_session(node, description, ctx);
        }
        for id in news.ended {
            if self.remote_of(&id).is_some_and(|owner| owner.incarnation == node.incarnation) {
                self.remote_ended(&id);
            }
            if self.told_by_last_owner.get(&id).is_some_and(|(last, _)| last.incarnation == node.incarnation)
            {
                self.told_by_last_owner.remove(&id);
            }
        }
    }

    /// A session of another server has ended, or that server is gone. Clients may be there for a while.
    pub(super) fn remote_ended(&mut self, id: &str) {
        if let Some(session) = self.directory.find(id).and_then(SessionEntry::handle) {
            session.tell(ToSession::Unload);
            self.unlisted_remotes.retain(SessionHandle::is_connected);
            self.unlisted_remotes.push(session.clone());
        }
        self.session_ended(id);
    }

    /// The other server that has a session.
    fn remote_of(&self, id: &str) -> Option<Arc<Node>> {
        match &self.directory.find(id)?.residency {
            Residency::Remote { node, .. } => Some(node.clone()),
            _ => None,
        }
    }

    /// A new or changed session of another server. One that is here as well stays what it is: a copy was made of its files.
    /// Of two other servers that started last has it: it is the same server, or has a copy.
    pub(super) fn remote_session(
        &mut self,
        node: &Arc<Node>,
        description: SessionDescription,
        ctx: &mut Context<Self>,
    ) {
        let Ok(protocol) = description.protocol.parse::<ProtocolVersion>() else { return };
        let id = description.id.clone();
        if self.is_told_late(node, &description) {
            return;
        }
        if self.directory.find(&id).is_some_and(SessionEntry::is_unowned) {
            // That server has taken it over.
            self.session_ended(&id);
        }
        let are_shared = self.parts.shared.is_some();
        match (self.remote_of(&id), self.directory.find_mut(&id)) {
            (Some(owner), Some(entry)) if owner.incarnation == node.incarnation => {
                if entry.description != description {
                    entry.describe(description.clone());
                    let was_listed = entry.show();
                    self.announce_change(&description, was_listed, ctx);
                }
                return;
            }
            // Of a shared session the last to tell of it has taken it over.
            (Some(owner), _) if are_shared || owner.incarnation < node.incarnation => self.remote_ended(&id),
            (_, Some(_)) => return,
            (_, None) => {}
        }
        let Some(session) = self.start_remote(id, node.clone()) else { return };
        let residency = Residency::Remote { node: node.clone(), session };
        self.announce_change(&description, false, ctx);
        self.directory.insert(SessionEntry::new(description, protocol, residency, self.histories.share()));
    }

    fn start_remote(&mut self, id: String, node: Arc<Node>) -> Option<SessionHandle> {
        let cluster = self.parts.cluster.clone()?;
        let worker = self.next_worker()?;
        let session = RemoteSession::new(id, node, cluster, self.parts.metrics.clone());
        Some(RemoteSession::start_in_arbiter(&worker, move |_| session).into())
    }
}
