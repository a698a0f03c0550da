//! What the clients of one worker thread share.
//!
//! * One large read buffer, so that a client that is silent needs none.
//! * One ear on the history of each session, so that the session wakes a worker once and not every client.
//! * One timer that looks for clients that are silent for too long, or that want to be sent something.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use bytes::Bytes;
use drawhall_protocol::frame::FrameHeader;
use drawhall_protocol::message::KeepAlive;
use tokio::sync::Notify;

use super::actor::{Client, TimedOut};
use super::outbox::Outbox;
use crate::history::{Cursor, Watcher};
use crate::session::ConnId;

/// Bytes that are read from a socket at a time.
const READ_BYTES: usize = 256 << 10;
/// A client that asked for it is sent something at least so often, in seconds.
const KEEP_ALIVE_SECS: u64 = 30;

/// What a client's actor, reader and writer share.
pub(super) struct Link {
    pub(super) conn: ConnId,
    pub(super) actor: Addr<Client>,
    pub(super) outbox: RefCell<Outbox>,
    /// There may be something to write.
    pub(super) wake: Notify,
    /// Reading goes on.
    pub(super) resume: Notify,
    /// Reading waits for [`Self::resume`].
    pub(super) paused: Cell<bool>,
    pub(super) keep_alive: Cell<bool>,
    /// Silence in seconds after which the connection is ended.
    timeout: u64,
    received: Cell<u64>,
    sent: Cell<u64>,
}

impl Link {
    pub(super) fn new(conn: ConnId, actor: Addr<Client>, timeout: u64) -> Rc<Link> {
        let now = seconds();
        let link = Rc::new(Link {
            conn,
            actor,
            outbox: RefCell::default(),
            wake: Notify::new(),
            resume: Notify::new(),
            paused: Cell::new(false),
            keep_alive: Cell::new(false),
            timeout,
            received: Cell::new(now),
            sent: Cell::new(now),
        });
        WORKER.with(|w| w.add(&link));
        link
    }

    pub(super) fn has_received(&self) {
        self.received.set(seconds());
    }

    pub(super) fn has_sent(&self) {
        self.sent.set(seconds());
    }

    pub(super) fn resume_reading(&self) {
        self.has_received();
        if self.paused.replace(false) {
            self.resume.notify_one();
        }
    }

    fn look_after(&self, now: u64) {
        if self.timeout > 0 && !self.paused.get() && now - self.received.get() > self.timeout {
            self.actor.do_send(TimedOut { seconds: self.timeout });
        } else if self.keep_alive.get() && now - self.sent.get() >= KEEP_ALIVE_SECS {
            let header = FrameHeader { len: 0, kind: KeepAlive::TYPE, user: 0 };
            self.has_sent();
            // A client that does not read does not need to be kept alive.
            if self.outbox.borrow_mut().push(Bytes::copy_from_slice(&header.to_bytes())).is_ok() {
                self.wake.notify_one();
            }
        }
    }
}

/// One worker's ear on a history, and who is to be told.
struct Relay {
    watcher: Arc<Watcher>,
    links: RefCell<Vec<Weak<Link>>>,
}

#[derive(Default)]
struct Worker {
    links: RefCell<HashMap<ConnId, Rc<Link>>>,
    relays: RefCell<HashMap<usize, Rc<Relay>>>,
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
    fn add(&self, link: &Rc<Link>) {
        if !self.started.replace(true) {
            actix_rt::spawn(keep_time());
        }
        self.links.borrow_mut().insert(link.conn, link.clone());
    }
}

async fn keep_time() {
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    loop {
        interval.tick().await;
        WORKER.with(|w| {
            let now = w.seconds.get() + 1;
            w.seconds.set(now);
            for link in w.links.borrow().values() {
                link.look_after(now);
            }
        });
    }
}

/// Lets a client hear of what enters the history that a cursor reads.
pub(super) fn attach(link: &Rc<Link>, cursor: &Cursor) {
    let relay = WORKER.with(|w| {
        let mut relays = w.relays.borrow_mut();
        let relay = relays.entry(cursor.log_id()).or_insert_with(|| {
            let relay = Rc::new(Relay { watcher: cursor.watch(), links: RefCell::default() });
            actix_rt::spawn(listen(relay.clone()));
            relay
        });
        relay.clone()
    });
    relay.links.borrow_mut().push(Rc::downgrade(link));
}

async fn listen(relay: Rc<Relay>) {
    while relay.watcher.published().await {
        for link in relay.links.borrow().iter().filter_map(Weak::upgrade) {
            link.wake.notify_one();
        }
    }
}

/// The client is gone.
pub(super) fn forget(link: &Rc<Link>) {
    let cursor = link.outbox.borrow_mut().detach();
    WORKER.with(|w| {
        w.links.borrow_mut().remove(&link.conn);
        let Some(cursor) = cursor else { return };
        let mut relays = w.relays.borrow_mut();
        let Some(relay) = relays.get(&cursor.log_id()) else { return };
        relay.links.borrow_mut().retain(|l| !std::ptr::eq(l.as_ptr(), Rc::as_ptr(link)));
        if relay.links.borrow().is_empty() {
            cursor.unwatch(&relay.watcher);
            relays.remove(&cursor.log_id());
        }
    });
}
