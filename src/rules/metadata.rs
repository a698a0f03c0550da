//! The state of a session that its journal's entries add up to. Source: docs/spec/storage.md#journal-entries.

use std::time::SystemTime;

use drawhall_protocol::ProtocolVersion;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::rules::history_indexes::HistoryIndexes;
use crate::rules::journal::{Entry, Line, parse_line};
use crate::rules::password;
use crate::rules::stored_restrictions::StoredRestrictions;

mod flags;

pub use flags::Flags;

/// Default maximum number of users.
const DEFAULT_MAX_USERS: u32 = 254;
/// First catch-up key of a session.
pub const FIRST_CATCHUP_KEY: u32 = 1_000_000;

/// A stored ban.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct StoredBan {
    /// Unique within the session.
    pub id: u32,
    /// Name of the banned user, may be empty.
    pub name: String,
    pub address: Option<IpAddr>,
    /// Account id, may be empty.
    pub auth_id: String,
    /// Name of the user who banned.
    pub banned_by: String,
    /// System id of the client, may be empty.
    pub sid: String,
}

impl StoredBan {
    /// Whether it has no criterion, so that it could match nobody.
    pub fn has_no_criteria(&self) -> bool {
        self.name.is_empty() && self.address.is_none() && self.auth_id.is_empty() && self.sid.is_empty()
    }
}

/// A stored invite.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct StoredInvite {
    pub secret: String,
    /// Time of creation, ISO 8601.
    pub at: String,
    /// Maximum number of uses, 1 to 50.
    pub max_uses: u32,
    /// Makes its users trusted.
    pub trust: bool,
    /// Makes its users operators.
    pub op: bool,
    /// Name of its creator, empty for an administrator.
    pub creator: String,
    /// System ids and names of its users, in the order of their first use.
    pub uses: Vec<(String, String)>,
}

/// The state of a session apart from its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Metadata {
    /// The current history file.
    pub file: Option<String>,
    /// The indexes of its messages, if they are known.
    #[serde(default)]
    pub indexes: Option<HistoryIndexes>,
    /// Number of history files so far.
    pub files: u32,
    /// Alias, empty for none.
    pub alias: String,
    pub founder: String,
    pub title: String,
    /// Hash of the session password, empty for none.
    pub password: String,
    /// Hash of the operator password, empty for none.
    pub opword: String,
    /// Maximum number of users, 1 to 254.
    pub max_users: u32,
    /// Autoreset threshold in bytes.
    pub autoreset: Option<u64>,
    /// Whether files are archived instead of deleted; `None` follows the server's setting.
    pub archive: Option<bool>,
    /// The session's own size limit in bytes, 0 for none.
    pub limit: u64,
    pub flags: Flags,
    pub bans: Vec<StoredBan>,
    /// Highest id that a ban has had; ids are not reused.
    pub last_ban: u32,
    /// URLs of list servers at which the session is announced.
    pub announcements: Vec<String>,
    /// User ids and their names, in the order of joining.
    pub users: Vec<(u8, String)>,
    /// Ids of accounts that are operators.
    pub operators: BTreeSet<String>,
    /// Ids of accounts that are trusted.
    pub trusted: BTreeSet<String>,
    /// User names by account id.
    pub auth_names: BTreeMap<String, String>,
    /// Next catch-up key.
    pub catchup: u32,
    /// Invites, oldest first.
    pub invites: Vec<StoredInvite>,
    /// What moderators of the server do not allow somebody for a time.
    #[serde(default, skip_serializing_if = "StoredRestrictions::is_empty")]
    pub restrictions: StoredRestrictions,
}

impl Default for Metadata {
    fn default() -> Self {
        Self {
            file: None,
            indexes: None,
            files: 0,
            alias: String::new(),
            founder: String::new(),
            title: String::new(),
            password: String::new(),
            opword: String::new(),
            max_users: DEFAULT_MAX_USERS,
            autoreset: None,
            archive: None,
            limit: 0,
            flags: Flags::default(),
            bans: Vec::new(),
            last_ban: 0,
            announcements: Vec::new(),
            users: Vec::new(),
            operators: BTreeSet::new(),
            trusted: BTreeSet::new(),
            auth_names: BTreeMap::new(),
            catchup: FIRST_CATCHUP_KEY,
            invites: Vec::new(),
            restrictions: StoredRestrictions::default(),
        }
    }
}

/// Result of replaying a journal.
#[derive(Debug, Default)]
pub struct Replay {
    /// The state after the last entry.
    pub metadata: Metadata,
    /// What was ignored, with line numbers.
    pub warnings: Vec<String>,
    /// Whether the last line has no line feed: a write was torn, or it was edited by hand.
    pub torn: bool,
    /// The history file before an [`Entry::File`] in a torn last line.
    pub file_before: Option<String>,
    /// Lines of later versions, each with its line feed, kept when the journal is rewritten.
    pub unknown: String,
}

