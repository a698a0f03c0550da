//! What of a session is persisted, and how it is restored. Source: docs/spec/storage.md#what-survives-a-restart.

use crate::history::Contents;
use crate::history::HistorySource;
use bytes::Bytes;
use drawhall_protocol::ProtocolVersion;
use std::sync::Arc;

use drawhall_protocol::Frame;
use drawhall_protocol::message::Leave;
use drawhall_protocol::reply::SessionDescription;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::accounts::Accounts;
use super::bans::BanList;
use super::invites::Invites;
use super::lifetime::{Expiry, Occupancy};
use super::password_verifier::PasswordVerifier;
use super::recording::ToRecord;
use super::thumbnail::Picture;
use super::{Cx, Flags, ServerSettings, SessionMachine};
use crate::history::History;
use crate::log::{Level, Topic};
use crate::metrics::METRICS;
use crate::rules::journal::Entry;
use crate::rules::metadata::{FIRST_CATCHUP_KEY, Metadata, SessionSummary};
use crate::rules::password;
use crate::rules::session::{FileDisposition, KeepGenerations, PasswordKind, WriteBatch};
use crate::rules::template::{Messages, Template};
use crate::rules::time::Timestamp;

/// Default of `maxUserCount` in the journal.
const DEFAULT_MAX_USERS: u32 = 254;

/// The values that the journal has last recorded.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PersistedFields {
    alias: String,
    founder: String,
    max_users: u32,
    autoreset: Option<u64>,
    title: String,
    archive: Option<bool>,
    limit: u64,
    flags: Flags,
    catchup: u32,
}

impl Default for PersistedFields {
    fn default() -> Self {
        let none = String::new;
        Self {
            alias: none(),
            founder: none(),
            max_users: DEFAULT_MAX_USERS,
            autoreset: None,
            title: none(),
            archive: None,
            limit: 0,
            flags: Flags::default(),
            catchup: FIRST_CATCHUP_KEY,
        }
    }
}

/// State of an unloaded session that is not in its files.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Suspended {
    start_id: i64,
    pub(super) first_index: i64,
    reset_base: Option<u64>,
    started: Timestamp,
    #[serde(flatten)]
    expiry: Expiry,
}

/// A session as its files tell it.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct StoredSession {
    pub id: String,
    pub metadata: Metadata,
    /// Index and summary of the history.
    pub contents: Contents,
    /// The history file; its first message is at position 0.
    pub history: Arc<dyn HistorySource>,
    pub protocol: ProtocolVersion,
    /// The thumbnail, and its time in milliseconds since 1970.
    pub picture: Option<(Bytes, i64)>,
    /// What was repaired or ignored.
    pub warnings: Vec<String>,
}

impl SessionMachine {
    /// Makes the session persistent on disk: from now on [`Self::drain_writes`] returns what to write.
    pub fn store(&mut self) {
        self.journal.store();
        self.history.store();
    }

    /// Whether changes are persisted; else the session is in memory only.
    pub fn is_stored(&self) -> bool {
        self.journal.is_stored()
    }

