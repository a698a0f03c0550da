//! `drawhall ctl people`, `undo`, `remove`, `cut` and `restore`.

use drawhall::text::shown_json;
use reqwest::Method;
use serde_json::{Value, json};

use super::format::shown;
use super::{Api, path_segment};
use crate::Failure;
use crate::output::outln;

/// Which part of what somebody drew is to be removed.
pub(super) struct Part {
    /// Only since this time.
    pub(super) since: Option<String>,
    /// Not from before the last reset.
    pub(super) since_reset: bool,
}

impl Api {
    pub(super) async fn people(&self, session: &str) -> Result<(), Failure> {
        let answer = self.get(&format!("sessions/{}/people", path_segment(session))).await?;
        if self.json {
            outln!("{}", shown_json(&answer, false));
            return Ok(());
        }
        let columns = ["person", "id", "name", "online", "actions", "undoable", "redoable", "reason"];
        self.print_table(&answer["people"], &columns);
        Ok(())
    }

    pub(super) async fn undo(
        &self,
        session: &str,
        person: &str,
        count: Option<u32>,
        redo: bool,
    ) -> Result<(), Failure> {
        let path = format!("sessions/{}", path_segment(session));
        let people = self.get(&format!("{path}/people")).await?;
        let person = find_person(&people["people"], person)?;
        let body = json!({"person": person["person"], "name": person["name"], "count": count, "redo": redo});
        let answer = self.request(Method::POST, &format!("{path}/undo"), Some(&body)).await?;
        let (did, can) = if redo { ("redid", "redone") } else { ("undid", "undone") };
        let (name, count, left) = (shown(&person["name"]), &answer["count"], &answer["left"]);
        self.print_result(&answer, &format!("{did} {count} actions of {name}; {left} more can be {can}"));
        Ok(())
    }

    pub(super) async fn remove(
        &self,
        session: &str,
        person: Option<&str>,
        part: Part,
        yes: bool,
    ) -> Result<(), Failure> {
        let path = format!("sessions/{}", path_segment(session));
        let everybody = self.get(&format!("{path}/everybody")).await?;
        let Some(person) = person else {
            if self.json {
                outln!("{}", shown_json(&everybody, false));
                return Ok(());
            }
            let columns = ["person", "id", "name", "auth", "from", "until", "actions", "bytes", "undoable"];
            self.print_table(&everybody["people"], &columns);
            if everybody["reason"] != "" {
                outln!("earlier drawings cannot be told apart: {}", shown(&everybody["reason"]));
            }
            self.print_earlier(&everybody);
            return Ok(());
        };
        let person = find_person(&everybody["people"], person)?;
        let mut body = json!({
            "person": person["person"],
            "name": person["name"],
            "since": part.since,
            "dryRun": !yes,
        });
        if part.since_reset {
            body["acrossReset"] = false.into();
        }
        let answer = self.request(Method::POST, &format!("{path}/remove"), Some(&body)).await?;
        if self.json {
            outln!("{}", shown_json(&answer, false));
            return Ok(());
        }
        self.print_object(&answer["report"]);
        if answer["acrossReset"] == true {
            outln!("also from before the last reset");
        }
        if answer["reason"] != "" {
            outln!("earlier drawings stay: {}", shown(&answer["reason"]));
        }
        let name = shown(&person["name"]);
        if yes {
            outln!("removed what {name} drew; {} bytes are sent to everybody", answer["size"]);
        } else {
            outln!("nothing was changed; --yes removes what {name} drew");
        }
        Ok(())
    }

    pub(super) async fn cut(&self, session: &str, until: Option<&str>, yes: bool) -> Result<(), Failure> {
        let path = format!("sessions/{}", path_segment(session));
        let Some(until) = until else {
            let list = self.get(&format!("{path}/times")).await?;
            if self.json {
                outln!("{}", shown_json(&list, false));
                return Ok(());
            }
            let columns = ["at", "size", "messages"];
            self.print_table(&list["times"], &columns);
            let has_earlier = list["earlier"].as_array().is_some_and(|earlier| !earlier.is_empty());
            if has_earlier {
                outln!("\nbefore the last reset:");
                self.print_table(&list["earlier"], &columns);
            }
            return Ok(());
        };
        let body = json!({"until": until, "dryRun": !yes});
        let answer = self.request(Method::POST, &format!("{path}/cut"), Some(&body)).await?;
        if self.json {
            outln!("{}", shown_json(&answer, false));
            return Ok(());
        }
        self.print_object(&answer["report"]);
        self.print_table(&answer["report"]["people"], &["id", "name", "actions"]);
        let until = shown(&answer["until"]);
        if yes {
            outln!("went back to {until}; {} bytes are sent to everybody", answer["size"]);
        } else {
            outln!("nothing was changed; --yes goes back to {until}");
        }
        Ok(())
    }

    /// Who was there in earlier histories, and how far back that is known.
    fn print_earlier(&self, everybody: &Value) {
        let is_empty = everybody["earlier"].as_array().is_none_or(Vec::is_empty);
        if !is_empty {
            outln!("\nbefore that, in the last 24 hours (to take it back, `restore` an earlier history):");
            self.print_table(
                &everybody["earlier"],
                &["id", "name", "auth", "from", "until", "actions", "bytes"],
            );
        }
        if everybody["since"] != "" {
            outln!("the list reaches back to {}", shown(&everybody["since"]));
        }
    }

    pub(super) async fn restore(
        &self,
        session: &str,
        generation: Option<u32>,
        newest: bool,
    ) -> Result<(), Failure> {
        let path = format!("sessions/{}", path_segment(session));
        if generation.is_none() && !newest {
            let list = self.get(&format!("{path}/generations")).await?;
            self.print_table(&list["generations"], &["generation", "size", "until"]);
            return Ok(());
        }
        let body = json!({"generation": generation});
        let answer = self.request(Method::POST, &format!("{path}/restore"), Some(&body)).await?;
        self.print_result(&answer, &format!("went back; {} bytes are sent to everybody", answer["size"]));
        Ok(())
    }
}

/// A person of a list, by number or name.
pub(super) fn find_person<'a>(people: &'a Value, wanted: &str) -> Result<&'a Value, Failure> {
    let people = people.as_array().map_or(&[][..], Vec::as_slice);
    let number: Option<i64> = wanted.parse().ok();
    if number.is_some()
        && let Some(found) = people.iter().find(|person| person["person"].as_i64() == number)
    {
        return Ok(found);
    }
    let named: Vec<&Value> = people.iter().filter(|person| person["name"] == wanted).collect();
    match named.as_slice() {
        [] => Err(format!("nobody called '{wanted}' drew lately; `people` lists who did").into()),
        [found] => Ok(found),
        _ => Err(format!("there were several called '{wanted}': use the number that `people` shows").into()),
    }
}
