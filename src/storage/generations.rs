//! Generations: the history files that resets have replaced, kept to go back to.
//!
//! They keep their names, whose numbers are below that of the current history file. drawpile-srv ignores them. Source:
//! docs/spec/storage.md#generations.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::frame::whole_frames_len;

use super::file_names;
use super::history_file::{self, HistoryFile, HistoryHeader};
use super::marks_file;
use super::session_dir::{LoadError, SessionDir, file_names as names_in, whole_journal};
use super::syncer::SyncFile;
use crate::history::{Chunk, HistorySource, IndexEntry};
use crate::rules::metadata::Metadata;
use crate::rules::session::KeepGenerations;
use crate::rules::undo::times::{Origin, TimeMarks};

/// How long a generation of which that is not known counts as having been in force, in milliseconds.
const UNKNOWN_LIFETIME_MS: i64 = 3_600_000;
/// A generation counts as replaced at least this long ago, in milliseconds.
const MIN_AGE_MS: i64 = 60_000;

/// How many generations may be kept in a directory now.
fn allowed(keep: KeepGenerations, dir: &Path) -> usize {
    let free = rustix::fs::statvfs(dir).ok().map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    if free.is_some_and(|free| free < keep.min_free) {
        usize::from(keep.needs_newest && keep.count > 0)
    } else {
        keep.count as usize
    }
}

/// When a generation was in force, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from_ms: Option<i64>,
    until_ms: i64,
}

impl Span {
    /// Reads it from the files, as far as they tell.
    fn of(dir: &Path, name: &str) -> Span {
        let marks = marks_file::read(dir, name, u64::MAX).ok().flatten().unwrap_or_default();
        let from_ms = marks.marks.first().map(|mark| mark.utc_ms);
        let modified = fs::metadata(dir.join(name)).and_then(|metadata| metadata.modified()).ok();
        Span { from_ms, until_ms: modified.map_or(0, ms_of) }
    }

    /// How much it is worth to keep it: one that was long in force is worth more than those between quick resets, and
    /// the less, the longer ago that was.
    fn worth(self, now_ms: i64) -> f64 {
        let lifetime = self.from_ms.map_or(UNKNOWN_LIFETIME_MS, |from| (self.until_ms - from).max(0));
        lifetime as f64 / (now_ms - self.until_ms).max(MIN_AGE_MS) as f64
    }
}

