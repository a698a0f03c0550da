//! Clients that do nothing.

use std::io;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{cpu_seconds, memory_kib};
use crate::Target;
use crate::client::{self, Identity};

/// How many, and for how long.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Sessions
    #[arg(long, default_value_t = 200)]
    pub sessions: usize,
    /// Clients in each session
    #[arg(long, default_value_t = 10)]
    pub clients: usize,
    /// Seconds for which they do nothing
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
}

/// Measures it.
///
/// # Errors
/// When the server cannot be reached, or refuses a client.
pub async fn run(target: &Target, options: &Options) -> io::Result<Value> {
    let (before, begin) = (memory_kib(target), Instant::now());
    let content = client::canvas()?;
    let mut members = Vec::new();
    for session in 0..options.sessions {
        let (host, id) = client::host(target, &Identity::numbered("host", session), &content).await?;
        members.push(host);
        for number in 1..options.clients {
            let who = Identity::numbered(&format!("s{session}c"), number);
            members.push(client::join(target, &who, &id, "").await?);
        }
    }
    members.iter_mut().for_each(|member| member.reader.shrink());
    let (set_up, cpu) = (begin.elapsed().as_secs_f64(), cpu_seconds(target));
    sleep(Duration::from_secs_f64(options.seconds)).await;
    let cpu = cpu_seconds(target) - cpu;
    let after = memory_kib(target);
    Ok(json!({
        "case": "idle", "sessions": options.sessions, "clients": members.len(), "set_up_seconds": set_up,
        "memory_before_kib": before, "memory_kib": after,
        "kib_per_client": after.saturating_sub(before) as f64 / members.len() as f64,
        "cpu_share": cpu / options.seconds,
    }))
}