/// Maximum size in bytes of the lines of later versions that are kept.
const MAX_UNKNOWN: usize = 64 << 10;

impl Metadata {
    /// Replays a journal. Malformed parts are ignored with a warning; it never fails.
    pub fn replay(bytes: &[u8]) -> Replay {
        let text = String::from_utf8_lossy(bytes);
        let mut replay = Replay { torn: !bytes.is_empty() && !bytes.ends_with(b"\n"), ..Replay::default() };
        let count = text.lines().count();
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            match parse_line(line) {
                Line::Blank => {}
                Line::Bad(reason) => replay.warnings.push(format!("line {number}: {reason}")),
                Line::Unknown(reason) => {
                    replay.warnings.push(format!("line {number}: {reason}"));
                    if replay.unknown.len() + line.len() < MAX_UNKNOWN {
                        replay.unknown.push_str(line);
                        replay.unknown.push('\n');
                    }
                }
                Line::Entry(entry, warnings) => {
                    if number == count && replay.torn && matches!(entry, Entry::File(_)) {
                        replay.file_before.clone_from(&replay.metadata.file);
                    }
                    let refused = replay.metadata.apply(entry);
                    replay.warnings.extend(warnings.into_iter().map(|w| format!("line {number}: {w}")));
                    replay.warnings.extend(refused.map(|w| format!("line {number}: {w}")));
                }
            }
        }
        replay
    }

    /// Applies an entry; returns a warning if it had no effect but should have.
    pub fn apply(&mut self, entry: Entry) -> Option<String> {
        match entry {
            Entry::File(name) => {
                self.file = Some(name);
                self.indexes = None;
                self.files += 1;
            }
            Entry::HistoryIndexes(indexes) => self.indexes = Some(indexes),
            Entry::Restriction(change) => self.restrictions.apply(change),
            Entry::Alias(alias) if self.alias.is_empty() => self.alias = alias,
            Entry::Alias(_) => return Some("alias set twice".into()),
            Entry::Founder(name) => self.founder = name,
            Entry::Password(hash) => return set_hash(&mut self.password, hash, "password"),
            Entry::Opword(hash) => return set_hash(&mut self.opword, hash, "opword"),
            Entry::MaxUsers(count) => self.max_users = count,
            Entry::AutoReset(bytes) => self.autoreset = Some(bytes),
            Entry::Title(title) => self.title = title,
            Entry::Archive(mode) => self.archive = mode,
            Entry::Limit(bytes) => self.limit = bytes,
            Entry::Flags(flags) => self.flags = flags,
            Entry::Ban(ban) => self.ban(ban),
            Entry::Unban(id) => self.bans.retain(|b| b.id != id),
            Entry::Announce(url) if self.announcements.contains(&url) => {}
            Entry::Announce(url) => self.announcements.push(url),
            Entry::Unannounce(url) => self.announcements.retain(|a| *a != url),
            Entry::User { id, name } => self.users.push((id, name)),
            Entry::Op(auth_id) => drop(self.operators.insert(auth_id)),
            Entry::Deop(auth_id) => drop(self.operators.remove(&auth_id)),
            Entry::Trust(auth_id) => drop(self.trusted.insert(auth_id)),
            Entry::Untrust(auth_id) => drop(self.trusted.remove(&auth_id)),
            Entry::AuthName { auth_id, name } => drop(self.auth_names.insert(auth_id, name)),
            Entry::Catchup(key) => self.catchup = key,
            Entry::Invite(invite) => {
                self.invites.retain(|i| i.secret != invite.secret);
                self.invites.push(invite);
            }
            Entry::RemoveInvite(secret) => {
                let before = self.invites.len();
                self.invites.retain(|i| i.secret != secret);
                if self.invites.len() == before {
                    return Some(format!("no invite \"{secret}\" to remove"));
                }
            }
            Entry::UseInvite { secret, client_key, name } => {
                return self.use_invite(&secret, client_key, name);
            }
        }
        None
    }

    fn ban(&mut self, mut ban: StoredBan) {
        if ban.id == 0 {
            ban.id = self.last_ban.saturating_add(1);
        }
        self.last_ban = self.last_ban.max(ban.id);
        if self.bans.iter().all(|b| b.id != ban.id) {
            self.bans.push(ban);
        }
    }

    fn use_invite(&mut self, secret: &str, client_key: String, name: String) -> Option<String> {
        let Some(invite) = self.invites.iter_mut().find(|i| i.secret == secret) else {
            return Some(format!("no invite \"{secret}\" to use"));
        };
        if let Some((_, known)) = invite.uses.iter_mut().find(|(key, _)| *key == client_key) {
            *known = name;
        } else if invite.uses.len() < invite.max_uses as usize {
            invite.uses.push((client_key, name));
        } else {
            return Some(format!("invite \"{secret}\" is used up"));
        }
        None
    }
}