fn ms_of(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Which of the generations stay if there may be `count`: the newest, and those that are worth most. `spans` are newest
/// first.
fn worth_keeping(spans: &[Span], count: usize, now_ms: i64) -> Vec<bool> {
    let mut by_worth: Vec<usize> = (1..spans.len()).collect();
    by_worth.sort_by(|a, b| spans[*b].worth(now_ms).total_cmp(&spans[*a].worth(now_ms)));
    let mut stays = vec![false; spans.len()];
    std::iter::once(0).chain(by_worth).take(count.min(spans.len())).for_each(|at| stays[at] = true);
    stays
}

/// Divides the generations of a session into those that stay, and those that are too many; both newest first.
fn divided<'a>(
    dir: &Path,
    older: Vec<(u32, &'a str)>,
    keep: KeepGenerations,
) -> (Vec<&'a str>, Vec<&'a str>) {
    let names: Vec<&str> = older.into_iter().map(|(_, name)| name).collect();
    let count = allowed(keep, dir);
    if names.len() <= count {
        return (names, Vec::new());
    }
    let spans: Vec<Span> = names.iter().map(|name| Span::of(dir, name)).collect();
    let stays = worth_keeping(&spans, count, ms_of(SystemTime::now()));
    let (kept, too_many): (Vec<_>, Vec<_>) = names.into_iter().zip(stays).partition(|(_, stays)| *stays);
    let only = |list: Vec<(&'a str, bool)>| list.into_iter().map(|(name, _)| name).collect();
    (only(kept), only(too_many))
}

/// An earlier history of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Number of its file.
    pub number: u32,
    /// Size of its messages in bytes.
    pub size: u64,
    /// When it began, in milliseconds since 1970; `None` if unknown.
    pub from_ms: Option<i64>,
    /// When it was last written, before a reset replaced it: milliseconds since 1970.
    pub until_ms: i64,
}

/// The history that the present one has replaced.
#[derive(Debug)]
pub struct EarlierHistory {
    /// Number of its file.
    pub number: u32,
    /// Protocol version of its messages.
    pub protocol: ProtocolVersion,
    /// Its messages, whole ones only.
    pub chunks: Vec<Chunk>,
    /// Its time marks.
    pub times: TimeMarks,
    /// How the present history began, as its file says.
    pub later_origin: Origin,
}

/// An earlier history that is opened to be read.
#[derive(Debug)]
pub struct OpenedGeneration {
    /// Protocol version of its messages.
    pub protocol: ProtocolVersion,
    /// Its messages, whole ones only.
    pub chunks: Vec<Chunk>,
    /// Its time marks.
    pub times: TimeMarks,
}

/// The content of an earlier history.
#[derive(Debug)]
pub struct GenerationContent {
    /// Protocol version of its messages.
    pub protocol: ProtocolVersion,
    /// Its messages, whole ones only.
    pub bytes: Vec<u8>,
}

/// Files among `names` that are generations older than the file `current`, newest first.
fn older_than<'a>(names: impl Iterator<Item = &'a String>, id: &str, current: &str) -> Vec<(u32, &'a str)> {
    let Some(current) = file_names::history_number(current, id) else { return Vec::new() };
    let numbered = names.filter_map(|name| Some((file_names::history_number(name, id)?, name.as_str())));
    let mut older: Vec<(u32, &str)> = numbered.filter(|(number, _)| *number < current).collect();
    older.sort_unstable_by(|a, b| b.cmp(a));
    older
}

/// The files that [`SessionDir::list`] leaves alone. The newest is among them if it is not stored that somebody has joined
/// since the reset.
pub(super) fn kept<'a>(
    dir: &Path,
    names: impl Iterator<Item = &'a String>,
    id: &str,
    current: &str,
    keep: KeepGenerations,
) -> Vec<&'a str> {
    let needs_newest = keep.needs_newest || !marks_file::has_joined(dir, current);
    let keep = KeepGenerations { needs_newest, ..keep };
    divided(dir, older_than(names, id, current), keep).0
}

impl SessionDir {
    /// Name of the current history file, as the journal has it.
    fn current_name(&self, id: &str) -> Result<String, LoadError> {
        let journal = fs::File::open(self.path().join(self.journal_name(id)))?;
        let file = Metadata::replay(&whole_journal(&journal)?).metadata.file;
        file.ok_or(LoadError::NoFile)
    }

    /// The generations of a session, newest first; blocks.
    ///
    /// # Errors
    /// When the directory or the journal cannot be read.
    pub fn generations(&self, id: &str) -> Result<Vec<Generation>, LoadError> {
        let current = self.current_name(id)?;
        let names = names_in(self.path())?;
        let generation = |(number, name): (u32, &str)| {
            let file = fs::File::open(self.path().join(name)).ok()?;
            let header = history_file::read_header(&file, name).ok()?;
            let Span { from_ms, until_ms } = Span::of(self.path(), name);
            Some(Generation { number, size: header.size - header.first_message, from_ms, until_ms })
        };
        Ok(older_than(names.iter(), id, &current).into_iter().filter_map(generation).collect())
    }

    /// Number and name of the file that the present one has replaced, and how the present history began.
    fn previous(&self, id: &str) -> Result<(u32, String, Origin), LoadError> {
        let current = self.current_name(id)?;
        let marks = marks_file::read(self.path(), &current, u64::MAX)?.ok_or(LoadError::NoFile)?;
        let names = names_in(self.path())?;
        let found = older_than(names.iter(), id, &current).into_iter().find(|(n, _)| *n == marks.previous);
        let (number, name) = found.ok_or(LoadError::NoFile)?;
        Ok((number, name.to_owned(), marks.origin))
    }

