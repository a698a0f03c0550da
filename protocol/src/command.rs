//! Commands of clients: the JSON of `ServerCommand` messages from client to server.
//!
//! `{"cmd": "...", "args": [...], "kwargs": {...}}`, parsed leniently: a missing or mistyped member is empty, 0 or
//! false. [`RawCommand`] is the JSON, [`ServerCommand`] the typed command. Sources:
//! docs/spec/login.md#commands-and-replies, docs/spec/session.md#commands.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::lenient::{Lenient, from_json, member, or_default};

/// A command as it is on the wire.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RawCommand {
    /// The command's name.
    #[serde(default, deserialize_with = "or_default")]
    pub cmd: String,
    /// Positional arguments.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Value>,
    /// Named arguments.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Map::is_empty")]
    pub kwargs: Map<String, Value>,
}

impl RawCommand {
    /// Parses a payload. Anything but a JSON object becomes the empty command.
    pub fn parse(payload: &[u8]) -> RawCommand {
        from_json(payload).unwrap_or_default()
    }

    fn arg(&self, at: usize) -> &Value {
        self.args.get(at).unwrap_or(&Value::Null)
    }

    fn kwarg(&self, key: &str) -> &Value {
        member(&self.kwargs, key)
    }

    fn given(&self, key: &str) -> Option<&Value> {
        self.kwargs.get(key)
    }
}

/// A command that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is no command of this name.
    #[error("unknown command")]
    Unknown,
    /// The number or type of positional arguments is wrong; the text is sent to the client.
    #[error("{0}")]
    Arguments(&'static str),
}

/// Technical data about the client, in `cinfo`, `host` and `join`. Texts are trimmed and cut to 65 characters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientInfo {
    /// Version of the client program.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub app_version: String,
    /// Newest protocol version of the client.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol_version: String,
    /// Version of the Qt library.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub qt_version: String,
    /// Operating system.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub os: String,
    /// System id: 32 hexadecimal digits, or two of them with a slash between.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub s: String,
    /// Opaque value of the client.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub m: String,
}

impl ClientInfo {
    fn of(object: &Map<String, Value>) -> Self {
        let text = |key: &str| -> String {
            let text = member(object, key).as_str().unwrap_or_default().trim();
            text.chars().take(65).collect()
        };
        Self {
            app_version: text("app_version"),
            protocol_version: text("protocol_version"),
            qt_version: text("qt_version"),
            os: text("os"),
            s: text("s"),
            m: text("m"),
        }
    }

    fn put_into(&self, kwargs: &mut Map<String, Value>) {
        let fields = [
            ("app_version", &self.app_version),
            ("protocol_version", &self.protocol_version),
            ("qt_version", &self.qt_version),
            ("os", &self.os),
            ("s", &self.s),
            ("m", &self.m),
        ];
        for (key, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
            kwargs.insert(key.into(), value.as_str().into());
        }
    }
}

/// `lookup`: what the client is going to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// Host a session.
    Host {
        /// The session will be not safe for minors.
        nsfm: bool,
        /// The session will have a password.
        password: bool,
        /// Alias of the session.
        alias: String,
    },
    /// Join a session.
    Join {
        /// Session id or alias; empty if the client has not chosen a session yet.
        session: String,
        /// Invite secret; empty for none. On the wire it follows the last colon.
        invite: String,
    },
}

/// `ident`: user name and credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ident {
    /// User name.
    pub name: String,
    /// Password; empty for none.
    pub password: String,
    /// Intended login method: empty, `guest`, `auth` or `extauth`.
    pub intent: String,
    /// Avatar picture in base64.
    pub avatar: Option<String>,
    /// Ext-auth token.
    pub extauth: Option<String>,
}

/// Capabilities of a client, from the text `capabilities`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// It supports keep-alive messages.
    pub keep_alive: bool,
    /// It can create thumbnails.
    pub thumbnail: bool,
}

impl Capabilities {
    fn of(text: &str) -> Self {
        Self { keep_alive: text.contains("KEEPALIVE"), thumbnail: text.contains("THUMBNAIL") }
    }

