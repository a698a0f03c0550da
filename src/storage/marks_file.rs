//! Files of time marks: when a history had which length, beside its history file. Source:
//! docs/spec/storage.md#time-marks.
//!
//! They are only of use to cut a history back to a time. Whatever is wrong with one, the session goes on without.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use flate2::Crc;

use super::file_names;
use crate::rules::undo::times::{MarksWrite, Origin, OriginKind, TimeMark};

const MAGIC: &[u8; 8] = b"DHTIMES1";
const HEADER_LEN: usize = 32;
const MARK_LEN: usize = 24;
/// Size in bytes of a file of which no more is read.
const MAX_LEN: u64 = 4 << 20;

/// The content of a file of time marks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StoredMarks {
    pub(super) origin: Origin,
    /// Number of the history file that this one replaced, 0 if there was none.
    pub(super) previous: u32,
    /// Somebody has joined since the history began.
    pub(super) has_joined: bool,
    pub(super) marks: Vec<TimeMark>,
    /// What follows is damaged.
    pub(super) is_damaged: bool,
}

/// A file of time marks that is written to.
#[derive(Debug)]
pub(super) struct MarksFile {
    file: File,
    /// Number of marks in it.
    count: usize,
}

fn with_crc<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    let sum = crc(&bytes[..N - 4]);
    bytes[N - 4..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Where the header says whether somebody has joined.
const JOINED_AT: usize = 9;

fn header(origin: Origin, previous: u32, has_joined: bool) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8] = origin.kind as u8;
    bytes[JOINED_AT] = u8::from(has_joined);
    bytes[12..16].copy_from_slice(&previous.to_le_bytes());
    bytes[16..24].copy_from_slice(&origin.image_of.unwrap_or(u64::MAX).to_le_bytes());
    with_crc(bytes)
}

