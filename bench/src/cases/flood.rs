//! One client floods a session; what the others notice.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use tokio::task::spawn_local;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::fan_out::{self, Counts, draw, receive};
use crate::Target;
use crate::client::{self, Identity, Member};
use crate::connection::Writer;

/// How often the client that floods writes.
const WRITES_PER_SECOND: u64 = 200;

/// How many, how often, how long.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Clients in the session, without the one that floods
    #[arg(long, default_value_t = 20)]
    pub clients: usize,
    /// Clients that draw
    #[arg(long, default_value_t = 10)]
    pub senders: usize,
    /// Strokes of each of these per second
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: u64,
    /// Strokes per second of the client that floods
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(WRITES_PER_SECOND..))]
    pub flood: u64,
    /// Bytes of a stroke
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(12..))]
    pub size: u16,
    /// Seconds before measuring begins
    #[arg(long, default_value_t = 1.0)]
    pub warm_up: f64,
    /// Seconds of flood that are not measured
    #[arg(long, default_value_t = 1.0)]
    pub skip: f64,
    /// Seconds that are measured before the flood, and during it
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
}

/// Measures it.
///
/// # Errors
/// When the server cannot be reached, or refuses a client.
pub async fn run(target: &Target, options: &Options) -> io::Result<Value> {
    let counts = Counts::new();
    let of_all = fan_out::Options {
        sessions: 1,
        clients: options.clients,
        senders: options.senders,
        rate: options.rate,
        window: 0,
        size: options.size,
        warm_up: options.warm_up,
        seconds: options.seconds,
    };
    let (host, id) = client::host(target, &Identity::numbered("host", 0), &client::canvas()?).await?;
    let flooder = client::join(target, &Identity::numbered("flooder", 1), &id, "").await?;
    let mut members = vec![host];
    for number in 2..=options.clients {
        members.push(client::join(target, &Identity::numbered("c", number), &id, "").await?);
    }
    let Member { reader, writer: flooding, user: flooder } = flooder;
    spawn_local(receive(reader, flooder, Rc::default(), Some(flooder), counts.clone()));
    // A connection ends when its writer is dropped.
    let mut listeners = Vec::new();
    for (number, Member { reader, writer, user }) in members.into_iter().enumerate() {
        spawn_local(receive(reader, user, Rc::default(), Some(flooder), counts.clone()));
        if number < options.senders {
            spawn_local(draw(writer, user, Rc::default(), of_all.clone(), counts.clone()));
        } else {
            listeners.push(writer);
        }
    }
    sleep(Duration::from_secs_f64(options.warm_up)).await;
    let before = delays(&counts, options.seconds).await;
    let sent = Rc::new(Cell::new(0));
    spawn_local(flood(flooding, flooder, sent.clone(), options.clone(), counts.clone()));
    sleep(Duration::from_secs_f64(options.skip)).await;
    let (sent_before, begin) = (sent.get(), Instant::now());
    let during = delays(&counts, options.seconds).await;
    let flooded = (sent.get() - sent_before) as f64 / begin.elapsed().as_secs_f64();
    counts.stops.set(true);
    Ok(json!({
        "case": "flood", "clients": options.clients, "senders": options.senders, "rate": options.rate,
        "flood": options.flood, "size": options.size, "flooded_per_second": flooded,
        "lost_connections": counts.lost.get(), "before": before, "during": during,
    }))
}

/// The delays of a time.
async fn delays(counts: &Counts, seconds: f64) -> Value {
    counts.delays.take();
    counts.measures.set(true);
    sleep(Duration::from_secs_f64(seconds)).await;
    counts.measures.set(false);
    counts.delays.borrow().to_json()
}

/// Sends as many strokes per second as the server reads, up to those of the options.
async fn flood(mut writer: Writer, user: u8, sent: Rc<Cell<u64>>, options: Options, counts: Rc<Counts>) {
    let mut timer = interval(Duration::from_secs(1) / WRITES_PER_SECOND as u32);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let count = options.flood / WRITES_PER_SECOND;
    while !counts.stops.get() {
        timer.tick().await;
        let Ok(strokes) = fan_out::strokes(user, count, usize::from(options.size), &counts) else { return };
        if writer.send(&strokes).await.is_err() {
            return;
        }
        sent.set(sent.get() + count);
    }
}
