//! Parses requests that create a session without a host.

use drawhall_protocol::canvas::Canvas;
use drawhall_protocol::{Layout, ProtocolVersion};
use serde_json::Value;

use super::request::{Request, bad};
use crate::actors::server::MakeSession;
use crate::config::{MAX_USER_LIMIT, MIN_USER_LIMIT, Settings};
use crate::rules::metadata::Metadata;
use crate::rules::metadata::is_valid_alias;
use crate::rules::session::PasswordKind;
use crate::rules::session::admin::AdminError;
use crate::rules::session::{Flags, MAX_TITLE};
use crate::rules::template::{Messages, Template};

/// The protocol version that clients 2.2 and 2.3 can join.
const DEFAULT_PROTOCOL: &str = "dp:4.24.0";

/// Parses a request.
///
/// # Errors
/// 400 that names the first invalid member.
pub(super) fn read(request: &Request, settings: &Settings) -> Result<MakeSession, AdminError> {
    let protocol =
        text(request, "protocol")?.filter(|p| !p.is_empty()).unwrap_or_else(|| DEFAULT_PROTOCOL.into());
    let protocol: ProtocolVersion =
        protocol.parse().map_err(|_| bad(format!("protocol: '{protocol}' is no protocol version")))?;
    if !protocol.is_hostable() {
        return Err(bad(format!("protocol: this server does not speak {protocol}")));
    }
    let messages = messages(request, protocol.layout())?;
    let alias = text(request, "alias")?.unwrap_or_default();
    if !alias.is_empty() && !is_valid_alias(&alias) {
        return Err(bad("alias: 1 to 32 letters, digits and -, and not what a session id looks like"));
    }
    let line = |key: &str| {
        let line: String = text(request, key)?.unwrap_or_default();
        let is_valid = line.encode_utf16().count() <= MAX_TITLE && !line.chars().any(char::is_control);
        if is_valid {
            Ok(line)
        } else {
            Err(bad(format!("{key}: at most {MAX_TITLE} characters in one line")))
        }
    };
    let max_users = number(request, "maxUserCount")?.unwrap_or(settings.session_user_limit.into());
    if !(u64::from(MIN_USER_LIMIT)..=u64::from(MAX_USER_LIMIT)).contains(&max_users) {
        return Err(bad(format!("maxUserCount: {MIN_USER_LIMIT} to {MAX_USER_LIMIT}")));
    }
    let bool = |key: &str| match request.body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(on)) => Ok(Some(*on)),
        Some(_) => Err(bad(format!("{key}: must be true or false"))),
    };
    let flags = Flags {
        nsfm: bool("nsfm")?.unwrap_or(false),
        // A session that is not persistent would end before anybody can join.
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
        let password = text(request, key)?.filter(|password| !password.is_empty());
        passwords.extend(password.map(|password| (kind, password)));
    }
    let template = Box::new(Template::without_file(metadata, protocol));
    Ok(MakeSession { template, passwords, messages })
}

fn messages(request: &Request, layout: Layout) -> Result<Messages, AdminError> {
    let dimension = |key: &str, default: u64| {
        let length = number(request, key)?.unwrap_or(default);
        u32::try_from(length).map_err(|_| bad(format!("{key}: too large")))
    };
    let layers = number(request, "layers")?.unwrap_or(1);
    let canvas = Canvas {
        width: dimension("width", 2000)?,
        height: dimension("height", 2000)?,
        background: colour(&text(request, "background")?.unwrap_or_else(|| "#ffffff".into()))?,
        layers: u8::try_from(layers).unwrap_or(u8::MAX),
    };
    let frames = canvas.messages(layout).map_err(|error| bad(error.to_string()))?;
    let bytes: Vec<u8> = frames.iter().flat_map(|f| f.as_bytes().to_vec()).collect();
    Ok(Messages { bytes, count: frames.len() as u64, ..Messages::default() })
}

fn text(request: &Request, key: &str) -> Result<Option<String>, AdminError> {
    match request.body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(bad(format!("{key}: must be a text"))),
    }
}

fn number(request: &Request, key: &str) -> Result<Option<u64>, AdminError> {
    match request.body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or_else(|| bad(format!("{key}: must be a whole number"))),
    }
}

/// Parses a colour, `#rrggbb` or `#aarrggbb`.
fn colour(text: &str) -> Result<u32, AdminError> {
    drawhall_protocol::text::parse_colour(text)
        .ok_or_else(|| bad(format!("background: '{text}' is no colour such as #ffffff")))
}
