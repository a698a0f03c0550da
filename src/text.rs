//! Text from outside, as it may stand at a terminal or in the log.
//!
//! People choose their names and titles themselves. What moves a terminal's cursor, breaks a line, or turns or hides what
//! stands beside it must not get there.

use serde::Serialize;

/// Whether a character is no sign of its own, but changes how others are shown, or cannot be seen.
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

/// A text in one line, without what is hidden.
pub fn shown(text: &str) -> String {
    text.chars().filter(|c| !is_hidden(*c)).collect()
}

/// Lines without what is hidden.
pub fn shown_lines(text: &str) -> String {
    text.chars().filter(|c| *c == '\n' || !is_hidden(*c)).collect()
}

/// A text in one line of the log: what is hidden leaves a blank, so that it forges neither a line nor another text.
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if is_hidden(c) { ' ' } else { c }).collect()
}

/// JSON for programs that may also end up at a terminal: what is hidden is escaped, so nothing is lost.
pub fn shown_json(value: &impl Serialize, pretty: bool) -> String {
    let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    let mut shown = String::new();
    // Values of ours can all be JSON; outside of texts there is nothing hidden but line feeds.
    for c in text.unwrap_or_default().chars() {
        if c == '\n' || !is_hidden(c) {
            shown.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| shown.push_str(&format!("\\u{unit:04x}")));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const EVIL: &str = "a\u{1b}]0;t\u{7}b\nc\u{9b}31m\u{202e}d\u{2066}e\u{200b}f\u{2028}g\u{feff}h\u{e0041}";

    #[test]
    fn what_moves_turns_or_hides_is_left_out() {
        assert_eq!(shown(EVIL), "a]0;tbc31mdefgh");
        assert_eq!(shown_lines(EVIL), "a]0;tb\nc31mdefgh");
        assert_eq!(one_line("a\nb\u{202e}c\u{2029}d"), "a b c d");
        for fine in ["Zoë 猫 🎨", "עברית العربية", "e\u{301}", "a\u{a0}b"] {
            assert_eq!((shown(fine), one_line(fine)), (fine.to_owned(), fine.to_owned()));
        }
    }

    #[test]
    fn json_says_the_same_without_anything_hidden() {
        let value = json!({"name": EVIL, EVIL: [1, "x"]});
        for pretty in [false, true] {
            let text = shown_json(&value, pretty);
            assert!(text.chars().all(|c| c == '\n' || !is_hidden(c)), "{text:?}");
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        }
    }
}
