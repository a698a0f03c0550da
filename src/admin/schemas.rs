//! JSON schemas of responses. A test compares them with those of a server.

use super::operation::{Field, Kind, Schema, bool, number, text, texts};

pub(super) const STATUS: Schema = Schema {
    name: "Status",
    fields: &[
        text("started", "Since when the server runs, ISO 8601.").required(),
        number("sessions", "Sessions.").required(),
        number("maxSessions", "Maximum number of sessions.").required(),
        number("users", "Connections.").required(),
        text("ext_host", "Public host name, empty if it is not known.").required(),
        number("ext_port", "Port that clients connect to.").required(),
    ],
};

/// Its members come from the table of settings.
pub(super) const SETTINGS: Schema = Schema { name: "Settings", fields: &[] };

pub(super) const LOCKS: Schema = Schema {
    name: "Locks",
    fields: &[
        bool("supported", "There is a database to keep them.").required(),
        Field::new("sections", Kind::Object, "Parts of the API: whether they are locked.").required(),
        bool("password", "Changing them needs a password.").required(),
    ],
};

const CAPABILITIES: Schema = Schema {
    name: "Capabilities",
    fields: &[
        bool("keepalive", "The client sends keep-alive messages.").required(),
        bool("thumbnail", "The client can create thumbnails.").required(),
    ],
};

pub(super) const USER: Schema = Schema {
    name: "User",
    fields: &[
        number("id", "User id in the session, 0 outside.").required(),
        text("name", "User name.").required(),
        text("ip", "Address.").required(),
        text("s", "System id.").required(),
        text("uid", "Number of the connection; past users have none."),
        text("lastActive", "When something was received, ISO 8601."),
        text("lastActiveDrawing", "When something was drawn, ISO 8601."),
        text("lastWithoutSession", "Since when it is in no session, ISO 8601."),
        bool("auth", "Logged in with an account."),
        bool("op", "Operator of the session."),
        bool("trusted", "Trusted."),
        bool("muted", "May not chat."),
        bool("mod", "Moderator of the server."),
        bool("tls", "The connection is encrypted."),
        bool("browser", "The client runs in a browser."),
        bool("oldv", "The client is older than the session."),
        text("session", "Session id, empty in none."),
        text("state", "login, session, graceful_disconnect or quiet_disconnect."),
        Field::new("capabilities", Kind::Is(&CAPABILITIES), "What the client can do."),
        bool("online", "Still there; in descriptions of sessions."),
        bool("holdLocked", "Waits for a reset; in descriptions of sessions."),
        texts("resetFlags", "What it has to do with a reset: awaiting, queried, responded, streaming."),
    ],
};

const INVITE_USE: Schema = Schema {
    name: "InviteUse",
    fields: &[text("name", "Who.").required(), text("at", "When.").required(), text("s", "System id.")],
};

pub(super) const INVITE: Schema = Schema {
    name: "Invite",
    fields: &[
        text("secret", "Secret that joins the session.").required(),
        text("at", "When it was created.").required(),
        text("creator", "Who created it, empty for administrators.").required(),
        number("maxUses", "How often it can be used.").required(),
        bool("op", "Whoever uses it is operator; only if so."),
        bool("trust", "Whoever uses it is trusted; only if so."),
        Field::new("uses", Kind::ListOf(&INVITE_USE), "Who has used it.").required(),
    ],
};

pub(super) const INVITES: Schema = Schema {
    name: "Invites",
    fields: &[Field::new("invites", Kind::ListOf(&INVITE), "Invites of the session.").required()],
};

pub(super) const LISTING: Schema = Schema {
    name: "Listing",
    fields: &[number("id", "Id.").required(), text("url", "The list server.").required()],
};

const CHAT_STATE: Schema = Schema {
    name: "ChatState",
    fields: &[
        number("offset", "Number of the first message that is kept.").required(),
        number("count", "Messages that are kept.").required(),
        number("timeout", "Milliseconds without reading after which the administrator leaves the chat.")
            .required(),
        number("remaining", "Milliseconds until then.").required(),
    ],
};

const CHAT_MESSAGE: Schema = Schema {
    name: "ChatMessage",
    fields: &[
        number("i", "User id; the administrator has none."),
        text("n", "User name."),
        text("m", "The message.").required(),
        number("f", "Flags of the message, if there are any."),
    ],
};

