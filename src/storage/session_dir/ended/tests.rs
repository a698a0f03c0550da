//! Tests of `ended`.

use drawhall_protocol::ProtocolVersion;

use super::*;
use crate::rules::session::{FileDisposition, KeepGenerations};

const DAY: Duration = Duration::from_secs(86_400);
const KEPT: EndedLimits = EndedLimits { age: DAY, bytes: 0 };

fn directory(limits: EndedLimits) -> (tempfile::TempDir, Arc<SessionDir>) {
    let folder = tempfile::tempdir().unwrap();
    let dir = SessionDir::open(folder.path(), Duration::ZERO).unwrap();
    dir.keep_ended(limits).unwrap();
    (folder, dir)
}

fn write(folder: &Path, id: &str, size: usize) {
    fs::write(folder.join(format!("{id}.session")), format!("FILE {id}_r2.dprec\nTITLE Of {id}\n")).unwrap();
    fs::write(folder.join(format!("{id}_r2.dprec")), vec![0; size]).unwrap();
    fs::write(folder.join(format!("{id}.dprec")), "earlier").unwrap();
    fs::write(folder.join(format!("{id}_r2.times")), "time marks").unwrap();
    fs::write(folder.join(format!("{id}.thumbnail")), "picture").unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let names = file_names(folder).unwrap().into_iter();
    names.filter(|name| name != file_names::LOCK).collect()
}

#[test]
fn an_ended_session_can_be_restored_with_all_its_files() {
    let (folder, dir) = directory(KEPT);
    write(folder.path(), "a", 10);
    write(folder.path(), "b", 10);
    let before = names(folder.path());
    dir.remove_unloaded("a", false).unwrap();
    assert!(names(folder.path()).iter().all(|name| name.starts_with('b')));
    let ended = list(folder.path()).unwrap();
    assert_eq!((ended.len(), ended[0].id.as_str(), ended[0].title.as_str()), (1, "a", "Of a"));
    assert!(ended[0].size > 20);
    assert!(matches!(dir.restore_ended("b"), Err(RestoreError::NotEnded(_))));
    dir.restore_ended("a").unwrap();
    assert_eq!(names(folder.path()), before);
    assert!(dir.has_unreadable(), "the server looks at it");
    assert!(list(folder.path()).unwrap().is_empty());
}

#[test]
fn a_session_is_not_restored_over_another() {
    let (folder, dir) = directory(KEPT);
    write(folder.path(), "a", 10);
    dir.remove_unloaded("a", false).unwrap();
    write(folder.path(), "a", 20);
    assert!(matches!(dir.restore_ended("a"), Err(RestoreError::Exists(_))));
    assert_eq!(fs::metadata(folder.path().join("a_r2.dprec")).unwrap().len(), 20);
    assert!(matches!(restore(folder.path(), "a"), Err(RestoreError::Directory(_))), "a server uses it");
}

#[test]
fn what_is_too_old_or_too_much_is_removed() {
    let (folder, dir) = directory(EndedLimits { age: DAY, bytes: 45_000 });
    for (id, seconds_ago) in [("old", 90_000), ("first", 3000), ("second", 2000)] {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let ended = folder.path().join(ENDED).join(format!("{}-{id}", now - seconds_ago));
        fs::create_dir_all(&ended).unwrap();
        write(&ended, id, 2000);
    }
    write(folder.path(), "last", 2000);
    dir.remove_unloaded("last", false).unwrap();
    let left = || list(folder.path()).unwrap().into_iter().map(|s| s.id).collect::<Vec<_>>();
    assert_eq!(left(), ["last", "second"]);
    // Each file counts as four kilobytes.
    dir.keep_ended(EndedLimits { age: DAY, bytes: 1 }).unwrap();
    assert_eq!(left(), ["last"], "the last one stays");
    dir.keep_ended(EndedLimits::default()).unwrap();
    assert!(left().is_empty());
    write(folder.path(), "gone", 10);
    dir.remove_unloaded("gone", false).unwrap();
    assert!(left().is_empty() && names(folder.path()).is_empty(), "none are kept");
}

#[test]
fn the_number_of_ended_sessions_is_bounded() {
    let (folder, dir) = directory(KEPT);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for number in 0..MAX_ENDED as u64 + 5 {
        let ended = folder.path().join(ENDED).join(format!("{}-s{number}", now - number));
        fs::create_dir_all(&ended).unwrap();
        fs::write(ended.join(format!("s{number}.session")), format!("FILE s{number}.dprec\n")).unwrap();
    }
    dir.keep_ended(KEPT).unwrap();
    let left = list(folder.path()).unwrap();
    assert_eq!((left.len(), left[0].id.as_str()), (MAX_ENDED, "s0"), "the newest stay");
}

