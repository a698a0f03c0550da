//! The session directory: sessions by id and alias, with their descriptions.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use drawhall_protocol::reply::SessionDescription;
use drawhall_protocol::{Frame, ProtocolVersion};
use serde_json::json;

use crate::actors::messages::SessionHandle;
use crate::db::nodes::Node;
use crate::history::total::HistoryShare;
use crate::rules::session::Refusal;
use crate::rules::session::admin::AdminError;
use crate::rules::session::persistence::Suspended;
use crate::rules::time::Timestamp;

/// A continuation that waits for a session. It is called with the session or with why there is none.
pub(super) type Waiter = Box<dyn FnOnce(Result<&SessionHandle, Missing>)>;

/// Delay before the retry of reading a session, in milliseconds.
const READ_AGAIN_MS: u64 = 3000;

/// Why there is no session to work with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Missing {
    /// It does not exist, or has ended.
    NotFound,
    /// Its files cannot be read at present, with the reason.
    Unreadable(String),
}

impl Missing {
    /// The refusal for clients.
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
            Missing::NotFound => AdminError::NotFound,
            Missing::Unreadable(error) => AdminError::Unreadable(error),
        }
    }
}

/// A failed attempt to read a session.
pub(super) struct Unreadable {
    pub(super) error: String,
    /// Time of the next retry, monotonic milliseconds.
    again_ms: u64,
}

impl Unreadable {
    pub(super) fn new(error: String, now: Timestamp) -> Unreadable {
        Unreadable { error, again_ms: now.monotonic_ms + READ_AGAIN_MS }
    }

    /// Whether it is too early for a retry.
    pub(super) fn counts(&self, now: Timestamp) -> bool {
        now.monotonic_ms < self.again_ms
    }
}

/// Where a session is: active in memory, or stored in its files.
pub(super) enum Residency {
    /// In memory.
    Active(SessionHandle),
    /// Being unloaded; waiters are served afterwards.
    Unloading(SessionHandle, Vec<Waiter>),
    /// Being loaded.
    Loading(Vec<Waiter>),
    /// In its files only, with the state that is not in them.
    Stored(Box<Suspended>),
    /// On another server of the cluster, which a [`RemoteSession`](crate::actors::nodes::RemoteSession) asks.
    Remote { node: Arc<Node>, session: SessionHandle },
}

/// An entry of the directory.
pub(super) struct SessionEntry {
    pub(super) description: SessionDescription,
    pub(super) protocol: ProtocolVersion,
    pub(super) residency: Residency,
    /// Address that hosted it, as far as it counts for `sessionsPerAddress`.
    pub(super) hosted_from: Option<IpAddr>,
    /// Its part of `totalHistoryLimit` while it is stored; an active session keeps its own.
    pub(super) share: HistoryShare,
    /// The last attempt to read its files failed.
    pub(super) unreadable: Option<Unreadable>,
    /// It was last shown to the lobby as a listed session.
    shown_listed: bool,
    /// The description as JSON, once somebody wants to see it: it changes more often.
    json: OnceCell<String>,
    /// What other servers of the cluster were told of it.
    pub(super) told: Told,
    /// Servers share it, and none has it.
    is_unowned: bool,
    /// Attempts to take it over that failed because another server has it.
    pub(super) claims: u8,
}

/// What other servers of the cluster were told of a session.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Told {
    /// The description is newer.
    pub(super) is_outdated: bool,
    /// When they were told last, monotonic milliseconds; `None` before the first time.
    pub(super) at_ms: Option<u64>,
}

impl SessionEntry {
    pub(super) fn new(
        description: SessionDescription,
        protocol: ProtocolVersion,
        residency: Residency,
        share: HistoryShare,
    ) -> Self {
        let json = OnceCell::new();
        let shown_listed = !description.unlisted;
        let (hosted_from, unreadable) = (None, None);
        let told = Told { is_outdated: true, at_ms: None };
        Self {
            description,
            protocol,
            residency,
            hosted_from,
            share,
            unreadable,
            shown_listed,
            json,
            told,
            is_unowned: false,
            claims: 0,
        }
    }

    /// Whether it is on this server.
    pub(super) fn is_local(&self) -> bool {
        !matches!(self.residency, Residency::Remote { .. }) && !self.is_unowned
    }

    /// Whether servers share it, and none has it.
    pub(super) fn is_unowned(&self) -> bool {
        self.is_unowned && matches!(self.residency, Residency::Stored(_))
    }

    /// Whether servers share it, and none has it, or had it until this one asked for it.
    pub(super) fn set_unowned(&mut self, is_unowned: bool) {
        self.is_unowned = is_unowned;
    }

    /// Whether it is not active on this server.
    pub(super) fn is_at_rest(&self) -> bool {
        matches!(self.residency, Residency::Stored(_) | Residency::Remote { .. })
    }

