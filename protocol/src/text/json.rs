//! Payload fields as members of a JSON object, driven by the message table.

use std::fmt::Write as _;

use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, Engine as _};
use serde_json::{Map, Value};

use super::LineError;
use crate::blend;
use crate::message::{DecodeError, FieldInfo, FieldKind, ItemKind};

/// Padding is optional: not all programs write it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Appends ` {...}` to `out`, or nothing if all members are omitted.
pub(super) fn write_body(fields: &[FieldInfo], payload: &[u8], out: &mut String) -> Result<(), DecodeError> {
    let mut members = Vec::with_capacity(fields.len());
    let mut rest = payload;
    for field in fields {
        if let Some(text) = write_field(field, &mut rest)? {
            members.push((field.name, text));
        }
    }
    if !rest.is_empty() {
        return Err(DecodeError::TooLong(rest.len()));
    }
    // `_` comes last, though it sorts before letters.
    members.sort_by_key(|(name, _)| (*name == "_", *name));
    if !members.is_empty() {
        out.push(' ');
        push_object(&members, out);
    }
    Ok(())
}

fn push_object(members: &[(&str, String)], out: &mut String) {
    out.push('{');
    for (i, (name, text)) in members.iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        let _ = write!(out, "{comma}\"{name}\":{text}");
    }
    out.push('}');
}

fn take<'a>(rest: &mut &'a [u8], n: usize) -> Result<&'a [u8], DecodeError> {
    let (now, later) = rest.split_at_checked(n).ok_or(DecodeError::TooShort)?;
    *rest = later;
    Ok(now)
}

fn unsigned(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |n, b| n << 8 | u32::from(*b))
}

/// The JSON text of a member; `None` if it is omitted.
fn write_field(field: &FieldInfo, rest: &mut &[u8]) -> Result<Option<String>, DecodeError> {
    if let Some(width) = field.kind.width() {
        let value = unsigned(take(rest, width)?);
        return Ok(write_integer(field, value));
    }
    Ok(match &field.kind {
        FieldKind::Utf8 { length_prefix } => {
            Some(quote(&String::from_utf8_lossy(take_var(rest, *length_prefix)?)))
        }
        FieldKind::Bytes { length_prefix } => {
            let bytes = take_var(rest, *length_prefix)?;
            (!bytes.is_empty()).then(|| quote(&BASE64.encode(bytes)))
        }
        FieldKind::List { item, min, max } => {
            let items = chunks(rest, item.width(), *min, *max)?;
            let texts: Vec<_> = items.map(|b| write_item(*item, unsigned(b))).collect();
            (!texts.is_empty()).then(|| format!("[{}]", texts.join(",")))
        }
        FieldKind::StructList { fields, min } => Some(write_structs(fields, *min, rest)?),
        _ => None,
    })
}

fn write_structs(fields: &[FieldInfo], min: usize, rest: &mut &[u8]) -> Result<String, DecodeError> {
    let width = fields.iter().filter_map(|f| f.kind.width()).sum();
    let mut out = String::from("[");
    for (i, record) in chunks(rest, width, min, usize::MAX)?.enumerate() {
        let mut record = record;
        let mut members = Vec::with_capacity(fields.len());
        for field in fields {
            members.push((field.name, write_field(field, &mut record)?.unwrap_or_default()));
        }
        if i > 0 {
            out.push(',');
        }
        push_object(&members, &mut out);
    }
    out.push(']');
    Ok(out)
}

fn take_var<'a>(rest: &mut &'a [u8], prefixed: bool) -> Result<&'a [u8], DecodeError> {
    let len = if prefixed { usize::from(take(rest, 1)?[0]) } else { rest.len() };
    take(rest, len)
}

fn chunks<'a>(
    rest: &mut &'a [u8],
    width: usize,
    min: usize,
    max: usize,
) -> Result<std::slice::ChunksExact<'a, u8>, DecodeError> {
    let bytes = std::mem::take(rest);
    let count = bytes.len() / width;
    if !bytes.len().is_multiple_of(width) || count < min || count > max {
        return Err(DecodeError::BadList { bytes: bytes.len(), min, max });
    }
    Ok(bytes.chunks_exact(width))
}

