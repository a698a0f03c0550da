//! `gain-op`: becomes operator by password.

use super::{CommandResult, Effects, MemberKey, SessionMachine};
use crate::rules::password::MAX_PASSWORD_ATTEMPTS;
use crate::rules::session::PasswordKind;
use crate::rules::session::{DisconnectReason, OpwordCheck};
use crate::rules::time::Timestamp;

/// Name of the command.
pub const COMMAND: &str = "gain-op";
/// Reply when the rate limit is exceeded.
pub const TOO_MANY_OPWORDS: &str = "Too many passwords, try again in a minute";
const INCORRECT: &str = "Incorrect password";

impl SessionMachine {
    pub(super) fn gain_op(
        &mut self,
        key: MemberKey,
        opword: &str,
        now: Timestamp,
        effects: &mut Effects,
    ) -> CommandResult {
        if !self.opword.is_set() {
            return Err("No opword set".into());
        }
        let limit = self.shared.settings.password_rate_limit.0;
        let member = self.sender(key)?;
        let (conn, address) = (member.conn(), member.client.identity.address);
        if !self.password_attempts.take(address, limit, now.monotonic_ms) {
            return Err(TOO_MANY_OPWORDS.into());
        }
        if let Some(hash) = self.opword.needs_slow_verify(opword) {
            let hash = hash.to_owned();
            effects.check = Some(OpwordCheck { conn, address, hash, opword: opword.to_owned() });
            return Ok(());
        }
        self.try_opword(key, opword, now, effects)
    }

    /// Result of verifying an operator password.
    pub fn opword_checked(&mut self, check: &OpwordCheck, fits: bool, now: Timestamp, effects: &mut Effects) {
        if fits {
            self.cache_verified_password(PasswordKind::Operator, &check.hash, &check.opword);
        }
        let Some(key) = self.members.key_of(check.conn) else { return };
        if let Err(reason) = self.try_opword(key, &check.opword, now, effects) {
            self.refuse(key, COMMAND, &reason, effects);
        }
    }

    fn try_opword(
        &mut self,
        key: MemberKey,
        opword: &str,
        now: Timestamp,
        effects: &mut Effects,
    ) -> CommandResult {
        if !self.opword.accepts(opword) {
            return self.wrong_opword(key, now, effects);
        }
        let id = self.sender(key)?.id;
        self.set_operator(id, true, "password", None, true, now, effects);
        Ok(())
    }

    /// Counts a wrong password; the connection is closed after the tenth, as with other passwords.
    fn wrong_opword(&mut self, key: MemberKey, now: Timestamp, effects: &mut Effects) -> CommandResult {
        let Some(member) = self.members.get_mut(key) else { return Ok(()) };
        member.wrong_opwords += 1;
        let attempt = member.wrong_opwords;
        let text = format!("Incorrect opword (attempt {attempt}/{MAX_PASSWORD_ATTEMPTS})");
        self.rule_break(key, text, now, effects);
        if attempt < MAX_PASSWORD_ATTEMPTS {
            return Err(INCORRECT.into());
        }
        self.refuse(key, COMMAND, INCORRECT, effects);
        self.disconnect(key, DisconnectReason::Error, INCORRECT, "opword", now, effects);
        Ok(())
    }
}
