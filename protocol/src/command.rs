//! What clients ask for: the JSON of `ServerCommand` messages from client to server.
//!
//! `{"cmd": "...", "args": [...], "kwargs": {...}}`, read leniently: what is missing or of the wrong type is empty, 0
//! or false. [`RawCommand`] is the JSON, [`ServerCommand`] its meaning. Sources: docs/spec/login.md#commands-and-replies, docs/spec/session.md#commands.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::lenient::{Lenient, from_json, member, or_default};

/// A command as it stands on the wire.
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
    /// Reads a payload; what is no JSON object is the empty command.
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

/// A command that cannot be carried out as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is no command of this name.
    #[error("unknown command")]
    Unknown,
    /// The positional arguments are not what the command takes.
    #[error("{0}")]
    Arguments(&'static str),
}

/// What the client says of itself, in `cinfo`, `host` and `join`. Texts are trimmed and cut to 65 characters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientInfo {
    /// Version of the program.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub app_version: String,
    /// Its newest protocol version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol_version: String,
    /// Version of its toolkit.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub qt_version: String,
    /// Operating system.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub os: String,
    /// System id: 32 hexadecimal digits, or two of them with a slash between.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub s: String,
    /// Opaque.
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

/// `lookup`: what the client is about to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// Host a session.
    Host {
        /// It will be not safe for minors.
        nsfm: bool,
        /// It will have a password.
        password: bool,
        /// The alias that it will ask for.
        alias: String,
    },
    /// Join a session.
    Join {
        /// `<id or alias>`, empty for "some session".
        session: String,
        /// Invite secret after the last colon, empty without.
        invite: String,
    },
}

/// `ident`: who the client is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ident {
    /// User name.
    pub name: String,
    /// Password, empty without.
    pub password: String,
    /// How it means to log in: empty, `guest`, `auth` or `extauth`.
    pub intent: String,
    /// Avatar picture in base64.
    pub avatar: Option<String>,
    /// Ext-auth token.
    pub extauth: Option<String>,
}

/// What a client can do, from the text `capabilities`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// It wants keep-alive messages.
    pub keep_alive: bool,
    /// It can make thumbnails.
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

/// `host`: start a session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Protocol version of the session.
    pub protocol: String,
    /// The host's user id, 1-254 if it is valid.
    pub user_id: i64,
    /// Alias, empty without.
    pub alias: String,
    /// Session password, empty without.
    pub password: String,
    /// Whether browsers may join, if the client says.
    pub web: Option<bool>,
    /// What the client can do.
    pub capabilities: Capabilities,
    /// What the client says of itself.
    pub info: ClientInfo,
}

/// `join`: enter a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Join {
    /// Id or alias.
    pub session: String,
    /// Session password or invite secret, empty without.
    pub password: String,
    /// The client's minor version differs from the session's.
    pub oldv: bool,
    /// History index up to which the client has the session.
    pub hidx: String,
    /// What the client can do.
    pub capabilities: Capabilities,
    /// What the client says of itself.
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
    /// Close the session to joins (no longer supported).
    pub closed: Option<bool>,
    /// Only accounts may join.
    pub auth_only: Option<bool>,
    /// It stays when everybody has left.
    pub persistent: Option<bool>,
    /// Title.
    pub title: Option<String>,
    /// The title follows the founder's name.
    pub autotitle: Option<bool>,
    /// Greatest number of users.
    pub max_user_count: Option<i64>,
    /// Size at which an autoreset is asked for.
    pub reset_threshold: Option<SizeValue>,
    /// Password, empty removes it.
    pub password: Option<String>,
    /// Operator password, empty removes it.
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
    /// Not subject to the idle limit.
    pub idle_override: Option<bool>,
    /// Operators may make invites.
    pub invites: Option<bool>,
    /// Not shown in lists.
    pub unlisted: Option<bool>,
    /// Keep files after the end: `Some(None)` is the server's default.
    pub archive: Option<Option<bool>>,
    /// The session's own size limit.
    pub override_size: Option<SizeValue>,
}

