//! `drawhall cluster`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use drawhall::db::nodes::Node;
use drawhall::db::{BanKind, ClusterStatus, ClusterUrl, Database};
use drawhall::storage::file_names;
use drawhall::storage::session_dir::SessionDir;
use drawhall::storage::shared::SharedSessions;
use drawhall::text;

use crate::Failure;
use crate::cli::{ClusterAction, cluster_of_environment};
use crate::data_paths::database_in;
use crate::output::outln;

/// How often it is looked whether a server has sessions left.
const DRAIN_INTERVAL: Duration = Duration::from_secs(1);

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
        ClusterAction::Drain { server, undo: true, .. } => undo_drain(&url, server),
        ClusterAction::Drain { server, wait, .. } => drain(&url, server, Duration::from_secs((*wait).into())),
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
    connect(url)?;
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
        let state = if node.is_draining { ", draining" } else { "" };
        outln!("  {} at {}{state}", text::shown(&node.name), text::shown(&node.address));
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

/// A server that shares sessions, by its name or address; and whether there is another one that takes them.
fn find_server(database: &Database, wanted: &str) -> Result<(Node, bool), Failure> {
    let nodes = database.live_nodes()?;
    let is_wanted = |node: &&Node| node.name == wanted || node.address == wanted;
    let found: Vec<&Node> = nodes.iter().filter(is_wanted).collect();
    let shown = text::shown(wanted);
    match found[..] {
        [] => Err(format!("there is no server {shown}; `drawhall cluster status` shows all").into()),
        [node] if !node.shares_sessions => {
            Err(format!("server {shown} shares no sessions: it runs without --cluster-sessions").into())
        }
        [node] => {
            let takes = |other: &Node| other.takes_sessions() && other.incarnation != node.incarnation;
            Ok((node.clone(), nodes.iter().any(takes)))
        }
        _ => {
            let addresses: Vec<&str> = found.iter().map(|node| node.address.as_str()).collect();
            Err(format!("several servers are named {shown}: give one of {}", addresses.join(", ")).into())
        }
    }
}

fn connect(url: &ClusterUrl) -> Result<Database, Failure> {
    let database = Database::connect_unchanged(url)?;
    database.ok_or_else(|| format!("{url} is empty; the first server that starts makes its tables").into())
}

fn undo_drain(url: &ClusterUrl, server: &str) -> Result<(), Failure> {
    let database = connect(url)?;
    let (node, _) = find_server(&database, server)?;
    database.set_draining(&node.incarnation, false)?;
    outln!("server {} takes sessions again", text::shown(&node.name));
    Ok(())
}

fn drain(url: &ClusterUrl, server: &str, limit: Duration) -> Result<(), Failure> {
    let database = connect(url)?;
    let (node, has_takers) = find_server(&database, server)?;
    let name = text::shown(&node.name);
    if !has_takers {
        return Err(format!("no other server could take the sessions of {name} over").into());
    }
    database.set_draining(&node.incarnation, true)?;
    let sessions = shared(url)?;
    let (begun, mut last) = (Instant::now(), None);
    loop {
        let is_there = |(_, owner): &(String, Option<String>)| owner.as_deref() == Some(&node.incarnation);
        let left = sessions.list()?.into_iter().filter(is_there).count();
        if last.replace(left) != Some(left) {
            outln!("sessions of server {name}: {left}");
        }
        if left == 0 {
            outln!("it can be stopped");
            return Ok(());
        }
        if begun.elapsed() >= limit {
            let why = "somebody in them is connected to this server itself, or a reset or upload goes on";
            return Err(format!("sessions that are left: {left} ({why}); they move when that ends").into());
        }
        std::thread::sleep(DRAIN_INTERVAL);
    }
}
