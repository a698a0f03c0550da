//! `sessionconf`: change session settings.

use serde_json::{Map, Value};

use super::{Command, CommandError, RawCommand};
use crate::lenient::Lenient;

/// `sessionconf`: changes of session settings; `None` is left as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SessionConf {
    /// Refuse new users (no longer supported).
    pub closed: Option<bool>,
    /// Only accounts may join.
    pub auth_only: Option<bool>,
    /// Keep the session when it is empty.
    pub persistent: Option<bool>,
    /// Title.
    pub title: Option<String>,
    /// Update the title with the founder's name.
    pub autotitle: Option<bool>,
    /// Maximum number of users.
    pub max_user_count: Option<i64>,
    /// Autoreset threshold.
    pub reset_threshold: Option<SizeValue>,
    /// Session password; empty removes it.
    pub password: Option<String>,
    /// Operator password; empty removes it.
    pub opword: Option<String>,
    /// Keep chat in the history.
    pub preserve_chat: Option<bool>,
    /// Not safe for minors.
    pub nsfm: Option<bool>,
    /// Trusted users may kick.
    pub deputies: Option<bool>,
    /// Browsers may join.
    pub allow_web: Option<bool>,
    /// Founder's name.
    pub founder: Option<String>,
    /// Exempt from the idle limit.
    pub idle_override: Option<bool>,
    /// Operators may create invites.
    pub invites: Option<bool>,
    /// Hidden from session lists.
    pub unlisted: Option<bool>,
    /// Archive the files when the session ends; `Some(None)` is the server's default.
    pub archive: Option<Option<bool>>,
    /// Size limit of this session.
    pub override_size: Option<SizeValue>,
}

impl Command for SessionConf {
    const NAME: &'static str = "sessionconf";

    fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
        Ok(Self::of(&raw.kwargs))
    }

    fn write(&self, raw: &mut RawCommand) {
        raw.kwargs = self.to_object();
    }
}

impl SessionConf {
    /// Parses the members of an object.
    pub fn of(object: &Map<String, Value>) -> Self {
        let boolean = |key: &str| object.get(key).map(Lenient::boolean);
        let text = |key: &str| object.get(key).map(Lenient::text);
        Self {
            closed: boolean("closed"),
            auth_only: boolean("authOnly"),
            persistent: boolean("persistent"),
            title: text("title"),
            autotitle: boolean("autotitle"),
            max_user_count: object.get("maxUserCount").map(Lenient::integer),
            reset_threshold: object.get("resetThreshold").map(SizeValue::of),
            password: text("password"),
            opword: text("opword"),
            preserve_chat: boolean("preserveChat"),
            nsfm: boolean("nsfm"),
            deputies: boolean("deputies"),
            allow_web: boolean("allowWeb"),
            founder: text("founder"),
            idle_override: boolean("idleOverride"),
            invites: boolean("invites"),
            unlisted: boolean("unlisted"),
            archive: object.get("archive").map(Value::as_bool),
            override_size: object.get("overrideSize").map(SizeValue::of),
        }
    }

    fn to_object(&self) -> Map<String, Value> {
        // `Some(None)` of `archive` and an invalid size are null.
        let members = [
            ("closed", self.closed.map(Value::from)),
            ("authOnly", self.auth_only.map(Value::from)),
            ("persistent", self.persistent.map(Value::from)),
            ("title", self.title.clone().map(Value::from)),
            ("autotitle", self.autotitle.map(Value::from)),
            ("maxUserCount", self.max_user_count.map(Value::from)),
            ("resetThreshold", self.reset_threshold.as_ref().map(SizeValue::to_value)),
            ("password", self.password.clone().map(Value::from)),
            ("opword", self.opword.clone().map(Value::from)),
            ("preserveChat", self.preserve_chat.map(Value::from)),
            ("nsfm", self.nsfm.map(Value::from)),
            ("deputies", self.deputies.map(Value::from)),
            ("allowWeb", self.allow_web.map(Value::from)),
            ("founder", self.founder.clone().map(Value::from)),
            ("idleOverride", self.idle_override.map(Value::from)),
            ("invites", self.invites.map(Value::from)),
            ("unlisted", self.unlisted.map(Value::from)),
            ("archive", self.archive.map(Value::from)),
            ("overrideSize", self.override_size.as_ref().map(SizeValue::to_value)),
        ];
        members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }
}
/// A size in bytes, as a number or as text such as "10mb".
#[derive(Debug, Clone, PartialEq)]
pub enum SizeValue {
    /// Bytes.
    Bytes(i64),
    /// Text with a unit.
    Text(String),
    /// Neither.
    Invalid,
}

impl SizeValue {
    fn of(value: &Value) -> Self {
        match value {
            Value::Number(_) => Self::Bytes(value.integer()),
            Value::String(text) => Self::Text(text.clone()),
            _ => Self::Invalid,
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Bytes(n) => (*n).into(),
            Self::Text(text) => text.as_str().into(),
            Self::Invalid => Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_round_trip, parse};
    use super::*;

    #[test]
    fn only_settings_that_change_are_written() {
        let conf = SessionConf {
            title: Some("T".into()),
            max_user_count: Some(5),
            reset_threshold: Some(SizeValue::Text("10mb".into())),
            override_size: Some(SizeValue::Bytes(7)),
            ..Default::default()
        };
        let kwargs = r#"{"maxUserCount":5,"overrideSize":7,"resetThreshold":"10mb","title":"T"}"#;
        assert_round_trip(&conf, &format!(r#"{{"cmd":"sessionconf","kwargs":{kwargs}}}"#));
        assert_round_trip(&SessionConf::default(), r#"{"cmd":"sessionconf"}"#);
    }

    #[test]
    fn settings_without_a_value_stay_given() {
        let conf = SessionConf {
            archive: Some(None),
            reset_threshold: Some(SizeValue::Invalid),
            ..Default::default()
        };
        let text = r#"{"cmd":"sessionconf","kwargs":{"archive":null,"resetThreshold":null}}"#;
        assert_round_trip(&conf, text);
    }

    #[test]
    fn mistyped_settings_are_given_with_their_default() {
        let text = r#"{"cmd":"sessionconf","kwargs":{"nsfm":1,"title":5,"archive":{}}}"#;
        let expected = SessionConf {
            nsfm: Some(false),
            title: Some(String::new()),
            archive: Some(None),
            ..Default::default()
        };
        assert_eq!(parse(text), Ok(expected));
    }
}
