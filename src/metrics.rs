//! Counters, gauges and histograms of a server, shown at `/metrics` in the text format of Prometheus.
//!
//! Each server has a [`Metrics`] of its own. They are atomics in its fields, so counting is cheap in hot paths: nothing
//! is looked up by name.
//!
//! No crate writes the text. `prometheus-client` names a counter without its `_total` in HELP and TYPE, where
//! `drawhall_connections_total` would clash with `drawhall_connections`. `prometheus` leaves out families that have no
//! sample yet, which docs/METRICS.md promises.

mod process;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Results of a login that have a series of their own: `ok` and the error codes. Everything else counts as `other`,
/// so that texts from clients create no series.
const LOGIN_RESULTS: &[&str] = &[
    "authOnly",
    "badAlias",
    "badPassword",
    "badProtocol",
    "badUsername",
    "badversion",
    "banned",
    "bannedName",
    "cinfoAlreadyDone",
    "clientInfoUnsupported",
    "clientLookupUnsupported",
    "closed",
    "extAuthError",
    "extauth",
    "extauthLocked",
    "extauthOutgroup",
    "forbiddenUsername",
    "ghostHost",
    "ghostWithoutMod",
    "ghostsNotAllowed",
    "idInUse",
    "identError",
    "inviteLimitReached",
    "inviteNoClientKey",
    "inviteNotFound",
    "lookupAlreadyDone",
    "lookupFailed",
    "lookupHostMismatch",
    "lookupJoinMismatch",
    "lookupMismatch",
    "lookupRequired",
    "mismatchedHostName",
    "nameInuse",
    "noAnswer",
    "noExtAuth",
    "noWebJoin",
    "notFound",
    "ok",
    "passwordedHost",
    "protoverns",
    "protoverold",
    "storageError",
    "syntax",
    "tlsRequired",
    "tooManyAttempts",
    "unauthorizedHost",
    "webNotAllowed",
];
/// Upper bounds of the histogram buckets, in milliseconds.
const DELAY_BUCKETS_MS: [u64; 9] = [1, 2, 5, 10, 20, 50, 100, 500, 1000];

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to the counter; it wraps at 2^64.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn count(&self) {
        self.add(1);
    }

    /// The current value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that grows and shrinks.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds one.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Subtracts one; each must follow an [`Self::increment`].
    pub fn decrement(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Replaces the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The current value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters by label, for rare events. Labels are literals of the program, never texts from clients.
#[derive(Debug, Default)]
pub struct Counters(Mutex<BTreeMap<&'static str, u64>>);

impl Counters {
    /// Adds one to the counter with this label value, which must be a word of the program.
    pub fn count(&self, kind: &'static str) {
        *self.0.lock().entry(kind).or_default() += 1;
    }

    fn all(&self) -> Vec<(&'static str, u64)> {
        let kinds = self.0.lock();
        kinds.iter().map(|(kind, count)| (*kind, *count)).collect()
    }
}

/// The label under which a login with this result is counted.
pub fn login_result(details: &str) -> &'static str {
    LOGIN_RESULTS.iter().find(|known| **known == details).unwrap_or(&"other")
}

/// A histogram of delays, with the buckets of `DELAY_BUCKETS_MS`.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Delays per bucket, not cumulative; the last bucket has those above all bounds.
    buckets: [AtomicU64; DELAY_BUCKETS_MS.len() + 1],
    sum_ms: AtomicU64,
}

