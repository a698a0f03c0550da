//! The journal of a session: append-only, one entry per line. Source: docs/spec/storage.md#journal-syntax.
//!
//! Some parameters are raw text up to the end of the line. The format cannot escape control characters there, and a
//! line feed in a title would forge entries, so control characters are removed when an entry is written.

use std::fmt::Write as _;

use crate::rules::metadata::{Flags, StoredBan, StoredInvite};

/// Maximum of a session's own size limit, in bytes.
pub const MAX_LIMIT: u64 = i32::MAX as u64;
/// Maximum number of uses of an invite.
const MAX_INVITE_USES: i64 = 50;
const MAX_CATCHUP_KEY: i64 = 999_999_999;

/// One journal entry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Entry {
    /// The current history file from here on, relative to the journal's directory.
    File(String),
    /// Alias of the session.
    Alias(String),
    /// Name of the user who created the session.
    Founder(String),
    /// Hash of the session password, empty for none.
    Password(String),
    /// Hash of the operator password, empty for none.
    Opword(String),
    /// Maximum number of users, 1 to 254.
    MaxUsers(u32),
    /// Autoreset threshold in bytes.
    AutoReset(u64),
    Title(String),
    /// Whether files are archived instead of deleted; `None` follows the server's setting.
    Archive(Option<bool>),
    /// The session's own size limit in bytes, 0 for none.
    Limit(u64),
    /// The flags that are set; all others are not.
    Flags(Flags),
    /// A ban is added; id 0 requests the next free id.
    Ban(StoredBan),
    /// A ban is removed.
    Unban(u32),
    /// The session is announced at this list server.
    Announce(String),
    /// The session is no longer announced at this list server.
    Unannounce(String),
    /// The user id of a name.
    User {
        id: u8,
        name: String,
    },
    /// An account becomes operator.
    Op(String),
    /// An account is no longer operator.
    Deop(String),
    /// An account becomes trusted.
    Trust(String),
    /// An account is no longer trusted.
    Untrust(String),
    /// The user name that an account last used.
    AuthName {
        auth_id: String,
        name: String,
    },
    /// The next catch-up key.
    Catchup(u32),
    /// An invite is created.
    Invite(StoredInvite),
    /// An invite is removed.
    RemoveInvite(String),
    /// An invite is used.
    UseInvite {
        secret: String,
        /// System id of the client.
        client_key: String,
        name: String,
    },
}

/// A parsed line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// Blank, or a comment.
    Blank,
    /// An entry, with warnings about ignored parts of it.
    Entry(Entry, Vec<String>),
    /// An unknown entry, perhaps of a later version, with a warning.
    Unknown(String),
    /// A malformed line, with the reason.
    Bad(String),
}

/// Parses a line without its line feed.
pub fn parse_line(line: &str) -> Line {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Line::Blank;
    }
    let (name, parameters) = line.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((line, ""));
    let parameters = parameters.trim();
    let mut warnings = Vec::new();
    match parse_entry(name, parameters, &mut warnings) {
        Ok(entry) => Line::Entry(entry, warnings),
        Err(ParseError::Unknown) => Line::Unknown(format!("unknown journal entry: \"{name}\"")),
        Err(ParseError::Malformed(reason)) => Line::Bad(reason),
    }
}

/// Why a line was not parsed.
enum ParseError {
    /// There is no entry of this name.
    Unknown,
    /// The parameters are malformed, with the reason.
    Malformed(String),
}

