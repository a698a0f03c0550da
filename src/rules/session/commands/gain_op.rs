//! `gain-op`: becomes operator by password.

use drawhall_protocol::command::GainOp;

use super::{CommandResult, Cx, Effect, MemberKey, Perform, Right, SessionMachine};
use crate::rules::password::MAX_PASSWORD_ATTEMPTS;
use crate::rules::session::PasswordKind;
use crate::rules::session::{DisconnectReason, OpwordCheck};

/// Name of the command.
pub const COMMAND: &str = "gain-op";
/// Reply when the rate limit is exceeded.
pub const TOO_MANY_OPWORDS: &str = "Too many passwords, try again in a minute";
const INCORRECT: &str = "Incorrect password";

impl Perform for GainOp {
    const RIGHT: Right = Right::Anybody;

    fn perform(self, session: &mut SessionMachine, sender: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        session.gain_op(sender, &self.opword, cx)
    }
}

impl SessionMachine {
    pub(super) fn gain_op(&mut self, key: MemberKey, opword: &str, cx: &mut Cx<'_>) -> CommandResult {
        if !self.properties.has_opword() {
            return Err("No opword set".into());
        }
        let limit = self.shared.settings.password_rate_limit.0;
        let member = self.sender(key)?;
        let (conn, address) = (member.conn(), member.client.identity.address);
        if !self.moderation.opword_attempts.take(address, limit, cx.now.monotonic_ms) {
            return Err(TOO_MANY_OPWORDS.into());
        }
        if let Some(hash) = self.properties.password(PasswordKind::Operator).needs_slow_verify(opword) {
            let hash = hash.to_owned();
            cx.push(Effect::CheckOpword(OpwordCheck { conn, address, hash, opword: opword.to_owned() }));
            return Ok(());
        }
        self.try_opword(key, opword, cx)
    }

    /// Result of verifying an operator password.
    pub fn opword_checked(&mut self, check: &OpwordCheck, fits: bool, cx: &mut Cx<'_>) {
        if fits {
            self.cache_verified_password(PasswordKind::Operator, &check.hash, &check.opword);
        }
        let Some(key) = self.members.key_of(check.conn) else { return };
        if let Err(reason) = self.try_opword(key, &check.opword, cx) {
            self.refuse(key, COMMAND, &reason, cx);
        }
    }

    fn try_opword(&mut self, key: MemberKey, opword: &str, cx: &mut Cx<'_>) -> CommandResult {
        if !self.properties.password(PasswordKind::Operator).accepts(opword) {
            return self.wrong_opword(key, cx);
        }
        let id = self.sender(key)?.id;
        self.set_operator(id, true, "password", None, true, cx);
        Ok(())
    }

    /// Counts a wrong password; the connection is closed after the tenth, as with other passwords.
    fn wrong_opword(&mut self, key: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        let Some(member) = self.members.get_mut(key) else { return Ok(()) };
        member.wrong_opwords += 1;
        let attempt = member.wrong_opwords;
        let text = format!("Incorrect opword (attempt {attempt}/{MAX_PASSWORD_ATTEMPTS})");
        self.rule_break(key, text, cx);
        if attempt < MAX_PASSWORD_ATTEMPTS {
            return Err(INCORRECT.into());
        }
        self.refuse(key, COMMAND, INCORRECT, cx);
        self.disconnect(key, DisconnectReason::Error, INCORRECT, "opword", cx);
        Ok(())
    }
}
