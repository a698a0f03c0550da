//! `kill-session`: end the session.

use super::{Command, CommandError, RawCommand};
use crate::lenient::Lenient;

/// `kill-session`: end the session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KillSession {
    /// Shown to the users, without spaces at the ends; may be empty.
    pub reason: String,
}

impl Command for KillSession {
    const NAME: &'static str = "kill-session";

    fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
        Ok(Self { reason: raw.kwarg("reason").text().trim().to_owned() })
    }

    fn write(&self, raw: &mut RawCommand) {
        raw.put("reason", self.reason.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_round_trip, parse};
    use super::*;

    #[test]
    fn the_reason_is_trimmed_and_may_be_missing() {
        let kill = KillSession { reason: "late now".into() };
        assert_round_trip(&kill, r#"{"cmd":"kill-session","kwargs":{"reason":"late now"}}"#);
        assert_eq!(parse(r#"{"cmd":"kill-session","kwargs":{"reason":" late now\n"}}"#), Ok(kill));
        assert_eq!(parse(r#"{"cmd":"kill-session"}"#), Ok(KillSession::default()));
    }
}
