//! Clients connect, log in, join and leave, over and over.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use drawhall_protocol::message::Join;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::interval;

use super::cpu_seconds;
use crate::Target;
use crate::client::{self, Identity, Member};
use crate::connection::Reader;
use crate::figures::{Delays, per_cpu_second};

/// How many, and how many at once.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Logins
    #[arg(long, default_value_t = 2000)]
    pub logins: usize,
    /// Logins at once
    #[arg(long, default_value_t = 8)]
    pub at_once: usize,
    /// Clients that are in the session all the time
    #[arg(long, default_value_t = 1)]
    pub members: usize,
    /// Strokes per second that one of them draws
    #[arg(long, default_value_t = 0)]
    pub rate: u64,
}

/// Measures it. A client is in the session once it has received its own `Join` message.
///
/// # Errors
/// When the server cannot be reached, refuses a client or disconnects one.
pub async fn run(target: &Target, options: &Options) -> io::Result<Value> {
    let (host, session) = client::host(target, &Identity::numbered("host", 0), &client::canvas()?).await?;
    let mut members = vec![host];
    for number in 1..options.members {
        members.push(client::join(target, &Identity::numbered("member", number), &session, "").await?);
    }
    let tasks: Vec<JoinHandle<()>> = stay(members, options.rate).collect();
    let (next, delays) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(Delays::default())));
    let (cpu, begin) = (cpu_seconds(target), Instant::now());
    let loops: Vec<JoinHandle<io::Result<()>>> = (0..options.at_once)
        .map(|_| {
            let (next, delays, target, session) =
                (next.clone(), delays.clone(), target.clone(), session.clone());
            let logins = options.logins;
            spawn_local(async move {
                while next.get() < logins {
                    let number = next.replace(next.get() + 1);
                    let begin = Instant::now();
                    log_in_and_out(&target, number, &session).await?;
                    delays.borrow_mut().record(begin.elapsed());
                }
                Ok(())
            })
        })
        .collect();
    for one in loops {
        one.await.map_err(io::Error::other)??;
    }
    let (seconds, cpu) = (begin.elapsed().as_secs_f64(), cpu_seconds(target) - cpu);
    tasks.iter().for_each(JoinHandle::abort);
    let logins = options.logins as f64;
    Ok(json!({
        "case": "logins", "logins": options.logins, "at_once": options.at_once, "members": options.members,
        "rate": options.rate, "logins_per_second": logins / seconds, "cpu_seconds": cpu,
        "logins_per_cpu_second": per_cpu_second(logins, cpu), "delay": delays.borrow().to_json(),
    }))
}

async fn log_in_and_out(target: &Target, number: usize, session: &str) -> io::Result<()> {
    let who = Identity::numbered("login", number);
    let Member { mut reader, writer: _writer, user } = client::join(target, &who, session, "").await?;
    loop {
        let message = reader.next().await?;
        if message.kind == Join::TYPE && message.user == user {
            return Ok(());
        }
    }
}

/// Members that read everything, the first of which draws.
fn stay(members: Vec<Member>, rate: u64) -> impl Iterator<Item = JoinHandle<()>> {
    members.into_iter().enumerate().map(move |(number, Member { reader, mut writer, user })| {
        let draws = number == 0 && rate > 0;
        spawn_local(async move {
            let reading = spawn_local(read(reader));
            if draws && let Ok(stroke) = client::stroke(user, &[0; 60]) {
                let mut timer = interval(Duration::from_secs_f64(1.0 / rate as f64));
                while writer.send(&stroke).await.is_ok() {
                    timer.tick().await;
                }
            }
            let _ = reading.await;
            drop(writer);
        })
    })
}

async fn read(mut reader: Reader) {
    while reader.fill().await.is_ok() {
        while reader.take_frame().is_some() {}
    }
}
