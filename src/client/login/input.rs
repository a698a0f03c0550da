//! Everything that can happen to a login, as data.

use std::net::IpAddr;

use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::command::RawCommand;
use serde::{Deserialize, Serialize};

use super::{HostRefusal, LoginEffect, LoginMachine, LookupAnswer};
use crate::auth::AccountCheck;
use crate::auth::extauth::NameAnswer;
use crate::session::Refusal;

/// What happens to a login.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum LoginInput {
    /// The client says something.
    Command(RawCommand),
    /// A proxy speaks for this address.
    Address(IpAddr),
    /// Whether this is an account and its password.
    Account(AccountCheck),
    /// What the auth server says of a name.
    ExtAuth(NameAnswer),
    /// What was looked up.
    LookedUp(LookupAnswer),
    /// The session to join, if there is one.
    SessionFound(Option<(String, ProtocolVersion)>),
    /// The session refuses.
    Refused(Refusal),
    /// No session is started.
    HostRefused(HostRefusal),
}

impl LoginMachine {
    /// Has something happen. The same beginning and inputs have the same effects, always.
    pub fn handle(&mut self, input: LoginInput) -> Vec<LoginEffect> {
        match input {
            LoginInput::Command(command) => self.command(&command),
            LoginInput::Address(address) => {
                self.set_address(address);
                Vec::new()
            }
            LoginInput::Account(check) => self.account_checked(check),
            LoginInput::ExtAuth(answer) => self.extauth_answered(answer),
            LoginInput::LookedUp(answer) => self.looked_up(answer),
            LoginInput::SessionFound(found) => {
                self.session_found(found.as_ref().map(|(id, v)| (id.as_str(), v)))
            }
            LoginInput::Refused(refusal) => self.refused(refusal),
            LoginInput::HostRefused(refusal) => self.host_refused(refusal),
        }
    }
}
