//! Pictures of sessions, made by an external program: Drawpile's `drawpile-cmd`.
//!
//! The server never draws itself. The program is given a recording as a file in a directory of its own, and what it
//! leaves there is the picture. It runs behind `drawhall canvas run`, which takes everything else from it: it can start
//! no other processes, and has limits of memory and time. Whatever happens in it is an error here, never more.

mod directory;
mod job;
mod permit;
mod queue;
mod timelapse;
mod video;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::frame::frames;
use drawhall_protocol::message::Message;
use drawhall_protocol::recording::dprec::DprecReader;

use crate::metrics::Metrics;
use crate::text;
pub use permit::RenderPermit;
use queue::Queue;
pub use timelapse::{DEFAULT_FRAMES, FRAME_MS, LAST_FRAME_MS, MAX_FRAMES, MAX_FRAMES_SIZE};
pub use video::{DEFAULT_FFMPEG, TimelapseFormat};

/// Name of the program, if no other one is wanted.
pub const DEFAULT_PROGRAM: &str = "drawpile-cmd";
/// Where the program comes from, for people.
pub const WHERE_TO_GET_IT: &str = "drawpile-cmd comes with Drawpile's tools: build Drawpile with -DTOOLS=ON, or name a \
                                   program that runs it with --canvas-renderer";
/// Maximum size of a recording in bytes.
pub const MAX_RECORDING: u64 = 300 << 20;
/// Maximum size of a picture in bytes.
const MAX_PICTURE: u64 = 256 << 20;
/// Maximum size of each file that the program writes, in bytes. A canvas file of this size can be read.
pub const MAX_FILE: u64 = 300 << 20;
/// Maximum size of everything that the program writes, in bytes.
const MAX_DISK: u64 = 1 << 30;
/// Files that the program may leave.
const MAX_FILES: usize = 1000;
/// Time that the program may take.
const TIMEOUT: Duration = Duration::from_secs(300);
/// First bytes of a PNG picture, and of a zip archive, which an OpenRaster picture is.
const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
const ZIP_SIGNATURE: &[u8] = b"PK\x03\x04";

/// Form of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// PNG: what is seen.
    Png,
    /// OpenRaster, with layers.
    Ora,
}

impl Format {
    /// Extension of files, and the program's name for it.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Png => "png",
            Format::Ora => "ora",
        }
    }

    /// Media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Format::Png => "image/png",
            Format::Ora => "image/openraster",
        }
    }

    fn signature(self) -> &'static [u8] {
        match self {
            Format::Png => PNG_SIGNATURE,
            Format::Ora => ZIP_SIGNATURE,
        }
    }
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// There is no program.
    #[error("there is no program that makes pictures of sessions. {WHERE_TO_GET_IT}")]
    NoProgram,
    /// There is no program that makes videos.
    #[error(
        "there is no program that makes videos of time-lapses: install ffmpeg on the server, or name it with --ffmpeg. \
         Animated PNG (apng) needs none"
    )]
    NoFfmpeg,
    /// The recording is too large.
    #[error("the recording is larger than {} MiB", MAX_RECORDING >> 20)]
    TooLarge,
    /// The recording has something that the program may understand differently than clients.
    #[error("no picture is made of what is not known here: {0}")]
    Unknown(String),
    /// What was made is too large to be given out.
    #[error("what was made is larger than {} MiB", MAX_PICTURE >> 20)]
    ResultTooLarge,
    /// The frames of a time-lapse, or the time-lapse itself, are too large.
    #[error("the frames of the time-lapse are too large: ask for fewer frames")]
    FramesTooLarge,
    /// No reset image can be made of the recording, or it does not look the same.
    #[error("there is no reset image: {0}")]
    Refused(String),
    /// The program was not started.
    #[error("the program that makes pictures of sessions cannot be started: {0}")]
    Start(std::io::Error),
    /// Too many wait already.
    #[error("other pictures are being made: try again when that is done")]
    Busy,
    /// There is less space on the disk of the sessions than the server keeps free.
    #[error("the disk of the sessions is nearly full (diskSpaceReserve)")]
    NoSpace,
    /// Whoever wanted it is gone: the session has ended, or the server stops.
    #[error("the picture is not wanted any more")]
    Cancelled,
    /// The program took too long.
    #[error("making the picture took more than {} s", TIMEOUT.as_secs())]
    Timeout,
    /// The program wrote too much.
    #[error("the program that makes pictures of sessions wrote more than {} MiB or {MAX_FILES} files", MAX_DISK >> 20)]
    TooMuchWritten,
    /// The program ended without a picture, or left something else.
    #[error("the program that makes pictures of sessions failed: {0}")]
    Failed(String),
}

