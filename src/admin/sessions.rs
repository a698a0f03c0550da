//! Endpoints `sessions`: all sessions, and everything in one.

use serde_json::{Map, Value, json};

use super::access::too_many;
use super::operation::{Answer, Body, Field, Operation, bool, number, text};
use super::request::{Method, Request, bad, not_found, unsupported};
use super::schemas::{
    CHAT, CORRELATOR, INVITE, INVITES, LISTING, NOTHING, PASSWORD_CHECK, SESSION, SESSION_DETAILS, THUMBNAIL,
    USER,
};
use super::{AdminState, new_session, undo};
use crate::actors::messages::{SessionHandle, ToSession};
use crate::actors::server::{FindActive, ListSession, ListSessions, MakeFromTemplate, TellSessions};
use crate::rules::session::admin::{AdminAnswer, AdminError, AdminRequest, check_texts};
use crate::rules::session::thumbnail::PictureWish;
use crate::rules::time::Timestamp;

/// Default time after which an administrator who does not read the chat leaves it, in milliseconds.
const CHAT_TIMEOUT: u64 = 300_000;

const MESSAGE: Field = text("message", "Shown in the chat.");
const ALERT: Field = text("alert", "Shown as an alert.");

/// Members that requests to create and to change a session share.
macro_rules! session_members {
    ($($more:expr),* $(,)?) => {
        &[
            text("title", "Title."),
            text("founder", "Founder's name."),
            text("password", "Password, empty for none."),
            text("opword", "Operator password, empty for none."),
            number("maxUserCount", "Maximum number of users, 2 to 254."),
            bool("persistent", "It persists without users."),
            bool("nsfm", "Not safe for minors."),
            bool("authOnly", "Only accounts may join."),
            bool("allowWeb", "Browsers may join."),
            bool("invites", "Operators may make invites."),
            bool("unlisted", "Lists do not show it."),
            bool("deputies", "Trusted users may kick."),
            bool("preserveChat", "Chat is kept in the history."),
            $($more),*
        ]
    };
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::get("sessions", "Sessions and templates.", Answer::Many(&SESSION, "sessions"))
        .query(&[bool("listed", "Only listed sessions.")]),
    Operation::put("sessions", "Sends a message to all sessions.", Answer::One(&NOTHING))
        .locked_by("sessions")
        .body(Body::Fields(&[MESSAGE, ALERT])),
    Operation::post("sessions", "Creates a session without a host.", Answer::One(&SESSION_DETAILS))
        .locked_by("sessions")
        .body(Body::Fields(session_members![
            text("template", "Alias of a template; no other member may be given then."),
            text("alias", "1 to 32 letters, digits and -."),
            number("width", "Pixels of the canvas."),
            number("height", "Pixels of the canvas."),
            text("background", "#rrggbb or #aarrggbb."),
            number("layers", "1 to 100."),
            text("protocol", "Protocol version, such as dp:4.24.0."),
        ])),
    Operation::get(
        "sessions/{session}",
        "Everything about a session, by id or alias.",
        Answer::One(&SESSION_DETAILS),
    ),
    Operation::put("sessions/{session}", "Changes a session.", Answer::One(&SESSION_DETAILS))
        .locked_by("sessions")
        .body(Body::Fields(session_members![
            MESSAGE,
            ALERT,
            bool("autotitle", "The title is generated."),
            bool("closed", "Closed to new users."),
            bool("idleOverride", "It has no idle limit."),
            bool("archive", "Its files are kept when it ends; null is the setting archive.").nullable(),
            number("resetThreshold", "Size at which an autoreset is requested."),
            number("overrideSize", "Maximum size of its history in bytes, 0 for that of the settings."),
        ])),
    Operation::delete("sessions/{session}", "Ends a session.", Answer::Done).locked_by("sessions").query(&[
        text("reason", "Shown to its users."),
        bool("quiet", "Connections stay open without a message; users draw on alone."),
    ]),
    Operation::get(
        "sessions/{session}/listing",
        "Where it is announced.",
        Answer::Many(&LISTING, "listings"),
    ),
    Operation::post("sessions/{session}/listing", "Announces it at a list server.", Answer::Done)
        .locked_by("sessions")
        .body(Body::Fields(&[text("url", "URL of the list server's API.").required()])),
    Operation::delete("sessions/{session}/listing/{listing}", "Removes it from a list server.", Answer::Done)
        .locked_by("sessions"),
    Operation::post(
        "sessions/{session}/auth",
        "Verifies the session password.",
        Answer::One(&PASSWORD_CHECK),
    )
    .body(Body::Fields(&[text("password", "Password to verify.")])),
    Operation::post(
        "sessions/{session}/auth/op",
        "Verifies the operator password.",
        Answer::One(&PASSWORD_CHECK),
    )
    .body(Body::Fields(&[text("password", "Password to verify.")])),
    Operation::get("sessions/{session}/chat", "Chat since the administrator joined.", Answer::One(&CHAT))
        .query(&[number("offset", "Number of the first message to return.")]),
    Operation::post("sessions/{session}/chat", "The administrator joins the chat.", Answer::One(&CHAT))
        .locked_by("sessions")
        .body(Body::Fields(&[
            MESSAGE,
            number(
                "timeout",
                "Milliseconds without reading after which the administrator leaves, 30000 to 900000.",
            ),
        ])),
    Operation::put("sessions/{session}/chat", "Sends an alert and returns new messages.", Answer::One(&CHAT))
        .locked_by("sessions")
        .body(Body::Fields(&[MESSAGE, number("offset", "Number of the first message to return.")])),
    Operation::delete("sessions/{session}/chat", "The administrator leaves the chat.", Answer::One(&CHAT))
        .locked_by("sessions")
        .query(&[MESSAGE, number("offset", "Number of the first message to return.")]),
    Operation::get("sessions/{session}/invites", "Its invites.", Answer::One(&INVITES)),
    Operation::post("sessions/{session}/invites", "Creates an invite.", Answer::One(&INVITE))
        .locked_by("sessions")
        .body(Body::Fields(&[
            number("maxUses", "How often it can be used, 1 at least.").required(),
            bool("trust", "Whoever uses it is trusted."),
            bool("op", "Whoever uses it is operator."),
        ])),
    Operation::get("sessions/{session}/invites/{secret}", "An invite.", Answer::One(&INVITE)),
    Operation::delete("sessions/{session}/invites/{secret}", "Removes an invite.", Answer::Done)
        .locked_by("sessions"),
    Operation::get("sessions/{session}/thumbnail", "The picture of the canvas.", Answer::One(&THUMBNAIL)),
    Operation::delete(
        "sessions/{session}/thumbnail",
        "Deletes the picture, or cancels its creation.",
        Answer::Done,
    )
    .locked_by("sessions")
    .query(&[
        bool("thumbnail", "false keeps the picture."),
        bool("generation", "false lets its creation go on."),
    ]),
    Operation::get("sessions/{session}/{user}", "A user of the session, by user id.", Answer::One(&USER)),
    Operation::put(
        "sessions/{session}/{user}",
        "Changes a user's role, or sends a message.",
        Answer::One(&USER),
    )
    .locked_by("sessions")
    .body(Body::Fields(&[bool("op", "Operator."), bool("trusted", "Trusted."), MESSAGE, ALERT])),
    Operation::delete("sessions/{session}/{user}", "Kicks a user.", Answer::Done)
        .locked_by("sessions")
        .query(&[text("message", "Shown to the user, 100 bytes at most.")]),
    Operation::post(
        "sessions/{session}/{user}/thumbnail",
        "Asks a client for a picture.",
        Answer::One(&CORRELATOR),
    )
    .locked_by("sessions")
    .body(Body::Fields(&[
        number("maxWidth", "Pixels."),
        number("maxHeight", "Pixels."),
        number("quality", "0 to 100."),
        text("format", "jpeg, png or webp."),
        text("reason", "Shown to the user."),
    ])),
    Operation::delete(
        "sessions/{session}/{user}/thumbnail",
        "Cancels the creation of a picture.",
        Answer::Done,
    )
    .locked_by("sessions"),
];

