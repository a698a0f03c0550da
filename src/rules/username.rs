//! User names: validation, and names that look the same.
//!
//! drawpile-srv checks only length and quotation marks. So a user could be "host" with an invisible character,
//! reverse the writing direction of a line, or write escape sequences to the terminal of whoever reads the log.
//! Clients do not let users enter such names. Everything that users do enter stays valid: emoji with joiners, scripts
//! that need joiners inside words, variants of ideographs.

use icu_casemap::CaseMapper;
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use icu_properties::props::{
    BinaryProperty as _, CanonicalCombiningClass, DefaultIgnorableCodePoint, Emoji, EmojiModifier,
    EnumeratedProperty as _, ExtendedPictographic, GeneralCategory, GeneralCategoryGroup,
    NoncharacterCodePoint, Script, VariationSelector,
};

/// Maximum length of a user name in UTF-16 code units.
const MAX_UTF16_UNITS: usize = 22;
const ZERO_WIDTH_NON_JOINER: char = '\u{200c}';
const ZERO_WIDTH_JOINER: char = '\u{200d}';
/// A blank whose Unicode category is symbol.
const BRAILLE_BLANK: char = '\u{2800}';
const KEYCAP: char = '\u{20e3}';
/// Flag emoji that are encoded with tag characters: England, Scotland and Wales.
const TAG_SEQUENCE_FLAGS: [&str; 3] = ["gbeng", "gbsct", "gbwls"];
const BLACK_FLAG: char = '\u{1f3f4}';
/// Code point of a tag character minus that of its ASCII character, and the terminator.
const TAG_BASE: u32 = 0xe0000;
const CANCEL_TAG: char = '\u{e007f}';

/// Scripts in which a joiner inside a word changes its appearance.
const JOINING_SCRIPTS: [Script; 17] = [
    Script::Arabic,
    Script::Syriac,
    Script::Nko,
    Script::Mongolian,
    Script::Devanagari,
    Script::Bengali,
    Script::Gurmukhi,
    Script::Gujarati,
    Script::Oriya,
    Script::Tamil,
    Script::Telugu,
    Script::Kannada,
    Script::Malayalam,
    Script::Sinhala,
    Script::Khmer,
    Script::Myanmar,
    Script::Thaana,
];

/// The rule of drawpile-srv: 1 to 22 UTF-16 code units, no quotation mark.
pub fn has_valid_form(name: &str) -> bool {
    let units = name.encode_utf16().count();
    (1..=MAX_UTF16_UNITS).contains(&units) && !name.contains('"')
}

/// Whether a new user or account may have this name: the form is valid, something is visible, and nothing is hidden.
pub fn is_valid(name: &str) -> bool {
    has_valid_form(name) && has_no_hidden_characters(name)
}

fn has_no_hidden_characters(name: &str) -> bool {
    let chars: Vec<char> = name.chars().collect();
    let ends = [chars.first(), chars.last()];
    if ends.into_iter().flatten().any(|c| is_blank(*c)) || !chars.iter().any(|c| is_visible(*c)) {
        return false;
    }
    let mut at = 0;
    while at < chars.len() {
        match tag_sequence_flag(&chars[at..]) {
            Some(length) => at += length,
            None if is_allowed_at(&chars, at) => at += 1,
            None => return false,
        }
    }
    true
}

/// Length of the tag sequence flag at the start, if there is one.
fn tag_sequence_flag(chars: &[char]) -> Option<usize> {
    let (first, rest) = chars.split_first()?;
    let matches = |name: &&&str| {
        let letters = name.chars().filter_map(|c| char::from_u32(TAG_BASE + c as u32));
        rest.iter().copied().take(name.len() + 1).eq(letters.chain([CANCEL_TAG]))
    };
    let name = TAG_SEQUENCE_FLAGS.iter().find(matches).filter(|_| *first == BLACK_FLAG)?;
    Some(name.len() + 2)
}

/// Whether a character is allowed at its position.
fn is_allowed_at(chars: &[char], at: usize) -> bool {
    let (c, next) = (chars[at], chars.get(at + 1).copied());
    let before = &chars[..at];
    if c == ZERO_WIDTH_JOINER && joins_emoji(before, next) {
        return true;
    }
    if c == ZERO_WIDTH_JOINER || c == ZERO_WIDTH_NON_JOINER {
        return joins_letters(before, next);
    }
    if VariationSelector::for_char(c) {
        return selects_variation(c, before, next);
    }
    let category = GeneralCategory::for_char(c);
    let allowed = !matches!(
        category,
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
    );
    allowed && !DefaultIgnorableCodePoint::for_char(c) && !NoncharacterCodePoint::for_char(c)
}

/// A joiner between two emoji. The first may be followed by a skin tone or variation selector.
fn joins_emoji(before: &[char], next: Option<char>) -> bool {
    let picture = before.iter().rev().find(|c| !VariationSelector::for_char(**c));
    picture.is_some_and(|c| ExtendedPictographic::for_char(*c) || EmojiModifier::for_char(*c))
        && next.is_some_and(ExtendedPictographic::for_char)
}

