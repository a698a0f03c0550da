//! History files: a header and the session's messages, to the end of the file. Source:
//! docs/spec/storage.md#history-file-format.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::frame::{FrameHeader, HEADER_LEN};
use drawhall_protocol::from_json;
use drawhall_protocol::message::{Join, Leave, ServerCommand};
use drawhall_protocol::recording::Header;
use drawhall_protocol::recording::dprec::{DprecError, DprecReader, MAGIC, header_bytes};
use serde_json::Value;

use super::syncer::SyncFile;

/// Size in bytes of the pieces that a history is read and indexed in.
pub const INDEX_ENTRY_BYTES: usize = 256 << 10;
/// Bytes that are read from a file at a time while it is looked through.
const SCAN_BYTES: usize = 1 << 20;

/// A history file that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// It cannot be opened or read.
    #[error("cannot read the history file {name}: {source}")]
    Io {
        /// The file.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// Its header is none.
    #[error("history file {name}: {source}")]
    Header {
        /// The file.
        name: String,
        /// Why.
        source: DprecError,
    },
    /// Its header names no protocol version.
    #[error("history file {name}: its header names no protocol version ({version:?})")]
    NoVersion {
        /// The file.
        name: String,
        /// What stands there.
        version: Option<String>,
    },
    /// It is of another server number.
    #[error("history file {name}: protocol version {version} is not of this server")]
    OtherServer {
        /// The file.
        name: String,
        /// The version.
        version: ProtocolVersion,
    },
    /// There is no whole message in it.
    #[error("history file {0} holds no message: the session is empty")]
    Empty(String),
}

/// A history file that is open. Positions are offsets on the axis of the log, see [`crate::history::log`].
#[derive(Debug)]
pub struct HistoryFile {
    pub(super) sync: Arc<SyncFile>,
    /// Where on the axis the file begins, header included.
    origin: i64,
}

impl HistoryFile {
    pub(super) fn new(sync: Arc<SyncFile>, origin: i64) -> Arc<HistoryFile> {
        Arc::new(HistoryFile { sync, origin })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.sync.path()
    }

    /// Reads `len` bytes from a position on; blocks.
    ///
    /// # Errors
    /// When they cannot be read, or are not there.
    pub fn read_at(&self, from: i64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.read_into(from, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills a buffer from a position on; blocks.
    ///
    /// # Errors
    /// When there is not enough, or it cannot be read.
    pub fn read_into(&self, from: i64, buffer: &mut [u8]) -> io::Result<()> {
        self.sync.file.read_exact_at(buffer, (from - self.origin) as u64)
    }

    /// Writes at a position; writing the same again does no harm.
    pub(super) fn write_at(&self, to: i64, bytes: &[u8]) -> io::Result<()> {
        self.sync.file.write_all_at(bytes, (to - self.origin) as u64)
    }

    /// The offset in the file of a position.
    pub(super) fn offset_of(&self, position: i64) -> u64 {
        (position - self.origin) as u64
    }
}

/// The header of a history file: everything before its first message.
#[derive(Debug, Clone)]
pub struct HistoryHeader {
    /// Protocol version of the session.
    pub protocol: ProtocolVersion,
    /// Offset of the first message.
    pub first_message: u64,
    /// Size of the file.
    pub size: u64,
}

/// Opens a history file for reading and writing.
pub(super) fn open(path: &Path, name: &str) -> Result<Arc<SyncFile>, HistoryError> {
    let opened = SyncFile::open(OpenOptions::new().read(true).write(true), path);
    opened.map_err(|source| HistoryError::Io { name: name.to_owned(), source })
}

/// Reads the header, and whether a message could follow it.
pub(super) fn read_header(file: &File, name: &str) -> Result<HistoryHeader, HistoryError> {
    let io_error = |source| HistoryError::Io { name: name.to_owned(), source };
    let name = || name.to_owned();
    let reader = DprecReader::new(BufReader::with_capacity(256, file));
    let reader = reader.map_err(|source| HistoryError::Header { name: name(), source })?;
    let version = reader.header().get("version");
    let protocol: ProtocolVersion = version
        .and_then(|v| v.parse().ok())
        .ok_or_else(|| HistoryError::NoVersion { name: name(), version: version.map(str::to_owned) })?;
    if !protocol.is_hostable() {
        return Err(HistoryError::OtherServer { name: name(), version: protocol });
    }
    let (first_message, size) = (reader.offset(), file.metadata().map_err(io_error)?.len());
    let mut head = [0; HEADER_LEN];
    let whole = size >= first_message + HEADER_LEN as u64 && {
        file.read_exact_at(&mut head, first_message).map_err(io_error)?;
        FrameHeader::parse(&head).is_some_and(|h| size >= first_message + h.frame_len() as u64)
    };
    if !whole
        || (head == [0; HEADER_LEN]
            && size - first_message < SCAN_BYTES as u64
            && !has_content(file, first_message, size).map_err(io_error)?)
    {
        return Err(HistoryError::Empty(name()));
    }
    Ok(HistoryHeader { protocol, first_message, size })
}

/// Whether there is anything but zero bytes.
fn has_content(file: &File, from: u64, to: u64) -> io::Result<bool> {
    let mut bytes = vec![0; (to - from) as usize];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes.iter().any(|b| *b != 0))
}

/// A piece of a history: whole messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Size in bytes.
    pub len: u64,
    /// Number of messages.
    pub messages: u64,
}