    /// Restores a session from its files. `rest` is the state from before an unload.
    pub fn restored(
        shared: ServerSettings,
        stored: StoredSession,
        rest: Option<Suspended>,
        cx: &mut Cx<'_>,
    ) -> SessionMachine {
        let StoredSession { id, mut metadata, contents, history, protocol, picture, warnings } = stored;
        let founder = metadata.founder.clone();
        let mut machine = Self::new(shared, id, metadata.alias.clone(), protocol, founder, cx.now);
        let settings = machine.shared.settings.clone();
        let first_index = rest.as_ref().map_or(0, |r| r.first_index);
        machine.history = History::restored(&history, &contents.index, first_index);
        machine.journal.store();
        machine.resets.begin_running();
        for (id, name) in &metadata.users {
            machine.ids.remember(name, *id, |_| false);
        }
        for id in &contents.touched {
            machine.ids.touch(*id);
        }
        machine.accounts = Accounts::restored(&mut metadata);
        machine.bans = BanList::restored(&metadata);
        machine.invites = Invites::restored(std::mem::take(&mut metadata.invites), cx.now);
        machine.take_values(metadata);
        machine.apply_limits();
        for id in contents.present {
            if let Ok(leave) = Frame::new(Leave::TYPE, id, &[]) {
                // `Leave` messages are as small as the emergency space is large.
                let _ = machine.history.append_emergency(leave.as_bytes(), 1);
            }
            machine.ids.touch(id);
        }
        machine.resets.set_base(machine.history.size());
        machine.lifetime.begin_empty();
        if let Some(rest) = rest {
            machine.resets.go_on(rest.start_id, rest.reset_base);
            machine.started = rest.started;
            machine.lifetime.go_on(rest.expiry);
        }
        machine.settings_known = Some(contents.settings.unwrap_or_default());
        machine.thumbnail.restore(picture.map(|(data, made)| Picture { data, made }));
        for warning in warnings {
            machine.note(Level::Warn, Topic::Status, format!("While loading: {warning}"), cx);
        }
        if settings.force_nsfm && !machine.flags.nsfm {
            machine.flags.nsfm = true;
            machine.note(Level::Info, Topic::Status, "Forced NSFM after loading", cx);
        }
        machine
    }

    /// Creates a running session from a template.
    pub fn from_template(
        shared: ServerSettings,
        id: String,
        template: &Template,
        messages: Messages,
        cx: &mut Cx<'_>,
    ) -> SessionMachine {
        let Template { alias, metadata, protocol, .. } = template.clone();
        let mut machine = Self::new(shared, id, alias.clone(), protocol, metadata.founder.clone(), cx.now);
        let (password, opword) = (metadata.password.clone(), metadata.opword.clone());
        let nsfm = metadata.flags.nsfm || machine.shared.settings.force_nsfm;
        machine.take_values(metadata);
        machine.journaled = PersistedFields::default();
        machine.flags.nsfm = nsfm;
        machine.take_template_password(PasswordKind::Session, &password);
        machine.take_template_password(PasswordKind::Operator, &opword);
        let announced = machine.listings.wanted().iter().cloned().map(Entry::Announce);
        machine.journal.extend(announced.collect::<Vec<_>>());
        machine.history = History::default();
        machine.apply_limits();
        machine.history.set_publishing(true);
        machine.resets.begin_running();
        machine.lifetime.begin_empty();
        machine.send_settings(cx);
        if machine.history.append(&messages.bytes, messages.count).is_err() {
            machine.note(Level::Warn, Topic::Status, "The template is larger than the size limit", cx);
        }
        machine.resets.set_base(machine.history.size());
        for warning in messages.warnings {
            machine.note(Level::Warn, Topic::Status, format!("Template {alias}: {warning}"), cx);
        }
        let text = format!("Session instantiated from template {alias}");
        machine.note(Level::Info, Topic::Status, text, cx);
        machine
    }

    /// A template's password is a hash, or else clear text.
    fn take_template_password(&mut self, kind: PasswordKind, text: &str) {
        if text.is_empty() {
            return;
        }
        if !password::is_hash(text) {
            return self.set_password(kind, text);
        }
        let (secret, entry) = match kind {
            PasswordKind::Session => (&mut self.password, Entry::Password(text.to_owned())),
            PasswordKind::Operator => (&mut self.opword, Entry::Opword(text.to_owned())),
        };
        *secret = PasswordVerifier::stored(text);
        self.journal.push(entry);
    }

    fn take_values(&mut self, metadata: Metadata) {
        self.title = metadata.title;
        self.flags = metadata.flags;
        self.max_users = metadata.max_users;
        self.password = PasswordVerifier::stored(&metadata.password);
        self.opword = PasswordVerifier::stored(&metadata.opword);
        if let Some(threshold) = metadata.autoreset {
            self.reset_threshold = self.raised_threshold(threshold);
        }
        self.override_size = metadata.limit;
        self.archive = metadata.archive;
        self.catchup_key = metadata.catchup;
        self.listings.restore(metadata.announcements);
        self.journaled = self.values();
        self.journaled.autoreset = metadata.autoreset;
    }

