//! Endpoints to take back what was drawn: `sessions/ID/people` and `sessions/ID/undo` for the newest actions
//! of a person, `sessions/ID/everybody` and `sessions/ID/remove` for all of them, `sessions/ID/times` and
//! `sessions/ID/cut` for what everybody drew since a time, `sessions/ID/generations` and `sessions/ID/restore` for
//! earlier histories. The same by links of operators is in `links`.

mod links;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::AdminState;
use super::endpoint::{Api, Call, Json, Nothing};
use super::error::{ApiError, bad, not_found};
use super::sessions::SessionPath;
use super::value::{Flag, MAX_EXACT, Number, Text, WholeNumber};
use crate::actors::messages::{HistoryRequest, RemovePerson, SessionHandle, ToSession};
use crate::rules::session::UndoRequest;
use crate::rules::session::admin::{ADMINISTRATOR, AdminRequest};
use crate::rules::undo::rebuild::RemovalReport;

pub(super) fn endpoints(api: &mut Api) {
    links::endpoints(api);
    api.get(
        "sessions/{session}/people",
        "Who drew in it, also those who left, with what can be undone of each.",
        AdminState::people,
    );
    api.post(
        "sessions/{session}/undo",
        "Undoes or redoes the newest actions of a person for everybody.",
        AdminState::undo,
    )
    .locked_by("sessions");
    api.get(
        "sessions/{session}/everybody",
        "Everybody who was in it since the last reset.",
        AdminState::everybody,
    );
    api.post(
        "sessions/{session}/remove",
        "Removes what a person drew since the last reset, or reports what that would mean.",
        AdminState::remove_person,
    )
    .locked_by("sessions");
    api.get("sessions/{session}/times", "The times that its history can be cut back to.", AdminState::times);
    api.post(
        "sessions/{session}/cut",
        "Cuts its history back to a time, or reports what that would mean.",
        AdminState::cut_back,
    )
    .locked_by("sessions");
    api.get(
        "sessions/{session}/generations",
        "Its earlier histories, which resets have replaced.",
        AdminState::generations,
    );
    api.post(
        "sessions/{session}/restore",
        "Goes back to an earlier history; the present one is kept as the newest earlier one.",
        AdminState::restore,
    )
    .locked_by("sessions");
}

/// Somebody who drew lately.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Person {
    #[serde(flatten)]
    who: Somebody,
    /// How many of the newest actions can be undone.
    undoable: u64,
    /// How many undone actions can be redone.
    redoable: u64,
    /// Why nothing can be undone; empty if something can.
    reason: String,
}

/// Somebody who was in a session.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Somebody {
    /// Identifies the person in this session.
    person: i64,
    /// User id; after a leave somebody else may get it.
    id: u8,
    /// Name; empty if unknown.
    name: String,
    /// An account.
    auth: bool,
    /// Still there.
    online: bool,
    /// Actions since the last reset.
    actions: u64,
}

/// Who drew lately.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct People {
    /// Who is there, and who left and drew lately.
    people: Vec<Person>,
    /// How many of the newest actions of everybody can be undone.
    undo_depth: u64,
    /// The canvas is locked.
    canvas_locked: bool,
}

/// What is to be undone.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["person"]))]
struct UndoActions {
    /// The person, from the list of people.
    #[schemars(with = "WholeNumber<0, MAX_EXACT>")]
    person: Number<0, MAX_EXACT>,
    /// The person's name: refused if it is somebody else by now.
    name: Option<Text>,
    /// How many actions; all that can be reached without it.
    count: Number<1, MAX_EXACT>,
    /// Redo what was undone.
    redo: Option<Flag>,
}

/// What was undone.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Undone {
    /// ok.
    status: String,
    /// Actions that were undone or redone.
    count: u64,
    /// Actions that still can be.
    left: u64,
}

/// Everybody since the last reset.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Everybody {
    /// In the order of joining.
    people: Vec<Somebody>,
}

