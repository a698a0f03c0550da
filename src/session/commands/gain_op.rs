//! `gain-op`: becomes operator by password.

use super::{CommandResult, Effects, MemberKey, SessionMachine};
use crate::clock::Now;
use crate::limits::Rate;
use crate::session::OpwordCheck;
use crate::storage::store::PasswordKind;

impl SessionMachine {
    pub(super) fn gain_op(
        &mut self,
        key: MemberKey,
        opword: &str,
        now: Now,
        fx: &mut Effects,
    ) -> CommandResult {
        if !self.opword.is_set() {
            return Err("No opword set".into());
        }
        let limit = self.shared.settings.password_rate_limit.0;
        let Some(member) = self.members.get_mut(key) else { return Ok(()) };
        if limit > 0 && !member.opwords.take(Rate::per_minute(limit), now.ms) {
            return Err("Too many passwords, try again in a minute".into());
        }
        if let Some(hash) = self.opword.slow_check(opword) {
            let (conn, hash) = (member.conn(), hash.to_owned());
            fx.check = Some(OpwordCheck { conn, hash, opword: opword.to_owned() });
            return Ok(());
        }
        self.try_opword(key, opword, now, fx)
    }

    /// An opword was checked against its hash.
    pub fn opword_checked(&mut self, check: &OpwordCheck, fits: bool, now: Now, fx: &mut Effects) {
        if fits {
            self.learn_password(PasswordKind::Operator, &check.hash, &check.opword);
        }
        let Some(key) = self.members.key_of(check.conn) else { return };
        if let Err(reason) = self.try_opword(key, &check.opword, now, fx) {
            self.refuse(key, "gain-op", &reason, fx);
        }
    }

    fn try_opword(&mut self, key: MemberKey, opword: &str, now: Now, fx: &mut Effects) -> CommandResult {
        if !self.opword.accepts(opword) {
            self.rule_break(key, "Incorrect opword", now, fx);
            return Err("Incorrect password".into());
        }
        let id = self.sender(key)?.id;
        self.set_operator(id, true, "password", None, true, now, fx);
        Ok(())
    }
}
