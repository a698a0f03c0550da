//! `sessions`: all of them, and one of them with everything in it.

use actix::Addr;
use serde_json::{Map, Value, json};

use super::call::{Call, Method, bad, not_found, unsupported};
use super::{Office, new_session};
use crate::server::{FindAwake, ListSession, ListSessions, TellSessions};
use crate::session::actor::{Administer, Session};
use crate::session::admin::{AdminAnswer, AdminError, AdminRequest};
use crate::session::thumbnail::PictureWish;

/// How long an administrator who does not look stays in a chat, in milliseconds.
const CHAT_TIMEOUT: u64 = 300_000;

fn gone(_: impl std::fmt::Display) -> AdminError {
    not_found()
}

impl Office {
    pub(super) async fn sessions(&self, call: &Call) -> AdminAnswer {
        match call.method {
            Method::Get => {
                let listed_only = call.query("listed") == "1";
                let list = self.descriptions(listed_only).await?;
                Ok(self.listed(call, "sessions", "sessions", list))
            }
            Method::Put => {
                self.unlocked("sessions")?;
                let (message, alert) = (call.text("message"), call.text("alert"));
                self.server.send(TellSessions { message, alert }).await.map_err(gone)?;
                Ok(json!({}))
            }
            Method::Post => {
                self.unlocked("sessions")?;
                let wanted = new_session::read(call, self.rules().settings())?;
                let id = self.server.send(wanted).await.map_err(gone)??;
                let session = self.awake(&id).await?;
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
        self.server.send(FindAwake { name: name.to_owned() }).await.map_err(gone)?.ok_or_else(not_found)
    }

    pub(super) async fn session(&self, call: &Call, name: &str, rest: &[&str]) -> AdminAnswer {
        if matches!(call.method, Method::Put | Method::Delete)
            || (call.method == Method::Post && rest.first() != Some(&"auth"))
        {
            self.unlocked("sessions")?;
        }
        let session = self.awake(name).await?;
        if let ["listing", rest @ ..] = rest {
            return self.listing(call, &session, rest).await;
        }
        let request = request_of(call, rest)?;
        let describes = matches!(request, AdminRequest::Describe | AdminRequest::Configure(_));
        let mut value = session.send(Administer(request)).await.map_err(gone)??;
        if describes {
            value["_locked"] = self.is_locked("sessions").into();
        }
        Ok(value)
    }

    async fn listing(&self, call: &Call, session: &Addr<Session>, rest: &[&str]) -> AdminAnswer {
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
                self.server.send(listed(&id, url, true)).await.map_err(gone)?;
                Ok(json!({"status": "ok"}))
            }
            (Method::Delete, [number]) => {
                let entries = description["listings"].as_array().cloned().unwrap_or_default();
                let number: u64 = number.parse().map_err(|_| not_found())?;
                let found = entries.iter().find(|l| l["id"] == number);
                let url = found.and_then(|l| l["url"].as_str()).ok_or_else(not_found)?;
                self.server.send(listed(&id, url.to_owned(), false)).await.map_err(gone)?;
                Ok(json!({"status": "ok"}))
            }
            _ => Err(unsupported()),
        }
    }
}

/// What a request below `sessions/ID` is for.
fn request_of(call: &Call, rest: &[&str]) -> Result<AdminRequest, AdminError> {
    let truth = |key: &str| call.truth(key).unwrap_or(false);
    let flag = |key: &str| call.number(key, 1).map(|n| n != 0);
    Ok(match (call.method, rest) {
        (Method::Get, []) => AdminRequest::Describe,
        (Method::Put, []) => AdminRequest::Configure(call.body.clone()),
        (Method::Delete, []) => {
            AdminRequest::End { reason: call.query("reason").to_owned(), quiet: call.query("quiet") == "1" }
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
            AdminRequest::CreateInvite { max_uses, trust: truth("trust"), op: truth("op") }
        }
        (Method::Get, ["invites", secret]) => AdminRequest::Invite((*secret).to_owned()),
        (Method::Delete, ["invites", secret]) => AdminRequest::RemoveInvite((*secret).to_owned()),
        (Method::Get, ["thumbnail"]) => AdminRequest::Thumbnail,
        (Method::Delete, ["thumbnail"]) => {
            AdminRequest::ForgetThumbnail { picture: flag("thumbnail")?, generation: flag("generation")? }
        }
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
fn user_request(call: &Call, user: &str, rest: &[&str]) -> Result<AdminRequest, AdminError> {
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
