//! Recordings of sessions (`--record`), written on a thread of their own. Source: docs/spec/storage.md#recordings.

pub(super) mod files;
mod recordings;

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use drawhall_protocol::message::{FeatureAccessLevels, FeatureLimits};
use drawhall_protocol::recording::Header;
use drawhall_protocol::recording::dprec::header_bytes;
use drawhall_protocol::{Frame, ProtocolVersion};
use jiff::civil::DateTime;
use parking_lot::Mutex;

use super::private;
use super::session_files::blocks;
use crate::background::{BackgroundThread, Popped, Queue, QueueLimits};
use crate::history::Chunk;
use files::{EXTENSION, without_extension};
pub use recordings::{MAX_LISTED, ReadError, RecordingFile, RecordingList};

/// Bytes that may be queued for the disk; with more, the recording is aborted.
const MAX_QUEUED_BYTES: usize = 64 << 20;
/// Member of the header of recordings that a server makes.
const SERVER_RECORDING: &str = "server-recording";
/// Interval at which buffers are flushed to the files.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum Command {
    Begin { key: u64, path: PathBuf, protocol: ProtocolVersion, chunks: Vec<Chunk> },
    Write { key: u64, bytes: Vec<u8>, queued_bytes: Arc<AtomicUsize> },
    End { key: u64 },
}

/// The thread that writes recordings.
#[derive(Debug)]
pub struct Recorder {
    pattern: String,
    /// Each recording bounds what it has queued; no `Begin` or `End` may be lost.
    thread: BackgroundThread<Command>,
    next_key: AtomicU64,
    open: OpenFiles,
}

/// Paths of the files that are being written.
type OpenFiles = Arc<Mutex<HashSet<PathBuf>>>;

/// The recording of one session. It ends when this is dropped.
#[derive(Debug)]
pub struct Recording {
    key: u64,
    path: PathBuf,
    queue: Queue<Command>,
    queued_bytes: Arc<AtomicUsize>,
    aborted: AtomicBool,
}

impl Recorder {
    /// Starts the thread. `pattern` is the path of recordings, with placeholders.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(pattern: &str) -> io::Result<Recorder> {
        let open = OpenFiles::default();
        let files = open.clone();
        let run = move |queue: &Queue<Command>| run(queue, &files);
        let thread = BackgroundThread::start("record", Queue::new(QueueLimits::BY_SENDERS), run)?;
        Ok(Recorder { pattern: pattern.to_owned(), thread, next_key: AtomicU64::new(0), open })
    }

    /// The directory of recordings, up to the first component that depends on the session.
    pub fn directory(&self) -> PathBuf {
        directory_of(&self.pattern)
    }

    /// The recording of a session; no file is created before [`Recording::begin`].
    pub fn recording(&self, id: &str, alias: &str) -> Recording {
        Recording {
            key: self.next_key.fetch_add(1, Ordering::Relaxed),
            path: expand(&self.pattern, &home(), id, alias, jiff::ZonedDateTime::now().datetime()),
            queue: self.thread.queue().clone(),
            queued_bytes: Arc::default(),
            aborted: AtomicBool::new(false),
        }
    }

    /// Ends all recordings; blocks until they are written.
    pub fn stop(&self) {
        self.thread.stop();
    }
}

impl Recording {
    /// Starts a new file with the whole history; an earlier file is complete then.
    pub fn begin(&self, protocol: &ProtocolVersion, chunks: Vec<Chunk>) {
        let (path, protocol) = (self.path.clone(), protocol.clone());
        self.send(Command::Begin { key: self.key, path, protocol, chunks });
    }

    /// Appends messages.
    pub fn write(&self, bytes: Vec<u8>) {
        if self.aborted.load(Ordering::Relaxed) {
            return;
        }
        if self.queued_bytes.fetch_add(bytes.len(), Ordering::AcqRel) > MAX_QUEUED_BYTES {
            tracing::warn!("recording to {} aborted: the disk is too slow", self.path.display());
            self.aborted.store(true, Ordering::Relaxed);
            return self.send(Command::End { key: self.key });
        }
        self.send(Command::Write { key: self.key, bytes, queued_bytes: self.queued_bytes.clone() });
    }

    fn send(&self, command: Command) {
        // An error means that the thread has ended.
        let _ = self.queue.try_push(command, 0);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.send(Command::End { key: self.key });
    }
}

/// The directory of recordings, up to the first component that depends on the session.
pub fn directory_of(pattern: &str) -> PathBuf {
    let expanded = expand(pattern, &home(), "%i", "%a", jiff::ZonedDateTime::now().datetime());
    let dir = if pattern.contains('%') || !Path::new(pattern).is_dir() { expanded.parent() } else { None };
    let fixed = dir
        .unwrap_or(Path::new(pattern))
        .components()
        .take_while(|component| !component.as_os_str().to_string_lossy().contains('%'));
    fixed.collect()
}

/// Creates the directory and checks that it is writable.
///
/// # Errors
/// When it cannot be created or written to.
pub fn prepare_directory(dir: &Path) -> io::Result<()> {
    if dir.as_os_str().is_empty() {
        return Ok(());
    }
    private::create_directory(dir)?;
    Ok(rustix::fs::access(dir, rustix::fs::Access::WRITE_OK)?)
}

