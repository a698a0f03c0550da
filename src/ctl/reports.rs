//! `drawhall ctl reports` and `drawhall ctl person`.

use clap::Args;
use drawhall::text::shown_json;
use reqwest::Method;
use serde_json::{Value, json};

use super::format::shown;
use super::{Api, path_segment, query};
use crate::Failure;
use crate::output::outln;

/// Which reports to list, or what to do with one.
#[derive(Debug, Args)]
pub(super) struct Reports {
    /// Id of the report to show.
    id: Option<u64>,
    /// List handled reports, too.
    #[arg(long, conflicts_with = "id")]
    all: bool,
    /// Say that you are looking at it.
    #[arg(long, requires = "id")]
    take: bool,
    /// It is handled: what was done.
    #[arg(long, value_name = "OUTCOME", requires = "id", conflicts_with = "take")]
    handle: Option<String>,
    /// Open it again.
    #[arg(long, requires = "id", conflicts_with_all = ["take", "handle"])]
    open: bool,
}

/// A person, and what to do.
#[derive(Debug, Args)]
pub(super) struct PersonArgs {
    /// Part of a name, the beginning of an address, device or account; or an id that this command shows.
    search: String,
    /// Add a note for moderators. Needs the id of a person.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Erase visits and notes of the person; `erase` is for chat and events, reports stay for their time. Needs the id of
    /// a person.
    #[arg(long, conflicts_with = "note")]
    erase: bool,
    /// Print what is stored about the person as one JSON document: visits, notes, bans, reports, chat and events. Needs
    /// the id of a person.
    #[arg(long, conflicts_with_all = ["note", "erase"])]
    export: bool,
}

/// One line of a report.
fn line(report: &Value) -> String {
    let text = |key: &str| shown(&report[key]);
    let about = report["about"]["name"].as_str().map_or_else(|| text("title"), |name| shown(&name.into()));
    let by = if report["by"] == "" { String::new() } else { format!(" by {}", text("by")) };
    let (id, at, state, reason) = (text("id"), text("at"), text("state"), text("reason"));
    format!("{id}  {at}  {state}{by}  {} about {about}: {reason}", shown(&report["reporter"]["name"]))
}

impl Api {
    pub(super) async fn reports(&self, wanted: Reports) -> Result<(), Failure> {
        let Reports { id, all, take, handle, open } = wanted;
        let Some(id) = id else {
            let state = if all { "all" } else { "open" };
            let list = self.get(&format!("reports?{}", query(&[("state", state)]))).await?;
            if self.json {
                self.print_object(&list);
                return Ok(());
            }
            list["reports"].as_array().into_iter().flatten().for_each(|report| outln!("{}", line(report)));
            return Ok(());
        };
        let path = format!("reports/{id}");
        let body = match (take, handle, open) {
            (true, ..) => Some(json!({"state": "taken"})),
            (_, Some(outcome), _) => Some(json!({"state": "handled", "outcome": outcome})),
            (.., true) => Some(json!({"state": "open"})),
            _ => None,
        };
        let report = match body {
            Some(body) => self.request(Method::PUT, &path, Some(&body)).await?,
            None => self.get(&path).await?,
        };
        if self.json {
            self.print_object(&report);
            return Ok(());
        }
        outln!("{}", line(&report));
        self.print_table(&report["users"], &["id", "name", "ip", "device", "operator"]);
        Ok(())
    }

    pub(super) async fn person(&self, wanted: PersonArgs) -> Result<(), Failure> {
        let PersonArgs { search, note, erase, export } = wanted;
        let is_id = ["device:", "account:", "guest:"].iter().any(|kind| search.starts_with(kind));
        let path = format!("people/{}", path_segment(&search));
        if !is_id && (note.is_some() || erase || export) {
            return Err("give the id of a person, which `person NAME` shows".into());
        }
        if let Some(note) = note {
            let added =
                self.request(Method::POST, &format!("{path}/notes"), Some(&json!({"note": note}))).await?;
            self.print_result(&added, "noted");
        } else if erase {
            self.print_result(&self.request(Method::DELETE, &path, None).await?, "erased");
        } else if export {
            let document = self.get(&format!("{path}/export")).await?;
            outln!("{}", shown_json(&document, !self.json));
        } else if is_id {
            let person = self.get(&path).await?;
            if self.json {
                self.print_object(&person);
                return Ok(());
            }
            for key in ["names", "devices", "accounts", "addresses"] {
                let texts = person[key].as_array().into_iter().flatten().map(shown).collect::<Vec<_>>();
                outln!("{key} = {}", texts.join(", "));
            }
            self.print_table(&person["visits"], &["first", "last", "name", "address", "title", "session"]);
            self.print_table(&person["notes"], &["at", "author", "note"]);
            self.print_table(&person["bans"], &["id", "created", "expires", "author", "reason"]);
            self.print_table(&person["actions"], &["timestamp", "session", "topic", "text"]);
        } else {
            let found = self.get(&format!("people?{}", query(&[("search", &search)]))).await?;
            self.print_table(&found["people"], &["id", "names", "addresses", "lastSeen", "noteCount"]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_line() {
        let mut report = json!({"id": 7, "at": "2026-11-27 12:00:00", "state": "open", "by": "", "title": "Doodles",
            "reason": "scribbles", "reporter": {"name": "Bao"}, "about": {"name": "inkfox"}});
        assert_eq!(line(&report), "7  2026-11-27 12:00:00  open  Bao about inkfox: scribbles");
        report["about"] = Value::Null;
        report["by"] = "rowan".into();
        assert_eq!(line(&report), "7  2026-11-27 12:00:00  open by rowan  Bao about Doodles: scribbles");
    }
}