impl SessionConf {
    /// Reads the members of an object.
    pub fn of(object: &Map<String, Value>) -> Self {
        let truth = |key: &str| object.get(key).map(Lenient::truth);
        let text = |key: &str| object.get(key).map(Lenient::text);
        Self {
            closed: truth("closed"),
            auth_only: truth("authOnly"),
            persistent: truth("persistent"),
            title: text("title"),
            autotitle: truth("autotitle"),
            max_user_count: object.get("maxUserCount").map(Lenient::integer),
            reset_threshold: object.get("resetThreshold").map(SizeValue::of),
            password: text("password"),
            opword: text("opword"),
            preserve_chat: truth("preserveChat"),
            nsfm: truth("nsfm"),
            deputies: truth("deputies"),
            allow_web: truth("allowWeb"),
            founder: text("founder"),
            idle_override: truth("idleOverride"),
            invites: truth("invites"),
            unlisted: truth("unlisted"),
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

/// One entry of `auth-list`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthChange {
    /// Account id.
    pub auth_id: String,
    /// Operator, if that is to change.
    pub op: Option<bool>,
    /// Trusted, if that is to change.
    pub trusted: Option<bool>,
    /// Name to remember it by.
    pub username: Option<String>,
}

/// `ready-to-autoreset`: an operator's client offers to reset the session.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReadyToAutoReset {
    /// The payload of the query.
    pub payload: String,
    /// Operating system.
    pub os: String,
    /// Network quality as the client says it.
    pub net: Option<f64>,
    /// Round-trip times in milliseconds.
    pub pings: Vec<f64>,
    /// `gzip1`: it can stream; `net`: its `net` counts upwards.
    pub capabilities: Vec<String>,
}

/// A command of either phase, with its arguments.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "commands are few and short-lived")]
pub enum ServerCommand {
    /// Upgrade the connection to TLS.
    StartTls,
    /// Who the client is, technically.
    ClientInfo {
        /// The host name that it connected to.
        host: String,
        /// What it says of itself.
        info: ClientInfo,
    },
    /// What it is about to do.
    Lookup(Lookup),
    /// Who the user is.
    Ident(Ident),
    /// Start a session.
    Host(Host),
    /// Enter a session.
    Join(Join),
    /// Abuse report.
    Report {
        /// Session, before joining one.
        session: String,
        /// User id, in a session; 0 without.
        user: i64,
        /// What is wrong.
        reason: String,
    },
    /// Offer to autoreset.
    ReadyToAutoReset(ReadyToAutoReset),
    /// Begin the reset image anew.
    InitBegin,
    /// The initial content or reset image is complete.
    InitComplete,
    /// Give the reset up.
    InitCancel,
    /// Change session settings.
    SessionConf(Box<SessionConf>),
    /// Kick, and perhaps ban.
    KickUser {
        /// Whom.
        user: UserRef,
        /// Also ban.
        ban: bool,
    },
    /// Become operator by password.
    GainOp {
        /// The opword.
        opword: String,
    },
    /// Reset the session.
    ResetSession {
        /// `current`, `past`, `external` or else.
        kind: String,
    },
    /// End the session.
    KillSession {
        /// Told to everybody; may be empty.
        reason: String,
    },
    /// Announce at a list server.
    AnnounceSession {
        /// Its API URL.
        url: String,
        /// Privately (refused).
        private: bool,
    },
    /// Withdraw an announcement.
    UnlistSession {
        /// The list server's API URL.
        url: String,
    },
    /// Lift a ban.
    RemoveBan {
        /// The entry's id.
        id: i64,
    },
    /// Mute or unmute.
    Mute {
        /// Whom.
        user: UserRef,
        /// Mute, or unmute.
        muted: bool,
    },
    /// Export the ban list.
    ExportBans {
        /// Unencrypted.
        plain: bool,
    },
    /// Import a ban list.
    ImportBans {
        /// The exported text.
        text: String,
    },
    /// Give and take ranks by account; `None` when there are more than 100 entries.
    AuthList(Option<Vec<AuthChange>>),
    /// Begin a streamed reset.
    StreamResetStart {
        /// The correlator of the request.
        correlator: String,
    },
    /// Give a streamed reset up.
    StreamResetAbort,
    /// The streamed reset is complete.
    StreamResetFinish {
        /// Messages that were streamed.
        count: i64,
    },
    /// Make an invite.
    InviteCreate {
        /// How often it can be used.
        max_uses: i64,
        /// It makes trusted.
        trust: bool,
        /// It makes operator.
        op: bool,
    },
    /// Remove an invite.
    InviteRemove {
        /// Its secret.
        secret: String,
    },
    /// A thumbnail could not be made.
    ThumbnailError {
        /// The correlator of the request.
        correlator: String,
        /// Why.
        error: String,
    },
}

/// Greatest number of entries in one `auth-list`.
pub const MAX_AUTH_LIST: usize = 100;

impl ServerCommand {
    /// Reads a command of the login phase.
    ///
    /// # Errors
    /// When it is unknown or its positional arguments are wrong.
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
                nsfm: raw.kwarg("nsfm").truth(),
                password: raw.kwarg("password").truth(),
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
                oldv: raw.kwarg("oldv").truth(),
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

    /// Reads a command of a session.
    ///
    /// # Errors
    /// When it is unknown or its positional arguments are wrong.
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
                Self::KickUser { user: UserRef::of(raw.arg(0)), ban: raw.kwarg("ban").truth() }
            }
            "gain-op" => {
                expect(1, "Expected one argument: opword")?;
                Self::GainOp { opword: raw.arg(0).text() }
            }
            "reset-session" => Self::ResetSession { kind: raw.kwarg("type").text() },
            "kill-session" => Self::KillSession { reason: raw.kwarg("reason").text().trim().to_owned() },
            "announce-session" => {
                expect(1, "Expected one argument: API URL")?;
                Self::AnnounceSession { url: raw.arg(0).text(), private: raw.kwarg("private").truth() }
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
                Self::Mute { user: UserRef::of(raw.arg(0)), muted: raw.arg(1).truth() }
            }
            "report" => Self::report(raw),
            "export-bans" => Self::ExportBans { plain: raw.kwarg("plain").truth() },
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
                    trust: raw.kwarg("trust").truth(),
                    op: raw.kwarg("op").truth(),
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

    /// The command as it stands on the wire.
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
                // Null is "server default" here, not "left out".
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
    /// Reads a command of either phase; `report` means the same in both.
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
    fn what_is_no_json_object_is_the_empty_command() {
        for text in ["", "not json", "[]", "7", r#"{"cmd":7,"args":{},"kwargs":[]}"#] {
            assert_eq!(RawCommand::parse(text.as_bytes()), RawCommand::default(), "{text}");
        }
    }

    #[test]
    fn wrong_types_read_as_empty() {
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
    fn settings_that_are_given_but_mistyped_count_as_given() {
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
    fn every_command_survives_the_wire() {
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
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let raw = RawCommand::parse(&bytes);
            let _ = (ServerCommand::login(&raw), ServerCommand::session(&raw));
        }
    }
}
