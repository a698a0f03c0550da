//! Values in requests, with the leniencies of drawpile-srv's API: Qt and HTML forms send numbers and booleans as text,
//! and null is the same as nothing. Each type says in its JSON schema what it takes.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Deref;
use std::str::FromStr;

use drawhall_protocol::whole_number;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::error::{ApiError, bad};
use crate::config::parse_size;

/// The largest number that all JSON readers represent exactly.
pub(super) const MAX_EXACT: i64 = (1 << 53) - 1;

/// A time of a request, ISO 8601, in milliseconds since 1970.
pub(super) fn time_of(name: &str, text: &str) -> Result<i64, ApiError> {
    let time = text.parse::<jiff::Timestamp>();
    time.map(jiff::Timestamp::as_millisecond).map_err(|_| bad(format!("Invalid time: {name}")))
}

/// A text; null is the empty one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Text(pub(super) String);

impl Text {
    /// The text without blanks around it.
    ///
    /// # Errors
    /// 400 that names it if it has more than `most` characters.
    pub(super) fn at_most(&self, name: &str, most: usize) -> Result<String, ApiError> {
        let text = self.0.trim();
        if text.chars().count() > most {
            return Err(bad(format!("{name}: at most {most} characters")));
        }
        Ok(text.to_owned())
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Text(text)),
            Value::Null => Ok(Text::default()),
            _ => Err(D::Error::custom("must be a text")),
        }
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl JsonSchema for Text {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "null"]})
    }
}

/// A boolean, or a number or text that means one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Flag(pub(super) bool);

/// What a value means as a boolean.
fn flag_of(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(on) => Some(*on),
        Value::Number(number) => number.as_f64().map(|n| n != 0.0),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" | "" => Some(false),
            // Not the words that Rust reads as numbers, such as infinity.
            text if text.ends_with(|c: char| c.is_ascii_digit()) => {
                text.parse::<f64>().ok().map(|n| n != 0.0)
            }
            _ => None,
        },
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Flag, D::Error> {
        let value = Value::deserialize(deserializer)?;
        flag_of(&value).map(Flag).ok_or_else(|| D::Error::custom("must be true or false"))
    }
}

impl Serialize for Flag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl JsonSchema for Flag {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Flag".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        const WORDS: &str =
            "[Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]|[Yy][Ee][Ss]|[Nn][Oo]|[Oo][Nn]|[Oo][Ff][Ff]";
        const NUMBER: &str = "[-+]?[0-9]+([.][0-9]+)?([Ee][-+]?[0-9]+)?";
        let pattern = format!(r"^\s*({WORDS}|{NUMBER})?\s*$");
        json_schema!({"anyOf": [{"type": "boolean"}, {"type": "number"}, {"type": "string", "pattern": pattern}]})
    }
}

/// A whole number from `MIN` to `MAX`, also as text. Whether it is one is checked when the value is taken, because
/// some errors have texts of their own. Null and the empty text are no number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Number<const MIN: i64, const MAX: i64>(Value);

impl<const MIN: i64, const MAX: i64> Number<MIN, MAX> {
    /// The number; `None` if there is none.
    ///
    /// # Errors
    /// 400 if it is not a whole number in the range.
    pub(super) fn get(&self, name: &str) -> Result<Option<i64>, ApiError> {
        if self.is_missing() {
            return Ok(None);
        }
        let number = whole_number(&self.0).ok_or_else(|| bad(format!("{name}: must be a whole number")))?;
        if (MIN..=MAX).contains(&number) {
            Ok(Some(number))
        } else {
            Err(bad(format!("{name}: {MIN} to {MAX}")))
        }
    }

    /// The number, `default` if there is none.
    ///
    /// # Errors
    /// As those of [`Number::get`].
    pub(super) fn or(&self, name: &str, default: i64) -> Result<i64, ApiError> {
        Ok(self.get(name)?.unwrap_or(default))
    }

    /// The number as another type, such as an unsigned one.
    ///
    /// # Errors
    /// As those of [`Number::get`], and when the range is not within the other type.
    pub(super) fn get_as<T: TryFrom<i64>>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let number = self.get(name)?;
        number.map(T::try_from).transpose().map_err(|_| bad(format!("{name}: {MIN} to {MAX}")))
    }

    /// The number, whatever its range; `None` if it is none.
    pub(super) fn whole(&self) -> Option<i64> {
        whole_number(&self.0)
    }

    pub(super) fn is_missing(&self) -> bool {
        self.0.is_null() || self.0 == ""
    }
}

impl<'de, const MIN: i64, const MAX: i64> Deserialize<'de> for Number<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self)
    }
}

impl<const MIN: i64, const MAX: i64> JsonSchema for Number<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Number{MIN}to{MAX}").into()
    }

    fn json_schema(schemas: &mut SchemaGenerator) -> Schema {
        let number = WholeNumber::<MIN, MAX>::json_schema(schemas);
        json_schema!({"anyOf": [number, {"const": ""}, {"type": "null"}]})
    }
}

/// The schema of a [`Number`] that must be given.
pub(super) struct WholeNumber<const MIN: i64, const MAX: i64>;

impl<const MIN: i64, const MAX: i64> JsonSchema for WholeNumber<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("WholeNumber{MIN}to{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let text = json_schema!({"type": "string", "pattern": format!(r"^\s*({})\s*$", numbers(MIN, MAX))});
        json_schema!({"anyOf": [{"type": "integer", "minimum": MIN, "maximum": MAX}, text]})
    }
}

