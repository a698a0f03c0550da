//! Effects of a session's rules: what actors do on their behalf.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::BanExchange;
use super::admin::SessionAnswer;
use crate::history::Cursor;
use crate::log::LogEntry;
use crate::rules::limits::DrawRate;
use crate::rules::received_report::ReceivedReport;
use crate::rules::rng::Rng;
use crate::rules::session::FileDisposition;
use crate::rules::time::Timestamp;

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

/// Codes that are kept, at most.
const MAX_CODES: usize = 200;

/// Reads a code from a trace, or from another server. Each code is kept once, for good: there are few of them.
fn code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Code, D::Error> {
    static CODES: Mutex<BTreeSet<Code>> = Mutex::new(BTreeSet::new());
    let text = String::deserialize(deserializer)?;
    let mut codes = CODES.lock();
    if let Some(code) = codes.get(text.as_str()) {
        return Ok(code);
    }
    if codes.len() >= MAX_CODES {
        return Err(D::Error::custom("too many codes of errors"));
    }
    let code: Code = text.leak();
    codes.insert(code);
    Ok(code)
}

/// Code and text of a refusal: another session has the id or alias.
pub(crate) const ID_IN_USE: (Code, &str) = ("idInUse", "A session with this id or alias already exists.");

impl Refusal {
    /// The session does not exist, or has ended.
    pub(crate) fn not_found() -> Self {
        Self::error("notFound", "Session not found!")
    }

    /// The session is about to be handed over.
    pub(crate) fn moves() -> Self {
        Self::error("storageError", "This session is about to move to another server, please try again soon")
    }

    /// The files of a new session cannot be created.
    pub(crate) fn cannot_store() -> Self {
        Self::error("storageError", "The server can't store new sessions at the moment")
    }

    /// A new session has an id or alias that another one has.
    pub(crate) fn id_in_use() -> Self {
        Self::error(ID_IN_USE.0, ID_IN_USE.1)
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
    /// The session is about to be handed over: the server that has the connection is to send nothing more.
    Pause,
    /// The session goes on at another server: send what is left of the history, then this to the server that has the
    /// connection, and close the link.
    Moved(String),
    /// The session has ended silently: from now on the client is only echoed its own messages.
    Quiet,
    /// How fast the client may draw from now on.
    DrawRate(DrawRate),
    /// The messages that were held for this client have been handled; its in-flight budget is released.
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

/// What the rules count in the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// A rate limit dropped chat or silenced warnings.
    Slowed,
    /// Storing has failed.
    StorageError,
}

/// What is to be done because of an input.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Effect {
    /// An operation on a connection.
    Client(ConnId, ClientOp),
    /// An entry of the event log.
    Log(LogEntry),
    /// Somebody has written this to the chat, to be kept for a while. Traces do not have it.
    KeepChat { user: u8, text: String },
    /// One more of these, in the metrics. Traces do not have it.
    Count(Counted),
    /// The session's description has changed; session lists are updated at once.
    DescriptionChanged,
    /// Only numbers of the description have changed (size, active users); updates may be batched.
    NumbersChanged,
    /// An operator password is to be verified; the result comes back as
    /// [`Input::OpwordChecked`](super::input::Input).
    CheckOpword(OpwordCheck),
    /// A ban list is to be encrypted or decrypted; the result comes back as
    /// [`Input::BansExchanged`](super::input::Input).
    ExchangeBans(BanExchange),
    /// The session is to be announced at a list server.
    Announce { url: String },
    /// The session is to be unlisted from a list server; from all with an empty URL.
    Unlist { url: String },
    /// An abuse report is for the moderators. Traces do not have it.
    Reported(Box<ReceivedReport>),
    /// An abuse report is to be forwarded.
    ForwardReport {
        /// Address of the reporter.
        address: Option<IpAddr>,
        report: serde_json::Value,
    },
    /// The server is to compact the history; the result comes back as
    /// [`Input::CompactionDone`](super::input::Input). Traces do not have it.
    Compact,
    /// The server is to make a thumbnail; it comes back as [`Input::ThumbnailMade`](super::input::Input). Traces do not
    /// have it.
    MakeThumbnail,
    /// The input was a batch that is held until the session runs.
    Held,
    /// Answer to an administrator's request.
    Answer(SessionAnswer),
    /// The session has ended; what to do with its files. Nothing follows.
    End(FileDisposition),
}

/// What the rules are given with an input: time and randomness; and where their effects go.
#[derive(Debug)]
pub struct Cx<'a> {
    /// The present moment.
    pub now: Timestamp,
    /// Random numbers; recorded in traces by their seed.
    pub rng: &'a mut Rng,
    /// What is to be done, in order.
    pub effects: Vec<Effect>,
}

impl<'a> Cx<'a> {
    /// For one input.
    pub fn new(now: Timestamp, rng: &'a mut Rng) -> Cx<'a> {
        Cx { now, rng, effects: Vec::new() }
    }

    /// Wants something done.
    pub(super) fn push(&mut self, effect: Effect) {
        // Each message of a batch changes numbers.
        let again = matches!(effect, Effect::NumbersChanged)
            && matches!(self.effects.last(), Some(Effect::NumbersChanged));
        if !again {
            self.effects.push(effect);
        }
    }

    /// Wants an operation on a connection.
    pub(super) fn client(&mut self, conn: ConnId, op: ClientOp) {
        self.push(Effect::Client(conn, op));
    }

    /// Wants wire bytes sent to a connection.
    pub(super) fn direct(&mut self, conn: ConnId, bytes: impl Into<Bytes>) {
        self.client(conn, ClientOp::Direct(bytes.into()));
    }

    /// Wants an entry in the event log.
    pub(super) fn log(&mut self, entry: LogEntry) {
        self.push(Effect::Log(entry));
    }
}
