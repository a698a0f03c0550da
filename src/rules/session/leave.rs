//! Leaving and kicking. Source: docs/spec/session.md#leaving.

use drawhall_protocol::Frame;
use drawhall_protocol::message::Leave;

use super::member::{Member, PastUser, ResetRole};
use super::{ClientOp, ConnId, DisconnectReason, Effects, MemberKey, SessionMachine, SessionState};
use crate::log::{Level, Topic};
use crate::rules::time::Timestamp;

/// How a member leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Departure {
    Left,
    /// Its client has connected again; the new connection has taken its place.
    Replaced,
}
/// How long a session stays empty after members were disconnected by the server, in milliseconds, so that they can
/// come back.
pub(super) const ACCIDENT_LINGER_MS: u64 = 60_000;

impl SessionMachine {
    /// The server has closed a client's connection.
    pub fn cut(&mut self, conn: ConnId, now: Timestamp, effects: &mut Effects) {
        if let Some(key) = self.members.key_of(conn) {
            self.notice_accident(key, now);
        }
        self.leave(conn, now, effects);
    }

    /// Remembers that a member was disconnected against its will; if that empties the session, it is kept for a
    /// while.
    fn notice_accident(&mut self, key: MemberKey, now: Timestamp) {
        if self.members.get(key).is_some_and(|m| !m.is_ghost()) {
            self.accident = Some(now.monotonic_ms);
        }
    }

    /// A client has closed its connection.
    pub fn leave(&mut self, conn: ConnId, now: Timestamp, effects: &mut Effects) {
        if let Some(key) = self.members.key_of(conn) {
            self.take_out(key, Departure::Left, now, effects);
        }
    }

    fn take_out(&mut self, key: MemberKey, how: Departure, now: Timestamp, effects: &mut Effects) {
        if let Some(member) = self.members.remove(key) {
            self.left(member, how, now, effects);
        }
    }

    /// Disconnects a client with a reason.
    pub(super) fn disconnect(
        &mut self,
        key: MemberKey,
        reason: DisconnectReason,
        message: &str,
        details: &str,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        self.send_away(key, Departure::Left, reason, message, details, now, effects);
    }

    /// Disconnects the old connection of a client that has connected again.
    pub(super) fn replace(&mut self, key: MemberKey, name: &str, now: Timestamp, effects: &mut Effects) {
        let (how, reason) = (Departure::Replaced, DisconnectReason::Kick);
        self.send_away(key, how, reason, name, "Replaced by rejoining", now, effects);
    }

    #[allow(clippy::too_many_arguments, reason = "one per fact that the log and the client are told")]
    fn send_away(
        &mut self,
        key: MemberKey,
        how: Departure,
        reason: DisconnectReason,
        message: &str,
        details: &str,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        let Some(member) = self.members.get(key) else { return };
        let (conn, user) = (member.conn(), member.log_user());
        let (topic, text) = match reason {
            DisconnectReason::Kick => (Topic::Kick, format!("Kicked by {message}")),
            _ => (Topic::Leave, message.to_owned()),
        };
        let text = if details.is_empty() { text } else { format!("{text} ({details})") };
        self.note_about(user, Level::Info, topic, text, now, effects);
        if reason == DisconnectReason::Error {
            self.notice_accident(key, now);
        }
        self.take_out(key, how, now, effects);
        effects.sends.push((conn, ClientOp::Disconnect { reason, message: message.into() }));
    }

    fn left(&mut self, member: Member, how: Departure, now: Timestamp, effects: &mut Effects) {
        let id = member.id;
        let user = member.log_user();
        let text = if member.is_ghost() { "Moderator in ghost mode left session" } else { "Left session" };
        self.note_about(user, Level::Info, Topic::Leave, text, now, effects);
        let bannable = !member.is_moderator();
        let ghost = member.is_ghost();
        self.past_users.insert(id, PastUser { identity: member.client.identity, bannable });
        // A session that loses its host during the upload continues with what was uploaded: nobody else could end the
        // upload, and everybody would wait for it.
        if matches!(self.state, SessionState::Reset | SessionState::Initialization)
            && self.uploader == Some(id)
        {
            self.abort_upload(now, effects);
        }
        self.forget_candidate(id);
        self.cancel_thumbnail(Some(id));
        if matches!(member.reset_role, ResetRole::AwaitingStream | ResetRole::Streaming)
            && self.abort_stream_of(id)
        {
            let text = format!("User {id} left while streaming autoreset");
            self.note(Level::Warn, Topic::Status, text, now, effects);
            self.autoreset_failed(now, effects);
        } else {
            self.chosen_lost(member.reset_role, "left before", now, effects);
            // A replaced member's successor has already been told its starting point in the history, which must not
            // move.
            if how == Departure::Left {
                self.resolve_stream("leave", now, effects);
            }
        }
        if !ghost {
            if let Ok(leave) = Frame::new(Leave::TYPE, id, &[]) {
                self.add_to_history(leave.as_bytes(), now, effects);
            }
            self.ids.touch(id);
        }
        if self.state == SessionState::Shutdown {
            return;
        }
        self.ensure_operator(now, effects);
        effects.changed = true;
        if self.is_empty() {
            self.emptied = now;
            // A ghost does not count: the session was empty for everybody else.
            if !self.stopping && !ghost {
                self.last_user_left(now, effects);
            }
        }
    }

    /// The last user has left. If a member was disconnected by the server shortly before, the session does not end
    /// yet: otherwise whoever can make the server disconnect others could end it.
    fn last_user_left(&mut self, now: Timestamp, effects: &mut Effects) {
        self.note(Level::Info, Topic::Status, "Last user left.", now, effects);
        let accident =
            self.accident.is_some_and(|at| now.monotonic_ms.saturating_sub(at) <= ACCIDENT_LINGER_MS);
        self.stays_until = accident.then(|| now.monotonic_ms + ACCIDENT_LINGER_MS);
        if accident {
            return;
        }
        if !self.flags.persistent && self.shared.settings.empty_session_linger_time.0 == 0 {
            self.note(Level::Info, Topic::Status, "Closing non-persistent session.", now, effects);
            self.end("Session terminated due to being empty", now, effects);
        }
    }
}