    fn to_text(self) -> String {
        let words = [(self.keep_alive, "KEEPALIVE"), (self.thumbnail, "THUMBNAIL")];
        words.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect::<Vec<_>>().join(",")
    }
}

/// `host`: create a session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Protocol version of the session.
    pub protocol: String,
    /// The host's user id, 1-254 if it is valid.
    pub user_id: i64,
    /// Alias; empty for none.
    pub alias: String,
    /// Session password; empty for none.
    pub password: String,
    /// Whether browsers may join, if the client specifies it.
    pub web: Option<bool>,
    /// Capabilities of the client.
    pub capabilities: Capabilities,
    /// Technical data about the client.
    pub info: ClientInfo,
}

/// `join`: join a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Join {
    /// Id or alias.
    pub session: String,
    /// Session password or invite secret; empty for none.
    pub password: String,
    /// The client's minor version differs from the session's.
    pub oldv: bool,
    /// History index up to which the client has the history already.
    pub hidx: String,
    /// Capabilities of the client.
    pub capabilities: Capabilities,
    /// Technical data about the client.
    pub info: ClientInfo,
}

/// A user named by id or by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserRef {
    /// By user id; valid ones are 1-254.
    Id(i64),
    /// By name.
    Name(String),
    /// Neither a number nor a text.
    Invalid,
}

impl UserRef {
    fn of(value: &Value) -> Self {
        match value {
            Value::Number(_) => Self::Id(value.integer()),
            Value::String(name) => Self::Name(name.clone()),
            _ => Self::Invalid,
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Id(id) => (*id).into(),
            Self::Name(name) => name.as_str().into(),
            Self::Invalid => Value::Null,
        }
    }
}

/// A size in bytes, as a number or as text such as "10mb".
#[derive(Debug, Clone, PartialEq)]
pub enum SizeValue {
    /// Bytes.
    Bytes(i64),
    /// Text with a unit.
    Text(String),
    /// Neither.
    Invalid,
}

impl SizeValue {
    fn of(value: &Value) -> Self {
        match value {
            Value::Number(_) => Self::Bytes(value.integer()),
            Value::String(text) => Self::Text(text.clone()),
            _ => Self::Invalid,
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Bytes(n) => (*n).into(),
            Self::Text(text) => text.as_str().into(),
            Self::Invalid => Value::Null,
        }
    }
}

/// `sessionconf`: changes of session settings; `None` is left as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SessionConf {
    /// Refuse new users (no longer supported).
    pub closed: Option<bool>,
    /// Only accounts may join.
    pub auth_only: Option<bool>,
    /// Keep the session when it is empty.
    pub persistent: Option<bool>,
    /// Title.
    pub title: Option<String>,
    /// Update the title with the founder's name.
    pub autotitle: Option<bool>,
    /// Maximum number of users.
    pub max_user_count: Option<i64>,
    /// Autoreset threshold.
    pub reset_threshold: Option<SizeValue>,
    /// Session password; empty removes it.
    pub password: Option<String>,
    /// Operator password; empty removes it.
    pub opword: Option<String>,
    /// Keep chat in the history.
    pub preserve_chat: Option<bool>,
    /// Not safe for minors.
    pub nsfm: Option<bool>,
    /// Trusted users may kick.
    pub deputies: Option<bool>,
    /// Browsers may join.
    pub allow_web: Option<bool>,
    /// Founder's name.
    pub founder: Option<String>,
    /// Exempt from the idle limit.
    pub idle_override: Option<bool>,
    /// Operators may create invites.
    pub invites: Option<bool>,
    /// Hidden from session lists.
    pub unlisted: Option<bool>,
    /// Archive the files when the session ends; `Some(None)` is the server's default.
    pub archive: Option<Option<bool>>,
    /// Size limit of this session.
    pub override_size: Option<SizeValue>,
}