fn home() -> String {
    std::env::var("HOME").unwrap_or_default()
}

/// The pattern of whole paths: for a directory, a file name is added.
fn completed(pattern: &str, home: &str) -> String {
    let pattern = match pattern.strip_prefix("~/") {
        Some(relative) => format!("{home}/{relative}"),
        None => pattern.to_owned(),
    };
    if Path::new(&pattern).is_dir() {
        format!("{}/%d %t session %i.dprec", pattern.trim_end_matches('/'))
    } else {
        pattern
    }
}

/// The path of a recording. Placeholders are replaced in a fixed order.
fn expand(pattern: &str, home: &str, id: &str, alias: &str, now: DateTime) -> PathBuf {
    let pattern = completed(pattern, home);
    let date = now.strftime("%Y-%m-%d").to_string();
    let time = now.strftime("%H.%M.%S").to_string();
    let alias = if alias.is_empty() { id } else { alias };
    let values = [("%d", date.as_str()), ("%t", &time), ("%h", &time), ("%i", id), ("%a", alias)];
    values.iter().fold(pattern, |name, (placeholder, value)| name.replace(placeholder, value)).into()
}

/// Paths to try until one is free.
fn candidates(path: &Path) -> impl Iterator<Item = PathBuf> {
    let name = path.to_string_lossy().into_owned();
    let (stem, extension) = name.split_at(without_extension(&name).len());
    let has_extension = !extension.is_empty();
    let extension = if has_extension { extension } else { EXTENSION };
    let (stem, extension) = (stem.to_owned(), extension.to_owned());
    let second = (!has_extension).then(|| PathBuf::from(format!("{stem}{extension}")));
    let numbered = (1u32..).map(move |n| PathBuf::from(format!("{stem} ({n}){extension}")));
    [path.to_owned()].into_iter().chain(second).chain(numbered)
}

/// Files that are being written, by the key of their recording.
type Files = HashMap<u64, (PathBuf, BufWriter<File>)>;

fn paths_of(files: &Files) -> HashSet<PathBuf> {
    files.values().map(|(path, _)| path.clone()).collect()
}

fn run(queue: &Queue<Command>, open: &OpenFiles) {
    let mut files = Files::new();
    loop {
        let done = match queue.pop_timeout(FLUSH_INTERVAL) {
            Popped::Item(Command::Begin { key, path, protocol, chunks }) => {
                // Until it is done, the new file is not taken for one that is complete.
                let mut open = open.lock();
                finish(files.remove(&key));
                match begin(&path, &protocol, &chunks) {
                    Ok(file) => drop(files.insert(key, file)),
                    Err((path, error)) => tracing::warn!(%error, "cannot record to {}", path.display()),
                }
                *open = paths_of(&files);
                continue;
            }
            Popped::Item(Command::Write { key, bytes, queued_bytes }) => {
                queued_bytes.fetch_sub(bytes.len(), Ordering::AcqRel);
                let written = files.get_mut(&key).map_or(Ok(()), |(_, file)| file.write_all(&bytes));
                written.map_err(|error| (key, error))
            }
            Popped::Item(Command::End { key }) => {
                finish(files.remove(&key));
                *open.lock() = paths_of(&files);
                continue;
            }
            Popped::Closed => break,
            Popped::Timeout => {
                let mut flushed =
                    files.iter_mut().map(|(key, (_, file))| file.flush().map_err(|e| (*key, e)));
                flushed.find(Result::is_err).unwrap_or(Ok(()))
            }
        };
        if let Err((key, error)) = done
            && let Some((path, file)) = files.remove(&key)
        {
            tracing::warn!(%error, "recording to {} aborted", path.display());
            // The buffer could not be written either.
            drop(file.into_parts());
            *open.lock() = paths_of(&files);
        }
    }
    files.into_values().for_each(|file| finish(Some(file)));
}

fn finish(file: Option<(PathBuf, BufWriter<File>)>) {
    if let Some((path, mut file)) = file
        && let Err(error) = file.flush()
    {
        tracing::warn!(%error, "the end of the recording {} is missing", path.display());
    }
}

type Failure = (PathBuf, io::Error);

fn begin(
    path: &Path,
    protocol: &ProtocolVersion,
    chunks: &[Chunk],
) -> Result<(PathBuf, BufWriter<File>), Failure> {
    if let Some(parent) = path.parent() {
        private::create_directory(parent).map_err(|e| (parent.to_owned(), e))?;
    }
    let mut candidates = candidates(path);
    let (path, file) = loop {
        let Some(candidate) = candidates.next() else {
            return Err((path.to_owned(), io::ErrorKind::AlreadyExists.into()));
        };
        match OpenOptions::new().write(true).create_new(true).open(&candidate) {
            Ok(file) => break (candidate, file),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err((candidate, error)),
        }
    };
    let mut file = BufWriter::with_capacity(64 << 10, file);
    match write_header(&mut file, protocol, chunks) {
        Ok(()) => Ok((path, file)),
        Err(error) => {
            drop(file.into_parts());
            Err((path, error))
        }
    }
}

