//! Checks of database, settings, accounts, stored sessions and templates.

use super::{Context, Findings};
use crate::config::SourceError;
use crate::db::{Account, DbError};
use crate::renderer::{WHERE_TO_GET_IT, is_executable};
use crate::storage::check::{self, Problem};
use crate::storage::template::Templates;
use crate::text;

pub(super) fn database(context: &Context<'_>, findings: &mut Findings) {
    let restore = "stop the server and restore a backup (`drawhall restore`)";
    if let Some(damage) = &context.database.damage {
        findings.error(
            "database-damaged",
            format!("the database is damaged: {}", text::one_line(damage)),
            restore,
        );
    }
    match context.database_failure() {
        None => {}
        Some(error @ DbError::Newer { .. }) => findings.error(
            "database-newer",
            error.to_string(),
            "use the version of drawhall that has changed it, or a later one",
        ),
        Some(error @ DbError::Connect { .. }) => findings.error(
            "database-unreachable",
            format!("--cluster: {error}"),
            "check the address, user and password of --cluster, and that PostgreSQL runs and lets this machine in",
        ),
        Some(error @ DbError::NewerCluster { .. }) => findings.error(
            "database-newer",
            error.to_string(),
            "use the version of drawhall that has changed it, or a later one",
        ),
        Some(error) => findings.error(
            "database-unreadable",
            error.to_string(),
            format!(
                "check that it is a database and that this user may read it; if it is damaged, {restore}"
            ),
        ),
    }
}

pub(super) fn settings(context: &Context<'_>, findings: &mut Findings) {
    if let Some(error @ SourceError::Config { .. }) = &context.failure {
        findings.error("configuration-unreadable", error.to_string(), "name an existing file with --config");
    }
    for problem in context.source.iter().flat_map(|source| source.problems()) {
        findings.warning(
            "configuration-problem",
            text::one_line(problem),
            "correct it; until then it counts as if it were not there",
        );
    }
}

pub(super) fn accounts(context: &Context<'_>, findings: &mut Findings) {
    let Some(rules) = &context.rules else { return };
    // An auth server may use any flags as groups.
    if rules.extauth_url.is_some() {
        return;
    }
    for account in accounts_of(context) {
        let unknown: Vec<&str> =
            account.flags.iter().map(String::as_str).filter(|flag| !Account::FLAGS.contains(flag)).collect();
        if !unknown.is_empty() {
            findings.warning(
                "account-flag",
                format!("the account {} has flags without effect: {}", account.name, unknown.join(", ")),
                format!("use some of {}", Account::FLAGS.join(", ")),
            );
        }
    }
}

/// Accounts of the database. Those of a configuration file are checked when it is read.
pub(super) fn accounts_of(context: &Context<'_>) -> Vec<Account> {
    let database = context.source.as_ref().and_then(|source| source.database());
    database.and_then(|database| database.accounts().ok()).unwrap_or_default()
}

pub(super) fn sessions(context: &Context<'_>, findings: &mut Findings) {
    let Some(path) = context.setup.sessions.as_ref().filter(|path| path.exists()) else { return };
    let sessions = match check::inspect(path, false) {
        Ok(sessions) => sessions,
        Err(error) => {
            let remedy = "check the path and its permissions";
            return findings.error("sessions-unreadable", error.to_string(), remedy);
        }
    };
    let repair = format!("stop the server and run `drawhall repair {}`", path.display());
    // A running server may be writing the last line, or be in the middle of a reset.
    let is_passing = |problem: &Problem| {
        matches!(problem, Problem::TornJournal | Problem::LeftOver(_)) && context.server.is_some()
    };
    for session in &sessions {
        for problem in session.problems.iter().filter(|problem| !is_passing(problem)) {
            let text = format!("stored session {}: {}", session.id, text::one_line(&problem.to_string()));
            if problem.is_fatal() {
                let remedy = format!("{repair}, or restore a backup");
                findings.error("session-not-loadable", format!("{text}; it cannot be loaded"), remedy);
            } else {
                findings.warning("session-problem", text, repair.as_str());
            }
        }
    }
}

pub(super) fn templates(context: &Context<'_>, findings: &mut Findings) {
    let Some(path) = &context.setup.templates else { return };
    match Templates::default().scan(path) {
        Err(error) => findings.error(
            "templates-unreadable",
            format!("--templates: cannot read {}: {error}", path.display()),
            "name a directory that this user may read",
        ),
        Ok((_, warnings)) => {
            for warning in warnings {
                let remedy = "replace or remove the file; `drawhall inspect FILE` says what is in it";
                findings.warning("template-invalid", text::one_line(&warning), remedy);
            }
        }
    }
}

pub(super) fn canvas_renderer(context: &Context<'_>, findings: &mut Findings) {
    let Some(path) = &context.setup.canvas_renderer else { return renderer_needed(context, findings) };
    if !is_executable(path) {
        findings.warning(
            "canvas-renderer-missing",
            format!(
                "--canvas-renderer: there is no program {} that may be executed, so there are no pictures of sessions",
                path.display()
            ),
            "name the file of drawpile-cmd, with its directory",
        );
    }
}

pub(super) fn ffmpeg(context: &Context<'_>, findings: &mut Findings) {
    let Some(path) = context.setup.ffmpeg.as_ref().filter(|path| !is_executable(path)) else { return };
    let reason = format!(
        "--ffmpeg: there is no program {} that may be executed, so there are no videos",
        path.display()
    );
    findings.warning("ffmpeg-missing", reason, "install ffmpeg, or name its file, with its directory");
}

/// Settings that have no effect without a program.
fn renderer_needed(context: &Context<'_>, findings: &mut Findings) {
    let Some(settings) = context.rules.as_ref().map(|rules| rules.settings()) else { return };
    let wanted = [
        ("compactAtThreshold", settings.compact_at_threshold),
        ("thumbnailInterval", settings.thumbnail_interval.0 > 0),
    ];
    for (key, _) in wanted.into_iter().filter(|(_, is_on)| *is_on) {
        findings.warning(
            "canvas-renderer-needed",
            format!("{key} has no effect: there is no program that makes pictures of sessions"),
            WHERE_TO_GET_IT,
        );
    }
}