/// What a history file holds.
#[derive(Debug, Default)]
pub struct Contents {
    /// The messages, in pieces of about [`INDEX_ENTRY_BYTES`].
    pub pieces: Vec<IndexEntry>,
    /// Bytes after the last whole message.
    pub cut: u64,
    /// Users that have joined and not left.
    pub present: BTreeSet<u8>,
    /// User ids in the order in which they joined or left.
    pub touched: Vec<u8>,
    /// The settings that were stored last.
    pub settings: Option<Value>,
}

impl Contents {
    /// Size of all whole messages in bytes.
    pub fn size(&self) -> u64 {
        self.pieces.iter().map(|p| p.len).sum()
    }

    /// Number of all whole messages.
    pub fn messages(&self) -> u64 {
        self.pieces.iter().map(|p| p.messages).sum()
    }

    fn take(&mut self, frame: &[u8], header: FrameHeader) {
        match header.kind {
            Join::TYPE => {
                self.present.insert(header.user);
                self.touched.push(header.user);
            }
            Leave::TYPE => {
                self.present.remove(&header.user);
                self.touched.push(header.user);
            }
            ServerCommand::TYPE => {
                let reply = from_json::<Value>(&frame[HEADER_LEN..]).unwrap_or_default();
                if reply["type"] == "sessionconf" {
                    self.settings = Some(reply["config"].clone());
                }
            }
            _ => {}
        }
    }
}

