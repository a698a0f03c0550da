//! Endpoint `overview`: load, disks and errors, for the page.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::AdminState;
use super::disks::Disk;
use super::endpoint::{Api, Call, Json};
use super::error::ApiError;
use super::monitor::{GetSnapshot, SAMPLE_SECONDS, Sample};
use crate::actors::server::{CountByNode, NodeCount};
use crate::db::nodes::Node;

pub(super) fn endpoints(api: &mut Api) {
    api.get("overview", "Load of the last hour, and disk space.", AdminState::overview);
}

/// Load of the server, and disk space.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Overview {
    /// Version of the server.
    version: &'static str,
    /// Seconds between samples.
    interval: u64,
    /// The last hour, oldest first.
    samples: Vec<Sample>,
    /// Disks with sessions and settings.
    disks: Vec<Disk>,
    /// Stored sessions that are not loaded, because they are damaged or cannot be read.
    not_loaded: Vec<NotLoaded>,
    /// Failed writes since the start.
    storage_errors: u64,
    /// When the certificate expires, in seconds since 1970, if there is one.
    certificate_expires: Option<u64>,
    /// There is a database, so bans, accounts and locks work.
    database: bool,
    /// The servers of the cluster that have node links, this one first; empty without them.
    servers: Vec<ClusterServer>,
    /// Shared sessions that no server has at the moment: whoever joins one makes a server go on with it.
    unowned_sessions: usize,
}

/// A server of the cluster.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ClusterServer {
    /// Name of the machine, or `application_name` of the database's address.
    name: String,
    /// Where other servers connect, `host:port`.
    address: String,
    /// Its sessions go on at others when it is gone (`--cluster-sessions`).
    shares_sessions: bool,
    /// Its sessions move to other servers (`drawhall cluster drain`).
    draining: bool,
    /// Sessions it has.
    sessions: usize,
    /// Users in these sessions, wherever they are connected.
    users: usize,
}

impl ClusterServer {
    fn new(node: Node, count: NodeCount) -> ClusterServer {
        let Node { name, address, shares_sessions, is_draining: draining, incarnation: _ } = node;
        let NodeCount { sessions, users } = count;
        ClusterServer { name, address, shares_sessions, draining, sessions, users }
    }
}

/// A stored session that is not loaded.
#[derive(Debug, Serialize, JsonSchema)]
struct NotLoaded {
    /// Session id.
    id: String,
    /// Why not.
    reason: String,
}

impl AdminState {
    fn not_loaded(&self) -> Vec<NotLoaded> {
        let sessions = self.session_dir.iter().flat_map(|dir| dir.unavailable());
        sessions.map(|(id, reason)| NotLoaded { id, reason }).collect()
    }

    /// The servers of the cluster, and the number of sessions that none of them has.
    async fn servers(&self) -> Result<(Vec<ClusterServer>, usize), ApiError> {
        let Some(cluster) = &self.cluster else { return Ok((Vec::new(), 0)) };
        let counts = self.server.send(CountByNode).await.map_err(ApiError::internal)?;
        let own = Node { is_draining: counts.is_draining, ..cluster.node.clone() };
        let others = cluster.others().into_iter().map(|node| {
            let count = counts.others.get(&node.incarnation).copied().unwrap_or_default();
            ClusterServer::new(node, count)
        });
        let servers = std::iter::once(ClusterServer::new(own, counts.own)).chain(others).collect();
        Ok((servers, counts.unowned))
    }

    async fn overview(self: Arc<Self>, _: Call) -> Result<Json<Overview>, ApiError> {
        let snapshot = self.monitor.send(GetSnapshot).await.map_err(ApiError::internal)?;
        let (servers, unowned_sessions) = self.servers().await?;
        Ok(Json(Overview {
            version: env!("CARGO_PKG_VERSION"),
            interval: SAMPLE_SECONDS,
            samples: snapshot.samples,
            disks: snapshot.disks,
            not_loaded: self.not_loaded(),
            storage_errors: self.metrics.storage_errors.get(),
            certificate_expires: Some(self.metrics.certificate_not_after.get())
                .filter(|seconds| *seconds > 0),
            database: self.database.is_some(),
            servers,
            unowned_sessions,
        }))
    }
}
