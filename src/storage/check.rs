//! Listing, checking and repairing stored sessions offline, for the commands `sessions`, `check` and `repair`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use drawhall_protocol::ProtocolVersion;

use super::file_names;
use super::history_file::{self, HistoryError, HistoryHeader};
use super::session_dir::{self, SessionDirError};
use crate::history::Contents;
use crate::rules::journal::{Entry, Line, parse_line};
use crate::rules::metadata::{Metadata, Replay};

/// A defect of a stored session.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Problem {
    /// The journal cannot be read.
    UnreadableJournal(io::Error),
    /// A line of the journal is ignored when it is loaded.
    JournalLine(String),
    /// The last line of the journal does not end with a line feed.
    TornJournal,
    /// The history file that the journal names does not exist, or it names none.
    NoHistory(Option<String>),
    /// The history cannot be loaded.
    History(HistoryError),
    /// The history ends with an incomplete message.
    CutHistory {
        name: String,
        /// Offset behind the last whole message.
        end: u64,
        /// Bytes behind that.
        bytes: u64,
    },
    /// A history file of the session that is not the current one.
    LeftOver(String),
}

impl Problem {
    /// Whether it prevents the session from being loaded.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::UnreadableJournal(_) | Self::NoHistory(_) | Self::History(_))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnreadableJournal(error) => write!(f, "the journal cannot be read: {error}"),
            Self::JournalLine(text) => write!(f, "journal, {text}"),
            Self::TornJournal => write!(f, "the last line of the journal is torn"),
            Self::NoHistory(None) => write!(f, "the journal names no history file"),
            Self::NoHistory(Some(name)) => write!(f, "the history file {name} is missing"),
            Self::History(error) => error.fmt(f),
            Self::CutHistory { name, end, bytes } => {
                write!(f, "{name}: {bytes} bytes from offset {end} on are no whole message")
            }
            Self::LeftOver(name) => write!(f, "{name} is left over from an interrupted operation"),
        }
    }
}

/// A session as its files describe it.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Inspected {
    pub id: String,
    /// File name of the journal.
    pub journal: String,
    pub metadata: Metadata,
    /// Protocol version, if the history can be read.
    pub protocol: Option<ProtocolVersion>,
    /// Size of the history in bytes: of its whole messages when it was read, else of the file without its header.
    pub size: u64,
    /// Number of messages, if the history was read.
    pub messages: Option<u64>,
    /// When the journal or the history file was last written.
    pub last_use: Option<SystemTime>,
    pub problems: Vec<Problem>,
}

/// Inspects all sessions of a directory; with `thorough`, reads their histories too. Changes nothing and takes no
/// lock, so a server may be using the directory.
///
/// # Errors
/// When the directory cannot be read.
pub fn inspect(path: &Path, thorough: bool) -> Result<Vec<Inspected>, SessionDirError> {
    let io_error = |source| SessionDirError::Io { path: path.to_owned(), source };
    let files = session_dir::file_names(path).map_err(io_error)?;
    let mut sessions: BTreeMap<String, Inspected> = BTreeMap::new();
    for name in &files {
        let Some(id) = file_names::journal_id(name).filter(|id| !sessions.contains_key(*id)) else {
            continue;
        };
        sessions.insert(id.to_owned(), inspect_session(path, id, name, thorough));
    }
    let ids: BTreeSet<String> = sessions.keys().cloned().collect();
    for session in sessions.values_mut() {
        let current = session.metadata.file.clone().unwrap_or_default();
        // Without a current history file it is not known which of them is needed.
        let known = !session.problems.iter().any(Problem::is_fatal);
        let left_over = files.iter().filter(|name| {
            let stem = name.split('.').next().unwrap_or_default();
            let own = stem == session.id || !ids.contains(stem);
            let history = own && file_names::is_history_of(name, &session.id);
            history && !current.ends_with(name.as_str()) && !is_generation(name, &session.id, &current)
        });
        session.problems.extend(left_over.filter(|_| known).map(|name| Problem::LeftOver(name.clone())));
    }
    Ok(sessions.into_values().collect())
}

/// Whether a history file is an earlier history, which is kept to go back to.
fn is_generation(name: &str, id: &str, current: &str) -> bool {
    let number = |name| file_names::history_number(name, id);
    number(name).zip(number(current)).is_some_and(|(number, current)| number < current)
}

