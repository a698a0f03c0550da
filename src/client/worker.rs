//! What the clients of one worker thread share.
//!
//! * One large read buffer, so that a client that is silent needs none.
//! * One subscription to the history of each session (`relay`), so that the session wakes a worker once and not every
//!   client.
//! * One timer that looks for clients that are silent for too long, or that want to be sent something.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use actix::Addr;
use bytes::Bytes;
use drawhall_protocol::frame::FrameHeader;
use drawhall_protocol::message::KeepAlive;
use tokio::sync::Notify;

use super::actor::{Client, TimedOut};
use super::outbox::{Outbox, Overflow};
use super::relay::Relays;
use crate::clock::every;
use crate::config::Settings;
use crate::history::Cursor;
use crate::metrics::METRICS;
use crate::session::ConnId;

/// Bytes that are read from a socket at a time.
const READ_BYTES: usize = 256 << 10;
/// A peer that has taken nothing of what waits for it for so many seconds does not read.
const STALLED_SECS: u64 = 5;
/// A client that asked for it is sent something at least so often, in seconds.
const KEEP_ALIVE_SECS: u64 = 30;

/// What a client's actor, reader and writer share.
pub(super) struct ConnShared {
    pub(super) conn: ConnId,
    pub(super) actor: Addr<Client>,
    pub(super) outbox: RefCell<Outbox>,
    /// There may be something to write.
    pub(super) wake: Rc<Notify>,
    /// Reading goes on.
    pub(super) resume: Notify,
    /// Reading waits for [`Self::resume`].
    pub(super) paused: Cell<bool>,
    /// It does so because the client has sent more than it may: who hangs up meanwhile is gone.
    pub(super) over_budget: Cell<bool>,
    pub(super) keep_alive: Cell<bool>,
    /// The next frames come encrypted: this way in has ended.
    pub(super) upgrading: Cell<bool>,
    /// The client has said who it is.
    pub(super) identified: Cell<bool>,
    /// Frames of WebSocket itself that are to be sent next.
    pub(super) control: RefCell<Vec<u8>>,
    /// The last frame of a WebSocket connection, if it is another than usual.
    pub(super) close_frame: RefCell<Vec<u8>>,
    limits: TimeLimits,
    began: u64,
    received: Cell<u64>,
    sent: Cell<u64>,
    /// Something is being written since then, or the peer has taken something then.
    writing: Cell<Option<u64>>,
    rest_ms: Cell<u64>,
}

/// After how many seconds a connection is ended, 0 for never.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeLimits {
    /// No whole message came.
    pub(super) silence: u64,
    /// The client has not said who it is.
    pub(super) login: u64,
    /// It takes nothing of what it is sent.
    pub(super) lag: u64,
    /// It is so many bytes behind.
    pub(super) lag_bytes: u64,
}

impl TimeLimits {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            silence: settings.client_timeout.0,
            login: settings.login_time_limit.0,
            lag: settings.lag_time_limit.0,
            lag_bytes: settings.lag_size_limit,
        }
    }
}

impl ConnShared {
    pub(super) fn new(conn: ConnId, actor: Addr<Client>, limits: TimeLimits) -> Rc<ConnShared> {
        let now = seconds();
        let shared = Rc::new(ConnShared {
            conn,
            actor,
            outbox: RefCell::default(),
            wake: Rc::default(),
            resume: Notify::new(),
            paused: Cell::new(false),
            over_budget: Cell::new(false),
            keep_alive: Cell::new(false),
            upgrading: Cell::new(false),
            identified: Cell::new(false),
            control: RefCell::default(),
            close_frame: RefCell::default(),
            limits,
            began: now,
            received: Cell::new(now),
            sent: Cell::new(now),
            writing: Cell::new(None),
            rest_ms: Cell::new(0),
        });
        WORKER.with(|w| w.add(&shared));
        shared
    }

    pub(super) fn has_received(&self) {
        self.received.set(seconds());
    }

    pub(super) fn has_sent(&self) {
        self.sent.set(seconds());
    }

    /// Something is to be written, or some of it was.
    pub(super) fn is_writing(&self) {
        self.writing.set(Some(seconds()));
    }

    /// Everything was written.
    pub(super) fn has_written(&self) {
        self.writing.set(None);
        self.has_sent();
    }

    /// Queues wire bytes to be sent.
    pub(super) fn send(&self, bytes: Bytes) -> Result<(), Overflow> {
        let pushed = self.outbox.borrow_mut().push(bytes, self.is_stalled(seconds()));
        self.wake.notify_one();
        pushed
    }

