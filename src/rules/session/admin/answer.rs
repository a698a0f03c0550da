//! What requests of the admin API are answered. The names of the fields are those of the reference's API.

mod moderation;

use drawhall_protocol::reply::{InviteEntry, SessionDescription};
use serde::Serialize;
use serde_json::Value;

pub use moderation::{RestrictionDetails, RestrictionList, SpaceDetails, SpaceShare, WarningCount};

use super::AdminError;
use super::histories::{CutBack, Everybody, Generations, People, Removed, Restored, Times, Undone};
use crate::rules::session::ListedAt;
use crate::rules::session::member::AuthenticatedClient;
use crate::rules::time::iso_of;

/// The answer to a request of the admin API, or why it is refused.
pub type SessionAnswer = Result<Answered, AdminError>;

/// The answer to a request of the admin API, one variant for each form.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Answered {
    /// The session, with what administrators see of it.
    Session(Box<SessionDetails>),
    /// Users were sent a text: there is nothing to say.
    Told(Told),
    /// It is done.
    Done(Done),
    /// All invites.
    Invites(Invites),
    /// An invite.
    Invite(InviteEntry),
    /// A user in the session.
    User(Box<MemberDetails>),
    /// A user was kicked.
    Kicked(Kicked),
    /// Whether a password is right.
    Password(PasswordCheck),
    /// The thumbnail.
    Thumbnail(StoredThumbnail),
    /// The thumbnail, or the request for one, is gone.
    Forgotten(Forgotten),
    /// A thumbnail was requested.
    Asked(Asked),
    /// Messages of the chat.
    Chat(ChatMessages),
    /// The people of the history, with what can be undone.
    People(People),
    /// Actions of somebody were undone or redone.
    Undone(Undone),
    /// Everybody since the last reset.
    Everybody(Everybody),
    /// What somebody drew was removed, or would be.
    Removed(Removed),
    /// The times that the history can be cut back to.
    Times(Times),
    /// The history was cut back, or would be.
    CutBack(CutBack),
    /// Earlier histories.
    Generations(Generations),
    /// Another history is in place.
    Restored(Restored),
    /// Who has used how much of the session's space.
    Space(SpaceDetails),
    /// What people may not do for a time.
    Restrictions(RestrictionList),
    /// A restriction that was made or ended.
    Restriction(RestrictionDetails),
    /// A user was warned.
    Warned(WarningCount),
}

impl Answered {
    /// The answer in the form of the API.
    pub fn to_json(&self) -> Value {
        // Maps with text keys can be written.
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// Nothing to say.
#[derive(Debug, Clone, Serialize)]
pub struct Told {}

/// It is done.
#[derive(Debug, Clone, Serialize)]
pub struct Done {
    /// ok.
    pub status: &'static str,
}

impl Done {
    pub(super) fn ok() -> Answered {
        Answered::Done(Done { status: "ok" })
    }
}

/// All invites.
#[derive(Debug, Clone, Serialize)]
pub struct Invites {
    /// In the order of their secrets.
    pub invites: Vec<InviteEntry>,
}

/// A user was kicked.
#[derive(Debug, Clone, Serialize)]
pub struct Kicked {
    /// ok.
    pub status: &'static str,
    /// The connection was not torn down.
    pub force: bool,
}

/// Whether a password is right.
#[derive(Debug, Clone, Serialize)]
pub struct PasswordCheck {
    /// It is.
    pub status: bool,
}

/// The thumbnail.
#[derive(Debug, Clone, Serialize)]
pub struct StoredThumbnail {
    /// WebP or JPEG, in base64.
    pub data: String,
    /// When it arrived.
    pub at: String,
}

/// What was forgotten.
#[derive(Debug, Clone, Serialize)]
pub struct Forgotten {
    /// ok.
    pub status: &'static str,
    /// The thumbnail.
    pub thumbnail: bool,
    /// The pending request for one.
    pub generation: bool,
}

/// A thumbnail was requested.
#[derive(Debug, Clone, Serialize)]
pub struct Asked {
    /// Correlator of the request.
    pub correlator: String,
}

/// Messages of the chat from an offset on.
#[derive(Debug, Clone, Serialize)]
pub struct ChatMessages {
    /// Offset of the first message.
    pub offset: u64,
    /// In the order in which they came.
    pub messages: Vec<ChatMessage>,
}

/// A message of the chat. Without a user it is the administrator's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChatMessage {
    /// User id.
    #[serde(rename = "i", skip_serializing_if = "Option::is_none")]
    pub user: Option<u8>,
    /// User name.
    #[serde(rename = "n", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The text.
    #[serde(rename = "m")]
    pub text: String,
    /// Opaque flags of the message, if there are any.
    #[serde(rename = "f", skip_serializing_if = "Option::is_none")]
    pub flags: Option<u8>,
}

/// Capabilities of a client.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ClientCapabilities {
    pub keepalive: bool,
    pub thumbnail: bool,
}

