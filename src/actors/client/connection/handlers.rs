//! Messages of other actors to a Client: of its session, of the Server, and of the admin API.

use std::sync::Arc;

use actix::prelude::*;
use bytes::Bytes;

use super::{Client, Entering, Login, Phase};
use crate::actors::client::worker;
use crate::actors::messages::{SessionHandle, ToClient, UserSummary, notify};
use crate::log::LogUser;
use crate::rules::login::{LoginInput, LoginState};
use crate::rules::session::admin::answer::OutsideClient;
use crate::rules::session::bans::Identity;
use crate::rules::session::{AuthenticatedClient, ClientOp};

impl Handler<ToClient> for Client {
    type Result = ();

    fn handle(&mut self, message: ToClient, ctx: &mut Self::Context) {
        match message {
            ToClient::Deliver { ops, session } => self.deliver(ops, session, ctx),
            ToClient::ReadOn => self.go_on(ctx),
            ToClient::LobbyFrame(bytes) => self.lobby_frame(bytes, ctx),
            ToClient::SendAway { reason, message } => {
                if !self.is_over() {
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
        match (session, &mut self.phase) {
            // The client has disconnected before it could join.
            (Some(session), Phase::Over) => return session.tell(self.leaving()),
            (
                Some(session),
                Phase::Login(Login { entering: entering @ Entering::Asked(_), .. })
                | Phase::Relayed(entering @ Entering::Asked(_)),
            ) => {
                *entering = Entering::Entered(session);
                self.admit_relayed(&ops, ctx);
            }
            _ => {}
        }
        for op in ops {
            // A client that was disconnected by one of them ignores the rest.
            if self.is_over() {
                return;
            }
            self.apply(op, ctx);
        }
        // Frames that came right behind `join` are pending.
        if !self.pending.is_empty() || self.shared.is_paused() {
            self.go_on(ctx);
        }
    }

    fn apply(&mut self, op: ClientOp, ctx: &mut Context<Self>) {
        match op {
            ClientOp::Direct(bytes) => self.send(bytes, ctx),
            ClientOp::Joined { user } => self.joined(user),
            ClientOp::Refused(refusal) => match &mut self.phase {
                Phase::Relayed(_) => self.refuse_relayed(refusal, ctx),
                Phase::Login(login) => {
                    login.entering = Entering::Nothing;
                    self.answered(LoginInput::Refused(refusal), ctx);
                }
                Phase::Session(_) | Phase::Quiet | Phase::Over => {}
            },
            ClientOp::Attach(cursor) => {
                worker::attach(&self.shared, &cursor);
                self.shared.outbox.borrow_mut().attach(cursor);
                self.shared.wake.notify_one();
            }
            ClientOp::FollowReset { epoch } => {
                self.shared.outbox.borrow_mut().follow_reset(epoch);
                self.shared.wake.notify_one();
            }
            ClientOp::Disconnect { reason, message } => {
                // The session need not be told.
                self.phase = Phase::Quiet;
                self.disconnect(reason, &message, ctx);
            }
            ClientOp::Pause => self.pause_relayed(ctx),
            ClientOp::Moved(text) => self.moved_relayed(&text, ctx),
            ClientOp::Quiet => {
                self.phase = Phase::Quiet;
                // Reading may be paused for an ended session, which will release nothing more.
                self.in_flight_budget = Arc::default();
            }
            ClientOp::DrawRate(rate) => self.set_draw_rate(rate),
            // The session does the accounting of what it holds.
            ClientOp::Released => {}
        }
    }

    /// Sends a session list update, unless the client has left the lobby.
    fn lobby_frame(&mut self, bytes: Bytes, ctx: &mut Context<Self>) {
        if matches!(&self.phase, Phase::Login(login) if login.machine.state() == LoginState::WaitForLogin) {
            self.send(bytes, ctx);
        }
    }

    fn describe(&self) -> UserSummary {
        let LogUser { address, name, .. } = self.user.clone();
        let identity = Identity { address, name, ..Identity::default() };
        let known = AuthenticatedClient { conn: self.conn, identity, ..AuthenticatedClient::default() };
        let (state, authenticated) = match &self.phase {
            Phase::Session(session) => return UserSummary::In(session.clone()),
            Phase::Login(login) => ("login", login.machine.client()),
            Phase::Relayed(_) => ("login", &known),
            Phase::Quiet => ("quiet_disconnect", &known),
            Phase::Over => ("graceful_disconnect", &known),
        };
        UserSummary::Alone(Box::new(OutsideClient::of(authenticated, state, self.since)))
    }
}
