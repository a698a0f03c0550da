//! `report`: report abuse, before or in a session.

use super::{Command, CommandError, RawCommand};
use crate::lenient::Lenient;

/// `report`: report abuse.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Session id, if the client is not in a session.
    pub session: String,
    /// User id of the reported user; 0 for none.
    pub user: i64,
    /// Text for the moderators.
    pub reason: String,
}

impl Command for Report {
    const NAME: &'static str = "report";

    fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
        Ok(Self {
            session: raw.kwarg("session").text(),
            user: raw.kwarg("user").integer(),
            reason: raw.kwarg("reason").text(),
        })
    }

    fn write(&self, raw: &mut RawCommand) {
        raw.put("session", self.session.as_str());
        raw.put("user", self.user);
        raw.put("reason", self.reason.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_round_trip, parse};
    use super::*;

    #[test]
    fn a_report_has_named_arguments_only() {
        let report = Report { session: "s".into(), user: 3, reason: "r".into() };
        let text = r#"{"cmd":"report","kwargs":{"reason":"r","session":"s","user":3}}"#;
        assert_round_trip(&report, text);
        assert_eq!(parse(r#"{"cmd":"report","args":[7]}"#), Ok(Report::default()));
    }
}
