//! The working directory in which the program and its helpers run, and what they leave there.

#[cfg(target_os = "linux")]
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use super::MAX_FILE;
use super::directory::LockedDirectory;
use super::{MAX_DISK, MAX_FILES, MAX_PICTURE, RenderError, RenderPermit};
use crate::child_process::{ChildGroup, failure, read_report, report_lines};
use crate::pictures::EXIT_REFUSED;

/// How often it is looked whether a process has ended, and how much it has written.
const POLL: Duration = Duration::from_millis(20);

/// A directory of a render, which is removed when this is dropped.
pub(super) struct WorkingDirectory<'a> {
    permit: &'a RenderPermit,
    /// `drawhall`.
    wrapper: PathBuf,
    directory: LockedDirectory,
    deadline: Instant,
}

/// How a process has ended, and what it reported.
struct ChildExit {
    status: ExitStatus,
    report: Vec<u8>,
}

impl<'a> WorkingDirectory<'a> {
    /// An empty one. Everything in it has to be done within `timeout`.
    pub(super) fn new(permit: &'a RenderPermit, timeout: Duration) -> io::Result<WorkingDirectory<'a>> {
        let wrapper = match &permit.renderer.wrapper {
            Some(wrapper) => wrapper.clone(),
            None => crate::pictures::this_program()?,
        };
        let directory = LockedDirectory::new_in(&std::env::temp_dir())?;
        Ok(WorkingDirectory { permit, wrapper, directory, deadline: Instant::now() + timeout })
    }

    /// The path of a file in it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Has the program make a file of a recording in it, with these further options. The file's name begins with `name`;
    /// its path is returned.
    pub(super) fn render(
        &self,
        recording: &Path,
        name: &str,
        extension: &str,
        options: &[&str],
    ) -> Result<PathBuf, RenderError> {
        self.run_program(recording, name, extension, options)?;
        let files = self.made(name, extension)?;
        let [file] = files.as_slice() else {
            return Err(RenderError::Failed(format!("it left {} pictures instead of one", files.len())));
        };
        Ok(file.clone())
    }

    /// The same for several files, in the order of the numbers in their names.
    pub(super) fn render_all(
        &self,
        recording: &Path,
        name: &str,
        extension: &str,
        options: &[&str],
    ) -> Result<Vec<PathBuf>, RenderError> {
        self.run_program(recording, name, extension, options)?;
        let mut files = self.made(name, extension)?;
        let number = |file: &PathBuf| -> Option<u64> {
            let name = file.file_stem()?.to_str()?;
            name.rsplit('-').next()?.parse().ok()
        };
        files.sort_by_key(number);
        Ok(files)
    }

    fn run_program(
        &self,
        recording: &Path,
        name: &str,
        extension: &str,
        options: &[&str],
    ) -> Result<(), RenderError> {
        let out = self.path(&format!("{name}.{extension}"));
        let mut arguments: Vec<&OsStr> = ["--acl", "--format", extension, "--out"].map(OsStr::new).to_vec();
        arguments.push(out.as_os_str());
        arguments.extend(options.iter().map(OsStr::new));
        arguments.push(recording.as_os_str());
        self.run_external(&self.permit.program, &arguments)
    }

    /// Runs an external program in it, behind `drawhall canvas run`.
    pub(super) fn run_external(&self, program: &Path, arguments: &[&OsStr]) -> Result<(), RenderError> {
        let mut command = Command::new(&self.wrapper);
        command
            .args(["canvas", "run", "--parent", &std::process::id().to_string(), "--directory"])
            .arg(self.directory.path())
            .arg("--")
            .arg(program)
            .args(arguments)
            .stdout(Stdio::null());
        self.run(command)?.checked()?;
        if has_written_too_much(self.directory.path(), None) {
            return Err(RenderError::TooMuchWritten);
        }
        Ok(())
    }

    /// Runs a subcommand of `drawhall canvas`, and has it write to a file in it.
    pub(super) fn run_helper(&self, arguments: &[&Path], output: &Path) -> Result<(), RenderError> {
        let mut command = Command::new(&self.wrapper);
        command.arg("canvas").args(arguments).stdout(File::create(output).map_err(RenderError::Start)?);
        let ended = self.run(command)?;
        match ended.status.code() {
            // It says why there is no result.
            Some(status) if status == i32::from(EXIT_REFUSED) => {
                Err(RenderError::Refused(report_lines(&ended.report).pop().unwrap_or_default()))
            }
            _ => ended.checked(),
        }
    }

    /// Waits for the end of a process, and watches its time and what is written.
    fn run(&self, mut command: Command) -> Result<ChildExit, RenderError> {
        let directory = self.directory.path();
        command
            .current_dir(directory)
            .env_clear()
            .env("HOME", directory)
            .env("TMPDIR", directory)
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = ChildGroup::start(command).map_err(RenderError::Start)?;
        let (sender, report) = mpsc::channel();
        if let Some(pipe) = child.child().stderr.take() {
            thread::spawn(move || sender.send(read_report(pipe)));
        }
        let outcome = self.watch(&mut child);
        let ended = child.end();
        outcome?;
        let status = ended.map_err(|error| RenderError::Failed(error.to_string()))?;
        // The pipe is closed now, unless somebody has left the group.
        let left = self.deadline.saturating_duration_since(Instant::now());
        match report.recv_timeout(left) {
            Ok(report) => Ok(ChildExit { status, report }),
            Err(RecvTimeoutError::Disconnected) => Ok(ChildExit { status, report: Vec::new() }),
            Err(RecvTimeoutError::Timeout) => Err(RenderError::Timeout),
        }
    }

    /// Waits until a process has ended, and is to be ended otherwise.
    fn watch(&self, child: &mut ChildGroup) -> Result<(), RenderError> {
        let failed = |error: io::Error| RenderError::Failed(error.to_string());
        while !child.has_ended().map_err(failed)? {
            if self.permit.is_cancelled() {
                return Err(RenderError::Cancelled);
            }
            if self.permit.gives_way() {
                return Err(RenderError::Busy);
            }
            if Instant::now() >= self.deadline {
                return Err(RenderError::Timeout);
            }
            if has_written_too_much(self.directory.path(), Some(child.child().id())) {
                return Err(RenderError::TooMuchWritten);
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// The files whose names begin and end like this: programs number what they make.
    pub(super) fn made(&self, name: &str, extension: &str) -> Result<Vec<PathBuf>, RenderError> {
        let files = fs::read_dir(self.directory.path()).and_then(|files| {
            files.map(|file| file.map(|file| file.file_name())).collect::<io::Result<Vec<_>>>()
        });
        let mut made = files.map_err(|error| RenderError::Failed(error.to_string()))?;
        let end = format!(".{extension}");
        made.retain(|file| file.to_str().is_some_and(|file| file.starts_with(name) && file.ends_with(&end)));
        let paths: Vec<PathBuf> = made.iter().map(|file| self.directory.path().join(file)).collect();
        // No links to somewhere else.
        if paths.iter().all(|path| fs::symlink_metadata(path).is_ok_and(|file| file.is_file())) {
            Ok(paths)
        } else {
            Err(RenderError::Failed("it left no regular file".to_owned()))
        }
    }
}

impl ChildExit {
    fn checked(self) -> Result<(), RenderError> {
        if self.status.success() {
            return Ok(());
        }
        Err(RenderError::Failed(failure(self.status, &self.report)))
    }
}

/// Reads a file that was made.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, RenderError> {
    let failed = |error: io::Error| RenderError::Failed(error.to_string());
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(MAX_PICTURE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_PICTURE {
        return Err(RenderError::ResultTooLarge);
    }
    Ok(bytes)
}

/// Whether there are too many files in a directory, or they are too large in all, with those that are in no directory any
/// more, but which a process has open or mapped. There are no directories in it: the program may not make them.
fn has_written_too_much(directory: &Path, process: Option<u32>) -> bool {
    let files = fs::read_dir(directory).into_iter().flatten().flatten().take(MAX_FILES + 1);
    let (mut count, mut size) = (0, 0);
    for file in files {
        count += 1;
        size += file.metadata().map_or(0, |file| file.len());
    }
    count > MAX_FILES || size + process.map_or(0, |process| unlinked(directory, process)) > MAX_DISK
}

#[cfg(target_os = "linux")]
fn unlinked(directory: &Path, process: u32) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    // Threads may have open files of their own.
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let open = threads.filter_map(|thread| fs::read_dir(thread.path().join("fd")).ok()).flatten().flatten();
    let files = open.filter_map(|file| fs::metadata(file.path()).ok());
    let unlinked = files.filter(|file| file.is_file() && file.nlink() == 0);
    // A file may be open several times.
    let sizes: BTreeMap<u64, u64> = unlinked.map(|file| (file.ino(), file.len())).collect();
    // The size of a file that is mapped, but not open, cannot be asked for: it counts as the largest possible.
    let maps = fs::read(format!("/proc/{process}/maps")).unwrap_or_default();
    let mapped = mapped_and_unlinked(directory, &String::from_utf8_lossy(&maps));
    let only_mapped = mapped.iter().filter(|inode| !sizes.contains_key(inode)).count() as u64;
    sizes.values().sum::<u64>() + only_mapped * MAX_FILE
}

/// The inodes of a directory's files that a process has mapped and that are in no directory any more.
#[cfg(target_os = "linux")]
fn mapped_and_unlinked(directory: &Path, maps: &str) -> BTreeSet<u64> {
    // The name is random, so it is in no other path.
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let unlinked = maps.lines().filter(|line| line.ends_with(" (deleted)") && line.contains(&*name));
    // Addresses, permissions, offset, device, inode, path.
    unlinked.filter_map(|line| line.split_ascii_whitespace().nth(4)?.parse().ok()).collect()
}

#[cfg(not(target_os = "linux"))]
fn unlinked(_: &Path, _: u32) -> u64 {
    0
}
