//! `announce-session` and `unlist-session`: announcements at list servers.

use super::{Command, CommandError, RawCommand};
use crate::lenient::Lenient;

/// `announce-session`: announce the session at a list server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnnounceSession {
    /// API URL of the list server.
    pub url: String,
    /// Privately; always refused.
    pub private: bool,
}

/// `unlist-session`: withdraw an announcement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnlistSession {
    /// API URL of the list server.
    pub url: String,
}

impl Command for AnnounceSession {
    const NAME: &'static str = "announce-session";

    fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
        raw.expect_args(1, "Expected one argument: API URL")?;
        Ok(Self { url: raw.arg(0).text(), private: raw.kwarg("private").boolean() })
    }

    fn write(&self, raw: &mut RawCommand) {
        raw.push(self.url.as_str());
        raw.put("private", self.private);
    }
}

impl Command for UnlistSession {
    const NAME: &'static str = "unlist-session";

    fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
        raw.expect_args(1, "Expected one argument: API URL")?;
        Ok(Self { url: raw.arg(0).text() })
    }

    fn write(&self, raw: &mut RawCommand) {
        raw.push(self.url.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_round_trip, parse};
    use super::*;

    #[test]
    fn both_name_one_list_server() {
        let announce = AnnounceSession { url: "u".into(), private: true };
        let text = r#"{"cmd":"announce-session","args":["u"],"kwargs":{"private":true}}"#;
        assert_round_trip(&announce, text);
        assert_round_trip(&UnlistSession { url: "u".into() }, r#"{"cmd":"unlist-session","args":["u"]}"#);
        let refused = CommandError::Arguments("Expected one argument: API URL");
        let none = r#"{"cmd":"announce-session"}"#;
        assert_eq!(parse::<AnnounceSession>(none), Err(refused.clone()));
        assert_eq!(parse::<UnlistSession>(r#"{"cmd":"unlist-session","args":["a","b"]}"#), Err(refused));
    }
}
