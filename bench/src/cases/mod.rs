//! What is measured, a file for each case. Each returns one JSON object with its figures.

pub mod catch_up;
pub mod fan_out;
pub mod flood;
pub mod idle;
pub mod logins;
pub mod reconnect;

use std::io;

use clap::Subcommand;
use serde_json::Value;

use crate::Target;

/// A case with its numbers.
#[derive(Debug, Clone, Subcommand)]
pub enum Case {
    /// Some draw and everybody receives: deliveries by CPU time, delays.
    FanOut(fan_out::Options),
    /// One client floods a session in which others draw: the delays of theirs before and during that.
    Flood(flood::Options),
    /// Clients connect, log in, join and leave, over and over: logins by CPU time, delays.
    Logins(logins::Options),
    /// Clients join a session with a long history at once: bytes by CPU time.
    CatchUp(catch_up::Options),
    /// Clients that do nothing: memory and CPU time.
    Idle(idle::Options),
    /// All clients lose their connection and come back at once, with the history that they have.
    Reconnect(reconnect::Options),
}

impl Case {
    /// Measures it.
    ///
    /// # Errors
    /// When the server cannot be reached, refuses a client or disconnects one.
    pub async fn run(&self, target: &Target) -> io::Result<Value> {
        match self {
            Case::FanOut(options) => fan_out::run(target, options).await,
            Case::Flood(options) => flood::run(target, options).await,
            Case::Logins(options) => logins::run(target, options).await,
            Case::CatchUp(options) => catch_up::run(target, options).await,
            Case::Idle(options) => idle::run(target, options).await,
            Case::Reconnect(options) => reconnect::run(target, options).await,
        }
    }
}

/// CPU time of the server's process so far, in seconds; 0 without a process.
fn cpu_seconds(target: &Target) -> f64 {
    target.process.map_or(0.0, |process| process.cpu_seconds())
}

/// Its memory, in KiB; 0 without a process.
fn memory_kib(target: &Target) -> u64 {
    target.process.map_or(0, |process| process.memory_kib())
}