impl SessionConf {
    /// Parses the members of an object.
    pub fn of(object: &Map<String, Value>) -> Self {
        let boolean = |key: &str| object.get(key).map(Lenient::boolean);
        let text = |key: &str| object.get(key).map(Lenient::text);
        Self {
            closed: boolean("closed"),
            auth_only: boolean("authOnly"),
            persistent: boolean("persistent"),
            title: text("title"),
            autotitle: boolean("autotitle"),
            max_user_count: object.get("maxUserCount").map(Lenient::integer),
            reset_threshold: object.get("resetThreshold").map(SizeValue::of),
            password: text("password"),
            opword: text("opword"),
            preserve_chat: boolean("preserveChat"),
            nsfm: boolean("nsfm"),
            deputies: boolean("deputies"),
            allow_web: boolean("allowWeb"),
            founder: text("founder"),
            idle_override: boolean("idleOverride"),
            invites: boolean("invites"),
            unlisted: boolean("unlisted"),
            archive: object.get("archive").map(Value::as_bool),
            override_size: object.get("overrideSize").map(SizeValue::of),
        }
    }

    fn to_object(&self) -> Map<String, Value> {
        let members = [
            ("closed", self.closed.map(Value::from)),
            ("authOnly", self.auth_only.map(Value::from)),
            ("persistent", self.persistent.map(Value::from)),
            ("title", self.title.clone().map(Value::from)),
            ("autotitle", self.autotitle.map(Value::from)),
            ("maxUserCount", self.max_user_count.map(Value::from)),
            ("resetThreshold", self.reset_threshold.as_ref().map(SizeValue::to_value)),
            ("password", self.password.clone().map(Value::from)),
            ("opword", self.opword.clone().map(Value::from)),
            ("preserveChat", self.preserve_chat.map(Value::from)),
            ("nsfm", self.nsfm.map(Value::from)),
            ("deputies", self.deputies.map(Value::from)),
            ("allowWeb", self.allow_web.map(Value::from)),
            ("founder", self.founder.clone().map(Value::from)),
            ("idleOverride", self.idle_override.map(Value::from)),
            ("invites", self.invites.map(Value::from)),
            ("unlisted", self.unlisted.map(Value::from)),
            ("archive", self.archive.map(Value::from)),
            ("overrideSize", self.override_size.as_ref().map(SizeValue::to_value)),
        ];
        members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }
}

/// An entry of `auth-list`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthChange {
    /// Account id.
    pub auth_id: String,
    /// Make operator or not; `None` is left as it is.
    pub op: Option<bool>,
    /// Make trusted or not; `None` is left as it is.
    pub trusted: Option<bool>,
    /// Last known user name of the account.
    pub username: Option<String>,
}

/// `ready-to-autoreset`: an operator's client offers to perform an autoreset.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReadyToAutoReset {
    /// The payload of the server's query.
    pub payload: String,
    /// Operating system.
    pub os: String,
    /// Network quality as measured by the client.
    pub net: Option<f64>,
    /// Round-trip times in milliseconds.
    pub pings: Vec<f64>,
    /// `gzip1`: supports streamed resets; `net`: a greater `net` is better.
    pub capabilities: Vec<String>,
}

