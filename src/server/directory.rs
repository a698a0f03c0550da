//! The sessions of the server, by id and alias, with their descriptions ready to be sent.

use std::collections::HashMap;

use actix::Addr;
use bytes::Bytes;
use drawhall_protocol::reply::SessionDescription;
use drawhall_protocol::{Frame, ProtocolVersion};
use serde_json::json;

use crate::session::actor::Session;

/// A session.
pub(super) struct Entry {
    pub(super) description: SessionDescription,
    pub(super) protocol: ProtocolVersion,
    pub(super) address: Addr<Session>,
    json: String,
}

impl Entry {
    pub(super) fn new(
        description: SessionDescription,
        protocol: ProtocolVersion,
        address: Addr<Session>,
    ) -> Self {
        let json = to_json(&description);
        Self { description, protocol, address, json }
    }

    pub(super) fn unlisted(&self) -> bool {
        self.description.unlisted
    }
}

fn to_json(description: &SessionDescription) -> String {
    // Serializing a struct with text keys cannot fail.
    serde_json::to_string(description).unwrap_or_default()
}

/// All sessions, in the order in which they began.
#[derive(Default)]
pub(super) struct Directory {
    entries: Vec<Entry>,
    /// Ids and aliases.
    names: HashMap<String, String>,
}

impl Directory {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        let SessionDescription { id, alias, .. } = &entry.description;
        self.names.insert(id.clone(), id.clone());
        if !alias.is_empty() {
            self.names.insert(alias.clone(), id.clone());
        }
        self.entries.push(entry);
    }

    /// The session under an id or alias.
    pub(super) fn find(&self, name: &str) -> Option<&Entry> {
        let id = self.names.get(name)?;
        self.entries.iter().find(|e| e.description.id == *id)
    }

    /// Takes a description over. Returns whether the session was listed before; `None` if there is none such.
    pub(super) fn update(&mut self, description: &SessionDescription) -> Option<bool> {
        let entry = self.entries.iter_mut().find(|e| e.description.id == description.id)?;
        let was_listed = !entry.unlisted();
        entry.json = to_json(description);
        entry.description = description.clone();
        Some(was_listed)
    }

    /// Removes a session. Returns whether it was unlisted; `None` if there is none such.
    pub(super) fn remove(&mut self, id: &str) -> Option<bool> {
        let at = self.entries.iter().position(|e| e.description.id == id)?;
        self.names.retain(|_, target| target != id);
        Some(self.entries.remove(at).unlisted())
    }
}

/// The welcome with the session list. If it does not fit into a message, title and sessions are sent one by one.
pub(super) fn welcome<'a>(title: &str, entries: impl Iterator<Item = &'a Entry>) -> Vec<Bytes> {
    let sessions: Vec<&str> = entries.map(|e| e.json.as_str()).collect();
    welcome_frames(title, &sessions)
}

fn welcome_frames(title: &str, sessions: &[&str]) -> Vec<Bytes> {
    let title_member = if title.is_empty() { String::new() } else { format!(",\"title\":{}", json!(title)) };
    let message = |title: &str, sessions: &str| {
        let json = format!("{{\"message\":\"Welcome\"{sessions}{title},\"type\":\"login\"}}");
        Frame::new(0, 0, json.as_bytes()).map(Frame::into_bytes).ok()
    };
    let list = |sessions: &[&str]| format!(",\"sessions\":[{}]", sessions.join(","));
    if let Some(whole) = message(&title_member, &list(sessions)) {
        return vec![whole];
    }
    let first = (!title.is_empty()).then(|| message(&title_member, "")).flatten();
    first.into_iter().chain(sessions.iter().filter_map(|s| message("", &list(&[s])))).collect()
}

#[cfg(test)]
mod tests {
    use drawhall_protocol::HEADER_LEN;
    use serde_json::Value;

    use super::*;

    fn parsed(frames: &[Bytes]) -> Vec<Value> {
        frames.iter().map(|f| serde_json::from_slice(&f[HEADER_LEN..]).unwrap()).collect()
    }

    #[test]
    fn the_welcome_is_one_message_if_it_fits() {
        let welcome = parsed(&welcome_frames("A \"title\"", &["{\"id\":1}", "{\"id\":2}"]));
        let expected = json!({"type": "login", "message": "Welcome", "title": "A \"title\"", "sessions": [{"id": 1}, {"id": 2}]});
        assert_eq!(welcome, [expected]);
        assert_eq!(
            parsed(&welcome_frames("", &[])),
            [json!({"type": "login", "message": "Welcome", "sessions": []})]
        );
    }

    #[test]
    fn a_welcome_that_does_not_fit_comes_in_parts() {
        let long = format!("\"{}\"", "x".repeat(40_000));
        let welcome = parsed(&welcome_frames("T", &[&long, &long]));
        assert_eq!(welcome.len(), 3);
        assert_eq!(welcome[0], json!({"type": "login", "message": "Welcome", "title": "T"}));
        assert_eq!(welcome[2]["sessions"].as_array().unwrap().len(), 1);
    }
}