    /// The time marks of the history that the present one has replaced, and how the present one began, as its file says;
    /// blocks, but does not read the history.
    ///
    /// # Errors
    /// When it is not kept, or cannot be read.
    pub fn previous_times(&self, id: &str) -> Result<(TimeMarks, Origin), LoadError> {
        let (_, name, later_origin) = self.previous(id)?;
        let header = history_file::read_header(&fs::File::open(self.path().join(&name))?, &name)?;
        let size = header.size - header.first_message;
        let marks = marks_file::read(self.path(), &name, size)?.unwrap_or_default();
        Ok((TimeMarks::restored(marks.marks, marks.origin), later_origin))
    }

    /// Opens the history that the present one has replaced; blocks, as it is read to its end.
    ///
    /// # Errors
    /// When it is not kept, or cannot be read.
    pub fn open_previous(&self, id: &str) -> Result<EarlierHistory, LoadError> {
        let (number, name, later_origin) = self.previous(id)?;
        let OpenedGeneration { protocol, chunks, times } = self.open_file(&name)?;
        Ok(EarlierHistory { number, protocol, chunks, times, later_origin })
    }

    /// Opens a generation; blocks, as it is read to its end.
    ///
    /// # Errors
    /// When there is none of this number, or it cannot be read.
    pub fn open_generation(&self, id: &str, number: u32) -> Result<OpenedGeneration, LoadError> {
        let current = self.current_name(id)?;
        let names = names_in(self.path())?;
        let found = older_than(names.iter(), id, &current).into_iter().find(|(n, _)| *n == number);
        self.open_file(found.ok_or(LoadError::NoFile)?.1)
    }

    fn open_file(&self, name: &str) -> Result<OpenedGeneration, LoadError> {
        let path = self.path().join(name);
        let sync = SyncFile::open(fs::OpenOptions::new().read(true), &path)?;
        let HistoryHeader { protocol, first_message, .. } = history_file::read_header(&sync.file, name)?;
        let contents = history_file::scan(&sync.file, first_message)?;
        let marks = marks_file::read(self.path(), name, contents.size())?.unwrap_or_default();
        let times = TimeMarks::restored(marks.marks, marks.origin);
        let file: Arc<dyn HistorySource> = HistoryFile::new(sync, -first_message.cast_signed());
        let mut from = 0;
        let chunk = |entry: &IndexEntry| {
            let chunk = Chunk::File { file: file.clone(), from, len: entry.len as usize };
            from += entry.len.cast_signed();
            chunk
        };
        let chunks = contents.index.iter().map(chunk).collect();
        Ok(OpenedGeneration { protocol, chunks, times })
    }

    /// Reads a generation; blocks.
    ///
    /// # Errors
    /// When there is none of this number, or it cannot be read.
    pub fn read_generation(&self, id: &str, number: u32) -> Result<GenerationContent, LoadError> {
        let current = self.current_name(id)?;
        let names = names_in(self.path())?;
        let found = older_than(names.iter(), id, &current).into_iter().find(|(n, _)| *n == number);
        let (_, name) = found.ok_or(LoadError::NoFile)?;
        let path = self.path().join(name);
        let header = history_file::read_header(&fs::File::open(&path)?, name)?;
        let mut bytes = fs::read(&path)?;
        bytes.drain(..(header.first_message as usize).min(bytes.len()));
        bytes.truncate(whole_frames_len(&bytes));
        Ok(GenerationContent { protocol: header.protocol, bytes })
    }

