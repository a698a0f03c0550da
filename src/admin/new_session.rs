//! Parameters of a session that is created over the API, without a host.

use drawhall_protocol::canvas::{Canvas, MAX_LAYERS, MAX_SIDE};
use drawhall_protocol::{Layout, ProtocolVersion};
use schemars::JsonSchema;
use serde::Deserialize;

use super::error::{ApiError, bad};
use super::value::{Flag, Number, Text};
use crate::actors::server::MakeSession;
use crate::config::{MAX_USER_LIMIT, MIN_USER_LIMIT, Settings};
use crate::pictures::{MAX_MESSAGES, PictureJob};
use crate::rules::metadata::Metadata;
use crate::rules::metadata::is_valid_alias;
use crate::rules::session::PasswordKind;
use crate::rules::session::{Flags, MAX_TITLE};
use crate::rules::template::{Messages, Template};

/// The protocol version that clients 2.2 and 2.3 can join.
const DEFAULT_PROTOCOL: &str = "dp:4.24.0";

/// A new session. With a template, no other member may be given.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("anyOf" = [
    {"properties": {"template": {"enum": ["", null]}}},
    {"required": ["template"], "maxProperties": 1},
]))]
pub(super) struct NewSession {
    /// Alias of a template; no other member may be given then.
    pub(super) template: Text,
    /// Title.
    #[schemars(extend("pattern" = LINE))]
    title: Text,
    /// Founder's name.
    #[schemars(extend("pattern" = LINE))]
    founder: Text,
    /// Password, empty for none.
    password: Text,
    /// Operator password, empty for none.
    opword: Text,
    /// Maximum number of users.
    max_user_count: Number<{ MIN_USER_LIMIT as i64 }, { MAX_USER_LIMIT as i64 }>,
    /// It persists without users.
    persistent: Option<Flag>,
    /// Not safe for minors.
    nsfm: Option<Flag>,
    /// Only accounts may join.
    auth_only: Option<Flag>,
    /// Browsers may join.
    allow_web: Option<Flag>,
    /// Operators may make invites.
    invites: Option<Flag>,
    /// Lists do not show it.
    unlisted: Option<Flag>,
    /// Trusted users may kick.
    deputies: Option<Flag>,
    /// Chat is kept in the history.
    preserve_chat: Option<Flag>,
    /// Letters, digits and -, and not what a session id looks like.
    #[schemars(extend("pattern" = "^([A-Za-z0-9-]{1,25}|[A-Za-z0-9-]{27,32})?$"))]
    alias: Text,
    /// Pixels of the canvas.
    width: Number<1, { MAX_SIDE as i64 }>,
    /// Pixels of the canvas.
    height: Number<1, { MAX_SIDE as i64 }>,
    /// #rrggbb or #aarrggbb.
    #[schemars(extend("pattern" = "^(#([0-9A-Fa-f]{6}|[0-9A-Fa-f]{8}))?$"))]
    background: Text,
    /// Layers of the canvas.
    layers: Number<1, { MAX_LAYERS as i64 }>,
    /// Protocol version, such as dp:4.24.0.
    #[schemars(extend("pattern" = "^(dp:4\\.(2[0-9])\\.[0-9]{1,3})?$"))]
    protocol: Text,
}

/// One line of at most [`MAX_TITLE`] characters.
const LINE: &str = r"^[^\x00-\x1f\x7f-\x9f]{0,100}$";

/// What a picture is to become, with which a session is to begin.
///
/// # Errors
/// 400 that names the first parameter that is invalid or contradicts the picture.
pub(super) fn picture_job(wanted: &NewSession, settings: &Settings) -> Result<PictureJob, ApiError> {
    if !wanted.template.is_empty() {
        return Err(bad("template: a picture and a template were given"));
    }
    for (name, is_given) in [
        ("width", !wanted.width.is_missing()),
        ("height", !wanted.height.is_missing()),
        ("layers", !wanted.layers.is_missing()),
    ] {
        if is_given {
            return Err(bad(format!("{name}: the picture has its own")));
        }
    }
    let max_bytes = match settings.session_size_limit {
        0 => MAX_MESSAGES,
        limit => limit.min(MAX_MESSAGES),
    };
    Ok(PictureJob { protocol: protocol(wanted)?, background: background(wanted)?, max_bytes })
}

