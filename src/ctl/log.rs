//! `drawhall ctl log`.

use std::time::Duration;

use clap::Args;
use drawhall::text::shown_json;
use serde_json::Value;

use super::format::log_line;
use super::time::moment;
use super::{Api, query};
use crate::Failure;
use crate::output::outln;

/// Polling interval of `log --follow`.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);
/// Lines in an answer of the API.
const PAGE: usize = 100;

/// Which lines to show.
#[derive(Debug, Args)]
pub(super) struct LogFilter {
    /// Keep printing new lines.
    #[arg(long, short, conflicts_with = "before")]
    follow: bool,
    /// Only lines of this session.
    #[arg(long, default_value = "")]
    session: String,
    /// Only lines that contain this text.
    #[arg(long, default_value = "")]
    contains: String,
    /// Only lines about users whose name or address contains this text.
    #[arg(long, default_value = "")]
    user: String,
    /// Only lines later than this: 2026-11-26, 2026-11-26T18:00 (UTC), or 12h for twelve hours ago.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    after: Option<String>,
    /// Only lines up to this time.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    before: Option<String>,
    /// Maximum number of lines; the newest are shown.
    #[arg(long, value_name = "N", default_value_t = PAGE)]
    lines: usize,
}

impl Api {
    pub(super) async fn log(&self, filter: LogFilter) -> Result<(), Failure> {
        let mut after = filter.after.clone().unwrap_or_default();
        // Lines of the newest second that are already printed: that second may get more lines.
        let mut printed: Vec<Value> = Vec::new();
        loop {
            let lines = self.log_lines(&filter, &after).await?;
            for line in lines.iter().filter(|line| !printed.contains(line)) {
                if self.json { outln!("{}", shown_json(line, false)) } else { outln!("{}", log_line(line)) }
            }
            if !filter.follow {
                return Ok(());
            }
            if let Some(newest) = lines.last().and_then(|l| l["timestamp"].as_str()).map(str::to_owned) {
                printed.retain(|line| line["timestamp"] == newest.as_str());
                printed.extend(lines.into_iter().filter(|l| l["timestamp"] == newest.as_str()));
                after = one_second_before(&newest);
            }
            tokio::time::sleep(FOLLOW_INTERVAL).await;
        }
    }

    /// The newest matching lines, oldest first.
    async fn log_lines(&self, filter: &LogFilter, after: &str) -> Result<Vec<Value>, Failure> {
        let mut lines = Vec::new();
        for page in 0.. {
            let query = query(&[
                ("session", &filter.session),
                ("contains", &filter.contains),
                ("user", &filter.user),
                ("after", after),
                ("before", filter.before.as_deref().unwrap_or_default()),
                ("page", &page.to_string()),
            ]);
            let mut answer = self.get(&format!("log?{query}")).await?;
            let more = answer.as_array_mut().map(std::mem::take).unwrap_or_default();
            let is_last = more.len() < PAGE;
            lines.extend(more);
            if is_last || lines.len() >= filter.lines {
                break;
            }
        }
        lines.truncate(filter.lines);
        lines.reverse();
        Ok(lines)
    }
}

/// One second before a time. The log is queried for later lines only, so this includes those of the same second.
pub(super) fn one_second_before(time: &str) -> String {
    let parsed = time.parse::<jiff::Timestamp>().ok();
    let before = parsed.and_then(|t| t.checked_sub(jiff::SignedDuration::from_secs(1)).ok());
    before.map_or_else(|| time.to_owned(), |t| t.to_string())
}
