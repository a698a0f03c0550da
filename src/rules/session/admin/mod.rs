//! The admin API's view of a session, and its operations on one. Source: docs/spec/admin-api.md#descriptions.
//!
//! Answers are types, whose fields have the names of the reference's API.

pub mod answer;
mod chat;
pub mod earlier_people;
mod error;
pub mod histories;
mod request;

use drawhall_protocol::command::InviteCreate;
use drawhall_protocol::command::SessionConf;
use drawhall_protocol::reply::Notice;
use drawhall_protocol::reply::ServerReply;
pub use error::AdminError;
use serde_json::{Map, Value};

pub use answer::{Answered, SessionAnswer};
pub(super) use chat::AdminChat;
pub(crate) use chat::{MAX_CHAT_TIMEOUT, MIN_CHAT_TIMEOUT};
pub use request::AdminRequest;

use self::answer::{
    Asked, AutoresetDetails, ClientDetails, Done, Forgotten, Invites, Kicked, MemberDetails, MemberState,
    PasswordCheck, PastMember, SessionDetails, SessionUser, StoredThumbnail, ThumbnailState, Told, time_text,
};
use super::bans::Identity;
use super::broadcasts::List;
use super::member::{Member, PastUser, ResetRole};
use super::resets::StreamStage;
use super::thumbnail::NotAsked;
use super::{ConnId, Cx, DisconnectReason, PasswordKind, SessionMachine, SessionState};
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

/// The state of a session, in the words of the API.
fn state_text(state: SessionState) -> &'static str {
    match state {
        SessionState::Initialization => "initialization",
        SessionState::Running => "running",
        SessionState::Reset => "reset",
        SessionState::Shutdown => "shutdown",
    }
}

impl PastMember {
    fn of(id: u8, past: &PastUser) -> PastMember {
        let identity = &past.identity;
        let ip = identity.address.map_or(String::new(), |a| a.to_string());
        PastMember { id, name: identity.name.clone(), ip, sid: identity.sid.clone(), online: false }
    }
}

impl MemberState {
    fn of(member: &Member) -> MemberState {
        let reset_flags: &[&'static str] = match member.reset_role {
            ResetRole::None => &[],
            ResetRole::Queried => &["queried"],
            ResetRole::Responded => &["responded"],
            ResetRole::Awaiting | ResetRole::AwaitingStream => &["awaiting"],
            ResetRole::Streaming => &["streaming"],
        };
        MemberState { online: true, hold_locked: member.hold_locked, reset_flags: reset_flags.to_vec() }
    }
}