/// A command of the login phase or of a session, with its arguments.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "commands are few and short-lived")]
pub enum ServerCommand {
    /// Upgrade the connection to TLS.
    StartTls,
    /// Technical data about the client.
    ClientInfo {
        /// The host name that the client connected to.
        host: String,
        /// Technical data about the client.
        info: ClientInfo,
    },
    /// Announce what the client is going to do.
    Lookup(Lookup),
    /// User name and credentials.
    Ident(Ident),
    /// Create a session.
    Host(Host),
    /// Join a session.
    Join(Join),
    /// Report abuse.
    Report {
        /// Session id, if the client is not in a session.
        session: String,
        /// User id of the reported user; 0 for none.
        user: i64,
        /// Text for the moderators.
        reason: String,
    },
    /// Offer to perform an autoreset.
    ReadyToAutoReset(ReadyToAutoReset),
    /// Start the reset image over.
    InitBegin,
    /// The initial content or reset image is complete.
    InitComplete,
    /// Cancel the reset.
    InitCancel,
    /// Change session settings.
    SessionConf(Box<SessionConf>),
    /// Kick and optionally ban a user.
    KickUser {
        /// The user.
        user: UserRef,
        /// Ban as well.
        ban: bool,
    },
    /// Become operator with the operator password.
    GainOp {
        /// The operator password.
        opword: String,
    },
    /// Reset the session.
    ResetSession {
        /// `current`, `past`, `external` or something else.
        kind: String,
    },
    /// End the session.
    KillSession {
        /// Shown to the users; may be empty.
        reason: String,
    },
    /// Announce the session at a list server.
    AnnounceSession {
        /// API URL of the list server.
        url: String,
        /// Privately; always refused.
        private: bool,
    },
    /// Withdraw an announcement.
    UnlistSession {
        /// API URL of the list server.
        url: String,
    },
    /// Remove a ban.
    RemoveBan {
        /// Id of the ban.
        id: i64,
    },
    /// Mute or unmute.
    Mute {
        /// The user.
        user: UserRef,
        /// Mute or unmute.
        muted: bool,
    },
    /// Export the ban list.
    ExportBans {
        /// Not encrypted.
        plain: bool,
    },
    /// Import a ban list.
    ImportBans {
        /// The exported text.
        text: String,
    },
    /// Change roles by account; `None` if there were more than [`MAX_AUTH_LIST`] entries.
    AuthList(Option<Vec<AuthChange>>),
    /// Begin a streamed reset.
    StreamResetStart {
        /// Correlator of the server's request.
        correlator: String,
    },
    /// Cancel a streamed reset.
    StreamResetAbort,
    /// The streamed reset is complete.
    StreamResetFinish {
        /// Number of messages in the stream.
        count: i64,
    },
    /// Create an invite.
    InviteCreate {
        /// Maximum number of uses.
        max_uses: i64,
        /// Users of the invite become trusted.
        trust: bool,
        /// Users of the invite become operators.
        op: bool,
    },
    /// Remove an invite.
    InviteRemove {
        /// Secret of the invite.
        secret: String,
    },
    /// The client could not create a thumbnail.
    ThumbnailError {
        /// Correlator of the server's request.
        correlator: String,
        /// Error message.
        error: String,
    },
}

/// Maximum number of entries of `auth-list`.
pub const MAX_AUTH_LIST: usize = 100;

impl ServerCommand {
    /// Parses a command of the login phase.
    ///
    /// # Errors
    /// When the command is unknown or its positional arguments are wrong.
    pub fn login(raw: &RawCommand) -> Result<ServerCommand, CommandError> {
        let argc = raw.args.len();
        Ok(match raw.cmd.as_str() {
            "startTls" => Self::StartTls,
            "cinfo" => match raw.args.as_slice() {
                [Value::String(host), Value::Object(info)] => {
                    Self::ClientInfo { host: host.clone(), info: ClientInfo::of(info) }
                }
                _ => return Err(CommandError::Arguments("Expected host name and client info object")),
            },
            "lookup" if argc == 0 => Self::Lookup(Lookup::Host {
                nsfm: raw.kwarg("nsfm").boolean(),
                password: raw.kwarg("password").boolean(),
                alias: raw.kwarg("alias").text(),
            }),
            "lookup" if argc == 1 => {
                let text = raw.arg(0).text();
                let (session, invite) = text.rsplit_once(':').unwrap_or((&text, ""));
                Self::Lookup(Lookup::Join { session: session.into(), invite: invite.into() })
            }
            "lookup" => return Err(CommandError::Arguments("Expected optional session id or alias")),
            "ident" if argc == 1 || argc == 2 => Self::Ident(Ident {
                name: raw.arg(0).text(),
                password: raw.arg(1).text(),
                intent: raw.kwarg("intent").text(),
                avatar: raw.given("avatar").map(Lenient::text),
                extauth: raw.given("extauth").map(Lenient::text),
            }),
            "ident" => return Err(CommandError::Arguments("Expected username and (optional) password")),
            "host" => Self::Host(Host {
                protocol: raw.kwarg("protocol").text(),
                user_id: raw.kwarg("user_id").integer(),
                alias: raw.kwarg("alias").text(),
                password: raw.kwarg("password").text(),
                web: raw.kwarg("web").as_bool(),
                capabilities: Capabilities::of(&raw.kwarg("capabilities").text()),
                info: ClientInfo::of(&raw.kwargs),
            }),
            "join" if argc == 1 => Self::Join(Join {
                session: raw.arg(0).text(),
                password: raw.kwarg("password").text(),
                oldv: raw.kwarg("oldv").boolean(),
                hidx: raw.kwarg("hidx").text(),
                capabilities: Capabilities::of(&raw.kwarg("capabilities").text()),
                info: ClientInfo::of(&raw.kwargs),
            }),
            "join" => return Err(CommandError::Arguments("Expected session ID")),
            "report" => Self::report(raw),
            _ => return Err(CommandError::Unknown),
        })
    }

