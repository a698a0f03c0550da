//! Invites: secrets that let their holders in, a number of times. Sources: docs/spec/session.md#invite-create,
//! docs/spec/login.md#invites-at-join, docs/spec/services.md#invites-and-links.

use drawhall_protocol::command::InviteCreate;
use std::collections::BTreeMap;

use drawhall_protocol::reply::{InviteEntry, InviteUse};

use crate::rules::journal::Entry;
use crate::rules::metadata::StoredInvite;
use crate::rules::rng::Rng;
use crate::rules::time::Timestamp;

/// Maximum number of invites in a session.
pub const MAX_INVITES: usize = 50;
/// Maximum number of uses of an invite.
pub const MAX_INVITE_USES: i64 = 50;
/// Alphabet of secrets: digits and letters without i, l, o and u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// An invite.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Invite {
    pub secret: String,
    /// Name of the creator, empty for an administrator.
    pub creator: String,
    /// Joins as operator.
    pub op: bool,
    /// Joins as trusted user.
    pub trust: bool,
    at: String,
    max_uses: u32,
    /// By system id.
    uses: BTreeMap<String, (String, String)>,
}

impl Invite {
    fn to_stored(&self) -> StoredInvite {
        let Invite { secret, creator, op, trust, at, max_uses, .. } = self.clone();
        StoredInvite { secret, at, max_uses, trust, op, creator, uses: Vec::new() }
    }
}

/// Log text for a new invite.
pub(super) fn creation_text(wanted: &InviteCreate) -> String {
    let uses = wanted.max_uses.clamp(1, MAX_INVITE_USES);
    let role = match (wanted.op, wanted.trust) {
        (true, true) => "op and trust ",
        (true, false) => "op ",
        (false, true) => "trust ",
        (false, false) => "",
    };
    format!("Created {role}invite with {uses} use(s)")
}

/// Result of checking or using an invite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum InviteCheck {
    /// Valid, or used again by the same client.
    Ok,
    /// First use by this client.
    Used,
    /// Used before by this client, under another name.
    NameChanged,
    /// The client has no system id, so uses cannot be counted.
    NoClientKey,
    NotFound,
    LimitReached,
}

/// The invites of a session, [`MAX_INVITES`] at most.
#[derive(Debug, Default)]
pub struct Invites {
    list: Vec<Invite>,
    /// Changes to be written to the journal.
    changes: Vec<Entry>,
}

impl Invites {
    /// Creates an invite and returns its secret; `None` when there are [`MAX_INVITES`].
    pub fn create(
        &mut self,
        creator: &str,
        wanted: &InviteCreate,
        rng: &mut Rng,
        now: Timestamp,
    ) -> Option<String> {
        if self.list.len() >= MAX_INVITES {
            return None;
        }
        let secret = loop {
            let bytes: [u8; 8] = rng.bytes()?;
            let secret: String = bytes.iter().map(|b| char::from(ALPHABET[usize::from(b % 32)])).collect();
            if self.find(&secret).is_none() {
                break secret;
            }
        };
        let max_uses = wanted.max_uses.clamp(1, MAX_INVITE_USES) as u32;
        let (op, trust) = (wanted.op, wanted.trust);
        let (at, creator) = (now.iso(), creator.to_owned());
        let uses = BTreeMap::new();
        let invite = Invite { secret: secret.clone(), creator, op, trust, at, max_uses, uses };
        self.changes.push(Entry::Invite(invite.to_stored()));
        self.list.push(invite);
        Some(secret)
    }

    /// The invites of a journal, which does not record when they were used.
    pub fn restored(stored: Vec<StoredInvite>, now: Timestamp) -> Invites {
        let list = stored.into_iter().map(|i| Invite {
            secret: i.secret,
            creator: i.creator,
            op: i.op,
            trust: i.trust,
            at: i.at,
            max_uses: i.max_uses,
            uses: i.uses.into_iter().map(|(sid, name)| (sid, (name, now.iso()))).collect(),
        });
        Invites { list: list.collect(), changes: Vec::new() }
    }

