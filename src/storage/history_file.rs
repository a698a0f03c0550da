//! History files: a header, then the session's messages to the end of the file. Source:
//! docs/spec/storage.md#history-file-format.

use crate::history::Contents;
use crate::history::HistorySource;
use crate::history::INDEX_ENTRY_BYTES;
use crate::history::IndexEntry;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::frame::{FrameHeader, HEADER_LEN};
use drawhall_protocol::recording::Header;
use drawhall_protocol::recording::dprec::{DprecError, DprecReader, MAGIC, header_bytes};
use serde_json::Value;

use super::syncer::SyncFile;

/// Size of the buffer in bytes when a whole history file is read.
const SCAN_BYTES: usize = 1 << 20;

/// A history file that cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the names say it")]
pub enum HistoryError {
    /// It cannot be opened or read.
    #[error("cannot read the history file {name}: {source}")]
    Io { name: String, source: io::Error },
    /// Its header is malformed.
    #[error("history file {name}: {source}")]
    Header { name: String, source: DprecError },
    /// Its header has no valid protocol version.
    #[error("history file {name}: its header names no protocol version ({version:?})")]
    NoVersion { name: String, version: Option<String> },
    /// The server number of its protocol version is not this server's.
    #[error("history file {name}: protocol version {version} is not supported by this server")]
    OtherServer { name: String, version: ProtocolVersion },
    /// It holds no whole message.
    #[error("history file {0} holds no message: the session is empty")]
    Empty(String),
}

/// An open history file. Positions are offsets of the log, see [`crate::history::log`].
#[derive(Debug)]
pub struct HistoryFile {
    pub(super) sync: Arc<SyncFile>,
    /// Position of the file's first byte, which is that of its header.
    origin: i64,
}

impl HistoryFile {
    pub(super) fn new(sync: Arc<SyncFile>, origin: i64) -> Arc<HistoryFile> {
        Arc::new(HistoryFile { sync, origin })
    }

    /// Writes at a position. Idempotent, so a failed write can be retried.
    pub(super) fn write_at(&self, to: i64, bytes: &[u8]) -> io::Result<()> {
        self.sync.file.write_all_at(bytes, (to - self.origin) as u64)
    }

    /// The offset in the file of a position in the log.
    pub(super) fn offset_of(&self, position: i64) -> u64 {
        (position - self.origin) as u64
    }
}

impl HistorySource for HistoryFile {
    fn path(&self) -> &Path {
        self.sync.path()
    }

    fn read_into(&self, from: i64, buffer: &mut [u8]) -> io::Result<()> {
        self.sync.file.read_exact_at(buffer, (from - self.origin) as u64)
    }
}

/// The header of a history file: everything before its first message.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub struct HistoryHeader {
    pub protocol: ProtocolVersion,
    /// File offset of the first message.
    pub first_message: u64,
    /// Size of the file, header included.
    pub size: u64,
}

/// Opens a history file for reading and writing.
pub(super) fn open(path: &Path, name: &str) -> Result<Arc<SyncFile>, HistoryError> {
    let opened = SyncFile::open(OpenOptions::new().read(true).write(true), path);
    opened.map_err(|source| HistoryError::Io { name: name.to_owned(), source })
}

/// Reads and validates the header, and checks that a whole message follows it.
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

/// Whether there is anything but zero bytes, which a power failure can leave in a file.
fn has_content(file: &File, from: u64, to: u64) -> io::Result<bool> {
    let mut bytes = vec![0; (to - from) as usize];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes.iter().any(|b| *b != 0))
}

/// Reads all messages from file offset `first` on. Zero bytes at the end would parse as messages of type 0 without
/// payload; a power failure leaves them, so they do not count as messages.
pub(super) fn scan(file: &File, first: u64) -> io::Result<Contents> {
    let mut contents = Contents::default();
    let mut entry = IndexEntry { len: 0, messages: 0 };
    // Zero messages that are dropped unless another message follows.
    let mut blank = IndexEntry { len: 0, messages: 0 };
    let mut buffer = vec![0; SCAN_BYTES];
    let (mut filled, mut read_to) = (0, first);
    loop {
        let read = read_some(file, &mut buffer[filled..], read_to)?;
        filled += read;
        read_to += read as u64;
        let mut offset = 0;
        while let Some(header) = FrameHeader::parse(&buffer[offset..filled]) {
            let end = offset + header.frame_len();
            if end > filled {
                break;
            }
            if buffer[offset..end] == [0; HEADER_LEN] {
                blank.len += HEADER_LEN as u64;
                blank.messages += 1;
            } else {
                entry.len += blank.len + (end - offset) as u64;
                entry.messages += blank.messages + 1;
                blank = IndexEntry { len: 0, messages: 0 };
                contents.record(&buffer[offset..end], header);
                if entry.len >= INDEX_ENTRY_BYTES as u64 {
                    contents.index.push(entry);
                    entry = IndexEntry { len: 0, messages: 0 };
                }
            }
            offset = end;
        }
        buffer.copy_within(offset..filled, 0);
        filled -= offset;
        if read == 0 {
            break;
        }
    }
    if entry.messages > 0 {
        contents.index.push(entry);
    }
    contents.torn_bytes = blank.len + filled as u64;
    Ok(contents)
}

