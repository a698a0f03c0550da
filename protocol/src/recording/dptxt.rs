//! Text recordings (`.dptxt`), the current form and the one before 2.2. Sources: docs/spec/wire.md#text-recording,
//! docs/spec/wire.md#text-form-before-22.

use std::io::{self, BufRead, Write};

use super::Header;
use crate::frame::{Frame, FrameRef};
use crate::message::{DecodeError, Layout};
use crate::text::{LineError, legacy, parse_line, write_line};

/// Maximum length of a line in bytes: a message of 65535 bytes is about 90 kB of base64.
const MAX_LINE: u64 = 1 << 20;

/// A text recording that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DptxtError {
    /// Reading or writing failed.
    #[error("line {line}: {source}")]
    Io {
        /// Line number, from 1.
        line: u64,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A line is not a valid message; reading can continue after it.
    #[error("line {line}: {source}")]
    Line {
        /// Line number, from 1.
        line: u64,
        /// What is wrong.
        source: LineError,
    },
}

/// Reader of a text recording.
#[derive(Debug)]
pub struct DptxtReader<R> {
    input: R,
    encoding: Encoding,
    header: Header,
    form: Form,
    line: u64,
    /// The first line after the header.
    peeked: Option<String>,
    warnings: Vec<String>,
}

/// Encoding of the text, by its byte order mark.
#[derive(Debug, Clone, Copy)]
enum Encoding {
    Utf8,
    /// UTF-16, with the byte order of this function.
    Utf16(fn([u8; 2]) -> u16),
}

impl Encoding {
    /// Reads a byte order mark of UTF-16, if there is one.
    fn of(input: &mut impl BufRead) -> io::Result<Encoding> {
        let from_bytes: fn([u8; 2]) -> u16 = match input.fill_buf()? {
            [0xff, 0xfe, ..] => u16::from_le_bytes,
            [0xfe, 0xff, ..] => u16::from_be_bytes,
            _ => return Ok(Encoding::Utf8),
        };
        input.consume(2);
        Ok(Encoding::Utf16(from_bytes))
    }

    /// Reads a line of at most [`MAX_LINE`] bytes, with its line feed; empty at the end. What is no text becomes
    /// replacement characters.
    fn read_line(self, input: &mut impl BufRead) -> io::Result<String> {
        let mut input = io::Read::take(input, MAX_LINE);
        let mut bytes = Vec::new();
        let line = match self {
            Encoding::Utf8 => {
                input.read_until(b'\n', &mut bytes)?;
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Encoding::Utf16(from_bytes) => {
                let mut units = Vec::new();
                let mut pair = [0; 2];
                while units.last() != Some(&u16::from(b'\n')) && read_pair(&mut input, &mut pair)? {
                    units.push(from_bytes(pair));
                }
                String::from_utf16_lossy(&units)
            }
        };
        if input.limit() == 0 && !line.ends_with('\n') {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the line is longer than 1 MiB"));
        }
        Ok(line)
    }
}

/// Reads two bytes; `false` at the end, where a single byte is dropped.
fn read_pair(input: &mut impl io::Read, pair: &mut [u8; 2]) -> io::Result<bool> {
    match input.read_exact(pair) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json(Layout),
    Legacy,
    /// No version in the header: guess the form of each line.
    Either,
}

impl<R: BufRead> DptxtReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When reading fails.
    pub fn new(mut input: R) -> Result<Self, DptxtError> {
        let encoding = Encoding::of(&mut input).map_err(|source| DptxtError::Io { line: 1, source })?;
        let mut reader = Self {
            input,
            encoding,
            header: Header::default(),
            form: Form::Either,
            line: 0,
            peeked: None,
            warnings: Vec::new(),
        };
        while let Some(line) = reader.next_line()? {
            let Some(member) = line.strip_prefix('!') else {
                reader.peeked = Some(line);
                break;
            };
            let (key, value) = member.split_once('=').unwrap_or((member, ""));
            reader.header.set(key.trim(), value.trim());
        }
        reader.form = match reader.header.version() {
            Some(version) if legacy::is_legacy(&version) => Form::Legacy,
            Some(version) => Form::Json(version.layout()),
            None => Form::Either,
        };
        Ok(reader)
    }

    /// The header metadata, as in the file.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whether the file has the form before 2.2. Its messages are converted to version [`legacy::VERSION`], whatever
    /// the header says.
    pub fn is_legacy(&self) -> bool {
        self.form == Form::Legacy
    }