    /// Whether the peer has taken nothing for a while although there is something for it.
    fn is_stalled(&self, now: u64) -> bool {
        self.writing.get().is_some_and(|since| now - since >= STALLED_SECS)
    }

    /// The client has sent too much: reading rests for so many milliseconds.
    pub(super) fn rest_for(&self, ms: u64) {
        self.rest_ms.set(ms);
    }

    /// For how many milliseconds reading is to rest.
    pub(super) fn rest_ms(&self) -> u64 {
        self.rest_ms.get()
    }

    /// Reading has rested.
    pub(super) fn has_rested(&self) {
        self.rest_ms.set(0);
        self.has_received();
    }

    /// A frame of WebSocket itself is sent before everything else, in place of one that still waits: only the last
    /// ping needs an answer.
    pub(super) fn send_control(&self, frame: Vec<u8>) {
        self.control.replace(frame);
        self.wake.notify_one();
    }

    pub(super) fn resume_reading(&self) {
        self.has_received();
        self.over_budget.set(false);
        if self.paused.replace(false) {
            self.resume.notify_one();
        }
    }

    fn look_after(&self, now: u64) {
        if let Some(reason) = self.overdue(now) {
            self.actor.do_send(TimedOut { reason });
        } else if self.keep_alive.get() && now - self.sent.get() >= KEEP_ALIVE_SECS {
            let header = FrameHeader { len: 0, kind: KeepAlive::TYPE, user: 0 };
            self.has_sent();
            // A client that does not read does not need to be kept alive.
            let _ = self.send(Bytes::copy_from_slice(&header.to_bytes()));
        }
    }

    /// Why the connection is to be ended.
    fn overdue(&self, now: u64) -> Option<String> {
        let TimeLimits { silence, login, lag, lag_bytes } = self.limits;
        let over = |limit: u64, since: u64| limit > 0 && now - since > limit;
        if over(silence, self.received.get()) && !self.paused.get() && self.rest_ms.get() == 0 {
            return Some(format!("Nothing received for {silence} s"));
        }
        if over(login, self.began) && !self.identified.get() {
            return Some(format!("Not logged in after {login} s"));
        }
        if self.writing.get().is_some_and(|since| over(lag, since)) {
            METRICS.lagging.count();
            return Some(format!("Client does not read: took nothing for {lag} s"));
        }
        if self.is_stalled(now) && self.outbox.borrow().is_over() {
            METRICS.lagging.count();
            return Some("Client does not read: too much waits to be sent".into());
        }
        // Only who is being sent something can be behind.
        let behind = if self.writing.get().is_some() { self.outbox.borrow().lag() } else { 0 };
        (lag_bytes > 0 && behind > lag_bytes)
            .then(|| format!("Client reads too slowly: {behind} bytes behind"))
    }
}

#[derive(Default)]
struct Worker {
    connections: RefCell<HashMap<ConnId, Rc<ConnShared>>>,
    relays: Relays,
    /// Seconds since the worker's timer was started.
    seconds: Cell<u64>,
    started: Cell<bool>,
}

thread_local! {
    static WORKER: Worker = Worker::default();
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

fn seconds() -> u64 {
    WORKER.with(|w| w.seconds.get())
}

/// Lends the worker's read buffer.
pub(super) fn with_buffer<T>(read: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| read(buffer))
}

impl Worker {
    fn add(&self, shared: &Rc<ConnShared>) {
        if !self.started.replace(true) {
            actix_rt::spawn(keep_time());
        }
        self.connections.borrow_mut().insert(shared.conn, shared.clone());
    }
}

async fn keep_time() {
    // Seconds during which the process was paused do not count: nobody could be heard in them.
    let mut interval = every(Duration::from_secs(1));
    loop {
        interval.tick().await;
        WORKER.with(|w| {
            let now = w.seconds.get() + 1;
            w.seconds.set(now);
            for shared in w.connections.borrow().values() {
                shared.look_after(now);
            }
        });
    }
}

/// Lets a client hear of what enters the history that a cursor reads.
pub(super) fn attach(shared: &ConnShared, cursor: &Cursor) {
    WORKER.with(|w| w.relays.attach(&shared.wake, cursor));
}

/// The client is gone.
pub(super) fn forget(shared: &ConnShared) {
    let cursor = shared.outbox.borrow_mut().detach();
    WORKER.with(|w| {
        w.connections.borrow_mut().remove(&shared.conn);
        if let Some(cursor) = cursor {
            w.relays.detach(&shared.wake, &cursor);
        }
    });
}
