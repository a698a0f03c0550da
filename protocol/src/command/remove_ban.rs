//! `remove-ban`: remove a ban of the session.

use super::{Command, CommandError, RawCommand};
use crate::lenient::Lenient;

/// `remove-ban`: remove a ban of the session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoveBan {
    /// Id of the ban; 0 if it is not a number.
    pub id: i64,
}

impl Command for RemoveBan {
    const NAME: &'static str = "remove-ban";

    fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
        raw.expect_args(1, "Expected one argument: ban entry ID")?;
        Ok(Self { id: raw.arg(0).integer() })
    }

    fn write(&self, raw: &mut RawCommand) {
        raw.push(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_round_trip, parse};
    use super::*;

    #[test]
    fn one_id_is_needed() {
        assert_round_trip(&RemoveBan { id: 3 }, r#"{"cmd":"remove-ban","args":[3]}"#);
        assert_eq!(parse(r#"{"cmd":"remove-ban","args":["3"]}"#), Ok(RemoveBan { id: 0 }));
        let refused = Err(CommandError::Arguments("Expected one argument: ban entry ID"));
        assert_eq!(parse::<RemoveBan>(r#"{"cmd":"remove-ban"}"#), refused);
    }
}
