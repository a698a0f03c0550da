//! Removing what one person drew, also from before the last reset: the histories are read and rebuilt on the blocking
//! pool, and the result put in place here. Source: docs/spec/session.md#removing-a-person.

use actix::prelude::*;

use super::Session;
use super::rebuild::{BeforeReset, HistorySnapshot, refused};
use crate::actors::messages::{Answer, RemovePerson, notify};
use crate::rules::session::ReadSoFar;
use crate::rules::session::admin::histories::Removed;
use crate::rules::session::admin::{AdminError, Answered, SessionAnswer};
use crate::rules::time::iso_of;
use crate::rules::undo::across_reset::AcrossReset;
use crate::rules::undo::rebuild::{Messages, Plan, RebuildError, Removal, RemovalReport};
use crate::rules::undo::restored_image::RestoredImage;
use crate::rules::undo::times::{OriginKind, TimeMark, TimeMarks, UnknownTime};
use crate::storage::generations::EarlierHistory;

/// Numbers of people who left before the last reset have the number of their history above these bits. Those of others
/// are indices of the present history, which are lower.
pub(super) const EARLIER_SHIFT: u32 = 32;

/// Why a time before a reset by the server cannot be met.
const RESTORED_TEXT: &str = "the server made the last reset out of earlier messages, and when these came is not known any \
                             more: go back to before the reset first";

/// Why a removal does not cross the last reset.
const TOO_LARGE: &str = "with everything from before the last reset, the session would exceed its size limit";

/// Where removing what somebody drew begins.
#[derive(Debug, Clone, Copy)]
enum RemovalStart {
    /// At the beginning.
    Beginning,
    /// In the present history.
    At(TimeMark),
    /// Before the present history: milliseconds since 1970.
    BeforeReset(i64),
}

/// Why the last reset cannot be crossed.
pub(super) enum NotAcross {
    /// There was none, so nothing is missing.
    NoReset,
    /// The server has made it out of messages of before: they are here, but not when they came.
    Restored,
    Reason(String),
}

impl NotAcross {
    pub(super) fn reason(self) -> String {
        match self {
            NotAcross::NoReset | NotAcross::Restored => String::new(),
            NotAcross::Reason(reason) => reason,
        }
    }
}

