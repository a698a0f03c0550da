//! State shared by the clients of a worker thread.
//!
//! * One large read buffer, so that silent clients need none.
//! * One subscription to the history of each session (`subscriptions`), so that a session wakes a worker once and not every
//!   client.
//! * One timer for the idle timeout, for answers that a login waits for, for keep-alives, and for a slow client that
//!   does not read.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use bytes::Bytes;
use drawhall_protocol::frame::FrameHeader;
use drawhall_protocol::message::KeepAlive;
use tokio::sync::Notify;

use super::connection::{ANSWER_LIMIT, Client, FromConnection};
use super::outbox::{Outbox, Overflow};
use super::subscriptions::Subscriptions;
use crate::clock::every;
use crate::config::Settings;
use crate::history::Cursor;
use crate::metrics::Metrics;
use crate::rules::session::ConnId;

/// Size of the read buffer.
const READ_BYTES: usize = 256 << 10;
/// How much of it is used for a client that is near its rate limit of drawing.
const SMALL_READ_BYTES: usize = 16 << 10;
/// Seconds without reading after which a peer is stalled (slow client).
const STALLED_SECS: u64 = 5;
/// Interval of keep-alives for clients that asked for them, in seconds.
const KEEP_ALIVE_SECS: u64 = 30;

/// State of a connection that its actor, reader and writer share.
pub(super) struct ConnShared {
    pub(super) conn: ConnId,
    pub(super) actor: Addr<Client>,
    pub(super) outbox: RefCell<Outbox>,
    /// Wakes the writer.
    pub(super) wake: Rc<Notify>,
    /// Reading is paused for another reason, or no longer.
    pub(super) resume: Notify,
    reading: Cell<Reading>,
    pub(super) keep_alive: Cell<bool>,
    /// TLS is about to start: this inbound half has ended.
    pub(super) upgrading: Cell<bool>,
    /// The login has identified the client.
    pub(super) identified: Cell<bool>,
    /// Since when the login waits for the answer of another actor.
    asked: Cell<Option<u64>>,
    /// WebSocket control frames to send next.
    pub(super) control: RefCell<Vec<u8>>,
    /// Close frame of a WebSocket connection, if it is not the usual one.
    pub(super) close_frame: RefCell<Vec<u8>>,
    limits: TimeLimits,
    pub(super) metrics: Arc<Metrics>,
    began: u64,
    received: Cell<u64>,
    sent: Cell<u64>,
    /// Since when something is being written, or when the peer last read something.
    writing: Cell<Option<u64>>,
    pause_ms: Cell<u64>,
    /// Near the rate limit of drawing: little is read at a time, so that pauses are short.
    small_steps: Cell<bool>,
}

/// Whether the connection is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    On,
    /// Until [`ConnShared::resume_reading`].
    Paused,
    /// Paused by the rate limit: if the peer hangs up meanwhile, the rest is dropped.
    OverBudget,
}

