//! CPU time and memory of a process, from `/proc`.

use std::fs;

/// A process of this machine.
#[derive(Debug, Clone, Copy)]
pub struct Process(
    /// Process id.
    pub u32,
);

impl Process {
    /// CPU time that it has used, in seconds; 0 when it is gone. Exact to a tick, usually 10 ms.
    pub fn cpu_seconds(self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        ticks(&stat) as f64 / rustix::param::clock_ticks_per_second() as f64
    }

    /// Memory that is in RAM, in KiB; 0 when it is gone.
    pub fn memory_kib(self) -> u64 {
        resident(&fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap_or_default())
    }
}

/// User and system time: the 14th and 15th field, counted behind the name, which may have spaces.
fn ticks(stat: &str) -> u64 {
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

fn resident(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_memory_are_found_behind_any_name() {
        assert_eq!(ticks("7 (a (b) 9 9) S 1 7 7 0 -1 4194560 1 0 0 0 20 3 0 0 20 0"), 23);
        assert_eq!(resident("Name:\tx\nVmHWM:\t 9 kB\nVmRSS:\t   512 kB\n"), 512);
        assert!(Process(std::process::id()).memory_kib() > 0);
        assert_eq!(Process(u32::MAX).memory_kib(), 0);
    }
}