fn session_gone(_: impl std::fmt::Display) -> AdminError {
    not_found()
}

/// Performs a request of an administrator in a session.
async fn administer(session: &SessionHandle, request: AdminRequest) -> AdminAnswer {
    let answer = session.ask(|answer| ToSession::Administer(request, answer)).await;
    answer.unwrap_or_else(|| Err(not_found()))
}

impl AdminState {
    pub(super) async fn sessions(&self, request: &Request) -> AdminAnswer {
        match request.method {
            Method::Get => {
                let listed_only = request.flag("listed", false);
                let list = self.descriptions(listed_only).await?;
                Ok(self.list_value(request, "sessions", "sessions", list))
            }
            Method::Put => {
                let (message, alert) = (request.text("message"), request.text("alert"));
                check_texts(&[&message, &alert])?;
                self.server.send(TellSessions { message, alert }).await.map_err(session_gone)?;
                Ok(json!({}))
            }
            Method::Post => {
                let session = match request.text("template").as_str() {
                    "" => {
                        let make_session = new_session::read(request, self.rules().settings())?;
                        let id = self.server.send(make_session).await.map_err(session_gone)??;
                        self.find_session(&id).await?
                    }
                    _ if request.body.len() > 1 => {
                        return Err(bad(
                            "template: everything else is in the template, no other member may be given",
                        ));
                    }
                    alias => self
                        .server
                        .send(MakeFromTemplate { alias: alias.to_owned() })
                        .await
                        .map_err(session_gone)??,
                };
                let mut value = administer(&session, AdminRequest::Describe).await?;
                value["_locked"] = false.into();
                Ok(value)
            }
            _ => Err(unsupported()),
        }
    }