    fn report(raw: &RawCommand) -> ServerCommand {
        Self::Report {
            session: raw.kwarg("session").text(),
            user: raw.kwarg("user").integer(),
            reason: raw.kwarg("reason").text(),
        }
    }

    /// Parses a command of a session.
    ///
    /// # Errors
    /// When the command is unknown or its positional arguments are wrong.
    pub fn session(raw: &RawCommand) -> Result<ServerCommand, CommandError> {
        let expect = |count: usize, text: &'static str| {
            if raw.args.len() == count { Ok(()) } else { Err(CommandError::Arguments(text)) }
        };
        Ok(match raw.cmd.as_str() {
            "ready-to-autoreset" => Self::ReadyToAutoReset(ready(raw)),
            "init-begin" => Self::InitBegin,
            "init-complete" => Self::InitComplete,
            "init-cancel" => Self::InitCancel,
            "sessionconf" => Self::SessionConf(Box::new(SessionConf::of(&raw.kwargs))),
            "kick-user" => {
                expect(1, "Expected one argument: user ID or name")?;
                Self::KickUser { user: UserRef::of(raw.arg(0)), ban: raw.kwarg("ban").boolean() }
            }
            "gain-op" => {
                expect(1, "Expected one argument: opword")?;
                Self::GainOp { opword: raw.arg(0).text() }
            }
            "reset-session" => Self::ResetSession { kind: raw.kwarg("type").text() },
            "kill-session" => Self::KillSession { reason: raw.kwarg("reason").text().trim().to_owned() },
            "announce-session" => {
                expect(1, "Expected one argument: API URL")?;
                Self::AnnounceSession { url: raw.arg(0).text(), private: raw.kwarg("private").boolean() }
            }
            "unlist-session" => {
                expect(1, "Expected one argument: API URL")?;
                Self::UnlistSession { url: raw.arg(0).text() }
            }
            "remove-ban" => {
                expect(1, "Expected one argument: ban entry ID")?;
                Self::RemoveBan { id: raw.arg(0).integer() }
            }
            "mute" => {
                expect(2, "Expected two arguments: userId true/false")?;
                Self::Mute { user: UserRef::of(raw.arg(0)), muted: raw.arg(1).boolean() }
            }
            "report" => Self::report(raw),
            "export-bans" => Self::ExportBans { plain: raw.kwarg("plain").boolean() },
            "import-bans" => {
                expect(1, "Expected one argument: bans")?;
                Self::ImportBans { text: raw.arg(0).text() }
            }
            "auth-list" => {
                expect(1, "Expected one argument: list")?;
                Self::AuthList(auth_list(raw.arg(0)))
            }
            "stream-reset-start" => {
                expect(1, "Stream reset start expected one argument: correlator")?;
                Self::StreamResetStart { correlator: raw.arg(0).text() }
            }
            "stream-reset-abort" => {
                expect(0, "Stream reset abort expected no arguments")?;
                Self::StreamResetAbort
            }
            "stream-reset-finish" => {
                expect(1, "Stream reset finish expected one argument: message count")?;
                Self::StreamResetFinish { count: raw.arg(0).integer() }
            }
            "invite-create" => {
                expect(0, "Create invite expected no arguments")?;
                Self::InviteCreate {
                    max_uses: raw.kwarg("maxUses").integer(),
                    trust: raw.kwarg("trust").boolean(),
                    op: raw.kwarg("op").boolean(),
                }
            }
            "invite-remove" => {
                expect(1, "Remove invite expected one argument: secret")?;
                Self::InviteRemove { secret: raw.arg(0).text() }
            }
            "thumbnail-error" => {
                expect(2, "Thumbnail error expected 2 arguments: correlator, error")?;
                Self::ThumbnailError { correlator: raw.arg(0).text(), error: raw.arg(1).text() }
            }
            _ => return Err(CommandError::Unknown),
        })
    }

    /// The command's name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::StartTls => "startTls",
            Self::ClientInfo { .. } => "cinfo",
            Self::Lookup(_) => "lookup",
            Self::Ident(_) => "ident",
            Self::Host(_) => "host",
            Self::Join(_) => "join",
            Self::Report { .. } => "report",
            Self::ReadyToAutoReset(_) => "ready-to-autoreset",
            Self::InitBegin => "init-begin",
            Self::InitComplete => "init-complete",
            Self::InitCancel => "init-cancel",
            Self::SessionConf(_) => "sessionconf",
            Self::KickUser { .. } => "kick-user",
            Self::GainOp { .. } => "gain-op",
            Self::ResetSession { .. } => "reset-session",
            Self::KillSession { .. } => "kill-session",
            Self::AnnounceSession { .. } => "announce-session",
            Self::UnlistSession { .. } => "unlist-session",
            Self::RemoveBan { .. } => "remove-ban",
            Self::Mute { .. } => "mute",
            Self::ExportBans { .. } => "export-bans",
            Self::ImportBans { .. } => "import-bans",
            Self::AuthList(_) => "auth-list",
            Self::StreamResetStart { .. } => "stream-reset-start",
            Self::StreamResetAbort => "stream-reset-abort",
            Self::StreamResetFinish { .. } => "stream-reset-finish",
            Self::InviteCreate { .. } => "invite-create",
            Self::InviteRemove { .. } => "invite-remove",
            Self::ThumbnailError { .. } => "thumbnail-error",
        }
    }

    /// The command as it is on the wire.
    pub fn to_raw(&self) -> RawCommand {
        let (args, kwargs) = self.arguments();
        let kwargs = match kwargs {
            Value::Object(map) => map.into_iter().filter(|(_, v)| !v.is_null()).collect(),
            _ => Map::new(),
        };
        RawCommand { cmd: self.name().into(), args, kwargs }
    }

    fn arguments(&self) -> (Vec<Value>, Value) {
        match self {
            Self::StartTls
            | Self::InitBegin
            | Self::InitComplete
            | Self::InitCancel
            | Self::StreamResetAbort => (vec![], Value::Null),
            Self::ClientInfo { host, info } => {
                let mut map = Map::new();
                info.put_into(&mut map);
                (vec![host.as_str().into(), map.into()], Value::Null)
            }
            Self::Lookup(Lookup::Host { nsfm, password, alias }) => {
                (vec![], json!({"nsfm": nsfm, "password": password, "alias": alias}))
            }
            Self::Lookup(Lookup::Join { session, invite }) if invite.is_empty() => {
                (vec![session.as_str().into()], Value::Null)
            }
            Self::Lookup(Lookup::Join { session, invite }) => {
                (vec![format!("{session}:{invite}").into()], Value::Null)
            }
            Self::Ident(ident) => {
                let mut args = vec![ident.name.as_str().into()];
                if !ident.password.is_empty() {
                    args.push(ident.password.as_str().into());
                }
                let intent = (!ident.intent.is_empty()).then_some(&ident.intent);
                (args, json!({"intent": intent, "avatar": ident.avatar, "extauth": ident.extauth}))
            }
            Self::Host(host) => {
                let mut kwargs = json!({"protocol": host.protocol, "user_id": host.user_id, "alias": host.alias,
                    "password": host.password, "web": host.web, "capabilities": host.capabilities.to_text()});
                host.info.put_into(kwargs.as_object_mut().unwrap_or(&mut Map::new()));
                (vec![], kwargs)
            }
            Self::Join(join) => {
                let mut kwargs = json!({"password": join.password, "oldv": join.oldv, "hidx": join.hidx,
                    "capabilities": join.capabilities.to_text()});
                join.info.put_into(kwargs.as_object_mut().unwrap_or(&mut Map::new()));
                (vec![join.session.as_str().into()], kwargs)
            }
            _ => self.session_arguments(),
        }
    }

    fn session_arguments(&self) -> (Vec<Value>, Value) {
        let one = |text: &str| vec![Value::from(text)];
        match self {
            Self::Report { session, user, reason } => {
                (vec![], json!({"session": session, "user": user, "reason": reason}))
            }
            Self::ReadyToAutoReset(r) => (
                vec![],
                json!({"payload": r.payload, "os": r.os, "net": r.net, "pings": r.pings,
                    "capabilities": r.capabilities}),
            ),
            Self::SessionConf(conf) => {
                let mut raw = conf.to_object();
                // `None` is the server's default here, which is written as a member that is not a bool.
                if conf.archive == Some(None) {
                    raw.insert("archive".into(), json!({}));
                }
                (vec![], raw.into())
            }
            Self::KickUser { user, ban } => (vec![user.to_value()], json!({"ban": ban})),
            Self::GainOp { opword } => (one(opword), Value::Null),
            Self::ResetSession { kind } => (vec![], json!({"type": kind})),
            Self::KillSession { reason } => (vec![], json!({"reason": reason})),
            Self::AnnounceSession { url, private } => (one(url), json!({"private": private})),
            Self::UnlistSession { url } => (one(url), Value::Null),
            Self::RemoveBan { id } => (vec![(*id).into()], Value::Null),
            Self::Mute { user, muted } => (vec![user.to_value(), (*muted).into()], Value::Null),
            Self::ExportBans { plain } => (vec![], json!({"plain": plain})),
            Self::ImportBans { text } => (one(text), Value::Null),
            Self::AuthList(list) => (vec![auth_list_value(list.as_deref())], Value::Null),
            Self::StreamResetStart { correlator } => (one(correlator), Value::Null),
            Self::StreamResetFinish { count } => (vec![(*count).into()], Value::Null),
            Self::InviteCreate { max_uses, trust, op } => {
                (vec![], json!({"maxUses": max_uses, "trust": trust, "op": op}))
            }
            Self::InviteRemove { secret } => (one(secret), Value::Null),
            Self::ThumbnailError { correlator, error } => {
                (vec![correlator.as_str().into(), error.as_str().into()], Value::Null)
            }
            _ => (vec![], Value::Null),
        }
    }
}