fn read_some(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// The header of a new history file. `fork` is the offset in the previous file at which a streamed reset forked.
pub(super) fn history_header_bytes(protocol: &ProtocolVersion, fork: Option<u64>) -> Vec<u8> {
    let Some(fork) = fork else {
        // A version is always short enough for a header.
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

    fn file(chunks: &[&[u8]]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&chunks.concat()).unwrap();
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
        let header = read_header(&file(&[&forked, &message(129, 1, b"x")]), "f").unwrap();
        assert_eq!(header.first_message, forked.len() as u64);
    }

    #[test]
    fn malformed_history_files_are_refused_with_a_reason() {
        let cases: [(&[&[u8]], &str); 7] = [
            (&[b"nonsense"], "history file f: not a binary recording"),
            (&[b"DPREC\0\0\x02[]"], "history file f: the header is no JSON object"),
            (&[b"DPREC\0\0\x02{}"], "names no protocol version (None)"),
            (&[b"DPREC\0\0\x10{\"version\":\"xx\"}"], "names no protocol version (Some(\"xx\"))"),
            (
                &[b"DPREC\0\0\x17{\"version\":\"dp:5.24.0\"}", b"\0\x01\x81\x01x"],
                "dp:5.24.0 is not supported by this server",
            ),
            (&[b"DPREC\0\0\x17{\"version\":\"dp:4.24.0\"}"], "holds no message"),
            (&[b"DPREC\0\0\x17{\"version\":\"dp:4.24.0\"}", &[0; 4096]], "holds no message"),
        ];
        for (chunks, words) in cases {
            let error = read_header(&file(chunks), "f").unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn bytes_after_the_last_whole_message_are_torn() {
        let whole =
            [message(129, 1, &[7; 16]), message(32, 2, b"x"), message(33, 2, b""), message(32, 3, b"y")]
                .concat();
        for tail in [&b""[..], b"\0", b"\0\x05\x81\x01abc", &[0; 4096], &[0; 4097], b"\0\0\0\0\xff\xff\x81"] {
            let contents = scan(&file(&[&dp424(), &whole, tail]), 31).unwrap();
            assert_eq!((contents.size(), contents.messages()), (whole.len() as u64, 4), "{tail:?}");
            assert_eq!(contents.torn_bytes, tail.len() as u64);
            assert_eq!(contents.present, [3].into());
            assert_eq!(contents.touched, [2, 2, 3]);
        }
    }

    #[test]
    fn zero_messages_between_others_are_kept() {
        let bytes =
            [message(0, 0, b""), message(129, 1, b"x"), message(0, 0, b""), message(148, 1, b"y")].concat();
        let contents = scan(&file(&[&bytes]), 0).unwrap();
        assert_eq!((contents.messages(), contents.torn_bytes), (4, 0));
    }

    #[test]
    fn a_long_history_gets_an_index_of_many_entries() {
        let messages: Vec<Vec<u8>> = (0..100u8).map(|n| message(148, n, &vec![n; 60_000])).collect();
        let contents = scan(&file(&[&messages.concat()]), 0).unwrap();
        assert_eq!((contents.messages(), contents.size()), (100, 100 * 60_004));
        assert_eq!(contents.index.len(), 20);
        assert!(contents.index.iter().all(|p| p.len <= (INDEX_ENTRY_BYTES + 65_540) as u64));
    }

    #[test]
    fn scan_finds_the_latest_session_settings() {
        let conf = |n: u8| {
            message(0, 0, format!("{{\"type\":\"sessionconf\",\"config\":{{\"n\":{n}}}}}").as_bytes())
        };
        let contents =
            scan(&file(&[&conf(1), &conf(2), &message(0, 0, b"{\"type\":\"caughtup\"}")]), 0).unwrap();
        assert_eq!(contents.settings.unwrap()["n"], 2);
    }
}
