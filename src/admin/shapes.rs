//! Shapes of what the API answers. A test compares them with answers of a server.

use super::operation::{Field, Kind, Schema, number, text, texts, truth};

pub(super) const STATUS: Schema = Schema {
    name: "Status",
    fields: &[
        text("started", "Since when the server runs, ISO 8601.").needed(),
        number("sessions", "Sessions.").needed(),
        number("maxSessions", "Sessions that there may be.").needed(),
        number("users", "Connections.").needed(),
        text("ext_host", "Public host name, empty if it is not known.").needed(),
        number("ext_port", "Port that clients connect to.").needed(),
    ],
};

/// Which settings there are is in the table of settings.
pub(super) const SETTINGS: Schema = Schema { name: "Settings", fields: &[] };

pub(super) const LOCKS: Schema = Schema {
    name: "Locks",
    fields: &[
        truth("supported", "There is a database to keep them.").needed(),
        Field::new("sections", Kind::Object, "Parts of the API: whether they are locked.").needed(),
        truth("password", "Changing them needs a password.").needed(),
    ],
};

const CAPABILITIES: Schema = Schema {
    name: "Capabilities",
    fields: &[
        truth("keepalive", "The client sends keep-alive messages.").needed(),
        truth("thumbnail", "The client can make pictures of the canvas.").needed(),
    ],
};

pub(super) const USER: Schema = Schema {
    name: "User",
    fields: &[
        number("id", "User id in the session, 0 outside.").needed(),
        text("name", "User name.").needed(),
        text("ip", "Address.").needed(),
        text("s", "System id.").needed(),
        text("uid", "Number of the connection; past users have none."),
        text("lastActive", "When something was received, ISO 8601."),
        text("lastActiveDrawing", "When something was drawn, ISO 8601."),
        text("lastWithoutSession", "Since when it is in no session, ISO 8601."),
        truth("auth", "Logged in with an account."),
        truth("op", "Operator of the session."),
        truth("trusted", "Trusted."),
        truth("muted", "May not chat."),
        truth("mod", "Moderator of the server."),
        truth("tls", "The connection is encrypted."),
        truth("browser", "The client runs in a browser."),
        truth("oldv", "The client is older than the session."),
        text("session", "Session id, empty in none."),
        text("state", "login, session, graceful_disconnect or quiet_disconnect."),
        Field::new("capabilities", Kind::Is(&CAPABILITIES), "What the client can do."),
        truth("online", "Still there; in descriptions of sessions."),
        truth("holdLocked", "Waits for a reset; in descriptions of sessions."),
        texts("resetFlags", "What it has to do with a reset: awaiting, queried, responded, streaming."),
    ],
};

const INVITE_USE: Schema = Schema {
    name: "InviteUse",
    fields: &[text("name", "Who.").needed(), text("at", "When.").needed(), text("s", "System id.")],
};

pub(super) const INVITE: Schema = Schema {
    name: "Invite",
    fields: &[
        text("secret", "What makes it an invite.").needed(),
        text("at", "When it was made.").needed(),
        text("creator", "Who made it, empty for administrators.").needed(),
        number("maxUses", "How often it can be used.").needed(),
        truth("op", "Whoever uses it is operator; only if so."),
        truth("trust", "Whoever uses it is trusted; only if so."),
        Field::new("uses", Kind::ListOf(&INVITE_USE), "Who has used it.").needed(),
    ],
};

pub(super) const INVITES: Schema = Schema {
    name: "Invites",
    fields: &[Field::new("invites", Kind::ListOf(&INVITE), "Invites of the session.").needed()],
};

pub(super) const LISTING: Schema = Schema {
    name: "Listing",
    fields: &[number("id", "Its number.").needed(), text("url", "The list server.").needed()],
};

const CHAT_STATE: Schema = Schema {
    name: "ChatState",
    fields: &[
        number("offset", "Number of the first message that is kept.").needed(),
        number("count", "Messages that are kept.").needed(),
        number("timeout", "Milliseconds without a look after which the chat is left.").needed(),
        number("remaining", "Milliseconds that are left of it.").needed(),
    ],
};

const CHAT_MESSAGE: Schema = Schema {
    name: "ChatMessage",
    fields: &[
        number("i", "User id; the administrator has none."),
        text("n", "User name."),
        text("m", "The message.").needed(),
        number("f", "Flags of the message, if there are any."),
    ],
};