impl SessionMachine {
    /// Performs an operation.
    ///
    /// # Errors
    /// When it is invalid, or its object does not exist.
    pub fn administer(&mut self, request: AdminRequest, cx: &mut Cx<'_>) -> SessionAnswer {
        if self.resets.has_ended() {
            return Err(AdminError::NotFound);
        }
        self.expire_chat(cx);
        match request {
            AdminRequest::Describe => Ok(self.described(cx.now)),
            AdminRequest::Configure(object) => {
                let (message, alert) = (text(&object, "message"), text(&object, "alert"));
                check_texts(&[&message, &alert])?;
                let conf = SessionConf::of(&object);
                self.configure(&conf, cx)?;
                self.tell(&message, &alert, cx);
                Ok(self.described(cx.now))
            }
            AdminRequest::Tell { message, alert } => {
                check_texts(&[&message, &alert])?;
                self.tell(&message, &alert, cx);
                Ok(Answered::Told(Told {}))
            }
            AdminRequest::End { quiet: true, .. } => {
                self.end_quietly(cx);
                Ok(Done::ok())
            }
            AdminRequest::End { reason, .. } => self.end_for(&reason, cx),
            AdminRequest::Invites => {
                Ok(Answered::Invites(Invites { invites: self.moderation.invites.entries() }))
            }
            AdminRequest::CreateInvite { max_uses, trust, op } => {
                self.create_invite_for(&InviteCreate { max_uses, trust, op }, cx)
            }
            AdminRequest::Invite(secret) => self.invite(&secret),
            AdminRequest::RemoveInvite(secret) => self.remove_invite_for(&secret, cx),
            AdminRequest::User(id) => self.user(id),
            AdminRequest::ChangeUser(id, change) => self.change_user(id, &change, cx),
            AdminRequest::KickUser(id, message) => {
                let conn = self.member_by_id(id).ok_or(AdminError::NotFound)?.conn();
                self.kick_for(conn, &message, cx)
            }
            AdminRequest::KickConnection(conn, message) => self.kick_for(conn, &message, cx),
            AdminRequest::DisconnectBanned(conn, message) => {
                let key = self.members.key_of(conn).ok_or(AdminError::NotFound)?;
                self.disconnect_banned(key, &message, cx);
                Ok(Answered::Kicked(Kicked { status: "ok", force: false }))
            }
            AdminRequest::CheckPassword { opword, password } => {
                let kind = if opword { PasswordKind::Operator } else { PasswordKind::Session };
                let status = self.properties.password(kind).accepts(&password);
                Ok(Answered::Password(PasswordCheck { status }))
            }
            AdminRequest::Thumbnail => match self.thumbnail() {
                Some(picture) => {
                    use base64::Engine as _;
                    let data = base64::engine::general_purpose::STANDARD.encode(&picture.data);
                    Ok(Answered::Thumbnail(StoredThumbnail { data, at: iso_of(picture.made) }))
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
                Ok(Answered::Forgotten(Forgotten { status: "ok", thumbnail: picture, generation }))
            }
            AdminRequest::AskThumbnail(id, wish) => match self.ask_thumbnail(id, wish, cx) {
                Ok(correlator) => Ok(Answered::Asked(Asked { correlator })),
                Err(NotAsked::NoUser) => Err(AdminError::NotFound),
                Err(NotAsked::Incapable) => Err(AdminError::NoThumbnailCapability),
                Err(NotAsked::Already) => Err(AdminError::ThumbnailPending),
                Err(NotAsked::TooLong) => Err(AdminError::TextTooLong),
            },
            AdminRequest::CancelThumbnail(id) => {
                self.member_by_id(id).ok_or(AdminError::NotFound)?;
                self.cancel_thumbnail(Some(id));
                Ok(Done::ok())
            }
            AdminRequest::JoinChat { message, timeout_ms } => self.join_chat(&message, timeout_ms, cx),
            AdminRequest::ReadChat(offset) => self.read_chat(offset, cx.now),
            AdminRequest::Say(message, offset) => self.say(&message, offset, cx),
            AdminRequest::LeaveChat(message, offset) => self.leave_chat(&message, offset, cx),
            AdminRequest::People => self.people().map(Answered::People),
            AdminRequest::Undo(request) => self.undo_person(&request, cx).map(Answered::Undone),
            AdminRequest::Space => Ok(self.space_details(cx.now)),
            AdminRequest::Restrictions => Ok(self.list_restrictions(cx.now)),
            AdminRequest::Restrict { user, kind, seconds, reason } => {
                self.restrict(user, kind, seconds, &reason, cx)
            }
            AdminRequest::LiftRestriction(id) => self.lift_restriction(id, cx),
            AdminRequest::Warn { user, message } => self.warn(user, &message, cx),
            AdminRequest::CloseToNewcomers(seconds) => self.close_to_newcomers(seconds, cx),
        }
    }

    fn described(&self, now: Timestamp) -> Answered {
        Answered::Session(Box::new(self.details(now)))
    }

    /// The session, with what administrators see of it.
    fn details(&self, now: Timestamp) -> SessionDetails {
        let settings = &self.shared.settings;
        let inside =
            |m: &Member| MemberDetails { inside: Some(MemberState::of(m)), ..self.member_details(m, None) };
        let online = self.members.iter().map(|m| SessionUser::Member(Box::new(inside(m))));
        let gone = self.members.past_users().map(|(id, past)| SessionUser::Past(PastMember::of(id, past)));
        SessionDetails {
            description: self.description(false, now),
            max_size: self.history.limit(),
            base_size: settings.session_size_limit,
            override_size: self.properties.override_size(),
            reset_threshold: self.properties.autoreset_threshold(),
            effective_reset_threshold: self.effective_threshold(),
            min_reset_threshold: settings.minimum_autoreset_threshold,
            deputies: self.properties.flags().deputies,
            has_opword: self.properties.has_opword(),
            users: online.chain(gone).collect(),
            listings: self.announcements.listed().to_vec(),
            invite_list: self.moderation.invites.entries(),
            chat: self.admin_chat.as_ref().map(|chat| chat.state(now)),
            thumbnail: self.thumbnail_state(),
            archive: self.properties.archive(),
            autoreset: self.autoreset_details(now),
            storage_error: self.persistence.error().map(str::to_owned),
        }
    }

    fn thumbnail_state(&self) -> ThumbnailState {
        let asked = self.thumbnail_request();
        ThumbnailState {
            generated_at: self.thumbnail().map(|picture| iso_of(picture.made)),
            generator_ctx_id: asked.map(|(id, _)| id),
            generator_correlator: asked.map(|(_, correlator)| correlator.to_owned()),
        }
    }

    fn autoreset_details(&self, now: Timestamp) -> AutoresetDetails {
        AutoresetDetails {
            delay: self.resets.autoreset_delay(now),
            history_first_index: self.history.first_index(),
            history_last_index: self.history.last_index(),
            request_status: self.resets.autoreset_status(),
            session_state: state_text(self.resets.state()),
            stream: self.resets.stream_stage().map(|stage| match stage {
                StreamStage::Streaming => "streaming",
                StreamStage::Prepared => "prepared",
            }),
        }
    }

    /// A user; with the id of the session where it is not shown as a part of that.
    fn member_details(&self, member: &Member, session: Option<String>) -> MemberDetails {
        MemberDetails {
            client: ClientDetails::of(&member.client),
            id: member.id,
            last_active: time_text(member.last_active),
            last_active_drawing: time_text(member.last_drawing.unwrap_or(0)),
            op: member.is_operator(),
            trusted: member.trusted,
            muted: member.is_muted(),
            slowed: member.slowed,
            warnings: self.warnings_of(member),
            oldv: member.oldv,
            state: "session",
            session,
            inside: None,
        }
    }

    fn user(&self, id: u8) -> SessionAnswer {
        let member = self.member_by_id(id).ok_or(AdminError::NotFound)?;
        let session = Some(self.properties.id().to_owned());
        Ok(Answered::User(Box::new(self.member_details(member, session))))
    }

    /// The session's users, in the form of the list of all users.
    pub fn users(&self) -> Vec<MemberDetails> {
        let session = || Some(self.properties.id().to_owned());
        self.members.iter().map(|m| self.member_details(m, session())).collect()
    }

    /// Name, device, account and address of a member.
    pub fn identity_of(&self, conn: ConnId) -> Option<&Identity> {
        let key = self.members.key_of(conn)?;
        self.members.get(key).map(|member| &member.client.identity)
    }

    /// The session's title.
    pub fn title(&self) -> &str {
        self.properties.title()
    }

    fn invite(&self, secret: &str) -> SessionAnswer {
        let found = self.moderation.invites.entries().into_iter().find(|invite| invite.secret == secret);
        found.map(Answered::Invite).ok_or(AdminError::NotFound)
    }

    fn tell(&self, message: &str, alert: &str, cx: &mut Cx<'_>) {
        for (is_alert, text) in [(false, message), (true, alert)] {
            if !text.is_empty() {
                self.notice(is_alert, "", text.to_owned(), &[], "", cx);
            }
        }
    }

    fn end_for(&mut self, reason: &str, cx: &mut Cx<'_>) -> SessionAnswer {
        if !reason.is_empty() {
            let text = format!("Session shut down by administrator: {reason}");
            if !self.notice(true, "terminatesessionadmin", text, &[("reason", reason)], "", cx) {
                return Err(AdminError::TextTooLong);
            }
        }
        self.end("Session terminated by administrator", cx);
        Ok(Done::ok())
    }

    fn create_invite_for(&mut self, wanted: &InviteCreate, cx: &mut Cx<'_>) -> SessionAnswer {
        let secret = self.moderation.invites.create("", wanted, cx.rng, cx.now);
        let secret = secret.ok_or(AdminError::TooManyInvites)?;
        self.note(Level::Info, Topic::Invite, super::invites::creation_text(wanted), cx);
        self.send_list(List::Invites, cx);
        self.invite(&secret)
    }

    fn remove_invite_for(&mut self, secret: &str, cx: &mut Cx<'_>) -> SessionAnswer {
        if !self.moderation.invites.remove(secret) {
            return Err(AdminError::NotFound);
        }
        self.note(Level::Info, Topic::Invite, format!("Removed invite {secret}"), cx);
        self.send_list(List::Invites, cx);
        Ok(Done::ok())
    }

    fn change_user(&mut self, id: u8, change: &Map<String, Value>, cx: &mut Cx<'_>) -> SessionAnswer {
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

    fn kick_for(&mut self, conn: ConnId, message: &str, cx: &mut Cx<'_>) -> SessionAnswer {
        let key = self.members.key_of(conn).ok_or(AdminError::NotFound)?;
        self.disconnect(key, DisconnectReason::Kick, &kicked_by(message), "kicked via web admin", cx);
        Ok(Answered::Kicked(Kicked { status: "ok", force: false }))
    }
}
