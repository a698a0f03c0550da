//! The log on standard error: its form, and which events it has. The log in the database is independent of both.

use std::io::IsTerminal as _;
use std::sync::Arc;

use clap::ValueEnum;
use drawhall::db::log::{LogQueue, log_layer};
use drawhall::log::{JournalForm, NOT_STORED, TextForm};
use drawhall::metrics::Metrics;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt};

use crate::cli::Serve;
use crate::options::is_set;

/// Events that are logged unless something else is asked for.
const USUAL: &str = "info,actix_server=warn";

/// The same after a summary. What accepts connections of the admin page reports a stop as an error ("No workers").
const AFTER_SUMMARY: &str = "warn,actix_server::accept=off";

/// Form of the log on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines with time and level, as those of drawpile-srv.
    Text,
    /// One JSON object a line.
    Json,
    /// Lines with a priority, for the systemd journal.
    Journal,
}

/// Severity of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    /// Failures of the server or its environment.
    Error,
    /// Also broken rules, and what an operator should look at.
    Warn,
    /// Also who joins, hosts and leaves, and changes over the admin API.
    Info,
    /// Also refused connections.
    Debug,
    /// Everything.
    Trace,
}

/// Whether the start prints a summary, and the log is quiet after that.
pub(crate) fn shows_summary(options: &Serve) -> bool {
    options.log_format == LogFormat::Text && std::io::stderr().is_terminal()
}

/// `RUST_LOG`, if it is set and valid.
fn from_environment() -> Option<EnvFilter> {
    Some(EnvFilter::DEFAULT_ENV)
        .filter(|variable| is_set(variable))
        .and_then(|variable| EnvFilter::try_from_env(variable).ok())
}

fn filter_of(options: &Serve) -> EnvFilter {
    let level = |level| match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => USUAL,
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let usual = if shows_summary(options) { AFTER_SUMMARY } else { USUAL };
    match options.log_level {
        Some(given) => EnvFilter::new(level(given)),
        None => from_environment().unwrap_or_else(|| EnvFilter::new(usual)),
    }
}

/// Starts logging to standard error; what is logged waits for the database in a queue, too.
pub(crate) fn init(options: &Serve, metrics: Arc<Metrics>) -> LogQueue {
    let layer = fmt::layer::<Registry>().with_writer(std::io::stderr);
    let output = match options.log_format {
        LogFormat::Text => layer.event_format(TextForm).boxed(),
        LogFormat::Journal => layer.event_format(JournalForm).boxed(),
        LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_target(false)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
    };
    let (database, queue) = log_layer(metrics);
    let in_database = from_environment().unwrap_or_else(|| EnvFilter::new(USUAL));
    let in_database = in_database.and(filter_fn(|event| event.target() != NOT_STORED));
    tracing_subscriber::registry()
        .with(output.with_filter(filter_of(options)))
        .with(database.with_filter(in_database))
        .init();
    queue
}
