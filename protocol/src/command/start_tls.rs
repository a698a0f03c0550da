//! `startTls`: upgrade the connection to TLS.

use super::{Command, CommandError, RawCommand};

/// `startTls`: upgrade the connection to TLS. The handshake follows the server's `result`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartTls;

impl Command for StartTls {
    const NAME: &'static str = "startTls";

    fn parse(_: &RawCommand) -> Result<Self, CommandError> {
        Ok(Self)
    }

    fn write(&self, _: &mut RawCommand) {}
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_round_trip, parse};
    use super::*;

    #[test]
    fn start_tls_has_no_arguments_and_ignores_any() {
        assert_round_trip(&StartTls, r#"{"cmd":"startTls"}"#);
        assert_eq!(parse(r#"{"cmd":"startTls","args":[1],"kwargs":{"a":2}}"#), Ok(StartTls));
    }
}
