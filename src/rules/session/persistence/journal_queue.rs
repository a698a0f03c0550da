//! What waits to be written to the session's journal.

use crate::rules::journal::Entry;
use crate::rules::session::PasswordKind;

/// Entries and passwords for the journal. A session in memory only collects and forgets them.
#[derive(Debug, Default)]
pub(super) struct JournalQueue {
    /// Changes are persisted.
    is_stored: bool,
    entries: Vec<Entry>,
    /// Passwords whose hashes must be persisted, one of a kind.
    passwords: Vec<(PasswordKind, String)>,
    /// Too many entries were waiting: the journal must be rewritten.
    is_incomplete: bool,
}

/// What was drained from a [`JournalQueue`].
#[derive(Debug)]
pub(super) struct Drained {
    pub(super) entries: Vec<Entry>,
    pub(super) passwords: Vec<(PasswordKind, String)>,
    pub(super) is_incomplete: bool,
}

impl JournalQueue {
    /// From now on changes are persisted.
    pub(super) fn store(&mut self) {
        self.is_stored = true;
    }

    pub(super) fn is_stored(&self) -> bool {
        self.is_stored
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    pub(super) fn extend(&mut self, entries: impl IntoIterator<Item = Entry>) {
        self.entries.extend(entries);
    }

    /// A password to be hashed and persisted; replaces one of the same kind that waits.
    pub(super) fn push_password(&mut self, kind: PasswordKind, password: &str) {
        self.passwords.retain(|(k, _)| *k != kind);
        self.passwords.push((kind, password.to_owned()));
    }

    /// Number of entries that wait.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Drops all entries but hashes, which no snapshot has: the journal must be rewritten.
    pub(super) fn overflow(&mut self) {
        self.entries.retain(is_hash);
        self.is_incomplete = true;
    }

    /// Takes everything.
    pub(super) fn drain(&mut self) -> Drained {
        let JournalQueue { is_stored, entries, passwords, is_incomplete } = std::mem::take(self);
        self.is_stored = is_stored;
        Drained { entries, passwords, is_incomplete }
    }
}

/// Whether an entry is the hash of a password.
pub(super) fn is_hash(entry: &Entry) -> bool {
    matches!(entry, Entry::Password(_) | Entry::Opword(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overflow_keeps_hashes_and_has_the_journal_rewritten_once() {
        let mut queue = JournalQueue::default();
        queue.extend([Entry::Title("T".into()), Entry::Password("hash".into())]);
        queue.overflow();
        let drained = queue.drain();
        assert!(drained.is_incomplete && drained.entries.len() == 1 && is_hash(&drained.entries[0]));
        assert!(!queue.drain().is_incomplete);
    }

    #[test]
    fn only_the_last_password_of_a_kind_is_persisted() {
        let mut queue = JournalQueue::default();
        queue.push_password(PasswordKind::Session, "a");
        queue.push_password(PasswordKind::Operator, "b");
        queue.push_password(PasswordKind::Session, "c");
        let expected = [(PasswordKind::Operator, "b".to_owned()), (PasswordKind::Session, "c".to_owned())];
        assert_eq!(queue.drain().passwords, expected);
    }
}
