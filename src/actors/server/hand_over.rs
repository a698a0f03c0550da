//! Handing sessions over to other servers when this one stops or is draining, and taking them over from others. See
//! `crate::actors::session` for what the session does.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use drawhall_protocol::ProtocolVersion;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Server;
use super::directory::{Residency, SessionEntry, Waiter};
use super::loading::new_here;
use crate::actors::messages::{Answer, PendingEntry, SessionHandle, ToSession, notify};
use crate::cluster::Cluster;
use crate::cluster::link::{HandedOver, LinkRequest, Moved};
use crate::db::nodes::Node;
use crate::rules::session::ConnId;
use crate::rules::session::hand_over::StayingMembers;
use crate::rules::time::Timestamp;

/// How long handing all sessions over may take.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(10);

/// How long one server may take to take a session over.
const ASK_LIMIT: Duration = Duration::from_secs(6);
/// Sessions for which other servers are asked at the same time; the rest wait.
const AT_ONCE: usize = 32;

/// Whether this server goes on with its sessions.
#[derive(Debug)]
pub(super) struct Leaving {
    /// It is about to stop.
    stops: bool,
    /// Its sessions move to other servers as people leave it (`drawhall cluster drain`).
    is_draining: bool,
    /// Sessions are being asked to move.
    is_asking: bool,
    /// Stored sessions that this server has given up, until the database has them as unowned.
    given_up: HashSet<String>,
    /// Permits for asking other servers to take a session.
    permits: Arc<Semaphore>,
}

impl Default for Leaving {
    fn default() -> Self {
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        Leaving { stops: false, is_draining: false, is_asking: false, given_up: HashSet::new(), permits }
    }
}

/// Hands sessions over to other servers, as far as members can stay. Answers when that is done, or after a time-out,
/// with their number.
#[derive(Message)]
#[rtype(result = "usize")]
pub struct HandOver;

impl Handler<HandOver> for Server {
    type Result = ResponseFuture<usize>;

    fn handle(&mut self, _: HandOver, _: &mut Self::Context) -> Self::Result {
        self.leaving.stops = true;
        if !self.has_takers() {
            return Box::pin(async { 0 });
        }
        let sessions = self.loaded_sessions();
        Box::pin(async move {
            let mut handed_over = 0;
            // All pause at once, as each may have somebody who makes it wait.
            let all = ask_all(sessions, ToSession::HandOver, usize::MAX, &mut handed_over);
            if tokio::time::timeout(HAND_OVER_LIMIT, all).await.is_err() {
                tracing::warn!("not all sessions could be handed over in time");
            }
            handed_over
        })
    }
}

/// Asks sessions to move, `at_once` at the same time; counts those that do.
async fn ask_all(
    sessions: Vec<SessionHandle>,
    message: fn(Answer<bool>) -> ToSession,
    at_once: usize,
    handed_over: &mut usize,
) {
    let mut waiting = sessions.into_iter();
    let mut asked: JoinSet<Option<bool>> =
        waiting.by_ref().take(at_once).map(|session| session.ask(message)).collect();
    while let Some(answer) = asked.join_next().await {
        // One that has ended gives no answer.
        *handed_over += usize::from(matches!(answer, Ok(Some(true))));
        if let Some(next) = waiting.next() {
            asked.spawn(next.ask(message));
        }
    }
}

/// The other servers in the order in which they are asked to take a session over: the same one is not the first for
/// all sessions.
fn in_order(id: &str, mut nodes: Vec<Node>) -> Vec<Node> {
    nodes.sort_by_cached_key(|node| {
        let mut hasher = DefaultHasher::new();
        (id, &node.name, &node.incarnation).hash(&mut hasher);
        hasher.finish()
    });
    nodes
}

/// Asks other servers to take a session over. Returns what the servers of its members are told.
async fn ask_others(cluster: Cluster, handed: HandedOver) -> Option<Vec<String>> {
    let id = handed.description.id.clone();
    let request = LinkRequest::TakeOver(Box::new(handed));
    for node in in_order(&id, cluster.takers()) {
        let asked = tokio::time::timeout(ASK_LIMIT, cluster.ask::<Option<Vec<ConnId>>>(&node, &request));
        match asked.await.map_err(io::Error::from).flatten() {
            Ok(Some(conns)) => {
                let moved = conns.into_iter().map(|conn| Moved { node: node.clone(), conn });
                return moved.map(|moved| serde_json::to_string(&moved).ok()).collect();
            }
            Ok(None) => tracing::warn!("server {} does not take session {id} over", node.name),
            Err(error) => tracing::warn!("server {} does not take session {id} over: {error}", node.name),
        }
    }
    None
}

impl Server {
    fn loaded_sessions(&self) -> Vec<SessionHandle> {
        self.directory.entries().filter_map(SessionEntry::address).cloned().collect()
    }