fn ready(raw: &RawCommand) -> ReadyToAutoReset {
    let list = |key: &str| raw.kwarg(key).as_array().cloned().unwrap_or_default();
    ReadyToAutoReset {
        payload: raw.kwarg("payload").text(),
        os: raw.kwarg("os").text(),
        net: raw.given("net").map(Lenient::number),
        pings: list("pings").iter().map(Lenient::number).collect(),
        capabilities: list("capabilities").iter().map(Lenient::text).collect(),
    }
}

fn auth_list(value: &Value) -> Option<Vec<AuthChange>> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let entry = |value: &Value| AuthChange {
        auth_id: value["a"].text(),
        op: value["o"].as_bool(),
        trusted: value["t"].as_bool(),
        username: value["u"].as_str().map(str::to_owned),
    };
    (list.len() <= MAX_AUTH_LIST).then(|| list.iter().map(entry).collect())
}

fn auth_list_value(list: Option<&[AuthChange]>) -> Value {
    let Some(list) = list else { return vec![Value::Null; MAX_AUTH_LIST + 1].into() };
    let entry = |change: &AuthChange| {
        let mut map = Map::new();
        map.insert("a".into(), change.auth_id.as_str().into());
        let optional = [
            ("o", change.op.map(Value::from)),
            ("t", change.trusted.map(Value::from)),
            ("u", change.username.clone().map(Value::from)),
        ];
        for (key, value) in optional {
            if let Some(value) = value {
                map.insert(key.into(), value);
            }
        }
        Value::from(map)
    };
    list.iter().map(entry).collect::<Vec<_>>().into()
}

