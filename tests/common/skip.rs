//! Tests that cannot run where something is missing tell so here.
//!
//! With `CI=true`, which `.ci/run` sets, a test that is skipped fails, unless its gate is named in `.ci/allowed-skips`.

use std::io::Write as _;

const ALLOWED: &str = include_str!("../../.ci/allowed-skips");

/// The gates that `list` allows to skip, and the reasons.
pub(crate) fn allowed(list: &str) -> impl Iterator<Item = (&str, &str)> {
    list.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(": "))
}

/// Whether a test may be skipped for want of `gate`.
pub(crate) fn may_skip(gate: &str, ci: bool, list: &str) -> bool {
    !ci || allowed(list).any(|(name, _)| name == gate)
}

/// Tells that a test does not run, for want of `gate`, because of `reason`. The caller returns.
///
/// # Panics
/// In CI, when `.ci/allowed-skips` does not name the gate.
#[track_caller]
pub(crate) fn skip(gate: &str, reason: &str) {
    let line = format!("skipped {gate}: {reason}");
    eprintln!("{line}");
    // .ci/run shows at its end what was skipped.
    if let Some(path) = std::env::var_os("DRAWHALL_SKIP_LOG")
        && let Ok(mut log) = std::fs::OpenOptions::new().append(true).create(true).open(path)
    {
        let _ = log.write_all(format!("{line}\n").as_bytes());
    }
    let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(may_skip(gate, ci, ALLOWED), "{line}, which .ci/allowed-skips does not name");
}
