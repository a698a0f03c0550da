//! Base64 as Qt decodes it: invalid characters, missing padding and leftover bits are ignored.
//!
//! Clients, auth servers and files have base64 of many programs: Python's `ed25519`, with which drawpile.net signs
//! tokens, omits the padding, lines are wrapped, keys are pasted with blanks. drawpile-srv accepts all of it.

/// Decodes a text. Never fails; see above.
pub fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0_u32, 0);
    for digit in text.bytes().filter_map(digit) {
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    bytes
}

fn digit(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn base64_is_decoded_as_qt_decodes_it() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("YWI=", b"ab"),
            ("YWI", b"ab"),
            ("YW I=", b"ab"),
            ("YW\nI=\r\n", b"ab"),
            (" YWI==== ", b"ab"),
            ("Y-W_I.", b"ab"),
            ("YQ==YQ==", b"a\x06\x10"),
            ("Y", b""),
            ("YW", b"a"),
            ("YX", b"a"),
            ("====", b""),
            ("\u{fe}\u{1f3a8}", b""),
            ("+/+/", b"\xfb\xff\xbf"),
        ] {
            assert_eq!(decode(text), bytes, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn padding_and_line_breaks_are_optional(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let text = STANDARD.encode(&bytes);
            prop_assert_eq!(&decode(&text), &bytes);
            prop_assert_eq!(&decode(text.trim_end_matches('=')), &bytes);
            let wrapped: String = text.chars().flat_map(|c| [c, '\n']).collect();
            prop_assert_eq!(&decode(&wrapped), &bytes);
        }

        #[test]
        fn no_input_makes_it_panic(text in ".{0,60}") {
            prop_assert!(decode(&text).len() <= text.len() * 3 / 4);
        }
    }
}
