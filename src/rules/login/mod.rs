//! The login phase, from the greeting to entering a session, as a plain state machine.
//!
//! Inputs are commands and answers of other actors; they go in with a [`LoginCx`], which collects the [`LoginEffect`]s. While the machine waits for an answer
//! ([`LoginMachine::is_waiting`]) it must not be given the next command. Source: docs/spec/login.md#states.

pub mod account;
mod client_info;
mod cx;
mod effect;
mod extauth;
mod host;
mod ident;
mod input;
mod join;
mod lookup;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::command::{Cinfo, ClientInfo, CommandError, LoginCommand, RawCommand, Report};
use drawhall_protocol::reply::{ErrorReply, LoginReply, Method, Methods, ResultReply, ServerReply};

use serde::{Deserialize, Serialize};

pub use crate::rules::username::is_valid as is_valid_name;
pub use account::{AccountCheck, NameAnswer};
pub use cx::{LoginCx, LoginRng, LoginSource};
pub use effect::LoginEffect;
pub use host::HostRefusal;
pub use input::LoginInput;
pub use lookup::LookupAnswer;

use ident::Intent;

use crate::config::Rules;
use crate::config::bans::BanTerms;
use crate::log::{Level, Topic};
use crate::rules::session::{AuthenticatedClient, ConnId};
use crate::rules::token::Token;

/// Name and version in the greeting.
pub const SERVER_NAME: &str = concat!("Drawhall ", env!("CARGO_PKG_VERSION"));
const TOO_OLD: &str =
    "Your version of Drawpile is too old. To update, go to drawpile.net and download a newer version.";

/// State of a login. Source: docs/spec/login.md#states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginState {
    /// TLS must be started first.
    WaitForSecure,
    /// The host name must match: `cinfo` comes first.
    WaitForClientInfo,
    /// A look-up is required.
    WaitForLookup,
    /// Not identified yet.
    WaitForIdent,
    /// Identified; host or join next.
    WaitForLogin,
    /// Input is ignored.
    Ignore,
}

/// A new connection.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Arrival {
    /// The connection.
    pub conn: ConnId,
    /// From where.
    pub address: IpAddr,
    /// From a browser.
    pub browser: bool,
    /// The connection is encrypted.
    pub encrypted: bool,
    /// Not encrypted, and TLS is required.
    pub must_encrypt: bool,
    /// Through a reverse proxy.
    #[serde(default)]
    pub proxied: bool,
    /// Seed of the login's random numbers.
    #[serde(alias = "chance")]
    pub rng_seed: u64,
    /// Time of connecting, milliseconds since 1970.
    pub utc_ms: i64,
}

#[derive(Debug)]
enum PendingAnswer {
    Account(Box<drawhall_protocol::command::Ident>, Intent),
    ExtAuth(Box<drawhall_protocol::command::Ident>, Intent),
    /// Whether the name in a token is an account of this server.
    Token(Box<Token>),
    Lookup {
        invite: String,
    },
    Session(Box<drawhall_protocol::command::Join>),
    Join,
    Host,
}

/// Target of the look-up.
#[derive(Debug, Clone, PartialEq, Eq)]
enum LookedUp {
    Nothing,
    Session { id: String, invite: String },
}

/// The state machine of one client's login.
#[derive(Debug)]
pub struct LoginMachine {
    rules: Arc<Rules>,
    state: LoginState,
    waiting: Option<PendingAnswer>,
    client: AuthenticatedClient,
    info: Option<ClientInfo>,
    lookup: Option<LookedUp>,
    account_attempts: u32,
    session_attempts: u32,
    ban: Option<BanTerms>,
    /// The ban is one of the address, from which accounts can be exempt.
    ban_exemptable: bool,
    ban_triggered: bool,
    /// Nonce that a token must contain.
    nonce: Option<u64>,
}

