//! What the server answers: the JSON of `ServerCommand` messages from server to client.
//!
//! Written exactly as clients expect it, members that do not apply left out; read leniently. Source: docs/spec/login.md#commands-and-replies.
//! docs/spec/session.md#replies.

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

/// A reply of either phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[non_exhaustive]
pub enum ServerReply {
    /// Greeting, welcome, and changes of the session list.
    Login(Box<LoginReply>),
    /// Answer to a login command.
    Result(Box<ResultReply>),
    /// A login command failed, or a session command was refused.
    Error(ErrorReply),
    /// A text for the user.
    Msg(Notice),
    /// A text that stands out.
    Alert(Notice),
    /// A line of the session's log.
    Log(LogReply),
    /// Session settings, all or a part.
    SessionConf(SessionConfReply),
    /// How much history will come.
    Catchup(Catchup),
    /// This much of the history has come.
    CaughtUp(CaughtUp),
    /// Size of the history.
    Status(Status),
    /// States of a reset.
    Reset(Reset),
    /// A reset is asked for, or asked about.
    AutoReset(AutoReset),
    /// The session is larger than its threshold (for 2.0 clients).
    SizeLimit(SizeLimit),
    /// A streamed reset begins.
    SStart(StreamStart),
    /// A chunk of a streamed reset was taken or not.
    SProgress(StreamProgress),
    /// The session is full.
    OutOfSpace(Empty),
    /// The password was changed.
    PasswordChange(PasswordChange),
    /// An invite was made.
    InviteCreated(InviteCreated),
    /// Result of exporting or importing bans.
    BanImpEx(BanImpEx),
    /// A thumbnail is asked for.
    Thumbnail(Thumbnail),
    /// Something that this crate does not know.
    #[serde(other)]
    Unknown,
}

impl ServerReply {
    /// Reads a payload; what is no reply is [`ServerReply::Unknown`].
    pub fn parse(payload: &[u8]) -> ServerReply {
        crate::lenient::from_json(payload).unwrap_or(ServerReply::Unknown)
    }

    /// The reply as a frame from the server.
    ///
    /// # Errors
    /// When it does not fit into one message (65535 bytes).
    pub fn to_frame(&self) -> Result<Frame, PayloadTooLong> {
        self.to_frame_of(0)
    }

    /// The reply as a frame that carries a user's id, as `sstart` does.
    ///
    /// # Errors
    /// When it does not fit into one message (65535 bytes).
    pub fn to_frame_of(&self, user: u8) -> Result<Frame, PayloadTooLong> {
        // Serializing maps with text keys into memory cannot fail.
        let json = serde_json::to_vec(self).unwrap_or_default();
        Frame::new(ServerCommandMessage::TYPE, user, &json)
    }

    /// A refusal of a session command.
    pub fn command_error(command: &str, reason: &str) -> ServerReply {
        Self::Error(ErrorReply { message: format!("{command}: {reason}"), code: String::new() })
    }

    /// A partial `sessionconf`.
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
        /// For people.
        message: String,
        /// Server number of the protocol (greeting).
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<u32>,
        /// What the server can do and wants (greeting).
        #[serde(skip_serializing_if = "Option::is_none")]
        flags: Option<Vec<String>>,
        /// How one can log in (greeting).
        #[serde(skip_serializing_if = "Option::is_none")]
        methods: Option<Methods>,
        /// Where to read more (greeting).
        #[serde(skip_serializing_if = "String::is_empty")]
        info: String,
        /// Rules to agree to (greeting).
        #[serde(skip_serializing_if = "String::is_empty")]
        rules: String,
        /// WebSockets are preferred (greeting).
        #[serde(rename = "preferWebSockets", skip_serializing_if = "std::ops::Not::not")]
        prefer_web_sockets: bool,
        /// The server's title (welcome).
        #[serde(skip_serializing_if = "String::is_empty")]
        title: String,
        /// Sessions that are there or have changed.
        #[serde(skip_serializing_if = "Option::is_none")]
        sessions: Option<Vec<SessionDescription>>,
        /// Ids of sessions that ended.
        #[serde(skip_serializing_if = "Option::is_none")]
        remove: Option<Vec<String>>,
    }
}

members! {
    /// Ways to log in.
    Methods {
        /// Without an account.
        #[serde(skip_serializing_if = "Option::is_none")]
        guest: Option<Method>,
        /// With an account of the server.
        #[serde(skip_serializing_if = "Option::is_none")]
        auth: Option<Method>,
        /// With an account elsewhere.
        #[serde(skip_serializing_if = "Option::is_none")]
        extauth: Option<Method>,
    }
}

