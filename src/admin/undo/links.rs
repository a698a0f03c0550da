//! Endpoints `operator/SESSION/...`: what operators of a session can do with the link that they get after a kick or
//! ban. A request is authorized by the token of the link, in the header `Authorization: Bearer TOKEN`.
//!
//! Whatever is wrong with a link has the same answer, 403: nobody learns which sessions exist. Such answers count as
//! failed logins of the address.

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::AUTHORIZATION;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Map;

use super::{
    Cut, CutBack, Everybody, Generations, People, Remove, Removed, Restore, Restored, Times, UndoActions,
    Undone, histories,
};
use crate::actors::messages::{HistoryRequest, SessionHandle, ToSession};
use crate::actors::server::FindRunning;
use crate::admin::AdminState;
use crate::admin::endpoint::{Api, Call, Json, Nothing};
use crate::admin::error::ApiError;
use crate::admin::request::{audit, described};
use crate::admin::sessions::{SessionPath, administer};
use crate::rules::session::admin::{AdminError, AdminRequest};
use crate::rules::session::{Asker, LinkHolder, LinkToken};
use crate::rules::time::Timestamp;

pub(super) fn endpoints(api: &mut Api) {
    api.get("operator/{session}", "Whose link it is, and how long it is valid.", AdminState::link)
        .is_for_links();
    api.get("operator/{session}/people", "As sessions/{session}/people.", AdminState::people_by_link)
        .is_for_links();
    api.post("operator/{session}/undo", "As sessions/{session}/undo.", AdminState::undo_by_link)
        .is_for_links();
    api.get(
        "operator/{session}/everybody",
        "As sessions/{session}/everybody.",
        AdminState::everybody_by_link,
    )
    .is_for_links();
    api.post("operator/{session}/remove", "As sessions/{session}/remove.", AdminState::remove_by_link)
        .is_for_links();
    api.get("operator/{session}/times", "As sessions/{session}/times.", AdminState::times_by_link)
        .is_for_links();
    api.post("operator/{session}/cut", "As sessions/{session}/cut.", AdminState::cut_by_link).is_for_links();
    api.get(
        "operator/{session}/generations",
        "As sessions/{session}/generations.",
        AdminState::generations_by_link,
    )
    .is_for_links();
    api.post("operator/{session}/restore", "As sessions/{session}/restore.", AdminState::restore_by_link)
        .is_for_links();
}

/// A link that is valid.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Link {
    /// The operator whose link it is.
    name: String,
    /// Title of the session.
    title: String,
    /// How long the link is valid, in seconds.
    seconds_left: u64,
}

/// An operator who uses a link.
struct Operator {
    session: SessionHandle,
    holder: LinkHolder,
    token: LinkToken,
    /// For the log.
    address: String,
}

impl Operator {
    /// The name for the event log and the other users.
    fn name(&self) -> String {
        format!("{} through their link", self.holder.name)
    }

    /// Who asks: the session checks the link again before it changes anything.
    fn asker(&self) -> Asker {
        Asker { name: self.name(), link: Some(self.token.clone()) }
    }

    /// Logs what was done or not.
    fn audit<T>(&self, http: &HttpRequest, done: &Result<T, ApiError>) {
        let who = format!("{} from {}", self.name(), self.address);
        audit(&described(http, &Map::new()), &who, done.as_ref().err());
    }
}

/// The token of a request.
fn token_of(http: &HttpRequest) -> Option<LinkToken> {
    let (scheme, token) = http.headers().get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| LinkToken(token.trim().to_owned()))
}

