//! Removing what one person drew: the history is read and rebuilt on the blocking pool, then put in place.

use std::io;

use actix::prelude::*;
use drawhall_protocol::frame::{FrameRef, frames};
use drawhall_protocol::message::Layout;
use serde_json::{Value, json};

use super::Session;
use crate::actors::messages::RemovePerson;
use crate::history::Chunk;
use crate::rules::session::admin::{AdminAnswer, AdminError};
use crate::rules::session::rollback::who_value;
use crate::rules::session::{ReadSoFar, RestoreRequest};
use crate::rules::undo::rebuild::{self, Messages, Plan, RebuildError, RemovalReport};
use crate::rules::undo::restored_image::RestoredImage;

/// The history at one time, in pieces of whole messages.
pub(super) struct Pieces {
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
pub(super) struct Rebuilt {
    report: RemovalReport,
    name: String,
    user: u8,
    /// Unless only a report was asked for.
    image: Option<RestoredImage>,
    read: ReadSoFar,
}

fn refused(error: &RebuildError) -> AdminError {
    match error {
        RebuildError::Io(_) => AdminError::HistoryUnreadable(error.to_string()),
        reason => AdminError::NotPossible(reason.to_string()),
    }
}

pub(super) fn rebuild(pieces: &Pieces, request: &RemovePerson) -> Result<Rebuilt, AdminError> {
    let plan = Plan::new(pieces, pieces.layout, pieces.first_index, request.person);
    let plan = plan.map_err(|error| refused(&error))?;
    if request.name.as_ref().is_some_and(|name| *name != plan.name) {
        return Err(AdminError::PeopleOutdated);
    }
    let image = if request.dry_run {
        None
    } else {
        Some(plan.image(pieces).map_err(|error| refused(&RebuildError::Io(error)))?)
    };
    // Who has left draws no more; the id may be somebody else's by the end.
    let without = plan.is_present.then_some(plan.user);
    let (epoch, first_index, end) = (pieces.epoch, pieces.first_index, pieces.end);
    let read = ReadSoFar { epoch, first_index, end, without };
    Ok(Rebuilt { report: plan.report, name: plan.name, user: plan.user, image, read })
}

pub(super) fn everybody(pieces: &Pieces) -> AdminAnswer {
    let people = rebuild::everybody(pieces, pieces.layout, pieces.first_index);
    let people = people.map_err(|error| refused(&RebuildError::Io(error)))?;
    Ok(json!({"people": people.iter().map(who_value).collect::<Vec<Value>>()}))
}

impl Session {
    pub(super) fn pieces(&mut self) -> Pieces {
        let layout = self.machine.protocol().layout();
        let history = self.machine.history();
        let (first_index, epoch, end) = (history.first_index(), history.epoch(), history.end());
        Pieces { pieces: history.chunks(), layout, first_index, epoch, end }
    }

    pub(super) fn rebuilt(&mut self, rebuilt: Rebuilt, by: String, ctx: &mut Context<Self>) -> AdminAnswer {
        let Rebuilt { report, name, user, image, read } = rebuilt;
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
