//! Endpoints `sessions` and `sessions/ID`: all sessions, one, and its passwords.

use std::sync::Arc;

use actix_web::web::Bytes;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::answers::{Session, SessionDetails};
use super::endpoint::{Api, Call, Done, Json, List, ListVersion, Nothing};
use super::error::{ApiError, bad, not_found};
use super::new_session::NewSession;
use super::roles::Role;
use super::value::{Flag, Number, Size, Text};
use super::{AdminState, new_session};
use crate::actors::messages::{SessionHandle, ToSession};
use crate::actors::server::{FindActive, ListSessions, MakeFromTemplate, MakeSession, TellSessions};
use crate::blocking::Job;
use crate::rules::session::admin::{AdminRequest, check_texts};
use crate::rules::time::Timestamp;

pub(super) fn endpoints(api: &mut Api) {
    api.get("sessions", "Sessions and templates.", AdminState::sessions);
    api.put("sessions", "Sends a message to all sessions.", AdminState::tell_sessions).locked_by("sessions");
    api.post("sessions", "Creates a session without a host.", AdminState::create_session)
        .locked_by("sessions")
        .takes_pictures();
    api.get("sessions/{session}", "Everything about a session, by id or alias.", AdminState::session);
    api.put("sessions/{session}", "Changes a session.", AdminState::change_session).locked_by("sessions");
    api.delete("sessions/{session}", "Ends a session.", AdminState::end_session).locked_by("sessions");
    api.post("sessions/{session}/auth", "Verifies the session password.", AdminState::check_password);
    api.post("sessions/{session}/auth/op", "Verifies the operator password.", AdminState::check_opword);
}

/// The path of a session.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct SessionPath {
    /// Session id or alias.
    pub(super) session: String,
}

/// Which sessions, and the version of the answer.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct WhichSessions {
    /// Only listed sessions.
    listed: Option<Flag>,
    /// 2 for an object that also says whether this part of the API is locked.
    v: ListVersion,
}

/// A message to all users.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Tell {
    /// Shown in the chat.
    message: Text,
    /// Shown as an alert.
    alert: Text,
}

/// Nothing to say.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Told {}

/// Changes of a session. What is missing stays as it is.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
struct ChangeSession {
    /// Title.
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<Text>,
    /// Founder's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    founder: Option<Text>,
    /// Password, empty for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<Text>,
    /// Operator password, empty for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    opword: Option<Text>,
    /// Maximum number of users; beyond 2 to 254 the nearest.
    #[serde(skip_serializing)]
    max_user_count: Number<0, 1000>,
    /// It persists without users.
    #[serde(skip_serializing_if = "Option::is_none")]
    persistent: Option<Flag>,
    /// Not safe for minors.
    #[serde(skip_serializing_if = "Option::is_none")]
    nsfm: Option<Flag>,
    /// Only accounts may join.
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_only: Option<Flag>,
    /// Browsers may join.
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_web: Option<Flag>,
    /// Operators may make invites.
    #[serde(skip_serializing_if = "Option::is_none")]
    invites: Option<Flag>,
    /// Lists do not show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    unlisted: Option<Flag>,
    /// Trusted users may kick.
    #[serde(skip_serializing_if = "Option::is_none")]
    deputies: Option<Flag>,
    /// Chat is kept in the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    preserve_chat: Option<Flag>,
    /// Shown in the chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Text>,
    /// Shown as an alert.
    #[serde(skip_serializing_if = "Option::is_none")]
    alert: Option<Text>,
    /// The title is generated.
    #[serde(skip_serializing_if = "Option::is_none")]
    autotitle: Option<Flag>,
    /// Closed to new users.
    #[serde(skip_serializing_if = "Option::is_none")]
    closed: Option<Flag>,
    /// It has no idle limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_override: Option<Flag>,
    /// Its files are kept when it ends; null is the setting archive.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schemars(with = "Option<Flag>")]
    archive: Option<Option<Flag>>,
    /// Size at which an autoreset is requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    reset_threshold: Option<Size>,
    /// Maximum size of its history in bytes, 0 for that of the settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    override_size: Option<Size>,
}

/// A member whose null means something.
fn given<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// How a session ends.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct EndSession {
    /// Shown to its users.
    reason: Text,
    /// Connections stay open without a message; users draw on alone.
    quiet: Option<Flag>,
}

/// A password to verify.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Password {
    /// Password to verify.
    password: Text,
}

/// Whether a password is correct.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct PasswordCheck {
    /// The password is correct.
    status: bool,
}

/// Performs a request of an administrator in a session.
pub(super) async fn administer<T: DeserializeOwned>(
    session: &SessionHandle,
    request: AdminRequest,
) -> Result<T, ApiError> {
    let answer = session.ask(|answer| ToSession::Administer(request, answer)).await;
    converted(&answer.ok_or_else(not_found)??)
}

/// What a session has answered, as this API describes it.
pub(super) fn converted<T: DeserializeOwned>(answer: &impl Serialize) -> Result<T, ApiError> {
    serde_json::to_value(answer).and_then(serde_json::from_value).map_err(ApiError::internal)
}

impl AdminState {
    async fn sessions(
        self: Arc<Self>,
        call: Call<Nothing, WhichSessions>,
    ) -> Result<List<Session>, ApiError> {
        let listed_only = call.query.listed.is_some_and(|listed| listed.0);
        let sessions = self.descriptions(listed_only).await?;
        List::new(sessions, &call.query.v, self.is_locked("sessions"))
    }

