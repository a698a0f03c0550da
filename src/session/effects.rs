//! What the rules of a session have their surroundings do.

use std::net::IpAddr;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};

use super::BanExchange;
use super::admin::AdminAnswer;
use crate::history::Cursor;
use crate::log::LogEntry;
use crate::storage::session_files::FileDisposition;

/// Identifies a connection while the server runs.
pub type ConnId = u64;

/// Why a connection is ended, as `Disconnect` says it.
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

/// A code of an error, for programs. (Under a name of its own, because serde would borrow a reference from its input.)
pub type Code = &'static str;

/// Why somebody may not join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// An error of the login phase.
    Error {
        /// For programs.
        #[serde(deserialize_with = "code")]
        code: Code,
        /// For people.
        message: String,
    },
    /// The session password was wrong; the client may try again some times.
    BadPassword,
    /// Nothing stands in the way but a ban from the server.
    ServerBan,
}

/// Reads a code from a trace. There are few, and a replay ends soon: they stay for good.
fn code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Code, D::Error> {
    Ok(String::deserialize(deserializer)?.leak())
}

impl Refusal {
    /// There is no such session, or not any more.
    pub(crate) fn not_found() -> Self {
        Self::error("notFound", "Session not found!")
    }

    pub(crate) fn error(code: &'static str, message: &str) -> Self {
        Self::Error { code, message: message.into() }
    }
}

/// What a client's connection does for its session, in order.
#[derive(Debug)]
pub enum ClientOp {
    /// Send wire bytes.
    Direct(Bytes),
    /// The client is in the session now, under this user id.
    Joined {
        /// Its user id.
        user: u8,
    },
    /// The client may not join.
    Refused(Refusal),
    /// Send the history from here on.
    Attach(Cursor),
    /// The client was told of a reset: go on with the new history.
    FollowReset {
        /// The reset's epoch.
        epoch: u64,
    },
    /// Say goodbye, then close.
    Disconnect {
        /// Why.
        reason: DisconnectReason,
        /// Shown to the user.
        message: String,
    },
    /// The session is over and the client is not told: from now on it is sent back what it sends.
    Quiet,
    /// What was held for the client was handled.
    Released,
}

/// A password that takes long to check.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OpwordCheck {
    /// Who gave it.
    pub conn: ConnId,
    /// Whence it comes.
    pub address: Option<IpAddr>,
    /// The session's.
    pub hash: String,
    /// What was given.
    pub opword: String,
}

/// The effects of one input, in order.
#[derive(Debug, Default)]
pub struct Effects {
    /// What connections do.
    pub sends: Vec<(ConnId, ClientOp)>,
    /// What is written to the log.
    pub log: Vec<LogEntry>,
    /// The session's description changed in a way that lists show at once.
    pub changed: bool,
    /// Numbers of the description changed (size, active users).
    pub stats: bool,
    /// An opword is to be checked against a hash; [`SessionMachine::opword_checked`](super::SessionMachine) goes on.
    pub check: Option<OpwordCheck>,
    /// Ban lists that are to be written or read; [`SessionMachine::bans_exchanged`](super::SessionMachine) goes on.
    pub exchanges: Vec<BanExchange>,
    /// List servers at which the session is to be announced (`true`) or no more; empty for all.
    pub listing: Vec<(String, bool)>,
    /// Abuse reports that are to be passed on, and from where they came.
    pub reports: Vec<(Option<IpAddr>, serde_json::Value)>,
    /// The session is over, and this becomes of its files.
    pub ended: Option<FileDisposition>,
    /// What the client sent is held until the session runs.
    pub held: bool,
    /// What an administrator is answered.
    pub answer: Option<AdminAnswer>,
}

impl Effects {
    pub(super) fn direct(&mut self, conn: ConnId, bytes: impl Into<Bytes>) {
        self.sends.push((conn, ClientOp::Direct(bytes.into())));
    }
}