    /// Whether the first message has the form before 2.2, by the version or else by its syntax.
    pub fn begins_legacy(&self) -> bool {
        self.is_legacy() || (self.form == Form::Either && self.peeked.as_deref().is_some_and(looks_legacy))
    }

    /// Number of the line that was read last, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Takes the warnings since the last call, with line numbers: values that were replaced with defaults, messages
    /// that were skipped.
    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// The next message; `None` at the end.
    ///
    /// # Errors
    /// When a line is not a valid message (the next call continues after it), or reading fails.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, DptxtError> {
        loop {
            let line = match self.peeked.take() {
                Some(line) => Some(line),
                None => self.next_line()?,
            };
            let Some(line) = line else { return Ok(None) };
            let start = self.line;
            let legacy = match self.form {
                Form::Legacy => true,
                Form::Json(_) => false,
                Form::Either => looks_legacy(&line),
            };
            let at = |source| DptxtError::Line { line: start, source };
            if !legacy {
                let layout = if let Form::Json(layout) = self.form { layout } else { Layout::V4_25 };
                let mut warnings = Vec::new();
                let parsed = parse_line(&line, layout, &mut warnings).map_err(at);
                self.warnings.extend(warnings.into_iter().map(|w| format!("line {start}: {w}")));
                return parsed.map(Some);
            }
            let block = if legacy::opens_block(&line) { self.read_block(start)? } else { Vec::new() };
            match legacy::parse(&line, &block).map_err(at)? {
                legacy::Legacy::Message(frame) => return Ok(Some(frame)),
                legacy::Legacy::Skipped(name) => {
                    self.warnings.push(format!("line {start}: '{name}' no longer exists, skipped"));
                }
            }
        }
    }

    fn read_block(&mut self, start: u64) -> Result<Vec<String>, DptxtError> {
        let mut block = Vec::new();
        while let Some(line) = self.next_line()? {
            if line == "}" {
                return Ok(block);
            }
            block.push(line);
        }
        let source = LineError::Legacy("the block that begins here is not closed".into());
        Err(DptxtError::Line { line: start, source })
    }

    /// The next line that is neither blank nor a comment, trimmed.
    fn next_line(&mut self) -> Result<Option<String>, DptxtError> {
        loop {
            self.line += 1;
            let line = self.line;
            let read = self.encoding.read_line(&mut self.input);
            let text = read.map_err(|source| DptxtError::Io { line, source })?;
            if text.is_empty() {
                self.line -= 1;
                return Ok(None);
            }
            let text = text.trim().trim_start_matches('\u{feff}');
            if !text.is_empty() && !text.starts_with('#') {
                return Ok(Some(text.to_owned()));
            }
        }
    }
}

/// Guesses whether a line has the form before 2.2.
fn looks_legacy(line: &str) -> bool {
    match line.split_whitespace().nth(2) {
        Some("{") => legacy::opens_block(line),
        Some(body) => !body.starts_with('{'),
        None => false,
    }
}

/// Writer of a text recording.
#[derive(Debug)]
pub struct DptxtWriter<W> {
    output: W,
    layout: Layout,
    line: u64,
    text: String,
}

impl<W: Write> DptxtWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// When writing fails.
    pub fn new(output: W, header: &Header) -> Result<Self, DptxtError> {
        let mut writer = Self { output, layout: header.layout(), line: 0, text: String::new() };
        for (key, value) in header.members() {
            writer.text = format!("!{key}={}\n", value.replace(['\r', '\n'], " "));
            writer.put()?;
        }
        Ok(writer)
    }

    /// Writes a message. The inner error means that the payload is invalid, so it has no text form.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write(&mut self, frame: FrameRef<'_>) -> Result<Result<(), DecodeError>, DptxtError> {
        self.text.clear();
        if let Err(e) = write_line(frame, self.layout, &mut self.text) {
            return Ok(Err(e));
        }
        self.text.push('\n');
        self.put()?;
        Ok(Ok(()))
    }

    fn put(&mut self) -> Result<(), DptxtError> {
        self.line += 1;
        let line = self.line;
        self.output.write_all(self.text.as_bytes()).map_err(|source| DptxtError::Io { line, source })
    }

    /// Flushes and returns the output.
    ///
    /// # Errors
    /// When flushing fails.
    pub fn finish(mut self) -> Result<W, DptxtError> {
        let line = self.line;
        self.output.flush().map_err(|source| DptxtError::Io { line, source })?;
        Ok(self.output)
    }
}
