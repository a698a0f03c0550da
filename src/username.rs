//! User names: which there can be, and which of them people cannot tell apart.
//!
//! drawpile-srv looks at length and quotation marks only, so that somebody could be "host" with an invisible character in it,
//! turn round the direction of a line, or write to the terminal of who reads the log. Clients do not let people type
//! such names. What people do write stays possible: emoji with their joiners, scripts that need joiners within a word,
//! variants of ideographs.

use icu_casemap::CaseMapper;
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use icu_properties::props::{
    BinaryProperty as _, CanonicalCombiningClass, DefaultIgnorableCodePoint, Emoji, EmojiModifier,
    EnumeratedProperty as _, ExtendedPictographic, GeneralCategory, GeneralCategoryGroup,
    NoncharacterCodePoint, Script, VariationSelector,
};

/// Longest user name in UTF-16 code units.
const MAX_UNITS: usize = 22;
const ZERO_WIDTH_NON_JOINER: char = '\u{200c}';
const ZERO_WIDTH_JOINER: char = '\u{200d}';
/// A blank that is a symbol to Unicode.
const BRAILLE_BLANK: char = '\u{2800}';
const KEYCAP: char = '\u{20e3}';
/// Flags that are spelled with invisible letters: England, Scotland and Wales.
const SPELLED_FLAGS: [&str; 3] = ["gbeng", "gbsct", "gbwls"];
const BLACK_FLAG: char = '\u{1f3f4}';
/// The first of the invisible letters, less the letter that it is, and what ends them.
const TAG_BASE: u32 = 0xe0000;
const CANCEL_TAG: char = '\u{e007f}';

/// Scripts in which a joiner within a word changes how it looks.
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

/// 1 to 22 UTF-16 code units, and no quotation mark: what drawpile-srv asks of a name.
pub fn has_valid_form(name: &str) -> bool {
    let units = name.encode_utf16().count();
    (1..=MAX_UNITS).contains(&units) && !name.contains('"')
}

/// Whether somebody new may have this name: it has the form of one, can be seen, and says nothing that cannot.
pub fn is_valid(name: &str) -> bool {
    has_valid_form(name) && is_clean(name)
}

fn is_clean(name: &str) -> bool {
    let chars: Vec<char> = name.chars().collect();
    let ends = [chars.first(), chars.last()];
    if ends.into_iter().flatten().any(|c| is_blank(*c)) || !chars.iter().any(|c| is_visible(*c)) {
        return false;
    }
    let mut at = 0;
    while at < chars.len() {
        match spelled_flag(&chars[at..]) {
            Some(length) => at += length,
            None if is_clean_at(&chars, at) => at += 1,
            None => return false,
        }
    }
    true
}

/// Length of the flag at the beginning that is spelled with invisible letters.
fn spelled_flag(chars: &[char]) -> Option<usize> {
    let (first, rest) = chars.split_first()?;
    let matches = |name: &&&str| {
        let letters = name.chars().filter_map(|c| char::from_u32(TAG_BASE + c as u32));
        rest.iter().copied().take(name.len() + 1).eq(letters.chain([CANCEL_TAG]))
    };
    let name = SPELLED_FLAGS.iter().find(matches).filter(|_| *first == BLACK_FLAG)?;
    Some(name.len() + 2)
}

