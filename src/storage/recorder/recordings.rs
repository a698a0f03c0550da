//! The recordings that there are, of this run of the server and of earlier ones.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::path::Path;

use drawhall_protocol::frame::frames;
use drawhall_protocol::message::{FeatureAccessLevels, FeatureLimits, Message};
use drawhall_protocol::recording::dprec::DprecReader;

use super::files::{changed, inode, open_recording, without_extension};
use super::{Recorder, completed, home};

/// Recordings that are listed at most: those that were written last.
pub const MAX_LISTED: usize = 500;
/// Placeholders for a session in a name for which the session is looked for: each more multiplies the work.
const MAX_SESSION_PARTS: usize = 2;

/// A recording that a server has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingFile {
    /// Name of the file.
    pub name: String,
    /// Id of the session, or its alias if the name has only that; `None` if it has neither.
    pub session: Option<String>,
    /// Bytes.
    pub size: u64,
    /// When it was last written, seconds since 1970.
    pub changed: u64,
    /// It is being written.
    pub is_open: bool,
}

/// Recordings, those that were written last first.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RecordingList {
    /// At most [`MAX_LISTED`].
    pub recordings: Vec<RecordingFile>,
    /// There are others, which are older.
    pub has_more: bool,
}

/// Why a recording is not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is larger than wanted.
    #[error("the recording is too large")]
    TooLarge,
    /// The disk fails.
    #[error("the recording cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl Recorder {
    /// Lists the recordings in the directory itself, but not in those that placeholders make in it; blocks.
    ///
    /// # Errors
    /// When the directory cannot be read. Without it there are none.
    pub fn list(&self) -> io::Result<RecordingList> {
        let pattern = completed(&self.pattern, &home());
        // The newest are kept.
        let mut newest = BinaryHeap::new();
        let mut has_more = false;
        for (name, file) in self.files()?.flatten() {
            newest.push(Reverse((changed(&file), name)));
            if newest.len() > MAX_LISTED {
                newest.pop();
                has_more = true;
            }
        }
        let open = self.open_inodes();
        let parts = parts_of(pattern.rsplit('/').next().unwrap_or_default());
        let described = |Reverse((_, name)): Reverse<(u64, String)>| {
            let (_, file) = open_recording(&self.path_of(&name)).ok().flatten()?;
            Some(RecordingFile {
                session: session_of(&parts, &name),
                name,
                size: file.len(),
                changed: changed(&file),
                is_open: open.contains(&inode(&file)),
            })
        };
        // Sorted by what is reversed: the newest first.
        let recordings = newest.into_sorted_vec().into_iter().filter_map(described).collect();
        Ok(RecordingList { recordings, has_more })
    }

    /// Reads a recording of this name, without what is put at the beginning of all although its protocol version does not
    /// have it; blocks. `None` if there is none in the directory. One that is being written may end within a message.
    ///
    /// # Errors
    /// When it has more than `max` bytes, or the disk fails.
    pub fn read(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let is_name = Path::new(name).file_name() == Some(OsStr::new(name)) && !name.contains('\0');
        if !is_name || !self.may_be_named(name) {
            return Ok(None);
        }
        let Some((file, metadata)) = open_recording(&self.path_of(name))? else { return Ok(None) };
        let mut bytes = Vec::new();
        if metadata.len() <= max {
            file.take(max + 1).read_to_end(&mut bytes)?;
        }
        if metadata.len().max(bytes.len() as u64) > max {
            return Err(ReadError::TooLarge);
        }
        leave_out_limits(&mut bytes);
        Ok(Some(bytes))
    }
}

/// Leaves out the `FeatureLimits` at the beginning, if the protocol version does not have that message.
fn leave_out_limits(recording: &mut Vec<u8>) {
    let Ok(reader) = DprecReader::new(recording.as_slice()) else { return };
    let messages = reader.messages_in(recording);
    let mut first = frames(messages);
    let (Some(access), Some(limits)) = (first.next(), first.next()) else { return };
    let begin = recording.len() - messages.len() + access.bytes.len();
    let is_ours =
        access.header.kind == FeatureAccessLevels::TYPE && limits.header.kind == FeatureLimits::TYPE;
    let is_unknown = reader.header().version().is_some_and(|version| {
        Message::from_frame(limits, version.layout()).is_err_and(|error| error.is_unknown_type())
    });
    if is_ours && is_unknown {
        let end = begin + limits.bytes.len();
        recording.drain(begin..end);
    }
}

/// A part of the pattern of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// Digits, and other characters as they are.
    Digits(&'static str),
    Id,
    Alias,
}

