//! `gain-op`: become operator with the operator password.

use super::{Command, CommandError, RawCommand};
use crate::lenient::Lenient;

/// `gain-op`: become operator with the operator password.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GainOp {
    /// The operator password.
    pub opword: String,
}

impl Command for GainOp {
    const NAME: &'static str = "gain-op";

    fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
        raw.expect_args(1, "Expected one argument: opword")?;
        Ok(Self { opword: raw.arg(0).text() })
    }

    fn write(&self, raw: &mut RawCommand) {
        raw.push(self.opword.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_round_trip, parse};
    use super::*;

    #[test]
    fn one_operator_password_is_needed() {
        assert_round_trip(&GainOp { opword: "o".into() }, r#"{"cmd":"gain-op","args":["o"]}"#);
        let refused = Err(CommandError::Arguments("Expected one argument: opword"));
        assert_eq!(parse::<GainOp>(r#"{"cmd":"gain-op"}"#), refused);
    }
}
