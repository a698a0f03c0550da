//! Inputs of the login's state machine. The actor feeds them, a trace records them.

use std::net::IpAddr;

use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::command::RawCommand;
use serde::{Deserialize, Serialize};

use super::{HostRefusal, LoginCx, LoginMachine, LookupAnswer};
use crate::rules::login::AccountCheck;
use crate::rules::login::NameAnswer;
use crate::rules::session::Refusal;

/// An input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum LoginInput {
    /// A command of the client.
    Command(RawCommand),
    /// The client's address, from a proxy header.
    Address(IpAddr),
    /// Result of checking an account.
    Account(AccountCheck),
    /// Answer of the auth server about a name.
    ExtAuth(NameAnswer),
    /// Result of a look-up.
    LookedUp(LookupAnswer),
    /// The session to join, if it exists.
    SessionFound(Option<(String, ProtocolVersion)>),
    /// The session refuses the client.
    Refused(Refusal),
    /// The session cannot be hosted.
    HostRefused(HostRefusal),
}

impl LoginMachine {
    /// The deterministic transition function: the same arrival and inputs give the same effects.
    pub fn handle(&mut self, input: LoginInput, cx: &mut LoginCx<'_>) {
        match input {
            LoginInput::Command(command) => self.command(&command, cx),
            LoginInput::Address(address) => self.set_address(address),
            LoginInput::Account(check) => self.account_checked(check, cx),
            LoginInput::ExtAuth(answer) => self.extauth_answered(answer, cx),
            LoginInput::LookedUp(answer) => self.looked_up(answer, cx),
            LoginInput::SessionFound(found) => {
                self.session_found(found.as_ref().map(|(id, v)| (id.as_str(), v)), cx);
            }
            LoginInput::Refused(refusal) => self.refused(refusal, cx),
            LoginInput::HostRefused(refusal) => self.host_refused(refusal, cx),
        }
    }
}
