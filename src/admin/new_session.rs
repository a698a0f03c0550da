//! A session that nobody hosts: what a request says about it.

use drawhall_protocol::canvas::Canvas;
use drawhall_protocol::{Layout, ProtocolVersion};
use serde_json::Value;

use super::request::{Request, bad};
use crate::config::{MAX_USER_LIMIT, MIN_USER_LIMIT, Settings};
use crate::server::MakeSession;
use crate::session::admin::AdminError;
use crate::session::{Flags, MAX_TITLE};
use crate::storage::metadata::Metadata;
use crate::storage::names::is_valid_alias;
use crate::storage::session_files::PasswordKind;
use crate::storage::template::{Messages, Template};

/// Clients 2.2 and 2.3 can join this version.
const DEFAULT_PROTOCOL: &str = "dp:4.24.0";

/// Reads what a request says.
///
/// # Errors
/// When something of it makes no sense; it is named.
pub(super) fn read(call: &Request, settings: &Settings) -> Result<MakeSession, AdminError> {
    let protocol =
        text(call, "protocol")?.filter(|p| !p.is_empty()).unwrap_or_else(|| DEFAULT_PROTOCOL.into());
    let protocol: ProtocolVersion =
        protocol.parse().map_err(|_| bad(format!("protocol: '{protocol}' is no protocol version")))?;
    if !protocol.is_hostable() {
        return Err(bad(format!("protocol: this server does not speak {protocol}")));
    }
    let messages = messages(call, protocol.layout())?;
    let alias = text(call, "alias")?.unwrap_or_default();
    if !alias.is_empty() && !is_valid_alias(&alias) {
        return Err(bad("alias: 1 to 32 letters, digits and -, and not what a session id looks like"));
    }
    let line = |key: &str| {
        let line: String = text(call, key)?.unwrap_or_default();
        let fits = line.encode_utf16().count() <= MAX_TITLE && !line.chars().any(char::is_control);
        if fits { Ok(line) } else { Err(bad(format!("{key}: at most {MAX_TITLE} characters in one line"))) }
    };
    let max_users = number(call, "maxUserCount")?.unwrap_or(settings.session_user_limit.into());
    if !(u64::from(MIN_USER_LIMIT)..=u64::from(MAX_USER_LIMIT)).contains(&max_users) {
        return Err(bad(format!("maxUserCount: {MIN_USER_LIMIT} to {MAX_USER_LIMIT}")));
    }
    let bool = |key: &str| match call.body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(on)) => Ok(Some(*on)),
        Some(_) => Err(bad(format!("{key}: must be true or false"))),
    };
    let flags = Flags {
        nsfm: bool("nsfm")?.unwrap_or(false),
        // Otherwise it would be gone before anybody has come.
        persistent: bool("persistent")?.unwrap_or(true),
        auth_only: bool("authOnly")?.unwrap_or(false),
        allow_web: bool("allowWeb")?.unwrap_or(settings.allow_guest_web_session),
        invites: bool("invites")?.unwrap_or(settings.invites),
        unlisted: bool("unlisted")?.unwrap_or(false),
        deputies: bool("deputies")?.unwrap_or(false),
        preserve_chat: bool("preserveChat")?.unwrap_or(false),
        ..Flags::default()
    };
    let metadata = Metadata {
        title: line("title")?,
        founder: line("founder")?,
        max_users: max_users as u32,
        flags,
        alias,
        ..Metadata::default()
    };
    let mut passwords = Vec::new();
    for (kind, key) in [(PasswordKind::Session, "password"), (PasswordKind::Operator, "opword")] {
        let given = text(call, key)?.filter(|password| !password.is_empty());
        passwords.extend(given.map(|password| (kind, password)));
    }
    let template = Box::new(Template::without_file(metadata, protocol));
    Ok(MakeSession { template, passwords, messages })
}

fn messages(call: &Request, layout: Layout) -> Result<Messages, AdminError> {
    let side = |key: &str, default: u64| {
        let length = number(call, key)?.unwrap_or(default);
        u32::try_from(length).map_err(|_| bad(format!("{key}: too large")))
    };
    let layers = number(call, "layers")?.unwrap_or(1);
    let canvas = Canvas {
        width: side("width", 2000)?,
        height: side("height", 2000)?,
        background: colour(&text(call, "background")?.unwrap_or_else(|| "#ffffff".into()))?,
        layers: u8::try_from(layers).unwrap_or(u8::MAX),
    };
    let frames = canvas.messages(layout).map_err(|error| bad(error.to_string()))?;
    let bytes: Vec<u8> = frames.iter().flat_map(|f| f.as_bytes().to_vec()).collect();
    Ok(Messages { bytes, count: frames.len() as u64, ..Messages::default() })
}

fn text(call: &Request, key: &str) -> Result<Option<String>, AdminError> {
    match call.body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(bad(format!("{key}: must be a text"))),
    }
}

fn number(call: &Request, key: &str) -> Result<Option<u64>, AdminError> {
    match call.body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or_else(|| bad(format!("{key}: must be a whole number"))),
    }
}

/// A colour, `#rrggbb` or `#aarrggbb`.
fn colour(text: &str) -> Result<u32, AdminError> {
    drawhall_protocol::text::parse_colour(text)
        .ok_or_else(|| bad(format!("background: '{text}' is no colour such as #ffffff")))
}
