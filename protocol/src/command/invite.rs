//! `invite-create` and `invite-remove`: invites to the session.

use super::{Command, CommandError, RawCommand};
use crate::lenient::Lenient;

/// `invite-create`: create an invite.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InviteCreate {
    /// Maximum number of uses.
    pub max_uses: i64,
    /// Users of the invite become trusted.
    pub trust: bool,
    /// Users of the invite become operators.
    pub op: bool,
}

/// `invite-remove`: remove an invite.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InviteRemove {
    /// Secret of the invite.
    pub secret: String,
}

impl Command for InviteCreate {
    const NAME: &'static str = "invite-create";

    fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
        raw.expect_args(0, "Create invite expected no arguments")?;
        Ok(Self {
            max_uses: raw.kwarg("maxUses").integer(),
            trust: raw.kwarg("trust").boolean(),
            op: raw.kwarg("op").boolean(),
        })
    }

    fn write(&self, raw: &mut RawCommand) {
        raw.put("maxUses", self.max_uses);
        raw.put("trust", self.trust);
        raw.put("op", self.op);
    }
}

impl Command for InviteRemove {
    const NAME: &'static str = "invite-remove";

    fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
        raw.expect_args(1, "Remove invite expected one argument: secret")?;
        Ok(Self { secret: raw.arg(0).text() })
    }

    fn write(&self, raw: &mut RawCommand) {
        raw.push(self.secret.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_round_trip, parse};
    use super::*;

    #[test]
    fn an_invite_is_created_with_named_arguments() {
        let create = InviteCreate { max_uses: 3, trust: false, op: true };
        let kwargs = r#"{"maxUses":3,"op":true,"trust":false}"#;
        assert_round_trip(&create, &format!(r#"{{"cmd":"invite-create","kwargs":{kwargs}}}"#));
        let refused = Err(CommandError::Arguments("Create invite expected no arguments"));
        assert_eq!(parse::<InviteCreate>(r#"{"cmd":"invite-create","args":[3]}"#), refused);
    }

    #[test]
    fn an_invite_is_removed_by_its_secret() {
        let remove = InviteRemove { secret: "s".into() };
        assert_round_trip(&remove, r#"{"cmd":"invite-remove","args":["s"]}"#);
        let refused = Err(CommandError::Arguments("Remove invite expected one argument: secret"));
        assert_eq!(parse::<InviteRemove>(r#"{"cmd":"invite-remove"}"#), refused);
    }
}