impl RenderError {
    /// The result in the metrics.
    fn result(&self) -> &'static str {
        match self {
            RenderError::NoProgram
            | RenderError::NoFfmpeg
            | RenderError::TooLarge
            | RenderError::ResultTooLarge
            | RenderError::FramesTooLarge
            | RenderError::Unknown(_)
            | RenderError::Refused(_)
            | RenderError::Busy
            | RenderError::NoSpace
            | RenderError::Cancelled => "refused",
            RenderError::Timeout => "timeout",
            RenderError::Start(_) | RenderError::TooMuchWritten | RenderError::Failed(_) => "failed",
        }
    }
}

/// The program that makes pictures, and who may run it when.
#[derive(Debug, Clone, Default)]
pub struct Renderer {
    program: Option<PathBuf>,
    /// The program that makes videos.
    ffmpeg: Option<PathBuf>,
    /// The program that limits it (`drawhall`); this program without.
    wrapper: Option<PathBuf>,
    timeout: Option<Duration>,
    /// It does not run while somebody else wants to run it.
    only_if_idle: bool,
    metrics: Arc<Metrics>,
    queue: Arc<Queue>,
    /// There is less space on the disk than is to stay free. Clones share it.
    lacks_space: Arc<AtomicBool>,
}

impl Renderer {
    /// Runs `program`, if there is one, behind `wrapper` or else this program, and counts in `metrics`.
    pub fn new(program: Option<PathBuf>, wrapper: Option<PathBuf>, metrics: Arc<Metrics>) -> Renderer {
        Renderer { program, wrapper, metrics, ..Renderer::default() }
    }

    /// The same with another time that the program may take.
    pub fn with_timeout(self, timeout: Duration) -> Renderer {
        Renderer { timeout: Some(timeout), ..self }
    }

    /// The same with a program that makes videos of time-lapses, if there is one.
    pub fn with_ffmpeg(self, ffmpeg: Option<PathBuf>) -> Renderer {
        Renderer { ffmpeg, ..self }
    }

    /// The same for what nobody waits for: it is refused while the program runs.
    pub fn only_if_idle(self) -> Renderer {
        Renderer { only_if_idle: true, ..self }
    }

    /// Whether there is a program.
    pub fn is_available(&self) -> bool {
        self.program.is_some()
    }

    /// Checks that there are the programs that a time-lapse needs.
    ///
    /// # Errors
    /// When one is missing.
    pub fn check_timelapse(&self, format: TimelapseFormat) -> Result<(), RenderError> {
        if !self.is_available() {
            return Err(RenderError::NoProgram);
        }
        if format.is_video() && self.ffmpeg.is_none() { Err(RenderError::NoFfmpeg) } else { Ok(()) }
    }

    /// Waits until no other program runs. The next one waits until the permit is dropped.
    ///
    /// # Errors
    /// When there is no program, the disk is nearly full, too many wait, or the server stops.
    pub async fn acquire(&self) -> Result<RenderPermit, RenderError> {
        let program = self.program.clone().ok_or(RenderError::NoProgram)?;
        self.check_space()?;
        let queued = self.queue.acquire(self.only_if_idle).await?;
        self.check_space()?;
        Ok(RenderPermit { program, renderer: self.clone(), cancelled: None, _queued: queued })
    }

