//! The event log in the database: a bounded queue of log rows, and a thread that writes them in batches.

use std::sync::Arc;
use std::time::Duration;

use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::{Database, DbError, LogRow};
use crate::background::{BackgroundThread, Queue, QueueLimits};
use crate::log::Fields;
use crate::metrics::Metrics;
use crate::rules::network::neighbourhood;
use crate::rules::time::{DAY_MS, Timestamp, iso_of};

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

impl Database {
    /// Deletes log rows that are older than `days`. Returns their number.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn purge_log(&self, days: u32, utc_ms: i64) -> Result<usize, DbError> {
        let (before, mut after, mut deleted) = (days_ago(days, utc_ms), i64::MIN, 0);
        while let Some((last, count)) = self.backend.purge_log(after, &before, super::LOG_CHUNK)? {
            after = last;
            deleted += count;
        }
        Ok(deleted)
    }

    /// Shortens the addresses of users in log rows that are older than `days`, from a row id on. Returns the row id to
    /// continue from, and how many rows were changed.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn shorten_log_addresses(
        &self,
        mut from: i64,
        days: u32,
        utc_ms: i64,
    ) -> Result<(i64, usize), DbError> {
        let (before, mut changed) = (days_ago(days, utc_ms), 0);
        while let Some((last, count)) = self.backend.shorten_log(from, &before, super::LOG_CHUNK)? {
            from = last;
            changed += count;
        }
        Ok((from, changed))
    }
}

/// The time so many days ago, as log rows have it.
fn days_ago(days: u32, utc_ms: i64) -> String {
    iso_of(utc_ms - i64::from(days) * DAY_MS)
}

/// The user of a log row (`id;address;name`) with its address shortened to the network around it: 24 bits of IPv4, 48
/// of IPv6. Also returns both addresses; `None` if there is nothing to shorten.
pub(super) fn shortened(user: &str) -> Option<(String, String, String)> {
    let (id, rest) = user.split_once(';')?;
    let (text, name) = rest.split_once(';')?;
    let short = neighbourhood(text.parse().ok()?).addr().to_string();
    (short != text).then(|| (format!("{id};{short};{name}"), text.to_owned(), short))
}

/// A `tracing` layer that queues events as log rows.
#[derive(Debug)]
pub struct LogLayer {
    queue: Queue<LogRow>,
    metrics: Arc<Metrics>,
}

/// The queue of the layer. It fills until [`LogQueue::write_to`] is called.
#[derive(Debug)]
pub struct LogQueue {
    queue: Queue<LogRow>,
    metrics: Arc<Metrics>,
}

/// The writer thread. [`BackgroundThread::stop`] writes what is queued.
pub type LogWriter = BackgroundThread<LogRow>;

/// Creates the layer and its queue, which are counted in these metrics.
pub fn log_layer(metrics: Arc<Metrics>) -> (LogLayer, LogQueue) {
    let queue = Queue::new(QueueLimits { items: MAX_QUEUED, bytes: MAX_QUEUED_BYTES });
    (LogLayer { queue: queue.clone(), metrics: metrics.clone() }, LogQueue { queue, metrics })
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
        let mut fields = Fields::of(event);
        let row = LogRow {
            timestamp: iso_of(Timestamp::now().utc_ms),
            level,
            topic: fields.topic().to_owned(),
            user: std::mem::take(&mut fields.user),
            session: std::mem::take(&mut fields.session),
            message: fields.into_text(),
        };
        let cost = cost(&row);
        self.metrics.log_waiting.increment();
        // A full queue drops the event. So does one whose thread has ended.
        if self.queue.try_push(row, cost).is_err() {
            self.metrics.log_waiting.decrement();
            self.metrics.log_left_out.count();
        }
    }
}

impl LogQueue {
    /// Starts the thread that writes the queue to a database until it is stopped, and keeps it below `max_size` bytes
    /// (`logMaxSize`, asked for each time; 0 for no limit).
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn write_to(
        self,
        database: Database,
        max_size: impl Fn() -> u64 + Send + 'static,
    ) -> std::io::Result<LogWriter> {
        let limiter = SizeLimiter { max_size: Box::new(max_size), size: None, warned: false };
        let LogQueue { queue, metrics } = self;
        let run = move |queue: &Queue<LogRow>| write_batches(queue, &database, limiter, &metrics);
        BackgroundThread::start("log", queue, run)
    }
}

