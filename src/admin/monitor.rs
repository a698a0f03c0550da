//! The Monitor actor: samples the load of the last hour, checks disk space, and sends events to subscribers.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc, watch};

use super::disks::{Disk, Trends, WatchedDisks};
use super::log;
use super::reports::Report;
use crate::actors::server::{BelowReserve, GetLoad, ListSessions, Load, Server};
use crate::config::Rules;
use crate::db::{Database, LogRow};
use crate::metrics::{self, Metrics};
use crate::rules::time::{Timestamp, iso_of};

/// How often subscribers get the status.
const TICK: Duration = Duration::from_secs(2);
/// Every how many ticks a sample is kept, and disk space is checked.
const SAMPLE_TICKS: u64 = 5;
pub(super) const SAMPLE_SECONDS: u64 = TICK.as_secs() * SAMPLE_TICKS;
/// Samples that are kept: one hour.
const MAX_SAMPLES: usize = (3600 / SAMPLE_SECONDS) as usize;
const MAX_SUBSCRIBERS: usize = 64;
/// Queued events of a subscriber. A slow one whose queue is full is dropped; it may reconnect.
const MAX_QUEUED_EVENTS: usize = 1024;

/// Load of the server at one time.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Sample {
    /// ISO 8601, UTC.
    at: String,
    /// Open connections.
    users: usize,
    /// Sessions.
    sessions: usize,
    /// Bytes from clients since the start.
    received: u64,
    /// Bytes to clients since the start.
    sent: u64,
    /// Messages from clients since the start.
    messages: u64,
    /// Resident memory in bytes, 0 if unknown.
    memory: u64,
}

/// An event for subscribers.
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

/// What the monitor reads from.
#[allow(missing_docs, reason = "the names say it")]
pub struct MonitorDeps {
    pub server: Addr<Server>,
    pub log: Database,
    pub rules: watch::Receiver<Arc<Rules>>,
    /// Disks that the server writes to.
    pub watched_disks: WatchedDisks,
    pub metrics: Arc<Metrics>,
}

/// The Monitor actor.
pub struct Monitor {
    deps: MonitorDeps,
    ticks: u64,
    samples: VecDeque<Sample>,
    disks: Vec<Disk>,
    trends: Trends,
    subscribers: Vec<Subscriber>,
    /// Sessions that were sent to subscribers: id by description.
    sent_sessions: HashMap<String, String>,
}

impl Monitor {
    /// Starts the actor; it samples every two seconds from then on.
    pub fn begin(deps: MonitorDeps) -> Addr<Monitor> {
        let monitor = Monitor {
            deps,
            ticks: 0,
            samples: VecDeque::new(),
            disks: Vec::new(),
            trends: Trends::default(),
            subscribers: Vec::new(),
            sent_sessions: HashMap::new(),
        };
        monitor.start()
    }

    fn has_subscribers(&self, topic: &str) -> bool {
        self.subscribers.iter().any(|f| f.is_subscribed(topic))
    }

    /// Sends an event to the subscribers of a topic. Drops those whose queue is full or closed.
    fn publish(&mut self, topic: &str, name: &'static str, data: &Value) {
        if self.has_subscribers(topic) {
            let event = Event { name, data: data.to_string().into() };
            self.subscribers.retain(|f| !f.is_subscribed(topic) || f.events.try_send(event.clone()).is_ok());
        }
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        self.subscribers.retain(|f| !f.events.is_closed());
        let is_sample = self.ticks.is_multiple_of(SAMPLE_TICKS);
        self.ticks += 1;
        if is_sample || self.has_subscribers("status") {
            ctx.spawn(self.deps.server.send(GetLoad).into_actor(self).map(move |load, monitor, _| {
                // An error means that the server is stopping.
                if let Ok(load) = load {
                    monitor.sample(load, is_sample);
                }
            }));
        }
        if is_sample {
            self.check_disks(ctx);
        }
        if self.has_subscribers("sessions") {
            let list = self.deps.server.send(ListSessions { listed_only: false });
            ctx.spawn(list.into_actor(self).map(|texts, monitor, _| {
                monitor.publish_sessions(texts.unwrap_or_default());
            }));
        } else {
            self.sent_sessions.clear();
        }
    }

    fn sample(&mut self, load: Load, keep: bool) {
        let Load { users, sessions, refuses_sessions: _ } = load;
        let sample = Sample {
            at: iso_of(Timestamp::now().utc_ms),
            users,
            sessions,
            received: self.deps.metrics.bytes_in.get(),
            sent: self.deps.metrics.bytes_out.get(),
            messages: self.deps.metrics.messages_in.get(),
            memory: metrics::resident_bytes().unwrap_or(0),
        };
        self.publish("status", "status", &json!(sample));
        if keep {
            self.samples.push_back(sample);
            if self.samples.len() > MAX_SAMPLES {
                self.samples.pop_front();
            }
        }
    }