impl Serialize for ServerCommand {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_raw().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ServerCommand {
    /// Parses a command of either phase; `report` is the same in both.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawCommand::deserialize(deserializer)?;
        let command = match Self::login(&raw) {
            Err(CommandError::Unknown) => Self::session(&raw),
            found => found,
        };
        command.map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn login(text: &str) -> Result<ServerCommand, CommandError> {
        ServerCommand::login(&RawCommand::parse(text.as_bytes()))
    }

    #[test]
    fn anything_but_a_json_object_is_the_empty_command() {
        for text in ["", "not json", "[]", "7", r#"{"cmd":7,"args":{},"kwargs":[]}"#] {
            assert_eq!(RawCommand::parse(text.as_bytes()), RawCommand::default(), "{text}");
        }
    }

    #[test]
    fn mistyped_members_are_empty() {
        let found = login(r#"{"cmd":"host","kwargs":{"protocol":1,"user_id":"1","alias":null,"web":"yes"}}"#);
        assert_eq!(found, Ok(ServerCommand::Host(Host::default())));
    }

    #[test]
    fn a_lookup_is_split_at_the_last_colon() {
        let join = |session: &str, invite: &str| {
            Ok(ServerCommand::Lookup(Lookup::Join { session: session.into(), invite: invite.into() }))
        };
        assert_eq!(login(r#"{"cmd":"lookup","args":["a:b:c"]}"#), join("a:b", "c"));
        assert_eq!(login(r#"{"cmd":"lookup","args":["a"]}"#), join("a", ""));
        assert_eq!(login(r#"{"cmd":"lookup","args":[""]}"#), join("", ""));
        assert!(matches!(login(r#"{"cmd":"lookup"}"#), Ok(ServerCommand::Lookup(Lookup::Host { .. }))));
        assert!(matches!(login(r#"{"cmd":"lookup","args":[1,2]}"#), Err(CommandError::Arguments(_))));
    }

    #[test]
    fn client_info_is_trimmed_and_cut_to_65_characters() {
        let long = "ü".repeat(70);
        let text = format!(r#"{{"cmd":"cinfo","args":["h",{{"os":" {long} ","s":5}}]}}"#);
        let Ok(ServerCommand::ClientInfo { info, .. }) = login(&text) else { panic!("no cinfo") };
        assert_eq!((info.os, info.s.as_str()), ("ü".repeat(65), ""));
    }

    #[test]
    fn mistyped_settings_are_given_with_their_default() {
        let raw = RawCommand::parse(br#"{"cmd":"sessionconf","kwargs":{"nsfm":1,"title":5,"archive":null}}"#);
        let Ok(ServerCommand::SessionConf(conf)) = ServerCommand::session(&raw) else { panic!("no conf") };
        let expected = SessionConf {
            nsfm: Some(false),
            title: Some(String::new()),
            archive: Some(None),
            ..Default::default()
        };
        assert_eq!(*conf, expected);
    }

    #[test]
    fn commands_survive_encoding_and_parsing() {
        let commands = [
            ServerCommand::StartTls,
            ServerCommand::Lookup(Lookup::Join { session: "x".into(), invite: "y".into() }),
            ServerCommand::Ident(Ident { name: "n".into(), intent: "guest".into(), ..Default::default() }),
            ServerCommand::Host(Host { protocol: "dp:4.25.1".into(), user_id: 1, ..Default::default() }),
            ServerCommand::Join(Join { session: "id".into(), oldv: true, ..Default::default() }),
            ServerCommand::KickUser { user: UserRef::Name("B".into()), ban: true },
            ServerCommand::Mute { user: UserRef::Id(3), muted: true },
            ServerCommand::SessionConf(Box::new(SessionConf {
                archive: Some(None),
                max_user_count: Some(5),
                ..Default::default()
            })),
            ServerCommand::AuthList(None),
            ServerCommand::AuthList(Some(vec![AuthChange {
                auth_id: "a".into(),
                op: Some(true),
                ..Default::default()
            }])),
            ServerCommand::InviteCreate { max_uses: 3, trust: false, op: true },
            ServerCommand::StreamResetFinish { count: 7 },
            ServerCommand::ThumbnailError { correlator: "c".into(), error: "e".into() },
        ];
        for command in commands {
            let text = serde_json::to_string(&command).unwrap();
            assert_eq!(serde_json::from_str::<ServerCommand>(&text).unwrap(), command, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_input_makes_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let raw = RawCommand::parse(&bytes);
            let _ = (ServerCommand::login(&raw), ServerCommand::session(&raw));
        }
    }
}