/// The bytes of marks. One with more than 2^32 messages ends them: nobody uses such a history.
fn records(marks: &[TimeMark]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(marks.len() * MARK_LEN);
    for mark in marks {
        let Ok(messages) = u32::try_from(mark.messages) else { break };
        let mut record = [0; MARK_LEN];
        record[..8].copy_from_slice(&mark.utc_ms.to_le_bytes());
        record[8..16].copy_from_slice(&mark.size.to_le_bytes());
        record[16..20].copy_from_slice(&messages.to_le_bytes());
        bytes.extend_from_slice(&with_crc(record));
    }
    bytes
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn is_whole(record: &[u8]) -> bool {
    let end = record.len() - 4;
    crc(&record[..end]) == u32_at(record, end)
}

fn parse(bytes: &[u8], history_size: u64) -> StoredMarks {
    let Some((head, rest)) = bytes.split_at_checked(HEADER_LEN).filter(|(h, _)| is_whole(h)) else {
        return StoredMarks { is_damaged: true, ..StoredMarks::default() };
    };
    let (Some(kind), true) = (OriginKind::of_number(head[8]), head.starts_with(MAGIC)) else {
        return StoredMarks { is_damaged: true, ..StoredMarks::default() };
    };
    let image_of = Some(u64_at(head, 16)).filter(|size| *size != u64::MAX);
    let mut stored = StoredMarks {
        origin: Origin { kind, image_of },
        previous: u32_at(head, 12),
        has_joined: head[JOINED_AT] != 0,
        ..StoredMarks::default()
    };
    for record in rest.chunks(MARK_LEN) {
        if record.len() < MARK_LEN || !is_whole(record) {
            stored.is_damaged = true;
            break;
        }
        let mark = TimeMark {
            utc_ms: u64_at(record, 0).cast_signed(),
            size: u64_at(record, 8),
            messages: u64::from(u32_at(record, 16)),
        };
        let follows = |last: &TimeMark| mark.size >= last.size && mark.messages >= last.messages;
        // The history may have lost its end in a crash of the machine.
        if mark.size > history_size || !stored.marks.last().is_none_or(follows) {
            stored.is_damaged = true;
            break;
        }
        stored.marks.push(mark);
    }
    stored
}

/// Reads the time marks of a history file, whose messages have this size; `None` if it has none.
///
/// # Errors
/// When they cannot be read.
pub(super) fn read(dir: &Path, history_name: &str, history_size: u64) -> io::Result<Option<StoredMarks>> {
    let Some(name) = file_names::marks(history_name) else { return Ok(None) };
    let file = match File::open(dir.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = vec![0; file.metadata()?.len().min(MAX_LEN) as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(Some(parse(&bytes, history_size)))
}

/// Whether it is stored that somebody has joined since this history began; not if the file is missing or damaged.
pub(super) fn has_joined(dir: &Path, history_name: &str) -> bool {
    let Some(name) = file_names::marks(history_name) else { return false };
    let mut head = [0; HEADER_LEN];
    let read = File::open(dir.join(name)).and_then(|file| file.read_exact_at(&mut head, 0));
    read.is_ok() && parse(&head, u64::MAX).has_joined
}

impl MarksFile {
    /// Opens the file of a history to write on behind these marks.
    ///
    /// # Errors
    /// When it cannot be opened, or what is damaged cannot be cut off.
    pub(super) fn open(dir: &Path, history_name: &str, count: usize) -> io::Result<MarksFile> {
        let name = file_names::marks(history_name).ok_or(io::ErrorKind::InvalidInput)?;
        let file = OpenOptions::new().read(true).write(true).open(dir.join(name))?;
        file.set_len((HEADER_LEN + count * MARK_LEN) as u64)?;
        Ok(MarksFile { file, count })
    }

    /// Writes a new file, which replaces the one that there is; also returns its content.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn create(
        dir: &Path,
        history_name: &str,
        write: &MarksWrite,
        previous: u32,
        has_joined: bool,
    ) -> io::Result<(MarksFile, Vec<u8>)> {
        let name = file_names::marks(history_name).ok_or(io::ErrorKind::InvalidInput)?;
        let new = dir.join(format!("{name}{}", file_names::NEW));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).open(&new)?;
        let bytes = [&header(write.origin, previous, has_joined)[..], &records(&write.marks)].concat();
        let written = file.write_all_at(&bytes, 0).and_then(|()| fs::rename(&new, dir.join(name)));
        written.inspect_err(|_| drop(fs::remove_file(&new)))?;
        Ok((MarksFile { file, count: write.marks.len() }, bytes))
    }

    /// Notes that somebody has joined since the history began.
    ///
    /// # Errors
    /// When that cannot be written.
    pub(super) fn set_joined(&mut self) -> io::Result<()> {
        let mut head = [0; HEADER_LEN];
        self.file.read_exact_at(&mut head, 0)?;
        head[JOINED_AT] = 1;
        self.file.write_all_at(&with_crc(head), 0)
    }

    /// The whole content.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn content(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; HEADER_LEN + self.count * MARK_LEN];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Appends marks; returns the bytes and their offset.
    ///
    /// # Errors
    /// When they cannot be written, or marks before them are missing.
    pub(super) fn append(&mut self, write: &MarksWrite) -> io::Result<(u64, Vec<u8>)> {
        if write.from != self.count {
            return Err(io::Error::other("marks are missing"));
        }
        let (at, bytes) = ((HEADER_LEN + self.count * MARK_LEN) as u64, records(&write.marks));
        self.file.write_all_at(&bytes, at)?;
        self.count += write.marks.len();
        Ok((at, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "a_r2.dprec";
    const FILE: &str = "a_r2.times";

    fn mark(n: u64) -> TimeMark {
        TimeMark { utc_ms: 1_700_000_000_000 + n as i64 * 1000, messages: n, size: n * 10 }
    }

    fn write(from: usize, numbers: std::ops::Range<u64>) -> MarksWrite {
        let origin = Origin { kind: OriginKind::Current, image_of: Some(77) };
        MarksWrite { from, marks: numbers.map(mark).collect(), origin }
    }

    fn stored() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = MarksFile::create(dir.path(), NAME, &write(0, 0..2), 1, false).unwrap();
        file.append(&write(2, 2..5)).unwrap();
        dir
    }

    fn read_marks(dir: &Path, size: u64) -> StoredMarks {
        read(dir, NAME, size).unwrap().unwrap()
    }

    #[test]
    fn marks_are_read_as_they_were_written() {
        let dir = stored();
        let read = read_marks(dir.path(), 1000);
        let marks: Vec<TimeMark> = (0..5).map(mark).collect();
        assert_eq!(
            read,
            StoredMarks {
                origin: write(0, 0..0).origin,
                previous: 1,
                has_joined: false,
                marks,
                is_damaged: false
            }
        );
        assert!(super::read(dir.path(), "a.dprec", 9).unwrap().is_none());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn that_somebody_has_joined_is_noted_in_place() {
        let dir = stored();
        let before = read_marks(dir.path(), 1000);
        assert!(!has_joined(dir.path(), NAME) && !has_joined(dir.path(), "b.dprec"));
        let mut file = MarksFile::open(dir.path(), NAME, 5).unwrap();
        file.set_joined().unwrap();
        file.append(&write(5, 5..6)).unwrap();
        assert!(has_joined(dir.path(), NAME));
        let mut marks = before.marks.clone();
        marks.push(mark(5));
        assert_eq!(read_marks(dir.path(), 1000), StoredMarks { has_joined: true, marks, ..before });
    }

    #[test]
    fn marks_behind_a_damaged_one_or_behind_the_history_are_ignored() {
        let dir = stored();
        let path = dir.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        for at in HEADER_LEN..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            let read = read_marks(dir.path(), 1000);
            assert!(read.is_damaged && read.marks.len() == (at - HEADER_LEN) / MARK_LEN, "{at}");
        }
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            let read = read_marks(dir.path(), 1000);
            assert_eq!(read.marks.len(), len.saturating_sub(HEADER_LEN) / MARK_LEN, "{len}");
            let is_cut = len < HEADER_LEN || !(len - HEADER_LEN).is_multiple_of(MARK_LEN);
            assert_eq!(read.is_damaged, is_cut, "{len}");
        }
        fs::write(&path, &whole).unwrap();
        assert_eq!(read_marks(dir.path(), 25).marks.len(), 3, "the history has lost its end");
    }

    #[test]
    fn a_damaged_header_leaves_nothing() {
        let dir = stored();
        let path = dir.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        for at in 0..HEADER_LEN {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            let read = read_marks(dir.path(), 1000);
            assert!(read.is_damaged && read.marks.is_empty(), "{at}");
        }
    }

    #[test]
    fn writing_goes_on_where_the_marks_were_whole() {
        let dir = stored();
        let path = dir.path().join(FILE);
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(HEADER_LEN + 3 * MARK_LEN + 5);
        fs::write(&path, &bytes).unwrap();
        let mut file = MarksFile::open(dir.path(), NAME, 3).unwrap();
        assert!(file.append(&write(4, 4..5)).is_err(), "one is missing");
        file.append(&write(3, 8..9)).unwrap();
        let read = read_marks(dir.path(), 1000);
        assert_eq!(read.marks, [mark(0), mark(1), mark(2), mark(8)]);
        assert!(!read.is_damaged);
    }
}