/// Walks through all messages from `first` on. Messages of type 0 without payload at the end are what a power cut
/// leaves, not messages.
pub(super) fn scan(file: &File, first: u64) -> io::Result<Contents> {
    let mut contents = Contents::default();
    let mut piece = IndexEntry { len: 0, messages: 0 };
    // Blank messages that may turn out to be the end.
    let mut blank = IndexEntry { len: 0, messages: 0 };
    let mut buffer = vec![0; SCAN_BYTES];
    let (mut filled, mut read_to) = (0, first);
    loop {
        let got = read_some(file, &mut buffer[filled..], read_to)?;
        filled += got;
        read_to += got as u64;
        let mut at = 0;
        while let Some(header) = FrameHeader::parse(&buffer[at..filled]) {
            let end = at + header.frame_len();
            if end > filled {
                break;
            }
            if buffer[at..end] == [0; HEADER_LEN] {
                blank.len += HEADER_LEN as u64;
                blank.messages += 1;
            } else {
                piece.len += blank.len + (end - at) as u64;
                piece.messages += blank.messages + 1;
                blank = IndexEntry { len: 0, messages: 0 };
                contents.take(&buffer[at..end], header);
                if piece.len >= INDEX_ENTRY_BYTES as u64 {
                    contents.pieces.push(piece);
                    piece = IndexEntry { len: 0, messages: 0 };
                }
            }
            at = end;
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
        if got == 0 {
            break;
        }
    }
    if piece.messages > 0 {
        contents.pieces.push(piece);
    }
    contents.cut = blank.len + filled as u64;
    Ok(contents)
}

fn read_some(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// What a history file begins with. `fork` is the offset in the previous file that a streamed reset forked at.
pub(super) fn history_header_bytes(protocol: &ProtocolVersion, fork: Option<u64>) -> Vec<u8> {
    let Some(fork) = fork else {
        // A version is never longer than a header can be.
        return header_bytes(&Header::of_version(protocol)).unwrap_or_default();
    };
    let json = format!("{{\"version\":{},\"streamfork\":{fork}}}", Value::from(protocol.to_string()));
    let len = (json.len() as u16).to_be_bytes();
    [MAGIC.as_slice(), &len, json.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use drawhall_protocol::Frame;

    use super::*;

    fn message(kind: u8, user: u8, payload: &[u8]) -> Vec<u8> {
        Frame::new(kind, user, payload).unwrap().as_bytes().to_vec()
    }

    fn file(parts: &[&[u8]]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&parts.concat()).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        file
    }

    fn dp424() -> Vec<u8> {
        history_header_bytes(&ProtocolVersion::dp(4, 24, 0), None)
    }

    #[test]
    fn the_header_of_a_plain_file_has_31_bytes() {
        assert_eq!(dp424().len(), 31);
        let forked = history_header_bytes(&ProtocolVersion::dp(4, 24, 0), Some(3696));
        let opening = read_header(&file(&[&forked, &message(129, 1, b"x")]), "f").unwrap();
        assert_eq!(opening.first_message, forked.len() as u64);
    }

    #[test]
    fn what_is_no_history_is_refused_by_name() {
        let cases: [(&[&[u8]], &str); 7] = [
            (&[b"nonsense"], "history file f: not a binary recording"),
            (&[b"DPREC\0\0\x02[]"], "history file f: the header is no JSON object"),
            (&[b"DPREC\0\0\x02{}"], "names no protocol version (None)"),
            (&[b"DPREC\0\0\x10{\"version\":\"xx\"}"], "names no protocol version (Some(\"xx\"))"),
            (
                &[b"DPREC\0\0\x17{\"version\":\"dp:5.24.0\"}", b"\0\x01\x81\x01x"],
                "dp:5.24.0 is not of this server",
            ),
            (&[b"DPREC\0\0\x17{\"version\":\"dp:4.24.0\"}"], "holds no message"),
            (&[b"DPREC\0\0\x17{\"version\":\"dp:4.24.0\"}", &[0; 4096]], "holds no message"),
        ];
        for (parts, words) in cases {
            let error = read_header(&file(parts), "f").unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn everything_after_the_last_whole_message_is_cut() {
        let whole =
            [message(129, 1, &[7; 16]), message(32, 2, b"x"), message(33, 2, b""), message(32, 3, b"y")]
                .concat();
        for tail in [&b""[..], b"\0", b"\0\x05\x81\x01abc", &[0; 4096], &[0; 4097], b"\0\0\0\0\xff\xff\x81"] {
            let contents = scan(&file(&[&dp424(), &whole, tail]), 31).unwrap();
            assert_eq!((contents.size(), contents.messages()), (whole.len() as u64, 4), "{tail:?}");
            assert_eq!(contents.cut, tail.len() as u64);
            assert_eq!(contents.present, [3].into());
            assert_eq!(contents.touched, [2, 2, 3]);
        }
    }

    #[test]
    fn blank_messages_between_others_stay() {
        let bytes =
            [message(0, 0, b""), message(129, 1, b"x"), message(0, 0, b""), message(148, 1, b"y")].concat();
        let contents = scan(&file(&[&bytes]), 0).unwrap();
        assert_eq!((contents.messages(), contents.cut), (4, 0));
    }

    #[test]
    fn a_long_history_is_indexed_in_pieces() {
        let messages: Vec<Vec<u8>> = (0..100u8).map(|n| message(148, n, &vec![n; 60_000])).collect();
        let contents = scan(&file(&[&messages.concat()]), 0).unwrap();
        assert_eq!((contents.messages(), contents.size()), (100, 100 * 60_004));
        assert_eq!(contents.pieces.len(), 20);
        assert!(contents.pieces.iter().all(|p| p.len <= (INDEX_ENTRY_BYTES + 65_540) as u64));
    }

    #[test]
    fn the_settings_that_were_stored_last_are_known() {
        let conf = |n: u8| {
            message(0, 0, format!("{{\"type\":\"sessionconf\",\"config\":{{\"n\":{n}}}}}").as_bytes())
        };
        let contents =
            scan(&file(&[&conf(1), &conf(2), &message(0, 0, b"{\"type\":\"caughtup\"}")]), 0).unwrap();
        assert_eq!(contents.settings.unwrap()["n"], 2);
    }
}
