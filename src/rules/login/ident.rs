//! Command `ident`. Source: docs/spec/login.md#ident.

use drawhall_protocol::command::Ident;
use drawhall_protocol::qt_base64;
use drawhall_protocol::reply::ResultReply;

use super::{LoginEffect, LoginMachine, LoginState, LookedUp, PendingAnswer};
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
    pub(super) fn ident(&mut self, ident: Ident, effects: &mut Vec<LoginEffect>) {
        if !username::has_valid_form(&ident.name) {
            return self.bad_name(effects);
        }
        if !self.may_be_called(&ident.name, effects) {
            return;
        }
        let Some(intent) = Intent::parse(&ident.intent) else {
            return self.fail("identError", "Invalid ident intent", effects);
        };
        let (name, password) = (ident.name.clone(), ident.password.clone());
        self.waiting = Some(PendingAnswer::Account(Box::new(ident), intent));
        if self.rules.has_accounts {
            effects.push(LoginEffect::CheckAccount { name, password });
        } else {
            effects.extend(self.account_checked(AccountCheck::NotFound));
        }
    }

    fn bad_name(&mut self, effects: &mut Vec<LoginEffect>) {
        // The name is not logged: it may be a password.
        let text = "Attempt to use an invalid username".into();
        effects.push(LoginEffect::Log(Level::Warn, Topic::RuleBreak, text));
        self.fail("badUsername", "Invalid username", effects);
    }

    /// Whether the server allows this name.
    fn may_be_called(&mut self, name: &str, effects: &mut Vec<LoginEffect>) -> bool {
        let forbidden = self.rules.shared.names.forbids(name);
        if forbidden {
            let text = format!("Attempt to use forbidden username '{name}'");
            effects.push(LoginEffect::Log(Level::Warn, Topic::RuleBreak, text));
            self.fail("forbiddenUsername", "Forbidden username", effects);
        }
        !forbidden
    }

    /// Whether somebody without an account here may have this name.
    pub(super) fn is_name_of_others(&mut self, name: &str, effects: &mut Vec<LoginEffect>) -> bool {
        if !username::is_valid(name) {
            self.bad_name(effects);
            return false;
        }
        self.may_be_called(name, effects)
    }

    /// Answer to [`LoginEffect::CheckAccount`].
    pub fn account_checked(&mut self, check: AccountCheck) -> Vec<LoginEffect> {
        let mut effects = Vec::new();
        match self.waiting.take() {
            Some(PendingAnswer::Account(ident, intent)) => {
                self.identified(&check, ident, intent, &mut effects)
            }
            Some(PendingAnswer::Token(token)) => self.token_name_checked(&check, *token, &mut effects),
            _ => {}
        }
        effects
    }

    /// Continues once it is known whether the name is an account.
    fn identified(
        &mut self,
        check: &AccountCheck,
        ident: Box<Ident>,
        intent: Intent,
        effects: &mut Vec<LoginEffect>,
    ) {
        match check {
            AccountCheck::Busy => return self.fail("tooManyAttempts", BUSY_TEXT, effects),
            AccountCheck::NotFound | AccountCheck::Similar if !username::is_valid(&ident.name) => {
                return self.bad_name(effects);
            }
            AccountCheck::Similar => return self.too_similar(&ident.name, effects),
            _ => {}
        }
        let settings = self.rules.shared.settings.clone();
        let own = *check != AccountCheck::NotFound;
        if own && ident.extauth.is_some() {
            return self.fail("extAuthError", INTERNAL_ACCOUNT, effects);
        }
        if own && !self.intent_fits(intent, Intent::Auth, false, effects) {
            return;
        }
        if let Some(avatar) = ident.avatar.as_ref().filter(|_| settings.custom_avatars) {
            self.client.avatar = qt_base64::decode(avatar);
        }
        if let Some(server) = self.rules.extauth().filter(|_| !own) {
            return self.extauth_ident(ident, intent, &server, effects);
        }
        match check {
            AccountCheck::NotFound if settings.allow_guests => {
                self.guest_login(&ident.name, intent, false, effects);
            }
            AccountCheck::BadPassword => self.bad_password(&ident, Some(&ident.name), effects),
            AccountCheck::Locked => self.fail("bannedName", "This username is banned", effects),
            AccountCheck::Ok { auth_id, flags } => {
                self.account_login(&ident.name, auth_id.clone(), flags.clone(), effects);
            }
            _ => self.bad_password(&ident, None, effects),
        }
    }

    /// The name looks like that of an account.
    pub(super) fn too_similar(&mut self, name: &str, effects: &mut Vec<LoginEffect>) {
        let text = format!("Attempt to use username '{name}', which looks like that of an account");
        effects.push(LoginEffect::Log(Level::Warn, Topic::RuleBreak, text));
        self.fail("nameInuse", "This username looks like that of an account", effects);
    }

    /// Whether the login matches the client's intent; `fallback`: as guest because the auth server is unreachable.
    pub(super) fn intent_fits(
        &self,
        intent: Intent,
        actual: Intent,
        fallback: bool,
        effects: &mut Vec<LoginEffect>,
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
            self.send_result(result, effects);
        }
        fits
    }

    /// The name is logged only if it is an account: people type passwords into the wrong field.
    fn bad_password(&mut self, ident: &Ident, account: Option<&str>, effects: &mut Vec<LoginEffect>) {
        if ident.password.is_empty() {
            let (message, state) = ("Password needed".into(), "needPassword".into());
            return self.send_result(ResultReply { message, state, ..ResultReply::default() }, effects);
        }
        self.account_attempts += 1;
        let attempt = self.account_attempts;
        let account = account.unwrap_or("that does not exist");
        let text =
            format!("Incorrect password for account {account} (attempt {attempt}/{MAX_PASSWORD_ATTEMPTS})");
        effects.push(LoginEffect::Log(Level::Warn, Topic::RuleBreak, text));
        self.wrong_password(attempt, effects);
    }

    /// The tenth attempt ends the connection.
    pub(super) fn wrong_password(&mut self, attempt: u32, effects: &mut Vec<LoginEffect>) {
        if attempt >= MAX_PASSWORD_ATTEMPTS {
            self.fail("badPassword", "Incorrect password", effects);
        } else {
            self.error("badPassword", "Incorrect password", effects);
        }
    }

    pub(super) fn guest_login(
        &mut self,
        name: &str,
        intent: Intent,
        fallback: bool,
        effects: &mut Vec<LoginEffect>,
    ) {
        if !self.intent_fits(intent, Intent::Guest, fallback, effects) {
            return;
        }
        let settings = self.rules.settings();
        if self.client.browser && !settings.allow_guest_web {
            let text = "You don't have permission to connect from the web.";
            return self.fail("webNotAllowed", text, effects);
        }
        name.clone_into(&mut self.client.identity.name);
        self.client.flags = self.with_implicit_flags(Vec::new());
        self.logged_in("Guest login OK!", effects);
    }

    pub(super) fn account_login(
        &mut self,
        name: &str,
        auth_id: String,
        flags: Vec<String>,
        effects: &mut Vec<LoginEffect>,
    ) {
        let ghosts = self.rules.settings().enable_ghosts;
        let has = |flag: &str| flags.iter().any(|f| f == flag);
        let (moderator, ghost) = (has("MOD"), has("GHOST"));
        let may_always_host = moderator || has("HOST");
        if (moderator || has("BANEXEMPT")) && self.ban_exemptable {
            effects.push(LoginEffect::Log(
                Level::Info,
                Topic::Status,
                format!("{name} is banned, but exempt"),
            ));
            self.ban = None;
            self.ban_exemptable = false;
        }
        let own = flags.into_iter().filter(|f| f != "GHOST" || ghosts).collect();
        let flags = self.with_implicit_flags(own);
        if self.client.browser && !flags.iter().any(|f| f == "WEB") {
            let text = "You don't have permission to connect from the web.";
            return self.fail("webNotAllowed", text, effects);
        }
        if ghost && !ghosts {
            return self.fail("ghostsNotAllowed", "Ghost mode not allowed", effects);
        }
        if ghost && !moderator {
            return self.fail("ghostWithoutMod", "Ghost mode is only available for moderators", effects);
        }
        name.clone_into(&mut self.client.identity.name);
        self.client.identity.auth_id = auth_id;
        self.client.flags = flags;
        self.client.may_always_host = may_always_host;
        self.client.moderator = moderator;
        self.client.ghost = ghost;
        self.logged_in("Authenticated login OK!", effects);
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

    fn logged_in(&mut self, message: &str, effects: &mut Vec<LoginEffect>) {
        if self.trigger_ban(true, effects) {
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
        self.send_result(result, effects);
        let mandatory = self.rules.settings().mandatory_lookup;
        let looked_up = matches!(self.lookup, Some(LookedUp::Session { .. }));
        effects.push(LoginEffect::EnterLobby {
            moderator: self.client.moderator,
            list_now: !mandatory && !looked_up,
            list_changes: !mandatory,
        });
    }
}
