//! Going back to an earlier history: reading it on the blocking pool, and putting it in place.

use std::sync::Arc;

use actix::prelude::*;
use serde_json::{Value, json};

use super::Session;
use crate::blocking::Job;
use crate::rules::session::RestoreRequest;
use crate::rules::session::admin::{AdminAnswer, AdminError};
use crate::rules::session::input::Input;
use crate::rules::time::{Timestamp, iso_of};
use crate::rules::undo::restored_image::RestoredImage;
use crate::storage::generations::Generation;
use crate::storage::session_dir::{LoadError, SessionDir};

/// Asks for the earlier histories that can be gone back to.
#[derive(Message)]
#[rtype(result = "AdminAnswer")]
pub struct ListGenerations;

/// Goes back to an earlier history.
#[derive(Message)]
#[rtype(result = "AdminAnswer")]
#[allow(missing_docs, reason = "the names say it")]
pub struct GoBack {
    /// Number of the generation; the newest without it.
    pub generation: Option<u32>,
    /// Who asks, for the log and the users.
    pub by: String,
}

fn unreadable(error: &LoadError) -> AdminError {
    match error {
        LoadError::NoFile => AdminError::not_found(),
        error => AdminError::new(500, format!("The earlier history cannot be read: {error}")),
    }
}

fn generations(dir: &SessionDir, id: &str) -> AdminAnswer {
    let generations = dir.generations(id).map_err(|error| unreadable(&error))?;
    let value = |g: &Generation| json!({"generation": g.number, "size": g.size, "until": iso_of(g.until_ms)});
    Ok(json!({"generations": generations.iter().map(value).collect::<Vec<Value>>(), "stored": true}))
}

/// Makes the image of a generation, or of the newest one.
fn image_of(dir: &SessionDir, id: &str, number: Option<u32>) -> Result<(u32, RestoredImage), AdminError> {
    let newest = || dir.generations(id).map(|list| list.first().map(|generation| generation.number));
    let number = match number {
        Some(number) => Some(number),
        None => newest().map_err(|error| unreadable(&error))?,
    };
    let number = number.ok_or_else(AdminError::not_found)?;
    let content = dir.read_generation(id, number).map_err(|error| unreadable(&error))?;
    Ok((number, RestoredImage::new(&content.bytes, content.protocol.layout())))
}

impl Session {
    /// Directory and id, if the session is stored.
    fn stored_in(&self) -> Result<(Arc<SessionDir>, String), AdminError> {
        let text = "The session is not stored, so there are no earlier histories";
        let dir = self.dir.clone().filter(|_| !self.ended).ok_or_else(|| AdminError::new(409, text))?;
        Ok((dir, self.machine.id().to_owned()))
    }

    fn go_back(
        &mut self,
        read: Option<Result<(u32, RestoredImage), AdminError>>,
        by: String,
        ctx: &mut Context<Self>,
    ) -> AdminAnswer {
        let (number, image) = read.unwrap_or_else(|| Err(AdminError::new(503, "The server is too busy")))?;
        if self.ended {
            return Err(AdminError::not_found());
        }
        let what = format!("Went back to generation {number}");
        self.put_in_place(RestoreRequest { image, what, read: None, by }, ctx)
    }

    /// Makes the reset.
    pub(super) fn put_in_place(&mut self, request: RestoreRequest, ctx: &mut Context<Self>) -> AdminAnswer {
        let now = Timestamp::now();
        let mut effects = self.effects_of(Input::Restore(Box::new(request)), now);
        let answer = effects.answer.take();
        self.perform(effects, now, ctx);
        answer.unwrap_or_else(|| Err(AdminError::not_found()))
    }
}

impl Handler<ListGenerations> for Session {
    type Result = ActorResponse<Self, AdminAnswer>;

    fn handle(&mut self, _: ListGenerations, _: &mut Self::Context) -> Self::Result {
        let Ok((dir, id)) = self.stored_in() else {
            return ActorResponse::reply(Ok(json!({"generations": [], "stored": false})));
        };
        let listed = self.blocking_pool.run(Job::FileIo, move || generations(&dir, &id));
        let busy = || Err(AdminError::new(503, "The server is too busy"));
        ActorResponse::r#async(listed.into_actor(self).map(move |listed, _, _| listed.unwrap_or_else(busy)))
    }
}

impl Handler<GoBack> for Session {
    type Result = ActorResponse<Self, AdminAnswer>;

    fn handle(&mut self, GoBack { generation, by }: GoBack, _: &mut Self::Context) -> Self::Result {
        let (dir, id) = match self.stored_in() {
            Ok(stored) => stored,
            Err(error) => return ActorResponse::reply(Err(error)),
        };
        let read = self.blocking_pool.run(Job::FileIo, move || image_of(&dir, &id, generation));
        ActorResponse::r#async(
            read.into_actor(self).map(move |read, session, ctx| session.go_back(read, by, ctx)),
        )
    }
}