pub(super) const CHAT: Schema = Schema {
    name: "Chat",
    fields: &[
        number("offset", "Number of the first message that follows.").needed(),
        Field::new("messages", Kind::ListOf(&CHAT_MESSAGE), "Messages.").needed(),
    ],
};

const AUTORESET: Schema = Schema {
    name: "Autoreset",
    fields: &[
        number("delay", "Milliseconds until an autoreset can be asked for.").nullable(),
        number("historyFirstIndex", "Index of the first message of the history."),
        number("historyLastIndex", "Index of the last message of the history."),
        text("requestStatus", "How far asking has come."),
        text("sessionState", "initialization, running, reset or shutdown."),
        text("stream", "State of a streamed reset.").nullable(),
    ],
};

const THUMBNAIL_STATE: Schema = Schema {
    name: "ThumbnailState",
    fields: &[
        text("generatedAt", "When the picture was made."),
        number("generatorCtxId", "User id of the client that makes one."),
        text("generatorCorrelator", "What its answer will name."),
    ],
};

/// What lists of sessions show.
macro_rules! session_fields {
    ($($more:expr),* $(,)?) => {
        &[
            text("id", "Session id; templates have none."),
            text("alias", "Alias, empty without."),
            text("protocol", "Protocol version, such as dp:4.24.0.").needed(),
            number("userCount", "Users in it."),
            number("activeDrawingUserCount", "Users who have drawn lately."),
            number("maxUserCount", "Users that there may be.").needed(),
            text("founder", "Who has made it.").needed(),
            text("title", "Title.").needed(),
            truth("autotitle", "The title was made up."),
            truth("hasPassword", "Joining needs a password.").needed(),
            truth("closed", "Nobody else may join."),
            truth("authOnly", "Only accounts may join.").needed(),
            truth("nsfm", "Not safe for minors.").needed(),
            text("startTime", "When it was begun, ISO 8601."),
            number("size", "Bytes of its history."),
            truth("persistent", "It stays when everybody has left."),
            truth("invites", "Operators may make invites."),
            truth("unlisted", "Lists do not show it."),
            truth("idleOverride", "It has no idle limit."),
            truth("allowWeb", "Browsers may join."),
            truth("preferWebSockets", "Clients are to prefer WebSocket."),
            $($more),*
        ]
    };
}

pub(super) const SESSION: Schema = Schema { name: "Session", fields: session_fields![] };

pub(super) const SESSION_DETAILS: Schema = Schema {
    name: "SessionDetails",
    fields: session_fields![
        number("maxSize", "Bytes that its history may have."),
        number("baseSize", "Bytes that histories may have by the settings."),
        number("overrideSize", "Bytes that this history may have instead, 0 for those."),
        number("resetThreshold", "Size at which an autoreset is asked for."),
        number("effectiveResetThreshold", "The same, counted from the last reset."),
        number("minResetThreshold", "The least that operators can set."),
        truth("deputies", "Trusted users may kick."),
        truth("hasOpword", "There is an operator password."),
        Field::new("users", Kind::ListOf(&USER), "Who is or was in it."),
        Field::new("listings", Kind::ListOf(&LISTING), "Where it is announced."),
        Field::new("invitelist", Kind::ListOf(&INVITE), "Its invites."),
        Field::new("chat", Kind::Is(&CHAT_STATE), "An administrator is in the chat.").nullable(),
        Field::new("thumbnail", Kind::Is(&THUMBNAIL_STATE), "The picture."),
        truth("archive", "Its files are kept when it ends; null is the setting archive.").nullable(),
        Field::new("autoreset", Kind::Is(&AUTORESET), "How far an autoreset is."),
        text("storageError", "Why it cannot be stored; only while that is so."),
        truth("_locked", "Sessions are locked against changes."),
    ],
};

pub(super) const THUMBNAIL: Schema = Schema {
    name: "Thumbnail",
    fields: &[text("data", "The picture, base64.").needed(), text("at", "When it was made.").needed()],
};

pub(super) const CORRELATOR: Schema = Schema {
    name: "Correlator",
    fields: &[text("correlator", "What the client's answer will name.").needed()],
};

pub(super) const PASSWORD_CHECK: Schema =
    Schema { name: "PasswordCheck", fields: &[truth("status", "It is the password.").needed()] };

