//! Time marks of the session's history, see [`crate::rules::undo::times`].

use super::SessionMachine;
use crate::history::History;
use crate::rules::time::Timestamp;
use crate::rules::undo::times::{Origin, OriginKind, TimeMark, TimeMarks};

/// Where the history ends before an input.
#[derive(Debug, Clone, Copy)]
pub(super) struct EndBefore {
    /// Another one means that the beginning has changed.
    first_index: i64,
    end: TimeMark,
}

fn end_of(history: &History, utc_ms: i64) -> TimeMark {
    let messages = (history.last_index() - history.first_index() + 1).max(0) as u64;
    TimeMark { utc_ms, messages, size: history.size() }
}

impl SessionMachine {
    /// The time marks of the history.
    pub fn times(&self) -> &TimeMarks {
        &self.times
    }

    pub(super) fn end_before(&self, now: Timestamp) -> EndBefore {
        EndBefore { first_index: self.history.first_index(), end: end_of(&self.history, now.utc_ms) }
    }

    /// Marks the place behind which an input has appended something.
    pub(super) fn mark_time(&mut self, before: EndBefore) {
        let is_same = self.history.first_index() == before.first_index;
        // Also while somebody makes a reset: if that is cancelled, what others draw meanwhile stays.
        if is_same && self.history.size() > before.end.size {
            self.times.note(before.end);
        }
    }

    /// The history begins here: what is in it is the image that the session goes on from.
    pub(super) fn begin_times(&mut self, kind: OriginKind, now: Timestamp) {
        self.times.begin(end_of(&self.history, now.utc_ms), Origin { kind, image_of: None });
    }

    /// The history begins here, with an image that was made of the first `image_of` bytes of the previous one.
    pub(super) fn begin_times_from(&mut self, kind: OriginKind, image_of: u64, now: Timestamp) {
        let origin = Origin { kind, image_of: Some(image_of).filter(|_| kind == OriginKind::Current) };
        self.times.begin(end_of(&self.history, now.utc_ms), origin);
    }

    /// The history begins behind an image that ends here, of the first `image_of` bytes of the previous one and of the same
    /// canvas. Returns how it has begun.
    pub(super) fn begin_times_behind(&mut self, image_end: TimeMark, image_of: u64) -> OriginKind {
        let origin = Origin { kind: OriginKind::Current, image_of: Some(image_of) };
        self.times.begin(image_end, origin);
        origin.kind
    }

    /// Uses the marks that were loaded. Without them the history begins here, as what was when is not known.
    pub(super) fn restore_times(&mut self, times: TimeMarks, now: Timestamp) {
        if times.is_empty() {
            // An image before the marks that are lost would end here, and take in everything drawn since.
            self.times.begin(end_of(&self.history, now.utc_ms), Origin::default());
        } else {
            self.times = times;
        }
    }

    /// The place where the history ends, for [`TimeMarks::forked`].
    pub(super) fn fork_mark(&self, now: Timestamp) -> TimeMark {
        end_of(&self.history, now.utc_ms)
    }
}
