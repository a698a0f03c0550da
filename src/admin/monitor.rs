//! The Observer actor: how the server has done in the last hour, how full its disks are, and who wants to be told of
//! changes as they happen.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use actix::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc, watch};

use super::log;
use crate::clock::{Timestamp, iso_of};
use crate::config::Rules;
use crate::db::{Database, LogRow};
use crate::metrics::{self, METRICS};
use crate::server::{GetLoad, ListSessions, Load, Server};

/// How often followers are told how the server does.
const TICK: Duration = Duration::from_secs(2);
/// Every so many ticks a sample is kept, and disks are looked at.
const SAMPLE_TICKS: u64 = 5;
/// Seconds between samples.
pub(super) const SAMPLE_SECONDS: u64 = TICK.as_secs() * SAMPLE_TICKS;
/// Samples that are kept: those of an hour.
const MAX_SAMPLES: usize = (3600 / SAMPLE_SECONDS) as usize;
/// Followers at once.
const MAX_SUBSCRIBERS: usize = 64;
/// Events that wait for a follower; one who is slower is cut off, and may come again.
const MAX_WAITING: usize = 1024;

/// How the server did at one time.
#[derive(Debug, Clone, Serialize)]
struct Sample {
    /// ISO 8601, UTC.
    at: String,
    /// Connections.
    users: usize,
    sessions: usize,
    /// Bytes from clients since the start.
    received: u64,
    /// Bytes to clients since the start.
    sent: u64,
    /// Messages from clients since the start.
    messages: u64,
    /// Bytes of memory, 0 if the system does not tell.
    memory: u64,
}

/// A disk that something is written to.
#[derive(Debug, Clone, Serialize)]
struct Disk {
    path: PathBuf,
    /// Bytes that can be written.
    free: u64,
    /// Bytes that it holds.
    total: u64,
    /// There is less than `diskSpaceAlarm`.
    low: bool,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) name: &'static str,
    /// JSON.
    pub(super) data: Arc<str>,
}

struct Subscriber {
    topics: Vec<String>,
    events: mpsc::Sender<Event>,
}

/// What the Observer looks at.
pub struct MonitorDeps {
    /// Knows sessions and connections.
    pub server: Addr<Server>,
    /// Where the log is kept.
    pub log: Database,
    /// The rules in force.
    pub rules: watch::Receiver<Arc<Rules>>,
    /// Directories that are written to.
    pub watched_dirs: Vec<PathBuf>,
}

/// The Observer actor.
pub struct Monitor {
    watched: MonitorDeps,
    ticks: u64,
    samples: VecDeque<Sample>,
    disks: Vec<Disk>,
    subscribers: Vec<Subscriber>,
    /// Sessions that followers know of: description and id.
    known: HashMap<String, String>,
}

impl Monitor {
    /// Starts it.
    pub fn begin(watched: MonitorDeps) -> Addr<Monitor> {
        let monitor = Monitor {
            watched,
            ticks: 0,
            samples: VecDeque::new(),
            disks: Vec::new(),
            subscribers: Vec::new(),
            known: HashMap::new(),
        };
        monitor.start()
    }

    fn is_followed(&self, topic: &str) -> bool {
        self.subscribers.iter().any(|f| f.follows(topic))
    }

    /// Tells those who want to know. Who does not read fast enough, or has gone, is forgotten.
    fn tell(&mut self, topic: &str, name: &'static str, data: &Value) {
        if self.is_followed(topic) {
            let event = Event { name, data: data.to_string().into() };
            self.subscribers.retain(|f| !f.follows(topic) || f.events.try_send(event.clone()).is_ok());
        }
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        self.subscribers.retain(|f| !f.events.is_closed());
        let is_sample = self.ticks.is_multiple_of(SAMPLE_TICKS);
        self.ticks += 1;
        if is_sample || self.is_followed("status") {
            ctx.spawn(self.watched.server.send(GetLoad).into_actor(self).map(move |load, monitor, _| {
                // Else the server stops.
                if let Ok(load) = load {
                    monitor.sample(load, is_sample);
                }
            }));
        }
        if is_sample {
            self.look_at_disks(ctx);
        }
        if self.is_followed("sessions") {
            let asked = self.watched.server.send(ListSessions { listed_only: false });
            ctx.spawn(asked.into_actor(self).map(|texts, monitor, _| {
                monitor.show_sessions(texts.unwrap_or_default());
            }));
        } else {
            self.known.clear();
        }
    }

    fn sample(&mut self, load: Load, keep: bool) {
        let Load { users, sessions } = load;
        let sample = Sample {
            at: iso_of(Timestamp::now().utc_ms),
            users,
            sessions,
            received: METRICS.bytes_in.get(),
            sent: METRICS.bytes_out.get(),
            messages: METRICS.messages_in.get(),
            memory: metrics::resident_bytes().unwrap_or(0),
        };
        self.tell("status", "status", &json!(sample));
        if keep {
            self.samples.push_back(sample);
            if self.samples.len() > MAX_SAMPLES {
                self.samples.pop_front();
            }
        }
    }

