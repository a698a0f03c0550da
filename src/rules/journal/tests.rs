//! Tests of `journal`.

use proptest::prelude::*;

use super::*;

fn parsed(line: &str) -> Option<Entry> {
    match parse_line(line) {
        Line::Entry(entry, _) => Some(entry),
        _ => None,
    }
}

fn written(entry: &Entry) -> String {
    let mut out = String::new();
    entry.write(&mut out);
    out
}

#[test]
fn a_ban_without_criteria_is_malformed() {
    assert_eq!(parsed("BAN 6  k"), None);
    assert!(parsed("BAN 6  192.0.2.1").is_some());
}

#[test]
fn raw_text_without_its_control_characters_reads_back() {
    for text in ["\u{c}\0 name", "a\0 b", " \0 "] {
        let mut written = String::new();
        Entry::Title(text.into()).write(&mut written);
        let Some(again) = parsed(&written) else { panic!("{written:?}") };
        let mut rewritten = String::new();
        again.write(&mut rewritten);
        assert_eq!(rewritten, written);
    }
}

#[test]
fn comments_and_blank_lines_are_skipped() {
    for line in ["", "  \t", "# FLAGS persistent", "   # x", "\r"] {
        assert_eq!(parse_line(line), Line::Blank, "{line:?}");
    }
}

#[test]
fn history_indexes_are_in_a_comment() {
    let line = "#drawhall-history-indexes 10 9 7:14";
    let Some(entry) = parsed(line) else { panic!("not parsed") };
    assert!(matches!(entry, Entry::HistoryIndexes(_)));
    assert_eq!(written(&entry), format!("{line}\n"));
    assert_eq!(parse_line("#drawhall-history-indexes 10"), Line::Blank, "malformed");
}

#[test]
fn restrictions_are_in_a_comment() {
    let line = "#drawhall-restriction end 7 .";
    let Some(entry) = parsed(line) else { panic!("not parsed") };
    assert!(matches!(entry, Entry::Restriction(_)));
    assert_eq!(written(&entry), format!("{line}\n"));
    assert_eq!(parse_line("#drawhall-restriction end 7"), Line::Blank, "a part of a line");
}

#[test]
fn unknown_and_malformed_entries_have_a_reason() {
    let cases = [
        ("ARCHIVE 2", "unknown archive mode: \"2\""),
        ("USER 8", "invalid USER entry: \"8\""),
        ("USER 9 Nine extra", "invalid USER entry: \"9 Nine extra\""),
        ("USER 0 x", "invalid USER entry: \"0 x\""),
        ("USER 255 x", "invalid USER entry: \"255 x\""),
        ("INV a 2026-01-02T03:04:08Z x", "invalid INV entry: \"a 2026-01-02T03:04:08Z x\""),
        ("INV a b", "invalid INV entry: \"a b\""),
        ("USV a b", "invalid USV entry: \"a b\""),
        ("BAN 1", "invalid BAN entry: \"1\""),
        (
            "BAN 4 too many 192.0.2.5 x op sid extra",
            "invalid BAN entry: \"4 too many 192.0.2.5 x op sid extra\"",
        ),
        ("AUTHNAME one", "invalid AUTHNAME entry: \"one\""),
        ("FILE", "invalid FILE entry: \"\""),
        ("LIMIT much", "invalid LIMIT entry: \"much\""),
        ("CATCHUP x", "invalid CATCHUP entry: \"x\""),
    ];
    for (line, reason) in cases {
        assert_eq!(parse_line(line), Line::Bad(reason.to_owned()), "{line}");
    }
    let unknown = |name: &str| Line::Unknown(format!("unknown journal entry: \"{name}\""));
    assert_eq!([parse_line("FUTURE entry"), parse_line("title x")], [unknown("FUTURE"), unknown("title")]);
}

#[test]
fn numbers_are_clamped_to_their_range() {
    assert_eq!(parsed("MAXUSERS 9999"), Some(Entry::MaxUsers(254)));
    assert_eq!(parsed("MAXUSERS 12x"), Some(Entry::MaxUsers(1)));
    assert_eq!(parsed("LIMIT 99999999999"), Some(Entry::Limit(MAX_LIMIT)));
    assert_eq!(parsed("CATCHUP 0"), Some(Entry::Catchup(1)));
    assert_eq!(parsed("CATCHUP 9999999999"), Some(Entry::Catchup(999_999_999)));
}