members! {
    /// A way to log in.
    Method {
        /// `join`, `host`.
        actions: Vec<String>,
        /// The ext-auth server.
        #[serde(skip_serializing_if = "String::is_empty")]
        url: String,
    }
}

members! {
    /// A session or template in a list.
    SessionDescription {
        /// Unique id.
        id: String,
        /// Alias, empty without.
        alias: String,
        /// Protocol version.
        protocol: String,
        /// Users in it, ghosts included.
        #[serde(rename = "userCount")]
        user_count: u32,
        /// Users that drew in the last 5 minutes.
        #[serde(rename = "activeDrawingUserCount")]
        active_drawing_user_count: u32,
        /// Greatest number of users.
        #[serde(rename = "maxUserCount")]
        max_user_count: u32,
        /// Founder's name.
        founder: String,
        /// Title.
        title: String,
        /// The title follows the founder's name.
        autotitle: bool,
        /// A password is needed.
        #[serde(rename = "hasPassword")]
        has_password: bool,
        /// Nobody can join now.
        closed: bool,
        /// Only accounts may join.
        #[serde(rename = "authOnly")]
        auth_only: bool,
        /// Not safe for minors.
        nsfm: bool,
        /// ISO 8601, UTC.
        #[serde(rename = "startTime")]
        start_time: String,
        /// Bytes of history.
        size: u64,
        /// Stays when empty.
        persistent: bool,
        /// Operators may make invites.
        invites: bool,
        /// Shown to moderators only.
        unlisted: bool,
        /// Not subject to the idle limit, where that may be.
        #[serde(rename = "idleOverride", skip_serializing_if = "Option::is_none")]
        idle_override: Option<bool>,
        /// Browsers may join, if WebSockets are on.
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
        /// For people.
        message: String,
        /// What it is about: `identOk`, `needPassword`, `intentMismatch`, `needExtAuth`, `host`, `join`.
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
        /// The name (`identOk`).
        #[serde(skip_serializing_if = "Option::is_none")]
        ident: Option<String>,
        /// Without an account (`identOk`).
        #[serde(skip_serializing_if = "Option::is_none")]
        guest: Option<bool>,
        /// What the client meant (`intentMismatch`).
        #[serde(skip_serializing_if = "String::is_empty")]
        intent: String,
        /// What is needed (`intentMismatch`).
        #[serde(skip_serializing_if = "String::is_empty")]
        method: String,
        /// Guest only because the auth server is down (`intentMismatch`).
        #[serde(rename = "extauthfallback", skip_serializing_if = "std::ops::Not::not")]
        extauth_fallback: bool,
        /// Where to get a token (`needExtAuth`).
        #[serde(rename = "extauthurl", skip_serializing_if = "String::is_empty")]
        extauth_url: String,
        /// What the token must answer, in hex (`needExtAuth`).
        #[serde(skip_serializing_if = "String::is_empty")]
        nonce: String,
        /// Which group the account must be in, empty for any (`needExtAuth`).
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<String>,
        /// An avatar is wanted (`needExtAuth`).
        #[serde(skip_serializing_if = "Option::is_none")]
        avatar: Option<bool>,
        /// The session that was entered.
        #[serde(skip_serializing_if = "Option::is_none")]
        join: Option<JoinResult>,
    }
}

members! {
    /// Answer to `cinfo`.
    ClientInfoResult {
        /// The client is a browser.
        browser: bool,
    }
}

members! {
    /// The session that a client has hosted or joined.
    JoinResult {
        /// Alias or id.
        id: String,
        /// Id.
        #[serde(rename = "uniqueId")]
        unique_id: String,
        /// The client's user id.
        user: u8,
        /// `NOAUTORESET`, `SKIP`.
        flags: Vec<String>,
        /// The client's account id, empty for guests.
        #[serde(rename = "authId")]
        auth_id: String,
        /// Catch-up begins at the history index that the client gave (`join` only).
        #[serde(skip_serializing_if = "Option::is_none")]
        skip: Option<bool>,
    }
}

members! {
    /// `error`.
    ErrorReply {
        /// For people.
        message: String,
        /// For programs; only during login.
        #[serde(skip_serializing_if = "String::is_empty")]
        code: String,
    }
}

