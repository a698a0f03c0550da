//! Replies of the server: the JSON of `ServerCommand` messages from server to client.
//!
//! Written exactly as clients expect it, without members that do not apply; parsed leniently. Sources:
//! docs/spec/login.md#commands-and-replies, docs/spec/session.md#replies.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::frame::{Frame, PayloadTooLong};
use crate::lenient::or_default;
use crate::message::ServerCommand as ServerCommandMessage;

macro_rules! members {
    ($(#[$meta:meta])* $name:ident { $( $(#[$field_meta:meta])* $field:ident : $ty:ty ),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        pub struct $name {
            $( $(#[$field_meta])* #[serde(default, deserialize_with = "or_default")] pub $field: $ty, )*
        }
    };
}

/// A reply of the login phase or of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[non_exhaustive]
pub enum ServerReply {
    /// Greeting, welcome, and updates of the session list.
    Login(Box<LoginReply>),
    /// Success of a login command.
    Result(Box<ResultReply>),
    /// Failure of a login command, or refusal of a session command.
    Error(ErrorReply),
    /// A message for the user.
    Msg(Notice),
    /// A message that clients display prominently.
    Alert(Notice),
    /// An entry of the session's log.
    Log(LogReply),
    /// Session settings, all or some.
    SessionConf(SessionConfReply),
    /// Number of history messages that follow.
    Catchup(Catchup),
    /// End of the history messages that were announced.
    CaughtUp(CaughtUp),
    /// Size of the history.
    Status(Status),
    /// State of a reset.
    Reset(Reset),
    /// Query for clients that can perform an autoreset, or the request for one.
    AutoReset(AutoReset),
    /// The session exceeds its autoreset threshold (for 2.0 clients).
    SizeLimit(SizeLimit),
    /// A streamed reset has begun.
    SStart(StreamStart),
    /// Acknowledgement of a chunk of a streamed reset.
    SProgress(StreamProgress),
    /// The session has reached its size limit.
    OutOfSpace(Empty),
    /// The session password has changed.
    PasswordChange(PasswordChange),
    /// An invite was created.
    InviteCreated(InviteCreated),
    /// Result of a ban list export or import.
    BanImpEx(BanImpEx),
    /// Request for a thumbnail.
    Thumbnail(Thumbnail),
    /// A type that this crate does not know.
    #[serde(other)]
    Unknown,
}

impl ServerReply {
    /// Parses a payload. Anything invalid becomes [`ServerReply::Unknown`].
    pub fn parse(payload: &[u8]) -> ServerReply {
        crate::lenient::from_json(payload).unwrap_or(ServerReply::Unknown)
    }

    /// Encodes the reply as a frame from the server (user id 0).
    ///
    /// # Errors
    /// When the JSON is longer than 65535 bytes.
    pub fn to_frame(&self) -> Result<Frame, PayloadTooLong> {
        self.to_frame_of(0)
    }

    /// Encodes the reply as a frame with a user id, as for `sstart`.
    ///
    /// # Errors
    /// When the JSON is longer than 65535 bytes.
    pub fn to_frame_of(&self, user: u8) -> Result<Frame, PayloadTooLong> {
        // Serializing maps with text keys to memory cannot fail.
        let json = serde_json::to_vec(self).unwrap_or_default();
        Frame::new(ServerCommandMessage::TYPE, user, &json)
    }

    /// The refusal of a session command.
    pub fn command_error(command: &str, reason: &str) -> ServerReply {
        Self::Error(ErrorReply { message: format!("{command}: {reason}"), code: String::new() })
    }

    /// A `sessionconf` with some settings.
    pub fn part(part: ConfPart) -> ServerReply {
        Self::SessionConf(SessionConfReply { config: Config::Part(part), hidx: None })
    }
}

members! {
    /// No members.
    Empty {}
}

members! {
    /// `login`.
    LoginReply {
        /// Display text.
        message: String,
        /// Server number of the protocol (greeting).
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<u32>,
        /// Features and requirements of the server (greeting).
        #[serde(skip_serializing_if = "Option::is_none")]
        flags: Option<Vec<String>>,
        /// Session id or alias; empty if the client has not chosen a session yet.
        #[serde(skip_serializing_if = "Option::is_none")]
        methods: Option<Methods>,
        /// URL of a page about the server (greeting).
        #[serde(skip_serializing_if = "String::is_empty")]
        info: String,
        /// Rules that users must agree to (greeting).
        #[serde(skip_serializing_if = "String::is_empty")]
        rules: String,
        /// WebSockets are preferred (greeting).
        #[serde(rename = "preferWebSockets", skip_serializing_if = "std::ops::Not::not")]
        prefer_web_sockets: bool,
        /// Title of the server (welcome).
        #[serde(skip_serializing_if = "String::is_empty")]
        title: String,
        /// New and changed sessions.
        #[serde(skip_serializing_if = "Option::is_none")]
        sessions: Option<Vec<SessionDescription>>,
        /// Ids of sessions that ended.
        #[serde(skip_serializing_if = "Option::is_none")]
        remove: Option<Vec<String>>,
    }
}

members! {
    /// Login methods.
    Methods {
        /// Guest login.
        #[serde(skip_serializing_if = "Option::is_none")]
        guest: Option<Method>,
        /// With an account of this server.
        #[serde(skip_serializing_if = "Option::is_none")]
        auth: Option<Method>,
        /// With an account of the auth server.
        #[serde(skip_serializing_if = "Option::is_none")]
        extauth: Option<Method>,
    }
}

members! {
    /// A login method.
    Method {
        /// Permitted actions: `join`, `host`.
        actions: Vec<String>,
        /// URL of the auth server.
        #[serde(skip_serializing_if = "String::is_empty")]
        url: String,
    }
}

members! {
    /// A session or template in a session list.
    SessionDescription {
        /// Unique id.
        id: String,
        /// Alias; empty for none.
        alias: String,
        /// Protocol version.
        protocol: String,
        /// Number of users, ghosts included.
        #[serde(rename = "userCount")]
        user_count: u32,
        /// Users that drew in the last 5 minutes.
        #[serde(rename = "activeDrawingUserCount")]
        active_drawing_user_count: u32,
        /// Maximum number of users.
        #[serde(rename = "maxUserCount")]
        max_user_count: u32,
        /// Founder's name.
        founder: String,
        /// Title.
        title: String,
        /// The title is updated with the founder's name.
        autotitle: bool,
        /// A password is needed.
        #[serde(rename = "hasPassword")]
        has_password: bool,
        /// New users are refused.
        closed: bool,
        /// Only accounts may join.
        #[serde(rename = "authOnly")]
        auth_only: bool,
        /// Not safe for minors.
        nsfm: bool,
        /// ISO 8601, UTC.
        #[serde(rename = "startTime")]
        start_time: String,
        /// Size of the history in bytes.
        size: u64,
        /// Kept when empty.
        persistent: bool,
        /// Operators may create invites.
        invites: bool,
        /// Listed for moderators only.
        unlisted: bool,
        /// Exempt from the idle limit; left out if the server does not allow that.
        #[serde(rename = "idleOverride", skip_serializing_if = "Option::is_none")]
        idle_override: Option<bool>,
        /// Browsers may join; left out without WebSockets.
        #[serde(rename = "allowWeb", skip_serializing_if = "Option::is_none")]
        allow_web: Option<bool>,
        /// WebSockets are preferred.
        #[serde(rename = "preferWebSockets", skip_serializing_if = "std::ops::Not::not")]
        prefer_web_sockets: bool,
    }
}

members! {
    /// `result`.
    ResultReply {
        /// Display text.
        message: String,
        /// Subject: `identOk`, `needPassword`, `intentMismatch`, `needExtAuth`, `host`, `join`.
        #[serde(skip_serializing_if = "String::is_empty")]
        state: String,
        /// The TLS handshake follows.
        #[serde(rename = "startTls", skip_serializing_if = "std::ops::Not::not")]
        start_tls: bool,
        /// Answer to `cinfo`.
        #[serde(skip_serializing_if = "Option::is_none")]
        cinfo: Option<ClientInfoResult>,
        /// Answer to `lookup`: `host` or `join`.
        #[serde(skip_serializing_if = "String::is_empty")]
        lookup: String,
        /// The session that was looked up.
        #[serde(skip_serializing_if = "Option::is_none")]
        session: Option<Value>,
        /// Account flags (`identOk`).
        #[serde(skip_serializing_if = "Option::is_none")]
        flags: Option<Vec<String>>,
        /// User name (`identOk`).
        #[serde(skip_serializing_if = "Option::is_none")]
        ident: Option<String>,
        /// Logged in without an account (`identOk`).
        #[serde(skip_serializing_if = "Option::is_none")]
        guest: Option<bool>,
        /// Login method that the client intended (`intentMismatch`).
        #[serde(skip_serializing_if = "String::is_empty")]
        intent: String,
        /// Login method that is required (`intentMismatch`).
        #[serde(skip_serializing_if = "String::is_empty")]
        method: String,
        /// Guest login only because the auth server is down (`intentMismatch`).
        #[serde(rename = "extauthfallback", skip_serializing_if = "std::ops::Not::not")]
        extauth_fallback: bool,
        /// URL for requesting a token (`needExtAuth`).
        #[serde(rename = "extauthurl", skip_serializing_if = "String::is_empty")]
        extauth_url: String,
        /// Nonce for the token, in hex (`needExtAuth`).
        #[serde(skip_serializing_if = "String::is_empty")]
        nonce: String,
        /// Group that the account must be in, empty for any (`needExtAuth`).
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<String>,
        /// An avatar is requested (`needExtAuth`).
        #[serde(skip_serializing_if = "Option::is_none")]
        avatar: Option<bool>,
        /// The session that was hosted or joined.
        #[serde(skip_serializing_if = "Option::is_none")]
        join: Option<JoinResult>,
    }
}

members! {
    /// Answer to `cinfo`.
    ClientInfoResult {
        /// The client runs in a browser.
        browser: bool,
    }
}

members! {
    /// The session that a client has hosted or joined.
    JoinResult {
        /// Session alias or id.
        id: String,
        /// Session id.
        #[serde(rename = "uniqueId")]
        unique_id: String,
        /// The client's user id.
        user: u8,
        /// `NOAUTORESET`, `SKIP`.
        flags: Vec<String>,
        /// The client's account id, empty for guests.
        #[serde(rename = "authId")]
        auth_id: String,
        /// The history starts at the history index that the client sent (`join` only).
        #[serde(skip_serializing_if = "Option::is_none")]
        skip: Option<bool>,
    }
}

members! {
    /// `error`.
    ErrorReply {
        /// Display text.
        message: String,
        /// Machine-readable code; in the login phase only.
        #[serde(skip_serializing_if = "String::is_empty")]
        code: String,
    }
}

members! {
    /// `msg` and `alert`.
    Notice {
        /// Display text.
        message: String,
        /// Translation key of a known text.
        #[serde(rename = "T", skip_serializing_if = "String::is_empty")]
        key: String,
        /// Parameters of the translation.
        #[serde(rename = "P", skip_serializing_if = "Map::is_empty")]
        params: Map<String, Value>,
        /// `prepare`, `cancel` or `failed`, in alerts about resets.
        #[serde(skip_serializing_if = "String::is_empty")]
        reset: String,
    }
}

members! {
    /// `log`.
    LogReply {
        /// ISO 8601, UTC.
        timestamp: String,
        /// Error, Warn or Info.
        level: String,
        /// Topic.
        topic: String,
        /// `<id>;<name>` of the user concerned; empty for none.
        #[serde(skip_serializing_if = "String::is_empty")]
        user: String,
        /// Log message.
        message: String,
    }
}

/// `sessionconf`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionConfReply {
    /// The settings.
    pub config: Config,
    /// History index; only in the stored history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidx: Option<String>,
}

/// Settings of a session, all or some.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Config {
    /// One list or value, sent to single clients.
    Part(ConfPart),
    /// All settings, stored in the history.
    Full(Box<FullConfig>),
}

