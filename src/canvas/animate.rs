//! `drawhall canvas animate`: PNG pictures of one size become an animated PNG, which browsers show.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;

use clap::Args;
use drawhall::renderer::{FRAME_MS, LAST_FRAME_MS, MAX_FRAMES_SIZE};
use drawhall_canvas::animation::{AnimationError, Timing, animate};

use super::{Refused, sandbox};
use crate::Failure;

/// Options of an animation.
#[derive(Debug, Args)]
pub(crate) struct Animate {
    /// Pictures (.png) of the same size, in order.
    #[arg(required = true, value_name = "PICTURE")]
    pictures: Vec<PathBuf>,
    /// Time for which each is shown, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = FRAME_MS)]
    delay: u16,
    /// The same of the last one.
    #[arg(long, value_name = "MS", default_value_t = LAST_FRAME_MS)]
    last: u16,
}

/// Reads the pictures and writes the animation to standard output.
pub(super) fn run(options: &Animate) -> Result<(), Failure> {
    let Animate { pictures, delay, last } = options;
    let mut left = MAX_FRAMES_SIZE;
    let mut read = Vec::with_capacity(pictures.len());
    for path in pictures {
        let show = |error: io::Error| format!("{}: {error}", path.display());
        let mut bytes = Vec::new();
        File::open(path).map_err(show)?.take(left + 1).read_to_end(&mut bytes).map_err(show)?;
        left = left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| Refused(format!("the pictures are larger than {} MiB", MAX_FRAMES_SIZE >> 20)))?;
        read.push(bytes);
    }
    sandbox::enter()?;
    let mut output = io::BufWriter::new(io::stdout().lock());
    animate(&read, Timing { each_ms: *delay, last_ms: *last }, &mut output).map_err(|error| -> Failure {
        match error {
            AnimationError::Write(error) => error.into(),
            error => Refused::because(error).into(),
        }
    })?;
    Ok(output.flush()?)
}
