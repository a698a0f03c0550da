//! The login: gives commands to the login machine, performs its effects, and feeds it the answers.

use std::time::Duration;

use actix::prelude::*;
use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::command::RawCommand;
use drawhall_protocol::frame::{FrameHeader, FrameRef, frames};
use drawhall_protocol::message::ServerCommand;

use super::{ANSWER_LIMIT, Client, Entering, Login, Phase};
use crate::actors::auth::{CheckAccount, QueryExtAuth};
use crate::actors::messages::{EnterLobby, HostSession, PendingEntry, SessionHandle, ToServer, ToSession};
use crate::log::{Level, Topic};
use crate::metrics::login_result;
use crate::rules::login::{HostRefusal, LoginEffect, LoginInput};
use crate::rules::session::{ConnId, DisconnectReason};
use crate::transport::connection_limiter::Limit;

/// Session messages that are ignored during a login; the next one ends the connection.
const MAX_STRAYS: u8 = 10;

/// Answer to the request to host.
type Hosted = Result<SessionHandle, HostRefusal>;

/// Waits for an answer that nothing may overtake; `None` on time-out, after which a session that is entered all the
/// same is left.
async fn in_time(
    asked: impl Future<Output = Option<Hosted>> + 'static,
    conn: ConnId,
) -> Option<Option<Hosted>> {
    let mut asked = Box::pin(asked);
    let answer = tokio::time::timeout(ANSWER_LIMIT, &mut asked).await.ok();
    if answer.is_none() {
        actix_rt::spawn(async move {
            if let Some(Ok(session)) = asked.await {
                session.tell(ToSession::Leave(conn));
            }
        });
    }
    answer
}

impl Client {
    /// Hands the next pending frame to the login.
    pub(super) fn one_in_login(&mut self, ctx: &mut Context<Self>) {
        let Some(header) = FrameHeader::parse(&self.pending) else { return self.pending.clear() };
        if let Err(overdrawn) = self.afford(header) {
            return self.wait_for_budget(overdrawn, ctx);
        }
        let first = self.pending.split_to(header.frame_len().min(self.pending.len()));
        for frame in frames(&first) {
            self.receive_in_login(frame, ctx);
        }
    }

    fn receive_in_login(&mut self, frame: FrameRef<'_>, ctx: &mut Context<Self>) {
        if !self.handle_transport_message(frame, ctx) {
            return;
        }
        if frame.header.kind != ServerCommand::TYPE {
            return self.stray(frame.header.kind, ctx);
        }
        let command = RawCommand::parse(frame.payload());
        if command.cmd == "ident" && !self.may(Limit::LoginRate, ctx) {
            return;
        }
        self.log_in(LoginInput::Command(command), ctx);
    }

    /// A session message during the login. drawpile-srv ignores and logs them; some are tolerated.
    fn stray(&mut self, kind: u8, ctx: &mut Context<Self>) {
        let Phase::Login(login) = &mut self.phase else { return };
        login.strays += 1;
        let too_many = login.strays > MAX_STRAYS;
        self.log(
            Level::Warn,
            Topic::RuleBreak,
            format!("Got non-login message (type={kind}) in login state"),
        );
        if too_many {
            self.disconnect(DisconnectReason::Error, "invalid message", ctx);
        }
    }

    pub(super) fn perform(&mut self, effects: Vec<LoginEffect>, ctx: &mut Context<Self>) {
        for effect in effects {
            self.perform_one(effect, ctx);
        }
    }