members! {
    /// All settings of a session.
    FullConfig {
        /// Always null: no longer supported.
        closed: (),
        /// Only accounts may join.
        #[serde(rename = "authOnly")]
        auth_only: bool,
        /// Kept when empty.
        persistent: bool,
        /// Title.
        title: String,
        /// The title is updated with the founder's name.
        autotitle: bool,
        /// Maximum number of users.
        #[serde(rename = "maxUserCount")]
        max_user_count: u32,
        /// Autoreset threshold in bytes, 0 for never.
        #[serde(rename = "resetThreshold")]
        reset_threshold: u64,
        /// Size of the history after the last reset in bytes.
        #[serde(rename = "resetThresholdBase")]
        reset_threshold_base: u64,
        /// Minimum autoreset threshold in bytes.
        #[serde(rename = "resetThresholdMin")]
        reset_threshold_min: u64,
        /// Chat is stored in the history.
        #[serde(rename = "preserveChat")]
        preserve_chat: bool,
        /// Not safe for minors.
        nsfm: bool,
        /// Trusted users may kick.
        deputies: bool,
        /// The session has a password.
        #[serde(rename = "hasPassword")]
        has_password: bool,
        /// The session has an operator password.
        #[serde(rename = "hasOpword")]
        has_opword: bool,
        /// Exempt from the idle limit.
        #[serde(rename = "idleOverride")]
        idle_override: bool,
        /// Operators may create invites.
        invites: bool,
        /// The server enforces `nsfm`.
        #[serde(rename = "forceNsfm")]
        force_nsfm: bool,
        /// Idle limit in seconds, 0 for none.
        #[serde(rename = "idleTimeLimit")]
        idle_time_limit: u64,
        /// Moderators may set `idleOverride`.
        #[serde(rename = "allowIdleOverride")]
        allow_idle_override: bool,
        /// Size limit in bytes, 0 for none.
        #[serde(rename = "maxSize")]
        max_size: u64,
        /// Browsers may join; left out without WebSockets.
        #[serde(rename = "allowWeb", skip_serializing_if = "Option::is_none")]
        allow_web: Option<bool>,
        /// WebSockets are preferred; left out without WebSockets.
        #[serde(rename = "preferWebSockets", skip_serializing_if = "Option::is_none")]
        prefer_web_sockets: Option<bool>,
    }
}

