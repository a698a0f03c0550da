//! Handing a session over to another server: members whose connections other servers have stay, and nobody sees them
//! leave.
//! Source: docs/guide/cluster.md.

use std::collections::HashSet;
use std::time::Duration;

use drawhall_protocol::Frame;
use drawhall_protocol::message::Leave;
use serde::{Deserialize, Serialize};

use super::effects::{ClientOp, ConnId, Cx};
use super::member::{AuthenticatedClient, Feed, Member};
use super::{Refusal, SessionMachine};
use crate::history::EMERGENCY_BYTES;

/// How long members may take to be there, at the server that has taken the session over.
pub const RESUME_LIMIT: Duration = Duration::from_secs(10);
/// Bytes of avatars that are handed over, at most. They are needed only when the history is rebuilt.
const MAX_AVATARS: usize = 256 << 10;

/// A member who stays while the session moves to another server.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in `Member`")]
pub struct StayingMember {
    pub client: AuthenticatedClient,
    pub id: u8,
    pub operator: bool,
    pub trusted: bool,
    pub muted: bool,
    pub oldv: bool,
    pub invited: bool,
    pub last_active: i64,
    pub last_drawing: Option<i64>,
    /// An operator does not let it draw.
    pub locked: bool,
}

/// Members who stay while the session moves to another server.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct StayingMembers {
    /// History index up to which each of them is sent the history by the server that the session leaves.
    pub hidx: String,
    /// Their order is that in which they have joined.
    pub members: Vec<StayingMember>,
}

impl SessionMachine {
    /// Whether nothing is in progress that only this server knows of: an upload, or a reset.
    pub fn may_be_handed_over(&self) -> bool {
        self.resets.is_running()
            && self.resets.stream_stage().is_none()
            && !self.members.iter().any(|member| member.reset_role.is_chosen())
    }

    /// The members with these connections, for another server. They must be sent the whole history, up to the present
    /// end; nothing may be added to it from now on.
    pub fn staying(&self, conns: &HashSet<ConnId>) -> StayingMembers {
        let mut avatars = 0;
        let members = self.members.iter().filter(|member| conns.contains(&member.conn())).map(|member| {
            let mut client = member.client.clone();
            avatars += client.avatar.len();
            if avatars > MAX_AVATARS {
                client.avatar.clear();
            }
            StayingMember {
                client,
                id: member.id,
                operator: member.operator,
                trusted: member.trusted,
                muted: member.muted,
                oldv: member.oldv,
                invited: member.invited,
                last_active: member.last_active,
                last_drawing: member.last_drawing,
                locked: self.locks.is_locked_by_operator(member.id),
            }
        });
        StayingMembers { members: members.collect(), hidx: self.history_index(true, 0).unwrap_or_default() }
    }

    /// Takes the members who stay over from another server; they are sent nothing until they are there.
    pub(super) fn take_staying(&mut self, staying: StayingMembers) {
        let StayingMembers { hidx, members } = staying;
        let index = self.skip_to(&hidx);
        for staying in members {
            let Some(index) = index else {
                // The history is another one.
                if let Ok(leave) = Frame::new(Leave::TYPE, staying.id, &[]) {
                    let _ = self.history.append_emergency(leave.as_bytes(), 1, EMERGENCY_BYTES);
                }
                continue;
            };
            let mut member = Member::new(staying.client, staying.id);
            member.operator |= staying.operator;
            member.trusted = staying.trusted;
            member.muted = staying.muted;
            member.oldv = staying.oldv;
            member.invited = staying.invited;
            member.last_active = staying.last_active;
            member.last_drawing = staying.last_drawing;
            member.restricted = self.restrictions.of(&member.client.identity);
            member.feed = Feed::Behind(index);
            if staying.locked {
                self.locks.lock_by_operator(staying.id);
            }
            if !member.is_ghost() {
                self.timers.visited();
            }
            self.members.push(member);
        }
    }

    /// Connections of the members who stay and are not there yet.
    pub fn awaited(&self) -> impl Iterator<Item = ConnId> {
        self.members.iter().filter(|member| matches!(member.feed, Feed::Behind(_))).map(Member::conn)
    }

    /// A member who stays is there: it is sent what has come since.
    pub(super) fn resume(&mut self, conn: ConnId, cx: &mut Cx<'_>) {
        let Some(member) = self.members.key_of(conn).and_then(|key| self.members.get_mut(key)) else {
            return cx.client(conn, ClientOp::Refused(Refusal::not_found()));
        };
        cx.client(conn, ClientOp::Joined { user: member.id });
        if let Feed::Behind(index) = member.feed {
            let from = self.history.offset_after(index).unwrap_or(self.history.start());
            let cursor = self.history.cursor(from);
            member.feed = Feed::Reading(cursor.position());
            cx.client(conn, ClientOp::Attach(cursor));
        }
        // The only one may have been connected to the server that has stopped.
        self.ensure_operator(cx);
    }
}
