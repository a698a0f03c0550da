//! Members of a session, and clients that ask to become one.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use drawhall_protocol::Frame;
use drawhall_protocol::command::Capabilities;
use drawhall_protocol::message::{Join, Layout, Message};
use serde::{Deserialize, Serialize};

use super::bans::Identity;
use super::effects::ConnId;
use super::restrictions::Restricted;
use crate::history::AtomicI64;
use crate::log::LogUser;
use crate::rules::batch::Batch;
use crate::rules::limits::{Bucket, DrawRate, Rank, Rate};
use crate::rules::username;

/// Rate at which invalid messages of one member are reported to everybody: one a second, burst of 20.
const FAULT_RATE: Rate = Rate { per_second: 1.0, burst: 20.0 };
/// Unreported invalid messages after which the member is disconnected. A client that goes on with a streamed reset
/// that was aborted sends some dozens.
const MAX_UNTOLD_FAULTS: f64 = 100.0;

/// A client that has logged in and asks to host or join.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct AuthenticatedClient {
    pub conn: ConnId,
    /// Name, address, account and system id.
    #[serde(alias = "person")]
    pub identity: Identity,
    /// Avatar, as the client sent it (base64 of an image); empty without.
    pub avatar: Vec<u8>,
    /// Account flags in force, upper case.
    pub flags: Vec<String>,
    /// The account itself has HOST or MOD, so that closed hosting does not apply.
    pub may_always_host: bool,
    pub moderator: bool,
    /// A moderator that is not announced to other users.
    pub ghost: bool,
    pub browser: bool,
    pub encrypted: bool,
    /// The connection came through a reverse proxy.
    #[serde(default)]
    pub proxied: bool,
    /// Capabilities that the client announced.
    pub capabilities: Capabilities,
}

/// A request to join.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct JoinRequest {
    #[serde(alias = "visitor")]
    pub client: AuthenticatedClient,
    /// Session password or invite secret.
    pub password: String,
    /// Invite secret of the look-up, empty without.
    pub invite: String,
    /// The client's minor protocol version differs from the session's.
    pub oldv: bool,
    /// History index up to which the client already has the session; see docs/spec/session.md#history-index.
    pub hidx: String,
    /// A ban of the server applies to this client; it is enforced unless the session refuses for another reason.
    pub server_ban: bool,
}

/// Role of a member in an autoreset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ResetRole {
    #[default]
    None,
    /// Asked whether it is ready.
    Queried,
    /// Answered that it is ready.
    Responded,
    /// Chosen for a normal reset.
    Awaiting,
    /// Chosen for a streamed reset.
    AwaitingStream,
    /// Streaming a reset.
    Streaming,
}

impl ResetRole {
    /// Whether it was chosen and has not finished.
    pub(super) fn is_chosen(self) -> bool {
        matches!(self, Self::Awaiting | Self::AwaitingStream | Self::Streaming)
    }
}

/// Which part of the history a member is sent. Before a cursor exists, positions are message indices: an offset that
/// was looked up before a reset took effect could point into the middle of a message.
#[derive(Debug, Clone)]
pub(super) enum Feed {
    /// Still joining.
    NotYet,
    /// Everything, once the session runs.
    FromStart,
    /// Everything after the message with this index, once the session runs.
    Behind(i64),
    /// A cursor exists; holds the offset up to which the member was sent the history.
    Reading(Arc<AtomicI64>),
}

/// Rate limit for error messages about a member's invalid messages, as each is shown to everybody.
#[derive(Debug, Default)]
pub(super) struct Faults {
    bucket: Bucket,
    /// The notice that further errors are suppressed has been sent since the last error that was shown.
    told: bool,
}

/// What to do about an invalid message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultVerdict {
    /// Show the error to everybody.
    Tell,
    /// Show that further errors are suppressed.
    TellLast,
    /// Show nothing.
    Silent,
    /// Disconnect the member.
    SendAway,
}

impl Faults {
    /// Counts one more invalid message.
    pub(super) fn another(&mut self, now_ms: u64) -> FaultVerdict {
        let untold = self.bucket.overdraw(FAULT_RATE, now_ms, 1) as f64 / 1000.0 * FAULT_RATE.per_second;
        if untold < 1.0 {
            self.told = false;
            FaultVerdict::Tell
        } else if untold > MAX_UNTOLD_FAULTS {
            FaultVerdict::SendAway
        } else if std::mem::replace(&mut self.told, true) {
            FaultVerdict::Silent
        } else {
            FaultVerdict::TellLast
        }
    }
}

