//! Removing what one person drew, and cutting the history back to a time: it is read and rebuilt on the blocking pool,
//! then put in place.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix::prelude::*;
use drawhall_protocol::frame::{FrameRef, frames};
use drawhall_protocol::message::Layout;

use super::Session;
use crate::actors::messages::RemovePerson;
use crate::history::Chunk;
use crate::rules::session::admin::histories::{CutBack, Everybody, Removed, Somebody, Time, Times};
use crate::rules::session::admin::{AdminError, Answered, SessionAnswer};
use crate::rules::session::{ReadSoFar, RestoreRequest};
use crate::rules::time::iso_of;
use crate::rules::undo::cut::{Cut, CutReport, cut_back};
use crate::rules::undo::rebuild::{self, Messages, Plan, RebuildError, RemovalReport};
use crate::rules::undo::restored_image::RestoredImage;
use crate::rules::undo::times::{TimeMark, UnknownTime};

/// Times that are listed at most.
const LISTED_TIMES: usize = 200;

/// The history at one time, in pieces of whole messages.
pub(super) struct Pieces {
    pieces: Vec<Chunk>,
    layout: Layout,
    first_index: i64,
    epoch: u64,
    end: i64,
    /// Whoever wants the result is gone.
    is_cancelled: Arc<AtomicBool>,
}

/// Ends the reading of [`Pieces`] when it is dropped.
#[derive(Default)]
pub(super) struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Pieces {
    pub(super) fn cancel(&self) -> CancelOnDrop {
        CancelOnDrop(self.is_cancelled.clone())
    }

    fn read(&self, without: Option<u8>, cuts: bool) -> ReadSoFar {
        ReadSoFar { epoch: self.epoch, first_index: self.first_index, end: self.end, without, cuts }
    }
}

impl Messages for Pieces {
    fn visit(&self, visit: &mut dyn FnMut(FrameRef<'_>)) -> io::Result<()> {
        for piece in &self.pieces {
            if self.is_cancelled.load(Ordering::Relaxed) {
                return Err(io::Error::other("the session has ended"));
            }
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

/// What the pool has made of a history that is cut back.
pub(super) struct CutHistory {
    report: CutReport,
    until_ms: i64,
    image: Option<RestoredImage>,
    read: ReadSoFar,
}

fn refused(error: &RebuildError) -> AdminError {
    match error {
        RebuildError::Io(_) => AdminError::HistoryUnreadable(error.to_string()),
        reason => AdminError::NotPossible(reason.to_string()),
    }
}

/// Cuts the history back to a mark of its time.
pub(super) fn cut(
    pieces: &Pieces,
    mark: TimeMark,
    until_ms: i64,
    dry_run: bool,
) -> Result<CutHistory, AdminError> {
    let cut = cut_back(pieces, pieces.layout, mark, !dry_run).map_err(|error| refused(&error))?;
    let Cut { report, image } = cut;
    Ok(CutHistory { report, until_ms, image, read: pieces.read(None, true) })
}

pub(super) fn rebuild(
    pieces: &Pieces,
    request: &RemovePerson,
    since: Option<TimeMark>,
) -> Result<Rebuilt, AdminError> {
    let plan = Plan::new(pieces, pieces.layout, pieces.first_index, request.person, since);
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
    let read = pieces.read(without, false);
    Ok(Rebuilt { report: plan.report, name: plan.name, user: plan.user, image, read })
}

pub(super) fn everybody(pieces: &Pieces) -> Result<Everybody, AdminError> {
    let people = rebuild::everybody(pieces, pieces.layout, pieces.first_index);
    let people = people.map_err(|error| refused(&RebuildError::Io(error)))?;
    Ok(Everybody { people: people.iter().map(Somebody::new).collect() })
}

impl Session {
    pub(super) fn pieces(&mut self) -> Pieces {
        let layout = self.machine.protocol().layout();
        let history = self.machine.history();
        let (first_index, epoch, end) = (history.first_index(), history.epoch(), history.end());
        let is_cancelled = Arc::default();
        Pieces { pieces: history.chunks(), layout, first_index, epoch, end, is_cancelled }
    }

    /// The place of a time in the history, with something behind it.
    pub(super) fn place_of(&self, utc_ms: i64) -> Result<TimeMark, AdminError> {
        let place = self.machine.times().at(utc_ms).map_err(|error| match error {
            UnknownTime::TooEarly(from_ms) => {
                AdminError::NotPossible(format!("{error} ({})", iso_of(from_ms)))
            }
            UnknownTime::NotBegun => AdminError::NotPossible(error.to_string()),
        });
        place?.ok_or_else(|| refused(&RebuildError::NothingSince))
    }

    pub(super) fn list_times(&self) -> Times {
        let times = self.machine.times().spread(LISTED_TIMES).iter().map(Time::new).collect();
        Times { times, stored: self.dir.is_some() }
    }

    pub(super) fn was_cut(&mut self, cut: CutHistory, by: String, ctx: &mut Context<Self>) -> SessionAnswer {
        let CutHistory { report, until_ms, image, read } = cut;
        let until = iso_of(until_ms);
        let mut size = None;
        if let Some(image) = image {
            let what = format!("Cut the history back to {until} ({} actions)", report.actions);
            let done = self.put_in_place(RestoreRequest { image, what, read: Some(read), by }, ctx)?;
            size = Some(done.size);
        }
        let (status, stored) = ("ok".into(), self.dir.is_some());
        Ok(Answered::CutBack(CutBack { status, until, report, stored, size }))
    }

    pub(super) fn rebuilt(&mut self, rebuilt: Rebuilt, by: String, ctx: &mut Context<Self>) -> SessionAnswer {
        let Rebuilt { report, name, user, image, read } = rebuilt;
        let mut size = None;
        if let Some(image) = image {
            let what = format!("Removed {} actions of {name} (user {user})", report.actions);
            let done = self.put_in_place(RestoreRequest { image, what, read: Some(read), by }, ctx)?;
            size = Some(done.size);
        }
        let (status, stored) = ("ok".into(), self.dir.is_some());
        Ok(Answered::Removed(Removed { status, name, report, stored, size }))
    }
}

#[cfg(test)]
mod tests {
    use drawhall_protocol::Frame;

    use super::*;

    #[test]
    fn nothing_is_read_for_a_session_that_has_ended() {
        let piece = Chunk::Memory(Frame::new(128, 1, &[]).unwrap().into_bytes());
        let is_cancelled = Arc::default();
        let (pieces, layout) = (vec![piece; 3], Layout::V4_25);
        let pieces = Pieces { pieces, layout, first_index: 0, epoch: 0, end: 0, is_cancelled };
        let mut cancel = Some(pieces.cancel());
        let mut seen = 0;
        let read = pieces.visit(&mut |_| {
            seen += 1;
            cancel = None;
        });
        assert!(read.is_err() && seen == 1, "{seen}");
    }
}
