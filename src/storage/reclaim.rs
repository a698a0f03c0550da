//! Reclaiming space on a disk that is nearly full: ended sessions, archives and recordings, the oldest first.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::file_names::ARCHIVED;
use super::recorder::Recorder;
use super::recorder::files::{changed, inode, open_recording};
use super::session_dir::{SessionDir, ended, file_names};

/// What may be removed.
#[derive(Debug)]
enum Candidate {
    /// An ended session that could be restored.
    Ended(PathBuf),
    /// An archived file, or a recording that is complete.
    File(PathBuf),
}

/// With the time of its last change in seconds since 1970.
type Candidates = Vec<(u64, Candidate)>;

/// What was done.
#[derive(Debug, Default)]
pub struct Reclaimed {
    /// How many ended sessions and files were removed.
    pub removed: usize,
    /// What could not be removed or, for directories, read.
    pub failed: Vec<(PathBuf, io::Error)>,
}

/// Removes ended sessions, archived files and complete recordings on the disk of the sessions, the oldest first, until
/// `is_enough`; blocks. What cannot be removed is left out. Files of live sessions and templates stay, also if they
/// are in the directory of recordings.
pub fn reclaim(
    dir: &SessionDir,
    recorder: Option<&Recorder>,
    templates: Option<&Path>,
    is_enough: impl Fn() -> bool,
) -> Reclaimed {
    let mut reclaimed = Reclaimed::default();
    let mut candidates = Vec::new();
    let mut found = |path: &Path, found: io::Result<Candidates>| match found {
        Ok(found) => candidates.extend(found),
        Err(error) => reclaimed.failed.push((path.to_owned(), error)),
    };
    found(dir.path(), archived_files(dir.path()));
    found(dir.path(), ended_sessions(dir.path()));
    if let Some(recorder) = recorder {
        found(&recorder.directory(), recordings(dir, recorder, templates));
    }
    candidates.sort_by_key(|(seconds, _)| *seconds);
    for (_, candidate) in candidates {
        if is_enough() {
            break;
        }
        let (path, removed) = match candidate {
            Candidate::Ended(path) => (path.clone(), dir.remove_ended(&path)),
            Candidate::File(path) => (path.clone(), fs::remove_file(&path)),
        };
        match removed {
            Ok(()) => reclaimed.removed += 1,
            // Somebody else was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => reclaimed.failed.push((path, error)),
        }
    }
    reclaimed
}

fn ended_sessions(sessions: &Path) -> io::Result<Candidates> {
    let found = ended::list(sessions)?.into_iter();
    Ok(found.map(|session| (session.ended, Candidate::Ended(session.directory))).collect())
}

fn archived_files(sessions: &Path) -> io::Result<Candidates> {
    let found = files(sessions, |name| name.ends_with(ARCHIVED))?.into_iter();
    Ok(found.map(|(path, file)| (changed(&file), Candidate::File(path))).collect())
}

/// Recordings that are complete, on the disk of the sessions.
fn recordings(dir: &SessionDir, recorder: &Recorder, templates: Option<&Path>) -> io::Result<Candidates> {
    let found: Vec<_> = recorder.files()?.collect::<io::Result<_>>()?;
    let disk = fs::metadata(dir.path())?.dev();
    // After the files: one that was begun meanwhile is open.
    let mut needed = recorder.open_inodes();
    for used in [Some(dir.path()), templates].into_iter().flatten() {
        needed.extend(existing_files(used)?.iter().map(|(_, file)| inode(file)));
    }
    let candidate = |(name, file): (String, Metadata)| {
        let path = recorder.path_of(&name);
        let is_free = file.dev() == disk && !needed.contains(&inode(&file));
        let is_recording = is_free && open_recording(&path).is_ok_and(|found| found.is_some());
        is_recording.then(|| (changed(&file), Candidate::File(path)))
    };
    Ok(found.into_iter().filter_map(candidate).collect())
}

/// The files of a directory whose names fit.
fn files(dir: &Path, fits: impl Fn(&str) -> bool) -> io::Result<Vec<(PathBuf, Metadata)>> {
    let paths = file_names(dir)?.into_iter().filter(|name| fits(name)).map(|name| dir.join(name));
    // Without metadata it is gone.
    Ok(paths.filter_map(|path| fs::metadata(&path).ok().map(|file| (path, file))).collect())
}