    fn look_at_disks(&self, ctx: &mut Context<Self>) {
        let watched_dirs = self.watched.watched_dirs.clone();
        let alarm = self.watched.rules.borrow().settings().disk_space_alarm;
        // A disk that is far away may take its time.
        let looking = actix_rt::task::spawn_blocking(move || {
            watched_dirs.iter().filter_map(|path| disk(path, alarm)).collect::<Vec<Disk>>()
        });
        ctx.spawn(looking.into_actor(self).map(|disks, monitor, _| {
            if let Ok(disks) = disks {
                monitor.take_disks(disks);
            }
        }));
    }

    fn take_disks(&mut self, disks: Vec<Disk>) {
        for disk in &disks {
            let before = self.disks.iter().any(|d| d.path == disk.path && d.low);
            let (path, free) = (disk.path.display(), disk.free >> 20);
            match (before, disk.low) {
                (false, true) => tracing::error!("only {free} MB are free on the disk of {path}"),
                (true, false) => tracing::info!("{free} MB are free again on the disk of {path}"),
                _ => continue,
            }
            self.tell("status", "disk", &json!(disk));
        }
        let free = disks.iter().map(|disk| (disk.path.display().to_string(), disk.free)).collect();
        *METRICS.disks_free.lock().unwrap_or_else(PoisonError::into_inner) = free;
        self.disks = disks;
    }

    /// Shows what has changed since the last look.
    fn show_sessions(&mut self, texts: Vec<String>) {
        let mut known = HashMap::new();
        let mut changed = Vec::new();
        for text in texts {
            let id = self.known.remove(&text).unwrap_or_else(|| {
                let value: Value = serde_json::from_str(&text).unwrap_or_default();
                let id = value["id"].as_str().or(value["alias"].as_str()).unwrap_or_default().to_owned();
                changed.push(value);
                id
            });
            known.insert(text, id);
        }
        for value in changed {
            self.tell("sessions", "session", &value);
        }
        let gone: Vec<String> =
            self.known.drain().map(|(_, id)| id).filter(|id| !known.values().any(|k| k == id)).collect();
        for id in gone {
            self.tell("sessions", "session-end", &json!({"id": id}));
        }
        self.known = known;
    }
}

impl Subscriber {
    fn follows(&self, topic: &str) -> bool {
        self.topics.iter().any(|t| t == topic)
    }
}

/// How full the disk of a directory is, if the system tells.
fn disk(path: &Path, alarm: u64) -> Option<Disk> {
    let stat = rustix::fs::statvfs(path).ok()?;
    let (free, total) = (stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize);
    Some(Disk { path: path.to_owned(), free, total, low: free < alarm })
}

impl Actor for Monitor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.tick(ctx);
        ctx.run_interval(TICK, Self::tick);
        let (mut rows, monitor) = (self.watched.log.follow_log(), ctx.address());
        ctx.spawn(
            async move {
                loop {
                    match rows.recv().await {
                        Ok(rows) => monitor.do_send(Logged(rows)),
                        Err(broadcast::error::RecvError::Lagged(_)) => {}
                        Err(broadcast::error::RecvError::Closed) => return,
                    }
                }
            }
            .into_actor(self),
        );
    }
}

/// Lines were logged.
#[derive(Message)]
#[rtype(result = "()")]
struct Logged(Arc<[LogRow]>);

impl Handler<Logged> for Monitor {
    type Result = ();

    fn handle(&mut self, Logged(rows): Logged, _: &mut Self::Context) {
        if self.is_followed("log") {
            for row in rows.iter() {
                self.tell("log", "log", &log::value(row.clone()));
            }
        }
    }
}

/// Somebody wants to be told of these topics: `status`, `sessions`, `log`.
#[derive(Message)]
#[rtype(result = "Option<mpsc::Receiver<Event>>")]
pub(super) struct Subscribe(pub(super) Vec<String>);

impl Handler<Subscribe> for Monitor {
    type Result = Option<mpsc::Receiver<Event>>;

    fn handle(&mut self, Subscribe(topics): Subscribe, _: &mut Self::Context) -> Self::Result {
        self.subscribers.retain(|f| !f.events.is_closed());
        if self.subscribers.len() >= MAX_SUBSCRIBERS {
            return None;
        }
        let (events, receiver) = mpsc::channel(MAX_WAITING);
        self.subscribers.push(Subscriber { topics, events });
        // Whoever comes new knows of no session.
        self.known.clear();
        Some(receiver)
    }
}

/// What was seen: samples and disks, as JSON.
#[derive(Message)]
#[rtype(result = "MonitorSnapshot")]
pub(super) struct GetSnapshot;

/// Answer to [`GetSnapshot`].
#[derive(MessageResponse)]
pub(super) struct MonitorSnapshot {
    pub(super) samples: Value,
    pub(super) disks: Value,
}

impl Handler<GetSnapshot> for Monitor {
    type Result = MonitorSnapshot;

    fn handle(&mut self, _: GetSnapshot, _: &mut Self::Context) -> Self::Result {
        MonitorSnapshot { samples: json!(self.samples), disks: json!(self.disks) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_low_below_the_alarm() {
        let here = std::env::temp_dir();
        let disk_here = disk(&here, 0).unwrap();
        assert!(!disk_here.low && disk_here.total >= disk_here.free);
        assert!(disk(&here, u64::MAX).unwrap().low);
        assert!(disk(Path::new("/nowhere/at/all"), 0).is_none());
    }
}
