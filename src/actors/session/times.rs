//! The times that the history can be cut back to, also those before the last reset.

use actix::prelude::*;

use super::Session;
use crate::actors::messages::{Answer, notify};
use crate::blocking::CancelOnDrop;
use crate::rules::session::admin::histories::{Time, Times};
use crate::rules::session::admin::{Answered, SessionAnswer};
use crate::rules::undo::times::{Origin, TimeMark};
use crate::storage::session_dir::SessionDir;

/// Times that are listed at most, of each of the two histories.
const LISTED_TIMES: usize = 200;

/// Marks of the history before the last reset that lead to a canvas of then; none if that history is not kept, or the
/// present one is not stored yet.
fn earlier_marks(dir: &SessionDir, id: &str, origin: Origin) -> Vec<TimeMark> {
    let Ok((marks, later_origin)) = dir.previous_times(id) else { return Vec::new() };
    if later_origin != origin {
        return Vec::new();
    }
    // The reset was made of the history up to there.
    let size = origin.image_of.unwrap_or(u64::MAX);
    marks.spread(LISTED_TIMES).into_iter().filter(|mark| mark.size <= size).collect()
}

impl Session {
    /// Lists the times since the last reset, and those before it.
    pub(super) fn list_times(&mut self, answer: Answer<SessionAnswer>, ctx: &mut Context<Self>) {
        let marks = self.machine.times();
        let times: Vec<Time> = marks.spread(LISTED_TIMES).iter().map(Time::new).collect();
        let origin = marks.origin();
        let Ok((dir, id)) = self.stored_in() else {
            let times = Times { times, earlier: Vec::new(), stored: false };
            return notify(answer, Ok(Answered::Times(times)));
        };
        let read = move || Ok(earlier_marks(&dir, &id, origin));
        self.run(CancelOnDrop::default(), read, answer, ctx, |_, earlier, _| {
            let earlier = earlier?.iter().map(Time::new).collect();
            Ok(Answered::Times(Times { times, earlier, stored: true }))
        });
    }
}
