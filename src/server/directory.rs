//! The sessions of the server, by id and alias, with their descriptions ready to be sent.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use actix::Addr;
use bytes::Bytes;
use drawhall_protocol::reply::SessionDescription;
use drawhall_protocol::{Frame, ProtocolVersion};
use serde_json::json;

use crate::clock::Timestamp;
use crate::history::total::HistoryShare;
use crate::session::Refusal;
use crate::session::actor::Session;
use crate::session::admin::AdminError;
use crate::session::persistence::Suspended;

/// Somebody who wants something of a session. One that is dropped has to answer whoever waits for it.
pub(super) type Waiter = Box<dyn FnOnce(Result<&Addr<Session>, Missing>)>;

/// How long after a session could not be read that is tried again, in milliseconds.
const READ_AGAIN_MS: u64 = 3000;

/// Why there is no session to do something with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Missing {
    /// There is none, or not any more.
    NotFound,
    /// It cannot be read at the moment, for this reason.
    Unreadable(String),
}

impl Missing {
    /// What clients are told.
    pub(super) fn refusal(&self) -> Refusal {
        match self {
            Missing::NotFound => Refusal::not_found(),
            Missing::Unreadable(_) => {
                let text = "The server can't load this session at the moment, please try again soon";
                Refusal::error("storageError", text)
            }
        }
    }
}

impl From<Missing> for AdminError {
    fn from(missing: Missing) -> AdminError {
        match missing {
            Missing::NotFound => AdminError::not_found(),
            Missing::Unreadable(error) => {
                AdminError::new(503, format!("The session cannot be loaded at the moment: {error}"))
            }
        }
    }
}

/// A session could not be read.
pub(super) struct Unreadable {
    pub(super) error: String,
    /// When it is tried again, on the forward clock in milliseconds.
    again_ms: u64,
}

impl Unreadable {
    pub(super) fn new(error: String, now: Timestamp) -> Unreadable {
        Unreadable { error, again_ms: now.monotonic_ms + READ_AGAIN_MS }
    }

    /// Whether it is too early to try again.
    pub(super) fn counts(&self, now: Timestamp) -> bool {
        now.monotonic_ms < self.again_ms
    }
}

/// Where a session is.
pub(super) enum Residency {
    /// In memory.
    Active(Addr<Session>),
    /// About to leave memory; who wants something waits for how it ends.
    Unloading(Addr<Session>, Vec<Waiter>),
    /// On its way into memory.
    Loading(Vec<Waiter>),
    /// In files only.
    Stored(Suspended),
}

/// A session.
pub(super) struct Entry {
    pub(super) description: SessionDescription,
    pub(super) protocol: ProtocolVersion,
    pub(super) residency: Residency,
    /// Where it was hosted from, if that counts (`sessionsPerAddress`).
    pub(super) hosted_from: Option<IpAddr>,
    /// What it holds of what all sessions may hold while it is in files only; in memory it keeps account itself.
    pub(super) share: HistoryShare,
    /// Its files could not be read when they were wanted last.
    pub(super) unreadable: Option<Unreadable>,
    /// Those who wait were shown it last as a session that is listed.
    shown_listed: bool,
    json: String,
}

impl Entry {
    pub(super) fn new(
        description: SessionDescription,
        protocol: ProtocolVersion,
        residency: Residency,
        share: HistoryShare,
    ) -> Self {
        let json = to_json(&description);
        let shown_listed = !description.unlisted;
        let (hosted_from, unreadable) = (None, None);
        Self { description, protocol, residency, hosted_from, share, unreadable, shown_listed, json }
    }

    pub(super) fn unlisted(&self) -> bool {
        self.description.unlisted
    }

    pub(super) fn json(&self) -> &str {
        &self.json
    }

    /// Its description for administrators, who are told why it cannot be loaded.
    pub(super) fn json_for_admin(&self) -> String {
        let Some(unreadable) = &self.unreadable else { return self.json.clone() };
        // What is serialized here is an object.
        let mut value = serde_json::to_value(&self.description).unwrap_or_default();
        value["storageError"] = unreadable.error.as_str().into();
        value.to_string()
    }

