//! What a login wants done.

use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::command::Host;
use drawhall_protocol::reply::ServerReply;

use crate::log::{Level, Topic};
use crate::rules::session::{AuthenticatedClient, JoinRequest};

/// An effect of the login, in order.
#[derive(Debug)]
pub enum LoginEffect {
    /// Send a reply.
    Send(Box<ServerReply>),
    /// Send a `Disconnect`, then close.
    Disconnect {
        /// Shown to the user.
        message: String,
        /// For the log.
        details: String,
    },
    /// Close the connection after this time in milliseconds.
    CutAfter(u64),
    /// Start TLS.
    StartTls,
    /// Write to the log.
    Log(Level, Topic, String),
    /// Check account and password. Answer: [`LoginInput::Account`](super::LoginInput).
    CheckAccount {
        /// User name.
        name: String,
        /// Password.
        password: String,
    },
    /// Ask the auth server about a name. Answer: [`LoginInput::ExtAuth`](super::LoginInput).
    QueryExtAuth {
        /// User name.
        name: String,
    },
    /// Look a session up. Answer: [`LoginInput::LookedUp`](super::LoginInput).
    LookUp {
        /// Id or alias.
        session: String,
        /// Empty without an invite.
        invite: String,
        /// Empty if the system id is unknown.
        sid: String,
    },
    /// Enter the lobby: send the session list and its changes.
    EnterLobby {
        /// Include unlisted sessions.
        moderator: bool,
        /// Send the list now.
        list_now: bool,
        /// Send changes of the list.
        list_changes: bool,
    },
    /// Find the session to join. Answer: [`LoginInput::SessionFound`](super::LoginInput).
    FindSession {
        /// Id or alias.
        session: String,
    },
    /// Join the session. Answer: [`LoginInput::Refused`](super::LoginInput), or the session takes over.
    Join(Box<JoinRequest>),
    /// Host a session. Answer: [`LoginInput::HostRefused`](super::LoginInput), or the session takes over.
    Host {
        /// What was asked for.
        host: Box<Host>,
        /// Its version.
        protocol: ProtocolVersion,
        /// Who hosts.
        client: Box<AuthenticatedClient>,
    },
    /// Forward an abuse report.
    Report {
        /// Session id.
        session: String,
        /// What is wrong.
        reason: String,
    },
}
