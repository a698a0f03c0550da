//! `init-begin`, `init-complete`, `init-cancel`: the initial content or the reset image that a client uploads.

use super::{Command, CommandError, RawCommand};

/// `init-begin`: start the reset image over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InitBegin;

/// `init-complete`: the initial content or reset image is complete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InitComplete;

/// `init-cancel`: cancel the reset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InitCancel;

impl Command for InitBegin {
    const NAME: &'static str = "init-begin";

    fn parse(_: &RawCommand) -> Result<Self, CommandError> {
        Ok(Self)
    }

    fn write(&self, _: &mut RawCommand) {}
}

impl Command for InitComplete {
    const NAME: &'static str = "init-complete";

    fn parse(_: &RawCommand) -> Result<Self, CommandError> {
        Ok(Self)
    }

    fn write(&self, _: &mut RawCommand) {}
}

impl Command for InitCancel {
    const NAME: &'static str = "init-cancel";

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
    fn they_have_no_arguments_and_ignore_any() {
        assert_round_trip(&InitBegin, r#"{"cmd":"init-begin"}"#);
        assert_round_trip(&InitComplete, r#"{"cmd":"init-complete"}"#);
        assert_round_trip(&InitCancel, r#"{"cmd":"init-cancel"}"#);
        assert_eq!(parse(r#"{"cmd":"init-begin","args":[1]}"#), Ok(InitBegin));
    }
}