/// Time-outs in seconds, 0 for never.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeLimits {
    /// Idle timeout: no whole message received (`clientTimeout`).
    pub(super) silence: u64,
    /// Login not finished (`loginTimeLimit`).
    pub(super) login: u64,
    /// Slow client: it reads nothing (`lagTimeLimit`).
    pub(super) lag: u64,
    /// Slow client: bytes that it may be behind (`lagSizeLimit`).
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
    pub(super) fn new(
        conn: ConnId,
        actor: Addr<Client>,
        limits: TimeLimits,
        metrics: Arc<Metrics>,
    ) -> Rc<ConnShared> {
        let now = seconds();
        let shared = Rc::new(ConnShared {
            conn,
            actor,
            outbox: RefCell::new(Outbox::new(metrics.clone())),
            wake: Rc::default(),
            resume: Notify::new(),
            reading: Cell::new(Reading::On),
            keep_alive: Cell::new(false),
            upgrading: Cell::new(false),
            identified: Cell::new(false),
            asked: Cell::new(None),
            control: RefCell::default(),
            close_frame: RefCell::default(),
            limits,
            metrics,
            began: now,
            received: Cell::new(now),
            sent: Cell::new(now),
            writing: Cell::new(None),
            pause_ms: Cell::new(0),
            small_steps: Cell::new(false),
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

    /// Queues a frame.
    pub(super) fn send(&self, bytes: Bytes) -> Result<(), Overflow> {
        let pushed = self.outbox.borrow_mut().push(bytes, self.is_stalled(seconds()));
        self.wake.notify_one();
        pushed
    }

    /// Whether the peer has read nothing for a while although something is queued.
    fn is_stalled(&self, now: u64) -> bool {
        self.writing.get().is_some_and(|since| now - since >= STALLED_SECS)
    }

    /// Pauses reading for `ms` milliseconds (rate limit).
    pub(super) fn pause_for(&self, ms: u64) {
        self.pause_ms.set(ms);
    }

    /// Whether little is to be read at a time.
    pub(super) fn read_in_small_steps(&self, small: bool) {
        self.small_steps.set(small);
    }

    /// Bytes to read at once, at most.
    pub(super) fn read_size(&self) -> usize {
        if self.small_steps.get() { SMALL_READ_BYTES } else { READ_BYTES }
    }

    /// Milliseconds for which reading is to pause.
    pub(super) fn pause_ms(&self) -> u64 {
        self.pause_ms.get()
    }

    /// So much of the pause has passed.
    pub(super) fn shorten_pause(&self, ms: u64) {
        self.pause_ms.set(self.pause_ms.get().saturating_sub(ms));
    }

    /// The pause is over.
    pub(super) fn clear_pause(&self) {
        self.pause_ms.set(0);
        self.has_received();
    }

    /// Queues a WebSocket control frame, replacing one that still waits: only the last ping needs an answer.
    pub(super) fn send_control(&self, frame: Vec<u8>) {
        self.control.replace(frame);
        self.wake.notify_one();
    }

    /// Pauses reading until [`Self::resume_reading`].
    pub(super) fn pause_reading(&self) {
        if self.reading.get() == Reading::On {
            self.reading.set(Reading::Paused);
        }
    }

    /// The same for a client over its rate limit. Returns whether it was already.
    pub(super) fn pause_over_budget(&self) -> bool {
        let before = self.reading.replace(Reading::OverBudget);
        if before == Reading::Paused {
            // Whoever waits there does not look whether the peer hangs up.
            self.resume.notify_one();
        }
        before == Reading::OverBudget
    }

    /// Whether reading is paused.
    pub(super) fn is_paused(&self) -> bool {
        self.reading.get() != Reading::On
    }

    /// Whether reading is paused by the rate limit.
    pub(super) fn is_over_budget(&self) -> bool {
        self.reading.get() == Reading::OverBudget
    }

    /// Reads on.
    pub(super) fn resume_reading(&self) {
        self.has_received();
        if self.reading.replace(Reading::On) != Reading::On {
            self.resume.notify_one();
        }
    }

    /// The login waits for the answer of another actor.
    pub(super) fn await_answer(&self) {
        if self.asked.get().is_none() {
            self.asked.set(Some(seconds()));
        }
    }

    /// The answer has come.
    pub(super) fn answered(&self) {
        self.asked.set(None);
    }

    /// Tells the Client what happens on its connection.
    pub(super) fn report(&self, event: FromConnection) {
        self.actor.do_send(event);
    }

    fn tick(&self, now: u64) {
        if self.asked.get().is_some_and(|since| now - since > ANSWER_LIMIT.as_secs()) {
            self.answered();
            self.report(FromConnection::NotAnswered);
        }
        if let Some(reason) = self.overdue(now) {
            self.report(FromConnection::TimedOut { reason });
        } else if self.keep_alive.get() && now - self.sent.get() >= KEEP_ALIVE_SECS {
            let header = FrameHeader { len: 0, kind: KeepAlive::TYPE, user: 0 };
            self.has_sent();
            // A stalled client needs no keep-alive.
            let _ = self.send(Bytes::copy_from_slice(&header.to_bytes()));
        }
    }

    /// Checks the idle timeout and the limits for slow clients; the reason to disconnect.
    fn overdue(&self, now: u64) -> Option<String> {
        let TimeLimits { silence, login, lag, lag_bytes } = self.limits;
        let over = |limit: u64, since: u64| limit > 0 && now - since > limit;
        if over(silence, self.received.get()) && !self.is_paused() && self.pause_ms.get() == 0 {
            return Some(format!("Nothing received for {silence} s"));
        }
        if over(login, self.began) && !self.identified.get() {
            return Some(format!("Not logged in after {login} s"));
        }
        if self.writing.get().is_some_and(|since| over(lag, since)) {
            self.metrics.lagging.count();
            return Some(format!("Client does not read: took nothing for {lag} s"));
        }
        if self.is_stalled(now) && self.outbox.borrow().is_over() {
            self.metrics.lagging.count();
            return Some("Client does not read: too much waits to be sent".into());
        }
        // Only a client with something to read can be behind.
        let behind = if self.writing.get().is_some() { self.outbox.borrow().lag() } else { 0 };
        (lag_bytes > 0 && behind > lag_bytes)
            .then(|| format!("Client reads too slowly: {behind} bytes behind"))
    }
}

#[derive(Default)]
struct Worker {
    connections: RefCell<HashMap<ConnId, Rc<ConnShared>>>,
    subscriptions: Subscriptions,
    /// Seconds since the timer started.
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
    // Seconds in which the process was suspended do not count: nothing could be received in them.
    let mut interval = every(Duration::from_secs(1));
    loop {
        interval.tick().await;
        WORKER.with(|w| {
            let now = w.seconds.get() + 1;
            w.seconds.set(now);
            for shared in w.connections.borrow().values() {
                shared.tick(now);
            }
        });
    }
}

/// Subscribes a client to the history of a cursor.
pub(super) fn attach(shared: &ConnShared, cursor: &Cursor) {
    WORKER.with(|w| w.subscriptions.attach(&shared.wake, cursor));
}

/// Removes a client.
pub(super) fn forget(shared: &ConnShared) {
    let cursor = shared.outbox.borrow_mut().detach();
    WORKER.with(|w| {
        w.connections.borrow_mut().remove(&shared.conn);
        if let Some(cursor) = cursor {
            w.subscriptions.detach(&shared.wake, &cursor);
        }
    });
}

#[cfg(test)]
mod tests {
    use actix::{AsyncContext as _, Context};

    use super::*;

    const NEVER: TimeLimits = TimeLimits { silence: 0, login: 0, lag: 0, lag_bytes: 0 };

    /// Connections with these limits, whose worker has a clock that only [`at`] moves.
    fn connections<const N: usize>(limits: TimeLimits) -> [Rc<ConnShared>; N] {
        WORKER.with(|w| w.started.set(true));
        let actor = Context::<Client>::new().address();
        std::array::from_fn(|n| ConnShared::new(n as ConnId, actor.clone(), limits, Arc::default()))
    }

    /// Checks a connection so many seconds after the worker has started.
    fn at(seconds: u64, shared: &ConnShared) -> Option<String> {
        WORKER.with(|w| w.seconds.set(seconds));
        shared.overdue(seconds)
    }

    #[test]
    fn a_silent_connection_is_ended_unless_it_is_not_read_from() {
        let [silent, talking, paused] = connections(TimeLimits { silence: 60, ..NEVER });
        paused.pause_reading();
        for second in 1..=60 {
            assert_eq!(at(second, &silent), None);
            talking.has_received();
        }
        assert_eq!(at(61, &silent).as_deref(), Some("Nothing received for 60 s"));
        assert_eq!(at(61, &talking), None);
        assert_eq!(at(1000, &paused), None);
        paused.resume_reading();
        assert_eq!(at(1060, &paused), None, "silence counts from there on");
        assert!(at(1061, &paused).is_some());
    }

    #[actix_rt::test]
    async fn whoever_waits_while_reading_is_paused_learns_of_the_rate_limit() {
        let [paused] = connections(NEVER);
        paused.pause_reading();
        assert!(!paused.pause_over_budget());
        let told = tokio::time::timeout(Duration::from_secs(60), paused.resume.notified()).await;
        assert!(told.is_ok(), "it has to look whether the peer hangs up");
        assert!(paused.is_over_budget() && paused.pause_over_budget());
    }

    #[test]
    fn a_login_must_be_finished_in_time() {
        let [slow, identified] = connections(TimeLimits { login: 60, ..NEVER });
        identified.identified.set(true);
        assert_eq!(at(60, &slow), None);
        assert_eq!(at(61, &slow).as_deref(), Some("Not logged in after 60 s"));
        assert_eq!(at(61, &identified), None);
    }

    #[test]
    fn a_client_that_takes_nothing_is_ended() {
        let [blocked, idle] = connections(TimeLimits { lag: 60, ..NEVER });
        blocked.is_writing();
        assert_eq!(at(60, &blocked), None);
        assert_eq!(at(61, &idle), None, "it has nothing to take");
        assert_eq!(at(61, &blocked).as_deref(), Some("Client does not read: took nothing for 60 s"));
        blocked.has_written();
        assert_eq!(at(1000, &blocked), None);
    }
}
