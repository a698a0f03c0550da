//! Cutting the history back to a time, also to one before the last reset: it is read on the blocking pool, and the
//! result put in place here. Source: docs/spec/session.md#cutting-back.

use std::io;

use actix::prelude::*;
use drawhall_protocol::frame::FrameRef;
use drawhall_protocol::message::{Chat, Join};

use super::Session;
use super::rebuild::{BeforeReset, HistorySnapshot, NotOpened, refused};
use crate::actors::messages::{Answer, notify};
use crate::rules::session::admin::histories::CutBack;
use crate::rules::session::admin::{AdminError, Answered, SessionAnswer};
use crate::rules::session::{Asker, ReadSoFar};
use crate::rules::time::iso_of;
use crate::rules::undo::cut::{Cut, CutReport, cut_back};
use crate::rules::undo::rebuild::{Messages, RebuildError};
use crate::rules::undo::restored_image::RestoredImage;
use crate::rules::undo::times::{TimeMark, UnknownTime};

/// Where the history is to be cut.
enum CutTarget {
    /// In the present history.
    Present(TimeMark),
    /// Before the last reset, if the history before it is kept; and why the time is not in the present one.
    BeforeReset(BeforeReset, UnknownTime),
}

/// The history before the last reset, up to where the canvas of now was made of it, and what was drawn since.
struct WithEarlier<'a> {
    earlier: &'a dyn Messages,
    /// Size of that part of it, in bytes.
    size: u64,
    present: &'a dyn Messages,
    /// Number of messages of the image that the present history begins with: of these only who is there, and pins.
    image: u64,
}

impl WithEarlier<'_> {
    /// Where the part of the earlier history ends.
    ///
    /// # Errors
    /// When no message ends there: the canvas of now was made of another history, which was never stored.
    fn reset(&self) -> Result<TimeMark, RebuildError> {
        let mut end = TimeMark::default();
        self.earlier.visit(&mut |frame| {
            let size = end.size + frame.bytes.len() as u64;
            if size <= self.size {
                end = TimeMark { messages: end.messages + 1, size, ..end };
            }
        })?;
        // Without a size, all of it is taken.
        if end.size == self.size || self.size == u64::MAX { Ok(end) } else { Err(RebuildError::WrongMark) }
    }
}

impl Messages for WithEarlier<'_> {
    fn visit(&self, visit: &mut dyn FnMut(FrameRef<'_>)) -> io::Result<()> {
        let mut size = 0;
        self.earlier.visit(&mut |frame| {
            size += frame.bytes.len() as u64;
            if size <= self.size {
                visit(frame);
            }
        })?;
        let mut number = 0;
        self.present.visit(&mut |frame| {
            if number >= self.image || matches!(frame.header.kind, Join::TYPE | Chat::TYPE) {
                visit(frame);
            }
            number += 1;
        })
    }
}

/// What the pool has made of the history.
struct CutHistory {
    report: CutReport,
    across_reset: bool,
    /// Unless only a report was asked for.
    image: Option<RestoredImage>,
    read: ReadSoFar,
}

fn too_early(error: UnknownTime) -> AdminError {
    match error {
        UnknownTime::TooEarly(from_ms) | UnknownTime::BeforeSession(from_ms) | UnknownTime::Lost(from_ms) => {
            AdminError::NotPossible(format!("{error} ({})", iso_of(from_ms)))
        }
        UnknownTime::NotBegun => AdminError::NotPossible(error.to_string()),
    }
}

impl CutTarget {
    fn cut(self, snapshot: &HistorySnapshot, until_ms: i64, dry_run: bool) -> Result<CutHistory, AdminError> {
        let (cut, across_reset) = match self {
            CutTarget::Present(mark) => (cut_back(snapshot, snapshot.layout, mark, !dry_run), false),
            CutTarget::BeforeReset(before, why) => {
                (cut_before_reset(&before, why, snapshot, until_ms, dry_run)?, true)
            }
        };
        let Cut { report, image } = cut.map_err(|error| refused(&error))?;
        Ok(CutHistory { report, across_reset, image, read: snapshot.read(None, true) })
    }
}

