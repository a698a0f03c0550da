//! Endpoints to take back what was drawn: `sessions/ID/people` and `sessions/ID/undo` for the newest actions
//! of a person, `sessions/ID/everybody` and `sessions/ID/remove` for all of them, `sessions/ID/times` and
//! `sessions/ID/cut` for what everybody drew since a time, `sessions/ID/generations` and `sessions/ID/restore` for
//! earlier histories, `sessions/ID/compact` to make the history small. The same by links of operators is in `links`.

mod links;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::AdminState;
use super::endpoint::{Api, Call, Json, Nothing};
use super::error::{ApiError, bad, not_found};
use super::sessions::{SessionPath, converted};
use super::value::{Flag, MAX_EXACT, Number, Text, WholeNumber, time_of};
use crate::actors::messages::{HistoryRequest, RemovePerson, SessionHandle, ToSession};
use crate::rules::session::admin::AdminRequest;
use crate::rules::session::admin::histories::{
    CutBack, Everybody, Generations, People, Removed, Restored, Times, Undone,
};
use crate::rules::session::{Asker, UndoRequest};

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
        "Everybody who was in it since the last reset, or the one before, with when and how much they drew.",
        AdminState::everybody,
    );
    api.post(
        "sessions/{session}/remove",
        "Removes what a person drew, or reports what that would mean.",
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
    api.post(
        "sessions/{session}/compact",
        "Replaces its history by an image of its canvas, so that joining is quick. Needs a program that makes it: \
         `--canvas-renderer`. Nothing before can be undone; the present history is kept as the newest earlier one.",
        AdminState::compact,
    )
    .locked_by("sessions")
    .ends_with_connection();
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
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    since: Option<Text>,
    /// Also what they drew before the last reset. Without it if they drew there and the reset kept the canvas; with true
    /// it is refused if that is not possible.
    across_reset: Option<Flag>,
    /// Only report.
    dry_run: Option<Flag>,
}

/// A time to cut back to.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["until"]))]
struct Cut {
    /// What was drawn up to the end of this second stays; ISO 8601 with a time zone.
    #[schemars(with = "String", extend("format" = "date-time"))]
    until: Option<Text>,
    /// Only report.
    dry_run: Option<Flag>,
}

/// Which earlier history.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Restore {
    /// Number; the newest without it.
    generation: Number<0, { u32::MAX as i64 }>,
}

/// The person that a request names.
fn person_of(person: &Number<0, MAX_EXACT>) -> Result<i64, ApiError> {
    person.get("person").ok().flatten().ok_or_else(|| bad("Missing or invalid person"))
}

fn is_set(flag: Option<Flag>) -> bool {
    flag.is_some_and(|flag| flag.0)
}

impl UndoActions {
    fn request(self, by: &Asker) -> Result<AdminRequest, ApiError> {
        let UndoActions { person, name, count, redo } = self;
        Ok(AdminRequest::Undo(UndoRequest {
            person: person_of(&person)?,
            name: name.map(|name| name.0),
            count: count.get("count")?.and_then(|count| usize::try_from(count).ok()),
            redo: is_set(redo),
            by: by.name.clone(),
            link: by.link.clone(),
        }))
    }
}

impl Remove {
    fn request(self, by: &Asker) -> Result<HistoryRequest, ApiError> {
        let Remove { person, name, since, across_reset, dry_run } = self;
        Ok(HistoryRequest::RemovePerson(RemovePerson {
            person: person_of(&person)?,
            name: name.map(|name| name.0),
            since_ms: since.map(|since| time_of("since", &since.0)).transpose()?,
            across_reset: across_reset.map(|flag| flag.0),
            dry_run: is_set(dry_run),
            by: by.clone(),
        }))
    }
}

impl Cut {
    fn request(self, by: &Asker) -> Result<HistoryRequest, ApiError> {
        let Cut { until, dry_run } = self;
        let until = until.ok_or_else(|| bad("Missing until"))?;
        let (until_ms, dry_run) = (time_of("until", &until.0)?, is_set(dry_run));
        Ok(HistoryRequest::CutBack { until_ms, dry_run, by: by.clone() })
    }
}

impl Restore {
    fn request(&self, by: &Asker) -> Result<HistoryRequest, ApiError> {
        let number = self.generation.get("generation")?;
        let generation = number.and_then(|number| u32::try_from(number).ok());
        Ok(HistoryRequest::GoBack { generation, by: by.clone() })
    }
}

/// Performs a request about other histories of a session.
async fn histories<T: DeserializeOwned>(
    session: &SessionHandle,
    request: HistoryRequest,
) -> Result<T, ApiError> {
    let answer = session.ask(|answer| ToSession::Histories(request, answer)).await;
    converted(&answer.ok_or_else(not_found)??)
}

impl AdminState {
    async fn people(self: Arc<Self>, call: Call<SessionPath>) -> Result<Json<People>, ApiError> {
        self.administer(&call.path.session, AdminRequest::People).await.map(Json)
    }

    async fn undo(
        self: Arc<Self>,
        call: Call<SessionPath, Nothing, UndoActions>,
    ) -> Result<Json<Undone>, ApiError> {
        let request = call.body.request(&Asker::administrator())?;
        self.administer(&call.path.session, request).await.map(Json)
    }

    async fn everybody(self: Arc<Self>, call: Call<SessionPath>) -> Result<Json<Everybody>, ApiError> {
        self.histories(&call.path.session, HistoryRequest::ListEverybody).await.map(Json)
    }

    async fn remove_person(
        self: Arc<Self>,
        call: Call<SessionPath, Nothing, Remove>,
    ) -> Result<Json<Removed>, ApiError> {
        let request = call.body.request(&Asker::administrator())?;
        self.histories(&call.path.session, request).await.map(Json)
    }

    async fn times(self: Arc<Self>, call: Call<SessionPath>) -> Result<Json<Times>, ApiError> {
        self.histories(&call.path.session, HistoryRequest::ListTimes).await.map(Json)
    }

    async fn cut_back(
        self: Arc<Self>,
        call: Call<SessionPath, Nothing, Cut>,
    ) -> Result<Json<CutBack>, ApiError> {
        let request = call.body.request(&Asker::administrator())?;
        self.histories(&call.path.session, request).await.map(Json)
    }

    async fn generations(self: Arc<Self>, call: Call<SessionPath>) -> Result<Json<Generations>, ApiError> {
        self.histories(&call.path.session, HistoryRequest::ListGenerations).await.map(Json)
    }

    async fn restore(
        self: Arc<Self>,
        call: Call<SessionPath, Nothing, Restore>,
    ) -> Result<Json<Restored>, ApiError> {
        let request = call.body.request(&Asker::administrator())?;
        self.histories(&call.path.session, request).await.map(Json)
    }

    async fn compact(self: Arc<Self>, call: Call<SessionPath>) -> Result<Json<Restored>, ApiError> {
        let request = HistoryRequest::Compact { by: Asker::administrator() };
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