/// A connected client, in a session or not.
#[derive(Debug, Clone, Serialize)]
pub struct ClientDetails {
    /// Number of the connection.
    pub uid: String,
    /// User name.
    pub name: String,
    /// Address, empty if unknown.
    pub ip: String,
    /// System id.
    #[serde(rename = "s")]
    pub sid: String,
    /// Logged in with an account.
    pub auth: bool,
    /// Moderator.
    #[serde(rename = "mod")]
    pub moderator: bool,
    /// The connection is encrypted.
    pub tls: bool,
    /// From a browser.
    pub browser: bool,
    /// What the client can do.
    pub capabilities: ClientCapabilities,
    /// Id of the account, empty without one. The API does not have it in lists of users.
    #[serde(skip)]
    pub auth_id: String,
}

impl ClientDetails {
    /// Of this client.
    pub fn of(client: &AuthenticatedClient) -> ClientDetails {
        let identity = &client.identity;
        ClientDetails {
            uid: client.conn.to_string(),
            name: identity.name.clone(),
            ip: identity.address.map_or(String::new(), |a| a.to_string()),
            sid: identity.sid.clone(),
            auth: !identity.auth_id.is_empty(),
            moderator: client.moderator,
            tls: client.encrypted,
            browser: client.browser,
            capabilities: ClientCapabilities {
                keepalive: client.capabilities.keep_alive,
                thumbnail: client.capabilities.thumbnail,
            },
            auth_id: identity.auth_id.clone(),
        }
    }
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// A user in a session.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberDetails {
    /// The client.
    #[serde(flatten)]
    pub client: ClientDetails,
    /// User id.
    pub id: u8,
    /// Last message.
    pub last_active: String,
    /// Last drawing command.
    pub last_active_drawing: String,
    /// Operator.
    pub op: bool,
    /// Trusted.
    pub trusted: bool,
    /// Chat messages are dropped.
    pub muted: bool,
    /// Slowed down, because it draws too fast; left out unless it is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub slowed: bool,
    /// How often the person was warned in this session; left out if never.
    #[serde(skip_serializing_if = "is_zero")]
    pub warnings: u32,
    /// An older protocol version than the session's.
    pub oldv: bool,
    /// session.
    pub state: &'static str,
    /// Id of the session; not as a part of its description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// As a part of the session's description.
    #[serde(flatten)]
    pub inside: Option<MemberState>,
}

/// What the description of a session says of its users.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberState {
    /// Is there.
    pub online: bool,
    /// Messages are held until the session runs.
    pub hold_locked: bool,
    /// Role in an autoreset.
    pub reset_flags: Vec<&'static str>,
}

