//! `gain-op`: becomes operator by password.

use drawhall_protocol::reply::ServerReply;

use super::{CommandResult, Effects, SessionMachine};
use crate::clock::Now;
use crate::limits::Rate;
use crate::session::OpwordCheck;
use crate::storage::store::PasswordKind;

impl SessionMachine {
    pub(super) fn gain_op(&mut self, at: usize, opword: &str, now: Now, fx: &mut Effects) -> CommandResult {
        if !self.opword.is_set() {
            return Err("No opword set".into());
        }
        let limit = self.shared.settings.password_rate_limit.0;
        if limit > 0 && !self.members[at].opwords.take(Rate::per_minute(limit), now.ms) {
            return Err("Too many passwords, try again in a minute".into());
        }
        if let Some(hash) = self.opword.slow_check(opword) {
            let (conn, hash) = (self.members[at].conn(), hash.to_owned());
            fx.check = Some(OpwordCheck { conn, hash, opword: opword.to_owned() });
            return Ok(());
        }
        self.try_opword(at, opword, now, fx)
    }

    /// An opword was checked against its hash.
    pub fn opword_checked(&mut self, check: &OpwordCheck, fits: bool, now: Now, fx: &mut Effects) {
        if fits {
            self.learn_password(PasswordKind::Operator, &check.hash, &check.opword);
        }
        let Some(at) = self.member_at(check.conn) else { return };
        if let Err(reason) = self.try_opword(at, &check.opword, now, fx) {
            self.reply_to(check.conn, &ServerReply::command_error("gain-op", &reason), fx);
        }
    }

    fn try_opword(&mut self, at: usize, opword: &str, now: Now, fx: &mut Effects) -> CommandResult {
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
