//! Accounts known to a session, with their roles and names. Source: docs/spec/session.md#rank-when-joining.

use std::collections::BTreeMap;

use crate::rules::journal::Entry;
use crate::rules::metadata::Metadata;

/// Maximum number of remembered accounts. Those without a role are forgotten first, oldest first.
pub(super) const MAX_ACCOUNTS: usize = 1000;

/// A remembered account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: Option<String>,
    /// Joins as operator.
    pub(super) operator: bool,
    /// Joins as trusted user.
    pub(super) trusted: bool,
    /// Sequence number of the last mention.
    pub(super) age: u64,
}

impl Account {
    fn has_rank(&self) -> bool {
        self.operator || self.trusted
    }
}

/// Accounts by account id.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    known: BTreeMap<String, Account>,
    operators: usize,
    /// Ids of accounts without a role, oldest first.
    bare: BTreeMap<u64, String>,
    last_age: u64,
    /// The journal's state of the accounts that have changed since.
    journaled: BTreeMap<String, Account>,
}

impl Accounts {
    /// The accounts of a journal. If there are too many, those with a role are kept.
    pub(super) fn restored(stored: &mut Metadata) -> Accounts {
        let mut accounts = Accounts::default();
        for auth_id in std::mem::take(&mut stored.operators) {
            accounts.set_operator(&auth_id, true);
        }
        for auth_id in std::mem::take(&mut stored.trusted) {
            accounts.set_trusted(&auth_id, true);
        }
        for (auth_id, name) in std::mem::take(&mut stored.auth_names) {
            accounts.set_name(&auth_id, &name);
        }
        accounts.journaled.clear();
        accounts
    }

    /// Drains the changes to be written to the journal.
    pub(super) fn take_changes(&mut self) -> Vec<Entry> {
        let changed = std::mem::take(&mut self.journaled);
        let mut entries = Vec::new();
        for (auth_id, before) in &changed {
            // A forgotten account had no role, so the journal needs no entry.
            if let Some(account) = self.known.get(auth_id) {
                difference(auth_id, before, account, &mut entries);
            }
        }
        entries
    }

    /// All entries, for a compacted journal.
    pub(super) fn snapshot(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (auth_id, account) in &self.known {
            difference(auth_id, &Account::default(), account, &mut entries);
        }
        entries
    }

    pub(super) fn has_operators(&self) -> bool {
        self.operators > 0
    }

    pub(super) fn is_operator(&self, auth_id: &str) -> bool {
        self.known.get(auth_id).is_some_and(|account| account.operator)
    }

    pub(super) fn is_trusted(&self, auth_id: &str) -> bool {
        self.known.get(auth_id).is_some_and(|account| account.trusted)
    }

    pub(super) fn contains(&self, auth_id: &str) -> bool {
        self.known.contains_key(auth_id)
    }

    /// Account ids and accounts, by id.
    pub(super) fn all(&self) -> impl Iterator<Item = (&String, &Account)> {
        self.known.iter()
    }

    pub(super) fn set_operator(&mut self, auth_id: &str, operator: bool) {
        if self.is_operator(auth_id) != operator {
            self.change(auth_id, |account| account.operator = operator);
        }
    }

    pub(super) fn set_trusted(&mut self, auth_id: &str, trusted: bool) {
        if self.is_trusted(auth_id) != trusted {
            self.change(auth_id, |account| account.trusted = trusted);
        }
    }

    pub(super) fn set_name(&mut self, auth_id: &str, name: &str) {
        self.last_age += 1;
        let age = self.last_age;
        self.change(auth_id, |account| {
            account.age = age;
            if account.name.as_deref() != Some(name) {
                account.name = Some(name.to_owned());
            }
        });
    }

