//! What an external program that makes pictures may do. It needs files and threads, so it keeps more than the process
//! that reads pictures (`sandbox`).
//!
//! Limits of memory, time and file size hold everywhere on Unix. On Linux, Landlock leaves it system directories to read,
//! its own directory to read, and one to write; seccomp takes new processes, sockets, other processes and shared memory
//! away. So whatever it does, nothing is left of it when it ends or is killed, which it is when the server ends.

#[cfg(target_os = "linux")]
mod system_calls;

use std::path::Path;

#[cfg(unix)]
use drawhall::renderer::MAX_FILE;

#[cfg(unix)]
use super::sandbox;
use crate::Failure;

/// Address space in bytes.
#[cfg(unix)]
const MAX_MEMORY: u64 = 4 << 30;
/// Processor time in seconds, of all threads together.
#[cfg(unix)]
const MAX_CPU: u64 = 600;
/// Open files. Each may be one that is in no directory any more.
#[cfg(unix)]
const MAX_OPEN: u64 = 32;
/// Niceness: the server goes first.
#[cfg(unix)]
const NICE: i32 = 15;
/// Directories and files that programs need to run, if they are there.
#[cfg(target_os = "linux")]
const READABLE: [&str; 11] = [
    "/usr",
    "/bin",
    "/lib",
    "/lib32",
    "/lib64",
    "/opt",
    "/nix/store",
    "/etc/ld.so.cache",
    "/etc/fonts",
    "/dev/urandom",
    "/proc/self",
];

/// Gives up everything else, for the rest of the process and what it becomes.
///
/// # Errors
/// When a limit cannot be set.
pub(super) fn enter(program: &Path, directory: &Path) -> Result<(), Failure> {
    #[cfg(unix)]
    limit()?;
    #[cfg(target_os = "linux")]
    {
        restrict_files(program, directory)?;
        sandbox::filter_if_supported(system_calls::filter())?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (program, directory);
    Ok(())
}

#[cfg(unix)]
fn limit() -> Result<(), Failure> {
    use rustix::process::Resource;
    let limits = [
        (Resource::As, MAX_MEMORY),
        (Resource::Cpu, MAX_CPU),
        (Resource::Fsize, MAX_FILE),
        (Resource::Nofile, MAX_OPEN),
        (Resource::Core, 0),
    ];
    let set = sandbox::set_limits(&limits, NICE);
    set.map_err(|error| format!("the program cannot be limited: {error}").into())
}

/// Leaves it what is needed to run and its directory, as far as the kernel can take the rest.
#[cfg(target_os = "linux")]
fn restrict_files(program: &Path, directory: &Path) -> Result<(), landlock::RulesetError> {
    use landlock::{
        ABI, Access as _, AccessFs, AccessNet, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, Scope,
        make_bitflags, path_beneath_rules,
    };
    let abi = ABI::V5;
    let read = AccessFs::from_read(abi);
    let write = make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | MakeReg | RemoveFile | Truncate});
    let null = make_bitflags!(AccessFs::{ReadFile | WriteFile});
    // Where a link leads, too: programs find their own files beside themselves.
    let real = program.canonicalize().unwrap_or_else(|_| program.to_owned());
    let homes = [program, &real].map(|path| path.parent().unwrap_or(path).to_owned());
    Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(ABI::V6))?
        .create()?
        .add_rules(path_beneath_rules(READABLE, read))?
        .add_rules(path_beneath_rules(homes, read))?
        .add_rules(path_beneath_rules([directory], write))?
        .add_rules(path_beneath_rules(["/dev/null"], null))?
        .restrict_self()?;
    Ok(())
}