fn write_batches(queue: &Queue<LogRow>, database: &Database, mut limiter: SizeLimiter, metrics: &Metrics) {
    let mut failed = false;
    loop {
        let rows = queue.pop_batch(BATCH_DELAY, BATCH);
        if rows.is_empty() {
            return;
        }
        rows.iter().for_each(|_| metrics.log_waiting.decrement());
        let mut written = database.append_log(&rows);
        if database.is_in_memory() {
            written = written.and_then(|()| database.keep_newest_log(MAX_IN_MEMORY));
        } else {
            written = written.and_then(|()| limiter.enforce(database, &rows));
        }
        metrics.log_errors.add(u64::from(written.is_err()));
        // Log only the first of several failures: each would be queued as well.
        if let Err(error) = &written
            && !failed
        {
            tracing::error!(%error, "cannot write the log to the database");
        }
        failed = written.is_err();
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
    use std::path::Path;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::db::LogQuery;
    use crate::log::{Level, LogEntry, LogUser, Topic};

    #[test]
    fn rows_are_stored_as_the_reference_stores_them() {
        let (layer, queue) = log_layer(Arc::default());
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let user = LogUser { id: 2, address: "192.0.2.1".parse().ok(), name: "B".into() };
            LogEntry::new(Timestamp::now(), Level::Info, Topic::Join, "Joined session")
                .about(user)
                .emit("01abc");
            tracing::warn!(port = 7, "hm");
        });
        let rows = queue.queue.pop_batch(Duration::ZERO, BATCH);
        let texts: Vec<_> = rows
            .iter()
            .map(|r| (r.level, r.topic.as_str(), r.user.as_str(), r.session.as_str(), r.message.as_str()))
            .collect();
        let expected =
            [(2, "Join", "2;192.0.2.1;B", "01abc", "Joined session"), (1, "Status", "", "", "hm port=7")];
        assert_eq!(texts, expected);
    }

    #[test]
    fn stopping_writes_the_whole_queue() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("x.db")).unwrap();
        let (layer, queue) = log_layer(Arc::default());
        let writer = queue.write_to(database.clone(), || 0).unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || (0..1000).for_each(|n| tracing::info!(n, "line")));
        writer.stop();
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
        let (layer, queue) = log_layer(Arc::default());
        let subscriber = tracing_subscriber::registry().with(layer);
        let long = "x".repeat(900);
        tracing::subscriber::with_default(subscriber, || (0..9000).for_each(|_| tracing::info!("{long}")));
        assert_eq!(queue.queue.len(), MAX_QUEUED_BYTES / cost(&row(&long)));
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
    fn old_rows_are_purged_a_chunk_at_a_time() {
        let database = Database::open(Path::new(":memory:")).unwrap();
        let young = LogRow { timestamp: "2031-01-01T00:00:00Z".into(), ..row("young") };
        database.append_log(&[row("1"), young.clone(), row("2"), row("3")]).unwrap();
        let purge = |after| database.backend.purge_log(after, "2030", 2).unwrap();
        let (last, count) = purge(i64::MIN).unwrap();
        assert_eq!(count, 1, "the statement takes no longer for a large log");
        let (last, count) = purge(last).unwrap();
        assert_eq!((count, purge(last)), (2, None));
        assert_eq!(database.log(&LogQuery { count: 9, ..LogQuery::default() }).unwrap(), [young]);
    }

    #[test]
    fn rows_are_written_while_others_are_queued() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("config.db")).unwrap();
        let (layer, queue) = log_layer(Arc::default());
        let writer = queue.write_to(database.clone(), || 0).unwrap();
        // All rows are old enough for `purge_log`, once they are written.
        let row = row("x");
        let written = (0..BATCH / 2).any(|_| {
            layer.queue.try_push(row.clone(), 1).unwrap();
            std::thread::sleep(BATCH_DELAY / 10);
            database.purge_log(1, Timestamp::now().utc_ms).unwrap() > 0
        });
        writer.stop();
        assert!(written);
    }
}