    fn values(&self) -> PersistedFields {
        PersistedFields {
            alias: self.alias.clone(),
            founder: self.founder.clone(),
            max_users: self.max_users,
            autoreset: Some(self.reset_threshold),
            title: self.title.clone(),
            archive: self.archive,
            limit: self.override_size,
            flags: self.flags,
            catchup: self.catchup_key,
        }
    }

    /// Drains everything that must be written. Nothing of it may be sent to clients before it is.
    pub fn drain_writes(&mut self) -> WriteBatch {
        let mut work = WriteBatch::default();
        let is_stored = self.journal.is_stored();
        if is_stored {
            work.journal = self.changed_values();
            work.history = self.history.unstored();
            work.archive = self.archives();
            work.keep = self.keep_generations();
        }
        let changes =
            [self.accounts.take_changes(), self.bans.take_changes(), self.invites.take_changes()].concat();
        let drained = self.journal.drain();
        let picture = self.thumbnail.take_change();
        work.incomplete = drained.is_incomplete;
        if is_stored {
            work.journal.extend(drained.entries);
            work.journal.extend(changes);
            work.passwords = drained.passwords;
            work.picture = picture;
        }
        work
    }

    fn changed_values(&mut self) -> Vec<Entry> {
        let old = &self.journaled;
        let same = old.alias == self.alias
            && old.founder == self.founder
            && old.max_users == self.max_users
            && old.autoreset == Some(self.reset_threshold)
            && old.title == self.title
            && old.archive == self.archive
            && old.limit == self.override_size
            && old.flags == self.flags
            && old.catchup == self.catchup_key;
        if same {
            return Vec::new();
        }
        let new = self.values();
        let old = std::mem::replace(&mut self.journaled, new.clone());
        let threshold = new.autoreset.unwrap_or_default();
        let entries = [
            (old.alias != new.alias).then_some(Entry::Alias(new.alias)),
            (old.founder != new.founder).then_some(Entry::Founder(new.founder)),
            (old.max_users != new.max_users).then_some(Entry::MaxUsers(new.max_users)),
            (old.autoreset != new.autoreset).then_some(Entry::AutoReset(threshold)),
            (old.title != new.title).then_some(Entry::Title(new.title)),
            (old.archive != new.archive).then_some(Entry::Archive(new.archive)),
            (old.limit != new.limit).then_some(Entry::Limit(new.limit)),
            (old.flags != new.flags).then_some(Entry::Flags(new.flags)),
            (old.catchup != new.catchup).then_some(Entry::Catchup(new.catchup)),
        ];
        entries.into_iter().flatten().collect()
    }

    /// Whether obsolete files are archived instead of deleted.
    fn archives(&self) -> bool {
        self.archive.unwrap_or(self.shared.settings.archive)
    }

    /// How many histories that resets replace are kept.
    fn keep_generations(&self) -> KeepGenerations {
        let settings = &self.shared.settings;
        KeepGenerations { count: settings.keep_generations.0, min_free: settings.disk_space_alarm }
    }

    /// What to do with the files when the session has ended.
    pub(super) fn ending(&self) -> FileDisposition {
        if self.archives() { FileDisposition::Archive } else { FileDisposition::Delete }
    }

    /// Sets a password; its hash is persisted.
    pub fn set_password(&mut self, kind: PasswordKind, password: &str) {
        let secret = PasswordVerifier::of(password);
        match kind {
            PasswordKind::Session => self.password = secret,
            PasswordKind::Operator => self.opword = secret,
        }
        self.journal.push_password(kind, password);
    }

    /// Whether the settings in the history differ from those in force: since they were written, the server's
    /// settings, or what follows from the size, may have changed. Checked once after loading.
    pub(super) fn settings_are_outdated(&mut self) -> bool {
        let Some(known) = self.settings_known.take() else { return false };
        let present = serde_json::to_value(self.full_config()).unwrap_or(Value::Null);
        known != present
    }

    /// Drains what to append to the recording.
    pub fn take_recording(&mut self) -> ToRecord {
        self.recording.drain(self.resets.is_running())
    }

