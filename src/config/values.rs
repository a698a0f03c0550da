//! Types of settings and their text form. Source: docs/spec/config.md#types-of-values.

pub(super) use super::profile::Profile;
use super::{MAX_USER_LIMIT, MIN_USER_LIMIT};

/// A setting that cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the names say it")]
pub enum SettingError {
    #[error("unknown setting '{0}'")]
    UnknownKey(String),
    #[error("{key}: '{text}' is no {kind}")]
    BadValue { key: &'static str, kind: &'static str, text: String },
}

/// A type of setting.
pub trait SettingValue: Sized {
    /// Name of the type in documentation and error messages.
    const KIND: &'static str;
    /// Unit of a number that is given without one; empty if the type has no unit.
    const UNIT: &'static str = "";
    /// Valid values in words; empty if everything is valid.
    const RANGE: &'static str = "";
    /// Whether values are or contain secrets, which are not logged.
    const IS_SECRET: bool = false;

    /// Parses a value; `None` if the text is invalid.
    fn read(text: &str) -> Option<Self>;

    /// Formats a value as [`SettingValue::read`] parses it.
    fn write(&self) -> String;

    /// The value as JSON. Times are seconds, sizes are bytes.
    fn json(&self) -> serde_json::Value;
}

/// `1` or `true` is true.
pub(super) type Bool = bool;
/// Any text.
pub(super) type Text = String;
/// Any text that is or contains a secret, such as a token, or a URL with one: its value is not logged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

/// Bytes: a number with `b`, `kb`, `mb` or `gb` (1024-based), decimals allowed. Up to 2^31 - 1, as in drawpile-srv.
pub(super) type Size = u64;

/// Bytes, like `Size`, but up to 2^53.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LargeSize(pub u64);

/// A percentage, 0 to 100.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub u32);

/// Seconds: a number with `s`, `m`, `h` or `d`, or as in `30 days`, decimals allowed; seconds without a unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub u64);

/// Milliseconds: a number with `ms`, `s`, `m` or `h`, decimals allowed; seconds without a unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

/// An unsigned number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(pub u32);

/// Maximum number of users in a session, clamped to 2-254.
pub(super) type UserLimit = u32;

impl Seconds {
    /// In milliseconds; saturates.
    pub fn millis(self) -> u64 {
        self.0.saturating_mul(1000)
    }
}

impl SettingValue for bool {
    const KIND: &'static str = "bool";
    const RANGE: &'static str = "true or false";

    fn read(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "1" | "true" => Some(true),
            "0" | "false" | "" => Some(false),
            _ => None,
        }
    }

    fn write(&self) -> String {
        self.to_string()
    }

    fn json(&self) -> serde_json::Value {
        (*self).into()
    }
}

impl SettingValue for String {
    const KIND: &'static str = "text";

    fn read(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn write(&self) -> String {
        self.clone()
    }

    fn json(&self) -> serde_json::Value {
        self.as_str().into()
    }
}

impl std::ops::Deref for Secret {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl SettingValue for Secret {
    const KIND: &'static str = <String as SettingValue>::KIND;
    const IS_SECRET: bool = true;

    fn read(text: &str) -> Option<Self> {
        Some(Secret(text.to_owned()))
    }

    fn write(&self) -> String {
        self.0.clone()
    }

    fn json(&self) -> serde_json::Value {
        self.0.as_str().into()
    }
}

impl SettingValue for Size {
    const KIND: &'static str = "size";
    const UNIT: &'static str = "bytes";
    const RANGE: &'static str = "0 to 2147483647";

    fn read(text: &str) -> Option<Self> {
        parse_size(text)
    }

    fn write(&self) -> String {
        self.to_string()
    }

    fn json(&self) -> serde_json::Value {
        (*self).into()
    }
}

impl SettingValue for LargeSize {
    const KIND: &'static str = "size";
    const UNIT: &'static str = "bytes";
    const RANGE: &'static str = "0 to 9007199254740992";

    fn read(text: &str) -> Option<Self> {
        // Greater integers are not exact in JSON.
        with_unit_up_to(text, &SIZE_UNITS, (1u64 << 53) as f64).map(LargeSize)
    }

    fn write(&self) -> String {
        self.0.to_string()
    }

    fn json(&self) -> serde_json::Value {
        self.0.into()
    }
}

impl SettingValue for Percent {
    const KIND: &'static str = "int";
    const UNIT: &'static str = "percent";
    const RANGE: &'static str = "0 to 100";

