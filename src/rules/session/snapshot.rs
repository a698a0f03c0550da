//! Compaction of the journal: only current state. Source: docs/spec/storage.md#journal-growth.

use super::SessionMachine;
use super::journal_queue::is_hash;
use crate::rules::journal::Entry;
use crate::rules::session::WriteBatch;

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
        let values = [
            (!self.alias.is_empty()).then(|| Entry::Alias(self.alias.clone())),
            Some(Entry::Founder(self.founder.clone())),
            Some(Entry::MaxUsers(self.max_users)),
            Some(Entry::AutoReset(self.reset_threshold)),
            (!self.title.is_empty()).then(|| Entry::Title(self.title.clone())),
            self.archive.is_some().then_some(Entry::Archive(self.archive)),
            (self.override_size > 0).then_some(Entry::Limit(self.override_size)),
            Some(Entry::Flags(self.flags)),
            Some(Entry::Catchup(self.catchup_key)),
        ];
        let mut entries: Vec<Entry> = values.into_iter().flatten().collect();
        entries.extend(self.listings.wanted().iter().cloned().map(Entry::Announce));
        entries.extend(self.bans.snapshot());
        entries.extend(self.ids.remembered().map(|(id, name)| Entry::User { id, name: name.to_owned() }));
        entries.extend(self.accounts.snapshot());
        entries.extend(self.invites.snapshot());
        entries
    }

    /// Bounds the entries that wait for the journal.
    pub(super) fn bound_journal(&mut self) {
        if self.journal.len() + self.bans.waiting() + self.invites.waiting() <= MAX_WAITING {
            return;
        }
        self.journal.overflow();
        self.bans.take_changes();
        self.invites.take_changes();
    }
}
