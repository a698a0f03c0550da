//! `auth-list`: change roles by account.

use serde_json::{Map, Value};

use super::{Command, CommandError, RawCommand};
use crate::lenient::Lenient;

/// Maximum number of entries of `auth-list`.
pub const MAX_AUTH_LIST: usize = 100;

/// `auth-list`: change roles by account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthList {
    /// The changes; `None` if there were more than [`MAX_AUTH_LIST`].
    pub changes: Option<Vec<AuthChange>>,
}

/// An entry of `auth-list`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthChange {
    /// Account id.
    pub auth_id: String,
    /// Make operator or not; `None` is left as it is.
    pub op: Option<bool>,
    /// Make trusted or not; `None` is left as it is.
    pub trusted: Option<bool>,
    /// Last known user name of the account.
    pub username: Option<String>,
}

impl Command for AuthList {
    const NAME: &'static str = "auth-list";

    fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
        raw.expect_args(1, "Expected one argument: list")?;
        let list = raw.arg(0).as_array().map(Vec::as_slice).unwrap_or_default();
        let fits = list.len() <= MAX_AUTH_LIST;
        Ok(Self { changes: fits.then(|| list.iter().map(AuthChange::of).collect()) })
    }

    fn write(&self, raw: &mut RawCommand) {
        raw.push(match &self.changes {
            Some(changes) => changes.iter().map(AuthChange::to_value).collect(),
            // Too many of anything.
            None => vec![Value::Null; MAX_AUTH_LIST + 1],
        });
    }
}

impl AuthChange {
    fn of(value: &Value) -> Self {
        Self {
            auth_id: value["a"].text(),
            op: value["o"].as_bool(),
            trusted: value["t"].as_bool(),
            username: value["u"].as_str().map(str::to_owned),
        }
    }

    fn to_value(&self) -> Value {
        let members = [
            ("a", Some(Value::from(self.auth_id.as_str()))),
            ("o", self.op.map(Value::from)),
            ("t", self.trusted.map(Value::from)),
            ("u", self.username.as_deref().map(Value::from)),
        ];
        let given = members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        given.collect::<Map<_, _>>().into()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_round_trip, parse};
    use super::*;

    #[test]
    fn roles_that_are_not_given_are_left_as_they_are() {
        let change = AuthChange { auth_id: "a".into(), op: Some(true), ..Default::default() };
        let list = AuthList { changes: Some(vec![change]) };
        assert_round_trip(&list, r#"{"cmd":"auth-list","args":[[{"a":"a","o":true}]]}"#);
        assert_eq!(parse(r#"{"cmd":"auth-list","args":[5]}"#), Ok(AuthList { changes: Some(vec![]) }));
        let refused = Err(CommandError::Arguments("Expected one argument: list"));
        assert_eq!(parse::<AuthList>(r#"{"cmd":"auth-list"}"#), refused);
    }

    #[test]
    fn a_list_of_100_is_taken_and_of_101_is_not() {
        for (count, fits) in [(100, true), (101, false)] {
            let list = vec!["{}"; count].join(",");
            let found = parse::<AuthList>(&format!(r#"{{"cmd":"auth-list","args":[[{list}]]}}"#)).unwrap();
            assert_eq!(found.changes.is_some(), fits);
            assert_eq!(AuthList::parse(&found.to_raw()), Ok(found));
        }
    }
}