    fn change(&mut self, auth_id: &str, change: impl FnOnce(&mut Account)) {
        let before = self.known.get(auth_id).cloned();
        if before.is_none() && !self.make_room() {
            return;
        }
        let before = before.unwrap_or_default();
        let mut account = before.clone();
        change(&mut account);
        if account.age == 0 {
            self.last_age += 1;
            account.age = self.last_age;
        }
        self.bare.remove(&before.age);
        if !account.has_rank() {
            self.bare.insert(account.age, auth_id.to_owned());
        }
        self.operators += usize::from(account.operator);
        self.operators -= usize::from(before.operator);
        self.known.insert(auth_id.to_owned(), account);
        self.journaled.entry(auth_id.to_owned()).or_insert(before);
    }

    /// Makes room for one more; `false` if all accounts have a role.
    fn make_room(&mut self) -> bool {
        if self.known.len() < MAX_ACCOUNTS {
            return true;
        }
        let Some((_, oldest)) = self.bare.pop_first() else { return false };
        self.known.remove(&oldest);
        self.journaled.remove(&oldest);
        true
    }
}

/// The entries that change one state of an account into another.
fn difference(auth_id: &str, before: &Account, after: &Account, entries: &mut Vec<Entry>) {
    let id = || auth_id.to_owned();
    if before.operator != after.operator {
        entries.push(if after.operator { Entry::Op(id()) } else { Entry::Deop(id()) });
    }
    if before.trusted != after.trusted {
        entries.push(if after.trusted { Entry::Trust(id()) } else { Entry::Untrust(id()) });
    }
    if before.name != after.name {
        entries.extend(after.name.clone().map(|name| Entry::AuthName { auth_id: id(), name }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_journaled() {
        let mut accounts = Accounts::default();
        for _ in 0..2 {
            accounts.set_operator("a:1", true);
            accounts.set_trusted("a:1", false);
            accounts.set_name("a:1", "A");
        }
        let name = Entry::AuthName { auth_id: "a:1".into(), name: "A".into() };
        assert_eq!(accounts.take_changes(), [Entry::Op("a:1".into()), name]);
        accounts.set_operator("a:1", false);
        assert_eq!(accounts.take_changes(), [Entry::Deop("a:1".into())]);
        assert!(!accounts.has_operators());
        for n in 0..1000 {
            accounts.set_operator("a:1", n % 2 == 0);
        }
        assert_eq!(accounts.take_changes(), [], "what is as it was before");
    }

    #[test]
    fn the_oldest_without_a_rank_are_forgotten_first() {
        let mut accounts = Accounts::default();
        accounts.set_trusted("a:0", true);
        for n in 1..=MAX_ACCOUNTS {
            accounts.set_name(&format!("a:{n}"), "N");
            accounts.set_name("a:1", "again");
        }
        assert_eq!(accounts.all().count(), MAX_ACCOUNTS);
        let known = |accounts: &Accounts, n: usize| accounts.contains(&format!("a:{n}"));
        assert!(known(&accounts, 0) && known(&accounts, 1) && !known(&accounts, 2));
        for n in 0..2 * MAX_ACCOUNTS {
            accounts.set_operator(&format!("b:{n}"), true);
        }
        assert_eq!(accounts.all().count(), MAX_ACCOUNTS);
        assert!(accounts.take_changes().len() <= MAX_ACCOUNTS);
        accounts.set_name("c:1", "C");
        assert!(!accounts.contains("c:1"), "nobody with a rank is forgotten for it");
    }

    #[test]
    fn a_new_journal_says_the_same() {
        let mut accounts = Accounts::default();
        accounts.set_operator("a:1", true);
        accounts.set_trusted("a:2", true);
        accounts.set_name("a:2", "Zwei");
        accounts.set_name("a:3", "Drei");
        let mut text = String::new();
        accounts.snapshot().iter().for_each(|entry| entry.write(&mut text));
        let mut restored = Accounts::restored(&mut Metadata::replay(text.as_bytes()).metadata);
        assert_eq!(restored.snapshot(), accounts.snapshot());
        assert!(restored.take_changes().is_empty() && restored.has_operators());
    }
}
