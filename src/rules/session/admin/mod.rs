//! The admin API's view of a session, and its operations on one. Source: docs/spec/admin-api.md#descriptions.
//!
//! Answers are JSON in the form of the reference's API.

mod chat;
mod error;

use drawhall_protocol::command::InviteCreate;
use drawhall_protocol::command::SessionConf;
use drawhall_protocol::reply::Notice;
use drawhall_protocol::reply::ServerReply;
pub use error::AdminError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub(super) use chat::AdminChat;
pub(crate) use chat::{MAX_CHAT_TIMEOUT, MIN_CHAT_TIMEOUT};

use super::broadcasts::List;
use super::member::{AuthenticatedClient, Member, ResetRole};
use super::resets::StreamStage;
use super::thumbnail::{NotAsked, PictureWish};
use super::{ConnId, Cx, DisconnectReason, PasswordKind, SessionMachine, SessionState, UndoRequest};
use crate::log::{Level, Topic};
use crate::rules::time::{Timestamp, iso_of};

/// The administrator's name for users and the log.
pub(crate) const ADMINISTRATOR: &str = "the server administrator";
/// Maximum length of the message to a kicked user, in bytes.
const MAX_KICK_MESSAGE: usize = 100;

/// The actor of a kick, with the administrator's message.
pub(crate) fn kicked_by(message: &str) -> String {
    let message = &message[..message.floor_char_boundary(MAX_KICK_MESSAGE)];
    if message.is_empty() { ADMINISTRATOR.to_owned() } else { format!("{ADMINISTRATOR} ({message})") }
}

/// An operation of the admin API on a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum AdminRequest {
    /// Full description.
    Describe,
    /// Settings by key as in `sessionconf`, optionally with `message` and `alert`.
    Configure(Map<String, Value>),
    /// Message or alert to everybody; empty ones are not sent.
    Tell {
        message: String,
        /// Shown as an alert.
        alert: String,
    },
    /// End the session.
    End {
        /// Reason for users, empty without.
        reason: String,
        /// End silently: users are not told and keep their connections.
        quiet: bool,
    },
    Invites,
    CreateInvite {
        max_uses: i64,
        /// Users who join with it are trusted.
        trust: bool,
        /// Users who join with it become operator.
        op: bool,
    },
    Invite(String),
    RemoveInvite(String),
    User(u8),
    /// Role of a user, and messages to it.
    ChangeUser(u8, Map<String, Value>),
    /// Kick by user id, with a message.
    KickUser(u8, String),
    /// Kick by connection, with a message.
    KickConnection(ConnId, String),
    /// Checks the session password or the operator password.
    CheckPassword {
        opword: bool,
        password: String,
    },
    Thumbnail,
    /// Deletes the thumbnail, or cancels the pending request for one.
    ForgetThumbnail {
        picture: bool,
        generation: bool,
    },
    /// Requests a thumbnail from a user's client.
    AskThumbnail(u8, PictureWish),
    /// Cancels the request to a user's client.
    CancelThumbnail(u8),
    /// Joins the chat.
    JoinChat {
        /// First message, empty for none.
        message: String,
        /// Leaves the chat after this time without a read, in milliseconds.
        timeout_ms: u64,
    },
    /// Messages from an offset on.
    ReadChat(u64),
    /// Sends a message, then reads from an offset on.
    Say(String, u64),
    /// Leaves the chat with a last message (empty for none), then reads from an offset on.
    LeaveChat(String, u64),
    /// The people of the history, with what can be undone of each.
    People,
    /// Undoes or redoes what somebody drew.
    Undo(UndoRequest),
}

/// JSON of the answer, or an error.
pub type AdminAnswer = Result<Value, AdminError>;

/// Checks that texts fit into a protocol message each.
///
/// # Errors
/// When one does not.
pub fn check_texts(texts: &[&str]) -> Result<(), AdminError> {
    let fits = |text: &&str| {
        let notice = Notice { message: (*text).to_owned(), ..Notice::default() };
        ServerReply::Alert(notice).to_frame().is_ok()
    };
    if texts.iter().all(fits) { Ok(()) } else { Err(AdminError::TextTooLong) }
}

