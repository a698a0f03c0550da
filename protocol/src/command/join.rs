//! `join`: join a session.

use super::{Capabilities, ClientInfo, Command, CommandError, RawCommand};
use crate::lenient::Lenient;

/// `join`: join a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Join {
    /// Id or alias.
    pub session: String,
    /// Session password or invite secret; empty for none.
    pub password: String,
    /// The client's minor version differs from the session's.
    pub oldv: bool,
    /// History index up to which the client has the history already.
    pub hidx: String,
    /// Capabilities of the client.
    pub capabilities: Capabilities,
    /// Technical data about the client.
    pub info: ClientInfo,
}

impl Command for Join {
    const NAME: &'static str = "join";

    fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
        raw.expect_args(1, "Expected session ID")?;
        Ok(Self {
            session: raw.arg(0).text(),
            password: raw.kwarg("password").text(),
            oldv: raw.kwarg("oldv").boolean(),
            hidx: raw.kwarg("hidx").text(),
            capabilities: Capabilities::of(&raw.kwarg("capabilities").text()),
            info: ClientInfo::of(&raw.kwargs),
        })
    }

    fn write(&self, raw: &mut RawCommand) {
        raw.push(self.session.as_str());
        raw.put("password", self.password.as_str());
        raw.put("oldv", self.oldv);
        raw.put("hidx", self.hidx.as_str());
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
        let join = Join {
            session: "id".into(),
            oldv: true,
            hidx: "1:2:x".into(),
            info: ClientInfo { s: "0".into(), ..Default::default() },
            ..Default::default()
        };
        let kwargs = r#"{"capabilities":"","hidx":"1:2:x","oldv":true,"password":"","s":"0"}"#;
        assert_round_trip(&join, &format!(r#"{{"cmd":"join","args":["id"],"kwargs":{kwargs}}}"#));
    }

    #[test]
    fn a_session_is_needed() {
        let refused = Err(CommandError::Arguments("Expected session ID"));
        assert_eq!(parse::<Join>(r#"{"cmd":"join","kwargs":{"password":"p"}}"#), refused);
    }
}
