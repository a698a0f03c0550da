//! Command `ident`. Source: docs/spec/login.md#ident.

use drawhall_protocol::command::Ident;
use drawhall_protocol::qt_base64;
use drawhall_protocol::reply::ResultReply;

use super::{LoginCx, LoginEffect, LoginMachine, LoginState, LookedUp, PendingAnswer};
use crate::log::{Level, Topic};
use crate::rules::login::AccountCheck;
use crate::rules::password::{BUSY_TEXT, MAX_PASSWORD_ATTEMPTS};
use crate::rules::username;

/// Why a token is refused for the name of an account of this server.
pub(super) const INTERNAL_ACCOUNT: &str = "Cannot use extauth with an internal user account!";

/// How a client intends to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    /// Any way.
    Any,
    /// Without an account.
    Guest,
    /// With an account of this server.
    Auth,
    /// With an account of the auth server.
    ExtAuth,
}

impl Intent {
    fn parse(text: &str) -> Option<Intent> {
        Some(match text {
            "" => Self::Any,
            "guest" => Self::Guest,
            "auth" => Self::Auth,
            "extauth" => Self::ExtAuth,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Any => "unknown",
            Self::Guest => "guest",
            Self::Auth => "auth",
            Self::ExtAuth => "extauth",
        }
    }
}

impl LoginMachine {
    pub(super) fn ident(&mut self, ident: Ident, cx: &mut LoginCx<'_>) {
        if !username::has_valid_form(&ident.name) {
            return self.bad_name(cx);
        }
        if !self.may_be_called(&ident.name, cx) {
            return;
        }
        let Some(intent) = Intent::parse(&ident.intent) else {
            return self.fail("identError", "Invalid ident intent", cx);
        };
        let (name, password) = (ident.name.clone(), ident.password.clone());
        self.waiting = Some(PendingAnswer::Account(Box::new(ident), intent));
        if self.rules.has_accounts {
            cx.push(LoginEffect::CheckAccount { name, password });
        } else {
            self.account_checked(AccountCheck::NotFound, cx);
        }
    }

    fn bad_name(&mut self, cx: &mut LoginCx<'_>) {
        // The name is not logged: it may be a password.
        let text = "Attempt to use an invalid username".into();
        cx.push(LoginEffect::Log(Level::Warn, Topic::RuleBreak, text));
        self.fail("badUsername", "Invalid username", cx);
    }

    /// Whether the server allows this name.
    fn may_be_called(&mut self, name: &str, cx: &mut LoginCx<'_>) -> bool {
        let forbidden = self.rules.shared.names.forbids(name);
        if forbidden {
            let text = format!("Attempt to use forbidden username '{name}'");
            cx.push(LoginEffect::Log(Level::Warn, Topic::RuleBreak, text));
            self.fail("forbiddenUsername", "Forbidden username", cx);
        }
        !forbidden
    }

    /// Whether somebody without an account here may have this name.
    pub(super) fn is_name_of_others(&mut self, name: &str, cx: &mut LoginCx<'_>) -> bool {
        if !username::is_valid(name) {
            self.bad_name(cx);
            return false;
        }
        self.may_be_called(name, cx)
    }

    /// Answer to [`LoginEffect::CheckAccount`].
    pub(super) fn account_checked(&mut self, check: AccountCheck, cx: &mut LoginCx<'_>) {
        match self.waiting.take() {
            Some(PendingAnswer::Account(ident, intent)) => self.identified(&check, ident, intent, cx),
            Some(PendingAnswer::Token(token)) => self.token_name_checked(&check, *token, cx),
            _ => {}
        }
    }

    /// Continues once it is known whether the name is an account.
    fn identified(&mut self, check: &AccountCheck, ident: Box<Ident>, intent: Intent, cx: &mut LoginCx<'_>) {
        match check {
            AccountCheck::Busy => return self.fail("tooManyAttempts", BUSY_TEXT, cx),
            AccountCheck::NotFound | AccountCheck::Similar if !username::is_valid(&ident.name) => {
                return self.bad_name(cx);
            }
            AccountCheck::Similar => return self.too_similar(&ident.name, cx),
            _ => {}
        }
        let settings = self.rules.shared.settings.clone();
        let own = *check != AccountCheck::NotFound;
        if own && ident.extauth.is_some() {
            return self.fail("extAuthError", INTERNAL_ACCOUNT, cx);
        }
        if own && !self.intent_fits(intent, Intent::Auth, false, cx) {
            return;
        }
        if let Some(avatar) = ident.avatar.as_ref().filter(|_| settings.custom_avatars) {
            self.client.avatar = qt_base64::decode(avatar);
        }
        if let Some(server) = self.rules.extauth().filter(|_| !own) {
            return self.extauth_ident(ident, intent, &server, cx);
        }
        match check {
            AccountCheck::NotFound if settings.allow_guests => {
                self.guest_login(&ident.name, intent, false, cx);
            }
            AccountCheck::BadPassword => self.bad_password(&ident, Some(&ident.name), cx),
            AccountCheck::Locked => self.fail("bannedName", "This username is banned", cx),
            AccountCheck::Ok { auth_id, flags } => {
                self.account_login(&ident.name, auth_id.clone(), flags.clone(), cx);
            }
            _ => self.bad_password(&ident, None, cx),
        }
    }

    /// The name looks like that of an account.
    pub(super) fn too_similar(&mut self, name: &str, cx: &mut LoginCx<'_>) {
        let text = format!("Attempt to use username '{name}', which looks like that of an account");
        cx.push(LoginEffect::Log(Level::Warn, Topic::RuleBreak, text));
        self.fail("nameInuse", "This username looks like that of an account", cx);
    }