impl Histogram {
    /// Counts a delay in milliseconds.
    pub fn record(&self, ms: u64) {
        let bucket = DELAY_BUCKETS_MS.partition_point(|bound| *bound < ms);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

/// Everything that a server counts. Whoever counts has an `Arc` of it; two servers in a process have two.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Metrics {
    /// Accepted connections.
    pub connections: Counter,
    /// Connections, logins and passwords that a limit has refused, by the name of its setting.
    pub limits_hit: Counters,
    /// Times that a rate limit delayed a client or dropped its chat.
    pub slowed: Counter,
    /// Messages from clients.
    pub messages_in: Counter,
    /// Bytes of messages from clients.
    pub bytes_in: Counter,
    /// Bytes of messages to clients.
    pub bytes_out: Counter,
    pub messages_out: Counter,
    /// Time that was spent on sending, in nanoseconds of all threads; sessions use it to see how busy the machine is.
    pub sending_ns: Counter,
    /// Logins by result: `ok`, or the code of the error.
    pub logins: Counters,
    /// Pictures that sessions were to begin with, by result: `ok`, `refused`, `timeout` or `failed`.
    pub pictures: Counters,
    /// Pictures that an external program was to make of sessions, by result: `ok`, `refused`, `timeout` or `failed`.
    pub renders: Counters,
    /// Jobs that wait in the blocking pool to verify or hash a password.
    pub hashes_waiting: Gauge,
    /// Log lines that wait to be written to the database.
    pub log_waiting: Gauge,
    /// Log lines that were dropped: a connection had too many, or too many waited for the database.
    pub log_left_out: Counter,
    /// Failed attempts to write the log to the database.
    pub log_errors: Counter,
    /// Failed attempts to read the configuration file or database again.
    pub configuration_errors: Counter,
    /// Other servers of the cluster to which there is a link.
    pub linked_servers: Gauge,
    /// Clients here that are in sessions of other servers.
    pub relayed_clients: Gauge,
    /// Time that transactions with the changes of shared sessions took.
    pub commits: Histogram,
    /// Such transactions that failed, or whose outcome is not known.
    pub commit_errors: Counter,
    /// Bytes of shared sessions that are not known to be committed.
    pub uncommitted_bytes: Gauge,
    /// Shared sessions that another server has taken over from this one.
    pub sessions_lost: Counter,
    /// When the certificate in use expires, in seconds since 1970; 0 without one.
    pub certificate_not_after: Gauge,
    /// Free bytes of the disk of each watched directory, by path; empty until first measured.
    pub disks_free: Mutex<Vec<(String, u64)>>,
    /// Slow clients that were disconnected because they do not read.
    pub lagging: Counter,
    /// Failed attempts to store something.
    pub storage_errors: Counter,
    /// Time from the arrival of messages at their session until they could be sent to all others.
    pub fan_out: Histogram,
}

/// Values that are computed when the page is requested.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct CurrentValues {
    /// Open connections.
    pub connections: u64,
    pub sessions: u64,
    /// Stored sessions that are damaged or cannot be read.
    pub sessions_not_loaded: u64,
    /// When the last backup was made, in seconds since 1970, if that is known.
    pub last_backup: Option<u64>,
    /// Users in sessions.
    pub users: u64,
    /// Bytes of all histories.
    pub history_bytes: u64,
    /// Bytes of the largest history.
    pub largest_history: u64,
}

/// Resident memory of this process in bytes, `None` where the system does not have `/proc`.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

