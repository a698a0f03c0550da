//! Messages from clients: into the history, to other members, or to the server.

use std::ops::Range;

use bytes::Bytes;
use drawhall_protocol::command::RawCommand;
use drawhall_protocol::frame::{
    FIRST_COMMAND, FIRST_OPAQUE, FrameHeader, HEADER_LEN, frames, set_user_of_all,
};
use drawhall_protocol::message::{
    Chat, FeatureAccessLevels, Join, LayerACL, Layout, Leave, Message, PrivateChat, ResetStream,
    ServerCommand, SessionOwner, SoftReset, Thumbnail, TrustedUsers, Undo, UserACL, info_of,
};
use drawhall_protocol::reply::{Empty, Notice, ServerReply};

use super::member::{Feed, Member, ResetRole};
use super::timers::REMINDER_MS;
use super::{ConnId, Counted, Cx, DisconnectReason, Effect, MemberKey, SessionMachine, SessionState};
use crate::history::EMERGENCY_BYTES;
use crate::log::{Level, LogEntry, Topic};
use crate::rules::batch::Batch;
use crate::rules::limits::Rate;

/// Burst of `chatRateLimit`, in seconds of it.
const CHAT_BURST: u32 = 10;
/// Longest message of a client that is kept while there is no space, in bytes: a list of all users, for a layer.
const MAX_EMERGENCY_FRAME: usize = HEADER_LEN + 4 + u8::MAX as usize;

impl Member {
    /// Whether a direct message reaches the member: one that was chosen for a reset is sent control messages only.
    pub(super) fn takes_direct(&self, frame: &[u8]) -> bool {
        self.reset_role != ResetRole::Awaiting || frame.get(2).is_some_and(|kind| *kind < 32)
    }
}

impl SessionMachine {
    /// Handles messages from a client. Returns whether they were handled, or held until the session runs.
    pub fn batch(&mut self, conn: ConnId, batch: Batch, cx: &mut Cx<'_>) -> bool {
        let Some(key) = self.members.key_of(conn) else { return true };
        let Some(member) = self.members.get_mut(key) else { return true };
        member.last_active = cx.now.utc_ms;
        if member.hold_locked {
            if batch.draws() {
                member.last_drawing = Some(cx.now.utc_ms);
                cx.push(Effect::NumbersChanged);
            }
            member.held.append(batch);
            return false;
        }
        let outer = self.broadcasts.begin_batch();
        if batch.is_opaque() && !batch.locks_users() && !self.shared.settings.restrict_undo {
            self.opaque_batch(key, batch, cx);
        } else {
            self.mixed_batch(key, &mut batch.into_bytes(), cx);
        }
        self.broadcasts.end_batch(outer);
        true
    }

    /// Handles messages that all enter the history as they are, under the member's user id.
    fn opaque_batch(&mut self, key: MemberKey, batch: Batch, cx: &mut Cx<'_>) {
        let Some(member) = self.members.get(key) else { return };
        let run = Run { start: 0, messages: batch.messages(), drawing: batch.draws(), locks: None };
        let mut bytes = batch.into_bytes();
        if !self.resets.is_uploaded_by(member.id) {
            set_user_of_all(&mut bytes, member.id);
        }
        self.opaque_run(key, &bytes, &run, cx);
    }

    /// Handles messages one by one, and those that are not decoded in runs.
    fn mixed_batch(&mut self, key: MemberKey, bytes: &mut [u8], cx: &mut Cx<'_>) {
        let mut run = Run::default();
        let mut pos = 0;
        while let Some(header) = FrameHeader::parse(&bytes[pos..]) {
            let end = pos + header.frame_len();
            if end > bytes.len() {
                break;
            }
            // Messages after a disconnect are ignored.
            let Some(member) = self.members.get(key) else { break };
            if !self.resets.is_uploaded_by(member.id) {
                bytes[pos + 3] = member.id;
            }
            if header.is_opaque() {
                if self.is_foreign_undo(key, &bytes[pos..end]) {
                    self.opaque_run(key, &bytes[run.start..pos], &run, cx);
                    self.rule_break(key, "Tried to undo what somebody else has drawn", cx);
                    pos = end;
                    run = Run { start: pos, ..Run::default() };
                    continue;
                }
                if header.kind == UserACL::TYPE {
                    run.locks = Some(pos + HEADER_LEN - run.start..end - run.start);
                }
                run.messages += 1;
                run.drawing |= header.kind >= FIRST_COMMAND;
                pos = end;
                continue;
            }
            self.opaque_run(key, &bytes[run.start..pos], &run, cx);
            self.broadcasts.next_step();
            self.transparent(key, &bytes[pos..end], cx);
            pos = end;
            run = Run { start: pos, ..Run::default() };
        }
        self.opaque_run(key, &bytes[run.start..pos], &run, cx);
    }