/// One list or value of a session's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConfPart {
    /// Bans; sent to operators only.
    BanList(Vec<BanEntry>),
    /// Ids of muted users.
    Muted(Vec<u8>),
    /// Announcements at list servers.
    Announcements(Vec<AnnouncementEntry>),
    /// Accounts and their roles; sent to operators only.
    Auth(Vec<AuthEntry>),
    /// Invites; sent to operators only.
    InviteList(Vec<InviteEntry>),
    /// Answer to an attempt to close the session.
    Closed(Option<bool>),
}

members! {
    /// A ban of the session.
    BanEntry {
        /// Id of the ban.
        id: u32,
        /// User name; empty if the ban does not match names.
        username: String,
        /// User who banned.
        #[serde(rename = "bannedBy")]
        banned_by: String,
        /// Address; shown to moderators and loopback clients only.
        #[serde(skip_serializing_if = "Option::is_none")]
        ip: Option<String>,
        /// Account id; shown to moderators and loopback clients only.
        #[serde(rename = "extauthid", skip_serializing_if = "Option::is_none")]
        auth_id: Option<String>,
        /// System id; shown to moderators and loopback clients only.
        #[serde(skip_serializing_if = "Option::is_none")]
        s: Option<String>,
    }
}

members! {
    /// An announcement at a list server.
    AnnouncementEntry {
        /// API URL of the list server.
        url: String,
    }
}

