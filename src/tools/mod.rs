//! Command line tools: `drawhall convert`, `inspect`, `sessions`, `check`, `repair`, `account`, `backup` and `restore`.

pub mod account;
pub mod backup;
pub mod convert;
pub mod inspect;
pub mod restore;
pub mod sessions;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use drawhall_protocol::Frame;
use drawhall_protocol::recording::Header;
use drawhall_protocol::recording::dprec::{DprecError, DprecReader, Truncation};
use drawhall_protocol::recording::dptxt::{DptxtError, DptxtReader};

/// Buffer size for reading and writing files, in bytes.
const BUFFER_BYTES: usize = 256 << 10;

/// A recording cannot be processed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ToolError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path}: {source}")]
    Binary { path: PathBuf, source: DprecError },
    #[error("{path}: {source}")]
    Text { path: PathBuf, source: DptxtError },
    #[error("{0}: its name ends neither in .dprec nor in .dptxt; specify the form with --from and --to")]
    UnknownForm(PathBuf),
    #[error("{0}: input and output are the same file")]
    SameFile(PathBuf),
}

/// Reader of a recording in either form.
enum Input {
    Binary(PathBuf, DprecReader<Box<dyn BufRead>>),
    Text(PathBuf, DptxtReader<Box<dyn BufRead>>),
}

/// Result of reading a recording.
enum Item {
    Message(Frame),
    /// A line that is not a valid message.
    Bad(String),
}

fn open(path: &Path) -> Result<Box<dyn BufRead>, ToolError> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, io::stdin())));
    }
    let file = File::open(path).map_err(|source| ToolError::File { path: path.into(), source })?;
    Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, file)))
}

impl Input {
    fn open(path: &Path, form: convert::Form) -> Result<Input, ToolError> {
        let input = open(path)?;
        let path = path.to_owned();
        match form {
            convert::Form::Dprec => match DprecReader::new(input) {
                Ok(reader) => Ok(Input::Binary(path, reader)),
                Err(source) => Err(ToolError::Binary { path, source }),
            },
            convert::Form::Dptxt => match DptxtReader::new(input) {
                Ok(reader) => Ok(Input::Text(path, reader)),
                Err(source) => Err(ToolError::Text { path, source }),
            },
        }
    }

    fn header(&self) -> &Header {
        match self {
            Input::Binary(_, reader) => reader.header(),
            Input::Text(_, reader) => reader.header(),
        }
    }

    fn next(&mut self) -> Result<Option<Item>, ToolError> {
        match self {
            Input::Binary(path, reader) => match reader.next_frame() {
                Ok(frame) => Ok(frame.map(Item::Message)),
                Err(source) => Err(ToolError::Binary { path: path.clone(), source }),
            },
            Input::Text(path, reader) => match reader.next_frame() {
                Ok(frame) => Ok(frame.map(Item::Message)),
                Err(error @ DptxtError::Line { .. }) => Ok(Some(Item::Bad(error.to_string()))),
                Err(source) => Err(ToolError::Text { path: path.clone(), source }),
            },
        }
    }

    /// Position of the message that was read last, for error messages.
    fn position(&self) -> String {
        match self {
            Input::Binary(_, reader) => format!("before offset {}", reader.offset()),
            Input::Text(_, reader) => format!("line {}", reader.line()),
        }
    }

    fn take_warnings(&mut self) -> Vec<String> {
        match self {
            Input::Binary(..) => Vec::new(),
            Input::Text(_, reader) => reader.take_warnings(),
        }
    }

    fn truncation(&self) -> Option<Truncation> {
        match self {
            Input::Binary(_, reader) => reader.truncation(),
            Input::Text(..) => None,
        }
    }
}

fn describe(truncation: &Truncation) -> String {
    let Truncation { offset, available, expected } = truncation;
    match expected {
        Some(expected) => {
            format!("truncated: the message at offset {offset} has {available} of its {expected} bytes")
        }
        None => format!("truncated: {available} bytes at offset {offset} are not a whole message header"),
    }
}