fn cut_before_reset(
    before: &BeforeReset,
    why: UnknownTime,
    snapshot: &HistorySnapshot,
    until_ms: i64,
    dry_run: bool,
) -> Result<Result<Cut, RebuildError>, AdminError> {
    let opened = before.open(snapshot).map_err(|reason| match reason {
        NotOpened::NotKept => too_early(why),
        NotOpened::NotStoredYet => AdminError::NotPossible(reason.to_string()),
        NotOpened::Unreadable(error) => AdminError::HistoryUnreadable(error.to_string()),
    })?;
    let mark = opened.times.at(until_ms).map_err(too_early)?;
    let earlier = snapshot.with(opened.chunks);
    let size = before.origin.image_of.unwrap_or(u64::MAX);
    let history = WithEarlier { earlier: &earlier, size, present: snapshot, image: before.image.messages };
    let reset = history.reset().map_err(|error| refused(&error))?;
    let mark = match mark.filter(|mark| mark.size <= size) {
        Some(mark) => mark,
        // It may as well be a time after the reset.
        None if matches!(why, UnknownTime::Lost(_)) => return Err(too_early(why)),
        None => reset,
    };
    Ok(cut_back(&history, snapshot.layout, mark, !dry_run))
}

impl Session {
    fn cut_target(&self, utc_ms: i64) -> Result<CutTarget, AdminError> {
        let times = self.machine.times();
        match times.at(utc_ms) {
            Ok(Some(mark)) => Ok(CutTarget::Present(mark)),
            Ok(None) => Err(refused(&RebuildError::NothingSince)),
            Err(why @ (UnknownTime::TooEarly(_) | UnknownTime::Lost(_))) => {
                let (Some(dir), Some(image)) = (self.dir.clone(), times.iter().next().copied()) else {
                    return Err(too_early(why));
                };
                let (id, origin) = (self.machine.id().to_owned(), times.origin());
                Ok(CutTarget::BeforeReset(BeforeReset { dir, id, origin, image }, why))
            }
            Err(error) => Err(too_early(error)),
        }
    }

    /// Cuts the history back to a time, or reports what that would mean.
    pub(super) fn cut_back(
        &mut self,
        until_ms: i64,
        dry_run: bool,
        by: Asker,
        answer: Answer<SessionAnswer>,
        ctx: &mut Context<Self>,
    ) {
        let target = match self.cut_target(until_ms) {
            Ok(target) => target,
            Err(error) => return notify(answer, Err(error)),
        };
        let snapshot = self.snapshot();
        let cancel = snapshot.cancel();
        self.run(
            cancel,
            move || target.cut(&snapshot, until_ms, dry_run),
            answer,
            ctx,
            move |session, made, ctx| {
                let CutHistory { report, across_reset, image, read } = made?;
                let until = iso_of(until_ms);
                let mut size = None;
                if let Some(image) = image {
                    let before = if across_reset { ", before the last reset" } else { "" };
                    let what =
                        format!("Cut the history back to {until}{before} ({} actions)", report.actions);
                    size = Some(session.put_in_place(image, what, Some(read), &by, ctx)?.size);
                }
                let (status, stored) = ("ok".into(), session.dir.is_some());
                Ok(Answered::CutBack(CutBack { status, until, report, across_reset, stored, size }))
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use drawhall_protocol::Frame;

    use super::*;

    fn stroke(len: usize) -> Vec<u8> {
        Frame::new(148, 1, &vec![0; len]).unwrap().into_bytes().to_vec()
    }

    #[test]
    fn the_earlier_history_must_be_the_one_that_the_reset_was_made_of() {
        let parts = [stroke(5), stroke(6), stroke(7)];
        let (bytes, two) = (parts.concat(), parts[..2].concat().len() as u64);
        let (earlier, present) = (bytes.as_slice(), [].as_slice());
        let reset = |size| WithEarlier { earlier: &earlier, size, present: &present, image: 0 }.reset();
        assert_eq!(reset(two).unwrap(), TimeMark { utc_ms: 0, messages: 2, size: two });
        assert_eq!(reset(u64::MAX).unwrap().messages, 3);
        for size in [two - 1, two + 1, bytes.len() as u64 + 1] {
            assert!(matches!(reset(size), Err(RebuildError::WrongMark)), "{size}");
        }
    }
}