members! {
    /// `msg` and `alert`.
    Notice {
        /// For people.
        message: String,
        /// Key for translation, for known texts.
        #[serde(rename = "T", skip_serializing_if = "String::is_empty")]
        key: String,
        /// Parameters of the translation.
        #[serde(rename = "P", skip_serializing_if = "Map::is_empty")]
        params: Map<String, Value>,
        /// `prepare`, `cancel` or `failed`, for alerts about resets.
        #[serde(skip_serializing_if = "String::is_empty")]
        reset: String,
    }
}

members! {
    /// `log`.
    LogReply {
        /// ISO 8601, UTC.
        timestamp: String,
        /// Error, Warn, Info.
        level: String,
        /// What it is about.
        topic: String,
        /// `<id>;<name>`, if it is about a user.
        #[serde(skip_serializing_if = "String::is_empty")]
        user: String,
        /// The text.
        message: String,
    }
}

/// `sessionconf`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionConfReply {
    /// The settings.
    pub config: Config,
    /// History index; only in the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidx: Option<String>,
}

/// Settings of a session, all or a part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Config {
    /// One list or value, sent directly.
    Part(ConfPart),
    /// All settings, part of the history.
    Full(Box<FullConfig>),
}

members! {
    /// All settings of a session.
    FullConfig {
        /// Always null: closing is no longer supported.
        closed: (),
        /// Only accounts may join.
        #[serde(rename = "authOnly")]
        auth_only: bool,
        /// Stays when empty.
        persistent: bool,
        /// Title.
        title: String,
        /// The title follows the founder's name.
        autotitle: bool,
        /// Greatest number of users.
        #[serde(rename = "maxUserCount")]
        max_user_count: u32,
        /// Autoreset threshold in bytes, 0 never.
        #[serde(rename = "resetThreshold")]
        reset_threshold: u64,
        /// Size after the last reset in bytes.
        #[serde(rename = "resetThresholdBase")]
        reset_threshold_base: u64,
        /// Least autoreset threshold in bytes.
        #[serde(rename = "resetThresholdMin")]
        reset_threshold_min: u64,
        /// Chat is kept in the history.
        #[serde(rename = "preserveChat")]
        preserve_chat: bool,
        /// Not safe for minors.
        nsfm: bool,
        /// Trusted users may kick.
        deputies: bool,
        /// There is a password.
        #[serde(rename = "hasPassword")]
        has_password: bool,
        /// There is an operator password.
        #[serde(rename = "hasOpword")]
        has_opword: bool,
        /// Not subject to the idle limit.
        #[serde(rename = "idleOverride")]
        idle_override: bool,
        /// Operators may make invites.
        invites: bool,
        /// The server forces `nsfm`.
        #[serde(rename = "forceNsfm")]
        force_nsfm: bool,
        /// Idle limit in seconds, 0 none.
        #[serde(rename = "idleTimeLimit")]
        idle_time_limit: u64,
        /// Whether moderators may set `idleOverride`.
        #[serde(rename = "allowIdleOverride")]
        allow_idle_override: bool,
        /// Size limit in bytes, 0 none.
        #[serde(rename = "maxSize")]
        max_size: u64,
        /// Browsers may join, if WebSockets are on.
        #[serde(rename = "allowWeb", skip_serializing_if = "Option::is_none")]
        allow_web: Option<bool>,
        /// WebSockets are preferred, if they are on.
        #[serde(rename = "preferWebSockets", skip_serializing_if = "Option::is_none")]
        prefer_web_sockets: Option<bool>,
    }
}

/// One list or value of a session's settings, sent directly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConfPart {
    /// Bans, to operators.
    BanList(Vec<BanEntry>),
    /// Ids of muted users.
    Muted(Vec<u8>),
    /// Announcements at list servers.
    Announcements(Vec<AnnouncementEntry>),
    /// Accounts and their ranks, to operators.
    Auth(Vec<AuthEntry>),
    /// Invites, to operators.
    InviteList(Vec<InviteEntry>),
    /// Answer to an attempt at closing the session.
    Closed(Option<bool>),
}

members! {
    /// A ban of the session.
    BanEntry {
        /// Its id.
        id: u32,
        /// Name, empty if it does not count.
        username: String,
        /// Who banned.
        #[serde(rename = "bannedBy")]
        banned_by: String,
        /// Address (moderators and loopback only).
        #[serde(skip_serializing_if = "Option::is_none")]
        ip: Option<String>,
        /// Account (moderators and loopback only).
        #[serde(rename = "extauthid", skip_serializing_if = "Option::is_none")]
        auth_id: Option<String>,
        /// System id (moderators and loopback only).
        #[serde(skip_serializing_if = "Option::is_none")]
        s: Option<String>,
    }
}

