//! What became of the rules.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::script::Rule;

/// What became of a rule.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Passed,
    Failed(String),
    /// It was not tried, for this reason.
    Skipped(String),
}

struct Entry {
    says: String,
    source: String,
    beyond: Option<String>,
    outcome: Outcome,
    time: Duration,
}

/// All rules by name.
#[derive(Default)]
pub(crate) struct Report(BTreeMap<String, Entry>);

impl Report {
    pub(crate) fn add(&mut self, rule: &Rule, skipped: Option<String>) {
        let outcome = Outcome::Skipped(skipped.unwrap_or_else(|| "not chosen".into()));
        let Rule { says, source, beyond, .. } = rule.clone();
        self.0.insert(rule.name.clone(), Entry { says, source, beyond, outcome, time: Duration::ZERO });
    }

    pub(crate) fn set(&mut self, name: &str, outcome: Outcome, time: Duration) {
        if let Some(entry) = self.0.get_mut(name) {
            entry.outcome = outcome;
            entry.time = time;
        }
    }

    fn count(&self, of: &str) -> usize {
        self.0.values().filter(|entry| word(&entry.outcome) == of).count()
    }

    /// Writes `compat.txt`, `compat.json` and `compat.xml` (JUnit).
    pub(crate) fn write(&self, folder: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("compat.txt"), self.text())?;
        std::fs::write(folder.join("compat.json"), format!("{:#}\n", self.json()))?;
        std::fs::write(folder.join("compat.xml"), self.junit())
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (name, entry) in &self.0 {
            let mark = if entry.beyond.is_some() { " (beyond the reference)" } else { "" };
            // Writing to a text cannot fail.
            let _ =
                writeln!(text, "{:7} {name}: {}{mark} [{}]", word(&entry.outcome), entry.says, entry.source);
            if let Outcome::Failed(why) | Outcome::Skipped(why) = &entry.outcome {
                why.lines().for_each(|line| text.push_str(&format!("        {line}\n")));
            }
        }
        let [passed, failed, skipped] = ["passed", "failed", "skipped"].map(|of| self.count(of));
        let _ = writeln!(text, "{} rules: {passed} passed, {failed} failed, {skipped} skipped", self.0.len());
        text
    }

    fn json(&self) -> Value {
        let rules: Vec<Value> = self
            .0
            .iter()
            .map(|(name, entry)| {
                let why = match &entry.outcome {
                    Outcome::Failed(why) | Outcome::Skipped(why) => Some(why),
                    Outcome::Passed => None,
                };
                json!({"name": name, "rule": entry.says, "source": entry.source, "beyond": entry.beyond,
                    "outcome": word(&entry.outcome), "why": why, "seconds": entry.time.as_secs_f64()})
            })
            .collect();
        json!({"rules": rules, "passed": self.count("passed"), "failed": self.count("failed"),
            "skipped": self.count("skipped")})
    }

    fn junit(&self) -> String {
        let [failed, skipped] = ["failed", "skipped"].map(|of| self.count(of));
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"compat\" tests=\"{}\" failures=\"{failed}\" skipped=\"{skipped}\">\n",
            self.0.len()
        );
        for (name, entry) in &self.0 {
            let (class, rule) = name.split_once('/').unwrap_or(("", name));
            let inside = match &entry.outcome {
                Outcome::Passed => String::new(),
                Outcome::Failed(why) => format!("<failure>{}</failure>", xml(why)),
                Outcome::Skipped(why) => format!("<skipped message=\"{}\"/>", xml(why)),
            };
            let _ = writeln!(
                text,
                "  <testcase classname=\"compat.{}\" name=\"{}\" time=\"{:.3}\">{inside}</testcase>",
                xml(class),
                xml(rule),
                entry.time.as_secs_f64()
            );
        }
        text + "</testsuite>\n"
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed(_) => "failed",
        Outcome::Skipped(_) => "skipped",
    }
}

fn xml(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    // Other control characters cannot be in XML at all.
    text.chars().filter(|c| !c.is_control() || *c == '\n').collect()
}
