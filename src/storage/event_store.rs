//! Chat and events of sessions, kept for a while for moderators (`eventKeepTime`), beside the database: files of JSON
//! lines in a directory, one file an hour, written by a thread of their own.
//!
//! It is bounded: old files are deleted by [`EventStore::purge`], and so are the oldest when there are too many bytes.
//! No session and no address can fill it (`budget`), and an hour has at most `MAX_HOUR_BYTES`. What cannot be written is
//! lost, and nothing waits for it; [`EventStore::has_dropped`] says so.

mod budget;
mod find;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::budget::{Dropped, HourBudget};
use self::find::EventLines;
pub use self::find::{EventPosition, EventQuery, Found, NoPosition};
use super::private;
use crate::background::{BackgroundThread, PushError, Queue, QueueLimits};
use crate::rules::lookalike::folded;

/// Events that may wait to be written.
const QUEUE: QueueLimits = QueueLimits { items: 10_000, bytes: 4 << 20 };
/// Events that are written at once.
const BATCH: usize = 1000;
/// How long the thread gathers events before it writes them.
const GATHER: Duration = Duration::from_millis(200);
/// All files together, in bytes; the oldest are deleted beyond.
const MAX_BYTES: u64 = 256 << 20;
/// The file of an hour, in bytes; what comes beyond is lost.
const MAX_HOUR_BYTES: u64 = MAX_BYTES / 8;
/// Longest text that is kept, in bytes.
const MAX_TEXT: usize = 2000;
/// Milliseconds of an hour.
const HOUR_MS: i64 = 3_600_000;
/// Extension of the files.
const EXTENSION: &str = "jsonl";
/// Extension of a file that is written anew, until it replaces the one of the hour.
const NEW: &str = "new";

/// Topic of chat messages.
pub const CHAT: &str = "Chat";

/// Something that happened in a session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SessionEvent {
    /// When, milliseconds since 1970, UTC.
    pub at: i64,
    /// Session id.
    pub session: String,
    /// Chat, or a topic of the log such as Join, Leave, Kick, Ban, Report.
    pub topic: String,
    /// Name of the user that it is about; empty if it is about none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Account of that user; empty for guests.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub account: String,
    /// Device of that user (system id).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sid: String,
    /// Address of that user.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ip: String,
    /// What was written, or what happened.
    pub text: String,
}

/// The store. Reading it, purging and erasing block.
#[derive(Debug)]
pub struct EventStore {
    dir: PathBuf,
    thread: BackgroundThread<SessionEvent>,
    shared: Arc<Shared>,
}

/// What the store shares with its thread.
#[derive(Debug, Default)]
struct Shared {
    /// One at a time changes files that exist.
    files: Mutex<()>,
    dropped: Mutex<Dropped>,
}

impl SessionEvent {
    /// Bytes of all its texts.
    fn len(&self) -> usize {
        let texts = [&self.session, &self.topic, &self.name, &self.account, &self.sid, &self.ip, &self.text];
        texts.iter().map(|text| text.len()).sum()
    }
}

impl EventStore {
    /// Opens the store in this directory, and creates it.
    ///
    /// # Errors
    /// When the directory cannot be created, or the system gives no thread.
    pub fn open(dir: &Path) -> io::Result<EventStore> {
        private::create_directory(dir)?;
        let shared = Arc::<Shared>::default();
        let (its_dir, its_shared) = (dir.to_owned(), shared.clone());
        let run = move |queue: &Queue<SessionEvent>| write_all(queue, &its_dir, &its_shared);
        let thread = BackgroundThread::start("events", Queue::new(QUEUE), run)?;
        Ok(EventStore { dir: dir.to_owned(), thread, shared })
    }

    /// Keeps an event. It is lost if too many wait.
    pub fn keep(&self, mut event: SessionEvent) {
        event.text.truncate(event.text.floor_char_boundary(MAX_TEXT));
        let (size, hour) = (event.len(), event.at.div_euclid(HOUR_MS));
        if self.thread.queue().try_push(event, size) == Err(PushError::Full)
            && self.shared.dropped.lock().note_all(hour)
        {
            tracing::warn!("chat and events of sessions come too fast to be all kept");
        }
    }

    /// Whether events of a session, or with an empty name of any session, were not kept in the hour of this time
    /// (milliseconds since 1970), because there were too many.
    pub fn has_dropped(&self, session: &str, at_ms: i64) -> bool {
        self.shared.dropped.lock().is_noted(at_ms.div_euclid(HOUR_MS), session)
    }

    /// The files, by the hour since 1970 that they are of.
    fn hours(&self) -> io::Result<BTreeMap<i64, PathBuf>> {
        self.files_with(EXTENSION)
    }