    fn check_disks(&self, ctx: &mut Context<Self>) {
        let watched = self.deps.watched_disks.clone();
        let rules = self.deps.rules.borrow().clone();
        // Blocking: a network disk may be slow.
        let check = actix_rt::task::spawn_blocking(move || watched.check(rules.settings()));
        ctx.spawn(check.into_actor(self).map(|disks, monitor, _| {
            if let Ok(Some(disks)) = disks {
                monitor.update_disks(disks);
            }
        }));
    }

    /// Tells of disks that are nearly full: the log once, subscribers whenever their space changes.
    fn update_disks(&mut self, mut disks: Vec<Disk>) {
        self.trends.apply(&mut disks, Timestamp::now().monotonic_ms);
        for disk in &disks {
            let before = self.disks.iter().find(|d| d.path == disk.path);
            let was_low = before.is_some_and(|d| d.low);
            let (path, free) = (disk.path.display(), disk.free >> 20);
            match (was_low, disk.low) {
                (false, true) => tracing::error!("only {free} MB are free on the disk of {path}"),
                (true, false) => tracing::info!("{free} MB are free again on the disk of {path}"),
                (true, true) => {}
                (false, false) => continue,
            }
            if before != Some(disk) {
                self.publish("status", "disk", &json!(disk));
            }
        }
        self.deps.server.do_send(BelowReserve(disks.iter().any(|disk| disk.below_reserve)));
        let free = |disk: &Disk| -> Vec<(String, u64)> {
            disk.paths.iter().map(|path| (path.display().to_string(), disk.free)).collect()
        };
        *self.deps.metrics.disks_free.lock() = disks.iter().flat_map(free).collect();
        self.disks = disks;
    }

    /// Sends the sessions that are new, changed or gone since the last call.
    fn publish_sessions(&mut self, texts: Vec<String>) {
        let mut sent_sessions = HashMap::new();
        let mut changed = Vec::new();
        for text in texts {
            let id = self.sent_sessions.remove(&text).unwrap_or_else(|| {
                let value: Value = serde_json::from_str(&text).unwrap_or_default();
                let id = value["id"].as_str().or(value["alias"].as_str()).unwrap_or_default().to_owned();
                changed.push(value);
                id
            });
            sent_sessions.insert(text, id);
        }
        for value in changed {
            self.publish("sessions", "session", &value);
        }
        let gone: Vec<String> = self
            .sent_sessions
            .drain()
            .map(|(_, id)| id)
            .filter(|id| !sent_sessions.values().any(|k| k == id))
            .collect();
        for id in gone {
            self.publish("sessions", "session-end", &json!({"id": id}));
        }
        self.sent_sessions = sent_sessions;
    }
}

impl Subscriber {
    fn is_subscribed(&self, topic: &str) -> bool {
        self.topics.iter().any(|t| t == topic)
    }
}

impl Actor for Monitor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.tick(ctx);
        ctx.run_interval(TICK, Self::tick);
        let (mut reports, monitor) = (self.deps.log.follow_reports(), ctx.address());
        ctx.spawn(
            async move {
                loop {
                    match reports.recv().await {
                        Ok(report) => {
                            let data = json!(Report::from(report));
                            monitor.do_send(Publish { topic: "reports", name: "report", data });
                        }
                        Err(broadcast::error::RecvError::Lagged(_)) => {}
                        Err(broadcast::error::RecvError::Closed) => return,
                    }
                }
            }
            .into_actor(self),
        );
        let (mut rows, monitor) = (self.deps.log.follow_log(), ctx.address());
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

/// Log entries were written.
#[derive(Message)]
#[rtype(result = "()")]
struct Logged(Arc<[LogRow]>);

impl Handler<Logged> for Monitor {
    type Result = ();

    fn handle(&mut self, Logged(rows): Logged, _: &mut Self::Context) {
        if self.has_subscribers("log") {
            for row in rows.iter() {
                self.publish("log", "log", &json!(log::LogLine::from(row.clone())));
            }
        }
    }
}

/// Something has changed that subscribers of a topic are told.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Publish {
    pub(super) topic: &'static str,
    pub(super) name: &'static str,
    pub(super) data: Value,
}

impl Handler<Publish> for Monitor {
    type Result = ();

    fn handle(&mut self, Publish { topic, name, data }: Publish, _: &mut Self::Context) {
        self.publish(topic, name, &data);
    }
}

/// Subscribes to topics; `None` if there are too many subscribers.
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
        let (events, receiver) = mpsc::channel(MAX_QUEUED_EVENTS);
        self.subscribers.push(Subscriber { topics, events });
        // A new subscriber gets all sessions at the next tick, and so do the others.
        self.sent_sessions.clear();
        Some(receiver)
    }
}

/// Returns samples and disks.
#[derive(Message)]
#[rtype(result = "MonitorSnapshot")]
pub(super) struct GetSnapshot;

#[derive(MessageResponse)]
pub(super) struct MonitorSnapshot {
    pub(super) samples: Vec<Sample>,
    pub(super) disks: Vec<Disk>,
}

impl Handler<GetSnapshot> for Monitor {
    type Result = MonitorSnapshot;

    fn handle(&mut self, _: GetSnapshot, _: &mut Self::Context) -> Self::Result {
        MonitorSnapshot { samples: self.samples.iter().cloned().collect(), disks: self.disks.clone() }
    }
}
