//! `kick-user`: kick and optionally ban a user.

use super::{Command, CommandError, RawCommand, UserRef};
use crate::lenient::Lenient;

/// `kick-user`: kick and optionally ban a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KickUser {
    /// The user.
    pub user: UserRef,
    /// Ban as well.
    pub ban: bool,
}

impl Command for KickUser {
    const NAME: &'static str = "kick-user";

    fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
        raw.expect_args(1, "Expected one argument: user ID or name")?;
        Ok(Self { user: UserRef::of(raw.arg(0)), ban: raw.kwarg("ban").boolean() })
    }

    fn write(&self, raw: &mut RawCommand) {
        raw.push(self.user.to_value());
        raw.put("ban", self.ban);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_round_trip, parse};
    use super::*;

    #[test]
    fn a_user_is_named_by_id_or_name() {
        let by_name = KickUser { user: UserRef::Name("B".into()), ban: true };
        assert_round_trip(&by_name, r#"{"cmd":"kick-user","args":["B"],"kwargs":{"ban":true}}"#);
        let by_id = KickUser { user: UserRef::Id(3), ban: false };
        assert_round_trip(&by_id, r#"{"cmd":"kick-user","args":[3],"kwargs":{"ban":false}}"#);
    }

    #[test]
    fn one_user_is_needed() {
        let refused = Err(CommandError::Arguments("Expected one argument: user ID or name"));
        assert_eq!(parse::<KickUser>(r#"{"cmd":"kick-user","args":[1,2]}"#), refused);
    }
}