    /// Drains the changes to be written to the journal.
    pub fn take_changes(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.changes)
    }

    /// Number of changes to be written to the journal.
    pub(super) fn waiting(&self) -> usize {
        self.changes.len()
    }

    /// All entries, for a compacted journal.
    pub(super) fn snapshot(&self) -> Vec<Entry> {
        let entries = |invite: &Invite| {
            let uses = invite.uses.iter().map(|(client_key, (name, _))| Entry::UseInvite {
                secret: invite.secret.clone(),
                client_key: client_key.clone(),
                name: name.clone(),
            });
            std::iter::once(Entry::Invite(invite.to_stored())).chain(uses).collect::<Vec<Entry>>()
        };
        self.list.iter().flat_map(entries).collect()
    }

    /// By its secret.
    pub fn find(&self, secret: &str) -> Option<&Invite> {
        self.list.iter().find(|i| i.secret == secret)
    }

    /// Removes an invite; `false` if there is none.
    pub fn remove(&mut self, secret: &str) -> bool {
        let before = self.list.len();
        self.list.retain(|i| i.secret != secret);
        let removed = self.list.len() < before;
        if removed {
            self.changes.push(Entry::RemoveInvite(secret.to_owned()));
        }
        removed
    }

    /// Removes the oldest invite and returns its secret.
    pub fn remove_oldest(&mut self) -> Option<String> {
        let secret = self.list.first()?.secret.clone();
        self.remove(&secret);
        Some(secret)
    }

    /// Checks an invite without using it.
    pub fn check(&self, secret: &str, sid: &str) -> InviteCheck {
        let Some(invite) = self.find(secret) else {
            return if sid.is_empty() { InviteCheck::NoClientKey } else { InviteCheck::NotFound };
        };
        if sid.is_empty() {
            InviteCheck::NoClientKey
        } else if invite.uses.contains_key(sid) || (invite.uses.len() as u32) < invite.max_uses {
            InviteCheck::Ok
        } else {
            InviteCheck::LimitReached
        }
    }

    /// Uses an invite. Uses are counted once per system id.
    pub fn apply(&mut self, secret: &str, sid: &str, name: &str, now: Timestamp) -> InviteCheck {
        let check = self.check(secret, sid);
        let Some(invite) = self.list.iter_mut().find(|i| i.secret == secret) else { return check };
        if check != InviteCheck::Ok {
            return check;
        }
        let check = match invite.uses.get_mut(sid) {
            None => {
                invite.uses.insert(sid.to_owned(), (name.to_owned(), now.iso()));
                InviteCheck::Used
            }
            Some((known, _)) if known != name => {
                name.clone_into(known);
                InviteCheck::NameChanged
            }
            Some(_) => InviteCheck::Ok,
        };
        if check != InviteCheck::Ok {
            let (secret, client_key, name) = (secret.to_owned(), sid.to_owned(), name.to_owned());
            self.changes.push(Entry::UseInvite { secret, client_key, name });
        }
        check
    }

    /// The list for operators.
    pub fn entries(&self) -> Vec<InviteEntry> {
        let entry = |i: &Invite| InviteEntry {
            secret: i.secret.clone(),
            at: i.at.clone(),
            creator: i.creator.clone(),
            max_uses: i.max_uses,
            op: i.op,
            trust: i.trust,
            uses: i
                .uses
                .values()
                .map(|(name, at)| InviteUse { name: name.clone(), at: at.clone(), s: String::new() })
                .collect(),
        };
        self.list.iter().map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_8_unambiguous_characters() {
        let mut invites = Invites::default();
        let secret = invites
            .create(
                "A",
                &InviteCreate { max_uses: 1, trust: false, op: false },
                &mut Rng::from_seed([1; 32]),
                Timestamp::now(),
            )
            .unwrap();
        assert_eq!(secret.len(), 8);
        assert!(secret.bytes().all(|b| ALPHABET.contains(&b)));
    }

    #[test]
    fn a_use_counts_once_per_system_id() {
        let now = Timestamp::now();
        let mut invites = Invites::default();
        let secret = invites
            .create(
                "A",
                &InviteCreate { max_uses: 2, trust: true, op: false },
                &mut Rng::from_seed([1; 32]),
                now,
            )
            .unwrap();
        assert_eq!(invites.apply(&secret, "", "x", now), InviteCheck::NoClientKey);
        assert_eq!(invites.apply(&secret, "s1", "x", now), InviteCheck::Used);
        assert_eq!(invites.apply(&secret, "s1", "x", now), InviteCheck::Ok);
        assert_eq!(invites.apply(&secret, "s1", "y", now), InviteCheck::NameChanged);
        assert_eq!(invites.apply(&secret, "s2", "z", now), InviteCheck::Used);
        assert_eq!(invites.apply(&secret, "s3", "z", now), InviteCheck::LimitReached);
        assert_eq!(invites.check(&secret, "s2"), InviteCheck::Ok);
        assert_eq!(invites.check("other", "s2"), InviteCheck::NotFound);
        assert_eq!(invites.entries()[0].uses.len(), 2);
    }

    #[test]
    fn invites_are_restored_from_the_journal() {
        let now = Timestamp::now();
        let mut invites = Invites::default();
        let first = invites
            .create(
                "Ä op",
                &InviteCreate { max_uses: 2, trust: true, op: true },
                &mut Rng::from_seed([1; 32]),
                now,
            )
            .unwrap();
        let second = invites
            .create(
                "",
                &InviteCreate { max_uses: 1, trust: false, op: false },
                &mut Rng::from_seed([1; 32]),
                now,
            )
            .unwrap();
        invites.apply(&first, "s1", "bob smith", now);
        invites.apply(&first, "s1", "bob", now);
        invites.remove(&second);
        let mut text = String::new();
        invites.take_changes().iter().for_each(|entry| entry.write(&mut text));
        let stored = crate::rules::metadata::Metadata::replay(text.as_bytes());
        assert!(stored.warnings.is_empty());
        let mut restored = Invites::restored(stored.metadata.invites, now);
        assert_eq!(restored.entries(), invites.entries());
        assert!(restored.take_changes().is_empty());
    }

    #[test]
    fn uses_and_numbers_are_bounded() {
        let now = Timestamp::now();
        let mut invites = Invites::default();
        let secrets: Vec<_> = (0..52)
            .map(|n| {
                invites.create(
                    "A",
                    &InviteCreate { max_uses: n * 10, trust: false, op: false },
                    &mut Rng::from_seed([1; 32]),
                    now,
                )
            })
            .collect();
        assert_eq!(secrets.iter().flatten().count(), MAX_INVITES);
        assert_eq!((invites.entries()[0].max_uses, invites.entries()[9].max_uses), (1, 50));
        let first = secrets[0].clone().unwrap();
        assert_eq!(invites.remove_oldest(), Some(first.clone()));
        assert!(!invites.remove(&first));
        assert!(invites.remove(secrets[1].as_deref().unwrap()));
    }
}
