//! Clients whose connection another server has: they have logged in there, and come over a node link.
//!
//! The other server has answered pings, keeps the connection alive and knows when it is silent for too long. Here begins
//! what the session has to do with: what is acted on costs the same as for everybody else.

use actix::prelude::*;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::{Client, ClientContext, Entering, FLUSH_LIMIT, Opened, Phase};
use crate::actors::messages::{PendingEntry, ServerHandle, ToServer, ToSession};
use crate::cluster::link::{JoinAnswer, LinkSignal};
use crate::log::LogUser;
use crate::rules::session::{ClientOp, ConnId, JoinRequest, Refusal};
use crate::transport::connection_limiter::ConnectionPermit;

/// A link of a client, and what a Client actor needs besides.
pub(crate) struct LinkedClient {
    pub(crate) link: TlsStream<TcpStream>,
    pub(crate) conn: ConnId,
    pub(crate) permit: ConnectionPermit,
    pub(crate) context: ClientContext,
}

impl LinkedClient {
    /// Starts the actor, on this worker thread, and asks a session to let the client in.
    pub(crate) fn join(self, session: String, mut request: Box<JoinRequest>) {
        request.client.conn = self.conn;
        let user = LogUser::from(&request.client.identity);
        let (server, entry) = self.start(session.clone(), user);
        server.tell(ToServer::EnterSession { id: session, request, entry });
    }

    /// Starts the actor of a client who stays in a session that this server has taken over.
    pub(crate) fn resume(self, session: String, user: LogUser) {
        let conn = self.conn;
        let (server, entry) = self.start(session.clone(), user);
        server.tell(ToServer::Resume { id: session, conn, entry });
    }

    fn start(self, session: String, user: LogUser) -> (ServerHandle, PendingEntry) {
        let LinkedClient { link, conn, permit, context } = self;
        let phase = Phase::Relayed(Entering::Asked(session));
        let (server, ctx) = (context.server.clone(), Context::new());
        let client = Client::new(Opened::Link(Box::new(link)), phase, user, (conn, permit, context), &ctx);
        client.shared.identified.set(true);
        client.shared.await_answer();
        let entry = PendingEntry::to_join_relayed(ctx.address().into(), client.in_flight_budget.clone());
        ctx.run(client);
        (server, entry)
    }
}

/// Whether the server that has the connection sends nothing more, because the session is about to be handed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Pausing {
    #[default]
    No,
    /// It was asked to.
    Asked,
    /// It does not, and the session is told when all that it has sent is with the session.
    Ended,
}

impl Pausing {
    pub(super) fn is_asked(self) -> bool {
        self == Pausing::Asked
    }
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

    /// Asks the server that has the connection to send nothing more.
    pub(super) fn pause_relayed(&mut self, ctx: &mut Context<Self>) {
        if let (Phase::Session(_), Ok(frame)) = (&self.phase, LinkSignal::pause()) {
            self.pausing = Pausing::Asked;
            self.send(frame, ctx);
        }
    }

    /// The server that has the connection has closed its direction of the link.
    pub(super) fn input_paused(&mut self) {
        self.pausing = Pausing::Ended;
        if self.pending.is_empty() {
            self.tell_paused();
        }
    }

    /// Tells the session once that it has everything.
    pub(super) fn tell_paused(&mut self) {
        if let (Phase::Session(session), Pausing::Ended) = (&self.phase, self.pausing) {
            self.pausing = Pausing::No;
            session.tell(ToSession::Paused(self.conn));
        }
    }

    /// The session goes on elsewhere: what is left of its history is sent, and where.
    pub(super) fn moved_relayed(&mut self, text: &str, ctx: &mut Context<Self>) {
        let Ok(frame) = LinkSignal::moved(text) else { return self.abort(ctx) };
        // The session need not be told.
        self.phase = Phase::Over;
        self.shared.outbox.borrow_mut().close_behind_history(frame);
        self.shared.wake.notify_one();
        ctx.run_later(FLUSH_LIMIT, |_, ctx| ctx.stop());
    }

    fn answer_link(&mut self, answer: &JoinAnswer, ctx: &mut Context<Self>) {
        match answer.to_frame() {
            Ok(frame) => self.send(frame, ctx),
            // The other server tells the client that there was no answer.
            Err(_) => self.abort(ctx),
        }
    }
}
