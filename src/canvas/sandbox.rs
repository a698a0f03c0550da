//! What a process that reads pictures may do: use its memory and its three open pipes.
//!
//! Limits of memory and time hold everywhere on Unix. On Linux, Landlock takes files and network away, and seccomp all
//! system calls that are not needed to compute; each where the kernel has it.

#[cfg(target_os = "linux")]
use std::collections::BTreeMap;

use crate::Failure;

/// Address space in bytes. The largest interlaced picture and its messages fit.
#[cfg(unix)]
const MAX_MEMORY: u64 = 1 << 30;
/// Processor time in seconds.
#[cfg(unix)]
const MAX_CPU: u64 = 50;
/// Niceness: the server goes first.
#[cfg(unix)]
const NICE: i32 = 10;

/// Gives up everything else, for the rest of the process.
///
/// # Errors
/// When a limit cannot be set.
pub(super) fn enter() -> Result<(), Failure> {
    #[cfg(unix)]
    limit()?;
    #[cfg(target_os = "linux")]
    {
        landlock_all()?;
        filter_if_supported(filter_system_calls())?;
    }
    Ok(())
}

#[cfg(unix)]
fn limit() -> Result<(), Failure> {
    use rustix::process::Resource;
    let limits =
        [(Resource::As, MAX_MEMORY), (Resource::Cpu, MAX_CPU), (Resource::Core, 0), (Resource::Nproc, 0)];
    let set = set_limits(&limits, NICE);
    set.map_err(|error| format!("the process that reads pictures cannot be limited: {error}").into())
}

/// Sets resource limits of this process, and lets others go first.
#[cfg(unix)]
pub(super) fn set_limits(
    limits: &[(rustix::process::Resource, u64)],
    niceness: i32,
) -> Result<(), rustix::io::Errno> {
    use rustix::process::{Rlimit, getrlimit, nice, setrlimit};
    for (resource, wanted) in limits {
        // A limit that is lower already stays.
        let limit = Some(getrlimit(*resource).maximum.map_or(*wanted, |now| *wanted.min(&now)));
        setrlimit(*resource, Rlimit { current: limit, maximum: limit })?;
    }
    // Only a matter of politeness.
    let _ = nice(niceness);
    end_first_without_memory();
    Ok(())
}

/// Has the kernel kill this process, and not the server, when the machine runs out of memory.
#[cfg(target_os = "linux")]
fn end_first_without_memory() {
    // Nothing depends on it where /proc is missing.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

#[cfg(all(unix, not(target_os = "linux")))]
fn end_first_without_memory() {}

/// The result of setting a filter of system calls. Without seccomp, which few kernels lack, the other limits still hold.
#[cfg(target_os = "linux")]
pub(super) fn filter_if_supported(result: Result<(), seccompiler::Error>) -> Result<(), seccompiler::Error> {
    result.or_else(|error| match error {
        seccompiler::Error::Prctl(_) | seccompiler::Error::Seccomp(_) => Ok(()),
        error => Err(error),
    })
}

/// Takes all files, all TCP ports, and signals to other processes, as far as the kernel knows them.
#[cfg(target_os = "linux")]
fn landlock_all() -> Result<(), landlock::RulesetError> {
    use landlock::{ABI, Access as _, AccessFs, AccessNet, Ruleset, RulesetAttr as _, Scope};
    Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::from_all(ABI::V5))?
        .scope(Scope::from_all(ABI::V6))?
        .create()?
        .restrict_self()?;
    Ok(())
}

/// Lets only those system calls through that memory, the pipes and the end of a process need. Others fail with EPERM.
/// So do reading and writing of other open files, which a server may have inherited and passed on.
#[cfg(target_os = "linux")]
fn filter_system_calls() -> Result<(), seccompiler::Error> {
    use seccompiler::SeccompCmpOp::{Eq, Le};
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCondition, SeccompFilter, SeccompRule,
        TargetArch, apply_filter,
    };
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(()) };
    let allowed = [
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_brk,
        libc::SYS_futex,
        libc::SYS_getrandom,
        libc::SYS_clock_gettime,
        libc::SYS_sigaltstack,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_restart_syscall,
        libc::SYS_exit,
        libc::SYS_exit_group,
        // abort(): a process sends a signal to itself.
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_tgkill,
    ];
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        allowed.into_iter().map(|call| (call, Vec::new())).collect();
    // The number of the argument that is a file descriptor, and what it may be: a pipe, or none.
    let pipe = (0, Le, 2);
    let none = (4, Eq, u64::from(u32::MAX));
    for (call, (argument, comparison, value)) in [
        (libc::SYS_read, pipe.clone()),
        (libc::SYS_write, pipe.clone()),
        (libc::SYS_writev, pipe.clone()),
        (libc::SYS_close, pipe),
        (libc::SYS_mmap, none),
    ] {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, comparison, value)?;
        rules.insert(call, vec![SeccompRule::new(vec![condition])?]);
    }
    let denied = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(rules, denied, SeccompAction::Allow, arch)?;
    apply_filter(&BpfProgram::try_from(filter)?)
}