    /// Its actor, if it has one.
    pub(super) fn address(&self) -> Option<&Addr<Session>> {
        match &self.residency {
            Residency::Active(address) | Residency::Unloading(address, _) => Some(address),
            Residency::Loading(_) | Residency::Stored(_) => None,
        }
    }

    /// Changes the description of a session that does not do so itself.
    pub(super) fn amend(&mut self, change: impl FnOnce(&mut SessionDescription)) {
        change(&mut self.description);
        self.json = to_json(&self.description);
    }

    /// Takes a description over.
    pub(super) fn describe(&mut self, description: SessionDescription) {
        self.json = to_json(&description);
        self.description = description;
    }

    /// Those who wait are shown it now. Returns whether they were shown it as listed before, which is not what the last
    /// description said: not each is shown.
    pub(super) fn show(&mut self) -> bool {
        std::mem::replace(&mut self.shown_listed, !self.description.unlisted)
    }
}

fn to_json(description: &SessionDescription) -> String {
    // Serializing a struct with text keys cannot fail.
    serde_json::to_string(description).unwrap_or_default()
}

/// All sessions, in the order in which they began.
#[derive(Default)]
pub(super) struct Directory {
    entries: BTreeMap<u64, Entry>,
    /// Ids and aliases. Of two sessions with one alias the first answers to it.
    names: HashMap<String, u64>,
    next: u64,
}

impl Directory {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.values_mut()
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        let SessionDescription { id, alias, .. } = &entry.description;
        self.names.insert(id.clone(), self.next);
        if !alias.is_empty() {
            self.names.entry(alias.clone()).or_insert(self.next);
        }
        self.entries.insert(self.next, entry);
        self.next += 1;
    }

    /// The session under an id or alias.
    pub(super) fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.get(self.names.get(name)?)
    }

    /// The same, to change it.
    pub(super) fn find_mut(&mut self, name: &str) -> Option<&mut Entry> {
        self.entries.get_mut(self.names.get(name)?)
    }

    /// Removes a session.
    pub(super) fn remove(&mut self, id: &str) -> Option<Entry> {
        let at = *self.names.get(id)?;
        self.names.retain(|_, target| *target != at);
        let removed = self.entries.remove(&at)?;
        let alias = &removed.description.alias;
        // Another one may have the same alias.
        let heir = self.entries.iter().find(|(_, e)| !alias.is_empty() && e.description.alias == *alias);
        if let Some((heir, _)) = heir {
            self.names.insert(alias.clone(), *heir);
        }
        Some(removed)
    }
}

/// The welcome with the session list. If it does not fit into a message, title and sessions are sent one by one.
/// `sessions` are their descriptions as JSON.
pub(super) fn welcome(title: &str, sessions: &[&str]) -> Vec<Bytes> {
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
    fn a_description_that_nobody_is_shown_does_not_hide_that_a_session_was_listed() {
        let share = crate::history::total::HistoryTotal::default().share();
        let (protocol, residency) = (ProtocolVersion::dp(4, 25, 1), Residency::Loading(Vec::new()));
        let mut entry = Entry::new(SessionDescription::default(), protocol, residency, share);
        let hidden = SessionDescription { unlisted: true, ..SessionDescription::default() };
        entry.describe(hidden.clone());
        entry.describe(hidden);
        assert!(entry.show());
        assert!(!entry.show());
    }

    #[test]
    fn the_welcome_is_one_message_if_it_fits() {
        let parts = parsed(&welcome("A \"title\"", &["{\"id\":1}", "{\"id\":2}"]));
        let expected = json!({"type": "login", "message": "Welcome", "title": "A \"title\"", "sessions": [{"id": 1}, {"id": 2}]});
        assert_eq!(parts, [expected]);
        assert_eq!(
            parsed(&welcome("", &[])),
            [json!({"type": "login", "message": "Welcome", "sessions": []})]
        );
    }

    #[test]
    fn a_welcome_that_does_not_fit_comes_in_parts() {
        let long = format!("\"{}\"", "x".repeat(40_000));
        let parts = parsed(&welcome("T", &[&long, &long]));
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[0], json!({"type": "login", "message": "Welcome", "title": "T"}));
        assert_eq!(parts[2]["sessions"].as_array().unwrap().len(), 1);
    }
}
