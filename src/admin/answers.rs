//! What the API says about sessions and users.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::endpoint::Listed;

/// What a client can do.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct Capabilities {
    /// The client sends keep-alive messages.
    keepalive: bool,
    /// The client can create thumbnails.
    thumbnail: bool,
}

/// A connected user; in descriptions of sessions also a past one, of whom only id, name, address and system id are
/// known.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct User {
    /// User id in the session, 0 outside.
    pub(super) id: u8,
    /// User name.
    pub(super) name: String,
    /// Address, empty if it is unknown.
    pub(super) ip: String,
    /// System id.
    s: String,
    /// Number of the connection; of a user of another server with that server's before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<String>,
    /// Name of the server that has the session, or the connection of somebody in none; only if that is another one of
    /// the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<String>,
    /// When something was received, ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_active: Option<String>,
    /// When something was drawn, ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_active_drawing: Option<String>,
    /// Since when it is in no session, ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_without_session: Option<String>,
    /// Logged in with an account.
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<bool>,
    /// Operator of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    op: Option<bool>,
    /// Trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    trusted: Option<bool>,
    /// May not chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    muted: Option<bool>,
    /// Slowed down, because it draws too fast.
    #[serde(skip_serializing_if = "Option::is_none")]
    slowed: Option<bool>,
    /// How often the person was warned in this session.
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<u32>,
    /// Moderator of the server.
    #[serde(rename = "mod", skip_serializing_if = "Option::is_none")]
    moderator: Option<bool>,
    /// The connection is encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<bool>,
    /// The client runs in a browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    browser: Option<bool>,
    /// The client is older than the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldv: Option<bool>,
    /// Session id, empty in none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session: Option<String>,
    /// login, session, graceful_disconnect or quiet_disconnect.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capabilities: Option<Capabilities>,
    /// Still there; in descriptions of sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    online: Option<bool>,
    /// Waits for a reset; in descriptions of sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_locked: Option<bool>,
    /// What it has to do with a reset: awaiting, queried, responded, streaming.
    #[serde(skip_serializing_if = "Option::is_none")]
    reset_flags: Option<Vec<String>>,
}

impl Listed for User {
    const NAME: &'static str = "users";
}

/// A use of an invite.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct InviteUse {
    /// Who.
    name: String,
    /// When.
    at: String,
    /// System id.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<String>,
}

/// An invite.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Invite {
    /// Secret that joins the session.
    secret: String,
    /// When it was created.
    at: String,
    /// Who created it; administrators are not named.
    #[serde(skip_serializing_if = "Option::is_none")]
    creator: Option<String>,
    /// How often it can be used.
    max_uses: u32,
    /// Whoever uses it is operator; only if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    op: Option<bool>,
    /// Whoever uses it is trusted; only if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    trust: Option<bool>,
    /// Who has used it.
    uses: Vec<InviteUse>,
}

/// An announcement at a list server.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct Listing {
    /// Id.
    pub(super) id: u64,
    /// The list server.
    pub(super) url: String,
}

impl Listed for Listing {
    const NAME: &'static str = "listings";
}

/// An administrator in the chat of a session.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct ChatState {
    /// Number of the first message that is kept.
    offset: u64,
    /// Messages that are kept.
    count: u64,
    /// Milliseconds without reading after which the administrator leaves the chat.
    timeout: u64,
    /// Milliseconds until then.
    remaining: u64,
}

/// State of the autoreset.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Autoreset {
    /// Milliseconds until an autoreset can be asked for.
    delay: u64,
    /// Index of the first message of the history.
    history_first_index: i64,
    /// Index of the last message of the history.
    history_last_index: i64,
    /// State of the request to a client.
    request_status: String,
    /// initialization, running, reset or shutdown.
    session_state: String,
    /// State of a streamed reset.
    stream: Option<String>,
}

/// State of the picture of the canvas.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ThumbnailState {
    /// When the picture was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    generated_at: Option<String>,
    /// User id of the client that creates one.
    #[serde(skip_serializing_if = "Option::is_none")]
    generator_ctx_id: Option<u8>,
    /// Correlator of its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    generator_correlator: Option<String>,
}

/// A session or a template, as in lists. Templates have neither id nor users.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Session {
    /// Session id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    /// Alias, empty without.
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<String>,
    /// Protocol version, such as dp:4.24.0.
    protocol: String,
    /// Users in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user_count: Option<u64>,
    /// Users who have drawn lately.
    #[serde(skip_serializing_if = "Option::is_none")]
    active_drawing_user_count: Option<u64>,
    /// Maximum number of users.
    max_user_count: u32,
    /// Name of the host.
    founder: String,
    /// Title.
    title: String,
    /// The title is generated.
    #[serde(skip_serializing_if = "Option::is_none")]
    autotitle: Option<bool>,
    /// Joining needs a password.
    has_password: bool,
    /// Closed to new users.
    #[serde(skip_serializing_if = "Option::is_none")]
    closed: Option<bool>,
    /// Only accounts may join.
    auth_only: bool,
    /// Not safe for minors.
    nsfm: bool,
    /// When it started, ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<String>,
    /// Bytes of its history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<u64>,
    /// It persists without users.
    #[serde(skip_serializing_if = "Option::is_none")]
    persistent: Option<bool>,
    /// Operators may make invites.
    #[serde(skip_serializing_if = "Option::is_none")]
    invites: Option<bool>,
    /// Lists do not show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    unlisted: Option<bool>,
    /// It has no idle limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_override: Option<bool>,
    /// Browsers may join.
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_web: Option<bool>,
    /// Clients are to prefer WebSocket.
    #[serde(skip_serializing_if = "Option::is_none")]
    prefer_web_sockets: Option<bool>,
    /// Why it cannot be stored or loaded; only while it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_error: Option<String>,
    /// Name of the server that has it; only if that is another one of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
}

impl Listed for Session {
    const NAME: &'static str = "sessions";
}

/// Everything about a session.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionDetails {
    #[serde(flatten)]
    pub(super) session: Session,
    /// Maximum size of its history in bytes.
    max_size: u64,
    /// Maximum size by the settings in bytes.
    base_size: u64,
    /// Maximum size of this history in bytes, 0 for that of the settings.
    override_size: u64,
    /// Size at which an autoreset is requested.
    reset_threshold: u64,
    /// The same, plus the size after the last reset.
    effective_reset_threshold: u64,
    /// Minimum that operators can set.
    min_reset_threshold: u64,
    /// Trusted users may kick.
    deputies: bool,
    /// There is an operator password.
    has_opword: bool,
    /// Present and past users.
    users: Vec<User>,
    /// Where it is announced.
    pub(super) listings: Vec<Listing>,
    /// Its invites; none for readers, whom they would let in.
    pub(super) invitelist: Vec<Invite>,
    /// An administrator is in the chat.
    chat: Option<ChatState>,
    /// The picture.
    thumbnail: ThumbnailState,
    /// Its files are kept when it ends; null is the setting archive.
    archive: Option<bool>,
    autoreset: Autoreset,
    /// Sessions are locked against changes.
    #[serde(rename = "_locked", default)]
    pub(super) locked: bool,
}