/// Parses a placeholder of a path.
///
/// # Errors
/// When it is no such value.
pub(super) fn parsed<'de, T: FromStr, D: Deserializer<'de>>(text: D) -> Result<T, D::Error> {
    String::deserialize(text)?.parse().map_err(|_| D::Error::custom("not found"))
}

/// A regular expression of the decimal numbers from `min` to `max`, neither of which is negative.
fn numbers(min: i64, max: i64) -> String {
    let mut alternatives = Vec::new();
    let mut from = min.max(0);
    while from <= max {
        // The longest run from here on whose last digits are free: 40 to 99, 100 to 199.
        let mut free = 1;
        while from % (free * 10) == 0 && from / free >= 10 && from + free * 10 - 1 <= max {
            free *= 10;
        }
        let head = from / free;
        let last = (head % 10..=9).rev().find(|digit| (head / 10 * 10 + digit) * free + free - 1 <= max);
        let last = last.unwrap_or(head % 10);
        let mut text = if head >= 10 { (head / 10).to_string() } else { String::new() };
        // Writing to a string does not fail.
        let _ = write!(text, "[{}-{}]", head % 10, last);
        text.push_str(&"[0-9]".repeat(free.ilog10() as usize));
        alternatives.push(text);
        from = (head / 10 * 10 + last + 1) * free;
    }
    alternatives.join("|")
}

/// An object, which null and nothing are not. (A list is no object, although serde would read one.)
///
/// # Errors
/// When it is something else, or one of its members is invalid.
pub(super) fn object<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    value: D,
) -> Result<Option<T>, D::Error> {
    match Value::deserialize(value)? {
        Value::Null => Ok(None),
        value @ Value::Object(_) => serde_json::from_value(value).map(Some).map_err(D::Error::custom),
        _ => Err(D::Error::custom("must be an object")),
    }
}

/// A size in bytes: a number, or a text with a unit, such as `15mb`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Size(Value);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let is_size = match &value {
            Value::Number(_) => whole_number(&value).is_some_and(|bytes| (0..=MAX_EXACT).contains(&bytes)),
            Value::String(text) => parse_size(text).is_some(),
            _ => false,
        };
        if is_size { Ok(Size(value)) } else { Err(D::Error::custom("must be a size such as 15mb")) }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "integer", "minimum": 0, "maximum": MAX_EXACT},
            {"type": "string", "pattern": r"^[0-9]{1,3}(\.[0-9]{1,3})? *([KkMm][Bb])?$"},
        ]})
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_and_numbers_are_taken_for_booleans() {
        for (given, expected) in [
            (json!(true), Some(true)),
            (json!("TRUE"), Some(true)),
            (json!("1"), Some(true)),
            (json!("2"), Some(true)),
            (json!(" yes "), Some(true)),
            (json!("false"), Some(false)),
            (json!("00"), Some(false)),
            (json!(""), Some(false)),
            (json!(1), Some(true)),
            (json!(0), Some(false)),
            (json!("perhaps"), None),
            (json!("-1"), Some(true)),
            (json!("0.0"), Some(false)),
            (json!("1e300"), Some(true)),
            (json!("inf"), None),
            (json!([]), None),
        ] {
            assert_eq!(serde_json::from_value::<Flag>(given.clone()).ok().map(|f| f.0), expected, "{given}");
        }
        assert_eq!(serde_json::from_value::<Option<Flag>>(Value::Null).unwrap(), None);
    }

    #[test]
    fn text_is_taken_for_numbers() {
        let number = |value: Value| Number::<-5, 1000>(value).get("n").map_err(|e| e.message);
        for (given, expected) in [
            (json!("3"), Ok(Some(3))),
            (json!(" -3 "), Ok(Some(-3))),
            (json!(3.0), Ok(Some(3))),
            (json!(1e3), Ok(Some(1000))),
            (json!(null), Ok(None)),
            (json!(""), Ok(None)),
            (json!(1001), Err("n: -5 to 1000".to_owned())),
            (json!("x"), Err("n: must be a whole number".to_owned())),
            (json!("1.5"), Err("n: must be a whole number".to_owned())),
            (json!(1.5), Err("n: must be a whole number".to_owned())),
            (json!(true), Err("n: must be a whole number".to_owned())),
        ] {
            assert_eq!(number(given.clone()), expected, "{given}");
        }
    }

    #[test]
    fn the_pattern_of_a_range_matches_its_numbers_only() {
        for (min, max) in [(0, 0), (0, 9), (1, 100), (2, 254), (0, 32), (0, 128), (7, 1234), (30_000, 90_000)]
        {
            let pattern = regex::Regex::new(&format!("^({})$", numbers(min, max))).unwrap();
            for n in 0..=(max + 2000) {
                assert_eq!(pattern.is_match(&n.to_string()), (min..=max).contains(&n), "{n} {pattern}");
            }
        }
        let pattern = numbers(0, MAX_EXACT);
        assert!(pattern.len() < 4000, "{pattern}");
        let pattern = regex::Regex::new(&format!("^({pattern})$")).unwrap();
        assert!(pattern.is_match("9007199254740991") && !pattern.is_match("9007199254740992"));
    }
}
