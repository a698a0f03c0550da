//! What a session tells its log and its members about itself.

use drawhall_protocol::reply::{Notice, ServerReply};
use serde_json::{Map, Value};

use super::description::log_frame;
use super::{Cx, SessionMachine};
use crate::log::{Level, LogEntry, LogUser, Topic};

impl SessionMachine {
    /// Logs about the session, visible to members.
    pub(super) fn note(&mut self, level: Level, topic: Topic, message: impl Into<String>, cx: &mut Cx<'_>) {
        self.note_entry(LogEntry::new(cx.now, level, topic, message), cx);
    }

    /// Logs about a user of the session, visible to members.
    pub(super) fn note_about(
        &mut self,
        user: LogUser,
        level: Level,
        topic: Topic,
        message: impl Into<String>,
        cx: &mut Cx<'_>,
    ) {
        self.note_entry(LogEntry::new(cx.now, level, topic, message).about(user), cx);
    }

    pub(super) fn note_entry(&mut self, entry: LogEntry, cx: &mut Cx<'_>) {
        if entry.level < Level::Debug
            && let Some(frame) = log_frame(&entry)
        {
            for member in self.members.iter().filter(|m| m.is_moderator() || !entry.topic.is_sensitive()) {
                cx.direct(member.conn(), frame.clone());
            }
            self.log.push(entry.topic, frame);
        }
        cx.log(entry);
    }

    /// Sends all operators a text.
    pub(super) fn tell_operators(&self, message: String, cx: &mut Cx<'_>) {
        let reply = ServerReply::Msg(Notice { message, ..Notice::default() });
        for operator in self.members.iter().filter(|m| m.is_operator()) {
            self.reply_to(operator.conn(), &reply, cx);
        }
    }

    /// Sends everybody a text with a key for translation. `false` if it does not fit into a message.
    pub(super) fn notice(
        &self,
        alert: bool,
        key: &str,
        message: String,
        params: &[(&str, &str)],
        reset: &str,
        cx: &mut Cx<'_>,
    ) -> bool {
        let params: Map<String, Value> =
            params.iter().map(|(k, v)| ((*k).to_owned(), Value::from(*v))).collect();
        let notice = Notice { message, key: key.into(), params, reset: reset.into() };
        self.to_all(&if alert { ServerReply::Alert(notice) } else { ServerReply::Msg(notice) }, cx)
    }
}
