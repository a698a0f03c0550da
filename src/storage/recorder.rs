//! Recordings of sessions (`--record`), written by a thread of their own. Source: docs/spec/storage.md#recordings.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use drawhall_protocol::message::{FeatureAccessLevels, FeatureLimits};
use drawhall_protocol::recording::Header;
use drawhall_protocol::recording::dprec::header_bytes;
use drawhall_protocol::{Frame, ProtocolVersion};
use jiff::civil::DateTime;

use super::private;
use super::session_files::Chunk;

/// Bytes that may wait for the disk before a recording is given up.
const MAX_WAITING: usize = 64 << 20;
/// How long what was recorded may stay in a buffer.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

enum Command {
    Begin { key: u64, path: PathBuf, protocol: ProtocolVersion, parts: Vec<Chunk> },
    Write { key: u64, bytes: Vec<u8>, waiting: Arc<AtomicUsize> },
    End { key: u64 },
    Stop,
}

/// Writes recordings.
#[derive(Debug)]
pub struct Recorder {
    pattern: String,
    sender: Sender<Command>,
    thread: Mutex<Option<JoinHandle<()>>>,
    next_key: AtomicU64,
}

/// The recording of one session. It ends when this is dropped.
#[derive(Debug)]
pub struct Recording {
    key: u64,
    path: PathBuf,
    sender: Sender<Command>,
    waiting: Arc<AtomicUsize>,
    given_up: AtomicBool,
}

