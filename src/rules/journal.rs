//! The journal of a session: append-only, one entry per line. Source: docs/spec/storage.md#journal-syntax.
//!
//! Some parameters are raw text up to the end of the line. The format cannot escape control characters there, and a
//! line feed in a title would forge entries, so control characters are removed when an entry is written.

use std::fmt::Write as _;

use crate::rules::history_indexes::HistoryIndexes;
use crate::rules::metadata::{Flags, StoredBan, StoredInvite};
use crate::rules::stored_restrictions::RestrictionChange;

/// Maximum of a session's own size limit, in bytes.
pub const MAX_LIMIT: u64 = i32::MAX as u64;
/// Maximum number of uses of an invite.
const MAX_INVITE_USES: i64 = 50;
const MAX_CATCHUP_KEY: i64 = 999_999_999;
/// Begins a comment that is an [`Entry::HistoryIndexes`]; drawpile-srv ignores it.
const HISTORY_INDEXES: &str = "#drawhall-history-indexes ";
/// Begins a comment that is an [`Entry::Restriction`]; drawpile-srv ignores it.
const RESTRICTION: &str = "#drawhall-restriction ";

/// One journal entry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Entry {
    /// The current history file from here on, relative to the journal's directory.
    File(String),
    /// The indexes of the messages in the current history file.
    HistoryIndexes(HistoryIndexes),
    /// A restriction of a person begins or ends, and the like.
    Restriction(RestrictionChange),
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
        return parse_comment(line).map_or(Line::Blank, |entry| Line::Entry(entry, Vec::new()));
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

/// An entry that is a comment for drawpile-srv.
fn parse_comment(line: &str) -> Option<Entry> {
    if let Some(text) = line.strip_prefix(RESTRICTION) {
        return RestrictionChange::parse(text).map(Entry::Restriction);
    }
    HistoryIndexes::parse(line.strip_prefix(HISTORY_INDEXES)?).map(Entry::HistoryIndexes)
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
            Self::HistoryIndexes(indexes) => writeln!(out, "{HISTORY_INDEXES}{}", indexes.to_text()),
            Self::Restriction(change) => writeln!(out, "{RESTRICTION}{}", change.to_text()),
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
mod tests;