/// Checks the parameters.
///
/// # Errors
/// 400 that names the first invalid one.
pub(super) fn read(wanted: NewSession, settings: &Settings) -> Result<MakeSession, ApiError> {
    let protocol = protocol(&wanted)?;
    let messages = messages(&wanted, protocol.layout())?;
    let alias = wanted.alias.0;
    if !alias.is_empty() && !is_valid_alias(&alias) {
        return Err(bad("alias: 1 to 32 letters, digits and -, and not what a session id looks like"));
    }
    let max_users: Option<u32> = wanted.max_user_count.get_as("maxUserCount")?;
    let is_set = |flag: Option<Flag>, default: bool| flag.map_or(default, |flag| flag.0);
    let flags = Flags {
        nsfm: is_set(wanted.nsfm, false),
        // A session that is not persistent would end before anybody can join.
        persistent: is_set(wanted.persistent, true),
        auth_only: is_set(wanted.auth_only, false),
        allow_web: is_set(wanted.allow_web, settings.allow_guest_web_session),
        invites: is_set(wanted.invites, settings.invites),
        unlisted: is_set(wanted.unlisted, false),
        deputies: is_set(wanted.deputies, false),
        preserve_chat: is_set(wanted.preserve_chat, false),
        ..Flags::default()
    };
    let metadata = Metadata {
        title: line("title", wanted.title)?,
        founder: line("founder", wanted.founder)?,
        max_users: max_users.unwrap_or(settings.session_user_limit),
        flags,
        alias,
        ..Metadata::default()
    };
    let passwords = [(PasswordKind::Session, wanted.password), (PasswordKind::Operator, wanted.opword)];
    let passwords = passwords.into_iter().filter(|(_, password)| !password.is_empty());
    let passwords = passwords.map(|(kind, password)| (kind, password.0)).collect();
    let template = Box::new(Template::without_file(metadata, protocol));
    Ok(MakeSession { template, passwords, messages })
}

fn protocol(wanted: &NewSession) -> Result<ProtocolVersion, ApiError> {
    let protocol = if wanted.protocol.is_empty() { DEFAULT_PROTOCOL } else { &*wanted.protocol };
    let protocol: ProtocolVersion =
        protocol.parse().map_err(|_| bad(format!("protocol: '{protocol}' is no protocol version")))?;
    if !protocol.is_hostable() {
        return Err(bad(format!("protocol: this server does not speak {protocol}")));
    }
    Ok(protocol)
}

/// A text in one line that is not too long.
fn line(name: &str, text: Text) -> Result<String, ApiError> {
    let is_valid = text.encode_utf16().count() <= MAX_TITLE && !text.chars().any(char::is_control);
    let refused = || bad(format!("{name}: at most {MAX_TITLE} characters in one line"));
    is_valid.then_some(text.0).ok_or_else(refused)
}

fn messages(wanted: &NewSession, layout: Layout) -> Result<Messages, ApiError> {
    let canvas = Canvas {
        width: wanted.width.get_as("width")?.unwrap_or(2000),
        height: wanted.height.get_as("height")?.unwrap_or(2000),
        background: background(wanted)?,
        layers: wanted.layers.get_as("layers")?.unwrap_or(1),
    };
    let frames = canvas.messages(layout).map_err(|error| bad(error.to_string()))?;
    let bytes: Vec<u8> = frames.iter().flat_map(|f| f.as_bytes().to_vec()).collect();
    Ok(Messages { bytes, count: frames.len() as u64, ..Messages::default() })
}

/// The colour of the background, from `#rrggbb` or `#aarrggbb`.
fn background(wanted: &NewSession) -> Result<u32, ApiError> {
    let text = if wanted.background.is_empty() { "#ffffff" } else { &*wanted.background };
    drawhall_protocol::text::parse_colour(text)
        .ok_or_else(|| bad(format!("background: '{text}' is no colour such as #ffffff")))
}
