//! The compatibility suite: what a server of the Drawpile protocol does, one test a rule.
//!
//! Rules are conversations in `rules/*.rules`, whose language `docs/COMPAT.md` describes; `matrix.rs` makes those about
//! pairs of client versions. By default every rule gets a server of its own in this process;
//! `DRAWHALL_COMPAT_TARGET=host:port` tries a server that runs, and `DRAWHALL_COMPAT_COMMAND` one that is started.
//! `DRAWHALL_COMPAT_REPORT=DIR` writes what became of every rule as text, JSON and JUnit XML.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod client;
#[path = "../common/mod.rs"]
mod common;
mod matrix;
mod pattern;
mod play;
mod report;
mod script;
mod target;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use libtest_mimic::{Arguments, Failed, Trial};

use report::{Outcome, Report};
use script::Rule;
use target::Target;

const FILES: &[(&str, &str)] = &[
    ("wire", include_str!("rules/wire.rules")),
    ("greeting", include_str!("rules/greeting.rules")),
    ("ident", include_str!("rules/ident.rules")),
    ("lookup", include_str!("rules/lookup.rules")),
    ("host", include_str!("rules/host.rules")),
    ("join", include_str!("rules/join.rules")),
    ("session", include_str!("rules/session.rules")),
    ("commands", include_str!("rules/commands.rules")),
    ("sessionconf", include_str!("rules/sessionconf.rules")),
    ("resets", include_str!("rules/resets.rules")),
    ("services", include_str!("rules/services.rules")),
    ("storage", include_str!("rules/storage.rules")),
];

fn rules() -> Vec<Rule> {
    let mut rules = Vec::new();
    for (file, text) in FILES {
        rules.extend(script::parse(file, text).unwrap_or_else(|error| panic!("{file}.rules: {error}")));
    }
    rules.extend(matrix::rules());
    let mut names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        panic!("there are two rules {}", twice[0]);
    }
    rules
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let target = Arc::new(Target::from_environment());
    // Rules wait most of the time; on one server for all they would see each other.
    arguments.test_threads.get_or_insert(if matches!(*target, Target::Address(_)) { 1 } else { 16 });
    let report = Arc::new(Mutex::new(Report::default()));
    let trials = rules().into_iter().map(|rule| {
        let skipped = target.cannot(&rule);
        let mut entry = report.lock().unwrap();
        entry.add(&rule, skipped.clone());
        let (target, report, name) = (target.clone(), report.clone(), rule.name.clone());
        let trial = Trial::test(name, move || {
            let begun = Instant::now();
            // A rule that panics fails; the others go on.
            let played = catch_unwind(AssertUnwindSafe(|| play::play(&rule, &target)));
            let played = played.unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                Err(text
                    .or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned()))
                    .unwrap_or_default())
            });
            let outcome = played.clone().map_or_else(Outcome::Failed, |()| Outcome::Passed);
            report.lock().unwrap().set(&rule.name, outcome, begun.elapsed());
            played.map_err(Failed::from)
        });
        trial.with_ignored_flag(skipped.is_some())
    });
    let trials: Vec<Trial> = trials.collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(folder) = std::env::var_os("DRAWHALL_COMPAT_REPORT") {
        report.lock().unwrap().write(folder.as_ref()).unwrap();
    }
    conclusion.exit_code()
}
