//! `thumbnail-error`: the client could not create a thumbnail.

use super::{Command, CommandError, RawCommand};
use crate::lenient::Lenient;

/// `thumbnail-error`: the client could not create a thumbnail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ThumbnailError {
    /// Correlator of the server's request.
    pub correlator: String,
    /// Error message.
    pub error: String,
}

impl Command for ThumbnailError {
    const NAME: &'static str = "thumbnail-error";

    fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
        raw.expect_args(2, "Thumbnail error expected 2 arguments: correlator, error")?;
        Ok(Self { correlator: raw.arg(0).text(), error: raw.arg(1).text() })
    }

    fn write(&self, raw: &mut RawCommand) {
        raw.push(self.correlator.as_str());
        raw.push(self.error.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_round_trip, parse};
    use super::*;

    #[test]
    fn a_correlator_and_an_error_are_needed() {
        let error = ThumbnailError { correlator: "c".into(), error: "e".into() };
        assert_round_trip(&error, r#"{"cmd":"thumbnail-error","args":["c","e"]}"#);
        let refused = Err(CommandError::Arguments("Thumbnail error expected 2 arguments: correlator, error"));
        assert_eq!(parse::<ThumbnailError>(r#"{"cmd":"thumbnail-error","args":["c"]}"#), refused);
    }
}
