//! `drawhall sessions`, `drawhall check`, `drawhall repair`: list, verify and repair stored sessions.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::storage::check::{Inspected, Repair, inspect, repair as repair_files};
use crate::storage::session_dir::SessionDirError;
use crate::storage::session_dir::ended::{self, RestoreError};
use crate::text::{shown, shown_json};

/// Maximum length of the list of user names in the table, in characters.
const NAMES_WIDTH: usize = 40;

fn user_names(session: &Inspected) -> Vec<&str> {
    let names: BTreeSet<&str> = session.metadata.users.iter().map(|(_, name)| name.as_str()).collect();
    names.into_iter().collect()
}

fn time_text(time: Option<SystemTime>) -> String {
    let time = time.and_then(|t| jiff::Timestamp::try_from(t).ok());
    time.map_or_else(|| "-".into(), |t| t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
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
        "lastUse": time_text(session.last_use),
        "loadable": !session.problems.iter().any(|p| p.is_fatal()),
    })
}

/// Lists the sessions of a directory as text, or as JSON (`as_values`).
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
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}", session.id);
        let _ = writeln!(out, "  title     {}", or_dash(&metadata.title));
        let _ = writeln!(out, "  alias     {}", or_dash(&metadata.alias));
        let _ = writeln!(out, "  founder   {}", or_dash(&metadata.founder));
        let _ = writeln!(out, "  size      {} bytes", session.size);
        let _ = writeln!(out, "  users     {}", or_dash(&shortened(&user_names(session))));
        let _ = writeln!(out, "  last use  {}", time_text(session.last_use));
        for problem in session.problems.iter().filter(|p| p.is_fatal()) {
            let _ = writeln!(out, "  cannot be loaded: {problem}");
        }
    }
    let _ = writeln!(out, "{} sessions", sessions.len());
    Ok(out)
}

/// Lists ended sessions that can be restored.
///
/// # Errors
/// When the directory cannot be read.
pub fn list_ended(path: &Path) -> std::io::Result<String> {
    let sessions = ended::list(path)?;
    let mut out = String::new();
    for session in &sessions {
        let time = UNIX_EPOCH.checked_add(Duration::from_secs(session.ended));
        let title = if session.title.is_empty() { "-" } else { session.title.as_str() };
        let _ = writeln!(out, "{}", session.id);
        let _ = writeln!(out, "  title     {}", shown(title));
        let _ = writeln!(out, "  founder   {}", shown(&session.founder));
        let _ = writeln!(out, "  size      {} bytes", session.size);
        let _ = writeln!(out, "  ended     {}", time_text(time));
    }
    let _ = writeln!(out, "{} ended sessions", sessions.len());
    Ok(out)
}

/// Restores an ended session; no server may use the directory.
///
/// # Errors
/// When it is not there, a server uses the directory, or a file cannot be moved.
pub fn restore_ended(path: &Path, id: &str) -> Result<String, RestoreError> {
    let session = ended::restore(path, id)?;
    Ok(format!("restored {} ({})\n", session.id, shown(&session.title)))
}

fn shortened(names: &[&str]) -> String {
    let mut out = String::new();
    for (index, name) in names.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        if out.chars().count() + name.chars().count() > NAMES_WIDTH && index > 0 {
            let _ = write!(out, "and {} more", names.len() - index);
            break;
        }
        out.push_str(name);
    }
    out
}

/// Verifies the sessions of a directory. Returns the report, and whether there were no problems.
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

/// Repairs the sessions of a directory. Returns the report, and whether no problems are left.
///
/// # Errors
/// When a server uses the directory, or a file cannot be read or written.
pub fn repair(path: &Path) -> Result<(String, bool), SessionDirError> {
    let Repair { backup, repaired, remaining } = repair_files(path)?;
    let mut out = String::new();
    for what in &repaired {
        let _ = writeln!(out, "mended: {what}");
    }
    for what in &remaining {
        let _ = writeln!(out, "cannot be mended: {what}");
    }
    if let Some(backup) = backup {
        let _ = writeln!(out, "files as they were: {}", backup.display());
    }
    let _ = writeln!(out, "{} mended, {} left", repaired.len(), remaining.len());
    Ok((out, remaining.is_empty()))
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