members! {
    /// An account that has been in the session.
    AuthEntry {
        /// Account id.
        #[serde(rename = "authId")]
        auth_id: String,
        /// Last known user name.
        username: String,
        /// Operator.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        op: bool,
        /// Trusted.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        trusted: bool,
        /// A moderator who is online.
        #[serde(rename = "mod", skip_serializing_if = "std::ops::Not::not")]
        moderator: bool,
    }
}

members! {
    /// An invite.
    InviteEntry {
        /// Its secret.
        secret: String,
        /// Creation time, ISO 8601, UTC.
        at: String,
        /// User who created it; empty for an administrator.
        #[serde(skip_serializing_if = "String::is_empty")]
        creator: String,
        /// Maximum number of uses.
        #[serde(rename = "maxUses")]
        max_uses: u32,
        /// Users of the invite become operators.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        op: bool,
        /// Users of the invite become trusted.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        trust: bool,
        /// Uses so far.
        uses: Vec<InviteUse>,
    }
}

members! {
    /// A use of an invite.
    InviteUse {
        /// User name.
        name: String,
        /// Time of use, ISO 8601, UTC.
        at: String,
        /// System id; empty where it is not shown.
        s: String,
    }
}

members! {
    /// `catchup`.
    Catchup {
        /// Number of messages that follow.
        count: u64,
        /// Key of the matching `caughtup`; left out when none will follow, because the history is full.
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<u32>,
    }
}

