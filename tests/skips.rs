//! A gate that is skipped is an error in CI, unless `.ci/allowed-skips` names it.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[allow(dead_code, reason = "nothing is skipped here")]
#[path = "common/skip.rs"]
mod skip;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use skip::{allowed, may_skip};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const LIST: &str = include_str!("../.ci/allowed-skips");

/// The texts of tests, unit tests and stages, by path.
fn sources() -> Vec<(String, String)> {
    fn walk(directory: &Path, sources: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, sources);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                sources.push((path.display().to_string(), text));
            }
        }
    }
    let mut sources = Vec::new();
    for directory in ["src", "tests", "protocol/src", "protocol/tests", "canvas/src", "canvas/tests", ".ci"] {
        walk(&Path::new(ROOT).join(directory), &mut sources);
    }
    sources.retain(|(path, _)| !path.ends_with("tests/skips.rs") && !path.contains("node_modules"));
    sources
}

#[test]
fn outside_of_ci_anything_may_be_skipped() {
    assert!(may_skip("strace", false, LIST));
}

#[test]
fn in_ci_only_what_is_listed_may_be_skipped() {
    let list = "# strace: a comment\ngolden: not published\n";
    assert!(may_skip("golden", true, list));
    assert!(["strace", "# strace", "gold", ""].iter().all(|gate| !may_skip(gate, true, list)));
}

#[test]
fn a_stage_that_skips_what_is_not_listed_fails_in_ci() {
    let run = |gate: &str, ci: &str| {
        let script = format!(". .ci/lib; skip {gate} 'for a test'");
        let mut shell = Command::new("bash");
        shell.args(["-c", &script]).current_dir(ROOT).env("CI", ci).env_remove("DRAWHALL_SKIP_LOG");
        shell.output().unwrap().status.success()
    };
    assert!(!run("strace", "true"));
    assert!(run("strace", ""));
    assert!(run("golden", "true"));
}

/// The gates that calls of `skip` in a text name.
fn gates(text: &str) -> impl Iterator<Item = &str> {
    let rust = text.split("skip(\"").skip(1).filter_map(|rest| rest.split_once('"')).map(|(gate, _)| gate);
    let shell = text.lines().flat_map(|line| line.split(['{', ';'])).map(str::trim_start);
    let shell = shell.filter_map(|call| call.strip_prefix("skip ")).filter_map(|rest| rest.split_once(' '));
    rust.chain(shell.map(|(gate, _)| gate))
}

#[test]
fn every_line_of_the_list_has_a_reason_and_a_gate_that_exists() {
    let sources = sources();
    let used: BTreeSet<&str> = sources.iter().flat_map(|(_, text)| gates(text)).collect();
    assert!(used.contains("strace") && used.contains("pypi"), "{used:?}");
    for line in LIST.lines().filter(|line| !line.starts_with('#')) {
        let (gate, reason) = line.split_once(": ").unwrap_or_default();
        assert!(used.contains(gate), "no test and no stage can be skipped for want of {line:?}");
        assert!(!reason.trim().is_empty(), "{line:?} has no reason");
    }
    assert!(allowed(LIST).next().is_some());
}

#[test]
fn nothing_is_skipped_in_another_way() {
    for (path, text) in sources() {
        for words in ["println!(\"skip", "echo \"skip", "echo skip", "#[ignore"] {
            assert!(!text.contains(words), "{path} has {words:?} instead of a call of skip()");
        }
    }
}
