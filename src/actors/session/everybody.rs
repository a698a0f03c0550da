//! Everybody who was in a session: in the present history and the one before, from which somebody's drawing can be
//! removed, and in earlier histories of the last 24 hours. They are read on the blocking pool.

use std::sync::Arc;

use actix::prelude::*;

use super::Session;
use super::rebuild::{BeforeReset, HistorySnapshot, refused};
use super::remove::{EARLIER_SHIFT, NotAcross, stays_before, with_both};
use super::restore::unreadable;
use crate::actors::messages::Answer;
use crate::rules::session::admin::earlier_people::{EarlierPeople, HistorySpan};
use crate::rules::session::admin::histories::{EarlierPresence, Everybody, Presence};
use crate::rules::session::admin::{AdminError, Answered, SessionAnswer};
use crate::rules::time::{Timestamp, iso_of};
use crate::rules::undo::across_reset::Location;
use crate::rules::undo::everybody::everybody;
use crate::rules::undo::rebuild::RebuildError;
use crate::rules::undo::times::TimeMarks;
use crate::storage::generations::{Generation, OpenedGeneration};
use crate::storage::session_dir::{LoadError, SessionDir};

/// Those from whom something can be removed.
struct Removable {
    people: Vec<Presence>,
    /// Why it does not begin before the last reset.
    reason: String,
    /// Where it begins, in milliseconds since 1970.
    from_ms: Option<i64>,
    /// Number of the earlier history in it.
    earlier: Option<u32>,
}

/// The earlier histories of a session.
struct Generations {
    dir: Arc<SessionDir>,
    id: String,
    now_ms: i64,
}

fn begin_of(times: &TimeMarks) -> Option<i64> {
    times.iter().next().map(|mark| mark.utc_ms)
}

/// Everybody in the present history, or in both.
fn list(
    snapshot: &HistorySnapshot,
    before: Result<BeforeReset, NotAcross>,
    times: &TimeMarks,
) -> Result<Removable, AdminError> {
    let across = before.and_then(|before| {
        let image_ms = before.image.utc_ms;
        with_both(&before, snapshot, |history, earlier| {
            let people = everybody(history, snapshot.layout, 0, history.reset_at());
            let people = people.map_err(|error| refused(&RebuildError::Io(error)))?;
            let number_of = |person: i64| match history.number_in_later(person) {
                Some(number) => snapshot.first_index + number.cast_signed(),
                None => i64::from(earlier.number) << EARLIER_SHIFT | person,
            };
            let time_of = |index: i64| match history.locate(index.cast_unsigned()) {
                Location::Earlier(number) => earlier.times.time_of(number),
                Location::Reset => Some(image_ms),
                Location::Later(number) => times.time_of(number),
            };
            let people = people.iter().map(|presence| Presence::new(presence, number_of, time_of)).collect();
            let reason = stays_before(&earlier.times);
            let from_ms = begin_of(&earlier.times);
            Ok(Removable { people, reason, from_ms, earlier: Some(earlier.number) })
        })
    });
    let reason = match across {
        Ok(list) => return list,
        Err(why) => why.reason(),
    };
    let first_index = snapshot.first_index;
    let people = everybody(snapshot, snapshot.layout, first_index, 0);
    let people = people.map_err(|error| refused(&RebuildError::Io(error)))?;
    let time_of = |index: i64| times.time_of(index.checked_sub(first_index)?.try_into().ok()?);
    let people = people.iter().map(|presence| Presence::new(presence, |person| person, time_of)).collect();
    Ok(Removable { people, reason, from_ms: begin_of(times), earlier: None })
}

impl Generations {
    /// Who was there in the last 24 hours, newest history first, but for the history `listed`; and how far back that
    /// reaches.
    fn people(
        &self,
        snapshot: &HistorySnapshot,
        listed: Option<u32>,
    ) -> Result<(Vec<EarlierPresence>, Option<i64>), AdminError> {
        let generations = match self.dir.generations(&self.id) {
            // A session that was just hosted may have no files yet.
            Err(LoadError::NoFile) => Vec::new(),
            generations => generations.map_err(|error| unreadable(&error))?,
        };
        let mut people = EarlierPeople::new(self.now_ms);
        let others = generations.iter().filter(|generation| Some(generation.number) != listed);
        for Generation { number, from_ms, until_ms, .. } in others {
            let span = HistorySpan { number: *number, from_ms: *from_ms, until_ms: *until_ms };
            if !people.wants(span) {
                break;
            }
            let OpenedGeneration { protocol, chunks, times } =
                match self.dir.open_generation(&self.id, span.number) {
                    // It has just been removed. The list does not reach beyond it.
                    Err(LoadError::NoFile) => break,
                    opened => opened.map_err(|error| unreadable(&error))?,
                };
            let found = everybody(&snapshot.with(chunks), protocol.layout(), 0, 0);
            people.add(span, found.map_err(|error| refused(&RebuildError::Io(error)))?, &times);
        }
        Ok(people.finish())
    }
}

/// Both lists.
fn everybody_of(
    snapshot: &HistorySnapshot,
    before: Result<BeforeReset, NotAcross>,
    times: &TimeMarks,
    generations: Option<Generations>,
) -> Result<Everybody, AdminError> {
    let Removable { people, reason, from_ms, earlier } = list(snapshot, before, times)?;
    let older = generations.map(|generations| generations.people(snapshot, earlier)).transpose();
    let (older, since_ms) = older?.unwrap_or_default();
    let since = since_ms.or(from_ms).map_or(String::new(), iso_of);
    Ok(Everybody { people, across_reset: earlier.is_some(), reason, earlier: older, since })
}

impl Session {
    /// Answers with everybody who was there.
    pub(super) fn list_everybody(&mut self, answer: Answer<SessionAnswer>, ctx: &mut Context<Self>) {
        let (snapshot, before, times) = (self.snapshot(), self.before(), self.machine.times().clone());
        let (id, now_ms) = (self.machine.id().to_owned(), Timestamp::now().utc_ms);
        let generations = self.dir.clone().map(|dir| Generations { dir, id, now_ms });
        let (cancel, listed) =
            (snapshot.cancel(), move || everybody_of(&snapshot, before, &times, generations));
        self.run(cancel, listed, answer, ctx, |_, listed, _| listed.map(Answered::Everybody));
    }
}
