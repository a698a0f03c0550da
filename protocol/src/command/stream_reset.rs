//! `stream-reset-start`, `stream-reset-abort`, `stream-reset-finish`: a reset that is streamed into the session.

use super::{Command, CommandError, RawCommand};
use crate::lenient::Lenient;

/// `stream-reset-start`: begin a streamed reset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamResetStart {
    /// Correlator of the server's request.
    pub correlator: String,
}

/// `stream-reset-abort`: cancel a streamed reset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamResetAbort;

/// `stream-reset-finish`: the streamed reset is complete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamResetFinish {
    /// Number of messages in the stream.
    pub count: i64,
}

impl Command for StreamResetStart {
    const NAME: &'static str = "stream-reset-start";

    fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
        raw.expect_args(1, "Stream reset start expected one argument: correlator")?;
        Ok(Self { correlator: raw.arg(0).text() })
    }

    fn write(&self, raw: &mut RawCommand) {
        raw.push(self.correlator.as_str());
    }
}

impl Command for StreamResetAbort {
    const NAME: &'static str = "stream-reset-abort";

    fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
        raw.expect_args(0, "Stream reset abort expected no arguments")?;
        Ok(Self)
    }

    fn write(&self, _: &mut RawCommand) {}
}

impl Command for StreamResetFinish {
    const NAME: &'static str = "stream-reset-finish";

    fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
        raw.expect_args(1, "Stream reset finish expected one argument: message count")?;
        Ok(Self { count: raw.arg(0).integer() })
    }

    fn write(&self, raw: &mut RawCommand) {
        raw.push(self.count);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_round_trip, parse};
    use super::*;

    #[test]
    fn start_and_finish_have_one_argument_and_abort_has_none() {
        let start = StreamResetStart { correlator: "c".into() };
        assert_round_trip(&start, r#"{"cmd":"stream-reset-start","args":["c"]}"#);
        assert_round_trip(&StreamResetAbort, r#"{"cmd":"stream-reset-abort"}"#);
        let finish = StreamResetFinish { count: 7 };
        assert_round_trip(&finish, r#"{"cmd":"stream-reset-finish","args":[7]}"#);
    }

    #[test]
    fn a_wrong_number_of_arguments_is_refused() {
        let none = r#"{"cmd":"stream-reset-start"}"#;
        assert!(matches!(parse::<StreamResetStart>(none), Err(CommandError::Arguments(_))));
        let one = r#"{"cmd":"stream-reset-abort","args":[1]}"#;
        assert!(matches!(parse::<StreamResetAbort>(one), Err(CommandError::Arguments(_))));
        let none = r#"{"cmd":"stream-reset-finish"}"#;
        assert!(matches!(parse::<StreamResetFinish>(none), Err(CommandError::Arguments(_))));
    }
}