/// Whether a character may stand where it stands.
fn is_clean_at(chars: &[char], at: usize) -> bool {
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

/// Between two pictures, of which the first may have a skin colour or be marked as a picture.
fn joins_emoji(before: &[char], next: Option<char>) -> bool {
    let picture = before.iter().rev().find(|c| !VariationSelector::for_char(**c));
    picture.is_some_and(|c| ExtendedPictographic::for_char(*c) || EmojiModifier::for_char(*c))
        && next.is_some_and(ExtendedPictographic::for_char)
}

/// Behind a sign that suppresses a vowel, or between two letters of a script that joins them.
fn joins_letters(before: &[char], next: Option<char>) -> bool {
    if before.last().is_some_and(|c| CanonicalCombiningClass::for_char(*c) == CanonicalCombiningClass::Virama)
    {
        return true;
    }
    // Some marks belong to all scripts.
    let letter = before.iter().rev().find(|c| Script::for_char(**c) != Script::Inherited);
    let joins = |c: char| JOINING_SCRIPTS.contains(&Script::for_char(c));
    letter.is_some_and(|c| joins(*c)) && next.is_some_and(joins)
}

/// Whether a variation selector has something to select a variation of.
fn selects_variation(selector: char, before: &[char], next: Option<char>) -> bool {
    let Some(base) = before.last().copied() else { return false };
    match selector {
        // As a text, or as a picture. Digits are pictures as keys only.
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

/// A letter, number, sign or picture, not only a mark on one or the space between.
fn is_visible(c: char) -> bool {
    let category = GeneralCategory::for_char(c);
    let stands_alone = !GeneralCategoryGroup::Mark.contains(category)
        && !GeneralCategoryGroup::Separator.contains(category)
        && !matches!(category, GeneralCategory::Control | GeneralCategory::Format);
    stands_alone && !is_blank(c) && !DefaultIgnorableCodePoint::for_char(c)
}

/// A text without what cannot be seen, and with one form of what can be written in several. For patterns that are to
/// find words however they are written.
pub fn plain(text: &str) -> String {
    if text.bytes().all(|b| b.is_ascii_graphic()) {
        return text.to_owned();
    }
    let seen = |c: &char| {
        let hidden =
            matches!(GeneralCategory::for_char(*c), GeneralCategory::Control | GeneralCategory::Format);
        !hidden && !DefaultIgnorableCodePoint::for_char(*c)
    };
    let seen: String = text.chars().filter(seen).collect();
    let composed = ComposingNormalizerBorrowed::new_nfkc().normalize(&seen).into_owned();
    let words = composed.split(is_blank).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// What two names have in common that people cannot tell apart: capital and small letters, forms of the same letters, and
/// what cannot be seen make no difference.
pub fn skeleton(name: &str) -> String {
    if name.bytes().all(|b| b.is_ascii_graphic()) {
        return name.to_ascii_lowercase();
    }
    let decomposed = DecomposingNormalizerBorrowed::new_nfd().normalize(name).into_owned();
    let folded = CaseMapper::new().fold_string(&plain(&decomposed)).into_owned();
    // Folding takes letters apart, and their parts may be capital.
    let composed = plain(&folded);
    plain(&CaseMapper::new().fold_string(&composed))
}

/// A text without what nobody may write in a name.
pub fn clean(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut kept = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let length = spelled_flag(&chars[at..]).or_else(|| is_clean_at(&chars, at).then_some(1));
        kept.extend(&chars[at..at + length.unwrap_or(0)]);
        at += length.unwrap_or(1);
    }
    kept
}

/// Whether people cannot tell two names apart.
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
    fn names_that_people_have_are_taken() {
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
    fn names_that_hide_something_are_refused() {
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
    fn names_that_look_alike_are_the_same() {
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
    fn what_a_name_may_not_hide_is_taken_out() {
        assert_eq!(clean("\u{202e}Ann\n\u{200b} \u{1b}[0mx"), "Ann [0mx");
        for good in
            ["👩\u{200d}🎨 x", "می\u{200c}خواهم", "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}"]
        {
            assert_eq!(clean(good), good);
        }
    }

    #[test]
    fn words_are_found_however_they_are_written() {
        assert_eq!(plain("ｅ\u{200b}vil"), "evil");
        assert_eq!(plain("Straße"), "Straße", "letters stay as they are");
    }

    proptest! {
        #[test]
        fn a_skeleton_is_its_own_and_says_nothing_unseen(name in "\\PC{0,22}|.{0,22}|[\\u{0}-\\u{10ffff}]{0,8}") {
            let once = skeleton(&name);
            prop_assert_eq!(skeleton(&once), once.clone());
            prop_assert!(!once.chars().any(|c| c.is_control() || DefaultIgnorableCodePoint::for_char(c)));
        }

        #[test]
        fn letters_of_ascii_are_compared_as_ever(name in "[ -~]{1,22}") {
            prop_assert!(same(&name, &name.to_ascii_uppercase()));
        }
    }
}
