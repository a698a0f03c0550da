//! `gain-op`: becomes operator by password.

use super::{CommandResult, Effects, SessionMachine};
use crate::clock::Now;

impl SessionMachine {
    pub(super) fn gain_op(&mut self, at: usize, opword: &str, now: Now, fx: &mut Effects) -> CommandResult {
        if !self.opword.is_set() {
            return Err("No opword set".into());
        }
        if !self.opword.accepts(opword) {
            let user = self.members[at].log_user();
            self.rule_break(user, "Incorrect opword", now, fx);
            return Err("Incorrect password".into());
        }
        let id = self.members[at].id;
        self.set_operator(id, true, "password", None, true, now, fx);
        Ok(())
    }
}