/// A joiner after a virama, or between two letters of a script that joins them.
fn joins_letters(before: &[char], next: Option<char>) -> bool {
    if before.last().is_some_and(|c| CanonicalCombiningClass::for_char(*c) == CanonicalCombiningClass::Virama)
    {
        return true;
    }
    // Marks of the script "inherited" belong to the letter before them.
    let letter = before.iter().rev().find(|c| Script::for_char(**c) != Script::Inherited);
    let joins = |c: char| JOINING_SCRIPTS.contains(&Script::for_char(c));
    letter.is_some_and(|c| joins(*c)) && next.is_some_and(joins)
}

/// Whether a variation selector follows a character that has variations.
fn selects_variation(selector: char, before: &[char], next: Option<char>) -> bool {
    let Some(base) = before.last().copied() else { return false };
    match selector {
        // Text or emoji presentation. For ASCII characters only in keycaps.
        '\u{fe0e}' | '\u{fe0f}' if base.is_ascii() => Emoji::for_char(base) && next == Some(KEYCAP),
        '\u{fe0e}' | '\u{fe0f}' => {
            Emoji::for_char(base) || GeneralCategoryGroup::Symbol.contains(GeneralCategory::for_char(base))
        }
        '\u{180b}'..='\u{180f}' => Script::for_char(base) == Script::Mongolian,
        _ => Script::for_char(base) == Script::Han,
    }
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() || c == BRAILLE_BLANK
}

/// A letter, number, symbol or emoji; not a mark alone, nor a blank.
fn is_visible(c: char) -> bool {
    let category = GeneralCategory::for_char(c);
    let stands_alone = !GeneralCategoryGroup::Mark.contains(category)
        && !GeneralCategoryGroup::Separator.contains(category)
        && !matches!(category, GeneralCategory::Control | GeneralCategory::Format);
    stands_alone && !is_blank(c) && !DefaultIgnorableCodePoint::for_char(c)
}

/// The visible text, NFKC-normalized, with blanks collapsed. For patterns that must match words in any spelling.
pub fn plain(text: &str) -> String {
    if text.bytes().all(|b| b.is_ascii_graphic()) {
        return text.to_owned();
    }
    let is_visible = |c: &char| {
        let hidden =
            matches!(GeneralCategory::for_char(*c), GeneralCategory::Control | GeneralCategory::Format);
        !hidden && !DefaultIgnorableCodePoint::for_char(*c)
    };
    let visible: String = text.chars().filter(is_visible).collect();
    let composed = ComposingNormalizerBorrowed::new_nfkc().normalize(&visible).into_owned();
    let words = composed.split(is_blank).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// A key that is equal for names that look the same: case, compatible forms of letters and invisible characters are
/// ignored.
pub fn skeleton(name: &str) -> String {
    if name.bytes().all(|b| b.is_ascii_graphic()) {
        return name.to_ascii_lowercase();
    }
    let decomposed = DecomposingNormalizerBorrowed::new_nfd().normalize(name).into_owned();
    let folded = CaseMapper::new().fold_string(&plain(&decomposed)).into_owned();
    // Case folding decomposes letters, and the parts may need folding again.
    let composed = plain(&folded);
    plain(&CaseMapper::new().fold_string(&composed))
}

/// Removes the characters that are not allowed in names.
pub fn clean(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut kept = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let length = tag_sequence_flag(&chars[at..]).or_else(|| is_allowed_at(&chars, at).then_some(1));
        kept.extend(&chars[at..at + length.unwrap_or(0)]);
        at += length.unwrap_or(1);
    }
    kept
}

