//! What a run has observed. The checker knows nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

/// Type of the strokes: one that the server does not look into.
pub(crate) const STROKE: u8 = 140;
/// First bytes of a stroke's payload.
const MAGIC: &[u8; 4] = b"rig:";
/// Types of which the history has every message, besides all from 64 on: joins, leaves, operators, trusted users, soft
/// resets.
const OF_HISTORY: [u8; 5] = [32, 33, 34, 36, 37];

/// A message of the history as a client received it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) user: u8,
    pub(crate) payload: Vec<u8>,
}

impl Message {
    /// Whether it is in the history, by docs/spec/session.md#what-is-in-the-history.
    pub(crate) fn is_of_history(&self) -> bool {
        match self.kind {
            0 => self.reply().is_some_and(|reply| match reply["type"].as_str() {
                Some("caughtup" | "sstart") => true,
                // One with a list only is partial, and is sent to each client directly.
                Some("sessionconf") => reply["config"]["title"].is_string(),
                _ => false,
            }),
            kind => kind >= 64 || OF_HISTORY.contains(&kind),
        }
    }

    /// What the server says, if it is one of its replies.
    pub(crate) fn reply(&self) -> Option<Value> {
        (self.kind == 0).then(|| serde_json::from_slice(&self.payload).ok()).flatten()
    }

    /// The start id and the index of the message before it, where it names them.
    pub(crate) fn anchor(&self) -> Option<(String, i64)> {
        let reply = self.reply()?;
        let mut parts = reply["hidx"].as_str()?.splitn(3, ':');
        Some((parts.next()?.to_owned(), parts.next()?.parse().ok()?))
    }

    /// In wire form.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let length = u16::try_from(self.payload.len()).unwrap_or(u16::MAX).to_be_bytes();
        [&[length[0], length[1], self.kind, self.user], &self.payload[..]].concat()
    }

    /// Which stroke it is.
    pub(crate) fn stroke(&self) -> Option<StrokeId> {
        if self.kind == STROKE { StrokeId::of(&self.payload) } else { None }
    }
}

impl std::fmt::Display for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.stroke(), self.reply()) {
            (Some(id), _) => write!(f, "{id}"),
            (None, Some(reply)) => write!(f, "{reply}"),
            (None, None) => write!(f, "message {}/{} of {} bytes", self.kind, self.user, self.payload.len()),
        }
    }
}

/// The how manieth stroke of which connection of which client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StrokeId {
    pub(crate) client: u32,
    pub(crate) connection: u32,
    pub(crate) counter: u32,
}

impl StrokeId {
    /// The payload of this stroke, with this content behind its id.
    pub(crate) fn payload(self, content: &[u8]) -> Vec<u8> {
        let numbers = [self.client, self.connection, self.counter].map(u32::to_be_bytes);
        [&MAGIC[..], &numbers.concat(), content].concat()
    }

    fn of(payload: &[u8]) -> Option<StrokeId> {
        let mut numbers = payload.strip_prefix(MAGIC)?.get(..12)?.chunks_exact(4);
        let mut next = || Some(u32::from_be_bytes(numbers.next()?.try_into().ok()?));
        Some(StrokeId { client: next()?, connection: next()?, counter: next()? })
    }
}

impl std::fmt::Display for StrokeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "stroke {}.{}.{}", self.client, self.connection, self.counter)
    }
}

/// One connection of a client that was in the session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connection {
    pub(crate) client: u32,
    /// Counts the connections of this client, also those that did not get into the session.
    pub(crate) number: u32,
    /// The server that it was connected to.
    pub(crate) server: usize,
    /// The index up to which it said that it had everything.
    pub(crate) asked: Option<i64>,
    /// Whether the server answered that it skips that.
    pub(crate) skipped: bool,
    /// The messages of the history, in the order in which they came.
    pub(crate) messages: Vec<Message>,
}

impl std::fmt::Display for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "connection {}.{} at server {}", self.client, self.number, self.server)
    }
}

/// A piece of a session's files in PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) file: String,
    pub(crate) start: i64,
    pub(crate) epoch: i64,
    pub(crate) bytes: i64,
}

/// What a moderator has asked for and been told; what it is at the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Journal {
    /// Titles in the order in which they were given.
    pub(crate) titles: Vec<String>,
    /// How many of them clients were told, in order.
    pub(crate) confirmed_titles: usize,
    /// Invites, bans, trusted accounts that a moderator was told of, such as `ban troll-1`.
    pub(crate) confirmed: BTreeSet<String>,
    pub(crate) title_at_end: String,
    pub(crate) at_end: BTreeSet<String>,
}

/// A run, of one session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed {
    /// Payloads of what was sent.
    pub(crate) sent: BTreeMap<StrokeId, Arc<[u8]>>,
    /// All connections, those of each client in order.
    pub(crate) connections: Vec<Connection>,
    /// What a new client is sent after everything, from the beginning.
    pub(crate) last: Connection,
    /// Its history as it is stored.
    pub(crate) stored: Vec<u8>,
    /// The session in PostgreSQL, if it is there.
    pub(crate) rows: Vec<Row>,
    pub(crate) journal: Journal,
}
