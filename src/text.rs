//! Sanitising text from clients and files for terminals and the log.
//!
//! Users choose their names and titles. Control characters that move a terminal's cursor or break a line, and
//! invisible or bidirectional characters that hide or reorder other text, are removed, replaced or escaped.

use std::borrow::Cow;

use serde::Serialize;

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a character is a control character, invisible, or changes the direction of the text around it.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Removes hidden characters and line feeds.
pub fn shown(text: &str) -> String {
    text.chars().filter(|c| !is_hidden(*c)).collect()
}

/// Removes hidden characters but keeps line feeds.
pub fn shown_lines(text: &str) -> String {
    text.chars().filter(|c| *c == '\n' || !is_hidden(*c)).collect()
}

/// One line for the log: hidden characters and line feeds become blanks, so that a text can forge no line and join no
/// words.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.into();
    }
    text.chars().map(|c| if is_hidden(c) { ' ' } else { c }).collect()
}

/// A name as it can be that of a file everywhere: all but ASCII letters, digits and `-` becomes `_`.
pub fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

/// JSON that is safe to print at a terminal: hidden characters are escaped, so that nothing is lost.
pub fn shown_json(value: &impl Serialize, pretty: bool) -> String {
    let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    let mut shown = String::new();
    // Our own values always serialize, and outside of strings JSON has no hidden characters but line feeds.
    for c in text.unwrap_or_default().chars() {
        if c == '\n' || !is_hidden(c) {
            shown.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| shown.push_str(&format!("\\u{unit:04x}")));
        }
    }
    shown
}

/// Decodes the text of a file by its byte order mark (UTF-8, UTF-16 or UTF-32), which is removed; UTF-8 if there is
/// none. Invalid sequences become replacement characters.
pub fn decode(bytes: &[u8]) -> Cow<'_, str> {
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest),
        [0xff, 0xfe, 0, 0, rest @ ..] => utf32(rest, u32::from_le_bytes).into(),
        [0, 0, 0xfe, 0xff, rest @ ..] => utf32(rest, u32::from_be_bytes).into(),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes).into(),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes).into(),
        bytes => String::from_utf8_lossy(bytes),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let (units, _) = bytes.as_chunks();
    char::decode_utf16(units.iter().map(|pair| unit(*pair)))
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

fn utf32(bytes: &[u8], unit: fn([u8; 4]) -> u32) -> String {
    let (units, _) = bytes.as_chunks();
    units.iter().map(|four| char::from_u32(unit(*four)).unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const EVIL: &str = "a\u{1b}]0;t\u{7}b\nc\u{9b}31m\u{202e}d\u{2066}e\u{200b}f\u{2028}g\u{feff}h\u{e0041}";

    #[test]
    fn hidden_and_bidirectional_characters_are_removed() {
        assert_eq!(shown(EVIL), "a]0;tbc31mdefgh");
        assert_eq!(shown_lines(EVIL), "a]0;tb\nc31mdefgh");
        assert_eq!(one_line("a\nb\u{202e}c\u{2029}d"), "a b c d");
        for fine in ["Zoë 猫 🎨", "עברית العربية", "e\u{301}", "a\u{a0}b"] {
            assert_eq!((&*shown(fine), &*one_line(fine)), (fine, fine));
        }
    }

    #[test]
    fn a_byte_order_mark_selects_the_encoding() {
        let text = "título=猫🎨\n";
        let with = |mark: &[u8], bytes: Vec<u8>| decode(&[mark, &bytes].concat()).into_owned();
        let utf16 = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect();
        let utf32 = |bytes: fn(u32) -> [u8; 4]| text.chars().flat_map(|c| bytes(c.into())).collect();
        assert_eq!(decode(text.as_bytes()), text);
        assert_eq!(with(&[0xef, 0xbb, 0xbf], text.into()), text);
        assert_eq!(with(&[0xff, 0xfe], utf16(u16::to_le_bytes)), text);
        assert_eq!(with(&[0xfe, 0xff], utf16(u16::to_be_bytes)), text);
        assert_eq!(with(&[0xff, 0xfe, 0, 0], utf32(u32::to_le_bytes)), text);
        assert_eq!(with(&[0, 0, 0xfe, 0xff], utf32(u32::to_be_bytes)), text);
        assert_eq!(with(&[0xff, 0xfe], vec![b'a', 0, 0, 0xd8, b'b', 0, 7]), "a\u{fffd}b");
        assert_eq!(decode(b"a\xffb"), "a\u{fffd}b");
    }

    #[test]
    fn json_escapes_hidden_characters() {
        let value = json!({"name": EVIL, EVIL: [1, "x"]});
        for pretty in [false, true] {
            let text = shown_json(&value, pretty);
            assert!(text.chars().all(|c| c == '\n' || !is_hidden(c)), "{text:?}");
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        }
    }
}
