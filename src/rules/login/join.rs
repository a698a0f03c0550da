//! Command `join`. Source: docs/spec/login.md#join.

use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::command::Join;

use super::{LoginCx, LoginEffect, LoginMachine, LookedUp, PendingAnswer};
use crate::config::bans::BanAction;
use crate::log::{Level, Topic};
use crate::rules::password::MAX_PASSWORD_ATTEMPTS;
use crate::rules::session::{JoinRequest, Refusal};

impl LoginMachine {
    pub(super) fn join(&mut self, join: Join, cx: &mut LoginCx<'_>) {
        if !self.same_info(&join.info, cx) {
            return;
        }
        let looked_up = matches!(self.lookup, Some(LookedUp::Session { .. }));
        if self.rules.settings().mandatory_lookup && !looked_up {
            let text = "Cannot join when a hosting intent was given";
            return self.fail("lookupJoinMismatch", text, cx);
        }
        let session = join.session.clone();
        self.waiting = Some(PendingAnswer::Session(Box::new(join)));
        cx.push(LoginEffect::FindSession { session });
    }

    /// Answer to [`LoginEffect::FindSession`]: id and version of the session, if it exists.
    pub(super) fn session_found(&mut self, found: Option<(&str, &ProtocolVersion)>, cx: &mut LoginCx<'_>) {
        let Some(PendingAnswer::Session(join)) = self.waiting.take() else { return };
        let Some((id, protocol)) = found else {
            self.fail("notFound", "Session not found!", cx);
            return;
        };
        let mut invite = String::new();
        if let Some(LookedUp::Session { id: expected, invite: secret }) = &self.lookup {
            invite.clone_from(secret);
            if expected != id {
                let text = "Cannot look up one session and then join another";
                self.fail("lookupMismatch", text, cx);
                return;
            }
        }
        if !self.system_id(&join.info.s, protocol.requires_system_id(), cx) {
            return;
        }
        self.client.capabilities = join.capabilities;
        let stopped =
            self.ban.as_ref().is_some_and(|b| b.reaction != BanAction::Timer) && !self.ban_triggered;
        if !stopped {
            self.trigger_ban(false, cx);
        }
        self.waiting = Some(PendingAnswer::Join);
        cx.push(LoginEffect::Join(Box::new(JoinRequest {
            client: self.client.clone(),
            password: join.password,
            invite,
            oldv: join.oldv,
            hidx: join.hidx,
            server_ban: stopped,
        })));
    }

    /// Answer to [`LoginEffect::Join`], if the session refuses.
    pub(super) fn refused(&mut self, refusal: Refusal, cx: &mut LoginCx<'_>) {
        if !matches!(self.waiting.take(), Some(PendingAnswer::Join | PendingAnswer::Host)) {
            return;
        }
        match refusal {
            Refusal::Error { code, message } => self.fail(code, &message, cx),
            Refusal::BadPassword => {
                self.session_attempts += 1;
                let attempt = self.session_attempts;
                let text = format!("Incorrect session password (attempt {attempt}/{MAX_PASSWORD_ATTEMPTS})");
                cx.push(LoginEffect::Log(Level::Warn, Topic::RuleBreak, text));
                self.wrong_password(attempt, cx);
            }
            Refusal::ServerBan => {
                self.trigger_ban(false, cx);
            }
        }
    }
}
