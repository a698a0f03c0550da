//! Requests of the admin API about the session. What takes long, a password or a history that was not followed yet,
//! is done on the blocking pool first.

use actix::prelude::*;

use super::Session;
use crate::actors::messages::{Answer, notify};
use crate::blocking::Job;
use crate::rules::session::PasswordKind;
use crate::rules::session::admin::{AdminAnswer, AdminError, AdminRequest};
use crate::rules::session::input::Input;
use crate::rules::time::Timestamp;

/// A request and where its answer goes.
pub(super) type WaitingRequest = (AdminRequest, Answer<AdminAnswer>);

impl Session {
    pub(super) fn check_and_administer(
        &mut self,
        request: AdminRequest,
        answer: Answer<AdminAnswer>,
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

    /// Has the pool read what of the history was not followed yet, so that nobody in the session waits for it.
    fn follow_and_administer(&mut self, waiting: WaitingRequest, ctx: &mut Context<Self>) {
        self.following.push(waiting);
        if self.following.len() > 1 {
            // They wait for the same reading.
            return;
        }
        let reading = self.machine.begin_reading();
        let done = self.blocking_pool.run(Job::FileIo, move || reading.finish());
        ctx.spawn(done.into_actor(self).map(|done, session, ctx| {
            let waiting = std::mem::take(&mut session.following);
            let error = match done {
                Some(Ok(read)) => {
                    session.machine.adopt_reading(read);
                    None
                }
                Some(Err(error)) => Some(error.to_string()),
                None => Some("reading it failed".to_owned()),
            };
            for (request, answer) in waiting {
                let answered = match &error {
                    _ if session.ended => Err(AdminError::NotFound),
                    Some(error) => Err(AdminError::HistoryUnreadable(error.clone())),
                    // What came meanwhile is little, and read here.
                    None => session.administer(request, ctx),
                };
                notify(answer, answered);
            }
        }));
    }

    pub(super) fn administer(&mut self, request: AdminRequest, ctx: &mut Context<Self>) -> AdminAnswer {
        let now = Timestamp::now();
        let effects = self.effects_of(Input::Administer(request), now);
        let answer = self.perform(effects, now, ctx);
        answer.unwrap_or(Err(AdminError::NotFound))
    }
}