/// The process may die between any two files.
#[test]
fn no_file_is_lost_wherever_a_move_was_interrupted() {
    let (all, _) = directory(KEPT);
    write(all.path(), "a", 10);
    let files = names(all.path());
    for moved in 1..=files.len() {
        let (folder, dir) = directory(KEPT);
        write(folder.path(), "a", 10);
        let ended = folder.path().join(ENDED).join("1800000000-a");
        fs::create_dir_all(&ended).unwrap();
        let others = files.iter().filter(|name| *name != "a.session");
        for name in std::iter::once(&"a.session".to_owned()).chain(others).take(moved) {
            fs::rename(folder.path().join(name), ended.join(name)).unwrap();
        }
        dir.list(false, KeepGenerations::default(), |_| {}).unwrap();
        assert_eq!(names(&ended), files, "{moved}");
    }
}

#[test]
fn interrupted_moves_are_completed_at_the_next_start() {
    let (folder, dir) = directory(KEPT);
    write(folder.path(), "a", 10);
    let ended = folder.path().join(ENDED).join("1800000000-a");
    fs::create_dir_all(&ended).unwrap();
    fs::rename(folder.path().join("a.session"), ended.join("a.session")).unwrap();
    let mut files = file_names(folder.path()).unwrap();
    dir.finish_ended(&mut files);
    assert!(names(folder.path()).is_empty());
    assert_eq!(names(&ended), ["a.dprec", "a.session", "a.thumbnail", "a_r2.dprec", "a_r2.times"]);
}

/// Ends a session of so many bytes that this host has hosted and somebody has joined.
fn end(folder: &Path, dir: &Arc<SessionDir>, id: &str, host: &str, bytes: usize) {
    write(folder, id, bytes);
    dir.set_host(id, host.to_owned());
    dir.remove_unloaded(id, false).unwrap();
    let names = names(folder);
    assert!(names.iter().all(|name| !name.starts_with(id)), "{names:?}");
}

#[test]
fn a_host_who_ends_many_sessions_does_not_displace_those_of_others() {
    let (folder, dir) = directory(EndedLimits { age: DAY, bytes: 400_000 });
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    // Two that others drew in for long, of hosts that are not known any more.
    for (id, ago) in [("club", 3000), ("friends", 2000)] {
        let ended = folder.path().join(ENDED).join(format!("{}-{id}", now - ago));
        fs::create_dir_all(&ended).unwrap();
        write(&ended, id, 80_000);
        fs::write(ended.join(format!("{id}.session")), format!("FILE {id}_r2.dprec\nUSER 1 A\nUSER 2 B\n"))
            .unwrap();
    }
    for number in 0..5 {
        end(folder.path(), &dir, &format!("troll{number}"), "192.0.2.1", 96_000);
    }
    let left: Vec<String> = list(folder.path()).unwrap().into_iter().map(|session| session.id).collect();
    assert!(left.contains(&"club".into()) && left.contains(&"friends".into()), "{left:?}");
    assert!(left.iter().any(|id| id.starts_with("troll")) && left.len() < 5, "{left:?}");
    assert!(list(folder.path()).unwrap().iter().any(|session| session.host == "192.0.2.1"));
}

#[test]
fn the_host_is_still_known_when_a_restored_session_ends_again() {
    let (folder, dir) = directory(KEPT);
    end(folder.path(), &dir, "a", "192.0.2.1", 10);
    dir.restore_ended("a").unwrap();
    assert!(!names(folder.path()).iter().any(|name| name.contains("host")));
    dir.remove_unloaded("a", false).unwrap();
    let ended = list(folder.path()).unwrap();
    assert_eq!((ended[0].host.as_str(), ended[0].is_slight), ("192.0.2.1", true));
}

#[test]
fn the_host_of_a_session_that_was_never_written_is_forgotten() {
    let (_folder, dir) = directory(KEPT);
    for disposition in [FileDisposition::Delete, FileDisposition::Archive] {
        let files = dir.create("a", ProtocolVersion::dp(4, 24, 0)).unwrap();
        dir.set_host("a", "192.0.2.1".into());
        files.finish(disposition).unwrap();
        assert!(dir.hosts.lock().is_empty());
    }
}

#[test]
fn a_failed_move_leaves_no_empty_directory() {
    let (folder, dir) = directory(KEPT);
    write(folder.path(), "a", 10);
    dir.set_host("a", "192.0.2.1".into());
    assert!(dir.move_to_ended("a", "a\0.session", "a_r2.dprec").is_err(), "no name of a file");
    assert_eq!(fs::read_dir(folder.path().join(ENDED)).unwrap().count(), 0);
}
