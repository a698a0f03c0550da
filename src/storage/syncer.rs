//! Fsync of written files, in groups, on a thread of its own.
//!
//! Written data survives a crash of the process at once, and a crash of the machine after the next fsync. A file
//! whose fsync failed is poisoned: the kernel may have dropped the pages it could not write and marked them clean, so
//! a later fsync that succeeds proves nothing. Poisoned files are replaced by new ones.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::background::{BackgroundThread, Queue, QueueLimits};

/// An open file that is queued for fsync after writes, and is poisoned when an fsync fails.
#[derive(Debug)]
pub struct SyncFile {
    pub(super) file: File,
    path: PathBuf,
    queued: AtomicBool,
    failed: AtomicBool,
}

impl SyncFile {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be opened with these options.
    pub fn open(options: &OpenOptions, path: &Path) -> io::Result<Arc<SyncFile>> {
        Ok(SyncFile::from_file(options.open(path)?, path))
    }

    /// Wraps an open file; `path` is its name, perhaps only after a pending rename.
    pub(super) fn from_file(file: File, path: &Path) -> Arc<SyncFile> {
        let (queued, failed) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(SyncFile { file, path: path.to_owned(), queued, failed })
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether an fsync of this file has ever failed.
    pub fn is_poisoned(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Calls fsync (fdatasync) now; blocks.
    ///
    /// # Errors
    /// When it fails; the file is poisoned from then on.
    pub fn sync(&self) -> io::Result<()> {
        self.queued.store(false, Ordering::Release);
        self.file.sync_data().inspect_err(|_| self.failed.store(true, Ordering::Release))
    }
}

/// Calls fsync on files some time after they were written.
#[derive(Debug)]
pub struct Syncer {
    /// Bounded by the number of open files: each is queued once.
    thread: BackgroundThread<Arc<SyncFile>>,
    interval_ms: Arc<AtomicU64>,
}

impl Syncer {
    /// Starts the thread; `interval` is the time between two rounds of fsync.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(interval: Duration) -> io::Result<Syncer> {
        let interval_ms = Arc::new(AtomicU64::new(interval.as_millis() as u64));
        let in_thread = interval_ms.clone();
        let queue = Queue::new(QueueLimits::BY_SENDERS);
        let thread = BackgroundThread::start("sync", queue, move |queue| run(queue, &in_thread))?;
        Ok(Syncer { thread, interval_ms })
    }

    /// Sets the time between two rounds. Zero means an fsync after every batch, before its messages are sent to
    /// clients.
    pub fn set_interval(&self, interval: Duration) {
        self.interval_ms.store(interval.as_millis() as u64, Ordering::Release);
    }

    /// Whether there is an fsync after every batch.
    pub fn syncs_every_batch(&self) -> bool {
        self.interval_ms.load(Ordering::Acquire) == 0
    }

    /// Queues a written file for the next round of fsync.
    pub fn queue(&self, file: &Arc<SyncFile>) {
        if !file.queued.swap(true, Ordering::AcqRel) {
            // An error means that the thread has ended.
            let _ = self.thread.queue().try_push(file.clone(), 0);
        }
    }

    /// Calls fsync on all queued files and ends the thread; blocks.
    pub fn stop(&self) {
        self.thread.stop();
    }
}

fn run(queue: &Queue<Arc<SyncFile>>, interval_ms: &AtomicU64) {
    loop {
        // Files written within the interval share one round of fsync.
        queue.wait_for_item();
        let interval = Duration::from_millis(interval_ms.load(Ordering::Acquire));
        let files = queue.pop_batch(interval, usize::MAX);
        if files.is_empty() {
            return;
        }
        for file in files {
            if let Err(error) = file.sync() {
                tracing::error!(%error, "cannot fsync {}", file.path().display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, Arc<SyncFile>) {
        let dir = tempfile::tempdir().unwrap();
        let mut options = OpenOptions::new();
        let path = dir.path().join("file");
        let file = SyncFile::open(options.write(true).create(true), &path).unwrap();
        (dir, file)
    }

    #[test]
    fn stopping_calls_fsync_on_queued_files() {
        let (_folder, file) = file();
        let syncer = Syncer::start(Duration::from_secs(3600)).unwrap();
        syncer.queue(&file);
        assert!(file.queued.load(Ordering::Acquire));
        syncer.stop();
        assert!(!file.queued.load(Ordering::Acquire) && !file.is_poisoned());
    }

    #[test]
    fn a_file_is_queued_once() {
        let (_folder, file) = file();
        let syncer = Syncer::start(Duration::from_secs(3600)).unwrap();
        for _ in 0..10 {
            syncer.queue(&file);
        }
        assert_eq!(syncer.thread.queue().len(), 1);
    }

    #[test]
    fn a_file_whose_fsync_fails_is_poisoned() {
        // /dev/null does not support fsync.
        let mut options = OpenOptions::new();
        let file = SyncFile::open(options.write(true), Path::new("/dev/null")).unwrap();
        assert!(file.sync().is_err());
        assert!(file.is_poisoned());
    }

    #[test]
    fn interval_zero_means_fsync_after_every_batch() {
        let syncer = Syncer::start(Duration::ZERO).unwrap();
        assert!(syncer.syncs_every_batch());
        syncer.set_interval(Duration::from_millis(100));
        assert!(!syncer.syncs_every_batch());
    }
}
