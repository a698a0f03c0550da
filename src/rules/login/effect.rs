//! What a login wants done.

use super::*;

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
    /// Check account and password. Answer: [`LoginMachine::account_checked`].
    CheckAccount {
        /// User name.
        name: String,
        /// Password.
        password: String,
    },
    /// Ask the auth server about a name. Answer: [`LoginMachine::extauth_answered`].
    QueryExtAuth {
        /// User name.
        name: String,
    },
    /// Look a session up. Answer: [`LoginMachine::looked_up`].
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
    /// Find the session to join. Answer: [`LoginMachine::session_found`].
    FindSession {
        /// Id or alias.
        session: String,
    },
    /// Join the session. Answer: [`LoginMachine::refused`], or the session takes over.
    Join(Box<JoinRequest>),
    /// Host a session. Answer: [`LoginMachine::host_refused`], or the session takes over.
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
