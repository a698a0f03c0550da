//! `drawhall cluster`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use drawhall::db::{BanKind, ClusterStatus, ClusterUrl, Database};
use drawhall::storage::file_names;
use drawhall::storage::session_dir::SessionDir;
use drawhall::storage::shared::SharedSessions;
use drawhall::text;

use crate::Failure;
use crate::cli::{ClusterAction, cluster_of_environment};
use crate::data_paths::database_in;
use crate::output::outln;

/// Runs a subcommand.
///
/// # Errors
/// When there is no address, or the database cannot be used.
pub(crate) fn run(action: &ClusterAction, cluster: Option<ClusterUrl>) -> Result<(), Failure> {
    let url = cluster.map_or_else(cluster_of_environment, |url| Ok(Some(url)))?;
    let url = url.ok_or("no database is named: give --cluster, or set DRAWHALL_CLUSTER")?;
    match action {
        ClusterAction::Import { from } => import(&url, from),
        ClusterAction::ImportSessions { from } => import_sessions(&url, from),
        ClusterAction::ExportSessions { to } => export_sessions(&url, to),
        ClusterAction::Status => status(&url),
    }
}

fn import(url: &ClusterUrl, from: &Path) -> Result<(), Failure> {
    let file = if from.is_dir() { database_in(from) } else { from.to_owned() };
    for (table, rows) in Database::import(url, &file)? {
        outln!("{table}: {rows}");
    }
    outln!("{} was imported to {url}", text::shown(&file.display().to_string()));
    Ok(())
}

/// The sessions that servers share, for a program that owns none.
fn shared(url: &ClusterUrl) -> Result<Arc<dyn SharedSessions>, Failure> {
    if Database::connect_unchanged(url)?.is_none() {
        return Err(format!("{url} is empty; the first server that starts makes its tables").into());
    }
    Ok(Database::shared_sessions(url, "", Arc::default())?)
}

fn import_sessions(url: &ClusterUrl, from: &Path) -> Result<(), Failure> {
    let sessions = shared(url)?;
    if !from.is_dir() {
        return Err(format!("{} is no directory", from.display()).into());
    }
    let dir = SessionDir::open(from, Duration::ZERO)?;
    let found = dir.list_unchanged()?;
    let unreadable = dir.unavailable();
    let mut failures: Vec<(&str, String)> =
        unreadable.iter().map(|(id, reason)| (id.as_str(), reason.clone())).collect();
    for session in &found {
        if let Err(error) = dir.import(&*sessions, session) {
            failures.push((&session.id, error.to_string()));
        }
    }
    dir.close();
    for (id, error) in &failures {
        outln!("session {}: {}", text::shown(id), text::shown(error));
    }
    outln!("{} sessions were imported to {url}", found.len() + unreadable.len() - failures.len());
    match failures.len() {
        0 => Ok(()),
        failed => Err(format!("{failed} sessions were not imported").into()),
    }
}

fn export_sessions(url: &ClusterUrl, to: &Path) -> Result<(), Failure> {
    let sessions = shared(url)?;
    let dir = SessionDir::open(to, Duration::ZERO)?;
    if file_names::has_sessions(dir.path())? {
        return Err(format!("{} has sessions already", to.display()).into());
    }
    let (mut written, mut failed) = (0, 0);
    for (id, _) in sessions.list()? {
        match sessions.fetch(&id, dir.path()) {
            Ok(()) => written += 1,
            Err(error) => {
                failed += 1;
                outln!("session {}: {}", text::shown(&id), text::shown(&error.to_string()));
                // A part of it would be taken for the whole.
                dir.remove_copies(Some(&id))?;
            }
        }
    }
    dir.close();
    outln!("{written} sessions were written to {}", to.display());
    if failed > 0 { Err(format!("{failed} sessions were not written").into()) } else { Ok(()) }
}

fn status(url: &ClusterUrl) -> Result<(), Failure> {
    let ClusterStatus { version, servers, database } = Database::cluster_status(url)?;
    let Some(database) = database else {
        outln!("{url} is empty; the first server that starts makes its tables");
        return Ok(());
    };
    outln!("{url}, PostgreSQL {version}");
    outln!("servers connected: {}", servers.len());
    for (name, address) in servers {
        let address = if address.is_empty() { "the same machine".to_owned() } else { address };
        outln!("  {} from {address}", text::shown(&name));
    }
    let linked = database.live_nodes()?;
    outln!("servers with links: {}", linked.len());
    for node in linked {
        outln!("  {} at {}", text::shown(&node.name), text::shown(&node.address));
    }
    let sessions = shared(url)?.list()?;
    let unowned = sessions.iter().filter(|(_, server)| server.is_none()).count();
    outln!("shared sessions: {}, {unowned} of them without an owner", sessions.len());
    outln!("accounts: {}", database.accounts()?.len());
    for (name, kind) in [
        ("addresses", BanKind::Address),
        ("devices", BanKind::System),
        ("users of the auth server", BanKind::User),
        ("accounts", BanKind::Account),
    ] {
        outln!("bans of {name}: {}", database.bans(kind)?.len());
    }
    Ok(())
}