    /// Descriptions of sessions and templates. Parsed here to spare the server actor's thread.
    pub(super) async fn descriptions(&self, listed_only: bool) -> Result<Vec<Session>, ApiError> {
        let texts = self.server.send(ListSessions { listed_only }).await?;
        let read = texts.iter().map(|text| serde_json::from_str(text));
        read.collect::<Result<_, _>>().map_err(ApiError::internal)
    }

    async fn tell_sessions(
        self: Arc<Self>,
        call: Call<Nothing, Nothing, Tell>,
    ) -> Result<Json<Told>, ApiError> {
        let (message, alert) = (call.body.message.0, call.body.alert.0);
        check_texts(&[&message, &alert])?;
        self.server.send(TellSessions { message, alert }).await?;
        Ok(Json(Told {}))
    }

    async fn create_session(
        self: Arc<Self>,
        call: Call<Nothing, Nothing, NewSession>,
    ) -> Result<Json<SessionDetails>, ApiError> {
        let session = if call.body.template.is_empty() || call.picture.is_some() {
            let make_session = match call.picture {
                None => new_session::read(call.body, self.rules().settings())?,
                Some(picture) => self.session_with_picture(call.body, picture).await?,
            };
            let id = self.server.send(make_session).await??;
            self.find_session(&id).await?
        } else if call.member_count > 1 {
            return Err(bad("template: everything else is in the template, no other member may be given"));
        } else {
            self.server.send(MakeFromTemplate { alias: call.body.template.0 }).await??
        };
        Ok(Json(administer(&session, AdminRequest::Describe).await?))
    }

    /// A session that begins with a picture.
    async fn session_with_picture(
        &self,
        wanted: NewSession,
        picture: Bytes,
    ) -> Result<MakeSession, ApiError> {
        let rules = self.rules();
        let job = new_session::picture_job(&wanted, rules.settings())?;
        let mut make_session = new_session::read(wanted, rules.settings())?;
        let importer = self.pictures.clone();
        let imported = self.blocking_pool.run(Job::FileIo, move || importer.import(&picture, &job)).await;
        let imported = imported.ok_or_else(|| ApiError::internal("reading the picture failed"))?;
        make_session.messages = imported?;
        Ok(make_session)
    }

    /// The actor of a session; loads it if it is stored.
    pub(super) async fn find_session(&self, name: &str) -> Result<SessionHandle, ApiError> {
        Ok(self.server.send(FindActive { name: name.to_owned() }).await??)
    }

    /// Performs a request of an administrator in the session of this id or alias.
    pub(super) async fn administer<T: DeserializeOwned>(
        &self,
        name: &str,
        request: AdminRequest,
    ) -> Result<T, ApiError> {
        administer(&self.find_session(name).await?, request).await
    }

    /// The description of a session.
    pub(super) async fn details(&self, name: &str) -> Result<SessionDetails, ApiError> {
        let mut details: SessionDetails = self.administer(name, AdminRequest::Describe).await?;
        details.locked = self.is_locked("sessions");
        Ok(details)
    }

    async fn session(self: Arc<Self>, call: Call<SessionPath>) -> Result<Json<SessionDetails>, ApiError> {
        let mut details = self.details(&call.path.session).await?;
        if call.who.role < Role::Moderator {
            details.invitelist.clear();
        }
        Ok(Json(details))
    }

    async fn change_session(
        self: Arc<Self>,
        call: Call<SessionPath, Nothing, ChangeSession>,
    ) -> Result<Json<SessionDetails>, ApiError> {
        let max_users = call.body.max_user_count.get("maxUserCount")?;
        let changes = serde_json::to_value(&call.body).map_err(ApiError::internal)?;
        let mut changes = changes.as_object().cloned().unwrap_or_else(Map::new);
        changes.extend(max_users.map(|count| ("maxUserCount".to_owned(), Value::from(count))));
        let configure = AdminRequest::Configure(changes);
        let mut details: SessionDetails = self.administer(&call.path.session, configure).await?;
        details.locked = self.is_locked("sessions");
        Ok(Json(details))
    }

    async fn end_session(
        self: Arc<Self>,
        call: Call<SessionPath, EndSession>,
    ) -> Result<Json<Done>, ApiError> {
        let quiet = call.query.quiet.is_some_and(|quiet| quiet.0);
        let end = AdminRequest::End { reason: call.query.reason.0, quiet };
        self.administer::<Value>(&call.path.session, end).await?;
        Ok(Done::ok())
    }

    async fn check_password(
        self: Arc<Self>,
        call: Call<SessionPath, Nothing, Password>,
    ) -> Result<Json<PasswordCheck>, ApiError> {
        self.try_session_password(call, false).await
    }

    async fn check_opword(
        self: Arc<Self>,
        call: Call<SessionPath, Nothing, Password>,
    ) -> Result<Json<PasswordCheck>, ApiError> {
        self.try_session_password(call, true).await
    }

    async fn try_session_password(
        &self,
        call: Call<SessionPath, Nothing, Password>,
        opword: bool,
    ) -> Result<Json<PasswordCheck>, ApiError> {
        let session = self.find_session(&call.path.session).await?;
        let now = Timestamp::now().monotonic_ms;
        let attempt = self.access.password_limiter.quick(call.who.source, now)?;
        let check = AdminRequest::CheckPassword { opword, password: call.body.password.0 };
        let checked: PasswordCheck = administer(&session, check).await?;
        if checked.status {
            attempt.refund();
        }
        Ok(Json(checked))
    }
}
