//! Disks that the server writes to: their free space, how long it will last, and reclaiming it.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::Settings;
use crate::rules::disk_space::SpaceTrend;
use crate::storage::reclaim::reclaim;
use crate::storage::recorder::Recorder;
use crate::storage::session_dir::SessionDir;

/// A disk that the server writes to.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Disk {
    /// A directory that is written to.
    pub(super) path: PathBuf,
    /// All of them on this disk.
    pub(super) paths: Vec<PathBuf>,
    /// Available bytes.
    pub(super) free: u64,
    /// Size of the disk in bytes.
    pub(super) total: u64,
    /// `free` is below the setting `diskSpaceAlarm`.
    pub(super) low: bool,
    /// `free` is below the setting `diskSpaceReserve` on the disk of the sessions: no new sessions are hosted.
    pub(super) below_reserve: bool,
    /// Seconds until the disk is full at the rate of the last 24 hours; null if it is not filling up or not known yet.
    pub(super) seconds_left: Option<u64>,
    /// Number of the device.
    #[serde(skip)]
    device: u64,
}

/// What is looked at.
#[derive(Debug, Clone, Default)]
pub struct WatchedDisks {
    /// Directories that the server writes to.
    pub dirs: Vec<PathBuf>,
    /// Where sessions are stored.
    pub session_dir: Option<Arc<SessionDir>>,
    /// Recordings of sessions.
    pub recorder: Option<Arc<Recorder>>,
    /// The directory of templates, which stay.
    pub templates: Option<PathBuf>,
    /// Files that could not be removed; each is logged once. Locked during a check.
    failed: Arc<Mutex<BTreeSet<PathBuf>>>,
}

/// Free space of each disk over the last day, by device.
#[derive(Debug, Default)]
pub(super) struct Trends(HashMap<u64, SpaceTrend>);

impl Trends {
    /// Adds the present space, and sets how long it will last.
    pub(super) fn apply(&mut self, disks: &mut [Disk], now_ms: u64) {
        self.0.retain(|device, _| disks.iter().any(|disk| disk.device == *device));
        for disk in disks {
            let trend = self.0.entry(disk.device).or_default();
            trend.add(now_ms, disk.free);
            disk.seconds_left = trend.seconds_left(now_ms, disk.free);
        }
    }
}

impl WatchedDisks {
    /// The disks of sessions and of the database.
    pub fn new(
        session_dir: Option<Arc<SessionDir>>,
        recorder: Option<Arc<Recorder>>,
        database_dir: Option<PathBuf>,
        templates: Option<PathBuf>,
    ) -> WatchedDisks {
        let mut dirs: Vec<PathBuf> = session_dir.iter().map(|dir| dir.path().to_owned()).collect();
        dirs.extend(database_dir);
        WatchedDisks { dirs, session_dir, recorder, templates, failed: Arc::default() }
    }

    /// Looks at the disks, and reclaims space below the reserve if the settings say so; blocks. `None` while another
    /// check is not done.
    pub(super) fn check(&self, settings: &Settings) -> Option<Vec<Disk>> {
        let mut failed = self.failed.try_lock()?;
        let disks = self.look(settings);
        let is_short = disks.iter().any(|disk| disk.below_reserve);
        let Some(dir) = self.session_dir.as_deref().filter(|_| is_short && settings.reclaim_disk_space)
        else {
            return Some(disks);
        };
        let is_enough = || !self.look(settings).iter().any(|disk| disk.below_reserve);
        let reclaimed = reclaim(dir, self.recorder.as_deref(), self.templates.as_deref(), is_enough);
        if reclaimed.removed > 0 {
            tracing::warn!(
                "removed {} ended sessions, archived files or recordings: the disk of the sessions is nearly full \
                 (reclaimDiskSpace)",
                reclaimed.removed
            );
        }
        for (path, error) in &reclaimed.failed {
            if !failed.contains(path) {
                tracing::error!(%error, "cannot remove {} from a disk that is nearly full", path.display());
            }
        }
        *failed = reclaimed.failed.into_iter().map(|(path, _)| path).collect();
        Some(self.look(settings))
    }

    /// The disks, one entry for each, in the order of the directories.
    fn look(&self, settings: &Settings) -> Vec<Disk> {
        let mut disks: Vec<Disk> = Vec::new();
        for path in &self.dirs {
            let Some(disk) = disk(path, settings) else { continue };
            match disks.iter_mut().find(|other| other.device == disk.device) {
                Some(other) => other.paths.push(path.clone()),
                None => disks.push(disk),
            }
        }
        let sessions = self.session_dir.as_ref().map(|dir| dir.path());
        for disk in &mut disks {
            let has_sessions = sessions.is_some_and(|dir| disk.paths.iter().any(|path| path == dir));
            disk.below_reserve = has_sessions && disk.free < settings.disk_space_reserve;
        }
        disks
    }
}