/// The parts of the pattern of a file name, without its extension.
fn parts_of(pattern: &str) -> Vec<Part> {
    const PLACEHOLDERS: [(&str, Part); 5] = [
        ("%d", Part::Digits("0000-00-00")),
        ("%t", Part::Digits("00.00.00")),
        ("%h", Part::Digits("00.00.00")),
        ("%i", Part::Id),
        ("%a", Part::Alias),
    ];
    let mut parts = Vec::new();
    let mut left = without_extension(pattern);
    while let Some(first) = left.chars().next() {
        let placeholder = PLACEHOLDERS.iter().find(|(placeholder, _)| left.starts_with(placeholder));
        let len = placeholder.map_or(first.len_utf8(), |(placeholder, _)| placeholder.len());
        match (placeholder, parts.last_mut()) {
            (Some((_, part)), _) => parts.push(part.clone()),
            (None, Some(Part::Text(text))) => text.push(first),
            (None, _) => parts.push(Part::Text(first.to_string())),
        }
        left = &left[len..];
    }
    parts
}

/// The id of the session in a file name, or else its alias.
fn session_of(parts: &[Part], name: &str) -> Option<String> {
    if parts.iter().filter(|part| matches!(part, Part::Id | Part::Alias)).count() > MAX_SESSION_PARTS {
        return None;
    }
    let stem = without_extension(name);
    let names = matching(parts, stem).or_else(|| matching(parts, without_number(stem)?))?;
    names.id.or(names.alias).map(str::to_owned)
}

/// The name without the number that distinguishes it from others.
fn without_number(stem: &str) -> Option<&str> {
    let (name, number) = stem.strip_suffix(')')?.rsplit_once(" (")?;
    (!number.is_empty() && number.bytes().all(|c| c.is_ascii_digit())).then_some(name)
}

/// What a name says of its session.
#[derive(Debug, Default)]
struct SessionNames<'a> {
    id: Option<&'a str>,
    alias: Option<&'a str>,
}