/// All files of a directory; none if it does not exist.
fn existing_files(dir: &Path) -> io::Result<Vec<(PathBuf, Metadata)>> {
    match files(dir, |_| true) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use drawhall_protocol::{Frame, ProtocolVersion};

    use super::*;
    use crate::history::Chunk;
    use crate::storage::recorder::Recording;
    use crate::storage::tests::eventually;

    const NEVER: fn() -> bool = || false;

    fn begin(recording: &Recording) {
        let image = Frame::new(129, 1, &[0; 16]).unwrap().into_bytes();
        recording.begin(&ProtocolVersion::dp(4, 24, 0), vec![Chunk::Memory(image)]);
    }

    /// Records a session to `<folder>/<id>.dprec`; it is complete.
    fn record(folder: &Path, id: &str) {
        let recorder = Recorder::start(folder.join("%i.dprec").to_str().unwrap()).unwrap();
        begin(&recorder.recording(id, ""));
        recorder.stop();
    }

    fn recorder_of(folder: &Path) -> Recorder {
        Recorder::start(folder.join("%i.dprec").to_str().unwrap()).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = file_names(folder).unwrap().into_iter();
        names.filter(|name| name.ends_with(".dprec") || name.ends_with(".session")).collect()
    }

    #[test]
    fn files_of_sessions_stay_however_the_directory_of_recordings_is_spelled() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = folder.path().join("sessions");
        let dir = SessionDir::open(&sessions, Duration::ZERO).unwrap();
        // A history that has even the header of a recording.
        record(&sessions, "live");
        fs::write(sessions.join("live.session"), "TITLE x\n").unwrap();
        std::os::unix::fs::symlink(&sessions, folder.path().join("link")).unwrap();
        for spelled in ["sessions", "link", "link/../sessions"] {
            let recorder = recorder_of(&folder.path().join(spelled));
            assert_eq!(reclaim(&dir, Some(&recorder), None, NEVER).removed, 0, "{spelled}");
        }
        assert_eq!(names(&sessions), ["live.dprec", "live.session"]);
    }

    #[test]
    fn templates_and_recordings_of_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let dir = SessionDir::open(&folder.path().join("sessions"), Duration::ZERO).unwrap();
        let [rec, templates] = ["rec", "templates"].map(|name| folder.path().join(name));
        fs::create_dir(&templates).unwrap();
        record(&rec, "old");
        record(&rec, "linked");
        std::os::unix::fs::symlink(rec.join("linked.dprec"), templates.join("a.dprec")).unwrap();
        fs::write(rec.join("client.dprec"), b"DPREC\0\0\x17{\"version\":\"dp:4.24.0\"}").unwrap();
        let recorder = recorder_of(&rec);
        assert_eq!(reclaim(&dir, Some(&recorder), Some(&rec), NEVER).removed, 0);
        record(&rec, "another");
        let missing = folder.path().join("missing");
        assert_eq!(
            reclaim(&dir, Some(&recorder), Some(&missing), NEVER).removed,
            3,
            "also without templates"
        );
        record(&rec, "old");
        record(&rec, "linked");
        assert_eq!(reclaim(&dir, Some(&recorder), Some(&templates), NEVER).removed, 1);
        assert_eq!(names(&rec), ["client.dprec", "linked.dprec"]);
    }

    #[test]
    fn a_recording_that_goes_on_in_a_new_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let dir = SessionDir::open(&folder.path().join("sessions"), Duration::ZERO).unwrap();
        let rec = folder.path().join("rec");
        let recorder = recorder_of(&rec);
        let recording = recorder.recording("a", "");
        begin(&recording);
        // After a reset.
        begin(&recording);
        let is_there = || rec.join("a (1).dprec").exists().then_some(());
        eventually("the new file is there", is_there);
        assert_eq!(reclaim(&dir, Some(&recorder), None, NEVER).removed, 1);
        assert_eq!(names(&rec), ["a (1).dprec"]);
    }

    #[test]
    fn recordings_that_are_listed_are_reclaimed_whatever_their_extension() {
        for pattern in ["%i.DPREC", "%i"] {
            let folder = tempfile::tempdir().unwrap();
            let dir = SessionDir::open(&folder.path().join("sessions"), Duration::ZERO).unwrap();
            let [rec, elsewhere] = ["rec", "elsewhere"].map(|name| folder.path().join(name));
            record(&elsewhere, "x");
            let recorder = Recorder::start(rec.join(pattern).to_str().unwrap()).unwrap();
            begin(&recorder.recording("a", ""));
            recorder.stop();
            fs::write(rec.join("text.dprec"), "text").unwrap();
            std::os::unix::fs::symlink(elsewhere.join("x.dprec"), rec.join("link.dprec")).unwrap();
            assert_eq!(recorder.list().unwrap().recordings.len(), 1, "{pattern}");
            assert_eq!(reclaim(&dir, Some(&recorder), None, NEVER).removed, 1, "{pattern}");
            assert_eq!(names(&rec), ["link.dprec", "text.dprec"]);
            assert!(recorder.list().unwrap().recordings.is_empty(), "{pattern}");
        }
    }

    #[test]
    fn what_cannot_be_removed_does_not_keep_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = folder.path().join("sessions");
        let dir = SessionDir::open(&sessions, Duration::ZERO).unwrap();
        let path = |name: &str| sessions.join(format!("{name}.session.archived"));
        ["a", "b", "c"].iter().for_each(|name| fs::write(path(name), "x").unwrap());
        let has_begun = Cell::new(false);
        let meanwhile = || {
            if !has_begun.replace(true) {
                fs::remove_file(path("a")).unwrap();
                fs::create_dir(path("a")).unwrap();
                fs::remove_file(path("b")).unwrap();
            }
            false
        };
        let done = reclaim(&dir, None, None, meanwhile);
        assert_eq!((done.removed, done.failed.len()), (1, 1), "{done:?}");
        assert_eq!(done.failed[0].0, path("a"));
        assert!(!path("c").exists());
    }
}
