//! Who is in a session, and who wants to be.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use drawhall_protocol::Frame;
use drawhall_protocol::command::Capabilities;
use drawhall_protocol::message::{Join, Layout, Message};
use serde::{Deserialize, Serialize};

use super::bans::Identity;
use super::effects::ConnId;
use crate::history::AtomicI64;
use crate::limits::{Bucket, Rate};
use crate::log::LogUser;
use crate::username;

/// Messages of a member that are not allowed, of which everybody is told: one a second, 20 at once.
const FAULT_RATE: Rate = Rate { per_second: 1.0, burst: 20.0 };
/// Those beyond them after which the member is sent away. A client that streams a reset which was given up has some dozens
/// of parts on their way.
const MAX_UNTOLD_FAULTS: f64 = 100.0;

/// Somebody who has logged in and wants to host or join.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AuthenticatedClient {
    /// The connection.
    pub conn: ConnId,
    /// Name, address, account and system id.
    #[serde(alias = "person")]
    pub identity: Identity,
    /// Avatar picture.
    pub avatar: Vec<u8>,
    /// Effective account flags.
    pub flags: Vec<String>,
    /// An account whose own flags let it host: HOST or MOD.
    pub may_always_host: bool,
    /// Moderator.
    pub moderator: bool,
    /// Moderator who is not announced.
    pub ghost: bool,
    /// Connected from a browser.
    pub browser: bool,
    /// The connection is encrypted.
    pub encrypted: bool,
    /// The connection came by a proxy.
    #[serde(default)]
    pub proxied: bool,
    /// What the client can do.
    pub capabilities: Capabilities,
}

/// A request to join.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct JoinRequest {
    /// Who asks.
    #[serde(alias = "visitor")]
    pub client: AuthenticatedClient,
    /// Session password or invite secret.
    pub password: String,
    /// Invite secret of the look-up, empty without.
    pub invite: String,
    /// The minor version differs.
    pub oldv: bool,
    /// History index up to which the client has the session.
    pub hidx: String,
    /// The server's ban that would stop this client now.
    pub server_ban: bool,
}

/// What part a client has in an autoreset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ResetRole {
    /// None.
    #[default]
    None,
    /// It was asked whether it is ready.
    Queried,
    /// It said that it is ready.
    Responded,
    /// It was chosen to do a normal reset.
    Awaiting,
    /// It was chosen to do a streamed reset.
    AwaitingStream,
    /// It streams.
    Streaming,
}

impl ResetRole {
    /// It was told to reset, and has not done so yet.
    pub(super) fn is_chosen(self) -> bool {
        matches!(self, Self::Awaiting | Self::AwaitingStream | Self::Streaming)
    }
}

/// What a member is sent of the history. Places are indices of messages until the cursor is made: an offset that was
/// looked up before a reset took effect would point into the middle of a message.
#[derive(Debug, Clone)]
pub(super) enum Feed {
    /// The member is only coming in.
    NotYet,
    /// From the beginning on, once the session runs.
    Origin,
    /// What is behind the message with this index, once the session runs.
    Behind(i64),
    /// It has begun; the offset up to which it was sent.
    Reading(Arc<AtomicI64>),
}

/// Messages of a member that are not allowed. Each would be shown to everybody.
#[derive(Debug, Default)]
pub(super) struct Faults {
    bucket: Bucket,
    /// Everybody was told that further ones are not shown, since the last one that was.
    told: bool,
}

/// What is done about a message that is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultVerdict {
    /// Everybody is shown it.
    Tell,
    /// Everybody is told that further ones are not shown.
    TellLast,
    /// Nothing.
    Silent,
    /// The member is sent away.
    SendAway,
}

impl Faults {
    /// What is to be done about another one.
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

/// Somebody in the session.
#[derive(Debug)]
pub struct Member {
    /// Who it is.
    pub client: AuthenticatedClient,
    /// What its name has in common with those that people cannot tell from it.
    pub skeleton: String,
    /// User id.
    pub id: u8,
    /// Operator; moderators are always.
    pub operator: bool,
    /// Trusted.
    pub trusted: bool,
    /// Chat is dropped.
    pub muted: bool,
    /// The client's minor version differs.
    pub oldv: bool,
    /// Came with an invite.
    pub invited: bool,
    /// Messages are held until the session runs.
    pub hold_locked: bool,
    /// The messages that are held.
    pub held: Vec<u8>,
    /// When it last sent anything, milliseconds since 1970.
    pub last_active: i64,
    /// When it last sent a command message, milliseconds since 1970.
    pub last_drawing: Option<i64>,
    /// Part in an autoreset.
    pub reset_role: ResetRole,
    /// What it is sent of the history.
    pub(super) feed: Feed,
    /// Its position in the history as it was when the present input came.
    pub(super) observed: Option<i64>,
    /// Chat messages of the last seconds.
    pub(super) chat: Bucket,
    /// When it was last told that it chats too much, in milliseconds of the forward clock.
    pub(super) chat_warned: Option<u64>,
    /// Wrong opwords that it has tried.
    pub(super) wrong_opwords: u32,
    /// Ban lists that it has imported.
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
            held: Vec::new(),
            last_active: 0,
            last_drawing: None,
            reset_role: ResetRole::None,
            feed: Feed::NotYet,
            observed: None,
            chat: Bucket::default(),
            chat_warned: None,
            wrong_opwords: 0,
            imports: Bucket::default(),
            faults: Faults::default(),
        }
    }

    /// The connection.
    pub fn conn(&self) -> ConnId {
        self.client.conn
    }

    /// Offset up to which it was sent the history, once that has begun.
    pub fn position(&self) -> Option<i64> {
        match &self.feed {
            Feed::Reading(position) => Some(position.load(Ordering::Acquire)),
            Feed::NotYet | Feed::Origin | Feed::Behind(_) => None,
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

    /// Logged in with an account.
    pub fn is_authenticated(&self) -> bool {
        !self.auth_id().is_empty()
    }

    /// Moderator.
    pub fn is_moderator(&self) -> bool {
        self.client.moderator
    }

    /// Not announced.
    pub fn is_ghost(&self) -> bool {
        self.client.ghost
    }

    /// Operator or moderator.
    pub fn is_operator(&self) -> bool {
        self.operator || self.client.moderator
    }

    /// Whether an account has a flag.
    pub fn has_flag(&self, flag: &str) -> bool {
        self.client.flags.iter().any(|f| f == flag)
    }

    /// On the same machine as the server, and not by a proxy there that does not say whom it speaks for.
    pub fn is_local(&self) -> bool {
        !self.client.proxied
            && self.client.identity.address.is_some_and(|a: IpAddr| a.to_canonical().is_loopback())
    }

    /// The user as the log names it.
    pub fn log_user(&self) -> LogUser {
        let Identity { name, address, .. } = &self.client.identity;
        LogUser { id: self.id, address: *address, name: name.clone() }
    }

    /// The member's `Join`, with or without the avatar.
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

/// Somebody who was in the session; kept until the user id is used again.
#[derive(Debug)]
pub struct PastUser {
    /// Who it was.
    pub identity: Identity,
    /// Moderators cannot be banned afterwards either.
    pub bannable: bool,
}
