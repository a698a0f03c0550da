//! Forms of time-lapses. Videos are made by `ffmpeg`, in the sandbox of the program that has made their frames.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::job::{WorkingDirectory, read};
use super::timelapse::{FRAME_MS, LAST_FRAME_MS, SIZE};
use super::{PNG_SIGNATURE, RenderError};

/// Name of the program that makes videos, if no other one is wanted.
pub const DEFAULT_FFMPEG: &str = "ffmpeg";

/// Form of a time-lapse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimelapseFormat {
    /// Animated PNG.
    Apng,
    /// Video, VP9 in WebM. Needs ffmpeg.
    Webm,
    /// Video, H.264 in MP4. Needs ffmpeg.
    Mp4,
}

impl TimelapseFormat {
    /// Extension of files.
    pub fn extension(self) -> &'static str {
        match self {
            TimelapseFormat::Apng => "apng",
            TimelapseFormat::Webm => "webm",
            TimelapseFormat::Mp4 => "mp4",
        }
    }

    /// Media type.
    pub fn media_type(self) -> &'static str {
        match self {
            TimelapseFormat::Apng => "image/apng",
            TimelapseFormat::Webm => "video/webm",
            TimelapseFormat::Mp4 => "video/mp4",
        }
    }

    /// Whether ffmpeg makes it.
    pub fn is_video(self) -> bool {
        self != TimelapseFormat::Apng
    }

    /// Whether a file begins as one of this form does.
    pub(super) fn is_in(self, file: &[u8]) -> bool {
        match self {
            TimelapseFormat::Apng => file.starts_with(PNG_SIGNATURE),
            TimelapseFormat::Webm => file.starts_with(b"\x1a\x45\xdf\xa3"),
            TimelapseFormat::Mp4 => file.get(4..8) == Some(b"ftyp"),
        }
    }

    /// Options of ffmpeg for the encoder.
    fn encoder(self) -> &'static [&'static str] {
        match self {
            // No encoder makes it.
            TimelapseFormat::Apng => &[],
            TimelapseFormat::Webm => {
                &["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "6", "-crf", "32", "-b:v", "0"]
            }
            TimelapseFormat::Mp4 => {
                &["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-movflags", "+faststart"]
            }
        }
    }
}

/// Options of ffmpeg before those of the input. It opens nothing but the frames, and has two threads.
const LIMITS: &str = "-nostdin -hide_banner -loglevel error -threads 2 -protocol_whitelist file";

/// Options of ffmpeg before those of the encoder.
fn input() -> Vec<String> {
    let rate = 1000 / FRAME_MS;
    // On white, for there may be nothing behind a canvas.
    let filters = format!(
        "color=white:s={SIZE}:r={rate}[white];\
         [0:v]scale=s={SIZE},tpad=stop_mode=clone:stop_duration={LAST_FRAME_MS}ms[frames];\
         [white][frames]overlay=shortest=1,format=yuv420p"
    );
    let input = format!("-f image2 -framerate {rate} -c:v png -i video-%05d.png -filter_complex_threads 1");
    let mut options: Vec<String> = LIMITS.split(' ').chain(input.split(' ')).map(str::to_owned).collect();
    options.extend(["-filter_complex", &filters, "-threads", "2", "-map_metadata", "-1"].map(str::to_owned));
    options
}

impl WorkingDirectory<'_> {
    /// Has ffmpeg make a video of frames in it, PNG pictures in order. The frames get other names.
    pub(super) fn encode(
        &self,
        ffmpeg: &Path,
        frames: &[PathBuf],
        format: TimelapseFormat,
    ) -> Result<Vec<u8>, RenderError> {
        let failed = |reason: String| RenderError::Failed(format!("ffmpeg: {reason}"));
        for (number, frame) in (1..).zip(frames) {
            let named = self.path(&format!("video-{number:05}.png"));
            std::fs::rename(frame, named).map_err(|error| failed(error.to_string()))?;
        }
        let extension = format.extension();
        let video = self.path(&format!("timelapse.{extension}"));
        let input = input();
        let mut arguments: Vec<&OsStr> = input.iter().map(OsStr::new).collect();
        arguments.extend(format.encoder().iter().map(OsStr::new));
        arguments.extend([OsStr::new("-y"), video.as_os_str()]);
        let of_ffmpeg = |error| match error {
            RenderError::Failed(reason) => failed(reason),
            error => error,
        };
        self.run_external(ffmpeg, &arguments).map_err(of_ffmpeg)?;
        let made = self.made("timelapse", extension).map_err(of_ffmpeg)?;
        if made != [video.clone()] {
            return Err(failed("it left no video".to_owned()));
        }
        read(&video)
    }
}