#[test]
fn unknown_flags_are_ignored_with_a_warning() {
    let Line::Entry(Entry::Flags(flags), warnings) = parse_line("FLAGS nsfm bogus  deputies") else {
        panic!("no flags")
    };
    assert_eq!(flags.words(), ["nsfm", "deputies"]);
    assert_eq!(warnings, ["unknown flag: \"bogus\""]);
    assert_eq!(parsed("FLAGS"), Some(Entry::Flags(Flags::default())));
}

#[test]
fn trailing_empty_fields_of_bans_may_be_missing() {
    let ban = |line: &str| match parsed(line) {
        Some(Entry::Ban(ban)) => ban,
        other => panic!("{other:?}"),
    };
    let short = ban("BAN 4 no%20banner    ");
    assert_eq!((short.id, short.name.as_str(), short.banned_by.as_str()), (4, "no banner", ""));
    let v6 = ban("BAN 7 v6 2001:db8::5   ");
    assert_eq!(v6.address, "2001:db8::5".parse().ok());
    assert_eq!(ban("BAN x n nonsense  op").address, None);
    assert_eq!(ban("BAN x n nonsense  op").id, 0);
}

#[test]
fn raw_text_cannot_forge_entries() {
    let forged = Entry::Title("x\nFLAGS persistent\r\u{85}".into());
    assert_eq!(written(&forged), "TITLE xFLAGS persistent\n");
    let name = Entry::User { id: 1, name: "a\nFLAGS b".into() };
    assert_eq!(written(&name), "USER 1 a%0AFLAGS%20b\n");
}

#[test]
fn invalid_percent_encoding_is_kept_as_text() {
    assert_eq!(encode("Ändi 100%~"), "%C3%84ndi%20100%25~");
    assert_eq!(decode("%c3%84ndi%20100%~%2"), "Ändi 100%~%2");
}

fn name() -> impl Strategy<Value = String> {
    "[^\\p{C}\\s]([^\\p{C}]{0,8}[^\\p{C}\\s])?"
}

fn entry() -> impl Strategy<Value = Entry> {
    let ban = (any::<u32>(), name(), any::<Option<std::net::Ipv6Addr>>(), name(), name());
    let invite = (1u32..=50, any::<bool>(), any::<bool>(), prop_oneof![Just(String::new()), name()]);
    prop_oneof![
        name().prop_map(Entry::File),
        name().prop_map(Entry::Title),
        name().prop_map(Entry::Founder),
        (1u32..=254).prop_map(Entry::MaxUsers),
        any::<u64>().prop_map(Entry::AutoReset),
        any::<Option<bool>>().prop_map(Entry::Archive),
        (0..=MAX_LIMIT).prop_map(Entry::Limit),
        any::<u16>().prop_map(|bits| Entry::Flags(Flags::from_bits(bits))),
        ban.prop_map(|(id, name, address, auth_id, sid)| {
            let address = address.map(Into::into);
            Entry::Ban(StoredBan { id, name: name.clone(), address, auth_id, banned_by: name, sid })
        }),
        (1u8..=254, name()).prop_map(|(id, name)| Entry::User { id, name }),
        name().prop_map(Entry::Op),
        (name(), name()).prop_map(|(auth_id, name)| Entry::AuthName { auth_id, name }),
        invite.prop_map(|(max_uses, trust, op, creator)| Entry::Invite(StoredInvite {
            secret: "aaaaaaaa".into(),
            at: "2026-01-02T03:04:05Z".into(),
            max_uses,
            trust,
            op,
            creator,
            uses: Vec::new(),
        })),
        (1u32..=999_999_999).prop_map(Entry::Catchup),
    ]
}

proptest! {
    #[test]
    fn written_entries_parse_to_the_same(entry in entry()) {
        let line = written(&entry);
        prop_assert_eq!(line.matches('\n').count(), 1);
        prop_assert_eq!(parsed(line.trim_end_matches('\n')), Some(entry));
    }

    #[test]
    fn parsing_never_panics(line in ".{0,60}") {
        parse_line(&line);
        parse_line(&format!("BAN {line}"));
        parse_line(&format!("INV {line}"));
    }
}
