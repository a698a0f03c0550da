//! Answers of the API as text.

use drawhall::text;
use serde_json::Value;

pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text::shown(text),
        Value::Null => "-".to_owned(),
        value => value.to_string(),
    }
}

pub(super) fn log_line(line: &Value) -> String {
    let text = |key: &str| line.get(key).map_or(String::new(), shown);
    let session = text("session");
    let session = if session.is_empty() { session } else { format!("@{{{session}}}") };
    let about = format!("{}{session}", text("user"));
    let about = if about.is_empty() { about } else { format!(" {about}") };
    format!("{} {}/{}{about}: {}", text("timestamp"), text("level"), text("topic"), text("message"))
}

/// A setting in the unit that it is typed in, with its default if it was changed.
pub(super) fn shown_setting(setting: &Value) -> String {
    let text = |key: &str| setting[key].as_str().unwrap_or_default();
    let value = in_largest_unit(text("value"), text("unit"));
    let default = match text("default") {
        "" => "empty",
        default => default,
    };
    let changed = if setting["changed"] == true { format!("  (default: {default})") } else { String::new() };
    format!("{} = {}{changed}", text("key"), text::shown(&value))
}

/// A size or time in the largest unit that it is a whole number of.
fn in_largest_unit(value: &str, unit: &str) -> String {
    let units: &[(u64, &str)] = match unit {
        "bytes" => &[(1 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")],
        "seconds" => &[(86_400, "d"), (3600, "h"), (60, "m")],
        _ => &[],
    };
    let Ok(number) = value.parse::<u64>() else { return value.to_owned() };
    let fitting = units.iter().find(|(worth, _)| number >= *worth && number.is_multiple_of(*worth));
    fitting.map_or_else(|| value.to_owned(), |(worth, unit)| format!("{}{unit}", number / worth))
}

/// Formats a list of objects as a table with aligned columns.
pub(super) fn table(list: &Value, columns: &[&str]) -> String {
    let head = columns.iter().map(|c| (*c).to_owned()).collect::<Vec<String>>();
    let row = |value: &Value| columns.iter().map(|c| value.get(*c).map_or("-".into(), shown)).collect();
    let rows: Vec<Vec<String>> =
        std::iter::once(head).chain(list.as_array().into_iter().flatten().map(row)).collect();
    let width = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}