impl LoginMachine {
    /// A new login, and the greeting to send.
    pub fn new(rules: Arc<Rules>, arrival: &Arrival) -> (LoginMachine, LoginEffect) {
        let Arrival { conn, address, browser, encrypted, must_encrypt, proxied, .. } = *arrival;
        let mut client =
            AuthenticatedClient { conn, browser, encrypted, proxied, ..AuthenticatedClient::default() };
        client.identity.address = Some(address);
        let ban = rules.address_ban(address);
        let mut machine = LoginMachine {
            rules,
            state: LoginState::WaitForIdent,
            waiting: None,
            client,
            info: None,
            lookup: None,
            account_attempts: 0,
            session_attempts: 0,
            ban_exemptable: ban.is_some(),
            ban,
            ban_triggered: false,
            nonce: None,
        };
        machine.state = if must_encrypt { LoginState::WaitForSecure } else { machine.state_when_secure() };
        let greeting = LoginEffect::Send(Box::new(machine.greeting()));
        (machine, greeting)
    }

    /// Where the login stands.
    pub fn state(&self) -> LoginState {
        self.state
    }

    /// Whether an answer must come before the next command.
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// The client, as far as it is known.
    pub fn client(&self) -> &AuthenticatedClient {
        &self.client
    }

    fn minimum_version(&self) -> Option<ProtocolVersion> {
        self.rules.settings().minimum_protocol_version.parse().ok()
    }

    /// The client's address, from a proxy header.
    fn set_address(&mut self, address: IpAddr) {
        self.client.identity.address = Some(address);
        self.client.proxied = true;
        self.ban = self.rules.address_ban(address);
        self.ban_exemptable = self.ban.is_some();
    }

    fn state_when_secure(&self) -> LoginState {
        if self.rules.settings().require_matching_host {
            LoginState::WaitForClientInfo
        } else {
            self.state_before_ident()
        }
    }

    fn state_before_ident(&self) -> LoginState {
        let needs_lookup = self.rules.settings().mandatory_lookup
            || self.minimum_version().is_some_and(|v| v.supports_lookup());
        if needs_lookup { LoginState::WaitForLookup } else { LoginState::WaitForIdent }
    }

    fn greeting(&self) -> ServerReply {
        let settings = self.rules.settings();
        let browser = self.client.browser;
        let guests = settings.allow_guests && (!browser || settings.allow_guest_web);
        let guest_hosts = settings.allow_guest_hosts && (!browser || settings.allow_guest_web_hosts);
        let must_encrypt = self.state == LoginState::WaitForSecure;
        let takes_reports =
            settings.report_inbox || (settings.abuse_report && self.rules.shared.report_url.is_some());
        let flags = [
            (settings.session_count_limit.0 > 1, "MULTI"),
            (settings.persistence, "PERSIST"),
            (must_encrypt, "TLS"),
            (must_encrypt, "SECURE"),
            (!guests, "NOGUEST"),
            (takes_reports, "REPORT"),
            (settings.custom_avatars, "AVATAR"),
            (self.rules.shared.crypt_key.is_some(), "CBANIMPEX"),
            (true, "MBANIMPEX"),
            (true, "LOOKUP"),
            (true, "CINFO"),
        ];
        let method = |host: bool| Method {
            actions: [Some("join"), host.then_some("host")]
                .into_iter()
                .flatten()
                .map(str::to_owned)
                .collect(),
            url: String::new(),
        };
        ServerReply::Login(Box::new(LoginReply {
            message: SERVER_NAME.into(),
            version: Some(drawhall_protocol::version::SERVER_VERSION),
            flags: Some(flags.iter().filter(|(on, _)| *on).map(|(_, name)| (*name).to_owned()).collect()),
            methods: Some(Methods {
                guest: guests.then(|| method(guest_hosts)),
                auth: self.rules.has_accounts.then(|| method(true)),
                extauth: self.extauth_method(),
            }),
            info: settings.login_info_url.clone(),
            rules: settings.rule_text.trim().to_owned(),
            prefer_web_sockets: self.rules.shared.web_sockets && settings.prefer_web_sockets,
            ..LoginReply::default()
        }))
    }

