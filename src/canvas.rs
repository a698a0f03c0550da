//! `drawhall canvas`: what is done with pictures and canvases in processes of their own.
//!
//! With `import`, a picture on standard input becomes the messages of a session on standard output. `reset` makes a
//! small recording of a long one and its canvas file, `animate` an animated PNG of pictures, `run` starts an external
//! program with little left to it.
//!
//! The server runs this in a process of its own, because pictures come from strangers. The picture is read into memory,
//! then the process gives up everything but its pipes (`sandbox`), and only then looks at it. Warnings are lines on
//! standard error. Input that there is no result for is exit status 3 and one line; a failure of anything else is 1.

mod animate;
mod program_sandbox;
mod reset;
mod run;
mod sandbox;

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use drawhall::pictures::{EXIT_REFUSED, MAX_PICTURE};
use drawhall_canvas::{ImportOptions, import};
use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::text::parse_colour;

use crate::Failure;

/// What is done with canvases.
#[derive(Debug, Subcommand)]
pub(crate) enum CanvasAction {
    /// Read a PNG or OpenRaster picture from standard input and write the messages of a session to standard output.
    Import(Import),
    /// Make a small recording of a long one: an image of its canvas, as clients send it for a reset. Written to standard
    /// output.
    Reset(reset::Reset),
    /// Compare two canvas files: exit status 1 and the difference if they do not look the same.
    Compare(reset::Compare),
    /// Make an animated PNG of PNG pictures of the same size, written to standard output.
    Animate(animate::Animate),
    /// Run an external program with little left to it. The server starts this for itself.
    #[command(hide = true)]
    Run(run::Run),
}

/// Options of an import.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Protocol version of the session.
    #[arg(long, value_name = "VERSION", default_value = "dp:4.24.0")]
    protocol: ProtocolVersion,
    /// Background where the picture has none.
    #[arg(long, value_name = "COLOUR", default_value = "#ffffff", value_parser = colour)]
    background: u32,
    /// Maximum size of the messages in bytes.
    #[arg(long, value_name = "N", default_value_t = 99 << 20)]
    max_bytes: usize,
}

fn colour(text: &str) -> Result<u32, String> {
    parse_colour(text).ok_or_else(|| format!("'{text}' is no colour such as #ffffff"))
}

/// The input has something that there is no result for: exit status [`EXIT_REFUSED`], which is not logged as a failure.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

impl Refused {
    fn because(reason: impl std::fmt::Display) -> Refused {
        Refused(reason.to_string())
    }
}

/// Runs the subcommand. Prints errors without the name of the program: the server shows them to administrators.
pub(crate) fn run(action: &CanvasAction) -> ExitCode {
    // One line, whatever happens.
    let what = match action {
        CanvasAction::Import(_) => "the picture made the import fail",
        CanvasAction::Reset(_) => "the recording or the canvas file made this fail",
        CanvasAction::Compare(_) => "a canvas file made this fail",
        CanvasAction::Animate(_) => "a picture made this fail",
        CanvasAction::Run(_) => "starting the program failed",
    };
    std::panic::set_hook(Box::new(move |_| eprintln!("{what}")));
    let done = match action {
        CanvasAction::Import(options) => run_import(options),
        CanvasAction::Reset(options) => reset::run(options),
        CanvasAction::Compare(options) => reset::compare(options),
        CanvasAction::Animate(options) => animate::run(options),
        CanvasAction::Run(options) => run::run(options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", drawhall::text::one_line(&error.to_string()));
            if error.is::<Refused>() { ExitCode::from(EXIT_REFUSED) } else { ExitCode::FAILURE }
        }
    }
}

fn run_import(options: &Import) -> Result<(), Failure> {
    let mut picture = Vec::new();
    io::stdin().lock().take(MAX_PICTURE as u64 + 1).read_to_end(&mut picture)?;
    if picture.len() > MAX_PICTURE {
        return Err(Refused::because("the picture is too large").into());
    }
    sandbox::enter()?;
    let Import { protocol, background, max_bytes } = options;
    let wanted = ImportOptions { layout: protocol.layout(), background: *background, max_bytes: *max_bytes };
    let imported = import(&picture, &wanted).map_err(Refused::because)?;
    for warning in &imported.warnings {
        eprintln!("{}", drawhall::text::one_line(warning));
    }
    io::stdout().lock().write_all(&imported.messages.bytes)?;
    Ok(())
}