    pub(super) fn perform_one(&mut self, effect: LoginEffect, ctx: &mut Context<Self>) {
        let conn = self.conn;
        match effect {
            LoginEffect::Send(reply) => match reply.to_frame() {
                Ok(frame) => self.send(frame.into_bytes(), ctx),
                Err(error) => {
                    // Without an answer the client would wait forever.
                    self.log(Level::Error, Topic::Status, format!("Reply is too long: {error}"));
                    let text = "The server's answer is too long for a message";
                    self.disconnect(DisconnectReason::Error, text, ctx);
                }
            },
            LoginEffect::Disconnect { message, details } => {
                self.context.metrics.logins.count(login_result(&details));
                self.log(Level::Info, Topic::Leave, format!("{message} ({details})"));
                self.disconnect(DisconnectReason::Error, &message, ctx);
            }
            LoginEffect::CutAfter(millis) => {
                ctx.run_later(Duration::from_millis(millis), |client, ctx| client.abort(ctx));
            }
            LoginEffect::Log(level, topic, text) => self.log(level, topic, text),
            LoginEffect::StartTls => {
                self.shared.upgrading.set(true);
                self.shared.outbox.borrow_mut().upgrade();
                self.shared.wake.notify_one();
            }
            LoginEffect::CheckAccount { name, password } => {
                if !password.is_empty() && !self.may(Limit::PasswordRate, ctx) {
                    return;
                }
                let address = self.permit.address();
                let asked = self.context.auth.send(CheckAccount { name, password, address });
                self.feed_answer(async { asked.await.ok() }, ctx, LoginInput::Account);
            }
            LoginEffect::QueryExtAuth { name } => {
                let asked = self.context.auth.send(QueryExtAuth { name });
                self.feed_answer(async { asked.await.ok() }, ctx, LoginInput::ExtAuth);
            }
            LoginEffect::LookUp { session, invite, sid } => {
                let asked =
                    self.context.server.ask(|answer| ToServer::LookUp { session, invite, sid, answer });
                self.feed_answer(asked, ctx, LoginInput::LookedUp);
            }
            LoginEffect::EnterLobby { moderator, list_now, list_changes } => {
                self.shared.identified.set(true);
                self.context.metrics.logins.count("ok");
                if let Phase::Login(login) = &self.phase {
                    self.user.name.clone_from(&login.machine.client().identity.name);
                }
                let wanted = EnterLobby { conn, moderator, list_now, list_changes };
                self.context.server.tell(ToServer::EnterLobby(wanted));
            }
            LoginEffect::FindSession { session } => {
                self.find_session(session, ctx);
            }
            LoginEffect::Join(request) => {
                if !request.password.is_empty() && !self.may(Limit::PasswordRate, ctx) {
                    return;
                }
                if let Phase::Login(Login { entering, .. }) = &mut self.phase
                    && let Entering::Found(id) = std::mem::replace(entering, Entering::Nothing)
                {
                    *entering = Entering::Asked(id.clone());
                    let entry = PendingEntry::to_join(ctx.address().into(), self.in_flight_budget.clone());
                    self.context.server.tell(ToServer::EnterSession { id, request, entry });
                }
            }
            LoginEffect::Host { host, protocol, client: authenticated } => {
                if !self.may(Limit::HostRate, ctx) {
                    return;
                }
                let (client, in_flight_budget, place) =
                    (ctx.address().into(), self.in_flight_budget.clone(), self.permit.limit_key());
                let wanted = HostSession { host, protocol, authenticated, client, in_flight_budget, place };
                let asked = self.context.server.ask(|answer| ToServer::Host(Box::new(wanted), answer));
                let asked = in_time(asked, conn).into_actor(self).map(|answer, client, ctx| match answer {
                    Some(Some(Ok(session))) => client.hosts(session),
                    Some(Some(Err(refusal))) => client.answered(LoginInput::HostRefused(refusal), ctx),
                    Some(None) => client.abort(ctx),
                    None => client.no_answer(ctx),
                });
                ctx.wait(asked);
            }
            LoginEffect::Report { session, reason } => {
                let user = self.user.clone();
                self.context.server.tell(ToServer::ReportSession { session, user, reason });
            }
        }
    }

    /// The client hosts a session, which will let it in.
    fn hosts(&mut self, session: SessionHandle) {
        match &mut self.phase {
            Phase::Login(login) => login.entering = Entering::Entered(session),
            Phase::Relayed(_) | Phase::Session(_) | Phase::Quiet | Phase::Over => {
                session.tell(self.leaving())
            }
        }
    }

    /// Waits for the answer of another actor and feeds it to the login.
    fn feed_answer<T: 'static>(
        &mut self,
        asked: impl Future<Output = Option<T>> + 'static,
        ctx: &mut Context<Self>,
        answer: impl FnOnce(T) -> LoginInput + 'static,
    ) {
        ctx.spawn(asked.into_actor(self).map(|result, client, ctx| match result {
            Some(value) => client.answered(answer(value), ctx),
            // The other actor has stopped: the server shuts down.
            None => client.abort(ctx),
        }));
    }

    /// Feeds an answer to the login and continues with pending frames.
    pub(super) fn answered(&mut self, answer: LoginInput, ctx: &mut Context<Self>) {
        if !matches!(self.phase, Phase::Login(_)) {
            return;
        }
        self.shared.answered();
        self.log_in(answer, ctx);
        self.go_on(ctx);
    }

    /// Feeds an input to the login.
    pub(super) fn log_in(&mut self, input: LoginInput, ctx: &mut Context<Self>) {
        let Phase::Login(login) = &mut self.phase else { return };
        let trace = self.context.trace.as_ref();
        let number = trace.map(|trace| trace.login_input(self.conn, &input));
        let mut cx = login.source.cx();
        login.machine.handle(input, &mut cx);
        let effects = cx.effects;
        if let (Some(trace), Some(number)) = (trace, number) {
            trace.login_effects(number, &effects);
        }
        self.perform(effects, ctx);
    }

    fn find_session(&mut self, session: String, ctx: &mut Context<Self>) {
        let asked = self.context.server.ask(|answer| ToServer::FindSession { session, answer });
        ctx.spawn(asked.into_actor(self).map(|result, client, ctx| {
            let Some(found) = result else { return client.abort(ctx) };
            if let Phase::Login(login) = &mut client.phase {
                let id = found.as_ref().map(|f| f.id.clone());
                login.entering = id.map_or(Entering::Nothing, Entering::Found);
            }
            let found: Option<(String, ProtocolVersion)> = found.map(|f| (f.id, f.protocol));
            client.answered(LoginInput::SessionFound(found), ctx);
        }));
    }

    /// The answer did not come in time.
    pub(super) fn no_answer(&mut self, ctx: &mut Context<Self>) {
        if matches!(self.phase, Phase::Relayed(_)) {
            // The other server tells the client.
            return self.abort(ctx);
        }
        if matches!(self.phase, Phase::Login(_)) {
            self.context.metrics.logins.count("noAnswer");
            self.log(Level::Error, Topic::Status, "A login was not answered in time");
            let text = "The server did not answer in time. Please try again.";
            self.disconnect(DisconnectReason::Error, text, ctx);
        }
    }
}
