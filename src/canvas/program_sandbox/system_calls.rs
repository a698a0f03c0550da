//! System calls that a program may not make: those that leave something behind, or reach other processes.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// Refused whatever the arguments are.
const REFUSED: &[i64] = &[
    // Processes and connections.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_io_uring_setup,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_setpriority,
    libc::SYS_ioprio_set,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // Its group and session: the group is killed as a whole.
    libc::SYS_setpgid,
    libc::SYS_setsid,
    // Memory that stays when the process has ended.
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_mq_timedsend,
    libc::SYS_mq_timedreceive,
    libc::SYS_mq_notify,
    libc::SYS_mq_getsetattr,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_memfd_create,
    // What Landlock does not know: attributes of files that it cannot open.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat,
    libc::SYS_fchmodat,
    SYS_FCHMODAT2,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    // The system.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    SYS_MOUNT_SETATTR,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
];
/// The same numbers on all architectures.
const SYS_MOUNT_SETATTR: i64 = 442;
const SYS_FCHMODAT2: i64 = 452;
/// Set in the numbers of system calls of the x32 ABI, which the filter would not recognise.
#[cfg(target_arch = "x86_64")]
const X32_BIT: u32 = 0x4000_0000;

/// Applies the filter to this process and what it becomes. Refused calls fail with EPERM.
pub(super) fn filter() -> Result<(), Error> {
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(()) };
    let apply = |rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32| {
        let refused = SeccompAction::Errno(errno.unsigned_abs());
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch)?;
        apply_filter(&BpfProgram::try_from(filter)?)
    };
    // Its flags are in memory, where a filter does not see them. Libraries then use `clone`.
    apply([(libc::SYS_clone3, Vec::new())].into(), libc::ENOSYS)?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    rules.extend(refused_by_arguments()?);
    apply(rules, libc::EPERM)?;
    #[cfg(target_arch = "x86_64")]
    apply_filter(&refuse_x32())?;
    Ok(())
}

/// Refused with some arguments only.
fn refused_by_arguments() -> Result<BTreeMap<i64, Vec<SeccompRule>>, Error> {
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    let is = |argument: u8, comparison: SeccompCmpOp, value: u64| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, comparison, value)
    };
    let own = u64::from(std::process::id());
    let mut rules = BTreeMap::new();
    // `clone` may make threads only.
    rules.insert(
        libc::SYS_clone,
        vec![SeccompRule::new(vec![is(0, MaskedEq(u64::from(libc::CLONE_THREAD.unsigned_abs())), 0)?])?],
    );
    // Signals to itself, as by abort(). The number stays when it becomes the program.
    for call in [
        libc::SYS_kill,
        libc::SYS_tkill,
        libc::SYS_tgkill,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_rt_tgsigqueueinfo,
    ] {
        rules.insert(call, vec![SeccompRule::new(vec![is(0, Ne, own)?])?]);
    }
    // Limits and scheduling of itself.
    for call in [
        libc::SYS_prlimit64,
        libc::SYS_sched_setaffinity,
        libc::SYS_sched_setscheduler,
        libc::SYS_sched_setparam,
        libc::SYS_sched_setattr,
    ] {
        rules.insert(call, vec![SeccompRule::new(vec![is(0, Ne, 0)?, is(0, Ne, own)?])?]);
    }
    // Signals to the owner of an open file.
    let owners = [libc::F_SETOWN, F_SETSIG, F_SETOWN_EX];
    let owner = |command: i32| SeccompRule::new(vec![is(1, Eq, u64::from(command.unsigned_abs()))?]);
    rules.insert(libc::SYS_fcntl, owners.into_iter().map(owner).collect::<Result<_, _>>()?);
    // It is killed with the server, and its open files can be looked at.
    let settings = [libc::PR_SET_PDEATHSIG, libc::PR_SET_DUMPABLE];
    let setting = |option: i32| SeccompRule::new(vec![is(0, Eq, u64::from(option.unsigned_abs()))?]);
    rules.insert(libc::SYS_prctl, settings.into_iter().map(setting).collect::<Result<_, _>>()?);
    // Without a path it means an open file.
    let path = SeccompCondition::new(1, SeccompCmpArgLen::Qword, Ne, 0)?;
    rules.insert(libc::SYS_utimensat, vec![SeccompRule::new(vec![path])?]);
    Ok(rules)
}

/// Commands of fcntl: which signal is sent, and to which thread.
const F_SETSIG: i32 = 10;
const F_SETOWN_EX: i32 = 15;

/// Refuses all calls of the x32 ABI: each call has a second number there.
#[cfg(target_arch = "x86_64")]
fn refuse_x32() -> BpfProgram {
    use seccompiler::sock_filter;
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
    let instruction = |code: u32, jt, jf, k| sock_filter { code: code as u16, jt, jf, k };
    vec![
        // The number of the call is the first word of what a filter sees.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32_BIT),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, refuse),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}
