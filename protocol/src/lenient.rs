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

    /// As Qt reads an `int`: a number without a fraction that fits into 32 bits; anything else is 0.
    fn integer(&self) -> i64 {
        let fits = |n: &f64| n.fract() == 0.0 && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(n);
        self.as_f64().filter(fits).map_or(0, |n| n as i64)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_read_as_qt_reads_them() {
        // Value, as a number, as a truth, as a text.
        for (value, integer, truth, text) in [
            (json!(5), 5, false, ""),
            (json!(5.0), 5, false, ""),
            (json!(5e2), 500, false, ""),
            (json!(5.5), 0, false, ""),
            (json!(-1), -1, false, ""),
            (json!(0), 0, false, ""),
            (json!(2_147_483_647), 2_147_483_647, false, ""),
            (json!(-2_147_483_648_i64), -2_147_483_648, false, ""),
            (json!(2_147_483_648_i64), 0, false, ""),
            (json!(1_000_000_000_000_i64), 0, false, ""),
            (json!(1e12), 0, false, ""),
            (json!(u64::MAX), 0, false, ""),
            (json!(1e300), 0, false, ""),
            (json!("5"), 0, false, "5"),
            (json!("true"), 0, false, "true"),
            (json!(""), 0, false, ""),
            (json!(true), 0, true, ""),
            (json!(false), 0, false, ""),
            (json!(null), 0, false, ""),
            (json!([5]), 0, false, ""),
            (json!({"a": 5}), 0, false, ""),
        ] {
            assert_eq!(
                (value.integer(), value.truth(), value.text().as_str()),
                (integer, truth, text),
                "{value}"
            );
        }
    }
}