/// Space of the disk that holds a directory; `None` if unknown.
fn disk(path: &Path, settings: &Settings) -> Option<Disk> {
    let stat = rustix::fs::statvfs(path).ok()?;
    let device = std::fs::metadata(path).ok()?.dev();
    let (free, total) = (stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize);
    Some(Disk {
        path: path.to_owned(),
        paths: vec![path.to_owned()],
        free,
        total,
        low: free < settings.disk_space_alarm,
        below_reserve: false,
        seconds_left: None,
        device,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::storage::session_dir::ended::{self, EndedLimits};

    fn settings(alarm: &str, reserve: &str, reclaim: &str) -> Settings {
        let mut settings = Settings::default();
        for (key, value) in
            [("diskSpaceAlarm", alarm), ("diskSpaceReserve", reserve), ("reclaimDiskSpace", reclaim)]
        {
            settings.set(key, value).unwrap();
        }
        settings
    }

    #[test]
    fn a_disk_is_low_below_disk_space_alarm() {
        let here = std::env::temp_dir();
        let disk_here = disk(&here, &settings("0", "0", "false")).unwrap();
        assert!(!disk_here.low && disk_here.total >= disk_here.free);
        let alarm = Settings { disk_space_alarm: u64::MAX, ..Settings::default() };
        assert!(disk(&here, &alarm).unwrap().low);
        assert!(disk(Path::new("/nowhere/at/all"), &alarm).is_none());
    }

    #[test]
    fn directories_on_the_same_disk_are_one_entry() {
        let folder = tempfile::tempdir().unwrap();
        let dirs: Vec<PathBuf> = ["a", "b"].map(|name| folder.path().join(name)).to_vec();
        dirs.iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
        let watched = WatchedDisks { dirs: dirs.clone(), ..WatchedDisks::default() };
        let disks = watched.check(&Settings::default()).unwrap();
        assert_eq!((disks.len(), &disks[0].path, &disks[0].paths), (1, &dirs[0], &dirs));
    }

    #[test]
    fn below_the_reserve_what_is_old_is_removed_if_the_settings_say_so() {
        let folder = tempfile::tempdir().unwrap();
        let dir = SessionDir::open(folder.path(), Duration::ZERO).unwrap();
        dir.keep_ended(EndedLimits { age: Duration::from_secs(86_400), bytes: 0 }).unwrap();
        std::fs::write(folder.path().join("e.session"), "TITLE x\n").unwrap();
        dir.remove_unloaded("e", false).unwrap();
        for name in ["old.session.archived", "old.dprec.archived", "live.session", "live.dprec"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let watched = WatchedDisks {
            dirs: vec![folder.path().to_owned()],
            session_dir: Some(dir.clone()),
            ..WatchedDisks::default()
        };
        let is_there = |name: &str| folder.path().join(name).exists();
        // No disk has so much space.
        let mut wanted = Settings { disk_space_reserve: u64::MAX, ..Settings::default() };
        assert!(watched.check(&wanted).unwrap()[0].below_reserve);
        assert!(is_there("old.session.archived") && ended::list(folder.path()).unwrap().len() == 1, "off");
        wanted.reclaim_disk_space = true;
        let other_check = watched.failed.lock();
        assert!(watched.check(&wanted).is_none() && is_there("old.session.archived"), "one at a time");
        drop(other_check);
        assert!(watched.check(&wanted).unwrap()[0].below_reserve);
        assert!(!is_there("old.session.archived") && !is_there("old.dprec.archived"));
        assert!(ended::list(folder.path()).unwrap().is_empty());
        assert!(is_there("live.session") && is_there("live.dprec"));
        assert!(!watched.check(&settings("0", "0", "true")).unwrap()[0].below_reserve);
    }

    #[test]
    fn the_time_that_is_left_is_known_after_a_while() {
        let settings = Settings::default();
        let mut disks = vec![disk(&std::env::temp_dir(), &settings).unwrap()];
        let mut trends = Trends::default();
        disks[0].free = 2_000_000;
        trends.apply(&mut disks, 0);
        assert_eq!(disks[0].seconds_left, None);
        disks[0].free = 1_000_000;
        trends.apply(&mut disks, 3_600_000);
        assert_eq!(disks[0].seconds_left, Some(3600));
    }
}