members! {
    /// `caughtup`.
    CaughtUp {
        /// Key of the matching `catchup`, 0 after a reset.
        key: u32,
        /// History index.
        #[serde(skip_serializing_if = "Option::is_none")]
        hidx: Option<String>,
    }
}

members! {
    /// `status`.
    Status {
        /// Size of the history in bytes.
        size: u64,
        /// History index.
        #[serde(rename = "hid*", skip_serializing_if = "Option::is_none")]
        hidx: Option<String>,
    }
}

members! {
    /// `reset`.
    Reset {
        /// Display text.
        message: String,
        /// `init`: the client must send the reset image; `reset`: the new history follows.
        state: String,
    }
}

members! {
    /// `autoreset`.
    AutoReset {
        /// Size limit in bytes.
        #[serde(rename = "maxSize")]
        max_size: u64,
        /// Query, as opposed to the request.
        query: bool,
        /// To be returned in the answer (query).
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<String>,
        /// To be returned in `stream-reset-start` (streamed request).
        #[serde(skip_serializing_if = "Option::is_none")]
        correlator: Option<String>,
        /// Compression, `gzip1` (streamed request).
        #[serde(skip_serializing_if = "Option::is_none")]
        stream: Option<String>,
    }
}

members! {
    /// `sizelimit`.
    SizeLimit {
        /// Size of the history in bytes.
        size: u64,
        /// Autoreset threshold in bytes.
        #[serde(rename = "maxSize")]
        max_size: u64,
    }
}

members! {
    /// `sstart`.
    StreamStart {
        /// Correlator of the request.
        correlator: String,
    }
}

members! {
    /// `sprogress`.
    StreamProgress {
        /// The stream was cancelled.
        cancel: bool,
    }
}

members! {
    /// `passwordchange`.
    PasswordChange {
        /// The new password; empty if it was removed.
        password: String,
    }
}

members! {
    /// `invitecreated`.
    InviteCreated {
        /// The invite's secret.
        secret: String,
    }
}

