//! Effects of a session's rules: what actors do on their behalf.

use std::net::IpAddr;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};

use super::BanExchange;
use super::admin::AdminAnswer;
use crate::history::Cursor;
use crate::log::LogEntry;
use crate::rules::session::FileDisposition;

/// Identifies a connection while the server runs.
pub type ConnId = u64;

/// Reason code of a `Disconnect` message. Source: docs/spec/wire.md#disconnect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum DisconnectReason {
    /// Something went wrong.
    Error = 0,
    /// Somebody kicked the user.
    Kick = 1,
    /// The session or server ends.
    Shutdown = 2,
}

/// A machine-readable error code. (An alias, because serde would borrow a plain `&'static str` from its input.)
pub type Code = &'static str;

/// Why a client is refused entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Refusal {
    /// An error of the login phase.
    Error {
        #[serde(deserialize_with = "code")]
        code: Code,
        message: String,
    },
    /// The session password was wrong; the client may try again some times.
    BadPassword,
    /// The client would be let in if it were not banned from the server.
    ServerBan,
}

/// Reads a code from a trace. The text is leaked on purpose: there are few codes, and a replay is a short process.
fn code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Code, D::Error> {
    Ok(String::deserialize(deserializer)?.leak())
}

impl Refusal {
    /// The session does not exist, or has ended.
    pub(crate) fn not_found() -> Self {
        Self::error("notFound", "Session not found!")
    }

    pub(crate) fn error(code: &'static str, message: &str) -> Self {
        Self::Error { code, message: message.into() }
    }
}

/// An operation on one client's connection, in order.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ClientOp {
    /// Send wire bytes.
    Direct(Bytes),
    /// The client has joined.
    Joined { user: u8 },
    /// The client may not join, with the reason.
    Refused(Refusal),
    /// Send the history from this cursor on.
    Attach(Cursor),
    /// The client was told of a reset: continue with the history of that epoch.
    FollowReset { epoch: u64 },
    /// Send a `Disconnect`, then close the connection.
    Disconnect { reason: DisconnectReason, message: String },
    /// The session has ended silently: from now on the client is only echoed its own messages.
    Quiet,
    /// The messages that were held for this client have been handled; its credit is released.
    Released,
}

/// An operator password to be verified against a slow hash.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct OpwordCheck {
    pub conn: ConnId,
    /// Address for the rate limit of password checks.
    pub address: Option<IpAddr>,
    pub hash: String,
    pub opword: String,
}

/// The effects of one input, in order of their fields.
#[derive(Debug, Default)]
pub struct Effects {
    /// Operations on connections.
    pub sends: Vec<(ConnId, ClientOp)>,
    /// Log entries.
    pub log: Vec<LogEntry>,
    /// The session's description changed; session lists are updated at once.
    pub changed: bool,
    /// Only numbers of the description changed (size, active users); updates may be batched.
    pub stats: bool,
    /// An operator password to verify; the result comes back as [`Input::OpwordChecked`](super::input::Input).
    pub check: Option<OpwordCheck>,
    /// Ban lists to encrypt or decrypt; results come back as [`Input::BansExchanged`](super::input::Input).
    pub exchanges: Vec<BanExchange>,
    /// List server URLs to announce at (`true`) or to unlist from (`false`); an empty URL means all.
    pub listing: Vec<(String, bool)>,
    /// Abuse reports to forward, with the address of the reporter.
    pub reports: Vec<(Option<IpAddr>, serde_json::Value)>,
    /// The session has ended; what to do with its files.
    pub ended: Option<FileDisposition>,
    /// The input was a batch that is held until the session runs.
    pub held: bool,
    /// Answer to an administrator's request.
    pub answer: Option<AdminAnswer>,
}

impl Effects {
    pub(super) fn direct(&mut self, conn: ConnId, bytes: impl Into<Bytes>) {
        self.sends.push((conn, ClientOp::Direct(bytes.into())));
    }
}