/// Who is to be removed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["person"]))]
struct Remove {
    /// The person, from a list of people.
    #[schemars(with = "WholeNumber<0, MAX_EXACT>")]
    person: Number<0, MAX_EXACT>,
    /// The person's name: refused if it is somebody else by now.
    name: Option<Text>,
    /// Only what they drew since this time, in ISO 8601 with a time zone; everything without it.
    since: Option<Text>,
    /// Only report.
    dry_run: Option<Flag>,
}

/// What was removed, or would be.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Removed {
    /// ok.
    status: String,
    /// Name of the person.
    name: String,
    /// What goes, and what that means.
    report: RemovalReport,
    /// The session is stored: one can go back to before it.
    stored: bool,
    /// What everybody is sent in bytes; not in a report.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

/// A time that the history can be cut back to.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Time {
    /// UTC.
    at: String,
    /// Size of the history then, in bytes.
    size: u64,
    /// Number of messages then.
    messages: u64,
}

/// The times that a history can be cut back to.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Times {
    /// Oldest first: where the history begins, and at most 199 of the seconds in which something came. All times since
    /// the first are possible.
    times: Vec<Time>,
    /// The session is stored: one can go back to before a cut.
    stored: bool,
}

/// A time to cut back to.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["until"]))]
struct Cut {
    /// What was drawn up to the end of this second stays; ISO 8601 with a time zone.
    until: Option<Text>,
    /// Only report.
    dry_run: Option<Flag>,
}

/// Somebody whose actions go.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct CutPerson {
    /// User id.
    id: u8,
    /// Name; empty if unknown.
    name: String,
    /// Their actions that go.
    actions: u64,
}

/// What cutting back means.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct CutReport {
    /// Actions that go, undone ones included.
    actions: u64,
    /// Drawing messages that go.
    messages: u64,
    /// Their size.
    bytes: u64,
    /// Whose actions go, most first; at most 50.
    people: Vec<CutPerson>,
}

/// What was cut off, or would be.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct CutBack {
    /// ok.
    status: String,
    /// The time; UTC.
    until: String,
    /// What goes.
    report: CutReport,
    /// The session is stored: one can go back to before it.
    stored: bool,
    /// What everybody is sent in bytes; not in a report.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

/// An earlier history.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Generation {
    /// Number.
    generation: u32,
    /// Size in bytes.
    size: u64,
    /// When it began; UTC, empty if unknown.
    from: String,
    /// When it was last written, which is when a reset replaced it; UTC.
    until: String,
}

/// The last reset since the session was loaded.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct LastReset {
    /// UTC.
    at: String,
    /// Name of whoever made it.
    by: String,
    /// streamed, current, past, external, reset (unknown), or restored: made by the server.
    kind: String,
    /// What looks wrong about it: noCanvas, noLayers, blank, smallerCanvas, muchSmaller, outdated.
    looks_wrong: Vec<String>,
    /// The same in words; empty if nothing does.
    reason: String,
}

/// Earlier histories.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Generations {
    /// Newest first.
    generations: Vec<Generation>,
    /// The session is stored; others have no earlier histories.
    stored: bool,
    /// The last reset, if there was one since the session was loaded.
    #[serde(rename = "lastReset")]
    last_reset: Option<LastReset>,
}

/// Which earlier history.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Restore {
    /// Number; the newest without it.
    generation: Number<0, { u32::MAX as i64 }>,
}

/// An earlier history is in place.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Restored {
    /// ok.
    status: String,
    /// Size in bytes.
    size: u64,
}

/// The person that a request names.
fn person_of(person: &Number<0, MAX_EXACT>) -> Result<i64, ApiError> {
    person.get("person").ok().flatten().ok_or_else(|| bad("Missing or invalid person"))
}

/// A time of a request in milliseconds since 1970.
fn time_of(name: &str, text: &str) -> Result<i64, ApiError> {
    let time = text.parse::<jiff::Timestamp>();
    time.map(jiff::Timestamp::as_millisecond).map_err(|_| bad(format!("Invalid time: {name}")))
}

fn is_set(flag: Option<Flag>) -> bool {
    flag.is_some_and(|flag| flag.0)
}

