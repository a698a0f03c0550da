//! `join`: enter a session.

use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::command::Join;

use super::{LoginEffect, LoginMachine, LookedUp, Waiting};
use crate::auth::MAX_PASSWORD_ATTEMPTS;
use crate::config::ini::Reaction;
use crate::log::{Level, Topic};
use crate::session::{JoinRequest, Refusal};

impl LoginMachine {
    pub(super) fn join(&mut self, join: Join, fx: &mut Vec<LoginEffect>) {
        if !self.same_info(&join.info, fx) {
            return;
        }
        let looked_up = matches!(self.lookup, Some(LookedUp::Session { .. }));
        if self.rules.settings().mandatory_lookup && !looked_up {
            let text = "Cannot join when a hosting intent was given";
            return self.fail("lookupJoinMismatch", text, fx);
        }
        let session = join.session.clone();
        self.waiting = Some(Waiting::Session(Box::new(join)));
        fx.push(LoginEffect::FindSession { session });
    }

    /// The answer to [`LoginEffect::FindSession`]: id and version of the session, if there is one.
    pub fn session_found(&mut self, found: Option<(&str, &ProtocolVersion)>) -> Vec<LoginEffect> {
        let mut fx = Vec::new();
        let Some(Waiting::Session(join)) = self.waiting.take() else { return fx };
        let Some((id, protocol)) = found else {
            self.fail("notFound", "Session not found!", &mut fx);
            return fx;
        };
        let mut invite = String::new();
        if let Some(LookedUp::Session { id: expected, invite: secret }) = &self.lookup {
            invite.clone_from(secret);
            if expected != id {
                let text = "Cannot look up one session and then join another";
                self.fail("lookupMismatch", text, &mut fx);
                return fx;
            }
        }
        if !self.system_id(&join.info.s, protocol.requires_system_id(), &mut fx) {
            return fx;
        }
        self.visitor.capabilities = join.capabilities;
        let stopped = self.ban.as_ref().is_some_and(|b| b.reaction != Reaction::Timer) && !self.ban_triggered;
        if !stopped {
            self.trigger_ban(false, &mut fx);
        }
        self.waiting = Some(Waiting::Join);
        fx.push(LoginEffect::Join(Box::new(JoinRequest {
            visitor: self.visitor.clone(),
            password: join.password,
            invite,
            oldv: join.oldv,
            hidx: join.hidx,
            server_ban: stopped,
        })));
        fx
    }

    /// The answer to [`LoginEffect::Join`], if the session refuses.
    pub fn refused(&mut self, refusal: Refusal) -> Vec<LoginEffect> {
        let mut fx = Vec::new();
        if !matches!(self.waiting.take(), Some(Waiting::Join | Waiting::Host)) {
            return fx;
        }
        match refusal {
            Refusal::Error { code, message } => self.fail(code, &message, &mut fx),
            Refusal::BadPassword => {
                self.session_attempts += 1;
                let attempt = self.session_attempts;
                let text = format!("Incorrect session password (attempt {attempt}/{MAX_PASSWORD_ATTEMPTS})");
                fx.push(LoginEffect::Log(Level::Warn, Topic::RuleBreak, text));
                self.wrong_password(attempt, &mut fx);
            }
            Refusal::ServerBan => {
                self.trigger_ban(false, &mut fx);
            }
        }
        fx
    }
}
