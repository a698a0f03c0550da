//! Leaving, kicked or not. Source: `session.md`, Joining.

use drawhall_protocol::Frame;
use drawhall_protocol::message::Leave;

use super::member::{Member, PastUser, ResetRole};
use super::{ClientOp, ConnId, DisconnectReason, Effects, SessionMachine, State};
use crate::clock::Now;
use crate::log::{Level, Topic};

/// How long an empty session stays after members did not leave of their own accord, in milliseconds.
pub(super) const ACCIDENT_LINGER_MS: u64 = 60_000;

impl SessionMachine {
    /// A client is gone because the server has cut it off.
    pub fn cut(&mut self, conn: ConnId, now: Now, fx: &mut Effects) {
        self.notice_accident(conn, now);
        self.leave(conn, now, fx);
    }

    /// Remembers that a member did not leave of its own accord: should that empty the session, it waits for them.
    fn notice_accident(&mut self, conn: ConnId, now: Now) {
        if self.member_at(conn).is_some_and(|at| !self.members[at].is_ghost()) {
            self.accident = Some(now.ms);
        }
    }

    /// A client is gone.
    pub fn leave(&mut self, conn: ConnId, now: Now, fx: &mut Effects) {
        if let Some(at) = self.member_at(conn) {
            let member = self.members.remove(at);
            self.left(member, now, fx);
        }
    }

    /// Sends a client away.
    pub(super) fn disconnect(
        &mut self,
        conn: ConnId,
        reason: DisconnectReason,
        message: &str,
        details: &str,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(at) = self.member_at(conn) else { return };
        let user = self.members[at].log_user();
        let (topic, text) = match reason {
            DisconnectReason::Kick => (Topic::Kick, format!("Kicked by {message}")),
            _ => (Topic::Leave, message.to_owned()),
        };
        let text = if details.is_empty() { text } else { format!("{text} ({details})") };
        self.note_about(user, Level::Info, topic, text, now, fx);
        if reason == DisconnectReason::Error {
            self.notice_accident(conn, now);
        }
        self.leave(conn, now, fx);
        fx.sends.push((conn, ClientOp::Disconnect { reason, message: message.into() }));
    }

    fn left(&mut self, member: Member, now: Now, fx: &mut Effects) {
        let id = member.id;
        let user = member.log_user();
        let text = if member.is_ghost() { "Moderator in ghost mode left session" } else { "Left session" };
        self.note_about(user, Level::Info, Topic::Leave, text, now, fx);
        let bannable = !member.is_moderator();
        let ghost = member.is_ghost();
        self.past_users.insert(id, PastUser { person: member.visitor.person, bannable });
        if self.state == State::Reset && self.uploader == Some(id) {
            self.abort_reset(now, fx);
        }
        self.forget_candidate(id);
        self.cancel_thumbnail(Some(id));
        if matches!(member.reset_role, ResetRole::AwaitingStream | ResetRole::Streaming)
            && self.abort_stream_of(id)
        {
            let text = format!("User {id} left while streaming autoreset");
            self.note(Level::Warn, Topic::Status, text, now, fx);
            self.autoreset_failed(now, fx);
        } else {
            self.chosen_lost(member.reset_role, "left before", now, fx);
            self.resolve_stream("leave", now, fx);
        }
        if !ghost {
            if let Ok(leave) = Frame::new(Leave::TYPE, id, &[]) {
                self.add_to_history(leave.as_bytes(), now, fx);
            }
            self.ids.touch(id);
        }
        if self.state == State::Shutdown {
            return;
        }
        self.ensure_operator(now, fx);
        fx.changed = true;
        if self.is_empty() {
            self.emptied = now;
            if !self.stopping {
                self.last_user_left(now, fx);
            }
        }
    }

    /// The last user has left. If somebody was cut off shortly before, the session is not ended for that: whoever can have
    /// others cut off could else end it.
    fn last_user_left(&mut self, now: Now, fx: &mut Effects) {
        self.note(Level::Info, Topic::Status, "Last user left.", now, fx);
        let accident = self.accident.is_some_and(|at| now.ms.saturating_sub(at) <= ACCIDENT_LINGER_MS);
        self.stays_until = accident.then(|| now.ms + ACCIDENT_LINGER_MS);
        if accident {
            return;
        }
        if !self.flags.persistent && self.shared.settings.empty_session_linger_time.0 == 0 {
            self.note(Level::Info, Topic::Status, "Closing non-persistent session.", now, fx);
            self.end("Session terminated due to being empty", now, fx);
        }
    }
}
