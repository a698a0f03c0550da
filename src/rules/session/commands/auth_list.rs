//! `auth-list`: sets roles by account, also of accounts that are absent.

use std::collections::BTreeMap;

use drawhall_protocol::command::{AuthChange, AuthList};

use super::{CommandResult, Cx, MemberKey, Perform, Right, SessionMachine};
use crate::rules::login::is_valid_name;
use crate::rules::session::broadcasts::List;

/// Maximum length of an absent account's id in bytes.
const MAX_ACCOUNT_ID: usize = 64;

impl Perform for AuthList {
    const RIGHT: Right = Right::Operator;

    fn perform(self, session: &mut SessionMachine, sender: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        session.auth_list(sender, self.changes, cx)
    }
}

impl SessionMachine {
    pub(super) fn auth_list(
        &mut self,
        key: MemberKey,
        list: Option<Vec<AuthChange>>,
        cx: &mut Cx<'_>,
    ) -> CommandResult {
        let list = list.ok_or("Insane argument")?;
        let member = self.sender(key)?;
        let (own, by) = (member.id, member.name().to_owned());
        let mut here: BTreeMap<String, u8> = BTreeMap::new();
        for member in self.members.iter().filter(|m| m.is_authenticated()) {
            here.entry(member.auth_id().to_owned()).or_insert(member.id);
        }
        let (mut changed, mut unknown) = (false, 0);
        for change in merged(list) {
            let id = here.get(&change.auth_id).copied();
            changed |= match id.and_then(|id| self.member_by_id(id)).map(|m| m.id) {
                Some(id) => self.change_rank_of(id, own, &by, &change, cx),
                None if !self.moderation.accounts.contains(&change.auth_id)
                    && !is_account_id(&change.auth_id) =>
                {
                    unknown += 1;
                    false
                }
                None => self.change_absent(&change),
            };
        }
        if changed {
            self.send_list(List::Accounts, cx);
        }
        if unknown > 0 {
            return Err(format!("{unknown} unknown accounts left out").into());
        }
        Ok(())
    }

    /// Sets the role of a present account. Operators cannot take their own status.
    fn change_rank_of(&mut self, id: u8, own: u8, by: &str, change: &AuthChange, cx: &mut Cx<'_>) -> bool {
        let mut changed = false;
        let is_op = self.member_by_id(id).is_some_and(|m| m.is_operator());
        if let Some(op) = change.op.filter(|op| id != own && *op != is_op) {
            changed = true;
            self.set_operator(id, op, by, None, false, cx);
        }
        let is_trusted = self.member_by_id(id).is_some_and(|m| m.trusted);
        if let Some(trusted) = change.trusted.filter(|trusted| *trusted != is_trusted) {
            changed = true;
            self.set_trusted(id, trusted, by, None, false, cx);
        }
        changed
    }

    fn change_absent(&mut self, change: &AuthChange) -> bool {
        if let Some(op) = change.op {
            self.moderation.accounts.set_operator(&change.auth_id, op);
        }
        if let Some(trusted) = change.trusted {
            self.moderation.accounts.set_trusted(&change.auth_id, trusted);
        }
        let name = change.username.as_ref().filter(|name| is_valid_name(name));
        if let Some(name) = name {
            self.moderation.accounts.set_name(&change.auth_id, name);
        }
        change.op.is_some() || change.trusted.is_some() || name.is_some()
    }
}

/// The final change for each account.
fn merged(list: Vec<AuthChange>) -> Vec<AuthChange> {
    let mut merged: Vec<AuthChange> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for change in list.into_iter().filter(|change| !change.auth_id.is_empty()) {
        let place = *places.entry(change.auth_id.clone()).or_insert(merged.len());
        let Some(earlier) = merged.get_mut(place) else {
            merged.push(change);
            continue;
        };
        earlier.op = change.op.or(earlier.op);
        earlier.trusted = change.trusted.or(earlier.trusted);
        earlier.username = change.username.or(earlier.username.take());
    }
    merged
}

/// Whether a text can be an account id: issuer, colon, id at the issuer.
fn is_account_id(text: &str) -> bool {
    let plain = !text.chars().any(|c| c.is_control()) && text.trim() == text;
    let parts = text.split_once(':').is_some_and(|(place, name)| !place.is_empty() && !name.is_empty());
    text.len() <= MAX_ACCOUNT_ID && plain && parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_ids_name_their_issuer() {
        for id in ["internal:1", "internal:a b", "auth.example.org:6f1c", "drawpile.net:9"] {
            assert!(is_account_id(id), "{id}");
        }
        let long = format!("internal:{}", "x".repeat(MAX_ACCOUNT_ID));
        for id in ["", "7-1", ":", "internal:", ":1", "internal:1\n", " internal:1", &long] {
            assert!(!is_account_id(id), "{id}");
        }
    }

    #[test]
    fn of_several_changes_the_last_counts() {
        let change = |id: &str, op, trusted, name: Option<&str>| AuthChange {
            auth_id: id.into(),
            op,
            trusted,
            username: name.map(str::to_owned),
        };
        let list = vec![
            change("a:1", Some(true), None, Some("A")),
            change("a:2", None, Some(true), None),
            change("", Some(true), None, None),
            change("a:1", Some(false), Some(true), None),
        ];
        let expected =
            vec![change("a:1", Some(false), Some(true), Some("A")), change("a:2", None, Some(true), None)];
        assert_eq!(merged(list), expected);
    }
}
