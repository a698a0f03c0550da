//! Command `host`. Source: docs/spec/login.md#host.

use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::command::Host;
use serde::{Deserialize, Serialize};

use super::{LoginCx, LoginEffect, LoginMachine, LookedUp, PendingAnswer};
use crate::rules::metadata::is_valid_alias;
use crate::rules::session::effects::ID_IN_USE;

/// Why a session cannot be hosted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostRefusal {
    /// `sessionCountLimit` is reached.
    Full,
    /// Id or alias exists.
    IdInUse,
    /// The protocol version is not supported.
    BadProtocol,
    /// `sessionsPerAddress` is reached.
    TooManyOfAddress,
    /// `totalHistoryLimit` is reached.
    NoSpace,
    /// The server stops, or is draining.
    Draining,
}

impl LoginMachine {
    pub(super) fn host(&mut self, host: Host, cx: &mut LoginCx<'_>) {
        if !self.same_info(&host.info, cx) {
            return;
        }
        if matches!(self.lookup, Some(LookedUp::Session { .. })) {
            let text = "Cannot host when a joining intent was given";
            return self.fail("lookupHostMismatch", text, cx);
        }
        if !self.may_host(&host, cx) {
            return;
        }
        let Ok(protocol) = host.protocol.parse::<ProtocolVersion>() else {
            return self.fail("syntax", "Unparseable protocol version", cx);
        };
        if !self.is_new_enough(&protocol, cx)
            || !self.system_id(&host.info.s, protocol.requires_system_id(), cx)
        {
            return;
        }
        if !(1..=254).contains(&host.user_id) {
            return self.fail("syntax", "Invalid user ID (must be in range 1-254)", cx);
        }
        if !host.alias.is_empty() && !is_valid_alias(&host.alias) {
            return self.fail("badAlias", "Invalid session alias", cx);
        }
        if self.trigger_ban(false, cx) {
            return;
        }
        self.client.capabilities = host.capabilities;
        self.waiting = Some(PendingAnswer::Host);
        let client = Box::new(self.client.clone());
        cx.push(LoginEffect::Host { host: Box::new(host), protocol, client });
    }

    fn may_host(&mut self, host: &Host, cx: &mut LoginCx<'_>) -> bool {
        let has = |flag: &str| self.client.flags.iter().any(|f| f == flag);
        let browser = self.client.browser;
        let permitted = has("HOST") && (!browser || has("WEBHOST"));
        let needs_password =
            browser && !has("WEBSESSION") && self.rules.settings().password_dependent_web_session;
        if !permitted {
            self.fail("unauthorizedHost", "Hosting not authorized", cx);
        } else if needs_password && host.password.is_empty() {
            let text = "You're not allowed to host sessions without a session password";
            self.fail("passwordedHost", text, cx);
        } else if self.client.ghost {
            self.fail("ghostHost", "Hosting not available in ghost mode", cx);
        } else {
            return true;
        }
        false
    }

    fn is_new_enough(&mut self, protocol: &ProtocolVersion, cx: &mut LoginCx<'_>) -> bool {
        let Some(minimum) = self.minimum_version().filter(|_| !self.client.moderator) else { return true };
        match protocol.at_least(&minimum) {
            Some(true) => return true,
            Some(false) => {
                let text = format!(
                    "Your protocol version is too old, the minimum on this server is {minimum}. That probably \
                     means your version of Drawpile is too old. To update, go to drawpile.net and download a \
                     newer version."
                );
                self.fail("protoverold", &text, cx);
            }
            None => {
                let text = format!("Mismatched protocol namespace, minimum protocol version is {minimum}");
                self.fail("protoverns", &text, cx);
            }
        }
        false
    }

    /// Answer to [`LoginEffect::Host`], if no session was created.
    pub(super) fn host_refused(&mut self, refusal: HostRefusal, cx: &mut LoginCx<'_>) {
        if !matches!(self.waiting.take(), Some(PendingAnswer::Host)) {
            return;
        }
        let (code, text) = match refusal {
            HostRefusal::Full => ("closed", "This server is full."),
            HostRefusal::IdInUse => ID_IN_USE,
            HostRefusal::BadProtocol => {
                ("badProtocol", "This server does not support this protocol version.")
            }
            HostRefusal::TooManyOfAddress => (
                "tooManySessions",
                "There are as many sessions from your address as there may be. End one of them first.",
            ),
            HostRefusal::NoSpace => {
                ("noSpace", "This server has no space for new sessions at the moment. Try again later.")
            }
            HostRefusal::Draining => {
                ("closed", "This server takes no new sessions, as it is about to stop. Host at another one.")
            }
        };
        self.fail(code, text, cx);
    }
}