    /// Follows a list of locked users, which clients accept of operators and as a part of the content.
    fn follow_user_locks(&mut self, key: MemberKey, users: &[u8]) {
        if self.is_uploader(key) || self.members.get(key).is_some_and(Member::is_operator) {
            self.note_user_locks(users);
        }
    }

    /// Whether a frame undoes another user's work without the right to (`restrictUndo`). An uploaded image contains
    /// messages of many users and is exempt.
    fn is_foreign_undo(&self, key: MemberKey, frame: &[u8]) -> bool {
        let is_undo = frame[2] == Undo::TYPE && self.shared.settings.restrict_undo;
        if !is_undo || self.is_uploader(key) {
            return false;
        }
        let Some(member) = self.members.get(key).filter(|m| !m.is_operator()) else { return false };
        frame.get(HEADER_LEN).is_some_and(|user| *user != 0 && *user != member.id)
    }

    /// A run of messages that the server does not decode.
    fn opaque_run(&mut self, key: MemberKey, bytes: &[u8], run: &Run, cx: &mut Cx<'_>) {
        if run.messages == 0 {
            return;
        }
        let Some(member) = self.members.get_mut(key) else { return };
        if run.drawing {
            member.last_drawing = Some(cx.now.utc_ms);
            // Counts as drawing even when the history is full.
            cx.push(Effect::NumbersChanged);
            self.thumbnail.outdated();
        }
        let (id, uploading) = (member.id, self.resets.is_uploaded_by(member.id));
        match self.resets.state() {
            // Locks in it count when it replaces the history, if it does.
            SessionState::Reset if uploading => return self.add_to_image(key, bytes, run.messages, cx),
            SessionState::Shutdown => return,
            _ if self.history.append(bytes, run.messages).is_ok() => {
                if !uploading {
                    self.space.add(id, bytes.len());
                }
                self.appended(bytes, cx);
            }
            _ => {
                for frame in frames(bytes) {
                    if self.add_to_history(frame.bytes, cx) && frame.header.kind == UserACL::TYPE {
                        self.follow_user_locks(key, frame.payload());
                    }
                }
                return;
            }
        }
        if let Some(locks) = run.locks.clone() {
            self.follow_user_locks(key, &bytes[locks]);
        }
    }

    /// Appends one message to the history, with its side effects. Returns whether it was appended.
    pub(super) fn add_to_history(&mut self, frame: &[u8], cx: &mut Cx<'_>) -> bool {
        if self.resets.has_ended() {
            return false;
        }
        if self.history.append(frame, 1).is_ok() {
            self.appended(frame, cx);
            return true;
        }
        self.out_of_space(frame, cx)
    }

    pub(super) fn reply_to_history(&mut self, reply: &ServerReply, cx: &mut Cx<'_>) {
        if let Ok(frame) = reply.to_frame() {
            self.add_to_history(frame.as_bytes(), cx);
        }
    }

    /// Side effects of frames that entered the history.
    pub(super) fn appended(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
        self.persistence.record(bytes);
        if self.resets.state() == SessionState::Initialization
            && let index = self.history.last_index()
            && let Some(host) = self.resets.uploader().and_then(|id| self.member_mut(id))
        {
            // The host has what it uploads; everybody else is sent it directly.
            for frame in frames(bytes).filter(|f| f.header.kind < FIRST_COMMAND) {
                cx.direct(host.conn(), Bytes::copy_from_slice(frame.bytes));
            }
            host.feed = Feed::Behind(index);
        }
        self.timers.used(cx.now);
        cx.push(Effect::NumbersChanged);
        self.check_autoreset(cx);
        if self.timers.status_is_due(cx.now) {
            self.send_status(false, cx);
        }
    }