/// A client that is in no session.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutsideClient {
    /// The client.
    #[serde(flatten)]
    pub client: ClientDetails,
    /// User id: 0.
    pub id: u8,
    /// Id of the session: empty.
    pub session: &'static str,
    /// What its connection does.
    pub state: &'static str,
    /// Since when it is in no session.
    pub last_without_session: String,
    /// Operator: no.
    pub op: bool,
    /// Trusted: no.
    pub trusted: bool,
    /// Muted: no.
    pub muted: bool,
    /// An older protocol version: no.
    pub oldv: bool,
}

impl OutsideClient {
    /// Of this client, which has connected at `since_ms`, milliseconds since 1970.
    pub fn of(client: &AuthenticatedClient, state: &'static str, since_ms: i64) -> OutsideClient {
        OutsideClient {
            client: ClientDetails::of(client),
            id: 0,
            session: "",
            state,
            last_without_session: time_text(since_ms),
            op: false,
            trusted: false,
            muted: false,
            oldv: false,
        }
    }
}

/// A user who has left.
#[derive(Debug, Clone, Serialize)]
pub struct PastMember {
    /// User id.
    pub id: u8,
    /// User name.
    pub name: String,
    /// Address, empty if unknown.
    pub ip: String,
    /// System id.
    #[serde(rename = "s")]
    pub sid: String,
    /// Is there: never.
    pub online: bool,
}

/// A user of a session.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "the names say it")]
pub enum SessionUser {
    Member(Box<MemberDetails>),
    Past(PastMember),
}

/// State of an administrator's chat.
#[derive(Debug, Clone, Serialize)]
pub struct ChatState {
    /// Offset of the first message.
    pub offset: u64,
    /// Number of messages.
    pub count: usize,
    /// Time without a read after which it is left, in milliseconds.
    pub timeout: u64,
    /// What is left of it.
    pub remaining: u64,
}

/// State of the thumbnail.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ThumbnailState {
    /// When it arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generated_at: Option<String>,
    /// User id of the client that was asked for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator_ctx_id: Option<u8>,
    /// Correlator of that request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator_correlator: Option<String>,
}

/// State of the autoreset.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AutoresetDetails {
    /// Milliseconds until the next may begin.
    pub delay: u64,
    /// Index of the first message of the history.
    pub history_first_index: i64,
    /// Index of the last one.
    pub history_last_index: i64,
    /// How far the request is.
    pub request_status: &'static str,
    /// State of the session.
    pub session_state: &'static str,
    /// State of a streamed reset.
    pub stream: Option<&'static str>,
}

/// A session, with what administrators see of it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionDetails {
    /// As in session lists.
    #[serde(flatten)]
    pub description: SessionDescription,
    /// Size limit in force, in bytes; 0 for none.
    pub max_size: u64,
    /// The server's size limit.
    pub base_size: u64,
    /// The session's own one; 0 for none.
    pub override_size: u64,
    /// Autoreset threshold in bytes; 0 for never.
    pub reset_threshold: u64,
    /// Size at which the next autoreset is requested.
    pub effective_reset_threshold: u64,
    /// The server's minimum.
    pub min_reset_threshold: u64,
    /// Trusted users may kick.
    pub deputies: bool,
    /// There is an operator password.
    pub has_opword: bool,
    /// Who is in it, and who was.
    pub users: Vec<SessionUser>,
    /// Listings at list servers.
    pub listings: Vec<ListedAt>,
    /// Invites.
    #[serde(rename = "invitelist")]
    pub invite_list: Vec<InviteEntry>,
    /// An administrator's chat.
    pub chat: Option<ChatState>,
    /// The thumbnail.
    pub thumbnail: ThumbnailState,
    /// Whether the files are archived at the end; `None` follows the server's setting.
    pub archive: Option<bool>,
    /// The autoreset.
    pub autoreset: AutoresetDetails,
    /// Why storing fails at present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_error: Option<String>,
}

/// A time in the form of the API; `utc_ms` in milliseconds since 1970.
pub fn time_text(utc_ms: i64) -> String {
    iso_of(utc_ms).replace('Z', "+00:00")
}

#[cfg(test)]
mod tests;
