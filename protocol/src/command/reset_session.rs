//! `reset-session`: reset the session.

use super::{Command, CommandError, RawCommand};
use crate::lenient::Lenient;

/// `reset-session`: reset the session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResetSession {
    /// `current`, `past`, `external` or something else.
    pub kind: String,
}

impl Command for ResetSession {
    const NAME: &'static str = "reset-session";

    fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
        Ok(Self { kind: raw.kwarg("type").text() })
    }

    fn write(&self, raw: &mut RawCommand) {
        raw.put("type", self.kind.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_round_trip, parse};
    use super::*;

    #[test]
    fn the_kind_is_called_type_and_may_be_missing() {
        let past = ResetSession { kind: "past".into() };
        assert_round_trip(&past, r#"{"cmd":"reset-session","kwargs":{"type":"past"}}"#);
        assert_eq!(parse(r#"{"cmd":"reset-session"}"#), Ok(ResetSession::default()));
    }
}