    /// Descriptions of sessions and templates. Parsed here to spare the server actor's thread.
    pub(super) async fn descriptions(&self, listed_only: bool) -> Result<Vec<Value>, AdminError> {
        let texts = self.server.send(ListSessions { listed_only }).await.map_err(session_gone)?;
        let read = texts.iter().map(|text| serde_json::from_str(text));
        read.collect::<Result<_, _>>().map_err(|error| AdminError::new(500, error.to_string()))
    }

    /// The actor of a session; loads it if it is stored.
    async fn find_session(&self, name: &str) -> Result<SessionHandle, AdminError> {
        self.server.send(FindActive { name: name.to_owned() }).await.map_err(session_gone)?
    }

    pub(super) async fn session(&self, request: &Request, name: &str, rest: &[&str]) -> AdminAnswer {
        let session = self.find_session(name).await?;
        if let ["listing", rest @ ..] = rest {
            return self.listing(request, &session, rest).await;
        }
        if let Some(answer) = undo::histories(request, &session, rest).await {
            return answer;
        }
        let command = parse_command(request, rest)?;
        if matches!(command, AdminRequest::CheckPassword { .. }) {
            return self.try_session_password(request, &session, command).await;
        }
        let describes = matches!(command, AdminRequest::Describe | AdminRequest::Configure(_));
        let mut value = administer(&session, command).await?;
        if describes {
            value["_locked"] = self.is_locked("sessions").into();
        }
        Ok(value)
    }

    /// Handles a check of a session password.
    async fn try_session_password(
        &self,
        request: &Request,
        session: &SessionHandle,
        command: AdminRequest,
    ) -> AdminAnswer {
        let attempt = self
            .access
            .password_limiter
            .quick(request.who.source, Timestamp::now().monotonic_ms)
            .map_err(too_many)?;
        let value = administer(session, command).await?;
        if value["status"] == true {
            attempt.refund();
        }
        Ok(value)
    }

    async fn listing(&self, request: &Request, session: &SessionHandle, rest: &[&str]) -> AdminAnswer {
        let description = administer(session, AdminRequest::Describe).await?;
        let id = description["id"].as_str().unwrap_or_default().to_owned();
        let listed = |id: &str, url: String, listed: bool| ListSession { id: id.to_owned(), url, listed };
        match (request.method, rest) {
            (Method::Get, []) => Ok(description["listings"].clone()),
            (Method::Post, []) => {
                let url = request.text("url");
                if url.is_empty() {
                    return Err(bad("Missing url"));
                }
                url::Url::parse(&url).map_err(|e| bad(format!("Invalid url: {e}")))?;
                self.server.send(listed(&id, url, true)).await.map_err(session_gone)?.map_err(bad)?;
                Ok(json!({"status": "ok"}))
            }
            (Method::Delete, [number]) => {
                let entries = description["listings"].as_array().cloned().unwrap_or_default();
                let number: u64 = number.parse().map_err(|_| not_found())?;
                let found = entries.iter().find(|l| l["id"] == number);
                let url = found.and_then(|l| l["url"].as_str()).ok_or_else(not_found)?;
                self.server
                    .send(listed(&id, url.to_owned(), false))
                    .await
                    .map_err(session_gone)?
                    .map_err(bad)?;
                Ok(json!({"status": "ok"}))
            }
            _ => Err(unsupported()),
        }
    }
}

