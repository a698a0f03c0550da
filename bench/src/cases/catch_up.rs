//! Clients join a session with a long history at once.

use std::io;
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, spawn_local};

use super::{cpu_seconds, memory_kib};
use crate::Target;
use crate::client::{self, Identity, Member, STROKE};
use crate::figures::per_cpu_second;

/// How long the history is, and how many join.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Length of the history in MB (1,000,000 bytes)
    #[arg(long, default_value_t = 90)]
    pub megabytes: usize,
    /// Bytes of each message
    #[arg(long, default_value_t = 100)]
    pub size: u16,
    /// Clients that join at once
    #[arg(long, default_value_t = 8)]
    pub clients: usize,
    /// How often so many join
    #[arg(long, default_value_t = 2)]
    pub rounds: usize,
}

/// Measures it.
///
/// # Errors
/// When the server cannot be reached, refuses a client or disconnects one.
pub async fn run(target: &Target, options: &Options) -> io::Result<Value> {
    let message = client::stroke(1, &vec![7; usize::from(options.size)])?;
    let messages = (options.megabytes * 1_000_000 / message.len()).max(1);
    let cpu = cpu_seconds(target);
    let who = Identity::numbered("host", 0);
    let (host, session) = client::host(target, &who, &message.repeat(messages)).await?;
    let Member { mut reader, writer, .. } = host;
    let reading = spawn_local(async move {
        while reader.fill().await.is_ok() {
            while reader.take_frame().is_some() {}
        }
        drop(writer);
    });
    // The upload is over when somebody has got all of it.
    let one = receive_all(target.clone(), Identity::numbered("first", 0), session.clone(), messages).await?;
    let upload_cpu = cpu_seconds(target) - cpu;
    let (cpu, begin) = (cpu_seconds(target), Instant::now());
    let mut bytes = 0;
    for round in 0..options.rounds {
        let joining: Vec<JoinHandle<io::Result<u64>>> = (0..options.clients)
            .map(|number| {
                let who = Identity::numbered("join", round * options.clients + number);
                spawn_local(receive_all(target.clone(), who, session.clone(), messages))
            })
            .collect();
        for one in joining {
            bytes += one.await.map_err(io::Error::other)??;
        }
    }
    let (seconds, cpu) = (begin.elapsed().as_secs_f64(), cpu_seconds(target) - cpu);
    let memory = memory_kib(target);
    reading.abort();
    Ok(json!({
        "case": "catch-up", "messages": messages, "size": options.size, "clients": options.clients,
        "bytes_of_a_client": one, "upload_cpu_seconds": upload_cpu, "bytes_per_second": bytes as f64 / seconds,
        "cpu_seconds": cpu, "bytes_per_cpu_second": per_cpu_second(bytes as f64, cpu), "memory_kib": memory,
    }))
}

/// Joins and receives so many strokes. Returns the number of bytes of everything.
async fn receive_all(target: Target, who: Identity, session: String, messages: usize) -> io::Result<u64> {
    let Member { mut reader, writer: _writer, .. } = client::join(&target, &who, &session, "").await?;
    let (mut received, mut bytes) = (0, 0);
    while received < messages {
        while let Some(frame) = reader.take_frame() {
            bytes += frame.bytes.len() as u64;
            received += usize::from(frame.header.kind == STROKE);
        }
        if received < messages {
            reader.fill().await?;
        }
    }
    Ok(bytes)
}
