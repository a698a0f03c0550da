//! Who may do what in a session, and who may not come: accounts with roles, bans, invites, and the rate limits of what
//! can be misused.

use super::accounts::Accounts;
use super::bans::BanList;
use super::commands::report::Reports;
use super::invites::Invites;
use super::password_attempts::PasswordAttempts;
use crate::rules::journal::Entry;
use crate::rules::metadata::Metadata;
use crate::rules::time::Timestamp;

/// Maximum number of pending exchanges of ban lists of one session; the server performs one at a time.
const MAX_EXCHANGES: usize = 4;

/// The parts of moderation. Each guards its own state; what all of them have for the journal is drained together.
#[derive(Debug, Default)]
pub(super) struct Moderation {
    pub(super) accounts: Accounts,
    pub(super) bans: BanList,
    pub(super) invites: Invites,
    /// Rate limits for abuse reports.
    pub(super) reports: Reports,
    /// Rate limits for operator passwords.
    pub(super) opword_attempts: PasswordAttempts,
    /// Number of ban lists being imported or exported.
    exchanges: usize,
}

impl Moderation {
    /// Of a stored session.
    pub(super) fn restored(metadata: &mut Metadata, now: Timestamp) -> Moderation {
        Moderation {
            accounts: Accounts::restored(metadata),
            bans: BanList::restored(metadata),
            invites: Invites::restored(std::mem::take(&mut metadata.invites), now),
            ..Moderation::default()
        }
    }

    /// Begins to import or export a ban list. `false` if too many are under way.
    pub(super) fn begin_exchange(&mut self) -> bool {
        let may_begin = self.exchanges < MAX_EXCHANGES;
        self.exchanges += usize::from(may_begin);
        may_begin
    }

    /// A ban list has been imported or exported.
    pub(super) fn end_exchange(&mut self) {
        self.exchanges = self.exchanges.saturating_sub(1);
    }

    /// Drains what the journal does not have yet.
    pub(super) fn take_changes(&mut self) -> Vec<Entry> {
        [self.accounts.take_changes(), self.bans.take_changes(), self.invites.take_changes()].concat()
    }

    /// Number of changes that wait for the journal.
    pub(super) fn waiting(&self) -> usize {
        self.bans.waiting() + self.invites.waiting()
    }

    /// Drops the changes that wait: the journal will be rewritten.
    pub(super) fn drop_waiting(&mut self) {
        self.bans.take_changes();
        self.invites.take_changes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::session::bans::Identity;

    #[test]
    fn few_ban_lists_are_exchanged_at_once() {
        let mut moderation = Moderation::default();
        assert_eq!((0..10).filter(|_| moderation.begin_exchange()).count(), MAX_EXCHANGES);
        moderation.end_exchange();
        assert!(moderation.begin_exchange() && !moderation.begin_exchange());
        for _ in 0..10 {
            moderation.end_exchange();
        }
        assert!(moderation.begin_exchange(), "an answer too many does no harm");
    }

    #[test]
    fn changes_are_drained_once_and_restore_the_same() {
        let mut moderation = Moderation::default();
        let identity = |name: &str| Identity { name: name.into(), ..Identity::default() };
        assert!(moderation.bans.add(&identity("B"), "A", &identity("A")));
        moderation.accounts.set_operator("internal:1", true);
        assert_eq!(moderation.waiting(), 1, "the accounts are bounded by themselves");
        let mut text = String::new();
        moderation.take_changes().iter().for_each(|entry| entry.write(&mut text));
        assert_eq!((moderation.waiting(), moderation.take_changes()), (0, Vec::new()));
        let mut metadata = Metadata::replay(text.as_bytes()).metadata;
        let now = Timestamp { monotonic_ms: 0, utc_ms: 0 };
        let again = Moderation::restored(&mut metadata, now);
        assert!(again.bans.matches(&identity("B")).is_some() && again.accounts.is_operator("internal:1"));
    }
}