    pub(super) fn unlisted(&self) -> bool {
        self.description.unlisted
    }

    pub(super) fn json(&self) -> &str {
        // Serializing a struct with text keys cannot fail.
        self.json.get_or_init(|| serde_json::to_string(&self.description).unwrap_or_default())
    }

    /// The description for administrators, with the error if it cannot be loaded, and the other server that has it.
    pub(super) fn json_for_admin(&self) -> String {
        let (name, text) = match (&self.unreadable, &self.residency) {
            (Some(unreadable), _) => ("storageError", unreadable.error.as_str()),
            (None, Residency::Remote { node, .. }) => ("node", node.name.as_str()),
            (None, _) => return self.json().to_owned(),
        };
        // A serialized struct is an object.
        let mut value = serde_json::to_value(&self.description).unwrap_or_default();
        value[name] = text.into();
        value.to_string()
    }

    /// Its actor, if it is active on this server.
    pub(super) fn address(&self) -> Option<&SessionHandle> {
        match &self.residency {
            Residency::Active(address) | Residency::Unloading(address, _) => Some(address),
            Residency::Loading(_) | Residency::Stored(_) | Residency::Remote { .. } => None,
        }
    }

    /// What takes messages for it, if something does: its actor, or the one that passes them on to another server.
    pub(super) fn handle(&self) -> Option<&SessionHandle> {
        match &self.residency {
            Residency::Remote { session, .. } => Some(session),
            _ => self.address(),
        }
    }

    /// Changes the description of a session that is not active.
    pub(super) fn amend(&mut self, change: impl FnOnce(&mut SessionDescription)) {
        change(&mut self.description);
        self.told.is_outdated = true;
        self.json.take();
    }

    /// Replaces the description.
    pub(super) fn describe(&mut self, description: SessionDescription) {
        self.description = description;
        self.told.is_outdated = true;
        self.json.take();
    }

    /// Marks it as shown to the lobby. Returns whether it was shown as listed before, which need not follow from its
    /// last description, as updates are coalesced.
    pub(super) fn show(&mut self) -> bool {
        std::mem::replace(&mut self.shown_listed, !self.description.unlisted)
    }
}

/// All sessions, in the order of creation.
#[derive(Default)]
pub(super) struct Directory {
    entries: BTreeMap<u64, SessionEntry>,
    /// Ids and aliases. Of two sessions with one alias the older one has it.
    names: HashMap<String, u64>,
    next: u64,
}

impl Directory {
    /// Number of sessions on this server.
    pub(super) fn local_count(&self) -> usize {
        self.entries().filter(|entry| entry.is_local()).count()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &SessionEntry> {
        self.entries.values()
    }

    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut SessionEntry> {
        self.entries.values_mut()
    }

    pub(super) fn insert(&mut self, entry: SessionEntry) {
        let SessionDescription { id, alias, .. } = &entry.description;
        self.names.insert(id.clone(), self.next);
        if !alias.is_empty() {
            self.names.entry(alias.clone()).or_insert(self.next);
        }
        self.entries.insert(self.next, entry);
        self.next += 1;
    }

    /// By id or alias.
    pub(super) fn find(&self, name: &str) -> Option<&SessionEntry> {
        self.entries.get(self.names.get(name)?)
    }

    /// By id or alias, mutable.
    pub(super) fn find_mut(&mut self, name: &str) -> Option<&mut SessionEntry> {
        self.entries.get_mut(self.names.get(name)?)
    }

    /// Removes a session.
    pub(super) fn remove(&mut self, id: &str) -> Option<SessionEntry> {
        let at = *self.names.get(id)?;
        self.names.retain(|_, target| *target != at);
        let removed = self.entries.remove(&at)?;
        let alias = &removed.description.alias;
        // Another session may have the same alias and gets it.
        let heir = self.entries.iter().find(|(_, e)| !alias.is_empty() && e.description.alias == *alias);
        if let Some((heir, _)) = heir {
            self.names.insert(alias.clone(), *heir);
        }
        Some(removed)
    }
}

/// The welcome with the session list; split into several messages if it is too long for one. `sessions` are
/// descriptions as JSON.
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
    fn an_update_that_was_not_sent_does_not_hide_that_the_session_was_listed() {
        let share = crate::history::total::HistoryTotal::default().share();
        let (protocol, residency) = (ProtocolVersion::dp(4, 25, 1), Residency::Loading(Vec::new()));
        let mut entry = SessionEntry::new(SessionDescription::default(), protocol, residency, share);
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
    fn a_long_welcome_is_split() {
        let long = format!("\"{}\"", "x".repeat(40_000));
        let parts = parsed(&welcome("T", &[&long, &long]));
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[0], json!({"type": "login", "message": "Welcome", "title": "T"}));
        assert_eq!(parts[2]["sessions"].as_array().unwrap().len(), 1);
    }
}