fn write_integer(field: &FieldInfo, value: u32) -> Option<String> {
    Some(match &field.kind {
        FieldKind::Bool => (value != 0).to_string(),
        FieldKind::Argb32 if value >> 24 == 0xff => format!("\"#{:06x}\"", value & 0xff_ffff),
        FieldKind::Argb32 => format!("\"#{value:08x}\""),
        FieldKind::BlendMode => quote(blend::name(value as u8)),
        FieldKind::Flags8(names) => {
            let set = names.iter().enumerate().filter(|(bit, _)| value >> bit & 1 == 1);
            let set: Vec<_> = set.map(|(_, name)| quote(name)).collect();
            return (!set.is_empty()).then(|| format!("[{}]", set.join(",")));
        }
        FieldKind::I8 => write_scaled(i64::from(value as u8 as i8), field.scale),
        FieldKind::I32 => write_scaled(i64::from(value as i32), field.scale),
        _ => write_scaled(i64::from(value), field.scale),
    })
}

fn write_item(item: ItemKind, value: u32) -> String {
    if item == ItemKind::I32 { (value as i32).to_string() } else { value.to_string() }
}

fn write_scaled(value: i64, scale: u32) -> String {
    if scale == 1 {
        return value.to_string();
    }
    let text = format!("{:.8}", value as f64 / f64::from(scale));
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A JSON string; only `"`, `\` and control characters are escaped.
fn quote(text: &str) -> String {
    Value::from(text).to_string()
}

/// Encodes the payload from the members of an object.
pub(super) fn read_body(
    fields: &[FieldInfo],
    object: &Map<String, Value>,
    warnings: &mut Vec<String>,
) -> Result<Vec<u8>, LineError> {
    let mut out = Vec::new();
    for field in fields {
        read_field(field, object.get(field.name), &mut out, warnings)?;
    }
    Ok(out)
}

fn bad(field: &FieldInfo, reason: impl Into<String>) -> LineError {
    LineError::BadField { field: field.name.to_owned(), reason: reason.into() }
}

fn read_field(
    field: &FieldInfo,
    value: Option<&Value>,
    out: &mut Vec<u8>,
    warnings: &mut Vec<String>,
) -> Result<(), LineError> {
    let mut warn = |reason: &str| warnings.push(format!("field '{}': {reason}", field.name));
    match &field.kind {
        FieldKind::Utf8 { length_prefix } => {
            let text = expect(value, Value::as_str, "a string", &mut warn).unwrap_or_default();
            push_var(field, text.as_bytes(), *length_prefix, out)?;
        }
        FieldKind::Bytes { length_prefix } => {
            let text = expect(value, Value::as_str, "a string", &mut warn).unwrap_or_default();
            let bytes = BASE64.decode(text).map_err(|e| bad(field, format!("no base64: {e}")))?;
            push_var(field, &bytes, *length_prefix, out)?;
        }
        FieldKind::List { item, min, max } => {
            let items = expect(value, Value::as_array, "an array", &mut warn);
            let items = items.map(Vec::as_slice).unwrap_or_default();
            check_count(field, items.len(), *min, *max)?;
            let (low, high) = item_range(*item);
            for entry in items {
                let n = in_range(entry.as_f64(), 1, low, high, &mut warn);
                out.extend_from_slice(&n.to_be_bytes()[8 - item.width()..]);
            }
        }
        FieldKind::StructList { fields, min } => {
            let items = expect(value, Value::as_array, "an array", &mut warn);
            let items = items.map(Vec::as_slice).unwrap_or_default();
            check_count(field, items.len(), *min, usize::MAX)?;
            for entry in items {
                let record = entry.as_object().ok_or_else(|| bad(field, "expected an array of objects"))?;
                for inner in *fields {
                    read_field(inner, record.get(inner.name), out, warnings)?;
                }
            }
        }
        _ => read_integer(field, value, out, &mut warn),
    }
    Ok(())
}

fn read_integer(field: &FieldInfo, value: Option<&Value>, out: &mut Vec<u8>, warn: &mut dyn FnMut(&str)) {
    let width = field.kind.width().unwrap_or(0);
    let number: i64 = match &field.kind {
        FieldKind::Bool => i64::from(expect(value, Value::as_bool, "true or false", warn).unwrap_or(false)),
        FieldKind::Argb32 => {
            let text = expect(value, Value::as_str, "a colour", warn);
            text.map_or(0, |t| i64::from(parse_colour(t).unwrap_or_else(|| reset(warn, "no colour"))))
        }
        FieldKind::BlendMode => {
            let name = expect(value, Value::as_str, "a blend mode", warn);
            i64::from(name.map_or(blend::NORMAL, blend::id))
        }
        FieldKind::Flags8(names) => {
            let set = expect(value, Value::as_array, "an array of names", warn);
            let set = set.map(Vec::as_slice).unwrap_or_default();
            set.iter().filter_map(Value::as_str).fold(0, |bits, name| {
                match names.iter().position(|n| *n == name) {
                    Some(bit) => bits | 1 << bit,
                    None => {
                        warn(&format!("unknown flag '{name}'"));
                        bits
                    }
                }
            })
        }
        kind => {
            let number = expect(value, Value::as_f64, "a number", warn);
            let (low, high) = integer_range(kind);
            in_range(number.or(Some(0.0)), field.scale, low, high, warn)
        }
    };
    out.extend_from_slice(&number.to_be_bytes()[8 - width..]);
}

fn reset(warn: &mut dyn FnMut(&str), reason: &str) -> u32 {
    warn(reason);
    0
}

/// Converts a value with `read`; a value of another type counts as missing, with a warning.
fn expect<'a, T>(
    value: Option<&'a Value>,
    read: impl Fn(&'a Value) -> Option<T>,
    what: &str,
    warn: &mut dyn FnMut(&str),
) -> Option<T> {
    let value = value?;
    let found = read(value);
    if found.is_none() {
        warn(&format!("expected {what}"));
    }
    found
}

fn integer_range(kind: &FieldKind) -> (i64, i64) {
    match kind {
        FieldKind::I8 => (i8::MIN.into(), i8::MAX.into()),
        FieldKind::I32 => (i32::MIN.into(), i32::MAX.into()),
        other => (0, (1i64 << (8 * other.width().unwrap_or(0))) - 1),
    }
}

fn item_range(item: ItemKind) -> (i64, i64) {
    match item {
        ItemKind::I32 => (i32::MIN.into(), i32::MAX.into()),
        other => (0, (1i64 << (8 * other.width())) - 1),
    }
}

/// The number times `scale`, rounded. 0 with a warning if that is out of range.
fn in_range(number: Option<f64>, scale: u32, low: i64, high: i64, warn: &mut dyn FnMut(&str)) -> i64 {
    let Some(number) = number else {
        warn("expected a number");
        return 0;
    };
    let scaled = (number * f64::from(scale)).round();
    if scaled >= low as f64 && scaled <= high as f64 {
        return scaled as i64;
    }
    warn(&format!("{number} is out of range"));
    0
}

fn check_count(field: &FieldInfo, count: usize, min: usize, max: usize) -> Result<(), LineError> {
    if (min..=max).contains(&count) {
        return Ok(());
    }
    let limit = if count < min { format!("at least {min}") } else { format!("at most {max}") };
    Err(bad(field, format!("has {count} items, {limit} are needed")))
}

fn push_var(field: &FieldInfo, bytes: &[u8], prefixed: bool, out: &mut Vec<u8>) -> Result<(), LineError> {
    if prefixed {
        let len = u8::try_from(bytes.len()).map_err(|_| bad(field, "longer than 255 bytes"))?;
        out.push(len);
    }
    out.extend_from_slice(bytes);
    Ok(())
}

/// Parses `#rrggbb` (opaque) or `#aarrggbb` to 0xAARRGGBB.
pub fn parse_colour(text: &str) -> Option<u32> {
    let hex = text.strip_prefix('#').filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit()))?;
    let value = u32::from_str_radix(hex, 16).ok()?;
    match hex.len() {
        6 => Some(0xff00_0000 | value),
        8 => Some(value),
        _ => None,
    }
}
