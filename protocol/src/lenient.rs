//! JSON as the protocol reads it: a missing or mistyped member is empty, 0 or false.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// For `#[serde(deserialize_with)]`: a value of the wrong type is the type's default.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    let value = Value::deserialize(deserializer)?;
    Ok(T::deserialize(value).unwrap_or_default())
}

/// Reading of single values.
pub(crate) trait Lenient {
    fn text(&self) -> String;
    fn integer(&self) -> i64;
    fn number(&self) -> f64;
    fn truth(&self) -> bool;
}

impl Lenient for Value {
    fn text(&self) -> String {
        self.as_str().unwrap_or_default().to_owned()
    }

    /// A number without a fraction that fits; anything else is 0.
    fn integer(&self) -> i64 {
        self.as_i64().or_else(|| self.as_f64().filter(|n| n.fract() == 0.0).map(|n| n as i64)).unwrap_or(0)
    }

    fn number(&self) -> f64 {
        self.as_f64().unwrap_or(0.0)
    }

    fn truth(&self) -> bool {
        self.as_bool().unwrap_or(false)
    }
}

/// The member of an object, null if it is missing.
pub(crate) fn member<'a>(object: &'a Map<String, Value>, key: &str) -> &'a Value {
    static NULL: Value = Value::Null;
    object.get(key).unwrap_or(&NULL)
}
