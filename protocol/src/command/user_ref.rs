//! A user as `kick-user` and `mute` name it.

use serde_json::Value;

use crate::lenient::Lenient;

/// A user named by id or by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserRef {
    /// By user id; valid ones are 1-254.
    Id(i64),
    /// By name.
    Name(String),
    /// Neither a number nor a text.
    Invalid,
}

impl UserRef {
    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Number(_) => Self::Id(value.integer()),
            Value::String(name) => Self::Name(name.clone()),
            _ => Self::Invalid,
        }
    }

    pub(super) fn to_value(&self) -> Value {
        match self {
            Self::Id(id) => (*id).into(),
            Self::Name(name) => name.as_str().into(),
            Self::Invalid => Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_is_an_id_and_a_text_is_a_name() {
        assert_eq!(UserRef::of(&json!(254)), UserRef::Id(254));
        assert_eq!(UserRef::of(&json!("254")), UserRef::Name("254".into()));
        assert_eq!(UserRef::of(&json!(1.5)), UserRef::Id(0));
        assert_eq!(UserRef::of(&json!([1])), UserRef::Invalid);
    }
}
