//! Requests of the admin API about the session. A history that was not followed yet is followed on the blocking pool
//! first.

use actix::prelude::*;

use super::Session;
use crate::actors::messages::{Answer, notify};
use crate::blocking::Job;
use crate::rules::session::UndoRequest;
use crate::rules::session::admin::{AdminError, AdminRequest, SessionAnswer};
use crate::rules::session::input::Input;
use crate::rules::time::Timestamp;

/// A request and where its answer goes.
pub(super) type WaitingRequest = (AdminRequest, Answer<SessionAnswer>);

impl Session {
    /// Has the pool read what of the history was not followed yet, so that nobody in the session waits for it.
    pub(super) fn follow_and_administer(&mut self, waiting: WaitingRequest, ctx: &mut Context<Self>) {
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

    pub(super) fn administer(&mut self, request: AdminRequest, ctx: &mut Context<Self>) -> SessionAnswer {
        if self.is_handed_over() {
            return Err(AdminError::NotFound);
        }
        let now = Timestamp::now();
        if let AdminRequest::Undo(UndoRequest { link, .. }) = &request
            && !self.machine.is_still_valid(link.as_ref(), now)
        {
            return Err(AdminError::LinkInvalid);
        }
        let effects = self.effects_of(Input::Administer(request), now);
        let answer = self.perform(effects, now, ctx);
        answer.unwrap_or(Err(AdminError::NotFound))
    }
}