members! {
    /// `banimpex`.
    BanImpEx {
        /// The exported text.
        #[serde(skip_serializing_if = "Option::is_none")]
        export: Option<String>,
        /// Number of imported bans.
        #[serde(skip_serializing_if = "Option::is_none")]
        imported: Option<u32>,
        /// Number of bans in the imported text.
        #[serde(skip_serializing_if = "Option::is_none")]
        total: Option<u32>,
        /// Error message for display.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// Translation key.
        #[serde(rename = "T", skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    }
}

members! {
    /// `thumbnail`.
    Thumbnail {
        /// To be sent in front of the picture.
        correlator: String,
        /// Maximum width in pixels.
        #[serde(rename = "maxWidth", skip_serializing_if = "Option::is_none")]
        max_width: Option<u32>,
        /// Maximum height in pixels.
        #[serde(rename = "maxHeight", skip_serializing_if = "Option::is_none")]
        max_height: Option<u32>,
        /// Quality in percent.
        #[serde(skip_serializing_if = "Option::is_none")]
        quality: Option<u32>,
        /// `webp` or `jpeg`.
        #[serde(skip_serializing_if = "Option::is_none")]
        format: Option<String>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn json_of(reply: &ServerReply) -> Value {
        serde_json::to_value(reply).unwrap()
    }

    #[test]
    fn members_that_do_not_apply_are_left_out() {
        let error = ServerReply::command_error("mute", "Not a session owner");
        assert_eq!(json_of(&error), json!({"type": "error", "message": "mute: Not a session owner"}));
        let caught_up = ServerReply::CaughtUp(CaughtUp { key: 7, hidx: None });
        assert_eq!(json_of(&caught_up), json!({"type": "caughtup", "key": 7}));
        let space = ServerReply::OutOfSpace(Empty {});
        assert_eq!(json_of(&space), json!({"type": "outofspace"}));
    }

    #[test]
    fn partial_settings_have_one_member() {
        let muted = ServerReply::part(ConfPart::Muted(vec![3]));
        assert_eq!(json_of(&muted), json!({"type": "sessionconf", "config": {"muted": [3]}}));
        let closed = ServerReply::part(ConfPart::Closed(None));
        assert_eq!(json_of(&closed), json!({"type": "sessionconf", "config": {"closed": null}}));
    }

    #[test]
    fn all_settings_are_written_with_closed_null() {
        let full = ServerReply::SessionConf(SessionConfReply {
            config: Config::Full(Box::default()),
            hidx: Some("1:2:x".into()),
        });
        let value = json_of(&full);
        assert_eq!(value["config"].as_object().unwrap().len(), 20);
        assert_eq!(value["config"].get("closed"), Some(&Value::Null));
        assert_eq!(serde_json::from_value::<ServerReply>(value).unwrap(), full);
    }

    #[test]
    fn replies_are_parsed_leniently() {
        let status = ServerReply::parse(br#"{"type":"status","size":"large","more":1}"#);
        assert_eq!(status, ServerReply::Status(Status::default()));
        assert_eq!(ServerReply::parse(br#"{"type":"newthing"}"#), ServerReply::Unknown);
        assert_eq!(ServerReply::parse(b"nonsense"), ServerReply::Unknown);
    }

    #[test]
    fn a_reply_that_is_too_long_is_refused() {
        let notice = Notice { message: "x".repeat(65536), ..Default::default() };
        assert!(ServerReply::Msg(notice).to_frame().is_err());
    }

    proptest! {
        #[test]
        fn no_input_makes_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = ServerReply::parse(&bytes);
        }

        #[test]
        fn a_notice_survives_encoding_and_parsing(message in ".{0,40}", key in "[a-z]{0,8}") {
            let notice = ServerReply::Alert(Notice { message, key, ..Default::default() });
            let frame = notice.to_frame().unwrap();
            prop_assert_eq!(ServerReply::parse(frame.payload()), notice);
        }
    }
}