pub(super) const ADDRESS_BAN: Schema = Schema {
    name: "AddressBan",
    fields: &[
        number("id", "Its number.").needed(),
        text("ip", "Address.").needed(),
        number("subnet", "Length of the common prefix in bits, 0 for the one address.").needed(),
        text("expires", "When it ends, UTC.").needed(),
        text("comment", "For administrators.").needed(),
        text("added", "When it was made, UTC.").needed(),
    ],
};

pub(super) const SYSTEM_BAN: Schema = Schema {
    name: "SystemBan",
    fields: &[
        number("id", "Its number.").needed(),
        text("sid", "System id.").needed(),
        text("reaction", "normal, neterror, garbage, hang or timer.").needed(),
        text("expires", "When it ends, UTC.").needed(),
        text("comment", "For administrators.").needed(),
        text("reason", "For who is banned.").needed(),
        text("added", "When it was made, UTC.").needed(),
    ],
};

pub(super) const USER_BAN: Schema = Schema {
    name: "UserBan",
    fields: &[
        number("id", "Its number.").needed(),
        number("userId", "User id of the ext-auth server.").needed(),
        text("reaction", "normal, neterror, garbage, hang or timer.").needed(),
        text("expires", "When it ends, UTC.").needed(),
        text("comment", "For administrators.").needed(),
        text("reason", "For who is banned.").needed(),
        text("added", "When it was made, UTC.").needed(),
    ],
};

const HIT: Schema = Schema {
    name: "BannedUser",
    fields: &[
        text("uid", "Number of the connection.").needed(),
        text("name", "User name.").needed(),
        text("ip", "Address.").needed(),
        text("session", "Session id, empty in none.").needed(),
    ],
};

pub(super) const BAN_PREVIEW: Schema = Schema {
    name: "BanPreview",
    fields: &[
        text("first", "First address.").needed(),
        text("last", "Last address.").needed(),
        text("addresses", "How many it covers; a text, as there can be more than numbers of JSON hold.")
            .needed(),
        truth("many", "So many that others than the one who is meant will be kept out.").needed(),
        Field::new("users", Kind::ListOf(&HIT), "Who of those who are online has such an address.").needed(),
    ],
};

pub(super) const ACCOUNT: Schema = Schema {
    name: "Account",
    fields: &[
        number("id", "Its number.").needed(),
        text("username", "User name.").needed(),
        truth("locked", "Nobody can log in.").needed(),
        text("flags", "Such as MOD,HOST,ADMIN.").needed(),
    ],
};

pub(super) const ACCOUNT_CHECK: Schema = Schema {
    name: "AccountCheck",
    fields: &[number("status", "0 no account, 1 wrong password, 2 locked, 3 fits.").needed()],
};

pub(super) const WHITE_LIST: Schema = Schema {
    name: "WhiteList",
    fields: &[
        truth("enabled", "Only these list servers may be used.").needed(),
        texts("whitelist", "Regular expressions of their URLs.").needed(),
        truth("_locked", "It is locked against changes.").needed(),
    ],
};

pub(super) const LOG_LINE: Schema = Schema {
    name: "LogLine",
    fields: &[
        text("timestamp", "When, ISO 8601.").needed(),
        text("level", "Error, Warn, Info or Debug.").needed(),
        text("topic", "What it is about.").needed(),
        text("message", "What happened.").needed(),
        text("session", "Session id."),
        text("user", "id;address;name."),
    ],
};

pub(super) const LOGGED: Schema = Schema {
    name: "Logged",
    fields: &[
        Field::new("entry", Kind::Is(&LOG_LINE), "The line.").needed(),
        truth("_locked", "Always false.").needed(),
    ],
};

const EXT_BAN: Schema = Schema {
    name: "ExternalBan",
    fields: &[
        number("id", "Its number.").needed(),
        truth("enabled", "It counts.").needed(),
        text("expires", "When it ends."),
        text("comment", "For administrators."),
        text("reason", "For who is banned."),
    ],
};

pub(super) const EXT_BANS: Schema = Schema {
    name: "ExternalBans",
    fields: &[
        Field::new("config", Kind::Object, "Settings about them.").needed(),
        Field::new("bans", Kind::ListOf(&EXT_BAN), "The bans.").needed(),
        Field::new("status", Kind::Object, "How fetching them stands.").needed(),
        truth("_locked", "They are locked against changes.").needed(),
    ],
};

pub(super) const NOTHING: Schema = Schema { name: "Nothing", fields: &[] };
