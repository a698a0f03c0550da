//! The JSON of a command, and what reads and writes its arguments.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::lenient::{from_json, member, or_default};

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

    /// Checks the number of positional arguments.
    pub(super) fn expect_args(&self, count: usize, refusal: &'static str) -> Result<(), CommandError> {
        if self.args.len() == count { Ok(()) } else { Err(CommandError::Arguments(refusal)) }
    }

    /// A positional argument, null if it is missing.
    pub(super) fn arg(&self, at: usize) -> &Value {
        self.args.get(at).unwrap_or(&Value::Null)
    }

    /// A named argument, null if it is missing.
    pub(super) fn kwarg(&self, key: &str) -> &Value {
        member(&self.kwargs, key)
    }

    /// A named argument, if it is there.
    pub(super) fn given(&self, key: &str) -> Option<&Value> {
        self.kwargs.get(key)
    }

    /// Adds a positional argument.
    pub(super) fn push(&mut self, value: impl Into<Value>) {
        self.args.push(value.into());
    }

    /// Adds a named argument, unless it is null.
    pub(super) fn put(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        if !value.is_null() {
            self.kwargs.insert(key.into(), value);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_but_a_json_object_is_the_empty_command() {
        for text in ["", "not json", "[]", "7", r#"{"cmd":7,"args":{},"kwargs":[]}"#] {
            assert_eq!(RawCommand::parse(text.as_bytes()), RawCommand::default(), "{text}");
        }
    }

    #[test]
    fn absent_arguments_are_not_written() {
        let mut raw = RawCommand { cmd: "x".into(), ..Default::default() };
        raw.put("a", None::<bool>);
        assert_eq!(serde_json::to_string(&raw).unwrap(), r#"{"cmd":"x"}"#);
        raw.push(1);
        raw.put("b", true);
        assert_eq!(serde_json::to_string(&raw).unwrap(), r#"{"cmd":"x","args":[1],"kwargs":{"b":true}}"#);
    }
}