fn parse_entry(name: &str, parameters: &str, warnings: &mut Vec<String>) -> Result<Entry, ParseError> {
    let bad = || ParseError::Malformed(format!("invalid {name} entry: \"{parameters}\""));
    let text = parameters.to_owned();
    Ok(match name {
        "FILE" if parameters.is_empty() => return Err(bad()),
        "FILE" => Entry::File(text),
        "ALIAS" => Entry::Alias(text),
        "FOUNDER" => Entry::Founder(text),
        "PASSWORD" => Entry::Password(text),
        "OPWORD" => Entry::Opword(text),
        "MAXUSERS" => Entry::MaxUsers(parameters.parse::<i64>().unwrap_or(0).clamp(1, 254) as u32),
        "AUTORESET" => Entry::AutoReset(parameters.parse().map_err(|_| bad())?),
        "TITLE" => Entry::Title(text),
        "ARCHIVE" => Entry::Archive(match parameters {
            "" => None,
            "0" => Some(false),
            "1" => Some(true),
            _ => return Err(ParseError::Malformed(format!("unknown archive mode: \"{parameters}\""))),
        }),
        "LIMIT" => Entry::Limit(parameters.parse::<u64>().map_err(|_| bad())?.min(MAX_LIMIT)),
        "FLAGS" => {
            let (flags, unknown) = Flags::from_words(parameters);
            warnings.extend(unknown.iter().map(|word| format!("unknown flag: \"{word}\"")));
            Entry::Flags(flags)
        }
        "BAN" => Entry::Ban(parse_ban(parameters).ok_or_else(bad)?),
        "UNBAN" => Entry::Unban(parameters.parse().map_err(|_| bad())?),
        "ANNOUNCE" => Entry::Announce(text),
        "UNANNOUNCE" => Entry::Unannounce(text),
        "USER" => {
            let (id, name) = pair(parameters).ok_or_else(bad)?;
            let id = id.parse().ok().filter(|id| (1..=254).contains(id)).ok_or_else(bad)?;
            Entry::User { id, name: decode(name) }
        }
        "OP" => Entry::Op(text),
        "DEOP" => Entry::Deop(text),
        "TRUST" => Entry::Trust(text),
        "UNTRUST" => Entry::Untrust(text),
        "AUTHNAME" => {
            let (auth_id, name) = pair(parameters).ok_or_else(bad)?;
            Entry::AuthName { auth_id: decode(auth_id), name: decode(name) }
        }
        "CATCHUP" => {
            let key: i64 = parameters.parse().map_err(|_| bad())?;
            Entry::Catchup(key.clamp(1, MAX_CATCHUP_KEY) as u32)
        }
        "INV" => Entry::Invite(parse_invite(parameters).ok_or_else(bad)?),
        "UNV" => Entry::RemoveInvite(text),
        "USV" => {
            let [secret, client_key, name] = fields(parameters)[..] else { return Err(bad()) };
            let (secret, client_key) = (secret.to_owned(), client_key.to_owned());
            Entry::UseInvite { secret, client_key, name: decode(name) }
        }
        _ => return Err(ParseError::Unknown),
    })
}

fn fields(text: &str) -> Vec<&str> {
    text.split(' ').collect()
}

fn pair(text: &str) -> Option<(&str, &str)> {
    text.split_once(' ').filter(|(_, second)| !second.is_empty() && !second.contains(' '))
}

/// `<id> <name> <address> <authid> <bannedby> [<sid>]`; trailing empty fields may be missing.
fn parse_ban(text: &str) -> Option<StoredBan> {
    let fields = fields(text);
    if !(2..=6).contains(&fields.len()) {
        return None;
    }
    let field = |index: usize| fields.get(index).copied().unwrap_or("");
    let ban = StoredBan {
        id: field(0).parse().unwrap_or(0),
        name: decode(field(1)),
        address: field(2).parse().ok(),
        auth_id: decode(field(3)),
        banned_by: decode(field(4)),
        sid: decode(field(5)),
    };
    (!ban.has_no_criteria()).then_some(ban)
}

/// `<secret> <at> <maxuses>[,trust][,op] [<creator>]`
fn parse_invite(text: &str) -> Option<StoredInvite> {
    let (head, creator) = match fields(text)[..] {
        [secret, at, uses] => ([secret, at, uses], ""),
        [secret, at, uses, creator] => ([secret, at, uses], creator),
        _ => return None,
    };
    let [secret, at, uses] = head;
    let mut uses = uses.split(',');
    let max_uses = uses.next()?.parse::<i64>().ok()?.clamp(1, MAX_INVITE_USES) as u32;
    let roles: Vec<&str> = uses.collect();
    Some(StoredInvite {
        secret: secret.to_owned(),
        at: at.to_owned(),
        max_uses,
        trust: roles.contains(&"trust"),
        op: roles.contains(&"op"),
        creator: decode(creator),
        uses: Vec::new(),
    })
}

