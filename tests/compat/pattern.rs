//! What a message must be like.

use std::collections::BTreeMap;

use serde_json::Value;

/// What was seen and given a name, such as the id of a session.
pub(crate) type Names = BTreeMap<String, Value>;

/// Whether a value is as a pattern says. `"*"` is anything that is there, `"-"` is nothing, `"~regex"` is a text that the
/// expression finds, `"$name"` is what has this name, or gets it. Objects may have more members; lists that begin with
/// `"..."` may have more elements.
pub(crate) fn fits(pattern: &Value, value: Option<&Value>, names: &mut Names) -> bool {
    match (pattern, value) {
        (Value::String(text), None) => text == "-",
        (_, None) => false,
        (Value::String(text), Some(_)) if text == "*" => true,
        (Value::String(text), Some(_)) if text == "-" => false,
        (Value::String(text), Some(Value::String(given))) if text.starts_with('~') => {
            regex::Regex::new(&text[1..]).is_ok_and(|regex| regex.is_match(given))
        }
        (Value::String(text), Some(value)) if text.starts_with('$') => {
            *names.entry(text[1..].to_owned()).or_insert_with(|| value.clone()) == *value
        }
        (Value::Object(wanted), Some(Value::Object(given))) => {
            wanted.iter().all(|(key, pattern)| fits(pattern, given.get(key), names))
        }
        (Value::Array(wanted), Some(Value::Array(given))) => match wanted.split_first() {
            Some((first, rest)) if first == "..." => {
                rest.iter().all(|pattern| given.iter().any(|value| fits(pattern, Some(value), names)))
            }
            _ => {
                wanted.len() == given.len()
                    && wanted.iter().zip(given).all(|(pattern, value)| fits(pattern, Some(value), names))
            }
        },
        (wanted, Some(given)) => wanted == given,
    }
}

/// Puts what names mean in their places; a name that means nothing stays.
pub(crate) fn fill(value: &Value, names: &Names) -> Value {
    match value {
        Value::String(text) => match text.strip_prefix('$').and_then(|name| names.get(name)) {
            Some(known) => known.clone(),
            None => Value::String(fill_text(text, names)),
        },
        Value::Array(list) => list.iter().map(|inner| fill(inner, names)).collect(),
        Value::Object(object) => {
            object.iter().map(|(key, inner)| (key.clone(), fill(inner, names))).collect()
        }
        other => other.clone(),
    }
}

/// The same within a text: `${name}`.
pub(crate) fn fill_text(text: &str, names: &Names) -> String {
    let mut filled = text.to_owned();
    for (name, value) in names {
        let mark = format!("${{{name}}}");
        if filled.contains(&mark) {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            filled = filled.replace(&mark, &shown);
        }
    }
    filled
}
