//! `host`: create a session.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Capabilities, ClientInfo, Command, CommandError, RawCommand};
use crate::lenient::Lenient;

/// `host`: create a session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Protocol version of the session.
    pub protocol: String,
    /// The host's user id, 1-254 if it is valid.
    pub user_id: i64,
    /// Alias; empty for none.
    pub alias: String,
    /// Session password; empty for none.
    pub password: String,
    /// Whether browsers may join, if the client specifies it.
    pub web: Option<bool>,
    /// Capabilities of the client.
    pub capabilities: Capabilities,
    /// Technical data about the client.
    pub info: ClientInfo,
}

impl Command for Host {
    const NAME: &'static str = "host";

    fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
        Ok(Self {
            protocol: raw.kwarg("protocol").text(),
            user_id: raw.kwarg("user_id").integer(),
            alias: raw.kwarg("alias").text(),
            password: raw.kwarg("password").text(),
            web: raw.given("web").and_then(Value::as_bool),
            capabilities: Capabilities::of(&raw.kwarg("capabilities").text()),
            info: ClientInfo::of(&raw.kwargs),
        })
    }

    fn write(&self, raw: &mut RawCommand) {
        raw.put("protocol", self.protocol.as_str());
        raw.put("user_id", self.user_id);
        raw.put("alias", self.alias.as_str());
        raw.put("password", self.password.as_str());
        raw.put("web", self.web);
        raw.put("capabilities", self.capabilities.to_text());
        self.info.put_into(&mut raw.kwargs);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_round_trip, parse};
    use super::*;

    #[test]
    fn client_info_is_among_the_named_arguments() {
        let host = Host {
            protocol: "dp:4.25.1".into(),
            user_id: 1,
            web: Some(false),
            capabilities: Capabilities { keep_alive: true, thumbnail: false },
            info: ClientInfo { os: "x".into(), ..Default::default() },
            ..Default::default()
        };
        let kwargs = concat!(
            r#"{"alias":"","capabilities":"KEEPALIVE","os":"x","password":"","#,
            r#""protocol":"dp:4.25.1","user_id":1,"web":false}"#
        );
        assert_round_trip(&host, &format!(r#"{{"cmd":"host","kwargs":{kwargs}}}"#));
    }

    #[test]
    fn mistyped_members_are_empty() {
        let text = r#"{"cmd":"host","kwargs":{"protocol":1,"user_id":"1","alias":null,"web":"yes"}}"#;
        assert_eq!(parse(text), Ok(Host::default()));
    }
}