    fn read(text: &str) -> Option<Self> {
        text.trim().parse().ok().filter(|percent| *percent <= 100).map(Percent)
    }

    fn write(&self) -> String {
        self.0.to_string()
    }

    fn json(&self) -> serde_json::Value {
        self.0.into()
    }
}

impl SettingValue for Seconds {
    const KIND: &'static str = "time";
    const UNIT: &'static str = "seconds";
    const RANGE: &'static str = "0 to 2147483647";

    fn read(text: &str) -> Option<Self> {
        with_unit(text, &TIME_UNITS).map(Seconds)
    }

    fn write(&self) -> String {
        self.0.to_string()
    }

    fn json(&self) -> serde_json::Value {
        self.0.into()
    }
}

impl SettingValue for Millis {
    const KIND: &'static str = "time";
    const UNIT: &'static str = "seconds";
    const RANGE: &'static str = "0 to 2147483.647";

    fn read(text: &str) -> Option<Self> {
        let has_unit = text.trim_end().ends_with(|c: char| c.is_ascii_alphabetic());
        let text = if has_unit { text.to_owned() } else { format!("{text}s") };
        with_unit(&text, &MILLI_UNITS).map(Millis)
    }

    fn write(&self) -> String {
        format!("{}ms", self.0)
    }

    fn json(&self) -> serde_json::Value {
        (self.0 as f64 / 1000.0).into()
    }
}

impl SettingValue for Count {
    const KIND: &'static str = "int";
    const RANGE: &'static str = "0 to 4294967295";

    fn read(text: &str) -> Option<Self> {
        text.trim().parse().ok().map(Count)
    }

    fn write(&self) -> String {
        self.0.to_string()
    }

    fn json(&self) -> serde_json::Value {
        self.0.into()
    }
}

impl SettingValue for UserLimit {
    const KIND: &'static str = "int";
    const RANGE: &'static str = "2 to 254";

    fn read(text: &str) -> Option<Self> {
        let value: i64 = text.trim().parse().ok()?;
        Some(value.clamp(MIN_USER_LIMIT.into(), MAX_USER_LIMIT.into()) as u32)
    }

    fn write(&self) -> String {
        self.to_string()
    }

    fn json(&self) -> serde_json::Value {
        (*self).into()
    }
}

/// Names of a unit, and what it is worth. The first name is drawpile-srv's; before the others there must be a blank, as
/// it refuses `60sec`, and scripts may count on that.
type Unit = (&'static [&'static str], f64);

const SIZE_UNITS: [Unit; 4] = [
    (&["b", "byte", "bytes"], 1.0),
    (&["kb", "k", "kib"], 1024.0),
    (&["mb", "m", "mib"], 1048576.0),
    (&["gb", "g", "gib"], 1073741824.0),
];
const SECOND: &[&str] = &["s", "sec", "second", "seconds"];
const MINUTE: &[&str] = &["m", "min", "minute", "minutes"];
const HOUR: &[&str] = &["h", "hour", "hours"];
const TIME_UNITS: [Unit; 4] =
    [(SECOND, 1.0), (MINUTE, 60.0), (HOUR, 3600.0), (&["d", "day", "days"], 86400.0)];
const MILLI_UNITS: [Unit; 4] = [(&["ms"], 1.0), (SECOND, 1000.0), (MINUTE, 60_000.0), (HOUR, 3_600_000.0)];

/// Parses a size such as `10mb` to bytes, up to 2^31 - 1.
pub fn parse_size(text: &str) -> Option<u64> {
    with_unit(text, &SIZE_UNITS)
}

/// The text of a setting as drawpile-srv reads it, too: of units it knows only the shortest names.
pub(crate) fn portable_text(kind: &str, text: &str) -> String {
    let units: &[Unit] = match kind {
        Seconds::KIND => &TIME_UNITS,
        Size::KIND => &SIZE_UNITS,
        _ => return text.to_owned(),
    };
    let lower = text.to_ascii_lowercase();
    let (number, unit) = lower.split_at(unit_start(&lower));
    let names = units.iter().map(|(names, _)| names).find(|names| names[1..].contains(&unit.trim_start()));
    names.map_or_else(|| text.to_owned(), |names| format!("{number}{}", names[0]))
}

/// Where the number of a text ends.
fn unit_start(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len())
}

/// Parses a decimal number with an optional unit, up to 2^31 - 1. Fractions of the result are cut off. Blanks are
/// allowed between number and unit only.
fn with_unit(text: &str, units: &[Unit]) -> Option<u64> {
    with_unit_up_to(text, units, i32::MAX.into())
}

