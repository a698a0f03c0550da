//! Checks of disks, owner and permissions of files, clock and limit of open files.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::process::Process;
use super::{Context, Findings};
use crate::storage::private::is_exposed;

/// How far a file or line of the log may be ahead of the clock.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(600);
/// How old the last backup may be.
const BACKUP_AGE: Duration = Duration::from_secs(30 * 86_400);
/// Open files that a server needs besides its connections.
const OTHER_FILES: u64 = 100;
/// Maximum number of files that are named in a finding.
const MAX_NAMED: usize = 3;

pub(super) fn disk_space(context: &Context<'_>, findings: &mut Findings) {
    let alarm = context.rules.as_ref().map_or(0, |rules| rules.settings().disk_space_alarm);
    for directory in context.written_dirs() {
        // A directory that does not exist yet will be on the disk of its parent.
        let Some(existing) = directory.ancestors().find(|path| path.exists()) else { continue };
        let Ok(stat) = rustix::fs::statvfs(existing) else { continue };
        let free = stat.f_bavail * stat.f_frsize;
        if free < alarm {
            findings.error(
                "disk-space",
                format!("only {} MB are free on the disk of {}", free >> 20, directory.display()),
                "free some space, or lower the setting diskSpaceAlarm",
            );
        }
    }
}

/// The database with its side files, and all files of the session directory.
fn data_files(context: &Context<'_>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    if let Some(database) = &context.setup.source.database {
        for ending in ["", "-wal", "-shm"] {
            let mut path = database.clone().into_os_string();
            path.push(ending);
            files.push(PathBuf::from(path));
        }
    }
    if let Some(directory) = &context.setup.sessions {
        files.push(directory.clone());
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        files.extend(entries.map(|entry| entry.path()));
    }
    files.retain(|path| path.exists());
    files
}

/// Files of another user than the server's, which it cannot write.
pub(super) fn owner(context: &Context<'_>, findings: &mut Findings) {
    let uid = |path: &Path| fs::metadata(path).ok().map(|file| file.uid());
    let directories = context.written_dirs();
    let of_server = context.server.as_ref().and_then(|server| server.uid);
    let Some(owner) = of_server.or_else(|| directories.iter().find_map(|path| uid(path))) else { return };
    let other: Vec<String> = data_files(context)
        .iter()
        .filter(|path| uid(path).is_some_and(|uid| uid != owner))
        .map(|path| path.display().to_string())
        .collect();
    if !other.is_empty() {
        let first = other.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join(", ");
        let more = if other.len() > MAX_NAMED { ", ..." } else { "" };
        findings.error(
            "data-owner",
            format!("{} files are not those of the server's user ({owner}): {first}{more}", other.len()),
            format!("chown {owner} {first}{more}"),
        );
    }
}

pub(super) fn permissions(context: &Context<'_>, findings: &mut Findings) {
    let setup = context.setup;
    // A configuration file without accounts holds no secrets.
    let has_accounts = context.rules.as_ref().is_some_and(|rules| !rules.file().users.is_empty());
    let config = setup.source.config.as_ref().filter(|_| has_accounts);
    let secret = [setup.source.database.as_ref(), setup.sessions.as_ref(), config];
    for path in secret.into_iter().flatten().filter(|path| is_exposed(path)) {
        let path = path.display();
        findings.warning(
            "data-exposed",
            format!("every user of this machine can read {path}, with what is secret in it"),
            format!("chmod -R o= {path}"),
        );
    }
}

/// The clock is behind when something was written in the future.
pub(super) fn clock(context: &Context<'_>, findings: &mut Findings) {
    let now = SystemTime::now();
    let written = data_files(context).into_iter().filter_map(|path| {
        let modified = fs::metadata(&path).and_then(|file| file.modified()).ok()?;
        Some((modified, path.display().to_string()))
    });
    let log = context.database.newest_log.as_deref().and_then(|time| {
        let time = time.parse::<jiff::Timestamp>().ok()?;
        let since = Duration::from_secs(u64::try_from(time.as_second()).ok()?);
        Some((SystemTime::UNIX_EPOCH + since, "the newest line of the log".to_owned()))
    });
    let Some((latest, what)) = written.chain(log).max_by_key(|(time, _)| *time) else { return };
    if latest > now + CLOCK_TOLERANCE {
        let text = |time: SystemTime| {
            let time = jiff::Timestamp::try_from(time);
            time.map_or_else(|_| "?".to_owned(), |time| time.strftime("%Y-%m-%d %H:%M").to_string())
        };
        findings.error(
            "clock-behind",
            format!("the clock says {} UTC, but {what} was written at {}", text(now), text(latest)),
            "set the clock of this machine: bans, sessions and certificates depend on it",
        );
    }
}

/// Backups were made, but not lately. A server without any has none to compare with.
pub(super) fn backup(context: &Context<'_>, findings: &mut Findings) {
    let age = context.setup.last_backup().and_then(|time| SystemTime::now().duration_since(time).ok());
    if let Some(age) = age.filter(|age| *age > BACKUP_AGE) {
        findings.warning(
            "backup-old",
            format!("the last backup was made {} days ago", age.as_secs() / 86_400),
            "make one with `drawhall backup`, and look why none is made regularly any more",
        );
    }
}

pub(super) fn open_files(context: &Context<'_>, findings: &mut Findings) {
    let Some(rules) = &context.rules else { return };
    let process = context.server.clone().unwrap_or_else(Process::own);
    let needed = u64::from(rules.settings().connection_limit.0) + OTHER_FILES;
    if let Some(limit) = process.open_files().filter(|limit| *limit < needed) {
        findings.warning(
            "open-files",
            format!(
                "the server may open {limit} files, fewer than the setting connectionLimit ({}) and {OTHER_FILES} more",
                rules.settings().connection_limit.0
            ),
            "raise the limit (LimitNOFILE= of the service, or ulimit -n), or lower connectionLimit",
        );
    }
}
