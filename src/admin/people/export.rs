//! Endpoint `people/{person}/export`: what is stored about a person in one document, for somebody who asks what is known
//! of them; and what was done about a person, from the events that are kept.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::super::AdminState;
use super::super::endpoint::{Call, Download};
use super::super::error::{ApiError, not_found};
use super::super::query_db;
use super::super::timeline::TimedEvent;
use super::answer::{BanOfPerson, NoteOfPerson, PersonAnswer, Visit};
use super::{PersonPath, in_force, is_banned_by, key_of, summary};
use crate::db::Database;
use crate::db::people::{Person, PersonKey};
use crate::db::reports::StoredReport;
use crate::rules::time::{Timestamp, iso_of};
use crate::storage::event_store::{EventQuery, SessionEvent};

/// Events of an export.
const MAX_EVENTS: usize = 20_000;
/// What was done about a person that is shown.
const MAX_ACTIONS: usize = 100;
/// Topics of what is done about somebody. Warnings are among those of `Mute`.
const ACTIONS: [&str; 5] = ["Kick", "Ban", "Unban", "Mute", "Unmute"];

/// A report by or about a person, without the names of others.
#[derive(Debug, Serialize, JsonSchema)]
struct ReportOfPerson {
    /// When it came, UTC.
    at: String,
    /// Session id.
    session: String,
    /// Title of the session then.
    title: String,
    /// The person has made it; otherwise it is about them.
    own: bool,
    /// What was wrong, in the reporter's words.
    reason: String,
    /// open, taken or handled.
    state: &'static str,
    /// What was done.
    outcome: String,
}

/// What is stored about a person. Of others there are only the names that events and notes mention.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PersonExport")]
pub(super) struct PersonExport {
    /// When this was put together, ISO 8601.
    exported: String,
    #[serde(flatten)]
    person: PersonAnswer,
    /// Where they were, the newest first.
    visits: Vec<Visit>,
    /// Newest first.
    notes: Vec<NoteOfPerson>,
    /// Newest first; those that are over included.
    bans: Vec<BanOfPerson>,
    /// Newest first.
    reports: Vec<ReportOfPerson>,
    /// Their chat and what happened to them, oldest first.
    events: Vec<TimedEvent>,
    /// This is all. Otherwise there are more visits or events than one document has, or in this hour too much was
    /// written in sessions to keep it all.
    complete: bool,
}

/// Something that was done about a person.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ActionAboutPerson {
    /// ISO 8601.
    timestamp: String,
    /// Session id.
    session: String,
    /// Kick, Ban, Unban, Mute (any restriction, or a warning) or Unmute.
    topic: String,
    /// What was done, by whom.
    text: String,
}

impl ReportOfPerson {
    fn new(report: StoredReport, person: &Person) -> ReportOfPerson {
        let own = person.has(&report.reporter.device, &report.reporter.account);
        let state = report.state.name();
        let StoredReport { at, session, title, reason, outcome, .. } = report;
        ReportOfPerson { at, session, title, own, reason, state, outcome }
    }
}

/// What finds the events of a person: devices and accounts, or of guests that have neither name and address.
fn events_of(key: &PersonKey, person: &Person) -> EventQuery {
    let query = EventQuery { to_ms: i64::MAX, ..EventQuery::default() };
    match key {
        // Others may have had the name, so nothing is theirs for certain.
        PersonKey::Guest { address, .. } if address.is_empty() => EventQuery { to_ms: 0, ..query },
        PersonKey::Guest { address, name } => {
            EventQuery { person: name.clone(), guest_address: address.clone(), ..query }
        }
        PersonKey::Device(own) | PersonKey::Account(own) => {
            let known = person.devices.iter().chain(&person.accounts);
            EventQuery { ids: known.chain([own]).cloned().collect(), ..query }
        }
    }
}

impl AdminState {
    /// What finds the events of the person with this id; 404 if it is no id, or of a guest whose address is not known any
    /// more: others may have had that name.
    pub(in super::super) async fn events_of_person(&self, id: &str) -> Result<EventQuery, ApiError> {
        let key = key_of(id)?;
        if matches!(&key, PersonKey::Guest { address, .. } if address.is_empty()) {
            return Err(not_found());
        }
        let wanted = key.clone();
        let person = query_db(&self.log, move |db| db.person(&wanted)).await?;
        Ok(events_of(&key, &person))
    }

    /// What was done about a person, newest first, as far as events are kept.
    pub(super) async fn actions_about(
        &self,
        key: &PersonKey,
        person: &Person,
    ) -> Result<Vec<ActionAboutPerson>, ApiError> {
        let topics = ACTIONS.map(str::to_owned).to_vec();
        let query = EventQuery { topics, newest: true, count: MAX_ACTIONS, ..events_of(key, person) };
        let events = self.kept_events(query).await?.events.into_iter().rev();
        let action = |SessionEvent { at, session, topic, text, .. }| ActionAboutPerson {
            timestamp: iso_of(at),
            session,
            topic,
            text,
        };
        Ok(events.map(action).collect())
    }

    pub(super) async fn export_person(
        self: Arc<Self>,
        call: Call<PersonPath>,
    ) -> Result<Download<PersonExport>, ApiError> {
        let key = key_of(&call.path.person)?;
        let (person, connected) = self.known_person(&key).await?;
        let (bans, now) = (self.bans_ever().await?, Timestamp::now().utc_ms);
        let asked = person.clone();
        let reports = query_db(&self.log, move |db| db.reports_with(&asked, Database::MAX_REPORTS)).await?;
        let query = EventQuery { count: MAX_EVENTS, ..events_of(&key, &person) };
        let found = self.kept_events(query).await?;
        let has_all = !found.more
            && !self.events.as_ref().is_some_and(|events| events.has_dropped("", now))
            && person.rows.len() < Database::MAX_ROWS_OF_PERSON;
        let in_force = in_force(&bans, now);
        let bans = bans.into_iter().filter(|ban| is_banned_by(&person, ban));
        Ok(Download {
            file_name: "person.json",
            value: PersonExport {
                exported: iso_of(now),
                visits: person.rows.iter().map(Into::into).collect(),
                notes: person.notes.iter().cloned().map(NoteOfPerson::from).collect(),
                bans: bans.map(|ban| BanOfPerson::new(ban, now)).collect(),
                reports: reports.into_iter().map(|report| ReportOfPerson::new(report, &person)).collect(),
                complete: has_all,
                events: found.events.into_iter().map(TimedEvent::from).collect(),
                person: summary(&person, &connected, &in_force),
            },
        })
    }
}
