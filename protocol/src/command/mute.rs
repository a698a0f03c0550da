//! `mute`: mute or unmute a user.

use super::{Command, CommandError, RawCommand, UserRef};
use crate::lenient::Lenient;

/// `mute`: mute or unmute a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mute {
    /// The user.
    pub user: UserRef,
    /// Mute or unmute.
    pub muted: bool,
}

impl Command for Mute {
    const NAME: &'static str = "mute";

    fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
        raw.expect_args(2, "Expected two arguments: userId true/false")?;
        Ok(Self { user: UserRef::of(raw.arg(0)), muted: raw.arg(1).boolean() })
    }

    fn write(&self, raw: &mut RawCommand) {
        raw.push(self.user.to_value());
        raw.push(self.muted);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_round_trip, parse};
    use super::*;

    #[test]
    fn a_user_and_a_state_are_needed() {
        let mute = Mute { user: UserRef::Id(3), muted: true };
        assert_round_trip(&mute, r#"{"cmd":"mute","args":[3,true]}"#);
        let refused = Err(CommandError::Arguments("Expected two arguments: userId true/false"));
        assert_eq!(parse::<Mute>(r#"{"cmd":"mute","args":[3]}"#), refused);
    }
}
