//! Going back to an earlier history: reading it on the blocking pool, and putting it in place.

use std::sync::Arc;

use actix::prelude::*;

use super::Session;
use crate::actors::messages::{Answer, HistoryRequest, notify};
use crate::blocking::{CancelOnDrop, Job};
use crate::rules::session::admin::histories::{self, Generations, Restored};
use crate::rules::session::admin::{AdminError, Answered, SessionAnswer};
use crate::rules::session::input::Input;
use crate::rules::session::{Asker, ReadSoFar, RestoreRequest};
use crate::rules::time::{Timestamp, iso_of};
use crate::rules::undo::restored_image::RestoredImage;
use crate::storage::generations::Generation;
use crate::storage::session_dir::{LoadError, SessionDir};

/// Requests that wait at most while another reads the history.
const MAX_WAITING: usize = 16;

pub(super) fn unreadable(error: &LoadError) -> AdminError {
    match error {
        LoadError::NoFile => AdminError::NotFound,
        error => AdminError::HistoryUnreadable(error.to_string()),
    }
}

fn generations(dir: &SessionDir, id: &str) -> Result<Vec<histories::Generation>, AdminError> {
    let generations = dir.generations(id).map_err(|error| unreadable(&error))?;
    let described = |g: &Generation| histories::Generation {
        generation: g.number,
        size: g.size,
        from: g.from_ms.map_or(String::new(), iso_of),
        until: iso_of(g.until_ms),
    };
    Ok(generations.iter().map(described).collect())
}

/// Makes the image of a generation, or of the newest one.
fn image_of(dir: &SessionDir, id: &str, number: Option<u32>) -> Result<(u32, RestoredImage), AdminError> {
    let newest = || dir.generations(id).map(|list| list.first().map(|generation| generation.number));
    let number = match number {
        Some(number) => Some(number),
        None => newest().map_err(|error| unreadable(&error))?,
    };
    let number = number.ok_or(AdminError::NotFound)?;
    let content = dir.read_generation(id, number).map_err(|error| unreadable(&error))?;
    Ok((number, RestoredImage::new(&content.bytes, content.protocol.layout())))
}

impl Session {
    /// Answers a request for another history.
    pub(super) fn histories(
        &mut self,
        request: HistoryRequest,
        answer: Answer<SessionAnswer>,
        ctx: &mut Context<Self>,
    ) {
        if self.ended {
            return notify(answer, Err(AdminError::NotFound));
        }
        // One at a time: each reads a whole history and may hold a copy of it.
        if self.reading.is_some() {
            if self.waiting_for_reading.len() >= MAX_WAITING {
                return notify(answer, Err(AdminError::Busy));
            }
            return self.waiting_for_reading.push_back((request, answer));
        }
        match request {
            HistoryRequest::ListGenerations => match self.stored_in() {
                Ok((dir, id)) => {
                    let listed = move || generations(&dir, &id);
                    self.run(CancelOnDrop::default(), listed, answer, ctx, |session, listed, _| {
                        let (generations, last_reset) = (listed?, session.machine.last_reset());
                        Ok(Answered::Generations(Generations { generations, stored: true, last_reset }))
                    });
                }
                Err(_) => {
                    let last_reset = self.machine.last_reset();
                    let none = Generations { generations: Vec::new(), stored: false, last_reset };
                    notify(answer, Ok(Answered::Generations(none)));
                }
            },
            HistoryRequest::GoBack { generation, by } => match self.stored_in() {
                Ok((dir, id)) => {
                    let read = move || image_of(&dir, &id, generation);
                    self.run(CancelOnDrop::default(), read, answer, ctx, move |session, read, ctx| {
                        session.go_back(read?, &by, ctx)
                    });
                }
                Err(error) => notify(answer, Err(error)),
            },
            HistoryRequest::ListEverybody => self.list_everybody(answer, ctx),
            HistoryRequest::RemovePerson(request) => self.remove_person(request, answer, ctx),
            HistoryRequest::ListTimes => self.list_times(answer, ctx),
            HistoryRequest::Compact { by } => self.compact(self.renderer.clone(), by, answer, ctx),
            HistoryRequest::CutBack { until_ms, dry_run, by } => {
                self.cut_back(until_ms, dry_run, by, answer, ctx);
            }
        }
    }

    /// Does the work on the blocking pool, and answers with what follows from it here.
    pub(super) fn run<T: Send + 'static>(
        &mut self,
        cancel: CancelOnDrop,
        work: impl FnOnce() -> Result<T, AdminError> + Send + 'static,
        answer: Answer<SessionAnswer>,
        ctx: &mut Context<Self>,
        finish: impl FnOnce(&mut Session, Result<T, AdminError>, &mut Context<Session>) -> SessionAnswer + 'static,
    ) {
        self.run_then(cancel, work, ctx, move |session, done, ctx| {
            notify(answer, finish(session, done, ctx));
        });
    }

    /// Does the work on the blocking pool, and what follows from it here.
    pub(super) fn run_then<T: Send + 'static>(
        &mut self,
        cancel: CancelOnDrop,
        work: impl FnOnce() -> Result<T, AdminError> + Send + 'static,
        ctx: &mut Context<Self>,
        finish: impl FnOnce(&mut Session, Result<T, AdminError>, &mut Context<Session>) + 'static,
    ) {
        self.reading = Some(cancel);
        let done = self.blocking_pool.run(Job::ReadHistory, work);
        ctx.spawn(done.into_actor(self).map(move |done, session, ctx| {
            session.reading = None;
            let done = done.unwrap_or_else(|| {
                tracing::error!("session {}: reading the history has panicked", session.machine.id());
                Err(AdminError::HistoryUnreadable("reading it failed".to_owned()))
            });
            let done = if session.ended { Err(AdminError::NotFound) } else { done };
            finish(session, done, ctx);
            while session.reading.is_none()
                && let Some((request, answer)) = session.waiting_for_reading.pop_front()
            {
                session.histories(request, answer, ctx);
            }
        }));
    }

    /// Directory and id, if the session is stored.
    pub(super) fn stored_in(&self) -> Result<(Arc<SessionDir>, String), AdminError> {
        let dir = self.dir.clone().ok_or(AdminError::NotStored)?;
        Ok((dir, self.machine.id().to_owned()))
    }

    fn go_back(
        &mut self,
        (number, image): (u32, RestoredImage),
        by: &Asker,
        ctx: &mut Context<Self>,
    ) -> SessionAnswer {
        let what = format!("Went back to generation {number}");
        self.put_in_place(image, what, None, by, ctx).map(Answered::Restored)
    }

    /// Makes the reset, if who asks still may. `read` is what of the present history the image was made of, and `what`
    /// says for the log what it is.
    pub(super) fn put_in_place(
        &mut self,
        image: RestoredImage,
        what: String,
        read: Option<ReadSoFar>,
        by: &Asker,
        ctx: &mut Context<Self>,
    ) -> Result<Restored, AdminError> {
        if self.is_handed_over() {
            return Err(AdminError::NotFound);
        }
        let now = Timestamp::now();
        if !self.machine.is_still_valid(by.link.as_ref(), now) {
            return Err(AdminError::LinkInvalid);
        }
        let request = RestoreRequest { image, what, read, by: by.name.clone() };
        let effects = self.effects_of(Input::Restore(Box::new(request)), now);
        let answer = self.perform(effects, now, ctx);
        match answer {
            Some(Ok(Answered::Restored(done))) => Ok(done),
            Some(Err(error)) => Err(error),
            Some(Ok(_)) | None => Err(AdminError::NotFound),
        }
    }
}
