//! What takes too long for the session's thread: verifying passwords, reading and writing ban lists.

use actix::prelude::*;
use drawhall_protocol::reply::ServerReply;

use super::Session;
use crate::actors::messages::{Answer, ToClient, notify};
use crate::blocking::Job;
use crate::rules::password::BUSY_TEXT;
use crate::rules::session::admin::{AdminError, AdminRequest, SessionAnswer};
use crate::rules::session::commands::gain_op;
use crate::rules::session::input::Input;
use crate::rules::session::{BanExchange, ClientOp, ConnId, JoinRequest, OpwordCheck, PasswordKind, Refusal};

/// A password verification, and the requests that wait for it.
pub(super) struct PasswordCheck {
    hash: String,
    password: String,
    waiting: Vec<JoinRequest>,
}

impl Session {
    /// Verifies a password on the blocking pool, then lets the client join.
    pub(super) fn check_and_join(
        &mut self,
        hash: String,
        request: Box<JoinRequest>,
        ctx: &mut Context<Self>,
    ) {
        let password = request.password.clone();
        // After a restart many users rejoin at once: one verification serves all with the same password.
        let same = |check: &&mut PasswordCheck| check.hash == hash && check.password == password;
        if let Some(check) = self.checks.iter_mut().find(same) {
            return check.waiting.push(*request);
        }
        let checked =
            self.blocking_pool.verify(request.client.identity.address, password.clone(), hash.clone());
        let waiting = vec![*request];
        self.checks.push(PasswordCheck { hash: hash.clone(), password: password.clone(), waiting });
        ctx.spawn(checked.into_actor(self).map(move |fits, session, ctx| {
            session.join_checked(&hash, &password, fits, ctx);
        }));
    }

    /// Performs a request of the admin API; verifies a password in it on the blocking pool first.
    pub(super) fn check_and_administer(
        &mut self,
        request: AdminRequest,
        answer: Answer<SessionAnswer>,
        ctx: &mut Context<Self>,
    ) {
        if self.ended {
            return notify(answer, Err(AdminError::NotFound));
        }
        let slow = match &request {
            AdminRequest::CheckPassword { opword, password } => {
                let kind = if *opword { PasswordKind::Operator } else { PasswordKind::Session };
                self.machine.slow_hash(kind, password).map(|hash| (kind, hash.to_owned(), password.clone()))
            }
            AdminRequest::People | AdminRequest::Undo(_) if self.machine.has_much_to_follow() => {
                return self.follow_and_administer((request, answer), ctx);
            }
            _ => None,
        };
        let Some((kind, hash, password)) = slow else {
            return notify(answer, self.administer(request, ctx));
        };
        let checked = self.blocking_pool.verify(None, password.clone(), hash.clone());
        ctx.spawn(checked.into_actor(self).map(move |fits, session, ctx| {
            if fits == Some(true) {
                session.handle(ctx, Input::Learn { kind, hash, password });
            }
            notify(answer, session.administer(request, ctx));
        }));
    }

    /// Imports or exports a ban list on the blocking pool. Anybody can request it and it is slow, so the whole server
    /// runs one at a time.
    pub(super) fn exchange_bans(&mut self, exchange: BanExchange, ctx: &mut Context<Self>) {
        let (key, failed) = (self.machine.crypt_key(), exchange.failed());
        let done = self.blocking_pool.run(Job::BanExchange, move || exchange.perform(key.as_ref()));
        ctx.spawn(done.into_actor(self).map(move |done, session, ctx| {
            session.handle(ctx, Input::BansExchanged(done.unwrap_or(failed)));
        }));
    }

    /// A verification has finished; `fits` is `None` if the pool was too busy.
    fn join_checked(&mut self, hash: &str, password: &str, fits: Option<bool>, ctx: &mut Context<Self>) {
        let same = |check: &PasswordCheck| check.hash == hash && check.password == password;
        let Some(at) = self.checks.iter().position(same) else { return };
        let PasswordCheck { hash, password, waiting } = self.checks.swap_remove(at);
        if fits == Some(true) {
            self.handle(ctx, Input::Learn { kind: PasswordKind::Session, hash, password });
        }
        for request in waiting {
            let conn = request.client.conn;
            if !self.members.contains_key(&conn) {
                continue;
            }
            if self.ended || self.handing_over.is_some() {
                // Dropping the handle refuses it.
                if let Some(member) = self.members.remove(&conn).filter(|_| !self.ended) {
                    member.entry.refuse(Refusal::moves());
                }
                continue;
            }
            if fits.is_some() {
                self.handle(ctx, Input::Join(Box::new(request)));
            } else if let Some(member) = self.members.remove(&conn) {
                let refusal = ClientOp::Refused(Refusal::error("tooManyAttempts", BUSY_TEXT));
                member.entry.client().tell(ToClient::Deliver { ops: vec![refusal], session: None });
            }
        }
    }

    pub(super) fn check_opword(&mut self, check: OpwordCheck, ctx: &mut Context<Self>) {
        let OpwordCheck { hash, opword, address, .. } = check.clone();
        let checked = self.blocking_pool.verify(address, opword, hash);
        ctx.spawn(checked.into_actor(self).map(move |fits, session, ctx| match fits {
            Some(fits) => session.handle(ctx, Input::OpwordChecked(check, fits)),
            None => session.refuse_opword(check.conn),
        }));
    }

    /// The pool was too busy to verify an operator password.
    fn refuse_opword(&mut self, conn: ConnId) {
        let refusal = ServerReply::command_error(gain_op::COMMAND, BUSY_TEXT);
        if let (Some(member), Ok(frame)) = (self.members.get(&conn), refusal.to_frame()) {
            let ops = vec![ClientOp::Direct(frame.into_bytes())];
            member.entry.client().tell(ToClient::Deliver { ops, session: None });
        }
    }
}