fn inspect_session(path: &Path, id: &str, journal: &str, thorough: bool) -> Inspected {
    let mut session = Inspected {
        id: id.to_owned(),
        journal: journal.to_owned(),
        metadata: Metadata::default(),
        protocol: None,
        size: 0,
        messages: None,
        last_use: None,
        problems: Vec::new(),
    };
    let modified = |name: &str| fs::metadata(path.join(name)).and_then(|m| m.modified()).ok();
    session.last_use = modified(journal);
    let bytes = match fs::read(path.join(journal)) {
        Ok(bytes) => bytes,
        Err(error) => {
            session.problems.push(Problem::UnreadableJournal(error));
            return session;
        }
    };
    let Replay { metadata, warnings, torn, .. } = Metadata::replay(&bytes);
    session.problems.extend(warnings.into_iter().map(Problem::JournalLine));
    if torn {
        session.problems.push(Problem::TornJournal);
    }
    let file = metadata.file.clone();
    session.metadata = metadata;
    let Some(name) = file.clone().filter(|name| path.join(name).is_file()) else {
        session.problems.push(Problem::NoHistory(file));
        return session;
    };
    session.last_use = session.last_use.max(modified(&name));
    match read_history(&path.join(&name), &name, thorough) {
        Ok((header, contents)) => {
            session.size = contents.as_ref().map_or(header.size - header.first_message, Contents::size);
            session.protocol = Some(header.protocol);
            session.messages = contents.as_ref().map(Contents::messages);
            if let Some(bytes) = contents.map(|c| c.torn_bytes).filter(|torn_bytes| *torn_bytes > 0) {
                let end = header.first_message + session.size;
                session.problems.push(Problem::CutHistory { name, end, bytes });
            }
        }
        Err(error) => session.problems.push(Problem::History(error)),
    }
    session
}

fn read_history(
    path: &Path,
    name: &str,
    thorough: bool,
) -> Result<(HistoryHeader, Option<Contents>), HistoryError> {
    let io_error = |source| HistoryError::Io { name: name.to_owned(), source };
    let file = File::open(path).map_err(io_error)?;
    let header = history_file::read_header(&file, name)?;
    if !thorough {
        return Ok((header, None));
    }
    let contents = history_file::scan(&file, header.first_message).map_err(io_error)?;
    if contents.messages() == 0 {
        return Err(HistoryError::Empty(name.to_owned()));
    }
    Ok((header, Some(contents)))
}

/// Result of a repair.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Repair {
    /// Directory with copies of the files before their change; `None` if nothing was changed.
    pub backup: Option<PathBuf>,
    pub repaired: Vec<String>,
    /// Problems that remain.
    pub remaining: Vec<String>,
}

/// Repairs what can be repaired. Every file is copied before its change, to a new subdirectory `backup<N>`.
///
/// # Errors
/// When a server uses the directory, or something cannot be read or written; earlier repairs stay in place.
pub fn repair(path: &Path) -> Result<Repair, SessionDirError> {
    let io_error = |source| SessionDirError::Io { path: path.to_owned(), source };
    let lock = session_dir::lock_file(path)?;
    let mut repair = Repairer { path, done: Repair::default() };
    for session in inspect(path, true)? {
        repair.session(session).map_err(io_error)?;
    }
    let done = repair.done;
    File::open(path).and_then(|directory| directory.sync_all()).map_err(io_error)?;
    lock.unlock().map_err(io_error)?;
    Ok(done)
}

struct Repairer<'a> {
    path: &'a Path,
    done: Repair,
}

