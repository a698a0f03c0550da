//! The event log in the database: a bounded queue of log rows, and a thread that writes them in batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::{Database, DbError, LogRow};
use crate::log::Fields;
use crate::metrics::METRICS;
use crate::rules::time::{Timestamp, iso_of};

/// Maximum number of queued rows. What does not fit is only in the text log, and counted in the metrics.
const MAX_QUEUED: usize = 10_000;
/// Maximum size of the queued rows in bytes.
const MAX_QUEUED_BYTES: usize = 4 << 20;
/// Fixed cost of a row in bytes, besides its texts; for the queue and for `logMaxSize`.
pub(super) const ROW_COST: usize = 64;
/// Maximum number of rows in an in-memory database.
const MAX_IN_MEMORY: i64 = 10_000;
/// Maximum number of rows per transaction.
const BATCH: usize = 500;
/// How long to collect a batch before it is written.
const BATCH_DELAY: Duration = Duration::from_millis(200);

/// A `tracing` layer that queues events as log rows.
#[derive(Debug)]
pub struct LogLayer {
    sender: SyncSender<LogRow>,
    queued_bytes: Arc<AtomicUsize>,
}

/// The receiving half of the queue. It fills until [`LogQueue::write_to`] is called.
#[derive(Debug)]
pub struct LogQueue {
    receiver: Receiver<LogRow>,
    queued_bytes: Arc<AtomicUsize>,
}

/// Handle of the writer thread.
#[derive(Debug)]
pub struct LogWriter {
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl LogWriter {
    /// Writes what is queued and ends the thread. Blocking.
    pub fn finish(self) {
        self.stopping.store(true, Ordering::Release);
        // A panic of the thread has been reported by the panic hook.
        let _ = self.thread.join();
    }
}

/// Creates the layer and its queue.
pub fn log_layer() -> (LogLayer, LogQueue) {
    let (sender, receiver) = sync_channel(MAX_QUEUED);
    let queued_bytes = Arc::new(AtomicUsize::new(0));
    (LogLayer { sender, queued_bytes: queued_bytes.clone() }, LogQueue { receiver, queued_bytes })
}

/// Size of a row for the limits, in bytes.
fn cost(row: &LogRow) -> usize {
    ROW_COST + row.user.len() + row.session.len() + row.message.len()
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
            timestamp: iso_of(Timestamp::now().utc_ms),
            level,
            topic: fields.topic().to_owned(),
            user: fields.user.clone(),
            session: fields.session.clone(),
            message: fields.text(),
        };
        // A full queue drops the event. So does one without a reader, because there is no database.
        let cost = cost(&row);
        let before = self.queued_bytes.fetch_add(cost, Ordering::AcqRel);
        METRICS.log_waiting.increment();
        if before + cost > MAX_QUEUED_BYTES || self.sender.try_send(row).is_err() {
            self.queued_bytes.fetch_sub(cost, Ordering::AcqRel);
            METRICS.log_waiting.decrement();
            METRICS.log_left_out.count();
        }
    }
}

impl LogQueue {
    /// Starts the thread that writes the queue to a database until [`LogWriter::finish`], and keeps it below `max_size` bytes
    /// (`logMaxSize`, asked for each time; 0 for no limit).
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn write_to(
        self,
        database: Database,
        max_size: impl Fn() -> u64 + Send + 'static,
    ) -> std::io::Result<LogWriter> {
        let stopping = Arc::new(AtomicBool::new(false));
        let flag = stopping.clone();
        let limiter = SizeLimiter { max_size: Box::new(max_size), size: None, warned: false };
        let thread = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || self.run(&database, limiter, &flag))?;
        Ok(LogWriter { stopping, thread })
    }

    fn run(self, database: &Database, mut limiter: SizeLimiter, stopping: &AtomicBool) {
        let mut failed = false;
        loop {
            let first = match self.receiver.recv_timeout(BATCH_DELAY) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) if !stopping.load(Ordering::Acquire) => continue,
                Err(_) => return,
            };
            let rows = self.collect_batch(first);
            let mut written = database.append_log(&rows);
            if database.is_in_memory() {
                written = written.and_then(|()| database.keep_newest_log(MAX_IN_MEMORY));
            } else {
                written = written.and_then(|()| limiter.enforce(database, &rows));
            }
            METRICS.log_errors.add(u64::from(written.is_err()));
            // Log only the first of several failures: each would be queued as well.
            if let Err(error) = &written
                && !failed
            {
                tracing::error!(%error, "cannot write the log to the database");
            }
            failed = written.is_err();
        }
    }

    /// Collects a batch: what arrives within [`BATCH_DELAY`], up to [`BATCH`] rows.
    fn collect_batch(&self, first: LogRow) -> Vec<LogRow> {
        let mut rows = vec![first];
        let due = Instant::now() + BATCH_DELAY;
        while rows.len() < BATCH
            && let Ok(row) = self.receiver.recv_timeout(due.saturating_duration_since(Instant::now()))
        {
            rows.push(row);
        }
        for row in &rows {
            METRICS.log_waiting.decrement();
            self.queued_bytes.fetch_sub(cost(row), Ordering::AcqRel);
        }
        rows
    }
}

