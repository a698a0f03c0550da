//! Lenient JSON: a missing or mistyped member is empty, 0 or false, and an unpaired surrogate becomes U+FFFD.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// UTF-8 byte order mark.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Length of an escape such as `\ud83d`.
const ESCAPE_LEN: usize = 6;

/// Parses JSON of other programs. Qt programs cut strings between UTF-16 code units, and write the unpaired surrogate
/// that is left as an escape. That is invalid JSON to serde: it is replaced with U+FFFD, and so is invalid UTF-8. A
/// byte order mark is skipped.
///
/// # Errors
/// When the result is invalid JSON, or does not have this type.
pub fn from_json<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    let json = json.strip_prefix(BYTE_ORDER_MARK).unwrap_or(json);
    // The fast path: valid JSON.
    serde_json::from_slice(json).or_else(|_| {
        let text = String::from_utf8_lossy(json);
        serde_json::from_slice(&replace_unpaired_surrogates(text.as_bytes()))
    })
}

/// Replaces escaped unpaired surrogates with `\ufffd`.
fn replace_unpaired_surrogates(json: &[u8]) -> Cow<'_, [u8]> {
    let mut replaced = Cow::Borrowed(json);
    let mut at = 0;
    while let Some(skip) = json[at..].iter().position(|byte| *byte == b'\\') {
        at += skip;
        at += match escaped_unit(json, at) {
            Some(0xd800..=0xdbff) if matches!(escaped_unit(json, at + ESCAPE_LEN), Some(0xdc00..=0xdfff)) => {
                2 * ESCAPE_LEN
            }
            Some(0xd800..=0xdfff) => {
                replaced.to_mut()[at..at + ESCAPE_LEN].copy_from_slice(br"\ufffd");
                ESCAPE_LEN
            }
            Some(_) => ESCAPE_LEN,
            // Another escape: skip the backslash and the character after it.
            None => 2.min(json.len() - at),
        };
    }
    replaced
}

/// The UTF-16 code unit of the escape (`\u` and four hex digits) at this position, if there is one.
fn escaped_unit(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + ESCAPE_LEN)?.strip_prefix(br"\u")?;
    let digits = digits.iter().all(u8::is_ascii_hexdigit).then(|| std::str::from_utf8(digits).ok())??;
    u16::from_str_radix(digits, 16).ok()
}

/// For `#[serde(deserialize_with)]`: a value of the wrong type becomes the default.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    let value = Value::deserialize(deserializer)?;
    Ok(T::deserialize(value).unwrap_or_default())
}

/// Lenient conversions of single values.
pub(crate) trait Lenient {
    fn text(&self) -> String;
    fn integer(&self) -> i64;
    fn number(&self) -> f64;
    fn boolean(&self) -> bool;
}

impl Lenient for Value {
    fn text(&self) -> String {
        self.as_str().unwrap_or_default().to_owned()
    }

    /// As Qt converts to `int`: a number without a fraction that fits into 32 bits; everything else is 0.
    fn integer(&self) -> i64 {
        let fits = |n: &f64| n.fract() == 0.0 && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(n);
        self.as_f64().filter(fits).map_or(0, |n| n as i64)
    }

    fn number(&self) -> f64 {
        self.as_f64().unwrap_or(0.0)
    }

    fn boolean(&self) -> bool {
        self.as_bool().unwrap_or(false)
    }
}

/// An integer, also written with a fraction of zero (`7.0`) or as text (`"7"`).
pub fn whole_number(value: &Value) -> Option<i64> {
    // Greater integers are not exact as floating-point numbers.
    const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
    let from_float = |n: f64| (n.fract() == 0.0 && n.abs() <= MAX_EXACT).then_some(n as i64);
    match value {
        Value::Number(n) => n.as_i64().or_else(|| from_float(n.as_f64()?)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A member of an object, null if it is missing.
pub(crate) fn member<'a>(object: &'a Map<String, Value>, key: &str) -> &'a Value {
    static NULL: Value = Value::Null;
    object.get(key).unwrap_or(&NULL)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_read_as_qt_reads_them() {
        // Value, as an integer, as a boolean, as a text.
        for (value, integer, boolean, text) in [
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
                (value.integer(), value.boolean(), value.text().as_str()),
                (integer, boolean, text),
                "{value}"
            );
        }
    }

    fn read(json: &str) -> Option<Value> {
        from_json(json.as_bytes()).ok()
    }

    #[test]
    fn unpaired_surrogates_are_replaced_and_pairs_are_not() {
        for (text, expected) in [
            (r#"abc\ud83d"#, "abc\u{fffd}"),
            (r#"\ud83dabc"#, "\u{fffd}abc"),
            (r#"\udc00\ud83d"#, "\u{fffd}\u{fffd}"),
            (r#"\uD83D\uD83D\uDE00"#, "\u{fffd}\u{1f600}"),
            (r#"\ud83d\ude00"#, "\u{1f600}"),
            (r#"\ud83d\n"#, "\u{fffd}\n"),
            (r#"\ud83d\u0041"#, "\u{fffd}A"),
            (r#"\\ud83d"#, r"\ud83d"),
            (r#"\\\ud83d"#, "\\\u{fffd}"),
            (r#"\ud83d\\ude00"#, "\u{fffd}\\ude00"),
        ] {
            assert_eq!(read(&format!("\"{text}\"")), Some(json!(expected)), "{text}");
        }
    }

    #[test]
    fn invalid_utf8_is_replaced() {
        let read = |json: &[u8]| from_json::<Value>(json).ok();
        assert_eq!(read(b"\"a\xffb\""), Some(json!("a\u{fffd}b")));
        // An unpaired surrogate, encoded in UTF-8.
        assert_eq!(read(b"[\"\xed\xa0\xbd\"]"), Some(json!(["\u{fffd}\u{fffd}\u{fffd}"])));
        assert_eq!(read(b"\xff{}"), None);
    }

    #[test]
    fn invalid_json_is_refused() {
        for text in [
            "",
            "{",
            r#""\ud83"#,
            r#""\ud83d"#,
            r#""\"#,
            r#""\ud83d\x""#,
            r#"\ud83d"#,
            "{\"a\":\"\\ud83d\",}",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert_eq!(read("\u{feff}{\"a\":1}"), Some(json!({"a": 1})));
        assert_eq!(read("\u{feff}\u{feff}1"), None);
    }

    proptest! {
        #[test]
        fn escaped_code_units_are_parsed_as_qt_writes_them(units in prop::collection::vec(any::<u16>(), 0..40)) {
            let escaped: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            prop_assert_eq!(read(&format!("\"{escaped}\"")), Some(json!(String::from_utf16_lossy(&units))));
        }

        #[test]
        fn valid_json_is_unchanged(texts in prop::collection::vec(any::<String>(), 0..8), number in any::<i64>()) {
            let value = json!({"cmd": texts.first(), "args": texts, "kwargs": {"n": number}});
            prop_assert_eq!(read(&value.to_string()), Some(value));
        }

        #[test]
        fn no_input_makes_it_panic(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\\'), Just(b'u'), Just(b'd'), Just(b'"')], 0..60)
        ) {
            let plain = serde_json::from_slice::<Value>(&bytes).ok();
            let read = from_json::<Value>(&bytes).ok();
            prop_assert!(plain.is_none() || plain == read);
        }
    }
}
