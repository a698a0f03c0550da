//! Pictures as the content of sessions. A child process (`drawhall canvas import`) makes messages of them.
//!
//! The server never decodes pixels itself. The child has nothing but its pipes, and limits of time and memory. Whatever
//! happens in it is an error here, never more. What it answers is checked before it is used.

use std::io::{self, Read, Write as _};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::frame::{Frames, frames};

use crate::child_process::{ChildGroup, MAX_REPORT, failure, report_lines};
use crate::metrics::Metrics;
use crate::rules::template::Messages;

/// Maximum size of a picture in bytes.
pub const MAX_PICTURE: usize = 64 << 20;
/// Maximum size of the messages of a picture in bytes, where a session has no limit of its own.
pub const MAX_MESSAGES: u64 = 256 << 20;
/// Exit status of `drawhall canvas` when the input is refused; 1 is a failure.
pub const EXIT_REFUSED: u8 = 3;
/// Extensions of files that are pictures, in lower case.
pub const EXTENSIONS: [&str; 2] = [".png", ".ora"];
/// Time that the child may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How often it is looked whether the child has ended, once it has closed its standard output.
const EXIT_POLL: Duration = Duration::from_millis(2);

/// Why there are no messages of a picture.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The picture is too large.
    #[error("the picture is larger than {} MiB", MAX_PICTURE >> 20)]
    TooLarge,
    /// The picture cannot be read, or its messages are too large.
    #[error("{0}")]
    Refused(String),
    /// The child was not started.
    #[error("the process that reads pictures cannot be started: {0}")]
    Start(io::Error),
    /// The child took too long.
    #[error("reading the picture took more than {} s", TIMEOUT.as_secs())]
    Timeout,
    /// The child ended without an answer, or with a wrong one.
    #[error("the process that reads pictures failed: {0}")]
    Failed(String),
}

/// What is wanted of a picture.
#[derive(Debug, Clone)]
pub struct PictureJob {
    /// Protocol version of the session.
    pub protocol: ProtocolVersion,
    /// Background where the picture has none, `0xAARRGGBB`.
    pub background: u32,
    /// Maximum size of the messages in bytes.
    pub max_bytes: u64,
}

/// Runs the child process.
#[derive(Debug, Clone, Default)]
pub struct PictureImporter {
    /// The program; this one if there is none.
    program: Option<PathBuf>,
    metrics: Arc<Metrics>,
}

/// How a child has ended, and what it wrote.
struct ChildExit {
    status: ExitStatus,
    output: Vec<u8>,
    report: Vec<u8>,
}

/// What a thread has read of a child.
enum Written {
    Output(Vec<u8>),
    Report(Vec<u8>),
}

impl PictureImporter {
    /// An importer that runs `program`, or else this program, and counts in `metrics`.
    pub fn new(program: Option<PathBuf>, metrics: Arc<Metrics>) -> PictureImporter {
        PictureImporter { program, metrics }
    }

    /// Makes the messages of a picture; blocks for seconds.
    ///
    /// # Errors
    /// When the picture cannot be read or is too large, or the child fails.
    pub fn import(&self, picture: &[u8], job: &PictureJob) -> Result<Messages, PictureError> {
        let imported = self.run(picture, job);
        self.metrics.pictures.count(match &imported {
            Ok(_) => "ok",
            Err(PictureError::TooLarge | PictureError::Refused(_)) => "refused",
            Err(PictureError::Timeout) => "timeout",
            Err(PictureError::Start(_) | PictureError::Failed(_)) => "failed",
        });
        imported
    }

    fn run(&self, picture: &[u8], job: &PictureJob) -> Result<Messages, PictureError> {
        if picture.len() > MAX_PICTURE {
            return Err(PictureError::TooLarge);
        }
        let mut child = self.start(job).map_err(PictureError::Start)?;
        answer(feed(&mut child, picture, job.max_bytes)?, job.max_bytes)
    }

