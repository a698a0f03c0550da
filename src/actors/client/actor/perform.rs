//! Performs effects of the login machine, and feeds it the answers.

use std::time::Duration;

use actix::prelude::*;
use drawhall_protocol::ProtocolVersion;

use super::{ANSWER_LIMIT, Client, Phase};
use crate::actors::auth::{CheckAccount, QueryExtAuth};
use crate::actors::messages::{EnterLobby, HostSession, PendingEntry, SessionHandle, ToServer, ToSession};
use crate::log::{Level, Topic};
use crate::metrics::{METRICS, login_result};
use crate::rules::login::{HostRefusal, LoginEffect, LoginInput};
use crate::rules::session::{ConnId, DisconnectReason};
use crate::transport::connection_limiter::Limit;

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
                METRICS.logins.count(login_result(&details));
                self.log(Level::Info, Topic::Leave, format!("{message} ({details})"));
                self.disconnect(DisconnectReason::Error, &message, ctx);
            }
            LoginEffect::CutAfter(millis) => {
                ctx.run_later(Duration::from_millis(millis), |client, ctx| client.abort(ctx));
            }
            LoginEffect::Log(level, topic, text) => self.log(level, topic, text),
            LoginEffect::StartTls => {
                if let Some(shared) = &self.shared {
                    shared.upgrading.set(true);
                    shared.outbox.borrow_mut().upgrade();
                    shared.wake.notify_one();
                }
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
                if let Some(shared) = &self.shared {
                    shared.identified.set(true);
                    METRICS.logins.count("ok");
                }
                if let Phase::Login(login) = &self.phase {
                    self.user.name.clone_from(&login.client().identity.name);
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
                if let Some(id) = self.found.clone() {
                    self.entering = Some(id.clone());
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
                    Some(Some(Ok(session))) => client.session = Some(session),
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
        if let Some(timer) = self.answer_timer.take() {
            ctx.cancel_future(timer);
        }
        if matches!(self.phase, Phase::Login(_)) {
            self.log_in(answer, ctx);
            self.go_on(ctx);
        }
    }

    /// Feeds an input to the login.
    pub(super) fn log_in(&mut self, input: LoginInput, ctx: &mut Context<Self>) {
        let Phase::Login(login) = &mut self.phase else { return };
        let trace = self.context.trace.as_ref();
        let number = trace.map(|trace| trace.login_input(self.conn, &input));
        let effects = login.handle(input);
        if let (Some(trace), Some(number)) = (trace, number) {
            trace.login_effects(number, &effects);
        }
        self.perform(effects, ctx);
    }

    fn find_session(&mut self, session: String, ctx: &mut Context<Self>) {
        let asked = self.context.server.ask(|answer| ToServer::FindSession { session, answer });
        ctx.spawn(asked.into_actor(self).map(|result, client, ctx| {
            let Some(found) = result else { return client.abort(ctx) };
            client.found = found.as_ref().map(|f| f.id.clone());
            let found: Option<(String, ProtocolVersion)> = found.map(|f| (f.id, f.protocol));
            client.answered(LoginInput::SessionFound(found), ctx);
        }));
    }
}