fn set_hash(current: &mut String, hash: String, what: &str) -> Option<String> {
    if hash.is_empty() || password::is_hash(&hash) {
        *current = hash;
        return None;
    }
    // Its text is not shown: it may be a plain password.
    Some(format!("not a {what} hash"))
}

/// A stored session, as far as it is known without reading its history.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct SessionSummary {
    pub id: String,
    pub metadata: Metadata,
    pub protocol: ProtocolVersion,
    /// Size of its history in bytes: that of the file without its header.
    pub size: u64,
    /// When the journal or the history file was last written, if the file system knows.
    pub last_use: Option<SystemTime>,
}

/// Whether a text is a valid session alias: 1 to 32 characters a-z, A-Z, 0-9 and `-`, and not in the form of a
/// session id.
pub fn is_valid_alias(alias: &str) -> bool {
    let bytes = alias.as_bytes();
    let plain = bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
    let uuid = bytes.len() == 36 && [8, 13, 18, 23].iter().all(|position| bytes[*position] == b'-');
    let ulid =
        bytes.len() == 26 && bytes.iter().all(|b| b.is_ascii_alphanumeric() && !b"ilouILOU".contains(b));
    (1..=32).contains(&bytes.len()) && plain && !uuid && !ulid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_short_plain_and_not_like_session_ids() {
        for good in ["a", "Good-Alias-1", &"x".repeat(32), &"u".repeat(26)] {
            assert!(is_valid_alias(good), "{good}");
        }
        for bad in [
            "",
            "bad alias",
            "ü",
            "a_b",
            &"x".repeat(33),
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "12345678-1234-1234-1234-123456789abc",
        ] {
            assert!(!is_valid_alias(bad), "{bad}");
        }
    }

    fn replay(text: &str) -> Replay {
        Metadata::replay(text.as_bytes())
    }

    #[test]
    fn later_entries_replace_earlier_ones_except_the_alias() {
        let m =
            replay("FILE a\nFILE b c\nALIAS x\nALIAS y\nFOUNDER 1\nFOUNDER 2\nFLAGS nsfm\nFLAGS invites\n")
                .metadata;
        assert_eq!((m.file.as_deref(), m.files, m.alias.as_str()), (Some("b c"), 2, "x"));
        assert_eq!((m.founder.as_str(), m.flags.words()), ("2", vec!["invites"]));
    }

    #[test]
    fn a_malformed_hash_does_not_change_the_password() {
        let replay = replay("PASSWORD plain;a b\nPASSWORD nonsense\nOPWORD plain;x\nOPWORD\n");
        assert_eq!((replay.metadata.password.as_str(), replay.metadata.opword.as_str()), ("plain;a b", ""));
        assert_eq!(replay.warnings, ["line 2: not a password hash"]);
    }

    #[test]
    fn ban_ids_are_unique_and_never_reused() {
        let m =
            replay("BAN 2 a   op\nBAN 2 b   op\nBAN 0 c   op\nUNBAN 3\nBAN x d   op\nUNBAN 99\n").metadata;
        let ids: Vec<_> = m.bans.iter().map(|b| (b.id, b.name.as_str())).collect();
        assert_eq!(ids, [(2, "a"), (4, "d")]);
    }

    #[test]
    fn invites_are_used_up() {
        let replay = replay("INV a t 1\nUSV a k1 x%20y\nUSV a k2 z\nUSV a k1 new\nUSV b k1 x\nUNV b\n");
        assert_eq!(replay.metadata.invites[0].uses, [("k1".to_owned(), "new".to_owned())]);
        assert_eq!(replay.warnings.len(), 3);
    }

    #[test]
    fn a_torn_last_line_is_detected() {
        assert!(!replay("FILE a\n").torn);
        let torn = replay("FILE a\nFILE b");
        assert_eq!((torn.torn, torn.file_before.as_deref()), (true, Some("a")));
        assert_eq!(replay("FILE a\nTITLE b").file_before, None);
        assert!(!replay("").torn);
    }

    #[test]
    fn invalid_utf_8_is_tolerated() {
        let replay = Metadata::replay(b"TITLE \xff\xfe\nFOUNDER \0x\n\x01\x02");
        assert_eq!(replay.metadata.title, "\u{fffd}\u{fffd}");
    }
}