impl Metrics {
    /// All metrics in the text format of Prometheus.
    pub fn page(&self, current: &CurrentValues) -> String {
        let mut page = String::new();
        let mut one = |name: &str, kind: &str, help: &str, value: u64| {
            // Writing to a `String` cannot fail.
            let _ = write!(
                page,
                "# HELP drawhall_{name} {help}\n# TYPE drawhall_{name} {kind}\ndrawhall_{name} {value}\n"
            );
        };
        one("connections", "gauge", "Connections.", current.connections);
        one("sessions", "gauge", "Sessions.", current.sessions);
        one(
            "sessions_not_loaded",
            "gauge",
            "Stored sessions that are not loaded, because they are damaged or cannot be read.",
            current.sessions_not_loaded,
        );
        one("session_users", "gauge", "Users in sessions.", current.users);
        one("history_bytes", "gauge", "Bytes of all histories.", current.history_bytes);
        one("history_largest_bytes", "gauge", "Bytes of the largest history.", current.largest_history);
        let linked = self.linked_servers.get();
        one("linked_servers", "gauge", "Other servers of the cluster to which there is a link.", linked);
        let relayed = self.relayed_clients.get();
        one("relayed_clients", "gauge", "Clients here that are in sessions of other servers.", relayed);
        let uncommitted = self.uncommitted_bytes.get();
        let help = "Bytes of shared sessions that are not known to be committed.";
        one("uncommitted_bytes", "gauge", help, uncommitted);
        if let Some(bytes) = resident_bytes() {
            one("resident_memory_bytes", "gauge", "Memory of the process.", bytes);
        }
        for (name, help, counter) in [
            ("connections_total", "Accepted connections.", &self.connections),
            ("slowed_total", "Times that a rate limit delayed a client or dropped its chat.", &self.slowed),
            ("messages_received_total", "Messages from clients.", &self.messages_in),
            ("received_bytes_total", "Bytes of messages from clients.", &self.bytes_in),
            ("messages_sent_total", "Messages to clients.", &self.messages_out),
            ("sent_bytes_total", "Bytes of messages to clients.", &self.bytes_out),
            ("lagging_total", "Slow clients that were disconnected because they do not read.", &self.lagging),
            (
                "configuration_errors_total",
                "Failed attempts to read the configuration again.",
                &self.configuration_errors,
            ),
            ("log_errors_total", "Failed attempts to write the log to the database.", &self.log_errors),
            ("log_left_out_total", "Log lines that were dropped.", &self.log_left_out),
            (
                "commit_errors_total",
                "Transactions of shared sessions that failed, or whose outcome is not known.",
                &self.commit_errors,
            ),
            (
                "sessions_lost_total",
                "Shared sessions that another server has taken over from this one.",
                &self.sessions_lost,
            ),
            ("storage_errors_total", "Failed attempts to store something.", &self.storage_errors),
        ] {
            one(name, "counter", help, counter.get());
        }
        let limits =
            ("limits_hit_total", "setting", "Connections, logins and passwords that a limit has refused.");
        by_kind(limits, "counter", &self.limits_hit.all(), &mut page);
        by_kind(("logins_total", "result", "Logins by result."), "counter", &self.logins.all(), &mut page);
        let pictures = ("pictures_total", "result", "Pictures that sessions were to begin with, by result.");
        by_kind(pictures, "counter", &self.pictures.all(), &mut page);
        let renders =
            ("renders_total", "result", "Pictures that a program was to make of sessions, by result.");
        by_kind(renders, "counter", &self.renders.all(), &mut page);
        let queues = [("hashes", &self.hashes_waiting), ("log", &self.log_waiting)];
        let queues = queues.map(|(queue, depth)| (queue, depth.get()));
        by_kind(("queue_depth", "queue", "Length of queues."), "gauge", &queues, &mut page);
        let not_after = Some(self.certificate_not_after.get()).filter(|seconds| *seconds > 0);
        certificate(not_after, &mut page);
        last_backup(current.last_backup, &mut page);
        disks(&self.disks_free.lock(), &mut page);
        let fan_out =
            "Time from the arrival of messages at their session until they could be sent to all others.";
        delays(("fan_out_seconds", fan_out), &self.fan_out, &mut page);
        let commits = "Time that transactions with the changes of shared sessions took.";
        delays(("commit_seconds", commits), &self.commits, &mut page);
        process::write(resident_bytes(), &mut page);
        page
    }
}

fn certificate(not_after: Option<u64>, page: &mut String) {
    let name = "drawhall_certificate_not_after_timestamp_seconds";
    let help = "When the certificate in use expires, in seconds since 1970.";
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} gauge");
    if let Some(seconds) = not_after {
        let _ = writeln!(page, "{name} {seconds}");
    }
}

