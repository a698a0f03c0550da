//! What is said over a node link, and how it is framed.
//!
//! Whoever connects sends a [`LinkRequest`]. Requests, answers and news are a length in four bytes, big-endian, and JSON.
//! Only the answer to [`LinkRequest::Join`] is a message of the drawing protocol, as everything is that follows it.

use std::io;
use std::net::IpAddr;

use bytes::Bytes;
use drawhall_protocol::frame::FrameHeader;
use drawhall_protocol::message::{Disconnect, Layout, Message, ServerCommand};
use drawhall_protocol::reply::SessionDescription;
use drawhall_protocol::{Frame, HEADER_LEN};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::db::nodes::Node;
use crate::log::LogUser;
use crate::rules::session::hand_over::StayingMembers;
use crate::rules::session::{ConnId, JoinRequest, Refusal};

/// Maximum length of a request, answer or piece of news in bytes. The largest have an avatar, or [`NEWS_SESSIONS`]
/// descriptions.
const MAX_LEN: usize = 4 << 20;
/// Descriptions in one piece of news, at most.
pub const NEWS_SESSIONS: usize = 100;

/// What a link is for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum LinkRequest {
    /// Send [`SessionNews`] from now on.
    Watch,
    /// Look a session up for a client that logs in. The answer is a `LookupAnswer`.
    LookUp {
        /// Id.
        session: String,
        /// Empty without an invite.
        invite: String,
        /// System id of the client, empty if it is not known yet.
        sid: String,
    },
    /// Let a client join a session. The answer is a [`JoinAnswer`]; if it is let in, messages follow in both directions.
    Join {
        /// Id.
        session: String,
        /// Who, as the server that has the connection knows them; the connection number is not used.
        request: Box<JoinRequest>,
    },
    /// Take a session over, with its members. The answer is a list with the numbers of the members' connections, in
    /// their order, or `null` if the session is not taken.
    TakeOver(Box<HandedOver>),
    /// Go on with a member of a session that was taken over. The answer is a [`JoinAnswer`]; then as for `Join`.
    Resume {
        /// Id.
        session: String,
        /// Number of the member's connection there.
        conn: ConnId,
        /// Who, for the log.
        user: LogUser,
    },
    /// A request to the admin API of this server, by somebody who has logged in at another. The answer is an
    /// [`AdminHead`], and the body up to the end of the link.
    Admin(Box<AdminCall>),
    /// An abuse report by a client that is not in the session. There is no answer.
    Report {
        /// Id.
        session: String,
        /// Who reports.
        user: LogUser,
        /// Why.
        reason: String,
    },
}

/// A request to the admin API.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AdminCall {
    /// Method of HTTP.
    pub method: String,
    /// Path with the query.
    pub path: String,
    /// Content type of the body, empty without.
    pub content_type: String,
    /// The body.
    pub body: String,
    /// It is given up when the link ends; others go on until they are done.
    pub ends_with_connection: bool,
    /// Who asks, for the log.
    pub name: String,
    /// Name of the role that they have.
    pub role: String,
    /// Where they ask from.
    pub address: IpAddr,
}

/// The beginning of an answer of the admin API.
#[derive(Debug, Serialize, Deserialize)]
pub struct AdminHead {
    /// Status of HTTP.
    pub status: u16,
    /// Headers that are text.
    pub headers: Vec<(String, String)>,
}

/// Whether a client may join.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinAnswer {
    /// It has joined under this user id.
    Joined(u8),
    /// It may not.
    Refused(Refusal),
}

impl JoinAnswer {
    /// The answer as a message of the drawing protocol: JSON in one of the type of commands.
    ///
    /// # Errors
    /// When a refusal is too long for a message.
    pub fn to_frame(&self) -> io::Result<Bytes> {
        let json = serde_json::to_vec(self)?;
        Frame::new(ServerCommand::TYPE, 0, &json).map(Frame::into_bytes).map_err(io::Error::other)
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// When the peer closes the link, or sends something else.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<JoinAnswer> {
        let mut header = [0; HEADER_LEN];
        stream.read_exact(&mut header).await?;
        let header = FrameHeader::parse(&header).filter(|header| header.kind == ServerCommand::TYPE);
        let header = header.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no answer"))?;
        let mut json = vec![0; header.len.into()];
        stream.read_exact(&mut json).await?;
        Ok(serde_json::from_slice(&json)?)
    }
}

/// What a session tells, over the link of a client, to the server that has the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkSignal {
    /// Send nothing more over this link, and close that direction; the session is about to move.
    Pause,
    /// The session goes on at another server, and the link ends.
    Moved(Moved),
}

/// A session that is to go on at another server. The server that has it commits nothing to it any more.
#[derive(Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct HandedOver {
    pub description: SessionDescription,
    /// Incarnation of the server that has it.
    pub from: String,
    pub staying: StayingMembers,
}

/// Where a session goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Moved {
    pub node: Node,
    /// Number of the client's connection there.
    pub conn: ConnId,
}

/// Reasons of a `Disconnect` that clients are never sent.
const PAUSE: u8 = 0xf0;
const MOVED: u8 = 0xf1;

impl LinkSignal {
    /// The frame of [`LinkSignal::Pause`].
    ///
    /// # Errors
    /// None: its text is short.
    pub fn pause() -> io::Result<Bytes> {
        // For servers that do not know it: to them it is the end.
        signal(PAUSE, "This server is about to stop, please reconnect")
    }

    /// The frame of [`LinkSignal::Moved`], of its JSON.
    ///
    /// # Errors
    /// When the text is too long for a message.
    pub fn moved(json: &str) -> io::Result<Bytes> {
        signal(MOVED, json)
    }

    /// The signal that a `Disconnect` is, if it is none for a client.
    pub fn of(disconnect: &Disconnect) -> Option<LinkSignal> {
        match disconnect.reason {
            PAUSE => Some(LinkSignal::Pause),
            MOVED => serde_json::from_str(&disconnect.message).ok().map(LinkSignal::Moved),
            _ => None,
        }
    }
}

fn signal(reason: u8, text: &str) -> io::Result<Bytes> {
    let disconnect = Message::from(Disconnect { reason, message: text.to_owned() });
    disconnect.to_frame(0, Layout::V4_25).map(Frame::into_bytes).map_err(io::Error::other)
}

/// What has changed at the sessions of a server. Without news it is sent empty each second, as a sign of life.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct SessionNews {
    /// New and changed sessions, at most [`NEWS_SESSIONS`].
    pub sessions: Vec<SessionDescription>,
    /// Ids of sessions that have ended.
    pub ended: Vec<String>,
    /// All sessions that the server has were told at least once.
    pub complete: bool,
}

/// Writes a message.
///
/// # Errors
/// When the peer does not take it, or it is too long.
pub async fn write(stream: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> io::Result<()> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let len = bytes.len() - 4;
    if len > MAX_LEN {
        return Err(io::Error::other("too long for a node link"));
    }
    bytes[..4].copy_from_slice(&(len as u32).to_be_bytes());
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// Reads a message.
///
/// # Errors
/// When the peer closes the link, or sends something else.
pub async fn read<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let len = stream.read_u32().await? as usize;
    if len > MAX_LEN {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too long for a node link"));
    }
    let mut bytes = Vec::new();
    // What has not been received yet is not allocated.
    let read = stream.take(len as u64).read_to_end(&mut bytes).await?;
    if read < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&bytes)?)
}