fn write_header(file: &mut impl Write, protocol: &ProtocolVersion, chunks: &[Chunk]) -> io::Result<()> {
    let mut header = Header::of_version(protocol);
    header.set(SERVER_RECORDING, "true");
    file.write_all(&header_bytes(&header).map_err(io::Error::other)?)?;
    // Grant every feature to everybody, so that playback ignores no message.
    let access = Frame::new(FeatureAccessLevels::TYPE, 0, &[3; 12]).map_err(io::Error::other)?;
    let limits = Frame::new(FeatureLimits::TYPE, 0, &[0xff; 16]).map_err(io::Error::other)?;
    file.write_all(access.as_bytes())?;
    file.write_all(limits.as_bytes())?;
    for block in chunks.iter().flat_map(blocks) {
        file.write_all(&block.map_err(io::Error::other)?)?;
    }
    // From here on it is listed.
    file.flush()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use drawhall_protocol::recording::dprec::DprecReader;

    use super::*;

    fn moment() -> DateTime {
        jiff::civil::date(2026, 1, 2).at(3, 4, 5, 0)
    }

    fn named(pattern: &str, alias: &str) -> String {
        expand(pattern, "/home/me", "id7", alias, moment()).to_string_lossy().into_owned()
    }

    #[test]
    fn placeholders_in_the_pattern_are_replaced() {
        assert_eq!(
            named("/x/%a %d %t %h %i %%.dprec", "al"),
            "/x/al 2026-01-02 03.04.05 03.04.05 id7 %%.dprec"
        );
        assert_eq!(named("/x/%a%a %q", ""), "/x/id7id7 %q");
        assert_eq!(named("~/rec/%i", ""), "/home/me/rec/id7");
        assert_eq!(named("/x/~/y", ""), "/x/~/y");
    }

    #[test]
    fn in_a_directory_the_file_name_has_time_and_session_id() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        for pattern in [path.to_owned(), format!("{path}/")] {
            assert_eq!(named(&pattern, "al"), format!("{path}/2026-01-02 03.04.05 session id7.dprec"));
        }
    }

    #[test]
    fn the_directory_is_created_before_the_first_recording() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        assert_eq!(directory_of(path), dir.path());
        assert_eq!(directory_of(&format!("{path}/new/%i.dprec")), dir.path().join("new"));
        assert_eq!(directory_of(&format!("{path}/a/%a/x.dprec")), dir.path().join("a"));
        assert_eq!(directory_of("%i.dprec"), Path::new(""));
        prepare_directory(&dir.path().join("made")).unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(prepare_directory(&dir.path().join("file/x")).is_err());
    }

    #[test]
    fn an_existing_file_is_avoided_by_a_number() {
        let names = |name: &str| -> Vec<String> {
            candidates(Path::new(name)).take(3).map(|p| p.to_string_lossy().into_owned()).collect()
        };
        assert_eq!(names("d/x.DPREC"), ["d/x.DPREC", "d/x (1).DPREC", "d/x (2).DPREC"]);
        assert_eq!(names("d/x"), ["d/x", "d/x.dprec", "d/x (1).dprec"]);
    }

    fn types(path: &Path) -> (Vec<(String, String)>, Vec<u8>) {
        let mut reader = DprecReader::new(File::open(path).unwrap()).unwrap();
        let mut types = Vec::new();
        while let Some(frame) = reader.next_frame().unwrap() {
            types.push(frame.header().kind);
        }
        (reader.header().members().to_vec(), types)
    }

    #[test]
    fn a_recording_starts_with_all_features_granted_and_the_history() {
        let dir = tempfile::tempdir().unwrap();
        let pattern = dir.path().join("new/dir/%i.dprec");
        let recorder = Recorder::start(pattern.to_str().unwrap()).unwrap();
        let recording = recorder.recording("id", "");
        let version = ProtocolVersion::dp(4, 24, 0);
        let message = Frame::new(129, 1, &[0; 16]).unwrap();
        recording.begin(&version, vec![Chunk::Memory(message.clone().into_bytes())]);
        recording.write(Frame::new(148, 1, b"x").unwrap().as_bytes().to_vec());
        recording.begin(&version, vec![Chunk::Memory(message.into_bytes())]);
        drop(recording);
        recorder.stop();
        let (header, kinds) = types(&dir.path().join("new/dir/id.dprec"));
        let expected = [("version", "dp:4.24.0"), ("server-recording", "true")];
        assert_eq!(header, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(kinds, [70, 77, 129, 148]);
        assert_eq!(types(&dir.path().join("new/dir/id (1).dprec")).1, [70, 77, 129]);
    }

    #[test]
    fn a_failed_recording_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let pattern = dir.path().join("file/x/%i.dprec");
        let recorder = Recorder::start(pattern.to_str().unwrap()).unwrap();
        let recording = recorder.recording("id", "");
        recording.begin(&ProtocolVersion::dp(4, 24, 0), Vec::new());
        recording.write(vec![1, 2, 3]);
        recorder.stop();
        recording.write(vec![1, 2, 3]);
    }
}