    /// Removes or archives the generations that are too many; returns the names of their files.
    ///
    /// # Errors
    /// When the directory cannot be read, or a file cannot be removed.
    pub(super) fn remove_old_generations(
        &self,
        id: &str,
        current: &str,
        keep: KeepGenerations,
        archive: bool,
    ) -> io::Result<Vec<String>> {
        let names = names_in(self.path())?;
        let (_, too_many) = divided(self.path(), older_than(names.iter(), id, current), keep);
        for name in &too_many {
            file_names::remove(self.path(), name, archive)?;
        }
        Ok(too_many.into_iter().map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::undo::times::{MarksWrite, TimeMark};

    fn dir(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in files {
            fs::write(dir.path().join(name), name).unwrap();
        }
        dir
    }

    fn kept_of(files: &[&str], current: &str, keep: KeepGenerations) -> Vec<String> {
        let dir = dir(files);
        let names = names_in(dir.path()).unwrap();
        kept(dir.path(), names.iter(), "a", current, keep).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn the_newest_files_before_the_current_one_are_kept() {
        let files =
            ["a.dprec", "a_r2.dprec", "a_r9.dprec", "a_r10.dprec", "a_r11.dprec", "b.dprec", "a.session"];
        let keep = KeepGenerations { count: 2, ..KeepGenerations::default() };
        assert_eq!(kept_of(&files, "a_r10.dprec", keep), ["a_r9.dprec", "a_r2.dprec"]);
        assert!(kept_of(&files, "a.dprec", keep).is_empty());
        assert!(kept_of(&files, "a (1).dprec", keep).is_empty(), "old names have no number");
        assert!(kept_of(&files, "a_r10.dprec", KeepGenerations::default()).is_empty());
    }

    #[test]
    fn none_are_kept_on_a_full_disk() {
        let keep = KeepGenerations { count: 2, min_free: u64::MAX, needs_newest: false };
        let dir = dir(&["a.dprec", "a_r2.dprec", "a_r3.dprec"]);
        let names = names_in(dir.path()).unwrap();
        let kept = |keep| kept(dir.path(), names.iter(), "a", "a_r3.dprec", keep);
        assert_eq!(kept(keep), ["a_r2.dprec"], "it is not known whether anybody has joined");
        let none = KeepGenerations { count: 0, ..keep };
        assert!(kept(none).is_empty());
        let write = |has_joined| {
            let marks = MarksWrite { marks: vec![TimeMark::default()], ..MarksWrite::default() };
            marks_file::MarksFile::create(dir.path(), "a_r3.dprec", &marks, 2, has_joined).unwrap();
        };
        write(false);
        assert_eq!(kept(keep), ["a_r2.dprec"], "nobody has joined since");
        write(true);
        assert!(kept(keep).is_empty());
    }

    const HOUR: i64 = 3_600_000;
    const MINUTE: i64 = 60_000;

    fn kept_at(now_ms: i64, count: usize, spans: &[(i64, i64)]) -> Vec<usize> {
        let span = |(from, until): &(i64, i64)| Span { from_ms: Some(*from), until_ms: *until };
        let spans: Vec<Span> = spans.iter().map(span).collect();
        let stays = worth_keeping(&spans, count, now_ms);
        (0..stays.len()).filter(|at| stays[*at]).collect()
    }

    #[test]
    fn quick_resets_do_not_displace_the_history_of_an_afternoon() {
        let afternoon = 5 * HOUR;
        let quick = |n: i64| (afternoon + n * MINUTE, afternoon + (n + 1) * MINUTE);
        let spans = [quick(4), quick(3), quick(2), quick(1), quick(0), (0, afternoon)];
        let kept = kept_at(afternoon + 6 * MINUTE, 3, &spans);
        assert!(kept.len() == 3 && kept.contains(&0) && kept.contains(&5), "{kept:?}");
    }

    #[test]
    fn an_old_one_makes_room_in_time() {
        let day = 24 * HOUR;
        let spans = [
            (7 * day + 2 * HOUR, 7 * day + 3 * HOUR),
            (7 * day + HOUR, 7 * day + 2 * HOUR),
            (7 * day, 7 * day + HOUR),
            (0, 10 * HOUR),
        ];
        assert_eq!(kept_at(7 * day + 3 * HOUR, 3, &spans), [0, 1, 2]);
    }

    #[test]
    fn the_newest_always_stays() {
        let spans = [(9 * HOUR, 9 * HOUR), (0, 9 * HOUR)];
        assert_eq!(kept_at(9 * HOUR, 1, &spans), [0]);
        assert_eq!(kept_at(9 * HOUR, 5, &spans), [0, 1]);
        assert!(kept_at(9 * HOUR, 0, &spans).is_empty());
    }
}
