//! Time-lapses: the program makes a picture every few actions, and `drawhall canvas animate` an animated PNG of them, or
//! `ffmpeg` a video.

use std::path::{Path, PathBuf};

use drawhall_protocol::frame::frames;
use drawhall_protocol::message::UndoPoint;
use drawhall_protocol::recording::dprec::DprecReader;

use super::job::{WorkingDirectory, read};
use super::{RenderError, RenderPermit, TimelapseFormat};

/// Frames of a time-lapse, if nothing else is wanted.
pub const DEFAULT_FRAMES: usize = 200;
/// Maximum number of frames of a time-lapse.
pub const MAX_FRAMES: usize = 600;
/// Maximum size of all its frames together, as PNG, in bytes.
pub const MAX_FRAMES_SIZE: u64 = 300 << 20;
/// Time for which a frame is shown, in milliseconds.
pub const FRAME_MS: u16 = 100;
/// The same of the last one.
pub const LAST_FRAME_MS: u16 = 3000;
/// Size of its frames in pixels, as the program and ffmpeg take it.
pub(super) const SIZE: &str = "640x480";

impl RenderPermit {
    /// Makes a time-lapse of a recording, of about as many frames as wanted, 1 to [`MAX_FRAMES`]; blocks for minutes.
    ///
    /// # Errors
    /// As [`Self::picture`], and when there is no program for videos.
    pub fn timelapse(
        &self,
        recording: Vec<u8>,
        frames: usize,
        format: TimelapseFormat,
    ) -> Result<Vec<u8>, RenderError> {
        self.counted(self.make_timelapse(recording, frames, format))
    }

    fn make_timelapse(
        &self,
        recording: Vec<u8>,
        frames: usize,
        format: TimelapseFormat,
    ) -> Result<Vec<u8>, RenderError> {
        self.renderer.check_timelapse(format)?;
        let every = actions(&recording).div_ceil(frames.clamp(1, MAX_FRAMES)).max(1).to_string();
        let (directory, recording) = self.begin(recording)?;
        let options = ["--maxsize", SIZE, "--fixedsize", "--every-seq", &every];
        let pictures = directory.render_all(&recording, "frame", "png", &options)?;
        if pictures.is_empty() {
            return Err(RenderError::Failed("it left no pictures".to_owned()));
        }
        let size = |picture: &PathBuf| std::fs::metadata(picture).map_or(0, |file| file.len());
        if pictures.iter().map(size).sum::<u64>() > MAX_FRAMES_SIZE {
            return Err(RenderError::FramesTooLarge);
        }
        let made = match &self.renderer.ffmpeg {
            Some(ffmpeg) if format.is_video() => directory.encode(ffmpeg, &pictures, format),
            _ => directory.animate(&pictures),
        };
        let made = made.map_err(|error| match error {
            RenderError::ResultTooLarge => RenderError::FramesTooLarge,
            error => error,
        })?;
        if format.is_in(&made) {
            Ok(made)
        } else {
            Err(RenderError::Failed(format!("what was made is no {}", format.extension())))
        }
    }
}

impl WorkingDirectory<'_> {
    /// Makes an animated PNG of pictures.
    fn animate(&self, pictures: &[PathBuf]) -> Result<Vec<u8>, RenderError> {
        let mut arguments = vec![Path::new("animate")];
        arguments.extend(pictures.iter().map(|picture| picture.as_path()));
        let animation = self.path("timelapse.apng");
        self.run_helper(&arguments, &animation).map_err(|error| match error {
            RenderError::Refused(reason) => RenderError::Failed(reason),
            error => error,
        })?;
        read(&animation)
    }
}

/// How many actions there are in a recording.
fn actions(recording: &[u8]) -> usize {
    let Ok(reader) = DprecReader::new(recording) else { return 0 };
    frames(reader.messages_in(recording)).filter(|frame| frame.header.kind == UndoPoint::TYPE).count()
}
