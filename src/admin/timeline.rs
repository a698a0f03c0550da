//! Endpoint `timeline`: chat and events of sessions, which are kept for a while (`eventKeepTime`).

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AdminState;
use super::endpoint::{Api, Call, Json, Nothing};
use super::error::{ApiError, bad, not_found};
use super::value::{Number, Text, time_of};
use crate::rules::time::{Timestamp, iso_of};
use crate::storage::event_store::{EventPosition, EventQuery, EventStore, Found, SessionEvent};

/// Events of one answer.
const PAGE: i64 = 500;

pub(super) fn endpoints(api: &mut Api) {
    api.get(
        "timeline",
        "Chat and events of sessions of the last day (eventKeepTime), oldest first, 500 a page, or the newest of them.",
        AdminState::timeline,
    );
    api.delete(
        "timeline",
        "Erases the chat of a person and all events about them.",
        AdminState::erase_from_timeline,
    )
    .locked_by("sessions");
}

/// Which events.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
struct Which {
    /// Not before this time, ISO 8601 with a time zone; the oldest without it.
    #[schemars(with = "String", extend("anyOf" = [{"format": "date-time"}, {"const": ""}]))]
    from: Text,
    /// Before this time.
    #[schemars(with = "String", extend("anyOf" = [{"format": "date-time"}, {"const": ""}]))]
    to: Text,
    /// Only of this session, by id or, while it is there, alias.
    session: Text,
    /// Only about the person of this name (look-alikes count), account, device (system id) or address.
    person: Text,
    /// Only about the person with this id, as of people/ID: all their devices and accounts, or of a guest who has neither
    /// this name at this address.
    person_id: Text,
    /// Only of this topic: `Chat`, or one of the log.
    topic: Text,
    /// Only what follows another answer: its `next`. For the next page, and for what has been written since.
    #[schemars(extend("pattern" = r"^([0-9]{1,18}\.){3}[0-9]{1,18}$|^$"))]
    after: Text,
    /// Not the oldest but so many of the newest, still in order.
    newest: Number<1, PAGE>,
}

/// Whom to erase.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["person"]))]
struct Whom {
    /// Name (look-alikes count), account, device (system id) or address.
    #[schemars(with = "String", extend("minLength" = 1))]
    person: Text,
}

/// Chat and events.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Timeline {
    /// For how many seconds events are kept; 0: they are not.
    keep_seconds: u64,
    /// Oldest first.
    events: Vec<TimedEvent>,
    /// There is another page or, of the newest, there are earlier ones.
    more: bool,
    /// Where this answer ended, for `after`; empty if events are not kept.
    next: String,
    /// In this hour too much was written to keep it all, in the session that was asked for, or in any if none was.
    full: bool,
}

/// An event.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TimedEvent {
    /// ISO 8601, UTC.
    timestamp: String,
    #[serde(flatten)]
    event: SessionEvent,
}

impl From<SessionEvent> for TimedEvent {
    fn from(event: SessionEvent) -> TimedEvent {
        TimedEvent { timestamp: iso_of(event.at), event }
    }
}

/// What was erased.
#[derive(Debug, Serialize, JsonSchema)]
struct Erased {
    /// Number of events.
    erased: usize,
}

impl AdminState {
    /// Runs a job on the store on a blocking thread, one at a time.
    async fn with_events<T: Send + 'static>(
        &self,
        job: impl FnOnce(&EventStore) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, ApiError> {
        let events = self.events.clone().ok_or_else(not_found)?;
        let turn = self.searching_events.clone().lock_owned().await;
        let run = move || {
            // Until it is done, also when nobody waits for the answer any more.
            let _turn = turn;
            job(&events)
        };
        let done = actix_rt::task::spawn_blocking(run).await;
        done.map_err(ApiError::internal)?.map_err(ApiError::internal)
    }

    /// Events that fit; none if they are not kept.
    pub(super) async fn kept_events(&self, query: EventQuery) -> Result<Found, ApiError> {
        if self.events.is_none() || self.rules().settings().event_keep_time.0 == 0 {
            return Ok(Found::default());
        }
        self.with_events(move |store| store.find(&query)).await
    }

    async fn timeline(self: Arc<Self>, call: Call<Nothing, Which>) -> Result<Json<Timeline>, ApiError> {
        let Which { from, to, session, person, person_id, topic, after, newest } = call.query;
        let now_ms = Timestamp::now().utc_ms;
        let from_ms = if from.is_empty() { 0 } else { time_of("from", &from)? };
        let to_ms = if to.is_empty() { now_ms + 1 } else { time_of("to", &to)? };
        let after: Option<EventPosition> = match &*after {
            "" => None,
            text => Some(text.parse().map_err(|error| bad(format!("after: {error}")))?),
        };
        let newest: Option<usize> = newest.get_as("newest")?;
        let session = self.session_id_of(session.0).await;
        let keep_seconds = if self.events.is_some() { self.rules().settings().event_keep_time.0 } else { 0 };
        if keep_seconds == 0 {
            let (events, next) = (Vec::new(), String::new());
            return Ok(Json(Timeline { keep_seconds, events, more: false, next, full: false }));
        }
        let of_person = match &*person_id {
            "" => EventQuery { person: person.0, ..EventQuery::default() },
            _ if !person.is_empty() => return Err(bad("Either person or personId")),
            id => self.events_of_person(id).await?,
        };
        let query = EventQuery {
            from_ms,
            to_ms,
            session,
            topics: Some(topic.0).filter(|topic| !topic.is_empty()).into_iter().collect(),
            after,
            newest: newest.is_some(),
            count: newest.unwrap_or(PAGE as usize),
            ..of_person
        };
        let search = move |store: &EventStore| {
            let full = store.has_dropped(&query.session, now_ms);
            store.find(&query).map(|found| (found, full))
        };
        let (Found { events, more, next }, full) = self.with_events(search).await?;
        let events = events.into_iter().map(TimedEvent::from).collect();
        Ok(Json(Timeline { keep_seconds, events, more, next: next.to_string(), full }))
    }

    /// The id of a session that is named by its id or alias. One that has ended is named by its id.
    async fn session_id_of(&self, name: String) -> String {
        if name.is_empty() {
            return name;
        }
        match self.details(&name).await {
            Ok(details) => details.session.id.unwrap_or(name),
            Err(_) => name,
        }
    }

    async fn erase_from_timeline(
        self: Arc<Self>,
        call: Call<Nothing, Whom>,
    ) -> Result<Json<Erased>, ApiError> {
        let person = call.query.person.0;
        if person.is_empty() {
            return Err(bad("Missing person"));
        }
        let erased = self.with_events(move |store| store.erase(&person)).await?;
        Ok(Json(Erased { erased }))
    }
}