impl Entry {
    /// Appends the entry's line to a text.
    pub fn write(&self, out: &mut String) {
        // Writing to a `String` cannot fail.
        let _ = match self {
            Self::File(name) => writeln!(out, "FILE {}", raw(name)),
            Self::Alias(alias) => writeln!(out, "ALIAS {}", raw(alias)),
            Self::Founder(name) => writeln!(out, "FOUNDER {}", raw(name)),
            Self::Password(hash) => writeln!(out, "PASSWORD {}", raw(hash)),
            Self::Opword(hash) => writeln!(out, "OPWORD {}", raw(hash)),
            Self::MaxUsers(count) => writeln!(out, "MAXUSERS {count}"),
            Self::AutoReset(bytes) => writeln!(out, "AUTORESET {bytes}"),
            Self::Title(title) => writeln!(out, "TITLE {}", raw(title)),
            Self::Archive(None) => writeln!(out, "ARCHIVE"),
            Self::Archive(Some(on)) => writeln!(out, "ARCHIVE {}", u8::from(*on)),
            Self::Limit(bytes) => writeln!(out, "LIMIT {bytes}"),
            Self::Flags(flags) => writeln!(out, "FLAGS {}", flags.words().join(" ")),
            Self::Ban(ban) => write_ban(ban, out),
            Self::Unban(id) => writeln!(out, "UNBAN {id}"),
            Self::Announce(url) => writeln!(out, "ANNOUNCE {}", raw(url)),
            Self::Unannounce(url) => writeln!(out, "UNANNOUNCE {}", raw(url)),
            Self::User { id, name } => writeln!(out, "USER {id} {}", encode(name)),
            Self::Op(auth_id) => writeln!(out, "OP {}", raw(auth_id)),
            Self::Deop(auth_id) => writeln!(out, "DEOP {}", raw(auth_id)),
            Self::Trust(auth_id) => writeln!(out, "TRUST {}", raw(auth_id)),
            Self::Untrust(auth_id) => writeln!(out, "UNTRUST {}", raw(auth_id)),
            Self::AuthName { auth_id, name } => {
                writeln!(out, "AUTHNAME {} {}", encode(auth_id), encode(name))
            }
            Self::Catchup(key) => writeln!(out, "CATCHUP {key}"),
            Self::Invite(invite) => write_invite(invite, out),
            Self::RemoveInvite(secret) => writeln!(out, "UNV {}", raw(secret)),
            Self::UseInvite { secret, client_key, name } => {
                let name = if name.is_empty() { "?".to_owned() } else { encode(name) };
                writeln!(out, "USV {} {} {name}", raw(secret), raw(client_key))
            }
        };
    }
}

fn write_ban(ban: &StoredBan, out: &mut String) -> std::fmt::Result {
    let StoredBan { id, name, address, auth_id, banned_by, sid } = ban;
    let address = address.map_or(String::new(), |a| a.to_string());
    writeln!(
        out,
        "BAN {id} {} {address} {} {} {}",
        encode(name),
        encode(auth_id),
        encode(banned_by),
        encode(sid)
    )
}

fn write_invite(invite: &StoredInvite, out: &mut String) -> std::fmt::Result {
    let StoredInvite { secret, at, max_uses, trust, op, creator, .. } = invite;
    let trust = if *trust { ",trust" } else { "" };
    let op = if *op { ",op" } else { "" };
    write!(out, "INV {secret} {at} {max_uses}{trust}{op}")?;
    if !creator.is_empty() {
        write!(out, " {}", encode(creator))?;
    }
    writeln!(out)
}

/// Raw text without control characters, which could end the line, and without surrounding blanks, which parsing
/// trims.
fn raw(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    text.trim().to_owned()
}

/// Percent-encodes everything but letters, digits and `-._~`.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Decodes percent-encoded text. A `%` that two hex digits do not follow is kept.
pub fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(&byte) = bytes.get(index) {
        let digit = |index: usize| bytes.get(index).and_then(|b| char::from(*b).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (byte, digit(index + 1), digit(index + 2)) {
            out.push((high << 4 | low) as u8);
            index += 3;
        } else {
            out.push(byte);
            index += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
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
        assert_eq!(
            [parse_line("FUTURE entry"), parse_line("title x")],
            [unknown("FUTURE"), unknown("title")]
        );
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
}
