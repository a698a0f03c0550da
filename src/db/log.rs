//! The event log in the database: what is logged waits in a queue, a thread writes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::{Database, LogRow};
use crate::clock::{Now, iso_of};
use crate::log::Fields;
use crate::metrics::METRICS;

/// Lines that wait at most; what comes on top is in the text log only.
const MAX_WAITING: usize = 10_000;
/// Lines that are kept in memory, where there is no database.
const MAX_IN_MEMORY: i64 = 10_000;
/// Lines that are written in one transaction.
const BATCH: usize = 500;
/// How long lines are gathered at most before they are written.
const GATHER: Duration = Duration::from_millis(200);

/// Takes what is logged.
#[derive(Debug)]
pub struct LogLayer {
    sender: SyncSender<LogRow>,
}

/// What was taken, to be written once there is a database.
#[derive(Debug)]
pub struct LogQueue {
    receiver: Receiver<LogRow>,
}

/// The thread that writes.
#[derive(Debug)]
pub struct LogWriter {
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl LogWriter {
    /// Writes what is in the queue and ends the thread; blocks.
    pub fn finish(self) {
        self.stopping.store(true, Ordering::Release);
        // If it panicked there is nothing to wait for.
        let _ = self.thread.join();
    }
}

/// A layer for `tracing`, and the queue that it fills.
pub fn log_layer() -> (LogLayer, LogQueue) {
    let (sender, receiver) = sync_channel(MAX_WAITING);
    (LogLayer { sender }, LogQueue { receiver })
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => 0,
            tracing::Level::WARN => 1,
            tracing::Level::INFO => 2,
            _ => 3,
        };
        let fields = Fields::of(event);
        let row = LogRow {
            timestamp: iso_of(Now::get().utc_ms),
            level,
            topic: fields.topic().to_owned(),
            user: fields.user.clone(),
            session: fields.session.clone(),
            message: fields.text(),
        };
        // A queue that is full, or that nobody reads because there is no database, takes nothing.
        METRICS.log_waiting.up();
        if self.sender.try_send(row).is_err() {
            METRICS.log_waiting.down();
        }
    }
}

impl LogQueue {
    /// Writes the queue to a database until [`LogWriter::finish`].
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn write_to(self, database: Database) -> std::io::Result<LogWriter> {
        let stopping = Arc::new(AtomicBool::new(false));
        let flag = stopping.clone();
        let thread =
            std::thread::Builder::new().name("log".into()).spawn(move || self.run(&database, &flag))?;
        Ok(LogWriter { stopping, thread })
    }

    fn run(self, database: &Database, stopping: &AtomicBool) {
        let mut failed = false;
        loop {
            let first = match self.receiver.recv_timeout(GATHER) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) if !stopping.load(Ordering::Acquire) => continue,
                Err(_) => return,
            };
            METRICS.log_waiting.down();
            let mut rows = vec![first];
            let due = Instant::now() + GATHER;
            while rows.len() < BATCH
                && let Ok(row) = self.receiver.recv_timeout(due.saturating_duration_since(Instant::now()))
            {
                METRICS.log_waiting.down();
                rows.push(row);
            }
            let mut written = database.append_log(&rows);
            if database.is_in_memory() {
                written = written.and_then(|()| database.keep_newest_log(MAX_IN_MEMORY));
            }
            // To log every failure would fill the queue with failures.
            if let Err(error) = &written
                && !failed
            {
                tracing::error!(%error, "cannot write the log to the database");
            }
            failed = written.is_err();
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::log::{Level, LogEntry, LogUser, Topic};

    #[test]
    fn entries_are_stored_as_the_reference_stores_them() {
        let (layer, queue) = log_layer();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let user = LogUser { id: 2, address: "192.0.2.1".parse().ok(), name: "B".into() };
            LogEntry::new(Now::get(), Level::Info, Topic::Join, "Joined session").about(user).emit("01abc");
            tracing::warn!(port = 7, "hm");
        });
        let rows: Vec<LogRow> = queue.receiver.try_iter().collect();
        let texts: Vec<_> = rows
            .iter()
            .map(|r| (r.level, r.topic.as_str(), r.user.as_str(), r.session.as_str(), r.message.as_str()))
            .collect();
        let expected =
            [(2, "Join", "2;192.0.2.1;B", "01abc", "Joined session"), (1, "Status", "", "", "hm port=7")];
        assert_eq!(texts, expected);
    }

    #[test]
    fn what_was_logged_last_is_written_too() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("x.db")).unwrap();
        let (layer, queue) = log_layer();
        let writer = queue.write_to(database.clone()).unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || (0..1000).for_each(|n| tracing::info!(n, "line")));
        writer.finish();
        assert_eq!(database.purge_log(0, 4_000_000_000_000).unwrap(), 1000);
    }

    #[test]
    fn lines_are_written_even_if_others_keep_coming() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("config.db")).unwrap();
        let (layer, queue) = log_layer();
        let writer = queue.write_to(database.clone()).unwrap();
        // All of them are old enough to be deleted, once they are there.
        let row = LogRow {
            timestamp: "2001-01-01T00:00:00Z".into(),
            level: 2,
            topic: "Status".into(),
            user: String::new(),
            session: String::new(),
            message: "x".into(),
        };
        let written = (0..BATCH / 2).any(|_| {
            layer.sender.send(row.clone()).unwrap();
            std::thread::sleep(GATHER / 10);
            database.purge_log(1, Now::get().utc_ms).unwrap() > 0
        });
        writer.finish();
        assert!(written);
    }
}