/// Calls `work` with the history before the last reset and that after it as one; blocks.
pub(super) fn with_both<T>(
    before: &BeforeReset,
    after: &HistorySnapshot,
    work: impl FnOnce(&AcrossReset<'_>, &EarlierHistory) -> Result<T, AdminError>,
) -> Result<Result<T, AdminError>, NotAcross> {
    let earlier = before.open(after).map_err(|reason| NotAcross::Reason(reason.to_string()))?;
    let snapshot = after.with(earlier.chunks.clone());
    match AcrossReset::new(&snapshot, after, before.origin, before.image, after.layout) {
        Ok(both) => Ok(work(&both, &earlier)),
        Err(error) => Err(NotAcross::Reason(error.to_string())),
    }
}

/// What the pool has made of the history.
struct Rebuilt {
    report: RemovalReport,
    name: String,
    user: u8,
    across_reset: bool,
    /// Why earlier drawings stay.
    reason: String,
    /// Unless only a report was asked for.
    image: Option<RestoredImage>,
    read: ReadSoFar,
}

/// A removal that the pool works on.
struct Work {
    snapshot: HistorySnapshot,
    request: RemovePerson,
    since: RemovalStart,
    before: Result<BeforeReset, NotAcross>,
    /// Size limit of the session in bytes, 0 for none.
    limit: u64,
}

impl Work {
    fn perform(self) -> Result<Rebuilt, AdminError> {
        let Work { snapshot, request, since, before, limit } = self;
        let earlier_only = request.person >> EARLIER_SHIFT > 0;
        if request.across_reset == Some(false) || matches!(since, RemovalStart::At(_)) {
            if earlier_only {
                return Err(refused(&RebuildError::NothingOfTheirsSince));
            }
            return match since {
                RemovalStart::At(mark) => in_present(&snapshot, &request, Some(mark), String::new()),
                RemovalStart::Beginning | RemovalStart::BeforeReset(_) => {
                    in_present(&snapshot, &request, None, String::new())
                }
            };
        }
        let across = before.and_then(|before| {
            with_both(&before, &snapshot, |history, earlier| {
                across(history, earlier, &snapshot, &request, since, limit)
            })
        });
        match across {
            Ok(done) => done,
            Err(why) => {
                let is_wanted =
                    request.across_reset == Some(true) || matches!(since, RemovalStart::BeforeReset(_));
                match why {
                    NotAcross::Reason(reason) if is_wanted || earlier_only => {
                        Err(AdminError::NotPossible(reason))
                    }
                    NotAcross::Restored if matches!(since, RemovalStart::BeforeReset(_)) => {
                        Err(AdminError::NotPossible(RESTORED_TEXT.to_owned()))
                    }
                    NotAcross::NoReset | NotAcross::Restored if earlier_only => {
                        Err(AdminError::PeopleOutdated)
                    }
                    why => in_present(&snapshot, &request, None, why.reason()),
                }
            }
        }
    }
}

/// Removes from the present history alone. `reason` says why earlier drawings stay.
fn in_present(
    snapshot: &HistorySnapshot,
    request: &RemovePerson,
    since: Option<TimeMark>,
    reason: String,
) -> Result<Rebuilt, AdminError> {
    let removal = Removal { person: request.person, since, reset_at: 0 };
    let rebuilt = rebuild(snapshot, snapshot.first_index, removal, snapshot, request)?;
    Ok(Rebuilt { reason, ..rebuilt })
}

/// Removes from both histories, if the person drew before the reset.
fn across(
    history: &AcrossReset<'_>,
    earlier: &EarlierHistory,
    snapshot: &HistorySnapshot,
    request: &RemovePerson,
    since: RemovalStart,
    limit: u64,
) -> Result<Rebuilt, AdminError> {
    let (generation, number) = (request.person >> EARLIER_SHIFT, request.person & ((1 << EARLIER_SHIFT) - 1));
    let person = if generation > 0 {
        (generation == i64::from(earlier.number)).then_some(number)
    } else {
        let number = request.person.checked_sub(snapshot.first_index);
        number.and_then(|number| history.person_of(u64::try_from(number).ok()?))
    };
    let person = person.ok_or(AdminError::PeopleOutdated)?;
    let (place, reason) = match since {
        RemovalStart::BeforeReset(ms) => start_in_earlier(history, &earlier.times, ms)?,
        RemovalStart::Beginning | RemovalStart::At(_) => {
            (StartInEarlier::At(None), stays_before(&earlier.times))
        }
    };
    match place {
        StartInEarlier::At(place) if history.has_drawn_before(person, place) => {
            let removal = Removal { person, since: place, reset_at: history.reset_at() };
            let rebuilt = rebuild(history, 0, removal, snapshot, request)?;
            // The same for a report, which has no image.
            if limit == 0 || history.size().saturating_sub(rebuilt.report.bytes) <= limit {
                return Ok(Rebuilt { across_reset: true, reason, ..rebuilt });
            }
            let is_wanted =
                request.across_reset == Some(true) || matches!(since, RemovalStart::BeforeReset(_));
            if is_wanted || generation > 0 {
                return Err(AdminError::NotPossible(TOO_LARGE.to_owned()));
            }
            in_present(snapshot, request, None, TOO_LARGE.to_owned())
        }
        _ if generation > 0 => Err(refused(&RebuildError::NothingOfTheirsSince)),
        _ => in_present(snapshot, request, None, String::new()),
    }
}

/// A place before or at the last reset.
enum StartInEarlier {
    /// Behind what the image was made of, so all of the present history follows.
    Reset,
    /// In the earlier history; at its beginning without a mark.
    At(Option<TimeMark>),
}

/// The place of a time before the present history, and why still earlier drawings stay.
fn start_in_earlier(
    history: &AcrossReset<'_>,
    times: &TimeMarks,
    ms: i64,
) -> Result<(StartInEarlier, String), AdminError> {
    match times.at(ms) {
        Ok(mark) => {
            let place = mark.and_then(|mark| history.place_of(mark));
            Ok((place.map_or(StartInEarlier::Reset, |mark| StartInEarlier::At(Some(mark))), String::new()))
        }
        Err(UnknownTime::BeforeSession(_)) => Ok((StartInEarlier::At(None), String::new())),
        Err(UnknownTime::TooEarly(from)) => Err(AdminError::NotPossible(format!(
            "the history before the last reset begins later ({})",
            iso_of(from)
        ))),
        Err(error @ (UnknownTime::Lost(_) | UnknownTime::NotBegun)) => {
            Err(AdminError::NotPossible(error.to_string()))
        }
    }
}

/// Why what was drawn before the earlier history stays; empty if there was nothing before it.
pub(super) fn stays_before(times: &TimeMarks) -> String {
    match (times.origin().kind, times.iter().next()) {
        (OriginKind::Hosted, _) => String::new(),
        (_, Some(first)) => format!("what was drawn before {} is part of the picture", iso_of(first.utc_ms)),
        (_, None) => "what was drawn before the reset before the last is part of the picture".to_owned(),
    }
}

fn rebuild(
    history: &dyn Messages,
    first_index: i64,
    removal: Removal,
    snapshot: &HistorySnapshot,
    request: &RemovePerson,
) -> Result<Rebuilt, AdminError> {
    let plan = Plan::new(history, snapshot.layout, first_index, removal).map_err(|error| refused(&error))?;
    if request.name.as_ref().is_some_and(|name| *name != plan.name) {
        return Err(AdminError::PeopleOutdated);
    }
    let image = if request.dry_run {
        None
    } else {
        Some(plan.image(history).map_err(|error| refused(&RebuildError::Io(error)))?)
    };
    // Who has left draws no more; the id may be somebody else's by the end.
    let without = plan.is_present.then_some(plan.user);
    let (across_reset, reason) = (false, String::new());
    let read = snapshot.read(without, false);
    Ok(Rebuilt { report: plan.report, name: plan.name, user: plan.user, across_reset, reason, image, read })
}

impl Session {
    /// The history before the last reset, if what is in it can be told apart.
    pub(super) fn before(&self) -> Result<BeforeReset, NotAcross> {
        let (times, reason) = (self.machine.times(), |text: &str| Err(NotAcross::Reason(text.to_owned())));
        let origin = times.origin();
        match (origin.kind, times.iter().next(), self.dir.clone()) {
            (OriginKind::Hosted, ..) => Err(NotAcross::NoReset),
            (OriginKind::Restored, ..) => Err(NotAcross::Restored),
            (_, _, None) => {
                reason("the session is not stored, so the history before the last reset is not kept")
            }
            (OriginKind::Current | OriginKind::Streamed, Some(image), Some(dir)) => {
                Ok(BeforeReset { dir, id: self.machine.id().to_owned(), origin, image: *image })
            }
            _ => Err(NotAcross::Reason(RebuildError::OtherCanvas.to_string())),
        }
    }

    fn since(&self, since_ms: Option<i64>) -> Result<RemovalStart, AdminError> {
        let Some(ms) = since_ms else { return Ok(RemovalStart::Beginning) };
        match self.machine.times().at(ms) {
            Ok(Some(mark)) => Ok(RemovalStart::At(mark)),
            Ok(None) => Err(refused(&RebuildError::NothingSince)),
            Err(UnknownTime::BeforeSession(_)) => Ok(RemovalStart::Beginning),
            Err(UnknownTime::TooEarly(_) | UnknownTime::Lost(_)) => Ok(RemovalStart::BeforeReset(ms)),
            Err(error @ UnknownTime::NotBegun) => Err(AdminError::NotPossible(error.to_string())),
        }
    }

    /// Removes what a person drew, or reports what that would mean.
    pub(super) fn remove_person(
        &mut self,
        request: RemovePerson,
        answer: Answer<SessionAnswer>,
        ctx: &mut Context<Self>,
    ) {
        let since = match self.since(request.since_ms) {
            Ok(since) => since,
            Err(error) => return notify(answer, Err(error)),
        };
        let by = request.by.clone();
        let (snapshot, before, limit) = (self.snapshot(), self.before(), self.machine.history().limit());
        let cancel = snapshot.cancel();
        let work = Work { snapshot, request, since, before, limit };
        self.run(
            cancel,
            move || work.perform(),
            answer,
            ctx,
            move |session, made, ctx| {
                let Rebuilt { report, name, user, across_reset, reason, image, read } = made?;
                let mut size = None;
                if let Some(image) = image {
                    let before = if across_reset { ", also from before the last reset" } else { "" };
                    let what = format!("Removed {} actions of {name} (user {user}){before}", report.actions);
                    size = Some(session.put_in_place(image, what, Some(read), &by, ctx)?.size);
                }
                let (status, stored) = ("ok".into(), session.dir.is_some());
                Ok(Answered::Removed(Removed { status, name, report, across_reset, reason, stored, size }))
            },
        );
    }
}
