//! `drawhall canvas run`: starts an external program that is given what strangers have sent, with little left to it.
//!
//! It may read system directories and its own, write its own directory, and start threads. It cannot start processes,
//! open sockets, or outlive its limits of memory and time, or the server. On systems other than Linux only the limits
//! hold.

use std::path::{Path, PathBuf};

use clap::Args;

use super::program_sandbox;
use crate::Failure;

/// Options of a run.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The only directory that the program may write to.
    #[arg(long, value_name = "DIR")]
    directory: PathBuf,
    /// Process id of whoever starts this: the program is not run when that has ended.
    #[arg(long, value_name = "PID")]
    parent: Option<u32>,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND LINE")]
    command_line: Vec<PathBuf>,
}

/// Becomes the program. Returns only when that fails.
pub(super) fn run(options: &Run) -> Result<(), Failure> {
    let [program, arguments @ ..] = options.command_line.as_slice() else {
        return Err("there is no program".into());
    };
    #[cfg(target_os = "linux")]
    end_with_parent(options.parent)?;
    program_sandbox::enter(program, &options.directory)?;
    become_program(program, arguments)
}

/// Has the kernel kill this process, and the program that it becomes, when the thread that has started it ends.
#[cfg(target_os = "linux")]
fn end_with_parent(expected: Option<u32>) -> Result<(), Failure> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before.
    let parent = getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    if expected.is_some_and(|expected| parent != Some(expected)) {
        return Err("the server has ended".into());
    }
    Ok(())
}

#[cfg(unix)]
fn become_program(program: &Path, arguments: &[PathBuf]) -> Result<(), Failure> {
    use std::os::unix::process::CommandExt as _;
    let error = std::process::Command::new(program).args(arguments).exec();
    Err(format!("{}: {error}", program.display()).into())
}

#[cfg(not(unix))]
fn become_program(program: &Path, arguments: &[PathBuf]) -> Result<(), Failure> {
    let status = std::process::Command::new(program).args(arguments).status()?;
    if status.success() { Ok(()) } else { Err(format!("{}: {status}", program.display()).into()) }
}
