//! The text form of messages: `<user id> <name> [<JSON object>]`, one message per line.
//!
//! [`write_line`] and [`parse_line`] are driven by the message table, so every message of both layouts has a text
//! form. [`legacy`] parses the form before 2.2 (`key=value`). Source: docs/spec/wire.md#text-recording.

mod json;
pub mod legacy;
#[cfg(test)]
mod tests;

pub use json::parse_colour;

use serde_json::{Map, Value};

use crate::frame::{Frame, FrameRef};
use crate::message::{DecodeError, Layout, info_by_text, info_of};

/// A line that is not a valid message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The line does not begin with a user id and a name.
    #[error("expected '<user id> <message name>'")]
    Incomplete,
    /// The user id is not a number from 0 to 255.
    #[error("'{0}' is no user id (0-255)")]
    BadUser(String),
    /// There is no message of this name.
    #[error("unknown message '{0}'")]
    UnknownName(String),
    /// The message exists since dp:4.25 only.
    #[error("message '{0}' does not exist before dp:4.25")]
    NotInVersion(String),
    /// The text after the name is not a JSON object.
    #[error("the body is not a JSON object: {0}")]
    BadBody(String),
    /// A field is invalid.
    #[error("field '{field}': {reason}")]
    BadField {
        /// Name of the field.
        field: String,
        /// What is wrong.
        reason: String,
    },
    /// A line of the form before 2.2 is invalid, or its block `{` is not closed.
    #[error("{0}")]
    Legacy(String),
}

/// Appends the line of a frame to `out`, without a line feed.
///
/// # Errors
/// When the payload is invalid in `layout`; `out` is unchanged then.
pub fn write_line(frame: FrameRef<'_>, layout: Layout, out: &mut String) -> Result<(), DecodeError> {
    let kind = frame.header.kind;
    let info = info_of(kind).filter(|m| !m.reserved).ok_or(DecodeError::UnknownType(kind))?;
    if !info.exists_in(layout) {
        return Err(DecodeError::NotInLayout(kind));
    }
    let start = out.len();
    out.push_str(&format!("{} {}", frame.header.user, info.text));
    let written = json::write_body(info.layout(layout), frame.payload(), out);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// Parses a line of the current form. Values that are replaced with defaults are reported in `warnings`.
///
/// # Errors
/// When the line is not a valid message.
pub fn parse_line(line: &str, layout: Layout, warnings: &mut Vec<String>) -> Result<Frame, LineError> {
    let (user, rest) = split_word(line.trim());
    let (name, body) = split_word(rest);
    if name.is_empty() {
        return Err(LineError::Incomplete);
    }
    let user = user.parse::<u8>().map_err(|_| LineError::BadUser(user.to_owned()))?;
    let info = info_by_text(name).ok_or_else(|| LineError::UnknownName(name.to_owned()))?;
    if !info.exists_in(layout) {
        return Err(LineError::NotInVersion(name.to_owned()));
    }
    let fields: Map<String, Value> = if body.is_empty() {
        Map::new()
    } else {
        crate::lenient::from_json(body.as_bytes()).map_err(|e| LineError::BadBody(e.to_string()))?
    };
    let payload = json::read_body(info.layout(layout), &fields, warnings)?;
    Frame::new(info.id, user, &payload)
        .map_err(|e| LineError::BadField { field: "payload".into(), reason: e.to_string() })
}

/// The first word, and the trimmed text after it.
fn split_word(text: &str) -> (&str, &str) {
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim()),
        None => (text, ""),
    }
}
