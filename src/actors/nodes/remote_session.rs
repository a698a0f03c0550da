//! A session on another server, as clients here see it: it takes the messages of a session and passes them on.

use std::collections::HashMap;
use std::sync::Arc;

use actix::prelude::*;
use tokio::sync::mpsc;

use super::relay::{Relay, unreachable_session};
use crate::actors::messages::{
    Answer, ClientHandle, PendingEntry, SessionHandle, ToClient, ToSession, notify,
};
use crate::cluster::Cluster;
use crate::cluster::link::LinkRequest;
use crate::db::nodes::Node;
use crate::log::LogUser;
use crate::metrics::Metrics;
use crate::rules::batch::Batch;
use crate::rules::login::LookupAnswer;
use crate::rules::session::{ConnId, DisconnectReason, JoinRequest};

/// The actor of a session on another server. It ends when the session has ended and its last client has left.
pub struct RemoteSession {
    id: String,
    node: Arc<Node>,
    cluster: Cluster,
    metrics: Arc<Metrics>,
    clients: HashMap<ConnId, RelayedClient>,
    /// Links that were begun so far.
    links: u64,
    /// The session is no longer in the directory.
    is_over: bool,
}

/// A client here.
struct RelayedClient {
    client: ClientHandle,
    /// Number of its link: after a refusal it may try again.
    link: u64,
    /// Its batches, which its link's task takes; what waits there is bounded by the client's
    /// [`InFlightBudget`](crate::actors::in_flight::InFlightBudget).
    batches: mpsc::UnboundedSender<Batch>,
}

/// To a RemoteSession: a link of a client has ended.
#[derive(Message)]
#[rtype(result = "()")]
struct LinkEnded {
    conn: ConnId,
    link: u64,
}

impl RemoteSession {
    /// The session of this id on another server.
    pub fn new(id: String, node: Arc<Node>, cluster: Cluster, metrics: Arc<Metrics>) -> RemoteSession {
        RemoteSession { id, node, cluster, metrics, clients: HashMap::new(), links: 0, is_over: false }
    }

    fn look_up(&self, invite: String, sid: String, answer: Answer<LookupAnswer>) {
        let (cluster, node) = (self.cluster.clone(), self.node.clone());
        let question = LinkRequest::LookUp { session: self.id.clone(), invite, sid };
        actix_rt::spawn(async move {
            let found = cluster.ask(&node, &question).await.unwrap_or_else(|error| {
                tracing::warn!("server {} does not answer a look-up: {error}", node.name);
                LookupAnswer::Refused(unreachable_session())
            });
            notify(answer, found);
        });
    }

    fn join(&mut self, request: Box<JoinRequest>, entry: PendingEntry, ctx: &mut Context<Self>) {
        let conn = request.client.conn;
        let (batches, incoming) = mpsc::unbounded_channel();
        self.links += 1;
        let link = self.links;
        self.clients.insert(conn, RelayedClient { client: entry.client().clone(), link, batches });
        let session: SessionHandle = ctx.address().into();
        let user = LogUser::from(&request.client.identity);
        let request = LinkRequest::Join { session: self.id.clone(), request };
        let relay = Relay {
            cluster: self.cluster.clone(),
            node: self.node.clone(),
            metrics: self.metrics.clone(),
            entry,
            id: self.id.clone(),
            user,
            incoming,
            session,
        };
        let address = ctx.address();
        actix_rt::spawn(async move {
            relay.run(request).await;
            address.do_send(LinkEnded { conn, link });
        });
    }

    fn report(&self, user: LogUser, reason: String) {
        let (cluster, node) = (self.cluster.clone(), self.node.clone());
        let report = LinkRequest::Report { session: self.id.clone(), user, reason };
        actix_rt::spawn(async move {
            if let Err(error) = cluster.connect(&node, &report).await {
                tracing::error!("an abuse report does not reach server {}: {error}", node.name);
            }
        });
    }

    fn forget(&mut self, conn: ConnId, ctx: &mut Context<Self>) {
        // The link's task ends when its sender is gone.
        self.clients.remove(&conn);
        if self.is_over && self.clients.is_empty() {
            ctx.stop();
        }
    }
}

impl Actor for RemoteSession {
    type Context = Context<Self>;
}

impl Handler<LinkEnded> for RemoteSession {
    type Result = ();

    fn handle(&mut self, LinkEnded { conn, link }: LinkEnded, ctx: &mut Self::Context) {
        if self.clients.get(&conn).is_some_and(|client| client.link == link) {
            self.forget(conn, ctx);
        }
    }
}

impl Handler<ToSession> for RemoteSession {
    type Result = ();

    fn handle(&mut self, message: ToSession, ctx: &mut Self::Context) {
        match message {
            ToSession::Batch { conn, batch } => {
                if let Some(client) = self.clients.get(&conn) {
                    // When the link has ended, the client is told that.
                    let _ = client.batches.send(batch);
                }
            }
            ToSession::Leave(conn) | ToSession::Cut(conn) => self.forget(conn, ctx),
            ToSession::LookUp { invite, sid, answer } => self.look_up(invite, sid, answer),
            ToSession::Join { request, entry } => self.join(request, entry, ctx),
            ToSession::ReportFromOutside { user, reason } => self.report(user, reason),
            // This server stops, not the session.
            ToSession::Stop => {
                for RelayedClient { client, .. } in self.clients.values() {
                    let message = "Server shutting down".to_owned();
                    client.tell(ToClient::SendAway { reason: DisconnectReason::Shutdown, message });
                }
            }
            // It has ended, or its server cannot be reached.
            ToSession::Unload => {
                self.is_over = true;
                if self.clients.is_empty() {
                    ctx.stop();
                }
            }
            // Only the server that has the session can hand it over.
            ToSession::HandOver(answer) | ToSession::Drain(answer) => notify(answer, false),
            // Only clients of the server that has the session are asked to pause.
            ToSession::Paused(_) => {}
            // They are in the lists of the server that has the session.
            ToSession::DescribeUsers(answer) => notify(answer, Vec::new()),
            // The server that has the session knows how fast its clients draw.
            ToSession::DrawsTooFast { .. } => {}
            // What is asked for the admin API goes to the other server.
            ToSession::Administer(..) | ToSession::Histories(..) | ToSession::FindOperator { .. } => {}
            // The Server sends these to its own sessions only.
            ToSession::Host { .. }
            | ToSession::Resume { .. }
            | ToSession::Lost
            | ToSession::ReportSent { .. }
            | ToSession::ReportStored { .. }
            | ToSession::Listing(_)
            | ToSession::Settings(_) => {}
        }
    }
}
