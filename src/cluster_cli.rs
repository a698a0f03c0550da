//! `drawhall cluster`.

use std::path::Path;

use drawhall::db::{BanKind, ClusterStatus, ClusterUrl, Database};
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
