//! `drawhall-bench`: measures servers of the Drawpile protocol. See `docs/PERFORMANCE.md`.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use drawhall_bench::cases::Case;
use drawhall_bench::compare::compare;
use drawhall_bench::connection::Transport;
use drawhall_bench::process::Process;
use drawhall_bench::server::ServerCommand;
use drawhall_bench::{Target, limit};
use serde_json::Value;

/// Measures a server of the Drawpile protocol; prints a line of JSON for each result
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// The server
    #[arg(long, global = true, value_name = "HOST:PORT", default_value = "127.0.0.1:27750")]
    address: String,
    /// How messages travel; certificates are not checked
    #[arg(long, global = true, value_enum, default_value_t = Transport::Tcp)]
    over: Transport,
    /// The server's process, to count its CPU time and memory
    #[arg(long, global = true)]
    pid: Option<u32>,
    /// Protocol version of the sessions
    #[arg(long, global = true, default_value = "dp:4.24.0")]
    protocol: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Case(Case),
    /// Run a case with two servers in turn; print medians and the ratios of the second to the first
    Compare {
        /// How often each server runs
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Command line of the first server. {port} stands for the port that clients connect to, {other} for another
        /// free one
        first: ServerCommand,
        /// Command line of the second server
        second: ServerCommand,
        #[command(subcommand)]
        case: Case,
    },
    /// Measure what the machine can do without a server
    Limit {
        /// Seconds for each figure
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(result) => {
            println!("{result}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> io::Result<Value> {
    let target = Target {
        address: cli.address,
        transport: cli.over,
        process: cli.pid.map(Process),
        protocol: cli.protocol,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = tokio::task::LocalSet::new();
    match cli.command {
        Command::Case(case) => runtime.block_on(tasks.run_until(case.run(&target))),
        Command::Compare { rounds, first, second, case } => {
            runtime.block_on(tasks.run_until(compare(&target, &[first, second], &case, rounds)))
        }
        Command::Limit { seconds } => limit::run(Duration::from_secs_f64(seconds)),
    }
}
