//! Binary recordings (`.dprec`). Source: docs/spec/wire.md#binary-recording.

use std::io::{self, Read, Write};

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::Value;

use super::Header;
use crate::frame::{Frame, FrameHeader, HEADER_LEN};

/// Magic bytes at the start of a file.
pub const MAGIC: &[u8; 6] = b"DPREC\0";

/// A binary recording that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DprecError {
    /// Reading or writing failed.
    #[error("cannot read at offset {offset}: {source}")]
    Io {
        /// Position in the file, in bytes.
        offset: u64,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The file does not start with [`MAGIC`].
    #[error("not a binary recording: it does not begin with DPREC")]
    BadMagic,
    /// The file ends inside the header.
    #[error("the file ends inside its header, at offset {0}")]
    TruncatedHeader(u64),
    /// The header is not a JSON object.
    #[error("the header is no JSON object: {0}")]
    BadHeader(String),
    /// The header exceeds its 16-bit length field.
    #[error("the header of {0} bytes is too long (65535 at most)")]
    HeaderTooLong(usize),
}

/// An incomplete message at the end of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncation {
    /// Position of the incomplete message, in bytes.
    pub offset: u64,
    /// Number of bytes present.
    pub available: u64,
    /// Full length of the message; `None` if even its header is incomplete.
    pub expected: Option<u64>,
}

/// Reader of a binary recording.
#[derive(Debug)]
pub struct DprecReader<R> {
    input: R,
    header: Header,
    offset: u64,
    truncation: Option<Truncation>,
    done: bool,
}

impl<R: Read> DprecReader<R> {
    /// Reads magic and header.
    ///
    /// # Errors
    /// When the file is not a binary recording, or reading fails.
    pub fn new(mut input: R) -> Result<Self, DprecError> {
        let mut start = [0; MAGIC.len() + 2];
        let got = read_full(&mut input, &mut start, 0)?;
        if got < MAGIC.len() || &start[..MAGIC.len()] != MAGIC {
            return Err(DprecError::BadMagic);
        }
        if got < start.len() {
            return Err(DprecError::TruncatedHeader(got as u64));
        }
        let len = usize::from(u16::from_be_bytes([start[6], start[7]]));
        if len == 0 {
            return Err(DprecError::BadHeader("it is empty".into()));
        }
        let mut json = vec![0; len];
        let got = read_full(&mut input, &mut json, start.len() as u64)?;
        if got < len {
            return Err(DprecError::TruncatedHeader((start.len() + got) as u64));
        }
        let header = parse_header(&json)?;
        Ok(Self { input, header, offset: (start.len() + len) as u64, truncation: None, done: false })
    }

    /// The header metadata.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Position of the next message, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The messages of a recording in memory that were not read yet.
    pub fn messages_in<'a>(&self, recording: &'a [u8]) -> &'a [u8] {
        let begin = usize::try_from(self.offset).unwrap_or(usize::MAX);
        recording.get(begin..).unwrap_or_default()
    }

    /// The incomplete message at the end, if there is one. Known once all messages are read.
    pub fn truncation(&self) -> Option<Truncation> {
        self.truncation
    }

    /// The next message; `None` at the end of the file, and where it ends inside a message.
    ///
    /// # Errors
    /// When reading fails.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, DprecError> {
        if self.done {
            return Ok(None);
        }
        let mut head = [0; HEADER_LEN];
        let got = read_full(&mut self.input, &mut head, self.offset)?;
        let Some(header) = FrameHeader::parse(&head[..got]) else {
            self.end(got as u64, None);
            return Ok(None);
        };
        let mut payload = vec![0; usize::from(header.len)];
        let body = read_full(&mut self.input, &mut payload, self.offset + HEADER_LEN as u64)?;
        if body < payload.len() {
            self.end((HEADER_LEN + body) as u64, Some(header.frame_len() as u64));
            return Ok(None);
        }
        self.offset += header.frame_len() as u64;
        let frame = Frame::new(header.kind, header.user, &payload);
        Ok(Some(frame.map_err(|e| DprecError::BadHeader(e.to_string()))?))
    }

    fn end(&mut self, available: u64, expected: Option<u64>) {
        self.done = true;
        if available > 0 {
            self.truncation = Some(Truncation { offset: self.offset, available, expected });
        }
    }
}

/// Reads until `buffer` is full or the input ends. Returns the number of bytes read.
fn read_full(input: &mut impl Read, buffer: &mut [u8], offset: u64) -> Result<usize, DprecError> {
    let mut got = 0;
    while got < buffer.len() {
        match input.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(DprecError::Io { offset: offset + got as u64, source }),
        }
    }
    Ok(got)
}

/// Parses the metadata object, in file order; values that are not strings are kept as JSON.
fn parse_header(json: &[u8]) -> Result<Header, DprecError> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Header;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
            let mut header = Header::default();
            while let Some((key, value)) = map.next_entry::<String, Value>()? {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                header.set(&key, &text);
            }
            Ok(header)
        }
    }
    let mut parser = serde_json::Deserializer::from_slice(json);
    let header = parser.deserialize_map(Members).map_err(|e| DprecError::BadHeader(e.to_string()))?;
    parser.end().map_err(|e| DprecError::BadHeader(e.to_string()))?;
    Ok(header)
}

/// Encodes the start of a binary recording: magic and header.
///
/// # Errors
/// When the header is longer than 65535 bytes.
pub fn header_bytes(header: &Header) -> Result<Vec<u8>, DprecError> {
    let quote = |text: &str| Value::from(text).to_string();
    let members: Vec<_> =
        header.members().iter().map(|(k, v)| format!("{}:{}", quote(k), quote(v))).collect();
    let json = format!("{{{}}}", members.join(","));
    let len = u16::try_from(json.len()).map_err(|_| DprecError::HeaderTooLong(json.len()))?;
    Ok([MAGIC.as_slice(), &len.to_be_bytes(), json.as_bytes()].concat())
}

/// Writer of a binary recording.
#[derive(Debug)]
pub struct DprecWriter<W> {
    output: W,
    offset: u64,
}

impl<W: Write> DprecWriter<W> {
    /// Writes magic and header.
    ///
    /// # Errors
    /// When the header is too long or writing fails.
    pub fn new(mut output: W, header: &Header) -> Result<Self, DprecError> {
        let bytes = header_bytes(header)?;
        output.write_all(&bytes).map_err(|source| DprecError::Io { offset: 0, source })?;
        Ok(Self { output, offset: bytes.len() as u64 })
    }

    /// Appends complete frames.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write(&mut self, frames: &[u8]) -> Result<(), DprecError> {
        let offset = self.offset;
        self.output.write_all(frames).map_err(|source| DprecError::Io { offset, source })?;
        self.offset += frames.len() as u64;
        Ok(())
    }

    /// Flushes and returns the output.
    ///
    /// # Errors
    /// When flushing fails.
    pub fn finish(mut self) -> Result<W, DprecError> {
        let offset = self.offset;
        self.output.flush().map_err(|source| DprecError::Io { offset, source })?;
        Ok(self.output)
    }
}