    /// Handles a command.
    fn command(&mut self, raw: &RawCommand, cx: &mut LoginCx<'_>) {
        if self.state == LoginState::Ignore {
            return;
        }
        let command = match (self.state, raw.cmd.as_str()) {
            (LoginState::WaitForSecure, "startTls") => {
                self.start_tls(cx);
                return;
            }
            (LoginState::WaitForSecure, _) => {
                self.fail("tlsRequired", "TLS required", cx);
                return;
            }
            (LoginState::WaitForClientInfo, "cinfo")
            | (LoginState::WaitForLookup, "cinfo" | "lookup")
            | (LoginState::WaitForIdent, "cinfo" | "lookup" | "ident")
            | (LoginState::WaitForLogin, "host" | "join" | "report") => LoginCommand::parse(raw),
            (LoginState::WaitForClientInfo, _) => {
                self.fail("clientInfoUnsupported", TOO_OLD, cx);
                return;
            }
            (LoginState::WaitForLookup, _) => {
                self.fail("clientLookupUnsupported", TOO_OLD, cx);
                return;
            }
            (state, command) => {
                let text = format!("Invalid login command (in {state:?}): {command}");
                self.invalid(&text, command, cx);
                return;
            }
        };
        match command {
            Ok(LoginCommand::Cinfo(Cinfo { host, info })) => self.client_info(&host, info, cx),
            Ok(LoginCommand::Lookup(lookup)) => self.lookup(lookup, cx),
            Ok(LoginCommand::Ident(ident)) => self.ident(ident, cx),
            Ok(LoginCommand::Host(host)) => self.host(host, cx),
            Ok(LoginCommand::Join(join)) => self.join(join, cx),
            Ok(LoginCommand::Report(Report { session, reason, .. })) => {
                // Whoever is banned may report what led to it, where reports are kept for moderators.
                if self.ban.is_none() || self.rules.settings().report_inbox {
                    cx.push(LoginEffect::Report { session, reason });
                }
            }
            Ok(LoginCommand::StartTls(_)) | Err(CommandError::Unknown) => {
                self.invalid("Invalid login command", &raw.cmd, cx)
            }
            Err(CommandError::Arguments(text)) => {
                // A second look-up or client info is refused whatever its arguments are.
                match raw.cmd.as_str() {
                    "cinfo" if self.info.is_some() => self.client_info("", ClientInfo::default(), cx),
                    "lookup" if self.lookup.is_some() => self.lookup_again(cx),
                    _ => self.fail("syntax", text, cx),
                }
            }
        }
    }

    fn start_tls(&mut self, cx: &mut LoginCx<'_>) {
        let message = "Start TLS now!".into();
        self.send_result(ResultReply { message, start_tls: true, ..ResultReply::default() }, cx);
        cx.push(LoginEffect::StartTls);
        self.client.encrypted = true;
        self.state = self.state_when_secure();
    }

    /// The client broke the rules of the login.
    fn invalid(&mut self, log: &str, details: &str, cx: &mut LoginCx<'_>) {
        cx.push(LoginEffect::Log(Level::Error, Topic::RuleBreak, log.to_owned()));
        self.state = LoginState::Ignore;
        let message = "invalid message".to_owned();
        cx.push(LoginEffect::Disconnect { message, details: details.to_owned() });
    }

    /// An error that ends the connection.
    fn fail(&mut self, code: &str, message: &str, cx: &mut LoginCx<'_>) {
        self.error(code, message, cx);
        self.state = LoginState::Ignore;
        let message = "Login error".to_owned();
        cx.push(LoginEffect::Disconnect { message, details: code.to_owned() });
    }

    /// An error after which the client may retry.
    fn error(&self, code: &str, message: &str, cx: &mut LoginCx<'_>) {
        let error = ErrorReply { message: message.into(), code: code.into() };
        cx.push(LoginEffect::Send(Box::new(ServerReply::Error(error))));
    }

    fn send_result(&self, result: ResultReply, cx: &mut LoginCx<'_>) {
        cx.push(LoginEffect::Send(Box::new(ServerReply::Result(Box::new(result)))));
    }
}
