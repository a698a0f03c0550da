//! Logging in with an account of an auth server (ext-auth). Sources: docs/spec/login.md#ext-auth-at-ident,
//! docs/spec/services.md#ext-auth.

use drawhall_protocol::command::Ident;
use drawhall_protocol::reply::{Method, ResultReply};

use super::ident::{INTERNAL_ACCOUNT, Intent};
use super::{LoginCx, LoginEffect, LoginMachine, PendingAnswer};
use crate::config::extauth::ExtAuth;
use crate::log::{Level, Topic};
use crate::rules::login::AccountCheck;
use crate::rules::login::account::{NameAnswer, permitted};
use crate::rules::token::{self, Token};

const INVALID_TOKEN: &str = "Ext auth token is invalid!";

impl LoginMachine {
    /// The ext-auth method of the greeting.
    pub(super) fn extauth_method(&self) -> Option<Method> {
        let ExtAuth { url, .. } = self.rules.extauth()?;
        let settings = self.rules.settings();
        let guests_host =
            settings.allow_guest_hosts && (!self.client.browser || settings.allow_guest_web_hosts);
        let accounts_host = settings.extauth_host && (!self.client.browser || settings.extauth_web_host);
        let host = guests_host || accounts_host;
        let actions =
            [Some("join"), host.then_some("host")].into_iter().flatten().map(str::to_owned).collect();
        Some(Method { actions, url })
    }

    /// Handles a name without an account here, with an auth server configured.
    pub(super) fn extauth_ident(
        &mut self,
        ident: Box<Ident>,
        intent: Intent,
        server: &ExtAuth,
        cx: &mut LoginCx<'_>,
    ) {
        if let Some(token) = &ident.extauth {
            self.extauth_token(&ident.name, token, server, cx);
        } else if self.rules.settings().allow_guests {
            let name = ident.name.clone();
            self.waiting = Some(PendingAnswer::ExtAuth(ident, intent));
            cx.push(LoginEffect::QueryExtAuth { name });
        } else if self.intent_fits(intent, Intent::ExtAuth, false, cx) {
            self.request_extauth(server, cx);
        }
    }

    /// Answer to [`LoginEffect::QueryExtAuth`].
    pub(super) fn extauth_answered(&mut self, answer: NameAnswer, cx: &mut LoginCx<'_>) {
        let Some(PendingAnswer::ExtAuth(ident, intent)) = self.waiting.take() else { return };
        let server = self.rules.extauth();
        match (answer, server) {
            (NameAnswer::Account, Some(server)) => {
                if self.intent_fits(intent, Intent::ExtAuth, false, cx) {
                    self.request_extauth(&server, cx);
                }
            }
            (NameAnswer::Guest, _) => self.guest_login(&ident.name, intent, false, cx),
            (NameAnswer::OutGroup, _) => {
                self.fail("extauthOutgroup", "This username cannot log in to this server", cx);
            }
            (NameAnswer::Banned, _) => {
                let text = "Username is locked, probably because the associated account was recently deleted";
                self.fail("extauthLocked", text, cx);
            }
            (NameAnswer::Other(status), _) => {
                self.fail("extauth", &format!("Unexpected ext-auth response: {status}"), cx);
            }
            (NameAnswer::Unavailable, _) | (_, None) if self.rules.settings().extauth_fallback => {
                self.guest_login(&ident.name, intent, true, cx);
            }
            (NameAnswer::Unavailable | NameAnswer::Account, _) => {
                self.fail("noExtAuth", "Authentication server is unavailable!", cx);
            }
        }
    }

    fn request_extauth(&mut self, server: &ExtAuth, cx: &mut LoginCx<'_>) {
        let nonce = loop {
            let nonce = cx.rng.next();
            if nonce != 0 {
                break nonce;
            }
        };
        self.nonce = Some(nonce);
        let settings = self.rules.settings();
        let result = ResultReply {
            message: "External authentication needed".into(),
            state: "needExtAuth".into(),
            extauth_url: server.url.clone(),
            nonce: format!("{nonce:x}"),
            group: Some(settings.extauth_group.clone()),
            avatar: Some(settings.extauth_avatars),
            ..ResultReply::default()
        };
        self.send_result(result, cx);
    }

    /// Handles a token for this name.
    fn extauth_token(&mut self, name: &str, text: &str, server: &ExtAuth, cx: &mut LoginCx<'_>) {
        // A nonce is valid for one attempt.
        let Some(nonce) = self.nonce.take() else {
            return self.fail("extAuthError", "Ext auth not requested!", cx);
        };
        let group = &self.rules.settings().extauth_group;
        let key = server.key.as_ref().ok_or(token::TokenError::Signature);
        let token = match key.and_then(|key| token::read(text, key, group, nonce)) {
            Ok(token) if token.is_older_than(cx.connected_ms) => {
                cx.push(LoginEffect::Log(Level::Warn, Topic::RuleBreak, "Ext-auth token: too old".into()));
                return self.fail("extAuthError", INVALID_TOKEN, cx);
            }
            Ok(token) => token,
            Err(error) => {
                cx.push(LoginEffect::Log(Level::Warn, Topic::RuleBreak, format!("Ext-auth token: {error}")));
                let text = match error {
                    token::TokenError::Signature => "Ext auth token signature mismatch!",
                    token::TokenError::Payload => INVALID_TOKEN,
                };
                return self.fail("extAuthError", text, cx);
            }
        };
        if !self.is_name_of_others(&token.username, cx) {
            return;
        }
        if token.username == name || !self.rules.has_accounts {
            return self.token_login(token, cx);
        }
        let name = token.username.clone();
        self.waiting = Some(PendingAnswer::Token(Box::new(token)));
        cx.push(LoginEffect::CheckAccount { name, password: String::new() });
    }

    /// Answer to whether the name in a token is an account of this server.
    pub(super) fn token_name_checked(&mut self, check: &AccountCheck, token: Token, cx: &mut LoginCx<'_>) {
        match check {
            AccountCheck::NotFound => self.token_login(token, cx),
            AccountCheck::Similar => self.too_similar(&token.username, cx),
            _ => self.fail("extAuthError", INTERNAL_ACCOUNT, cx),
        }
    }

    /// Logs in the user of a valid token.
    fn token_login(&mut self, token: Token, cx: &mut LoginCx<'_>) {
        let Some(server) = self.rules.extauth() else {
            return self.fail("noExtAuth", "Authentication server is unavailable!", cx);
        };
        let settings = self.rules.shared.settings.clone();
        if self.ban.is_none() || self.ban_exemptable {
            let ban = token.number.and_then(|uid| self.rules.user_ban(uid));
            if ban.is_some() {
                // A ban of the account itself has no exemption.
                (self.ban, self.ban_exemptable) = (ban, false);
            }
        }
        if settings.extauth_avatars && !token.avatar.is_empty() {
            self.client.avatar = token.avatar;
        }
        let ghosts = settings.enable_ghosts && settings.extauth_ghosts;
        let wants_ghost = token.flags.iter().any(|f| f == "GHOST");
        let auth_id = format!("{}:{}", server.host, token.uid.as_ref().unwrap_or(&token.username));
        let flags = permitted(token.flags, &settings);
        if wants_ghost && !ghosts {
            return self.fail("ghostsNotAllowed", "Ghost mode not allowed", cx);
        }
        self.account_login(&token.username, auth_id, flags, cx);
    }
}