members! {
    /// An announcement.
    AnnouncementEntry {
        /// The list server's API URL.
        url: String,
    }
}

members! {
    /// An account that the session knows.
    AuthEntry {
        /// Account id.
        #[serde(rename = "authId")]
        auth_id: String,
        /// Its last name here.
        username: String,
        /// Operator.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        op: bool,
        /// Trusted.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        trusted: bool,
        /// Moderator, and online.
        #[serde(rename = "mod", skip_serializing_if = "std::ops::Not::not")]
        moderator: bool,
    }
}

members! {
    /// An invite.
    InviteEntry {
        /// Its secret.
        secret: String,
        /// Made at, ISO 8601, UTC.
        at: String,
        /// Who made it, empty for an administrator.
        #[serde(skip_serializing_if = "String::is_empty")]
        creator: String,
        /// How often it can be used.
        #[serde(rename = "maxUses")]
        max_uses: u32,
        /// It makes operator.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        op: bool,
        /// It makes trusted.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        trust: bool,
        /// Who used it.
        uses: Vec<InviteUse>,
    }
}

members! {
    /// A use of an invite.
    InviteUse {
        /// By this name.
        name: String,
        /// At this time, ISO 8601, UTC.
        at: String,
        /// System id; empty where it is not shown.
        s: String,
    }
}

members! {
    /// `catchup`.
    Catchup {
        /// Messages to come.
        count: u64,
        /// Key of the `caughtup` that ends them; left out when there was no space for it.
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<u32>,
    }
}

members! {
    /// `caughtup`.
    CaughtUp {
        /// Key of the `catchup` that it answers, 0 after a reset.
        key: u32,
        /// History index.
        #[serde(skip_serializing_if = "Option::is_none")]
        hidx: Option<String>,
    }
}

members! {
    /// `status`.
    Status {
        /// Bytes of history.
        size: u64,
        /// History index.
        #[serde(rename = "hid*", skip_serializing_if = "Option::is_none")]
        hidx: Option<String>,
    }
}

members! {
    /// `reset`.
    Reset {
        /// For people.
        message: String,
        /// `init`: send the image; `reset`: the new history follows.
        state: String,
    }
}

members! {
    /// `autoreset`.
    AutoReset {
        /// Size limit in bytes.
        #[serde(rename = "maxSize")]
        max_size: u64,
        /// A question, or the request itself.
        query: bool,
        /// To be repeated in the answer (question).
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<String>,
        /// To be repeated in the start (streamed request).
        #[serde(skip_serializing_if = "Option::is_none")]
        correlator: Option<String>,
        /// `gzip1` (streamed request).
        #[serde(skip_serializing_if = "Option::is_none")]
        stream: Option<String>,
    }
}

members! {
    /// `sizelimit`.
    SizeLimit {
        /// Bytes of history.
        size: u64,
        /// Threshold in bytes.
        #[serde(rename = "maxSize")]
        max_size: u64,
    }
}

members! {
    /// `sstart`.
    StreamStart {
        /// The correlator of the request.
        correlator: String,
    }
}

members! {
    /// `sprogress`.
    StreamProgress {
        /// The stream was given up.
        cancel: bool,
    }
}

members! {
    /// `passwordchange`.
    PasswordChange {
        /// The new password, empty when there is none now.
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
        /// Number of bans in the text.
        #[serde(skip_serializing_if = "Option::is_none")]
        total: Option<u32>,
        /// What went wrong, for people.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// Key for translation.
        #[serde(rename = "T", skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    }
}

members! {
    /// `thumbnail`.
    Thumbnail {
        /// To be put before the picture.
        correlator: String,
        /// Greatest width in pixels.
        #[serde(rename = "maxWidth", skip_serializing_if = "Option::is_none")]
        max_width: Option<u32>,
        /// Greatest height in pixels.
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
    fn parts_of_the_settings_have_one_member() {
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
    fn replies_are_read_leniently() {
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
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = ServerReply::parse(&bytes);
        }

        #[test]
        fn a_notice_survives_the_wire(message in ".{0,40}", key in "[a-z]{0,8}") {
            let notice = ServerReply::Alert(Notice { message, key, ..Default::default() });
            let frame = notice.to_frame().unwrap();
            prop_assert_eq!(ServerReply::parse(frame.payload()), notice);
        }
    }
}
