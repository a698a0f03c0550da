//! `drawhall canvas reset`: a recording, and the canvas file that Drawpile's `drawpile-cmd` has made of it, become a reset
//! image: a recording that makes the same canvas with far fewer messages.
//!
//! The canvas file has the pixels. What else a canvas is, is followed from the messages and compared with the file, so
//! a file of another recording, or of a program that understands something else, is refused.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use drawhall::rules::undo::on_canvas::on_canvas;
use drawhall_canvas::compare::same_pixels;
use drawhall_canvas::dpcs;
use drawhall_canvas::reset::{ResetError, reset_image};
use drawhall_canvas::state::Follower;
use drawhall_protocol::frame::{FIRST_COMMAND, frames};
use drawhall_protocol::message::{Layout, Message};
use drawhall_protocol::recording::Header;
use drawhall_protocol::recording::dprec::{DprecReader, header_bytes};

use super::{Refused, sandbox};
use crate::Failure;

/// Maximum size of each file in bytes.
const MAX_FILE: u64 = 300 << 20;

/// Options of a reset image.
#[derive(Debug, Args)]
pub(crate) struct Reset {
    /// The recording (.dprec).
    history: PathBuf,
    /// Its canvas file (.dpcs), made with `drawpile-cmd -A -f dpcs`.
    canvas: PathBuf,
}

/// Two canvas files.
#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// One canvas file (.dpcs).
    one: PathBuf,
    /// The other.
    other: PathBuf,
}

/// Compares what two canvas files look like.
pub(super) fn compare(options: &Compare) -> Result<(), Failure> {
    let (one, other) = (read(&options.one)?, read(&options.other)?);
    sandbox::enter()?;
    let (one, other) = (dpcs::read(&one)?, dpcs::read(&other)?);
    if let Some(difference) = one.canvas.difference(&other.canvas) {
        return Err(format!("{difference} would be different").into());
    }
    if same_pixels(&one.pixels, &other.pixels)? { Ok(()) } else { Err("the canvases look different".into()) }
}

/// Reads the files and writes the recording to standard output.
pub(super) fn run(options: &Reset) -> Result<(), Failure> {
    let (recording, canvas) = (read(&options.history)?, read(&options.canvas)?);
    sandbox::enter()?;
    let (header, messages) = split(&recording)?;
    let image = image(messages, header.layout(), &canvas)?;
    let mut output = io::stdout().lock();
    output.write_all(&header_bytes(&header)?)?;
    output.write_all(&image)?;
    Ok(output.flush()?)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let show = |error: io::Error| format!("{}: {error}", path.display());
    let mut bytes = Vec::new();
    File::open(path).map_err(show)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(show)?;
    if bytes.len() as u64 > MAX_FILE {
        let reason = format!("{}: larger than {} MiB", path.display(), MAX_FILE >> 20);
        return Err(Refused(reason).into());
    }
    Ok(bytes)
}

/// The header of the image's recording, and the messages of the recording.
fn split(recording: &[u8]) -> Result<(Header, &[u8]), Failure> {
    let reader = DprecReader::new(recording)?;
    let version = reader.header().version().ok_or("the recording does not say its protocol version")?;
    Ok((Header::of_version(&version), reader.messages_in(recording)))
}

/// The messages of the reset image.
fn image(messages: &[u8], layout: Layout, canvas: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut follower = Follower::new(layout);
    let mut unknown = None;
    let done = on_canvas(messages, layout, &mut |frame| {
        match Message::from_frame(frame, layout) {
            Ok(message) => follower.accept(frame.header.user, &message),
            // What is not known here, others may know.
            Err(error) if error.is_unknown_type() => {
                unknown.get_or_insert(error);
                false
            }
            // Clients ignore what does not decode.
            Err(_) => false,
        }
    })
    .map_err(Refused::because)?;
    if let Some(error) = unknown {
        return Err(Refused(format!("{error}, so the canvas may be another one")).into());
    }
    let mut done = done.into_iter().peekable();
    for (number, frame) in (0..).zip(frames(messages)) {
        if done.next_if_eq(&number).is_some() {
            debug_assert!(frame.header.kind >= FIRST_COMMAND);
            let message = Message::from_frame(frame, layout)?;
            follower.apply(frame.header.user, &message).map_err(Refused::because)?;
        }
    }
    let snapshot = dpcs::read(canvas)?;
    if let Some(difference) = follower.canvas().difference(&snapshot.canvas) {
        return Err(
            format!("the canvas file is not of this recording: {difference} would be different").into()
        );
    }
    match reset_image(&follower, &snapshot.pixels) {
        Ok(image) => Ok(image.bytes),
        Err(error @ (ResetError::Tile(_) | ResetError::Encode(_))) => Err(error.into()),
        Err(error) => Err(Refused::because(error).into()),
    }
}
