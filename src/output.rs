//! Standard output of the subcommands.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write as _};

/// Writes to standard output. When the reader has closed the pipe, as `drawhall config | head` does, the process ends
/// quietly; any other error ends it with status 1.
pub(crate) fn write(text: Arguments<'_>) {
    end_on_error(io::stdout().write_fmt(text));
}

/// Writes a file to standard output, up to its last byte; errors as in [`write`].
pub(crate) fn write_bytes(bytes: &[u8]) {
    let mut output = io::stdout().lock();
    end_on_error(output.write_all(bytes).and_then(|()| output.flush()));
}

fn end_on_error(written: io::Result<()>) {
    let Err(error) = written else { return };
    if error.kind() != ErrorKind::BrokenPipe {
        eprintln!("drawhall: cannot write to standard output: {error}");
        std::process::exit(1);
    }
    std::process::exit(0);
}

/// [`print!`] without its panic on a closed pipe.
macro_rules! out {
    ($($arg:tt)*) => { $crate::output::write(format_args!($($arg)*)) };
}

/// [`println!`] without its panic on a closed pipe.
macro_rules! outln {
    () => { $crate::output::write(format_args!("\n")) };
    ($($arg:tt)*) => { $crate::output::write(format_args!("{}\n", format_args!($($arg)*))) };
}

pub(crate) use {out, outln};
