//! Some draw and everybody receives.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use tokio::task::spawn_local;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{cpu_seconds, memory_kib};
use crate::Target;
use crate::client::{self, Identity, Member, STROKE};
use crate::connection::{Reader, Writer};
use crate::figures::{Delays, per_cpu_second};

/// Where a stroke has the time at which it was sent, in microseconds.
const SENT_AT: std::ops::Range<usize> = 4..12;
/// How long a sender waits for its own strokes when so many are under way.
const WINDOW_PAUSE: Duration = Duration::from_micros(200);

/// How many, how often, how long.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Sessions
    #[arg(long, default_value_t = 1)]
    pub sessions: usize,
    /// Clients in each session
    #[arg(long, default_value_t = 50)]
    pub clients: usize,
    /// Clients that draw, in each session
    #[arg(long, default_value_t = 20)]
    pub senders: usize,
    /// Strokes of a sender per second; 0 for as many as go through, see --window
    #[arg(long, default_value_t = 60)]
    pub rate: u64,
    /// Without a rate: strokes of a sender that are under way at once
    #[arg(long, default_value_t = 32)]
    pub window: u64,
    /// Bytes of a stroke
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(12..))]
    pub size: u16,
    /// Seconds before measuring begins
    #[arg(long, default_value_t = 1.0)]
    pub warm_up: f64,
    /// Seconds
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
}

/// What all tasks count together.
pub(super) struct Counts {
    begin: Instant,
    pub(super) measures: Cell<bool>,
    pub(super) stops: Cell<bool>,
    delivered: Cell<u64>,
    sent: Cell<u64>,
    pub(super) lost: Cell<u64>,
    pub(super) delays: RefCell<Delays>,
}

impl Counts {
    pub(super) fn new() -> Rc<Counts> {
        Rc::new(Counts {
            begin: Instant::now(),
            measures: Cell::new(false),
            stops: Cell::new(false),
            delivered: Cell::new(0),
            sent: Cell::new(0),
            lost: Cell::new(0),
            delays: RefCell::default(),
        })
    }

    fn now_us(&self) -> u64 {
        self.begin.elapsed().as_micros() as u64
    }
}

/// Measures it.
///
/// # Errors
/// When the server cannot be reached, or refuses a client.
pub async fn run(target: &Target, options: &Options) -> io::Result<Value> {
    let counts = Counts::new();
    let mut senders = Vec::new();
    // A connection ends when its writer is dropped.
    let mut listeners = Vec::new();
    for session in 0..options.sessions {
        for (number, Member { reader, writer, user }) in
            members(target, options, session).await?.into_iter().enumerate()
        {
            let own = Rc::new(Cell::new(0));
            spawn_local(receive(reader, user, own.clone(), None, counts.clone()));
            if number < options.senders {
                senders.push((writer, user, own));
            } else {
                listeners.push(writer);
            }
        }
    }
    for (writer, user, own) in senders {
        spawn_local(draw(writer, user, own, options.clone(), counts.clone()));
    }
    sleep(Duration::from_secs_f64(options.warm_up)).await;
    let (cpu, begin) = (cpu_seconds(target), Instant::now());
    counts.measures.set(true);
    sleep(Duration::from_secs_f64(options.seconds)).await;
    counts.measures.set(false);
    let (seconds, cpu) = (begin.elapsed().as_secs_f64(), cpu_seconds(target) - cpu);
    let memory = memory_kib(target);
    counts.stops.set(true);
    let delivered = counts.delivered.get() as f64;
    Ok(json!({
        "case": "fan-out", "sessions": options.sessions, "clients": options.clients, "senders": options.senders,
        "rate": options.rate, "size": options.size, "sent": counts.sent.get(),
        "deliveries_per_second": delivered / seconds, "cpu_seconds": cpu,
        "deliveries_per_cpu_second": per_cpu_second(delivered, cpu), "lost_connections": counts.lost.get(),
        "delay": counts.delays.borrow().to_json(), "memory_kib": memory,
    }))
}

/// The members of one session.
async fn members(target: &Target, options: &Options, session: usize) -> io::Result<Vec<Member>> {
    let content = client::canvas()?;
    let (host, id) = client::host(target, &Identity::numbered("host", session), &content).await?;
    let mut members = vec![host];
    for number in 1..options.clients {
        let who = Identity::numbered(&format!("s{session}c"), number);
        members.push(client::join(target, &who, &id, "").await?);
    }
    Ok(members)
}

/// Counts strokes, and the delays of all but those of one user.
pub(super) async fn receive(
    mut reader: Reader,
    user: u8,
    own: Rc<Cell<u64>>,
    but: Option<u8>,
    counts: Rc<Counts>,
) {
    loop {
        let (mut received, mut mine) = (0, 0);
        while let Some(frame) = reader.take_frame() {
            if frame.header.kind != STROKE {
                continue;
            }
            received += 1;
            mine += u64::from(frame.header.user == user);
            let sent_at = frame.payload().get(SENT_AT).and_then(|bytes| bytes.try_into().ok());
            let counted = counts.measures.get() && but != Some(frame.header.user);
            if let Some(sent_at) = sent_at.filter(|_| counted) {
                let delay = counts.now_us().saturating_sub(u64::from_be_bytes(sent_at));
                counts.delays.borrow_mut().record(Duration::from_micros(delay));
            }
        }
        own.set(own.get() + mine);
        if counts.measures.get() {
            counts.delivered.set(counts.delivered.get() + received);
        }
        if reader.fill().await.is_err() {
            counts.lost.set(counts.lost.get() + u64::from(!counts.stops.get()));
            return;
        }
    }
}

pub(super) async fn draw(
    mut writer: Writer,
    user: u8,
    own: Rc<Cell<u64>>,
    options: Options,
    counts: Rc<Counts>,
) {
    let mut timer = (options.rate > 0).then(|| interval(Duration::from_secs_f64(1.0 / options.rate as f64)));
    if let Some(timer) = &mut timer {
        timer.set_missed_tick_behavior(MissedTickBehavior::Burst);
    }
    let mut sent = 0;
    while !counts.stops.get() {
        let count = match &mut timer {
            Some(timer) => {
                timer.tick().await;
                1
            }
            None => (own.get() + options.window).saturating_sub(sent),
        };
        if count == 0 {
            sleep(WINDOW_PAUSE).await;
            continue;
        }
        sent += count;
        if counts.measures.get() {
            counts.sent.set(counts.sent.get() + count);
        }
        let Ok(strokes) = strokes(user, count, usize::from(options.size), &counts) else { return };
        if writer.send(&strokes).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Strokes that are sent now.
pub(super) fn strokes(user: u8, count: u64, size: usize, counts: &Counts) -> io::Result<Vec<u8>> {
    let mut payload = vec![0; size];
    payload[1..4].copy_from_slice(&[0, 1, 1]);
    payload[SENT_AT].copy_from_slice(&counts.now_us().to_be_bytes());
    Ok(client::stroke(user, &payload)?.repeat(count as usize))
}
