//! An administrator in a session's chat, who polls for messages.

use std::collections::VecDeque;

use super::answer::{ChatMessage, ChatMessages, ChatState};
use super::{AdminError, Answered, SessionAnswer, check_texts};
use crate::log::{Level, LogEntry, LogUser, Topic};
use crate::rules::session::{Cx, MemberKey, SessionMachine};
use crate::rules::time::Timestamp;

/// Maximum number of buffered messages.
const MAX_MESSAGES: usize = 1024;
/// Maximum size of their texts in bytes.
const MAX_BYTES: usize = 1 << 20;
/// Range of the time without a poll after which the chat is left, in milliseconds.
pub(crate) const MIN_CHAT_TIMEOUT: u64 = 30_000;
/// See [`MIN_CHAT_TIMEOUT`].
pub(crate) const MAX_CHAT_TIMEOUT: u64 = 900_000;

/// Chat messages since an administrator joined.
#[derive(Debug)]
pub(in crate::rules::session) struct AdminChat {
    /// Offset of the first buffered message.
    first: u64,
    messages: VecDeque<ChatMessage>,
    /// Size of the texts in bytes.
    bytes: usize,
    timeout_ms: u64,
    /// When the chat is left without a further poll, monotonic milliseconds.
    due: u64,
}

impl AdminChat {
    fn push(&mut self, message: ChatMessage) {
        self.bytes += message.text.len();
        self.messages.push_back(message);
        while self.messages.len() > MAX_MESSAGES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.messages.pop_front() else { return };
            self.bytes -= oldest.text.len();
            self.first += 1;
        }
    }

    /// Messages from an offset on; extends the time-out.
    fn read(&mut self, offset: u64, now: Timestamp) -> ChatMessages {
        self.due = now.monotonic_ms + self.timeout_ms;
        let offset = offset.max(self.first);
        let skipped = usize::try_from(offset - self.first).unwrap_or(usize::MAX);
        ChatMessages { offset, messages: self.messages.iter().skip(skipped).cloned().collect() }
    }

    /// State of the chat, for the description.
    pub(super) fn state(&self, now: Timestamp) -> ChatState {
        ChatState {
            offset: self.first,
            count: self.messages.len(),
            timeout: self.timeout_ms,
            remaining: self.due.saturating_sub(now.monotonic_ms),
        }
    }
}

/// Checks the length of a message; it appears twice in its alert.
fn check_chat(message: &str) -> Result<(), AdminError> {
    check_texts(&[&message.repeat(2)])
}

impl SessionMachine {
    pub(super) fn join_chat(&mut self, message: &str, timeout_ms: u64, cx: &mut Cx<'_>) -> SessionAnswer {
        if timeout_ms < MIN_CHAT_TIMEOUT {
            return Err(AdminError::TimeoutTooShort(MIN_CHAT_TIMEOUT));
        } else if timeout_ms > MAX_CHAT_TIMEOUT {
            return Err(AdminError::TimeoutTooLong(MAX_CHAT_TIMEOUT));
        } else if self.admin_chat.is_some() {
            return Err(AdminError::ChatAlreadyJoined);
        }
        check_chat(message)?;
        let due = cx.now.monotonic_ms + timeout_ms;
        self.admin_chat = Some(AdminChat { first: 0, messages: VecDeque::new(), bytes: 0, timeout_ms, due });
        self.chat_log(Topic::Join, "Administrator connected to chat", None, cx);
        self.say(message, 0, cx)
    }

    pub(super) fn read_chat(&mut self, offset: u64, now: Timestamp) -> SessionAnswer {
        let chat = self.admin_chat.as_mut().ok_or(AdminError::ChatNotJoined)?;
        Ok(Answered::Chat(chat.read(offset, now)))
    }

    pub(super) fn say(&mut self, message: &str, offset: u64, cx: &mut Cx<'_>) -> SessionAnswer {
        let chat = self.admin_chat.as_mut().ok_or(AdminError::ChatNotJoined)?;
        check_chat(message)?;
        if !message.is_empty() {
            chat.push(ChatMessage { user: None, name: None, text: message.to_owned(), flags: None });
            self.notice(true, "adminchat", message.to_owned(), &[("message", message)], "", cx);
            self.chat_log(Topic::AdminChat, message, None, cx);
        }
        self.read_chat(offset, cx.now)
    }

    pub(super) fn leave_chat(&mut self, message: &str, offset: u64, cx: &mut Cx<'_>) -> SessionAnswer {
        let answer = self.say(message, offset, cx)?;
        self.end_chat("Administrator disconnected from chat", cx);
        Ok(answer)
    }

    /// Leaves the chat after its time-out.
    pub(in crate::rules::session) fn expire_chat(&mut self, cx: &mut Cx<'_>) {
        if self.admin_chat.as_ref().is_some_and(|chat| chat.due <= cx.now.monotonic_ms) {
            self.end_chat("Administrator disconnected from chat (timed out)", cx);
        }
    }

    fn end_chat(&mut self, text: &str, cx: &mut Cx<'_>) {
        self.admin_chat = None;
        self.chat_log(Topic::Leave, text, None, cx);
    }

    /// Buffers a user's message.
    pub(in crate::rules::session) fn hear(
        &mut self,
        key: MemberKey,
        message: &str,
        flags: u8,
        cx: &mut Cx<'_>,
    ) {
        let Some(chat) = &mut self.admin_chat else { return };
        let Some(member) = self.members.get(key) else { return };
        chat.push(ChatMessage {
            user: Some(member.id),
            name: Some(member.name().to_owned()),
            text: message.to_owned(),
            flags: (flags != 0).then_some(flags),
        });
        let user = member.log_user();
        self.chat_log(Topic::AdminChat, message, Some(user), cx);
    }

    fn chat_log(&self, topic: Topic, text: &str, user: Option<LogUser>, cx: &mut Cx<'_>) {
        let entry = LogEntry::new(cx.now, Level::Info, topic, text);
        cx.log(match user {
            Some(user) => entry.about(user),
            None => entry,
        });
    }
}