    /// Whether no session may begin here, or come from another server: this one stops, or is draining.
    pub(super) fn refuses_sessions(&self) -> bool {
        self.stopping.is_some() || self.leaving.stops || self.leaving.is_draining
    }

    pub(super) fn is_draining(&self) -> bool {
        self.leaving.is_draining
    }

    /// Whether this server has given a stored session up.
    pub(super) fn has_given_up(&self, id: &str) -> bool {
        self.leaving.given_up.contains(id)
    }

    /// Whether sessions can move, and to whom.
    fn has_takers(&self) -> bool {
        let has_takers = |cluster: &Cluster| !cluster.takers().is_empty();
        self.parts.shared.is_some() && self.parts.cluster.as_ref().is_some_and(has_takers)
    }

    /// Whether the sessions of this server are to move to others: those that are empty, and those whose members are all
    /// connected to other servers. The rest is asked again each second.
    pub(super) fn drain(&mut self, is_draining: bool, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.leaving.is_draining, is_draining) != is_draining {
            let what =
                if is_draining { "is draining: its sessions move to others" } else { "takes sessions again" };
            tracing::info!("this server {what}");
        }
        if !is_draining || self.leaving.is_asking || !self.has_takers() {
            return;
        }
        self.leaving.given_up = self.give_up_stored();
        self.leaving.is_asking = true;
        let sessions = self.loaded_sessions();
        let asking = async {
            let mut handed_over = 0;
            ask_all(sessions, ToSession::Drain, AT_ONCE, &mut handed_over).await;
            handed_over
        };
        ctx.spawn(asking.into_actor(self).map(|handed_over, server, _| {
            server.leaving.is_asking = false;
            if handed_over > 0 {
                tracing::info!("sessions handed over to other servers: {handed_over}");
            }
        }));
    }

    /// A session is to go on at another server.
    pub(super) fn hand_over(&self, id: &str, staying: StayingMembers, answer: Answer<Option<Vec<String>>>) {
        let (Some(cluster), Some(entry)) = (self.parts.cluster.clone(), self.directory.find(id)) else {
            return;
        };
        let from = cluster.node.incarnation.clone();
        let handed = HandedOver { description: entry.description.clone(), from, staying };
        let permits = self.leaving.permits.clone();
        actix_rt::spawn(async move {
            let _permit = permits.acquire().await;
            notify(answer, ask_others(cluster, handed).await);
        });
    }

    /// Another server hands a session over.
    pub(super) fn take_over(&mut self, handed: HandedOver, answer: Answer<bool>, ctx: &mut Context<Self>) {
        let HandedOver { description, from, staying } = handed;
        let id = description.id.clone();
        if self.parts.shared.is_none() || self.refuses_sessions() {
            return notify(answer, false);
        }
        let Ok(protocol) = description.protocol.parse::<ProtocolVersion>() else {
            return notify(answer, false);
        };
        let now = Timestamp::now();
        let rest = match self.directory.find(&id).map(|entry| &entry.residency) {
            Some(Residency::Active(_) | Residency::Unloading(..) | Residency::Loading(_)) => {
                return notify(answer, false);
            }
            Some(Residency::Stored(rest)) => (**rest).clone(),
            Some(Residency::Remote { .. }) | None => new_here(&id, now.utc_ms, now),
        };
        self.remote_ended(&id);
        let (name, members) = (id.clone(), staying.members.len());
        let waiter: Waiter = Box::new(move |taken| {
            if taken.is_ok() {
                tracing::info!("session {name} was taken over, members who stay: {members}");
            }
            notify(answer, taken.is_ok());
        });
        let residency = Residency::Loading(vec![waiter]);
        self.announce_change(&description, false, ctx);
        let mut entry = SessionEntry::new(description, protocol, residency, self.histories.share());
        entry.set_unowned(true);
        self.directory.insert(entry);
        self.load(id, rest.with_staying(staying), Some(from), ctx);
    }

    /// A member of a session that was taken over is there.
    pub(super) fn resume(&mut self, id: &str, conn: ConnId, entry: PendingEntry) {
        // Dropping the entry refuses it.
        if let Some(Residency::Active(session)) = self.directory.find(id).map(|entry| &entry.residency) {
            session.tell(ToSession::Resume { conn, entry });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_go_to_different_servers_and_one_goes_to_the_same() {
        let node = |name: &str| Node { name: name.into(), ..Node::default() };
        let nodes = || vec![node("a"), node("b"), node("c")];
        let first = |id: &str| in_order(id, nodes())[0].name.clone();
        let firsts: std::collections::BTreeSet<String> = (0..50).map(|n| first(&n.to_string())).collect();
        assert_eq!(firsts.len(), 3);
        let reversed = nodes().into_iter().rev().collect();
        assert_eq!(in_order("x", reversed), in_order("x", nodes()));
    }
}
