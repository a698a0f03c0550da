//! `cinfo`: technical data about the client.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Command, CommandError, RawCommand};
use crate::lenient::member;

/// Maximum length of a text in [`ClientInfo`], in characters.
const MAX_TEXT: usize = 65;

/// `cinfo`: technical data about the client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cinfo {
    /// The host name that the client connected to.
    pub host: String,
    /// Technical data about the client.
    pub info: ClientInfo,
}

impl Command for Cinfo {
    const NAME: &'static str = "cinfo";

    fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
        match raw.args.as_slice() {
            [Value::String(host), Value::Object(info)] => {
                Ok(Self { host: host.clone(), info: ClientInfo::of(info) })
            }
            _ => Err(CommandError::Arguments("Expected host name and client info object")),
        }
    }

    fn write(&self, raw: &mut RawCommand) {
        let mut info = Map::new();
        self.info.put_into(&mut info);
        raw.push(self.host.as_str());
        raw.push(info);
    }
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
    pub(super) fn of(object: &Map<String, Value>) -> Self {
        let text = |key: &str| -> String {
            let text = member(object, key).as_str().unwrap_or_default().trim();
            text.chars().take(MAX_TEXT).collect()
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

    pub(super) fn put_into(&self, object: &mut Map<String, Value>) {
        let members = [
            ("app_version", &self.app_version),
            ("protocol_version", &self.protocol_version),
            ("qt_version", &self.qt_version),
            ("os", &self.os),
            ("s", &self.s),
            ("m", &self.m),
        ];
        for (key, value) in members.into_iter().filter(|(_, value)| !value.is_empty()) {
            object.insert(key.into(), value.as_str().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_round_trip, parse};
    use super::*;

    #[test]
    fn empty_members_are_left_out() {
        let info = ClientInfo { os: "Plan 9".into(), m: "x".into(), ..Default::default() };
        let cinfo = Cinfo { host: "h".into(), info };
        assert_round_trip(&cinfo, r#"{"cmd":"cinfo","args":["h",{"m":"x","os":"Plan 9"}]}"#);
    }

    #[test]
    fn texts_are_trimmed_and_cut_to_65_characters() {
        let long = "ü".repeat(70);
        let text = format!(r#"{{"cmd":"cinfo","args":["h",{{"os":" {long} ","s":5}}]}}"#);
        let Cinfo { info, .. } = parse(&text).unwrap();
        assert_eq!((info.os, info.s.as_str()), ("ü".repeat(65), ""));
    }

    #[test]
    fn a_host_name_and_an_object_are_needed() {
        for args in [r#"[]"#, r#"["h"]"#, r#"[{},"h"]"#, r#"["h",{},1]"#] {
            let text = format!(r#"{{"cmd":"cinfo","args":{args}}}"#);
            assert!(matches!(parse::<Cinfo>(&text), Err(CommandError::Arguments(_))), "{text}");
        }
    }
}