/// Enforces `logMaxSize`.
struct SizeLimiter {
    /// `logMaxSize` in force: maximum size in bytes, 0 for none.
    max_size: Box<dyn Fn() -> u64 + Send>,
    /// Estimated size of the log in bytes, once it was measured. Too large if others have deleted rows since.
    size: Option<u64>,
    warned: bool,
}

impl SizeLimiter {
    /// Called after rows were appended. Deletes the oldest rows if the log has become too large.
    fn enforce(&mut self, database: &Database, appended: &[LogRow]) -> Result<(), DbError> {
        let limit = (self.max_size)();
        if limit == 0 {
            self.size = None;
            return Ok(());
        }
        self.size = match self.size {
            Some(size) => Some(size + appended.iter().map(|row| cost(row) as u64).sum::<u64>()),
            None => Some(database.log_size()?),
        };
        if self.size.is_none_or(|size| size <= limit) {
            return Ok(());
        }
        let size = database.log_size()?;
        self.size = Some(size);
        if size <= limit {
            return Ok(());
        }
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                "the log has reached logMaxSize: its oldest entries are deleted from now on; this is logged once"
            );
        }
        // Delete to 90 %, so that not every batch deletes.
        let deleted = database.delete_oldest_log(size - limit / 10 * 9)?;
        self.size = Some(size.saturating_sub(deleted));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::db::LogQuery;
    use crate::log::{Level, LogEntry, LogUser, Topic};

    #[test]
    fn rows_are_stored_as_the_reference_stores_them() {
        let (layer, queue) = log_layer();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let user = LogUser { id: 2, address: "192.0.2.1".parse().ok(), name: "B".into() };
            LogEntry::new(Timestamp::now(), Level::Info, Topic::Join, "Joined session")
                .about(user)
                .emit("01abc");
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
    fn finish_writes_the_whole_queue() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("x.db")).unwrap();
        let (layer, queue) = log_layer();
        let writer = queue.write_to(database.clone(), || 0).unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || (0..1000).for_each(|n| tracing::info!(n, "line")));
        writer.finish();
        assert_eq!(database.purge_log(0, 4_000_000_000_000).unwrap(), 1000);
    }

    fn row(message: &str) -> LogRow {
        let (timestamp, topic) = ("2001-01-01T00:00:00Z".into(), "Status".into());
        LogRow {
            timestamp,
            level: 2,
            topic,
            user: String::new(),
            session: String::new(),
            message: message.into(),
        }
    }

    #[test]
    fn the_queue_is_bounded_in_bytes() {
        let (layer, queue) = log_layer();
        let subscriber = tracing_subscriber::registry().with(layer);
        let long = "x".repeat(900);
        tracing::subscriber::with_default(subscriber, || (0..9000).for_each(|_| tracing::info!("{long}")));
        let waiting = queue.receiver.try_iter().count();
        assert_eq!(waiting, MAX_QUEUED_BYTES / cost(&row(&long)));
        let (layer, queue) = log_layer();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..3 {
                (0..9000).for_each(|_| tracing::info!("{long}"));
                while let Ok(first) = queue.receiver.try_recv() {
                    queue.collect_batch(first);
                }
            }
        });
        assert_eq!(queue.queued_bytes.load(Ordering::Acquire), 0, "what was taken makes room");
    }

    #[test]
    fn the_oldest_rows_are_deleted_when_the_log_is_too_large() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("config.db")).unwrap();
        let mut limiter = SizeLimiter { max_size: Box::new(|| 100 << 10), size: None, warned: false };
        for n in 0..3000 {
            let rows = [row(&format!("{n:04} {}", "x".repeat(95)))];
            database.append_log(&rows).unwrap();
            limiter.enforce(&database, &rows).unwrap();
        }
        let size = database.log_size().unwrap();
        assert!((80 << 10..=100 << 10).contains(&size), "{size}");
        let kept = database.log(&LogQuery { count: 10_000, ..LogQuery::default() }).unwrap();
        assert!(kept[0].message.starts_with("2999 "), "the newest stay");
        assert!(kept[kept.len() - 1].message.starts_with(&format!("{:04} ", 3000 - kept.len())), "in order");
    }

    #[test]
    fn rows_are_written_while_others_are_queued() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("config.db")).unwrap();
        let (layer, queue) = log_layer();
        let writer = queue.write_to(database.clone(), || 0).unwrap();
        // All rows are old enough for `purge_log`, once they are written.
        let row = row("x");
        let written = (0..BATCH / 2).any(|_| {
            layer.sender.send(row.clone()).unwrap();
            std::thread::sleep(BATCH_DELAY / 10);
            database.purge_log(1, Timestamp::now().utc_ms).unwrap() > 0
        });
        writer.finish();
        assert!(written);
    }
}
