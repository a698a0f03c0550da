//! The log of a session, and its chat and events that are kept for a while.

use super::Session;
use crate::log::{Level, LogEntry, Topic};
use crate::storage::event_store::SessionEvent;

impl Session {
    /// Writes an entry to the log, and keeps it as an event. What users write while an administrator is in the chat is
    /// not for the log: it is kept for a while with the rest of the chat.
    pub(super) fn log(&self, entry: &LogEntry) {
        if entry.topic == Topic::AdminChat && entry.user.is_some() {
            return;
        }
        entry.emit(self.machine.id());
        if entry.level == Level::Debug || !self.keeps_events() {
            return;
        }
        let topic = format!("{:?}", entry.topic);
        match &entry.user {
            // Somebody who is not in the session.
            Some(user) if user.id == 0 => {
                let ip = user.address.map_or(String::new(), |address| address.to_canonical().to_string());
                let event = SessionEvent { name: user.name.clone(), ip, ..SessionEvent::default() };
                self.keep(entry.utc_ms, &topic, event, entry.message.clone());
            }
            user => {
                let id = user.as_ref().map(|user| user.id);
                self.keep_event(entry.utc_ms, &topic, id, entry.message.clone());
            }
        }
    }

    /// Keeps an event about a user who is or was in the session, or about none.
    pub(super) fn keep_event(&self, at: i64, topic: &str, user: Option<u8>, text: String) {
        if !self.keeps_events() {
            return;
        }
        let identity = user.and_then(|id| self.machine.identity_of_user(id));
        let event = identity.map_or_else(SessionEvent::default, |identity| SessionEvent {
            name: identity.name.clone(),
            account: identity.auth_id.clone(),
            sid: identity.sid.clone(),
            ip: identity.address.map_or(String::new(), |address| address.to_canonical().to_string()),
            ..SessionEvent::default()
        });
        self.keep(at, topic, event, text);
    }

    fn keeps_events(&self) -> bool {
        self.events.is_some() && self.machine.settings().event_keep_time.0 > 0
    }

    fn keep(&self, at: i64, topic: &str, event: SessionEvent, text: String) {
        let Some(events) = &self.events else { return };
        let (session, topic) = (self.machine.id().to_owned(), topic.to_owned());
        events.keep(SessionEvent { at, session, topic, text, ..event });
    }
}
