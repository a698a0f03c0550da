//! `drawhall ctl timeline` and `erase`.

use clap::{Args, value_parser};
use drawhall::text::shown_json;
use reqwest::Method;
use serde_json::Value;

use super::format::shown;
use super::time::moment;
use super::{Api, query};
use crate::Failure;
use crate::output::outln;

/// Which events to show.
#[derive(Debug, Args)]
pub(super) struct TimelineFilter {
    /// Only of this session: id, or alias while it is there.
    #[arg(default_value = "")]
    session: String,
    /// Only about this person: name (look-alikes count), account, system id or address.
    #[arg(long, default_value = "")]
    person: String,
    /// Only of this topic: Chat, or one of the log, such as Kick.
    #[arg(long, default_value = "")]
    topic: String,
    /// Only what is not older than this: 2026-11-26, 2026-11-26T18:00 (UTC), or 12h for twelve hours ago.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    after: Option<String>,
    /// Only what came before this time.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    before: Option<String>,
    /// At most so many, the newest of them.
    #[arg(long, value_name = "COUNT", default_value_t = 500, value_parser = value_parser!(u16).range(1..=500))]
    limit: u16,
    /// All of them.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

impl Api {
    pub(super) async fn timeline(&self, filter: &TimelineFilter) -> Result<(), Failure> {
        let (from, to) = (filter.after.as_deref().unwrap_or(""), filter.before.as_deref().unwrap_or(""));
        let newest = if filter.all { String::new() } else { filter.limit.to_string() };
        let mut after = String::new();
        loop {
            let query = query(&[
                ("session", &filter.session),
                ("person", &filter.person),
                ("topic", &filter.topic),
                ("from", from),
                ("to", to),
                ("newest", &newest),
                ("after", &after),
            ]);
            let answer = self.get(&format!("timeline?{query}")).await?;
            let is_first = after.is_empty();
            for event in answer["events"].as_array().map_or(&[][..], Vec::as_slice) {
                self.print_event(event);
            }
            if is_first && answer["full"] == true {
                self.note("Not everything of this hour was kept: too much was written.");
            }
            if answer["more"] != true {
                return Ok(());
            }
            if !filter.all {
                self.note("There are earlier ones: see --all, --after and --before.");
                return Ok(());
            }
            answer["next"].as_str().unwrap_or_default().clone_into(&mut after);
        }
    }

    fn print_event(&self, event: &Value) {
        if self.json {
            outln!("{}", shown_json(event, false));
            return;
        }
        let text = |key: &str| shown(&event[key]);
        outln!(
            "{} {} {} {}: {}",
            text("timestamp"),
            text("session"),
            text("topic"),
            text("name"),
            text("text")
        );
    }

    pub(super) async fn erase(&self, person: &str) -> Result<(), Failure> {
        let path = format!("timeline?{}", query(&[("person", person)]));
        let answer = self.request(Method::DELETE, &path, None).await?;
        self.print_result(&answer, &format!("erased {} events", answer["erased"]));
        Ok(())
    }
}