    /// Uses the emergency space. Half of it is for messages of which any operator may send many.
    fn out_of_space(&mut self, frame: &[u8], cx: &mut Cx<'_>) -> bool {
        let Some(header) = FrameHeader::parse(frame) else { return false };
        let reserve = match header.kind {
            Join::TYPE | Leave::TYPE | SessionOwner::TYPE => EMERGENCY_BYTES,
            UserACL::TYPE if header.user == 0 => EMERGENCY_BYTES,
            _ => EMERGENCY_BYTES / 2,
        };
        let copy = || drawhall_protocol::Frame::new(header.kind, header.user, &frame[HEADER_LEN..]).ok();
        let small = match header.kind {
            Join::TYPE => self.member_by_id(header.user).and_then(|m| m.join_message(false)),
            // Of the server, or of operators: with these they keep order while there is no space.
            ServerCommand::TYPE | TrustedUsers::TYPE | Leave::TYPE | SessionOwner::TYPE => copy(),
            UserACL::TYPE | LayerACL::TYPE | FeatureAccessLevels::TYPE
                if frame.len() <= MAX_EMERGENCY_FRAME
                    && (header.user == 0
                        || self.member_by_id(header.user).is_some_and(Member::is_operator)) =>
            {
                copy()
            }
            _ => None,
        };
        let small = small.filter(|f| self.history.append_emergency(f.as_bytes(), 1, reserve).is_ok());
        let is_appended = small.is_some();
        if let Some(small) = small {
            self.persistence.record(small.as_bytes());
            self.timers.used(cx.now);
        } else if (32..FIRST_OPAQUE).contains(&header.kind) {
            self.frame_to_all(&Bytes::copy_from_slice(frame), cx);
        }
        if self.timers.space_warning_is_due(cx.now) || header.kind == Join::TYPE {
            self.to_all(&ServerReply::OutOfSpace(Empty {}), cx);
            let text = "Session is out of space! To continue drawing, an operator must reset it to bring it \
                        down to a smaller size. This can be done via Session > Reset.";
            self.notice(true, "outofspace", text.into(), &[], "", cx);
            self.timers.space_warning_sent(cx.now);
        }
        // Nothing else would trigger the autoreset that makes room.
        self.check_autoreset(cx);
        is_appended
    }

    /// Handles a message that is not a server command: to the history, or to the reset image.
    pub(super) fn client_message(&mut self, key: MemberKey, frame: &[u8], cx: &mut Cx<'_>) {
        if self.resets.state() == SessionState::Reset && self.is_uploader(key) {
            self.add_to_image(key, frame, 1, cx);
        } else {
            self.add_to_history(frame, cx);
        }
    }

    fn add_to_image(&mut self, key: MemberKey, bytes: &[u8], messages: u64, cx: &mut Cx<'_>) {
        let size = self.resets.add_to_image(bytes, messages, cx.now);
        let limit = self.history.limit();
        if limit > 0 && size > limit {
            let detail = format!("{size} bytes");
            self.disconnect(key, DisconnectReason::Error, "History limit exceeded", &detail, cx);
        }
    }

    /// Handles a message that the server decodes. The client's reader has checked that it does decode.
    fn transparent(&mut self, key: MemberKey, frame: &[u8], cx: &mut Cx<'_>) {
        if !self.members.contains(key) {
            return;
        }
        // During an upload, messages keep their user id.
        let Ok((sender, message)) = Message::from_bytes(frame, Layout::V4_25) else { return };
        match message {
            Message::Join(_) | Message::Leave(_) | Message::SoftReset(SoftReset {}) => {
                let name = info_of(message.message_type()).map_or("", |m| m.text);
                self.rule_break(key, format!("Received server-to-user only command {name}"), cx);
            }
            Message::ServerCommand(ServerCommand { msg }) => {
                self.command(key, &RawCommand::parse(msg.as_bytes()), cx);
            }
            Message::Thumbnail(Thumbnail { data }) => self.thumbnail_made(key, &data, cx),
            Message::SessionOwner(SessionOwner { users }) => self.change_operators(key, sender, users, cx),
            Message::TrustedUsers(TrustedUsers { users }) => self.change_trusted(key, sender, &users, cx),
            Message::Chat(chat) => self.chat(key, &chat, frame, cx),
            Message::PrivateChat(chat) => self.private_chat(key, &chat, frame, cx),
            Message::ResetStream(ResetStream { data }) => self.stream_chunk(key, &data, cx),
            _ => {}
        }
    }