fn text(object: &Map<String, Value>, key: &str) -> String {
    object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A time in the form of the API; `utc_ms` in milliseconds since 1970.
pub fn time_value(utc_ms: i64) -> Value {
    iso_of(utc_ms).replace('Z', "+00:00").into()
}

/// A connected client in the form of the API, in a session or not.
pub fn client_value(client: &AuthenticatedClient) -> Value {
    json!({
        "uid": client.conn.to_string(),
        "name": client.identity.name,
        "ip": client.identity.address.map_or(String::new(), |a| a.to_string()),
        "s": client.identity.sid,
        "auth": !client.identity.auth_id.is_empty(),
        "mod": client.moderator,
        "tls": client.encrypted,
        "browser": client.browser,
        "capabilities": {
            "keepalive": client.capabilities.keep_alive,
            "thumbnail": client.capabilities.thumbnail,
        },
    })
}

impl SessionMachine {
    /// Performs an operation.
    ///
    /// # Errors
    /// When it is invalid, or its object does not exist.
    pub fn administer(&mut self, request: AdminRequest, cx: &mut Cx<'_>) -> AdminAnswer {
        if self.resets.has_ended() {
            return Err(AdminError::NotFound);
        }
        self.expire_chat(cx);
        match request {
            AdminRequest::Describe => Ok(self.full_description(cx.now)),
            AdminRequest::Configure(object) => {
                let (message, alert) = (text(&object, "message"), text(&object, "alert"));
                check_texts(&[&message, &alert])?;
                let conf = SessionConf::of(&object);
                self.configure(&conf, cx)?;
                self.tell(&message, &alert, cx);
                Ok(self.full_description(cx.now))
            }
            AdminRequest::Tell { message, alert } => {
                check_texts(&[&message, &alert])?;
                self.tell(&message, &alert, cx);
                Ok(json!({}))
            }
            AdminRequest::End { quiet: true, .. } => {
                self.end_quietly(cx);
                Ok(json!({"status": "ok"}))
            }
            AdminRequest::End { reason, .. } => self.end_for(&reason, cx),
            AdminRequest::Invites => Ok(json!({"invites": self.invite_list()})),
            AdminRequest::CreateInvite { max_uses, trust, op } => {
                self.create_invite_for(&InviteCreate { max_uses, trust, op }, cx)
            }
            AdminRequest::Invite(secret) => {
                let found = self.invite_list().into_iter().find(|i| i["secret"] == secret.as_str());
                found.ok_or(AdminError::NotFound)
            }
            AdminRequest::RemoveInvite(secret) => self.remove_invite_for(&secret, cx),
            AdminRequest::User(id) => self.user(id),
            AdminRequest::ChangeUser(id, change) => self.change_user(id, &change, cx),
            AdminRequest::KickUser(id, message) => {
                let conn = self.member_by_id(id).ok_or(AdminError::NotFound)?.conn();
                self.kick_for(conn, &message, cx)
            }
            AdminRequest::KickConnection(conn, message) => self.kick_for(conn, &message, cx),
            AdminRequest::CheckPassword { opword, password } => {
                let kind = if opword { PasswordKind::Operator } else { PasswordKind::Session };
                Ok(json!({"status": self.properties.password(kind).accepts(&password)}))
            }
            AdminRequest::Thumbnail => match self.thumbnail() {
                Some(picture) => {
                    use base64::Engine as _;
                    let data = base64::engine::general_purpose::STANDARD.encode(&picture.data);
                    Ok(json!({"data": data, "at": iso_of(picture.made)}))
                }
                None => Err(AdminError::NoThumbnail),
            },
            AdminRequest::ForgetThumbnail { picture, generation } => {
                if picture {
                    self.forget_thumbnail();
                }
                if generation {
                    self.cancel_thumbnail(None);
                }
                Ok(json!({"status": "ok", "thumbnail": picture, "generation": generation}))
            }
            AdminRequest::AskThumbnail(id, wish) => match self.ask_thumbnail(id, wish, cx) {
                Ok(correlator) => Ok(json!({"correlator": correlator})),
                Err(NotAsked::NoUser) => Err(AdminError::NotFound),
                Err(NotAsked::Incapable) => Err(AdminError::NoThumbnailCapability),
                Err(NotAsked::Already) => Err(AdminError::ThumbnailPending),
                Err(NotAsked::TooLong) => Err(AdminError::TextTooLong),
            },
            AdminRequest::CancelThumbnail(id) => {
                self.member_by_id(id).ok_or(AdminError::NotFound)?;
                self.cancel_thumbnail(Some(id));
                Ok(json!({"status": "ok"}))
            }
            AdminRequest::JoinChat { message, timeout_ms } => self.join_chat(&message, timeout_ms, cx),
            AdminRequest::ReadChat(offset) => self.read_chat(offset, cx.now),
            AdminRequest::Say(message, offset) => self.say(&message, offset, cx),
            AdminRequest::LeaveChat(message, offset) => self.leave_chat(&message, offset, cx),
            AdminRequest::People => self.people(),
            AdminRequest::Undo(request) => self.undo_person(&request, cx),
        }
    }

    /// The full description of the session.
    fn full_description(&self, now: Timestamp) -> Value {
        let mut object = serde_json::to_value(self.description(false, now)).unwrap_or_default();
        let listings: Vec<Value> =
            self.announcements.listed().iter().map(|l| json!({"id": l.id, "url": l.url})).collect();
        let online = self.members.iter().map(|m| self.member_value(m, true));
        let gone = self.members.past_users().map(|(id, past)| {
            let ip = past.identity.address.map_or(String::new(), |a| a.to_string());
            json!({"id": id, "name": past.identity.name, "ip": ip, "s": past.identity.sid, "online": false})
        });
        let more = json!({
            "maxSize": self.history.limit(),
            "baseSize": self.shared.settings.session_size_limit,
            "overrideSize": self.properties.override_size(),
            "resetThreshold": self.properties.autoreset_threshold(),
            "effectiveResetThreshold": self.effective_threshold(),
            "minResetThreshold": self.shared.settings.minimum_autoreset_threshold,
            "deputies": self.properties.flags().deputies,
            "hasOpword": self.properties.has_opword(),
            "users": online.chain(gone).collect::<Vec<Value>>(),
            "listings": listings,
            "invitelist": self.invite_list(),
            "chat": self.chat_value(now),
            "thumbnail": self.thumbnail_value(),
            "archive": self.properties.archive(),
            "autoreset": self.autoreset_value(now),
        });
        if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
            object.extend(more);
            // Present only while storing fails.
            object.extend(self.persistence.error().map(|error| ("storageError".to_owned(), error.into())));
        }
        object
    }

    fn thumbnail_value(&self) -> Value {
        let mut object = Map::new();
        if let Some(picture) = self.thumbnail() {
            object.insert("generatedAt".into(), iso_of(picture.made).into());
        }
        if let Some((id, correlator)) = self.thumbnail_request() {
            object.insert("generatorCtxId".into(), id.into());
            object.insert("generatorCorrelator".into(), correlator.into());
        }
        object.into()
    }

    fn autoreset_value(&self, now: Timestamp) -> Value {
        let state = match self.resets.state() {
            SessionState::Initialization => "initialization",
            SessionState::Running => "running",
            SessionState::Reset => "reset",
            SessionState::Shutdown => "shutdown",
        };
        json!({
            "delay": self.resets.autoreset_delay(now),
            "historyFirstIndex": self.history.first_index(),
            "historyLastIndex": self.history.last_index(),
            "requestStatus": self.resets.autoreset_status(),
            "sessionState": state,
            "stream": self.resets.stream_stage().map(|stage| match stage {
                StreamStage::Streaming => "streaming",
                StreamStage::Prepared => "prepared",
            }),
        })
    }

    fn invite_list(&self) -> Vec<Value> {
        self.moderation
            .invites
            .entries()
            .into_iter()
            .map(|e| serde_json::to_value(e).unwrap_or_default())
            .collect()
    }

    /// A user; `inside`: as a part of the session's description.
    fn member_value(&self, member: &Member, inside: bool) -> Value {
        let mut value = client_value(&member.client);
        value["id"] = member.id.into();
        value["lastActive"] = time_value(member.last_active);
        value["lastActiveDrawing"] = time_value(member.last_drawing.unwrap_or(0));
        value["op"] = member.is_operator().into();
        value["trusted"] = member.trusted.into();
        value["muted"] = member.muted.into();
        value["oldv"] = member.oldv.into();
        value["state"] = "session".into();
        if inside {
            let flags: &[&str] = match member.reset_role {
                ResetRole::None => &[],
                ResetRole::Queried => &["queried"],
                ResetRole::Responded => &["responded"],
                ResetRole::Awaiting | ResetRole::AwaitingStream => &["awaiting"],
                ResetRole::Streaming => &["streaming"],
            };
            value["online"] = true.into();
            value["holdLocked"] = member.hold_locked.into();
            value["resetFlags"] = json!(flags);
        } else {
            value["session"] = self.properties.id().into();
        }
        value
    }

    fn user(&self, id: u8) -> AdminAnswer {
        let member = self.member_by_id(id).ok_or(AdminError::NotFound)?;
        Ok(self.member_value(member, false))
    }

    /// The session's users, in the form of the list of all users.
    pub fn users(&self) -> Vec<Value> {
        self.members.iter().map(|m| self.member_value(m, false)).collect()
    }

    fn tell(&self, message: &str, alert: &str, cx: &mut Cx<'_>) {
        for (is_alert, text) in [(false, message), (true, alert)] {
            if !text.is_empty() {
                self.notice(is_alert, "", text.to_owned(), &[], "", cx);
            }
        }
    }

    fn end_for(&mut self, reason: &str, cx: &mut Cx<'_>) -> AdminAnswer {
        if !reason.is_empty() {
            let text = format!("Session shut down by administrator: {reason}");
            if !self.notice(true, "terminatesessionadmin", text, &[("reason", reason)], "", cx) {
                return Err(AdminError::TextTooLong);
            }
        }
        self.end("Session terminated by administrator", cx);
        Ok(json!({"status": "ok"}))
    }

    fn create_invite_for(&mut self, wanted: &InviteCreate, cx: &mut Cx<'_>) -> AdminAnswer {
        let secret = self.moderation.invites.create("", wanted, cx.rng, cx.now);
        let secret = secret.ok_or(AdminError::TooManyInvites)?;
        self.note(Level::Info, Topic::Invite, super::invites::creation_text(wanted), cx);
        self.send_list(List::Invites, cx);
        let found = self.invite_list().into_iter().find(|i| i["secret"] == secret.as_str());
        found.ok_or(AdminError::NotFound)
    }

    fn remove_invite_for(&mut self, secret: &str, cx: &mut Cx<'_>) -> AdminAnswer {
        if !self.moderation.invites.remove(secret) {
            return Err(AdminError::NotFound);
        }
        self.note(Level::Info, Topic::Invite, format!("Removed invite {secret}"), cx);
        self.send_list(List::Invites, cx);
        Ok(json!({"status": "ok"}))
    }

    fn change_user(&mut self, id: u8, change: &Map<String, Value>, cx: &mut Cx<'_>) -> AdminAnswer {
        let member = self.member_by_id(id).ok_or(AdminError::NotFound)?;
        let (conn, op, trusted) = (member.conn(), member.is_operator(), member.trusted);
        check_texts(&[&text(change, "message"), &text(change, "alert")])?;
        let wanted = |key: &str| change.get(key).and_then(Value::as_bool);
        if let Some(on) = wanted("op").filter(|on| *on != op) {
            self.set_operator(id, on, ADMINISTRATOR, None, true, cx);
        }
        if let Some(on) = wanted("trusted").filter(|on| *on != trusted) {
            self.set_trusted(id, on, ADMINISTRATOR, None, true, cx);
        }
        for (key, alert) in [("message", false), ("alert", true)] {
            let message = text(change, key);
            if !message.is_empty() {
                let notice = Notice { message, ..Notice::default() };
                let reply = if alert { ServerReply::Alert(notice) } else { ServerReply::Msg(notice) };
                self.reply_to(conn, &reply, cx);
            }
        }
        self.user(id)
    }

    fn kick_for(&mut self, conn: ConnId, message: &str, cx: &mut Cx<'_>) -> AdminAnswer {
        let key = self.members.key_of(conn).ok_or(AdminError::NotFound)?;
        self.disconnect(key, DisconnectReason::Kick, &kicked_by(message), "kicked via web admin", cx);
        Ok(json!({"status": "ok", "force": false}))
    }
}