impl Repairer<'_> {
    fn session(&mut self, session: Inspected) -> io::Result<()> {
        let Inspected { id, journal, problems, .. } = session;
        let bad_lines = problems.iter().any(|p| matches!(p, Problem::JournalLine(_) | Problem::TornJournal));
        for problem in problems {
            let what = format!("{id}: {problem}");
            let repaired = match problem {
                Problem::JournalLine(_) | Problem::TornJournal => continue,
                Problem::CutHistory { name, end, .. } => {
                    self.back_up(&name)?;
                    let file = OpenOptions::new().write(true).open(self.path.join(&name))?;
                    file.set_len(end)?;
                    file.sync_all()?;
                    true
                }
                Problem::LeftOver(name) => {
                    self.back_up(&name)?;
                    fs::remove_file(self.path.join(&name))?;
                    true
                }
                Problem::NoHistory(_) | Problem::History(_) => self.find_history(&id, &journal)?,
                Problem::UnreadableJournal(_) => false,
            };
            if repaired {
                self.done.repaired.push(what);
            } else {
                self.done.remaining.push(what);
            }
        }
        if bad_lines {
            self.journal(&journal)?;
            self.done.repaired.push(format!("{id}: malformed lines of the journal were commented out"));
        }
        Ok(())
    }

    /// Makes the latest history file that can be loaded the current one.
    fn find_history(&mut self, id: &str, journal: &str) -> io::Result<bool> {
        let files = session_dir::file_names(self.path)?;
        let loadable = |name: &&String| {
            file_names::is_history_of(name, id) && read_history(&self.path.join(name), name, true).is_ok()
        };
        let modified = |name: &&String| fs::metadata(self.path.join(name)).and_then(|m| m.modified()).ok();
        let Some(name) = files.iter().filter(loadable).max_by_key(modified) else { return Ok(false) };
        self.back_up(journal)?;
        let mut line = String::from("\n");
        Entry::File(name.clone()).write(&mut line);
        let mut file = OpenOptions::new().append(true).open(self.path.join(journal))?;
        file.write_all(line.as_bytes())?;
        file.sync_all()?;
        Ok(true)
    }

    fn journal(&mut self, name: &str) -> io::Result<()> {
        self.back_up(name)?;
        let bytes = fs::read(self.path.join(name))?;
        let mut text = String::new();
        for line in String::from_utf8_lossy(&bytes).lines() {
            if matches!(parse_line(line), Line::Bad(_) | Line::Unknown(_)) {
                text.push_str("# ");
            }
            text.push_str(line);
            text.push('\n');
        }
        let new = self.path.join(format!("{name}{}", file_names::NEW));
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, self.path.join(name))
    }

    /// Copies a file to the backup directory, unless it was copied before.
    fn back_up(&mut self, name: &str) -> io::Result<()> {
        let backup = match self.done.backup.clone() {
            Some(backup) => backup,
            None => {
                let numbers = (1u32..).map(|n| self.path.join(format!("backup{n}")));
                let free = numbers.into_iter().find(|p| !p.exists()).unwrap_or_default();
                fs::create_dir(&free)?;
                self.done.backup.insert(free).clone()
            }
        };
        let file = Path::new(name).file_name().unwrap_or_default();
        let target = backup.join(file);
        if !target.exists() {
            fs::copy(self.path.join(name), &target)?;
            File::open(&target)?.sync_all()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use drawhall_protocol::Frame;

    use super::*;

    const HEADER: &[u8] = b"DPREC\0\0\x17{\"version\":\"dp:4.24.0\"}";

    fn dir(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(dir.path().join(name), content).unwrap();
        }
        dir
    }

    fn history(tail: &[u8]) -> Vec<u8> {
        [HEADER, Frame::new(129, 1, &[0; 16]).unwrap().as_bytes(), tail].concat()
    }

    fn problems(dir: &Path) -> Vec<String> {
        let sessions = inspect(dir, true).unwrap();
        sessions.iter().flat_map(|s| s.problems.iter().map(move |p| format!("{}: {p}", s.id))).collect()
    }

    #[test]
    fn intact_sessions_have_no_problems() {
        let dir = dir(&[("a.session", b"FILE a.dprec\nTITLE T\nUSER 1 x%20y\n"), ("a.dprec", &history(b""))]);
        assert!(problems(dir.path()).is_empty());
        let session = &inspect(dir.path(), true).unwrap()[0];
        assert_eq!((session.size, session.messages, session.metadata.title.as_str()), (20, Some(1), "T"));
        assert!(repair(dir.path()).unwrap().backup.is_none());
    }

    #[test]
    fn problems_are_named_and_repaired_after_a_backup() {
        let dir = dir(&[
            ("cut.session", b"FILE cut.dprec\n"),
            ("cut.dprec", &history(b"\0\x05\x81")),
            ("lines.session", b"FILE lines.dprec\nNONSENSE\nTITLE torn"),
            ("lines.dprec", &history(b"")),
            ("left.session", b"FILE left_r2.dprec\n"),
            ("left_r3.dprec", &history(b"")),
            ("left.dprec", &history(b"")),
            ("left_r2.dprec", &history(b"")),
            ("lost.session", b"FILE lost_r3.dprec\n"),
            ("lost_r2.dprec", &history(b"")),
            ("early.session", b"FILE early.dprec\n"),
            ("early.dprec", HEADER),
        ]);
        assert_eq!(
            problems(dir.path()),
            [
                "cut: cut.dprec: 3 bytes from offset 51 on are no whole message",
                "early: history file early.dprec holds no message: the session is empty",
                "left: left_r3.dprec is left over from an interrupted operation",
                "lines: journal, line 2: unknown journal entry: \"NONSENSE\"",
                "lines: the last line of the journal is torn",
                "lost: the history file lost_r3.dprec is missing",
            ]
        );
        let done = repair(dir.path()).unwrap();
        assert_eq!(
            done.remaining,
            ["early: history file early.dprec holds no message: the session is empty"]
        );
        assert_eq!(problems(dir.path()), done.remaining);
        let backup = done.backup.unwrap();
        assert_eq!(fs::read(backup.join("cut.dprec")).unwrap(), history(b"\0\x05\x81"));
        assert_eq!(fs::read(backup.join("left_r3.dprec")).unwrap(), history(b""));
        assert!(dir.path().join("left.dprec").exists(), "an earlier history is kept");
        assert!(backup.join("lost.session").exists() && backup.join("lines.session").exists());
        let lines = fs::read_to_string(dir.path().join("lines.session")).unwrap();
        assert_eq!(lines, "FILE lines.dprec\n# NONSENSE\nTITLE torn\n");
        assert!(repair(dir.path()).unwrap().repaired.is_empty(), "nothing is left to repair");
    }

    #[test]
    fn a_directory_in_use_is_not_repaired() {
        let dir = dir(&[]);
        let _lock = session_dir::lock_file(dir.path()).unwrap();
        assert!(matches!(repair(dir.path()), Err(SessionDirError::InUse { .. })));
        assert!(inspect(dir.path(), true).is_ok());
    }
}