impl AdminState {
    /// Who sends a request with a link.
    ///
    /// # Errors
    /// 401 without a token, 403 if the link is not valid for this session, 429 when the rate limit of the address is reached.
    async fn operator<B>(&self, call: &Call<SessionPath, Nothing, B>) -> Result<Operator, ApiError> {
        let token = token_of(&call.http).ok_or_else(|| {
            ApiError::new(
                StatusCode::UNAUTHORIZED,
                "The token of a link is needed: open the link as it was sent",
            )
        })?;
        let (source, now) = (call.who.source, Timestamp::now().monotonic_ms);
        if !self.access.takes_link_request(source, now) {
            let message = "Too many requests, try again in a minute";
            return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, message));
        }
        let attempt = self.access.password_limiter.quick(source, now)?;
        let name = call.path.session.clone();
        let session = self.server.send(FindRunning { name }).await?.ok_or(AdminError::LinkInvalid)?;
        let holder =
            session.ask(|answer| ToSession::FindOperator { token: token.0.clone(), answer }).await.flatten();
        let holder = holder.ok_or(AdminError::LinkInvalid)?;
        attempt.refund();
        Ok(Operator { session, holder, token, address: source.ip().to_string() })
    }

    async fn link(self: Arc<Self>, call: Call<SessionPath>) -> Result<Json<Link>, ApiError> {
        let LinkHolder { name, title, seconds_left } = self.operator(&call).await?.holder;
        Ok(Json(Link { name, title, seconds_left }))
    }

    async fn people_by_link(self: Arc<Self>, call: Call<SessionPath>) -> Result<Json<People>, ApiError> {
        let operator = self.operator(&call).await?;
        administer(&operator.session, AdminRequest::People).await.map(Json)
    }

    async fn undo_by_link(
        self: Arc<Self>,
        call: Call<SessionPath, Nothing, UndoActions>,
    ) -> Result<Json<Undone>, ApiError> {
        let operator = self.operator(&call).await?;
        let done = match call.body.request(&operator.asker()) {
            Ok(request) => administer(&operator.session, request).await,
            Err(error) => Err(error),
        };
        operator.audit(&call.http, &done);
        done.map(Json)
    }

    async fn everybody_by_link(
        self: Arc<Self>,
        call: Call<SessionPath>,
    ) -> Result<Json<Everybody>, ApiError> {
        let operator = self.operator(&call).await?;
        histories(&operator.session, HistoryRequest::ListEverybody).await.map(Json)
    }

    /// Makes a change of the history by link, which is logged.
    async fn change_by_link<B, T: DeserializeOwned>(
        &self,
        call: Call<SessionPath, Nothing, B>,
        request: impl FnOnce(B, &Asker) -> Result<HistoryRequest, ApiError>,
    ) -> Result<Json<T>, ApiError> {
        let operator = self.operator(&call).await?;
        let done = match request(call.body, &operator.asker()) {
            Ok(request) => histories(&operator.session, request).await,
            Err(error) => Err(error),
        };
        operator.audit(&call.http, &done);
        done.map(Json)
    }

    async fn remove_by_link(
        self: Arc<Self>,
        call: Call<SessionPath, Nothing, Remove>,
    ) -> Result<Json<Removed>, ApiError> {
        self.change_by_link(call, |body, by| body.request(by)).await
    }

    async fn times_by_link(self: Arc<Self>, call: Call<SessionPath>) -> Result<Json<Times>, ApiError> {
        let operator = self.operator(&call).await?;
        histories(&operator.session, HistoryRequest::ListTimes).await.map(Json)
    }

    async fn cut_by_link(
        self: Arc<Self>,
        call: Call<SessionPath, Nothing, Cut>,
    ) -> Result<Json<CutBack>, ApiError> {
        self.change_by_link(call, |body, by| body.request(by)).await
    }

    async fn generations_by_link(
        self: Arc<Self>,
        call: Call<SessionPath>,
    ) -> Result<Json<Generations>, ApiError> {
        let operator = self.operator(&call).await?;
        histories(&operator.session, HistoryRequest::ListGenerations).await.map(Json)
    }

    async fn restore_by_link(
        self: Arc<Self>,
        call: Call<SessionPath, Nothing, Restore>,
    ) -> Result<Json<Restored>, ApiError> {
        self.change_by_link(call, |body, by| body.request(by)).await
    }
}
