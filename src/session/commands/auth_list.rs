//! `auth-list`: gives and takes ranks by account, also of accounts that are not here.

use drawhall_protocol::command::AuthChange;

use super::{CommandResult, Effects, MemberKey, SessionMachine};
use crate::clock::Now;

impl SessionMachine {
    pub(super) fn auth_list(
        &mut self,
        key: MemberKey,
        list: Option<Vec<AuthChange>>,
        now: Now,
        fx: &mut Effects,
    ) -> CommandResult {
        let list = list.ok_or("Insane argument")?;
        let member = self.sender(key)?;
        let (own, by) = (member.id, member.name().to_owned());
        let mut changed = false;
        for change in list.into_iter().filter(|c| !c.auth_id.is_empty()) {
            let target = self.members.iter().find(|m| m.auth_id() == change.auth_id);
            let target = target.map(|m| (m.id, m.is_operator(), m.trusted));
            if let Some(op) = change.op {
                match target {
                    // One's own operator status stays as it is.
                    Some((id, is_op, _)) if id != own && is_op != op => {
                        changed = true;
                        self.set_operator(id, op, &by, None, false, now, fx);
                    }
                    Some(_) => {}
                    None => {
                        changed = true;
                        self.accounts.set_operator(&change.auth_id, op);
                    }
                }
            }
            if let Some(trusted) = change.trusted {
                match target {
                    Some((id, _, is_trusted)) if is_trusted != trusted => {
                        changed = true;
                        self.set_trusted(id, trusted, &by, None, false, now, fx);
                    }
                    Some(_) => {}
                    None => {
                        changed = true;
                        self.accounts.set_trusted(&change.auth_id, trusted);
                    }
                }
            }
            if let (None, Some(name)) = (target, change.username.filter(|n| !n.is_empty())) {
                changed = true;
                self.accounts.set_name(&change.auth_id, &name);
            }
        }
        if changed {
            self.send_auth_list(now, fx);
        }
        Ok(())
    }
}
