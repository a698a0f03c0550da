//! Names of the files of a session. Source: docs/spec/storage.md#files.
//!
//! New files match the pattern of drawpile-srv's prune script: `<id>[_r<N>].(session|dprec|thumbnail)[.archived]`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Extension of an incomplete file, until it is renamed into place.
pub const NEW: &str = ".new";
/// Extension of a journal whose session is being deleted.
pub const DELETED: &str = ".deleted";
/// Extension of an archived file.
pub const ARCHIVED: &str = ".archived";
/// Extension of the time marks of a history file.
const MARKS: &str = ".times";
/// Lock file that keeps other servers from using the directory.
pub const LOCK: &str = "drawhall.lock";

/// File name of a session's journal.
pub fn journal(id: &str) -> String {
    format!("{id}.session")
}

/// File name of a session's thumbnail.
pub fn thumbnail(id: &str) -> String {
    format!("{id}.thumbnail")
}

/// File name of a session's history file with this number, from 1.
pub fn history(id: &str, number: u32) -> String {
    if number <= 1 { format!("{id}.dprec") } else { format!("{id}_r{number}.dprec") }
}

/// File name of the time marks of a history file.
pub fn marks(history_name: &str) -> Option<String> {
    Some(format!("{}{MARKS}", history_name.strip_suffix(".dprec")?))
}

/// File name of the history file that has these time marks; `None` for other files.
pub fn history_of_marks(name: &str) -> Option<String> {
    Some(format!("{}.dprec", name.strip_suffix(NEW).unwrap_or(name).strip_suffix(MARKS)?))
}

/// The number of a session's history file. `None` for the names that older versions of drawpile-srv gave.
pub fn history_number(name: &str, id: &str) -> Option<u32> {
    let suffix = name.strip_prefix(id)?.strip_suffix(".dprec")?;
    if suffix.is_empty() { Some(1) } else { suffix.strip_prefix("_r")?.parse().ok() }
}

/// The session id in a journal's file name: everything before the first dot. `None` if it is not the name of a
/// journal.
pub fn journal_id(name: &str) -> Option<&str> {
    let id = name.split('.').next()?;
    name.to_ascii_lowercase().ends_with(".session").then_some(id)
}

/// Whether a file name is one of the session's history files, as any version of drawpile-srv names them.
pub fn is_history_of(name: &str, id: &str) -> bool {
    let Some(suffix) = name.strip_prefix(id).and_then(|r| r.strip_suffix(".dprec")) else { return false };
    let (number, copy) = match suffix.split_once(' ') {
        Some((number, copy)) => (number, Some(copy)),
        None => (suffix, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let numbered = number.is_empty() || number.strip_prefix("_r").is_some_and(digits);
    let copied =
        copy.is_none_or(|c| c.strip_prefix('(').and_then(|c| c.strip_suffix(')')).is_some_and(digits));
    numbered && copied
}

/// Whether a file belongs to this session, or to any: a journal, history, time marks or thumbnail, also an incomplete
/// one, but no archive.
pub fn is_of_session(name: &str, id: Option<&str>) -> bool {
    let name = name.strip_suffix(NEW).or_else(|| name.strip_suffix(DELETED)).unwrap_or(name);
    let Some((stem, extension)) = name.rsplit_once('.') else { return false };
    let is_known = matches!(extension, "session" | "dprec" | "times" | "thumbnail");
    let is_named = |id: &str| {
        stem.strip_prefix(id).is_some_and(|r| r.is_empty() || r.starts_with("_r")) || is_history_of(name, id)
    };
    is_known && id.is_none_or(is_named)
}

/// Whether a directory has files of sessions, archives apart.
///
/// # Errors
/// When it cannot be read.
pub fn has_sessions(directory: &Path) -> io::Result<bool> {
    let names = fs::read_dir(directory)?.flatten().map(|entry| entry.file_name());
    Ok(names.into_iter().any(|name| name.to_str().is_some_and(|name| is_of_session(name, None))))
}

/// A free name for the archived file.
fn archived(dir: &Path, name: &str) -> PathBuf {
    let plain = dir.join(format!("{name}{ARCHIVED}"));
    if !plain.exists() {
        return plain;
    }
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let stem = stem.split_once("_r").map_or(stem, |(id, _)| id);
    let names = (2u32..).map(|n| dir.join(format!("{stem}_r{n}.{extension}{ARCHIVED}")));
    // Not all of the 2^32 numbers can be taken.
    names.into_iter().find(|path| !path.exists()).unwrap_or(plain)
}

/// Deletes or archives a file of a session. A file that does not exist is not an error. The time marks of a history
/// file are deleted.
///
/// # Errors
/// When it cannot be deleted or renamed.
pub fn remove(dir: &Path, name: &str, archive: bool) -> io::Result<()> {
    if let Some(marks) = marks(name) {
        remove(dir, &marks, false)?;
    }
    let path = dir.join(name);
    let done = if archive { fs::rename(&path, archived(dir, name)) } else { fs::remove_file(&path) };
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_file_names_of_all_versions_are_recognised() {
        for name in ["x.dprec", "x_r2.dprec", "x_r17.dprec", "x_r2 (1).dprec", "x (3).dprec"] {
            assert!(is_history_of(name, "x"), "{name}");
        }
        for name in [
            "xy.dprec",
            "x_r.dprec",
            "x_rx.dprec",
            "x.dprec.archived",
            "x .dprec",
            "x (a).dprec",
            "x_r2.session",
        ] {
            assert!(!is_history_of(name, "x"), "{name}");
        }
    }

    #[test]
    fn history_files_are_numbered_as_they_are_named() {
        for number in [1, 2, 17] {
            assert_eq!(history_number(&history("x", number), "x"), Some(number));
        }
        for name in ["x (1).dprec", "x_r2 (1).dprec", "y.dprec", "x.session", "x_r-1.dprec"] {
            assert_eq!(history_number(name, "x"), None, "{name}");
        }
    }

    #[test]
    fn files_of_sessions_are_told_from_others() {
        for name in [
            "a.session",
            "a.session.new",
            "a_r2.dprec",
            "a (1).dprec",
            "a_r2.times",
            "a.thumbnail.new",
            "a.session.deleted",
        ] {
            assert!(is_of_session(name, Some("a")) && is_of_session(name, None), "{name}");
            assert!(!is_of_session(name, Some("b")), "{name}");
        }
        for name in ["a.session.archived", "drawhall.lock", "a.txt", "a", "ab.session"] {
            assert!(!is_of_session(name, Some("a")), "{name}");
        }
    }

    #[test]
    fn journal_ids_end_at_the_first_dot() {
        assert_eq!(journal_id("a.session"), Some("a"));
        assert_eq!(journal_id("l.two.dots.SESSION"), Some("l"));
        assert_eq!([journal_id("a.session.archived"), journal_id("a.dprec")], [None, None]);
    }

    #[test]
    fn archiving_never_overwrites_an_archive() {
        let dir = tempfile::tempdir().unwrap();
        for content in ["1", "2", "3"] {
            fs::write(dir.path().join("id.session"), content).unwrap();
            remove(dir.path(), "id.session", true).unwrap();
        }
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("id.session.archived"), "1");
        assert_eq!(read("id_r2.session.archived"), "2");
        assert_eq!(read("id_r3.session.archived"), "3");
        assert!(remove(dir.path(), "id.session", false).is_ok(), "a missing file is not an error");
    }
}