/// Parses a request below `sessions/ID`.
fn parse_command(request: &Request, rest: &[&str]) -> Result<AdminRequest, AdminError> {
    if let Some(parsed) = undo::parse(request, rest) {
        return parsed;
    }
    let bool = |key: &str| request.bool(key).unwrap_or(false);
    Ok(match (request.method, rest) {
        (Method::Get, []) => AdminRequest::Describe,
        (Method::Put, []) => AdminRequest::Configure(request.body.clone()),
        (Method::Delete, []) => AdminRequest::End {
            reason: request.query("reason").to_owned(),
            quiet: request.flag("quiet", false),
        },
        (Method::Post, ["auth"]) => {
            AdminRequest::CheckPassword { opword: false, password: request.text("password") }
        }
        (Method::Post, ["auth", "op"]) => {
            AdminRequest::CheckPassword { opword: true, password: request.text("password") }
        }
        (Method::Get, ["invites"]) => AdminRequest::Invites,
        (Method::Post, ["invites"]) => {
            let max_uses = request.body.get("maxUses").and_then(Value::as_i64).filter(|n| *n >= 1);
            let max_uses = max_uses.ok_or_else(|| bad("Missing or invalid maxUses"))?;
            AdminRequest::CreateInvite { max_uses, trust: bool("trust"), op: bool("op") }
        }
        (Method::Get, ["invites", secret]) => AdminRequest::Invite((*secret).to_owned()),
        (Method::Delete, ["invites", secret]) => AdminRequest::RemoveInvite((*secret).to_owned()),
        (Method::Get, ["thumbnail"]) => AdminRequest::Thumbnail,
        (Method::Delete, ["thumbnail"]) => AdminRequest::ForgetThumbnail {
            picture: request.flag("thumbnail", true),
            generation: request.flag("generation", true),
        },
        (Method::Post, ["chat"]) => {
            let timeout_ms = match request.body.get("timeout") {
                None | Some(Value::Null) => CHAT_TIMEOUT,
                Some(ms) => ms.as_u64().ok_or_else(|| bad("timeout must be a number of milliseconds"))?,
            };
            AdminRequest::JoinChat { message: request.text("message"), timeout_ms }
        }
        (Method::Get, ["chat"]) => AdminRequest::ReadChat(request.number("offset", 0)?),
        (Method::Put, ["chat"]) => AdminRequest::Say(request.text("message"), offset(&request.body)?),
        (Method::Delete, ["chat"]) => {
            AdminRequest::LeaveChat(request.query("message").to_owned(), request.number("offset", 0)?)
        }
        (_, ["invites" | "thumbnail" | "chat" | "auth", ..] | []) => return Err(unsupported()),
        (_, [user, rest @ ..]) => return parse_user_command(request, user, rest),
    })
}

fn offset(body: &Map<String, Value>) -> Result<u64, AdminError> {
    match body.get("offset") {
        None | Some(Value::Null) => Ok(0),
        Some(offset) => offset.as_u64().ok_or_else(|| bad("offset must be a number")),
    }
}

/// Parses a request below `sessions/ID/N`.
fn parse_user_command(request: &Request, user: &str, rest: &[&str]) -> Result<AdminRequest, AdminError> {
    let user: u8 = user.parse().map_err(|_| not_found())?;
    let number =
        |key: &str| request.body.get(key).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    Ok(match (request.method, rest) {
        (Method::Get, []) => AdminRequest::User(user),
        (Method::Put, []) => AdminRequest::ChangeUser(user, request.body.clone()),
        (Method::Delete, []) => AdminRequest::KickUser(user, request.query("message").to_owned()),
        (Method::Post, ["thumbnail"]) => AdminRequest::AskThumbnail(
            user,
            PictureWish {
                max_width: number("maxWidth"),
                max_height: number("maxHeight"),
                quality: number("quality"),
                format: request.body.get("format").and_then(Value::as_str).map(str::to_owned),
                reason: request.text("reason"),
            },
        ),
        (Method::Delete, ["thumbnail"]) => AdminRequest::CancelThumbnail(user),
        (_, [] | ["thumbnail"]) => return Err(unsupported()),
        _ => return Err(not_found()),
    })
}