impl UndoActions {
    fn request(self, by: &str) -> Result<AdminRequest, ApiError> {
        let UndoActions { person, name, count, redo } = self;
        Ok(AdminRequest::Undo(UndoRequest {
            person: person_of(&person)?,
            name: name.map(|name| name.0),
            count: count.get("count")?.and_then(|count| usize::try_from(count).ok()),
            redo: is_set(redo),
            by: by.to_owned(),
        }))
    }
}

impl Remove {
    fn request(self, by: &str) -> Result<HistoryRequest, ApiError> {
        let Remove { person, name, since, dry_run } = self;
        Ok(HistoryRequest::RemovePerson(RemovePerson {
            person: person_of(&person)?,
            name: name.map(|name| name.0),
            since_ms: since.map(|since| time_of("since", &since.0)).transpose()?,
            dry_run: is_set(dry_run),
            by: by.to_owned(),
        }))
    }
}

impl Cut {
    fn request(self, by: &str) -> Result<HistoryRequest, ApiError> {
        let Cut { until, dry_run } = self;
        let until = until.ok_or_else(|| bad("Missing until"))?;
        let (until_ms, dry_run) = (time_of("until", &until.0)?, is_set(dry_run));
        Ok(HistoryRequest::CutBack { until_ms, dry_run, by: by.to_owned() })
    }
}

impl Restore {
    fn request(&self, by: &str) -> Result<HistoryRequest, ApiError> {
        let number = self.generation.get("generation")?;
        let generation = number.and_then(|number| u32::try_from(number).ok());
        Ok(HistoryRequest::GoBack { generation, by: by.to_owned() })
    }
}

/// Performs a request about other histories of a session.
async fn histories<T: DeserializeOwned>(
    session: &SessionHandle,
    request: HistoryRequest,
) -> Result<T, ApiError> {
    let answer = session.ask(|answer| ToSession::Histories(request, answer)).await;
    serde_json::from_value(answer.ok_or_else(not_found)??).map_err(ApiError::internal)
}

impl AdminState {
    async fn people(self: Arc<Self>, call: Call<SessionPath>) -> Result<Json<People>, ApiError> {
        self.administer(&call.path.session, AdminRequest::People).await.map(Json)
    }

    async fn undo(
        self: Arc<Self>,
        call: Call<SessionPath, Nothing, UndoActions>,
    ) -> Result<Json<Undone>, ApiError> {
        let request = call.body.request(ADMINISTRATOR)?;
        self.administer(&call.path.session, request).await.map(Json)
    }

    async fn everybody(self: Arc<Self>, call: Call<SessionPath>) -> Result<Json<Everybody>, ApiError> {
        self.histories(&call.path.session, HistoryRequest::ListEverybody).await.map(Json)
    }

    async fn remove_person(
        self: Arc<Self>,
        call: Call<SessionPath, Nothing, Remove>,
    ) -> Result<Json<Removed>, ApiError> {
        let request = call.body.request(ADMINISTRATOR)?;
        self.histories(&call.path.session, request).await.map(Json)
    }

    async fn times(self: Arc<Self>, call: Call<SessionPath>) -> Result<Json<Times>, ApiError> {
        self.histories(&call.path.session, HistoryRequest::ListTimes).await.map(Json)
    }

    async fn cut_back(
        self: Arc<Self>,
        call: Call<SessionPath, Nothing, Cut>,
    ) -> Result<Json<CutBack>, ApiError> {
        let request = call.body.request(ADMINISTRATOR)?;
        self.histories(&call.path.session, request).await.map(Json)
    }

    async fn generations(self: Arc<Self>, call: Call<SessionPath>) -> Result<Json<Generations>, ApiError> {
        self.histories(&call.path.session, HistoryRequest::ListGenerations).await.map(Json)
    }

    async fn restore(
        self: Arc<Self>,
        call: Call<SessionPath, Nothing, Restore>,
    ) -> Result<Json<Restored>, ApiError> {
        let request = call.body.request(ADMINISTRATOR)?;
        self.histories(&call.path.session, request).await.map(Json)
    }

    /// Performs a request about other histories of the session of this id or alias.
    async fn histories<T: DeserializeOwned>(
        &self,
        name: &str,
        request: HistoryRequest,
    ) -> Result<T, ApiError> {
        histories(&self.find_session(name).await?, request).await
    }
}
