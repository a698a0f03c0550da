//! The servers that share a database and have links between them. Only a database on PostgreSQL has their table.

use serde::{Deserialize, Serialize};

use super::{Database, DbError};

/// Seconds after its last sign of life at which a server is not listed any more.
pub const NODE_TIMEOUT_SECS: u32 = 5;

/// Seconds after its last sign of life at which others may take over a server's sessions. Too short a time harms
/// nobody: who has lost a session writes nothing to it.
pub const LEASE_SECS: u32 = 3;

/// A server that others connect to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Node {
    /// Made anew at each start, so that a server that comes back is another one.
    pub incarnation: String,
    /// Its name, for people: that of the machine, or `application_name` of the database's address.
    pub name: String,
    /// Where others connect: `host:port`.
    pub address: String,
    /// It takes shared sessions over. Set when it is announced first.
    #[serde(default)]
    pub shares_sessions: bool,
    /// Its sessions are to move to other servers. Only [`Database::set_draining`] changes it.
    #[serde(default)]
    pub is_draining: bool,
}

impl Node {
    /// Whether it takes sessions of other servers over.
    pub fn takes_sessions(&self) -> bool {
        self.shares_sessions && !self.is_draining
    }
}

/// Nodes in a database engine.
pub(super) trait NodeStore {
    /// Writes that a server is alive.
    fn announce_node(&self, node: &Node) -> Result<(), DbError>;
    /// Removes rows of servers that have been gone for a day.
    fn remove_old_nodes(&self) -> Result<(), DbError>;
    fn live_nodes(&self) -> Result<Vec<Node>, DbError>;
    fn remove_node(&self, incarnation: &str) -> Result<(), DbError>;
    fn set_draining(&self, incarnation: &str, is_draining: bool) -> Result<(), DbError>;
}

impl Database {
    /// Writes that this server is alive, and returns all that are, itself among them. To be called each second.
    ///
    /// # Errors
    /// When the database cannot be written, or is not on PostgreSQL.
    pub fn announce_node(&self, node: &Node) -> Result<Vec<Node>, DbError> {
        self.backend.announce_node(node)?;
        self.backend.live_nodes()
    }

    /// Removes servers that have been gone for a day.
    ///
    /// # Errors
    /// When the database cannot be written, or is not on PostgreSQL.
    pub fn remove_old_nodes(&self) -> Result<(), DbError> {
        self.backend.remove_old_nodes()
    }

    /// The servers that were alive within the last [`NODE_TIMEOUT_SECS`], by name.
    ///
    /// # Errors
    /// When the database cannot be read, or is not on PostgreSQL.
    pub fn live_nodes(&self) -> Result<Vec<Node>, DbError> {
        self.backend.live_nodes()
    }

    /// Removes a server that stops.
    ///
    /// # Errors
    /// When the database cannot be written, or is not on PostgreSQL.
    pub fn remove_node(&self, incarnation: &str) -> Result<(), DbError> {
        self.backend.remove_node(incarnation)
    }

    /// Whether the sessions of a server are to move to others. It learns of it within a second.
    ///
    /// # Errors
    /// When the database cannot be written, or is not on PostgreSQL.
    pub fn set_draining(&self, incarnation: &str, is_draining: bool) -> Result<(), DbError> {
        self.backend.set_draining(incarnation, is_draining)
    }
}