/// A member of a session.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Member {
    pub client: AuthenticatedClient,
    /// Skeleton of the name (Unicode TR 39), the same for names that look alike.
    pub skeleton: String,
    /// User id, 1 to 254.
    pub id: u8,
    /// Operator; always set for moderators.
    pub operator: bool,
    pub trusted: bool,
    /// Chat messages are dropped.
    pub muted: bool,
    pub oldv: bool,
    /// Joined with an invite.
    pub invited: bool,
    /// Messages are held until the session runs.
    pub hold_locked: bool,
    /// The held messages.
    pub held: Batch,
    /// Last message, milliseconds since 1970.
    pub last_active: i64,
    /// Last drawing command, milliseconds since 1970.
    pub last_drawing: Option<i64>,
    pub reset_role: ResetRole,
    pub(super) feed: Feed,
    /// Reader offset of this member, snapshotted for the present input.
    pub(super) observed: Option<i64>,
    /// Rate limit for chat.
    pub(super) chat: Bucket,
    /// Last chat flood warning, monotonic milliseconds.
    pub(super) chat_warned: Option<u64>,
    pub(super) wrong_opwords: u32,
    /// What moderators of the server do not allow it.
    pub(super) restricted: Restricted,
    /// How fast its client was told that it may draw.
    pub(super) draw_rate: DrawRate,
    /// Its client is slowed down by that rate limit.
    pub slowed: bool,
    /// When others were last told so, monotonic milliseconds.
    pub(super) slowed_told: Option<u64>,
    /// Rate limit for ban list imports.
    pub(super) imports: Bucket,
    pub(super) faults: Faults,
}

impl Member {
    pub(super) fn new(client: AuthenticatedClient, id: u8) -> Self {
        Self {
            operator: client.moderator,
            skeleton: username::skeleton(&client.identity.name),
            client,
            id,
            trusted: false,
            muted: false,
            oldv: false,
            invited: false,
            hold_locked: false,
            held: Batch::default(),
            last_active: 0,
            last_drawing: None,
            reset_role: ResetRole::None,
            feed: Feed::NotYet,
            observed: None,
            chat: Bucket::default(),
            chat_warned: None,
            wrong_opwords: 0,
            restricted: Restricted::default(),
            draw_rate: DrawRate::UNLIMITED,
            slowed: false,
            slowed_told: None,
            imports: Bucket::default(),
            faults: Faults::default(),
        }
    }

    /// The member's connection.
    pub fn conn(&self) -> ConnId {
        self.client.conn
    }

    /// Offset up to which the member was sent the history; `None` before its cursor exists.
    pub fn position(&self) -> Option<i64> {
        match &self.feed {
            Feed::Reading(position) => Some(position.load(Ordering::Acquire)),
            Feed::NotYet | Feed::FromStart | Feed::Behind(_) => None,
        }
    }

    /// User name.
    pub fn name(&self) -> &str {
        &self.client.identity.name
    }

    /// Account id, empty for guests.
    pub fn auth_id(&self) -> &str {
        &self.client.identity.auth_id
    }

    /// Whether it logged in with an account.
    pub fn is_authenticated(&self) -> bool {
        !self.auth_id().is_empty()
    }

    /// Whether it is a moderator of the server.
    pub fn is_moderator(&self) -> bool {
        self.client.moderator
    }

    /// Whether it is hidden from other users.
    pub fn is_ghost(&self) -> bool {
        self.client.ghost
    }

    /// Whether it may use operators' commands; true for moderators.
    pub fn is_operator(&self) -> bool {
        self.operator || self.client.moderator
    }

    /// Rank for the rate limits of drawing.
    pub(super) fn rank(&self) -> Rank {
        match self {
            m if m.is_operator() => Rank::Operator,
            m if m.trusted => Rank::Trusted,
            m if m.is_authenticated() => Rank::Registered,
            _ => Rank::Guest,
        }
    }

    /// Whether its chat messages are dropped.
    pub fn is_muted(&self) -> bool {
        self.muted || self.restricted.muted
    }

    /// Whether the account has this flag (upper case).
    pub fn has_flag(&self, flag: &str) -> bool {
        self.client.flags.iter().any(|f| f == flag)
    }

    /// Whether it connects from the server's machine, and not through a local proxy that does not tell client
    /// addresses.
    pub fn is_local(&self) -> bool {
        !self.client.proxied
            && self.client.identity.address.is_some_and(|a: IpAddr| a.to_canonical().is_loopback())
    }

    /// The user in the form of the log.
    pub fn log_user(&self) -> LogUser {
        let Identity { name, address, .. } = &self.client.identity;
        LogUser { id: self.id, address: *address, name: name.clone() }
    }

    /// The member's `Join` message.
    pub(super) fn join_message(&self, with_avatar: bool) -> Option<Frame> {
        let flags = [
            (self.is_authenticated(), Join::FLAGS_AUTH),
            (self.is_moderator(), Join::FLAGS_MOD),
            (self.oldv, Join::FLAGS_OLD),
        ];
        let flags = flags.iter().filter(|(set, _)| *set).fold(0, |bits, (_, bit)| bits | bit);
        let avatar = if with_avatar { self.client.avatar.clone() } else { Vec::new() };
        let join = Message::from(Join { flags, name: self.name().to_owned(), avatar });
        join.to_frame(self.id, Layout::V4_25).ok()
    }
}

/// A user who has left. Kept until its user id is used again.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct PastUser {
    pub identity: Identity,
    /// False for moderators, who cannot be banned after they left either.
    pub bannable: bool,
    /// Has sent drawing commands.
    pub drew: bool,
}