    fn start(&self, job: &PictureJob) -> io::Result<ChildGroup> {
        let program = match &self.program {
            Some(program) => program.clone(),
            None => this_program()?,
        };
        let mut command = Command::new(program);
        command
            .args(["canvas", "import", "--protocol", &job.protocol.to_string()])
            .args(["--background", &format!("#{:08x}", job.background)])
            .args(["--max-bytes", &job.max_bytes.to_string()])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        ChildGroup::start(command)
    }
}

/// The file of this program. On Linux it is the one that runs, also after an update has replaced it.
pub(crate) fn this_program() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}

/// Gives the child the picture, and waits for its output and its end. Nothing is left of it then.
fn feed(child: &mut ChildGroup, picture: &[u8], max_bytes: u64) -> Result<ChildExit, PictureError> {
    let deadline = Instant::now() + TIMEOUT;
    let pipes = child.child();
    let (input, output, report) = (pipes.stdin.take(), pipes.stdout.take(), pipes.stderr.take());
    thread::scope(|scope| {
        let (read, reading) = mpsc::channel();
        let read_all = read.clone();
        if let Some(mut input) = input {
            // An error is a child that has ended; its status says why.
            scope.spawn(move || drop(input.write_all(picture)));
        }
        if let Some(output) = output {
            scope.spawn(move || read.send(Written::Output(read_to(output, max_bytes + 1))));
        }
        if let Some(report) = report {
            // A child that floods it is ended by the pipe that is closed.
            scope.spawn(move || read_all.send(Written::Report(read_to(report, MAX_REPORT))));
        }
        let written = gather(&reading, deadline).and_then(|written| {
            wait(child, deadline)?;
            Ok(written)
        });
        // The threads end when its pipes are closed.
        let status = child.end();
        let (output, report) = written?;
        let status = status.map_err(|error| PictureError::Failed(error.to_string()))?;
        Ok(ChildExit { status, output, report })
    })
}

/// Waits for the output and the report.
fn gather(reading: &Receiver<Written>, deadline: Instant) -> Result<(Vec<u8>, Vec<u8>), PictureError> {
    let (mut bytes, mut lines) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let left = deadline.saturating_duration_since(Instant::now());
        match reading.recv_timeout(left).map_err(|_| PictureError::Timeout)? {
            Written::Output(output) => bytes = output,
            Written::Report(report) => lines = report,
        }
    }
    Ok((bytes, lines))
}

/// Reads up to `max` bytes. What cannot be read is missing, and the status of the child says why.
fn read_to(pipe: impl Read, max: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = pipe.take(max).read_to_end(&mut bytes);
    bytes
}

/// Waits for the end of a child that has closed its pipes.
fn wait(child: &mut ChildGroup, deadline: Instant) -> Result<(), PictureError> {
    while !child.has_ended().map_err(|error| PictureError::Failed(error.to_string()))? {
        if Instant::now() >= deadline {
            return Err(PictureError::Timeout);
        }
        thread::sleep(EXIT_POLL);
    }
    Ok(())
}

/// What a child has answered.
fn answer(ended: ChildExit, max_bytes: u64) -> Result<Messages, PictureError> {
    let mut lines = report_lines(&ended.report);
    match ended.status.code() {
        Some(0) => {}
        Some(status) if status == i32::from(EXIT_REFUSED) => {
            return Err(PictureError::Refused(lines.pop().unwrap_or_else(|| "no reason".into())));
        }
        _ => return Err(PictureError::Failed(failure(ended.status, &ended.report))),
    }
    if ended.output.len() as u64 > max_bytes {
        return Err(PictureError::Failed("it wrote more than it may".into()));
    }
    let count = content_len(frames(&ended.output))
        .ok_or_else(|| PictureError::Failed("it wrote what is no content of a session".into()))?;
    Ok(Messages { bytes: ended.output, count, warnings: lines })
}

