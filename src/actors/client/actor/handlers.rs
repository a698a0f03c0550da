//! Messages to the Client actor from its own tasks, its session and the server.

use std::io;
use std::net::IpAddr;

use actix::prelude::*;
use bytes::Bytes;

use super::{Client, Phase};
use crate::actors::messages::{SessionHandle, ToClient, UserSummary, notify};
use crate::log::{Level, LogUser, Topic};
use crate::rules::batch::Batch;
use crate::rules::login::{LoginInput, LoginState};
use crate::rules::session::admin::{client_value, time_value};
use crate::rules::session::bans::Identity;
use crate::rules::session::{AuthenticatedClient, ClientOp, DisconnectReason};
use crate::transport::http;
use crate::transport::websocket::Violation;

/// A PROXY header was read; the client's address, if it has one.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors::client) struct Proxied {
    pub(in crate::actors::client) address: Option<IpAddr>,
}

impl Handler<Proxied> for Client {
    type Result = ();

    fn handle(&mut self, Proxied { address }: Proxied, ctx: &mut Self::Context) {
        if let Err(limit) = self.permit.follow_proxy_header(address, self.context.rules.settings()) {
            return self.disconnect(DisconnectReason::Error, limit.message(), ctx);
        }
        let address = self.permit.address();
        self.user.address = Some(address);
        self.log_in(LoginInput::Address(address), ctx);
    }
}

/// A WebSocket peer has closed the connection, or violated the protocol.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors::client) struct CloseReceived {
    pub(in crate::actors::client) violation: Option<Violation>,
}

impl Handler<CloseReceived> for Client {
    type Result = ();

    fn handle(&mut self, CloseReceived { violation }: CloseReceived, ctx: &mut Self::Context) {
        if matches!(self.phase, Phase::Over) {
            return;
        }
        if let Some(violation) = violation {
            self.was_cut = true;
            self.log(Level::Warn, Topic::RuleBreak, violation.to_string());
        }
        self.close(ctx);
    }
}

/// The peer speaks HTTP instead of the protocol.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors::client) struct SpeaksHttp;

impl Handler<SpeaksHttp> for Client {
    type Result = ();

    fn handle(&mut self, _: SpeaksHttp, ctx: &mut Self::Context) {
        if matches!(self.phase, Phase::Over) {
            return;
        }
        self.log(Level::Info, Topic::Status, "Speaks HTTP to the port of drawing programs");
        self.send(http::answer(self.context.websocket_port).into(), ctx);
        self.close(ctx);
    }
}

/// Whole frames from the peer.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors::client) struct Received(pub(in crate::actors::client) Batch);

impl Handler<Received> for Client {
    type Result = ();

    fn handle(&mut self, Received(batch): Received, ctx: &mut Self::Context) {
        self.receive(batch, ctx);
    }
}

/// The inbound half has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors::client) struct ReadClosed {
    pub(in crate::actors::client) error: Option<io::Error>,
}

impl Handler<ReadClosed> for Client {
    type Result = ();

    fn handle(&mut self, ReadClosed { error }: ReadClosed, ctx: &mut Self::Context) {
        let over = matches!(self.phase, Phase::Over);
        if let Some(error) = error.filter(|e| !over && e.kind() != io::ErrorKind::ConnectionReset) {
            self.log(Level::Warn, Topic::Status, format!("Socket read error: {error}"));
        }
        if !over {
            self.abort(ctx);
        }
    }
}

/// The outbound half has ended: everything was sent, or the peer is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors::client) struct Flushed {
    pub(in crate::actors::client) error: Option<io::Error>,
}

impl Handler<Flushed> for Client {
    type Result = ();

    fn handle(&mut self, Flushed { error }: Flushed, ctx: &mut Self::Context) {
        if let Some(error) = error.filter(|_| !matches!(self.phase, Phase::Over)) {
            self.log(Level::Info, Topic::Status, format!("Socket write error: {error}"));
        }
        self.abort(ctx);
    }
}

/// A time-out of the worker's timer has passed.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors::client) struct TimedOut {
    pub(in crate::actors::client) reason: String,
}

impl Handler<TimedOut> for Client {
    type Result = ();

    fn handle(&mut self, TimedOut { reason }: TimedOut, ctx: &mut Self::Context) {
        if !matches!(self.phase, Phase::Over) {
            self.log(Level::Warn, Topic::Status, reason);
        }
        self.cut(ctx);
    }
}

impl Handler<ToClient> for Client {
    type Result = ();

    fn handle(&mut self, message: ToClient, ctx: &mut Self::Context) {
        match message {
            ToClient::Deliver { ops, session } => self.deliver(ops, session, ctx),
            ToClient::ReadOn => self.go_on(ctx),
            ToClient::LobbyFrame(bytes) => self.lobby_frame(bytes, ctx),
            ToClient::SendAway { reason, message } => {
                if !matches!(self.phase, Phase::Over) {
                    self.disconnect(reason, &message, ctx);
                }
            }
            ToClient::Describe(answer) => notify(answer, self.describe()),
        }
    }
}

impl Client {
    /// Performs operations of the session, in order.
    fn deliver(&mut self, ops: Vec<ClientOp>, session: Option<SessionHandle>, ctx: &mut Context<Self>) {
        if let Some(session) = session.as_ref().filter(|_| matches!(self.phase, Phase::Over)) {
            // The client has disconnected before it could join.
            return session.tell(self.leaving());
        }
        if session.is_some() && self.entering.take().is_some() {
            self.session = session;
        }
        for op in ops {
            // A client that was disconnected by one of them ignores the rest.
            if matches!(self.phase, Phase::Over) {
                return;
            }
            self.apply(op, ctx);
        }
        // Frames that came right behind `join` are pending.
        if !self.pending.is_empty() || self.shared.as_ref().is_some_and(|l| l.paused.get()) {
            self.go_on(ctx);
        }
    }

    /// Sends a session list update, unless the client has left the lobby.
    fn lobby_frame(&mut self, bytes: Bytes, ctx: &mut Context<Self>) {
        if matches!(&self.phase, Phase::Login(login) if login.state() == LoginState::WaitForLogin) {
            self.send(bytes, ctx);
        }
    }

    fn describe(&self) -> UserSummary {
        let LogUser { address, name, .. } = self.user.clone();
        let identity = Identity { address, name, ..Identity::default() };
        let known = AuthenticatedClient { conn: self.conn, identity, ..AuthenticatedClient::default() };
        let (state, authenticated) = match &self.phase {
            Phase::Session(session) => return UserSummary::In(session.clone()),
            Phase::Login(login) => ("login", login.client()),
            Phase::Quiet => ("quiet_disconnect", &known),
            Phase::Over => ("graceful_disconnect", &known),
        };
        let mut value = client_value(authenticated);
        value["id"] = 0.into();
        value["session"] = "".into();
        value["state"] = state.into();
        value["lastWithoutSession"] = time_value(self.since);
        for flag in ["op", "trusted", "muted", "oldv"] {
            value[flag] = false.into();
        }
        UserSummary::Alone(value)
    }
}
