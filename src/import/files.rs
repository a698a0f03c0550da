//! Files of a drawpile-srv: configuration file, database, sessions, templates.

use std::path::Path;

use drawhall::config::{OpenSource, RuleSource, Rules};
use drawhall::db::BanKind;
use drawhall::storage::check::inspect;
use drawhall::storage::file_names::ARCHIVED;
use drawhall::storage::template::Templates;

use super::Report;

/// Maximum number of accounts that are named in one line.
const MAX_NAMED: usize = 5;

/// Checks a configuration file.
pub(super) fn config(path: &Path, report: &mut Report) {
    report.begin(&format!("configuration file: {}", path.display()));
    let source = RuleSource { config: Some(path.to_owned()), ..RuleSource::default() };
    let read = source.open_copy().and_then(|(mut source, _)| source.read().map(|rules| (source, rules)));
    match read {
        Err(error) => report.unusable(error.to_string()),
        Ok((source, rules)) => {
            let file = rules.file();
            let bans = file.ip_bans.len() + file.system_bans.len() + file.user_bans.len();
            let (set, users) = (file.set.len(), file.users.len());
            report.same(format!(
                "{set} settings, {users} accounts and {bans} bans are used; a change counts in seconds"
            ));
            without_password(file.users.iter().map(|user| (user.name.as_str(), user.hash.as_str())), report);
            settings(&source, &rules, report);
        }
    }
}

/// Checks a database.
pub(super) fn database(path: &Path, report: &mut Report) {
    report.begin(&format!("database: {}", path.display()));
    if !path.exists() {
        return report.same("it does not exist yet, and is created");
    }
    let source = RuleSource { database: Some(path.to_owned()), ..RuleSource::default() };
    let (mut source, state) = match source.open_copy() {
        Ok(opened) => opened,
        Err(error) => return report.unusable(error.to_string()),
    };
    if let Some(damage) = state.damage {
        return report.unusable(format!("it is damaged: {damage}"));
    }
    let rules = match source.read() {
        Ok(rules) => rules,
        Err(error) => return report.unusable(error.to_string()),
    };
    let accounts = source.database().and_then(|database| database.accounts().ok()).unwrap_or_default();
    let bans: usize = [BanKind::Address, BanKind::System, BanKind::User]
        .into_iter()
        .filter_map(|kind| source.database()?.bans(kind).ok())
        .map(|bans| bans.len())
        .sum();
    let (set, users) = (rules.file().set.len(), accounts.len());
    report.same(format!(
        "{set} settings, {users} accounts and {bans} bans are used; drawpile-srv can use it again"
    ));
    report.differs(
        "it becomes one in WAL mode: files ending with -wal and -shm belong to it; move them together",
    );
    without_password(accounts.iter().map(|account| (account.name.as_str(), account.hash.as_str())), report);
    settings(&source, &rules, report);
}

/// Accounts that everybody may use in drawpile-srv.
fn without_password<'a>(accounts: impl Iterator<Item = (&'a str, &'a str)>, report: &mut Report) {
    let names: Vec<&str> = accounts.filter(|(_, hash)| hash.is_empty()).map(|(name, _)| name).collect();
    if !names.is_empty() {
        let more = if names.len() > MAX_NAMED { ", ..." } else { "" };
        let first = names.iter().take(MAX_NAMED).copied().collect::<Vec<_>>().join(", ");
        report.differs(format!(
            "{} accounts have no password: nobody can log in with them ({first}{more}); drawpile-srv lets everybody in",
            names.len()
        ));
    }
}

/// What is wrong in the settings, and settings with another effect.
fn settings(source: &OpenSource, rules: &Rules, report: &mut Report) {
    for problem in source.problems() {
        report.differs(format!("{problem}: it counts as if it were not there"));
    }
    if rules.settings().idle_time_limit.0 > 0 {
        report.differs(
            "idleTimeLimit: idle time counts over restarts, so sessions may end soon after the first start",
        );
    }
}

/// Checks a directory of stored sessions; reads all histories.
pub(super) fn sessions(path: &Path, report: &mut Report) {
    report.begin(&format!("sessions: {}", path.display()));
    if !path.exists() {
        return report.same("the directory does not exist yet, and is created");
    }
    let sessions = match inspect(path, true) {
        Ok(sessions) => sessions,
        Err(error) => return report.unusable(error.to_string()),
    };
    let good =
        sessions.iter().filter(|session| !session.problems.iter().any(|problem| problem.is_fatal())).count();
    report.same(format!("{good} sessions are loaded; drawpile-srv can load them again"));
    for session in &sessions {
        for problem in &session.problems {
            let text = format!("session {}: {problem}", session.id);
            if problem.is_fatal() {
                report.unusable(format!("{text}; it is not loaded"));
            } else {
                report.differs(format!("{text}; `drawhall repair` mends it, or the start does"));
            }
        }
    }
    let names = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let archived = names.filter(|name| name.to_string_lossy().ends_with(ARCHIVED)).count();
    if archived > 0 {
        report.same(format!("{archived} archived files stay as they are"));
    }
}

/// Checks a directory of templates.
pub(super) fn templates(path: &Path, report: &mut Report) {
    report.begin(&format!("templates: {}", path.display()));
    match Templates::default().scan(path) {
        Err(error) => report.unusable(format!("it cannot be read: {error}")),
        Ok((_, warnings)) if warnings.is_empty() => report.same("all templates are used"),
        Ok((_, warnings)) => {
            for warning in warnings {
                report.differs(warning);
            }
        }
    }
}