/// The number of messages, if all are whole, of the server and opaque, so that they cannot be commands to it.
fn content_len(mut all: Frames<'_>) -> Option<u64> {
    let mut count = 0;
    for frame in all.by_ref() {
        if frame.header.user != 0 || !frame.header.is_opaque() {
            return None;
        }
        count += 1;
    }
    (count > 0 && all.rest().is_empty()).then_some(count)
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A program that does what the script says.
    fn program(script: &str) -> (tempfile::TempDir, PictureImporter) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        std::fs::write(&path, format!("#!/bin/sh\nPATH=/bin:/usr/bin\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        (dir, PictureImporter::new(Some(path), Arc::default()))
    }

    fn import(script: &str) -> Result<Messages, PictureError> {
        let (_dir, importer) = program(script);
        let job = PictureJob { protocol: ProtocolVersion::dp(4, 24, 0), background: 0, max_bytes: 1000 };
        importer.import(b"a picture", &job)
    }

    /// Writes an undo point of this user.
    fn undo_point(user: u8) -> String {
        format!("cat >/dev/null; printf '\\000\\000\\200\\{user:03o}'")
    }

    #[test]
    fn the_child_gets_the_picture_and_what_is_wanted_and_nothing_else() {
        let script = format!(
            r##"[ "$*" = "canvas import --protocol dp:4.24.0 --background #00000000 --max-bytes 1000" ] || exit 7
[ "$(cat)" = "a picture" ] || exit 8
[ -z "$HOME$USER$CARGO_MANIFEST_DIR" ] || exit 9
echo "a warning" >&2
{}"##,
            undo_point(0)
        );
        let messages = import(&script).unwrap();
        assert_eq!((messages.bytes, messages.count), (vec![0, 0, 128, 0], 1));
        assert_eq!(messages.warnings, ["a warning"]);
    }

    #[test]
    fn a_refusal_is_the_last_line_of_the_child() {
        let error = import("cat >/dev/null; echo first >&2; echo 'no \tpicture' >&2; exit 3").unwrap_err();
        assert!(matches!(&error, PictureError::Refused(text) if text.starts_with("no ")), "{error}");
    }

    #[test]
    fn a_child_that_fails_in_any_way_is_an_error() {
        for (script, expected) in [
            ("echo no sandbox >&2; exit 1".to_owned(), "exit status: 1: no sandbox"),
            ("kill -9 $$".to_owned(), "signal: 9"),
            ("echo oops >&2; kill -6 $$".to_owned(), "oops"),
            ("exit 0".to_owned(), "no content of a session"),
            (undo_point(1), "no content of a session"),
            ("printf '\\000\\000\\040\\000'".to_owned(), "no content of a session"),
            (format!("{}; printf abc", undo_point(0)), "no content of a session"),
            ("yes".to_owned(), ""),
            ("yes >&2".to_owned(), ""),
        ] {
            let error = import(&script).unwrap_err();
            assert!(matches!(error, PictureError::Failed(_)), "{script}: {error}");
            assert!(error.to_string().contains(expected), "{script}: {error}");
        }
        let nowhere = PictureImporter::new(Some("/nowhere/program".into()), Arc::default());
        let job = PictureJob { protocol: ProtocolVersion::dp(4, 24, 0), background: 0, max_bytes: 1000 };
        assert!(matches!(nowhere.import(b"", &job), Err(PictureError::Start(_))));
        assert!(matches!(nowhere.import(&vec![0; MAX_PICTURE + 1], &job), Err(PictureError::TooLarge)));
    }

    #[test]
    fn imports_are_counted_by_their_result() {
        let (_dir, importer) = program("exit 3");
        let job = PictureJob { protocol: ProtocolVersion::dp(4, 24, 0), background: 0, max_bytes: 1000 };
        assert!(importer.import(b"", &job).is_err() && importer.import(b"", &job).is_err());
        let page = importer.metrics.page(&Default::default());
        assert!(page.contains("drawhall_pictures_total{result=\"refused\"} 2"), "{page}");
    }
}
