//! Permission to run the program, and what is done with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use drawhall_protocol::recording::dprec::DprecReader;

use super::job::{WorkingDirectory, read};
use super::queue::QueuePermit;
use super::{Format, MAX_RECORDING, RenderError, Renderer, TIMEOUT, known_messages};
use crate::blocking::CancelOnDrop;

/// Size of thumbnails in pixels, as the program takes it.
const THUMBNAIL_SIZE: &str = "640x480";
/// Maximum size of a thumbnail in bytes.
const MAX_THUMBNAIL: usize = 2 << 20;
/// First bytes of a JPEG picture.
const JPEG_SIGNATURE: &[u8] = b"\xff\xd8\xff";

/// Permission to run the program, from [`Renderer::acquire`]; given back when dropped.
#[derive(Debug)]
pub struct RenderPermit {
    pub(super) program: PathBuf,
    pub(super) renderer: Renderer,
    pub(super) cancelled: Option<Arc<AtomicBool>>,
    pub(super) _queued: QueuePermit,
}

impl RenderPermit {
    /// The same, but the program is killed when `cancel` is dropped.
    pub fn cancelled_by(self, cancel: &CancelOnDrop) -> RenderPermit {
        RenderPermit { cancelled: Some(cancel.flag()), ..self }
    }

    /// Makes a picture of a recording; blocks for minutes.
    ///
    /// # Errors
    /// When the recording has something unknown, or the program fails. The reason is logged.
    pub fn picture(&self, recording: Vec<u8>, format: Format) -> Result<Vec<u8>, RenderError> {
        self.counted(self.make(recording, format))
    }

    /// Makes a small picture of a recording, JPEG of at most 640 x 480 pixels; blocks for minutes.
    ///
    /// # Errors
    /// As [`Self::picture`].
    pub fn thumbnail(&self, recording: Vec<u8>) -> Result<Vec<u8>, RenderError> {
        self.counted(self.make_thumbnail(recording))
    }

    /// Makes a reset image of a recording: the messages that make its canvas anew; blocks for minutes. The program renders
    /// the image again, and both canvases must look the same.
    ///
    /// # Errors
    /// As [`Self::picture`], and when the recording has something that an image cannot have, as a stroke that is not
    /// finished.
    pub fn reset_image(&self, recording: Vec<u8>) -> Result<Vec<u8>, RenderError> {
        self.counted(self.make_reset_image(recording))
    }

    pub(super) fn is_cancelled(&self) -> bool {
        let is_cancelled = self.cancelled.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed));
        is_cancelled || self.renderer.queue.is_stopped()
    }

    /// Whether it ends, because nobody asked for what it does, and somebody who has asked waits.
    pub(super) fn gives_way(&self) -> bool {
        self.renderer.only_if_idle && self.renderer.queue.is_wanted()
    }

    fn make(&self, recording: Vec<u8>, format: Format) -> Result<Vec<u8>, RenderError> {
        let (directory, recording) = self.begin(recording)?;
        let picture = read(&directory.render(&recording, "picture", format.extension(), &[])?)?;
        if picture.starts_with(format.signature()) {
            Ok(picture)
        } else {
            let form = format.extension();
            Err(RenderError::Failed(format!("what it left is no {form} picture")))
        }
    }

    fn make_thumbnail(&self, recording: Vec<u8>) -> Result<Vec<u8>, RenderError> {
        let (directory, recording) = self.begin(recording)?;
        let size = ["--maxsize", THUMBNAIL_SIZE];
        let picture = read(&directory.render(&recording, "thumbnail", "jpg", &size)?)?;
        if picture.starts_with(JPEG_SIGNATURE) && picture.len() <= MAX_THUMBNAIL {
            Ok(picture)
        } else {
            Err(RenderError::Failed("what it left is no small jpg picture".to_owned()))
        }
    }

    fn make_reset_image(&self, recording: Vec<u8>) -> Result<Vec<u8>, RenderError> {
        let (directory, recording) = self.begin(recording)?;
        let canvas = directory.render(&recording, "before", "dpcs", &[])?;
        let image = directory.path("image.dprec");
        directory.run_helper(&[Path::new("reset"), &recording, &canvas], &image)?;
        let again = directory.render(&image, "after", "dpcs", &[])?;
        directory.run_helper(&[Path::new("compare"), &canvas, &again], &directory.path("nothing"))?;
        let image = read(&image)?;
        let reader =
            DprecReader::new(image.as_slice()).map_err(|error| RenderError::Failed(error.to_string()))?;
        Ok(reader.messages_in(&image).to_vec())
    }

    /// Counts a result, and logs what went wrong.
    pub(super) fn counted<T>(&self, made: Result<T, RenderError>) -> Result<T, RenderError> {
        self.renderer.metrics.renders.count(made.as_ref().err().map_or("ok", RenderError::result));
        if let Err(error) = &made
            && error.result() != "refused"
        {
            tracing::warn!("{error}");
        }
        made
    }

    /// A directory with the recording in it, without what clients ignore.
    pub(super) fn begin(&self, recording: Vec<u8>) -> Result<(WorkingDirectory<'_>, PathBuf), RenderError> {
        if recording.len() as u64 > MAX_RECORDING {
            return Err(RenderError::TooLarge);
        }
        if self.is_cancelled() {
            return Err(RenderError::Cancelled);
        }
        let known = known_messages(recording)?;
        let timeout = self.renderer.timeout.unwrap_or(TIMEOUT);
        let directory = WorkingDirectory::new(self, timeout).map_err(RenderError::Start)?;
        let path = directory.path("session.dprec");
        std::fs::write(&path, known).map_err(RenderError::Start)?;
        Ok((directory, path))
    }
}
