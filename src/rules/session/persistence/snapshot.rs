//! Compaction of the journal: only current state. Source: docs/spec/storage.md#journal-growth.

use super::journal_queue::is_hash;
use crate::rules::journal::Entry;
use crate::rules::session::{SessionMachine, WriteBatch};

/// Maximum number of entries that wait for the journal. Beyond it (storing fails) the journal is rewritten instead.
const MAX_WAITING: usize = 4096;

impl SessionMachine {
    /// Makes this batch rewrite the journal with all current entries. Password hashes and the name of the history
    /// file are added by the files.
    pub fn compact_journal(&self, work: &mut WriteBatch) {
        work.journal.retain(is_hash);
        work.snapshot = Some(self.snapshot());
    }

    fn snapshot(&self) -> Vec<Entry> {
        let mut entries = self.properties.snapshot();
        entries.extend(self.announcements.wanted().iter().cloned().map(Entry::Announce));
        entries.extend(self.moderation.bans.snapshot());
        entries.extend(
            self.members.remembered_ids().map(|(id, name)| Entry::User { id, name: name.to_owned() }),
        );
        entries.extend(self.moderation.accounts.snapshot());
        entries.extend(self.moderation.invites.snapshot());
        entries.extend(self.restrictions.snapshot());
        entries
    }

    /// Bounds the entries that wait for the journal.
    pub(in crate::rules::session) fn bound_journal(&mut self) {
        if self.persistence.journal.len() + self.moderation.waiting() > MAX_WAITING {
            self.persistence.journal.overflow();
            self.moderation.drop_waiting();
        }
    }
}
