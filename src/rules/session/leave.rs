//! Leaving and kicking. Source: docs/spec/session.md#leaving.

use drawhall_protocol::Frame;
use drawhall_protocol::message::Leave;

use super::member::{Member, PastUser, ResetRole};
use super::{ClientOp, ConnId, Cx, DisconnectReason, Effect, MemberKey, SessionMachine, SessionState};
use crate::log::{Level, Topic};
use crate::rules::time::Timestamp;

/// How a member leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Departure {
    Left,
    /// Its client has connected again; the new connection has taken its place.
    Replaced,
}
impl SessionMachine {
    /// The server has closed a client's connection.
    pub fn cut(&mut self, conn: ConnId, cx: &mut Cx<'_>) {
        if let Some(key) = self.members.key_of(conn) {
            self.notice_accident(key, cx.now);
        }
        self.leave(conn, cx);
    }

    /// Remembers that a member was disconnected against its will; if that empties the session, it is kept for a
    /// while.
    fn notice_accident(&mut self, key: MemberKey, now: Timestamp) {
        if self.members.get(key).is_some_and(|m| !m.is_ghost()) {
            self.timers.accident(now);
        }
    }

    /// A client has closed its connection.
    pub fn leave(&mut self, conn: ConnId, cx: &mut Cx<'_>) {
        if let Some(key) = self.members.key_of(conn) {
            self.take_out(key, Departure::Left, cx);
        }
    }

    fn take_out(&mut self, key: MemberKey, how: Departure, cx: &mut Cx<'_>) {
        if let Some(member) = self.members.remove(key) {
            self.left(member, how, cx);
        }
    }

    /// Disconnects a client with a reason.
    pub(super) fn disconnect(
        &mut self,
        key: MemberKey,
        reason: DisconnectReason,
        message: &str,
        details: &str,
        cx: &mut Cx<'_>,
    ) {
        self.send_away(key, Departure::Left, reason, message, details, cx);
    }

    /// Disconnects somebody who was banned from the server. That is no accident: a session that this empties is not
    /// kept for it.
    pub(super) fn disconnect_banned(&mut self, key: MemberKey, message: &str, cx: &mut Cx<'_>) {
        let Some(member) = self.members.get(key) else { return };
        let (conn, user) = (member.conn(), member.log_user());
        self.note_about(user, Level::Info, Topic::Kick, format!("{message} (banned)"), cx);
        self.take_out(key, Departure::Left, cx);
        cx.client(conn, ClientOp::Disconnect { reason: DisconnectReason::Error, message: message.into() });
    }

    /// Disconnects the old connection of a client that has connected again.
    pub(super) fn replace(&mut self, key: MemberKey, name: &str, cx: &mut Cx<'_>) {
        let (how, reason) = (Departure::Replaced, DisconnectReason::Kick);
        self.send_away(key, how, reason, name, "Replaced by rejoining", cx);
    }

    fn send_away(
        &mut self,
        key: MemberKey,
        how: Departure,
        reason: DisconnectReason,
        message: &str,
        details: &str,
        cx: &mut Cx<'_>,
    ) {
        let Some(member) = self.members.get(key) else { return };
        let (conn, user) = (member.conn(), member.log_user());
        let (topic, text) = match reason {
            DisconnectReason::Kick => (Topic::Kick, format!("Kicked by {message}")),
            _ => (Topic::Leave, message.to_owned()),
        };
        let text = if details.is_empty() { text } else { format!("{text} ({details})") };
        self.note_about(user, Level::Info, topic, text, cx);
        if reason == DisconnectReason::Error {
            self.notice_accident(key, cx.now);
        }
        self.take_out(key, how, cx);
        cx.client(conn, ClientOp::Disconnect { reason, message: message.into() });
    }

    fn left(&mut self, member: Member, how: Departure, cx: &mut Cx<'_>) {
        let id = member.id;
        let user = member.log_user();
        let text = if member.is_ghost() { "Moderator in ghost mode left session" } else { "Left session" };
        self.note_about(user, Level::Info, Topic::Leave, text, cx);
        let (bannable, drew) = (!member.is_moderator(), member.last_drawing.is_some());
        let ghost = member.is_ghost();
        self.operator_links.revoke(member.conn());
        self.members.add_past_user(id, PastUser { identity: member.client.identity, bannable, drew });
        // A session that loses its host during the upload continues with what was uploaded: nobody else could end the
        // upload, and everybody would wait for it.
        if matches!(self.resets.state(), SessionState::Reset | SessionState::Initialization)
            && self.resets.is_uploaded_by(id)
        {
            self.abort_upload(cx);
        }
        self.resets.forget_candidate(id);
        self.cancel_thumbnail(Some(id));
        if matches!(member.reset_role, ResetRole::AwaitingStream | ResetRole::Streaming)
            && self.resets.abort_stream_of(id)
        {
            let text = format!("User {id} left while streaming autoreset");
            self.note(Level::Warn, Topic::Status, text, cx);
            self.autoreset_failed(cx);
        } else {
            self.chosen_lost(member.reset_role, "left before", cx);
            // A replaced member's successor has already been told its starting point in the history, which must not
            // move.
            if how == Departure::Left {
                self.resolve_stream("leave", cx);
            }
        }
        if !ghost {
            if let Ok(leave) = Frame::new(Leave::TYPE, id, &[])
                && self.add_to_history(leave.as_bytes(), cx)
            {
                self.locks.forget(id);
            }
            self.members.touch_id(id);
        }
        if self.resets.has_ended() {
            return;
        }
        self.ensure_operator(cx);
        cx.push(Effect::DescriptionChanged);
        if self.is_empty() {
            self.timers.emptied(cx.now);
            // A ghost does not count: the session was empty for everybody else.
            if !self.timers.is_stopping() && !ghost {
                self.last_user_left(cx);
                self.begin_compaction(cx);
                self.make_due_thumbnail(cx);
            }
        }
    }

    /// The last user has left. If a member was disconnected by the server shortly before, the session does not end
    /// yet: otherwise whoever can make the server disconnect others could end it.
    fn last_user_left(&mut self, cx: &mut Cx<'_>) {
        self.note(Level::Info, Topic::Status, "Last user left.", cx);
        if self.timers.last_user_left(cx.now) {
            return;
        }
        if !self.properties.flags().persistent && self.shared.settings.empty_session_linger_time.0 == 0 {
            self.note(Level::Info, Topic::Status, "Closing non-persistent session.", cx);
            self.end("Session terminated due to being empty", cx);
        }
    }
}