    /// The files of hours with this extension.
    fn files_with(&self, extension: &str) -> io::Result<BTreeMap<i64, PathBuf>> {
        let mut hours = BTreeMap::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let is_ours = path.extension().is_some_and(|own| own == extension);
            let hour = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if let (true, Some(hour)) = (is_ours, hour) {
                hours.insert(hour, path);
            }
        }
        Ok(hours)
    }

    /// Deletes what is older than `keep_ms`, and the oldest files when all are too large; the newest one stays. Deletes
    /// what is left of rewriting files, too.
    ///
    /// # Errors
    /// When a file cannot be deleted.
    pub fn purge(&self, keep_ms: u64, now_ms: i64) -> io::Result<()> {
        let _one_at_a_time = self.shared.files.lock();
        self.files_with(NEW)?.values().try_for_each(fs::remove_file)?;
        let oldest = now_ms.saturating_sub_unsigned(keep_ms).div_euclid(HOUR_MS);
        let hours = self.hours()?;
        let newest = hours.last_key_value().map(|(hour, _)| *hour);
        let len = |path: &PathBuf| fs::metadata(path).map_or(0, |file| file.len());
        let mut total: u64 = hours.values().map(len).sum();
        for (hour, path) in &hours {
            let is_too_much = total > MAX_BYTES && Some(*hour) != newest;
            if *hour < oldest || is_too_much || keep_ms == 0 {
                total -= len(path).min(total);
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Erases everything about a person that is written. Returns how many events were erased. What waits to be written
    /// (a fraction of a second) stays.
    ///
    /// # Errors
    /// When a file cannot be read or written; those before are done.
    pub fn erase(&self, person: &str) -> io::Result<usize> {
        let _one_at_a_time = self.shared.files.lock();
        let (person_key, mut erased) = (folded(person), 0);
        let is_about = |event: &SessionEvent| event.is_about(person, &person_key);
        for path in self.hours()?.values() {
            let mut count = 0;
            for event in EventLines::open(path)?.into_iter().flatten() {
                count += usize::from(is_about(&event?));
            }
            if count == 0 {
                continue;
            }
            let new = path.with_extension(NEW);
            if let Err(error) = write_without(path, &new, is_about).and_then(|()| fs::rename(&new, path)) {
                // It has the chat of everybody else.
                let _ = fs::remove_file(&new);
                return Err(error);
            }
            erased += count;
        }
        Ok(erased)
    }

    /// Ends the thread once everything is written.
    pub fn stop(&self) {
        self.thread.stop();
    }
}

/// Writes the events of a file to another one, but for some, and fsyncs it: it is to replace the first.
fn write_without(path: &Path, new: &Path, is_left_out: impl Fn(&SessionEvent) -> bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = BufWriter::new(options.open(new)?);
    let mut line = Vec::new();
    for event in EventLines::open(path)?.into_iter().flatten() {
        let event = event?;
        if !is_left_out(&event) {
            line.clear();
            push_line(&mut line, &event);
            file.write_all(&line)?;
        }
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

fn push_line(bytes: &mut Vec<u8>, event: &SessionEvent) {
    if let Ok(line) = serde_json::to_vec(event) {
        bytes.extend_from_slice(&line);
        bytes.push(b'\n');
    }
}

/// Writes events until the queue is closed and empty.
fn write_all(queue: &Queue<SessionEvent>, dir: &Path, shared: &Shared) {
    let mut has_failed = false;
    let mut budget = HourBudget::default();
    loop {
        let batch = queue.pop_batch(GATHER, BATCH);
        if batch.is_empty() {
            return;
        }
        let _one_at_a_time = shared.files.lock();
        let written = write_batch(&batch, dir, &mut budget, &shared.dropped);
        match (&written, has_failed) {
            (Err(error), false) => tracing::warn!(%error, "chat and events of sessions cannot be kept"),
            (Ok(()), true) => tracing::info!("chat and events of sessions are kept again"),
            _ => {}
        }
        has_failed = written.is_err();
    }
}

/// Writes events to the files of their hours, as far as there is room.
fn write_batch(
    batch: &[SessionEvent],
    dir: &Path,
    budget: &mut HourBudget,
    dropped: &Mutex<Dropped>,
) -> io::Result<()> {
    let mut by_hour: BTreeMap<i64, Vec<u8>> = BTreeMap::new();
    let mut line = Vec::new();
    for event in batch {
        line.clear();
        push_line(&mut line, event);
        let hour = event.at.div_euclid(HOUR_MS);
        let written = || fs::metadata(path_of(dir, hour)).map_or(0, |file| file.len());
        if budget.take(hour, event, line.len() as u64, &mut dropped.lock(), written) {
            by_hour.entry(hour).or_default().extend_from_slice(&line);
        }
    }
    by_hour.iter().try_for_each(|(hour, bytes)| append(dir, *hour, bytes))
}

/// The file of an hour.
fn path_of(dir: &Path, hour: i64) -> PathBuf {
    dir.join(format!("{hour}.{EXTENSION}"))
}

fn append(dir: &Path, hour: i64, bytes: &[u8]) -> io::Result<()> {
    let path = path_of(dir, hour);
    let mut file = OpenOptions::new().append(true).read(true).create(true).mode(0o600).open(path)?;
    let len = file.metadata()?.len();
    if len > 0 {
        // A line that was torn by a full disk or a crash must not take the next one with it.
        let mut last = [0];
        file.read_exact_at(&mut last, len - 1)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    file.write_all(bytes)
}

#[cfg(test)]
mod tests;