pub(super) const CHAT: Schema = Schema {
    name: "Chat",
    fields: &[
        number("offset", "Number of the first message that follows.").required(),
        Field::new("messages", Kind::ListOf(&CHAT_MESSAGE), "Messages.").required(),
    ],
};

const AUTORESET: Schema = Schema {
    name: "Autoreset",
    fields: &[
        number("delay", "Milliseconds until an autoreset can be asked for.").nullable(),
        number("historyFirstIndex", "Index of the first message of the history."),
        number("historyLastIndex", "Index of the last message of the history."),
        text("requestStatus", "State of the request to a client."),
        text("sessionState", "initialization, running, reset or shutdown."),
        text("stream", "State of a streamed reset.").nullable(),
    ],
};

const THUMBNAIL_STATE: Schema = Schema {
    name: "ThumbnailState",
    fields: &[
        text("generatedAt", "When the picture was created."),
        number("generatorCtxId", "User id of the client that creates one."),
        text("generatorCorrelator", "Correlator of its answer."),
    ],
};

/// Fields of a session in lists.
macro_rules! session_fields {
    ($($more:expr),* $(,)?) => {
        &[
            text("id", "Session id; templates have none."),
            text("alias", "Alias, empty without."),
            text("protocol", "Protocol version, such as dp:4.24.0.").required(),
            number("userCount", "Users in it."),
            number("activeDrawingUserCount", "Users who have drawn lately."),
            number("maxUserCount", "Maximum number of users.").required(),
            text("founder", "Name of the host.").required(),
            text("title", "Title.").required(),
            bool("autotitle", "The title is generated."),
            bool("hasPassword", "Joining needs a password.").required(),
            bool("closed", "Closed to new users."),
            bool("authOnly", "Only accounts may join.").required(),
            bool("nsfm", "Not safe for minors.").required(),
            text("startTime", "When it started, ISO 8601."),
            number("size", "Bytes of its history."),
            bool("persistent", "It persists without users."),
            bool("invites", "Operators may make invites."),
            bool("unlisted", "Lists do not show it."),
            bool("idleOverride", "It has no idle limit."),
            bool("allowWeb", "Browsers may join."),
            bool("preferWebSockets", "Clients are to prefer WebSocket."),
            $($more),*
        ]
    };
}

pub(super) const SESSION: Schema = Schema { name: "Session", fields: session_fields![] };

pub(super) const SESSION_DETAILS: Schema = Schema {
    name: "SessionDetails",
    fields: session_fields![
        number("maxSize", "Maximum size of its history in bytes."),
        number("baseSize", "Maximum size by the settings in bytes."),
        number("overrideSize", "Maximum size of this history in bytes, 0 for that of the settings."),
        number("resetThreshold", "Size at which an autoreset is requested."),
        number("effectiveResetThreshold", "The same, plus the size after the last reset."),
        number("minResetThreshold", "Minimum that operators can set."),
        bool("deputies", "Trusted users may kick."),
        bool("hasOpword", "There is an operator password."),
        Field::new("users", Kind::ListOf(&USER), "Present and past users."),
        Field::new("listings", Kind::ListOf(&LISTING), "Where it is announced."),
        Field::new("invitelist", Kind::ListOf(&INVITE), "Its invites."),
        Field::new("chat", Kind::Is(&CHAT_STATE), "An administrator is in the chat.").nullable(),
        Field::new("thumbnail", Kind::Is(&THUMBNAIL_STATE), "The picture."),
        bool("archive", "Its files are kept when it ends; null is the setting archive.").nullable(),
        Field::new("autoreset", Kind::Is(&AUTORESET), "State of the autoreset."),
        text("storageError", "Why it cannot be stored; only while it cannot."),
        bool("_locked", "Sessions are locked against changes."),
    ],
};

pub(super) const THUMBNAIL: Schema = Schema {
    name: "Thumbnail",
    fields: &[text("data", "The picture, base64.").required(), text("at", "When it was created.").required()],
};

pub(super) const CORRELATOR: Schema = Schema {
    name: "Correlator",
    fields: &[text("correlator", "Correlator of the client's answer.").required()],
};

pub(super) const PASSWORD_CHECK: Schema =
    Schema { name: "PasswordCheck", fields: &[bool("status", "The password is correct.").required()] };