/// Like [`with_unit`], with another maximum.
fn with_unit_up_to(text: &str, units: &[Unit], max: f64) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let (number, unit) = text.split_at(unit_start(&text));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() {
        return None;
    }
    let factor = match unit.trim_start() {
        "" => 1.0,
        name => {
            units.iter().find(|(names, _)| names[0] == name || (name != unit && names.contains(&name)))?.1
        }
    };
    let value = number.parse::<f64>().ok()? * factor;
    (value <= max).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_1024_based_and_may_have_decimals() {
        assert_eq!(parse_size("15mb"), Some(15 << 20));
        assert_eq!(parse_size("1.5 KB"), Some(1536));
        assert_eq!(parse_size("0.1kb"), Some(102));
        assert_eq!(parse_size("7"), Some(7));
        assert_eq!(parse_size("0"), Some(0));
        assert_eq!(["1 GB", "1 G", "1 GiB"].map(parse_size), [Some(1 << 30); 3]);
        assert_eq!(["500 M", "512 bytes"].map(parse_size), [Some(500 << 20), Some(512)]);
        for bad in [
            "",
            "mb",
            "-1",
            "1tb",
            "1g",
            "15mib",
            "1 2",
            "1.2.3",
            "99999999999999999999gb",
            "2gb",
            " 1",
            "1.",
            ".5",
            "1 mb ",
        ] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn large_sizes_exceed_31_bits_and_percentages_end_at_100() {
        let large = |text| LargeSize::read(text).map(|size| size.0);
        assert_eq!([large("8gb"), large("1.5 GB"), large("0")], [8 << 30, 3 << 29, 0].map(Some));
        assert_eq!([large("9007199254740993gb"), large("8tb"), large("-1")], [None; 3]);
        assert_eq!(LargeSize::read(&LargeSize(5 << 32).write()), Some(LargeSize(5 << 32)));
        let percent = |text| Percent::read(text).map(|p| p.0);
        assert_eq!(
            [percent("0"), percent("100"), percent("101"), percent("x")],
            [Some(0), Some(100), None, None]
        );
    }

    #[test]
    fn times_are_seconds_without_a_unit() {
        let seconds = |text| Seconds::read(text).map(|s| s.0);
        assert_eq!(
            [seconds("90"), seconds("1.5m"), seconds("2H"), seconds("1d")],
            [90, 90, 7200, 86400].map(Some)
        );
        let typed = ["30 days", "1 Day", "10 min", "1.5 Hours", "5 seconds"].map(seconds);
        assert_eq!(typed, [2_592_000, 86_400, 600, 5400, 5].map(Some));
        assert_eq!([seconds("1mb"), seconds("x")], [None, None]);
        let millis = |text| Millis::read(text).map(|m| m.0);
        let read = [millis("1"), millis("0.1"), millis("100ms"), millis("2m"), millis("0")];
        assert_eq!(read, [1000, 100, 100, 120_000, 0].map(Some));
        assert_eq!([millis(""), millis("1d"), millis("-1")], [None; 3]);
        assert_eq!(Seconds(2).millis(), 2000);
    }

    #[test]
    fn units_are_stored_by_the_names_that_drawpile_srv_knows() {
        for (kind, text, expected) in [
            ("time", "30 Days", "30d"),
            ("time", "1.5 hours", "1.5h"),
            ("time", "100ms", "100ms"),
            ("time", "90", "90"),
            ("size", "1 GiB", "1gb"),
            ("size", "500 m", "500mb"),
            ("size", "40MB", "40MB"),
            ("text", "30 days", "30 days"),
        ] {
            assert_eq!(portable_text(kind, text), expected);
        }
    }

    #[test]
    fn user_limits_are_clamped() {
        assert_eq!(
            [UserLimit::read("1"), UserLimit::read("999"), UserLimit::read("9")],
            [2, 254, 9].map(Some)
        );
        assert_eq!(UserLimit::read("many"), None);
    }

    #[test]
    fn bools_are_true_for_1_and_true() {
        assert_eq!(
            ["1", "TRUE", "0", "false", ""].map(bool::read),
            [true, true, false, false, false].map(Some)
        );
        assert_eq!(bool::read("maybe"), None);
    }

    proptest! {
        #[test]
        fn no_input_makes_a_parser_panic(text in ".{0,30}") {
            let _ = (parse_size(&text), Seconds::read(&text), UserLimit::read(&text), Count::read(&text));
        }
    }
}