impl Recorder {
    /// Starts the thread; `pattern` is where recordings go, with placeholders.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(pattern: &str) -> io::Result<Recorder> {
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new().name("record".into()).spawn(move || run(&receiver))?;
        let thread = Mutex::new(Some(thread));
        Ok(Recorder { pattern: pattern.to_owned(), sender, thread, next_key: AtomicU64::new(0) })
    }

    /// The recording of a session; nothing is written before it begins.
    pub fn recording(&self, id: &str, alias: &str) -> Recording {
        let home = std::env::var("HOME").unwrap_or_default();
        Recording {
            key: self.next_key.fetch_add(1, Ordering::Relaxed),
            path: expand(&self.pattern, &home, id, alias, jiff::ZonedDateTime::now().datetime()),
            sender: self.sender.clone(),
            waiting: Arc::default(),
            given_up: AtomicBool::new(false),
        }
    }

    /// Ends all recordings and waits until they are written.
    pub fn stop(&self) {
        // If the thread is gone there is nothing to wait for.
        let _ = self.sender.send(Command::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Recording {
    /// Begins a new file with everything that is in the history; an earlier one is complete.
    pub fn begin(&self, protocol: &ProtocolVersion, parts: Vec<Chunk>) {
        let (path, protocol) = (self.path.clone(), protocol.clone());
        self.send(Command::Begin { key: self.key, path, protocol, parts });
    }

    /// Adds messages.
    pub fn write(&self, bytes: Vec<u8>) {
        if self.given_up.load(Ordering::Relaxed) {
            return;
        }
        if self.waiting.fetch_add(bytes.len(), Ordering::AcqRel) > MAX_WAITING {
            tracing::warn!("recording to {} given up: the disk is too slow", self.path.display());
            self.given_up.store(true, Ordering::Relaxed);
            return self.send(Command::End { key: self.key });
        }
        self.send(Command::Write { key: self.key, bytes, waiting: self.waiting.clone() });
    }

    fn send(&self, command: Command) {
        // Without the thread there are no recordings; it said why.
        let _ = self.sender.send(command);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.send(Command::End { key: self.key });
    }
}

/// The directory that recordings of a pattern go to, as far as it does not depend on the session.
pub fn folder_of(pattern: &str) -> PathBuf {
    let home = std::env::var("HOME").unwrap_or_default();
    let whole = expand(pattern, &home, "%i", "%a", jiff::ZonedDateTime::now().datetime());
    let folder = if pattern.contains('%') || !Path::new(pattern).is_dir() { whole.parent() } else { None };
    let fixed = folder
        .unwrap_or(Path::new(pattern))
        .components()
        .take_while(|part| !part.as_os_str().to_string_lossy().contains('%'));
    fixed.collect()
}

/// Makes that directory, and looks whether it can be written to.
///
/// # Errors
/// When it cannot.
pub fn check_folder(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() {
        return Ok(());
    }
    private::make_directory(folder)?;
    Ok(rustix::fs::access(folder, rustix::fs::Access::WRITE_OK)?)
}

/// The name of a recording: placeholders replaced in this order, a directory completed.
fn expand(pattern: &str, home: &str, id: &str, alias: &str, now: DateTime) -> PathBuf {
    let pattern = match pattern.strip_prefix("~/") {
        Some(rest) => format!("{home}/{rest}"),
        None => pattern.to_owned(),
    };
    let pattern = if Path::new(&pattern).is_dir() {
        format!("{}/%d %t session %i.dprec", pattern.trim_end_matches('/'))
    } else {
        pattern
    };
    let date = now.strftime("%Y-%m-%d").to_string();
    let time = now.strftime("%H.%M.%S").to_string();
    let alias = if alias.is_empty() { id } else { alias };
    let values = [("%d", date.as_str()), ("%t", &time), ("%h", &time), ("%i", id), ("%a", alias)];
    values.iter().fold(pattern, |name, (placeholder, value)| name.replace(placeholder, value)).into()
}

/// Names to try, one after the other, until one is free.
fn candidates(path: &Path) -> impl Iterator<Item = PathBuf> {
    let name = path.to_string_lossy().into_owned();
    let has_extension = name.to_ascii_lowercase().ends_with(".dprec");
    let (stem, extension) =
        if has_extension { name.split_at(name.len() - ".dprec".len()) } else { (name.as_str(), ".dprec") };
    let (stem, extension) = (stem.to_owned(), extension.to_owned());
    let second = (!has_extension).then(|| PathBuf::from(format!("{stem}{extension}")));
    let numbered = (1u32..).map(move |n| PathBuf::from(format!("{stem} ({n}){extension}")));
    [path.to_owned()].into_iter().chain(second).chain(numbered)
}

fn run(receiver: &Receiver<Command>) {
    let mut files: HashMap<u64, (PathBuf, BufWriter<File>)> = HashMap::new();
    loop {
        let done = match receiver.recv_timeout(FLUSH_INTERVAL) {
            Ok(Command::Begin { key, path, protocol, parts }) => {
                finish(files.remove(&key));
                match begin(&path, &protocol, &parts) {
                    Ok(file) => drop(files.insert(key, file)),
                    Err((path, error)) => tracing::warn!(%error, "cannot record to {}", path.display()),
                }
                continue;
            }
            Ok(Command::Write { key, bytes, waiting }) => {
                waiting.fetch_sub(bytes.len(), Ordering::AcqRel);
                let written = files.get_mut(&key).map_or(Ok(()), |(_, file)| file.write_all(&bytes));
                written.map_err(|error| (key, error))
            }
            Ok(Command::End { key }) => {
                finish(files.remove(&key));
                continue;
            }
            Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let mut flushed =
                    files.iter_mut().map(|(key, (_, file))| file.flush().map_err(|e| (*key, e)));
                flushed.find(Result::is_err).unwrap_or(Ok(()))
            }
        };
        if let Err((key, error)) = done
            && let Some((path, file)) = files.remove(&key)
        {
            tracing::warn!(%error, "recording to {} given up", path.display());
            // What is in the buffer could not be written either.
            drop(file.into_parts());
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
    parts: &[Chunk],
) -> Result<(PathBuf, BufWriter<File>), Failure> {
    if let Some(parent) = path.parent() {
        private::make_directory(parent).map_err(|e| (parent.to_owned(), e))?;
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
    match write_opening(&mut file, protocol, parts) {
        Ok(()) => Ok((path, file)),
        Err(error) => {
            drop(file.into_parts());
            Err((path, error))
        }
    }
}

fn write_opening(file: &mut impl Write, protocol: &ProtocolVersion, parts: &[Chunk]) -> io::Result<()> {
    let mut header = Header::of_version(protocol);
    header.set("server-recording", "true");
    file.write_all(&header_bytes(&header).map_err(io::Error::other)?)?;
    // Everything is allowed, so that playback leaves nothing out.
    let access = Frame::new(FeatureAccessLevels::TYPE, 0, &[3; 12]).map_err(io::Error::other)?;
    let limits = Frame::new(FeatureLimits::TYPE, 0, &[0xff; 16]).map_err(io::Error::other)?;
    file.write_all(access.as_bytes())?;
    file.write_all(limits.as_bytes())?;
    for block in parts.iter().flat_map(Chunk::blocks) {
        file.write_all(&block.map_err(io::Error::other)?)?;
    }
    Ok(())
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
    fn all_placeholders_are_replaced_and_nothing_else() {
        assert_eq!(
            named("/x/%a %d %t %h %i %%.dprec", "al"),
            "/x/al 2026-01-02 03.04.05 03.04.05 id7 %%.dprec"
        );
        assert_eq!(named("/x/%a%a %q", ""), "/x/id7id7 %q");
        assert_eq!(named("~/rec/%i", ""), "/home/me/rec/id7");
        assert_eq!(named("/x/~/y", ""), "/x/~/y");
    }

    #[test]
    fn in_a_directory_the_name_says_when_and_which() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        for pattern in [path.to_owned(), format!("{path}/")] {
            assert_eq!(named(&pattern, "al"), format!("{path}/2026-01-02 03.04.05 session id7.dprec"));
        }
    }

    #[test]
    fn the_directory_of_recordings_is_known_before_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        assert_eq!(folder_of(path), folder.path());
        assert_eq!(folder_of(&format!("{path}/new/%i.dprec")), folder.path().join("new"));
        assert_eq!(folder_of(&format!("{path}/a/%a/x.dprec")), folder.path().join("a"));
        assert_eq!(folder_of("%i.dprec"), Path::new(""));
        check_folder(&folder.path().join("made")).unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(check_folder(&folder.path().join("file/x")).is_err());
    }

    #[test]
    fn a_taken_name_gets_a_number() {
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
    fn a_recording_begins_with_everything_allowed_and_the_history_so_far() {
        let folder = tempfile::tempdir().unwrap();
        let pattern = folder.path().join("new/dir/%i.dprec");
        let recorder = Recorder::start(pattern.to_str().unwrap()).unwrap();
        let recording = recorder.recording("id", "");
        let version = ProtocolVersion::dp(4, 24, 0);
        let message = Frame::new(129, 1, &[0; 16]).unwrap();
        recording.begin(&version, vec![Chunk::Memory(message.clone().into_bytes())]);
        recording.write(Frame::new(148, 1, b"x").unwrap().as_bytes().to_vec());
        recording.begin(&version, vec![Chunk::Memory(message.into_bytes())]);
        drop(recording);
        recorder.stop();
        let (header, kinds) = types(&folder.path().join("new/dir/id.dprec"));
        let expected = [("version", "dp:4.24.0"), ("server-recording", "true")];
        assert_eq!(header, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(kinds, [70, 77, 129, 148]);
        assert_eq!(types(&folder.path().join("new/dir/id (1).dprec")).1, [70, 77, 129]);
    }

    #[test]
    fn what_cannot_be_recorded_is_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let pattern = folder.path().join("file/x/%i.dprec");
        let recorder = Recorder::start(pattern.to_str().unwrap()).unwrap();
        let recording = recorder.recording("id", "");
        recording.begin(&ProtocolVersion::dp(4, 24, 0), Vec::new());
        recording.write(vec![1, 2, 3]);
        recorder.stop();
        recording.write(vec![1, 2, 3]);
    }
}
