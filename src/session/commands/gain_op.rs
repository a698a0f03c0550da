//! `gain-op`: becomes operator by password.

use drawhall_protocol::reply::ServerReply;

use super::{CommandResult, Effects, SessionMachine};
use crate::auth::MAX_PASSWORD_ATTEMPTS;
use crate::clock::Now;
use crate::session::{DisconnectReason, OpwordCheck};
use crate::storage::store::PasswordKind;

/// Name of the command.
pub const COMMAND: &str = "gain-op";
/// For somebody who guesses too often.
pub const TOO_MANY_OPWORDS: &str = "Too many passwords, try again in a minute";
const INCORRECT: &str = "Incorrect password";

impl SessionMachine {
    pub(super) fn gain_op(&mut self, at: usize, opword: &str, now: Now, fx: &mut Effects) -> CommandResult {
        if !self.opword.is_set() {
            return Err("No opword set".into());
        }
        let limit = self.shared.settings.password_rate_limit.0;
        let address = self.members[at].visitor.person.address;
        if !self.guesses.take(address, limit, now.ms) {
            return Err(TOO_MANY_OPWORDS.into());
        }
        if let Some(hash) = self.opword.slow_check(opword) {
            let (conn, hash) = (self.members[at].conn(), hash.to_owned());
            fx.check = Some(OpwordCheck { conn, address, hash, opword: opword.to_owned() });
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
            self.reply_to(check.conn, &ServerReply::command_error(COMMAND, &reason), fx);
        }
    }

    fn try_opword(&mut self, at: usize, opword: &str, now: Now, fx: &mut Effects) -> CommandResult {
        if !self.opword.accepts(opword) {
            return self.wrong_opword(at, now, fx);
        }
        let id = self.members[at].id;
        self.set_operator(id, true, "password", None, true, now, fx);
        Ok(())
    }

    /// The connection is ended at the tenth, as with other passwords.
    fn wrong_opword(&mut self, at: usize, now: Now, fx: &mut Effects) -> CommandResult {
        let member = &mut self.members[at];
        member.wrong_opwords += 1;
        let (attempt, user, conn) = (member.wrong_opwords, member.log_user(), member.conn());
        let text = format!("Incorrect opword (attempt {attempt}/{MAX_PASSWORD_ATTEMPTS})");
        self.rule_break(user, text, now, fx);
        if attempt < MAX_PASSWORD_ATTEMPTS {
            return Err(INCORRECT.into());
        }
        self.reply_to(conn, &ServerReply::command_error(COMMAND, INCORRECT), fx);
        self.disconnect(conn, DisconnectReason::Error, INCORRECT, "opword", now, fx);
        Ok(())
    }
}
