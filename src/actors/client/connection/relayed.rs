//! Clients whose connection another server has: they have logged in there, and come over a node link.
//!
//! The other server has answered pings, keeps the connection alive and knows when it is silent for too long. Here begins
//! what the session has to do with: what is acted on costs the same as for everybody else.

use actix::prelude::*;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::{Client, ClientContext, Entering, Opened, Phase};
use crate::actors::messages::{PendingEntry, ToServer};
use crate::cluster::link::JoinAnswer;
use crate::log::LogUser;
use crate::rules::session::{ClientOp, ConnId, JoinRequest, Refusal};
use crate::transport::connection_limiter::ConnectionPermit;

/// Starts the actor of a client that comes over a link, on this worker thread, and asks a session to let it in.
pub(crate) fn begin(
    link: TlsStream<TcpStream>,
    session: String,
    mut request: Box<JoinRequest>,
    (conn, permit, context): (ConnId, ConnectionPermit, ClientContext),
) {
    request.client.conn = conn;
    let identity = &request.client.identity;
    let user = LogUser { id: 0, address: identity.address, name: identity.name.clone() };
    let phase = Phase::Relayed(Entering::Asked(session.clone()));
    let (server, ctx) = (context.server.clone(), Context::new());
    let client = Client::new(Opened::Link(Box::new(link)), phase, user, (conn, permit, context), &ctx);
    client.shared.identified.set(true);
    client.shared.await_answer();
    let entry = PendingEntry::to_join(ctx.address().into(), client.in_flight_budget.clone());
    ctx.run(client);
    server.tell(ToServer::EnterSession { id: session, request, entry });
}

impl Client {
    /// Tells the other server that the client has joined, before anything that the session sends to it.
    pub(super) fn admit_relayed(&mut self, ops: &[ClientOp], ctx: &mut Context<Self>) {
        let joined = ops.iter().find_map(|op| match op {
            ClientOp::Joined { user } => Some(*user),
            _ => None,
        });
        if let (Phase::Relayed(_), Some(user)) = (&self.phase, joined) {
            self.answer_link(&JoinAnswer::Joined(user), ctx);
        }
    }

    /// Tells the other server that the client may not join.
    pub(super) fn refuse_relayed(&mut self, refusal: Refusal, ctx: &mut Context<Self>) {
        self.phase = Phase::Relayed(Entering::Nothing);
        self.answer_link(&JoinAnswer::Refused(refusal), ctx);
        self.close(ctx);
    }

    fn answer_link(&mut self, answer: &JoinAnswer, ctx: &mut Context<Self>) {
        match answer.to_frame() {
            Ok(frame) => self.send(frame, ctx),
            // The other server tells the client that there was no answer.
            Err(_) => self.abort(ctx),
        }
    }
}
