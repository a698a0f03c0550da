//! Child processes: started in a process group of their own, which is killed as a whole, and what they report on
//! standard error.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus};

use crate::text;

/// Bytes of a report that are kept.
pub(crate) const MAX_REPORT: u64 = 64 << 10;
/// Characters of a line of a report that are kept.
const MAX_LINE: usize = 300;

/// A child in a process group of its own. Whoever starts it has to call [`Self::end`].
pub(crate) struct ChildGroup(Child);

impl ChildGroup {
    pub(crate) fn start(mut command: Command) -> io::Result<ChildGroup> {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.spawn().map(ChildGroup)
    }

    /// The child, for its pipes.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Whether it has ended. It is not waited for yet, so the number of the group is not given to others.
    #[cfg(all(unix, not(target_os = "openbsd")))]
    pub(crate) fn has_ended(&mut self) -> io::Result<bool> {
        use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(Pid::from_child(&self.0)), options)?.is_some())
    }

    #[cfg(not(all(unix, not(target_os = "openbsd"))))]
    pub(crate) fn has_ended(&mut self) -> io::Result<bool> {
        self.0.try_wait().map(|status| status.is_some())
    }

    /// Kills whatever is left of the group, and waits for the child. To be called once.
    pub(crate) fn end(&mut self) -> io::Result<ExitStatus> {
        #[cfg(unix)]
        {
            use rustix::process::{Pid, Signal, kill_process_group};
            // There may be nobody left in it.
            let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        }
        let _ = self.0.kill();
        self.0.wait()
    }
}

/// Reads the beginning of what a process reports, and the rest without keeping it, so that the pipe is never full. What
/// cannot be read is missing; the status of the process says why.
pub(crate) fn read_report(mut pipe: impl Read) -> Vec<u8> {
    let mut report = Vec::new();
    let _ = pipe.by_ref().take(MAX_REPORT).read_to_end(&mut report);
    let _ = io::copy(&mut pipe, &mut io::sink());
    report
}

/// The lines of a report that are not empty, shortened and without control characters.
pub(crate) fn report_lines(report: &[u8]) -> Vec<String> {
    let report = String::from_utf8_lossy(report);
    let lines = report.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| text::one_line(line).chars().take(MAX_LINE).collect()).collect()
}

/// How a process failed: its status, and the last line of its report if there is one.
pub(crate) fn failure(status: ExitStatus, report: &[u8]) -> String {
    let reason = report_lines(report).pop().map_or_else(String::new, |line| format!(": {line}"));
    format!("{status}{reason}")
}