    /// Lets nothing begin while `lacks_space`: what the program writes would take what others need.
    pub fn set_lacks_space(&self, lacks_space: bool) {
        self.lacks_space.store(lacks_space, Ordering::Relaxed);
    }

    fn check_space(&self) -> Result<(), RenderError> {
        if self.lacks_space.load(Ordering::Relaxed) { Err(RenderError::NoSpace) } else { Ok(()) }
    }

    /// Removes what programs of a server that crashed have left. Blocks.
    pub fn remove_abandoned() {
        directory::remove_abandoned(&std::env::temp_dir());
    }

    /// Kills what runs, and waits until nothing is left of it. Nothing is started afterwards.
    pub async fn stop(&self) {
        self.queue.stop().await;
    }
}

/// The path of the program that is wanted, or else of the one with this name if it is in one of the directories of
/// `search`, the value of the variable `PATH`. A name without a directory is looked for there, too.
pub fn find_program(
    wanted: Option<&Path>,
    default: &str,
    search: Option<&std::ffi::OsStr>,
) -> Option<PathBuf> {
    let name = wanted.unwrap_or(Path::new(default));
    let is_name = name.components().count() == 1 && name.file_name() == Some(name.as_os_str());
    // The program is started in another directory.
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if is_name {
        let directories = std::env::split_paths(search.unwrap_or_default());
        let found = directories.map(|directory| directory.join(name)).find(|path| is_executable(path));
        if let Some(found) = found {
            return Some(absolute(&found));
        }
    }
    wanted.map(absolute)
}

/// Whether there is a file that may be executed.
pub fn is_executable(path: &Path) -> bool {
    let Ok(file) = path.metadata() else { return false };
    #[cfg(unix)]
    let may_run = std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o111 != 0;
    #[cfg(not(unix))]
    let may_run = true;
    file.is_file() && may_run
}

/// The recording without messages that clients ignore, if all its types are known here. An older program ignores what it
/// does not know, and makes a picture that is wrong without anybody being told.
fn known_messages(recording: Vec<u8>) -> Result<Vec<u8>, RenderError> {
    let unknown = |reason: String| RenderError::Unknown(text::one_line(&reason).into_owned());
    let reader = DprecReader::new(recording.as_slice()).map_err(|error| unknown(error.to_string()))?;
    let version = reader.header().version().filter(|version| version.namespace() == "dp");
    let newest = ProtocolVersion::current();
    let is_known =
        |version: &ProtocolVersion| (version.server(), version.major()) <= (newest.server(), newest.major());
    let version = version.filter(is_known);
    let layout = version.ok_or_else(|| unknown("the protocol version".to_owned()))?.layout();
    let messages = reader.messages_in(&recording);
    let mut begin = recording.len() - messages.len();
    let mut ignored = Vec::new();
    for frame in frames(messages) {
        let end = begin + frame.bytes.len();
        match Message::from_frame(frame, layout) {
            Ok(_) => {}
            Err(error) if error.is_unknown_type() => {
                return Err(unknown(error.to_string()));
            }
            // Clients ignore what does not decode.
            Err(_) => ignored.push(begin..end),
        }
        begin = end;
    }
    Ok(without(recording, &ignored, begin))
}

/// The first `end` bytes without these parts, which are in order.
fn without(mut bytes: Vec<u8>, parts: &[Range<usize>], end: usize) -> Vec<u8> {
    let nexts = parts.iter().skip(1).map(|next| next.start).chain([end]);
    let mut len = parts.first().map_or(end, |first| first.start);
    for (part, next) in parts.iter().zip(nexts) {
        bytes.copy_within(part.end..next, len);
        len += next - part.end;
    }
    bytes.truncate(len);
    bytes
}

#[cfg(test)]
mod tests;
