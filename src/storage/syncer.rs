//! Forcing what was written to the disk, in groups, on a thread of its own.
//!
//! Written data survive the end of the process at once, and the end of the machine after the next round. A file that
//! could not be forced is suspect from then on: the system may have dropped what it could not write, so asking again
//! proves nothing.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A file that knows whether it still has to be forced to the disk.
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
    /// When it cannot be opened that way.
    pub fn open(options: &OpenOptions, path: &Path) -> io::Result<Arc<SyncFile>> {
        Ok(SyncFile::of(options.open(path)?, path))
    }

    /// A file that is open, under the name that it has or gets.
    pub(super) fn of(file: File, path: &Path) -> Arc<SyncFile> {
        let (queued, failed) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(SyncFile { file, path: path.to_owned(), queued, failed })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether forcing it has ever failed.
    pub fn is_poisoned(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Forces it to the disk now; blocks.
    ///
    /// # Errors
    /// When that fails; the file is suspect from then on.
    pub fn sync(&self) -> io::Result<()> {
        self.queued.store(false, Ordering::Release);
        self.file.sync_data().inspect_err(|_| self.failed.store(true, Ordering::Release))
    }
}

#[derive(Debug, Default)]
struct FsyncState {
    waiting: Vec<Arc<SyncFile>>,
    stopping: bool,
}

#[derive(Debug, Default)]
struct SyncerShared {
    state: Mutex<FsyncState>,
    changed: Condvar,
    interval_ms: AtomicU64,
}

impl SyncerShared {
    fn lock(&self) -> MutexGuard<'_, FsyncState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forces files to the disk some time after they were written to.
#[derive(Debug)]
pub struct Syncer {
    shared: Arc<SyncerShared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Syncer {
    /// Starts the thread; `interval` is the time between two rounds.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(interval: Duration) -> io::Result<Syncer> {
        let shared = Arc::new(SyncerShared::default());
        let run = shared.clone();
        let thread = std::thread::Builder::new().name("sync".into()).spawn(move || rounds(&run))?;
        let syncer = Syncer { shared, thread: Mutex::new(Some(thread)) };
        syncer.set_interval(interval);
        Ok(syncer)
    }

    /// Sets the time between two rounds. Zero means that every batch is forced before it is sent.
    pub fn set_interval(&self, interval: Duration) {
        self.shared.interval_ms.store(interval.as_millis() as u64, Ordering::Release);
    }

    /// Whether every batch is to be forced before it is sent.
    pub fn syncs_every_batch(&self) -> bool {
        self.shared.interval_ms.load(Ordering::Acquire) == 0
    }

    /// This file was written to.
    pub fn written(&self, file: &Arc<SyncFile>) {
        if !file.queued.swap(true, Ordering::AcqRel) {
            self.shared.lock().waiting.push(file.clone());
            self.shared.changed.notify_one();
        }
    }

    /// Forces what waits and ends the thread; blocks.
    pub fn stop(&self) {
        self.shared.lock().stopping = true;
        self.shared.changed.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // If it panicked there is nothing left to wait for.
            let _ = thread.join();
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn rounds(shared: &SyncerShared) {
    loop {
        let mut state = shared.lock();
        while state.waiting.is_empty() && !state.stopping {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // What is written within the interval is forced together.
        let interval = Duration::from_millis(shared.interval_ms.load(Ordering::Acquire));
        let waited = shared.changed.wait_timeout_while(state, interval, |state| !state.stopping);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let (waiting, stopping) = (std::mem::take(&mut state.waiting), state.stopping);
        drop(state);
        for file in waiting {
            if let Err(error) = file.sync() {
                tracing::error!(%error, "cannot force {} to the disk", file.path().display());
            }
        }
        if stopping {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, Arc<SyncFile>) {
        let folder = tempfile::tempdir().unwrap();
        let mut options = OpenOptions::new();
        let path = folder.path().join("file");
        let file = SyncFile::open(options.write(true).create(true), &path).unwrap();
        (folder, file)
    }

    #[test]
    fn what_was_written_is_forced_at_the_latest_when_stopping() {
        let (_folder, file) = file();
        let syncer = Syncer::start(Duration::from_secs(3600)).unwrap();
        syncer.written(&file);
        assert!(file.queued.load(Ordering::Acquire));
        syncer.stop();
        assert!(!file.queued.load(Ordering::Acquire) && !file.is_poisoned());
    }

    #[test]
    fn a_file_waits_only_once() {
        let (_folder, file) = file();
        let syncer = Syncer::start(Duration::from_secs(3600)).unwrap();
        for _ in 0..10 {
            syncer.written(&file);
        }
        assert_eq!(syncer.shared.lock().waiting.len(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_forced_is_suspect() {
        // Terminals and the like cannot be forced.
        let mut options = OpenOptions::new();
        let file = SyncFile::open(options.write(true), Path::new("/dev/null")).unwrap();
        assert!(file.sync().is_err());
        assert!(file.is_poisoned());
    }

    #[test]
    fn zero_means_every_batch() {
        let syncer = Syncer::start(Duration::ZERO).unwrap();
        assert!(syncer.syncs_every_batch());
        syncer.set_interval(Duration::from_millis(100));
        assert!(!syncer.syncs_every_batch());
    }
}