    /// Starts recording.
    pub fn record(&mut self) {
        self.recording.start();
    }

    /// When the session may be unloaded (`sessionUnloadTime` after it became empty), monotonic milliseconds; `None`
    /// while it is in use or not stored.
    pub fn unload_at(&self) -> Option<u64> {
        let idle =
            self.resets.is_running() && self.members.is_empty() && self.resets.stream_stage().is_none();
        (self.journal.is_stored() && idle).then(|| self.lifetime.unload_at(&self.shared.settings))
    }

    /// The state to keep while the session is unloaded.
    pub fn rest(&self) -> Suspended {
        Suspended {
            start_id: self.resets.start_id(),
            first_index: self.history.first_index(),
            reset_base: Some(self.resets.base()),
            started: self.started,
            expiry: self.lifetime.expiry().clone(),
        }
    }

    /// Writing failed: everybody in the session is told.
    pub fn storing_failed(&mut self, error: &str, cx: &mut Cx<'_>) {
        METRICS.storage_errors.count();
        self.storage_error = Some(error.to_owned());
        self.note(Level::Error, Topic::Status, format!("Storing failed: {error}"), cx);
        let text = "The server can't store this session at the moment. You can go on, but what you draw from now on \
                    would be lost if the server stopped. Please tell whoever runs the server, and save a copy.";
        self.notice(true, "storagefailed", text.into(), &[], "", cx);
    }

    /// Writing works again: everybody in the session is told.
    pub fn storing_recovered(&mut self, cx: &mut Cx<'_>) {
        self.storage_error = None;
        self.note(Level::Info, Topic::Status, "Storing works again, nothing is missing", cx);
        let text = "The server can store this session again. Nothing is missing.";
        self.notice(true, "storagerecovered", text.into(), &[], "", cx);
    }
}

impl Suspended {
    /// State of a session that was found at start; `created_ms` and `last_use_ms` in milliseconds since 1970. The
    /// downtime of the server counts as idle time.
    pub fn at_start(now: Timestamp, created_ms: i64, last_use_ms: i64) -> Suspended {
        let start_id = now.utc_ms / 1000;
        Suspended {
            start_id,
            first_index: 0,
            reset_base: None,
            started: now.earlier(created_ms),
            expiry: Expiry::found(now, now.earlier(last_use_ms)),
        }
    }

    /// State after the session's actor has crashed: it stays for the users who were in it.
    pub fn after_accident(self, now: Timestamp) -> Suspended {
        Suspended { expiry: self.expiry.after_accident(now), ..self }
    }

    /// Session expiry of an unloaded session.
    pub fn is_over(
        &self,
        persistent: bool,
        idle_override: bool,
        shared: &ServerSettings,
        now: Timestamp,
    ) -> bool {
        let occupancy = Occupancy::of(true, persistent);
        self.expiry.verdict(&shared.settings, occupancy, idle_override, now).is_some()
    }
}

/// The description of an unloaded session.
pub fn stored_description(
    listed: &SessionSummary,
    shared: &ServerSettings,
    started: Timestamp,
) -> SessionDescription {
    let SessionSummary { id, metadata, protocol, size, .. } = listed;
    let (settings, flags) = (Arc::clone(&shared.settings), metadata.flags);
    SessionDescription {
        id: id.clone(),
        alias: metadata.alias.clone(),
        protocol: protocol.to_string(),
        user_count: 0,
        active_drawing_user_count: 0,
        max_user_count: metadata.max_users,
        founder: metadata.founder.clone(),
        title: metadata.title.clone(),
        autotitle: flags.auto_title,
        has_password: !metadata.password.is_empty(),
        closed: false,
        auth_only: flags.auth_only,
        nsfm: flags.nsfm || settings.force_nsfm,
        start_time: started.iso(),
        size: *size,
        persistent: flags.persistent,
        invites: flags.invites,
        unlisted: flags.unlisted,
        idle_override: settings.allow_idle_override.then_some(flags.idle_override),
        allow_web: shared.web_sockets.then_some(flags.allow_web),
        prefer_web_sockets: shared.web_sockets && settings.prefer_web_sockets,
    }
}
