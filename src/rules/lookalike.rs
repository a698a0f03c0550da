//! Names folded for search, so that names which look alike are found together.
//!
//! [`username::skeleton`] decides whether two names count as the same, and must not be too broad. This is broader: it
//! is only used to find people.

use super::username;

/// Maximum length of a folded name in bytes.
const MAX_LENGTH: usize = 200;

/// The name as it looks at a glance: without case, blanks, underscores, hyphens and full stops; letters of other
/// scripts that look like Latin ones are those; I, i, l, 1 and | are one letter, and so are O, o and 0.
pub fn folded(name: &str) -> String {
    let latin: String = unicode_security::skeleton(&username::plain(name)).collect();
    let mut folded: String = username::skeleton(&latin).chars().filter_map(fold).collect();
    folded.truncate(folded.floor_char_boundary(MAX_LENGTH));
    folded
}

/// A character as it looks at a glance; `None` for one that is overlooked.
fn fold(c: char) -> Option<char> {
    match c {
        'i' | 'l' | '1' | '|' | 'ı' => Some('l'),
        'o' | '0' => Some('o'),
        '_' | '-' | '.' | 'ـ' => None,
        c if c.is_whitespace() => None,
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lookalike_names_are_folded_to_one() {
        for alike in
            ["PixelKing", "PixeIKing", "pixel_king_", "P1xelK1ng", "pixel king", "Рixеlking", "PIXEL-KING"]
        {
            assert_eq!(folded(alike), folded("pixelking"), "{alike}");
        }
        for other in ["PixelKin", "Pixel art", "PixelQueen"] {
            assert_ne!(folded(other), folded("pixelking"), "{other}");
        }
        assert!(folded("xX_PixeIKing_Xx").contains(&folded("pixel k")), "parts of names are found");
        assert_eq!(folded("b00"), folded("BOO"));
        assert_eq!(folded("___"), "");
    }

    proptest! {
        #[test]
        fn folded_names_are_bounded(name in "\\PC{0,60}") {
            prop_assert!(folded(&name).len() <= MAX_LENGTH);
        }
    }
}