fn last_backup(time: Option<u64>, page: &mut String) {
    let name = "drawhall_last_backup_timestamp_seconds";
    let help = "When the last backup of the data directory was made, in seconds since 1970.";
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} gauge");
    if let Some(seconds) = time {
        let _ = writeln!(page, "{name} {seconds}");
    }
}

fn disks(disks: &[(String, u64)], page: &mut String) {
    let name = "drawhall_disk_free_bytes";
    let help = "Bytes that can be written to the disk of a directory.";
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} gauge");
    for (path, free) in disks {
        let path = path.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = writeln!(page, "{name}{{path=\"{path}\"}} {free}");
    }
}

fn by_kind(
    (name, label, help): (&str, &str, &str),
    kind: &str,
    values: &[(&'static str, u64)],
    page: &mut String,
) {
    let _ = writeln!(page, "# HELP drawhall_{name} {help}\n# TYPE drawhall_{name} {kind}");
    for (value_of, value) in values {
        let _ = writeln!(page, "drawhall_{name}{{{label}=\"{value_of}\"}} {value}");
    }
}

fn delays((name, help): (&str, &str), delays: &Histogram, page: &mut String) {
    let name = format!("drawhall_{name}");
    let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} histogram\n");
    let mut total = 0;
    for (index, bucket) in delays.buckets.iter().enumerate() {
        total += bucket.load(Ordering::Relaxed);
        let bound =
            DELAY_BUCKETS_MS.get(index).map_or("+Inf".to_owned(), |ms| (*ms as f64 / 1000.0).to_string());
        let _ = writeln!(page, "{name}_bucket{{le=\"{bound}\"}} {total}");
    }
    let sum = delays.sum_ms.load(Ordering::Relaxed) as f64 / 1000.0;
    let _ = writeln!(page, "{name}_sum {sum}\n{name}_count {total}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_disk_has_its_own_series_even_a_full_one() {
        let mut page = String::new();
        disks(&[("/srv/data".into(), 0), ("/a \"b\"\\c".into(), 7)], &mut page);
        assert!(page.contains("drawhall_disk_free_bytes{path=\"/srv/data\"} 0\n"), "{page}");
        assert!(page.contains(r#"{path="/a \"b\"\\c"} 7"#), "{page}");
    }

    #[test]
    fn histogram_buckets_are_cumulative_in_the_page() {
        let counted = Histogram::default();
        for ms in [0, 1, 2, 3, 5, 2000] {
            counted.record(ms);
        }
        let mut page = String::new();
        delays(("fan_out_seconds", "Help."), &counted, &mut page);
        for line in
            ["{le=\"0.001\"} 2", "{le=\"0.002\"} 3", "{le=\"0.005\"} 5", "{le=\"1\"} 5", "{le=\"+Inf\"} 6"]
        {
            assert!(page.contains(line), "{line}: {page}");
        }
        assert!(page.ends_with("_sum 2.011\ndrawhall_fan_out_seconds_count 6\n"), "{page}");
    }

    #[test]
    fn unknown_login_results_count_as_other() {
        let counters = Counters::default();
        for details in ["ok", "badPassword", "ok", "no\"word", "", "A1ZZZ", "A2ZZZ"] {
            counters.count(login_result(details));
        }
        assert_eq!(counters.all(), [("badPassword", 1), ("ok", 2), ("other", 4)]);
    }

    #[test]
    fn every_line_of_the_page_is_a_comment_or_a_number() {
        let page = Metrics::default().page(&CurrentValues { connections: 3, ..CurrentValues::default() });
        assert!(page.contains("\ndrawhall_connections 3\n"));
        for line in page.lines().filter(|l| !l.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let is_ours = name.starts_with("drawhall_") || name.starts_with("process_");
            assert!(is_ours && value.parse::<f64>().is_ok(), "{line}");
        }
    }
}
