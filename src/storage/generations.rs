//! Generations: the history files that resets have replaced, kept to go back to.
//!
//! They keep their names, whose numbers are below that of the current history file. drawpile-srv ignores them. Source:
//! docs/spec/storage.md#generations.

use std::fs;
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::frame::whole_frames_len;

use super::file_names;
use super::history_file;
use super::session_dir::{LoadError, SessionDir, file_names as names_in, whole_journal};
use crate::rules::metadata::Metadata;
use crate::rules::session::KeepGenerations;

/// How many generations may be kept in a directory now.
fn allowed(keep: KeepGenerations, dir: &Path) -> usize {
    let free = rustix::fs::statvfs(dir).ok().map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    if free.is_some_and(|free| free < keep.min_free) { 0 } else { keep.count as usize }
}

/// An earlier history of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Number of its file.
    pub number: u32,
    /// Size of its messages in bytes.
    pub size: u64,
    /// When it was last written, before a reset replaced it: milliseconds since 1970.
    pub until_ms: i64,
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

/// The files that [`SessionDir::list`] leaves alone.
pub(super) fn kept<'a>(
    dir: &Path,
    names: impl Iterator<Item = &'a String>,
    id: &str,
    current: &str,
    keep: KeepGenerations,
) -> Vec<&'a str> {
    older_than(names, id, current).into_iter().take(allowed(keep, dir)).map(|(_, name)| name).collect()
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
            let modified = file.metadata().and_then(|m| m.modified()).ok()?;
            let until_ms = modified.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
            Some(Generation { number, size: header.size - header.first_message, until_ms })
        };
        Ok(older_than(names.iter(), id, &current).into_iter().filter_map(generation).collect())
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

    /// Removes or archives the generations that are too many.
    ///
    /// # Errors
    /// When the directory cannot be read, or a file cannot be removed.
    pub(super) fn remove_old_generations(
        &self,
        id: &str,
        current: &str,
        keep: KeepGenerations,
        archive: bool,
    ) -> io::Result<()> {
        let names = names_in(self.path())?;
        let too_many = older_than(names.iter(), id, current).into_iter().skip(allowed(keep, self.path()));
        for (_, name) in too_many {
            file_names::remove(self.path(), name, archive)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let keep = KeepGenerations { count: 2, min_free: 0 };
        assert_eq!(kept_of(&files, "a_r10.dprec", keep), ["a_r9.dprec", "a_r2.dprec"]);
        assert!(kept_of(&files, "a.dprec", keep).is_empty());
        assert!(kept_of(&files, "a (1).dprec", keep).is_empty(), "old names have no number");
        assert!(kept_of(&files, "a_r10.dprec", KeepGenerations::default()).is_empty());
    }

    #[test]
    fn none_are_kept_on_a_full_disk() {
        let keep = KeepGenerations { count: 2, min_free: u64::MAX };
        assert!(kept_of(&["a.dprec", "a_r2.dprec"], "a_r2.dprec", keep).is_empty());
    }
}