fn matching<'a>(parts: &[Part], text: &'a str) -> Option<SessionNames<'a>> {
    let Some((part, rest)) = parts.split_first() else {
        return text.is_empty().then(SessionNames::default);
    };
    match part {
        Part::Text(expected) => matching(rest, text.strip_prefix(expected.as_str())?),
        Part::Digits(form) => {
            let (value, after) = text.split_at_checked(form.len())?;
            let fits =
                |(wanted, c): (char, char)| if wanted == '0' { c.is_ascii_digit() } else { c == wanted };
            form.chars().zip(value.chars()).all(fits).then(|| matching(rest, after))?
        }
        Part::Id | Part::Alias => {
            let longest = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(text.len());
            (1..=longest).rev().find_map(|len| {
                let (value, after) = text.split_at(len);
                let names = matching(rest, after)?;
                Some(match part {
                    Part::Id => SessionNames { id: Some(value), ..names },
                    _ => SessionNames { alias: Some(value), ..names },
                })
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixListener;
    use std::time::{Duration, UNIX_EPOCH};

    use drawhall_protocol::recording::Header;
    use drawhall_protocol::recording::dprec::header_bytes;
    use drawhall_protocol::{Frame, ProtocolVersion};
    use rustix::fs::Mode;

    use super::super::SERVER_RECORDING;
    use super::*;
    use crate::history::Chunk;
    use crate::storage::tests::eventually;

    fn session(pattern: &str, name: &str) -> Option<String> {
        session_of(&parts_of(pattern), name)
    }

    #[test]
    fn the_session_is_where_the_pattern_has_it() {
        let id = "01m5n6p7q8-r9";
        for (pattern, name, expected) in [
            ("%d %t session %i.dprec", "2026-01-02 03.04.05 session 01m5n6p7q8-r9.dprec", Some(id)),
            ("%d %t session %i.dprec", "2026-01-02 03.04.05 session 01m5n6p7q8-r9 (12).dprec", Some(id)),
            ("%d %t session %i.dprec", "2026-01-02 03.04 session 01m5n6p7q8-r9.dprec", None),
            ("%d %t session %i.dprec", "2026-01-0x 03.04.05 session 01m5n6p7q8-r9.dprec", None),
            ("%i", "01m5n6p7q8-r9", Some(id)),
            ("%i", "01m5n6p7q8-r9 (1).dprec", Some(id)),
            ("%a-%i.DPREC", "lobby-01m5.dprec", Some("01m5")),
            ("%a at %h.dprec", "lobby at 03.04.05.dprec", Some("lobby")),
            ("all.dprec", "all.dprec", None),
            ("%a%a%a.dprec", "abc.dprec", None),
            ("\u{e9}%i.dprec", "\u{e9}x.dprec", Some("x")),
            ("%d%i.dprec", "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}.dprec", None),
        ] {
            assert_eq!(session(pattern, name).as_deref(), expected, "{pattern} {name}");
        }
    }

    fn server_recording() -> Vec<u8> {
        let mut header = Header::of_version(&ProtocolVersion::dp(4, 24, 0));
        header.set(SERVER_RECORDING, "true");
        header_bytes(&header).unwrap()
    }

    fn at(path: &Path, seconds: u64) {
        let time = UNIX_EPOCH + Duration::from_secs(seconds);
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn only_recordings_of_servers_in_the_directory_itself_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let (inside, outside) = (folder.path().join("rec"), folder.path().join("out.dprec"));
        let recorder = Recorder::start(inside.join("%i.dprec").to_str().unwrap()).unwrap();
        assert_eq!(recorder.list().unwrap(), RecordingList::default(), "there is no directory yet");
        assert!(recorder.read("a.dprec", 1000).unwrap().is_none());
        fs::create_dir_all(inside.join("sub.dprec")).unwrap();
        let recording = server_recording();
        fs::write(&outside, &recording).unwrap();
        for name in ["a.dprec", "b (1).dprec", "c.txt", "sub.dprec/d.dprec"] {
            fs::write(inside.join(name), &recording).unwrap();
        }
        let of_a_client = header_bytes(&Header::of_version(&ProtocolVersion::dp(4, 24, 0))).unwrap();
        fs::write(inside.join("client.dprec"), of_a_client).unwrap();
        fs::write(inside.join("text.dprec"), "text").unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("link.dprec")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, inside.join("pipe.dprec"), Mode::RUSR).unwrap();
        fs::write(inside.join("locked.dprec"), "text").unwrap();
        fs::set_permissions(inside.join("locked.dprec"), fs::Permissions::from_mode(0o000)).unwrap();
        let _socket = UnixListener::bind(inside.join("socket.dprec")).unwrap();
        at(&inside.join("a.dprec"), 1000);
        at(&inside.join("b (1).dprec"), 2000);
        let file = |name: &str, session: &str, changed| RecordingFile {
            name: name.to_owned(),
            session: Some(session.to_owned()),
            size: recording.len() as u64,
            changed,
            is_open: false,
        };
        let expected = vec![file("b (1).dprec", "b", 2000), file("a.dprec", "a", 1000)];
        assert_eq!(recorder.list().unwrap(), RecordingList { recordings: expected, has_more: false });
        let size = recording.len() as u64;
        assert_eq!(recorder.read("a.dprec", size).unwrap(), Some(recording));
        assert!(matches!(recorder.read("a.dprec", size - 1), Err(ReadError::TooLarge)));
        let outside = outside.to_str().unwrap();
        let inside = inside.join("a.dprec");
        let paths = ["../out.dprec", outside, inside.to_str().unwrap(), "sub.dprec/d.dprec", "./a.dprec"];
        let long = format!("{}.dprec", "x".repeat(1000));
        for name in paths.into_iter().chain(["", ".", "..", "a.dprec/", "a.dprec/.", "a.dprec\0", &long]) {
            assert!(recorder.read(name, 1000).unwrap().is_none(), "{name}");
        }
        let others =
            ["link", "pipe", "socket", "locked", "sub", "client", "text"].map(|n| format!("{n}.dprec"));
        for name in others.iter().map(String::as_str).chain(["c.txt"]) {
            assert!(recorder.read(name, 1000).unwrap().is_none(), "{name}");
        }
    }

    #[test]
    fn limits_that_the_protocol_version_does_not_have_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::start(folder.path().join("%i.dprec").to_str().unwrap()).unwrap();
        let types_of = |version: ProtocolVersion, id: &str| -> Vec<u8> {
            let recording = recorder.recording(id, "");
            let stroke = Frame::new(148, 1, b"x").unwrap().into_bytes();
            recording.begin(&version, vec![Chunk::Memory(stroke)]);
            let read = || recorder.read(&format!("{id}.dprec"), 1000).unwrap();
            let bytes = eventually("the recording has begun", read);
            let reader = DprecReader::new(bytes.as_slice()).unwrap();
            frames(reader.messages_in(&bytes)).map(|frame| frame.header.kind).collect()
        };
        assert_eq!(types_of(ProtocolVersion::dp(4, 25, 1), "new"), [70, 77, 148]);
        assert_eq!(types_of(ProtocolVersion::dp(4, 24, 0), "old"), [70, 148]);
    }

    #[test]
    fn only_the_newest_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::start(folder.path().join("%i.dprec").to_str().unwrap()).unwrap();
        for number in 0..MAX_LISTED as u64 + 2 {
            let path = folder.path().join(format!("{number}.dprec"));
            fs::write(&path, server_recording()).unwrap();
            at(&path, 1000 + number);
        }
        let list = recorder.list().unwrap();
        assert!(list.has_more && list.recordings.len() == MAX_LISTED);
        assert_eq!(list.recordings[0].name, format!("{}.dprec", MAX_LISTED + 1));
        assert_eq!(list.recordings.last().unwrap().name, "2.dprec");
    }

    #[test]
    fn a_recording_that_is_being_written_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::start(folder.path().join("%i.dprec").to_str().unwrap()).unwrap();
        let recording = recorder.recording("id", "");
        recording.begin(&ProtocolVersion::dp(4, 24, 0), Vec::new());
        let is_open = || recorder.list().unwrap().recordings.first().map(|file| file.is_open);
        eventually("it is being written", || is_open().filter(|is_open| *is_open));
        drop(recording);
        recorder.stop();
        assert_eq!(is_open(), Some(false));
    }
}
