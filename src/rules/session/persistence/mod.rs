//! What of a session is persisted: what is to be written to its journal, its history file and its recording.
//! Source: docs/spec/storage.md#what-survives-a-restart.

mod journal_queue;
mod loading;
mod recording_queue;
mod snapshot;

pub use loading::{StoredSession, Suspended, stored_description};

use serde_json::Value;

use super::password_verifier::PasswordVerifier;
use super::{
    Counted, Cx, Effect, FileDisposition, KeepGenerations, PasswordKind, SessionMachine, WriteBatch,
};
use crate::history::HistoryWrite;
use crate::log::{Level, Topic};
use crate::rules::history_indexes::HistoryIndexes;
use crate::rules::journal::Entry;
use journal_queue::JournalQueue;
use recording_queue::RecordingQueue;
pub use recording_queue::ToRecord;

/// What waits to be written, and what is known of what was.
///
/// **Invariant:** a session that is not stored has nothing written, whatever was queued.
#[derive(Debug, Default)]
pub(super) struct Persistence {
    journal: JournalQueue,
    recording: RecordingQueue,
    /// What the journal says of the indexes.
    indexes_written: Option<HistoryIndexes>,
    /// The settings found in the history after loading, until they are compared with those in force.
    settings_known: Option<Value>,
    /// Why storing fails at present.
    error: Option<String>,
}

impl Persistence {
    /// From now on changes are persisted.
    pub(super) fn store(&mut self) {
        self.journal.store();
    }

    /// Whether changes are persisted; else the session is in memory only.
    pub(super) fn is_stored(&self) -> bool {
        self.journal.is_stored()
    }

    /// An entry for the journal.
    pub(super) fn push(&mut self, entry: Entry) {
        self.journal.push(entry);
    }

    /// Entries for the journal.
    pub(super) fn extend(&mut self, entries: impl IntoIterator<Item = Entry>) {
        self.journal.extend(entries);
    }

    /// Frames have entered the history.
    pub(super) fn record(&mut self, bytes: &[u8]) {
        self.recording.append(bytes);
    }

    /// The history has been replaced: the recording begins anew.
    pub(super) fn restart_recording(&mut self) {
        self.recording.restart();
    }

    /// Why storing fails at present.
    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }
}

impl SessionMachine {
    /// Makes the session persistent on disk: from now on [`Self::drain_writes`] returns what to write.
    pub fn store(&mut self) {
        self.persistence.store();
        self.history.store();
    }

    /// Whether changes are persisted; else the session is in memory only.
    pub fn is_stored(&self) -> bool {
        self.persistence.is_stored()
    }

    /// Drains everything that must be written. Nothing of it may be sent to clients before it is.
    pub fn drain_writes(&mut self) -> WriteBatch {
        let mut work = WriteBatch::default();
        let is_stored = self.persistence.is_stored();
        if is_stored {
            work.journal = self.properties.drain_changes();
            work.history = self.history.unstored();
            work.indexes = self.indexes_to_write(&work.history);
            work.marks = self.times.drain_unstored(matches!(work.history, HistoryWrite::Replace(_)));
            work.archive = self.archives();
            work.keep = self.keep_generations();
            work.prunes = self.take_prunes();
        }
        let changes = self.moderation.take_changes();
        let drained = self.persistence.journal.drain();
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

    /// The indexes, if the journal lacks them. They only count once something is appended.
    fn indexes_to_write(&mut self, history: &HistoryWrite) -> Option<HistoryIndexes> {
        let indexes =
            HistoryIndexes { first: self.history.first_index(), starts: self.resets.start_ids().clone() };
        let written = &mut self.persistence.indexes_written;
        let writes = match history {
            HistoryWrite::Nothing => false,
            HistoryWrite::Append { .. } => written.as_ref() != Some(&indexes),
            HistoryWrite::Replace(_) => true,
        };
        writes.then(|| written.insert(indexes).clone())
    }

    /// Whether obsolete files are archived instead of deleted.
    fn archives(&self) -> bool {
        self.properties.archive().unwrap_or(self.shared.settings.archive)
    }

    /// How many histories that resets replace are kept.
    fn keep_generations(&self) -> KeepGenerations {
        let settings = &self.shared.settings;
        let (count, min_free) = (settings.keep_generations.0, settings.disk_space_alarm);
        KeepGenerations { count, min_free, needs_newest: self.needs_previous_history() }
    }

    /// What to do with the files when the session has ended.
    pub(super) fn ending(&self) -> FileDisposition {
        if self.archives() { FileDisposition::Archive } else { FileDisposition::Delete }
    }

    /// Sets a password; its hash is persisted.
    pub fn set_password(&mut self, kind: PasswordKind, password: &str) {
        self.properties.set_password(kind, PasswordVerifier::of(password));
        self.persistence.journal.push_password(kind, password);
    }

    /// Whether the settings in the history differ from those in force: since they were written, the server's
    /// settings, or what follows from the size, may have changed. Checked once after loading.
    pub(super) fn settings_are_outdated(&mut self) -> bool {
        let Some(known) = self.persistence.settings_known.take() else { return false };
        let present = serde_json::to_value(self.full_config()).unwrap_or(Value::Null);
        known != present
    }

    /// Drains what to append to the recording.
    pub fn take_recording(&mut self) -> ToRecord {
        self.persistence.recording.drain(self.resets.is_running())
    }

    /// Starts recording.
    pub fn record(&mut self) {
        self.persistence.recording.start();
    }

    /// When the session may be unloaded (`sessionUnloadTime` after it became empty), monotonic milliseconds; `None`
    /// while it is in use or not stored.
    pub fn unload_at(&self) -> Option<u64> {
        let idle =
            self.resets.is_running() && self.members.is_empty() && self.resets.stream_stage().is_none();
        (self.persistence.is_stored() && idle).then(|| self.timers.unload_at(&self.shared.settings))
    }

    /// Writing failed: everybody in the session is told.
    pub fn storing_failed(&mut self, error: &str, cx: &mut Cx<'_>) {
        cx.push(Effect::Count(Counted::StorageError));
        self.persistence.error = Some(error.to_owned());
        self.note(Level::Error, Topic::Status, format!("Storing failed: {error}"), cx);
        let text = "The server can't store this session at the moment. You can go on, but what you draw from now on \
                    would be lost if the server stopped. Please tell whoever runs the server, and save a copy.";
        self.notice(true, "storagefailed", text.into(), &[], "", cx);
    }

    /// Writing works again: everybody in the session is told.
    pub fn storing_recovered(&mut self, cx: &mut Cx<'_>) {
        self.persistence.error = None;
        self.times.store_anew();
        self.note(Level::Info, Topic::Status, "Storing works again, nothing is missing", cx);
        let text = "The server can store this session again. Nothing is missing.";
        self.notice(true, "storagerecovered", text.into(), &[], "", cx);
    }
}
