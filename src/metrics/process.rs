//! Metrics of the process and of the build, by the names that Prometheus' client libraries share.
//!
//! Source: proc_pid_stat(5), proc_pid_fd(5).

use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// What `/proc` says about this process.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    threads: f64,
    /// Time from the boot of the machine to the start of the process.
    started_seconds: f64,
    virtual_bytes: f64,
}

impl Stat {
    /// Parses `/proc/self/stat`. The second field may have blanks and parentheses.
    fn parse(text: &str, ticks: f64) -> Option<Stat> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        // The manual counts fields from 1, and these begin with the third.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Stat {
            cpu_seconds: (field(14)? + field(15)?) / ticks,
            threads: field(20)?,
            started_seconds: field(22)? / ticks,
            virtual_bytes: field(23)?,
        })
    }
}

/// When the process started, in seconds since 1970. It is computed once, so that it is always the same.
fn start_time(stat: &Stat) -> f64 {
    static START: OnceLock<f64> = OnceLock::new();
    *START.get_or_init(|| {
        let boot = clock_gettime(ClockId::Boottime);
        let age = boot.tv_sec as f64 + boot.tv_nsec as f64 / 1e9 - stat.started_seconds;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
        ((now - age) * 100.0).round() / 100.0
    })
}

/// Appends the metrics of process and build to a page.
pub(super) fn write(resident_bytes: Option<u64>, page: &mut String) {
    let build = ("drawhall_build_info", "gauge", "Version of the server; the value is always 1.");
    let _ = writeln!(page, "# HELP {} {}\n# TYPE {} {}", build.0, build.2, build.0, build.1);
    let _ = writeln!(page, "{}{{version=\"{}\"}} 1", build.0, env!("CARGO_PKG_VERSION"));
    let mut one = |name: &str, kind: &str, help: &str, value: f64| {
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            page,
            "# HELP process_{name} {help}\n# TYPE process_{name} {kind}\nprocess_{name} {value}"
        );
    };
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let stat = std::fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::parse(&text, ticks));
    if let Some(stat) = stat {
        one("cpu_seconds_total", "counter", "CPU time of the process in seconds.", stat.cpu_seconds);
        one(
            "start_time_seconds",
            "gauge",
            "When the process started, in seconds since 1970.",
            start_time(&stat),
        );
        one("threads", "gauge", "Threads of the process.", stat.threads);
        one("virtual_memory_bytes", "gauge", "Address space of the process.", stat.virtual_bytes);
    }
    if let Some(bytes) = resident_bytes {
        one("resident_memory_bytes", "gauge", "Memory of the process.", bytes as f64);
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        // One of them is open for this.
        one("open_fds", "gauge", "Open files of the process.", files.count().saturating_sub(1) as f64);
    }
    if let Some(limit) = getrlimit(Resource::Nofile).current {
        one("max_fds", "gauge", "Limit of open files of the process.", limit as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_the_name_of_the_program() {
        let text =
            "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 11 0 4200 99000 30 18446744073709551615";
        let expected =
            Stat { cpu_seconds: 2.0, threads: 11.0, started_seconds: 42.0, virtual_bytes: 99000.0 };
        assert_eq!(Stat::parse(text, 100.0), Some(expected));
        assert_eq!(Stat::parse("7 (a) S 1", 100.0), None);
    }

    #[test]
    fn the_start_is_before_now_and_stays_the_same() {
        let value = |page: &str, name: &str| {
            let line = page
                .lines()
                .find_map(|line| line.strip_prefix(&format!("process_{name} ")).map(str::to_owned));
            line.unwrap().parse::<f64>().unwrap()
        };
        let mut pages = [String::new(), String::new()];
        pages.iter_mut().for_each(|page| write(Some(5), page));
        let starts = pages.each_ref().map(|page| value(page, "start_time_seconds"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert_eq!(starts[0], starts[1]);
        assert!(starts[0] <= now && starts[0] > now - 86400.0, "{starts:?} {now}");
        assert!(value(&pages[0], "open_fds") >= 3.0 && value(&pages[0], "max_fds") >= 3.0);
    }
}