    fn chat(&mut self, key: MemberKey, chat: &Chat, frame: &[u8], cx: &mut Cx<'_>) {
        if self.members.get(key).is_none_or(Member::is_muted) || !self.may_chat(key, cx) {
            return;
        }
        if self.chat_command(key, chat, cx) {
            return;
        }
        self.hear(key, &chat.message, chat.oflags, cx);
        let Some(member) = self.members.get(key) else { return };
        if self.shared.settings.event_keep_time.0 > 0 {
            cx.push(Effect::KeepChat { user: member.id, text: chat.message.clone() });
        }
        let bypass = chat.tflags & Chat::TFLAGS_BYPASS != 0;
        if !bypass {
            self.client_message(key, frame, cx);
        } else if member.is_ghost() {
            let alert = Notice { message: chat.message.clone(), ..Notice::default() };
            let conn = member.conn();
            if !self.to_all(&ServerReply::Alert(alert), cx) {
                let refusal = ServerReply::command_error("chat", "Message too long for an alert");
                self.reply_to(conn, &refusal, cx);
            }
        } else {
            self.frame_to_all(&Bytes::copy_from_slice(frame), cx);
        }
    }

    /// Chat flood: applies `chatRateLimit`; messages beyond it are dropped, with a warning once in a while.
    fn may_chat(&mut self, key: MemberKey, cx: &mut Cx<'_>) -> bool {
        let limit = self.shared.settings.chat_rate_limit.0;
        let Some(member) = self.members.get_mut(key) else { return false };
        if limit == 0 || member.chat.take(Rate::per_second(limit, CHAT_BURST), cx.now.monotonic_ms) {
            return true;
        }
        if member.chat_warned.is_none_or(|told| cx.now.monotonic_ms >= told + REMINDER_MS) {
            member.chat_warned = Some(cx.now.monotonic_ms);
            cx.push(Effect::Count(Counted::Slowed));
            let conn = member.conn();
            let text = "Chats too much: messages are dropped (chatRateLimit)";
            let user = member.log_user();
            cx.log(LogEntry::new(cx.now, Level::Warn, Topic::RuleBreak, text).about(user));
            let text = "You are sending too many chat messages. Some of them were not delivered.";
            self.reply_to(conn, &ServerReply::command_error("chat", text), cx);
        }
        false
    }

    fn private_chat(&mut self, key: MemberKey, chat: &PrivateChat, frame: &[u8], cx: &mut Cx<'_>) {
        // Operators' mutes are for the session's chat only.
        if self.members.get(key).is_none_or(|m| m.restricted.muted) || !self.may_chat(key, cx) {
            return;
        }
        let Some(member) = self.members.get(key) else { return };
        if member.is_ghost() {
            let message = "Can't send private messages in ghost mode.".to_owned();
            let refusal = Message::from(PrivateChat { target: chat.target, oflags: 0, message });
            if let Ok(frame) = refusal.to_frame(member.id, Layout::V4_25) {
                cx.direct(member.conn(), frame.into_bytes());
            }
            return;
        }
        let target = self.member_by_id(chat.target).filter(|t| t.takes_direct(frame));
        if let Some(target) = target {
            let bytes = Bytes::copy_from_slice(frame);
            cx.direct(member.conn(), bytes.clone());
            cx.direct(target.conn(), bytes);
        }
    }

    pub(super) fn is_uploader(&self, key: MemberKey) -> bool {
        self.members.get(key).is_some_and(|m| self.resets.is_uploaded_by(m.id))
    }
}

/// Consecutive opaque messages of a batch.
#[derive(Default)]
struct Run {
    start: usize,
    messages: u64,
    drawing: bool,
    /// The last list of locked users in it.
    locks: Option<Range<usize>>,
}
