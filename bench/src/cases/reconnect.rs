//! All clients lose their connection and come back at once, with the history that they have.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use clap::Args;
use drawhall_protocol::message::Join;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, spawn_local};

use super::cpu_seconds;
use crate::Target;
use crate::client::{self, Identity, Member, as_reply};
use crate::figures::per_cpu_second;
use crate::server::ServerCommand;

/// How many, and what they have.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Sessions
    #[arg(long, default_value_t = 20)]
    pub sessions: usize,
    /// Clients in each session, besides its host
    #[arg(long, default_value_t = 50)]
    pub clients: usize,
    /// Length of each history in KB (1,000 bytes)
    #[arg(long, default_value_t = 1000)]
    pub kilobytes: usize,
    /// Command line of a server, which is started, and once more before the clients come back. It must store its
    /// sessions and allow persistent ones. {port} stands for the port of --address
    #[arg(long, value_name = "CMD")]
    pub restart: Option<ServerCommand>,
}

/// A client between two connections.
struct Away {
    who: Identity,
    session: String,
    /// History index up to which it has the history.
    hidx: String,
}

/// Measures it. A client is back once it has received its own `Join` message.
///
/// # Errors
/// When the server cannot be reached, refuses a client or disconnects one.
pub async fn run(target: &Target, options: &Options) -> io::Result<Value> {
    let mut target = target.clone();
    let mut server = match &options.restart {
        Some(command) => Some(command.start(&target.address).await?),
        None => None,
    };
    let (hosts, away) = fill(&target, options).await?;
    if let (Some(command), Some(first)) = (&options.restart, server.take()) {
        first.stop().await?;
        server = Some(command.start(&target.address).await?);
    }
    target.process = server.as_ref().map(|server| server.process()).or(target.process);
    let (cpu, begin) = (cpu_seconds(&target), Instant::now());
    let (bytes, clients) = (Rc::new(Cell::new(0)), away.len());
    let coming: Vec<JoinHandle<io::Result<Member>>> = away
        .into_iter()
        .map(|one| {
            let (target, bytes) = (target.clone(), bytes.clone());
            spawn_local(async move {
                let (member, seen) = enter(&target, &one.who, &one.session, &one.hidx).await?;
                bytes.set(bytes.get() + seen.bytes);
                Ok(member)
            })
        })
        .collect();
    let mut members = Vec::new();
    for one in coming {
        members.push(one.await.map_err(io::Error::other)??);
    }
    let (seconds, cpu) = (begin.elapsed().as_secs_f64(), cpu_seconds(&target) - cpu);
    drop((members, hosts));
    if let Some(server) = server {
        server.stop().await?;
    }
    let history = (options.kilobytes * 1000 * clients) as f64;
    Ok(json!({
        "case": "reconnect", "sessions": options.sessions, "clients": clients, "kilobytes": options.kilobytes,
        "restarted": options.restart.is_some(), "seconds_until_all_are_back": seconds, "cpu_seconds": cpu,
        "clients_per_cpu_second": per_cpu_second(clients as f64, cpu),
        "bytes_of_a_client": bytes.get() as f64 / clients as f64,
        "share_of_the_history": bytes.get() as f64 / history,
    }))
}

/// Makes the sessions. Everybody but the hosts joins, receives everything, and goes when all are there.
async fn fill(target: &Target, options: &Options) -> io::Result<(Vec<Member>, Vec<Away>)> {
    let message = client::stroke(1, &[7; 96])?;
    let content = message.repeat((options.kilobytes * 1000 / message.len()).max(1));
    let (mut hosts, mut members, mut away) = (Vec::new(), Vec::new(), Vec::new());
    for session in 0..options.sessions {
        let (mut host, id) = client::host(target, &Identity::numbered("host", session), &content).await?;
        let persistent = json!({"cmd": "sessionconf", "args": [], "kwargs": {"persistent": true}});
        client::command(&mut host.writer, &persistent).await?;
        hosts.push(host);
        for number in 0..options.clients {
            let who = Identity::numbered(&format!("s{session}c"), number);
            let (member, seen) = enter(target, &who, &id, "").await?;
            members.push(member);
            away.push(Away { who, session: id.clone(), hidx: seen.hidx });
        }
    }
    Ok((hosts, away))
}

/// What a client has received until it was in.
#[derive(Default)]
struct Seen {
    bytes: u64,
    hidx: String,
}

/// Joins, and receives the history up to the client's own `Join` message.
async fn enter(target: &Target, who: &Identity, session: &str, hidx: &str) -> io::Result<(Member, Seen)> {
    let mut member = client::join(target, who, session, hidx).await?;
    let mut seen = Seen::default();
    loop {
        while let Some(frame) = member.reader.take_frame() {
            seen.bytes += frame.bytes.len() as u64;
            if frame.header.kind == Join::TYPE && frame.header.user == member.user {
                return Ok((member, seen));
            }
            let hidx = as_reply(frame).and_then(|reply| reply["hidx"].as_str().map(str::to_owned));
            seen.hidx = hidx.unwrap_or(seen.hidx);
        }
        member.reader.fill().await?;
    }
}
