//! `drawhall sessions`, `drawhall check`, `drawhall repair`: what is stored, and whether it is sound.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::storage::check::{Inspected, Repair, inspect, repair as mend};
use crate::storage::session_dir::SessionDirError;
use crate::text::{shown, shown_json};

/// Longest list of names in the table, in characters.
const NAMES_WIDTH: usize = 40;

fn user_names(session: &Inspected) -> Vec<&str> {
    let names: BTreeSet<&str> = session.metadata.users.iter().map(|(_, name)| name.as_str()).collect();
    names.into_iter().collect()
}

fn time(at: Option<SystemTime>) -> String {
    let at = at.and_then(|t| jiff::Timestamp::try_from(t).ok());
    at.map_or_else(|| "-".into(), |t| t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

fn as_json(session: &Inspected) -> Value {
    let metadata = &session.metadata;
    json!({
        "id": session.id,
        "alias": metadata.alias,
        "title": metadata.title,
        "founder": metadata.founder,
        "protocol": session.protocol.as_ref().map(ToString::to_string),
        "size": session.size,
        "users": user_names(session),
        "flags": metadata.flags.words(),
        "hasPassword": !metadata.password.is_empty(),
        "lastUse": time(session.last_use),
        "loadable": !session.problems.iter().any(|p| p.is_fatal()),
    })
}

/// Lists the sessions of a directory, for people or as JSON.
///
/// # Errors
/// When the directory cannot be read.
pub fn list(path: &Path, as_values: bool) -> Result<String, SessionDirError> {
    let sessions = inspect(path, false)?;
    if as_values {
        let list: Vec<Value> = sessions.iter().map(as_json).collect();
        return Ok(shown_json(&list, true) + "\n");
    }
    let mut out = String::new();
    for session in &sessions {
        let metadata = &session.metadata;
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { shown(text) };
        // Writing to a text cannot fail.
        let _ = writeln!(out, "{}", session.id);
        let _ = writeln!(out, "  title     {}", or_dash(&metadata.title));
        let _ = writeln!(out, "  alias     {}", or_dash(&metadata.alias));
        let _ = writeln!(out, "  founder   {}", or_dash(&metadata.founder));
        let _ = writeln!(out, "  size      {} bytes", session.size);
        let _ = writeln!(out, "  users     {}", or_dash(&shortened(&user_names(session))));
        let _ = writeln!(out, "  last use  {}", time(session.last_use));
        for problem in session.problems.iter().filter(|p| p.is_fatal()) {
            let _ = writeln!(out, "  cannot be loaded: {problem}");
        }
    }
    let _ = writeln!(out, "{} sessions", sessions.len());
    Ok(out)
}

fn shortened(names: &[&str]) -> String {
    let mut out = String::new();
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        if out.chars().count() + name.chars().count() > NAMES_WIDTH && at > 0 {
            let _ = write!(out, "and {} more", names.len() - at);
            break;
        }
        out.push_str(name);
    }
    out
}

/// Verifies the sessions of a directory. Returns what to print, and whether everything is sound.
///
/// # Errors
/// When the directory cannot be read.
pub fn check(path: &Path) -> Result<(String, bool), SessionDirError> {
    let sessions = inspect(path, true)?;
    let (mut out, mut problems) = (String::new(), 0);
    for session in &sessions {
        for problem in &session.problems {
            let _ = writeln!(out, "{}: {problem}", session.id);
            problems += 1;
        }
    }
    let _ = writeln!(out, "{} sessions, {problems} problems", sessions.len());
    Ok((out, problems == 0))
}

/// Mends the sessions of a directory. Returns what to print, and whether everything is sound now.
///
/// # Errors
/// When a server uses the directory, or something cannot be read or written.
pub fn repair(path: &Path) -> Result<(String, bool), SessionDirError> {
    let Repair { backup, mended, left } = mend(path)?;
    let mut out = String::new();
    for what in &mended {
        let _ = writeln!(out, "mended: {what}");
    }
    for what in &left {
        let _ = writeln!(out, "cannot be mended: {what}");
    }
    if let Some(backup) = backup {
        let _ = writeln!(out, "files as they were: {}", backup.display());
    }
    let _ = writeln!(out, "{} mended, {} left", mended.len(), left.len());
    Ok((out, left.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::shortened;

    #[test]
    fn long_lists_of_names_are_shortened() {
        assert_eq!(shortened(&["a", "b"]), "a, b");
        assert_eq!(shortened(&[&"x".repeat(50), "b", "c"]), format!("{}, and 2 more", "x".repeat(50)));
    }
}