/// Whether two names look the same.
pub fn same(a: &str, b: &str) -> bool {
    a == b || skeleton(a) == skeleton(b)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_have_1_to_22_utf16_code_units_and_no_quotes() {
        assert!(is_valid(&"x".repeat(22)) && is_valid(&"🎨".repeat(11)));
        assert!(!is_valid("") && !is_valid(&"x".repeat(23)) && !is_valid("a\"b"));
        assert!(!is_valid(&"🎨".repeat(12)));
    }

    #[test]
    fn names_in_common_use_are_valid() {
        for name in [
            "Ann",
            "x y",
            "O'Neil",
            "zoë k",
            "ünï",
            "Ext Usér",
            "Dvořák",
            "Ελένη",
            "Пётр",
            "ΩΣ",
            "名無し",
            "ﾄﾞﾗﾜｰ",
            "ドロー　パイル",
            "김철수",
            "สมชาย",
            "ธงชัย",
            "नमस्ते",
            "क्\u{200d}ष",
            "शक्\u{200c}ति",
            "অপু",
            "தமிழ்",
            "ക്\u{200d}",
            "അരുണ്\u{200d}",
            "ශ්\u{200d}රී",
            "محمد",
            "می\u{200c}خواهم",
            "שלום",
            "ལྷ་ས",
            "ᠮᠣᠩᠭᠣᠯ",
            "葛\u{e0100}飾",
            "Nguyễn",
            "e\u{301}te",
            "❤\u{fe0f}",
            "👩\u{200d}🎨",
            "👩🏽\u{200d}🎨",
            "🏳\u{fe0f}\u{200d}🌈",
            "👨\u{200d}👩\u{200d}👧",
            "1\u{fe0f}\u{20e3}",
            "🇩🇪",
            "☆\u{fe0e}",
            "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            "¯\\_(ツ)_/¯",
            "( ͡° ͜ʖ ͡°)",
            "(ﾉ◕ヮ◕)ﾉ*:･ﾟ✧",
            "ʕ•ᴥ•ʔ",
            "ㅇㅇ",
            "™®",
            "♥\u{fe0e}",
            "🏴\u{200d}☠\u{fe0f}",
            "❤\u{fe0f}\u{200d}🔥",
            "🧑🏿\u{200d}🤝\u{200d}🧑🏻",
            "#1",
            "-_-",
            "\u{fffd}x",
            "½",
            "a\u{2800}b",
            "\u{e000}",
        ] {
            assert!(is_valid(name), "{name:?}");
        }
    }

    #[test]
    fn names_with_hidden_characters_are_invalid() {
        for name in [
            " ",
            "ok ",
            " ok",
            "\u{a0}ok",
            "ok\u{3000}",
            "\u{2800}",
            "ok\u{2800}",
            "\u{3164}",
            "a\u{3164}",
            "\u{115f}x",
            "a\u{ffa0}b",
            "a\nb",
            "a\tb",
            "\u{7f}a",
            "\u{85}a",
            "\u{1b}[31mEVIL",
            "\u{0}x",
            "a\u{ad}b",
            "host\u{200b}",
            "ho\u{200c}st",
            "ho\u{200d}st",
            "\u{200d}",
            "\u{200e}a",
            "\u{200f}a",
            "\u{202e}reversed",
            "\u{2066}a\u{2069}",
            "\u{61c}a",
            "a\u{2028}b",
            "a\u{2029}b",
            "a\u{2060}b",
            "a\u{2064}b",
            "\u{feff}a",
            "a\u{fe0f}",
            "1\u{fe0f}",
            "a\u{fe00}b",
            "a\u{e0100}",
            "a\u{34f}b",
            "\u{180e}a",
            "a\u{180b}",
            "a\u{e0001}",
            "a\u{e0067}b",
            "🏴\u{e0067}\u{e007f}",
            "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}",
            "a\u{fff9}b",
            "a\u{ffff}b",
            "\u{1fffe}",
            "\u{301}",
            "\u{301}\u{302}",
            "👩\u{200d}",
            "\u{200d}👩",
            "👩\u{200d}\u{200d}👩",
            "می\u{200c}",
            "a\u{1d173}b",
            "a\u{17b4}",
        ] {
            assert!(!is_valid(name), "{name:?}");
        }
    }

    #[test]
    fn lookalike_names_are_the_same() {
        for (a, b) in [
            ("Ann", "aNN"),
            ("host", "host\u{200b}"),
            ("host", "\u{202e}host"),
            ("café", "CAFE\u{301}"),
            ("straße", "STRASSE"),
            ("ﬁn", "FIN"),
            ("ＡＢＣ", "abc"),
            ("ﾄﾞﾗﾜｰ", "ドラワー"),
            ("Σίσυφος", "ΣΊΣΥΦΟΣ"),
            ("a b", " a \u{3000}b\u{a0}"),
            ("می\u{200c}خواهم", "میخواهم"),
            ("❤", "❤\u{fe0f}"),
            ("①", "1"),
            ("ⅷ", "VIII"),
            ("K", "k"),
            ("Å", "å"),
        ] {
            assert!(same(a, b), "{a:?} {b:?}: {:?} {:?}", skeleton(a), skeleton(b));
        }
        for (a, b) in [
            ("Ann", "Anne"),
            ("a b", "ab"),
            ("é", "e"),
            ("ı", "i"),
            ("か", "カ"),
            ("👩\u{200d}🎨", "👨\u{200d}🎨"),
        ] {
            assert!(!same(a, b), "{a:?} {b:?}");
        }
    }

    #[test]
    fn clean_removes_hidden_characters() {
        assert_eq!(clean("\u{202e}Ann\n\u{200b} \u{1b}[0mx"), "Ann [0mx");
        for good in
            ["👩\u{200d}🎨 x", "می\u{200c}خواهم", "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}"]
        {
            assert_eq!(clean(good), good);
        }
    }

    #[test]
    fn plain_normalizes_the_spelling() {
        assert_eq!(plain("ｅ\u{200b}vil"), "evil");
        assert_eq!(plain("Straße"), "Straße", "letters stay as they are");
    }

    proptest! {
        #[test]
        fn skeleton_is_idempotent_and_has_no_invisible_characters(name in "\\PC{0,22}|.{0,22}|[\\u{0}-\\u{10ffff}]{0,8}") {
            let once = skeleton(&name);
            prop_assert_eq!(skeleton(&once), once.clone());
            prop_assert!(!once.chars().any(|c| c.is_control() || DefaultIgnorableCodePoint::for_char(c)));
        }

        #[test]
        fn ascii_names_are_compared_ignoring_case(name in "[ -~]{1,22}") {
            prop_assert!(same(&name, &name.to_ascii_uppercase()));
        }
    }
}
