//! The text form of messages: `<user id> <text name> [<JSON object>]`, one message a line.
//!
//! [`write_line`] and [`parse_line`] are driven by the message table, so every message of both layouts has a text
//! form. The form before 2.2 (`key=value`) is read by [`legacy`]. Source: docs/spec/wire.md#text-recording.

mod json;
pub mod legacy;
#[cfg(test)]
mod tests;

pub use json::parse_colour;

use serde_json::{Map, Value};

use crate::frame::{Frame, FrameRef};
use crate::message::{DecodeError, Layout, info_by_text, info_of};

/// A line that is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The line does not begin with a user id and a name.
    #[error("expected '<user id> <message name>'")]
    Incomplete,
    /// The user id is no number of 0-255.
    #[error("'{0}' is no user id (0-255)")]
    BadUser(String),
    /// The message name is not in the table.
    #[error("unknown message '{0}'")]
    UnknownName(String),
    /// The message came with dp:4.25 and is not part of sessions of this version.
    #[error("message '{0}' does not exist before dp:4.25")]
    NotInVersion(String),
    /// What follows the name is not a JSON object.
    #[error("the body is not a JSON object: {0}")]
    BadBody(String),
    /// The fields cannot be put into a message.
    #[error("field '{field}': {reason}")]
    BadField {
        /// The field's name.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A block `{` is not closed, or a line of the old form cannot be read.
    #[error("{0}")]
    Legacy(String),
}

/// Appends the line for a frame to `out`, without a line feed.
///
/// # Errors
/// When the payload is no valid message of `layout`; `out` is left as it was.
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

/// Parses one message line of today's form. What reads as a default although something else was meant is said in
/// `warnings`.
///
/// # Errors
/// When the line is no message.
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

/// The first word and what follows it, blanks removed.
fn split_word(text: &str) -> (&str, &str) {
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim()),
        None => (text, ""),
    }
}
