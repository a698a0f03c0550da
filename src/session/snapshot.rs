//! A journal of what counts only, in place of one that has grown. Source: docs/spec/storage.md#journal-growth.

use super::SessionMachine;
use crate::storage::journal::Entry;
use crate::storage::session_files::WriteBatch;

/// Entries that wait for the journal. Where more do, because storing fails, it is written anew instead.
const MAX_WAITING: usize = 4096;

impl SessionMachine {
    /// Has the journal written anew by this work: its entries give way to all that a journal has to say. What the files
    /// themselves know is not among that: passwords' hashes and the history file.
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
        entries.extend(self.announcements.iter().cloned().map(Entry::Announce));
        entries.extend(self.bans.snapshot());
        entries.extend(self.ids.remembered().map(|(id, name)| Entry::User { id, name: name.to_owned() }));
        entries.extend(self.accounts.snapshot());
        entries.extend(self.invites.snapshot());
        entries
    }

    /// Lets what waits for the journal not grow without end.
    pub(super) fn bound_journal(&mut self) {
        if self.journal.len() + self.bans.waiting() + self.invites.waiting() <= MAX_WAITING {
            return;
        }
        self.journal.retain(is_hash);
        self.bans.take_changes();
        self.invites.take_changes();
        self.journal_incomplete = true;
    }
}

fn is_hash(entry: &Entry) -> bool {
    matches!(entry, Entry::Password(_) | Entry::Opword(_))
}
