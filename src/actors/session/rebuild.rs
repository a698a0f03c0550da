//! Removing what one person drew: the history is read and rebuilt on the blocking pool, then put in place.

use std::io;

use actix::prelude::*;
use drawhall_protocol::frame::{FrameRef, frames};
use drawhall_protocol::message::Layout;
use serde_json::{Value, json};

use super::Session;
use crate::blocking::Job;
use crate::history::Chunk;
use crate::rules::session::admin::{AdminAnswer, AdminError};
use crate::rules::session::{ReadSoFar, RestoreRequest};
use crate::rules::undo::Person;
use crate::rules::undo::rebuild::{self, Messages, Plan, RebuildError, Report};
use crate::rules::undo::restored_image::RestoredImage;

/// Lists everybody who has been in the session since the last reset.
#[derive(Message)]
#[rtype(result = "AdminAnswer")]
pub struct ListEverybody;

/// Removes what a person drew since the last reset, or says what that would mean.
#[derive(Message)]
#[rtype(result = "AdminAnswer")]
#[allow(missing_docs, reason = "the names say it")]
pub struct RemovePerson {
    /// Index of the person's `Join`, as the lists have it.
    pub person: i64,
    /// The person's name as the list had it.
    pub name: Option<String>,
    /// Only report.
    pub dry_run: bool,
    /// Who asks, for the log and the users.
    pub by: String,
}

/// The history at one time, in pieces of whole messages.
struct Pieces {
    pieces: Vec<Chunk>,
    layout: Layout,
    first_index: i64,
    epoch: u64,
    end: i64,
}

impl Messages for Pieces {
    fn visit(&self, visit: &mut dyn FnMut(FrameRef<'_>)) -> io::Result<()> {
        for piece in &self.pieces {
            match piece {
                Chunk::Memory(bytes) => frames(bytes).for_each(&mut *visit),
                Chunk::File { file, from, len } => {
                    frames(&file.read_at(*from, *len)?).for_each(&mut *visit);
                }
            }
        }
        Ok(())
    }
}

/// What the pool has made of the history.
struct Rebuilt {
    report: Report,
    name: String,
    user: u8,
    /// Unless only a report was asked for.
    image: Option<RestoredImage>,
    read: ReadSoFar,
}

fn refused(error: &RebuildError) -> AdminError {
    match error {
        RebuildError::Io(_) => AdminError::new(500, error.to_string()),
        reason => AdminError::new(409, format!("Not possible: {reason}")),
    }
}

fn rebuild(pieces: &Pieces, request: &RemovePerson) -> Result<Rebuilt, AdminError> {
    let plan = Plan::new(pieces, pieces.layout, pieces.first_index, request.person);
    let plan = plan.map_err(|error| refused(&error))?;
    if request.name.as_ref().is_some_and(|name| *name != plan.name) {
        return Err(AdminError::new(409, "The list of people is outdated: that is somebody else by now"));
    }
    let image = if request.dry_run {
        None
    } else {
        Some(plan.image(pieces).map_err(|error| refused(&RebuildError::Io(error)))?)
    };
    let read = ReadSoFar { epoch: pieces.epoch, end: pieces.end, without: plan.user };
    Ok(Rebuilt { report: plan.report, name: plan.name, user: plan.user, image, read })
}

fn everybody(pieces: &Pieces) -> AdminAnswer {
    let people = rebuild::everybody(pieces, pieces.layout, pieces.first_index);
    let people = people.map_err(|error| refused(&RebuildError::Io(error)))?;
    let value = |person: &Person| {
        json!({
            "person": person.index,
            "id": person.user,
            "name": person.name,
            "auth": person.account,
            "online": person.left.is_none(),
            "actions": person.actions,
        })
    };
    Ok(json!({"people": people.iter().map(value).collect::<Vec<Value>>()}))
}

fn busy() -> AdminError {
    AdminError::new(503, "The server is too busy")
}

impl Session {
    fn pieces(&mut self) -> Pieces {
        let layout = self.machine.protocol().layout();
        let history = self.machine.history();
        let (first_index, epoch, end) = (history.first_index(), history.epoch(), history.end());
        Pieces { pieces: history.chunks(), layout, first_index, epoch, end }
    }

    fn rebuilt(
        &mut self,
        rebuilt: Option<Result<Rebuilt, AdminError>>,
        by: String,
        ctx: &mut Context<Self>,
    ) -> AdminAnswer {
        let Rebuilt { report, name, user, image, read } = rebuilt.unwrap_or_else(|| Err(busy()))?;
        if self.ended {
            return Err(AdminError::not_found());
        }
        let mut answer =
            json!({"status": "ok", "report": report, "name": name, "stored": self.dir.is_some()});
        if let Some(image) = image {
            let what = format!("Removed {} actions of {name} (user {user})", report.actions);
            let done = self.put_in_place(RestoreRequest { image, what, read: Some(read), by }, ctx)?;
            answer["size"] = done["size"].clone();
        }
        Ok(answer)
    }
}

impl Handler<ListEverybody> for Session {
    type Result = ActorResponse<Self, AdminAnswer>;

    fn handle(&mut self, _: ListEverybody, _: &mut Self::Context) -> Self::Result {
        let pieces = self.pieces();
        let listed = self.blocking_pool.run(Job::FileIo, move || everybody(&pieces));
        let answer = |listed: Option<AdminAnswer>| listed.unwrap_or_else(|| Err(busy()));
        ActorResponse::r#async(listed.into_actor(self).map(move |listed, _, _| answer(listed)))
    }
}

impl Handler<RemovePerson> for Session {
    type Result = ActorResponse<Self, AdminAnswer>;

    fn handle(&mut self, request: RemovePerson, _: &mut Self::Context) -> Self::Result {
        if self.ended {
            return ActorResponse::reply(Err(AdminError::not_found()));
        }
        let (pieces, by) = (self.pieces(), request.by.clone());
        let rebuilt = self.blocking_pool.run(Job::FileIo, move || rebuild(&pieces, &request));
        ActorResponse::r#async(
            rebuilt.into_actor(self).map(move |rebuilt, session, ctx| session.rebuilt(rebuilt, by, ctx)),
        )
    }
}
