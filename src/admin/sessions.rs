//! `sessions`: all of them, and one of them with everything in it.

use actix::Addr;
use serde_json::{Map, Value, json};

use super::access::too_many;
use super::operation::{Answer, Body, Field, Operation, bool, number, text};
use super::request::{Method, Request, bad, not_found, unsupported};
use super::schemas::{
    CHAT, CORRELATOR, INVITE, INVITES, LISTING, NOTHING, PASSWORD_CHECK, SESSION, SESSION_DETAILS, THUMBNAIL,
    USER,
};
use super::{AdminState, new_session};
use crate::clock::Timestamp;
use crate::server::{FindActive, ListSession, ListSessions, MakeFromTemplate, TellSessions};
use crate::session::actor::{Administer, Session};
use crate::session::admin::{AdminAnswer, AdminError, AdminRequest, check_texts};
use crate::session::thumbnail::PictureWish;

/// How long an administrator who does not look stays in a chat, in milliseconds.
const CHAT_TIMEOUT: u64 = 300_000;

const MESSAGE: Field = text("message", "Shown in the chat.");
const ALERT: Field = text("alert", "Shown in a box.");

/// What a new session and a change of one have in common.
macro_rules! session_members {
    ($($more:expr),* $(,)?) => {
        &[
            text("title", "Title."),
            text("founder", "Founder's name."),
            text("password", "Password, empty for none."),
            text("opword", "Operator password, empty for none."),
            number("maxUserCount", "Users that there may be, 2 to 254."),
            bool("persistent", "It stays when everybody has left."),
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
        .query(&[bool("listed", "Leaves out those that lists do not show.")]),
    Operation::put("sessions", "Says something to all sessions.", Answer::One(&NOTHING))
        .locked_by("sessions")
        .body(Body::Fields(&[MESSAGE, ALERT])),
    Operation::post("sessions", "Makes a session that nobody hosts.", Answer::One(&SESSION_DETAILS))
        .locked_by("sessions")
        .body(Body::Fields(session_members![
            text("template", "Alias of the template that it is made from; nothing else may be given then."),
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
            bool("autotitle", "The title was made up."),
            bool("closed", "Nobody else may join."),
            bool("idleOverride", "It has no idle limit."),
            bool("archive", "Its files are kept when it ends; null is the setting archive.").nullable(),
            number("resetThreshold", "Size at which an autoreset is asked for."),
            number("overrideSize", "Bytes that its history may have, 0 for what the settings say."),
        ])),
    Operation::delete("sessions/{session}", "Ends a session.", Answer::Done).locked_by("sessions").query(&[
        text("reason", "Shown to its users."),
        bool(
            "quiet",
            "Connections stay open, nothing is said, and what is drawn comes back to who draws it.",
        ),
    ]),
    Operation::get(
        "sessions/{session}/listing",
        "Where it is announced.",
        Answer::Many(&LISTING, "listings"),
    ),
    Operation::post("sessions/{session}/listing", "Announces it at a list server.", Answer::Done)
        .locked_by("sessions")
        .body(Body::Fields(&[text("url", "URL of the list server's API.").required()])),
    Operation::delete("sessions/{session}/listing/{listing}", "Takes it off a list server.", Answer::Done)
        .locked_by("sessions"),
    Operation::post("sessions/{session}/auth", "Whether this is the password.", Answer::One(&PASSWORD_CHECK))
        .body(Body::Fields(&[text("password", "What to try.")])),
    Operation::post(
        "sessions/{session}/auth/op",
        "Whether this is the operator password.",
        Answer::One(&PASSWORD_CHECK),
    )
    .body(Body::Fields(&[text("password", "What to try.")])),
    Operation::get(
        "sessions/{session}/chat",
        "What was said since the administrator has joined.",
        Answer::One(&CHAT),
    )
    .query(&[number("offset", "Number of the first message that is wanted.")]),
    Operation::post("sessions/{session}/chat", "The administrator joins the chat.", Answer::One(&CHAT))
        .locked_by("sessions")
        .body(Body::Fields(&[
            MESSAGE,
            number("timeout", "Milliseconds without a look after which the chat is left, 30000 to 900000."),
        ])),
    Operation::put("sessions/{session}/chat", "Says something, in a box, and reads.", Answer::One(&CHAT))
        .locked_by("sessions")
        .body(Body::Fields(&[MESSAGE, number("offset", "Number of the first message that is wanted.")])),
    Operation::delete("sessions/{session}/chat", "The administrator leaves the chat.", Answer::One(&CHAT))
        .locked_by("sessions")
        .query(&[MESSAGE, number("offset", "Number of the first message that is wanted.")]),
    Operation::get("sessions/{session}/invites", "Its invites.", Answer::One(&INVITES)),
    Operation::post("sessions/{session}/invites", "Makes an invite.", Answer::One(&INVITE))
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
        "Throws the picture away, or stops its making.",
        Answer::Done,
    )
    .locked_by("sessions")
    .query(&[bool("thumbnail", "false keeps the picture."), bool("generation", "false goes on making one.")]),
    Operation::get("sessions/{session}/{user}", "A user of the session, by user id.", Answer::One(&USER)),
    Operation::put(
        "sessions/{session}/{user}",
        "Changes a user's rank, or says something to it.",
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
    Operation::delete("sessions/{session}/{user}/thumbnail", "Stops the making of a picture.", Answer::Done)
        .locked_by("sessions"),
];

fn gone(_: impl std::fmt::Display) -> AdminError {
    not_found()
}

impl AdminState {
    pub(super) async fn sessions(&self, call: &Request) -> AdminAnswer {
        match call.method {
            Method::Get => {
                let listed_only = call.flag("listed", false);
                let list = self.descriptions(listed_only).await?;
                Ok(self.listed(call, "sessions", "sessions", list))
            }
            Method::Put => {
                let (message, alert) = (call.text("message"), call.text("alert"));
                check_texts(&[&message, &alert])?;
                self.server.send(TellSessions { message, alert }).await.map_err(gone)?;
                Ok(json!({}))
            }
            Method::Post => {
                let session = match call.text("template").as_str() {
                    "" => {
                        let wanted = new_session::read(call, self.rules().settings())?;
                        let id = self.server.send(wanted).await.map_err(gone)??;
                        self.awake(&id).await?
                    }
                    _ if call.body.len() > 1 => {
                        return Err(bad(
                            "template: what the session is like is in the template, nothing else may be given",
                        ));
                    }
                    alias => self
                        .server
                        .send(MakeFromTemplate { alias: alias.to_owned() })
                        .await
                        .map_err(gone)??,
                };
                let mut value = session.send(Administer(AdminRequest::Describe)).await.map_err(gone)??;
                value["_locked"] = false.into();
                Ok(value)
            }
            _ => Err(unsupported()),
        }
    }

    /// Descriptions of sessions and templates. Reading them here spares the server's thread.
    pub(super) async fn descriptions(&self, listed_only: bool) -> Result<Vec<Value>, AdminError> {
        let texts = self.server.send(ListSessions { listed_only }).await.map_err(gone)?;
        let read = texts.iter().map(|text| serde_json::from_str(text));
        read.collect::<Result<_, _>>().map_err(|error| AdminError::new(500, error.to_string()))
    }

    /// The actor of a session, loaded if need be.
    async fn awake(&self, name: &str) -> Result<Addr<Session>, AdminError> {
        self.server.send(FindActive { name: name.to_owned() }).await.map_err(gone)?
    }

    pub(super) async fn session(&self, call: &Request, name: &str, rest: &[&str]) -> AdminAnswer {
        let session = self.awake(name).await?;
        if let ["listing", rest @ ..] = rest {
            return self.listing(call, &session, rest).await;
        }
        let request = request_of(call, rest)?;
        if matches!(request, AdminRequest::CheckPassword { .. }) {
            return self.try_session_password(call, &session, request).await;
        }
        let describes = matches!(request, AdminRequest::Describe | AdminRequest::Configure(_));
        let mut value = session.send(Administer(request)).await.map_err(gone)??;
        if describes {
            value["_locked"] = self.is_locked("sessions").into();
        }
        Ok(value)
    }

    /// Whether a password of a session fits.
    async fn try_session_password(
        &self,
        call: &Request,
        session: &Addr<Session>,
        request: AdminRequest,
    ) -> AdminAnswer {
        let guess =
            self.access.guesses.quick(call.who.source, Timestamp::now().monotonic_ms).map_err(too_many)?;
        let value = session.send(Administer(request)).await.map_err(gone)??;
        if value["status"] == true {
            guess.give_back();
        }
        Ok(value)
    }

    async fn listing(&self, call: &Request, session: &Addr<Session>, rest: &[&str]) -> AdminAnswer {
        let description = session.send(Administer(AdminRequest::Describe)).await.map_err(gone)??;
        let id = description["id"].as_str().unwrap_or_default().to_owned();
        let listed = |id: &str, url: String, listed: bool| ListSession { id: id.to_owned(), url, listed };
        match (call.method, rest) {
            (Method::Get, []) => Ok(description["listings"].clone()),
            (Method::Post, []) => {
                let url = call.text("url");
                if url.is_empty() {
                    return Err(bad("Missing url"));
                }
                url::Url::parse(&url).map_err(|e| bad(format!("Invalid url: {e}")))?;
                self.server.send(listed(&id, url, true)).await.map_err(gone)?.map_err(bad)?;
                Ok(json!({"status": "ok"}))
            }
            (Method::Delete, [number]) => {
                let entries = description["listings"].as_array().cloned().unwrap_or_default();
                let number: u64 = number.parse().map_err(|_| not_found())?;
                let found = entries.iter().find(|l| l["id"] == number);
                let url = found.and_then(|l| l["url"].as_str()).ok_or_else(not_found)?;
                self.server.send(listed(&id, url.to_owned(), false)).await.map_err(gone)?.map_err(bad)?;
                Ok(json!({"status": "ok"}))
            }
            _ => Err(unsupported()),
        }
    }
}

/// What a request below `sessions/ID` is for.
fn request_of(call: &Request, rest: &[&str]) -> Result<AdminRequest, AdminError> {
    let bool = |key: &str| call.bool(key).unwrap_or(false);
    Ok(match (call.method, rest) {
        (Method::Get, []) => AdminRequest::Describe,
        (Method::Put, []) => AdminRequest::Configure(call.body.clone()),
        (Method::Delete, []) => {
            AdminRequest::End { reason: call.query("reason").to_owned(), quiet: call.flag("quiet", false) }
        }
        (Method::Post, ["auth"]) => {
            AdminRequest::CheckPassword { opword: false, password: call.text("password") }
        }
        (Method::Post, ["auth", "op"]) => {
            AdminRequest::CheckPassword { opword: true, password: call.text("password") }
        }
        (Method::Get, ["invites"]) => AdminRequest::Invites,
        (Method::Post, ["invites"]) => {
            let max_uses = call.body.get("maxUses").and_then(Value::as_i64).filter(|n| *n >= 1);
            let max_uses = max_uses.ok_or_else(|| bad("Missing or invalid maxUses"))?;
            AdminRequest::CreateInvite { max_uses, trust: bool("trust"), op: bool("op") }
        }
        (Method::Get, ["invites", secret]) => AdminRequest::Invite((*secret).to_owned()),
        (Method::Delete, ["invites", secret]) => AdminRequest::RemoveInvite((*secret).to_owned()),
        (Method::Get, ["thumbnail"]) => AdminRequest::Thumbnail,
        (Method::Delete, ["thumbnail"]) => AdminRequest::ForgetThumbnail {
            picture: call.flag("thumbnail", true),
            generation: call.flag("generation", true),
        },
        (Method::Post, ["chat"]) => {
            let timeout_ms = match call.body.get("timeout") {
                None | Some(Value::Null) => CHAT_TIMEOUT,
                Some(ms) => ms.as_u64().ok_or_else(|| bad("timeout must be a number of milliseconds"))?,
            };
            AdminRequest::JoinChat { message: call.text("message"), timeout_ms }
        }
        (Method::Get, ["chat"]) => AdminRequest::ReadChat(call.number("offset", 0)?),
        (Method::Put, ["chat"]) => AdminRequest::Say(call.text("message"), offset(&call.body)?),
        (Method::Delete, ["chat"]) => {
            AdminRequest::LeaveChat(call.query("message").to_owned(), call.number("offset", 0)?)
        }
        (_, ["invites" | "thumbnail" | "chat" | "auth", ..] | []) => return Err(unsupported()),
        (_, [user, rest @ ..]) => return user_request(call, user, rest),
    })
}

fn offset(body: &Map<String, Value>) -> Result<u64, AdminError> {
    match body.get("offset") {
        None | Some(Value::Null) => Ok(0),
        Some(offset) => offset.as_u64().ok_or_else(|| bad("offset must be a number")),
    }
}

/// What a request below `sessions/ID/N` is for.
fn user_request(call: &Request, user: &str, rest: &[&str]) -> Result<AdminRequest, AdminError> {
    let user: u8 = user.parse().map_err(|_| not_found())?;
    let number = |key: &str| call.body.get(key).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    Ok(match (call.method, rest) {
        (Method::Get, []) => AdminRequest::User(user),
        (Method::Put, []) => AdminRequest::ChangeUser(user, call.body.clone()),
        (Method::Delete, []) => AdminRequest::KickUser(user, call.query("message").to_owned()),
        (Method::Post, ["thumbnail"]) => AdminRequest::AskThumbnail(
            user,
            PictureWish {
                max_width: number("maxWidth"),
                max_height: number("maxHeight"),
                quality: number("quality"),
                format: call.body.get("format").and_then(Value::as_str).map(str::to_owned),
                reason: call.text("reason"),
            },
        ),
        (Method::Delete, ["thumbnail"]) => AdminRequest::CancelThumbnail(user),
        (_, [] | ["thumbnail"]) => return Err(unsupported()),
        _ => return Err(not_found()),
    })
}