    /// Whether the login matches the client's intent; `fallback`: as guest because the auth server is unreachable.
    pub(super) fn intent_fits(
        &self,
        intent: Intent,
        actual: Intent,
        fallback: bool,
        cx: &mut LoginCx<'_>,
    ) -> bool {
        let fits = intent == Intent::Any || intent == actual;
        if !fits {
            let result = ResultReply {
                state: "intentMismatch".into(),
                message: "Intent mismatch".into(),
                intent: intent.name().into(),
                method: actual.name().into(),
                extauth_fallback: fallback,
                ..ResultReply::default()
            };
            self.send_result(result, cx);
        }
        fits
    }

    /// The name is logged only if it is an account: people type passwords into the wrong field.
    fn bad_password(&mut self, ident: &Ident, account: Option<&str>, cx: &mut LoginCx<'_>) {
        if ident.password.is_empty() {
            let (message, state) = ("Password needed".into(), "needPassword".into());
            return self.send_result(ResultReply { message, state, ..ResultReply::default() }, cx);
        }
        self.account_attempts += 1;
        let attempt = self.account_attempts;
        let account = account.unwrap_or("that does not exist");
        let text =
            format!("Incorrect password for account {account} (attempt {attempt}/{MAX_PASSWORD_ATTEMPTS})");
        cx.push(LoginEffect::Log(Level::Warn, Topic::RuleBreak, text));
        self.wrong_password(attempt, cx);
    }

    /// The tenth attempt ends the connection.
    pub(super) fn wrong_password(&mut self, attempt: u32, cx: &mut LoginCx<'_>) {
        if attempt >= MAX_PASSWORD_ATTEMPTS {
            self.fail("badPassword", "Incorrect password", cx);
        } else {
            self.error("badPassword", "Incorrect password", cx);
        }
    }

    pub(super) fn guest_login(&mut self, name: &str, intent: Intent, fallback: bool, cx: &mut LoginCx<'_>) {
        if !self.intent_fits(intent, Intent::Guest, fallback, cx) {
            return;
        }
        let settings = self.rules.settings();
        if self.client.browser && !settings.allow_guest_web {
            let text = "You don't have permission to connect from the web.";
            return self.fail("webNotAllowed", text, cx);
        }
        name.clone_into(&mut self.client.identity.name);
        self.client.flags = self.with_implicit_flags(Vec::new());
        self.logged_in("Guest login OK!", cx);
    }

    pub(super) fn account_login(
        &mut self,
        name: &str,
        auth_id: String,
        flags: Vec<String>,
        cx: &mut LoginCx<'_>,
    ) {
        let ghosts = self.rules.settings().enable_ghosts;
        let has = |flag: &str| flags.iter().any(|f| f == flag);
        let (moderator, ghost) = (has("MOD"), has("GHOST"));
        let may_always_host = moderator || has("HOST");
        if (moderator || has("BANEXEMPT")) && self.ban_exemptable {
            cx.push(LoginEffect::Log(Level::Info, Topic::Status, format!("{name} is banned, but exempt")));
            self.ban = None;
            self.ban_exemptable = false;
        }
        if let Some(ban) = self.rules.account_ban(&auth_id)
            && (self.ban.is_none() || self.ban_exemptable)
        {
            // A ban of the account itself has no exemption.
            (self.ban, self.ban_exemptable) = (Some(ban), false);
        }
        let own = flags.into_iter().filter(|f| f != "GHOST" || ghosts).collect();
        let flags = self.with_implicit_flags(own);
        if self.client.browser && !flags.iter().any(|f| f == "WEB") {
            let text = "You don't have permission to connect from the web.";
            return self.fail("webNotAllowed", text, cx);
        }
        if ghost && !ghosts {
            return self.fail("ghostsNotAllowed", "Ghost mode not allowed", cx);
        }
        if ghost && !moderator {
            return self.fail("ghostWithoutMod", "Ghost mode is only available for moderators", cx);
        }
        name.clone_into(&mut self.client.identity.name);
        self.client.identity.auth_id = auth_id;
        self.client.flags = flags;
        self.client.may_always_host = may_always_host;
        self.client.moderator = moderator;
        self.client.ghost = ghost;
        self.logged_in("Authenticated login OK!", cx);
    }

    /// Adds flags that everybody has, and those that moderators have.
    fn with_implicit_flags(&self, mut flags: Vec<String>) -> Vec<String> {
        let settings = self.rules.settings();
        let moderator = flags.iter().any(|f| f == "MOD");
        let implicit = [
            ("HOST", settings.allow_guest_hosts),
            ("WEB", settings.allow_guest_web),
            ("WEBSESSION", settings.allow_guest_web_session),
            ("WEBHOST", settings.allow_guest_web_hosts),
            ("PERSIST", moderator),
        ];
        for (flag, _) in implicit.iter().filter(|(_, on)| *on) {
            if !flags.iter().any(|f| f == flag) {
                flags.push((*flag).to_owned());
            }
        }
        flags
    }

    fn logged_in(&mut self, message: &str, cx: &mut LoginCx<'_>) {
        if self.trigger_ban(true, cx) {
            return;
        }
        self.state = LoginState::WaitForLogin;
        let result = ResultReply {
            message: message.into(),
            state: "identOk".into(),
            flags: Some(self.client.flags.clone()),
            ident: Some(self.client.identity.name.clone()),
            guest: Some(self.client.identity.auth_id.is_empty()),
            ..ResultReply::default()
        };
        self.send_result(result, cx);
        let mandatory = self.rules.settings().mandatory_lookup;
        let looked_up = matches!(self.lookup, Some(LookedUp::Session { .. }));
        cx.push(LoginEffect::EnterLobby {
            moderator: self.client.moderator,
            list_now: !mandatory && !looked_up,
            list_changes: !mandatory,
        });
    }
}