pub(super) const ADDRESS_BAN: Schema = Schema {
    name: "AddressBan",
    fields: &[
        number("id", "Id.").required(),
        text("ip", "Address.").required(),
        number("subnet", "Length of the common prefix in bits, 0 for the one address.").required(),
        text("expires", "When it ends, UTC.").required(),
        text("comment", "For administrators.").required(),
        text("added", "When it was added, UTC.").required(),
    ],
};

pub(super) const SYSTEM_BAN: Schema = Schema {
    name: "SystemBan",
    fields: &[
        number("id", "Id.").required(),
        text("sid", "System id.").required(),
        text("reaction", "normal, neterror, garbage, hang or timer.").required(),
        text("expires", "When it ends, UTC.").required(),
        text("comment", "For administrators.").required(),
        text("reason", "Shown to banned users.").required(),
        text("added", "When it was added, UTC.").required(),
    ],
};

pub(super) const USER_BAN: Schema = Schema {
    name: "UserBan",
    fields: &[
        number("id", "Id.").required(),
        number("userId", "User id of the ext-auth server.").required(),
        text("reaction", "normal, neterror, garbage, hang or timer.").required(),
        text("expires", "When it ends, UTC.").required(),
        text("comment", "For administrators.").required(),
        text("reason", "Shown to banned users.").required(),
        text("added", "When it was added, UTC.").required(),
    ],
};

const HIT: Schema = Schema {
    name: "BannedUser",
    fields: &[
        text("uid", "Number of the connection.").required(),
        text("name", "User name.").required(),
        text("ip", "Address.").required(),
        text("session", "Session id, empty in none.").required(),
    ],
};

pub(super) const BAN_PREVIEW: Schema = Schema {
    name: "BanPreview",
    fields: &[
        text("first", "First address.").required(),
        text("last", "Last address.").required(),
        text("addresses", "Number of addresses; a string, because it may exceed JSON numbers.").required(),
        bool("many", "More addresses than one home has.").required(),
        Field::new("users", Kind::ListOf(&HIT), "Connected users with such an address.").required(),
    ],
};

pub(super) const ACCOUNT: Schema = Schema {
    name: "Account",
    fields: &[
        number("id", "Id.").required(),
        text("username", "User name.").required(),
        bool("locked", "Logging in is not possible.").required(),
        text("flags", "Such as MOD,HOST,ADMIN.").required(),
    ],
};

pub(super) const ACCOUNT_CHECK: Schema = Schema {
    name: "AccountCheck",
    fields: &[number("status", "0 no account, 1 wrong password, 2 locked, 3 correct.").required()],
};

pub(super) const WHITE_LIST: Schema = Schema {
    name: "WhiteList",
    fields: &[
        bool("enabled", "Only these list servers may be used.").required(),
        texts("whitelist", "Regular expressions of their URLs.").required(),
        bool("_locked", "It is locked against changes.").required(),
    ],
};

pub(super) const LOG_LINE: Schema = Schema {
    name: "LogLine",
    fields: &[
        text("timestamp", "When, ISO 8601.").required(),
        text("level", "Error, Warn, Info or Debug.").required(),
        text("topic", "What it is about.").required(),
        text("message", "What happened.").required(),
        text("session", "Session id."),
        text("user", "id;address;name."),
    ],
};

pub(super) const LOGGED: Schema = Schema {
    name: "Logged",
    fields: &[
        Field::new("entry", Kind::Is(&LOG_LINE), "The line.").required(),
        bool("_locked", "Always false.").required(),
    ],
};

const EXT_BAN: Schema = Schema {
    name: "ExternalBan",
    fields: &[
        number("id", "Id.").required(),
        bool("enabled", "The ban is in force.").required(),
        text("expires", "When it ends."),
        text("comment", "For administrators."),
        text("reason", "Shown to banned users."),
    ],
};

pub(super) const EXT_BANS: Schema = Schema {
    name: "ExternalBans",
    fields: &[
        Field::new("config", Kind::Object, "Related settings.").required(),
        Field::new("bans", Kind::ListOf(&EXT_BAN), "The bans.").required(),
        Field::new("status", Kind::Object, "State of the download.").required(),
        bool("_locked", "They are locked against changes.").required(),
    ],
};

pub(super) const NOTHING: Schema = Schema { name: "Nothing", fields: &[] };
