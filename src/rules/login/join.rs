//! Command `join`. Source: docs/spec/login.md#join.

use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::command::Join;

use super::{LoginEffect, LoginMachine, LookedUp, PendingAnswer};
use crate::config::bans::BanAction;
use crate::log::{Level, Topic};
use crate::rules::password::MAX_PASSWORD_ATTEMPTS;
use crate::rules::session::{JoinRequest, Refusal};

impl LoginMachine {
    pub(super) fn join(&mut self, join: Join, effects: &mut Vec<LoginEffect>) {
        if !self.same_info(&join.info, effects) {
            return;
        }
        let looked_up = matches!(self.lookup, Some(LookedUp::Session { .. }));
        if self.rules.settings().mandatory_lookup && !looked_up {
            let text = "Cannot join when a hosting intent was given";
            return self.fail("lookupJoinMismatch", text, effects);
        }
        let session = join.session.clone();
        self.waiting = Some(PendingAnswer::Session(Box::new(join)));
        effects.push(LoginEffect::FindSession { session });
    }

    /// Answer to [`LoginEffect::FindSession`]: id and version of the session, if it exists.
    pub fn session_found(&mut self, found: Option<(&str, &ProtocolVersion)>) -> Vec<LoginEffect> {
        let mut effects = Vec::new();
        let Some(PendingAnswer::Session(join)) = self.waiting.take() else { return effects };
        let Some((id, protocol)) = found else {
            self.fail("notFound", "Session not found!", &mut effects);
            return effects;
        };
        let mut invite = String::new();
        if let Some(LookedUp::Session { id: expected, invite: secret }) = &self.lookup {
            invite.clone_from(secret);
            if expected != id {
                let text = "Cannot look up one session and then join another";
                self.fail("lookupMismatch", text, &mut effects);
                return effects;
            }
        }
        if !self.system_id(&join.info.s, protocol.requires_system_id(), &mut effects) {
            return effects;
        }
        self.client.capabilities = join.capabilities;
        let stopped =
            self.ban.as_ref().is_some_and(|b| b.reaction != BanAction::Timer) && !self.ban_triggered;
        if !stopped {
            self.trigger_ban(false, &mut effects);
        }
        self.waiting = Some(PendingAnswer::Join);
        effects.push(LoginEffect::Join(Box::new(JoinRequest {
            client: self.client.clone(),
            password: join.password,
            invite,
            oldv: join.oldv,
            hidx: join.hidx,
            server_ban: stopped,
        })));
        effects
    }

    /// Answer to [`LoginEffect::Join`], if the session refuses.
    pub fn refused(&mut self, refusal: Refusal) -> Vec<LoginEffect> {
        let mut effects = Vec::new();
        if !matches!(self.waiting.take(), Some(PendingAnswer::Join | PendingAnswer::Host)) {
            return effects;
        }
        match refusal {
            Refusal::Error { code, message } => self.fail(code, &message, &mut effects),
            Refusal::BadPassword => {
                self.session_attempts += 1;
                let attempt = self.session_attempts;
                let text = format!("Incorrect session password (attempt {attempt}/{MAX_PASSWORD_ATTEMPTS})");
                effects.push(LoginEffect::Log(Level::Warn, Topic::RuleBreak, text));
                self.wrong_password(attempt, &mut effects);
            }
            Refusal::ServerBan => {
                self.trigger_ban(false, &mut effects);
            }
        }
        effects
    }
}
