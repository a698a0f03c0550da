//! The API's errors: status and message of an error response, and which status each error of the server has.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde_json::json;

use crate::db::DbError;
use crate::pictures::PictureError;
use crate::renderer::RenderError;
use crate::rules::session::admin::AdminError;
use crate::web::password_limiter::AttemptRefused;

/// An error response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) message: String,
    /// The message is in `msg`, too, where drawpile-srv's frontends read it from there.
    is_in_msg: bool,
    /// Further members of the response.
    details: Vec<(&'static str, String)>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> ApiError {
        ApiError { status, message: message.into(), is_in_msg: false, details: Vec::new() }
    }

    /// The same with the message in `msg`, too.
    pub(super) fn with_msg(self) -> ApiError {
        ApiError { is_in_msg: true, ..self }
    }

    /// The same with a further member.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> ApiError {
        self.details.push((name, value.into()));
        self
    }

    /// The server cannot do it, for a reason that is not in the request.
    pub(super) fn internal(error: impl ToString) -> ApiError {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }

    /// The error response, `{"status": "error", "message": ...}`.
    pub(super) fn response(&self) -> HttpResponse {
        let mut body = json!({"status": "error", "message": self.message});
        if self.is_in_msg {
            body["msg"] = self.message.as_str().into();
        }
        for (name, value) in &self.details {
            body[*name] = value.as_str().into();
        }
        HttpResponse::build(self.status).json(body)
    }
}

/// The object of a request does not exist.
pub(super) fn not_found() -> ApiError {
    AdminError::NotFound.into()
}

/// The request is invalid.
pub(super) fn bad(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, message)
}

/// The server cannot do it now, but can later.
pub(super) fn unavailable(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message)
}

/// The request was given up because nobody waits for the answer.
pub(super) fn connection_closed() -> ApiError {
    unavailable("The connection was closed, or much more than a request was sent")
}

/// The request is refused to whoever sends it.
pub(super) fn forbidden(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, message)
}

impl From<AdminError> for ApiError {
    fn from(error: AdminError) -> ApiError {
        let status = match &error {
            AdminError::NotFound | AdminError::NoThumbnail | AdminError::ChatNotJoined => {
                StatusCode::NOT_FOUND
            }
            AdminError::LinkInvalid => StatusCode::FORBIDDEN,
            AdminError::ThumbnailPending
            | AdminError::ChatAlreadyJoined
            | AdminError::TooManySessions
            | AdminError::SessionExists(_)
            | AdminError::OnOtherServer(_)
            | AdminError::NotRunning
            | AdminError::NotPossible(_)
            | AdminError::PeopleOutdated
            | AdminError::ResetMeanwhile
            | AdminError::NotStored => StatusCode::CONFLICT,
            AdminError::NoThumbnailCapability
            | AdminError::TimeoutTooShort(_)
            | AdminError::TimeoutTooLong(_)
            | AdminError::TextTooLong
            | AdminError::PasswordTooLong
            | AdminError::TooManyInvites
            | AdminError::NoTemplate(_) => StatusCode::BAD_REQUEST,
            AdminError::NotCreated
            | AdminError::NotCreatedFromTemplate
            | AdminError::HistoryUnreadable(_) => StatusCode::INTERNAL_SERVER_ERROR,
            AdminError::Unreadable(_)
            | AdminError::Stopping
            | AdminError::Busy
            | AdminError::RendererBusy(_)
            | AdminError::RendererLacksSpace(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        ApiError::new(status, error.to_string())
    }
}

impl From<PictureError> for ApiError {
    fn from(error: PictureError) -> ApiError {
        match error {
            PictureError::TooLarge => ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
            PictureError::Refused(_) => bad(format!("picture: {error}")),
            PictureError::Start(_) | PictureError::Timeout | PictureError::Failed(_) => {
                tracing::warn!("{error}");
                ApiError::internal(error)
            }
        }
    }
}

impl From<RenderError> for ApiError {
    fn from(error: RenderError) -> ApiError {
        let status = match error {
            RenderError::NoProgram
            | RenderError::NoFfmpeg
            | RenderError::TooLarge
            | RenderError::ResultTooLarge
            | RenderError::FramesTooLarge
            | RenderError::Unknown(_)
            | RenderError::Refused(_) => StatusCode::CONFLICT,
            RenderError::Busy | RenderError::NoSpace | RenderError::Cancelled => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            RenderError::Start(_)
            | RenderError::Timeout
            | RenderError::TooMuchWritten
            | RenderError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        ApiError::new(status, error.to_string())
    }
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> ApiError {
        ApiError::internal(error)
    }
}

/// An actor that answers no more has ended: a session, or everything when the server stops.
impl From<actix::MailboxError> for ApiError {
    fn from(_: actix::MailboxError) -> ApiError {
        not_found()
    }
}

impl From<AttemptRefused> for ApiError {
    fn from(refused: AttemptRefused) -> ApiError {
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, refused.message())
    }
}
