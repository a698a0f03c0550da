//! What a session remembers of accounts: their ranks and names. Source: `session.md`, Joining.

use std::collections::{BTreeMap, BTreeSet};

use crate::storage::journal::Entry;
use crate::storage::metadata::Metadata;

/// Ranks and names by account id.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    operators: BTreeSet<String>,
    trusted: BTreeSet<String>,
    names: BTreeMap<String, String>,
    /// Changes for the journal.
    changes: Vec<Entry>,
}

impl Accounts {
    /// What a journal says of accounts.
    pub(super) fn restored(stored: &mut Metadata) -> Accounts {
        Accounts {
            operators: std::mem::take(&mut stored.operators),
            trusted: std::mem::take(&mut stored.trusted),
            names: std::mem::take(&mut stored.auth_names),
            changes: Vec::new(),
        }
    }

    pub(super) fn take_changes(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.changes)
    }

    /// Whether any account is operator.
    pub(super) fn has_operators(&self) -> bool {
        !self.operators.is_empty()
    }

    pub(super) fn is_operator(&self, auth_id: &str) -> bool {
        self.operators.contains(auth_id)
    }

    pub(super) fn is_trusted(&self, auth_id: &str) -> bool {
        self.trusted.contains(auth_id)
    }

    /// Account ids and names, in the order of ids.
    pub(super) fn names(&self) -> impl Iterator<Item = (&String, &String)> {
        self.names.iter()
    }

    /// Remembers whether an account is operator.
    pub(super) fn set_operator(&mut self, auth_id: &str, operator: bool) {
        if change(&mut self.operators, auth_id, operator) {
            let auth_id = auth_id.to_owned();
            self.changes.push(if operator { Entry::Op(auth_id) } else { Entry::Deop(auth_id) });
        }
    }

    /// Remembers whether an account is trusted.
    pub(super) fn set_trusted(&mut self, auth_id: &str, trusted: bool) {
        if change(&mut self.trusted, auth_id, trusted) {
            let auth_id = auth_id.to_owned();
            self.changes.push(if trusted { Entry::Trust(auth_id) } else { Entry::Untrust(auth_id) });
        }
    }

    /// Remembers the name of an account.
    pub(super) fn set_name(&mut self, auth_id: &str, name: &str) {
        if self.names.get(auth_id).is_none_or(|known| known != name) {
            self.names.insert(auth_id.to_owned(), name.to_owned());
            self.changes.push(Entry::AuthName { auth_id: auth_id.to_owned(), name: name.to_owned() });
        }
    }
}

/// Makes a text a member of a set or not; returns whether that is a change.
fn change(set: &mut BTreeSet<String>, text: &str, member: bool) -> bool {
    if member { set.insert(text.to_owned()) } else { set.remove(text) }
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
    }
}
